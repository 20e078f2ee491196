"""A clip to the same clip in which faces, or whole people, cannot be seen.

    vlad anonymise CLIP... -o OUT [--what faces|people] [--how mosaic|blur|silhouette] [--json]

In: a clip that nobody trusts. Out: an mp4 without sound in which every face (or person) that was found is covered, from before it was first seen until after it
was last seen, and between: what was found at one look and not at the next is covered all along (`follow`). What came out is looked at again, and what is found there is
covered too. It is encoded by the decoder's own child, so that nothing but pictures leaves the file. What no look finds is not covered: small, turned and
hidden faces among them, so that a person looks before anything leaves the house.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.errors import InputError, OutputError
from vlad.faces import load_faces
from vlad.objects import load_detector
from vlad.tracks import follow
from vlad.types import Box, Sighting, Track
from vlad.video import MAX_CUT, Cover, covered, open_video

What = Literal["faces", "people"]
How = Literal["mosaic", "blur", "silhouette"]
WHAT: tuple[What, ...] = get_args(What)
HOW: tuple[How, ...] = get_args(How)
RATE = 10.0  # looks a second
SIDE, CLOSE = 480, 720  # pixels of the short side of what is looked at; at the second look
TILE = 0.6  # share of a side of each of the four parts that the second look for people enlarges
HOLD = 0.5  # seconds before the first and after the last sighting that are covered too
WIDER = {"faces": 0.35, "people": 0.12}  # of a box's sides, to either side
LEAST = 0.1  # score of a person's box: a wrong one costs a blurred coat
HIDDEN = 0.6  # share of a box that has to be covered for it to count as covered
SURE = 0.6  # mean score of a track below which somebody should look
Look = Callable[[Sequence[npt.NDArray[np.uint8]]], list[tuple[Box, ...]]]


@dataclass(frozen=True)
class Done:
    """What was covered: tracks, those of them that were not sure, how many more boxes a second look found, all places, and the new clip's bytes."""

    tracks: tuple[Track, ...]
    doubtful: tuple[Track, ...]
    again: int
    places: tuple[Cover, ...]
    clip: bytes


def looker(what: What, settings: Settings) -> tuple[Look, Look]:
    """What finds faces, or people, and what looks closer. Raises WeightsError."""
    if what == "faces":
        faces = load_faces()
        return faces, faces  # the picture is larger then
    people = load_detector(settings.model_copy(update={"object_classes": ("person",), "object_score": LEAST}))
    return people, lambda frames: [closely(frame, people) for frame in frames]


def closely(frame: npt.NDArray[np.uint8], look: Look) -> tuple[Box, ...]:
    """Boxes of a frame and of its four overlapping quarters, each looked at as if it were a picture."""
    height, width = frame.shape[:2]
    tall, wide = max(1, int(height * TILE)), max(1, int(width * TILE))
    found = list(look([frame])[0])
    for x in (0, width - wide):
        for y in (0, height - tall):
            for b in look([np.ascontiguousarray(frame[y : y + tall, x : x + wide])])[0]:
                left, top, w, h = b.box
                own = ((left * wide + x) / width, (top * tall + y) / height, w * wide / width, h * tall / height)
                found.append(Box(b.label, b.score, own))
    return tuple(found)


def sightings(
    path: str | os.PathLike[str], look: Look, settings: Settings, *, side: int
) -> tuple[list[Sighting], float]:
    """Looks RATE times a second, and the clip's length (s). Raises as `open_video` does, InputError for a clip longer than can be written."""
    every = settings.model_copy(update={"snippet_frames": 16, "frames_per_snippet": 16})
    found: list[Sighting] = []
    with open_video(path, every, size=side) as clip:
        due = 0.0
        for snippet in clip:
            step = (snippet.end - snippet.start) / len(snippet.frames)
            for k, frame in enumerate(snippet.frames):
                time = snippet.start + k * step
                if time >= due - step / 2:
                    due = time + 1 / RATE
                    found.append(Sighting(time, look([frame])[0]))
            if snippet.end > MAX_CUT:
                raise InputError(f"{os.fspath(path)}: longer than {MAX_CUT / 60:g} minutes; cut it into parts first")
        return found, clip.video.duration


def covers(tracks: Sequence[Track], wider: float) -> list[Cover]:
    """Where to cover, and from when to when: between two sightings both boxes and what lies between them, each made wider."""
    found = []
    for track in tracks:
        grown = track.boxes.astype(np.float64)
        grown = np.concatenate([grown[:, :2] - wider * grown[:, 2:], grown[:, :2] + (1 + wider) * grown[:, 2:]], axis=1)
        times = [track.times[0] - HOLD, *track.times, track.times[-1] + HOLD]
        boxes = [grown[0], *grown, grown[-1]]
        for a, b, one, other in zip(times, times[1:], boxes, boxes[1:], strict=False):
            low, high = np.minimum(one[:2], other[:2]).clip(0, 1), np.maximum(one[2:], other[2:]).clip(0, 1)
            if (high > low).all():
                found.append(Cover(max(float(a), 0.0), max(float(b), 0.0), (*low.tolist(), *(high - low).tolist())))
    return found


def uncovered(seen: Sequence[Sighting], there: Sequence[Cover]) -> list[Sighting]:
    """Of what a second look saw, what is not covered by HIDDEN of its box."""
    left = []
    for sighting in seen:
        now = [c.box for c in there if c.start <= sighting.time <= c.end]
        boxes = tuple(b for b in sighting.boxes if _share(b.box, now) < HIDDEN)
        if boxes:
            left.append(Sighting(sighting.time, boxes))
    return left


def _share(box: Sequence[float], others: Sequence[Sequence[float]]) -> float:
    """The largest share of a box that lies in one of the others."""
    shares = [0.0]
    for other in others:
        sides = [min(box[k] + box[k + 2], other[k] + other[k + 2]) - max(box[k], other[k]) for k in (0, 1)]
        shares.append(max(sides[0], 0) * max(sides[1], 0) / (box[2] * box[3]))
    return max(shares)


def alone(seen: Sequence[Sighting]) -> list[Track]:
    """Each sighting as a track of its own: what was seen once is covered too."""
    return [
        Track(1, b.label, np.array([s.time]), np.array([b.box], np.float32), b.score) for s in seen for b in s.boxes
    ]


def anonymise(path: str | os.PathLike[str], settings: Settings, *, what: What = "faces", how: How = "mosaic") -> Done:
    """The clip with what was found covered. Raises InputError, VideoError, LimitError as `open_video` does."""
    look, close = looker(what, settings)
    seen, duration = sightings(path, look, settings, side=SIDE)
    tracks = follow(seen)
    there = covers([*tracks, *alone(seen)], WIDER[what])
    clip = covered(path, duration, there, how, settings)
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(clip)
        file.flush()
        more = uncovered(sightings(file.name, close, settings, side=CLOSE)[0], there)
    if more:
        there += covers(alone(more), WIDER[what])
        clip = covered(path, duration, there, how, settings)
    doubtful = tuple(t for t in tracks if t.score < SURE)
    return Done(tracks, doubtful, sum(len(s.boxes) for s in more), tuple(there), clip)


def write(path: Path, out: Path, settings: Settings, *, what: What, how: How) -> dict[str, Any]:
    """`anonymise` into OUT/NAME.mp4, whole or not at all; what a person has to know of it. Raises InputError where it would overwrite the clip itself, OutputError."""
    target = out / f"{path.stem}.mp4"
    if target.exists() and path.exists() and target.samefile(path):
        raise InputError(f"{path}: this would overwrite the clip; name another folder with -o")
    done = anonymise(path, settings, what=what, how=how)
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_bytes(done.clip)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{target}: cannot be written ({error.strerror})") from None
    return {
        "path": str(path), "written": str(target), "what": what, "how": how, "tracks": len(done.tracks), "second_look": done.again,
        "look_at": [{"start": round(float(t.times[0]), 2), "end": round(float(t.times[-1]), 2), "score": round(t.score, 2)} for t in done.doubtful],
    }  # fmt: skip
