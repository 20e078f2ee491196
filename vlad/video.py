"""A file to its facts, its snippets and single frames; frame numbers never leave this room.

In: a path that nobody trusts. Out: `Snippet`s as they are decoded, then a `Video`; or frames at given seconds. Decoding happens
in `vlad.readers`, a child process, so that a clip which hangs, crashes or eats memory costs one clear error.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.errors import InputError, LimitError, VideoError
from vlad.readers import BANDS, FLOOR, HEADER
from vlad.types import Snippet, Video

PIPE_BYTES = 1 << 20
MAX_CUT = 1800.0  # seconds of a part that is cut out


def shown(path: str | os.PathLike[str]) -> str:
    """A file name as one printable line, whatever characters it holds."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in os.fspath(path))


def sha256_file(path: str | os.PathLike[str]) -> str:
    """64 hex digits of the file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_path(path: str | os.PathLike[str]) -> str:
    try:
        facts = os.stat(path)
        if stat.S_ISDIR(facts.st_mode):
            raise InputError(f"{shown(path)}: a folder, expected a video file; name the clips in it")
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f"{shown(path)}: not a regular file; copy the clip to a file first")
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{shown(path)}: no such file; check the path") from None
    except PermissionError:
        raise InputError(f"{shown(path)}: no permission to read it; try chmod +r") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)}: cannot be opened ({error})") from None
    if not facts.st_size:
        raise VideoError(f"{shown(path)}: the file is empty; copy it again from its source")
    return os.path.abspath(path)


class _Child:
    """One run of the decoder, killed with everything it started when the context ends."""

    def __init__(self, path: str, settings: Settings, **request: Any) -> None:
        self.name, self.patience = shown(path), settings.open_seconds
        names = ("reader", "snippet_frames", "frames_per_snippet", "max_pixels", "max_seconds", "memory_bytes")
        request |= {"path": path, **{name: getattr(settings, name) for name in names}}
        # The decoder finds this very vlad, installed or not, and inherits no secret.
        env = {"PYTHONPATH": str(Path(__file__).parent.parent), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vlad.readers"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, env=env,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.pipe = self.process.stdout.fileno()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.process.stdin.write(json.dumps(request).encode())
        self.process.stdin.close()

    def _read(self, count: int) -> bytearray:
        data, deadline = bytearray(), time.monotonic() + self.patience
        while len(data) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.pipe], [], [], left)[0]:
                self.stop()
                raise LimitError(
                    f"{self.name}: the decoder said nothing for {self.patience:g} s; "
                    "convert the clip with ffmpeg, or raise Settings.open_seconds"
                )
            piece = os.read(self.pipe, min(count - len(data), PIPE_BYTES))
            if not piece:
                code = self.process.wait()
                raise VideoError(f"{self.name}: the decoder stopped (exit {code}); convert the clip with ffmpeg")
            data += piece
        return data

    def messages(self) -> Iterator[tuple[bytes, dict[str, Any], bytearray]]:
        """(kind, facts, pixels) until the end; a refusal is raised."""
        while True:
            kind, text_bytes, pixel_bytes = HEADER.unpack(self._read(HEADER.size))
            facts = json.loads(self._read(text_bytes))
            pixels = self._read(pixel_bytes)
            if kind == b"X":
                error = LimitError if facts["kind"] == "limit" else VideoError
                raise error(f"{self.name}: {facts['message']}; convert the clip to h264 with ffmpeg and try again")
            yield kind, facts, pixels
            if kind == b"E":
                return

    def stop(self) -> None:
        """End the child, whatever it is doing."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Clip:
    """A clip being decoded. Iterate it once for its snippets; then `video` and `warnings` are known.

    duration_hint: seconds by the header, which may lie, or None; for a progress bar only.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Settings, *, size: int) -> None:
        self.path = os.fspath(path)
        absolute = _check_path(path)
        self.sha256 = sha256_file(absolute)
        self._child = _Child(absolute, settings, size=size, times=None)
        self._messages = self._child.messages()
        self._video: Video | None = None
        self.warnings: tuple[str, ...] = ()
        try:
            self.duration_hint: float | None = next(self._messages)[1]["duration"]
        except BaseException:
            self._child.stop()
            raise

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.stop()

    def __iter__(self) -> Iterator[Snippet]:
        end = 0.0
        for kind, facts, pixels in self._messages:
            if kind == b"S":
                end = facts["end"]
                yield Snippet(np.frombuffer(pixels, np.uint8).reshape(facts["shape"]), facts["start"], end)
            else:
                self._finish(facts, end)

    def _finish(self, facts: dict[str, Any], end: float) -> None:
        gaps = tuple((a, min(b, end)) for a, b in facts["gaps"] if a < min(b, end))
        self._video = Video(
            path=self.path, sha256=self.sha256, duration=end, fps=facts["frames"] / end,
            width=facts["width"], height=facts["height"], codec=facts["codec"], gaps=gaps,
        )  # fmt: skip
        if facts["bad"]:
            lost = sum(b - a for a, b in gaps)
            self.warnings = (f"{facts['bad']} damaged packets; {len(gaps)} gaps, {lost:.1f} s",)

    @property
    def video(self) -> Video:
        """Facts of the clip; known once every snippet was read."""
        if self._video is None:
            raise RuntimeError("Clip.video is known only after the last snippet was read")
        return self._video


def open_video(path: str | os.PathLike[str], settings: Settings, *, size: int) -> Clip:
    """Begin decoding `path`; use as a context manager and iterate it.

    Each snippet holds `settings.frames_per_snippet` frames of `settings.snippet_frames`, upright RGB, with the short side
    at most `size` pixels. Snippets tile the clip from 0 s to its end by presentation timestamps. Raises InputError for a
    path that cannot be read, VideoError for what is no video, LimitError for a clip over a limit.
    """
    return Clip(path, settings, size=size)


def frames_at(
    path: str | os.PathLike[str], times: Sequence[float], settings: Settings, *, size: int
) -> list[npt.NDArray[np.uint8]]:
    """The frame on screen at each time (seconds, any order): uint8 RGB [H, W, 3], short side at most `size` pixels.

    A time after the end gives the last frame. Raises as `open_video` does.
    """
    order = sorted(range(len(times)), key=lambda i: times[i])
    found: dict[int, npt.NDArray[np.uint8]] = {}
    trusted_by_nobody = settings.model_copy(update={"reader": "pyav"})
    child = _Child(_check_path(path), trusted_by_nobody, size=size, times=[max(0.0, float(times[i])) for i in order])
    try:
        for kind, facts, pixels in child.messages():
            if kind == b"F":
                found[order[len(found)]] = np.frombuffer(pixels, np.uint8).reshape(facts["shape"])
    finally:
        child.stop()
    return [found[i] for i in range(len(times))]


def cut(path: str | os.PathLike[str], start: float, end: float, settings: Settings) -> bytes:
    """The pictures from `start` to `end` (s) as a new h264 mp4 without sound, in full size and at their own times.

    It is encoded anew (CRF 18), so that nothing but pictures gets out of a file that nobody trusts. Raises InputError for a span that is
    none or longer than MAX_CUT, VideoError where it holds no picture, and as `open_video` does.
    """
    if not 0 <= start < end <= start + MAX_CUT:
        raise InputError(f"{shown(path)}: {start:.1f} to {end:.1f} s: expected a span of at most {MAX_CUT:g} s")
    trusted_by_nobody = settings.model_copy(update={"reader": "pyav"})
    child = _Child(_check_path(path), trusted_by_nobody, size=10**6, times=None, cut=(start, end))
    try:
        return b"".join(bytes(raw) for kind, _, raw in child.messages() if kind == b"C")
    finally:
        child.stop()


def sound_of(
    path: str | os.PathLike[str], edges: npt.NDArray[np.float64], settings: Settings
) -> npt.NDArray[np.float32] | None:
    """Log-mel descriptors of each snippet between `edges` [T + 1] (s): the mean and the deviation of 64 bands, float32 [T, 128].

    A snippet without sound has those of silence. None for a clip without a sound track. Raises as `open_video` does.
    """
    trusted_by_nobody = settings.model_copy(update={"reader": "pyav"})
    child = _Child(_check_path(path), trusted_by_nobody, size=1, times=None, sound=True)
    count = np.zeros(len(edges) - 1)
    sums = np.zeros((2, len(edges) - 1, BANDS))
    try:
        for kind, facts, raw in child.messages():
            if kind != b"A":
                continue
            bands = np.frombuffer(raw, np.float32).reshape(facts["shape"]).astype(np.float64)
            times = facts["start"] + (np.arange(len(bands)) + 0.5) * facts["step"]
            place = np.searchsorted(edges, times, side="right") - 1
            inside = (place >= 0) & (place < len(count))
            np.add.at(count, place[inside], 1)
            for power, total in enumerate(sums, 1):
                np.add.at(total, place[inside], bands[inside] ** power)
    finally:
        child.stop()
    if not count.any():
        return None
    mean, square = sums / np.maximum(count, 1)[:, None]
    mean[count == 0] = np.log(FLOOR)
    deviation = np.sqrt(np.maximum(square - mean**2, 0)) * (count > 0)[:, None]
    return np.concatenate([mean, deviation], axis=1).astype(np.float32)
