"""Questions answered from facts and notes, for a model that is no chat partner.

In: a question, facts of a span and what was said of it. Out: a sentence that tells what was measured, or that it can't be told. A question
is read by its words alone: no model, no guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlad.types import Explanation, Fact

from .grounded import TRUST, clock, number

CANNOT = "This model cannot tell. It only answers how many, which colours, how fast, how close, where and when, from what was measured."
ASKS: tuple[tuple[str, str], ...] = (
    ("count", r"\bhow many\b|\bnumber of\b|\bcount\b"),
    ("colour", r"\bcolou?rs?\b|\bwear|\bdressed\b|\bclothes\b"),
    ("speed", r"\bfast\b|\bspeed|\brunning\b|\brun\b"),
    ("close", r"\bclose\b|\bnear\b|\btogether\b|\bdistance\b"),
    ("fall", r"\bfall(s|en|ing)?\b|\bfell\b|\blying\b"),
    ("left", r"\bleft behind\b|\bbag\b|\bcarr(y|ies|ied|ying)\b|\bobject\b"),
    ("when", r"\bwhen\b|\bwhat time\b|\bhow long\b"),
    ("where", r"\bwhere\b"),
    ("who", r"\bwho\b|\bpeople\b|\bperson\b|\banyone\b|\banybody\b"),
    ("what", r"\bwhat (happens|happened|is happening|is going on|do you see)\b|\bdescribe\b"),
)
KINDS = {
    "speed": ("person speed", "vehicle speed", "stop"), "close": ("close",), "fall": ("fall",), "left": ("left", "carried"),
    "where": ("where", "light"), "colour": ("clothes", "vehicle colour", "grey"),
}  # fmt: skip
VEHICLE = re.compile(r"\b(cars?|vehicles?|vans?|trucks?|buses|bus|motorcycles?)\b", re.IGNORECASE)


def _told(facts: Sequence[Fact], kinds: Sequence[str]) -> str:
    own = [f for f in facts if f.kind in kinds and f.sure >= TRUST]
    return "; ".join(dict.fromkeys(f.text + (f", at {clock(f.time)}" if f.time is not None else "") for f in own))


def _count(question: str, facts: Sequence[Fact]) -> str:
    kind, one, many = (
        ("vehicles", "vehicle", "vehicles") if VEHICLE.search(question) else ("people", "person", "people")
    )
    if kind == "people" and not re.search(
        r"\b(people|persons?|men|man|women|woman|pedestrians?|anyone|there)\b", question.lower()
    ):
        return CANNOT
    found = next((f for f in facts if f.kind == kind), None)
    if found is None:
        return "Nobody counted them: objects were not looked for."
    count = number(facts, kind)
    if not count:
        return f"No {one} was detected; small or hidden ones may be missed."
    return f"At most {count} {one if count == 1 else many + ' at once'}" + (
        f", at {clock(found.time)}." if found.time is not None else "."
    )


def answer(question: str, facts: Sequence[Fact], said: Explanation | None) -> str:
    """The answer to a question about a span."""
    asked = next((name for name, pattern in ASKS if re.search(pattern, question.lower())), "")
    if asked == "count":
        return _count(question, facts)
    if asked == "colour" and VEHICLE.search(question):
        told = _told(facts, ("vehicle colour", "grey"))
        return f"Measured: {told}." if told else "No colour of a vehicle could be measured here."
    if asked in KINDS:
        told = _told(facts, KINDS[asked])
        return (
            f"Measured: {told}."
            if told
            else "Nothing of that kind was measured here; that is no proof that it did not happen."
        )
    if said is not None and asked in ("when", "who", "what"):
        field = said.fields.get(asked)
        return f"{said.text}" if asked == "what" else f"{field[:1].upper()}{field[1:]}." if field else CANNOT
    return CANNOT
