"""What cameras sent lately, on disk, as they sent it: a ring of fragments that forgets by hours and by bytes.

In: the head of each recording and its fragments, by `vlad.live.reader`. Out: files for a span, and HLS playlists. A folder a recording:
`<start>/header.mp4` and `<start>-<end>.m4s`, times in milliseconds since 1970. A fragment is there whole or not at all, whatever dies in between. Knows no video.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlad.clock import JUMP
from vlad.errors import OutputError

HEAD = "header.mp4"
NAME = re.compile(r"(\d{1,16})-(\d{1,16})\.m4s")
FOLDER = re.compile(r"\d{1,16}")
SWEEP = 60.0  # seconds from one look for what is to be forgotten to the next
TOGETHER = 1.0  # seconds that may lie between two fragments of one piece


@dataclass(frozen=True, order=True)
class Fragment:
    """start, end: seconds since 1970. size: bytes."""

    start: float
    end: float
    path: Path
    size: int


class Ring:
    """The ring of one camera. hours, most: what is older, and beyond so many bytes, is forgotten, the oldest first; never what is held.

    steady: whether the clock can be believed; while it cannot, nothing is forgotten by hours. writes: one process does; others read. Raises OutputError where the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        hours: float = 24.0,
        most: int = 10 << 30,
        now: Callable[[], float] = time.time,
        steady: Callable[[], bool] = lambda: True,
        writes: bool = True,
    ) -> None:
        self.folder, self.hours, self.most, self.now, self.steady = folder, hours, most, now, steady
        self._lock = threading.Lock()
        self._session: Path | None = None
        self._newest = 0.0  # seconds since 1970 at which the last fragment of it begins
        self._holds: list[tuple[float, float]] = []
        self._swept = 0.0
        if not writes:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.rglob("*.part"):  # whoever wrote it was killed
                part.unlink()
            for session in self._sessions():
                if not (session / HEAD).exists():
                    shutil.rmtree(session)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror})") from None

    def begin(self, head: bytes, start: float) -> None:
        """A new recording. head: ftyp and moov. start: seconds since 1970. Raises OutputError."""
        with self._lock:
            number = int(start * 1000)
            while (self.folder / str(number)).exists():
                number += 1
            session = self.folder / str(number)
            try:
                session.mkdir()
                self._put(session / HEAD, head)
            except OSError as error:
                shutil.rmtree(session, ignore_errors=True)
                raise OutputError(f"{self.folder}: cannot be written ({error.strerror})") from None
            self._session, self._newest = session, 0.0

    def add(self, piece: bytes, start: float, end: float) -> Path | None:
        """A fragment of the recording that was begun last; where none was, nothing. Raises OutputError, such as for a full disk."""
        with self._lock:
            if self._session is None:
                return None
            start = max(
                start, self._newest + 0.002
            )  # a clock that is corrected puts no fragment before those that it goes on from
            self._newest, end = start, max(end, start + 0.001)
            path = self._session / f"{int(start * 1000)}-{int(end * 1000)}.m4s"
            try:
                self._put(path, piece)
            except OSError as error:
                raise OutputError(f"{self.folder}: cannot be written ({error.strerror})") from None
        if abs(self.now() - self._swept) > SWEEP:
            self.forget()
        return path

    def _put(self, path: Path, data: bytes) -> None:
        """Write a file; on a full disk the oldest fragments make room, as they do where the ring is full. Raises OSError."""
        try:
            _write(path, data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._make_room(2 * len(data)):
                raise
            _write(path, data)

    def _make_room(self, size: int) -> bool:
        """Forget the oldest fragments of so many bytes; whether there were any."""
        freed = 0
        for fragment in sorted(self.fragments()):
            if freed >= size:
                break
            if not any(fragment.start < end and fragment.end > start for start, end in self._holds):
                fragment.path.unlink(missing_ok=True)
                freed += fragment.size
        return freed > 0

    def held(self, start: float, end: float) -> None:
        """Keep what lies in a span until `released`; holds do not outlive the process: what is to stay is copied (`piece`)."""
        with self._lock:
            self._holds.append((start, end))

    def released(self, start: float, end: float) -> None:
        """No longer."""
        with self._lock, contextlib.suppress(ValueError):
            self._holds.remove((start, end))

    def forget(self) -> int:
        """Forget what is over hours and bytes, and say how many fragments that were."""
        self._swept, gone = self.now(), 0
        with self._lock:
            now, steady = self.now(), self.steady()
            oldest, ahead = now - self.hours * 3600, now + JUMP
            every = sorted(
                self.fragments(), key=lambda f: (f.end <= ahead, f)
            )  # first what a clock that was ahead wrote
            total = sum(f.size for f in every)
            for fragment in every:
                if total <= self.most and not (steady and not oldest <= fragment.end <= ahead):
                    if fragment.end <= ahead:
                        break
                    continue
                if any(fragment.start < end and fragment.end > start for start, end in self._holds):
                    continue
                fragment.path.unlink(missing_ok=True)
                total, gone = total - fragment.size, gone + 1
            for session in self._sessions():
                if session != self._session and not any(session.glob("*.m4s")):
                    shutil.rmtree(session, ignore_errors=True)
        return gone

    def fragments(self, start: float = 0.0, end: float = float("inf")) -> list[Fragment]:
        """Those that touch a span, in no order."""
        found = []
        for session in self._sessions():
            with contextlib.suppress(FileNotFoundError), os.scandir(session) as entries:  # forgotten meanwhile
                for entry in entries:
                    told = NAME.fullmatch(entry.name)
                    if not told or not (int(told[1]) < end * 1000 and int(told[2]) > start * 1000):
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        first, last = int(told[1]) / 1000, int(told[2]) / 1000
                        found.append(Fragment(first, last, Path(entry.path), entry.stat().st_size))
        return found

    def _sessions(self) -> list[Path]:
        return [p for p in self.folder.iterdir() if FOLDER.fullmatch(p.name) and p.is_dir()]

    def pieces(self, start: float, end: float) -> list[list[Fragment]]:
        """The fragments of a span, in order, a list for each recording."""
        found: dict[Path, list[Fragment]] = {}
        for fragment in sorted(self.fragments(start, end)):
            found.setdefault(fragment.path.parent, []).append(fragment)
        return list(found.values())

    def piece(self, start: float, end: float, out: Path) -> list[tuple[Path, float, float]]:
        """Copy a span into files below `out`, one a recording: (path, start, end) each, whole fragments, so that they may begin a little earlier.

        Each is a fragmented MP4 whose first time is not 0: `vlad.live.child.plain` makes a plain one of it. [] where nothing was kept. Raises OutputError.
        """
        made = []
        for own in self.pieces(start, end):
            path = out / f"{int(own[0].start * 1000)}.mp4"
            try:
                out.mkdir(parents=True, exist_ok=True)
                with open(path, "wb") as file:
                    for part in (own[0].path.parent / HEAD, *(f.path for f in own)):
                        with open(part, "rb") as source:
                            shutil.copyfileobj(source, file)
            except OSError as error:
                raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
            made.append((path, own[0].start, own[-1].end))
        return made

    def playlist(self, start: float, end: float, *, address: Callable[[Path], str], live: bool = False) -> str:
        """HLS (RFC 8216) of a span. address: of a head or a fragment, as the page reaches it. live: more is to come, and `start` stays the same from one call to the next."""
        pieces = self.pieces(start, end)
        longest = max((f.end - f.start for own in pieces for f in own), default=1.0)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{max(1, round(longest + 0.5))}",
            "#EXT-X-MEDIA-SEQUENCE:0",
        ]
        lines += ["#EXT-X-PLAYLIST-TYPE:EVENT"] if live else []
        for number, own in enumerate(pieces):
            lines += _listed(own, address, fresh=number > 0)
        return "\n".join([*lines, *([] if live else ["#EXT-X-ENDLIST"])]) + "\n"


def _listed(own: Sequence[Fragment], address: Callable[[Path], str], *, fresh: bool) -> Iterator[str]:
    if fresh:
        yield "#EXT-X-DISCONTINUITY"
    yield f'#EXT-X-MAP:URI="{address(own[0].path.parent / HEAD)}"'
    for fragment in own:
        moment = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(fragment.start))
            + f".{int(fragment.start * 1000) % 1000:03}Z"
        )
        yield f"#EXT-X-PROGRAM-DATE-TIME:{moment}"
        yield f"#EXTINF:{max(fragment.end - fragment.start, 0.001):.3f},"
        yield address(fragment.path)


def _write(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
