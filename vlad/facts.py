"""What was measured of a span: how many, how near, how fast, what changed at once, what was left, in which colours, where, in what light.

In: tracks, and a few pictures of the span. Out: `Fact`s, each with how sure it is. Nothing here is learnt: what cannot be measured is left
out. Distances and speeds of people are in body heights, since no camera here is calibrated; half a second lies between two looks, so
speeds are of that order and no finer. Knows no score, no class and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import cv2
import numpy as np
import numpy.typing as npt

from vlad.colours import garments_of, light_of, raised, standing_out, vehicle_colour, worn
from vlad.tracks import VEHICLES, counts
from vlad.types import Fact, Track

STEP = 0.25  # seconds between two looks at the tracks
CLOSE = 0.6  # body heights between two people that stand close together
FAST = 1.2  # body heights a second: a walk is about .8, a run 2 and more
LYING = 1.0  # height over width below which a person does not stand
UPRIGHT = 1.6
ALONE = 1.5  # body heights around a thing in which nobody is
SHIFT, FITS = (
    0.02,
    0.1,
)  # share of the picture by which a camera that moves shifts it, and how well the shifted one has to fit
STILL_ONLY = frozenset({"person speed", "vehicle speed", "stop", "scatter", "left", "carried"})
BAGS = frozenset({"backpack", "handbag", "suitcase"})
Span = tuple[float, float]
Floats = npt.NDArray[np.float64]
Pictures = Mapping[float, npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Seen:
    """Tracks of a span at steady times. aspect: width over height of the picture; boxes [N, 4] in heights of the picture, nan while away."""

    times: Floats
    tracks: tuple[Track, ...]
    boxes: tuple[Floats, ...]

    def of(self, labels: frozenset[str]) -> list[tuple[Track, Floats]]:
        """The tracks of some classes, with their boxes."""
        return [(t, b) for t, b in zip(self.tracks, self.boxes, strict=True) if t.label in labels]


def look(tracks: Sequence[Track], span: Span, aspect: float) -> Seen:
    """Tracks that are seen in a span (s), at times STEP apart."""
    times = np.arange(span[0], span[1] + STEP / 2, STEP)
    inside = tuple(t for t in tracks if t.times[0] <= span[1] and t.times[-1] >= span[0])
    boxes = []
    for track in inside:
        own = track.at(times).astype(np.float64) * np.array([aspect, 1, aspect, 1])
        own[(times < track.times[0] - STEP) | (times > track.times[-1] + STEP)] = np.nan
        boxes.append(own)
    return Seen(times, inside, tuple(boxes))


PEOPLE = frozenset({"person"})


def how_many(seen: Seen) -> list[Fact]:
    """The most people and vehicles at once, and when."""
    found = []
    for (name, many), number in zip(
        (("person", "people"), ("vehicle", "vehicles")), counts(seen.tracks, seen.times), strict=True
    ):
        if not len(number):
            continue
        most, when = int(number.max()), float(seen.times[number.argmax()])
        own = [
            t.score
            for t in seen.tracks
            if (t.label == "person") == (name == "person") and (t.label in VEHICLES or name == "person")
        ]
        words = f"{most} {name if most == 1 else many}" + ("" if most < 2 else " at once")
        found.append(
            Fact(many, words if most else f"no {name} detected", float(most), float(np.mean(own)) if own else 0.5, when)
        )
    return found


def close_together(seen: Seen) -> list[Fact]:
    """The pair of people that was closest together the longest."""
    best = (0.0, 0.0, 0.0)
    for (a, x), (b, y) in combinations(seen.of(PEOPLE), 2):
        apart = np.hypot(*((x[:, :2] + x[:, 2:] / 2) - (y[:, :2] + y[:, 2:] / 2)).T) / np.sqrt(x[:, 3] * y[:, 3])
        near = np.nan_to_num(apart, nan=np.inf) < CLOSE
        if near.any():
            best = max(best, (float(near.sum()) * STEP, min(a.score, b.score), float(seen.times[near.argmax()])))
    if best[0] < 2 * STEP:
        return []
    return [
        Fact(
            "close",
            f"two people close together for {best[0]:.0f} s" if best[0] >= 1 else "two people close together",
            best[0],
            best[1],
            best[2],
        )
    ]


def speeds(track: Track, boxes: Floats) -> Floats:
    """Speed [N - 1] of a track in its own body heights (people) or lengths (vehicles) a second."""
    size = boxes[:, 3] if track.label == "person" else np.maximum(boxes[:, 2], boxes[:, 3])
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    moved = np.hypot(*np.diff(middles, axis=0).T) / STEP / np.nanmedian(size)
    kernel = np.ones(3) / 3
    return np.convolve(np.nan_to_num(moved), kernel, "same") if len(moved) >= 3 else np.nan_to_num(moved)


def how_fast(seen: Seen) -> list[Fact]:
    """The fastest person and the fastest vehicle, seen for at least a second."""
    found = []
    for name, labels, unit in (("person", PEOPLE, "body heights"), ("vehicle", VEHICLES, "lengths")):
        fastest = [(float(s.max()), t.score, float(seen.times[s.argmax()])) for t, b in seen.of(labels)
                   if np.isfinite(b).all(axis=1).sum() * STEP >= 1 and len(s := speeds(t, b))]  # fmt: skip
        if fastest:
            value, score, when = max(fastest)
            if value >= FAST or name == "vehicle":
                words = (
                    f"moving fast ({value:.1f} {unit} a second)"
                    if value >= FAST
                    else f"{name} at {value:.1f} {unit} a second"
                )
                found.append(Fact(f"{name} speed", words, value, score * 0.8, when))
    return found


def falls(seen: Seen) -> list[Fact]:
    """People who stood and lie within two seconds, and go on lying for one; a box cut by the picture's edge tells nothing."""
    found = []
    for track, boxes in seen.of(PEOPLE):
        shape = boxes[:, 3] / boxes[:, 2]
        cut = (boxes[:, 1] + boxes[:, 3] > 0.98) & (shape > LYING)
        shape = np.where(cut, np.nan, shape)
        window = round(2 / STEP)
        for i in range(len(shape) - round(1 / STEP)):
            before, after = shape[max(0, i - window) : i + 1], shape[i : i + 1 + round(1 / STEP)]
            if (
                np.isfinite(before).any()
                and np.isfinite(after).all()
                and np.nanmax(before) >= UPRIGHT
                and after.max() <= LYING
            ):
                found.append(
                    Fact(
                        "fall",
                        "a person goes from upright to lying",
                        float(np.nanmax(before) - after.max()),
                        track.score * 0.8,
                        float(seen.times[i]),
                    )
                )
                break
    return found


def stops(seen: Seen) -> list[Fact]:
    """Vehicles that stand still within a second after they moved."""
    found = []
    for track, boxes in seen.of(VEHICLES):
        speed = speeds(track, boxes)
        lag = round(1 / STEP)
        for i in range(len(speed) - 2 * lag):
            if (
                speed[i] >= 0.6
                and np.isfinite(boxes[i : i + 2 * lag]).all()
                and speed[i + lag : i + 2 * lag].max() <= 0.08
            ):
                found.append(
                    Fact(
                        "stop",
                        f"a {track.label} stops at once",
                        float(speed[i]),
                        track.score * 0.6,
                        float(seen.times[i]),
                    )
                )
                break
    return found


def scatters(seen: Seen) -> list[Fact]:
    """Four people or more who run apart: their mean distance grows by half within two seconds."""
    boxes = [b for _, b in seen.of(PEOPLE)]
    if len(boxes) < 4:
        return []
    middles = np.stack([b[:, :2] + b[:, 2:] / 2 for b in boxes])
    lag = round(2 / STEP)
    for i in range(len(seen.times) - lag):
        both = np.isfinite(middles[:, i, 0]) & np.isfinite(middles[:, i + lag, 0])
        if both.sum() >= 4:
            spread = [
                float(np.linalg.norm(m - m.mean(0), axis=1).mean()) for m in (middles[both, i], middles[both, i + lag])
            ]
            if spread[1] > 1.5 * spread[0] and spread[1] - spread[0] > 0.05:
                return [
                    Fact("scatter", f"{both.sum()} people move apart", spread[1] / spread[0], 0.5, float(seen.times[i]))
                ]
    return []


def left_behind(seen: Seen) -> list[Fact]:
    """Bags that stand for three seconds with nobody near, though somebody was there before; and bags that go with a person."""
    found = []
    people = [b for _, b in seen.of(PEOPLE)]
    for track, boxes in seen.of(BAGS):
        here = boxes[:, :2] + boxes[:, 2:] / 2
        away = np.full(len(seen.times), np.inf)
        for own in people:
            apart = np.hypot(*(own[:, :2] + own[:, 2:] / 2 - here).T) / own[:, 3]
            away = np.fmin(away, np.nan_to_num(apart, nan=np.inf))
        there = np.isfinite(here[:, 0])
        alone, near = there & (away > ALONE), there & (away < 0.7)
        still = float(np.nanmax(np.ptp(here[there], axis=0))) < 0.05 if there.any() else False
        if still and near.any() and (alone & (seen.times > seen.times[near.argmax()])).sum() * STEP >= 3:
            found.append(
                Fact(
                    "left",
                    f"a {track.label} stays behind with nobody near",
                    float(alone.sum()) * STEP,
                    track.score * 0.8,
                    float(seen.times[alone.argmax()]),
                )
            )
        elif near.sum() * STEP >= 1 and not still:
            found.append(
                Fact(
                    "carried",
                    f"a {track.label} is carried",
                    float(near.sum()) * STEP,
                    track.score * 0.8,
                    float(seen.times[near.argmax()]),
                )
            )
    return found


def where(seen: Seen, aspect: float) -> list[Fact]:
    """In which third of the picture most of what was seen is, and how near it is to the camera."""
    rows = [b[np.isfinite(b[:, 0])] for _, b in seen.of(PEOPLE | VEHICLES)]
    rows = [r for r in rows if len(r)]
    if not rows:
        return []
    middles = np.array([np.median(r[:, 0] + r[:, 2] / 2) for r in rows]) / aspect
    heights = np.array([np.median(r[:, 3]) for r in rows])
    side = float(np.median(middles))
    words = (
        "in the left of the picture"
        if side < 1 / 3
        else "in the right of the picture"
        if side > 2 / 3
        else "in the middle of the picture"
    )
    far = (
        ", far from the camera"
        if float(np.median(heights)) < 0.15
        else ", close to the camera"
        if float(np.median(heights)) > 0.6
        else ""
    )
    return [Fact("where", words + far, side, 0.8, float(seen.times[0]))]


def belonging(tracks: Sequence[Track], span: Span) -> float:
    """How much a thing belongs to a span: the share of the time that both last together, of the time that either does; in [0, 1]."""
    start, end = min(t.times[0] for t in tracks), max(t.times[-1] for t in tracks)
    both, either = min(end, span[1]) - max(start, span[0]), max(end, span[1]) - min(start, span[0])
    return float(np.clip(both / max(either, STEP), 0, 1))


Names = dict[str, tuple[str, float]]  # of a thing's parts: what each is called, '' for nothing, and how sure


def colours(seen: Seen, pictures: Pictures, span: Span, scene: npt.NDArray[np.uint8] | None = None) -> list[Fact]:
    """Colours of clothes and vehicles whose names the pixels of most pictures agree on; value: how much they belong to the span, in [0, 1].

    scene: what the camera sees while nobody is there, where that is known. What was lost and found again is one thing.
    """
    masks = {} if scene is None else {time: standing_out(picture, scene) for time, picture in pictures.items()}
    people: list[tuple[Names, Track]] = []
    vehicles: list[tuple[Names, Track]] = []
    for track, _ in seen.of(PEOPLE | VEHICLES - {"bicycle"}):
        times = [time for time in pictures if track.times[0] - 0.3 <= time <= track.times[-1] + 0.3]
        boxes = [(pictures[time], track.at(time)) for time in times]
        if track.label == "person":
            people.append((garments_of(boxes, [masks[time] for time in times] if masks else None), track))
        else:
            vehicles.append(({"": vehicle_colour([(raised(p), b) for p, b in boxes] if masks else boxes)}, track))
    found = []
    for kind, things in (("clothes", people), ("vehicle colour", vehicles)):
        for names, tracks in _joined(things):
            words, sure = worn(names) if kind == "clothes" else names[""]
            sure *= 1.0 if masks else float(np.mean([t.score for t in tracks]))  # what stands out is there
            if words:
                found.append(Fact(kind, words, belonging(tracks, span), sure, float(seen.times[0])))
    return sorted(found, key=lambda f: -f.value)


def _joined(things: Sequence[tuple[Names, Track]]) -> list[tuple[Names, list[Track]]]:
    """Tracks that bear the same names and are never there at once, as one; those that were seen longest first."""
    joined: list[tuple[Names, list[Track]]] = []
    for names, track in sorted(things, key=lambda p: -len(p[1].times)):
        for other, tracks in joined:
            apart = all(track.times[0] >= t.times[-1] or track.times[-1] <= t.times[0] for t in tracks)
            if apart and _alike([w for w, _ in other.values()], [w for w, _ in names.values()]):
                other |= {part: value for part, value in names.items() if not other[part][0]}
                tracks.append(track)
                break
        else:
            joined.append((dict(names), [track]))
    return joined


def _alike(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two may be one: of what is known of both nothing differs, and something is known of each."""
    return any(some) and any(others) and all(a == b or not a or not b for a, b in zip(some, others, strict=True))


def camera(pictures: Pictures) -> list[Fact]:
    """Whether the camera itself moves: most pictures are the one before, shifted as a whole (phase correlation, Kuglin and Hines 1975)."""
    order = [pictures[t] for t in sorted(pictures)]
    small = [cv2.cvtColor(cv2.resize(p, (160, 120), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for p in order]
    window = cv2.createHanningWindow((160, 120), cv2.CV_32F)
    shifts = []
    for a, b in pairwise(small):
        (x, y), fits = cv2.phaseCorrelate(a.astype(np.float32), b.astype(np.float32), window)
        shifts.append(float(np.hypot(x / 160, y / 120)) if fits >= FITS else 0.0)
    if not shifts or float(np.median(shifts)) < SHIFT:
        return []
    return [Fact("camera", "the camera moves", float(np.median(shifts)), 0.7, min(pictures))]


def facts_of(
    tracks: Sequence[Track],
    span: Span,
    *,
    aspect: float,
    pictures: Pictures | None = None,
    scene: npt.NDArray[np.uint8] | None = None,
) -> tuple[Fact, ...]:
    """Everything that was measured of a span (s).

    aspect: width over height of the picture; pictures: uint8 RGB [H, W, 3] by time (s); scene: what the camera sees while nobody is there, of
    the same size, where that is known.
    """
    seen = look(tracks, span, aspect)
    found = [
        *how_many(seen),
        *close_together(seen),
        *how_fast(seen),
        *falls(seen),
        *stops(seen),
        *scatters(seen),
        *left_behind(seen),
    ]
    found += where(seen, aspect)
    if pictures:
        moves = camera(pictures)
        if moves:  # speeds and places in the picture then say little of the world
            found = [replace(f, sure=f.sure / 2) if f.kind in STILL_ONLY else f for f in found]
        found += [*moves, *colours(seen, pictures, span, scene), *light_of(list(pictures.values()))]
    return tuple(found)
