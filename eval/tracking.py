"""Tracks beside true paths: IDF1 and identity switches.

In: tracks and paths with times and boxes. Out: figures in [0, 1] and counts. IDF1 (Ristani et al. 2016) pairs each true path with one track
for the whole clip, so that a track that changes to another person is paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from vlad.tracks import overlaps
from vlad.types import Track

OVERLAP = 0.5
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    """A true path: times [N] (s) and boxes [N, 4], shares of the picture."""

    times: Floats
    boxes: Floats


def hits(path: Path, track: Track) -> int:
    """At how many times of a path the track is on it."""
    inside = (path.times >= track.times[0] - 1e-6) & (path.times <= track.times[-1] + 1e-6)
    if not inside.any():
        return 0
    own = track.at(path.times[inside]).astype(np.float64)
    return int(
        (
            np.array([overlaps(a[None], b[None])[0, 0] for a, b in zip(path.boxes[inside], own, strict=True)])
            >= OVERLAP
        ).sum()
    )


def idf1(paths: Sequence[Path], tracks: Sequence[Track]) -> float:
    """IDF1 in [0, 1]: twice the boxes that bear the right identity, over all true and all found ones."""
    if not paths or not tracks:
        return 0.0
    right = np.array([[hits(p, t) for t in tracks] for p in paths])
    rows, columns = linear_sum_assignment(-right)
    found = sum(
        int(((p.times >= t.times[0] - 1e-6) & (p.times <= t.times[-1] + 1e-6)).sum()) for t in tracks for p in paths[:1]
    )
    true = sum(len(p.times) for p in paths)
    return float(2 * right[rows, columns].sum() / (true + found))
