"""A file to its facts, its snippets and single frames; frame numbers never leave this room.

In: a path that nobody trusts. Out: `Snippet`s as they are decoded, then a `Video`; or frames at given seconds. Decoding happens
in `vlad.readers`, a child process, so that a clip which hangs, crashes or eats memory costs one clear error.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import resource
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from vlad.config import Settings
from vlad.errors import InputError, LimitError, VideoError
from vlad.readers import BANDS, FLOOR, HEADER, STUCK
from vlad.types import Snippet, Video

PIPE_BYTES = 1 << 20
TEXT_BYTES = 1 << 22  # of a message's JSON: a clip has many gaps at worst
HASHED = 16 << 20  # bytes between two words of progress
LARGE = 256 << 20  # bytes from which a file is opened before it is read through for its hash
HEAD, READ = 60.0, 20e6  # seconds of decoding that are free; bytes of a file that a further second is for
SHORT = 0.5  # seconds that a clip may be shorter than its header says, without a word
MAX_CUT = 1800.0  # seconds of a part that is cut out


def shown(path: str | os.PathLike[str]) -> str:
    """A file name as one printable line, whatever characters it holds."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in os.fspath(path))


Told = Callable[[float, float], None]  # bytes that were read, and all of them


def sha256_file(path: str | os.PathLike[str], on_progress: Told | None = None) -> str:
    """64 hex digits of the file's bytes, read in pieces."""
    digest, done = hashlib.sha256(), 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while piece := file.read(HASHED):
            digest.update(piece)
            done += len(piece)
            if on_progress is not None:
                on_progress(done, size)
    return digest.hexdigest()


def _check_path(path: str | os.PathLike[str], settings: Settings | None = None) -> str:
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
    if settings is not None and facts.st_size > settings.max_bytes:
        raise LimitError(
            f"{shown(path)}: {facts.st_size} bytes; a file has at most {settings.max_bytes} (Settings.max_bytes)"
        )
    return os.path.abspath(path)


class _Child:
    """One run of the decoder, killed with everything it started when the context ends. path: checked.

    It is believed nothing: what it says is checked, and it may take so long as the clip goes on. waited: seconds that it was waited for; seen: seconds of the
    clip that it told of.
    """

    def __init__(self, path: str, settings: Settings, **request: Any) -> None:
        self.name, self.patience, self.work, self.most = (
            shown(path),
            settings.open_seconds,
            settings.work,
            settings.memory_bytes,
        )
        self.waited, self.seen, self._cap = 0.0, 0.0, 0
        names = (
            "snippet_frames", "frames_per_snippet", "max_pixels", "max_seconds", "max_frames", "memory_bytes",
        )  # fmt: skip
        try:
            self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"{self.name}: cannot be opened ({error.strerror})") from None
        self.place, self.size = 0, os.fstat(self.file).st_size
        request |= {"file": self.file, **{name: getattr(settings, name) for name in names}}
        # The decoder finds this very vlad, installed or not, and inherits no secret.
        env = {
            "PYTHONPATH": str(Path(__file__).parent.parent), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vlad.readers"], pass_fds=(self.file,),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, env=env,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.pipe = self.process.stdout.fileno()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._raise_cap()
        self.process.stdin.write(json.dumps(request).encode())
        self.process.stdin.close()

    @property
    def allowed(self) -> float:
        """Seconds that it may be waited for by now."""
        return HEAD + self.size / READ + self.work * self.seen

    def _raise_cap(self) -> None:
        """Processor time by the system, a little above what it may be waited for with two threads: for a decoder that says something all the time."""
        cap = int(2 * self.allowed) + 60
        if cap > self._cap and sys.platform == "linux":
            self._cap = cap + int(60 * self.work)  # not for every snippet anew
            with contextlib.suppress(OSError, ValueError):  # it ended already
                resource.prlimit(self.process.pid, resource.RLIMIT_CPU, (self._cap, resource.RLIM_INFINITY))

    def _read(self, count: int) -> bytearray:
        data, deadline = bytearray(), time.monotonic() + self.patience
        while len(data) < count:
            began = time.monotonic()
            ready = began < deadline and bool(select.select([self.pipe], [], [], deadline - began)[0])
            self.waited += time.monotonic() - began
            if self.waited > self.allowed:
                self.stop()
                raise LimitError(
                    f"{self.name}: decoding takes longer than {self.work:g} s for each second of it; "
                    "convert the clip with ffmpeg, or raise Settings.work"
                )
            if not ready and self._goes_on():  # zeros of a recorder, say
                deadline = time.monotonic() + self.patience
                continue
            if not ready:
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

    def _goes_on(self) -> bool:
        """Whether it read on in the file since it was last asked: the place in an open file is shared."""
        before, self.place = self.place, os.lseek(self.file, 0, os.SEEK_CUR)
        return self.place > before

    def messages(self) -> Iterator[tuple[bytes, dict[str, Any], bytearray]]:
        """(kind, facts, pixels) until the end; a refusal is raised."""
        while True:
            kind, text_bytes, pixel_bytes = HEADER.unpack(self._read(HEADER.size))
            try:
                if text_bytes > TEXT_BYTES or pixel_bytes > self.most:
                    raise ValueError("too long")
                facts = checked_message(kind, bytes(self._read(text_bytes)), pixel_bytes)
            except ValueError:
                self.stop()
                raise VideoError(f"{self.name}: the decoder answers nonsense; convert the clip with ffmpeg") from None
            pixels = self._read(pixel_bytes)
            if kind == b"X":
                error = LimitError if facts["kind"] == "limit" else VideoError
                raise error(f"{self.name}: {shown(facts['message'])}; {shown(facts['advice'])}")
            self.seen = max(self.seen, facts.get("end", facts.get("time", facts.get("start", 0.0))))
            self._raise_cap()
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
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


Finite = Annotated[float, Field(ge=0, le=1e8, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, le=1 << 20)]
Count = Annotated[int, Field(ge=0, le=1 << 40)]


class _Said(BaseModel):
    """What the decoder may say. Its numbers are no text, and nothing is unknown."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Probe(_Said):
    duration: Annotated[float, Field(allow_inf_nan=False)] | None
    codec: str = Field(max_length=60)
    created: str = Field("", max_length=40)


class _Snippet(_Said):
    start: Finite
    end: Finite
    shape: tuple[Size, Size, Size, Literal[3]]


class _Quiet(_Said):
    start: Finite
    end: Finite


class _Frame(_Said):
    time: Finite
    shape: tuple[Size, Size, Literal[3]]


class _Sound(_Said):
    start: Annotated[float, Field(ge=-1e8, le=1e8, allow_inf_nan=False)]
    step: Annotated[float, Field(gt=0, le=1)]
    shape: tuple[Size, Literal[64]]


class _Time(_Said):
    time: Finite


class _Cut(_Said):
    pass


class _End(_Said):
    codec: str = Field("", max_length=60)
    width: Count = 0
    height: Count = 0
    frames: Count = 0
    bad: Count = 0
    retimed: Count = 0
    passed: Count = 0
    gaps: list[tuple[Finite, Finite]] = []
    software: str = Field("", max_length=600)


class _Refusal(_Said):
    kind: Literal["video", "limit"]
    message: str = Field(max_length=1000)
    advice: str = Field(max_length=300)


_KINDS: dict[bytes, tuple[type[_Said], int]] = {  # and bytes of a value; 0: anything goes, -1: nothing does
    b"P": (_Probe, -1), b"S": (_Snippet, 1), b"Q": (_Quiet, -1), b"F": (_Frame, 1), b"A": (_Sound, 4), b"T": (_Time, -1), b"C": (_Cut, 0), b"E": (_End, -1),
    b"X": (_Refusal, -1),
}  # fmt: skip


def checked_message(kind: bytes, text: bytes, size: int) -> dict[str, Any]:
    """The facts of a message of the decoder, which somebody may have taken over. size: bytes behind it. Raises ValueError for what it never says."""
    if kind not in _KINDS:
        raise ValueError("unknown kind")
    model, width = _KINDS[kind]
    facts = model.model_validate_json(text).model_dump()  # its error is a ValueError
    expected = math.prod(facts["shape"]) * width if width > 0 else 0
    if width and size != expected:
        raise ValueError("too few or too many bytes")
    if kind in (b"S", b"Q") and facts["end"] <= facts["start"]:
        raise ValueError("time falls")
    return facts


class Clip:
    """A clip being decoded. Iterate it once for its snippets; then `video` and `warnings` are known.

    duration_hint: seconds by the header, which may lie, or None; for a progress bar only.
    """

    def __init__(
        self, path: str | os.PathLike[str], settings: Settings, *, size: int, sha256: str = "", gated: bool = False
    ) -> None:
        self.path = os.fspath(path)
        absolute = _check_path(path, settings)
        self._child = _Child(absolute, settings, size=size, times=None, hardware=settings.hardware, gated=gated)
        self._messages = self._child.messages()
        self._video: Video | None = None
        self.warnings: tuple[str, ...] = ()
        try:
            self.duration_hint: float | None = next(self._messages)[1]["duration"]
            self.sha256 = sha256 or sha256_file(absolute)  # what is no video is not read through
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
        end, frames = 0.0, None
        for kind, facts, pixels in self._messages:
            if kind == b"S" or (kind == b"Q" and frames is not None):
                if facts["start"] < end:
                    raise VideoError(f"{shown(self.path)}: the decoder answers nonsense; convert the clip with ffmpeg")
                end = facts["end"]
                if kind == b"S":
                    frames = np.frombuffer(pixels, np.uint8).reshape(facts["shape"])
                assert frames is not None
                yield Snippet(frames, facts["start"], end, quiet=kind == b"Q")
            elif kind == b"E" and end and facts["frames"] and facts["width"] and facts["height"]:
                self._finish(facts, end)
            else:
                raise VideoError(f"{shown(self.path)}: the decoder answers nonsense; convert the clip with ffmpeg")

    def _finish(self, facts: dict[str, Any], end: float) -> None:
        gaps = tuple((a, min(b, end)) for a, b in facts["gaps"] if a < min(b, end))
        self._video = Video(
            path=self.path, sha256=self.sha256, duration=end, fps=facts["frames"] / end,
            width=facts["width"], height=facts["height"], codec=facts["codec"], gaps=gaps,
        )  # fmt: skip
        self.warnings = tuple(_warnings(facts, gaps, end, self.duration_hint))

    @property
    def video(self) -> Video:
        """Facts of the clip; known once every snippet was read."""
        if self._video is None:
            raise RuntimeError("Clip.video is known only after the last snippet was read")
        return self._video


def _warnings(
    facts: dict[str, Any], gaps: Sequence[tuple[float, float]], end: float, hint: float | None
) -> Iterator[str]:
    """What a person has to know before trusting that a clip was looked at, a line each."""
    if facts["bad"]:
        lost = sum(b - a for a, b in gaps)
        share = f": nobody saw {lost / end:.0%} of the clip" if lost >= 0.005 * end else ""
        yield f"{facts['bad']} damaged packets; {len(gaps)} gaps, {lost:.1f} s{share}"
    if hint is not None and hint - end > max(SHORT, 0.1 * hint):
        yield f"the file says that it lasts {hint:.1f} s, but pictures of only {end:.1f} s are in it; it may be cut off"
    if facts["retimed"]:
        yield f"{facts['retimed']} of {facts['frames']} frames carry one and the same timestamp; their times are told by the frame rate"
    if facts.get("software"):
        yield shown(facts["software"])
    seen = facts["frames"] + facts["passed"]
    if facts["passed"] > max(STUCK, 0.1 * seen):
        yield f"{facts['passed']} of {seen} frames carry a time that was already seen; they were passed over"


def created(path: str | os.PathLike[str], settings: Settings) -> float | None:
    """When the container says that it was recorded (seconds since 1970), None where it does not. Raises as `open_video` does."""
    child = _Child(_check_path(path, settings), settings, size=1, times=[])
    try:
        said = next(child.messages())[1].get("created") or ""
    finally:
        child.stop()
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def identify(path: str | os.PathLike[str], settings: Settings | None = None, on_progress: Told | None = None) -> str:
    """The SHA-256 (64 hex digits) of a clip that has not been decoded yet. on_progress: of large ones, which are opened first: what is no video costs nothing.

    Raises InputError for a path that cannot be read; with settings, of large files also as `open_video` does.
    """
    absolute = _check_path(path, settings)
    if settings is not None and os.path.getsize(absolute) > LARGE:
        created(path, settings)
    return sha256_file(absolute, on_progress)


def open_video(
    path: str | os.PathLike[str], settings: Settings, *, size: int, sha256: str = "", gated: bool = False
) -> Clip:
    """Begin decoding `path`; use as a context manager and iterate it.

    Each snippet holds `settings.frames_per_snippet` frames of `settings.snippet_frames`, upright RGB, with the short side
    at most `size` pixels. Snippets tile the clip from 0 s to its end by presentation timestamps. sha256: of the file, where it is known. gated: a snippet in which nothing moved
    is `quiet` and shows the frames of the one before (`vlad.activity`). Raises InputError for a path that cannot be read, VideoError for what is no video, LimitError for a clip over a limit.
    """
    return Clip(path, settings, size=size, sha256=sha256, gated=gated)


def frames_at(
    path: str | os.PathLike[str], times: Sequence[float], settings: Settings, *, size: int
) -> list[npt.NDArray[np.uint8]]:
    """The frame on screen at each time (seconds, any order): uint8 RGB [H, W, 3], short side at most `size` pixels.

    A time after the end gives the last frame. Raises as `open_video` does.
    """
    order = sorted(range(len(times)), key=lambda i: times[i])
    found: dict[int, npt.NDArray[np.uint8]] = {}
    child = _Child(_check_path(path, settings), settings, size=size, times=[max(0.0, float(times[i])) for i in order])
    try:
        for kind, facts, pixels in child.messages():
            if kind == b"F":
                found[order[len(found)]] = np.frombuffer(pixels, np.uint8).reshape(facts["shape"])
    finally:
        child.stop()
    return [found[i] for i in range(len(times))]


@dataclass(frozen=True)
class Cover:
    """A place that nobody may see: from `start` to `end` (s), box x, y, width, height in shares of the picture."""

    start: float
    end: float
    box: tuple[float, float, float, float]


def covered(
    path: str | os.PathLike[str], duration: float, covers: Sequence[Cover], how: str, settings: Settings
) -> bytes:
    """The whole clip, as `cut` makes one, with places covered: mosaic, blur or silhouette. Raises as `cut` does."""
    rows = sorted([c.start, c.end, *c.box] for c in covers)
    return _cut(path, 0.0, duration, settings, cover={"how": how, "places": rows})


def cut(path: str | os.PathLike[str], start: float, end: float, settings: Settings) -> bytes:
    """The pictures from `start` to `end` (s) as a new h264 mp4 without sound, in full size and at their own times.

    It is encoded anew (CRF 18), so that nothing but pictures gets out of a file that nobody trusts. Raises InputError for a span that is
    none or longer than MAX_CUT, VideoError where it holds no picture, and as `open_video` does.
    """
    return _cut(path, start, end, settings)


def _cut(path: str | os.PathLike[str], start: float, end: float, settings: Settings, **more: Any) -> bytes:
    if not 0 <= start < end <= start + MAX_CUT:
        raise InputError(f"{shown(path)}: {start:.1f} to {end:.1f} s: expected a span of at most {MAX_CUT:g} s")
    child = _Child(_check_path(path, settings), settings, size=10**6, times=None, cut=(start, end), **more)
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
    child = _Child(_check_path(path, settings), settings, size=1, times=None, sound=True)
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
