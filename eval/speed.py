"""How fast the line is, part by part and as ratios within one run, and how much memory it takes.

    vlad eval speed [PART...] [seconds=30] [clip=FILE] [day=3600] [profile=FILE] [work=runs/eval] [published=FOLDER] [steps=4] [pieces=24]

In: a clip, or none for a simulated one. Out: lines of a table, part by part: times real time, ratios, bytes, and the processor's own limits
of the same run. The ViT's weights are random, since speed does not depend on them. published: a folder of checkouts of VadCLIP and UR-DMU, whose own training
loops run beside ours for `steps` steps. pieces: clips of 20 s that Ray hands out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch.utils.flop_counter import FlopCounterMode

from vlad import motion
from vlad.config import Settings, make_settings
from vlad.device import choose_device, choose_dtype
from vlad.encoder import ClipEncoder, _threads, seen_frames
from vlad.errors import SettingsError
from vlad.objects import Watch
from vlad.pipeline import Analyzer
from vlad.sight import fuse, load_sight
from vlad.sim import simulate, write_video
from vlad.sim.events import make_event
from vlad.types import Segment, Snippet
from vlad.video import open_video
from vlad.weights import nano_part

from .pace import WIDTHS, paces
from .scale import Cost, features_cost, nodes
from .verb import options_of

OPTIONS = {
    "seconds": "30",
    "clip": "",
    "day": "3600",
    "profile": "",
    "work": "runs/eval",
    "published": "",
    "steps": "4",
    "pieces": "24",
}
SEED = 1_900_000
PIECE = 20.0  # seconds
TURNS = 5


def make_clip(path: Path, *, seconds: float, size: tuple[int, int], fps: float) -> Path:
    """A simulated h264 clip."""
    write_video(simulate(SEED, duration=seconds, size=size, fps=fps), path)
    return path


def timed(work: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Took:
    """One line of the table: what was measured, its value, and what stands beside it. most: the bar is an upper one."""

    measure: str
    value: float
    note: str = ""
    bar: float | None = None
    most: bool = False

    @property
    def passed(self) -> bool | None:
        """Whether the bar is met; None without one."""
        return None if self.bar is None else (self.value <= self.bar if self.most else self.value >= self.bar)


def limits() -> tuple[float, float]:
    """(bytes a second that a copy moves, floating point operations a second of a float32 matrix product), the best of five each."""
    block = torch.ones(32 << 20)
    into, size = torch.empty_like(block), 1536
    left = torch.ones(size, size)
    copied = min(timed(lambda: into.copy_(block)) for _ in range(5))
    multiplied = min(timed(lambda: left @ left) for _ in range(5))
    return 2 * block.nbytes / copied, 2 * size**3 / multiplied


def demand(module: torch.nn.Module, work: Callable[[], Any]) -> tuple[float, float]:
    """(operations, bytes) of a call: products are counted; weights are read once, what a leaf gives is written and read once."""
    moved = float(sum(p.nbytes for p in module.parameters()))

    def add(_: torch.nn.Module, __: Any, out: Any) -> None:
        nonlocal moved
        if isinstance(out, torch.Tensor):
            moved += 2 * out.nbytes

    hooks = [leaf.register_forward_hook(add) for leaf in module.modules() if not list(leaf.children())]
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        for hook in hooks:
            hook.remove()
    return float(counter.get_total_flops()), moved


class Parts:
    """The parts of the line on one clip, each measured by itself; models are loaded when a part first needs them, nothing is cached.

    clip: of `seconds` s. PARTS: their names, in the order of the line.
    """

    PARTS = (
        "limits",
        "decode",
        "resize",
        "tower",
        "motion",
        "objects",
        "head",
        "words",
        "line",
        "still",
        "start",
        "pair",
        "day",
        "vit",
        "gpu",
        "ray",
        "training",
    )

    def __init__(
        self, clip: Path, seconds: float, *, work: Path = Path("runs/eval"), day: float = 3600.0,
        published: Path | None = None, steps: int = 4, pieces: int = 24,
    ) -> None:  # fmt: skip
        self.clip, self.seconds, self.work, self.day = clip, seconds, work, day
        self.published, self.steps, self.pieces = published, steps, pieces
        self.settings = make_settings(cache=None)

    def measure(self, part: str) -> list[Took]:
        """The lines of a part, one of PARTS."""
        found: list[Took] = getattr(self, f"_{part}")()
        return found

    @cached_property
    def analyzer(self) -> Analyzer:
        return Analyzer(self.settings)

    @cached_property
    def encoder(self) -> ClipEncoder:
        encoder = self.analyzer.encoder
        assert isinstance(encoder, ClipEncoder)
        return encoder

    @cached_property
    def snippets(self) -> list[Snippet]:
        with open_video(self.clip, self.settings, size=self.encoder.size) as opened:
            return list(opened)

    @cached_property
    def roof(self) -> tuple[float, float]:
        return limits()

    def _times(self, measure: str, work: Callable[[], Any], note: str = "", bar: float | None = None) -> Took:
        """Times real time of some work on the whole clip, the best of three."""
        return Took(measure, self.seconds / min(timed(work) for _ in range(3)), note, bar)

    @staticmethod
    def _used(work: Callable[[], Any]) -> float:
        """Processor seconds of some work."""
        before = time.process_time()
        work()
        return time.process_time() - before

    def _limits(self) -> list[Took]:
        moved, multiplied = self.roof
        return [
            Took("GB a second that a copy moves", moved / 1e9),
            Took("GFLOP a second of a float32 matrix product", multiplied / 1e9, f"{torch.get_num_threads()} threads"),
        ]

    def _decode(self) -> list[Took]:
        def work() -> None:
            with open_video(self.clip, self.settings, size=self.encoder.size) as opened:
                for _ in opened:
                    pass

        return [self._times("times real time: decode, in its child process", work)]

    def _resize(self) -> list[Took]:
        shown = [seen_frames(s) for s in self.snippets]
        return [
            self._times("times real time: frames to the tower's input", lambda: [self.encoder.pixels(f) for f in shown])
        ]

    def _tower(self) -> list[Took]:
        frames = np.concatenate([seen_frames(s) for s in self.snippets])
        batches = [
            self.encoder.pixels(frames[i : i + self.encoder.batch]) for i in range(0, len(frames), self.encoder.batch)
        ]
        visual = load_sight(nano_part("clip"))[0].visual  # what runs it here is a graph; torch would run it fused
        fuse(visual, even=True)
        with torch.inference_mode():
            flops, moved = demand(visual, lambda: visual(batches[0]))
        with _threads(1):
            by_torch, ours = (
                [self._used(lambda run=run: [run(b) for b in batches]) for _ in range(3)]  # type: ignore[misc]
                for run in (torch.inference_mode()(visual.trunk), self.encoder._trunk)
            )
        best = min(timed(lambda: self.encoder.tower(batches[0])) for _ in range(5))
        copying, multiplying = moved / self.roof[0], flops / self.roof[1]
        bound = "compute" if multiplying > copying else "memory"
        return [
            self._times("times real time: tower", lambda: [self.encoder.tower(b) for b in batches], f"{len(frames)} frames"),
            Took("processor seconds of the backbone by torch over those by what runs it", float(np.median(by_torch) / np.median(ours)),
                 f"{1e3 * np.median(ours) / len(frames):.1f} ms a frame, one thread"),
            Took("share of the roofline: tower", max(copying, multiplying) / best,
                 f"{bound}-bound: {flops / len(batches[0]) / 1e9:.2f} GFLOP and {moved / len(batches[0]) / 1e6:.0f} MB a frame"),
        ]  # fmt: skip

    def _motion(self) -> list[Took]:
        return [self._times("times real time: movement", lambda: [motion.descriptors(s.frames) for s in self.snippets])]

    def _objects(self) -> list[Took]:
        def work() -> None:
            for _ in Watch(self.snippets, self.analyzer.detector, rate=self.settings.objects_rate):
                pass

        return [self._times(f"times real time: objects, {self.settings.objects_rate:g} looks a second", work)]

    def _head(self) -> list[Took]:
        features = self.encoder(self.snippets)
        return [self._times("times real time: head", lambda: self.analyzer.score(features))]

    def _words(self) -> list[Took]:
        features, video, _ = self.analyzer.features(self.clip)
        track = self.analyzer.score(features)
        segment = Segment(2.0, min(12.0, self.seconds), 0.9, 3.0, track.labels[0])
        best = min(timed(lambda: self.analyzer.explain(video, track, [segment])) for _ in range(3))
        return [Took("seconds an explanation", best, bar=2, most=True)]

    def _line(self) -> list[Took]:
        """And beside what its parts, measured alone in the same run, would reach one after another: more than 1 is what running side by side gains."""
        found = self._both(self.clip, self.seconds, "the line with objects and tracks, no words", (8, 12))
        alone = {
            part: self.measure(part)[0].value for part in ("decode", "resize", "tower", "motion", "objects", "head")
        }
        limit = 1 / sum(1 / speed for speed in alone.values())
        note = ", ".join(f"{part} {speed:.0f}" for part, speed in alone.items())
        return [*found, Took("share of the limit of its parts one after another, looking everywhere", found[0].value / limit, note, 0.8)]  # fmt: skip

    def _both(self, clip: Path, seconds: float, what: str, bars: tuple[float, float]) -> list[Took]:
        """Times real time of a clip without gating and with it, in turns; in the note the same of processor seconds."""
        analyzers = {g: make_settings(cache=None, gating=g) for g in (False, True)}
        taken: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        self._line_once(analyzers[True], clip)
        for _ in range(3):
            for gated, settings in analyzers.items():
                before = busy()
                wall = timed(lambda settings=settings: self._line_once(settings, clip))  # type: ignore[misc]
                taken[gated].append((wall, busy() - before))
        found = []
        for gated, bar in zip((False, True), bars, strict=True):
            wall, used = (float(v) for v in np.median(taken[gated], axis=0))
            name = f"times real time: {what}, {'gated' if gated else 'looking everywhere'}"
            found.append(Took(name, seconds / wall, f"{seconds / used:.1f} by processor seconds, median of 3", bar))
        return found

    def _line_once(self, settings: Settings, clip: Path) -> None:
        """By another Analyzer, which has not seen the clip, on the same models."""
        fresh = Analyzer(settings, encoder=self.encoder, scorer=self.analyzer.scorer)
        fresh._detector = self.analyzer.detector
        fresh.flagged(*fresh.features(clip))

    def _still(self) -> list[Took]:
        clip, seconds = self.work / "still.mp4", 120.0
        if not clip.exists():
            world = replace(simulate(SEED, duration=seconds, size=(640, 360), fps=30), events=())
            write_video(world, clip)
        return self._both(clip, seconds, "a still clip", (0, 60))

    def _start(self) -> list[Took]:
        clip = self.work / "short.mp4"
        if not clip.exists():
            make_clip(clip, seconds=5, size=(320, 240), fps=15)
        analyze = ["analyze", str(clip), "--no-explain", "--set", "cache=null", "-o", str(self.work / "short")]
        help_, first = (float(np.median([ran(a)[0] for _ in range(3)])) for a in (["--help"], analyze))
        return [
            Took("seconds: vlad --help", help_, "median of 3", 1, most=True),
            Took("seconds: vlad analyze of 5 s, to its scores and files", first, "median of 3", 4, most=True),
        ]

    def _pair(self) -> list[Took]:
        """Two clips at once against one after another: by a process each, and by one that shares its models (`--together 2`)."""
        clips = [self.work / f"pair{i}.mp4" for i in (0, 1)]
        for i, copy in enumerate(clips):  # each of its own bytes: one process knows a clip that it has just seen
            copy.unlink(missing_ok=True)
            copy.write_bytes(self.clip.read_bytes() + b"\0\0\0\x08free" * i)
        whole = ["analyze", *map(str, clips), "--no-explain", "--set", "cache=null", "-o", str(self.work / "pair")]
        apart = [[w for w in whole if w != str(other)] for other in clips]
        processes, shared = [], []
        for _ in range(3):
            one_by_one = sum(ran(a)[0] for a in apart)
            with ThreadPoolExecutor(2) as pool:
                at_once = timed(lambda pool=pool: list(pool.map(ran, apart)))  # type: ignore[misc]
            processes.append(one_by_one / at_once)
            shared.append(ran(whole)[0] / ran([*whole, "--together", "2"])[0])
        words = "on two clips against one after another"
        return [
            Took(f"two workers {words}", float(np.median(processes)), "median of 3", 0.95),
            Took(f"one process, --together 2, {words}", float(np.median(shared)), "median of 3", 0.95),
        ]

    def _day(self) -> list[Took]:
        clip = day_clip(self.work / f"day-{self.day:g}.mp4", seconds=self.day)
        before = busy()
        analyze = ["analyze", str(clip), "--no-explain", "--set", "cache=null", "-o", str(self.work / "day")]
        start = time.perf_counter()
        code, peak = peak_memory([sys.executable, "-m", "vlad", *analyze])
        wall, used = time.perf_counter() - start, busy() - before
        if code:
            raise RuntimeError(f"vlad analyze of {clip} ended with {code}")
        note = f"{self.day / used:.1f} by processor seconds; a day then takes {24 * wall / self.day:.2f} hours"
        return [
            Took(
                f"times real time: {self.day:g} s of a quiet day, 1920 x 1080, 1 % activity", self.day / wall, note, 24
            ),
            Took("GB at most, all processes", peak / 1e9, bar=2, most=True),
        ]

    def _ray(self) -> list[Took]:
        """Clips by two nodes of a core each, beside two processes of one thread each that halve them, and beside one process as it is."""
        clip, folder = self.work / f"piece-{PIECE:g}.mp4", self.work / "pieces"
        if not clip.exists():
            make_clip(clip, seconds=PIECE, size=(640, 360), fps=30)
        folder.mkdir(exist_ok=True)
        clips = [folder / f"{i}.mp4" for i in range(self.pieces)]
        for copy in clips:
            copy.unlink(missing_ok=True)
            copy.hardlink_to(clip)
        costs: dict[str, list[Cost]] = {"one": [], "two": [], "ray": []}
        with nodes(2) as cluster:
            for _ in range(2):
                costs["one"].append(features_cost([clips], self.work / "plain"))
                costs["two"].append(features_cost([clips[::2], clips[1::2]], self.work / "halves", threads="1"))
                costs["ray"].append(features_cost([clips], self.work / "ray", "--ray", cluster.address))
        told = {name: np.median([[c.wall, c.used] for c in own], axis=0) for name, own in costs.items()}
        note = f"{self.pieces} clips of {PIECE:g} s, all started anew, twice; " + ", ".join(
            f"{name} {wall:.1f} s ({used:.1f} of the processor)" for name, (wall, used) in told.items()
        )
        ratios = {name: np.array([[r.wall / c.wall, r.used / c.used] for r, c in zip(costs["ray"], costs[name], strict=True)])
                  for name in ("one", "two")}  # fmt: skip
        wall, used = (float(v) for v in np.median(ratios["two"], axis=0))
        return [
            Took("Ray with two nodes over two processes that halve the clips: seconds", wall, note, 1.1, most=True),
            Took("the same: processor seconds", used),
            Took("Ray with two nodes over one process: seconds", float(np.median(ratios["one"][:, 0]))),
        ]

    def _training(self) -> list[Took]:
        found = []
        for kind in WIDTHS:
            mine, other = paces(kind, self.steps, self.work, self.published)
            note = f"{self.steps} steps of 128 bags, in turns: {', '.join(f'{s:.2f}' for s in mine)} s a step"
            if other:
                note += f", theirs {', '.join(f'{s:.2f}' for s in other)}"
            name = f"{kind}, training: seconds a step, the published loop over ours"
            ratio = sum(other) / sum(mine) if other else float("nan")
            found.append(Took(name, ratio, note if other else f"{note}; published=FOLDER names no checkouts of theirs"))
        return found

    def _vit(self) -> list[Took]:
        vit = vit_speed(self.clip)
        return [
            Took("ViT-B/16: ratio to the plain loop", vit["ratio_to_plain_loop"],
                 f"loop {vit['plain_seconds']:.1f} s, ours {vit['line_seconds']:.1f} s", 3),
            Took("ViT-B/16: share of the limit", vit["share_of_limit"],
                 f"decoding {vit['decode_seconds']:.1f} s, tower {vit['tower_seconds']:.1f} s", 0.85),
        ]  # fmt: skip

    def _gpu(self) -> list[Took]:
        from .gpu import gpu_lines

        told = [Took(*line) for line in gpu_lines(self.clip, self.seconds, vit_encoder)]
        return told or [Took("GPUs here", 0.0, "nothing was measured")]


def vit_encoder(name: str = "ViT-B-16", *, compiled: bool = False) -> ClipEncoder:
    """One of open_clip's transformers with random weights, as the presets would run it."""
    device = choose_device("auto")
    dtype = choose_dtype(device, "auto")
    model = open_clip.create_model(name, precision="bf16" if dtype == torch.bfloat16 else "fp32")
    return ClipEncoder(
        model, open_clip.get_tokenizer(name), name=name, weights="random", use_motion=False, squash=False, device=device, dtype=dtype,
        compiled=compiled,
    )  # fmt: skip


def plain_loop(clip: Path, settings: Settings) -> int:
    """The loop people write: OpenCV frames, transformers' CLIP, float32, one by one. Returns how many frames it embedded."""
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=16,
        projection_dim=512,
    )).eval()  # fmt: skip
    processor = CLIPImageProcessor()
    wanted = (np.arange(settings.frames_per_snippet) + 0.5) / settings.frames_per_snippet * settings.snippet_frames
    chosen = {int(w) for w in wanted}
    video, index, done = cv2.VideoCapture(str(clip)), 0, 0
    while True:
        well, frame = video.read()
        if not well:
            return done
        if index % settings.snippet_frames in chosen:
            picture = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            with torch.no_grad():
                vector = model(**processor(images=picture, return_tensors="pt")).image_embeds[0]
            (vector / vector.norm()).numpy()
            done += 1
        index += 1


def vit_speed(clip: Path) -> dict[str, float]:
    """Ratio to the plain loop over the same frames, and share of the limit that the slower of decoding and tower sets."""
    settings, encoder = make_settings(cache=None), vit_encoder()

    def line() -> None:
        with open_video(clip, settings, size=encoder.size) as opened:
            encoder(opened)

    def decode() -> None:
        with open_video(clip, settings, size=encoder.size) as opened:
            for _ in opened:
                pass

    with open_video(clip, settings, size=encoder.size) as opened:
        frames = np.concatenate([s.frames for s in opened])
    batches = [encoder.pixels(frames[i : i + encoder.batch]) for i in range(0, len(frames), encoder.batch)]

    def tower() -> None:
        for batch in batches:
            encoder.tower(batch)

    tower()
    # Ratios within a turn, and their median: what else the machine does comes and goes within seconds.
    turns = np.array([[timed(work) for work in (line, decode, tower)] for _ in range(TURNS)])
    around = [timed(work) for work in (line, lambda: plain_loop(clip, settings), line)]
    share = float(np.median(turns[:, 1:].max(axis=1) / turns[:, 0]))
    ours, alone, limit = (float(seconds) for seconds in np.median(turns, axis=0))
    return {"ratio_to_plain_loop": 2 * around[1] / (around[0] + around[2]), "share_of_limit": share, "frames": float(len(frames)),
            "line_seconds": ours, "decode_seconds": alone, "tower_seconds": limit, "plain_seconds": around[1]}  # fmt: skip


def busy() -> float:
    """Processor seconds of this process and of those it waited for."""
    t = psutil.Process().cpu_times()
    return float(t.user + t.system + t.children_user + t.children_system)


def ran(arguments: Sequence[str]) -> tuple[float, int]:
    """Seconds that `vlad ARGUMENTS` takes, and its exit status."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "vlad", *arguments], check=True, capture_output=True)  # noqa: S603 - this very program
    return time.perf_counter() - start, done.returncode


def day_clip(path: Path, *, seconds: float) -> Path:
    """A quiet day in short, 1920 x 1080 at 15 frames a second: PIECE seconds of an empty street again and again, in one of a hundred somebody walks."""
    if path.exists():
        return path
    whole = replace(simulate(SEED, duration=PIECE, size=(1920, 1080), fps=15), events=())
    walk = make_event("walking", whole.scene, np.random.default_rng(SEED), 0.0, PIECE)
    with tempfile.TemporaryDirectory() as folder:
        pieces = [Path(folder) / f"{i}.mp4" for i in range(2)]
        for piece, events in zip(pieces, ((), (walk,)), strict=True):
            write_video(replace(whole, events=events), piece)
        joined(path, [pieces[i % 100 == 50] for i in range(round(seconds / PIECE))], PIECE)
    return path


def long_clip(path: Path, *, seconds: float, size: tuple[int, int] = (1920, 1080), fps: int = 15) -> Path:
    """A long clip made of one short one, packet by packet: no second encoding."""
    with tempfile.TemporaryDirectory() as folder:
        short = make_clip(Path(folder) / "short.mp4", seconds=10, size=size, fps=fps)
        joined(path, [short] * int(seconds // 10), 10)
    return path


def joined(path: Path, pieces: Sequence[Path], length: float) -> None:
    """Clips of one kind, each of `length` s, one after another in a file."""
    import av

    with av.open(str(path), "w") as out:
        target: Any = None
        facts: dict[Path, list[tuple[bytes, int, int, bool]]] = {}
        for piece in dict.fromkeys(pieces):
            with av.open(str(piece)) as source:
                stream = source.streams.video[0]
                target = target or out.add_stream_from_template(stream)
                packets = [p for p in source.demux(stream) if p.dts is not None]
                facts[piece] = [(bytes(p), p.pts or 0, p.dts or 0, p.is_keyframe) for p in packets]
                base = stream.time_base
        assert base is not None
        ticks = int(Fraction(length) / base)
        for turn, piece in enumerate(pieces):
            for data, pts, dts, key in facts[piece]:
                packet = av.Packet(data)
                packet.pts, packet.dts = pts + turn * ticks, dts + turn * ticks
                packet.time_base, packet.stream, packet.is_keyframe = base, target, key
                out.mux(packet)


def peak_memory(command: list[str]) -> tuple[int, int]:
    """(exit status, highest memory in bytes) of a command and all it starts: proportional set size, sampled ten times a second."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - this very program, by its full path
    peak, stop = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        root = psutil.Process(process.pid)
        while not stop.wait(0.1):
            total = 0
            try:
                for member in [root, *root.children(recursive=True)]:
                    total += member.memory_full_info().pss
            except (psutil.Error, OSError):
                continue
            peak = max(peak, total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    code = process.wait()
    stop.set()
    thread.join()
    return code, peak


def hour_memory(work: Path, *, seconds: float) -> dict[str, float]:
    """Peak memory in GB of `vlad analyze` on `seconds` of 1920 x 1080."""
    clip = work / "long.mp4"
    if not clip.exists():
        long_clip(clip, seconds=seconds)
    command = [sys.executable, "-m", "vlad", "analyze", str(clip), "-o", str(work / "long")]
    start = time.perf_counter()
    code, peak = peak_memory(command)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}")
    return {"peak_gb": peak / 1e9, "seconds": time.perf_counter() - start}


def main(argv: Sequence[str]) -> int:
    """`vlad eval speed`: a line a part as soon as it is measured; 1 where a bar is missed. Raises SettingsError, VideoError."""
    named = [a for a in argv if "=" not in a]
    options = options_of("speed", [a for a in argv if "=" in a], OPTIONS)
    unknown = sorted(set(named) - set(Parts.PARTS))
    if unknown:
        raise SettingsError(f"eval speed: no part {unknown[0]!r}; parts are {', '.join(Parts.PARTS)}")
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 160)
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True),
                  disable=not sys.stderr.isatty(), transient=True) as bar:  # fmt: skip
        task = bar.add_task("a clip to measure on", total=None)
        clip, seconds = clip_for(options, work)
        published = Path(options["published"]) if options["published"] else None
        parts = Parts(
            clip,
            seconds,
            work=work,
            day=float(options["day"]),
            published=published,
            steps=int(options["steps"]),
            pieces=int(options["pieces"]),
        )
        told: list[dict[str, Any]] = []
        wanted = [p for p in Parts.PARTS if not named or p in named]
        with profiled(options["profile"]):
            for number, part in enumerate(wanted):
                bar.update(task, description=part, total=len(wanted), completed=number)
                for took in parts.measure(part):
                    console.print(line_of(part, took), soft_wrap=True)
                    told.append({"part": part, **asdict(took), "passed": took.passed})
                    (work / "speed.json").write_text(
                        json.dumps(told, indent=1) + "\n"
                    )  # what is there stays, whatever comes
    return int(any(t["passed"] is False for t in told))


def clip_for(options: Mapping[str, str], work: Path) -> tuple[Path, float]:
    """The clip that is asked for, else a simulated one, and its length (s)."""
    if not options["clip"]:
        seconds = float(options["seconds"])
        return make_clip(work / f"speed-{seconds:g}.mp4", seconds=seconds, size=(640, 360), fps=30), seconds
    path = Path(options["clip"])
    with open_video(path, make_settings(), size=64) as opened:
        for _ in opened:
            pass
        return path, opened.video.duration


def line_of(part: str, took: Took) -> str:
    """One line for a person."""
    sign = (
        ""
        if took.bar is None
        else f"  (at {'most' if took.most else 'least'} {took.bar:g}: {'ok' if took.passed else 'MISSED'})"
    )
    return f"{part:8} {took.value:10.2f}  {took.measure}{sign}{f'  [{took.note}]' if took.note else ''}".replace(
        "[", "\\["
    )


@contextmanager
def profiled(path: str) -> Iterator[None]:
    """torch's profile of what runs inside, by operator, in a file; nothing where no file is named."""
    if not path:
        yield
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        yield
    Path(path).write_text(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=60))
