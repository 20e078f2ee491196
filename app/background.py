"""What goes on behind the server: workers, sweeps, seals and messages about alarms, each a turn that is taken again and again and outlives whatever goes wrong in it.

In: a library. Out: nothing but their work, and what `/healthz` and `/metrics` tell of them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

from vlad.clock import Steady
from vlad.config import Settings
from vlad.library import Library
from vlad.library.seal import Seal
from vlad.live.out import Courier

log = logging.getLogger("vlad.app")
SENT = 0.5  # seconds between two looks whether a message is due
WAITED = 15.0  # seconds between two starts of the process that watches cameras
SEALED = 5.0  # seconds between two looks whether the log has grown
SWEPT = 3600.0  # seconds between two sweeps
AGAIN = 60.0  # seconds after which what failed is tried again, at the latest
UNFINISHED = 7.0  # days after which an upload that never ended is forgotten


class Loop:
    """A turn that is taken every so many seconds, as long as it lives. last: also once when it ends.

    A database that is away, a disk that is full, a bug: the next turn tries again, and meanwhile `state` says that it fails.
    """

    def __init__(self, name: str, every: float, turn: Callable[[], None], *, last: bool = False) -> None:
        self.name, self.every, self.turn, self.last = name, every, turn, last
        self.stop, self.ran, self.failed = threading.Event(), 0.0, 0
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Loop:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()

    def _run(self) -> None:
        while not self.stop.is_set():
            self._take()
            self.stop.wait(min(self.every, AGAIN) if self.failed else self.every)
        if self.last:
            self._take()

    def _take(self) -> None:
        try:
            self.turn()
            self.ran, self.failed = time.monotonic(), 0
        except Exception:
            self.failed += 1
            log.exception("%s", self.name)

    def state(self) -> dict[str, Any]:
        """ago: seconds since a turn went well, None before the first. failed: turns since then that did not. alive: whether it goes on."""
        ago = round(time.monotonic() - self.ran, 1) if self.ran else None
        return {"ago": ago, "failed": self.failed, "alive": self.thread.is_alive()}


class Retention:
    """Removes unfinished uploads, strays, and clips and alarms older than the library's option `retention_days`; scores and messages that are weeks old.

    A clock that jumped removes nothing for a day: see `steady`.
    """

    def __init__(self, library: Library) -> None:
        self.library, self.strays, self.clock = library, 0, Steady()

    def turn(self) -> None:
        """One sweep, now."""
        self.look(time.time(), time.monotonic())

    def look(self, now: float, ticks: float) -> None:
        """One sweep. now: seconds since 1970; ticks: of a clock that nobody sets."""
        steady = self.steady(now, ticks)
        self.library.forget_changes()
        if steady:
            self.library.forget_scores()
            self.library.forget_messages()
            self.library.forget_sought()
            self.library.forget_uploads(UNFINISHED)
            days = self.library.options().get("retention_days")
            if days is not None:
                self.library.retire(days)
                self.library.forget_alarms(days)
        _, self.strays = self.library.sweep()
        self.library.sweep_plans()
        self.library.shelf.trim()

    def steady(self, now: float, ticks: float) -> bool:
        """Whether the clock can be believed."""
        return self.clock.look(now, ticks, self.library.swept(now))


class Workers:
    """`count` worker processes, started again when one ends."""

    def __init__(self, library: Library, url: str, settings: Settings, count: int) -> None:
        self.library, self.count, self.run = library, count, uuid4().hex[:8]
        changes = settings.model_dump(mode="json", exclude_defaults=True)
        if settings.server_key:  # is left out of every dump
            changes["server_key"] = settings.server_key
        self.told = {
            "library": url,
            "place": library.shelf.place,
            "copies": str(library.folder),
            "settings": changes,
            "server": os.getpid(),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: list[str] = []
        self._started = 0

    @property
    def alive(self) -> int:
        """How many there are."""
        return sum(p.poll() is None for p in list(self.processes.values()))

    def turn(self) -> None:
        """Those that ended are started again; what one was at counts as tried: its server lives, so nothing but the clip or that worker failed."""
        for name in [n for n, p in self.processes.items() if p.poll() is not None]:
            del self.processes[name]
            self.ended.append(name)  # kept until the library took it: it may be locked, or away
        while len(self.processes) < self.count:
            self._start()
        while self.ended:
            self.library.died(self.ended[0])
            del self.ended[0]

    def _start(self) -> None:
        self._started += 1
        name = f"{os.uname().nodename[:30]}-{self.run}-{self._started}"
        self.processes[name] = started("vlad.app.worker", {**self.told, "name": name})

    def end(self) -> None:
        """Each ends after its clip; what takes longer waits for the next server, and was not tried."""
        for process in self.processes.values():
            process.terminate()
        for name, process in self.processes.items():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                try:
                    self.library.release(name)
                except Exception:  # it is found by its silence
                    log.exception("release")


class Watching:
    """The process that watches the library's cameras, started while there are any, and again when it ends; not at once where it did not live long."""

    def __init__(self, crew: Workers, allow: Sequence[str] = ()) -> None:
        self.library, self.told, self.allow = crew.library, crew.told, list(allow)
        self.name = f"{os.uname().nodename[:20]}-{crew.run}"
        self.process: subprocess.Popen[bytes] | None = None
        self.began = -WAITED

    def turn(self) -> None:
        """Start it where it is not there and there are cameras."""
        if (self.process is not None and self.process.poll() is None) or time.monotonic() - self.began < WAITED:
            return
        if not any(row.on for row in self.library.cameras()):
            return
        self.began = time.monotonic()
        self.process = started("vlad.live.watcher", {**self.told, "name": self.name, "allow": self.allow})

    def end(self) -> None:
        """It ends; what it had begun is in the library, or goes on with the next."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def started(module: str, told: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """A process of this Python; what it is told may hold a password, so no list of processes shows it."""
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE)  # noqa: S603 - one of our own
    assert process.stdin is not None
    process.stdin.write(json.dumps(told).encode())
    process.stdin.close()
    return process


def work(library: Library, url: str, settings: Settings, count: int) -> None:
    """Workers without a page, until SIGTERM or Ctrl-C: for a library whose page runs on another machine."""
    crew, over = Workers(library, url, settings, count), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())

    def swept() -> None:
        library.sweep()
        library.shelf.trim()

    print(f"vlad: {count} workers  library {library.shelf.place}  (Ctrl-C ends it)", flush=True)
    with ExitStack() as stack:
        stack.callback(crew.end)
        stack.enter_context(Loop("workers", 1.0, crew.turn))
        stack.enter_context(Loop("copies", SWEPT, swept))
        over.wait()


class Background:
    """All of it. state: what /healthz tells."""

    def __init__(
        self, library: Library, url: str, settings: Settings, workers: int, syslog: str = "", allow: Sequence[str] = (), contact: str = "",
    ) -> None:  # fmt: skip
        self.crew, self.sweeps = Workers(library, url, settings, workers), Retention(library)
        seal = Seal(url, syslog=syslog)

        def sealed() -> None:
            with library.read() as session:
                seal.add(session)

        self.courier, self.watching = Courier(library, contact=contact), Watching(self.crew, allow)
        self.loops = [
            Loop("cameras", 1.0, self.watching.turn),
            Loop("workers", 1.0, self.crew.turn),
            Loop("sweeps", SWEPT, self.sweeps.turn),
            Loop("seals", SEALED, sealed, last=True),
            Loop("messages", SENT, self.courier.turn),
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Background:
        self._stack.callback(self.crew.end)  # once nobody starts them again
        self._stack.callback(self.watching.end)
        self._stack.callback(self.courier.close)
        for loop in self.loops:
            self._stack.enter_context(loop)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def state(self) -> dict[str, Any]:
        """workers: alive; strays: files that could not be removed; loops: by name, see Loop.state."""
        return {
            "workers": self.crew.alive, "wanted": self.crew.count, "strays": self.sweeps.strays,
            "loops": {loop.name: loop.state() for loop in self.loops},
        }  # fmt: skip
