"""Live streams measured: how many are held, how late a score is, and what is found of what the batch line finds.

    vlad eval live [seconds=60] [quiet=8] [busy=3] [lively=8] [clips=24] [data=FOLDER] [work=runs/eval/live]

In: clips, sent by an RTSP server of this machine (640 x 360, 15 frames a second): quiet ones are rendered quiet days, as in `vlad eval gating`; busy ones rendered scenes and real
clips of events; lively ones real clips of everyday life, in which somebody moves all the time (no real clip of VLAD_DATA is quiet). Out: a line a measure with its
bar. Late is from a frame on the wire, as a process between notes it, to the score of its snippet: all 16 frames of one count. 1 where a bar is missed, 3 where there is
no RTSP server.
"""

from __future__ import annotations

import csv
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from vlad.config import make_settings
from vlad.live.address import parse
from vlad.live.hosts import networks
from vlad.live.network import Rules
from vlad.live.scoring import Rows, Scored, Scores
from vlad.live.watch import Camera, State, Watch
from vlad.pipeline import Analyzer
from vlad.sim import simulate, write_video
from vlad.types import Snippet, Span
from vlad.video import open_video

from .benchmarks import counts, spans
from .cameras import Relay, camera_clip, has_rtsp, rtsp
from .gating import quiet_day
from .metrics import Scored as Truth
from .metrics import false_alarms, frame_auc, match
from .verb import options_of, show_table

OPTIONS = {
    "seconds": "60", "quiet": "8", "busy": "3", "lively": "8", "clips": "24", "data": os.environ.get("VLAD_DATA", ""), "work": "runs/eval/live",
}  # fmt: skip
SIZE, RATE, LENGTH = (640, 360), 15, 16  # of streams; frames of a snippet
LATE, LOOKED, LOST = (
    1.5,
    0.98,
    0.05,
)  # bars: seconds at p95, share that models looked at, events found less than by the batch line
WARM = 10.0  # seconds that are not counted: connections and models are made
FIRST_QUIET, FIRST_BUSY, FIRST_EVENTS = 1_700_000, 1_710_000, 1_720_000  # seeds


def streams(kind: str, count: int, seconds: float, work: Path, data: str) -> dict[str, Path]:
    """Clips of that kind as cameras send them, by the path of the server."""
    work.mkdir(parents=True, exist_ok=True)
    real = _real(kind, data)
    found = {}
    for number in range(count):
        from_data = kind == "lively" or (kind == "busy" and bool(real) and number % 2 == 1)
        path = work / f"{kind}-{number}-{seconds:g}-{'real' if from_data else 'drawn'}.mp4"
        if not path.exists():
            source = real[number % len(real)] if from_data else work / f"{kind}-{number}-source.mp4"
            if not from_data:
                _render(kind, number, source)
            camera_clip(source, part := path.with_name(f"part-{path.name}"), size=SIZE, rate=RATE, seconds=seconds)
            os.replace(part, path)
        found[f"/{kind}{number}"] = path
    return found


def _render(kind: str, number: int, path: Path) -> None:
    if path.exists():
        return
    if kind == "quiet":
        day = quiet_day(FIRST_QUIET + number, seconds=60, size=SIZE, fps=RATE)
        write_video(day.world, path, frames=day.frames())
    else:
        write_video(simulate(FIRST_BUSY + number, duration=40, size=SIZE, fps=RATE), path)


def _real(kind: str, data: str) -> list[Path]:
    """Real clips: of everyday life, or of events."""
    if not data:
        return []
    rows = []
    for name in ("street", "clips"):
        with open(Path(data) / name / "manifest.csv", newline="") as file:
            rows += [(Path(data) / name / r["file"], r["label"].startswith("normal")) for r in csv.DictReader(file)]
    chosen = [p for p, calm in rows if calm == (kind == "lively")]
    random.Random(7).shuffle(chosen)  # noqa: S311
    return chosen


@dataclass
class Held:
    """What came of streams that were watched together. late: seconds of every frame from the wire to its score; whole: the same of snippets' last frames. busy: share of
    the cores that all of vlad took; memory: bytes of all processes when a third was over and at the end; files: descriptors then. still: share of
    snippets in which nothing moved."""

    late: list[float]
    whole: list[float]
    looked: float
    busy: float
    memory: tuple[int, int]
    files: tuple[int, int]
    states: list[State]
    still: float


def watched(analyzer: Analyzer, mounts: dict[str, Path], seconds: float) -> Held:
    """Watch so many streams for so long."""
    scored: dict[str, list[tuple[float, Scored]]] = {name: [] for name in mounts}
    states: list[State] = []
    with rtsp(mounts) as port:
        relay = Relay(port)
        running = Watch(
            analyzer, on_score=lambda s: scored[s.camera].append((time.time(), s)), on_state=states.append,
            on_picture=lambda *_: None, rules=Rules(networks(["127.0.0.0/8"])),
        )  # fmt: skip
        with running:
            for name in mounts:
                running.add(Camera(name, parse(f"rtsp://127.0.0.1:{relay.port}{name}")))
                time.sleep(0.4)
            time.sleep(seconds / 3)
            middle, spent, began = _used(), _spent(), time.monotonic()
            time.sleep(seconds - seconds / 3)
            end, busy = _used(), (_spent() - spent) / (time.monotonic() - began) / (os.cpu_count() or 1)
            if running.failed is not None:
                raise running.failed
        wire = relay.times()
    late, whole, looks = [], [], []
    for name, own in scored.items():
        times = wire[name.strip("/")]
        warm = times[0] + WARM if times else 0.0
        for number, (moment, one) in enumerate(own):
            frames = times[number * LENGTH : (number + 1) * LENGTH]
            if len(frames) == LENGTH and frames[0] > warm:
                looks.append(one.looked)
                late += [moment - t for t in frames]
                whole.append(moment - frames[-1])
    still = float(np.mean([quiet for path in mounts.values() for quiet in _still(path)]))
    looked = float(np.mean(looks)) if looks else 0.0
    return Held(late, whole, looked, busy, (middle[0], end[0]), (middle[1], end[1]), states, still)


def _still(path: Path) -> list[bool]:
    """Which snippets of a clip nothing moves in."""
    with open_video(path, make_settings(), size=64, gated=True) as clip:
        return [s.quiet for s in clip]


def _family() -> list[psutil.Process]:
    """This process and its decoders."""
    me = psutil.Process()
    return [me, *(p for p in me.children() if "vlad.live.reader" in " ".join(p.cmdline()))]


def _used() -> tuple[int, int]:
    some = _family()
    return sum(p.memory_info().rss for p in some), sum(p.num_fds() for p in some)


def _spent() -> float:
    return float(sum(sum(p.cpu_times()[:2]) for p in _family()))


@dataclass
class Found:
    """One simulated clip, by the batch line and as a stream."""

    events: list[Span]
    batch: list[Span]
    live: list[Span]
    scores: tuple[Truth, Truth]
    begun: list[float]  # seconds from an event's begin to the first score at the threshold, for those that had one
    seconds: float


def compared(analyzer: Analyzer, seed: int, work: Path, seconds: float = 60.0) -> Found:
    """The same frames both ways; a stream's segments are those of its newest scores, by the same rule."""
    path = work / f"events-{seed}.mp4"
    world = simulate(seed, duration=seconds, size=(320, 240), fps=RATE)
    if not path.exists():
        write_video(world, part := path.with_name(f"part-{path.name}"))
        os.replace(part, path)
    features, video, _ = analyzer.features(path)
    batch = analyzer.score(features)
    settings = analyzer.settings
    rows = Rows(analyzer.encoder, analyzer.detector, rate=settings.objects_rate)  # type: ignore[arg-type]
    scores = Scores(analyzer.scorer, features.encoder)
    newest = []
    with open_video(path, settings, size=analyzer.encoder.size, gated=analyzer.gated) as clip:
        snippets: list[Snippet] = []
        for snippet in clip:
            snippets.append(snippet)
            newest.append(scores.push(rows.push(snippet), snippet.start, snippet.end)[0])
    live = type(batch)(np.array(newest, np.float32), batch.edges)
    truth = counts(world.labels(world.times()), world.times(), batch.edges)
    events = [(e.start, e.end) for e in world.events if e.anomalous]
    enter = analyzer.thresholds[0]
    begun = []
    for start, end in events:
        over = [e for e, s in zip(batch.edges[1:], newest, strict=True) if s >= enter and start < e < end + 5]
        begun += [float(over[0] - start)] if over else []
    return Found(
        events, spans(analyzer.segments(batch)), spans(analyzer.segments(live)),
        (Truth(batch.scores.astype(float), *truth), Truth(live.scores.astype(float), *truth)), begun, video.duration,
    )  # fmt: skip


Line = tuple[str, float, float | None, bool]  # measure, figure, bar, whether the bar is a least


def lines_held(name: str, held: Held, *, bars: bool) -> list[Line]:
    """The lines of streams that were watched together. bars: whether they are to be held."""
    p50, p95 = (float(np.percentile(held.late, q)) if held.late else float("nan") for q in (50, 95))
    lost = sum(s.state in ("lost", "refused") for s in held.states)
    return [
        (f"{name}: snippets in which nothing moved", held.still, None, True),
        (f"{name}: looked at", held.looked, LOOKED if bars else None, True),
        (f"{name}: frame on the wire to score, p95, s", p95, LATE if bars else None, False),
        (f"{name}: the same, median, s", p50, None, False),
        (
            f"{name}: last frame of a snippet to score, p95, s",
            float(np.percentile(held.whole, 95)) if held.whole else float("nan"),
            None,
            False,
        ),
        (f"{name}: connections lost", lost, 0, False),
        (f"{name}: share of the cores", held.busy, None, False),
        (f"{name}: MB of all processes, after a third", held.memory[0] / 1e6, None, False),
        (f"{name}: more at the end, MB", (held.memory[1] - held.memory[0]) / 1e6, 20, False),
        (f"{name}: descriptors more at the end", held.files[1] - held.files[0], 0, False),
    ]


def lines_found(clips: Sequence[Found]) -> list[Line]:
    """The lines of events."""
    total = sum(len(c.events) for c in clips)
    batch, live = (sum(len(match(c.events, getattr(c, way))) for c in clips) / total for way in ("batch", "live"))
    hours = sum(c.seconds for c in clips) / 3600
    wrong = [sum(false_alarms(c.events, getattr(c, way)) for c in clips) / hours for way in ("batch", "live")]
    auc = [frame_auc([c.scores[i] for c in clips]) for i in (0, 1)]
    waits = [w for c in clips for w in c.begun]
    return [
        (f"events of {len(clips)} clips found by the batch line (IoU .3)", batch, None, True),
        ("as a stream", live, batch - LOST, True),
        ("false alarms an hour by the batch line", wrong[0], None, False),
        ("as a stream", wrong[1], None, False),
        ("frame AUC of the batch line", auc[0], None, True),
        ("as a stream", auc[1], None, True),
        ("events that reach the threshold while they last, or 5 s later", len(waits) / total, None, True),
        (
            "seconds from their begin until then, median",
            float(np.median(waits)) if waits else float("nan"),
            None,
            False,
        ),
    ]


def held(line: Line) -> bool:
    """Whether its bar is, where there is one."""
    _, figure, bar, least = line
    return bar is None or (figure >= bar - 1e-9 if least else figure <= bar + 1e-9)


def shown(lines: Sequence[Line]) -> Table:
    """All lines."""
    table = Table("measure", "figure", "bar", "")
    for line in lines:
        measure, figure, bar, least = line
        told = "" if bar is None else f"{'at least' if least else 'at most'} {bar:.3f}"
        table.add_row(measure, f"{figure:.3f}", told, "" if bar is None else "ok" if held(line) else "MISSED")
    return table


def record(work: Path, lines: Sequence[Line]) -> None:
    """Write WORK/live.json: what is there stays, whatever comes."""
    told = [{"measure": m, "figure": f, "bar": b, "held": held((m, f, b, least))} for m, f, b, least in lines]
    (work / "live.json").write_text(json.dumps(told, indent=1) + "\n")


def main(argv: Sequence[str]) -> int:
    """`vlad eval live`. Raises SettingsError, VideoError."""
    options = options_of("live", argv, OPTIONS)
    work, seconds, data = Path(options["work"]), float(options["seconds"]), options["data"]
    work.mkdir(parents=True, exist_ok=True)
    analyzer = Analyzer(make_settings(explain=False, cache=None))
    lines: list[Line] = []
    here = has_rtsp()
    for kind in ("quiet", "busy", "lively") if here else ():
        count = int(options[kind])
        if count and (data or kind != "lively"):
            mounts = streams(kind, count, seconds + 30, work, data)
            lines += lines_held(f"{count} {kind} streams", watched(analyzer, mounts, seconds), bars=kind != "lively")
            record(work, lines)
    clips = int(options["clips"])
    if clips:
        lines += lines_found([compared(analyzer, FIRST_EVENTS + i, work) for i in range(clips)])
        record(work, lines)
    show_table(shown(lines))
    if not data:
        print("real clips: not run (set VLAD_DATA or data=FOLDER)", file=sys.stderr)
    if not here:
        Console(stderr=True).print(
            "streams: not run, there is no GstRtspServer here (gir1.2-gst-rtsp-server-1.0, python3-gi)"
        )
        return 3
    return int(not all(map(held, lines)))
