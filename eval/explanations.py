"""What an explanation gets right, beside a constant and a shuffled one.

In: explanations and the simulated truth. Out: rates. Text metrics that a constant answer wins (BLEU, CIDEr) are not used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlad import wording
from vlad.sim import ANOMALIES, NORMALS, Event
from vlad.sim.captions import answer_of
from vlad.types import Explanation

from .benchmarks import SimResult, spans
from .metrics import match

STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "in",
        "on",
        "of",
        "and",
        "or",
        "it",
        "to",
        "with",
        "at",
        "from",
        "by",
        "is",
        "are",
        "one",
        "other",
        "each",
        "who",
        "that",
        "this",
        "them",
    ]
)
COLOURS = frozenset(["red", "blue", "green", "yellow", "white", "black", "orange", "purple"])
SAID = frozenset((*wording.COLOURS, "beige", "dark"))  # whatever a sentence may call a colour
LABELS = tuple(sorted((*ANOMALIES, *NORMALS), key=len, reverse=True))


@dataclass(frozen=True)
class Told:
    """An explanation beside the event that it is about."""

    explanation: Explanation
    event: Event


def elements(text: str) -> frozenset[str]:
    """Content words, lower case."""
    return frozenset(re.findall(r"[a-z0-9]+", text.lower())) - STOP


def said(explanation: Explanation) -> str:
    """Who and what, as told."""
    return " ".join((explanation.fields.get("who", ""), explanation.fields.get("what", "")))


def category(explanation: Explanation) -> str:
    """The class that `what` names first, or ''."""
    what = explanation.fields.get("what", "").lower()
    places = {label: what.find(label) for label in LABELS if label in what}
    return min(places, key=lambda label: places[label], default="")


def recall(truth: str, told: str, *, only: frozenset[str] | None = None) -> float:
    """Share of the elements of `truth` that `told` names; nan where there are none."""
    wanted = elements(truth) & only if only else elements(truth)
    return len(wanted & elements(told)) / len(wanted) if wanted else float("nan")


def rightly_coloured(truth: str, told: str) -> float:
    """Share of the colours that `told` names which `truth` has; nan where it names none."""
    named = elements(told) & SAID
    return len(named & elements(truth)) / len(named) if named else float("nan")


def truth_of(event: Event) -> str:
    """Who and what, as it was."""
    return f"{event.attributes['who']} {event.attributes['what']}"


def told_of(results: Sequence[SimResult]) -> list[Told]:
    """Explanations of the segments that found an event."""
    told = []
    for result in results:
        events = [e for e in result.world.events if e.anomalous]
        by_segment = {e.segment: e for e in result.explanations}
        for i, j in match([(e.start, e.end) for e in events], spans(result.segments)).items():
            if result.segments[j] in by_segment:
                told.append(Told(by_segment[result.segments[j]], events[i]))
    return told


def shuffled(told: Sequence[Told]) -> list[Told]:
    """The same explanations, each beside an event of another video: what wording alone earns."""
    order = np.random.default_rng(0).permutation(len(told))
    return [Told(told[int(order[i - 1])].explanation, told[int(order[i])].event) for i in range(len(told))]


def constant(told: Sequence[Told]) -> list[Told]:
    """One answer for every event: the commonest class's, in the words of a true one."""
    labels = [t.event.label for t in told]
    common = max(sorted(set(labels)), key=labels.count)
    answer = answer_of(next(t.event for t in told if t.event.label == common), "")
    fields = {k: answer[k] for k in ("who", "what")}
    return [Told(Explanation(t.explanation.segment, "anomaly", "", fields), t.event) for t in told]
