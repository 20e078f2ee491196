"""Boxes to tracks: who or what in one picture is whom in the next.

In: sightings in order of time, at any and at changing rates. Out: `Track`s with a path through the picture. Two rounds as in ByteTrack
(Zhang et al. 2022): sure boxes first, then doubtful ones for what is still sought; the best pairs by the Hungarian method. A track is
foretold at its own speed in seconds, since looks are half a second apart and less inside what scores high: published trackers count
frames. Knows no pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from vlad.types import Box, Segment, Sighting, Track

SURE = 0.4  # score from which a box may begin a track
PATIENCE = 2.5  # seconds for which what is not seen is sought on
NEAR = 1.2  # distance of the middles, in sizes of the box, over which two boxes are two things
ALIKE = 0.5  # at most half or twice the size
LEAST = 2  # sightings of a track; one alone may be a mistake
THERE = 0.5  # share of a segment that somebody is in, to be of it
VEHICLES = frozenset({"bicycle", "car", "motorcycle", "bus", "train", "truck"})
Floats = npt.NDArray[np.float64]


@dataclass
class _Path:
    """A track that grows. speed: of the middle, shares of the picture a second."""

    label: str
    times: list[float] = field(default_factory=list)
    boxes: list[Floats] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    votes: dict[str, float] = field(default_factory=dict)
    speed: Floats = field(default_factory=lambda: np.zeros(2))

    def add(self, time: float, box: Box) -> None:
        """Another sighting."""
        new = np.array(box.box)
        if self.times:
            gone = max(time - self.times[-1], 1e-3)
            moved = (middle(new) - middle(self.boxes[-1])) / gone
            self.speed = moved if len(self.times) == 1 else 0.5 * self.speed + 0.5 * moved
        self.times.append(time)
        self.boxes.append(new)
        self.scores.append(box.score)
        self.votes[box.label] = self.votes.get(box.label, 0.0) + box.score

    def foretold(self, time: float) -> Floats:
        """Where it should be: its last box moved on at its speed, less surely the longer it was not seen."""
        gone = time - self.times[-1]
        box = self.boxes[-1].copy()
        box[:2] += self.speed * gone * np.exp(-gone / PATIENCE)
        return box


def middle(box: Floats) -> Floats:
    """Middle of x, y, width, height."""
    return np.asarray(box[:2] + box[2:] / 2)


def kind(label: str) -> str:
    """Boxes of one kind may be one thing: a van is now called car, now truck."""
    return "vehicle" if label in VEHICLES - {"bicycle"} else label


def overlaps(a: Floats, b: Floats) -> Floats:
    """IoU of boxes [N, 4] and [M, 4]: float [N, M]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    return np.asarray(shared / (np.prod(a[:, 2:], -1)[:, None] + np.prod(b[:, 2:], -1)[None] - shared))


def costs(paths: Sequence[_Path], boxes: Sequence[Box], time: float) -> Floats:
    """How unlike what was foretold each box is, [N, M]; infinite where it can't be the same thing."""
    a = np.stack([p.foretold(time) for p in paths])
    b = np.array([x.box for x in boxes])
    apart = np.abs((a[:, None, :2] + a[:, None, 2:] / 2) - (b[None, :, :2] + b[None, :, 2:] / 2))
    size = np.sqrt(a[:, None, 2:] * b[None, :, 2:])
    far = np.hypot(*np.moveaxis(apart / size, -1, 0))
    area = np.prod(a[:, 2:], -1)[:, None] / np.prod(b[:, 2:], -1)[None]
    gone = np.array([time - p.times[-1] for p in paths])[:, None]
    reach = NEAR * (1 + np.minimum(gone, 1.0))
    same = np.array([[kind(p.label) == kind(x.label) for x in boxes] for p in paths])
    allowed = same & (far < reach) & (np.abs(np.log(area)) < -np.log(ALIKE) * 2)
    cost = 1 - overlaps(a, b) + 0.5 * far + 0.2 * np.abs(np.log(area))
    return np.where(allowed, cost, np.inf)


def pairs(paths: Sequence[_Path], boxes: Sequence[Box], time: float) -> list[tuple[int, int]]:
    """(path, box) of the cheapest pairing."""
    if not paths or not boxes:
        return []
    cost = costs(paths, boxes, time)
    rows, columns = linear_sum_assignment(np.where(np.isfinite(cost), cost, 1e6))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if np.isfinite(cost[i, j])]


def follow(sightings: Iterable[Sighting]) -> tuple[Track, ...]:
    """Tracks of sightings in order of time, those seen at least LEAST times, in order of their first time."""
    sought: list[_Path] = []
    ended: list[_Path] = []
    for sighting in sightings:
        ended += [p for p in sought if sighting.time - p.times[-1] > PATIENCE]
        sought = [p for p in sought if sighting.time - p.times[-1] <= PATIENCE]
        sure = [b for b in sighting.boxes if b.score >= SURE]
        doubtful = [b for b in sighting.boxes if b.score < SURE]
        left = list(sought)
        for some in (sure, doubtful):
            found = pairs(left, some, sighting.time)
            for i, j in found:
                left[i].add(sighting.time, some[j])
            left = [p for i, p in enumerate(left) if i not in {a for a, _ in found}]
            if some is sure:
                new = [b for j, b in enumerate(some) if j not in {c for _, c in found}]
        for box in new:
            path = _Path(box.label)
            path.add(sighting.time, box)
            sought.append(path)
    kept = sorted((p for p in ended + sought if len(p.times) >= LEAST), key=lambda p: p.times[0])
    return tuple(_track(number, path) for number, path in enumerate(kept, 1))


def _track(number: int, path: _Path) -> Track:
    label = max(path.votes, key=lambda name: path.votes[name])
    return Track(
        number, label, np.array(path.times), np.stack(path.boxes).astype(np.float32), float(np.mean(path.scores))
    )


def counts(tracks: Sequence[Track], times: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """People and vehicles in the picture at each time (s): int64 [N] each."""
    wanted = np.asarray(times, np.float64)
    found = np.zeros((2, len(wanted)), np.int64)
    for track in tracks:
        row = 0 if track.label == "person" else 1 if track.label in VEHICLES else None
        if row is not None:
            found[row] += (wanted >= track.times[0]) & (wanted <= track.times[-1])
    return found[0], found[1]


@dataclass(frozen=True)
class Tube:
    """Who or what was there in a segment, and from when to when: the place of the segment, the track's id, the segment's class, seconds, and a score in [0, 1],
    the segment's peak by the share of it that the track is there."""

    segment: int
    track: int
    label: str
    start: float
    end: float
    score: float


def tubes(segments: Sequence[Segment], tracks: Sequence[Track]) -> list[Tube]:
    """Of each segment the tracks that are there for half of it or more, in order of their scores. Who of them did it, nobody knows."""
    found = []
    for number, segment in enumerate(segments):
        own = []
        for track in tracks:
            start, end = max(segment.start, float(track.times[0])), min(segment.end, float(track.times[-1]))
            share = (end - start) / (segment.end - segment.start)
            if share >= THERE:
                own.append(Tube(number, track.id, segment.label, start, end, segment.peak * share))
        found += sorted(own, key=lambda tube: -tube.score)
    return found
