"""The library on both databases: nothing is lost, nothing comes twice, and the log tells who did what.

PostgreSQL is started by the test run where its programs are installed (Debian's postgresql), and is reported as not run elsewhere.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text, update

from vlad.errors import InputError, LimitError
from vlad.library import Library, store, verify
from vlad.library.tables import AuditRow, Base, Job, User
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Video

PASSWORD = "correct horse battery"
SEGMENTS = (Segment(1.0, 3.0, 0.9, 2.0, "fighting"), Segment(6.0, 8.0, 0.7, 7.0, "arson"))


def programs() -> Path | None:
    """The folder of initdb and pg_ctl."""
    found = shutil.which("initdb") or next(
        (str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    return Path(found).parent if found else None


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL of its own, over a socket in a folder."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("PostgreSQL is not installed")
    here = Path(f"/tmp/vlad-pg-{os.getpid()}")
    here.mkdir()
    as_user: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(here, "postgres")
    try:
        subprocess.run(
            [*as_user, str(bin_folder / "initdb"), "-D", f"{here}/data", "-A", "trust", "-U", "vlad"],
            check=True,
            capture_output=True,
            cwd="/tmp",
        )
        options = f"-c listen_addresses='' -c unix_socket_directories='{here}' -c fsync=off"
        control = [*as_user, str(bin_folder / "pg_ctl"), "-D", f"{here}/data", "-w"]
        subprocess.run(
            [*control, "-o", options, "-l", f"{here}/log", "start"], check=True, capture_output=True, cwd="/tmp"
        )
        yield f"postgresql+psycopg://vlad@/postgres?host={here}"
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/tmp")
    finally:
        shutil.rmtree(here, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    if request.param == "sqlite":
        yield Library(tmp_path / "library")
        return
    url = request.getfixturevalue("postgres")
    found = Library(url, tmp_path / "library")
    yield found
    with found.engine.begin() as connection:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))
    found.engine.dispose()


@pytest.fixture
def user(library: Library) -> User:
    return library.add_user("ann", PASSWORD)


def analysis(*segments: Segment) -> Analysis:
    video = Video("a.mp4", "0" * 64, 10.0, 15.0, 320, 240, "h264", ((4.0, 5.0),))
    track = ScoreTrack(
        np.linspace(0, 1, 10, dtype=np.float32),
        np.arange(11.0),
        ("fighting", "arson"),
        np.full((10, 2), 0.5, np.float32),
    )
    said = tuple(
        Explanation(s, "anomaly", "A fight.", {"who": "two"}, (1.5,), "explain@1", "m", "{}", 0.9, ("n",))
        for s in segments
    )
    return Analysis(video, track, segments, said, {"encoder": "e@1"})


def uploaded(library: Library, user: User, name: str = "lobby.mp4", data: bytes = b"clip") -> str:
    upload = library.begin_upload(user, name, len(data), "door")
    library.append(user, upload.id, 0, data)
    return library.finish_upload(user, upload.id)[0].id


def test_migrations_make_the_tables_of_the_code(library: Library) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with library.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    again = Library(str(library.engine.url.render_as_string(hide_password=False)), library.folder)
    again.engine.dispose()


def test_a_clip_comes_in_pieces_and_goes_on_where_it_stopped(library: Library, user: User) -> None:
    data = os.urandom(3000)
    upload = library.begin_upload(user, "../../etc/passwd\x00 \udce9<b>", len(data), "door")
    assert library.append(user, upload.id, 0, data[:1000]) == 1000
    with pytest.raises(InputError, match="1000 bytes are here, not 0"):
        library.append(user, upload.id, 0, data[:1000])
    with pytest.raises(InputError, match="1000 of 3000 bytes"):
        library.finish_upload(user, upload.id)
    assert library.append(user, upload.id, 1000, data[1000:]) == 3000
    with pytest.raises(InputError, match="more than the 3000"):
        library.append(user, upload.id, 3000, b"x")
    video, job = library.finish_upload(user, upload.id)
    assert library.clip(video.id).read_bytes() == data
    assert library.clip(video.id).parent == library.folder / "clips"
    assert (job.status, library.videos()[0].name) == ("queued", "../../etc/passwd ?<b>")


def test_nobody_writes_into_anothers_upload(library: Library, user: User) -> None:
    upload = library.begin_upload(user, "a", 4)
    other = library.add_user("bob", PASSWORD)
    for act in (lambda: library.append(other, upload.id, 0, b"x"), lambda: library.finish_upload(other, upload.id)):
        with pytest.raises(InputError, match="none of that id"):
            act()


def test_limits_on_size_and_disk(library: Library, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (0, -1, store.LARGEST + 1):
        with pytest.raises(LimitError, match="a clip has 1 to"):
            library.begin_upload(user, "a", size)
    library.begin_upload(user, "large", store.LARGEST)  # more than 31 bits
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(1, 1, store.FREE + 10))  # type: ignore[attr-defined]
    with pytest.raises(LimitError, match="MiB stay free"):
        library.begin_upload(user, "a", 11)


@pytest.mark.parametrize("name", ["..", "../x", "0" * 31, "g" * 32, ""])
def test_an_id_is_no_path(library: Library, name: str) -> None:
    with pytest.raises(InputError, match="no such id"):
        library.clip(name)


def test_every_job_is_claimed_once(library: Library, user: User) -> None:
    ids = {uploaded(library, user, f"{i}") for i in range(20)}
    taken: list[str] = []
    lock = threading.Lock()

    def work(name: str) -> None:
        while (job := library.claim(name)) is not None:
            with lock:
                taken.append(job.video_id)
            assert library.finish(job.id, name)

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == sorted(ids)


def test_a_dead_worker_loses_its_job_and_a_poison_clip_is_given_up(library: Library, user: User) -> None:
    uploaded(library, user)
    first = library.claim("w1")
    assert first is not None
    assert library.beat(first.id, "w1", stage="scoring", done=1.0, total=2.0)
    assert library.revive(silence=60) == 0
    assert library.revive(silence=-1) == 1
    second = library.claim("w2")
    assert second is not None
    assert second.attempts == 2
    assert not library.beat(first.id, "w1", stage="scoring", done=2.0, total=2.0)  # no longer its own
    assert not library.finish(first.id, "w1")
    assert library.revive(silence=-1) == 1
    assert library.claim("w3") is None
    with library.read() as session:
        job = session.get(Job, first.id)
        assert job is not None
        assert (job.status, job.error) == ("failed", "given up: it ended its worker 2 times")


def test_cancelling_stops_and_another_try_is_a_new_job(library: Library, user: User) -> None:
    video = uploaded(library, user)
    job = library.claim("w")
    assert job is not None
    with pytest.raises(InputError, match="in the queue already"):
        library.again(user, video)
    assert library.cancel(user, job.id)
    assert not library.cancel(user, job.id)
    assert not library.beat(job.id, "w", stage="scoring", done=1.0, total=None)
    assert library.again(user, video).status == "queued"


def test_what_was_found_comes_back_as_it_was(library: Library, user: User) -> None:
    video = uploaded(library, user)
    with pytest.raises(InputError, match="not analysed yet"):
        library.track(video)
    made = analysis(*SEGMENTS)
    library.keep(video, made, np.ones((10, 4), np.float32), "e@1")
    track = library.track(video)
    np.testing.assert_array_equal(track.scores, made.track.scores)
    np.testing.assert_array_equal(track.edges, made.track.edges)
    assert track.classes is not None
    assert track.labels == ("fighting", "arson")
    rows, total = library.segments(by="start")
    assert total == 2
    assert [store.segment_of(r) for r in rows] == list(SEGMENTS)
    assert rows[0].explanation is not None
    assert rows[0].explanation["fields"] == {"who": "two"}
    assert np.load(library.folder / "embeddings" / f"{video}.npy").shape == (10, 4)


def test_a_new_analysis_keeps_what_people_decided(library: Library, user: User) -> None:
    video = uploaded(library, user)
    one, two = library.keep(video, analysis(*SEGMENTS))
    library.decide(user, one, "confirmed")
    library.decide(user, two, "dismissed", "a bonfire")
    moved = Segment(0.0, 0.5, 0.3, 0.2, "robbery")
    ids = library.keep(video, analysis(SEGMENTS[0], moved))
    assert ids[0] == one
    rows, _ = library.segments(by="start")
    assert [(r.label, r.status) for r in rows] == [("robbery", "open"), ("fighting", "confirmed")]
    assert library.about(two)[0][0].reason == "a bonfire"  # gone from the list, not from the record
    third = library.keep(video, analysis(SEGMENTS[0]))
    assert third == [one]


def test_a_new_analysis_spares_what_has_only_a_tag(library: Library, user: User) -> None:
    video = uploaded(library, user)
    one, _ = library.keep(video, analysis(*SEGMENTS))
    library.tag(user, one, "night")
    library.keep(video, analysis(SEGMENTS[1]))
    assert library.about(one)[2] == ["night"]
    assert [r.label for r in library.segments()[0]] == ["arson"]


def test_finishing_twice_is_one_clip(library: Library, user: User) -> None:
    """An answer that was lost on its way is asked for again."""
    upload = library.begin_upload(user, "a", 4)
    library.append(user, upload.id, 0, b"clip")
    first, job = library.finish_upload(user, upload.id)
    again, same = library.finish_upload(user, upload.id)
    assert (first.id, job.id) == (again.id, same.id)
    assert len(library.videos()) == 1
    with pytest.raises(InputError, match="none of that id"):
        library.finish_upload(library.add_user("bob", PASSWORD), upload.id)


def test_disk_that_others_announced_is_not_given_twice(
    library: Library, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(1, 1, store.FREE + 100))  # type: ignore[attr-defined]
    library.begin_upload(user, "a", 80)
    with pytest.raises(LimitError, match="stay free"):
        library.begin_upload(user, "b", 80)


def test_a_quota_counts_what_is_here_and_what_was_announced(library: Library, user: User) -> None:
    library.set_option(user, "quota_gib", 0.001)
    half = int(0.0006 * 2**30)
    library.begin_upload(user, "a.mp4", half)
    with pytest.raises(LimitError, match="the library may hold"):
        library.begin_upload(user, "b.mp4", half)
    library.set_option(user, "quota_gib", None)
    library.begin_upload(user, "b.mp4", half)
    with pytest.raises(InputError, match="expected 0 to 1"):
        library.set_option(user, "enter", 3.0)
    with pytest.raises(InputError, match="choose one of enter"):
        library.set_option(user, "x", 3.0)


def test_pages_filters_and_words(library: Library, user: User) -> None:
    video = uploaded(library, user)
    many = [Segment(float(i), i + 0.5, (i % 90) / 100, i + 0.2, "a" if i % 2 else "b") for i in range(250)]
    long = replace(analysis(), segments=tuple(many))
    ids = library.keep(video, long)
    first, total = library.segments(count=100)
    rest = [r for page in (100, 200) for r in library.segments(first=page, count=100)[0]]
    assert total == 250
    assert len({r.id for r in (*first, *rest)}) == 250
    peaks = [r.peak for r in (*first, *rest)]
    assert peaks == sorted(peaks, reverse=True)
    assert library.segments(label="a")[1] == 125
    assert library.segments(camera="door")[1] == 250
    assert library.segments(camera="gate")[1] == 0
    library.note(user, ids[3], "Looks like 100% a_b Nonsense")
    library.tag(user, ids[4], "night")
    assert [r.id for r in library.segments(words="100% A_B")[0]] == [ids[3]]
    assert library.segments(words="100_")[1] == 0
    assert [r.id for r in library.segments(words="nigh")[0]] == [ids[4]]


def test_a_verdict_can_be_taken_back_one_by_one(library: Library, user: User) -> None:
    one, two = library.keep(uploaded(library, user), analysis(*SEGMENTS))
    other = library.add_user("bob", PASSWORD)
    library.decide(user, one, "dismissed", "x")
    library.decide(other, one, "confirmed")
    library.decide(user, two, "confirmed")
    assert library.undo(user) == two
    assert library.undo(user) == one  # bob's stands
    assert library.undo(user) is None
    status = {r.id: r.status for r in library.segments()[0]}
    assert status == {one: "confirmed", two: "open"}
    verdicts, _, _ = library.about(one)
    assert [(v.user.name, v.undone is not None) for v in verdicts] == [("bob", False), ("ann", True)]
    with pytest.raises(InputError, match="choose one of confirmed, dismissed"):
        library.decide(user, one, "maybe")
    with pytest.raises(InputError, match="no such id"):
        library.decide(user, "0" * 32, "confirmed")


def test_notes_and_tags(library: Library, user: User) -> None:
    (one,) = library.keep(uploaded(library, user), analysis(SEGMENTS[0]))
    evil = "<script>alert(1)</script>\x00 {{7*7}} \ud800"
    library.note(user, one, evil)
    for _ in range(2):
        library.tag(user, one, "night")
    library.tag(user, one, "gone")
    library.tag(user, one, "gone", on=False)
    _, notes, tags = library.about(one)
    assert [n.text for n in notes] == ["<script>alert(1)</script> {{7*7}} ?"]
    assert tags == ["night"]
    for bad in ("", " \x00", "x" * 10_001):
        with pytest.raises(InputError, match="note: expected"):
            library.note(user, one, bad)
    for bad in ("", "x" * 61, "a\nb"):
        with pytest.raises(InputError, match="tag: expected"):
            library.tag(user, one, bad)


def test_passwords_sessions_and_tokens(library: Library, user: User) -> None:
    assert library.has_users()
    assert library.sign_in("ann", PASSWORD) is not None
    assert library.sign_in("ann", "wrong") is None
    assert library.sign_in("nobody", PASSWORD) is None
    secret = library.open_key(user, 60)
    found = library.key(secret)
    assert found is not None
    assert (found.user.name, found.scopes) == ("ann", "")
    assert library.key(library.open_key(user, -1)) is None
    assert library.key("x") is None
    library.close_key(secret)
    assert library.key(secret) is None
    token = library.key(library.open_key(user, 60, name="ci", scopes=("read",)))
    assert token is not None
    assert token.scopes == "read"
    with library.read() as session:
        stored = session.execute(text("select password from users where name = 'ann'")).scalar()
    assert str(stored).startswith("$argon2id$")
    for name, password, role, message in (
        ("ann", PASSWORD, "reviewer", "one of that name"), ("", PASSWORD, "reviewer", "name: expected"),
        ("x", "short", "reviewer", "10 letters"), ("x", PASSWORD, "root", "choose one of reviewer, admin"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            library.add_user(name, password, role)


@pytest.mark.slow
def test_a_name_nobody_has_takes_as_long(library: Library, user: User) -> None:
    def seconds(name: str) -> float:
        begin = time.perf_counter()
        library.sign_in(name, "wrong password")
        return time.perf_counter() - begin

    known, unknown = min(seconds("ann") for _ in range(5)), min(seconds("nobody") for _ in range(5))
    assert 0.4 < known / unknown < 2.5


def test_removal_and_retention_spare_evidence(library: Library, user: User) -> None:
    kept, gone = uploaded(library, user, "kept"), uploaded(library, user, "gone")
    (one,) = library.keep(kept, analysis(SEGMENTS[0]))
    library.exported(user, [one], {"report.pdf": "0" * 64})
    with pytest.raises(InputError, match="evidence that was exported"):
        library.remove(user, kept)
    library.keep(gone, analysis(SEGMENTS[0]), np.ones((10, 4), np.float32))
    library.sheet(gone).parent.mkdir()
    library.sheet(gone).write_bytes(b"thumbnails")
    part = library._part(library.begin_upload(user, "never finished", 9).id)
    library.forget_uploads(days=1)
    assert (library.retire(days=1), part.exists()) == (0, True)
    library.forget_uploads(days=-1)
    assert library.retire(days=-1) == 1
    assert [v.id for v in library.videos()] == [kept]
    assert library.clip(kept).exists()
    assert not any(f.exists() for f in (library.clip(gone), library.sheet(gone), library.embeddings(gone), part))
    assert library.segments()[0][0].exported is not None


def test_the_log_is_one_chain_and_shows_what_was_changed(library: Library, user: User) -> None:
    one, two = library.keep(uploaded(library, user), analysis(*SEGMENTS))
    library.decide(user, one, "confirmed", "Ärger \U0001f525")
    library.decide(user, two, "dismissed")
    library.undo(user)
    library.log("ann", "viewed", one)
    with library.read() as session:
        count, last, broken = verify(session)
    assert broken is None
    assert [r.action for r in library.audit_rows(count=4)] == ["viewed", "undone", "dismissed", "confirmed"]
    assert count == library.audit_rows(count=1)[0].number
    assert last == library.audit_rows(count=1)[0].digest
    for change in ({"user": "bob"}, {"action": "viewed"}, {"detail": {"reason": ""}}, {"at": 1.0}):
        with library.write() as session:
            row = session.get(AuditRow, 3)
            assert row is not None
            before = {k: getattr(row, k) for k in change}
            session.execute(update(AuditRow).where(AuditRow.number == 3).values(**change))
        with library.read() as session:
            assert verify(session)[2] == 3
        with library.write() as session:
            session.execute(update(AuditRow).where(AuditRow.number == 3).values(**before))
    with library.write() as session:
        session.execute(text("delete from audit where number = 3"))
    with library.read() as session:
        assert verify(session)[2] == 4


def test_writers_at_once_leave_one_chain(library: Library, user: User) -> None:
    (one,) = library.keep(uploaded(library, user), analysis(SEGMENTS[0]))
    faults: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for k in range(5):
                library.note(user, one, f"{number} {k}")
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert faults == []
    assert len(library.about(one)[1]) == 30
    with library.read() as session:
        assert verify(session)[2] is None


def test_a_change_comes_whole_or_not_at_all(library: Library, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = library.keep(uploaded(library, user), analysis(SEGMENTS[0]))

    def fail(*a: Any, **k: Any) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(store.audit, "append", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        library.decide(user, one, "confirmed")
    assert library.segments()[0][0].status == "open"
    assert library.about(one)[0] == []


def test_the_local_user_is_one(library: Library) -> None:
    assert library.local_user().id == library.local_user().id
    assert not library.has_users()
    assert library.sign_in("local", "") is None


def test_a_library_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "library.sqlite").write_text("no database" * 100)
    with pytest.raises(InputError, match="cannot be opened"):
        Library(tmp_path)
    with pytest.raises(InputError, match="cannot be opened"):
        Library("postgresql+psycopg://nobody@/none?host=/nowhere", tmp_path / "x")
    with pytest.raises(InputError, match="needs a folder"):
        Library("sqlite:///x.sqlite")
