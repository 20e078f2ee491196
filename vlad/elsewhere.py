"""Whether the camera of a clip still looks where it looked: a few of its pictures, compared with a background.

In: a clip. Out: its `Background`; spans in which the camera was moved, or nothing of the background is found; and those in words.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from vlad.background import Background, compared, described, parse
from vlad.config import Settings
from vlad.errors import InputError
from vlad.video import frames_at

SIDE = 240  # pixels of the shorter side of a picture
SEEN, LOOKS = 9, 5  # pictures of a reference, and of each look
CHECKED, CHECKS = 60.0, 24  # seconds after which a camera is compared with its background again, and at most how often
Spans = tuple[tuple[str, float, float], ...]


def reference(path: Path | str, duration: float, settings: Settings) -> Background:
    """What stands still in a clip of `duration` seconds. Raises InputError where it can't be read, and where too little stands still."""
    times = [duration * (k + 0.5) / SEEN for k in range(SEEN)]
    try:
        return parse(described(frames_at(path, times, settings, size=SIDE)).text())
    except ValueError as error:
        raise InputError(str(error)) from None


def looked_elsewhere(before: Background, path: Path | str, duration: float, settings: Settings) -> Spans:
    """Spans (state, start, end; s) of a clip in which the camera was `moved`, or its picture is `unlike` its background."""
    edges = np.linspace(0, duration, min(CHECKS, int(duration // CHECKED) + 1) + 1)
    found: list[tuple[str, float, float]] = []
    for start, end in pairwise(edges.tolist()):
        times = [float(t) for t in np.linspace(start, end, LOOKS + 2)[1:-1]]
        state, _ = compared(before, described(frames_at(path, times, settings, size=SIDE)))
        if state != "same" and found and found[-1][0] == state and found[-1][2] == start:
            found[-1] = (state, found[-1][1], end)
        elif state != "same":
            found.append((state, start, end))
    return tuple(found)


def words(state: str, start: float, end: float) -> str:
    """Such a span as a warning."""
    if state == "moved":
        return f"the camera was moved ({start:.0f} to {end:.0f} s): rules, zones and metres pause; draw them anew and take a new background"
    return f"the picture is unlike the rules' background ({start:.0f} to {end:.0f} s): turned away, covered, or another light; rules went on"
