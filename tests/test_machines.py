"""Uploads and jobs under any order of calls, on SQLite and PostgreSQL: what the library has is what a plain model of it says (hypothesis)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from postgres import either

from vlad.errors import ConflictError, InputError, MissingError
from vlad.library import Library
from vlad.library.jobs import LOST, TRIES
from vlad.library.tables import Base, Job, Upload, User, Video

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("VLAD_EXAMPLES", "60"))  # more for hours
WORKERS = ("a", "b", "c")


@pytest.fixture(params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    yield from either(request, tmp_path / "library")


def empty(library: Library) -> None:
    with library.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
    for part in ("clips", "uploads"):
        for path in (library.folder / part).iterdir():
            path.unlink()


def refused(call: Callable[[], Any], *kinds: type[Exception]) -> None:
    try:
        call()
    except kinds:
        return
    raise AssertionError("was not refused")


def one_of(data: st.DataObject, among: dict[str, Any]) -> str:
    """One of these by the order in which they came: ids are random, and another order would be another case when it is run again."""
    return list(among)[data.draw(st.integers(0, len(among) - 1))]


def machine_of_uploads(library: Library) -> type[RuleBasedStateMachine]:
    class Uploads(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            empty(library)
            self.users = [User(id=i * 32, name=f"user {i}", role="reviewer", password="x") for i in "12"]
            with library.write() as session:
                session.add_all(self.users)
            self.open: dict[str, tuple[int, bytes, int]] = {}  # owner, bytes so far, size
            self.clips: dict[str, tuple[int, bytes]] = {}

        def pick(self, data: st.DataObject) -> str:
            return one_of(data, self.open)

        @rule(who=st.integers(0, 1), size=st.integers(1, 40))
        def begin(self, who: int, size: int) -> None:
            made = library.begin_upload(self.users[who], "a.mp4", size)
            self.open[made.id] = (who, b"", size)

        @precondition(lambda self: self.open)
        @rule(
            data=st.data(),
            piece=st.binary(min_size=0, max_size=30),
            shift=st.sampled_from([0, 0, 0, 1, -1]),
            other=st.booleans(),
        )
        def put(self, data: st.DataObject, piece: bytes, shift: int, other: bool) -> None:
            key = self.pick(data)
            who, there, size = self.open[key]
            user = self.users[1 - who if other and shift else who]
            if user is not self.users[who]:
                refused(lambda: library.append(user, key, len(there), piece), MissingError)
            elif shift and len(there) + shift >= 0:
                refused(lambda: library.append(user, key, len(there) + shift, piece), ConflictError)
            elif len(there) + len(piece) > size:
                refused(lambda: library.append(user, key, len(there), piece), InputError)
            else:
                assert library.append(user, key, len(there), piece) == len(there) + len(piece)
                self.open[key] = (who, there + piece, size)

        @precondition(lambda self: self.open)
        @rule(data=st.data(), twice=st.booleans())
        def finish(self, data: st.DataObject, twice: bool) -> None:
            key = self.pick(data)
            who, there, size = self.open[key]
            if len(there) < size:
                refused(lambda: library.finish_upload(self.users[who], key), ConflictError)
                return
            refused(lambda: library.finish_upload(self.users[1 - who], key), MissingError)
            for _ in range(1 + twice):
                video, job = library.finish_upload(self.users[who], key)
                assert (video.id, job.video_id) == (key, key)
            self.clips[key] = (who, there)
            del self.open[key]

        @precondition(lambda self: self.open)
        @rule(data=st.data())
        def drop(self, data: st.DataObject) -> None:
            key = self.pick(data)
            refused(lambda: library.drop_upload(self.users[1 - self.open[key][0]], key), MissingError)
            library.drop_upload(self.users[self.open[key][0]], key)
            del self.open[key]

        @rule()
        def sweep(self) -> None:
            library.forget_uploads(7)
            assert library.sweep() == (0, 0)  # nothing that is somebody's

        @precondition(lambda self: self.clips)
        @rule(data=st.data())
        def remove(self, data: st.DataObject) -> None:
            key = one_of(data, self.clips)
            library.remove(self.users[0], key)
            assert not library.clip(key).exists()
            del self.clips[key]

        @invariant()
        def all_is_as_it_should_be(self) -> None:
            with library.read() as session:
                rows = {u.id: (u.received, u.size) for u in session.query(Upload)}
                videos = {v.id: v.size for v in session.query(Video).filter(Video.removed.is_(None))}
                jobs = [j.video_id for j in session.query(Job).filter(Job.status == "queued")]
            assert rows == {k: (len(there), size) for k, (_, there, size) in self.open.items()}
            assert videos == {k: len(there) for k, (_, there) in self.clips.items()}
            assert sorted(jobs) == sorted(self.clips)
            assert {p.name: p.read_bytes() for p in (library.folder / "uploads").iterdir()} == {
                k: t for k, (_, t, _) in self.open.items()
            }
            assert {p.name: p.read_bytes() for p in (library.folder / "clips").iterdir()} == {
                k: t for k, (_, t) in self.clips.items()
            }

    return Uploads


def machine_of_jobs(library: Library) -> type[RuleBasedStateMachine]:
    class Jobs(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            empty(library)
            self.user = User(id="1" * 32, name="user", role="admin", password="x")
            with library.write() as session:
                session.add(self.user)
            self.jobs: dict[str, list[Any]] = {}  # status, worker, attempts, lost, clip; in their order
            self.clips: list[str] = []

        def running(self) -> list[str]:
            return [k for k, j in self.jobs.items() if j[0] == "running"]

        @rule()
        def add(self) -> None:
            upload = library.begin_upload(self.user, "a.mp4", 1)
            library.append(self.user, upload.id, 0, b"x")
            video, job = library.finish_upload(self.user, upload.id)
            self.clips.append(video.id)
            self.jobs[job.id] = ["queued", "", 0, 0, video.id]

        @rule(worker=st.sampled_from(WORKERS))
        def claim(self, worker: str) -> None:
            waiting = [k for k, j in self.jobs.items() if j[0] == "queued"]
            alone = any(self.jobs[k][2] >= TRIES - 1 for k in self.running())
            expected = waiting[0] if waiting and not alone else None
            if expected and self.running() and self.jobs[expected][2] >= TRIES - 1:
                expected = None
            found = library.claim(worker)
            assert (found.id if found else None) == expected
            if expected:
                self.jobs[expected][:2] = ["running", worker]

        @precondition(lambda self: self.jobs)
        @rule(data=st.data(), worker=st.sampled_from(WORKERS), how=st.sampled_from(["beat", "finish", "fail"]))
        def step(self, data: st.DataObject, worker: str, how: str) -> None:
            key = data.draw(st.sampled_from(list(self.jobs)))
            own = self.jobs[key][0] == "running" and self.jobs[key][1] == worker
            if how == "beat":
                assert library.beat(key, worker, stage="scoring", done=1, total=2) == own
            elif how == "finish":
                assert library.finish(key, worker) == own
            else:
                assert library.fail(key, worker, "why") == own
            if own and how != "beat":
                self.jobs[key][0] = "done" if how == "finish" else "failed"

        @rule(worker=st.sampled_from(WORKERS), how=st.sampled_from(["died", "release"]))
        def ends(self, worker: str, how: str) -> None:
            own = [k for k in self.running() if self.jobs[k][1] == worker]
            assert getattr(library, how)(worker) == len(own)
            for key in own:
                job = self.jobs[key]
                job[2] += how == "died"
                job[:2] = ["failed", worker] if job[2] >= TRIES else ["queued", ""]

        @rule()
        def silence(self) -> None:
            own = self.running()
            assert library.revive(silence=-1) == len(own)
            for key in own:
                job = self.jobs[key]
                job[3] += 1
                job[:2] = ["failed", job[1]] if job[3] >= LOST else ["queued", ""]

        @precondition(lambda self: self.jobs)
        @rule(data=st.data())
        def cancel(self, data: st.DataObject) -> None:
            key = data.draw(st.sampled_from(list(self.jobs)))
            able = self.jobs[key][0] in ("queued", "running")
            assert library.cancel(self.user, key) == able
            if able:
                self.jobs[key][0] = "cancelled"

        @precondition(lambda self: self.clips)
        @rule(data=st.data())
        def again(self, data: st.DataObject) -> None:
            clip = data.draw(st.sampled_from(self.clips))
            if any(j[4] == clip and j[0] in ("queued", "running") for j in self.jobs.values()):
                refused(lambda: library.again(self.user, clip), ConflictError)
            else:
                self.jobs[library.again(self.user, clip).id] = ["queued", "", 0, 0, clip]

        @precondition(lambda self: self.clips)
        @rule(data=st.data())
        def remove(self, data: st.DataObject) -> None:
            clip = data.draw(st.sampled_from(self.clips))
            library.remove(self.user, clip)
            self.clips.remove(clip)
            for job in self.jobs.values():
                if job[4] == clip and job[0] in ("queued", "running"):
                    job[0] = "cancelled"

        @invariant()
        def all_is_as_it_should_be(self) -> None:
            with library.read() as session:
                found = {j.id: [j.status, j.attempts, j.lost, j.video_id] for j in session.query(Job)}
                held = [j.worker for j in session.query(Job).filter(Job.status == "running")]
            assert found == {k: [j[0], *j[2:]] for k, j in self.jobs.items()}
            assert sorted(held) == sorted(self.jobs[k][1] for k in self.running())

    return Jobs


@pytest.mark.parametrize("machine", [machine_of_uploads, machine_of_jobs])
def test_any_order_of_calls(library: Library, machine: Callable[[Library], type[RuleBasedStateMachine]]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine(library),
        settings=settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None, derandomize=EXAMPLES == 60, database=None,
                          suppress_health_check=list(HealthCheck)),
    )  # fmt: skip
