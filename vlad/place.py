"""A camera's picture and a floor plan: four points or more that are in both give metres.

In: pairs of points, [x, y] in shares of the picture and [x, y] in metres on the plan. Out: a `Place`, the homography with its error (cv2.findHomography, by least squares);
where tracks are on the plan, and GeoJSON of them. Only what stands on the ground is placed: somebody's feet, the middle of a box's lower side. Knows no pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vlad.types import Track

MOST = 20  # pairs of points
LINE = 0.01  # of the square of their extent: the area of a triangle below which three points lie in a line
FAR = (
    3.0  # extents of the points around their middle, beyond which a place is not told: errors grow towards the horizon
)
STEP = 0.25  # seconds between two places of a path
EARTH = 6_371_008.8  # metres, the mean radius
LARGEST = 1e5  # metres of a plan's sides
PICTURE = re.compile(r"[0-9a-f]{32}")
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """A floor plan's picture, by the name that a library keeps it by, and its sides in metres; the plan's [0, 0] is its lower left corner, y goes up."""

    picture: str
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Place:
    """matrix: float64 [3, 3], shares of the picture to metres. picture, plan: the points [N, 2]. error: root of the mean square, m; 0 by construction with four.
    left_out: the same where each point is foretold by the others, m, None with four. origin: latitude and longitude of the plan's [0, 0], None for unknown;
    bearing: degrees from north to the plan's y axis, clockwise. drawing: of the plan, None where there is none."""

    matrix: Points
    picture: Points
    plan: Points
    error: float
    left_out: float | None
    origin: tuple[float, float] | None = None
    bearing: float = 0.0
    drawing: Drawing | None = None

    def metres(self, points: Points) -> Points:
        """Places [N, 2] on the plan of points of the picture; nan above the horizon, and far beyond the given points."""
        found, side = _mapped(self.matrix, points)
        middle, reach = self.plan.mean(0), FAR * float(np.hypot(*np.ptp(self.plan, axis=0)))
        with np.errstate(invalid="ignore"):
            told = (side * self._side > 0) & (np.hypot(*(found - middle).T) <= reach)
        return np.where(told[:, None], found, np.nan)

    @property
    def _side(self) -> float:
        return float(np.sign(_mapped(self.matrix, self.picture)[1][0]))

    def horizon(self) -> tuple[float, float] | None:
        """Heights (shares of the picture) at which the ground's horizon meets its left and right side; None for a camera that looks straight down."""
        a, b, c = self.matrix[2]
        return None if abs(b) < 1e-9 else (float(-c / b), float(-(a + c) / b))

    def describe(self) -> list[str]:
        """Its error in words."""
        lines = [f"{len(self.picture)} points, error {self.error:.2f} m"]
        if self.left_out is None:
            lines[0] += ": four points always fit, so this says nothing; add a fifth to learn the error"
        else:
            lines[0] += f"; each foretold by the others {self.left_out:.2f} m"
        horizon = self.horizon()
        if horizon and max(horizon) > 0:
            lines.append(
                f"the horizon lies {max(horizon) * 100:.0f} % below the picture's upper side: nobody above it has a place"
            )
        return lines


def _mapped(matrix: Points, points: Points) -> tuple[Points, Points]:
    """Points under a homography [N, 2], and the third coordinate [N]: its sign tells the sides of the horizon apart."""
    flat = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(flat[:, :2] / flat[:, 2:]), np.asarray(flat[:, 2])


def parse(value: Any) -> Place:
    """A place of a YAML table: points, and perhaps origin, bearing and plan (its drawing). Raises ValueError with every fault."""
    if not isinstance(value, dict) or not set(value) <= {"points", "origin", "bearing", "plan"}:
        raise ValueError(
            "expected a table of points: [[[x, y], [metres, metres]], ...] and perhaps origin: [latitude, longitude], bearing: degrees and plan:"
        )
    picture, plan = _pairs(value.get("points"))
    faults = _faults(picture, plan)
    origin, bearing = value.get("origin"), value.get("bearing", 0.0)
    if origin is not None and not (_numbers(origin, 2) and abs(origin[0]) <= 85 and abs(origin[1]) <= 180):
        faults.append("origin: expected [latitude, longitude] in degrees")
    if not _numbers([bearing], 1) or not -360 <= bearing <= 360:
        faults.append("bearing: expected degrees")
    drawing = value.get("plan")
    if drawing is not None and not _is_drawing(drawing):
        faults.append("plan: expected {picture: its name in the library, width: metres, height: metres}")
    if faults:
        raise ValueError("; ".join(faults))
    return fitted(
        picture, plan, origin=None if origin is None else (float(origin[0]), float(origin[1])), bearing=float(bearing),
        drawing=Drawing(drawing["picture"], float(drawing["width"]), float(drawing["height"])) if drawing else None,
    )  # fmt: skip


def _is_drawing(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"picture", "width", "height"}:
        return False
    sides = [value["width"], value["height"]]
    named = isinstance(value["picture"], str) and PICTURE.fullmatch(value["picture"]) is not None
    return named and _numbers(sides, 2) and min(sides) > 0 and max(sides) <= LARGEST


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list) and len(value) == count
        and all(isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v) and abs(v) < 1e6 for v in value)
    )  # fmt: skip


def _pairs(value: Any) -> tuple[Points, Points]:
    if not isinstance(value, list) or not all(
        isinstance(p, list) and len(p) == 2 and all(_numbers(q, 2) for q in p) for p in value
    ):
        raise ValueError(
            "points: expected pairs [[x, y], [metres, metres]]: in the picture, in shares from the left and the top, and on the plan"
        )
    if not 4 <= len(value) <= MOST:
        raise ValueError(f"points: {len(value)} pairs; expected four or more, up to {MOST}")
    found = np.array(value, np.float64)
    return found[:, 0], found[:, 1]


def _faults(picture: Points, plan: Points) -> list[str]:
    faults = []
    outside = np.flatnonzero(((picture < 0) | (picture > 1)).any(1))
    if len(outside):
        faults.append(f"point {outside[0] + 1} lies outside the picture; x and y are shares in 0..1")
    for name, points in (("picture", picture), ("plan", plan)):
        line = _in_line(points)
        if line:
            faults.append(
                f"points {', '.join(str(i + 1) for i in line)} lie in a line on the {name}; with three in a line four points tell no plane"
            )
    return faults


def _in_line(points: Points) -> tuple[int, ...] | None:
    """Three points in a line where no four points are free of such; None where some four are."""
    size = max(float(np.ptp(points, axis=0).max()), 1e-12) ** 2
    bad = {
        three for three in combinations(range(len(points)), 3) if abs(_area(*(points[i] for i in three))) < LINE * size
    }
    if not bad:
        return None
    for four in combinations(range(len(points)), 4):
        if not any(three in bad for three in combinations(four, 3)):
            return None
    return min(bad)


def _area(a: Points, b: Points, c: Points) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) / 2


def fitted(
    picture: Points,
    plan: Points,
    *,
    origin: tuple[float, float] | None = None,
    bearing: float = 0.0,
    drawing: Drawing | None = None,
) -> Place:
    """The homography of pairs of points [N, 2], N at least 4. Raises ValueError where they are of no plane that a camera sees."""
    matrix = _homography(picture, plan)
    side = _mapped(matrix, picture)[1] if matrix is not None else np.zeros(1)
    if matrix is None or not (np.abs(side) > 1e-9).all() or not (np.sign(side) == np.sign(side[0])).all():
        raise ValueError(
            "points: the horizon runs through them, so no camera sees the ground so; two of them may be swapped"
        )
    error = float(np.sqrt(((_mapped(matrix, picture)[0] - plan) ** 2).sum(1).mean()))
    left_out = None
    if len(picture) > 4:
        gone = [_left_out(picture, plan, i) for i in range(len(picture))]
        told = [g for g in gone if g is not None]
        left_out = float(np.sqrt(np.mean(np.square(told)))) if told else None
    return Place(matrix, picture, plan, error, left_out, origin, bearing, drawing)


def _homography(picture: Points, plan: Points) -> Points | None:
    found = cv2.findHomography(picture, plan, 0)[0]
    return None if found is None or not np.isfinite(found).all() else np.asarray(found, np.float64)


def _left_out(picture: Points, plan: Points, place: int) -> float | None:
    """Metres between a point and where the others say it is; None where they are of no plane without it."""
    rest = np.arange(len(picture)) != place
    if _in_line(picture[rest]) or _in_line(plan[rest]):
        return None
    matrix = _homography(picture[rest], plan[rest])
    return (
        None
        if matrix is None
        else float(np.hypot(*(_mapped(matrix, picture[place : place + 1])[0] - plan[place : place + 1])[0]))
    )


def feet(boxes: npt.NDArray[Any]) -> Points:
    """The middle of the lower side of boxes [N, 4]: [N, 2]."""
    own = boxes.astype(np.float64)
    return np.stack([own[:, 0] + own[:, 2] / 2, own[:, 1] + own[:, 3]], 1)


def speeds(places: Points, step: float) -> npt.NDArray[np.float64]:
    """Metres a second [T] of places [T, 2] `step` seconds apart, over a second about each, since a box trembles; nan where it is not known."""
    half = max(1, round(0.5 / step))
    found = np.full(len(places), np.nan)
    known = np.flatnonzero(np.isfinite(places[:, 0]))
    for i in known:
        a, b = max(i - half, known[0]), min(i + half, known[-1])
        if b > a and np.isfinite(places[[a, b], 0]).all():
            found[i] = float(np.hypot(*(places[b] - places[a]))) / ((b - a) * step)
    return found


def geojson(place: Place, tracks: Sequence[Track], *, name: str = "") -> dict[str, Any]:
    """Paths on the plan as a FeatureCollection (RFC 7946): a LineString each with label, seconds and speeds, m/s; who has no place there is left out.

    Longitude and latitude where the place has an origin; else metres, which RFC 7946 does not know: `unit` says so.
    """
    features = []
    for track in tracks:
        times, step = np.linspace(
            *track.span, max(2, round((track.times[-1] - track.times[0]) / STEP) + 1), retstep=True
        )
        places = place.metres(feet(track.at(times)))
        there = np.isfinite(places[:, 0])
        fast = speeds(places, float(step))
        fast = fast[np.isfinite(fast)]
        if not len(fast):  # a single place is no path
            continue
        points = _globe(place, places[there]) if place.origin else places[there]
        features.append({
            "type": "Feature",
            "geometry": {"type": "LineString", "coordinates": points.round(7 if place.origin else 2).tolist()},
            "properties": {
                "clip": name, "track": track.id, "label": track.label, "start": round(float(times[there][0]), 2), "end": round(float(times[there][-1]), 2),
                "times": times[there].round(2).tolist(), "speed": round(float(fast.mean()), 2), "fastest": round(float(fast.max()), 2),
            },
        })  # fmt: skip
    return {
        "type": "FeatureCollection",
        "unit": "degrees" if place.origin else "metres on the plan",
        "error_m": round(place.error, 3),
        "features": features,
    }


def _globe(place: Place, metres: Points) -> Points:
    """Longitude and latitude [N, 2] of places in metres, on a sphere near the origin."""
    assert place.origin is not None
    turn, (latitude, longitude) = np.radians(place.bearing), place.origin
    east = metres[:, 0] * np.cos(turn) + metres[:, 1] * np.sin(turn)
    north = -metres[:, 0] * np.sin(turn) + metres[:, 1] * np.cos(turn)
    return np.stack(
        [longitude + np.degrees(east / EARTH / np.cos(np.radians(latitude))), latitude + np.degrees(north / EARTH)], 1
    )
