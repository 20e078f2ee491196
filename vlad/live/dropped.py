"""Files that a recorder drops into a folder: each once, in order of their time, as soon as it is whole.

In: a folder, folders within it (one a day, say) too, and a file that remembers how far it was read. Out: `Recording`s. Follows no link. Knows no camera and no library.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlad.clock import from_name
from vlad.live.network import Unreachable

SETTLED = 3.0  # seconds for which a dropped file may not change before it counts as whole
DEPTH = 5  # folders within folders that are looked into: year, month, day, hour
AGAIN = 10.0  # seconds of what was read before a stop that are read once more: a file may have settled later than a newer one
ENDINGS = frozenset(
    [".mp4", ".mkv", ".avi", ".ts", ".mov", ".webm", ".m4v", ".mpg", ".flv", ".asf", ".dav", ".264", ".265", ".h264"]
)


@dataclass(frozen=True)
class Recording:
    """A dropped file. name: its path within the folder, / written as _. began: when by its name (s since 1970), None where that does not tell. changed, arrived: its last change, and when it came here."""

    path: Path
    name: str
    began: float | None
    changed: float
    arrived: float


class Dropped:
    """zone: of the recorder's clock, by which it names files. mark: remembers how far was read, so that whoever goes on misses nothing; None to begin with what comes from now on.
    What lay there at the very first start is left alone. Raises Unreachable where the folder cannot be read."""

    def __init__(
        self, folder: Path, *, zone: str = "", mark: Path | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self.folder, self.zone, self.mark, self.now = folder, zone, mark, now
        here = list(self._files())
        before = self._marked()
        self._until = max((f.st_ctime for _, f in here), default=0.0) if before is None else before
        self._known: dict[str, tuple[int, float, float] | None] = {
            name: None for name, facts in here if facts.st_ctime <= self._until
        }
        self._remember()

    def whole(self) -> list[Recording]:
        """Files that are whole since the last call."""
        found, here = [], set()
        for name, facts in self._files():
            here.add(name)
            if name in self._known and self._known[name] is None:
                continue
            state = (facts.st_size, facts.st_mtime)
            before = self._known.get(name)
            if before is None or before[:2] != state:
                self._known[name] = (*state, self.now())
            elif self.now() - before[2] >= SETTLED and facts.st_size:
                self._known[name] = None
                found.append(self._recording(name, facts))
        self._known = {name: state for name, state in self._known.items() if name in here}
        return sorted(found, key=lambda f: (f.changed if f.began is None else f.began, f.name))

    def read(self, recordings: list[Recording]) -> None:
        """All of them are done with: who begins again goes on behind them."""
        self._until = max(self._until, *(r.arrived - AGAIN for r in recordings), 0.0)
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
        flat = name.replace(os.sep, "_")
        began = from_name(Path(name).name, self.zone, self.now())
        if began is None:
            began = from_name(flat, self.zone, self.now())  # a day's folder with the hour as a name
        return Recording(self.folder / name, flat, began, facts.st_mtime, facts.st_ctime)

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        try:
            yield from self._within("", DEPTH)
        except OSError as error:
            raise Unreachable(f"the folder cannot be read ({error.strerror})") from None

    def _within(self, below: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(self.folder / below) as entries:
            for entry in entries:
                name = os.path.join(below, entry.name)
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if depth:
                            yield from self._within(name, depth - 1)
                    elif Path(entry.name).suffix.lower() in ENDINGS and entry.is_file(follow_symlinks=False):
                        yield name, entry.stat(follow_symlinks=False)
