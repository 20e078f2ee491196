"""How fast the towers are on a GPU, as shares of what its matrix units did in the same run, and what its decoder does; a part of `vlad eval speed`.

In: clips. Out: lines of the table, none where no GPU is. Weights are random, since speed does not depend on them. A tower's share is its products'
operations a second over those of one large product in the same precision.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from vlad.config import Settings, make_settings
from vlad.encoder import ClipEncoder
from vlad.video import open_video

TOWERS = ("ViT-B-16", "ViT-L-14")
BATCH = 256  # frames a call


def timed(work: Callable[[], Any], times: int = 5) -> float:
    """Seconds that a call takes on the GPU and off it, the least of some, after one that is not counted."""
    work()
    found = []
    for _ in range(times):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


def limits(dtype: torch.dtype) -> tuple[float, float]:
    """(bytes a second that go up from pinned memory, floating point operations a second of a product of 8192 x 8192)."""
    block = torch.ones(64 << 20).pin_memory()
    left = torch.randn(8192, 8192, device="cuda", dtype=dtype)
    up = timed(lambda: block.to("cuda", non_blocking=True))
    return block.nbytes / up, 2 * 8192**3 / timed(lambda: left @ left)


def gpu_lines(
    clip: Path, seconds: float, make: Callable[..., ClipEncoder]
) -> Iterator[tuple[str, float, str, float | None]]:
    """(measure, value, note, bar) each, on a clip of `seconds` s; nothing without a CUDA device. make: an encoder of a tower by its name, compiled or not."""
    if not torch.cuda.is_available():
        return
    up, rate = limits(torch.bfloat16)
    yield "TFLOP a second of a bfloat16 product", rate / 1e12, torch.cuda.get_device_name(), None
    yield "GB a second up from pinned memory", up / 1e9, "", None
    frames = np.random.default_rng(0).integers(
        0, 256, (BATCH, 224, 398, 3), dtype=np.uint8
    )  # as a 640 x 360 clip comes
    needed: dict[str, float] = {}
    for compiled in (False, True):  # the compiler comes last: it takes minutes, and what was measured before stays told
        for name in TOWERS:
            encoder = make(name, compiled=compiled)
            pixels = encoder.pixels(frames)
            took = timed(lambda: encoder.tower(pixels))  # noqa: B023 - called before the loop goes on
            whole = timed(lambda: encoder.tower(encoder.pixels(frames))[0].float().cpu())  # noqa: B023
            if not compiled:
                with FlopCounterMode(display=False) as counter:
                    encoder.tower(pixels)
                needed[name] = counter.get_total_flops()
            share, ready = (needed[name] / t / rate for t in (took, whole))
            kind = f"{name}{', compiled' if compiled else ''}"
            yield f"{kind}: frames a second, tower alone", BATCH / took, f"{share:.2f} of the matrix rate", None
            note = f"{ready:.2f} of the matrix rate, {took / whole:.2f} of the tower alone"
            yield f"{kind}: frames a second from uint8 in memory", BATCH / whole, note, None
            alone = _times(clip, make_settings(cache=None), encoder.size)
            line = timed(lambda: _encoded(clip, encoder), 2)  # noqa: B023
            limit = max(alone, _frames(clip, encoder.size) / BATCH * took)
            yield (
                f"{kind}: times real time, decoding and tower",
                seconds / line,
                f"decoding alone {seconds / alone:.0f}",
                None,
            )
            yield f"{kind}: share of the slower of decoder and tower", limit / line, "", 0.85
    for hardware in ("", "cuda"):
        settings = make_settings(cache=None, hardware=hardware, snippet_frames=1, frames_per_snippet=1)
        took = _times(clip, settings, 224)
        told = _software(clip, settings)
        yield f"times real time: every frame decoded by {hardware or 'software'}", seconds / took, told, None


def _encoded(clip: Path, encoder: ClipEncoder) -> None:
    with open_video(clip, make_settings(cache=None), size=encoder.size) as opened:
        encoder(opened)


def _frames(clip: Path, size: int) -> int:
    with open_video(clip, make_settings(cache=None), size=size) as opened:
        return sum(len(s.frames) for s in opened)


def _times(clip: Path, settings: Settings, size: int) -> float:
    """Seconds that decoding takes, its child's start in it, the least of two."""

    def work() -> None:
        with open_video(clip, settings, size=size) as opened:
            for _ in opened:
                pass

    found = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def _software(clip: Path, settings: Settings) -> str:
    """Why software decoded, or that hardware did, and whether the frames are the software's."""
    told = []
    for hardware in (settings.hardware, ""):
        digest = hashlib.sha256()
        with open_video(clip, settings.model_copy(update={"hardware": hardware}), size=224) as opened:
            for snippet in opened:
                digest.update(snippet.frames.tobytes())
            told.append((digest.hexdigest(), "; ".join(getattr(opened, "warnings", ())) or "no warning"))
    return f"{told[0][1]}; frames {'equal' if told[0][0] == told[1][0] else 'differ from'} the software's"
