"""Detection mAP: which spans are named, and how well they fit.

In: class scores by the frame and true spans. Out: mAP in percent at IoU .1 to .5, in two modes. `standard` takes runs above fixed
thresholds as detections and averages over the anomalous classes: a perfect predictor has 100. `vadclip` repeats the published evaluation of
VadCLIP (Wu et al. 2024), which thresholds each video relative to its own range, counts the normal class, and therefore never reaches 100.
Knows no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)
OVERLAP = 0.6  # of two detections of one class in one video, above which the weaker one goes


@dataclass(frozen=True)
class Detection:
    """A span [start, end) in frames of video `video` with its score."""

    video: int
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Truth:
    """Class scores of a video, float [n, 1 + C] (column 0 is normal), and its true spans: (start, end, column)."""

    scores: Floats
    spans: tuple[tuple[int, int, int], ...]


def runs(above: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[start, end) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], above.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def overlap(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Intersection over union of two spans of whole frames."""
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)


def _strongest(found: list[Detection]) -> list[Detection]:
    kept: list[Detection] = []
    for d in sorted(found, key=lambda d: -d.score):
        if all(overlap((d.start, d.end), (k.start, k.end)) <= OVERLAP for k in kept):
            kept.append(d)
    return kept


def detect_standard(video: int, column: Floats) -> list[Detection]:
    """Runs above .1, .2 ... .9; a run's score is its mean."""
    found = [
        Detection(video, a, b, float(column[a:b].mean()))
        for threshold in np.arange(1, 10) / 10
        for a, b in runs(column > threshold)
    ]
    return _strongest(found)


def detect_vadclip(video: int, column: Floats) -> list[Detection]:
    """Runs of two frames or more above the maximum less six tenths of the range; score: the maximum and .7 of the video's own."""
    top = float(np.sort(column)[::-1][: len(column) // 16].mean()) if len(column) >= 16 else float("nan")
    column = column if top > 0 else np.zeros_like(column)
    threshold = column.max() - (column.max() - column.min()) * 0.6
    found = [
        Detection(video, a, b, float(column[a:b].max()) + 0.7 * top) for a, b in runs(column > threshold) if b - a >= 2
    ]
    return _strongest(found)


def average_precision(found: Sequence[Detection], spans: dict[int, list[tuple[int, int]]], at_least: float) -> float:
    """AP of one class: each true span is found once, by the best of those that overlap; nan without a true span."""
    total, left = sum(map(len, spans.values())), {video: list(of) for video, of in spans.items()}
    hits = []
    for d in sorted(found, key=lambda d: -d.score):
        fits = [(overlap((d.start, d.end), s), s) for s in left.get(d.video, [])]
        best = max(fits, default=(0.0, None))
        hits.append(best[0] >= at_least and best[1] is not None)
        if hits[-1]:
            left[d.video].remove(best[1])  # type: ignore[arg-type]
    if not total:
        return float("nan")
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / total)


def detection_map(videos: Sequence[Truth], *, mode: str = "standard") -> dict[float, float]:
    """mAP in percent by IoU. In `vadclip` mode the normal class counts, with no true span: its part is always 0."""
    classes = videos[0].scores.shape[1]
    columns = range(0 if mode == "vadclip" else 1, classes)
    detect = detect_vadclip if mode == "vadclip" else detect_standard
    found = {c: [d for i, v in enumerate(videos) for d in detect(i, v.scores[:, c])] for c in columns}
    figures = {}
    for at_least in IOUS:
        parts = []
        for c in columns:
            spans = {i: [(a, b) for a, b, k in v.spans if k == c] for i, v in enumerate(videos)}
            ap = average_precision(found[c], spans, at_least)
            parts.append(0.0 if np.isnan(ap) and mode == "vadclip" else ap)
        figures[at_least] = 100 * float(np.nanmean(parts))
    return figures
