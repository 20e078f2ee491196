"""The truth of an event in many wordings, and questions about it. Knows events, not pictures."""

from __future__ import annotations

import numpy as np

from vlad.sim.stage import Event

SENTENCES = (
    "{who} {what} {where}",
    "{where}, {who} appears to be seen: {what}",
    "surveillance footage of {label} {where}",
    "{label}: {who} {what}",
    "a security camera shows {label}",
    "cctv view {where}: {what}",
    "{what} {where}",
)
CALM = (
    "an empty {place}, nothing happens",
    "a quiet {place} with nobody in it",
    "cctv view of a {place}, nothing unusual",
)
REASONS = {
    "fighting": "people use violence against each other",
    "assault": "someone is attacked and lies on the ground",
    "road accident": "a vehicle hits something at speed",
    "explosion": "a blast endangers everyone near",
    "arson": "a fire is set on purpose",
    "burglary": "a door is forced open",
    "robbery": "someone is threatened with a weapon",
    "shoplifting": "goods are hidden without being paid for",
    "shooting": "a gun is fired at people",
    "vandalism": "property is being destroyed",
    "falling": "someone fell and may be hurt",
    "crowd panic": "many people flee at once",
    "abandoned object": "an object is left behind by its owner",
}
ORDINARY = "this is everyday activity"


def answer_of(event: Event | None, place: str) -> dict[str, str]:
    """The truth in the form that the explanation template asks for; what begins with the class name."""
    if event is None:
        where = f"on a {place}" if place == "station platform" else f"in {'an' if place[0] in 'aeiou' else 'a'} {place}"
        return {"verdict": "normal", "what": "nothing happens", "who": "nobody", "where": where, "why": ORDINARY,
                "text": f"It appears that nothing happens {where}."}  # fmt: skip
    seen = dict(event.attributes)
    found = {"verdict": "anomaly" if event.anomalous else "normal", "what": f"{event.label}: {seen['what']}",
             "who": seen["who"], "where": seen["where"], "why": REASONS.get(event.label, ORDINARY)}  # fmt: skip
    return {**found, "text": f"This appears to show {event.label}: {seen['who']}, {seen['where']}."}


def caption_event(event: Event | None, place: str, rng: np.random.Generator) -> str:
    """One wording, lower case, without a full stop."""
    if event is None:
        return str(rng.choice(CALM)).format(place=place)
    return str(rng.choice(SENTENCES)).format(label=event.label, **event.attributes)


def questions(event: Event | None, place: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """(question, answer) pairs; a normal moment also gets the loaded question whose right answer is no."""
    seen = caption_event(event, place, rng)
    if event is not None and event.anomalous:
        return [
            ("Is there anything unusual?", f"Yes, it appears to be {event.label}."),
            ("Who is involved?", event.attributes["who"]),
            ("What happens?", event.attributes["what"]),
            ("Where is it?", event.attributes["where"]),
        ]
    return [
        ("Is there anything unusual?", f"No, this appears to be normal: {seen}."),
        ("Describe the anomaly.", f"There appears to be no anomaly: {seen}."),
        ("What crime is being committed?", "None can be seen."),
    ]
