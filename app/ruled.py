"""A camera's newest rules on a clip: which held when, and the segments that scores and rules give together.

In: a clip of the library, its scores and tracks. Out: what the library keeps of them (`AnalysisRow.rules`), and segments. Nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, tzinfo
from typing import Any

import numpy as np

from vlad.background import Background
from vlad.clock import known, zone_of
from vlad.elsewhere import Spans, words
from vlad.library import Library
from vlad.library.tables import Video
from vlad.movement import Walked
from vlad.rules import Rules, applied, held, parse
from vlad.types import ScoreTrack, Segment, Track

Ruled = dict[str, Any]


def tracks_of(kept: Sequence[dict[str, Any]]) -> list[Track]:
    """Tracks as the library keeps them, as the values that the line knows."""
    return [
        Track(t["id"], t["label"], np.array(t["times"], float), np.array(t["boxes"], np.float32).reshape(-1, 4), t["score"])
        for t in kept
    ]  # fmt: skip


def clock_of(video: Video) -> tuple[float, tzinfo] | None:
    """When a clip began and its zone; None where nobody knows."""
    here = zone_of(video.zone) or datetime.now(UTC).astimezone().tzinfo
    return (video.recorded, here) if video.recorded is not None and known(video.recorded) and here else None


def walked(library: Library, video_id: str) -> Walked | None:
    """Who walked through a clip, as `vlad.movement` takes it, while its camera looked where it should; None where it is gone, or was not analysed."""
    row = library.listed([video_id]).get(video_id)
    facts = (row.video.facts or {}) if row else {}
    if (
        row is None
        or row.video.removed is not None
        or row.found is None
        or not facts.get("height")
        or not row.video.duration
    ):
        return None
    tracks = steady(library, video_id)
    return Walked(tracks, row.video.duration, facts["width"] / facts["height"], clock_of(row.video))


def steady(library: Library, video_id: str) -> list[Track]:
    """Tracks of an analysed clip but those from when its camera was moved: what is counted, and where it is on the ground. Raises ConflictError."""
    spans = (library.analysis(video_id).rules or {}).get("elsewhere", [])
    away = [(start, end) for state, start, end in spans if state == "moved"]
    tracks = tracks_of(library.tracks(video_id))
    return [t for t in tracks if not any(t.times[0] < end and t.times[-1] > start for start, end in away)]


def rules_of(library: Library, camera: str) -> Rules | None:
    """The newest rules of a camera."""
    row = library.rules(camera)
    return None if row is None else parse(row.text)


def ruled(
    library: Library, video: Video, track: ScoreTrack, tracks: Sequence[Track], aspect: float,
    segments: Callable[[ScoreTrack], tuple[Segment, ...]], elsewhere: Callable[[Background], Spans],
) -> tuple[Ruled, tuple[Segment, ...]] | None:  # fmt: skip
    """What of the newest rules of a clip's camera holds, and the segments of its scores under them; None where it has no rules.

    Rules with a time of day go by when the clip was recorded, in its own zone, and hold never where nobody knows that. segments: finds them in a timeline;
    elsewhere: spans in which the camera was moved from where a background says that it looks, in which no rule holds.
    """
    row, rules = library.rules(video.camera), rules_of(library, video.camera)
    if row is None or rules is None:
        return None
    clock = clock_of(video)
    spans = elsewhere(rules.background) if rules.background else ()
    away = [(start, end) for state, start, end in spans if state == "moved"]
    found = held(rules, tracks, float(track.edges[-1]), aspect=aspect, clock=clock, paused=away)
    told = [{**asdict(h), "start": round(h.start, 3), "end": round(h.end, 3), "tracks": list(h.tracks)} for h in found]
    after, lower = segments(applied(rules, found, track)), {r.name for r in rules.rules if r.lowers is not None}
    hidden = [
        {"start": round(s.start, 3), "end": round(s.end, 3), "rules": sorted({h.rule for h in found if h.rule in lower and h.start < s.end and s.start < h.end})}
        for s in (segments(track) if lower else ()) if not any(a.start < s.end and s.start < a.end for a in after)
    ]  # fmt: skip
    kept = {
        "camera": video.camera, "version": row.version, "held": told, "hidden": hidden, "elsewhere": [list(s) for s in spans],
        "warnings": [words(*s) for s in spans],
    }  # fmt: skip
    return kept, after
