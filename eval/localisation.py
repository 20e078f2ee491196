"""Detection mAP: which spans are named, and how well they fit.

In: class scores by the frame and true spans. Out: mAP in percent at IoU .1 to .5 and their mean, in two modes. `standard` takes runs above fixed
thresholds as detections and averages over the anomalous classes: a perfect predictor has 100. `vadclip` repeats the published evaluation of
VadCLIP (Wu et al. 2024), which thresholds each video relative to its own range, counts the normal class, and therefore never reaches 100.
Knows no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlad.segments import iou

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


def _strongest(found: list[Detection]) -> list[Detection]:
    kept: list[Detection] = []
    for d in sorted(found, key=lambda d: -d.score):
        if all(iou((d.start, d.end), (k.start, k.end)) <= OVERLAP for k in kept):
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


@dataclass(frozen=True)
class Found:
    """Detections of all videos, strongest first, by class: (video int [n], hit bool [IoUs, n]), and true spans by class and video.

    zero: whether a class without a true span counts as 0 (it does in `vadclip` mode), or not at all.
    """

    video: tuple[npt.NDArray[np.int64], ...]
    hit: tuple[npt.NDArray[np.bool_], ...]
    spans: tuple[npt.NDArray[np.float64], ...]
    zero: bool


def match(found: Sequence[Detection], spans: dict[int, list[tuple[int, int]]], at_least: float) -> list[bool]:
    """Which of the detections, strongest first, find a true span: each span is found once, by the best of those that overlap."""
    left = {video: list(of) for video, of in spans.items()}
    hits = []
    for d in found:
        fits = [(iou((d.start, d.end), s), s) for s in left.get(d.video, [])]
        overlap, best = max(fits, default=(0.0, None))
        hits.append(overlap >= at_least and best is not None)
        if hits[-1] and best is not None:
            left[d.video].remove(best)
    return hits


def find(videos: Sequence[Truth], mode: str) -> Found:
    """All detections of a mode, held against the true spans at every IoU."""
    columns = range(0 if mode == "vadclip" else 1, videos[0].scores.shape[1])
    detect = detect_vadclip if mode == "vadclip" else detect_standard
    who, hit, count = [], [], []
    for c in columns:
        found = sorted((d for i, v in enumerate(videos) for d in detect(i, v.scores[:, c])), key=lambda d: -d.score)
        spans = {i: [(a, b) for a, b, k in v.spans if k == c] for i, v in enumerate(videos)}
        who.append(np.array([d.video for d in found], np.int64))
        hit.append(np.array([match(found, spans, k) for k in IOUS], bool).reshape(len(IOUS), -1))
        count.append(np.array([len(spans[i]) for i in range(len(videos))], float))
    return Found(tuple(who), tuple(hit), tuple(count), mode == "vadclip")


def mean_ap(found: Found, times: Floats) -> dict[str, float]:
    """mAP in percent by IoU and their mean, with each video taken `times` times (ones: the plain figure).

    AP of a class is the sum of the precision at each hit over the number of true spans.
    """
    figures = {}
    for k, at_least in enumerate(IOUS):
        parts = []
        for video, hit, spans in zip(found.video, found.hit, found.spans, strict=True):
            weight, total = times[video], float((times * spans).sum())
            hits, seen = np.cumsum(weight * hit[k]), np.cumsum(weight)
            precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
            if total:
                parts.append(float((precision * weight * hit[k]).sum() / total))
            elif found.zero:
                parts.append(0.0)
        if found.zero and not all(map(len, found.video)):
            parts = [0.0]  # the published code gives up at the first class without any detection
        figures[str(at_least)] = 100 * float(np.mean(parts)) if parts else float("nan")
    return {**figures, "mean": float(np.mean(list(figures.values())))}
