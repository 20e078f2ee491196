"""How fast the line is, as ratios within one run, and how much memory it takes.

In: presets. Out: seconds, ratios, bytes. Clips are simulated and encoded as h264; weights may be random, since speed does not depend on them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import psutil
import torch

from vlad.config import Settings, make_settings
from vlad.device import choose_device, choose_dtype
from vlad.encoder import ClipEncoder
from vlad.pipeline import Analyzer
from vlad.sim import simulate, write_video
from vlad.types import Segment
from vlad.video import open_video

SEED = 1_900_000
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


def nano_speed(clip: Path, *, seconds: float) -> dict[str, float]:
    """Times real time of decode, features and scores; seconds an explanation. Models are loaded and warm, nothing is cached."""
    analyzer = Analyzer(make_settings(cache=None))
    features, video, _ = analyzer.features(clip)
    track = analyzer.score(features)
    segment = Segment(2.0, 12.0, 0.9, 7.0, track.labels[0])
    analyzer.explain(video, track, [segment])
    line = min(timed(lambda: analyzer.score(analyzer.features(clip)[0])) for _ in range(3))
    explain = min(timed(lambda: analyzer.explain(video, track, [segment])) for _ in range(3))
    return {"times_real_time": seconds / line, "explanation_seconds": explain}


def vit_encoder() -> ClipEncoder:
    """open_clip's ViT-B-16 with random weights, as the preset clip-b16 would run it."""
    device = choose_device("auto")
    dtype = choose_dtype(device, "auto")
    model = open_clip.create_model("ViT-B-16", precision="bf16" if dtype == torch.bfloat16 else "fp32")
    return ClipEncoder(
        model, open_clip.get_tokenizer("ViT-B-16"), name="ViT-B-16", weights="random", use_motion=False, squash=False,
        device=device, dtype=dtype,
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


def long_clip(path: Path, *, seconds: float, size: tuple[int, int] = (1920, 1080), fps: int = 15) -> Path:
    """A long clip made of one short one, packet by packet: no second encoding."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        short = make_clip(Path(folder) / "short.mp4", seconds=10, size=size, fps=fps)
        with av.open(str(short)) as source, av.open(str(path), "w") as out:
            stream = source.streams.video[0]
            target = out.add_stream_from_template(stream)
            packets = [p for p in source.demux(stream) if p.dts is not None]
            assert stream.time_base is not None
            length = int(Fraction(10) / stream.time_base)
            facts = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in packets]
            for turn in range(int(seconds // 10)):
                for data, pts, dts, key in facts:
                    packet = av.Packet(data)
                    packet.pts, packet.dts = (pts or 0) + turn * length, (dts or 0) + turn * length
                    packet.time_base, packet.stream, packet.is_keyframe = stream.time_base, target, key
                    out.mux(packet)
    return path


def peak_memory(command: list[str]) -> tuple[int, int]:
    """(exit status, highest memory in bytes) of a command and all it starts: proportional set size, sampled ten times a second."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
