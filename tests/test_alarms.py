"""Scores to alarms: one event is one alarm, whatever gaps, duplicates and orders; and of every snippet over a threshold it is known what became of it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vlad.errors import InputError
from vlad.live.alarms import HOUR, AlarmRule, Alarms, Event, Hours, Zone, rule_of
from vlad.types import Box

SNIPPET = 0.5  # seconds
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp()  # a Wednesday


@dataclass(frozen=True)
class Snippet:
    start: float
    end: float
    score: float
    label: str = "fighting"
    looked: bool = True
    boxes: tuple[Box, ...] = ()


def stream(spans: list[tuple[float, float]], length: float, *, high: float = 0.9, low: float = 0.1) -> list[Snippet]:
    """Snippets from NOON on, high within spans (s)."""
    found = []
    for k in range(int(length / SNIPPET)):
        at = k * SNIPPET
        score = high if any(a <= at < b for a, b in spans) else low
        found.append(Snippet(NOON + at, NOON + at + SNIPPET, score))
    return found


def run(alarms: Alarms, snippets: list[Snippet], *, close: bool = True) -> list[Event]:
    events = [e for s in snippets for e in alarms.push(s)]
    return events + (alarms.close() if close else [])


def kinds(events: list[Event]) -> list[str]:
    return [e.kind for e in events if e.kind != "grown"]


def test_an_event_is_raised_once_it_was_held_grows_and_ends() -> None:
    alarms = Alarms(AlarmRule(hold=2.0, merge=3.0))
    events: list[tuple[float, Event]] = []
    for snippet in stream([(10, 15)], 30):
        events += [(snippet.end - NOON, e) for e in alarms.push(snippet)]
    raised, ended = events[0], events[-1]
    assert (raised[0], raised[1].kind, raised[1].start - NOON) == (12.0, "raised", 10.0)
    assert {e.kind for _, e in events[1:-1]} == {"grown"}
    assert (ended[1].kind, ended[1].end - NOON, ended[1].peak, ended[1].label) == ("ended", 15.0, 0.9, "fighting")
    assert 18.0 <= ended[0] <= 18.5
    assert len({e.key for _, e in events}) == 1
    assert alarms.alarmed == 10
    assert not +alarms.passed


def test_what_is_shorter_than_the_hold_raises_nothing_and_is_counted() -> None:
    alarms = Alarms(AlarmRule(hold=2.0))
    assert run(alarms, stream([(10, 11), (14, 15)], 60)) == []
    assert alarms.passed["short"] == 4


def test_a_score_may_fall_to_four_fifths_but_not_below() -> None:
    dip = [replace(s, score=0.42) if 11 <= s.start - NOON < 12 else s for s in stream([(10, 14)], 30)]
    assert kinds(run(Alarms(AlarmRule(hold=3.0)), dip)) == ["raised", "ended"]
    dip = [replace(s, score=0.39) if 11 <= s.start - NOON < 12 else s for s in stream([(10, 13.5)], 30)]
    assert kinds(run(Alarms(AlarmRule(hold=3.0)), dip)) == []


def test_what_comes_again_soon_is_the_same_alarm_and_later_another() -> None:
    rule = AlarmRule(hold=0.0, merge=2.0, cool=20.0)
    again = run(Alarms(rule), stream([(10, 12), (25, 27), (40, 42)], 120))
    assert [e.kind for e in again if e.kind == "raised"] == ["raised"]
    assert len({e.key for e in again}) == 1
    assert again[-1].end - NOON == 42.0
    assert kinds(run(Alarms(rule), stream([(10, 12), (40, 42)], 120))) == ["raised", "ended"] * 2


def test_events_that_are_close_are_alarms_of_their_own_where_nothing_is_to_be_grouped() -> None:
    """The older one's snippets are still at hand when the second one ends: it began as far back as the first."""
    events = run(Alarms(AlarmRule(hold=0.0, cool=0.0, merge=0.5)), stream([(10, 11), (13, 14), (16, 17)], 60))
    last = {e.key: e for e in events}
    assert [(e.start - NOON, e.end - NOON) for e in last.values()] == [(10.0, 11.0), (13.0, 14.0), (16.0, 17.0)]
    assert kinds(events) == ["raised", "ended"] * 3


def test_a_gap_neither_raises_nor_ends_at_once() -> None:
    whole = stream([(10, 40)], 100)
    gap = [s for s in whole if not 15 <= s.start - NOON < 35]
    assert kinds(run(Alarms(AlarmRule(cool=0.0, merge=5.0)), gap)) == ["raised", "ended"]
    unseen = [replace(s, looked=False) if 15 <= s.start - NOON < 35 else s for s in whole]
    alarms = Alarms(AlarmRule(cool=0.0, merge=5.0))
    assert kinds(run(alarms, unseen)) == ["raised", "ended"]
    assert alarms.passed["not looked"] == 40
    alarms = Alarms(AlarmRule(hold=5.0))  # 1 s before the gap and 1 s after it are no 5 s
    assert run(alarms, [s for s in stream([(10, 20)], 60) if not 11 <= s.start - NOON < 19]) == []
    alarms = Alarms(AlarmRule(merge=5.0))
    events = run(alarms, stream([(10, 20)], 20), close=False)
    assert alarms.going is not None
    assert alarms.tick(NOON + 45) == []
    assert [e.kind for e in alarms.tick(NOON + 51)] == ["ended"]
    assert events[0].kind == "raised"


def test_more_than_the_limit_goes_into_one_summary() -> None:
    rule = AlarmRule(hold=0.0, cool=0.0, merge=1.0, most_an_hour=3)
    alarms = Alarms(rule)
    events = run(alarms, stream([(60 * k, 60 * k + 2) for k in range(1, 11)], 700))
    raised = [e for e in events if e.kind == "raised"]
    assert [e.summary for e in raised] == [False] * 3 + [True]
    last = {e.key: e for e in events}
    assert [last[e.key].counted for e in raised] == [1, 1, 1, 7]
    later = [replace(s, start=s.start + HOUR, end=s.end + HOUR) for s in stream([(60, 62)], 100)]
    assert [e.summary for e in run(alarms, later) if e.kind == "raised"] == [False]


def test_feet_have_to_be_in_a_zone_which_may_have_a_threshold_of_its_own() -> None:
    left = ((0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (0.0, 1.0))
    right = ((0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0))
    rule = AlarmRule(hold=1.0, zones=(Zone("left", left), Zone("right", right, threshold=0.95, hold=0.0)))

    def seen(x: float, y: float, score: float = 0.9) -> tuple[Alarms, list[Event]]:
        box = Box("person", 0.9, (x - 0.05, y - 0.2, 0.1, 0.2))
        alarms = Alarms(rule)
        return alarms, run(alarms, [replace(s, boxes=(box,)) for s in stream([(10, 15)], 30, high=score)])

    assert [e.zone for e in seen(0.25, 1.0)[1] if e.kind == "raised"] == ["left"]
    alarms, events = seen(0.25, 0.4)  # their head would be in it, their feet are not
    assert (events, alarms.passed["zones"]) == ([], 10)
    assert seen(0.75, 0.9)[1] == []
    assert [e.zone for e in seen(0.75, 0.9, 0.97)[1] if e.kind == "raised"] == ["right"]
    nobody = Alarms(rule)
    assert run(nobody, stream([(10, 15)], 30)) == []


def test_schedules_are_of_the_cameras_clock_and_reach_over_midnight() -> None:
    night = Hours(frozenset({2}), 22 * 60, 6 * 60)  # of Wednesday
    rule = AlarmRule(schedule=(night,), clock="Europe/Berlin")

    def closed(day: int, hour: int) -> str:
        return rule.closed(datetime(2026, 11, day, hour, 30, tzinfo=UTC).timestamp())  # Berlin is an hour ahead

    assert [closed(25, 20), closed(25, 21), closed(26, 4), closed(26, 5), closed(26, 22)] == ["schedule", "", "", "schedule", "schedule"]  # fmt: skip
    assert AlarmRule(schedule=(Hours(frozenset({2})),), clock="+00:00").closed(NOON) == ""
    alarms = Alarms(rule)
    assert run(alarms, stream([(10, 15)], 30)) == []
    assert alarms.passed["schedule"] == 10
    muted = Alarms(AlarmRule(muted_until=NOON + 12))
    events = run(muted, stream([(10, 15)], 30))
    assert events[0].start - NOON == 11.5
    assert muted.passed["muted"] == 3  # a snippet that ends as the mute does counts as after it


def test_a_rule_is_read_of_plain_settings_and_what_is_wrong_is_said() -> None:
    told = {
        "threshold": 0.7, "hold": 2, "schedule": [{"days": ["mon", "sun"], "since": "22:00", "until": "06:00"}], "clock": "+01:00",
        "zones": [{"name": "gate", "points": [[0, 0], [1, 0], [1, 1]], "hold": 4}], "hours": 24,
    }  # fmt: skip
    rule = rule_of(told, muted_until=5.0)
    assert (rule.threshold, rule.hold, rule.muted_until) == (0.7, 2, 5.0)
    assert rule.schedule == (Hours(frozenset({0, 6}), 1320, 360),)
    assert rule.gates[0] == Zone("gate", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), 0.7, 4)
    for wrong in ({"threshold": 0}, {"threshold": 1.5}, {"hold": -1}, {"hold": "x"}, {"most_an_hour": 0}, {"clock": "Mars"}, {"zones": [{"name": "x", "points": [[0, 0]]}]}, {"schedule": [{"since": "25:00"}]}, {"schedule": [3]}):  # fmt: skip
        with pytest.raises(InputError, match=r"alarm|zone"):
            rule_of(wrong)


def test_who_goes_on_where_another_died_goes_on_with_its_alarm() -> None:
    snippets = stream([(10, 40)], 100)
    first = Alarms(AlarmRule())
    before = run(first, snippets[:50], close=False)  # 25 s, then it is killed
    second = Alarms(AlarmRule(), before[-1], [before[0].key])
    after = run(second, snippets[56:])
    assert {e.key for e in after} == {before[0].key}
    assert [e.kind for e in after if e.kind != "grown"] == ["ended"]
    assert after[-1].end - NOON == 40.0


def test_another_rule_takes_over_an_alarm_that_goes_on() -> None:
    alarms = Alarms(AlarmRule())
    snippets = stream([(10, 40)], 100)
    run(alarms, snippets[:50], close=False)
    alarms.change(AlarmRule(threshold=0.6, muted_until=NOON + 30))
    events = run(alarms, snippets[50:])
    assert [e.kind for e in events if e.kind == "raised"] == []
    assert len({e.key for e in events}) == 1


@st.composite
def disturbed(draw: st.DrawFn) -> list[Snippet]:
    """One event of 5 to 30 s, of which some snippets are lost, come twice, or late by up to 4 s."""
    length = draw(st.integers(10, 60)) * SNIPPET
    snippets = stream([(20, 20 + length)], 20 + length + 60, high=draw(st.floats(0.5, 1.0)), low=draw(st.floats(0.0, 0.39)))  # fmt: skip
    lost = draw(st.sets(st.integers(0, len(snippets) - 1), max_size=12))
    twice = draw(st.lists(st.integers(0, len(snippets) - 1), max_size=12))
    order = [(k + draw(st.floats(0, 8)) if draw(st.booleans()) else k, k) for k in [*range(len(snippets)), *twice] if k not in lost]  # fmt: skip
    return [snippets[k] for _, k in sorted(order)]


@settings(max_examples=20, deadline=None)
@given(disturbed(), st.sampled_from([0.0, 1.0]))
def test_one_event_is_one_alarm_whatever_gaps_duplicates_and_orders(snippets: list[Snippet], hold: float) -> None:
    alarms = Alarms(AlarmRule(hold=hold, merge=8.0, cool=60.0))
    high = sorted({(s.start, s.end) for s in snippets if s.score >= 0.5})
    events = run(alarms, snippets)
    seen = sum(b - a for a, b in high)
    if seen >= hold and high:
        assert [e.kind for e in events if e.kind == "raised"] == ["raised"]
        assert len({e.key for e in events}) == 1
        assert events[-1].kind == "ended"
        assert (events[-1].start, events[-1].end) == (high[0][0], high[-1][1])
    else:
        assert events == []


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(8, 30), st.integers(1, 12)), min_size=1, max_size=6), st.lists(st.integers(0, 400), max_size=20), st.sampled_from([0.0, 0.5]), st.data())  # fmt: skip
def test_events_apart_are_alarms_apart_in_order(told: list[tuple[int, int]], twice: list[int], hold: float, data: st.DataObject) -> None:  # fmt: skip
    """Events of .5 to 6 s, 4 to 15 s apart, their snippets up to 1.5 s out of order and some of them twice."""
    spans, at = [], 0.0
    for pause, length in told:
        spans.append((at + pause * SNIPPET, at + (pause + length) * SNIPPET))
        at = spans[-1][1]
    snippets = stream(spans, at + 30)
    order = sorted([*range(len(snippets)), *(k for k in twice if k < len(snippets))], key=lambda k: k + data.draw(st.floats(0, 3)))  # fmt: skip
    events = run(Alarms(AlarmRule(hold=hold, cool=0.0, merge=1.5)), [snippets[k] for k in order])
    last = {e.key: e for e in events}
    assert [(e.start - NOON, e.end - NOON) for e in sorted(last.values(), key=lambda e: e.start)] == spans
    assert all(e.kind == "ended" for e in last.values())


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(0, 1), st.booleans(), st.booleans()), max_size=150),
    st.sampled_from([0.0, 2.0]), st.sampled_from([0.0, 30.0]), st.integers(1, 3), st.booleans(),
)  # fmt: skip
@example([(0.0, 1.0, True, False), (61.0, 0.0, True, False), (0.0, 1.0, True, False)], 0.0, 0.0, 1, False)
def test_nothing_is_dropped_without_being_counted(
    told: list[tuple[float, float, bool, bool]], hold: float, cool: float, most: int, limited: bool
) -> None:
    """Snippets at any time, in any order, seen or not, in a zone or not, with a schedule and a mute."""
    zone = (Zone("left", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))),)
    more = {"zones": zone, "muted_until": NOON + 60} if limited else {}
    alarms = Alarms(AlarmRule(hold=hold, cool=cool, merge=3.0, most_an_hour=most, **more))
    box = {True: (Box("person", 0.9, (0.1, 0.1, 0.1, 0.1)),), False: (Box("person", 0.9, (0.8, 0.1, 0.1, 0.1)),)}
    snippets = [Snippet(NOON + t, NOON + t + SNIPPET, score, "x", looked, box[inside]) for t, score, looked, inside in told]  # fmt: skip
    events = run(alarms, snippets)
    over = sum(s.score >= 0.5 for s in snippets)
    assert alarms.alarmed + sum(alarms.passed.values()) == over
    raised = [e for e in events if e.kind == "raised"]
    assert len({e.key for e in raised}) == len(raised)
    assert {e.key for e in events} == {e.key for e in raised}  # nothing grows or ends that was not raised
    last = {e.key: e for e in events}
    assert all(e.kind == "ended" for e in last.values())
    normal = sorted(e.key for e in raised if not e.summary)
    assert all(sum(a <= b < a + HOUR for b in normal) <= most for a in normal)
