"""People and things over time: who holds or carries what, puts it down or takes it, enters or leaves a vehicle, rides or pushes it.

In: tracks of a clip. Out: `Relation`s with when and how sure, and the same as `Fact`s. Nothing is learnt: rules on boxes, in body heights of the person, at looks STEP apart. Only things that
the detector knows and sees can be told of; what is small, hidden by a body or of no class of its (a basket, papers, a pram) has no box. Knows no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlad.facts import BAGS, PEOPLE, STEP, Span, look
from vlad.tracks import VEHICLES
from vlad.types import Fact, Track

KINDS = ("holds", "carries", "puts down", "takes", "enters a vehicle", "leaves a vehicle", "rides", "pushes")
THINGS = BAGS | {"umbrella", "knife", "bottle", "laptop", "book", "cell phone", "baseball bat"}
RIDDEN = frozenset({"bicycle", "motorcycle"})
ENTERED = VEHICLES - RIDDEN
LONG = 1.0  # seconds that a relation lasts at least
BREAK = 1.0  # seconds for which it may not be seen
ON = 0.5  # share of a thing's box that lies in the person's, widened by REACH
REACH = 0.15  # body heights
WITH = 0.2  # body heights by which a thing may shift beside the person who carries it
GONE = 0.5  # body heights that somebody moves who carries rather than holds
AWAY = 0.6  # body heights between a person's box and a thing that is left
RESTS = 0.25  # body heights a second below which a thing rests
WALK = 1.6  # body heights a second, over which nobody walks
EDGE = 0.02  # share of the picture at whose sides people come and go
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Relation:
    """kind: one of KINDS; person and thing: ids of tracks; label: the thing's; start, end in seconds; sure in [0, 1]."""

    kind: str
    person: int
    thing: int
    label: str
    start: float
    end: float
    sure: float

    def fact(self) -> Fact:
        """In words; its value is how long (s)."""
        words = f"a person {self.kind}" + ("" if "vehicle" in self.kind else f" a {self.label}")
        return Fact(self.kind, words, self.end - self.start, self.sure, self.start)


def relations(tracks: Sequence[Track], span: Span, *, aspect: float) -> list[Relation]:
    """All that hold in a span (s), in order of time. aspect: width over height of the picture."""
    seen, found = look(tracks, span, aspect), []
    people = seen.of(PEOPLE)
    for thing, own in seen.of(THINGS | VEHICLES):
        for person, body in people:
            both = np.isfinite(own[:, 0]) & np.isfinite(body[:, 0])
            if not both.any():
                continue
            pair = _Pair(seen.times, person, body, thing, own, both, float(np.nanmedian(body[:, 3])), aspect)
            if thing.label in RIDDEN:
                found += [*pair.ridden(), *pair.pushed()]
            if thing.label in THINGS:
                found += pair.carried()
            if thing.label in ENTERED:
                found += pair.entered()
    return sorted(found, key=lambda r: (r.start, r.kind))


def facts_of_relations(tracks: Sequence[Track], span: Span, *, aspect: float) -> tuple[Fact, ...]:
    """The same as facts, of each kind and thing the surest."""
    best: dict[tuple[str, str], Fact] = {}
    for relation in relations(tracks, span, aspect=aspect):
        fact = relation.fact()
        if fact.sure > best.get((relation.kind, relation.label), Fact("", "", 0.0, 0.0)).sure:
            best[relation.kind, relation.label] = fact
    return tuple(best.values())


@dataclass(frozen=True)
class _Pair:
    """A person and a thing at times [T]: boxes [T, 4] in heights of the picture, nan while away; both: where both are there; size: the person's height."""

    times: Floats
    person: Track
    body: Floats
    thing: Track
    own: Floats
    both: Flags
    size: float
    aspect: float

    def _told(self, kind: str, first: int, last: int, sure: float) -> Relation:
        score = float(np.sqrt(self.person.score * self.thing.score))
        return Relation(kind, self.person.id, self.thing.id, self.thing.label, float(self.times[first]), float(self.times[last]) + STEP, min(1.0, sure * score * 1.2))  # fmt: skip

    def _middles(self, boxes: Floats) -> Floats:
        return np.asarray(boxes[:, :2] + boxes[:, 2:] / 2)

    def _inside(self, wide: float) -> Floats:
        """Share [T] of the thing's box in the person's, widened by body heights; 0 where one is away."""
        low = np.maximum(self.own[:, :2], self.body[:, :2] - wide)
        high = np.minimum(self.own[:, :2] + self.own[:, 2:], self.body[:, :2] + self.body[:, 2:] + wide)
        shared = np.prod(np.clip(high - low, 0, None), axis=1) / np.prod(self.own[:, 2:], axis=1)
        return np.asarray(np.nan_to_num(shared))

    def _gap(self) -> Floats:
        """Body heights [T] between the two boxes; nan where one is away."""
        apart = np.maximum(self.own[:, :2] - self.body[:, :2] - self.body[:, 2:], self.body[:, :2] - self.own[:, :2] - self.own[:, 2:])  # fmt: skip
        return np.asarray(np.hypot(*np.clip(apart, 0, None).T) / self.size)

    def _speed(self, boxes: Floats) -> Floats:
        """Body heights a second [T], over a second about each."""
        middles, half = self._middles(boxes), round(0.5 / STEP)
        ahead, behind = np.roll(middles, -half, 0), np.roll(middles, half, 0)
        ahead[-half:], behind[:half] = middles[-half:], middles[:half]
        found = np.hypot(*(ahead - behind).T) / (2 * half * STEP) / self.size
        return np.asarray(np.where(np.isfinite(found), found, np.nan))

    def _together(self, first: int, last: int) -> float:
        """Body heights by which the thing shifts beside the person."""
        beside = (self._middles(self.own) - self._middles(self.body))[first : last + 1]
        return float(np.nanmax(np.nanstd(beside, axis=0))) / self.size

    def _moved(self, boxes: Floats, first: int, last: int) -> float:
        """Body heights between the farthest places of one of both."""
        places = self._middles(boxes)[first : last + 1]
        return float(np.hypot(*(np.nanmax(places, 0) - np.nanmin(places, 0)))) / self.size

    def _follows(self, first: int, last: int) -> bool:
        """Whether the thing goes where the person goes: one who passes moves alone."""
        gone = self._moved(self.body, first, last)
        return gone < GONE / 2 or self._moved(self.own, first, last) >= 0.6 * gone

    def carried(self) -> list[Relation]:
        """Holds, carries, puts down, takes."""
        on, gap, found = self._inside(REACH * self.size) >= ON, self._gap(), []
        for first, last in _runs(on):
            if (last - first + 1) * STEP >= LONG and self._together(first, last) <= WITH and self._follows(first, last):
                moves = self._moved(self.body, first, last) >= GONE
                found.append(self._told("carries" if moves else "holds", first, last, 0.9 if moves else 0.5))
        rests, need = self._speed(self.own) < RESTS, round(LONG * 1.5 / STEP)
        alone = np.isfinite(self.own[:, 0]) & ~(gap < AWAY) & rests
        near = np.flatnonzero(on)
        if len(near):
            after = np.flatnonzero(alone & (np.arange(len(alone)) > near[-1]))
            before = np.flatnonzero(alone & (np.arange(len(alone)) < near[0]))
            came_with = np.isfinite(self.own[:, 0]).argmax() >= near[0] - 1  # it was not there before the person
            went_with = len(alone) - 1 - np.isfinite(self.own[::-1, 0]).argmax() <= near[-1] + 1
            if len(after) >= need and came_with:
                found.append(self._told("puts down", int(near[-1]), int(after[0]), 0.8))
            goes_on = (
                self._moved(self.own, int(near[0]), int(near[-1])) >= GONE
                or np.isfinite(self.body[near[-1] :, 0]).sum() * STEP > 2 * BREAK
            )
            if len(before) >= need and went_with and goes_on:
                found.append(self._told("takes", int(before[-1]), int(near[0]), 0.7))
        return found

    def entered(self) -> list[Relation]:
        """Enters, leaves: a person who ends or begins at a vehicle that stands, away from the picture's sides."""
        there = np.flatnonzero(np.isfinite(self.body[:, 0]))
        found = []
        for kind, at, beyond in (("enters a vehicle", there[-1], 1), ("leaves a vehicle", there[0], -1)):
            last = at + beyond * round(LONG / STEP)
            if not 0 <= last < len(self.times) or not np.isfinite(self.own[[at, last], 0]).all():
                continue
            x, y, w, h = self.body[at]
            inside = x > EDGE and x + w < self.aspect - EDGE and y > EDGE and y + h < 1 - EDGE
            low = np.maximum(self.own[at, :2], [x, y])
            high = np.minimum(self.own[at, :2] + self.own[at, 2:], [x + w, y + h])
            shared = float(np.prod(np.clip(high - low, 0, None)) / (w * h))
            stands = np.nan_to_num(self._speed(self.own)[at], nan=9.0) < RESTS * 2
            walked = self._moved(self.body, int(there[0]), int(there[-1])) >= 0.3 or len(there) * STEP >= 1.5
            large = float(self.own[at, 2]) >= 0.6 * self.size
            if inside and shared >= 0.4 and stands and walked and large:
                found.append(self._told(kind, int(min(at, last)), int(max(at, last)), 0.5))
        return found

    def _astride(self) -> Flags:
        """Where somebody's middle is over the vehicle and their feet are above its lowest part, at most a height apart."""
        feet, wheels = self.body[:, 1] + self.body[:, 3], self.own[:, 1] + self.own[:, 3]
        middle = self.body[:, 0] + self.body[:, 2] / 2
        over = (middle > self.own[:, 0] - 0.1 * self.size) & (
            middle < self.own[:, 0] + self.own[:, 2] + 0.1 * self.size
        )
        return np.asarray(self.both & over & (feet > self.own[:, 1]) & (feet < wheels + 0.15 * self.size) & (self.body[:, 1] < self.own[:, 1] + 0.3 * self.own[:, 3]))  # fmt: skip

    def ridden(self) -> list[Relation]:
        """Rides."""
        found = []
        for first, last in _runs(self._astride()):
            if (last - first + 1) * STEP >= LONG and self._follows(first, last) and not self._beside(first, last):
                moves = self._moved(self.body, first, last) >= GONE
                found.append(self._told("rides", first, last, 0.9 if moves else 0.6))
        return found

    def _beside(self, first: int, last: int) -> bool:
        """Whether their feet are as low as the wheels and they stand next to it."""
        part = slice(first, last + 1)
        feet, wheels = (b[part, 1] + b[part, 3] for b in (self.body, self.own))
        off = np.abs(self._middles(self.body)[part, 0] - self._middles(self.own)[part, 0])
        return bool(np.nanmedian(np.abs(feet - wheels)) < 0.08 * self.size and np.nanmedian(off) > 0.3 * np.nanmedian(self.own[part, 2]))  # fmt: skip

    def pushed(self) -> list[Relation]:
        """Pushes: walks beside it, feet on the same ground, at its pace."""
        close, found = self.both & (self._gap() < 0.2), []
        for first, last in _runs(close):
            speeds = self._speed(self.own)[first : last + 1]
            pace = float(np.nanmedian(speeds)) if np.isfinite(speeds).any() else 0.0
            if (
                (last - first + 1) * STEP >= 1.5 * LONG and RESTS < pace < WALK
                and self._together(first, last) <= WITH and self._beside(first, last)
            ):  # fmt: skip
                found.append(self._told("pushes", first, last, 0.5))
        return found


def _runs(there: Flags) -> list[tuple[int, int]]:
    """First and last place of each run of True, those at most BREAK apart as one."""
    places = np.flatnonzero(there)
    if not len(places):
        return []
    cuts = np.flatnonzero(np.diff(places) > round(BREAK / STEP))
    return [(int(a), int(b)) for a, b in zip(places[np.append(0, cuts + 1)], places[np.append(cuts, len(places) - 1)], strict=True)]  # fmt: skip
