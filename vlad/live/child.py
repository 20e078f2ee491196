"""The parent's side of a stream's decoder: it is started, believed nothing, and ended.

In: what it reads, and the settings. Out: checked messages of `vlad.live.reader`, one after another. Its silence, its pace, its memory and its processor time are capped;
whatever goes wrong is one line. Knows no network and no camera.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vlad.config import Settings
from vlad.errors import LimitError, OutputError, VideoError, VladError
from vlad.readers import HEADER
from vlad.video import shown

PIPE_BYTES = 1 << 20
TEXT_BYTES = 1 << 14  # of a message's JSON
HEAD_BYTES, PIECE_BYTES = 1 << 20, 64 << 20  # of a recording's head, and of a fragment
MOST = 100  # messages a second: a camera of 240 frames a second says 16
WIDEST = 32  # times as wide as high that a picture may be, or the other way round
WORK = 2.0  # seconds of processor time a second, at most, above START
START = 60.0

Finite = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, le=1 << 14)]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Nothing(_Said):
    pass


class _Probe(_Said):
    codec: str = Field(max_length=60)
    width: int = Field(ge=0, le=1 << 16)
    height: int = Field(ge=0, le=1 << 16)
    rate: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
    timed: bool


class _Quiet(_Said):
    start: Finite
    end: Finite
    arrived: Finite


class _Snippet(_Quiet):
    shape: tuple[Size, Size, Size, Literal[3]]


class _Time(_Said):
    time: Finite
    arrived: Finite


class _Span(_Said):
    start: Finite
    end: Finite


class _Lost(_Span):
    why: str = Field(max_length=300)


class _Head(_Said):
    start: Finite


class _Ahead(_Said):
    ahead: Annotated[float, Field(ge=-1e10, le=1e10, allow_inf_nan=False)]


class _Refusal(_Said):
    kind: Literal["video", "limit"]
    message: str = Field(max_length=1000)
    advice: str = Field(max_length=300)


_KINDS: dict[bytes, tuple[type[_Said], int]] = {  # and bytes behind it at most; -1: as its shape says
    b"K": (_Nothing, 0), b"P": (_Probe, 0), b"S": (_Snippet, -1), b"Q": (_Quiet, 0), b"T": (_Time, 0), b"L": (_Lost, 0), b"N": (_Ahead, 0),
    b"H": (_Head, HEAD_BYTES), b"G": (_Span, PIECE_BYTES), b"M": (_Nothing, 1 << 20), b"E": (_Nothing, 0), b"X": (_Refusal, 0),
}  # fmt: skip
Message = tuple[bytes, dict[str, Any], bytearray]


def checked(kind: bytes, text: bytes, size: int) -> dict[str, Any]:
    """The facts of a message of a decoder that somebody may have taken over. size: bytes behind it. Raises ValueError for what it never says."""
    if kind not in _KINDS:
        raise ValueError("unknown kind")
    model, most = _KINDS[kind]
    facts = model.model_validate_json(text).model_dump()
    if size != math.prod(facts["shape"]) if most < 0 else size > most:
        raise ValueError("too few or too many bytes")
    if kind in (b"S", b"Q", b"G") and facts["end"] <= facts["start"]:
        raise ValueError("time falls")
    return facts


class Child:
    """One run of `vlad.live.reader`, killed when the context ends.

    source: {"fd": n}, {"url": ...} or {"device": ...}; more: the rest of its request. on_sealed: called when it can reach nothing more. speed: of a test's clock.
    silence: seconds for which it may say nothing before it is given up.
    """

    def __init__(
        self, settings: Settings, source: dict[str, Any], *, size: int, silence: float, speed: float = 1.0,
        snippets: bool = True, packets: bool = False, gated: bool = False, paced: bool = False, backlog: bool = False, form: str = "",
        remux: bool = False, on_sealed: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.silence, self.on_sealed = silence / speed, on_sealed
        self.most = settings.frames_per_snippet * 3 * size * size * WIDEST  # bytes of a snippet
        names = ("snippet_frames", "frames_per_snippet", "max_pixels", "memory_bytes")
        request = {
            **source, "size": size, "snippets": snippets, "packets": packets, "gated": gated, "paced": paced, "backlog": backlog, "format": form, "remux": remux,
            "speed": speed, **{name: getattr(settings, name) for name in names},
        }  # fmt: skip
        env = {
            "PYTHONPATH": str(Path(__file__).parent.parent.parent), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        keep: Sequence[int] = (source["fd"],) if "fd" in source else ()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vlad.live.reader"], pass_fds=keep, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True, env=env, bufsize=0,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.pipe = self.process.stdout.fileno()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.began = self.capped = time.monotonic()
        self.times: list[float] = []  # of the messages of the last second
        self._cap()
        self.process.stdin.write(json.dumps(request).encode() + b"\n")

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def tell(self, what: bytes) -> None:
        """One of the reader's control bytes."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it ended
            self.process.stdin.write(what)

    def messages(self) -> Iterator[Message]:
        """(kind, facts, bytes) until the stream ends. Raises VideoError and LimitError, a line each without the stream's name."""
        while True:
            kind, text_bytes, more = HEADER.unpack(self._read(HEADER.size))
            try:
                if text_bytes > TEXT_BYTES or more > (self.most if kind == b"S" else PIECE_BYTES):
                    raise ValueError("too long")
                facts = checked(kind, bytes(self._read(text_bytes)), more)
            except ValueError:
                self.stop()
                raise VideoError("its decoder answers nonsense") from None
            data = self._read(more)
            if kind != b"M":
                self._count()
            if kind == b"K":
                self.on_sealed()
                continue
            if kind == b"X":
                error = LimitError if facts["kind"] == "limit" else VideoError
                raise error(f"{shown(facts['message'])}; {shown(facts['advice'])}")
            if kind == b"E":
                return
            yield kind, facts, data

    def _read(self, count: int) -> bytearray:
        data, deadline = bytearray(), time.monotonic() + self.silence
        while len(data) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.pipe], [], [], left)[0]:
                raise LimitError(f"no picture came for {self.silence:.0f} s")
            piece = os.read(self.pipe, min(count - len(data), PIPE_BYTES))
            if not piece:
                raise VladError(f"its decoder stopped (exit {self.process.wait()})")
            data += piece
        return data

    def _count(self) -> None:
        now = time.monotonic()
        self.times = [t for t in self.times if t > now - 1] + [now]
        if len(self.times) > MOST:
            raise LimitError(f"it sends more than {MOST} snippets a second")
        if now - self.capped > 30:
            self._cap()

    def _cap(self) -> None:
        """Processor time by the system, which grows as it lives."""
        self.capped = time.monotonic()
        most = int(START + WORK * (self.capped - self.began + START))
        if sys.platform == "linux":
            with contextlib.suppress(OSError, ValueError):
                resource.prlimit(self.process.pid, resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))

    def kill(self) -> None:
        """End it, whatever it is doing; for another thread than the one that reads it."""
        with contextlib.suppress(ProcessLookupError):
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it, and let go of it."""
        self.kill()
        self.process.wait()
        for end in (self.process.stdin, self.process.stdout):
            if end is not None and not end.closed:
                with contextlib.suppress(OSError):
                    end.close()


def plain(path: Path, out: Path, settings: Settings) -> None:
    """A piece of a recording (`vlad.live.ring.Ring.piece`) as a plain MP4 from 0 s, its packets as they are. Raises VideoError, LimitError, OutputError."""
    part = out.with_name(out.name + ".part")
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Child(settings, {"fd": file}, size=1, silence=60.0, remux=True) as child, open(part, "wb") as written:
            for _, _, data in child.messages():
                written.write(data)
        os.replace(part, out)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from None
    finally:
        os.close(file)
        part.unlink(missing_ok=True)
