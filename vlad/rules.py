"""Rules that a person can read: what must not happen where, checked on tracks; and counts by zone and line.

    zones:
      yard: [[0.1, 0.5], [0.9, 0.5], [0.9, 1.0], [0.1, 1.0]]     # a polygon, in shares of the picture, from the left and the top
    lines:
      gate: [[0.2, 0.3], [0.2, 0.9]]                              # from one end to the other; what passes to its right goes in
    rules:
      night: {when: a person in "yard" between 22:00 and 06:00 for 10 s, raises: 0.9}   # scores there are .9 at least; lowers: .2 would hold them below
      brawl: {when: two people nearer than 1 body height with speed over 3 for 2 s}
      out: {when: a vehicle crosses "gate" outwards}              # the wrong way
      tailgating: {when: two people cross "gate" inwards within 2 s}
      parked: {when: a vehicle in "yard" with speed under 0.1 for 30 s}   # stopped; people: loitering, or a queue
      fallen: {when: a person down for 3 s}
      forgotten: {when: a bag left in "yard" for 30 s}            # still, and nobody within 1.5 body heights
      race: {when: a vehicle with speed over 8 m/s}               # metres need a place: vlad/place.py
    place: {points: [[[0.1, 0.9], [0, 0]], [[0.9, 0.9], [6, 0]], [[0.7, 0.4], [6, 12]], [[0.3, 0.4], [0, 12]]]}     # picture and plan (m), four or more
    background: ...                                               # of `vlad place reference`: rules pause where the camera was moved

In: such a file, and tracks. Out: spans in which each rule holds, with who was there. Somebody's place is the middle of their box's lower side. Speeds are in
body heights (people) or lengths (vehicles) a second, as in `vlad.facts`; both are rough. Knows no pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import yaml

from vlad import safe_yaml
from vlad.background import Background
from vlad.background import parse as background_of
from vlad.errors import InputError
from vlad.facts import ALONE, BAGS, LYING
from vlad.place import Place
from vlad.place import parse as place_of
from vlad.place import speeds as paces
from vlad.tracks import VEHICLES
from vlad.types import Fact, ScoreTrack, Segment, Track

STEP = 0.25  # seconds between two looks at the tracks
EDGE = 1e-3  # of the picture: whom its lower side cuts off is in a zone, and crosses a line, that reaches to it
SLACK = 0.15  # widths of a box: as much as the box of one who stands still may tremble
STILL = 0.1  # own lengths a second below which a thing stands still
BREAK = 1.0  # seconds for which a rule may not hold without its span ending
NUMBERS = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
KINDS: Mapping[str, frozenset[str] | None] = {
    "bag": BAGS, "bags": BAGS, "person": frozenset({"person"}), "people": frozenset({"person"}), "vehicle": VEHICLES, "vehicles": VEHICLES, "thing": None, "things": None,
}  # fmt: skip
SENTENCE = re.compile(
    r"(?P<count>\w{1,20}) (?P<kind>\w{1,20})"
    r"(?: (?P<state>down|left))?"
    r'(?: in "(?P<zone>[^"]{1,80})")?'
    r'(?: cross(?:es)? "(?P<line>[^"]{1,80})"(?: (?P<way>inwards|outwards))?(?: within (?P<within>\d{1,4}(?:\.\d{1,4})?) s)?)?'
    r"(?: nearer than (?P<near>\d{1,4}(?:\.\d{1,4})?) (?P<apart>body heights?|m))?"
    r"(?: with speed (?P<limit>over|under) (?P<speed>\d{1,4}(?:\.\d{1,4})?)(?P<pace> m/s)?)?"
    r"(?: between (?P<since>\d{2}:\d{2}) and (?P<until>\d{2}:\d{2}))?"
    r"(?: for (?P<seconds>\d{1,6}(?:\.\d{1,4})?) s)?"
)
FORM = 'a person|two people|3 vehicles|a bag [down|left] [in "ZONE"] [crosses "LINE" inwards|outwards [within N s]] [nearer than N body heights|m] [with speed over|under N [m/s]] [between HH:MM and HH:MM] [for N s]'
MOST = 200  # zones, lines and rules
LONGEST, DEEPEST = 50_000, 8  # letters, and levels, of a file
SMALLEST = 1e-5  # share of the picture that a zone covers: a pixel or two
Points = npt.NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """count: of how many at once, of kind; the rest '' or 0 or None where it was not asked for. state: down (a person that lies) or left (a thing that is still,
    and alone); within: seconds in which count of them cross the line, one after another. between: minutes of a day; seconds: for how long; raises, lowers: what
    scores are at least, or at most, while it holds, in [0, 1]."""

    name: str
    words: str
    count: int
    kind: str
    zone: str = ""
    line: str = ""
    way: str = ""
    near: float = 0.0
    speed: float | None = None
    over: bool = True
    state: str = ""
    within: float = 0.0
    between: tuple[int, int] | None = None
    seconds: float = 0.0
    raises: float | None = None
    lowers: float | None = None
    metric: frozenset[str] = frozenset()  # of near and speed, those that are in metres


@dataclass(frozen=True)
class Rules:
    """zones: polygons [N, 2]; lines [2, 2]; all in shares of the picture. place: its ground in metres; background: what stands still in the picture; None where not given."""

    zones: Mapping[str, Points]
    lines: Mapping[str, Points]
    rules: tuple[Rule, ...]
    place: Place | None = None
    background: Background | None = None


@dataclass(frozen=True)
class Held:
    """A rule held from `start` to `end` (s); tracks: ids of who was there."""

    rule: str
    start: float
    end: float
    tracks: tuple[int, ...]


@dataclass(frozen=True)
class Fault:
    """What is wrong with one entry. part: zones, lines or rules, '' for the text as a whole; name: of the entry, '' for the part itself."""

    part: str
    name: str
    text: str

    def __str__(self) -> str:
        where = f"{self.part[:-1]} {self.name}" if self.name else self.part
        return f"{where}: {self.text}" if where else self.text


def parse(text: str) -> Rules:
    """Rules of a YAML text. Raises InputError that names every fault at once."""
    found, faults = look(text)
    if found is None:
        raise InputError(
            "; ".join(map(str, faults[:20])) + (f"; and {len(faults) - 20} more" if len(faults) > 20 else "")
        )
    return found


def look(text: str) -> tuple[Rules | None, list[Fault]]:
    """Rules of a YAML text, or None and everything that is wrong with it."""
    if len(text) > LONGEST:
        return None, [Fault("", "", f"it has more than {LONGEST} letters")]
    try:
        facts = safe_yaml.load(text, deepest=DEEPEST)
    except (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError, OverflowError) as error:
        why = (str(error).splitlines() or [""])[0][:120]
        return None, [Fault("", "", f"not YAML that can be used ({why})")]
    if not isinstance(facts, dict) or not (
        isinstance(facts.get("rules"), dict) or isinstance(facts.get("place"), dict)
    ):
        expected = "expected a YAML table with rules: and, where they are named, zones: and lines:; or with place:"
        return None, [Fault("", "", expected)]
    known_keys = ("zones", "lines", "rules", "place", "background")
    faults = [Fault("", "", f"unknown key {str(k)[:40]}") for k in facts if k not in known_keys]
    place = _part(facts, "place", place_of, faults)
    background = _part(facts, "background", background_of, faults)
    shapes: dict[str, dict[str, Points]] = {"zones": {}, "lines": {}}
    for part, found in shapes.items():
        for name, points in _table(facts.get(part), part, faults).items():
            try:
                found[name] = points_of(points, line=part == "lines")
            except (ValueError, TypeError, OverflowError) as error:
                faults.append(Fault(part, name, str(error)))
    rules = []
    for name, row in _table(facts.get("rules"), "rules", faults).items():
        known = isinstance(row, dict) and set(row) <= {"when", "raises", "lowers"}
        words = row.get("when") if known else None
        try:
            if not isinstance(words, str):
                raise ValueError("expected {when: a sentence}, and perhaps raises or lowers")
            effect = {k: _score(row[k], k) for k in ("raises", "lowers") if k in row}
            if len(effect) > 1:
                raise ValueError("raises and lowers: one of them")
            rule = _rule(name, words, shapes)
            if rule.metric and place is None:
                raise ValueError(
                    f"{' and '.join(sorted(rule.metric))} in metres: where is the ground? give place: with four points"
                )
            rules.append(replace(rule, raises=effect.get("raises"), lowers=effect.get("lowers")))
        except ValueError as error:
            faults.append(Fault("rules", name, str(error)))
    whole = None if faults else Rules(shapes["zones"], shapes["lines"], tuple(rules), place, background)
    return whole, faults


def read(path: Path) -> Rules:
    """Rules of a file. Raises InputError with its name."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _part(facts: Mapping[str, Any], key: str, read_one: Callable[[Any], T], faults: list[Fault]) -> T | None:
    """What a part of the file says, None where it is not there or wrong."""
    if facts.get(key) is None:
        return None
    try:
        return read_one(facts[key])
    except (ValueError, TypeError, OverflowError) as error:
        faults.append(Fault(key, "", str(error).removeprefix(f"{key}: ")))
        return None


def _table(value: Any, part: str, faults: list[Fault]) -> dict[str, Any]:
    if value is None:
        return {}
    if (
        not isinstance(value, dict)
        or len(value) > MOST
        or not all(isinstance(k, str) and k.isprintable() for k in value)
    ):
        faults.append(Fault(part, "", f"expected a table of at most {MOST} names"))
        return {}
    return value


def _score(value: Any, name: str) -> float:
    """Raises ValueError for what is no score."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a score in 0..1")
    return float(value)


def points_of(value: Any, *, line: bool = False) -> Points:
    """A polygon, or a line, in shares of the picture: [N, 2]. Raises ValueError for what is none: outside the picture, without area, with sides that cross."""
    found = np.array(value, np.float64)
    if found.ndim != 2 or found.shape[1] != 2 or (len(found) != 2 if line else not 3 <= len(found) <= 100):
        raise ValueError(f"expected {'two points' if line else 'three points or more'} [x, y]")
    if not ((found >= 0) & (found <= 1)).all():
        raise ValueError("a point lies outside the picture; x and y are shares in 0..1, from the left and the top")
    if line and (found[0] == found[1]).all():
        raise ValueError("its two points are one")
    if not line and (found == np.roll(found, 1, axis=0)).all(axis=1).any():
        raise ValueError("two of its corners, one after the other, are the same")
    if not line and _crosses_itself(found):
        raise ValueError("its sides cross each other")
    if not line and _area(found) < SMALLEST:
        raise ValueError("it has no area")
    return found


def _area(polygon: Points) -> float:
    """In shares of the picture."""
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _crosses_itself(points: Points) -> bool:
    """Whether two sides that are no neighbours meet, all pairs at once."""
    count, after = len(points), np.roll(points, -1, axis=0)
    i, j = np.triu_indices(count, 2)
    i, j = i[j - i < count - 1], j[j - i < count - 1]
    return bool(_meet(points[i].T, after[i].T, points[j].T, after[j].T).any())


def _turn(a: Points, b: Points, c: Points) -> npt.NDArray[np.float64]:
    """Twice the area of triangles of points [2, N], positive where c lies to the right of a to b in a picture (y grows downwards): [N]."""
    found: npt.NDArray[np.float64] = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return found


def _meet(a: Points, b: Points, c: Points, d: Points) -> npt.NDArray[np.bool_]:
    """Whether the lines a to b and c to d, of points [2, N], cross: bool [N]."""
    found: npt.NDArray[np.bool_] = ((_turn(a, b, c) > 0) != (_turn(a, b, d) > 0)) & (
        (_turn(c, d, a) > 0) != (_turn(c, d, b) > 0)
    )
    return found


def _rule(name: str, words: str, shapes: Mapping[str, Mapping[str, Points]]) -> Rule:
    """Raises ValueError for a sentence that is none."""
    said = SENTENCE.fullmatch(" ".join(words[:400].split()))
    if said is None:
        raise ValueError(f"{words[:80]!r} is no sentence of the form {FORM}")
    count = NUMBERS.get(said["count"]) or (
        int(said["count"]) if re.fullmatch(r"[1-9]\d?", said["count"], re.ASCII) else 0
    )
    if not count or said["kind"] not in KINDS:
        raise ValueError(f"{said['count']} {said['kind']}: expected a number up to 99 and one of {', '.join(KINDS)}")
    for part, key in (("zones", "zone"), ("lines", "line")):
        if said[key] and said[key] not in shapes[part]:
            raise ValueError(f"no {key} {said[key]!r}; there are {', '.join(shapes[part]) or 'none'}")
    if said["near"] and count < 2:
        raise ValueError("nearer than: one alone is near to nobody; say two people")
    if said["line"] and (said["near"] or said["seconds"] or said["state"]):
        raise ValueError("crosses: is a moment, and takes neither down, left, nearer nor for")
    if said["line"] and (count > 1) != bool(float(said["within"] or 0)):
        raise ValueError("crosses: two or more need within N s, and one takes none")
    if said["state"] and (said["kind"] in ("person", "people")) != (said["state"] == "down"):
        raise ValueError("down: is said of people; left: of bags, vehicles and things")
    between = None
    if said["since"]:
        minutes = [int(t[:2]) * 60 + int(t[3:]) for t in (said["since"], said["until"])]
        if (
            max(minutes) >= 24 * 60
            or any(int(t[3:]) > 59 for t in (said["since"], said["until"]))
            or minutes[0] == minutes[1]
        ):
            raise ValueError(f"{said['since']} to {said['until']}: expected two different times of a day")
        between = (minutes[0], minutes[1])
    return Rule(
        name, words, count, said["kind"], said["zone"] or "", said["line"] or "", said["way"] or "", float(said["near"] or 0),
        float(said["speed"]) if said["speed"] else None, said["limit"] != "under",
        said["state"] or "", float(said["within"] or 0), between, float(said["seconds"] or 0),
        metric=frozenset(part for part, there in (("near", said["apart"] == "m"), ("speed", said["pace"])) if there),
    )  # fmt: skip


def inside(points: Points, zone: Points) -> npt.NDArray[np.bool_]:
    """Which of points [N, 2] lie in a polygon (even-odd rule): bool [N]; nan nowhere."""
    found = np.zeros(len(points), bool)
    for a, b in zip(zone, np.roll(zone, -1, axis=0), strict=True):
        spans = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            cut = a[0] + (points[:, 1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
        found ^= spans & (points[:, 0] < cut)
    return found


@dataclass(frozen=True)
class _Looks:
    """Tracks at looks STEP apart: times [T]. Of each track, at the looks `own` at which it is there: feet [N, 2], heights [N], speeds [N] and shapes [N] (height over
    width); with a place also ground [N, 2] in metres and paces [N] in metres a second, nan where the ground is not known. A busy hour has thousands of short tracks, so
    nothing is kept of where they are not. once: what several rules ask for, so that it is worked out once."""

    times: npt.NDArray[np.float64]
    tracks: Sequence[Track]
    own: list[slice]
    feet: list[Points]
    heights: list[npt.NDArray[np.float64]]
    speeds: list[npt.NDArray[np.float64]]
    shapes: list[npt.NDArray[np.float64]]
    aspect: float
    ground: list[Points]
    paces: list[npt.NDArray[np.float64]]
    once: dict[Any, Any] = field(default_factory=dict)

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """The first look of each track, and the one after its last: int [2, N]."""
        if "ends" not in self.once:
            self.once["ends"] = np.array([(own.start, own.stop) for own in self.own], np.int64).reshape(-1, 2).T
        found: npt.NDArray[np.int64] = self.once["ends"]
        return found

    def during(self, first: int, stop: int) -> npt.NDArray[np.int64]:
        """Places of the tracks that are there at some look from `first` to before `stop`."""
        found: npt.NDArray[np.int64] = np.flatnonzero((self.ends[0] < stop) & (self.ends[1] > first))
        return found

    def within(self, zone: Points) -> list[npt.NDArray[np.bool_]]:
        """At which of its own looks each track is in a zone; all tracks in one go."""
        key = ("zone", zone.tobytes())
        if key not in self.once:
            every = np.concatenate([*self.feet, np.zeros((0, 2))])
            self.once[key] = np.split(inside(every, zone), np.cumsum([len(f) for f in self.feet])[:-1])
        found: list[npt.NDArray[np.bool_]] = self.once[key]
        return found

    def of(self, kind: str) -> list[int]:
        """Places of the tracks of a kind."""
        labels = KINDS[kind]
        return [i for i, t in enumerate(self.tracks) if labels is None or t.label in labels]

    def both(self, i: int, j: int) -> tuple[slice, slice]:
        """The looks at which two tracks are there, as each counts its own; empty where there are none."""
        first = max(self.own[i].start, self.own[j].start)
        last = max(first, min(self.own[i].stop, self.own[j].stop))
        a, b = (slice(first - self.own[k].start, last - self.own[k].start) for k in (i, j))
        return a, b

    def count(self, there: Mapping[int, npt.NDArray[np.bool_]]) -> npt.NDArray[np.int64]:
        """How many at once: int [T]. there: by track, at its own looks."""
        found = np.zeros(len(self.times), np.int64)
        for i, here in there.items():
            found[self.own[i]] += here
        return found


def looks(tracks: Sequence[Track], duration: float, aspect: float, place: Place | None = None) -> _Looks:
    """Tracks of a clip of `duration` seconds at even times. aspect: width over height of the picture; place: its ground."""
    times = np.arange(0.0, duration + STEP / 2, STEP)
    own, feet, heights, speeds, shapes = [], [], [], [], []
    for track in tracks:
        first, last = np.searchsorted(times, [track.times[0] - STEP / 2, track.times[-1] + STEP / 2 + 1e-12])
        here = slice(int(first), int(last))
        boxes = track.at(times[here]).astype(np.float64)
        middles = (boxes[:, :2] + boxes[:, 2:] / 2) * [aspect, 1.0]
        size = float(np.median(boxes[:, 3] if track.label == "person" else np.maximum(boxes[:, 2] * aspect, boxes[:, 3]))) if len(boxes) else 1.0  # fmt: skip
        moved = np.hypot(*np.diff(middles, axis=0, prepend=middles[:1]).T) / STEP / size
        feet.append(np.stack([boxes[:, 0] + boxes[:, 2] / 2, boxes[:, 1] + boxes[:, 3]], axis=1).clip(EDGE, 1 - EDGE))
        own.append(here)
        heights.append(boxes[:, 3])
        shapes.append(boxes[:, 3] / (boxes[:, 2] * aspect))
        speeds.append(np.convolve(np.pad(moved, 1), np.ones(3) / 3, "valid") if len(moved) else moved)
    ground = [place.metres(f) for f in feet] if place else []
    return _Looks(times, tracks, own, feet, heights, speeds, shapes, aspect, ground, [paces(g, STEP) for g in ground])


def minutes_of(times: npt.NDArray[np.float64], began: float, zone: tzinfo) -> npt.NDArray[np.float64]:
    """Minutes of the day at times (s) of a clip that began at `began` (s since 1970)."""
    start = datetime.fromtimestamp(began, zone)
    return (start.hour * 60 + start.minute + start.second / 60 + times / 60) % (24 * 60)


def held(
    rules: Rules,
    tracks: Sequence[Track],
    duration: float,
    *,
    aspect: float,
    clock: tuple[float, tzinfo] | None = None,
    paused: Sequence[tuple[float, float]] = (),
) -> list[Held]:
    """Spans in which each rule holds, in order of time. clock: when the clip began and its zone; without it rules with a time of day hold never. paused: spans (s) in which the
    camera looked elsewhere, so that no rule holds."""
    seen = looks(tracks, duration, aspect, rules.place)
    away = (
        np.any([(seen.times >= a) & (seen.times < b) for a, b in paused], axis=0)
        if paused
        else np.zeros(len(seen.times), bool)
    )
    found: list[Held] = []
    for rule in rules.rules:
        if rule.between and clock is None:
            continue
        allowed = ~away
        if rule.between and clock is not None:
            now, (since, until) = minutes_of(seen.times, *clock), rule.between
            allowed = allowed & ((now >= since) & (now < until) if since < until else (now >= since) | (now < until))
        found += _crossings(rule, rules, seen, allowed) if rule.line else _spans(rule, rules, seen, allowed)
    return sorted(found, key=lambda h: (h.start, h.rule))


def _fits(rule: Rule, rules: Rules, seen: _Looks) -> dict[int, npt.NDArray[np.bool_]]:
    """At which of its own looks each track of the kind is in the zone and of the speed."""
    found, within = {}, seen.within(rules.zones[rule.zone]) if rule.zone else []
    for i in seen.of(rule.kind):
        there = np.ones(len(seen.heights[i]), bool)
        if rule.zone:
            there = there & within[i]
        if rule.speed is not None:
            speed = seen.paces[i] if "speed" in rule.metric else seen.speeds[i]
            with np.errstate(invalid="ignore"):  # where the ground is not known
                there = there & (speed > rule.speed if rule.over else speed < rule.speed)
        if rule.state == "down":
            there = there & (seen.shapes[i] < LYING)
        if rule.state == "left":
            there = there & _left(seen, i)
        found[i] = there
    return found


def _left(seen: _Looks, place: int) -> npt.NDArray[np.bool_]:
    """At which of its own looks a thing is still, and nobody is within ALONE of their own heights: bool [N]."""
    if ("left", place) in seen.once:
        known: npt.NDArray[np.bool_] = seen.once["left", place]
        return known
    found: npt.NDArray[np.bool_] = seen.speeds[place] < STILL
    own, people = seen.own[place], KINDS["people"]
    assert people is not None
    for i in seen.during(own.start, own.stop) if found.any() else ():
        if seen.tracks[i].label not in people:
            continue
        a, b = seen.both(i, place)
        apart = np.hypot(*((seen.feet[i][a] - seen.feet[place][b]) * [seen.aspect, 1.0]).T)
        found[b] &= ~(apart < ALONE * seen.heights[i][a])
    seen.once["left", place] = found
    return found


def _near(rule: Rule, seen: _Looks, fits: Mapping[int, npt.NDArray[np.bool_]]) -> dict[int, npt.NDArray[np.bool_]]:
    """At which looks each of those that fit is near to another."""
    near = {i: np.zeros(len(there), bool) for i, there in fits.items()}
    order = sorted(fits, key=lambda i: seen.own[i].start)
    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            if seen.own[j].start >= seen.own[i].stop:  # and so does every later one
                break
            a, b = seen.both(i, j)
            if not (fits[i][a].any() and fits[j][b].any()):
                continue
            if "near" in rule.metric:
                with np.errstate(invalid="ignore"):
                    close = np.hypot(*(seen.ground[i][a] - seen.ground[j][b]).T) < rule.near
            else:
                apart = np.hypot(*((seen.feet[i][a] - seen.feet[j][b]) * [seen.aspect, 1.0]).T)
                close = apart < rule.near * (seen.heights[i][a] + seen.heights[j][b]) / 2
            close = close & fits[i][a] & fits[j][b]
            near[i][a] |= close
            near[j][b] |= close
    return near


def _spans(rule: Rule, rules: Rules, seen: _Looks, allowed: npt.NDArray[np.bool_]) -> list[Held]:
    fits = _fits(rule, rules, seen)
    if rule.near:
        fits = _near(rule, seen, fits)
    holds = (seen.count(fits) >= rule.count) & allowed
    found = []
    for first, last in _runs(holds, round(BREAK / STEP)):
        start, end = float(seen.times[first]), float(seen.times[last]) + STEP
        if end - start >= rule.seconds - 1e-9:
            some = (int(i) for i in seen.during(first, last + 1) if i in fits)
            at = {i: slice(max(first - seen.own[i].start, 0), max(last + 1 - seen.own[i].start, 0)) for i in some}
            who = tuple(seen.tracks[i].id for i in at if fits[i][at[i]].any())
            found.append(Held(rule.name, start, end, who))
    return found


def _runs(holds: npt.NDArray[np.bool_], most: int) -> list[tuple[int, int]]:
    """First and last place of each run of True, those at most `most` places apart as one."""
    places = np.flatnonzero(holds)
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > most)
    return list(
        zip(places[np.append(0, breaks + 1)].tolist(), places[np.append(breaks, len(places) - 1)].tolist(), strict=True)
    )


def crossings(line: Points, seen: _Looks, place: int) -> list[tuple[int, bool]]:
    """(look of the track's own, whether inwards: to the right of the line) of each time that a track crosses a line.

    It has crossed once its feet are SLACK of its width beyond the line, else one who stops on it would cross with every trembling of the box.
    """
    key = ("line", line.tobytes(), place)
    if key in seen.once:
        known: list[tuple[int, bool]] = seen.once[key]
        return known
    feet, (one, other) = seen.feet[place].T, line[:, :, None]
    scale = np.array([[seen.aspect], [1.0]])
    length = float(np.hypot(*((other - one) * scale)[:, 0]))
    beyond = _turn(one * scale, other * scale, feet * scale) / length
    clear = np.flatnonzero(np.abs(beyond) > SLACK * seen.heights[place] / seen.shapes[place])
    meets = _meet(one, other, feet[:, clear[:-1]], feet[:, clear[1:]])
    found = [(int(k), bool(beyond[k] > 0)) for k in clear[1:][meets]]
    seen.once[key] = found
    return found


def _crossings(rule: Rule, rules: Rules, seen: _Looks, allowed: npt.NDArray[np.bool_]) -> list[Held]:
    fits, found = _fits(rule, rules, seen), []
    for i, there in fits.items():
        for at, inwards in crossings(rules.lines[rule.line], seen, i):
            look = seen.own[i].start + at
            if allowed[look] and there[at] and rule.way in ("", "inwards" if inwards else "outwards"):
                time = float(seen.times[look])
                found.append(Held(rule.name, max(time - STEP, 0.0), time + STEP, (seen.tracks[i].id,)))
    if rule.count == 1:
        return found
    found.sort(key=lambda h: h.start)
    groups = []
    for first in range(len(found) - rule.count + 1):
        some = found[first : first + rule.count]
        if some[-1].start - some[0].start <= rule.within and len({h.tracks for h in some}) == rule.count:
            groups.append(Held(rule.name, some[0].start, some[-1].end, tuple(h.tracks[0] for h in some)))
    return groups


def facts_of_rules(rules: Rules, tracks: Sequence[Track], span: tuple[float, float], *, aspect: float) -> list[Fact]:
    """What a span (s) has to do with zones, lines and metres: the most at once in each zone, who crossed each line, the fastest in metres a second."""
    inside_span = [t for t in tracks if t.times[0] <= span[1] and t.times[-1] >= span[0]]
    seen, found = looks(inside_span, span[1], aspect, rules.place), []
    during = (seen.times >= span[0]) & (seen.times <= span[1])
    for kind, one, many in (("people", "person", "people"), ("vehicles", "vehicle", "vehicles")):
        own = seen.of(kind)
        sure = float(np.mean([seen.tracks[i].score for i in own])) if own else 0.0
        for name, zone in rules.zones.items():
            number = seen.count({i: seen.within(zone)[i] for i in own})[during]
            if number.any():
                most, when = int(number.max()), float(seen.times[during][number.argmax()])
                found.append(
                    Fact(f"{kind} in zone", f'{most} {one if most == 1 else many} in "{name}"', float(most), sure, when)
                )
        for name, line in rules.lines.items():
            crossed = [(at + seen.own[i].start, inwards) for i in own for at, inwards in crossings(line, seen, i)]
            for inwards, way in ((True, "inwards"), (False, "outwards")):
                times = [float(seen.times[at]) for at, to in crossed if to == inwards and during[at]]
                if times:
                    words = f'{len(times)} {one if len(times) == 1 else many} crossed "{name}" {way}'
                    found.append(Fact("line", words, float(len(times)), sure, min(times)))
        paces_of = {i: seen.paces[i][during[seen.own[i]]] for i in own} if rules.place else {}
        fastest = max((float(np.nanmax(p)) for p in paces_of.values() if np.isfinite(p).any()), default=0.0)
        if fastest:
            found.append(Fact("metres", f"a {one} at up to {fastest:.1f} m/s", fastest, sure))
    return found


def counts(
    rules: Rules, tracks: Sequence[Track], duration: float, *, aspect: float, seen: _Looks | None = None
) -> list[dict[str, Any]]:  # fmt: skip
    """Of each zone the people and vehicles that entered and left, the most at once, and the mean dwell (s); of each line who crossed it, both ways."""
    seen, rows = seen or looks(tracks, duration, aspect), []
    for kind in ("people", "vehicles"):
        for name, zone in rules.zones.items():
            there = {i: seen.within(zone)[i] for i in seen.of(kind)}
            runs = {i: _runs(t, round(BREAK / STEP)) for i, t in there.items()}
            visits = [(i, first, last) for i, own in runs.items() for first, last in own]
            rows.append(
                {
                    "zone": name,
                    "kind": kind,
                    "entered": sum(first > 0 for _, first, _ in visits),
                    "left": sum(last < len(there[i]) - 1 for i, _, last in visits),
                    "most": int(seen.count(there).max()),
                    "dwell": round(float(np.mean([(last - first + 1) * STEP for _, first, last in visits])), 2)
                    if visits
                    else 0.0,
                }
            )
        for name, line in rules.lines.items():
            ways = [inwards for i in seen.of(kind) for _, inwards in crossings(line, seen, i)]
            rows.append({"line": name, "kind": kind, "inwards": sum(ways), "outwards": len(ways) - sum(ways)})
    return rows


def occupied(
    rules: Rules, tracks: Sequence[Track], duration: float, *, aspect: float, seen: _Looks | None = None
) -> tuple[npt.NDArray[np.float64], dict[tuple[str, str], npt.NDArray[np.int64]]]:
    """How many people, and vehicles, each zone holds: times [T] (s), STEP apart, and by (zone, kind) counts [T]."""
    seen = seen or looks(tracks, duration, aspect)
    found: dict[tuple[str, str], npt.NDArray[np.int64]] = {}
    for kind in ("people", "vehicles"):
        for name, zone in rules.zones.items():
            found[name, kind] = seen.count({i: seen.within(zone)[i] for i in seen.of(kind)})
    return seen.times, found


def applied(rules: Rules, found: Sequence[Held], track: ScoreTrack) -> ScoreTrack:
    """A timeline whose scores are raised and lowered while rules hold; what raises counts last."""
    effects, scores = {r.name: r for r in rules.rules}, np.array(track.scores)
    for h in sorted(found, key=lambda h: effects[h.rule].raises is not None):
        rule, there = effects[h.rule], (track.edges[:-1] < h.end) & (track.edges[1:] > h.start)
        if rule.raises is not None:
            scores[there] = np.maximum(scores[there], rule.raises)
        if rule.lowers is not None:
            scores[there] = np.minimum(scores[there], rule.lowers)
    return replace(track, scores=scores)


def beside(found: Sequence[Held], segments: Sequence[Segment]) -> dict[str, int]:
    """How many of each rule's spans no segment touches: what the rule adds to the scorer."""
    added: dict[str, int] = {}
    for h in found:
        added.setdefault(h.rule, 0)
        added[h.rule] += not any(s.start < h.end and h.start < s.end for s in segments)
    return added
