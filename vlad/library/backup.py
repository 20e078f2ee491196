"""A whole library as a folder of files, made while it runs, and back again, compared by hashes.

In: a library; out: a folder with tables/NAME.jsonl (one snapshot of the database, the same for SQLite and PostgreSQL), the files that its rows name,
about.json, and MANIFEST.sha256. `restore` reads nothing that the manifest does not vouch for, and writes into an empty library only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import LargeBinary, Select, Table, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from vlad.errors import InputError, OutputError

from .audit import verify
from .database import OWN
from .shelf import SHARED
from .store import Library
from .tables import Base, Video

FOLDERS = ("clips", "sheets", "covered", "embeddings", "exports", "plans", "paths", "prompts")
LEFT_OUT = {"uploads", "changes", "guesses"}  # what is on its way, what pages follow, and who has to wait
MANIFEST = "MANIFEST.sha256"
Tell = Callable[[str], None]


def backup(library: Library, out: Path, tell: Tell = lambda line: None) -> dict[str, int]:
    """Write the folder `out`, which must be new or empty; {"rows", "files"}. Raises InputError, OutputError."""
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; name a new folder")
    sums: dict[str, str] = {}
    try:
        (out / "tables").mkdir(parents=True)
        with library.read() as session:
            _one_snapshot(session)
            version = str(session.scalar(text("select version_num from alembic_version")))
            rows = sum(_dump(session, table, out, sums) for table in _tables())
            analysed = {f"clips/{i}": digest for i, digest in session.execute(select(Video.id, Video.sha256)) if digest}
            tell(f"{rows} rows")
        files = 0
        for name in _files(library):
            there = _copied(library.shelf.found(name), out / name, name, sums)
            if there and sums[name] != analysed.get(name, sums[name]) and library.shelf.storage:  # perhaps but its copy
                library.shelf.anew(name)
                there = _copied(library.shelf.found(name), out / name, name, sums)
            if there and sums[name] != analysed.get(name, sums[name]):
                tell(f"{name}: is damaged; it is not the file that was analysed")
            files += there
        about = {"made": time.time(), "schema": version, "rows": rows, "files": files}
        _put(out, "about.json", json.dumps(about).encode(), sums)
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        (out / MANIFEST).write_text(lines, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{out}: the backup cannot be written ({error.strerror})") from None
    return {"rows": rows, "files": files}


def restore(source: Path, library: Library) -> dict[str, int]:
    """Fill an empty library from a backup; {"rows", "files"}. Raises InputError for a backup that is damaged or of another version, or a library in use."""
    sums = check(source)
    about = json.loads((source / "about.json").read_text(encoding="utf-8"))
    rows = files = 0
    try:
        with library.write() as session:
            here = str(session.scalar(text("select version_num from alembic_version")))
            if here != about["schema"]:
                raise InputError(
                    f"{source}: was made by a library of version {about['schema']}, this is {here}; use the same vlad for both"
                )
            if any(session.scalar(select(func.count()).select_from(_rows(t).subquery())) for t in _tables()):
                raise InputError(f"{library.folder}: is in use; restore into a new library")
            for table in _tables():
                rows += _load(session, table, source)
            _, _, broken = verify(session)
            if broken is not None:
                raise InputError(f"{source}: row {broken} of its log was changed")
            for name in sums:
                if name.split("/")[0] in FOLDERS:
                    (library.folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source / name, library.folder / name)
                    library.shelf.put(name)
                    files += 1
    except OSError as error:
        raise OutputError(f"{library.folder}: cannot be written ({error.strerror})") from None
    except (SQLAlchemyError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{source}: cannot be read back ({type(error).__name__})") from None
    return {"rows": rows, "files": files}


def check(source: Path) -> dict[str, str]:
    """Every file of a backup by its hash. Raises InputError where one is missing, changed, too many, or lies elsewhere."""
    try:
        lines = (source / MANIFEST).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{source}: is no backup; it has no {MANIFEST}") from None
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name, digest in sums.items():
        path = source / name
        if ".." in Path(name).parts or Path(name).is_absolute() or path.is_symlink() or not path.is_file():
            raise InputError(f"{source}: {name} is missing")
        if _sum(path) != digest:
            raise InputError(f"{source}: {name} was changed since the backup")
    if "about.json" not in sums:
        raise InputError(f"{source}: is no whole backup; it has no about.json")
    return sums


def _tables() -> list[Table]:
    return [t for t in Base.metadata.sorted_tables if t.name not in LEFT_OUT]


def _rows(table: Table) -> Select[Any]:
    """All of a table but the number that is this library's alone."""
    return select(table).where(table.c.name != OWN) if table.name == "options" else select(table)


def _one_snapshot(session: Session) -> None:
    """All reads of this session see one moment. SQLite's transactions do so by themselves."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("set transaction isolation level repeatable read"))


def _dump(session: Session, table: Table, out: Path, sums: dict[str, str]) -> int:
    count, digest, name = 0, hashlib.sha256(), f"tables/{table.name}.jsonl"
    binary = {c.name for c in table.columns if isinstance(c.type, LargeBinary)}
    with open(out / name, "wb") as file:
        for row in session.execute(_rows(table).execution_options(yield_per=500)).mappings():
            told = {k: base64.b64encode(v).decode() if k in binary and v is not None else v for k, v in row.items()}
            line = json.dumps(told, ensure_ascii=True).encode() + b"\n"
            digest.update(line)
            file.write(line)
            count += 1
    sums[name] = digest.hexdigest()
    return count


def _load(session: Session, table: Table, source: Path) -> int:
    path, count = source / f"tables/{table.name}.jsonl", 0
    binary = {c.name for c in table.columns if isinstance(c.type, LargeBinary)}
    batch: list[dict[str, Any]] = []
    with open(path, "rb") as file:
        for line in file:
            row = json.loads(line)
            batch.append({k: base64.b64decode(v) if k in binary and v is not None else v for k, v in row.items()})
            count += 1
            if len(batch) == 500:
                session.execute(insert(table), batch)
                batch = []
    if batch:
        session.execute(insert(table), batch)
    return count


def _files(library: Library) -> Iterator[str]:
    for part in FOLDERS:
        if library.shelf.storage and part in SHARED:
            yield from (name for name in library.shelf.names(part) if ".part" not in name)
            continue
        for path in sorted((library.folder / part).rglob("*")):
            if path.is_file() and not path.is_symlink() and ".part" not in path.name:
                yield str(path.relative_to(library.folder))


def _copied(source: Path, target: Path, name: str, sums: dict[str, str]) -> bool:
    """Copy and hash in one go; False for a file that was removed meanwhile."""
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(source, "rb") as here, open(target, "wb") as there:
            while piece := here.read(1 << 20):
                digest.update(piece)
                there.write(piece)
            os.fsync(there.fileno())
    except FileNotFoundError:
        return False
    sums[name] = digest.hexdigest()
    return True


def _put(out: Path, name: str, data: bytes, sums: dict[str, str]) -> None:
    (out / name).write_bytes(data)
    sums[name] = hashlib.sha256(data).hexdigest()


def _sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
