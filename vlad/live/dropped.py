"""Files that a recorder drops into a folder: each once, in order of their time, as soon as it is whole.

In: a folder, folders within it (one a day, say) too, and a file that remembers how far it was read. Out: `Recording`s. Follows no link. Knows no camera and no library.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vlad.clock import from_name, plausible
from vlad.live.network import Denied, Unreachable

SETTLED = 3.0  # seconds for which a dropped file may not change before it counts as whole
DEPTH = 5  # folders within folders that are looked into: year, month, day, hour
AGAIN = 10.0  # seconds of what was read before a stop that are read once more: a file may have settled later than a newer one
ENDINGS = frozenset(
    [".mp4", ".mkv", ".avi", ".ts", ".mov", ".webm", ".m4v", ".mpg", ".flv", ".asf", ".dav", ".264", ".265", ".h264"]
)


LINKLESS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Recording:
    """A dropped file. name: its path within the folder, / written as _. began: when by its name (s since 1970), None where that does not tell. changed, arrived: its last change where that
    may be, and when it came here."""

    folder: Path
    within: str
    began: float | None
    changed: float
    arrived: float

    @property
    def name(self) -> str:
        """See above."""
        return self.within.replace(os.sep, "_")

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """To be read. No link is followed, not even one that took the place of a folder since it was listed. Raises OSError, Denied for what is no file."""
        *folders, last = self.within.split(os.sep)
        with contextlib.ExitStack() as stack:
            place = _folder(self.folder, stack)
            for one in folders:
                place = _folder(one, stack, within=place)
            # a pipe would wait for whoever writes
            with open(os.open(last, LINKLESS | os.O_NONBLOCK, dir_fd=place), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Denied("what lies there is no file")
                yield file


def _folder(name: str | Path, stack: contextlib.ExitStack, within: int | None = None) -> int:
    """A folder's descriptor. within: of the one that it lies in, where it may be no link."""
    flags = LINKLESS if within is not None else os.O_RDONLY | os.O_CLOEXEC
    place = os.open(name, flags | os.O_DIRECTORY, dir_fd=within)
    stack.callback(os.close, place)
    return place


def _state(facts: os.stat_result) -> tuple[int, float]:
    return facts.st_size, facts.st_mtime


class Dropped:
    """zone: of the recorder's clock, by which it names files. mark: remembers how far was read, so that whoever goes on misses nothing; None to begin with what comes from now on.
    What lay there at the very first start is left alone. now: seconds since 1970; ticks: seconds of a clock that nobody sets. Raises Unreachable where the folder cannot be read."""

    def __init__(
        self, folder: Path, *, zone: str = "", mark: Path | None = None,
        now: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.folder, self.zone, self.mark, self.now, self.ticks = folder, zone, mark, now, ticks
        self._own: tuple[int, int] | None = None  # of the folder: another one is mounted there, or none any more
        self._left: dict[str, float] = {}  # by name, when what is not done with yet arrived
        self._done = 0.0  # when the newest arrived of what is
        here = list(self._files())
        before = self._marked()
        self._until = max((f.st_ctime for _, f in here), default=0.0) if before is None else min(before, self.now())
        self._read = {name: _state(facts) for name, facts in here if facts.st_ctime <= self._until}  # as they were then
        self._waits: dict[str, tuple[tuple[int, float], float]] = {}  # by name, since when it is as it is, by `ticks`
        self._remember()

    def whole(self) -> list[Recording]:
        """Files that are whole since the last call; one that grew after all, or whose name is used anew, once more."""
        found, here = [], set()
        for name, facts in self._files():
            here.add(name)
            state = _state(facts)
            if self._read.get(name) == state:
                continue
            before, since = self._waits.get(name, (None, 0.0))
            if before != state:
                self._waits[name] = (state, self.ticks())
            elif self.ticks() - since >= SETTLED and facts.st_size:
                self._read[name] = state
                found.append(self._recording(name, facts))
        self._read = {name: state for name, state in self._read.items() if name in here}
        self._waits = {
            name: own for name, own in self._waits.items() if name in here and own[0] != self._read.get(name)
        }
        self._left = {f.within: f.arrived for f in found}
        return sorted(found, key=lambda f: (f.changed if f.began is None else f.began, f.name))

    def read(self, one: Recording) -> None:
        """It is done with: who begins again goes on before what is not."""
        self._left.pop(one.within, None)
        self._done = max(self._done, one.arrived)
        until = min(self._done, self.now(), *self._left.values()) - AGAIN  # a clock that was ahead hides nothing
        if until > self._until:
            self._until = until
            self._remember()

    def _remember(self) -> None:
        if self.mark is not None:
            part = self.mark.with_suffix(".part")
            with contextlib.suppress(OSError):  # a full disk costs a second look
                part.write_text(repr(self._until), encoding="ascii")
                os.replace(part, self.mark)

    def _marked(self) -> float | None:
        try:
            return float(self.mark.read_text(encoding="ascii")) if self.mark is not None else None
        except (OSError, ValueError):
            return None

    def _recording(self, name: str, facts: os.stat_result) -> Recording:
        began = from_name(Path(name).name, self.zone, self.now())
        if began is None:  # a day's folder with the hour as a name
            began = from_name(name.replace(os.sep, "_"), self.zone, self.now())
        changed = next((t for t in (facts.st_mtime, facts.st_ctime) if plausible(t, self.now())), self.now())
        return Recording(self.folder, name, began, changed, facts.st_ctime)

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        try:
            with contextlib.ExitStack() as stack:
                place = _folder(self.folder, stack)
                facts = os.fstat(place)
                own = (facts.st_dev, facts.st_ino)
                self._own = self._own or own
                if own != self._own:
                    raise Unreachable("another folder lies there than before")
                yield from self._within(place, "", DEPTH)
        except OSError as error:
            raise Unreachable(f"the folder cannot be read ({error.strerror})") from None

    def _within(self, place: int, below: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(place) as entries:
            for entry in entries:
                name = os.path.join(below, entry.name)
                with contextlib.suppress(OSError):  # it went, is somebody else's, or became something else meanwhile
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if depth:
                            with contextlib.ExitStack() as stack:
                                yield from self._within(_folder(entry.name, stack, place), name, depth - 1)
                    elif Path(entry.name).suffix.lower() in ENDINGS and entry.is_file(follow_symlinks=False):
                        yield name, entry.stat(follow_symlinks=False)
