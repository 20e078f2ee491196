"""The database under the library: opened, brought up to date, read by many and written by one at a time.

Writers take turns (SQLite: one writer at a time, WAL lets readers go on; PostgreSQL: an advisory lock), so that a job is claimed once, the audit
log stays one chain, and changes are numbered in the order in which they were committed.
"""

from __future__ import annotations

import os
import secrets
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import ORMExecuteState, Session

from vlad.errors import InputError, OutputError

from . import asking, audit
from .shelf import Shelf, copies_of
from .tables import Option

LOCK = 0x76_6C_61_64  # PostgreSQL's advisory lock of writers
POOL = 48  # connections: as many as a server has threads, and some for what goes on behind
PATIENCE = 2.0  # seconds that one of them is waited for
TURNS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # letters that turn the direction
PARTS = ("clips", "uploads", "embeddings", "exports", "covered", "plans", "paths")
OWN = "library"  # the option that holds a number of the library's own, by which a storage knows whose it is


AWAY = (
    OperationalError,
    InterfaceError,
    InternalError,
    PoolTimeout,
)  # of a database that is away, busy, full or damaged


class Rows(Session):
    """A session in which only those clips are there that are for who asks, see `asking`."""


@event.listens_for(Rows, "do_orm_execute")
def _theirs(state: ORMExecuteState) -> None:
    if not state.is_column_load:
        state.statement = state.statement.options(*asking.conditions())


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("vlad.library") / "migrations"))
    return config


@cache
def _newest() -> str | None:
    """The revision of the newest migration."""
    return ScriptDirectory.from_config(_migrations()).get_current_head()


class Database:
    """url: SQLAlchemy's, or a folder that holds library.sqlite. place: of its files, a folder, or the URL of a storage that several machines share;
    copies: then this machine's own folder. Raises InputError where it cannot be opened.
    """

    def __init__(self, url: str | Path, place: str | Path | None = None, copies: Path | None = None) -> None:
        named, place = str(url), str(place) if place is not None else None
        if "://" not in named:
            place = place or named
        if place is None:
            raise InputError("a library by URL needs a folder for its clips too")
        storage = place if "://" in place else ""
        folder = (copies or copies_of(storage)) if storage else Path(place)
        if "://" not in named:
            named = f"sqlite:///{((Path(named) if storage else folder) / 'library.sqlite').absolute()}"
        self.shelf, self.folder = Shelf(folder, storage), folder
        self._sqlite = named.startswith("sqlite")
        try:
            for part in PARTS:
                (folder / part).mkdir(parents=True, exist_ok=True)
            if storage and "://" not in str(url):
                Path(url).mkdir(parents=True, exist_ok=True)
            self.engine = _open(named)
            self._migrate()
            if storage:
                self._claim()
        except OSError as error:
            raise InputError(f"library {folder}: cannot be made ({error.strerror}); name another folder") from None
        except CommandError:
            raise InputError("library: it was made by a newer vlad; install that one") from None
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            line = str(error).splitlines()[0][:200]
            raise InputError(f"library: cannot be opened ({line}); check the URL, and that its server runs") from None

    def _claim(self) -> None:
        """Raises InputError where the storage is another library's: each would sweep away the other's files."""
        with self.write() as session:
            row = session.get(Option, OWN)
            if row is None or row.value is None:
                row = session.merge(Option(name=OWN, value=float(secrets.randbits(52))))
            own = f"{row.value:.0f}"
        if self.shelf.claim(own) != own:
            raise InputError(f"{self.shelf.storage}: holds another library's files; name another place in it")

    def _migrate(self) -> None:
        """Up to the newest tables. Whether they are there is asked first: reading every migration takes longer than that."""
        with self.engine.begin() as connection:
            if not self._sqlite:
                connection.execute(text(f"select pg_advisory_xact_lock({LOCK})"))
            if MigrationContext.configure(connection).get_current_revision() != _newest():
                config = _migrations()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only looks. Raises OutputError where the database is away or busy."""
        try:
            with Rows(self.engine, expire_on_commit=False) as session:
                yield session
        except AWAY as error:
            raise OutputError(f"library: cannot be read ({_line(error)}); try again in a moment") from None
        except DatabaseError as error:
            if type(error) is not DatabaseError:  # what is no kind of it is SQLite's word for a damaged file
                raise
            raise OutputError(f"library: is damaged ({_line(error)}); restore a backup") from None

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes come whole or not at all, alone among writers. Raises OutputError where the database cannot be written."""
        try:
            with Rows(self.engine.execution_options(write=True), expire_on_commit=False) as session, session.begin():
                if not self._sqlite:
                    session.execute(text(f"set local lock_timeout = {round(asking.now().patience * 1000)}"))
                    session.execute(text(f"select pg_advisory_xact_lock({LOCK})"))
                yield session
        except AWAY as error:
            raise OutputError(f"library: cannot be written ({_line(error)}); try again in a moment") from None
        except DatabaseError as error:
            if type(error) is not DatabaseError:  # what is no kind of it is SQLite's word for a damaged file
                raise
            raise OutputError(f"library: is damaged ({_line(error)}); restore a backup") from None

    def clock(self, session: Session) -> float:
        """The time (s since 1970) by which workers are told alive: the database server's, since machines that share a library differ; SQLite's is this machine's."""
        if self._sqlite:
            return time.time()
        return float(session.scalar(text("select extract(epoch from clock_timestamp())")) or 0)

    def log(self, user: str, action: str, target: str = "", **detail: Any) -> None:
        """A row of the audit log by itself, for what only looks."""
        with self.write() as session:
            audit.append(session, user, action, target, **detail)


@contextmanager
def looked_at(url: str | Path) -> Iterator[Session]:
    """A session on a library that is there, which creates and changes nothing. Raises InputError where there is none, or it cannot be read."""
    named = str(url)
    if "://" not in named:
        file = (Path(named) / "library.sqlite").absolute()
        if not file.is_file():
            raise InputError(f"{named}: there is no library")
        how = (
            "mode=ro" if os.access(file.parent, os.W_OK) else "immutable=1"
        )  # a folder that cannot be written takes no lock files
        named = f"sqlite:///file:{quote(str(file))}?{how}&uri=true"
    try:
        engine = create_engine(named)
        try:
            with Session(engine) as session:
                yield session
        finally:
            engine.dispose()
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise InputError(f"library: cannot be read ({str(error).splitlines()[0][:160]})") from None


def clean(words: str) -> str:
    """Text that every database takes: no NUL, no half of a letter."""
    return words.replace("\x00", "").encode("utf-8", "replace").decode()


def called(words: str) -> str:
    """A name as it may stand on a page, in a file or in the log: on one line, without letters that control a screen or turn its direction."""
    return "".join(
        " " if c in "\t\n\r" else "" if unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in TURNS else c
        for c in clean(words)
    )


def _line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:160]


def _open(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=POOL - 10, pool_timeout=PATIENCE)
    engine = create_engine(url, pool_size=POOL, max_overflow=POOL, pool_timeout=PATIENCE)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: see below
        for line in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {line}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(asking.now().patience * 1000)}")
        writes = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
