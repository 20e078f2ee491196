"""What a model said of a moment, as words that can be trusted: one sentence, rendered from the fields, or that the model is not sure.

In: an explanation (the value, or its JSON) and the scorer's class. Out: a `Reading`. The model's own sentence is never shown beside its fields:
where the scorer's class, the verdict and what the fields and the sentence name disagree, no word of them is passed on. Knows no page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from vlad.types import FIELDS, NOT_SURE, Explanation

UNSURE = "The model is not sure what happens here."
UNCLEAR = "what happens is not clear to this model"  # how the field `what` begins where only facts are told
# Words of one kind of event; a class and a sentence agree where they name one kind in common. Stems, matched at the beginning of a word.
KINDS: dict[str, tuple[str, ...]] = {
    "violence": ("fight", "assault", "abus", "brawl", "riot", "attack", "beat", "punch", "kick", "hit each", "violen", "mugg"),
    "theft": ("robb", "burglar", "steal", "stole", "shoplift", "theft", "thief", "thieves", "loot", "pickpocket"),
    "fire": ("arson", "fire", "flame", "burn", "blaze", "explo", "blast", "smoke"),
    "shooting": ("shoot", "shot", "gun", "pistol", "rifle", "firearm"),
    "accident": ("accident", "crash", "collision", "collid", "run over", "hits something"),
    "damage": ("vandal", "graffiti", "smash", "destroy"),
    "fall": ("falling", "fell", "fallen", "collaps"),
    "panic": ("panic", "stampede", "flee"),
    "left": ("abandon", "unattended", "left behind"),
    "arrest": ("arrest", "handcuff"),
}  # fmt: skip
STEMS = {kind: re.compile(rf"\b(?:{'|'.join(stems)})") for kind, stems in KINDS.items()}
# A reason may name the second of these where the event is the first: a robbery is violent, an accident may burn.
ALLIED = {("theft", "violence"), ("shooting", "violence"), ("theft", "shooting"), ("panic", "fire"), ("panic", "shooting"),
          ("arrest", "violence"), ("damage", "fire"), ("damage", "theft"), ("fall", "violence"), ("fall", "accident"), ("panic", "violence"),
          ("accident", "fire")}  # fmt: skip
COLOURS = ("black", "white", "grey", "gray", "red", "green", "blue", "yellow", "orange", "purple", "pink", "brown")
PLACES = ("alley", "street", "road", "parking", "shop", "store", "hall", "corridor", "office", "platform", "park",
          "warehouse", "lobby", "bank", "garage", "kitchen", "yard", "bus", "train")  # fmt: skip
NOT = re.compile(r"\b(?:no|not|nothing|nobody|none|without|never)\b")
HEDGED = re.compile(r"\b(?:appear|seem|likely|possibl|probabl|perhaps|may|might|could)\w*", re.I)
CHANCES = (
    (0.95, "very likely an anomaly, by its own words"), (0.75, "likely an anomaly, by its own words"),
    (0.25, "as likely an anomaly as not, by its own words"), (0.05, "likely no anomaly, by its own words"),
    (0.0, "very likely no anomaly, by its own words"),
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """text: what to show. sure: whether the model's words agree with one another and with the scorer. chance: in words, '' where none is known.

    fields: some of what, who, where, when, why; empty where it is not sure.
    """

    text: str
    sure: bool
    chance: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def reading(said: Explanation | Mapping[str, Any], label: str = "") -> Reading:
    """What may be shown of an explanation. label: the scorer's class of the segment, '' for none."""
    facts = vars(said) if isinstance(said, Explanation) else said
    fields = {f: str(v).strip() for f, v in dict(facts.get("fields") or {}).items() if f in FIELDS and str(v).strip()}
    text, verdict = str(facts.get("text") or "").strip(), str(facts.get("verdict") or "unclear")
    if NOT_SURE in tuple(
        facts.get("notes") or ()
    ):  # its words hold what was measured and nothing else: see vlad.explainers.grounded
        return Reading(text or UNSURE, False, "", fields if text else {})
    judged = has_verdict(facts)
    if (judged and verdict == "unclear") or not (text or fields) or contradicts(fields, text, verdict, label):
        return Reading(UNSURE, False)
    colours = _named(text, COLOURS), _named(fields.get("who", ""), COLOURS)
    if all(colours) and colours[0] != colours[1]:  # of who is there the model says two things, so that neither is shown
        del fields["who"]
    probability = facts.get("probability")
    chance = chance_of(float(probability)) if judged and probability is not None else ""
    return Reading(sentence(fields, text, verdict if judged else ""), True, chance, fields)


def has_verdict(said: Explanation | Mapping[str, Any]) -> bool:
    """Whether the template asked for a verdict: a caption judges nothing, and its 'unclear' is no judgement."""
    facts = vars(said) if isinstance(said, Explanation) else said
    if str(facts.get("verdict") or "unclear") != "unclear" or facts.get("probability") is not None:
        return True
    raw = str(facts.get("raw") or "")
    try:
        answer = json.loads(raw)
    except ValueError:
        return not raw or '"verdict"' in raw or bool(facts.get("notes"))
    return not isinstance(answer, dict) or "verdict" in answer


def sentence(fields: Mapping[str, str], text: str, verdict: str) -> str:
    """One hedged sentence of the fields; of the model's text where it did not fill in what happens. verdict: '' where it judged nothing."""
    what, around = fields.get("what", ""), [fields[f] for f in ("who", "where", "when") if fields.get(f)]
    if what.startswith(UNCLEAR):
        told = ", ".join([*around, fields.get("why", "")]).strip(", ")
        told = f"{told}; {what}." if told else f"{what}."
        return told[:1].upper() + told[1:]
    if not what and text:
        normal = verdict == "normal"
        return text if HEDGED.search(text) else f"It appears{' normal' if normal else ''}: {text}"
    seen = what or around.pop(0)
    seen += f" ({'; '.join(around)})" if around else ""
    return f"This appears to be normal: {seen}." if verdict == "normal" else f"This appears to show {seen}."


def chance_of(probability: float) -> str:
    """A model's own probability of an anomaly in words; it is no measurement, so it gets no number."""
    return next(words for least, words in CHANCES if probability >= least)


def contradicts(fields: Mapping[str, str], text: str, verdict: str, label: str) -> bool:
    """Whether the class, the verdict and the words name different kinds of event, or the sentence other colours or places than the fields."""
    what = fields.get("what", "")
    if verdict == "normal":
        return bool(kinds_in(what) or kinds_in(text))
    named, why = [k for k in (kinds_in(label), kinds_in(what), kinds_in(text)) if k], kinds_in(fields.get("why", ""))
    if any(_differ(a, b) for i, a in enumerate(named) for b in named[i + 1 :]):
        return True
    if why and any(not _agree(kinds, why) for kinds in named):
        return True
    told = " ".join(fields.get(f, "") for f in ("what", "who", "where"))
    return any(_differ(_named(text, some), _named(told, some)) for some in (COLOURS, PLACES))


@lru_cache(10_000)
def kinds_in(words: str) -> frozenset[str]:
    """The kinds of event that words name; what they deny in the same clause is not named."""
    found = set()
    for clause in re.split(r"[.;:,]", words.lower()):
        if not NOT.search(clause):
            found |= {kind for kind, stems in STEMS.items() if stems.search(clause)}
    return frozenset(found)


def _agree(a: frozenset[str], b: frozenset[str]) -> bool:
    return bool(a & b) or any((x, y) in ALLIED or (y, x) in ALLIED for x in a for y in b)


def _named(words: str, among: tuple[str, ...]) -> frozenset[str]:
    found = set(re.findall(r"[a-z]+", words.lower()))
    return frozenset(w for w in among if w in found)


def _differ(a: frozenset[str], b: frozenset[str]) -> bool:
    return bool(a and b and not a & b)
