"""Words that rest on facts: the fields of an explanation from what was measured and what the model said, and the sentence from the fields.

In: what a model said of a span, facts of it, the scorer's class and how much the footage looks like what the model knows. Out: an
explanation whose parts cannot contradict one another, since one place renders its sentence. Who, where and when are measured; what and why
are named only where scorer, words and facts agree: else it says so (`vlad.types.NOT_SURE`) and names no crime. Knows no pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vlad.types import NOT_SURE, Explanation, Fact, Segment, Verdict
from vlad.wording import COLOURS, UNCLEAR, sentence

LOOKS = "one picture of it looks like"
UNLIKE = "footage unlike any this model learnt its words from: what was measured, and the scorer's class alone"
SURE_SHARE = 0.5  # share of the class, by the scorer, from which it may be named
FAMILIAR = 0.5  # likeness to the rendered world from which the model's own words count
TRUST = 0.45  # from which a fact is told
BELONGS = (
    0.3  # how much of a thing's time and a span's must be one time for it to be whom the words of the span are about
)
COLOUR = "|".join(COLOURS)
GUESSED = re.compile(  # colours as the model's words name them
    rf"(?P<worn> in (?:an? (?:{COLOUR}) top(?: and (?:{COLOUR}) trousers)?|(?:{COLOUR}) trousers)\b)"
    rf"|(?P<article>\ban? )?(?P<parked>parked )?\b(?:{COLOUR})\b(?: and (?:{COLOUR})\b)?(?: (?=(?P<noun>\w+)))?",
    re.IGNORECASE,
)
CALLED = {
    "fighting": "a fight", "assault": "an assault", "road accident": "a road accident", "explosion": "an explosion or fire",
    "arson": "a fire", "burglary": "a burglary", "robbery": "a robbery", "shoplifting": "a theft", "shooting": "a shooting",
    "vandalism": "damage to property", "falling": "a fall", "crowd panic": "a crowd that flees", "abandoned object": "an object left behind",
}  # fmt: skip
NEEDS = {
    "road accident": "vehicles", "falling": "people", "shoplifting": "people", "robbery": "people", "fighting": "people",
    "assault": "people", "crowd panic": "people", "shooting": "people",
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What is known of a span beside the model's words. share: of the scorer's class in [0, 1]; familiar: likeness to what the model knows,
    in [0, 1], None where nobody can tell; enter: the score from which a span is flagged; looks: what one picture looks like, '' for none."""

    facts: tuple[Fact, ...]
    share: float
    familiar: float | None
    enter: float
    looks: str = ""


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def when(segment: Segment) -> str:
    """The span in words."""
    return f"from {clock(segment.start)} to {clock(segment.end)}"


def fact(facts: Sequence[Fact], kind: str) -> Fact | None:
    """The surest fact of a kind, None where there is none to trust."""
    own = [f for f in facts if f.kind == kind and f.sure >= TRUST]
    return max(own, key=lambda f: f.sure, default=None)


def number(facts: Sequence[Fact], kind: str) -> int:
    """How many people or vehicles at most; 0 also where nobody looked."""
    return int(max((f.value for f in facts if f.kind == kind), default=0.0))


def who(facts: Sequence[Fact]) -> str:
    """People and vehicles in words, '' for none."""
    words = []
    for kind, one, many in (("people", "a person", "people"), ("vehicles", "a vehicle", "vehicles")):
        count = number(facts, kind)
        if count:
            words.append(one if count == 1 else f"{count} {many}")
    clothes = [f.text for f in facts if f.kind == "clothes" and f.sure >= TRUST]
    if words and number(facts, "people") == 1 and len(clothes) == 1:
        words[0] += f" in {clothes[0]}"
    colours = [f.text for f in facts if f.kind == "vehicle colour" and f.sure >= TRUST]
    if number(facts, "vehicles") == 1 and len(colours) == 1:
        words[-1] = f"a {colours[0]}"
    return " and ".join(words)


def measured(words: str, facts: Sequence[Fact]) -> str:
    """A model's words with measured colours in place of those that it guessed, and with none where none was measured."""
    own = [f for f in facts if f.sure >= TRUST and f.value >= BELONGS]
    clothes, vehicles = ([f.text for f in own if f.kind == kind] for kind in ("clothes", "vehicle colour"))
    slots = [m for m in GUESSED.finditer(words) if m["worn"]]
    apart = (
        len({words[: m.start()].rsplit(" ", 1)[-1] for m in slots}) > 1
    )  # a robber and a person: who wears what nobody measured
    worn, driven = iter(clothes), iter(vehicles)

    def found(match: re.Match[str]) -> str:
        if match["worn"]:
            text = "" if apart else next(worn, "")
            return f" in {text}" if text else ""
        colour = next(driven, "").removesuffix("vehicle") if match["noun"] in ("car", "van") else ""
        phrase = (match["parked"] or "") + colour
        if not match["article"]:
            return phrase
        vowel = (phrase or match["noun"] or "")[:1].lower() in tuple("aeiou")
        return f"{match['article'][0]}{'n' if vowel else ''} {phrase}"

    told = GUESSED.sub(found, words).replace("a person and a person", "two people")
    return told + "".join(f", one in {text}" for text in clothes[: len(slots)]) if apart else told


def doing(facts: Sequence[Fact]) -> str:
    """What was measured of them, '' for nothing."""
    kinds = ("fall", "close", "line", "person speed", "metres", "vehicle speed", "stop", "scatter", "left", "carried")
    told = [
        f.text
        for kind in kinds
        if (f := fact(facts, kind)) is not None and not (kind == "vehicle speed" and "fast" not in f.text)
    ]
    return ", ".join(told[:3])


def told(facts: Sequence[Fact]) -> str:
    """How many and what they do, as nano's model is told: without colours, which no model need repeat; '' for nothing."""
    many = [f.text for f in facts if f.kind in ("people", "vehicles") and f.value]
    did = doing(facts)
    return ", ".join([*many, did] if did else many)


def where(facts: Sequence[Fact]) -> str:
    """Zones that people named, place in the picture, light, and whether the camera moves."""
    zones = []
    for kind in ("people", "vehicles"):
        for own in (f for f in facts if f.kind == f"{kind} in zone" and f.sure >= TRUST):
            whole = own.value == number(facts, kind)  # how many there are is said already
            zones.append(own.text[own.text.index("in ") :] if whole else own.text)
    others = [f.text for kind in ("where", "light", "camera") if (f := fact(facts, kind)) is not None]
    return ", ".join(zones + others)


def named(text: str, labels: Sequence[str]) -> str:
    """The class that a text names first, '' for none."""
    places = {label: place for label in labels if (place := text.lower().find(label)) >= 0}
    return min(places, key=lambda label: places[label], default="")


def agreed(said: Explanation, known: Known, labels: Sequence[str]) -> bool:
    """Whether scorer, words and facts tell the same story; the words count only where the model knows such footage."""
    label = said.segment.label
    if not label or said.segment.peak < known.enter:
        return False
    looked = any(f.kind == "people" for f in known.facts)
    if known.familiar is not None and known.familiar >= FAMILIAR:
        return said.verdict == "anomaly" and named(said.fields.get("what", ""), labels) == label
    missing = label in NEEDS and looked and number(known.facts, NEEDS[label]) == 0
    return known.share >= SURE_SHARE and not missing


def fields_of(said: Explanation, known: Known, *, sure: bool, calm: bool) -> dict[str, str]:
    """Who, where and when from facts, or the model's where it knows such footage and is sure; what and why."""
    own = (sure or calm) and known.familiar is not None and known.familiar >= FAMILIAR
    label, model = said.segment.label, {k: measured(v, known.facts) for k, v in said.fields.items()}
    found = {"when": when(said.segment)}
    found["who"] = (model.get("who", "") if own else "") or who(known.facts)
    found["where"] = (model.get("where", "") if own else "") or where(known.facts)
    did = doing(known.facts)
    if calm:
        found |= {
            "what": "nothing happens" if own else did or "nothing out of place",
            "why": model.get("why", "") if own else "",
        }
    elif sure:
        found |= {
            "what": model["what"] if own else CALLED.get(label, label),
            "why": (model.get("why", "") if own else "") or did,
        }
    else:
        found |= {"what": f"{UNCLEAR}; {LOOKS} {known.looks}" if known.looks else UNCLEAR, "why": did}
    return {k: v for k, v in found.items() if v}


def ground(said: Explanation, known: Known, labels: Sequence[str]) -> Explanation:
    """An explanation that rests on facts. `raw` keeps the model's own words; its probability never says that it is certain."""
    own = known.familiar is not None and known.familiar >= FAMILIAR
    if own and not said.fields and not any(n.startswith("answer: ") for n in said.notes):
        return replace(said, text=measured(said.text, known.facts))  # by a template without fields
    calm = said.segment.peak < known.enter if not own else said.verdict == "normal"
    sure = not calm and agreed(said, known, labels)
    verdict: Verdict = "normal" if calm else "anomaly" if sure else "unclear"
    fields = fields_of(said, known, sure=sure, calm=calm)
    notes = tuple(n for n in said.notes if not n.startswith("answer: "))
    notes += () if sure or calm else (NOT_SURE,)
    notes += () if own else (UNLIKE,)
    probability = said.probability if own and said.probability is not None else None
    if probability is not None:
        probability = min(max(probability, 0.01), 0.99)
    return replace(
        said, verdict=verdict, text=sentence(fields, "", verdict), fields=fields, notes=notes, probability=probability
    )
