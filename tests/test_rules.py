"""Rules that a person can read, on drawn paths whose truth is known."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vlad.cli import app
from vlad.config import make_settings
from vlad.errors import InputError, SettingsError
from vlad.report import to_json
from vlad.rules import Rules, applied, beside, counts, facts_of_rules, held, inside, parse
from vlad.types import Analysis, ScoreTrack, Segment, Track, Video

SHAPES = """
zones: {yard: [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]}
lines: {gate: [[0.5, 0.0], [0.5, 1.0]]}
"""


def walker(
    number: int, x: tuple[float, float], times: tuple[float, float], label: str = "person", y: float = 0.5
) -> Track:
    """Feet from x[0] to x[1] at height y, in a box a fifth of the picture high."""
    when = np.linspace(*times, round((times[1] - times[0]) * 2) + 1)
    at = np.interp(when, times, x)
    boxes = np.stack([at - 0.05, np.full(len(when), y - 0.2), np.full(len(when), 0.1), np.full(len(when), 0.2)], 1)
    return Track(number, label, when, boxes.astype(np.float32), 0.9)


def told(
    sentence: str, tracks: list[Track], duration: float = 20.0, **more: object
) -> list[tuple[float, float, tuple[int, ...]]]:
    rules = parse(SHAPES + f"rules: {{it: {{when: {json.dumps(sentence)}}}}}")
    return [(h.start, h.end, h.tracks) for h in held(rules, tracks, duration, aspect=1.0, **more)]  # type: ignore[arg-type]


def test_somebody_in_a_zone_for_a_while() -> None:
    crossing = walker(1, (0.0, 1.0), (0, 20))  # in the yard from 10 s on
    ((start, end, who),) = told('a person in "yard" for 5 s', [crossing])
    assert (start, end, who) == (pytest.approx(10, abs=0.5), pytest.approx(20, abs=0.5), (1,))
    assert told('a person in "yard" for 11 s', [crossing]) == []
    assert told('two people in "yard"', [crossing]) == []
    assert told('a vehicle in "yard"', [crossing]) == []
    assert len(told('two people in "yard"', [crossing, walker(2, (0.8, 0.8), (12, 16))])) == 1


def test_a_line_is_crossed_one_way() -> None:
    tracks = [walker(1, (0.1, 0.9), (0, 10)), walker(2, (0.9, 0.1), (5, 15)), walker(3, (0.1, 0.4), (0, 10))]
    inwards, outwards = (
        told('a person crosses "gate" inwards', tracks),
        told('a person crosses "gate" outwards', tracks),
    )
    assert [who for *_, who in inwards + outwards] in ([(1,), (2,)], [(2,), (1,)])
    assert len(told('a person crosses "gate"', tracks)) == 2
    assert inwards[0][2] == (2,)  # a line from the top to the bottom has its right hand to the left of the picture


def test_two_people_near_and_fast() -> None:
    near = [walker(1, (0.2, 0.8), (0, 4)), walker(2, (0.25, 0.85), (0, 4))]  # .15 a second: .75 body heights
    assert len(told("two people nearer than 1 body height with speed over 0.5 for 2 s", near)) == 1
    assert told("two people nearer than 1 body height with speed over 2 for 2 s", near) == []
    assert told("two people nearer than 0.2 body heights", near) == []
    assert len(told("two people nearer than 1 body height with speed under 2", near)) == 1


def test_a_time_of_day_over_midnight() -> None:
    night = datetime(2026, 11, 26, 23, 59, 50, tzinfo=UTC).timestamp()
    inside_all = [walker(1, (0.8, 0.8), (0, 20))]
    sentence = 'a person in "yard" between 00:00 and 06:00'
    ((start, _, _),) = told(sentence, inside_all, clock=(night, UTC))
    assert start == pytest.approx(10, abs=0.5)
    assert told(sentence, inside_all) == []  # nobody knows the time
    assert len(told('a person in "yard" between 22:00 and 06:00', inside_all, clock=(night, UTC))) == 1
    assert told('a person in "yard" between 06:00 and 22:00', inside_all, clock=(night, UTC)) == []


def test_counts_are_those_of_the_paths() -> None:
    rng = np.random.default_rng(0)
    tracks, entered, left = [], 0, 0
    for k in range(40):
        goes_in = bool(rng.integers(2))
        x = (0.2, 0.8) if goes_in else (0.8, 0.2)
        start = float(rng.uniform(0, 50))
        tracks.append(walker(k + 1, x, (start, start + 8), y=float(rng.uniform(0.3, 0.9))))
        entered, left = entered + goes_in, left + (not goes_in)
    zone, line, *_ = counts(parse(SHAPES + "rules: {}"), tracks, 60.0, aspect=16 / 9)
    assert (zone["entered"], zone["left"]) == (entered, left)
    assert (line["inwards"], line["outwards"]) == (left, entered)
    assert 3 < zone["dwell"] < 5


def test_the_even_odd_rule() -> None:
    shape = np.array([[0, 0], [1, 0], [1, 1], [0.5, 0.5], [0, 1]])
    assert inside(np.array([[0.5, 0.2], [0.5, 0.8], [0.1, 0.8], [np.nan, 0.2]]), shape).tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InputError) as error:
        parse(
            """
zones: {out: [[0, 0], [2, 0], [1, 1]], bow: [[0, 0], [1, 1], [1, 0], [0, 1]], two: [[0, 0], [1, 1]]}
lines: {dot: [[0.5, 0.5], [0.5, 0.5]]}
colour: red
rules:
  a: {when: someone does something}
  b: {when: 'a person in "attic"'}
  c: {when: a person nearer than 1 body height}
  d: {when: 'a dragon in "yard"'}
  e: a person
  f: {when: a person between 25:00 and 26:00}
"""
        )
    for words in ("outside the picture", "cross each other", "three points or more", "two points are one", "unknown key colour", "no sentence",
                  "no zone 'attic'", "near to nobody", "a dragon", "expected {when", "two different times"):  # fmt: skip
        assert words in str(error.value), words


@pytest.mark.parametrize(
    "text",
    ["", "[", "- a", "rules: 3", "rules: {a: &x {when: a person}, b: *x}", "{" * 2000, "rules: {1: {when: a person}}"],
)
def test_what_is_no_file_of_rules(text: str) -> None:
    with pytest.raises(InputError):
        parse(text)


def test_hostile_sentences_take_no_time() -> None:
    import time

    begin = time.perf_counter()
    for words in (
        "a person" * 50_000,
        "a person in " + '"' * 100_000,
        "9" * 100_000,
        "a person for " + "9" * 100_000 + " s",
    ):
        with pytest.raises(InputError):
            parse(json.dumps({"rules": {"a": {"when": words}}}))
    assert time.perf_counter() - begin < 2


def test_the_verbs(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        SHAPES
        + "rules:\n  in: {when: 'a person in \"yard\" for 2 s'}\n  late: {when: 'a person between 22:00 and 23:00'}\n"
    )
    track = ScoreTrack(np.full(20, 0.5, np.float32), np.arange(21.0))
    video = Video("=lobby.mp4", "0" * 64, 20.0, 25.0, 640, 480, "h264")
    analysis = Analysis(video, track, (Segment(0.0, 2.0, 0.8, 1.0),), (), {}, tracks=(walker(1, (0.0, 1.0), (0, 20)),))
    made = tmp_path / "lobby.json"
    made.write_text(to_json(analysis))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["rules", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "1 zones, 1 lines, 2 rules" in run("check", str(tmp_path / "rules.yaml"))
    (one,) = json.loads(run("test", str(tmp_path / "rules.yaml"), str(made), "--json"))
    assert [h["rule"] for h in one["held"]] == ["in"]
    assert (one["not_flagged"], one["without_a_clock"]) == ({"in": 1}, ["late"])
    assert "not judged" in run("test", str(tmp_path / "rules.yaml"), str(made))
    rows = list(csv.DictReader(run("count", str(tmp_path / "rules.yaml"), str(made)).splitlines()))
    assert (rows[0]["entered"], rows[0]["path"], rows[1]["outwards"]) == ("1", "'=lobby.mp4", "1")


def test_a_rule_raises_or_lowers_scores_while_it_holds() -> None:
    text = (
        SHAPES
        + "rules: {calm: {when: 'a person in \"yard\"', lowers: 0.1}, gate: {when: 'a person crosses \"gate\"', raises: 0.9}}"
    )
    rules, tracks = (
        parse(text),
        [walker(1, (0.0, 1.0), (0, 20))],
    )  # through the gate at 10 s, and in the yard from then on
    track = ScoreTrack(np.full(20, 0.5, np.float32), np.arange(21.0))
    scores = applied(rules, held(rules, tracks, 20.0, aspect=1.0), track).scores
    assert scores[:9].max() == scores[:9].min() == 0.5
    assert scores[9:12].max() == pytest.approx(0.9)
    assert scores[12:].max() == pytest.approx(0.1)
    for effect in ("raises: 2", "lowers: true", "raises: .9, lowers: .1", "until: 3"):
        with pytest.raises(InputError):
            parse(f"rules: {{a: {{when: a person, {effect}}}}}")


@pytest.mark.slow
def test_a_rule_is_part_of_an_analysis_and_named(clip: Path, tmp_path: Path) -> None:
    import vlad

    file = tmp_path / "rules.yaml"
    file.write_text("rules: {anybody here: {when: a person for 1 s, raises: 0.8}}")
    plain, ruled = (vlad.analyze(clip, **more) for more in ({}, {"rules": file}))
    assert ruled.track.scores.max() == pytest.approx(max(float(plain.track.scores.max()), 0.8))
    assert sum(s.end - s.start for s in ruled.segments) > sum(s.end - s.start for s in plain.segments)
    assert all("rule: anybody here" in e.notes for e in ruled.explanations)
    assert not any(n.startswith("rule:") for e in plain.explanations for n in e.notes)
    file.write_text("rules: {a: {when: nonsense}}")
    with pytest.raises(InputError, match="no sentence"):
        vlad.analyze(clip, rules=file)


def test_rules_without_anybody_to_follow_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="they need objects"):
        make_settings(rules=tmp_path / "rules.yaml", objects=False)


def test_what_a_rule_adds_to_the_scorer() -> None:
    rules: Rules = parse(SHAPES + "rules: {in: {when: 'a person in \"yard\"'}}")
    found = held(rules, [walker(1, (0.8, 0.8), (0, 4)), walker(2, (0.8, 0.8), (10, 14))], 20.0, aspect=1.0)
    assert beside(found, [Segment(11.0, 12.0, 0.9, 11.5)]) == {"in": 1}


def lying(number: int, times: tuple[float, float]) -> Track:
    """A person who stands for the first half of the time, and lies for the other."""
    when = np.linspace(*times, round((times[1] - times[0]) * 2) + 1)
    down = when >= sum(times) / 2
    boxes = [[0.4, 0.8, 0.3, 0.1] if d else [0.5, 0.5, 0.1, 0.4] for d in down]
    return Track(number, "person", when, np.array(boxes, np.float32), 0.9)


def test_somebody_who_lies_is_down() -> None:
    ((start, end, who),) = told("a person down for 3 s", [lying(1, (0, 12)), walker(2, (0.0, 1.0), (0, 12))])
    assert (start, end, who) == (pytest.approx(6, abs=0.5), pytest.approx(12, abs=0.5), (1,))
    assert told("a person down for 7 s", [lying(1, (0, 12))]) == []


def test_a_bag_is_left_once_it_stands_and_everybody_went() -> None:
    bag = walker(1, (0.6, 0.6), (2, 20), "suitcase")
    owner = walker(2, (0.6, 0.6), (0, 8))
    gone = walker(3, (0.6, 1.0), (8, 10))
    ((start, end, who),) = told('a bag left in "yard" for 5 s', [bag, owner, gone])
    assert (start, end, who) == (pytest.approx(9.2, abs=0.8), pytest.approx(20, abs=0.5), (1,))
    assert told("a bag left for 5 s", [bag, walker(2, (0.6, 0.6), (0, 20))]) == []  # its owner stays
    assert told("a bag left for 5 s", [walker(1, (0.1, 0.9), (0, 20), "backpack")]) == []  # it is carried


def test_two_through_a_gate_that_opened_once() -> None:
    close = [walker(1, (0.9, 0.1), (0, 10)), walker(2, (0.95, 0.15), (0.5, 10.5))]
    ((start, end, who),) = told('two people cross "gate" inwards within 2 s', close)
    assert who == (1, 2)
    assert end - start < 3
    assert told('two people cross "gate" inwards within 2 s', [close[0], walker(2, (0.9, 0.1), (5, 15))]) == []
    assert told('two people cross "gate" inwards within 2 s', [close[0], walker(2, (0.1, 0.9), (0, 10))]) == []


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ('two people crosses "gate"', "need within N s"),
        ('a person crosses "gate" within 2 s', "one takes none"),
        ("a bag down", "down: is said of people"),
        ("a person left", "left: of bags"),
        ('a person down crosses "gate"', "neither down"),
    ],
)
def test_sentences_that_make_no_sense_say_why(sentence: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        parse(SHAPES + f"rules: {{it: {{when: {json.dumps(sentence)}}}}}")


def test_who_is_cut_off_by_the_picture_is_in_its_zone_and_crosses_its_line() -> None:
    """Feet below the picture: the box ends where it does."""
    near = walker(1, (0.1, 0.9), (0, 10), y=1.0)
    assert len(told('a person in "yard" for 3 s', [near])) == 1
    assert len(told('a person crosses "gate" outwards', [near])) == 1


def test_who_stops_on_a_line_crosses_it_once() -> None:
    when = np.arange(0, 20, 0.5)
    shaking = np.where(np.arange(len(when)) % 2, 0.51, 0.49)  # a tenth of the box to either side
    x = np.where(when < 5, 0.1 + 0.08 * when, np.where(when < 15, shaking, 0.5 + 0.08 * (when - 15)))
    boxes = np.stack([x - 0.05, np.full(len(when), 0.3), np.full(len(when), 0.1), np.full(len(when), 0.2)], 1)
    stopper = Track(1, "car", when, boxes.astype(np.float32), 0.9)
    assert len(told('a vehicle crosses "gate" outwards', [stopper])) == 1
    assert told('a vehicle crosses "gate" inwards', [stopper]) == []


def test_what_many_rules_ask_of_a_busy_hour_is_worked_out_once() -> None:
    import time

    at, box = np.arange(0.0, 60.0, 0.5), np.tile(np.array([0.4, 0.3, 0.05, 0.3], np.float32), (120, 1))
    tracks = []
    for i in range(600):
        way = box.copy()
        way[:, 0] = np.linspace(0.1, 0.8, 120)
        tracks.append(Track(i + 1, "backpack" if i % 3 else "person", at + 5.9 * i, box if i % 3 else way, 0.9))
    zone = [
        [round(0.5 + 0.4 * float(np.cos(a)), 3), round(0.5 + 0.4 * float(np.sin(a)), 3)]
        for a in np.linspace(0, 6.2, 60)
    ]
    sentences = ("a bag left for {} s", 'a person in "z" for {} s', 'a person crosses "l" between 00:0{} and 12:00')
    words = {f"{k}{i}": {"when": s.format(i % 10)} for k, s in enumerate(sentences) for i in range(60)}
    text = json.dumps({"zones": {"z": zone}, "lines": {"l": [[0.5, 0], [0.5, 1]]}, "rules": words})
    begin = time.perf_counter()
    found = held(parse(text), tracks, 3600.0, aspect=4 / 3, clock=(0.0, UTC))
    assert {h.rule for h in found} >= {"00", "10", "20"}
    assert time.perf_counter() - begin < 20  # minutes, where each rule looks for itself


def test_facts_tell_of_zones_lines_and_who_crossed() -> None:
    rules = parse(SHAPES + "rules: {}")
    tracks = [walker(1, (0.9, 0.1), (0, 10)), walker(2, (0.9, 0.6), (0, 10)), walker(3, (0.1, 0.2), (40, 50))]
    told_of = {f.kind: f.text for f in facts_of_rules(rules, tracks, (0.0, 10.0), aspect=1.0)}
    assert told_of == {"people in zone": '2 people in "yard"', "line": '1 person crossed "gate" inwards'}
    assert facts_of_rules(rules, tracks, (40.0, 50.0), aspect=1.0) == []
    ground = "place: {points: [[[0, 1], [0, 0]], [[1, 1], [10, 0]], [[1, 0], [10, 10]], [[0, 0], [0, 10]]]}\n"
    (metres,) = (f for f in facts_of_rules(parse(SHAPES + ground + "rules: {}"), tracks, (0.0, 10.0), aspect=1.0) if f.kind == "metres")  # fmt: skip
    assert metres.value == pytest.approx(0.8, rel=0.1)  # eight of ten metres in ten seconds
    assert metres.text == "a person at up to 0.8 m/s"
