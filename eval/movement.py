"""Tracks alone: are departures from how a place is walked the anomalies? By the protocol of normality.py, and on drawn paths whose truth is known.

    vlad eval movement [only=paths,sites,ped2] [sites=2] [first=300] [cameras=20] [seed=2000000] [data=FOLDER] [work=runs/movement]

In: nothing; Ped2 from DATA. Out: a table and WORK/movement.json: pooled frame AUC with its 95 % interval over videos. `paths`: cameras with one-way lanes, two tides by hour,
a lawn and a running ban, seen by a tracker that trembles, misses and loses; a seed each from 2,000,000. `sites` and `ped2` as in normality.py, tracks by vlad's own detector and
tracker. Controls: motion energy, or where there are no pictures the sum of speeds, and how many are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.movement import Walked, judge, learn
from vlad.pipeline import Analyzer
from vlad.tracks import counts, follow
from vlad.types import Track

from . import benchmarks, fewshot, footage
from .metrics import Figure, Scored, bootstrap, frame_auc
from .verb import options_of, show_table

SEEDS = 2_000_000
OPTIONS = {
    "only": "paths,sites,ped2", "sites": "2", "first": "300", "cameras": "20", "seed": str(SEEDS), "data": os.environ.get("VLAD_DATA", ""), "work": "runs/movement",
}  # fmt: skip
NORMAL, TEST = 24, 12  # clips of a drawn camera that are learnt from; of each kind that are measured
SECONDS = 40.0
ROUNDS = 200  # of a bootstrap
ODD = ("wrong way", "wrong way for the hour", "lawn", "running")
DETECTED: dict[str, Any] = {
    "speeds": True,
    "snippet_frames": 4,
    "objects_rate": 5.0,
    "gating": False,
}  # of Ped2's ten frames a second
Floats = npt.NDArray[np.float64]
Test = tuple[Walked, Floats, npt.NDArray[np.uint8], Callable[[Floats], Floats] | None]


@dataclass(frozen=True)
class Judged:
    """A clip's frames under the score of its tracks, under the control, and under how many are there."""

    own: Scored
    control: Scored
    number: Scored


def judged(normal: Sequence[Walked], tests: Sequence[Test]) -> list[Judged]:
    """tests: a clip, times of its frames [F] (s), their labels, and the control's score at times, None for the sum of speeds."""
    paths, found = learn(normal), []
    for walked, times, labels, control in tests:
        track, _ = judge(paths, walked)
        pos, neg = benchmarks.counts(labels, times, track.edges)
        middle = (track.edges[:-1] + track.edges[1:]) / 2
        near = np.abs(middle[:, None] - middle[None]) <= 0.5  # averaged over a second, as in normality.py
        scores = near @ track.scores / near.sum(1)
        number = np.sum(counts(walked.tracks, middle), axis=0)
        other = speeds(walked, middle) if control is None else control(middle)
        found.append(Judged(*(Scored(np.asarray(s, np.float64), pos, neg) for s in (scores, other, number))))
    return found


def speeds(walked: Walked, times: Floats) -> Floats:
    """The sum of everybody's speed at times (s), in body heights a second."""
    whole = np.zeros(len(times))
    for track in walked.tracks:
        a, b = track.at(times - 0.5).astype(np.float64), track.at(times + 0.5).astype(np.float64)
        there = (times >= track.times[0]) & (times <= track.times[-1])
        whole += there * np.hypot(*((a - b)[:, :2] * [walked.aspect, 1.0]).T) / a[:, 3]
    return whole


class Camera:
    """A drawn camera: who goes where, by hour, and what a tracker makes of it. seed: decides the place and all that happens."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 71])
        self.seed, self.aspect = seed, float(rng.choice([4 / 3, 16 / 9]))
        self.stair = (
            float(rng.uniform(0.15, 0.3)),
            float(rng.choice([-1.0, 1.0])),
        )  # its column, and the one way it is gone
        self.tide = (
            float(rng.uniform(0.5, 0.6)),
            float(rng.choice([-1.0, 1.0])),
        )  # its row, which no stroller takes, and the morning's way
        self.lawn = float(rng.uniform(0.85, 0.95))  # the row below which nobody walks

    def walk(self, rng: np.random.Generator, hour: int, odd: str, number: int) -> Track:
        """One person's path through the picture, as a tracker sees it."""
        height, pace = float(rng.uniform(0.13, 0.17)), float(rng.normal(0.8, 0.1))
        way = float(rng.choice([-1.0, 1.0]))
        lane = str(rng.choice(["stair", "tide", "tide", "any"])) if odd != "wrong way for the hour" else "tide"
        if odd == "wrong way":
            lane = "stair"
        if odd == "running":
            pace *= 2.6
        if lane == "stair":
            x, sign = self.stair[0] + rng.normal(0, 0.015), self.stair[1] * (-1 if odd == "wrong way" else 1)
            ends = np.array([[x, 0.35], [x, 0.95]])
        elif lane == "tide":
            ebb = -1 if hour >= 12 else 1
            sign = self.tide[1] * ebb * (-1 if odd == "wrong way for the hour" else 1)
            y = self.tide[0] + rng.normal(0, 0.02)
            ends = np.array([[0.0, y], [1.0, y]])
        else:
            sign, y = way, float(rng.uniform(0.7, 0.8))
            ends = np.array([[0.0, y], [1.0, float(np.clip(y + rng.normal(0, 0.03), 0.68, 0.82))]])
        if odd == "lawn":
            ends[:, 1], sign = self.lawn + rng.normal(0, 0.01, 2), way
            if lane == "stair":
                ends[:, 0] = 0.0, 1.0
        ends = ends if sign > 0 else ends[::-1]
        long = float(np.hypot(*((ends[1] - ends[0]) * [self.aspect, 1.0])))
        takes = long / (pace * height)
        start = float(rng.uniform(8, 12)) if odd else float(rng.uniform(-takes / 2, SECONDS - 3))
        times = np.arange(start, start + takes, 0.5) + rng.uniform(0, 0.5)
        times = times[(times >= 0) & (times < SECONDS)]
        times = times[rng.random(len(times)) > 0.2]  # looks that miss
        if len(times) < 3:
            times = np.array([SECONDS - 1.5, SECONDS - 1.0, SECONDS - 0.5])
        feet = ends[0] + ((times - start) / takes)[:, None] * (ends[1] - ends[0])
        feet += rng.normal(0, 0.04 * height, feet.shape)
        tall = height * rng.normal(1, 0.05, len(times))
        wide = 0.4 * height / self.aspect
        boxes = np.stack([feet[:, 0] - wide / 2, feet[:, 1] - tall, np.full(len(times), wide), tall], 1)
        return Track(number, "person", times, boxes.astype(np.float32), 0.7)

    def clip(self, number: int, hour: int, odd: str = "") -> tuple[Walked, Floats, npt.NDArray[np.uint8]]:
        """A clip at an hour, times of frames (ten a second) and which are anomalous."""
        rng = np.random.default_rng([self.seed, number, 72])
        tracks = [self.walk(rng, hour, "", k + 1) for k in range(int(rng.integers(3, 9)))]
        tracks = [piece for t in tracks for piece in broken(t, rng)]
        times = (np.arange(int(SECONDS * 10)) + 0.5) / 10
        labels = np.zeros(len(times), np.uint8)
        if odd:
            track = self.walk(rng, hour, odd, 1)
            labels[(times >= track.times[0]) & (times <= track.times[-1])] = 1
            tracks.append(track)
        tracks = [
            Track(k + 1, t.label, t.times, t.boxes, t.score)
            for k, t in enumerate(sorted(tracks, key=lambda t: t.times[0]))
        ]
        began = datetime(2026, 3, 2 + number % 20, hour, 5, tzinfo=UTC).timestamp()
        return Walked(tracks, SECONDS, self.aspect, (began, UTC)), times, labels


def broken(track: Track, rng: np.random.Generator) -> list[Track]:
    """A track that its tracker lost in three of ten, and found again as another."""
    if rng.random() > 0.3 or len(track.times) < 6:
        return [track]
    cut = int(rng.integers(2, len(track.times) - 2))
    return [
        Track(track.id, track.label, track.times[s], track.boxes[s], track.score)
        for s in (slice(0, cut), slice(cut + 1, None))
    ]


def drawn(seed: int) -> dict[str, list[Judged]]:
    """Of each kind of odd clip its frames and the normal clips', all of one camera."""
    camera, hours = Camera(seed), (8, 9, 17, 18)
    normal = [camera.clip(k, hours[k % 4])[0] for k in range(NORMAL)]
    kinds = {
        odd: [(*camera.clip(1000 + 100 * i + k, hours[k % 4], odd), None) for k in range(TEST // 2)]
        for i, odd in enumerate(ODD)
    }
    calm = [(*camera.clip(2000 + k, hours[k % 4]), None) for k in range(TEST // 2)]
    found = judged(normal, [*calm, *(c for own in kinds.values() for c in own)])
    quiet, rest = found[: len(calm)], found[len(calm) :]
    return {odd: quiet + rest[i * (TEST // 2) : (i + 1) * (TEST // 2)] for i, odd in enumerate(ODD)}


def watched(analyzer: Analyzer, path: Path) -> tuple[Walked, Callable[[Floats], Floats]]:
    """A clip's tracks, and its motion energy at times."""
    seen = analyzer.watch(path)
    energy, edges = benchmarks.energy_of(seen.features), seen.features.edges

    def at(times: Floats) -> Floats:
        return energy[np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(energy) - 1)]

    return Walked(follow(seen.sightings), seen.video.duration, seen.video.width / seen.video.height), at


def site(number: int, folder: Path) -> list[Judged]:
    """A simulated camera, as in normality.py."""
    analyzer = Analyzer(make_settings())
    normal = [watched(analyzer, fewshot.clip_of(number, k, False, folder)[1])[0] for k in range(fewshot.MOST)]
    tests = []
    for k in range(fewshot.MOST, fewshot.MOST + fewshot.TEST):
        for anomalous in (False, True):
            world, path = fewshot.clip_of(number, k, anomalous, folder)
            walked, energy = watched(analyzer, path)
            times = world.times()
            tests.append((walked, times, world.labels(times), energy))
    return judged(normal, tests)


def ped2(data: Path) -> list[Judged]:
    """Ped2's 12 test videos after its 16 normal ones."""
    analyzer = Analyzer(make_settings(**DETECTED))
    normal = [watched(analyzer, data / "frames" / r["file"])[0] for r in footage.rows(data, "ped2", "train")]
    tests = []
    for row in footage.rows(data, "ped2"):
        if row["split"] != "train":
            walked, energy = watched(analyzer, data / "frames" / row["file"])
            labels = np.load(data / "frames" / row["labels"], allow_pickle=False).ravel().astype(np.uint8)
            times = (np.arange(len(labels)) + 0.5) / len(labels) * walked.duration
            tests.append((walked, times, labels, energy))
    return judged(normal, tests)


def main(argv: Sequence[str]) -> int:
    """`vlad eval movement`. Raises SettingsError for options that are not known."""
    options = options_of("movement", argv, OPTIONS)
    work, only = Path(options["work"]), options["only"].split(",")
    work.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[Judged]] = {}
    if "paths" in only:
        cameras = [drawn(int(options["seed"]) + k) for k in bar(range(int(options["cameras"])), "drawn cameras")]
        groups |= {f"drawn paths: {odd}": [j for c in cameras for j in c[odd]] for odd in ODD}
        groups["drawn paths, all"] = [
            j for c in cameras for i, odd in enumerate(ODD) for j in c[odd][0 if i == 0 else TEST // 2 :]
        ]
    if "sites" in only:
        first = int(options["first"])
        for k in bar(range(first, first + int(options["sites"])), "simulated cameras"):
            groups.setdefault("simulated cameras", []).extend(site(k, work))
    if "ped2" in only and options["data"]:
        groups["Ped2"] = ped2(Path(options["data"]))
    table, rows = (
        Table(
            "on",
            "videos",
            "departures",
            "control: energy",
            "how many",
            "departures - control",
            caption="frame AUC, intervals over videos",
        ),
        [],
    )
    for name, found in groups.items():
        figures: list[Figure] = [
            bootstrap([getattr(j, k) for j in found], frame_auc, rounds=ROUNDS) for k in ("own", "control", "number")
        ]
        gain = bootstrap(
            found, lambda some: frame_auc([j.own for j in some]) - frame_auc([j.control for j in some]), rounds=ROUNDS
        )
        table.add_row(name, str(len(found)), *map(str, figures), str(gain))
        rows.append(
            {
                "on": name,
                "videos": len(found),
                **dict(zip(("departures", "control", "number", "gain"), map(asdict, [*figures, gain]), strict=True)),
            }
        )
    (work / "movement.json").write_text(json.dumps(rows, indent=1) + "\n")
    show_table(table)
    return 0
