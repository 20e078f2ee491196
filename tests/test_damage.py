"""Each damaged file costs itself, and a library that cannot be used says so in one line: full, read-only, newer, away, malformed."""

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving import Person, client, given
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner, Result
from vlad.app.search import Index
from vlad.app.verdicts import export

from vlad.cli import app as cli
from vlad.config import make_settings
from vlad.errors import InputError, OutputError
from vlad.library import Library, clips, database
from vlad.library.tables import AnalysisRow, SegmentRow


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def app(library: Library) -> TestClient:
    return TestClient(
        client(library, local=False).app, base_url="http://localhost", client=("127.0.0.1", 50000), raise_server_exceptions=False
    )  # fmt: skip


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", b"no table", "nan", "flat", "pickle"])
def test_f17_a_damaged_file_of_embeddings_costs_its_own_clip(app: TestClient, library: Library, damage: Any) -> None:
    root = Person(app, library, "root", "admin")
    (bad, segments), (good, _) = given(library, root, name="bad.mp4"), given(library, root, name="good.mp4")
    place = library.embeddings(bad)
    if isinstance(damage, bytes):
        place.write_bytes(damage)
    else:
        made = {"nan": np.full((10, 4), np.nan), "flat": np.ones(10), "pickle": np.array([{}], object)}[damage]
        np.save(place, made, allow_pickle=True)
    found = root.ask("GET", "/search", words="a fight")
    assert {m["video"] for m in found["moments"]} == {good}
    assert found["damaged"] == ["bad.mp4"]
    root.ask("POST", f"/segments/{segments[0]}/verdict", {"verdict": "confirmed"})
    assert root.ask("GET", "/videos")["total"] == 2


def test_like_of_a_damaged_clip_says_so(app: TestClient, library: Library) -> None:
    root = Person(app, library, "root", "admin")
    bad, segments = given(library, root)
    library.embeddings(bad).write_bytes(b"no table")
    answer = app.get("/api/search", params={"like": segments[0]}, headers=root.headers)
    assert (answer.status_code, "damaged; analyse it again" in answer.text) == (422, True)


@pytest.mark.slow
def test_damaged_scores_and_tracks_cost_their_own_clip(app: TestClient, library: Library, tmp_path: Path) -> None:
    root = Person(app, library, "root", "admin")
    (bad, segments), (good, others) = given(library, root, name="bad.mp4"), given(library, root, name="good.mp4")
    for segment in (segments[0], others[0]):
        root.ask("PATCH", f"/segments/{segment}", {"start": 0.2})  # widened: its highest score is asked for
        root.ask("POST", f"/segments/{segment}/verdict", {"verdict": "confirmed"})
    with library.write() as session:
        session.execute(update(AnalysisRow).where(AnalysisRow.video_id == bad).values(scores=b"123", tracks=b"no zlib"))
    for path, words in (("scores", "its scores are damaged"), ("tracks", "its tracks are damaged")):
        answer = app.get(f"/api/videos/{bad}/{path}", headers=root.headers)
        assert (answer.status_code, words in answer.text) == (409, True)
        assert app.get(f"/api/videos/{good}/{path}", headers=root.headers).status_code == 200
    assert root.ask("GET", "/thresholds")["missed"] == 1
    found = root.ask("GET", "/search", words="a fight")
    assert ({m["video"] for m in found["moments"]}, found["damaged"]) == ({good}, ["bad.mp4"])
    lines = export(library, make_settings(), tmp_path / "out")
    assert any("bad.mp4" in line and "no example" in line for line in lines)
    made = root.ask("POST", "/exports", {"segments": [segments[0]]}, 202)["id"]
    end = time.monotonic() + 30
    while (row := next(e for e in root.ask("GET", "/exports") if e["id"] == made))["status"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (row["status"], "damaged" in row["error"] or "read" in row["error"]) == ("failed", True)


def test_f19_a_search_that_nothing_fits_is_quick(tmp_path: Path) -> None:
    """It walked 200,000 snippets for 4 to 10 s."""
    index, rng = Index(), np.random.default_rng(0)
    files, edges = {}, np.arange(2001.0)
    for i in range(100):
        files[f"{i:03d}"] = tmp_path / f"{i}.npy"
        np.save(files[f"{i:03d}"], rng.normal(size=(2000, 8)).astype(np.float16))
    index.refresh(files, lambda _: edges)
    assert len(index.vectors) == 200_000
    vector = rng.normal(size=8).astype(np.float32)
    began = time.monotonic()
    assert index.nearest(vector, 24, wanted=lambda video, starts, ends: np.zeros(len(starts), bool)) == []
    found = index.nearest(
        vector, 24, wanted=lambda video, starts, ends: (starts > 500) & (starts < 510) & (video == "007")
    )
    assert time.monotonic() - began < 2
    assert {m.video for m in found} == {"007"}
    assert all(500 < m.start < 510 for m in found)
    assert 2 <= len(found) <= 4


# --- the disk ---------------------------------------------------------------------------------------------------------------


def test_f17_a_full_disk_is_told_and_the_upload_goes_on_later(
    app: TestClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Person(app, library, "ann")
    begun = ann.ask("POST", "/uploads", {"name": "a.mp4", "size": 6})["id"]
    put = f"/api/uploads/{begun}?offset="
    assert app.put(put + "0", content=b"abc", headers=ann.headers).json() == {"received": 3}
    real = open

    def full(path: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if mode == "r+b":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, mode, *rest, **more)

    monkeypatch.setattr(clips, "open", full, raising=False)
    answer = app.put(put + "3", content=b"def", headers=ann.headers)
    assert (answer.status_code, "No space left" in answer.text) == (503, True)
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    assert ann.ask("GET", f"/uploads/{begun}")["received"] == 3
    assert app.put(put + "3", content=b"def", headers=ann.headers).json() == {"received": 6}
    library.part(begun).unlink()
    assert app.post(f"/api/uploads/{begun}/finish", json={}, headers=ann.headers).status_code == 404


def test_bytes_that_are_gone_are_told(app: TestClient, library: Library) -> None:
    ann = Person(app, library, "ann")
    begun = ann.ask("POST", "/uploads", {"name": "a.mp4", "size": 6})["id"]
    library.part(begun).unlink()
    answer = app.put(f"/api/uploads/{begun}?offset=0", content=b"abc", headers=ann.headers)
    assert (answer.status_code, answer.json()["detail"]) == (404, "upload: what was here of it is gone; begin again")


def test_a_full_disk_anywhere_is_no_bug_and_a_bug_is_one(
    app: TestClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Person(app, library, "ann")
    for number, expected in ((errno.ENOSPC, 503), (errno.EROFS, 503), (errno.ENOTDIR, 500)):

        def broken(*a: Any, number: int = number, **k: Any) -> Any:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(library, "days", broken)
        answer = app.get("/api/days", headers=ann.headers)
        assert answer.status_code == expected
        assert "X-Frame-Options" in answer.headers


# --- the database -----------------------------------------------------------------------------------------------------------


def test_f17_a_database_that_is_away_is_a_503_everywhere(
    app: TestClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Person(app, library, "ann")

    def away(*a: Any, **k: Any) -> Any:
        raise OperationalError("connect", {}, Exception("server closed the connection\nunexpectedly"))

    monkeypatch.setattr(database.Rows, "execute", away)
    monkeypatch.setattr(database.Rows, "scalars", away)
    monkeypatch.setattr(database.Rows, "scalar", away)
    monkeypatch.setattr(database.Rows, "get", away)
    asked = [
        app.get("/healthz"), app.get("/api/me", headers=ann.headers), app.get("/api/videos", headers=ann.headers),
        app.post("/api/login", json={"name": "ann", "password": "x"}), app.get("/"),
    ]  # fmt: skip
    assert [a.status_code for a in asked] == [503] * 5
    assert all("X-Frame-Options" in a.headers and int(a.headers["retry-after"]) > 0 for a in asked)
    assert all("\n" not in a.json()["detail"] for a in asked)
    monkeypatch.undo()
    assert app.get("/api/me", headers=ann.headers).status_code == 200


def test_a_malformed_database_says_so(library: Library) -> None:
    library.engine.dispose()
    place = library.folder / "library.sqlite"
    for extra in ("-wal", "-shm"):
        Path(f"{place}{extra}").unlink(missing_ok=True)
    data = bytearray(place.read_bytes())
    data[100:] = os.urandom(len(data) - 100)
    place.write_bytes(bytes(data))
    with pytest.raises(OutputError, match=r"library: (is damaged|cannot be read)"), library.read() as session:
        session.query(SegmentRow).all()


def test_libraries_that_cannot_be_opened_are_one_line(library: Library, tmp_path: Path) -> None:
    library.engine.dispose()
    newer = tmp_path / "newer"
    made = Library(newer)
    with made.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    made.engine.dispose()
    file = tmp_path / "file"
    file.write_text("x")
    for place, words in (
        (newer, "newer vlad"), (file, "cannot be made"), ("/proc/none", "cannot be made"),
        ("postgresql+psycopg://vlad@127.0.0.1:1/none", "cannot be opened"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words) as caught:
            Library(place, tmp_path / "clips" if "://" in str(place) else None)
        assert "\n" not in str(caught.value)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_f27_a_password_among_the_processes_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://vlad:secret@127.0.0.1:1/none"
    words = ("users", "list", "--library", url, "--folder", str(tmp_path / "a"))
    monkeypatch.setattr(sys, "argv", ["vlad", *words])
    told = run(*words)
    assert "put it into VLAD_LIBRARY instead" in told.stderr
    assert "secret" not in told.output
    assert isinstance(told.exception, InputError)
    assert "secret" not in str(told.exception)
    monkeypatch.setattr(sys, "argv", ["vlad", "users", "list"])
    monkeypatch.setenv("VLAD_LIBRARY", url)
    assert "VLAD_LIBRARY instead" not in run("users", "list", "--folder", str(tmp_path / "a")).stderr


def test_groups_by_the_command_line(library: Library) -> None:
    library.add_user("ann", "correct horse battery")
    where = ("--library", str(library.folder))
    made = run("groups", "set", "front", "--camera", "door", "--camera", "", "--member", "ann", *where)
    assert made.stdout == "front: 2 cameras, 1 members\n"
    assert run("groups", "list", *where).stdout == "front  cameras: (no camera), door  members: ann\n"
    assert "everybody sees all" in run("groups", "remove", "front", *where).stdout
    assert [r.user for r in library.audit_rows(count=2)] == ["command line"] * 2
