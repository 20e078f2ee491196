"""Videos with truth, run through the whole line: simulated ones of unseen seeds, and the real ones of VLAD_DATA.

In: an Analyzer. Out: scores beside labels. The only reader of test labels. Each benchmark also scores the same snippets by the energy of
their movement, which learns nothing: the control.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlad.motion import MOTION_DIM
from vlad.pipeline import Analyzer
from vlad.sim import World, simulate, write_video
from vlad.types import Explanation, Features, ScoreTrack, Segment, Video

from .metrics import Scored

EVAL_SEEDS = 1_000_000  # training uses seeds below 100,000, model selection those from there to here
ENERGY = 5  # place of the mean brightness change among the movement descriptors
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SimResult:
    """One simulated video after the line: its truth and everything found."""

    world: World
    video: Video
    track: ScoreTrack
    energy: npt.NDArray[np.float64]
    segments: tuple[Segment, ...]
    explanations: tuple[Explanation, ...]


def counts(labels: npt.NDArray[np.uint8], times: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64]
]:  # fmt: skip
    """Anomalous and normal frames in each snippet: int [T] each. labels: [N] of frames at `times` (s)."""
    index = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(edges) - 2)
    total = np.bincount(index, minlength=len(edges) - 1)
    pos = np.bincount(index, weights=labels, minlength=len(edges) - 1).astype(np.int64)
    return pos, total - pos


def energy_of(features: Features) -> npt.NDArray[np.float64]:
    """Movement energy of each snippet: float [T]."""
    return features.values[:, -MOTION_DIM + ENERGY].astype(np.float64)


def rendered(seed: int, folder: Path) -> tuple[World, Path]:
    """A simulated video as real h264 on disk, rendered once."""
    world, path = simulate(seed), folder / f"{seed}.mp4"
    if not path.exists():
        part = folder / f".{seed}.part.mp4"
        write_video(world, part)
        os.replace(part, path)
    return world, path


def sim_results(
    analyzer: Analyzer, count: int, folder: Path, *, on_progress: Progress, first: int = EVAL_SEEDS
) -> Iterator[SimResult]:
    """`count` unseen simulated videos, of seeds from `first` on, through the line; a normal video also has one calm span explained as if it were flagged."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(1) as pool:  # renders the next while this one is analysed
        waiting = [pool.submit(rendered, first + i, folder) for i in range(count)]
        for done, future in enumerate(waiting):
            world, path = future.result()
            analysis = analyzer(path)
            features, _, _ = analyzer.features(path)
            extra: tuple[Explanation, ...] = ()
            if not world.anomalous:
                extra = analyzer.explain(analysis.video, analysis.track, [calm_span(world, analysis.track)])
            yield SimResult(world, analysis.video, analysis.track, energy_of(features), analysis.segments,
                            (*analysis.explanations, *extra))  # fmt: skip
            on_progress(done + 1, count)


def calm_span(world: World, track: ScoreTrack) -> Segment:
    """A random span of a normal video, dressed as a flagged segment: with the scorer's likeliest class."""
    rng = np.random.default_rng([world.seed, 31])
    length = float(rng.uniform(4, 10))
    start = float(rng.uniform(0, world.duration - length - 1))
    assert track.classes is not None
    inside = (track.edges[:-1] >= start) & (track.edges[1:] <= start + length)
    label = track.labels[int(track.classes[inside].mean(axis=0).argmax())]
    peak = int(np.flatnonzero(inside)[track.scores[inside].argmax()])
    middle = float(track.edges[peak] + track.edges[peak + 1]) / 2
    return Segment(start, start + length, float(track.scores[peak]), middle, label)


def sim_scored(result: SimResult, scores: npt.NDArray[np.float64]) -> Scored:
    """Frame counts of a simulated video under `scores` [T]."""
    times = result.world.times()
    return Scored(scores, *counts(result.world.labels(times), times, result.track.edges))


def real_frames(
    analyzer: Analyzer, data: Path, name: str, *, on_progress: Progress, places: Sequence[int] | None = None
) -> list[tuple[Scored, Scored]]:
    """The test videos of `frames/NAME` with frame labels: under our scores, and under movement energy. places: which of them; None for all."""
    with open(data / "frames" / "manifest.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["set"] == name and r["split"] != "train"]
    rows = rows if places is None else [rows[i] for i in places]
    found = []
    for done, row in enumerate(rows):
        features, video, _ = analyzer.features(data / "frames" / row["file"])
        labels = np.load(data / "frames" / row["labels"], allow_pickle=False).ravel()
        times = (np.arange(len(labels)) + 0.5) / len(labels) * video.duration
        pos, neg = counts(labels, times, features.edges)
        scores = analyzer.score(features).scores.astype(np.float64)
        found.append((Scored(scores, pos, neg), Scored(energy_of(features), pos, neg)))
        on_progress(done + 1, len(rows))
    return found


def bag_score(scores: npt.NDArray[np.float64]) -> float:
    """One score a clip: the mean of its T // 16 + 1 highest."""
    return float(np.sort(scores)[-(len(scores) // 16 + 1) :].mean())


def fights(analyzer: Analyzer, data: Path, *, on_progress: Progress) -> list[tuple[float, float, int]]:
    """(score, movement energy, 1 for a fight) of each clip of `fights` val."""
    with open(data / "fights" / "manifest.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == "val"]
    found = []
    for done, row in enumerate(rows):
        features, _, _ = analyzer.features(data / "fights" / row["path"])
        scores = analyzer.score(features).scores.astype(np.float64)
        found.append((bag_score(scores), bag_score(energy_of(features)), int(row["label"] == "fight")))
        on_progress(done + 1, len(rows))
    return found


def spans(items: Sequence[Segment]) -> list[tuple[float, float]]:
    """(start, end) of each."""
    return [(s.start, s.end) for s in items]
