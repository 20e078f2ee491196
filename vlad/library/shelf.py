"""Where the files of a library lie: in its folder, or in a storage that several machines share; the folder is then this machine's own copies.

    shelf = Shelf(Path("clips"))                                   # one machine, or a folder that all of them mount
    shelf = Shelf(Path("copies"), "s3://bucket/vlad")              # S3, and whatever else fsspec reads, by the credentials that it finds itself

In: names such as clips/ID. Out: paths of this machine. What is written goes into the storage before anybody is told of it; what is read is brought here
once, and again where the storage has a newer one. Knows no database.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from platformdirs import user_data_dir

from vlad.errors import InputError, OutputError, StorageError

SHARED = (
    "clips",
    "sheets",
    "covered",
    "embeddings",
    "exports",
    "plans",
    "paths",
)  # what other machines need too; the rest is on its way, or can be computed again
FIXED = ("clips", "covered", "exports", "plans")  # files that never change once they are there
LISTED = 5.0  # seconds for which a list of the storage is believed
LATELY = 3600.0  # seconds for which a copy that was used is not removed
ROOM = 64 << 20  # bytes of disk below which copies that are not used make room
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "file": {"auto_mkdir": True},  # by protocol: who waits for a storage that is away is told so soon
    "s3": {"use_listings_cache": False, "config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2}}},
}  # fmt: skip
Result = TypeVar("Result")


class Shelf:
    """folder: of this machine. storage: fsspec's URL, '' for none. Raises InputError for one that nothing here can read."""

    def __init__(self, folder: Path, storage: str = "") -> None:
        self.folder, self.storage = folder, storage.rstrip("/")
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._lists: dict[str, tuple[float, dict[str, tuple[int, float]]]] = {}
        if self.storage:
            self._files, self._root = _opened(self.storage)

    @property
    def place(self) -> str:
        """What `Library` is told to find the same files: the storage, or the folder."""
        return self.storage or str(self.folder)

    def path(self, name: str) -> Path:
        """Where a file lies on this machine, if it is here."""
        return self.folder / name

    def found(self, name: str, patience: float | None = None) -> Path:
        """The same, once it was brought here where only the storage has it, or a newer one; where nobody has it, there is no such file.

        patience: seconds to wait for that (None: as long as it takes); it goes on afterwards. Raises OutputError where the storage does not answer, or not in time.
        """
        here = self.path(name)
        if not self._is_shared(name):
            return here
        if name.split("/")[0] in FIXED and here.exists():
            with suppress(OSError):
                os.utime(here, (time.time(), here.stat().st_mtime))  # used: see trim
            return here
        if patience is None:
            self._bring(name)
            return here
        failed: list[BaseException] = []

        def bring() -> None:
            try:
                self._bring(name)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=bring, daemon=True)
        thread.start()
        thread.join(patience)
        if thread.is_alive():
            raise OutputError("this file is being brought from the library's storage; try again in a moment")
        if failed:
            raise failed[0]
        return here

    def size(self, name: str) -> int:
        """Bytes of a file, 0 where there is none. Raises OutputError."""
        here = _stamp_of(self.path(name)) or (self._stamp(name) if self._is_shared(name) else None)
        return here[0] if here else 0

    def anew(self, name: str) -> None:
        """Bring a file in place of a copy that is damaged, where the storage has it. Raises OutputError."""
        if self._is_shared(name):
            with suppress(OSError):
                os.utime(self.path(name), (time.time(), 0.0))
            self._bring(name)

    def since(self, name: str) -> float:
        """Seconds since a file was written, 0 for none. Raises OutputError."""
        found = _stamp_of(self.path(name)) or (self._stamp(name) if self._is_shared(name) else None)
        return time.time() - found[1] if found else 0.0

    def put(self, name: str) -> None:
        """A file that was written here, also into the storage: whole or not at all where the storage does so, as S3 does. Raises OutputError."""
        self.put_from(self.path(name), name)

    def put_from(self, path: Path, name: str) -> None:
        """The same of a file that lies elsewhere until then. Raises OutputError."""
        if not self._is_shared(name):
            return
        told = self._asked(lambda: (self._files.put_file(str(path), self._place(name)), self._info(name))[1])
        if told is None or told[0] != path.stat().st_size:
            raise StorageError("the library's storage kept a part of a file only; try again")
        with self._lock:
            self._lists.pop(name.split("/")[0], None)
        with suppress(OSError):
            os.utime(path, (time.time(), told[1]))

    def remove(self, name: str) -> None:
        """Remove a file, or a folder of this machine. Raises OSError, OutputError: what cannot be removed is a stray, which a sweep takes."""
        here = self.path(name)
        if here.is_dir():
            shutil.rmtree(here)
        else:
            here.unlink(missing_ok=True)
        if self._is_shared(name):
            with suppress(FileNotFoundError):
                self._asked(lambda: self._files.rm_file(self._place(name)))

    def names(self, part: str) -> list[str]:
        """Names of all files of a part, such as clips/ID, on this machine or in the storage, sorted. Raises OutputError."""
        here = {f"{part}/{p.name}" for p in (self.folder / part).glob("*")}
        if self.storage and part in SHARED:
            here |= {f"{part}/{name}" for name in self._listed(part, fresh=True)}
        return sorted(here)

    def claim(self, own: str) -> str:
        """Whose storage this is: who asked for it first. Raises OutputError."""
        place = self._place("library")
        try:
            return str(self._asked(lambda: self._files.cat_file(place)).decode(errors="replace"))
        except FileNotFoundError:
            self._asked(lambda: self._files.pipe_file(place, own.encode()))
            return own

    def works(self) -> bool:
        """Whether the storage answers just now, and there is room for copies."""
        try:
            if self.storage:
                self._info("library")
            return self._has_room()
        except StorageError:
            return False

    def _has_room(self) -> bool:
        return not self.storage or shutil.disk_usage(self.folder).free >= ROOM

    def trim(self, most: int | None = None) -> int:
        """Remove copies that were not used of late, the oldest first, until they take at most `most` bytes (None: half of what the disk has for them); how many went.

        Copies that lost their end go first, whoever used them: the storage has them whole.
        """
        if not self.storage:
            return 0
        copies, broken = [], 0
        for part in SHARED:
            there = self._listed(part) if part in FIXED else {}
            for path, stat in _stats(self.folder / part):
                whole = stat.st_size >= there.get(path.name, (0, 0.0))[0]
                if path.name.endswith(".part"):
                    if time.time() - stat.st_mtime > LATELY:  # of a process that was ended
                        path.unlink(missing_ok=True)
                elif whole:
                    copies.append((stat.st_atime, stat.st_size, path, f"{part}/{path.name}"))
                else:
                    path.unlink(missing_ok=True)
                    broken += 1
        taken = sum(size for _, size, _, _ in copies)
        if most is None:
            most = (taken + shutil.disk_usage(self.folder).free) // 2
        over, gone = taken - most, broken
        for used, size, path, name in sorted(copies):
            if over <= 0 or time.time() - used < LATELY:
                break
            kept = self._info(name)
            if kept is not None and kept[0] == size:  # never the only whole one
                path.unlink(missing_ok=True)
                over, gone = over - size, gone + 1
        return gone

    def _is_shared(self, name: str) -> bool:
        return bool(self.storage) and name.split("/")[0] in SHARED

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _bring(self, name: str) -> None:
        """Fetch a file unless it is here as the storage has it; once, however many ask for it."""
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        here = self.path(name)
        with lock:
            there = self._stamp(name)
            if there is None or _stamp_of(here) == there:
                return
            part = here.with_name(f".{here.name}.{uuid4().hex[:8]}.part")
            try:
                here.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._asked(lambda: self._files.get_file(self._place(name), str(part)))
                except StorageError:  # perhaps for want of room
                    if self._has_room() or not self.trim(0):
                        raise
                    self._asked(lambda: self._files.get_file(self._place(name), str(part)))
                if part.stat().st_size != there[0]:
                    raise StorageError("only a part of a file came from the library's storage; try again")
                os.utime(part, (time.time(), there[1]))
                os.replace(part, here)
            except FileNotFoundError:  # removed meanwhile
                return
            except OSError as error:
                raise OutputError(f"the library's disk: cannot be written ({error.strerror})") from None
            finally:
                part.unlink(missing_ok=True)

    def _stamp(self, name: str) -> tuple[int, float] | None:
        """Size and time of a file in the storage; None where there is none. By a list that is some seconds old at most, and by itself where that has none."""
        part, _, own = name.partition("/")
        return self._listed(part).get(own) or self._info(name)

    def _listed(self, part: str, *, fresh: bool = False) -> dict[str, tuple[int, float]]:
        with self._lock:
            when, found = self._lists.get(part, (-LISTED, {}))
        if not fresh and time.monotonic() - when < LISTED:
            return found
        try:
            rows = self._asked(lambda: self._files.ls(self._place(part), detail=True, refresh=True))
        except FileNotFoundError:
            rows = []
        found = {str(r["name"]).rsplit("/", 1)[-1]: _stamp_in(r) for r in rows if r["type"] == "file"}
        with self._lock:
            self._lists[part] = time.monotonic(), found
        return found

    def _info(self, name: str) -> tuple[int, float] | None:
        try:
            return _stamp_in(self._asked(lambda: self._files.info(self._place(name), refresh=True)))
        except FileNotFoundError:
            return None

    def _asked(self, call: Callable[[], Result]) -> Result:
        """What the storage says; it has its own kinds of error for each protocol. Raises FileNotFoundError, OutputError."""
        try:
            return call()
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(f"there is no room for a file of the library ({error.strerror})") from None
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            raise StorageError(f"the library's storage cannot be used just now ({line})") from None


def copies_of(storage: str) -> Path:
    """Where a storage's copies lie on this machine: VLAD_COPIES, else a folder of the user's data."""
    if named := os.environ.get("VLAD_COPIES"):
        return Path(named)
    return Path(user_data_dir("vlad")) / f"copies-{hashlib.sha256(storage.rstrip('/').encode()).hexdigest()[:12]}"


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL and the place in it. Raises InputError."""
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        files, root = url_to_fs(url, **OPTIONS.get(protocol, {}))
    except ImportError as error:
        raise InputError(
            f"{protocol}: {str(error).splitlines()[0][:120]}; for S3 pip install '.[s3]' where vlad lies"
        ) from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{protocol}: no storage that can be used ({str(error).splitlines()[0][:120]})") from None
    return files, str(root).rstrip("/")


def _stats(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Files of a folder that are still there when they are looked at."""
    for path in folder.glob("*"):
        with suppress(OSError):
            yield path, path.stat()


def _stamp_in(row: Mapping[str, Any]) -> tuple[int, float]:
    """Size (bytes) and time (s since 1970) of a file, as a storage's own kind of row tells them."""
    when = next((row[key] for key in ("LastModified", "mtime", "created") if row.get(key) is not None), 0.0)
    return int(row["size"]), float(when.timestamp() if hasattr(when, "timestamp") else when)


def _stamp_of(path: Path) -> tuple[int, float] | None:
    """The same of a file here, whose time is the storage's since it was brought or put."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime
