"""What is removed, and what never is: strays after a cut, files that cannot be removed, and clocks that jump."""

import os
import time
from pathlib import Path

import pytest
from browsing import add_clip
from vlad.app.background import Retention

from vlad.config import make_settings
from vlad.library import Library
from vlad.library.tables import Job, Video

DAY = 86_400.0


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


def old_clip(library: Library, tmp_path: Path, days: float) -> str:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x" * 1000)
    video, _ = add_clip(library, clip, ())
    with library.write() as session:
        row = session.get(Video, video)
        assert row is not None
        row.created = time.time() - days * DAY
    return video


def test_f9_a_file_that_could_not_be_removed_is_taken_by_the_next_sweep(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = old_clip(library, tmp_path, 1)
    real = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if self.parent.name == "clips":
            raise PermissionError(13, "Permission denied")
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    library.remove(library.local_user(), video)
    assert library.clip(video).exists()
    assert library.sweep() == (0, 1)  # counted, for /healthz
    monkeypatch.undo()
    assert library.sweep() == (1, 0)
    assert not library.clip(video).exists()


def test_strays_go_and_what_is_in_use_stays(library: Library, tmp_path: Path) -> None:
    video = old_clip(library, tmp_path, 1)
    upload = library.begin_upload(library.local_user(), "coming.mp4", 10)
    for part, name in (
        ("clips", "f" * 32),
        ("embeddings", "e" * 32 + ".npy"),
        ("sheets", "d" * 32 + ".jpg"),
        ("uploads", "c" * 32),
        ("features", "b" * 32 + "/17/5c.safetensors"),
    ):
        (library.folder / part / name).parent.mkdir(parents=True, exist_ok=True)
        (library.folder / part / name).write_bytes(b"stray")
    library.features(video).mkdir()
    (library.folder / "clips" / "README").write_text("not ours")
    assert library.sweep() == (5, 0)
    assert library.clip(video).exists()
    assert [f.name for f in (library.folder / "features").iterdir()] == [video]
    assert library.part(upload.id).exists()
    assert (library.folder / "clips" / "README").exists()


def test_f15_a_clock_that_jumps_removes_nothing(library: Library, tmp_path: Path) -> None:
    library.set_option(library.local_user(), "retention_days", 365)
    sweeps, now = Retention(library), time.time()
    sweeps.look(now, 1000.0)
    video = old_clip(library, tmp_path, 800)  # as old as it looks to a clock that jumped
    sweeps.look(now + 400 * DAY, 1000.0 + 3600)  # the clock says 400 days, an hour passed
    assert library.clip(video).exists()
    again = Retention(library)
    again.look(now + 800 * DAY, 50.0)  # and while the server was off
    assert library.clip(video).exists()
    again.look(now + 800 * DAY + 3600, 50.0 + 3600)
    assert library.clip(video).exists()
    again.look(now + 801.1 * DAY, 50.0 + 1.1 * DAY)  # a day later, with a clock that goes on as time does
    assert not library.clip(video).exists()


def test_an_old_clip_is_removed_by_a_steady_clock(library: Library, tmp_path: Path) -> None:
    old, fresh = old_clip(library, tmp_path, 30), old_clip(library, tmp_path, 1)
    library.set_option(library.local_user(), "retention_days", 7)
    Retention(library).look(time.time(), 5.0)
    assert not os.path.exists(library.clip(old))
    assert os.path.exists(library.clip(fresh))


@pytest.mark.slow
def test_f9_nothing_that_was_made_of_a_removed_clip_stays(
    library: Library, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its features stayed in the folder of caches of whoever ran the server."""
    from vlad.app.worker import Worker

    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))
    user, data = library.local_user(), clip.read_bytes()
    upload = library.begin_upload(user, "lobby.mp4", len(data))
    library.append(user, upload.id, 0, data)
    video, job = library.finish_upload(user, upload.id)
    assert Worker(library, make_settings(explain=False)).once()
    with library.read() as session:
        found = session.get(Job, job.id)
        assert found is not None
        assert (found.status, found.error) == ("done", "")
    assert list(library.features(video.id).rglob("*.safetensors"))
    library.remove(user, video.id)
    assert [p for p in library.folder.rglob("*") if video.id in str(p)] == []
    assert not (tmp_path / "cache").exists()
