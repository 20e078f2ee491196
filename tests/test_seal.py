"""The log against whoever may write its database: a cut tail, an emptied log, a chain computed anew, a time that falls."""

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import add_clip
from typer.testing import CliRunner
from vlad.app.background import Background

from vlad.cli import app as cli
from vlad.config import make_settings
from vlad.errors import InputError, OutputError, SettingsError, VladError
from vlad.library import Library, audit, verify
from vlad.library.seal import KEY, Seal, place_of
from vlad.library.tables import AuditRow
from vlad.types import Segment


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Library, Seal]:
    """A log of thirty rows, sealed three times on the way."""
    library = Library(tmp_path / "library")
    seal = Seal(tmp_path / "library", tmp_path / "elsewhere")
    for n in range(30):
        library.log("ann", "viewed", str(n))
        if n % 10 == 9:
            with library.read() as session:
                assert seal.add(session)
    with library.read() as session:
        assert not seal.add(session)  # nothing is new
        assert seal.faults(session) == []
    return library, seal


def faults(library: Library, seal: Seal) -> tuple[int | None, list[str]]:
    with library.read() as session:
        return verify(session)[2], seal.faults(session)


def change(library: Library, line: str) -> None:
    with sqlite3.connect(library.folder / "library.sqlite") as database:
        database.execute(line)


def again(library: Library) -> None:
    """Compute the whole chain anew, as somebody who may write the database can."""
    before = audit.START
    with library.write() as session:
        for n, row in enumerate(session.query(AuditRow).order_by(AuditRow.number), 1):
            before = row.digest = audit.digest(before, n, row.at, row.user, row.action, row.target, row.detail)


def test_a_cut_tail_is_found(sealed: tuple[Library, Seal]) -> None:
    library, seal = sealed
    change(library, "delete from audit where number > 25")
    broken, found = faults(library, seal)
    assert broken is None  # the chain alone does not tell
    assert len(found) == 1
    assert "row 30 is gone" in found[0]


def test_an_emptied_log_is_found(sealed: tuple[Library, Seal]) -> None:
    library, seal = sealed
    change(library, "delete from audit")
    assert len(faults(library, seal)[1]) == 3


def test_a_log_that_tells_of_less_than_was_decided_is_found_without_a_seal(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F14: with key and seals gone too, an emptied log was "0 rows, one chain", exit 0."""
    monkeypatch.setenv("VLAD_SEAL", str(tmp_path / "nowhere"))
    library = Library(tmp_path / "library")
    _, ids = add_clip(library, clip, [Segment(0.0, 1.0, 0.9, 0.5, "riot")], duration=2.0)
    library.decide(library.local_user(), ids[0], "confirmed")
    library.exported(library.local_user(), ids, {})
    command = ["audit", "verify", "--library", str(tmp_path / "library")]
    assert CliRunner().invoke(cli, command).exit_code == 0
    change(library, "DELETE FROM audit")
    told = CliRunner().invoke(cli, command)
    assert told.exit_code == 1
    assert isinstance(told.exception, VladError)
    assert str(told.exception) == (
        "the library holds 1 verdicts confirmed, its log tells of 0; the library holds 1 cases, its log tells of 0"
    )


def test_a_chain_computed_anew_is_found(sealed: tuple[Library, Seal]) -> None:
    library, seal = sealed
    change(library, "update audit set user = 'bob' where number = 15")
    assert faults(library, seal)[0] == 15
    again(library)
    broken, found = faults(library, seal)
    assert broken is None
    assert ["row 20 is not what was sealed" in f or "row 30 is not what was sealed" in f for f in found] == [True, True]


def test_a_time_that_falls_is_found(sealed: tuple[Library, Seal]) -> None:
    library, seal = sealed
    change(library, "update audit set at = 100.0 where number = 30")
    again(library)
    broken, found = faults(library, seal)
    assert broken == 30
    assert found


def test_seals_that_were_forged_or_damaged_are_told(sealed: tuple[Library, Seal], tmp_path: Path) -> None:
    library, seal = sealed
    lines = seal.path.read_text().splitlines()
    seal.path.write_text("\n".join([lines[0], lines[1].replace('"number": 20', '"number": 19'), lines[2]]) + "\n")
    assert any("signature is wrong" in f for f in faults(library, seal)[1])
    seal.path.write_text("[1]\n")
    with pytest.raises(InputError, match="no list of seals"):
        faults(library, seal)
    shutil.rmtree(tmp_path / "elsewhere" / KEY, ignore_errors=True)
    assert (seal.folder / KEY).stat().st_mode & 0o077 == 0  # nobody else reads the key


class Syslog:
    """A listener that writes lines down as a syslog's daemon does. kind: udp or unix."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.path, self.lines = kind, folder / "log.socket", folder / "messages"
        self.lines.write_text("Nov 26 03:00:00 host sshd[1]: something else\n")
        self.socket = socket.socket(socket.AF_INET if kind == "udp" else socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0) if kind == "udp" else str(self.path))
        self.socket.settimeout(10)

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self.socket.getsockname()[1]}" if self.kind == "udp" else str(self.path)

    def take(self) -> bytes:
        data = self.socket.recv(4096)
        with open(self.lines, "ab") as file:
            file.write(b"Nov 26 03:00:00 host " + data.split(b">", 1)[1] + b"\n")
        return data

    def nothing(self) -> bool:
        self.socket.settimeout(0.1)
        try:
            self.socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)
        return False


@pytest.fixture(params=["udp", "unix"])
def syslog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Syslog]:
    found = Syslog(request.param, tmp_path)
    yield found
    found.socket.close()


def sealing(library: Library, seal: Seal) -> bool:
    with library.read() as session:
        return seal.add(session)


def test_seals_go_to_a_syslog_as_the_log_grows(tmp_path: Path, syslog: Syslog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write the library and the folder of seals can remove both; what another machine keeps tells."""
    monkeypatch.setenv("VLAD_SEAL", str(tmp_path / "seals"))
    library, run = Library(tmp_path / "library"), CliRunner()
    seal = Seal(tmp_path / "library", syslog=syslog.where)
    for n in range(6):
        library.log("ann", "viewed", str(n))
        assert sealing(library, seal)
        assert syslog.take().startswith(b"<86>vlad-seal: " + seal.name.encode() + b' {"at": ')  # authpriv, info
        assert not sealing(library, seal)
    assert syslog.nothing()
    assert sealing(library, Seal(tmp_path / "library", syslog=syslog.where))  # a server that starts says it again
    syslog.take()
    other = Seal(tmp_path / "other", syslog=syslog.where)  # its lines are not this library's
    with Library(tmp_path / "other").write() as session:
        audit.append(session, "bob", "viewed")
    sealing(Library(tmp_path / "other"), other)
    syslog.take()

    def verified(*more: str) -> tuple[int, str]:
        done = run.invoke(cli, ["audit", "verify", "--library", str(tmp_path / "library"), *more])
        return done.exit_code, f"{done.output} {done.exception}"

    seals = ("--seals", str(syslog.lines))
    assert verified(*seals)[0] == 0, verified(*seals)
    assert f"compare with a syslog's lines of {seal.name}: --seals FILE" in verified()[1].replace("\n", " ")
    change(library, "delete from audit where number > 4")
    kept = seal.path.read_text().splitlines()
    seal.path.write_text("\n".join(kept[:4]) + "\n")  # and so are its seals
    assert verified()[0] == 0
    assert verified(*seals)[0] == 1
    with library.read() as session:
        assert [f for f in seal.faults(session, syslog.lines) if "row 6 is gone" in f]
    syslog.lines.write_text(syslog.lines.read_text().replace('"number": 5', '"number": 4'))
    with library.read() as session:
        assert [f for f in seal.faults(session, syslog.lines) if "signature is wrong" in f]
    empty = tmp_path / "empty"
    empty.write_text("nothing\n")
    assert verified("--seals", str(empty))[0] == 1
    assert verified("--seals", str(tmp_path / "none"))[0] == 1


def test_a_server_sends_what_it_seals(tmp_path: Path, syslog: Syslog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAD_SEAL", str(tmp_path / "seals"))
    library = Library(tmp_path / "library")
    library.log("ann", "viewed")
    with Background(library, str(tmp_path / "library"), make_settings(), 0, syslog.where):
        assert b'"number": 1' in syslog.take()
        library.log("ann", "viewed")
    assert b'"number": 2' in syslog.take()  # and what comes last once it ends


def test_a_syslog_that_is_away_is_told_and_gets_it_later(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    seal = Seal(tmp_path / "library", tmp_path / "seals", str(tmp_path / "log.socket"))
    library.log("ann", "viewed")
    for _ in range(2):
        with pytest.raises(OutputError, match=r"syslog .*log.socket: the log's seal cannot be sent"):
            sealing(library, seal)
    assert len(seal.path.read_text().splitlines()) == 1  # the file has it meanwhile
    listener = Syslog("unix", tmp_path)
    try:
        assert sealing(library, seal)
        assert b'"number": 1' in listener.take()
        assert not sealing(library, seal)
    finally:
        listener.socket.close()


@pytest.mark.parametrize("where", ["localhost", "host:", ":514", "host:x", "host:70000", "host:\u0665", "dev/log"])
def test_a_syslog_that_is_none_is_told_before_anything_starts(where: str) -> None:
    with pytest.raises(SettingsError, match="expected the path of a socket"):
        place_of(where)
    assert place_of("[::1]:514") == ("::1", 514)
    assert CliRunner().invoke(cli, ["app", "--syslog", where]).exit_code != 0


def test_verify_by_command_line_creates_nothing_and_says_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLAD_SEAL", str(tmp_path / "seals"))
    run = CliRunner()
    missing = run.invoke(cli, ["audit", "verify", "--library", str(tmp_path / "typo")])
    assert missing.exit_code == 1
    assert not (tmp_path / "typo").exists()
    library = Library(tmp_path / "library")
    for n in range(3):
        library.log("ann", "viewed", str(n))
    with library.read() as session:
        Seal(tmp_path / "library").add(session)
    good = run.invoke(cli, ["audit", "verify", "--library", str(tmp_path / "library")])
    assert good.exit_code == 0, good.output
    assert "sealed up to row 3" in good.output.replace("\n", " ")
    change(library, "delete from audit where number = 3")
    assert run.invoke(cli, ["audit", "verify", "--library", str(tmp_path / "library")]).exit_code == 1
