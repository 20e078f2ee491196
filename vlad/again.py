"""Finding again within one camera's day: by what is measured of people and vehicles already, the colours of clothes and vehicles and the kind of vehicle.

In: analysed clips of one camera with their tracks, and their pictures. Out: `Outfit`s of tracks, and of those the ones like a wanted outfit, with how sure. No face and no embedding of a person's
likeness is made, and nothing is kept: outfits are measured when somebody asks, and forgotten. Two people in like clothes are not told apart, and one who changes a coat is not found again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vlad.clock import from_name
from vlad.colours import garments_of, vehicle_colour
from vlad.config import Settings
from vlad.errors import InputError
from vlad.tracks import VEHICLES
from vlad.types import Analysis, Track
from vlad.video import frames_at

DAY = 86_400.0  # seconds
DAYS = 7  # that may be searched at most
LOOKS = 5  # at a track
SIZE = 480  # pixels of the shorter side
GRID = 0.5  # seconds; looks at several tracks are taken of one picture
MOST = 400  # looks at a clip
STAMP = re.compile(r"[-_. ]{0,8}(19|20)\d\d.*$")  # the time in a clip's name, and what follows


@dataclass(frozen=True)
class Outfit:
    """What is known of a track: its kind (person or a vehicle's label), and of each part (top, trousers, vehicle) the colour and how sure in [0, 1]; parts that are not known are left out."""

    kind: str
    colours: dict[str, tuple[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Hit:
    """A track that may be the wanted one: clip and track's id, seconds, how like in [0, 1], and its outfit."""

    clip: str
    track: int
    start: float
    end: float
    sure: float
    outfit: Outfit


def one_camera(clips: Sequence[Analysis], *, days: float = 1.0, zone: str = "") -> None:
    """Raise InputError unless clips are of one camera, by their names without the time and by their pictures, and within `days` of one another (at most DAYS)."""
    if not 0 < days <= DAYS:
        raise InputError(f"days is {days:g}; expected more than 0 and at most {DAYS}")
    if len(clips) < 2:
        return
    names = [Path(c.video.path).stem for c in clips]
    cameras = {(STAMP.sub("", name), c.video.width, c.video.height) for name, c in zip(names, clips, strict=True)}
    if len(cameras) > 1:
        told = "; ".join(f"{name or 'no name'} {w} x {h}" for name, w, h in sorted(cameras)[:4])
        raise InputError(f"these are clips of {len(cameras)} cameras ({told}); one camera at a time")
    began = [from_name(Path(c.video.path).name, zone) for c in clips]
    if None in began:
        raise InputError(
            f"{names[began.index(None)]}: its name tells no time; without one nobody knows that it is of the same day"
        )
    times = [b for b in began if b is not None]
    if max(times) - min(times) > days * DAY:
        raise InputError(f"these clips span {(max(times) - min(times)) / DAY:.1f} days, and {days:g} may be searched")


def outfits(
    path: str | os.PathLike[str],
    tracks: Sequence[Track],
    duration: float,
    settings: Settings,
    *,
    only: Sequence[int] = (),
) -> dict[int, Outfit]:
    """What people and vehicles of a clip of `duration` s look like, by track; only: ids, () for all. Raises InputError where its pictures can't be read."""
    wanted = [t for t in tracks if (t.label == "person" or t.label in VEHICLES) and (not only or t.id in only)]
    looks = {t.id: _times(t) for t in wanted}
    every = sorted({time for times in looks.values() for time in times if time < duration})[:MOST]
    frames = dict(zip(every, frames_at(path, every, settings, size=SIZE), strict=True)) if every else {}
    found = {}
    for track in wanted:
        boxes = [(frames[t], track.at(t)) for t in looks[track.id] if t in frames]
        named = {k: v for k, v in garments_of(boxes).items() if v[0]} if track.label == "person" else {}
        if track.label != "person":
            colour, sure = vehicle_colour(boxes)
            named = {"vehicle": (colour.removesuffix(" vehicle"), sure)} if colour else {}
        found[track.id] = Outfit(track.label, named)
    return found


def _times(track: Track) -> list[float]:
    """When a track is looked at."""
    times = np.linspace(*track.span, LOOKS + 2)[1:-1]
    return sorted({float(np.clip(round(t / GRID) * GRID, *track.span)) for t in times})


def likeness(wanted: Outfit, other: Outfit) -> float:
    """How like in [0, 1]: 0 where the kind or a colour differs, or nothing asked for is known; else how sure the colours are, half as much for a part that is not known."""
    if (wanted.kind == "person") != (other.kind == "person"):
        return 0.0
    if wanted.kind not in ("person", "vehicle", other.kind):
        return 0.0
    parts = []
    for part, (colour, sure) in wanted.colours.items():
        own, surely = other.colours.get(part, ("", 0.0))
        if own and own != colour:
            return 0.0
        parts.append(sure * surely if own else 0.0)
    return float(np.mean(parts)) if any(parts) else 0.0


def find_again(
    wanted: Outfit, clips: Sequence[Analysis], settings: Settings, *, days: float = 1.0, zone: str = ""
) -> list[Hit]:
    """Tracks like a wanted outfit in one camera's clips, the likest first. Raises InputError for other cameras or days, and for nothing to look for."""
    if not wanted.colours:
        raise InputError("nothing is known to look for: name a colour, or a track whose clothes or vehicle show one")
    one_camera(clips, days=days, zone=zone)
    hits = []
    for clip in clips:
        hits += alike(wanted, clip.video.path, clip.tracks, clip.video.duration, settings)
    return sorted(hits, key=lambda h: -h.sure)


def alike(wanted: Outfit, path: str, tracks: Sequence[Track], duration: float, settings: Settings) -> list[Hit]:
    """Those of a clip's tracks that are like a wanted outfit. Raises InputError where its pictures can't be read."""
    spans = {t.id: t.span for t in tracks}
    found = outfits(path, tracks, duration, settings)
    likes = ((number, outfit, likeness(wanted, outfit)) for number, outfit in found.items())
    return [Hit(path, number, *spans[number], sure, outfit) for number, outfit, sure in likes if sure > 0]
