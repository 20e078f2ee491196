"""A PostgreSQL of the tests' own, over a socket in a folder, where its programs are installed (Debian's postgresql); not run elsewhere.

VLAD_POSTGRES, the URL of a server whose database may be emptied, is taken instead; it is neither stopped nor started.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from vlad.library import Library


def programs() -> Path | None:
    """The folder of initdb and pg_ctl."""
    found = shutil.which("initdb") or next(
        (str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    return Path(found).parent if found else None


class Postgres:
    """One server. url: SQLAlchemy's."""

    def __init__(self, here: Path, bin_folder: Path) -> None:
        self.here, self.bin = here, bin_folder
        self.url = f"postgresql+psycopg://vlad@/postgres?host={here}"
        self.as_user: list[str] = []
        here.mkdir()
        if os.geteuid() == 0:  # it refuses to run as root
            self.as_user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(here, "postgres")
        self._run("initdb", "-D", f"{here}/data", "-A", "trust", "-U", "vlad")

    def start(self) -> None:
        """And wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.here}' -c fsync=off"
        self._run("pg_ctl", "-D", f"{self.here}/data", "-w", "-o", options, "-l", f"{self.here}/log", "start")

    def stop(self) -> None:
        """At once, whoever is connected."""
        self._run("pg_ctl", "-D", f"{self.here}/data", "-w", "-m", "immediate", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run([*self.as_user, str(self.bin / name), *arguments], check=True, capture_output=True, cwd="/tmp")


@contextmanager
def running(name: str = "") -> Iterator[Postgres]:
    """A server that ends with the block; skips where there are no programs."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("PostgreSQL is not installed")
    here = Path(f"/tmp/vlad-pg-{os.getpid()}{name}")
    try:
        server = Postgres(here, bin_folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(here, ignore_errors=True)


def either(request: pytest.FixtureRequest, folder: Path) -> Iterator[Library]:
    """The library of a fixture with the parameters sqlite and postgresql."""
    if request.param == "sqlite":
        yield Library(folder)
        return
    with fresh(request.getfixturevalue("postgres"), folder) as found:
        yield found


@contextmanager
def fresh(url: str, folder: Path) -> Iterator[Library]:
    """A library on a database that is emptied afterwards."""
    found = Library(url, folder)
    try:
        yield found
    finally:
        with found.engine.begin() as connection:
            connection.execute(text("drop schema public cascade"))
            connection.execute(text("create schema public"))
        found.engine.dispose()
