"""Cameras, alarms and the outbox in the library: passwords that nobody sees, events told twice, messages that are there once, people and their rights, thresholds that adapt."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from browsing import add_clip, spans
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres import either
from sqlalchemy import select

from vlad.errors import ConflictError, InputError, MissingError, OutputError, RightsError
from vlad.library import Library, verify
from vlad.library.adapting import REACH, STEP, Judged, adapted
from vlad.library.asking import Asking, asking
from vlad.library.backup import backup, restore
from vlad.library.cameras import apart
from vlad.library.outbox import GIVEN_UP, LEASE
from vlad.library.tables import AlarmRow, AuditRow, CameraRow, Change, OutboxRow, TargetRow, User
from vlad.library.vault import Vault
from vlad.live.alarms import Event

URL = "rtsp://guard:s3cret%21@10.0.0.5:554/stream?channel=1"
HOOK = {"kind": "webhook", "name": "desk", "address": "https://hooks.example/vlad", "secret": "a secret of the hook"}
T = 1_795_608_000.0


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    yield from either(request, tmp_path / "library")


@pytest.fixture
def root(library: Library) -> User:
    return library.add_user("root", "correct horse battery", "admin")


def raised(start: float = T, **more: Any) -> Event:
    return Event("raised", start, start, start + 2, 0.9, "fighting", **more)


def texts(library: Library) -> str:
    """All that the library's tables hold, as text."""
    with library.read() as session:
        rows = [session.execute(select(t.__table__)).all() for t in (CameraRow, TargetRow, AuditRow, OutboxRow, Change)]
    return str(rows)


def test_a_password_is_taken_out_of_the_address_and_lies_encrypted(library: Library, root: User) -> None:
    row = library.save_camera(root, {"name": "door", "url": URL, "sub_url": "rtsp://10.0.0.5:554/sub"})
    assert (row.url, row.sub_url) == ("rtsp://10.0.0.5:554/stream?channel=1", "rtsp://10.0.0.5:554/sub")
    access = library.camera_access(row.id)
    assert (access.user, access.password) == ("guard", "s3cret!")
    assert "s3cret" not in texts(library) + repr(access)
    key = Path(os.environ["VLAD_SEAL"]) / "secrets-key"
    assert key.stat().st_mode & 0o777 == 0o600
    library.save_camera(root, {"on": False}, row.id)
    library.save_camera(root, {"url": "rtsp://10.0.0.5:554/other"}, row.id)  # the same host
    assert library.camera_access(row.id).password == "s3cret!"
    library.save_camera(root, {"password": "new one"}, row.id)
    assert library.camera_access(row.id).password == "new one"
    library.save_camera(root, {"url": "rtsp://10.6.6.6/stream"}, row.id)  # another host is told nothing
    assert library.camera_access(row.id).password == ""
    assert library.opened() == {row.id: False}


def test_a_query_that_holds_a_password_is_one(library: Library, root: User) -> None:
    assert apart("http://a/b?channel=1") == ("http://a/b?channel=1", "", "", "")
    row = library.save_camera(root, {"name": "yard", "url": "http://10.0.0.6/video.cgi?user=admin&pwd=hush"})
    assert row.url == "http://10.0.0.6/video.cgi"
    assert library.camera_access(row.id).query == "user=admin&pwd=hush"
    library.save_camera(root, {"url": row.url}, row.id)  # as the page shows it
    assert library.camera_access(row.id).query == "user=admin&pwd=hush"
    assert "hush" not in texts(library)


@settings(max_examples=20, deadline=None)
@given(st.text(min_size=1, max_size=20), st.text(min_size=4, max_size=20), st.sampled_from(["rtsp", "rtsps", "http", "https"]), st.text(max_size=30))  # fmt: skip
def test_whatever_a_password_is_made_of_it_is_not_in_the_address(user: str, password: str, scheme: str, path: str) -> None:  # fmt: skip
    """Quoted as it has to be; typed as it is the address may be none, and is refused."""
    quoted = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@10.0.0.5:554/{quote(path)}"
    assert apart(quoted)[:3] == (f"{scheme}://10.0.0.5:554/{quote(path)}", user, password)
    with suppress(InputError):
        url, *_ = apart(f"{scheme}://{user}:{password}@10.0.0.5/")
        assert url == f"{scheme}://10.0.0.5/"


@pytest.mark.parametrize("wrong", ["ftp://a/b", "rtsp://", "rtsp://a:99999/", "file:///etc/passwd", "rtsp://u:hidden@[::1", "a b", "http://a/#x", "", "x" * 3000])  # fmt: skip
def test_an_address_that_is_none_is_refused_without_its_password(library: Library, root: User, wrong: str) -> None:
    with pytest.raises(InputError, match="expected an address") as error:
        library.save_camera(root, {"name": "door", "url": wrong})
    assert "hidden" not in str(error.value)


def test_a_secret_opens_for_its_own_host_only_and_with_its_key(library: Library, root: User, tmp_path: Path) -> None:
    door = library.save_camera(root, {"name": "door", "url": URL})
    other = library.save_camera(root, {"name": "other", "url": "rtsp://evil.example/"})
    with library.write() as session:  # by whoever may write the database
        rows = {r.name: r for r in session.scalars(select(CameraRow))}
        rows["other"].secret = rows["door"].secret
        rows["door"].url = "rtsp://evil.example/"
    for row in (door, other):
        with pytest.raises(InputError, match="kept for another host"):
            library.camera_access(row.id)
    vault = Vault(tmp_path / "key")
    kept = vault.close("a", "b", "hush")
    assert (vault.open("a", "b", kept), vault.close("a", "b", "")) == ("hush", "")
    with pytest.raises(OutputError, match="is not there"):
        Vault(tmp_path / "none").open("a", "b", kept)
    Vault(tmp_path / "second").close("a", "b", "x")
    with pytest.raises(OutputError, match="another key"):
        Vault(tmp_path / "second").open("a", "b", kept)


def test_cameras_are_added_changed_removed_and_added_again(library: Library, root: User) -> None:
    door = library.save_camera(root, {"name": "door", "url": URL, "settings": {"hold": 2}})
    with pytest.raises(ConflictError, match="one of that name"):
        library.save_camera(root, {"name": "door", "url": URL})
    with pytest.raises(InputError, match="keeps its name"):
        library.save_camera(root, {"name": "gate"}, door.id)
    with pytest.raises(InputError, match="cannot be changed"):
        library.save_camera(root, {"id": "x"}, door.id)
    assert library.mute_camera(root, door.id, time.time() + 60).muted_until > time.time()
    with pytest.raises(InputError, match="31 days"):
        library.mute_camera(root, door.id, float("inf"))
    library.tell_cameras({"door": {"state": "on", "score": 0.2}})
    assert (library.camera(door.id).state or {})["score"] == 0.2
    library.remove_camera(root, door.id)
    assert library.cameras() == []
    with pytest.raises(MissingError, match="no such id"):
        library.save_camera(root, {"on": True}, door.id)
    again = library.save_camera(root, {"name": "door", "url": "http://10.0.0.9/"})
    assert (again.settings, library.camera_access(again.id).password) == ({}, "")
    actions = [r.action for r in reversed(library.audit_rows())]
    assert actions == ["user added", "camera added", "camera muted", "camera removed", "camera added"]
    with library.read() as session:
        assert verify(session)[2] is None


def test_an_event_told_twice_is_one_alarm_with_one_message_a_target(library: Library, root: User) -> None:
    desk = library.save_target(root, HOOK)
    library.save_target(root, {**HOOK, "name": "of the yard", "cameras": ["yard"]})
    library.save_target(root, {**HOOK, "name": "off", "on": False})
    first = library.record_alarm("door", raised(), threshold=0.5, hours=1.5, latency={"score": 0.4}, picture=b"jpeg")
    assert library.record_alarm("door", raised()).id == first.id
    library.record_alarm("door", Event("grown", T, T - 1, T + 5, 0.95, "fighting"))
    for _ in range(2):
        library.record_alarm("door", Event("ended", T, T - 1, T + 6, 0.95, "fighting"))
    (row,) = library.alarms()
    assert (row.start, row.end, row.peak, row.ended, row.ends, row.hours) == (T - 1, T + 6, 0.95, T + 6, 1, 1.5)
    library.record_alarm("door", Event("grown", T, T - 1, T + 20, 0.95))
    assert library.alarm(row.id).ended is None
    library.record_alarm("door", Event("ended", T, T - 1, T + 30, 0.95))
    told = [m.payload["type"] for m in reversed(library.messages(desk.id))]
    assert sorted(told) == ["again", "ended", "ended", "raised"]
    assert library.waiting() == {desk.id: 4, "failed": 0}
    assert library.alarm_picture(row.id) == b"jpeg"
    assert library.last_alarm("door", T - 5)[1] == [T]


def test_messages_are_claimed_once_sent_or_tried_again_until_a_day_is_over(library: Library, root: User) -> None:
    desk = library.save_target(root, HOOK)
    for k in range(3):
        library.record_alarm("door", raised(T + 100 * k))
    now = time.time() + 1
    (first,) = library.claim_messages(now)
    assert first.target.name == "desk"
    assert library.claim_messages(now) == []  # one at a time, in order
    (again,) = library.claim_messages(now + LEASE + 1)  # who had it is dead
    assert (again.id, again.attempts) == (first.id, 2)
    library.message_failed(first.id, "it answered 500", now)
    (second,) = library.claim_messages(now)
    assert second.id != first.id
    library.message_failed(second.id, "x\ny" * 200, now)
    (third,) = library.claim_messages(now)
    library.message_sent(third.id, now)  # it answers again: those that failed are tried at once
    (first_again,) = library.claim_messages(now)
    assert first_again.id == first.id
    library.message_failed(first.id, "it answered 500", now, later=900)
    with library.read() as session:
        row = session.get(OutboxRow, first.id)
        assert row is not None
        assert (row.error, row.next) == ("it answered 500", now + 900)
    late = now + GIVEN_UP
    (last,) = library.claim_messages(late)
    library.message_failed(last.id, "it answered 500", late)
    with library.read() as session:
        given_up = session.get(OutboxRow, last.id)
        assert given_up is not None
        assert given_up.failed.startswith("given up after a day and ")
    assert library.waiting() == {desk.id: 1, "failed": 1}
    assert library.forget_messages(-1) == 2
    library.remove_target(root, desk.id)
    assert library.waiting() == {"failed": 0}


def test_a_target_keeps_its_secret_to_itself_and_its_host(library: Library, root: User) -> None:
    with pytest.raises(InputError, match="belong into its secret"):
        library.save_target(root, {**HOOK, "address": "https://user:hidden@hooks.example/"})
    for wrong in ("nonsense", "https://", "https://a:0/", "x" * 3000, ""):
        with pytest.raises(InputError, match="expected an address"):
            library.save_target(root, {**HOOK, "address": wrong})
    with pytest.raises(InputError, match="expected a kind"):
        library.save_target(root, {**HOOK, "kind": "pigeon"})
    desk = library.save_target(root, HOOK)
    with pytest.raises(ConflictError, match="one of that name"):
        library.save_target(root, HOOK)
    assert library.target_access(desk.id).secret == HOOK["secret"]
    assert (desk.address, library.target_access(desk.id).path) == ("https://hooks.example", "/vlad")
    library.save_target(root, {"address": "https://hooks.example"}, desk.id)  # as the page shows it
    assert library.target_access(desk.id).path == "/vlad"
    library.save_target(root, {"address": "https://hooks.example/services/T0/hushhush?x=1"}, desk.id)
    assert library.target_access(desk.id).path == "/services/T0/hushhush?x=1"
    assert "hushhush" not in texts(library)
    assert library.target_access(desk.id).secret == HOOK["secret"]
    library.save_target(root, {"address": "https://evil.example/"}, desk.id)
    assert library.target_access(desk.id).secret == ""
    assert str(HOOK["secret"]) not in texts(library)
    library.test_target(root, desk.id)
    (test,) = library.messages(desk.id)
    assert (test.payload["type"], test.payload["by"]) == ("test", "root")


def test_people_acknowledge_escalate_and_nobody_overrides_what_they_did_not_see(library: Library, root: User) -> None:
    ann = library.add_user("ann", "correct horse battery")
    desk = library.save_target(root, HOOK)
    row = library.record_alarm("door", raised())
    seen = library.answer_alarm(ann, row.id, "acknowledged", "on my way", version=1)
    assert (seen.state, seen.by, seen.version) == ("acknowledged", "ann", 2)
    with pytest.raises(ConflictError, match="acknowledged it"):
        library.answer_alarm(root, row.id, "acknowledged")
    with pytest.raises(ConflictError, match="changed this alarm"):
        library.answer_alarm(root, row.id, "escalated", version=1)
    assert library.answer_alarm(root, row.id, "escalated", version=2).state == "escalated"
    with pytest.raises(InputError, match="expected one of"):
        library.answer_alarm(root, row.id, "open")
    with pytest.raises(MissingError, match="no such id"):
        library.answer_alarm(root, "0" * 32, "escalated")
    assert {m.payload["type"] for m in library.messages(desk.id)} == {"raised", "acknowledged", "escalated"}
    assert [(r.action, r.detail["camera"]) for r in library.audit_rows(count=2)] == [("alarm escalated", "door"), ("alarm acknowledged", "door")]  # fmt: skip
    assert library.alarm_counts() == {"open": 0, "acknowledged": 0, "escalated": 1, "going": 1}


def test_pages_go_on_where_the_one_before_ended(library: Library) -> None:
    for k in range(7):
        library.record_alarm("door" if k % 2 else "yard", raised(T + k // 2 * 10 + 0.1 * (k % 2)))
    found: list[AlarmRow] = []
    while page := library.alarms(before=(found[-1].start, found[-1].id) if found else None, count=3):
        found += page
    assert len({r.id for r in found}) == 7
    assert [r.start for r in found] == sorted((r.start for r in found), reverse=True)
    assert len(library.alarms(camera="door")) == 3
    assert library.alarms(state="escalated") == []


def test_a_camera_of_somebody_else_and_its_alarms_are_not_there(library: Library, root: User) -> None:
    door = library.save_camera(root, {"name": "door", "url": URL})
    row = library.record_alarm("door", raised())
    library.keep_scores("door", np.array([[T, T + 1]]), np.array([0.5], np.float32))
    with asking(Asking("x", "", frozenset({"yard"}))):
        assert (library.cameras(), library.alarms(), library.opened()) == ([], [], {})
        assert set(library.alarm_counts().values()) == {0}
        assert library.last_alarm("door", 0.0) == (None, [])
        for ask in (
            lambda: library.camera(door.id),
            lambda: library.mute_camera(root, door.id, 0),
            lambda: library.answer_alarm(root, row.id, "escalated"),
            lambda: library.judge_alarm(root, row.id, "dismissed"),
            lambda: library.alarm_picture(row.id),
            lambda: library.camera_access(door.id),
        ):
            with pytest.raises(MissingError, match="no such id"):
                ask()
        with pytest.raises(RightsError):
            library.recent_scores("door", 0.0)
    with library.read() as session:
        rows = [c for c in session.scalars(select(Change)) if c.kind in ("camera", "alarm")]
    assert {library.whose(rows)[c.n][0] for c in rows} == {"door"}


def test_scores_are_kept_and_none_of_a_confirmed_alarm_is_normal(library: Library, root: User) -> None:
    times = np.arange(0, 600, 2.0)
    edges, scores = np.stack([T + times, T + times + 2], 1), np.linspace(0, 1, 300).astype(np.float32)
    for part in range(3):
        library.keep_scores("door", edges[part * 100 : part * 100 + 100], scores[part * 100 : part * 100 + 100])
    (found,) = library.normal_scores("door")
    assert np.array_equal(found[0], edges)
    assert np.array_equal(found[1], scores.astype(np.float64))
    row = library.record_alarm("door", raised(T + 300))
    library.judge_alarm(root, row.id, "confirmed")
    before, after = library.normal_scores("door")
    assert (before[0][-1, 1], after[0][0, 0]) == (T + 240, T + 362)
    assert library.normal_scores("yard") == []
    with library.write() as session:
        session.execute(CameraRow.__table__.delete())
    assert library.forget_scores(10**4) == 0
    assert library.forget_scores(-(10**4)) == 3


def test_verdicts_move_a_calibrated_threshold_and_are_logged(library: Library, root: User, tmp_path: Path) -> None:
    door = library.save_camera(root, {"name": "door", "url": URL, "settings": {"threshold": 0.9, "hold": 2}})
    library.calibrate_camera("root", door.id, {"enter": 0.5, "rate": 0.5})
    assert library.camera(door.id).settings == {"hold": 2}
    now = time.time() + 10
    rows = [library.record_alarm("door", raised(now + 100 * k), hours=0.1) for k in range(3)]
    library.judge_alarm(root, rows[0].id, "dismissed")
    moved = library.camera(door.id).calibration
    assert moved is not None
    assert moved["now"] == pytest.approx(adapted(0.5, 0.5, [Judged(True, 0.9, 0.1)]))
    assert moved["now"] > 0.5
    assert library.audit_rows(count=1)[0].action == "threshold adapted"
    library.judge_alarm(root, rows[0].id, "")  # taken back: as if it had never been
    assert (library.camera(door.id).calibration or {})["now"] == pytest.approx(0.5)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    video, ids = add_clip(library, clip, spans(2), user=root)
    library.alarm_kept(rows[1].id, video)
    library.decide(root, ids[0], "dismissed")
    assert library.alarm(rows[1].id).verdict == ""  # of its two segments one is open
    library.decide(root, ids[1], "dismissed")
    assert library.alarm(rows[1].id).verdict == "dismissed"
    library.decide(root, ids[1], "confirmed")
    assert library.alarm(rows[1].id).verdict == "confirmed"
    library.undo(root)
    assert library.alarm(rows[1].id).verdict == "dismissed"
    assert (library.camera(door.id).calibration or {})["verdicts"] == 1


def test_of_a_clip_with_two_alarms_each_is_judged_by_what_meets_it(
    library: Library, root: User, tmp_path: Path
) -> None:
    """A recorder's file of an hour is the clip of all alarms within it."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    segments = spans(2)
    video, ids = add_clip(library, clip, segments, user=root)
    library.edit(root, video, {"recorded": T})
    rows = [library.record_alarm("door", raised(T + s.start)) for s in segments]
    for row in rows:
        library.alarm_kept(row.id, video)
    library.decide(root, ids[0], "confirmed")
    assert [library.alarm(r.id).verdict for r in rows] == ["confirmed", ""]
    library.decide(root, ids[1], "dismissed")
    assert [library.alarm(r.id).verdict for r in rows] == ["confirmed", "dismissed"]


def test_a_threshold_stands_still_at_the_rate_asked_for_and_stays_in_reach() -> None:
    wrong, right = Judged(True, 0.8, 0.0), Judged(False, 0.99, 1.0)
    assert adapted(0.5, 1.0, [Judged(True, 0.8, 1.0)] * 50) == pytest.approx(0.5)
    assert adapted(0.5, 1.0, [wrong]) == pytest.approx(1 / (1 + np.exp(-STEP)))
    assert adapted(0.5, 1.0, [wrong] * 500) == pytest.approx(1 / (1 + np.exp(-REACH)))
    assert adapted(0.5, 1.0, [right] * 500) == pytest.approx(1 / (1 + np.exp(REACH)))
    assert adapted(0.5, 1.0, [Judged(False, 0.99, 10**6)]) == pytest.approx(1 / (1 + np.exp(2 * STEP)))
    assert adapted(0.5, 1.0, [Judged(False, 0.6, 0.0)] * 10 + [wrong] * 500) == pytest.approx(0.6)  # hits hold it down
    assert 0 < adapted(1e-9, 1.0, [right] * 9) < adapted(1.0, 1.0, [wrong] * 9) < 1


@pytest.mark.slow
def test_old_alarms_go_but_not_those_whose_clip_is_here_and_a_backup_has_no_plain_password(library: Library, root: User, tmp_path: Path) -> None:  # fmt: skip
    library.save_camera(root, {"name": "door", "url": URL})
    library.save_target(root, HOOK)
    old, kept = (library.record_alarm("door", raised(T - k * 10**7), picture=b"jpeg") for k in (1, 2))
    new = library.record_alarm("door", raised(time.time()))
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    video, _ = add_clip(library, clip, ())
    library.alarm_kept(kept.id, video)
    assert library.forget_alarms(1.0) == 1
    assert {r.id for r in library.alarms()} == {kept.id, new.id}
    with library.read() as session:
        assert set(session.scalars(select(OutboxRow.alarm_id))) == {kept.id, new.id}
    assert old.id not in {kept.id, new.id}
    backup(library, tmp_path / "out")
    files = [p.read_text("utf-8", "replace") for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert not [f for f in files if "s3cret" in f or str(HOOK["secret"]) in f]
    other = Library(tmp_path / "other")
    restore(tmp_path / "out", other)
    assert json.dumps([r.peak for r in other.alarms()]) == json.dumps([r.peak for r in library.alarms()])
    assert other.camera_access(other.cameras()[0].id).password == "s3cret!"  # the key is here still
    assert other.waiting() == library.waiting()
    other.engine.dispose()
