"""The verbs around the reviewer's server: people, the log, verdicts, and when the server does not start."""

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
