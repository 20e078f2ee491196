"""A library out and back in: the same rows, the same files, the same log; also while it is in use, and nothing that was changed on the way."""

import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlad.cli import app as cli
from vlad.errors import InputError
from vlad.library import Library, verify
from vlad.library.backup import backup, check, restore

PASSWORD = "correct horse battery"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """With a clip, a user and a decided segment."""
    from browsing import add_clip, spans

    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"\x00\x01 not decoded here" * 1000)
    found = Library(tmp_path / "library")
    user = found.add_user("ann", PASSWORD, "admin")
    _, ids = add_clip(found, clip, spans(3), user=user)
    found.decide(user, ids[0], "confirmed", "a reason")
    found.note(user, ids[1], "eine Notiz: ä 中")
    return found


def rows_of(library: Library) -> list[tuple[object, ...]]:
    with library.read() as session:
        return [(r.number, r.user, r.action, r.target, r.digest) for r in library.audit_rows(count=500)] + [
            verify(session)
        ]


def test_what_comes_back_is_what_was_there(tmp_path: Path, library: Library) -> None:
    made = backup(library, tmp_path / "out")
    other = Library(tmp_path / "other")
    assert restore(tmp_path / "out", other) == made
    assert rows_of(other) == rows_of(library)
    (video,), (same,) = library.videos(), other.videos()
    assert other.clip(same.id).read_bytes() == library.clip(video.id).read_bytes()
    before, after = library.track(video.id), other.track(same.id)
    assert (before.scores == after.scores).all()
    assert other.sign_in("ann", PASSWORD) is not None
    assert [s.status for s in other.segments()[0]] == [s.status for s in library.segments()[0]]


def test_a_backup_of_a_library_in_use_is_one_moment(tmp_path: Path, library: Library) -> None:
    (user,), stop = library.users(), threading.Event()
    rows, _ = library.segments()

    def work() -> None:
        n = 0
        while not stop.is_set():
            library.decide(user, rows[n % 3].id, ("confirmed", "dismissed")[n % 2], str(n))
            n += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for n in range(5):
            backup(library, tmp_path / f"out{n}")
    finally:
        stop.set()
        thread.join()
    other = Library(tmp_path / "other")
    restore(tmp_path / "out4", other)  # which verifies that its log is one chain
    with other.read() as session:
        assert verify(session)[2] is None


def test_what_was_changed_cut_or_added_is_refused_in_one_line(tmp_path: Path, library: Library) -> None:
    out = tmp_path / "out"
    backup(library, out)
    (clip,) = (out / "clips").iterdir()
    kept = clip.read_bytes()
    clip.write_bytes(kept[:-1])
    with pytest.raises(InputError, match="was changed since the backup"):
        check(out)
    clip.unlink()
    with pytest.raises(InputError, match="is missing"):
        check(out)
    clip.write_bytes(kept)
    check(out)
    manifest = (out / "MANIFEST.sha256").read_text()
    (out / "MANIFEST.sha256").write_text(manifest + "0" * 64 + "  ../../etc/passwd\n")
    with pytest.raises(InputError, match="is missing"):
        check(out)
    (out / "MANIFEST.sha256").write_text(manifest)
    with pytest.raises(InputError, match="is in use"):
        restore(out, library)
    with pytest.raises(InputError, match="is not empty"):
        backup(library, out)
    with pytest.raises(InputError, match="is no backup"):
        check(tmp_path)


def test_by_command_line(tmp_path: Path, library: Library) -> None:
    run = CliRunner()
    done = run.invoke(cli, ["backup", str(tmp_path / "out"), "--library", str(library.folder)])
    assert done.exit_code == 0, done.output
    back = run.invoke(cli, ["restore", str(tmp_path / "out"), "--library", str(tmp_path / "new")])
    assert back.exit_code == 0, back.output
    assert rows_of(Library(tmp_path / "new")) == rows_of(library)
