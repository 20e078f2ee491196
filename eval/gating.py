"""What is lost where models look only at what moves: the same clips with `gating` and without, paired.

    vlad eval gating [days=48] [seconds=120] [first=1000000] [data=FOLDER] [work=runs/eval]

In: simulated quiet days (a few people pass, often far off, and one thing happens; night noise, rain, a cloud's shadow, light that changes, a camera
that trembles), and the real footage of VLAD_DATA. Out: frame AUC and events found by both, the difference with its interval, and the share of
snippets with a movement of at least MOVED pixels that nobody looked at. 1 where a bar is missed.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vlad.config import make_settings
from vlad.pipeline import Analyzer
from vlad.sim import ANOMALIES, NORMALS, World, simulate, write_video
from vlad.sim.events import make_event, places_for
from vlad.sim.scene import OUTDOORS, Picture
from vlad.types import Segment, Video

from .benchmarks import counts, spans
from .metrics import Figure, Scored, bootstrap, frame_auc, match
from .verb import options_of

OPTIONS = {
    "days": "48", "seconds": "120", "first": "1000000", "data": os.environ.get("VLAD_DATA", ""), "work": "runs/eval",
}  # fmt: skip
WEATHER = ("clear", "night", "rain", "cloud", "light", "shake")
MOVED = (8, 30, 100)  # pixels of 320 x 240 that change within a snippet
LOST = 0.02  # events found, at most; of frame AUC a tenth


@dataclass(frozen=True)
class Day:
    """A quiet day: its world, and what the sky does on top of it."""

    world: World
    weather: str

    def frames(self) -> Iterator[Picture]:
        """Every frame in order: uint8 RGB [H, W, 3]."""
        for t, frame in zip(self.world.times(), self.world.frames(), strict=True):
            yield self._under_sky(frame, float(t))

    def _under_sky(self, frame: Picture, t: float) -> Picture:
        width = frame.shape[1]
        if self.weather == "cloud":  # a soft edge that crosses the picture in 20 s, and back to sun
            place = (t % 40) / 20 * 2 * width - width / 2
            dark = 1 - 0.35 / (1 + np.exp(-(place - np.arange(width)) / (0.06 * width)))
            if t % 40 >= 20:
                dark = 1.65 - dark
            return np.asarray(cv2.convertScaleAbs(frame * np.minimum(dark, 1.0)[None, :, None]))
        if self.weather == "light":  # the sun goes slowly, and the camera's gain steps
            return np.asarray(cv2.convertScaleAbs(frame, alpha=0.85 + 0.15 * np.sin(t / 15) + 0.04 * (int(t / 9) % 2)))
        return frame

    def moved(self, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Pixels that change within each snippet by what is painted, without sky and noise: int [T]."""
        still = np.zeros_like(self.world.scene.noise)
        bare = replace(
            self.world.scene, noise=still, rain=False, shake=0.0, clock=-1, glare=None, chimney=None, light="day"
        )
        world = replace(self.world, scene=bare)
        found = np.zeros(len(edges) - 1, np.int64)
        for i, (a, b) in enumerate(pairwise(edges)):
            if any(e.start < b and e.end > a for e in world.events):
                first, last = (world.frame(float(t)).astype(np.int16) for t in (a, b - 1e-3))
                found[i] = int((np.abs(first - last).max(axis=2) > 15).sum())
        return found


def quiet_day(seed: int, *, seconds: float, size: tuple[int, int] = (320, 240), fps: float = 15.0) -> Day:
    """A day in short: one anomalous event, two things of everyday life, nothing else; people half the usual size on every other."""
    rng = np.random.default_rng([seed, 71])
    weather = WEATHER[seed % len(WEATHER)]
    label = str(rng.choice([a for a in ANOMALIES if weather != "rain" or places_for(a) & OUTDOORS]))
    base = simulate(seed, duration=seconds, size=size, fps=fps, events=[label])
    scene = base.scene
    if seed // len(WEATHER) % 2:
        scene = replace(scene, camera=replace(scene.camera, person=0.5 * scene.camera.person))
    grain = {"night": 6.0, "rain": 3.0}.get(weather, 2.5)
    noise = rng.normal(0, grain, (2 * size[1], 2 * size[0], 1)).astype(np.int16)
    scene = replace(
        scene, noise=noise, light="night" if weather == "night" else "day", rain=weather == "rain", glare=None, chimney=None,
        shake=float(rng.uniform(0.4, 1.2)) if weather == "shake" else 0.0,
    )  # fmt: skip
    allowed = [n for n in NORMALS if scene.place in places_for(n)]
    labels = [label, *(str(rng.choice(allowed)) for _ in range(2))]
    rng.shuffle(labels)
    room = seconds / len(labels)
    events = []
    for i, name in enumerate(labels):
        span = float(rng.uniform(5, min(12.0, room - 2)))
        start = i * room + float(rng.uniform(1, room - span - 1))
        events.append(make_event(name, scene, np.random.default_rng([seed, 72, i]), start, span))
    return Day(World(seed, scene, seconds, fps, tuple(events)), weather)


@dataclass(frozen=True)
class Pair:
    """One clip twice: scored where everything was looked at, and where only what moved was. quiet: which snippets nobody looked at."""

    whole: Scored
    gated: Scored
    events: list[tuple[float, float]]
    found: tuple[tuple[Segment, ...], tuple[Segment, ...]]
    quiet: npt.NDArray[np.bool_]
    moved: npt.NDArray[np.int64]
    seconds: float
    kind: str


class Both:
    """Two analysers on the same models, one gated."""

    def __init__(self) -> None:
        self.whole = Analyzer(make_settings(cache=None, gating=False, explain=False))
        self.gated = Analyzer(
            make_settings(cache=None, gating=True, explain=False), encoder=self.whole.encoder, scorer=self.whole.scorer
        )
        self.gated._detector = self.whole.detector
        self.width = int(getattr(self.whole.encoder, "parts", (1, 0))[0])  # of what a picture looks like

    def __call__(self, path: Path, truth: Callable[[Video, npt.NDArray[np.float64]], Truth], kind: str) -> Pair:
        """A clip through both. truth: of the clip and the edges of its snippets."""
        scored, found = [], []
        for analyzer in (self.whole, self.gated):
            features, video, _ = analyzer.features(path)
            known = truth(video, features.edges)
            analysis = analyzer.flagged(features, video)
            scored.append(Scored(analysis.track.scores.astype(np.float64), *known.frames))
            found.append(analysis.segments)
        looks = features.values[:, : self.width]
        quiet = np.concatenate([[False], (looks[1:] == looks[:-1]).all(axis=1)])
        return Pair(scored[0], scored[1], known.events, (found[0], found[1]), quiet, known.moved, video.duration, kind)


@dataclass(frozen=True)
class Truth:
    """frames: anomalous and normal ones in each snippet, int [T] each; moved: pixels that change in each, int [T]."""

    frames: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    events: list[tuple[float, float]]
    moved: npt.NDArray[np.int64]


def simulated(both: Both, first: int, count: int, seconds: float, folder: Path) -> Iterator[Pair]:
    """Quiet days of seeds from `first` on."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        day, path = quiet_day(seed, seconds=seconds), folder / f"quiet-{seed}-{seconds:g}.mp4"
        if not path.exists():
            part = path.with_name(f".{path.name}")
            write_video(day.world, part, frames=day.frames())
            os.replace(part, path)

        def truth(video: Video, edges: npt.NDArray[np.float64], day: Day = day) -> Truth:
            times = day.world.times()
            events = [(e.start, e.end) for e in day.world.events if e.anomalous]
            return Truth(counts(day.world.labels(times), times, edges), events, day.moved(edges))

        yield both(path, truth, day.weather)


def real(both: Both, data: Path, told: Callable[[], None]) -> dict[str, list[Pair]]:
    """Every labelled video of `frames/ucf_full`, and the normal clips of `clips` and `street`."""
    found: dict[str, list[Pair]] = {"UCF-Crime subset, every frame": [], "real normal clips": []}
    with open(data / "frames" / "manifest.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["set"] == "ucf_full"]
    for row in rows:
        labels = np.load(data / "frames" / row["labels"], allow_pickle=False).ravel()

        def truth(video: Video, edges: npt.NDArray[np.float64], labels: npt.NDArray[np.uint8] = labels) -> Truth:
            times = (np.arange(len(labels)) + 0.5) / len(labels) * video.duration
            change = np.flatnonzero(np.diff(np.concatenate([[0], labels > 0, [0]]).astype(int)))
            events = [(float(times[a]), float(times[b - 1])) for a, b in change.reshape(-1, 2)]
            return Truth(counts(labels, times, edges), events, np.zeros(len(edges) - 1, np.int64))

        found["UCF-Crime subset, every frame"].append(both(data / "frames" / row["file"], truth, "real"))
        told()
    for name in ("clips", "street"):
        with open(data / name / "manifest.csv", newline="") as file:
            calm = [data / name / r["file"] for r in csv.DictReader(file) if r["label"].startswith("normal")]
        for path in calm:
            found["real normal clips"].append(both(path, _nothing, "real"))
            told()
    return found


def _nothing(video: Video, edges: npt.NDArray[np.float64]) -> Truth:
    none = np.zeros(len(edges) - 1, np.int64)
    return Truth((none, none + 1), [], none)


def events_found(pairs: Sequence[Pair], place: int) -> float:
    """Share of events that segments find (IoU .3); nan for none."""
    total = sum(len(p.events) for p in pairs)
    return sum(len(match(p.events, spans(p.found[place]))) for p in pairs) / total if total else float("nan")


def alarms(pairs: Sequence[Pair], place: int) -> float:
    """Segments an hour that touch no event."""
    wrong = sum(not any(s.start < b and s.end > a for a, b in p.events) for p in pairs for s in p.found[place])
    return wrong / sum(p.seconds for p in pairs) * 3600


def skipped(pairs: Sequence[Pair], least: int, kind: str = "") -> float:
    """Share of snippets in which at least `least` pixels moved that nobody looked at; nan where there are none. kind: of that weather alone."""
    some = [p for p in pairs if kind in ("", p.kind)]
    moved = [bool(m) for p in some for m in p.moved >= least]
    quiet = [bool(q) for p in some for q in p.quiet]
    return sum(m and q for m, q in zip(moved, quiet, strict=True)) / sum(moved) if any(moved) else float("nan")


Row = tuple[str, str, Figure, float | None]  # on, measure, figure, what it may be at most


def rows_of(on: str, pairs: Sequence[Pair]) -> list[Row]:
    """The lines of one set of clips."""

    def row(measure: str, statistic: Callable[[Sequence[Pair]], float], most: float | None = None) -> Row:
        return on, measure, bootstrap(pairs, statistic, rounds=300), most

    def auc(ps: Sequence[Pair], name: str) -> float:
        return frame_auc([getattr(p, name) for p in ps])

    rows = [row("share of snippets nobody looked at", lambda ps: skipped(ps, 0))]
    if any(p.events for p in pairs):
        rows += [
            row("frame AUC, looking everywhere", lambda ps: auc(ps, "whole")),
            row("frame AUC lost by gating", lambda ps: auc(ps, "whole") - auc(ps, "gated"), LOST / 10),
            row("events found (IoU .3), looking everywhere", lambda ps: events_found(ps, 0)),
            row("events lost by gating", lambda ps: events_found(ps, 0) - events_found(ps, 1), LOST),
        ]
    rows += [
        row("false alarms an hour, looking everywhere", lambda ps: alarms(ps, 0)),
        row("false alarms an hour more by gating", lambda ps: alarms(ps, 1) - alarms(ps, 0)),
    ]
    if any(p.moved.any() for p in pairs):
        rows += [row(f"missed of snippets in which {n} pixels moved", partial(skipped, least=n)) for n in MOVED]
        for kind in WEATHER:
            rows.append(row(f"{kind}: share nobody looked at", partial(skipped, least=0, kind=kind)))
            rows.append(row(f"{kind}: missed of 8 pixels", partial(skipped, least=MOVED[0], kind=kind)))
    return rows


def record(work: Path, rows: Sequence[Row]) -> None:
    """Write WORK/gating.json."""
    told = [{"on": on, "measure": m, **asdict(f), "most": most} for on, m, f, most in rows]
    (work / "gating.json").write_text(json.dumps(told, indent=1) + "\n")


def main(argv: Sequence[str]) -> int:
    """`vlad eval gating`; 1 where a bar is missed. Raises SettingsError, VideoError."""
    options = options_of("gating", argv, OPTIONS)
    work, count = Path(options["work"]), int(options["days"])
    work.mkdir(parents=True, exist_ok=True)
    both = Both()
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("quiet days, then real clips", total=None)

        def told() -> None:
            bar.advance(task)

        sets: dict[str, list[Pair]] = {}
        if count:
            seconds = float(options["seconds"])
            days: list[Pair] = []
            for pair in simulated(both, int(options["first"]), count, seconds, work / "quiet"):
                days.append(pair)
                told()
                if len(days) % len(WEATHER) == 0:  # what is there stays, whatever comes
                    record(work, rows_of(f"the first {len(days)} quiet days of {seconds:g} s", days))
            sets[f"{count} quiet days of {seconds:g} s"] = days
        if options["data"]:
            sets |= real(both, Path(options["data"]), told)
        else:
            print("real footage: not run (set VLAD_DATA or data=FOLDER)", file=sys.stderr)
    rows = [row for on, pairs in sets.items() for row in rows_of(on, pairs)]
    table = Table("on", "measure", "figure [95 %]", "at most", "")
    for on, measure, figure, most in rows:
        sign = "" if most is None else "ok" if figure.value <= most else "MISSED"
        table.add_row(on, measure, str(figure), "" if most is None else f"{most:g}", sign)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    record(work, rows)
    return int(any(most is not None and figure.value > most for _, _, figure, most in rows))
