"""A storage that dies in the middle, hands out parts, or lists what is none of ours; copies that are damaged: nothing is lost, nothing half is believed."""

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from serving import analysed
from test_shelf import machine, old, storage
from test_worker import Line, queue
from vlad.app.worker import Worker

from vlad.config import make_settings
from vlad.errors import OutputError, StorageError
from vlad.library import Library
from vlad.library.backup import backup
from vlad.library.covering import Privacy
from vlad.library.shelf import Shelf
from vlad.library.tables import Job, Video

assert storage  # a fixture


def half(source: str, target: str) -> None:
    """As a connection that ends early, and nobody says so."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    data = Path(source).read_bytes()
    Path(target).write_bytes(data[: len(data) // 2])


def away(*_: Any, **__: Any) -> Any:
    raise OSError("connection refused")


def job_of(library: Library) -> Job:
    with library.read() as session:
        return session.query(Job).order_by(Job.created.desc()).first()  # type: ignore[return-value]


def test_half_an_upload_is_no_clip(tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = machine(tmp_path, storage, "one")
    user = one.local_user()
    upload = one.begin_upload(user, "a.mp4", 8)
    one.append(user, upload.id, 0, b"the clip")
    with monkeypatch.context() as patch:
        patch.setattr(one.shelf._files, "put_file", half)
        with pytest.raises(StorageError, match="a part of a file only"):
            one.finish_upload(user, upload.id)
    assert one.videos() == []
    assert one.finish_upload(user, upload.id)[0].id == upload.id
    assert (tmp_path / "bucket" / "clips" / upload.id).read_bytes() == b"the clip"


def test_half_a_file_that_is_brought_is_none(tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = machine(tmp_path, storage, "one"), machine(tmp_path, storage, "two")
    video = queue(one, one.local_user(), data=b"the clip")
    with monkeypatch.context() as patch:
        patch.setattr(two.shelf._files, "get_file", half)
        with pytest.raises(StorageError, match="part of a file"):
            two.clip(video)
    assert list((tmp_path / "two" / "clips").iterdir()) == []
    assert two.clip(video).read_bytes() == b"the clip"


def test_a_copy_that_lost_its_end_is_brought_again_and_the_last_whole_one_stays(tmp_path: Path, storage: str) -> None:
    one, two = machine(tmp_path, storage, "one"), machine(tmp_path, storage, "two")
    video, other = (queue(one, one.local_user(), data=b"the clip") for _ in range(2))
    two.clip(video).write_bytes(b"the")  # the machine lost power
    assert two.shelf.trim() == 1
    assert two.clip(video).read_bytes() == b"the clip"
    there = tmp_path / "bucket" / "clips" / other
    there.write_bytes(b"")  # and here the storage is the one that lost it
    old(one.clip(other))
    os.utime(one.shelf.path(f"clips/{other}"), (0, one.shelf.path(f"clips/{other}").stat().st_mtime))
    one.shelf.trim(0)
    assert one.shelf.path(f"clips/{other}").read_bytes() == b"the clip"


def test_a_job_waits_while_its_storage_is_away_and_is_given_up_where_only_its_file_never_comes(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machine(tmp_path, storage, "one"), machine(tmp_path, storage, "two")
    queue(one, one.local_user(), data=b"the clip")
    worker = Worker(two, make_settings(), analyzer=Line())  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        for call in ("info", "ls", "get_file"):
            patch.setattr(two.shelf._files, call, away)
        for _ in range(30):
            with pytest.raises(StorageError, match="cannot be used just now"):
                worker.once()
        assert (job_of(one).status, job_of(one).attempts, job_of(one).lost) == ("queued", 0, 0)
    with monkeypatch.context() as patch:
        patch.setattr(two.shelf._files, "get_file", away)
        for _ in range(20):
            with pytest.raises(StorageError):
                worker.once()
        assert job_of(one).status == "failed"
        assert "its file did not come 20 times" in job_of(one).error
        assert worker.once() is False
    one.again(one.local_user(), job_of(one).video_id)
    assert worker.once()
    assert job_of(one).status == "done"


def test_names_of_a_hostile_listing_touch_nothing_outside(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine(tmp_path, storage, "one")
    queue(one, one.local_user(), data=b"the clip")
    precious = tmp_path / "precious"
    precious.write_bytes(b"stays")
    names = [f"{tmp_path}/bucket/clips/{n}" for n in (
        "../../precious", "..", ".", "", f"{'f' * 32}/../../../precious", "/etc/passwd", "f" * 32 + "." + "x" * 2000, "f" * 32 + "\n", "é\udc80",
    )] + [str(precious), "/", "precious"]  # fmt: skip
    rows = [{"name": n, "size": 5, "type": "file", "mtime": 1.0} for n in names]
    rows += [{"name": "x", "size": 1 << 70, "type": "file", "mtime": 1e300}, {"name": "y", "type": "directory"}]
    monkeypatch.setattr(one.shelf._files, "ls", lambda *_, **__: rows)
    one.sweep()
    one.shelf.trim(0)
    assert precious.read_bytes() == b"stays"
    assert (tmp_path / "library.sqlite").exists()
    with pytest.raises(OutputError):
        backup(one, tmp_path / "out")
    assert precious.read_bytes() == b"stays"


def test_a_removal_that_dies_in_the_middle_is_ended_by_the_next_sweep(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machine(tmp_path, storage, "one"), machine(tmp_path, storage, "two")
    video = queue(one, one.local_user(), data=b"the clip")
    analysed(one, video)
    two.clip(video)
    with monkeypatch.context() as patch:
        patch.setattr(one.shelf._files, "rm_file", away)
        one.remove(one.local_user(), video)
        assert one.sweep() == (0, 2)
    assert one.sweep()[1] == 0
    two.sweep()
    assert not list(tmp_path.rglob(f"{video}*"))


def test_a_disk_that_is_full_says_so_and_copies_that_nobody_uses_make_room(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Shelf(tmp_path / "one", storage), Shelf(tmp_path / "two", storage)
    (tmp_path / "one" / "clips").mkdir(parents=True)
    for name in ("clips/a", "clips/b"):
        one.path(name).write_bytes(b"the clip")
        one.put(name)
    get = two._files.get_file

    def full(source: str, target: str) -> None:
        if two.path("clips/a").exists():
            half(source, target)
            raise OSError(28, "No space left on device")
        get(source, target)

    two.found("clips/a")
    monkeypatch.setattr(two._files, "get_file", full)
    monkeypatch.setattr("vlad.library.shelf.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match=r"no room for a file of the library .No space left on device"):
        two.found("clips/b")  # the other was used just now
    assert [p.name for p in (tmp_path / "two" / "clips").iterdir()] == ["a"]
    assert not two.works()  # what waits goes on waiting
    old(two.path("clips/a"))
    assert two.found("clips/b").read_bytes() == b"the clip"
    assert [p.name for p in (tmp_path / "two" / "clips").iterdir()] == ["b"]


def test_a_backup_takes_no_damaged_copy_for_its_clip(tmp_path: Path, storage: str) -> None:
    one = machine(tmp_path, storage, "one")
    videos = [queue(one, one.local_user(), data=b"the clip") for _ in range(2)]
    with one.write() as session:
        for row in session.query(Video):
            row.sha256 = hashlib.sha256(b"the clip").hexdigest()
    one.clip(videos[0]).write_bytes(b"not clip")
    for path in (one.clip(videos[1]), tmp_path / "bucket" / "clips" / videos[1]):
        path.write_bytes(b"not clip")
    lines: list[str] = []
    assert backup(one, tmp_path / "out", lines.append)["files"] == 2
    assert [(tmp_path / "out" / "clips" / v).read_bytes() for v in videos] == [b"the clip", b"not clip"]
    assert lines[1:] == [f"clips/{videos[1]}: is damaged; it is not the file that was analysed"]


def test_covers_of_before_go_also_where_the_storage_was_away_when_they_were_redone(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom a person drew over later may be seen in them."""
    one, two = machine(tmp_path, storage, "one"), machine(tmp_path, storage, "two")
    user, wish = one.local_user(), Privacy("people", "mosaic")
    video = queue(one, user, data=b"clip")
    analysed(one, video)
    one.set_privacy(user, "people", "mosaic")
    one.keep_cover(video, wish, [], [], b"first", [])
    before = two.shown(video)
    with monkeypatch.context() as patch:
        patch.setattr(one.shelf._files, "rm_file", away)
        one.keep_cover(video, wish, [], [], b"again", [])
    assert one.sweep() == two.sweep() == (0, 0)  # of one that is being put there the row comes last
    for path in (before, tmp_path / "bucket" / "covered" / before.name):
        os.utime(path, (0, time.time() - 7200))
    one.sweep(), two.sweep()
    assert {p.name for p in tmp_path.glob("*/covered/*")} == {one.shown(video).name}
    assert two.shown(video).read_bytes() == b"again"
