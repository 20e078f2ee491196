"""A camera's threshold as people judge its alarms: raised by what they dismiss, lowered as time goes by between alarms, near what was calibrated.

In: a calibration, alarms with verdicts. Out: a threshold. Every judged alarm moves the logit of the threshold by STEP * (1 - rate * hours) where it was dismissed, and by
STEP * -(rate * hours) where it was confirmed; hours: looked at since the alarm before it. So the threshold stands still where alarms are dismissed at the rate that was asked for,
whatever the scores do (Gibbs and Candès 2021, "Adaptive Conformal Inference"; Angelopoulos, Candès and Tibshirani 2023, "Conformal PID Control", its P part). Alarms that nobody
judged, and the time before them, count for nothing. It stays within REACH of what was calibrated, and does not rise above what would still have found most of the last HITS
confirmed alarms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

STEP = 0.15  # of the logit, for each false alarm
REACH = 2.0  # of the logit, from what was calibrated, either way
LULL = 2.0  # false alarms, at most, that one quiet span makes up for
HITS = 10  # confirmed alarms that hold the threshold down
LEAST, MOST = 0.01, 0.9999  # thresholds


@dataclass(frozen=True)
class Judged:
    """An alarm that somebody decided on. peak: its highest score; hours: looked at since the alarm before it."""

    false: bool
    peak: float
    hours: float


def adapted(enter: float, rate: float, alarms: Sequence[Judged]) -> float:
    """The threshold by now, in (0, 1). enter: as calibrated for `rate` false alarms an hour; alarms: since then, in order of time."""
    base = _logit(enter)
    place, hits = base, [a.peak for a in alarms if not a.false][-HITS:]
    for alarm in alarms:
        place += STEP * (float(alarm.false) - min(rate * alarm.hours, LULL))
        place = min(max(place, base - REACH), base + REACH)
    if hits:  # all but the lowest of ten
        kept = sorted(hits)[len(hits) // HITS]
        place = min(place, max(_logit(kept), base))
    return min(max(1 / (1 + math.exp(-place)), LEAST), MOST)


def threshold_of(settings: dict[str, Any], calibration: dict[str, Any] | None) -> float | None:
    """What a camera's scores are held to: typed, else calibrated and adapted; None where neither was done."""
    typed = settings.get("threshold")
    return float(typed) if typed is not None else float(calibration["now"]) if calibration else None


def _logit(p: float) -> float:
    p = min(max(p, LEAST), MOST)
    return math.log(p / (1 - p))
