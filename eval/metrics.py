"""Numbers from scores and truth, with intervals. Knows no video, no model and no file.

A video's frames come as counts a snippet: `pos` anomalous and `neg` normal frames that share one score. That is exact, and a hundred
times less to sort.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from vlad.segments import iou

Floats = npt.NDArray[np.float64]
Span = tuple[float, float]
ROUNDS = 1000
BINS = 10
T = TypeVar("T")


@dataclass(frozen=True)
class Scored:
    """One video: scores float [T], and int [T] counts of anomalous and normal frames under each score."""

    scores: Floats
    pos: npt.NDArray[np.int64]
    neg: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figure:
    """A measured value and its 95 % bootstrap interval over videos."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def _flat(videos: Sequence[Scored]) -> tuple[Floats, Floats, Floats]:
    scores = np.concatenate([v.scores for v in videos])
    pos, neg = (np.concatenate([getattr(v, k) for v in videos]).astype(float) for k in ("pos", "neg"))
    truth = np.concatenate([np.ones(len(scores)), np.zeros(len(scores))])
    return truth, np.concatenate([scores, scores]), np.concatenate([pos, neg])


def frame_auc(videos: Sequence[Scored]) -> float:
    """ROC-AUC pooled over all frames; nan where one kind is missing."""
    truth, scores, weight = _flat(videos)
    keep = weight > 0
    if len(set(truth[keep])) < 2:
        return float("nan")
    return float(roc_auc_score(truth[keep], scores[keep], sample_weight=weight[keep]))


def anomaly_only(videos: Sequence[Scored]) -> list[Scored]:
    """The videos that hold an anomalous frame, by truth."""
    return [v for v in videos if v.pos.any()]


def clip_auc(scores: Sequence[float], truth: Sequence[int]) -> float:
    """ROC-AUC of one score a clip; nan where one kind is missing."""
    return float(roc_auc_score(truth, scores)) if len(set(truth)) == 2 else float("nan")


def bootstrap(items: Sequence[T], statistic: Callable[[list[T]], float], *, rounds: int = ROUNDS) -> Figure:
    """`statistic` of all items, with the 2.5 and 97.5 percentiles over resampled items; draws that give nan are left out."""
    rng = np.random.default_rng(0)
    draws = [statistic([items[int(i)] for i in rng.integers(0, len(items), len(items))]) for _ in range(rounds)]
    kept = [d for d in draws if not np.isnan(d)]
    low, high = np.percentile(kept, [2.5, 97.5]) if kept else (float("nan"), float("nan"))
    return Figure(statistic(list(items)), float(low), float(high))


def match(events: Sequence[Span], found: Sequence[Span], *, at_least: float = 0.3) -> dict[int, int]:
    """Index of an event -> index of the segment that finds it: best overlap first, each used once."""
    pairs = sorted(((iou(e, f), i, j) for i, e in enumerate(events) for j, f in enumerate(found)), reverse=True)
    matched: dict[int, int] = {}
    for overlap, i, j in pairs:
        if overlap >= at_least and i not in matched and j not in matched.values():
            matched[i] = j
    return matched


def false_alarms(events: Sequence[Span], found: Sequence[Span]) -> int:
    """Segments that touch no event at all."""
    return sum(not any(iou(e, f) > 0 for e in events) for f in found)


def calibration_error(scores: Floats, truth: Floats) -> float:
    """Expected calibration error over ten bins (Naeini et al. 2015) of scores in [0, 1]; nan for none."""
    if not len(scores):
        return float("nan")
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    parts = [(scores[place == k], truth[place == k]) for k in range(BINS)]
    return float(sum(len(s) * abs(s.mean() - t.mean()) for s, t in parts if len(s)) / len(scores))
