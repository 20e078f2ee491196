"""The library on both databases: nothing is lost, nothing comes twice, and the log tells who did what.

PostgreSQL: see postgres.py.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from argon2 import PasswordHasher
from postgres import either
from sqlalchemy import text, update

from vlad.errors import ConflictError, InputError, LimitError
from vlad.library import Library, audit, clips, findings, listing, people, verify
from vlad.library.queue import Filter
from vlad.library.tables import AuditRow, Base, Key, User
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Video

PASSWORD = "correct horse battery"
SEGMENTS = (Segment(1.0, 3.0, 0.9, 2.0, "fighting"), Segment(6.0, 8.0, 0.7, 7.0, "arson"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    yield from either(request, tmp_path / "library")


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
    for size in (0, -1, clips.LARGEST + 1):
        with pytest.raises(LimitError, match="a clip has 1 to"):
            library.begin_upload(user, "a", size)
    library.begin_upload(user, "large", clips.LARGEST)  # more than 31 bits
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(1, 1, clips.FREE + 10))  # type: ignore[attr-defined]
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


def test_a_dead_worker_loses_its_job(library: Library, user: User) -> None:
    uploaded(library, user)
    first = library.claim("w1")
    assert first is not None
    assert library.beat(first.id, "w1", stage="scoring", done=1.0, total=2.0)
    assert library.revive(silence=60) == 0
    assert library.revive(silence=-1) == 1
    second = library.claim("w2")
    assert second is not None
    assert not library.beat(first.id, "w1", stage="scoring", done=2.0, total=2.0)  # no longer its own
    assert not library.finish(first.id, "w1")


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
    assert [findings.segment_of(r) for r in rows] == list(SEGMENTS)
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
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(1, 1, clips.FREE + 100))  # type: ignore[attr-defined]
    library.begin_upload(user, "a", 80)
    with pytest.raises(LimitError, match="stay free"):
        library.begin_upload(library.add_user("bob", PASSWORD), "b", 80)


def test_f11_nobody_reserves_the_disk_for_days(library: Library, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fourteen requests with a byte each took 56 GiB from everybody for a week."""
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(1, 1, clips.FREE + 1000))  # type: ignore[attr-defined]
    bob = library.add_user("bob", PASSWORD)
    begun = [library.begin_upload(user, "a", 300), library.begin_upload(user, "b", 150)]
    with pytest.raises(LimitError, match="half of what is free"):
        library.begin_upload(user, "c", 100)
    begun.append(library.begin_upload(bob, "d", 400))
    with pytest.raises(LimitError, match="stay free"):
        library.begin_upload(library.add_user("carl", PASSWORD), "e", 400)
    for upload in begun:
        library.append(user if upload.user_id == user.id else bob, upload.id, 0, b"x")
        old = time.time() - clips.SILENT - 1
        os.utime(library.part(upload.id), (old, old))
    library.begin_upload(library.users()[-1], "e", 900)  # their room is free again
    assert library.append(user, begun[0].id, 1, b"y") == 2  # and they can be gone on with


def test_sessions_and_tokens_have_an_end(library: Library, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "SESSIONS", 3)
    monkeypatch.setattr(people, "TOKENS", 2)
    secrets = []
    for _ in range(5):
        secrets.append(library.open_key(user, 600))
        time.sleep(0.01)
    assert [library.key(s) is not None for s in secrets] == [False, False, True, True, True]
    tokens = [library.open_key(user, 600, name="t", scopes=["read"]) for _ in range(2)]
    with pytest.raises(ConflictError, match="revoke one first"):
        library.open_key(user, 600, name="t", scopes=["read"])
    library.revoke(user, library.keys(user)[0].id)
    library.open_key(user, 600, name="t", scopes=["read"])
    assert sum(library.key(t) is not None for t in tokens) == 1
    with library.read() as session:
        assert session.query(Key).count() <= 7  # what ended is not kept


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
    assert library.undo(user).segments == [two]
    assert library.undo(user).segments == [one]  # bob's stands
    assert library.undo(user).segments == []
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
def test_a_name_nobody_has_takes_as_long(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = PasswordHasher()  # as it is outside of tests
    monkeypatch.setattr(library.sign_in.__self__, "_hasher", real)
    monkeypatch.setattr(people, "_NOBODY", real.hash("nobody has this password"))
    library.add_user("ann", PASSWORD)

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
    part = library.part(library.begin_upload(user, "never finished", 9).id)
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

    monkeypatch.setattr(audit, "append_all", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        library.decide(user, one, "confirmed")
    assert library.segments()[0][0].status == "open"
    assert library.about(one)[0] == []


def test_the_local_user_is_one(library: Library) -> None:
    assert library.local_user().id == library.local_user().id
    assert not library.has_users()
    assert library.sign_in("local", "") is None


def test_lists_days_and_filters_on_both_databases(library: Library, user: User) -> None:
    video, other = uploaded(library, user, "20240131_142530.mp4"), uploaded(library, user, "b.mp4")
    one, two = library.keep(video, analysis(*SEGMENTS))
    library.decide_all(user, [(one, 1), (two, None)], "confirmed")
    for sort in listing.SORTS:
        for down in (True, False):
            rows, total, busy = library.clips(sort=sort, down=down)
            assert ({r.video.id for r in rows}, total, busy) == ({video, other}, 2, 2)
    assert [r.video.id for r in library.clips(sort="peak")[0]] == [video, other]
    assert library.clips(state="done")[1] == 0
    assert library.clips(words="B.MP", camera="door")[1] == 1
    (day,) = library.days("+00:00")
    assert (day["segments"], day["open"]) == (2, 0)
    _, _, lanes, undated = library.day(str(day["day"]), "+00:00")
    assert ([len(lane.segments) for lane in lanes], [v.id for v in undated]) == ([2], [other])
    for by in ("peak", "start", "newest"):
        rows, counts = library.page(Filter(words="a fight", camera="door", status="confirmed", assigned="-"), by=by)
        assert (len(rows), counts["confirmed"]) == (1, 1)  # the other's words contradict its class, and are not shown
    own = library.mark(user, video, 3.0, 4.0, "brawl")
    assert (len(library.missed()), library.spans_of(video)[-1]) == (1, (3.0, 4.0))
    library.change(user, own, end=5.0)
    assert [s.end for s in library.span_history(own)] == [4.0, 5.0]
    assert [c.kind for c in library.changes(library.last_change() - 1)] == ["segment"]
