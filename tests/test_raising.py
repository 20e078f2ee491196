"""Scores of cameras to alarms in the library and out of it: what waits while the library is away, what goes on after a death, and twelve hours by a clock that runs fast."""

import json
import os
import threading
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from receivers import webhook
from sqlalchemy import select

from vlad.config import make_settings
from vlad.errors import OutputError, VladError
from vlad.library import Library
from vlad.library.tables import AlarmRow, OutboxRow, User
from vlad.live import watch
from vlad.live.alarms import HOUR
from vlad.live.dropped import Recording
from vlad.live.out import Courier
from vlad.live.raising import Raising, rule_for
from vlad.live.watcher import Watcher
from vlad.types import Box

T = 1_795_608_000.0
SNIPPET = 0.5


@dataclass(frozen=True)
class Snippet:
    camera: str
    start: float
    end: float
    score: float
    label: str = "fighting"
    looked: bool = True
    boxes: tuple[Box, ...] = ()


class Clock:
    """Goes as far as it is told to."""

    def __init__(self) -> None:
        self.at = T

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def root(library: Library) -> User:
    found = library.local_user()
    library.save_camera(found, {"name": "door", "url": "rtsp://10.0.0.5/", "settings": {"cool": 20, "merge": 5}})
    return found


def play(raising: Raising, clock: Clock, spans: list[tuple[float, float]], until: float, camera: str = "door") -> None:
    """Snippets from where the clock stands up to `until` (s), high within spans; a turn every second."""
    while clock.at - T < until:
        at = clock.at
        score = 0.9 if any(a <= at - T < b for a, b in spans) else 0.1
        clock.at += SNIPPET
        raising.on_score(Snippet(camera, at, clock.at, score))
        if (clock.at - T) % 1 == 0:
            raising.turn()


def test_an_alarm_is_written_as_it_goes_on_with_what_it_rests_on(library: Library, root: User) -> None:
    clock = Clock()
    raising = Raising(library, "nano", picture=lambda camera: b"jpeg of " + camera.encode(), now=clock)
    play(raising, clock, [(10, 20)], 11.5)
    (row,) = library.alarms()
    assert (row.start - T, row.threshold, row.latency, row.ended) == (10.0, 0.5, {"score": 0.0}, None)
    assert row.hours == pytest.approx(11.0 / HOUR)
    assert library.alarm_picture(row.id) == b"jpeg of door"
    play(raising, clock, [(10, 20)], 40)
    row = library.alarm(row.id)
    assert (row.end - T, row.ended, row.ends) == (20.0, T + 20.0, 1)
    raising.on_score(Snippet("nobody's", T, T + 1, 0.9))
    play(raising, clock, [], 100)
    edges, scores = library.recent_scores("door", T)
    assert len(edges) == len(scores) >= 120
    assert library.normal_scores("door")[0][1].max() == pytest.approx(0.9)
    raising.close()


def test_settings_count_from_the_next_turn_on(library: Library, root: User) -> None:
    clock = Clock()
    raising = Raising(library, now=clock)
    door = library.cameras()[0]
    play(raising, clock, [], 5)
    library.save_camera(root, {"settings": {"threshold": 0.95}}, door.id)
    play(raising, clock, [(10, 20)], 30)
    assert library.alarms() == []
    library.save_camera(root, {"on": False, "settings": {}}, door.id)
    play(raising, clock, [(35, 45)], 60)
    assert library.alarms() == []
    library.save_camera(root, {"on": True}, door.id)
    play(raising, clock, [(70, 80)], 100)
    assert [r.start - T for r in library.alarms()] == [70.0]
    play(raising, clock, [(170, 190)], 175)
    library.remove_camera(root, door.id)
    play(raising, clock, [(170, 190), (270, 280)], 300)
    assert [(r.start - T, r.ended is None) for r in library.alarms()] == [(170.0, False), (70.0, False)]


def test_a_calibrated_threshold_holds_where_none_was_typed_and_nonsense_does_not(library: Library, root: User) -> None:
    door = library.cameras()[0]
    row = library.calibrate_camera("root", door.id, {"enter": 0.8, "rate": 1.0})
    assert rule_for(row).threshold == 0.8
    row.settings = {"hold": "nonsense"}
    assert (rule_for(row).threshold, rule_for(row).hold) == (0.8, 1.0)
    row.settings = {"threshold": 0.3}
    assert rule_for(row).threshold == 0.3


def test_what_the_library_does_not_take_waits_and_is_told_in_order(library: Library, root: User, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    clock = Clock()
    raising = Raising(library, now=clock)

    def away(*arguments: Any, **more: Any) -> Any:
        raise OutputError("library: cannot be written")

    real = library.record_alarm
    monkeypatch.setattr(library, "record_alarm", away)
    for _ in range(80):
        at = clock.at
        clock.at += SNIPPET
        raising.on_score(Snippet("door", at, clock.at, 0.9 if 10 <= at - T < 15 else 0.1))
    with pytest.raises(OutputError, match="cannot be written"):
        raising.turn()
    assert library.alarms() == []
    monkeypatch.setattr(library, "record_alarm", real)
    raising.turn()
    (row,) = library.alarms()
    assert (row.start - T, row.end - T, row.ends) == (10.0, 15.0, 1)


def test_one_event_stays_one_alarm_where_the_watcher_dies_in_it(library: Library, root: User) -> None:
    clock, span = Clock(), [(10.0, 40.0)]
    play(Raising(library, now=clock), clock, span, 20)
    clock.at += 5  # dead meanwhile
    second = Raising(library, now=clock)
    play(second, clock, span, 30)
    clock.at += 3
    play(Raising(library, now=clock), clock, span, 120)
    (row,) = library.alarms()
    assert (row.start - T, row.end - T, row.ends) == (10.0, 40.0, 1)
    third = Clock()
    third.at = T + 300
    play(Raising(library, now=third), third, [(310, 400)], 320)  # dies, and nobody watches for long
    third.at += 3 * HOUR
    after = Raising(library, now=third)
    after.turn()
    newest = library.alarms()[0]
    assert newest.start - T == 310.0
    assert newest.ended is not None


@pytest.mark.slow
def test_twelve_hours_with_deaths_and_gaps_lose_no_alarm_and_tell_none_twice(library: Library, root: User) -> None:
    """Two cameras, made-up events of 5 to 30 s at least three minutes apart; the watcher is dropped without a word, streams stop for up to a minute, the receiver fails now and then."""
    draws, clock = np.random.default_rng(7), Clock()
    library.save_camera(root, {"name": "yard", "url": "rtsp://10.0.0.6/", "settings": {"cool": 20, "merge": 5}})
    events = {c: [(float(a), float(a + draws.uniform(5, 30))) for a in np.cumsum(draws.uniform(200, 900, 70))] for c in ("door", "yard")}  # fmt: skip
    with webhook() as hook:
        told = {"kind": "webhook", "name": "desk", "address": f"http://127.0.0.1:{hook.port}/", "secret": "x" * 20, "settings": {"allow": ["127.0.0.1"]}}  # fmt: skip
        library.save_target(root, told)
        good = hook.answer
        raising, gap = Raising(library, now=clock), {"door": 0.0, "yard": 0.0}
        deaths = gaps = 0
        while clock.at - T < 12 * HOUR:
            at = clock.at - T
            for camera, spans in events.items():
                if at < gap[camera]:
                    continue
                near = any(a - 40 < at < b + 40 for a, b in spans)
                if not near and draws.random() < 0.0003:
                    gap[camera], gaps = at + float(draws.uniform(5, 60)), gaps + 1
                    if any(a - 2 < gap[camera] and at < b for a, b in spans):
                        gap[camera] = 0.0  # an event that nobody could see is no alarm
                raising.on_score(Snippet(camera, T + at, T + at + 1, 0.9 if any(a <= at < b for a, b in spans) else 0.1))  # fmt: skip
            clock.at += 1
            if at % 2 == 0:
                raising.turn()
            if draws.random() < 0.002:
                raising, deaths = Raising(library, now=clock), deaths + 1
        courier, ahead = Courier(library, now=lambda: time.time() + ahead), 0.0
        hook.answer = lambda handler: good(handler) if len(hook.got) % 7 else handler.send_error(500)
        for _ in range(2000):
            courier.turn()
            courier.wait()
            ahead += 20.0
            with library.read() as session:
                if not session.scalar(select(OutboxRow.id).where(OutboxRow.sent.is_(None)).limit(1)):
                    break
        courier.close()
    expected = sum(a < 12 * HOUR - 5 for spans in events.values() for a, _ in spans)
    with library.read() as session:
        rows = list(session.scalars(select(AlarmRow)))
        sent = list(session.scalars(select(OutboxRow)))
    print(f"{expected} events, {deaths} deaths, {gaps} gaps: {len(rows)} alarms, {len(sent)} messages, {len(hook.got)} posts")  # fmt: skip
    assert sum(r.counted for r in rows) == expected
    for row in rows:
        assert row.summary or any(abs(row.start - T - a) <= 1.5 for a, _ in events[row.camera])
    kinds = [json.loads(body)["type"] for _, body in hook.got]
    assert kinds.count("raised") >= len(rows)
    assert {h["webhook-id"] for h, _ in hook.got} == {m.key for m in sent}
    assert all(m.sent is not None for m in sent)
    assert deaths > 50


def test_a_recorders_file_becomes_a_clip_once_whatever_its_name_and_what_grows_leaves_nothing_behind(library: Library, root: User, tmp_path: Path) -> None:  # fmt: skip
    """Half letters, control characters and thousands of letters; of a file that is written on while it is read what was there, of one that is cut nothing."""
    settings = make_settings(explain=False, cache=None)
    watcher = Watcher(library, SimpleNamespace(settings=settings), name="one")  # type: ignore[arg-type]
    folders = "/".join(["d" * 240] * 4)
    (tmp_path / folders).mkdir(parents=True)
    for name in (b"\xff.mp4", b"a\x1b[31m\n.mp4", f"{folders}/{'x' * 240}.mp4".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x" * 10)
        one = Recording(tmp_path, os.fsdecode(name), None, time.time(), time.time())
        for _ in "twice":
            watcher._file("door", one, time.time(), time.time())
    assert sorted(v.size for v in library.videos()) == [10, 10, 10]

    class Cut(BytesIO):
        """Fewer bytes than were there."""

        def fileno(self) -> int:
            return other.fileno()

    with (tmp_path / "a.mp4").open("w+b") as other:
        other.truncate(100)
        for _ in range(3):
            with pytest.raises(VladError):
                watcher._upload(library.camera_named("door"), "a.mp4", Cut(b"x" * 50), time.time())
        watcher._upload(library.camera_named("door"), "a.mp4", Cut(b"x" * 150), time.time())
    assert library.videos()[0].size == 100
    assert library.uploads(library.watcher()) == []
    assert list((library.folder / "uploads").iterdir()) == []


@pytest.mark.parametrize("by", [365 * 86_400.0, -365 * 86_400.0, -3000.0])
def test_a_clock_that_is_set_silences_no_alarm(library: Library, root: User, by: float) -> None:
    """While one goes on, and for whoever goes on watching after a death."""
    clock = Clock()
    raising = Raising(library, now=clock)
    play(raising, clock, [(10.0, 40.0)], 30.0)
    clock.at += by
    for high in (0.1, 0.9, 0.1, 0.9):
        for _ in range(200):
            clock.at += SNIPPET
            raising.on_score(Snippet("door", clock.at - SNIPPET, clock.at, high))
        raising.turn()
    assert [round(a.peak, 1) for a in library.alarms()] == [0.9] * 3
    assert [a.ended is None for a in sorted(library.alarms(), key=lambda a: a.created)] == [False, False, True]
    clock.at -= by
    again = Raising(library, now=clock)
    for high in (0.1, 0.9):
        for _ in range(200):
            clock.at += SNIPPET
            again.on_score(Snippet("door", clock.at - SNIPPET, clock.at, high))
        again.turn()
    assert len(library.alarms()) == 4


def test_a_clock_that_jumps_makes_no_ring_forget(library: Library, root: User) -> None:
    now, ticks = [T], [0.0]
    settings = make_settings(explain=False, cache=None)
    clock = watch.Clock(lambda: now[0], lambda: ticks[0])
    watcher = Watcher(library, SimpleNamespace(settings=settings), name="one", clock=clock)  # type: ignore[arg-type]
    library.save_camera(root, {"on": False}, library.cameras()[0].id)
    watcher.turn()
    assert watcher._steady()
    now[0] += 365 * 86_400
    ticks[0] += 1
    watcher.turn()
    assert not watcher._steady()
    now[0] += 86_401
    ticks[0] += 86_401
    watcher.turn()
    assert watcher._steady()


@pytest.mark.slow
def test_a_clip_that_takes_long_holds_up_no_turn_and_what_the_killed_left_is_swept(library: Library, root: User, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    settings, made, turns = make_settings(explain=False, cache=None), threading.Event(), [0]
    analyzer: Any = SimpleNamespace(settings=settings, encoder=None, scorer=None, detector=None)
    watcher = Watcher(library, analyzer, name="one")
    library.save_camera(root, {"on": False}, library.cameras()[0].id)
    (stray := library.folder / "live" / "x" / "piece-1").mkdir(parents=True)
    library.save_camera(root, {"name": "yard", "url": "rtsp://10.0.0.5/"})
    monkeypatch.setattr(watcher, "_begin", lambda name, row: turns.append(len(turns)))
    monkeypatch.setattr(watcher, "_keep", lambda row: made.wait(30))
    stop = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(stop,))
    thread.start()
    until = time.monotonic() + 10
    while len(turns) < 5 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(turns) >= 5
    assert not stray.exists()
    made.set()
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
