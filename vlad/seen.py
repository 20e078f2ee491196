"""Sightings to numbers a scorer can use: how many, how near, how fast, who lies that stood, what vehicles do.

In: sightings of a clip and the edges of its snippets. Out: float32 [T, SEEN_DIM], each about in [0, 1], on fixed scales, all 0 where nothing
was seen. Knows no pictures and no model. Speeds and distances are in body heights (or a vehicle's lengths), as in `vlad.facts`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vlad.tracks import VEHICLES, follow
from vlad.types import Sighting, Track

VERSION = 2  # part of the encoder's fingerprint
NAMES = (
    "people", "vehicles", "nearest", "crowding", "speed", "fastest", "change of speed", "lying", "felled", "lying for", "dropped",
    "vehicle speed", "vehicle stop", "vehicles meet", "vehicle near person", "number changes", "large", "low",
)  # fmt: skip
SEEN_DIM = len(NAMES)
GRID = 0.25  # seconds
BACK = 3.0  # seconds before now in which somebody may have stood
BLOCK = 480  # moments that are looked at together
WINDOW = 0.75  # seconds before and after a snippet that count for it
Floats = npt.NDArray[np.float64]


def described(
    sightings: Sequence[Sighting], edges: npt.NDArray[np.float64], *, aspect: float
) -> npt.NDArray[np.float32]:
    """What was seen in each snippet between `edges` [T + 1] (s): float32 [T, SEEN_DIM]. aspect: width over height of the picture."""
    count = len(edges) - 1
    tracks = follow(sightings)
    if not tracks:
        return np.zeros((count, SEEN_DIM), np.float32)
    times = np.arange(0, float(edges[-1]) + GRID, GRID)
    moments = np.concatenate([_block(tracks, times, first, aspect) for first in range(0, len(times), BLOCK)])
    found = np.zeros((count, SEEN_DIM), np.float32)
    for i in range(count):
        low, high = np.searchsorted(times, [edges[i] - WINDOW, edges[i + 1] + WINDOW])
        some = moments[low : max(high, low + 1)]
        if len(some):
            found[i] = np.where(PEAKS, some.max(axis=0), some.mean(axis=0))
    return found


def _block(tracks: Sequence[Track], times: Floats, first: int, aspect: float) -> Floats:
    """The numbers of BLOCK times from `first` on, from the tracks that are near them: a day of video fits in memory."""
    margin = round((BACK + 1) / GRID)
    low, high = max(0, first - margin), min(len(times), first + BLOCK + margin)
    near = [t for t in tracks if t.times[0] <= times[high - 1] and t.times[-1] >= times[low]]
    whole = _moments(near, times[low:high], aspect) if near else np.zeros((high - low, SEEN_DIM))
    return whole[first - low : first - low + BLOCK]


PEAKS = np.array(
    [
        n in ("fastest", "change of speed", "felled", "dropped", "vehicle stop", "vehicles meet", "vehicle near person")
        for n in NAMES
    ]
)


def _moments(tracks: Sequence[Track], times: Floats, aspect: float) -> Floats:
    """The numbers of NAMES at each time [N]: float64 [N, SEEN_DIM]."""
    people = [_Path(t, times, aspect) for t in tracks if t.label == "person"]
    vehicles = [_Path(t, times, aspect) for t in tracks if t.label in VEHICLES and t.label != "bicycle"]
    out = np.zeros((len(times), SEEN_DIM))

    def put(name: str, values: Floats) -> None:
        out[:, NAMES.index(name)] = np.nan_to_num(values)

    there = np.array([p.there for p in people]).reshape(-1, len(times))
    number = there.sum(0)
    put("people", np.log1p(number) / 3)
    put("number changes", np.minimum(np.abs(np.convolve(number, [1, 0, 0, 0, -1], "same")[: len(times)]), 4) / 4)
    driving = np.array([v.there for v in vehicles]).reshape(-1, len(times)).sum(0)
    put("vehicles", np.log1p(driving) / 3)
    if people:
        near = _nearness(people, people)
        put("nearest", near.max(0))
        put("crowding", near.sum(0) / np.maximum(number, 1))
        speed = np.array([np.where(p.there, np.minimum(p.speed, 4), 0) for p in people])
        put("speed", speed.sum(0) / np.maximum(number, 1) / 4)
        put("fastest", speed.max(0) / 4)
        put("change of speed", np.abs(np.diff(speed, axis=1, prepend=speed[:, :1])).max(0) / 2)
        for name in ("lying", "felled", "dropped"):
            put(name, np.max([getattr(p, name) for p in people], axis=0))
        put("lying for", np.max([_since(p.lying > 0.5) for p in people], axis=0) / 5)
        put("large", np.max([p.height for p in people], axis=0))
        put("low", np.max([np.where(p.there, p.bottom, 0) for p in people], axis=0))
    if vehicles:
        speed = np.array([np.where(v.there, np.minimum(v.speed, 3), 0) for v in vehicles])
        put("vehicle speed", speed.max(0) / 3)
        later = np.pad(speed, ((0, 0), (0, 4)), mode="edge")[:, 4:]
        put("vehicle stop", np.where(np.array([v.there for v in vehicles]), np.clip(speed - later, 0, 2) / 2, 0).max(0))
        put("vehicles meet", _nearness(vehicles, vehicles).max(0))
        if people:
            moving = np.array([np.where(v.there, np.minimum(v.speed, 2) / 2, 0) for v in vehicles])
            close = np.array([_nearness([v], people).max(0) for v in vehicles])
            put("vehicle near person", (close * moving).max(0))
    return out


class _Path:
    """A track at steady times. there: bool [N]; x, y: its middle, height, width in heights of the picture; nothing while it is away."""

    def __init__(self, track: Track, times: Floats, aspect: float) -> None:
        box = track.at(times).astype(np.float64)
        self.there = (times >= track.times[0] - GRID) & (times <= track.times[-1] + GRID)
        self.x, self.y = (box[:, 0] + box[:, 2] / 2) * aspect, box[:, 1] + box[:, 3] / 2
        self.width, self.height = box[:, 2] * aspect, np.where(self.there, box[:, 3], 0)
        self.size = np.maximum(box[:, 3], 1e-3) if track.label == "person" else np.maximum(self.width, box[:, 3])
        self.bottom = box[:, 1] + box[:, 3]
        still = float(np.median(self.size[self.there])) if self.there.any() else 1.0
        self.speed = (
            np.hypot(np.gradient(self.x), np.gradient(self.y)) / GRID / max(still, 1e-3)
            if len(times) > 1
            else 0.0 * times
        )
        shape = box[:, 3] / np.maximum(self.width, 1e-3)  # above 1: upright
        steps = round(BACK / GRID)
        padded = np.pad(np.where(self.there, shape, 0), (steps, 0))
        stood = np.lib.stride_tricks.sliding_window_view(padded, steps + 1).max(1)
        whole = self.there & ((self.bottom < 0.97) | (shape < 1))
        self.lying = np.where(whole, np.clip(1.5 - shape, 0, 1), 0)
        self.felled = self.lying * np.clip(stood - 1.3, 0, 1)
        top = box[:, 1]
        fallen = np.pad(top, (4, 0), mode="edge")[:-4] if len(times) > 4 else top
        self.dropped = np.where(whole, np.clip((top - fallen) / max(still, 1e-3), 0, 1), 0)


def _nearness(some: Sequence[_Path], others: Sequence[_Path]) -> Floats:
    """How near each of `some` is to the nearest of `others` that is not itself: exp(-distance in sizes), float [len(some), N]."""
    rows = []
    for a in some:
        apart = [
            np.where(a.there & b.there, np.hypot(a.x - b.x, a.y - b.y) / np.sqrt(a.size * b.size), np.inf)
            for b in others if b is not a
        ]  # fmt: skip
        rows.append(np.exp(-np.min(apart, axis=0)) if apart else np.zeros(len(a.there)))
    return np.array(rows)


def _since(state: npt.NDArray[np.bool_]) -> Floats:
    """Seconds, at most 5, for which a state has lasted at each time: float [N]."""
    found, run = np.zeros(len(state)), 0
    for i, on in enumerate(state):
        run = run + 1 if on else 0
        found[i] = run
    return np.minimum(found * GRID, 5.0)
