"""Small pictures of a clip on one sheet: evenly over it, and closer together in and near its segments.

In: a clip, its duration, where its segments lie. Out: a JPEG and what lies where on it. A worker makes it after scoring; where segments changed
since, the old sheet is given and a new one is made meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np
from fastapi import HTTPException
from PIL import Image

from vlad.config import Settings
from vlad.errors import VladError
from vlad.library import Library
from vlad.video import frames_at

from .limits import one_of, refusal

log = logging.getLogger("vlad.app")
MOST, EVEN, COLUMNS = 400, 100, 20  # pictures of a sheet, of which evenly over the clip, in a row
WIDTH = 160  # pixels of a picture
APART, LEAST, AROUND = (
    2.0,
    6,
    2.0,
)  # seconds between two pictures in a segment, how many it has at least, seconds around it
_MAKING: set[str] = set()
_LOCK, _TURN = Lock(), Lock()
Span = tuple[float, float]


@dataclass(frozen=True)
class Sheet:
    """path: of the JPEG. facts: times (s), columns, width, height, ratio, version. spans: a mark of the segments it was made for."""

    path: Path
    facts: dict[str, Any]
    spans: str

    @property
    def version(self) -> str:
        """Changes with the pictures."""
        return str(self.facts["version"])


def plan(duration: float, spans: Sequence[Span]) -> list[float]:
    """Rising times (s) of up to MOST pictures. spans: of segments, the most important first.

    In a segment and AROUND it they lie at most APART seconds from one another and are LEAST at least; with so many or so long segments that
    there is no room for that, first each gets fewer, and then the last ones get none.
    """
    even = min(EVEN, max(1, math.ceil(duration / APART)))
    times = set(((np.arange(even) + 0.5) / even * duration).round(3).tolist())
    room = MOST - even
    wanted = []
    for start, end in spans:
        first, last = max(0.0, start - AROUND), min(duration, end + AROUND)
        wanted.append((first, last, max(LEAST + 2, math.ceil((last - first) / APART) + 1)))
    share = 1.0
    if sum(n for _, _, n in wanted) > room:
        share = room / sum(n for _, _, n in wanted)
    for first, last, n in wanted:
        count = min(n, max(1, int(n * share)), room)
        if count < 1:
            break
        room -= count
        times |= set((first + (np.arange(count) + 0.5) / count * (last - first)).round(3).tolist())
    return sorted(times)


def make(clip: Path, duration: float, spans: Sequence[Span], settings: Settings, kept: Path) -> Sheet:
    """A new sheet at `kept`, its facts beside it. Raises VladError."""
    times = plan(duration, spans)
    frames = frames_at(str(clip), times, settings, size=120)
    height, width = frames[0].shape[:2]
    tall = max(1, round(WIDTH * height / width))
    columns = min(COLUMNS, len(frames))
    whole = Image.new("RGB", (columns * WIDTH, math.ceil(len(frames) / columns) * tall))
    for i, frame in enumerate(frames):
        whole.paste(Image.fromarray(frame).resize((WIDTH, tall)), (i % columns * WIDTH, i // columns * tall))
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part.jpg")
    whole.save(part, "JPEG", quality=70)
    version = hashlib.sha256(part.read_bytes()).hexdigest()[:16]
    facts = {
        "times": times,
        "columns": columns,
        "width": WIDTH,
        "height": tall,
        "ratio": WIDTH / tall,
        "version": version,
    }
    os.replace(part, kept)
    told = kept.with_suffix(".part.json")
    told.write_text(json.dumps({"facts": facts, "spans": _mark(spans)}))
    os.replace(told, kept.with_suffix(".json"))
    return Sheet(kept, facts, _mark(spans))


def read(kept: Path) -> Sheet | None:
    """The sheet at `kept`, None where there is none or it is damaged."""
    try:
        found = json.loads(kept.with_suffix(".json").read_text())
        return Sheet(kept, found["facts"], found["spans"]) if kept.is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def current(library: Library, video_id: str, duration: float, spans: Sequence[Span], settings: Settings) -> Sheet:
    """The sheet of what may be shown of a clip; made now where there is none, and meanwhile where its segments changed. Raises ConflictError, HTTPException 404, 503."""
    kept = library.sheet(video_id)
    found = read(kept)
    if found is not None:
        if found.spans != _mark(spans):
            _renew(library, video_id, duration, list(spans), settings)
        return found
    try:
        with one_of(_TURN, refusal(503, "pictures are being made for others; try again in a moment", 3)):
            path = library.shown(video_id)  # another may be by now
            kept = library.sheet(video_id, path)
            found = read(kept)
            if found is None:
                found = make(path, duration, spans, settings, kept)
                library.put_sheet(video_id, path)
            return found
    except VladError:
        raise HTTPException(404, "no thumbnails of this clip") from None


def _renew(library: Library, video_id: str, duration: float, spans: Sequence[Span], settings: Settings) -> None:
    with _LOCK:
        if video_id in _MAKING:
            return
        _MAKING.add(video_id)

    def work() -> None:
        try:
            with _TURN:
                path = library.shown(video_id)
                make(path, duration, spans, settings, library.sheet(video_id, path))
                library.put_sheet(video_id, path)
            library.announce("video", video_id, video_id)
        except (VladError, OSError) as error:
            log.warning("sheet of %s: %s", video_id, error)
        finally:
            with _LOCK:
                _MAKING.discard(video_id)

    Thread(target=work, daemon=True).start()


def _mark(spans: Sequence[Span]) -> str:
    words = json.dumps(sorted([round(start, 2), round(end, 2)] for start, end in spans))
    return hashlib.sha256(words.encode()).hexdigest()[:16]
