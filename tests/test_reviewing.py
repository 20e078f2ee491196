"""The verbs around the reviewer's server: people, the log, verdicts, and when the server does not start."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vlad.cli import main
from vlad.library import Library
from vlad.library.tables import AuditRow

PASSWORD = "correct horse battery"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("VLAD_LIBRARY", str(tmp_path / "library"))
    monkeypatch.setenv("VLAD_PASSWORD", PASSWORD)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def test_people_are_added_listed_and_closed(run: Any, tmp_path: Path) -> None:
    assert run("users", "add", "ann") == (0, "ann may sign in as reviewer\n", "")
    assert run("users", "add", "root", "--role", "admin")[0] == 0
    assert run("users", "add", "ann")[::2] == (1, "user 'ann': there is one of that name\n")
    assert run("users", "add", "bob", "--role", "king")[0] == 1
    assert run("users", "list")[1] == "ann  reviewer\nroot  admin\n"
    assert Library(tmp_path / "library").sign_in("ann", PASSWORD) is not None
    assert run("users", "close", "ann")[0] == 0
    assert Library(tmp_path / "library").sign_in("ann", PASSWORD) is None
    assert run("users", "close", "ann")[0] == 1


def test_a_short_password_is_refused(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAD_PASSWORD", "short")
    assert "10 letters or more" in run("users", "add", "ann")[2]


def test_the_log_is_whole_or_says_where_not(run: Any, tmp_path: Path) -> None:
    run("users", "add", "ann")
    run("users", "add", "bob")
    code, told, _ = run("audit", "verify")
    assert code == 0
    assert told.startswith("2 rows, one chain, digest ")
    with Library(tmp_path / "library").write() as session:
        row = session.get(AuditRow, 1)
        assert row is not None
        row.user = "nobody"
    assert run("audit", "verify")[::2] == (
        1,
        "row 1 does not follow from those before it; 0 rows before it are whole\n",
    )


def test_verdicts_of_an_empty_library(run: Any, tmp_path: Path) -> None:
    code, told, _ = run("verdicts", "export", "-o", str(tmp_path / "out"))
    assert code == 0
    assert told.startswith("0 confirmed, 0 dismissed")
    assert (tmp_path / "out" / "verdicts.jsonl").read_text() == ""


def test_others_may_not_come_before_somebody_can_sign_in(run: Any) -> None:
    code, _, told = run("app", "--host", "0.0.0.0")
    assert (code, "first: vlad users add NAME" in told) == (1, True)
    assert "needs --folder" in run("app", "--library", "postgresql://nowhere/x")[2]


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """H20: it said where the page is, loaded for tens of seconds, and ended in a bare ERROR."""
    monkeypatch.setattr("vlad.cli.reviewing._with_extra", lambda load: pytest.fail("it was loaded"))
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        begin = time.monotonic()
        code, out, told = run("app", "--port", str(port))
    assert (code, out) == (1, "")
    assert told.startswith(f"port {port}: another program has it; end that one, or choose another: vlad app --port")
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("0.0.0.0", "first: vlad users add NAME"),
        ("192.0.2.7", "not an address of this machine"),
        ("no.such.host.invalid", "not an address"),
    ],
)
def test_a_host_that_cannot_be_is_told_before_anything_is_loaded(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, words: str
) -> None:
    monkeypatch.setattr("vlad.cli.reviewing._with_extra", lambda load: pytest.fail("it was loaded"))
    code, _, told = run("app", "--host", host, "--port", "7861")
    assert code == 1
    assert words in told
    assert not (tmp_path / "library").exists()  # a question makes no library


def test_it_says_that_it_loads(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlad.cli.reviewing._with_extra", lambda load: lambda *a, **k: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert run("app", "--port", str(port)) == (0, "", "vlad: loading ...\n")


def test_a_real_start_refuses_within_two_seconds(tmp_path: Path) -> None:
    """No heavy module is loaded for a refusal."""
    code = "import sys; from vlad.cli import main\ntry: main(['app', '--host', '0.0.0.0', '--library', sys.argv[1]])\n"
    code += "finally: print([m for m in ('torch', 'fastapi', 'uvicorn') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "none")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "[]\n")
