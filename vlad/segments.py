"""Scores to segments: smoothing, hysteresis, merging, minimum length.

In: a ScoreTrack. Out: segments in order of time. Knows nothing of videos or models. Scores stay absolute: a calm clip
has no segment, whatever its own highest score is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlad.types import ScoreTrack, Segment


def smooth(track: ScoreTrack, seconds: float) -> npt.NDArray[np.float64]:
    """Mean score over a window of `seconds` around each snippet's centre, weighted by time. float64 [T] in [0, 1].

    The window is cut at the ends of the clip. A snippet longer than the window keeps its own score.
    """
    edges, scores = track.edges, track.scores.astype(np.float64)
    area = np.concatenate([[0.0], np.cumsum(scores * np.diff(edges))])  # integral of the score up to each edge
    centre, half = (edges[:-1] + edges[1:]) / 2, np.maximum(seconds, np.diff(edges)) / 2
    low, high = np.maximum(centre - half, edges[0]), np.minimum(centre + half, edges[-1])
    mean: npt.NDArray[np.float64] = (np.interp(high, edges, area) - np.interp(low, edges, area)) / (high - low)
    return mean.clip(0.0, 1.0)


def _runs(smoothed: npt.NDArray[np.float64], enter: float, leave: float) -> list[tuple[int, int]]:
    """Index runs [first, last] that stay at or above `leave` and reach `enter` somewhere."""
    above = np.concatenate([[False], smoothed >= leave, [False]])
    starts, ends = np.flatnonzero(above[1:] & ~above[:-1]), np.flatnonzero(~above[1:] & above[:-1])
    return [(int(a), int(b) - 1) for a, b in zip(starts, ends, strict=True) if smoothed[a:b].max() >= enter]


def _merge(spans: list[tuple[int, int]], edges: npt.NDArray[np.float64], gap: float) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in spans:
        if merged and edges[first] - edges[merged[-1][1] + 1] <= gap:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


def _label(track: ScoreTrack, first: int, last: int) -> str:
    if track.classes is None or not track.labels:
        return ""
    span = slice(first, last + 1)
    weight = (track.scores[span] * np.diff(track.edges)[span])[:, None]
    votes = (track.classes[span] * weight).sum(axis=0)
    named = [(vote, name) for vote, name in zip(votes, track.labels, strict=True) if name != "normal"]
    return max(named)[1] if named else ""


def iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Intersection over union of two spans [start, end) of one unit, seconds or frames, in [0, 1]."""
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)


def find_segments(
    track: ScoreTrack, *, smooth_seconds: float, enter: float, leave: float, merge_gap: float, min_length: float
) -> tuple[Segment, ...]:
    """The spans of a clip worth a look.

    A span opens where the smoothed score reaches `enter` and extends both ways while it stays at or above `leave`
    (0 <= leave <= enter <= 1). Spans at most `merge_gap` seconds apart become one; those shorter than `min_length`
    seconds go, unless they cover the whole clip. Peak and its time come from the raw scores inside the span; the label
    is the class with the highest score-weighted mean, `normal` left out.
    """
    edges = track.edges
    segments = []
    for first, last in _merge(_runs(smooth(track, smooth_seconds), enter, leave), edges, merge_gap):
        start, end = float(edges[first]), float(edges[last + 1])
        if end - start < min_length and last - first + 1 < len(track.scores):
            continue
        peak = first + int(np.argmax(track.scores[first : last + 1]))
        peak_time = float(edges[peak] + edges[peak + 1]) / 2
        segments.append(Segment(start, end, float(track.scores[peak]), peak_time, _label(track, first, last)))
    return tuple(segments)
