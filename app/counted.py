"""Words to what can be counted: how many of what, and whether they run, read by rule and looked for in what was followed.

In: words such as 'two people running' or '3 cars', and a clip's tracks. Out: the spans where that was measured. Words of which more is left than
that (`a red car`, `two people fighting`) are judged by looks, and by what must be there besides. Knows no library and no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlad.errors import InputError
from vlad.facts import STEP, look, speeds
from vlad.tracks import VEHICLES
from vlad.types import Track

RUNS = 1.6  # body heights, or lengths, a second: a walk is about .8, a run 2 and more
LONGEST = 7200.0  # seconds of a clip in which is counted while somebody waits
NUMBERS = {
    word: i for i, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 1)
}
NUMBERS |= {"a": 1, "an": 1, "some": 1, "somebody": 1, "someone": 1, "couple": 2, "several": 3, "many": 4, "crowd": 6}
PEOPLE = frozenset({"person"})
KINDS: dict[str, frozenset[str]] = {
    r"people|persons?|m[ae]n|wom[ae]n|pedestrians?|somebody|someone|crowd": PEOPLE,
    r"vehicles?": VEHICLES - {"bicycle"}, r"cars?|vans?": frozenset({"car"}), r"trucks?|lorr(?:y|ies)": frozenset({"truck"}),
    r"bus(?:es)?": frozenset({"bus"}), r"bi(?:cycles?|kes?)|cyclists?": frozenset({"bicycle"}), r"motor(?:cycles?|bikes?)": frozenset({"motorcycle"}),
    r"dogs?": frozenset({"dog"}), r"bags?|luggage": frozenset({"backpack", "handbag", "suitcase"}), r"backpacks?": frozenset({"backpack"}),
    r"handbags?": frozenset({"handbag"}), r"suitcases?": frozenset({"suitcase"}),
}  # fmt: skip
FAST = frozenset({"running", "runs", "run", "fast", "speeding", "racing", "quickly"})
EMPTY = frozenset(
    {"of", "the", "is", "are", "at", "once", "moving", "driving", "in", "picture", "there", "who", "that", "which"}
)


@dataclass(frozen=True)
class Counted:
    """count of things of some labels at once, fast ones where `fast`; whole: the words say nothing else."""

    labels: frozenset[str]
    count: int
    fast: bool
    whole: bool


def counted(words: str) -> Counted | None:
    """What words ask for that can be counted; None for nothing, or for more than one kind of thing."""
    told = re.findall(r"[a-z]+|\d+", words.lower())
    kinds = {word: labels for word in told for pattern, labels in KINDS.items() if re.fullmatch(pattern, word)}
    if len(set(kinds.values())) != 1:
        return None
    numbers = [int(word) if word.isdigit() else NUMBERS[word] for word in told if word.isdigit() or word in NUMBERS]
    fast = any(word in FAST for word in told)
    rest = [w for w in told if w not in kinds and w not in NUMBERS and w not in FAST | EMPTY and not w.isdigit()]
    many = max(numbers, default=2 if any(w.endswith("s") or w in ("people", "men", "women") for w in kinds) else 1)
    return Counted(next(iter(kinds.values())), max(many, 1), fast, not rest)


def spans_of(
    told: Sequence[Mapping[str, Any]], wish: Counted, *, duration: float, aspect: float
) -> list[tuple[float, float]]:
    """Spans (s) of a clip whose tracks (`Library.tracks`) show what was asked for. Raises InputError for tracks that make no sense."""
    try:
        tracks = [
            Track(t["id"], t["label"], np.array(t["times"], np.float64), np.array(t["boxes"], np.float32).reshape(-1, 4), t["score"])
            for t in told if t["label"] in wish.labels
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"tracks: {error}; analyse the clip again") from None
    if len(tracks) < wish.count:
        return []
    seen = look(tracks, (0.0, duration), aspect)
    there = np.zeros(len(seen.times), np.int64)
    for track, boxes in zip(seen.tracks, seen.boxes, strict=True):
        here = np.isfinite(boxes[:, 0])
        if wish.fast and len(boxes) > 1:
            here &= np.append(speeds(track, boxes), 0.0) >= RUNS
        there += here
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there >= wish.count, [0]]).astype(np.int64)))
    times = np.append(seen.times, seen.times[-1] + STEP)
    return [(float(times[a]), float(times[b])) for a, b in zip(edges[::2], edges[1::2], strict=True)]
