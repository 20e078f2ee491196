"""How a place is walked and driven: heat maps, ways and speeds by hour of the day, learnt from tracks alone; and departures from them.

In: tracks of normal clips of one camera, with the clock where a clip's name tells it. Out: `Paths`, plain counts in a folder of movement.json and
movement.safetensors; of another clip a score at each moment and `Departure`s that say who, when and why; pictures on a plain ground. Knows no footage: this is
what leaves an anonymiser.

Counts lie on a grid over the picture. What was seen for a short time leans on what was seen longer: an hour on the whole day, a cell on the whole picture,
that on "anything may happen" (Dirichlet priors, each worth some seconds of looking). A surprise is the negative logarithm of a share, and is told by how it
compares with those of the normal clips themselves, each judged by the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save
from scipy.ndimage import gaussian_filter, gaussian_filter1d, uniform_filter1d

from vlad.errors import InputError
from vlad.rules import STEP, minutes_of
from vlad.tracks import VEHICLES
from vlad.types import ScoreTrack, Track

GRID = 24  # cells a side
WIDE = 1.0  # cells by which what was seen in one counts for its neighbours (a Gaussian's sigma)
KINDS = ("person", "vehicle")
HOURS = 24
UNKNOWN = HOURS  # the place of what no clock tells: it counts for the day alone
WAYS = 8  # directions, from the right by the bottom round; place 0 is standing
STILL = 0.25  # body heights (vehicles: lengths) a second below which somebody stands
SPEEDS = np.geomspace(STILL, 12.0, 25)  # borders of the bins of speed
LEAN = {"place": 120.0, "way": 2.0, "speed": 5.0}  # seconds of looking that a prior is worth
FOLDS = 5
RARE = 0.99  # share of the normal footage's time that stays below what scores .5
LEAST = {"place": 1.0, "way": 1.0, "speed": 1.0}  # of such a level, in nats
HALF = 0.5  # score from which a departure is one
HOURLY = 0.7  # nats over a level up to which what is odd by its hour is not by the day: half as common
LONG = 0.5  # seconds of the shortest
FORMAT = 1
WORDS = {"place": "a path nobody takes", "way": "the wrong way", "speed": "faster than anybody here", "standing": "standing where nobody stands"}  # fmt: skip
THEN = {"place": "a path nobody takes at this hour", "way": "the wrong way for this hour", "speed": "faster than anybody here at this hour",
        "standing": "standing where nobody stands at this hour"}  # fmt: skip
REASONS = ("place", "way", "speed")
FAULTS = (OSError, ValueError, KeyError, TypeError, SafetensorError)  # of files that hold no paths
Floats = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Walked:
    """Tracks of a clip of `duration` seconds. aspect: width over height of its picture. clock: when it began (s since 1970) and its zone, None for unknown."""

    tracks: Sequence[Track]
    duration: float
    aspect: float
    clock: tuple[float, tzinfo] | None = None


@dataclass(frozen=True, eq=False)
class Paths:
    """What was learnt of a camera. ways: seconds, float32 [2 kinds, 25 hours, GRID, GRID, 1 + WAYS]; speeds: likewise [2, 25, GRID, GRID, bins], of those who moved;
    levels: of each reason the surprise that scores .5, in nats; seconds: of footage; clips: how many."""

    ways: npt.NDArray[np.float32]
    speeds: npt.NDArray[np.float32]
    levels: dict[str, float]
    aspect: float
    seconds: float
    clips: int


@dataclass(frozen=True)
class Departure:
    """Somebody who departs from what is usual: the track's id and kind, why in words, seconds, and the highest score in [0, 1]."""

    track: int
    kind: str
    why: str
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class _Steps:
    """A track at looks STEP apart: times [N], cells row and column [N], ways [N] and speeds [N] (nan while not known), hours [N]."""

    kind: int
    times: Floats
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    ways: npt.NDArray[np.int64]
    speeds: Floats
    hours: npt.NDArray[np.int64]


def _steps(track: Track, walked: Walked) -> _Steps | None:
    """None for what is neither a person nor a vehicle."""
    kind = 0 if track.label == "person" else 1 if track.label in VEHICLES else None
    if kind is None:
        return None
    times = np.arange(np.ceil(track.times[0] / STEP), np.floor(track.times[-1] / STEP) + 1) * STEP
    if not len(times):
        times = track.times[:1]
    boxes = track.at(times).astype(np.float64)
    feet = np.stack([boxes[:, 0] + boxes[:, 2] / 2, boxes[:, 1] + boxes[:, 3]], 1)
    size = float(np.median(boxes[:, 3] if kind == 0 else np.maximum(boxes[:, 2] * walked.aspect, boxes[:, 3])))
    half = 2 * STEP  # a second about each look: a box trembles, and looks are up to half a second apart
    low, high = np.clip(times - half, *track.span), np.clip(times + half, *track.span)
    a, b = track.at(low).astype(np.float64), track.at(high).astype(np.float64)
    gone = ((b[:, :2] + b[:, 2:] / 2) - (a[:, :2] + a[:, 2:] / 2)) * [walked.aspect, 1.0]
    speeds = np.hypot(*gone.T) / np.maximum(high - low, STEP) / size
    turn = np.round(np.arctan2(gone[:, 1], gone[:, 0]) / (2 * np.pi / WAYS)).astype(np.int64) % WAYS
    hours = np.full(len(times), UNKNOWN)
    if walked.clock is not None:
        hours = (minutes_of(times, *walked.clock) // 60).astype(np.int64)
    cells = np.clip((feet * GRID).astype(np.int64), 0, GRID - 1)
    return _Steps(kind, times, cells[:, 1], cells[:, 0], np.where(speeds < STILL, 0, 1 + turn), speeds, hours)


def _bin(speeds: Floats) -> npt.NDArray[np.int64]:
    return np.clip(np.searchsorted(SPEEDS, speeds, side="right") - 1, 0, len(SPEEDS) - 2)


def _counted(clips: Sequence[Walked]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Seconds in each cell by way, and by speed."""
    ways = np.zeros((len(KINDS), HOURS + 1, GRID, GRID, 1 + WAYS), np.float32)
    speeds = np.zeros((len(KINDS), HOURS + 1, GRID, GRID, len(SPEEDS) - 1), np.float32)
    for walked in clips:
        for track in walked.tracks:
            s = _steps(track, walked)
            if s is not None:
                np.add.at(ways[s.kind], (s.hours, s.rows, s.columns, s.ways), STEP)
                moved = s.ways > 0
                hours, rows, columns, bins = (a[moved] for a in (s.hours, s.rows, s.columns, _bin(s.speeds)))
                np.add.at(speeds[s.kind], (hours, rows, columns, bins), STEP)
    return ways, speeds


def _leaned(counts: Floats, prior: Floats, seconds: float) -> Floats:
    """Shares along the last axis of counts that lean on a prior's shares."""
    return np.asarray((counts + seconds * prior) / (counts.sum(-1, keepdims=True) + seconds))


@dataclass(frozen=True)
class _Usual:
    """Surprises in nats by hour, [25, ...]; the last hour is the day. place [25, 2, G, G]; way [25, 2, G, G, 1 + WAYS]; fast [25, 2, G, G, borders]: of being as fast or faster."""

    place: Floats
    way: Floats
    fast: Floats

    def of(self, s: _Steps, hours: npt.NDArray[np.int64]) -> dict[str, Floats]:
        """Surprises of a track's steps, [N] each, as if it were at `hours`."""
        where = (hours, np.full(len(hours), s.kind), s.rows, s.columns)
        place = np.log(np.clip(s.speeds, SPEEDS[0], SPEEDS[-1]) / SPEEDS[0]) / np.log(SPEEDS[1] / SPEEDS[0])
        low = np.minimum(place.astype(np.int64), len(SPEEDS) - 2)
        share = place - low
        fast = (1 - share) * self.fast[(*where, low)] + share * self.fast[(*where, low + 1)]
        return {"place": self.place[where], "way": self.way[(*where, s.ways)], "speed": np.where(s.ways > 0, fast, 0.0)}


def _usual(ways: npt.NDArray[np.float32], speeds: npt.NDArray[np.float32]) -> _Usual:
    """Tables of surprise of counts."""

    def spread(counts: npt.NDArray[np.float32]) -> Floats:
        """Counts [2, 25, G, G, n] as [25, 2, G, G, n], smoothed over cells, the day in the last place."""
        smooth = gaussian_filter(
            counts.astype(np.float64), (0, 0, WIDE, WIDE, 0), mode="constant"
        ).swapaxes(0, 1)  # fmt: skip
        smooth[UNKNOWN] = smooth.sum(axis=0)
        return np.asarray(smooth)

    seen = spread(ways)
    there = seen.sum(-1).reshape(HOURS + 1, -1)
    day = _leaned(there[UNKNOWN:], np.full(there.shape[1], 1 / there.shape[1]), LEAN["place"])
    place = _leaned(there, day, LEAN["place"])
    place[UNKNOWN] = day[0]
    turned = np.concatenate([seen[..., :1], _round(seen[..., 1:])], -1)
    way = _by_hour(turned, LEAN["way"])
    shares = _by_hour(gaussian_filter1d(spread(speeds), 1.0, mode="constant"), LEAN["speed"])
    fast = np.concatenate([shares[..., ::-1].cumsum(-1)[..., ::-1], shares[..., -1:] / 2], -1)
    return _Usual(-np.log(place).reshape(HOURS + 1, len(KINDS), GRID, GRID), -np.log(way), -np.log(np.clip(fast, 1e-12, 1)))  # fmt: skip


def _round(counts: Floats) -> Floats:
    """A direction counts by a quarter for each of its neighbours."""
    return np.asarray(counts / 2 + np.roll(counts, 1, -1) / 4 + np.roll(counts, -1, -1) / 4)


def _by_hour(counts: Floats, seconds: float) -> Floats:
    """Shares [25, 2, G, G, n]: an hour's cell leans on the day's, that on the whole picture's, that on anything."""
    n = counts.shape[-1]
    whole = _leaned(counts[UNKNOWN].sum((1, 2)), np.full(n, 1 / n), seconds)[:, None, None]
    day = _leaned(counts[UNKNOWN], whole, seconds)
    found = _leaned(counts, day, seconds)
    found[UNKNOWN] = day
    return found


def _surprises(usual: _Usual, walked: Walked) -> list[tuple[Track, _Steps, dict[str, Floats], dict[str, Floats]]]:
    """Of each track its steps and their surprises, averaged over a second: at their hour, and by the whole day."""
    found = []
    for track in walked.tracks:
        s = _steps(track, walked)
        if s is not None:
            told = [usual.of(s, hours) for hours in (s.hours, np.full(len(s.hours), UNKNOWN))]
            own, day = ({k: uniform_filter1d(v, 5, mode="nearest") for k, v in of.items()} for of in told)
            found.append((track, s, own, day))
    return found


def _edges(duration: float) -> Floats:
    return np.asarray(np.arange(max(1, int(np.ceil(duration / STEP))) + 1) * STEP, np.float64)


def learn(clips: Sequence[Walked]) -> Paths:
    """What is usual in clips of one camera. Raises InputError for fewer than two, for pictures of two shapes, and where nobody was followed."""
    if len(clips) < 2:
        raise InputError("movement: expected two clips or more, since each is judged by the others; cut a long one")
    aspect = clips[0].aspect
    odd = next((c.aspect for c in clips if abs(c.aspect / aspect - 1) > 0.02), None)
    if odd is not None:
        raise InputError(
            f"movement: pictures {aspect:.2f} and {odd:.2f} times as wide as high; they are not of one camera"
        )
    parts = [clips[k::FOLDS] for k in range(min(FOLDS, len(clips)))]
    counted = [_counted(part) for part in parts]
    ways, speeds = (np.asarray(np.sum([c[k] for c in counted], axis=0), np.float32) for k in (0, 1))
    if not ways.any():
        raise InputError("movement: nobody and no vehicle was followed in these clips; nothing can be learnt of them")
    highest: dict[str, list[Floats]] = {reason: [] for reason in REASONS}
    for part, (own_ways, own_speeds) in zip(parts, counted, strict=True):
        usual = _usual(ways - own_ways, speeds - own_speeds)
        for walked in part:
            peaks = {reason: np.zeros(len(_edges(walked.duration)) - 1) for reason in REASONS}
            for _, s, own, _ in _surprises(usual, walked):
                places = np.clip((s.times / STEP).astype(np.int64), 0, len(peaks["way"]) - 1)
                for reason, values in own.items():
                    np.maximum.at(peaks[reason], places, values)
            for reason, values in peaks.items():
                highest[reason].append(values)
    levels = {k: max(LEAST[k], float(np.quantile(np.concatenate(v), RARE))) for k, v in highest.items()}
    return Paths(ways, speeds, levels, aspect, float(sum(c.duration for c in clips)), len(clips))


def judge(paths: Paths, walked: Walked) -> tuple[ScoreTrack, list[Departure]]:
    """The score of each quarter of a second, and who departs from what is usual, the highest scores first.

    A score of .5 is what one second in a hundred of the normal footage reaches for that reason. Raises InputError for a picture of another shape.
    """
    if abs(walked.aspect / paths.aspect - 1) > 0.02:
        raise InputError(f"movement: a picture {walked.aspect:.2f} times as wide as high, where {paths.aspect:.2f} was learnt; it is another camera")  # fmt: skip
    usual, edges = _usual(paths.ways, paths.speeds), _edges(walked.duration)
    scores, found = np.zeros(len(edges) - 1), []
    for track, s, own, day in _surprises(usual, walked):
        shares = {k: own[k] / paths.levels[k] for k in own}
        highest = np.max(list(shares.values()), axis=0)
        score = highest**2 / (1 + highest**2)
        np.maximum.at(scores, np.clip((s.times / STEP).astype(np.int64), 0, len(scores) - 1), score)
        for first, last in _spans(score >= HALF):
            if (last - first + 1) * STEP < LONG:
                continue
            own_span = slice(first, last + 1)
            why = max(shares, key=lambda k: float(shares[k][own_span].mean()))
            words = (
                THEN if day[why][own_span].mean() < paths.levels[why] + HOURLY and walked.clock is not None else WORDS
            )
            stands = why == "way" and (s.ways[own_span] == 0).mean() > 0.5
            found.append(
                Departure(
                    track.id, KINDS[s.kind], words["standing" if stands else why], float(s.times[first]), float(s.times[last]) + STEP,
                    float(score[own_span].max()),
                )
            )  # fmt: skip
    return ScoreTrack(scores.astype(np.float32), edges), sorted(found, key=lambda d: -d.score)


def _spans(there: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last place of each run of True."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in zip(ends[::2], ends[1::2], strict=True)]


def keep(paths: Paths, folder: Path) -> list[Path]:
    """Write a folder of movement.json, movement.safetensors, map.png and a map of each hour that was seen, map-08.png; what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    hours = [h for h in range(HOURS) if paths.ways[:, h].any()]
    facts = {**_facts(paths), "hours": hours}
    files = {
        "movement.json": (json.dumps(facts, indent=1) + "\n").encode(),
        "movement.safetensors": save({"ways": paths.ways, "speeds": paths.speeds}),
        "map.png": png(drawn(paths)),
        **{f"map-{hour:02}.png": png(drawn(paths, hour=hour)) for hour in hours},
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def kept(folder: Path) -> Paths:
    """What `keep` wrote. Raises InputError for anything else."""
    try:
        return _paths(json.loads((folder / "movement.json").read_text(encoding="utf-8")), load_file(folder / "movement.safetensors"))  # fmt: skip
    except FAULTS as error:
        words = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{folder}: holds no paths ({words}); make some with `vlad movement learn`") from None


def packed(paths: Paths) -> bytes:
    """Paths as one file's bytes: safetensors with the rest in its header."""
    return bytes(save({"ways": paths.ways, "speeds": paths.speeds}, {"movement": json.dumps(_facts(paths))}))


def unpacked(file: Path) -> Paths:
    """What `packed` made. Raises InputError for anything else."""
    try:
        with safe_open(file, "numpy") as opened:
            facts = json.loads((opened.metadata() or {})["movement"])
            return _paths(facts, {name: opened.get_tensor(name) for name in ("ways", "speeds")})
    except FAULTS as error:
        raise InputError(f"movement: the file holds no paths ({type(error).__name__}); learn them anew") from None


def _facts(paths: Paths) -> dict[str, Any]:
    return {"format": FORMAT, "aspect": paths.aspect, "seconds": paths.seconds, "clips": paths.clips, "levels": paths.levels}  # fmt: skip


def _paths(facts: dict[str, Any], arrays: Mapping[str, npt.NDArray[np.float32]]) -> Paths:
    """Raises one of FAULTS for what is none."""
    ways, speeds = arrays["ways"], arrays["speeds"]
    levels = {k: float(facts["levels"][k]) for k in REASONS}
    shapes = (len(KINDS), HOURS + 1, GRID, GRID)
    if ways.shape != (*shapes, 1 + WAYS) or speeds.shape != (*shapes, len(SPEEDS) - 1) or facts["format"] != FORMAT:
        raise ValueError("of another version of vlad")
    if not (np.isfinite(ways).all() and np.isfinite(speeds).all() and ways.min() >= 0 and speeds.min() >= 0):
        raise ValueError("counts that are none")
    if not all(0 < v < 1e6 for v in (*levels.values(), float(facts["aspect"]))):
        raise ValueError("levels that are none")
    return Paths(ways, speeds, levels, float(facts["aspect"]), float(facts["seconds"]), int(facts["clips"]))


def png(picture: Picture) -> bytes:
    """An RGB picture as a PNG."""
    return bytes(cv2.imencode(".png", picture[:, :, ::-1])[1])


def drawn(paths: Paths, *, hour: int | None = None, height: int = 480) -> Picture:
    """The map of an hour, or of the day: where people (blue) and vehicles (green) are, and arrows which way most go, on white. uint8 RGB [height, W, 3]."""
    width = round(height * paths.aspect)
    picture = np.full((height, width, 3), 255, np.float64)
    seen = paths.ways.sum(1) if hour is None else paths.ways[:, hour]
    for kind, colour in enumerate(((30, 90, 200), (20, 150, 60))):
        heat = gaussian_filter(seen[kind].sum(-1).astype(np.float64), WIDE)
        top = heat.max()
        if top > 0:
            share = cv2.resize(np.sqrt(heat / top), (width, height), interpolation=cv2.INTER_LINEAR)[..., None] * 0.8
            picture = picture * (1 - share) + np.array(colour) * share
    image: Picture = picture.astype(np.uint8)
    moving = _round(gaussian_filter(seen[..., 1:].astype(np.float64), (0, WIDE, WIDE, 0)))
    least = 0.02 * max(float(moving.sum(-1).max()), 1e-9)
    angles = np.arange(WAYS) * 2 * np.pi / WAYS
    for kind, row, column in np.argwhere(moving.sum(-1) > least):
        shares = moving[kind, row, column] / moving[kind, row, column].sum()
        flow = np.array([(shares * np.cos(angles)).sum(), (shares * np.sin(angles)).sum()])
        if np.hypot(*flow) > 0.3:  # else they go either way
            middle = (np.array([column, row]) + 0.5) / GRID * [width, height]
            reach = flow * 0.5 * height / GRID
            tail, tip = ([int(v) for v in p] for p in (middle - reach, middle + reach))
            cv2.arrowedLine(image, tail, tip, (40, 40, 40), 1, cv2.LINE_AA, tipLength=0.4)
    return image


def marked(paths: Paths, walked: Walked, departures: Sequence[Departure], *, height: int = 480) -> Picture:
    """Departures on the map: their tracks in red with their numbers, the others' grey. uint8 RGB [height, W, 3]."""
    image = drawn(paths, height=height)
    width, odd = image.shape[1], {d.track for d in departures}
    for track in sorted(walked.tracks, key=lambda t: t.id in odd):
        if track.label != "person" and track.label not in VEHICLES:
            continue
        feet = (track.boxes[:, :2] + track.boxes[:, 2:] * [0.5, 1.0]) * [width, height]
        line = [tuple(int(v) for v in p) for p in feet]
        colour = (210, 30, 30) if track.id in odd else (150, 150, 150)
        for a, b in pairwise(line):
            cv2.line(image, a, b, colour, 2 if track.id in odd else 1, cv2.LINE_AA)
        if track.id in odd:
            cv2.circle(image, line[-1], 4, colour, -1, cv2.LINE_AA)
            cv2.putText(image, str(track.id), (min(line[-1][0] + 6, width - 24), max(line[-1][1], 12)), cv2.FONT_HERSHEY_PLAIN, 1.0, colour, 1, cv2.LINE_AA)  # fmt: skip
    return image
