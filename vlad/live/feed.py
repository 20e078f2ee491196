"""A source's bytes in a pipe to its decoder, by a thread of their own; and files that grow.

In: a function that puts bytes. Out: the pipe's end, and one line that says why it ended. Knows no video.
"""

from __future__ import annotations

import contextlib
import os
import select
import ssl
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from vlad.errors import VladError
from vlad.live.network import ANSWER, CONNECT, PIECE, Budget, Denied, Unreachable

JOINED_ANYWHERE = (
    b"\x47",
    b"\x00\x00\x01\xba",
    b"\x00\x00\x00\x01",
    b"\x00\x00\x01",
    b"\xff\xd8",
)  # TS, PS, raw H.264 and HEVC, JPEGs
LOOK = 0.05  # seconds from one look at a file to the next
GONE = 30.0  # seconds for which a file may not grow


class Feed:
    """What a source sends, written into a pipe by a thread. `error` is why it ended, None while it runs; `read` is the pipe's end for the decoder.

    form: FFmpeg's name of the format where the bytes do not tell it; known after `ready`. paced: they come many at once.
    """

    def __init__(self, work: Callable[[Feed], None]) -> None:
        self.read, self._write = os.pipe()
        self.form, self.paced, self.counted = "", False, 0
        self.error: VladError | None = None
        self.ready, self.stop = threading.Event(), threading.Event()
        self._caught_up, self._on_caught_up = threading.Event(), None  # type: threading.Event, Callable[[], None] | None
        self._budget, self._work = Budget(), work
        os.set_blocking(self._write, False)
        self._thread = threading.Thread(target=self._run, daemon=True, name="feed")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work(self)
            self.error = Unreachable("the stream ended")
        except VladError as error:
            self.error = error
        except BrokenPipeError:
            self.error = Unreachable("its decoder ended")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError, ValueError) as error:
            self.error = Unreachable(_told(error))
        finally:
            os.close(self._write)
            self.ready.set()

    def put(self, piece: bytes) -> None:
        """Some bytes, as fast as they are taken."""
        self.counted += len(piece)
        self._budget.spend(len(piece))
        view = memoryview(piece)
        while view and not self.stop.is_set():
            if select.select([], [self._write], [], 0.2)[1]:
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._write, view) :]
        if self.stop.is_set():
            raise Unreachable("it was stopped")

    def reached(self) -> None:
        """What a file held before is over."""
        self._caught_up.set()
        if self._on_caught_up is not None:
            self._on_caught_up()

    def caught_up(self, tell: Callable[[], None]) -> None:
        """Have it told when what a file held before is over; at once where it is."""
        self._on_caught_up = tell
        if self._caught_up.is_set():
            tell()

    def given(self) -> None:
        """The decoder has the pipe's end: whoever writes learns when it is gone."""
        os.close(self.read)
        self.read = -1

    def begin(self, *, form: str = "", paced: bool = False) -> None:
        """What it is is known."""
        self.form, self.paced = form, paced
        self.ready.set()

    def close(self) -> None:
        """End it."""
        self.stop.set()
        if self.read >= 0:
            self.given()
        self._thread.join(timeout=CONNECT * 2)


def _told(error: BaseException) -> str:
    """A line about an error of the network, without the address that httpx repeats."""
    names = {
        "ConnectTimeout": "no connection", "ReadTimeout": f"it said nothing for {ANSWER:.0f} s", "ConnectError": "no connection",
        "RemoteProtocolError": "what it sends is no HTTP, or it broke off", "LocalProtocolError": "its address cannot be asked for",
    }  # fmt: skip
    return names.get(type(error).__name__, f"the connection broke ({type(error).__name__})")


def growing(path: Path) -> Callable[[Feed], None]:
    """The work of a Feed: what is added to a file from now on; of a kind that cannot be joined in its middle all of it, with a word when the old part is over."""

    def work(feed: Feed) -> None:
        try:
            file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise Unreachable(f"the file cannot be opened ({error.strerror})") from None
        with file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):  # a pipe would wait for whoever writes, and /dev/zero has no end
                raise Denied("what lies there is no file")
            old = facts.st_size
            if file.read(4).startswith(JOINED_ANYWHERE):
                file.seek(old - old % 188 if old else 0)
                old = 0
            else:
                file.seek(0)
            feed.begin(paced=True)
            told, grew = False, time.monotonic()
            while not feed.stop.is_set():
                if not told and file.tell() >= old:
                    told = True
                    feed.reached()
                piece = file.read(PIECE)
                if piece:
                    grew = time.monotonic()
                    feed.put(piece)
                    continue
                if os.fstat(file.fileno()).st_size < file.tell():
                    raise Unreachable("the file was begun anew")
                if time.monotonic() - grew > GONE:
                    raise Unreachable(f"the file did not grow for {GONE:.0f} s")
                feed.stop.wait(LOOK)

    return work
