"""Small clips of six codecs, and damaged copies of them by a seed: the same seed, the same files."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {  # container, encoder, its options
    "h264": ("mp4", "libx264", {"preset": "ultrafast", "g": "8"}), "hevc": ("mkv", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    "av1": ("mp4", "libsvtav1", {"preset": "12"}), "vp9": ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "mpeg4": ("avi", "mpeg4", {}), "mpeg2": ("ts", "mpeg2video", {}),
}  # fmt: skip
SECONDS, RATE = 2.0, 15
KINDS = ("bits", "zeros", "noise", "cut", "twice", "moved", "numbers", "tail")


def whole(folder: Path) -> dict[str, Path]:
    """A clip of each codec, of SECONDS."""
    found = {}
    for codec, (container, encoder, options) in CODECS.items():
        path = folder / f"{codec}.{container}"
        with av.open(str(path), "w") as out:
            stream = out.add_stream(encoder, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for i in range(int(SECONDS * RATE)):
                picture = np.full((64, 96, 3), 40, np.uint8)
                picture[10:40, 2 * i : 2 * i + 30] = (220, 90, 5 * i)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, RATE)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        found[codec] = path
    return found


def damaged(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """A copy with one kind of damage."""
    made = np.frombuffer(data, np.uint8).copy()
    size, place = len(made), int(rng.integers(len(made)))
    length = int(rng.integers(1, max(2, size // 8)))
    if kind == "bits":
        for _ in range(int(rng.choice([1, 20, 200]))):
            made[rng.integers(size)] ^= 1 << rng.integers(8)
    elif kind == "zeros":
        made[place : place + length] = 0
    elif kind == "noise":
        part = made[place : place + length]
        part[:] = rng.integers(0, 256, len(part))
    elif kind == "numbers":  # sizes, counts and times
        for _ in range(5):
            at = int(rng.integers(size))
            value = int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 256])).to_bytes(4, "big")
            made[at : at + 4] = np.frombuffer(value, np.uint8)[: len(made[at : at + 4])]
    parts = {
        "cut": lambda: data[: max(1, place)], "twice": lambda: data[: place + length] + data[place:],
        "moved": lambda: data[:place] + data[place + length :] + data[place : place + length], "tail": lambda: data + bytes(rng.bytes(length)),
    }  # fmt: skip
    return parts[kind]() if kind in parts else made.tobytes()


def mutants(folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Damaged clips, codec after codec and kind after kind."""
    clips, rng = whole(folder), np.random.default_rng(seed)
    for i in range(count):
        codec = list(CODECS)[i % len(CODECS)]
        kind = KINDS[i // len(CODECS) % len(KINDS)]
        path = folder / f"{i:03d}-{codec}-{kind}{clips[codec].suffix}"
        path.write_bytes(damaged(clips[codec].read_bytes(), kind, rng))
        yield path
