"""Files of a library in a storage that machines share: what one writes another reads, nothing is lost where the storage or a machine goes away.

S3: moto's server, in a process of its own. PostgreSQL: see postgres.py. Default tests have a folder as fsspec's own kind of storage (file://).
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import analysed
from sqlalchemy import func, select
from test_strain import Server, wait
from test_worker import queue

from vlad.config import make_settings
from vlad.errors import InputError, OutputError
from vlad.library import Library
from vlad.library.backup import backup, restore
from vlad.library.covering import Privacy
from vlad.library.shelf import Shelf
from vlad.library.tables import Job
from vlad.video import cut


def old(path: Path) -> None:
    """As if nobody had used it for long."""
    os.utime(path, (time.time() - 7200, path.stat().st_mtime))


@pytest.fixture
def storage(tmp_path: Path) -> str:
    (tmp_path / "bucket").mkdir()
    return f"file://{tmp_path}/bucket"


def machine(tmp_path: Path, storage: str, name: str) -> Library:
    """The same library as another machine has it."""
    return Library(f"sqlite:///{tmp_path}/library.sqlite", storage, tmp_path / name)


def test_what_one_machine_takes_in_another_reads(tmp_path: Path, storage: str) -> None:
    one, two = machine(tmp_path, storage, "one"), machine(tmp_path, storage, "two")
    user = one.local_user()
    video = queue(one, user, data=b"clip")
    assert two.clip(video) == tmp_path / "two" / "clips" / video
    assert two.clip(video).read_bytes() == b"clip"
    analysed(two, video)
    assert one.embeddings(video).read_bytes() == two.embeddings(video).read_bytes() != b""
    assert not one.sheet(video).exists()  # nobody made one
    two.sheet(video).parent.mkdir(exist_ok=True)
    for suffix in (".jpg", ".json"):
        two.sheet(video).with_suffix(suffix).write_bytes(b"first")
    two.put_sheet(video)
    assert one.sheet(video).read_bytes() == one.sheet(video).with_suffix(".json").read_bytes() == b"first"


def test_a_covered_clip_is_there_for_every_machine_and_goes_with_its_clip(tmp_path: Path, storage: str) -> None:
    one, two = machine(tmp_path, storage, "one"), machine(tmp_path, storage, "two")
    user = one.local_user()
    video = queue(one, user, data=b"clip")
    analysed(one, video)
    one.set_privacy(user, "people", "mosaic")
    two.keep_cover(video, Privacy("people", "mosaic"), [], [], b"covered", [])
    assert one.shown(video).read_bytes() == b"covered"
    for suffix in (".jpg", ".json"):
        two.sheet(video).parent.mkdir(exist_ok=True)
        two.sheet(video).with_suffix(suffix).write_bytes(b"small")
    two.put_sheet(video)
    assert one.sheet(video).read_bytes() == b"small"
    two.keep_cover(video, Privacy("people", "mosaic"), [], [], b"again", [])
    assert one.shown(video).read_bytes() == b"again"
    assert not one.sheet(video).exists()  # it was of the other
    assert [p.name for p in (tmp_path / "bucket" / "covered").iterdir()] == [one.shown(video).name]
    one.remove(user, video)
    assert [p for part in ("covered", "sheets", "clips") for p in (tmp_path / "bucket" / part).iterdir()] == []


def test_a_newer_file_comes_in_place_of_the_copy(tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlad.library.shelf.LISTED", 0.0)
    one, two = Shelf(tmp_path / "one", storage), Shelf(tmp_path / "two", storage)
    for words in (b"old", b"new one"):
        (tmp_path / "one" / "sheets").mkdir(parents=True, exist_ok=True)
        one.path("sheets/a").write_bytes(words)
        one.put("sheets/a")
        assert two.found("sheets/a").read_bytes() == words
    assert two.size("sheets/a") == 7
    assert two.size("sheets/b") == 0


def test_what_is_removed_is_gone_everywhere(tmp_path: Path, storage: str) -> None:
    one, two = machine(tmp_path, storage, "one"), machine(tmp_path, storage, "two")
    video = queue(one, one.local_user(), data=b"clip")
    analysed(one, video)
    two.clip(video), two.embeddings(video)
    two.remove(two.local_user(), video)
    assert not list((tmp_path / "bucket").rglob(f"{video}*"))
    assert one.sweep() == (2, 0)  # this machine's copies
    assert not list(tmp_path.rglob(f"{video}*"))


def test_a_sweep_leaves_what_is_on_its_way(tmp_path: Path, storage: str) -> None:
    """An upload lies in the storage before its row says that it is a clip."""
    one = machine(tmp_path, storage, "one")
    user = one.local_user()
    upload = one.begin_upload(user, "a.mp4", 4)
    one.append(user, upload.id, 0, b"clip")
    one.shelf.put_from(one.part(upload.id), f"clips/{upload.id}")
    stray = "f" * 32
    (tmp_path / "bucket" / "clips" / stray).write_bytes(b"of a server that ended in between")
    assert one.sweep() == (1, 0)
    assert one.finish_upload(user, upload.id)[0].id == upload.id
    assert one.clip(upload.id).read_bytes() == b"clip"


def test_copies_give_way_and_come_back(tmp_path: Path, storage: str) -> None:
    one = machine(tmp_path, storage, "one")
    video = queue(one, one.local_user(), data=b"clip")
    here = one.clip(video)
    assert one.shelf.trim(0) == 0  # in use a moment ago
    old(here)
    alone = one.folder / "exports" / "only-here.zip"
    alone.write_bytes(b"not in the storage")
    old(alone)
    left = one.folder / "clips" / ".x.part"
    left.write_bytes(b"of a process that was ended")
    os.utime(left, (0, 0))
    assert one.shelf.trim(0) == 1
    assert [p.exists() for p in (here, alone, left)] == [False, True, False]
    assert one.clip(video).read_bytes() == b"clip"


def test_a_storage_has_one_library(tmp_path: Path, storage: str) -> None:
    machine(tmp_path, storage, "one")
    machine(tmp_path, storage, "again")
    with pytest.raises(InputError, match="another library"):
        Library(tmp_path / "other", storage, tmp_path / "copies")


def test_a_backup_of_it_and_back_into_one(tmp_path: Path, storage: str) -> None:
    one = machine(tmp_path, storage, "one")
    video = queue(one, one.local_user(), data=b"clip")
    old(one.clip(video))
    one.shelf.trim(0)
    made = backup(one, tmp_path / "out")
    assert made["files"] == 1
    (tmp_path / "second").mkdir()
    back = Library(tmp_path / "other", f"file://{tmp_path}/second", tmp_path / "copies")
    assert restore(tmp_path / "out", back) == made
    assert (tmp_path / "second" / "clips" / video).read_bytes() == b"clip"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nonsense://x", "no storage that can be used"),
        ("s4://x", "no storage that can be used"),
        ("gs://x", "pip install"),
    ],
)
def test_what_is_no_storage_is_one_line(tmp_path: Path, place: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Library(tmp_path / "library", place, tmp_path / "copies")


def test_a_storage_that_fails_says_so(tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path / "one", storage)

    class Away:
        def __getattr__(self, name: str) -> Any:
            def call(*_: Any, **__: Any) -> None:
                time.sleep(0.2)
                raise ConnectionError("no route\nsecond line")

            return call

    monkeypatch.setattr(shelf, "_files", Away())
    with pytest.raises(OutputError, match=r"cannot be used just now \(no route\)$"):
        shelf.found("clips/a")
    with pytest.raises(OutputError, match="being brought"):
        shelf.found("clips/a", 0.05)
    with pytest.raises(OutputError, match="cannot be used"):
        shelf.put("clips/a")


class S3:
    """moto's server on this machine; paused, it keeps connections and says nothing."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        code = (
            "import sys, signal\nfrom moto.server import ThreadedMotoServer\n"
            f"ThreadedMotoServer(ip_address='127.0.0.1', port={self.port}, verbose=False).start()\nsignal.pause()\n"
        )
        self.log = open(folder / "s3.log", "wb")  # noqa: SIM115
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=self.log, stderr=self.log)
        self.url = f"http://127.0.0.1:{self.port}"
        wait(self._answers, 60)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5):
                return True
        except OSError:
            return False

    def pause(self, stop: bool) -> None:
        self.process.send_signal(signal.SIGSTOP if stop else signal.SIGCONT)

    def end(self) -> None:
        self.pause(False)
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    server = S3(tmp_path)
    told = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    request = urllib.request.Request(f"{server.url}/footage", method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        pass
    try:
        yield server
    finally:
        server.end()


def started(arguments: list[str], copies: Path, log: Path) -> subprocess.Popen[bytes]:
    """A vlad with copies of its own, as on another machine, in a group that can be killed as one."""
    with open(log, "ab") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "vlad", *arguments], stdout=told, stderr=told, start_new_session=True,
            env={**os.environ, "VLAD_COPIES": str(copies), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


@pytest.mark.slow
def test_machines_share_postgresql_and_s3(tmp_path: Path, s3: S3, postgres: str, clip: Path) -> None:
    """A page without workers, two other machines with one each, one of which loses its power; the storage falls silent and comes back."""
    place = "s3://footage/vlad"
    library = Library(postgres, place, tmp_path / "page")
    user = library.add_user("ann", "correct horse battery", "admin")
    key = {"Authorization": f"Bearer {library.open_key(user, 3600, name='t', scopes=['read', 'write', 'admin'])}"}
    data = cut(clip, 2.0, 4.0, make_settings())
    videos = [queue(library, user, f"{i}.mp4", data) for i in range(8)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = ["--library", postgres, "--folder", place]
    log = tmp_path / "log"
    app = started(["app", *shared, "--port", str(port), "--workers", "0"], tmp_path / "page", log)
    crew = [started(["work", *shared], tmp_path / f"worker{i}", log) for i in range(2)]
    server = Server.__new__(Server)
    server.port, server.process = port, app

    def counted(status: str) -> int:
        with library.read() as session:
            return session.scalar(select(func.count()).select_from(Job).where(Job.status == status)) or 0

    def media(video: str) -> int:
        return server.ask("GET", f"/api/videos/{video}/media", headers=key)[0]

    try:
        wait(lambda: server.health() is not None, 120)
        wait(lambda: counted("done") >= 2, 200)
        os.killpg(crew[0].pid, signal.SIGKILL)  # no power: page, library and the other know nothing of it
        crew[0].wait()
        wait(lambda: counted("done") == 8, 400)
        with library.read() as session:
            jobs = list(session.scalars(select(Job)))
        assert [(j.status, j.attempts) for j in jobs] == [("done", 0)] * 8
        used = {j.worker.rsplit("-", 2)[-2] for j in jobs}
        print(f"\n8 clips by workers of {len(used)} machines; lost {sum(j.lost for j in jobs)}")
        for path in (tmp_path / "page" / "clips").glob("*"):
            path.unlink()
        assert media(videos[0]) == 200  # brought
        assert server.ask("GET", f"/api/videos/{videos[0]}/sheet", headers=key)[0] == 200
        assert server.ask("GET", f"/api/videos/{videos[1]}/frame?t=0.5", headers=key)[0] == 200
        s3.pause(True)
        begun = time.monotonic()
        assert media(videos[2]) == 503
        assert time.monotonic() - begun < 10
        assert media(videos[0]) == 200  # its copy is here
        assert server.health() is not None
        s3.pause(False)
        wait(lambda: media(videos[2]) == 200, 60)
        assert server.ask("DELETE", f"/api/videos/{videos[3]}", headers=key)[0] in (200, 204)
        assert not library.shelf._files.exists(f"footage/vlad/clips/{videos[3]}")
    finally:
        for process in (app, crew[1]):
            process.terminate()
        for process in (app, crew[1]):
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        library.engine.dispose()
    assert b"Traceback" not in log.read_bytes(), log.read_text()
