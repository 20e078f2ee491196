"""It comes back: what counts as a try, workers without a server, loops that outlive whatever goes wrong, and what /healthz says meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from serving import client
from vlad.app import background
from vlad.app.background import Background, Loop, Workers

from vlad.config import make_settings
from vlad.errors import OutputError
from vlad.library import Library
from vlad.library.jobs import LOST, TRIES
from vlad.library.tables import Job, User


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def user(library: Library) -> User:
    return library.local_user()


def queued(library: Library, user: User, name: str = "a.mp4") -> str:
    upload = library.begin_upload(user, name, 1)
    library.append(user, upload.id, 0, b"x")
    return library.finish_upload(user, upload.id)[1].id


def job_of(library: Library, job_id: str) -> Job:
    with library.read() as session:
        found = session.get(Job, job_id)
        assert found is not None
        return found


def test_f16_power_cuts_fail_no_clip_and_a_poison_clip_is_given_up(library: Library, user: User) -> None:
    job = queued(library, user)
    for i in range(5):  # the machine stopped: its worker fell silent
        assert library.claim(f"w{i}") is not None
        assert library.revive(silence=-1) == 1
    assert (job_of(library, job).status, job_of(library, job).attempts) == ("queued", 0)
    for i in range(TRIES):
        assert library.claim(f"x{i}") is not None
        assert library.died("another") == 0
        assert library.died(f"x{i}") == 1
    assert job_of(library, job).status == "failed"
    assert job_of(library, job).error == "given up: it ended its worker 3 times"


def test_a_clip_that_silences_every_worker_is_given_up_too(library: Library, user: User) -> None:
    job = queued(library, user)
    for _ in range(LOST):
        assert library.claim("w") is not None
        library.revive(silence=-1)
    assert job_of(library, job).error == f"given up: its worker fell silent {LOST} times"


def test_the_last_try_is_alone(library: Library, user: User) -> None:
    """Whatever its neighbours take up, a clip is not given up for it."""
    poor, fine = queued(library, user, "poor.mp4"), queued(library, user, "fine.mp4")
    for name in ("a", "b"):
        assert getattr(library.claim(name), "id", "") == poor
        library.died(name)
    with library.write() as session:
        row = session.get(Job, poor)
        assert row is not None
        row.created = time.time()  # the other one is first
    queued(library, user, "third.mp4")
    assert getattr(library.claim("c"), "id", "") == fine
    assert library.claim("d") is None  # until it can be alone, and nobody overtakes it
    library.finish(fine, "c")
    assert getattr(library.claim("d"), "id", "") == poor
    assert library.claim("e") is None  # nothing begins beside it
    library.finish(poor, "d")
    assert library.claim("e") is not None


def test_f23_a_removed_clip_takes_its_job_along(library: Library, user: User) -> None:
    waiting, running = queued(library, user, "waits.mp4"), queued(library, user, "runs.mp4")
    first = library.claim("w")
    assert first is not None
    for job in (waiting, running):
        library.remove(user, job_of(library, job).video_id)
        assert (job_of(library, job).status, job_of(library, job).error) == ("cancelled", "its clip was removed")
    assert not library.beat(first.id, "w", stage="decoding", done=0, total=None)
    assert not library.fail(first.id, "w", "no such file")
    assert library.claim("w") is None
    assert job_of(library, first.id).error == "its clip was removed"


def test_f8_a_loop_outlives_whatever_goes_wrong_and_says_so() -> None:
    turns: list[int] = []

    def turn() -> None:
        turns.append(len(turns))
        if len(turns) < 4:
            raise (OutputError("locked"), OSError(28, "full"), ZeroDivisionError())[len(turns) - 1]

    loop = Loop("test", 0.02, turn)
    assert loop.state() == {"ago": None, "failed": 0, "alive": False}
    seen = set()
    with loop:
        end = time.monotonic() + 10
        while len(turns) < 6 and time.monotonic() < end:
            seen.add(loop.state()["failed"])
            time.sleep(0.001)
        assert loop.state()["failed"] == 0
        assert loop.state()["alive"]
    assert len(turns) >= 6
    assert seen > {0}
    assert not loop.state()["alive"]


def test_a_worker_that_died_while_the_library_was_locked_is_told_later(
    library: Library, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F8: another process held the write lock while a worker was killed; from then on no worker was ever started again."""

    class Process:
        def __init__(self) -> None:
            self.rc: int | None = None

        def poll(self) -> int | None:
            return self.rc

    crew = Workers(library, str(library.folder), make_settings(), 1)

    def start() -> None:
        crew._started += 1
        crew.processes[f"w{crew._started}"] = Process()  # type: ignore[assignment]

    monkeypatch.setattr(crew, "_start", start)
    job = queued(library, user)
    crew.turn()
    library.claim("w1")
    crew.processes["w1"].rc = -9  # type: ignore[attr-defined]
    real = library.died

    def locked(worker: str) -> int:
        raise OutputError("library: cannot be written (database is locked)")

    library.died = locked
    with pytest.raises(OutputError):
        crew.turn()
    assert list(crew.processes) == ["w2"]  # somebody works on meanwhile
    library.died = real
    crew.turn()
    assert (job_of(library, job).status, job_of(library, job).attempts) == ("queued", 1)


def test_healthz_and_metrics_tell_what_fails(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "SEALED", 0.02)
    behind = Background(library, str(library.folder), make_settings(), 0)
    (seals,) = (loop for loop in behind.loops if loop.name == "seals")
    seals.turn = lambda: 1 / 0  # type: ignore[assignment, return-value]
    api = client(library)
    with behind:
        api.app.state.behind = behind.state  # type: ignore[attr-defined]
        end = time.monotonic() + 10
        while not seals.failed and time.monotonic() < end:
            time.sleep(0.01)
        state = api.get("/healthz").json()
        assert state["status"] == "failing: seals"
        assert (state["workers"], state["strays"], state["loops"]["sweeps"]["failed"]) == (0, 0, 0)
        told = api.get("/metrics").text
        assert 'vlad_loop_failures{loop="sweeps"} 0.0' in told
        assert float(told.split('vlad_loop_failures{loop="seals"} ')[1].split("\n")[0]) >= 1
        assert "vlad_disk_free_bytes" in told
    assert api.get("/healthz").json()["status"].startswith("failing: ")  # they have ended


@pytest.mark.slow
def test_f29_a_worker_whose_server_is_gone_gives_its_clip_back_and_ends(
    library: Library, user: User, clip: Path, tmp_path: Path
) -> None:
    """In the middle of a clip, and of a step that never ends."""
    upload = library.begin_upload(user, "a.mp4", clip.stat().st_size)
    library.append(user, upload.id, 0, clip.read_bytes())
    job = library.finish_upload(user, upload.id)[1].id
    told = json.dumps(
        {"library": str(library.folder), "place": str(library.folder), "copies": str(library.folder), "name": "orphan"}
    )
    hangs = (
        "import sys, time, vlad.app.worker as w, vlad.pipeline as p\n"
        "w.ORPHAN = 4.0\n"
        "p.Analyzer.features = lambda *a, **k: time.sleep(600)\n"
        "sys.exit(w.main())"
    )
    server = (
        "import os, subprocess, sys, json, time\n"
        f"told = json.loads({told!r}) | {{'server': os.getpid()}}\n"
        f"child = subprocess.Popen([sys.executable, '-c', {hangs!r}], stdin=subprocess.PIPE)\n"
        "child.stdin.write(json.dumps(told).encode()); child.stdin.close()\n"
        "print(child.pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    orphan = int(parent.stdout.readline())
    try:
        wait(lambda: job_of(library, job).status == "running", 120)
        parent.kill()
        parent.wait()
        wait(lambda: job_of(library, job).status == "queued", 20)
        assert job_of(library, job).attempts == 0
        wait(lambda: not _lives(orphan), 20)
    finally:
        parent.kill()
        parent.stdout.close()
        if _lives(orphan):
            os.kill(orphan, signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def wait(until: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.2)
