"""The truth of an event in many wordings, and questions about it. Knows events, not pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vlad.sim.events import Event

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
