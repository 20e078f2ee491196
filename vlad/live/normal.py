"""Thresholds by normal footage: conformal over minutes, for a scorer or for one camera whose alarms are held.

In: scores in which nothing happens. Out: the lowest threshold at which the rate of alarms that was asked for is kept in expectation, with what it rests on (Angelopoulos et al. 2024,
"Conformal Risk Control"). It holds for minutes exchangeable with these; minutes of one hour are alike, so more hours mean more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from vlad.errors import InputError
from vlad.library.adapting import LEAST
from vlad.types import Box

from .alarms import AlarmRule, Alarms, held_levels

BLOCK = 60.0  # seconds; an alarm in a block counts once
ROUNDS = 500  # of a bootstrap
SINCE = 1e8  # seconds since 1970: edges of a stream lie beyond, those of a clip begin at 0
Floats = npt.NDArray[np.float64]


def highest_of(values: Sequence[Floats], lengths: Sequence[Floats]) -> Floats:
    """The highest value of each minute: values [T] and how long each lasts (s) [T], of parts that are put one behind the other; float64 [N]."""
    whole = np.concatenate(values)
    ends = np.cumsum(np.concatenate(lengths))
    count = int(ends[-1] // BLOCK)
    place = np.minimum((ends - 1e-9) // BLOCK, count - 1).astype(int)
    found: Floats = np.full(count, -np.inf)
    if count:
        np.maximum.at(found, place, whole)
    return found[found > -np.inf]


def conformal_threshold(highest: Floats, rate: float) -> float:
    """The lowest threshold t with (alarms at t + 1) / (N + 1) <= rate * BLOCK / 3600, for N blocks. Raises InputError where N is too small.

    An alarm is a block whose highest score reaches t. The 1 is what the next block may cost at most.
    """
    allowed = rate * BLOCK / 3600
    most = int(np.floor(allowed * (len(highest) + 1))) - 1  # blocks that may alarm
    if most < 0:
        need = int(np.ceil(1 / allowed)) - 1
        raise InputError(
            f"{len(highest)} minutes of normal footage cannot promise {rate:g} alarms an hour; it takes {need}, or a higher rate"
        )
    ordered = np.sort(highest)[::-1]
    if most < len(ordered) and ordered[most] >= 1:
        raise InputError(
            f"{most + 1} minutes of normal footage reach score 1, no threshold promises {rate:g} alarms an hour; adapt first"
        )
    return float(np.nextafter(ordered[most], 2)) if most < len(ordered) else 0.0


def rate_interval(count: int, hours: float) -> tuple[float, float]:
    """95 % interval (Garwood) of a rate an hour, of what happened `count` times in `hours`."""
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low) / hours, float(chi2.ppf(0.975, 2 * count + 2)) / 2 / hours


def threshold_interval(highest: Floats, rate: float) -> tuple[float, float]:
    """95 % interval of the conformal threshold, by hours of footage drawn anew (bootstrap): what other hours like these would have given; minutes of one hour are alike."""
    hours = np.array_split(highest, max(2, len(highest) // 60))
    draws, found = np.random.default_rng(0), []
    for _ in range(ROUNDS):
        drawn = np.concatenate([hours[i] for i in draws.integers(0, len(hours), len(hours))])
        try:
            found.append(conformal_threshold(drawn, rate))
        except InputError:  # of these minutes so many reach 1, or there are too few
            found.append(1.0)
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def camera_threshold(parts: Sequence[tuple[Floats, Floats]], rate: float, rule: AlarmRule) -> dict[str, Any]:
    """The threshold at which a camera's own normal scores raise at most `rate` alarms an hour, with what it rests on: enter, interval, rate, hours, blocks, alarms (that it would have
    raised in them, as alarms are raised) and their rate's interval. parts: edges [T, 2] (s) and scores [T] of stretches. Raises InputError where there is too little."""
    parts = [(e, s) for e, s in parts if len(s)]
    if not parts:
        raise InputError("there are no normal scores of this camera: let it run, or add clips of it that are analysed")
    levels = [held_levels(e, s, rule) for e, s in parts]
    highest = highest_of(levels, [e[:, 1] - e[:, 0] for e, _ in parts])
    enter = max(conformal_threshold(highest, rate), LEAST)
    hours = sum(float((e[:, 1] - e[:, 0]).sum()) for e, _ in parts) / 3600
    alarms = raised_in(parts, replace(rule, threshold=min(enter, 1.0)))
    return {
        "enter": enter, "interval": threshold_interval(highest, rate), "rate": rate, "hours": hours, "blocks": len(highest),
        "alarms": alarms, "alarms_an_hour": rate_interval(alarms, hours),
    }  # fmt: skip


def raised_in(parts: Sequence[tuple[Floats, Floats]], rule: AlarmRule) -> int:
    """How many alarms a rule raises in stretches of scores, those beyond its limit too."""
    found = 0
    for edges, scores in parts:
        alarms, last = Alarms(rule), {}
        for (start, end), score in zip(edges.tolist(), scores.tolist(), strict=True):
            for event in alarms.push(_Snippet(start, end, score)):
                last[event.key] = event.counted
        found += sum(last.values())
    return found


@dataclass(frozen=True)
class _Snippet:
    """A score without a picture."""

    start: float
    end: float
    score: float
    label: str = ""
    looked: bool = True
    boxes: tuple[Box, ...] = ()
