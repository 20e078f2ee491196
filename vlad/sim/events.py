"""Which things can happen, where, and how one becomes an `Event` with its truth in words.

In: a label, a scene, a random generator, when it starts and how long it lasts. Out: an `Event`. Its painter is a pure function of time,
so any frame can be painted alone.
"""

from __future__ import annotations

import re

import numpy as np

from vlad.sim import anomalous, normal
from vlad.sim.figures import COLOURS
from vlad.sim.scene import OUTDOORS, PLACES, ROADS, Scene
from vlad.sim.stage import Event, Script, Stage, ease

ANOMALOUS: dict[str, Script] = {
    "fighting": anomalous.fighting, "assault": anomalous.assault, "road accident": anomalous.road_accident, "explosion": anomalous.explosion, "arson": anomalous.arson,
    "burglary": anomalous.burglary, "robbery": anomalous.robbery, "shoplifting": anomalous.shoplifting, "shooting": anomalous.shooting, "vandalism": anomalous.vandalism,
    "falling": anomalous.falling, "crowd panic": anomalous.crowd_panic, "abandoned object": anomalous.abandoned_object,
}  # fmt: skip
NORMAL: dict[str, Script] = {
    "walking": normal.walking, "standing and talking": normal.talking, "cycling": normal.cycling, "driving": normal.driving, "carrying": normal.carrying,
    "queueing": normal.queueing, "children playing": normal.children_playing, "entering a door": normal.entering,
    "running for a bus": normal.running_for_a_bus, "playful shoving": normal.playful_shoving, "parked car lights": normal.parked_car_lights,
}  # fmt: skip
ANOMALIES, NORMALS = tuple(ANOMALOUS), tuple(NORMAL)
ONLY_AT: dict[str, frozenset[str]] = {
    "road accident": ROADS, "driving": ROADS, "parked car lights": ROADS, "cycling": OUTDOORS, "explosion": OUTDOORS,
    "arson": OUTDOORS, "running for a bus": OUTDOORS, "shoplifting": frozenset({"shop"}),
    "burglary": frozenset(PLACES) - {"shop"}, "entering a door": frozenset(PLACES) - {"shop"},
    "children playing": frozenset(PLACES) - {"shop"}, "queueing": frozenset({"shop", "lobby", "station platform"}),
}  # fmt: skip


def _uncoloured(text: str) -> str:
    names = "|".join(COLOURS)
    text = re.sub(rf" in a ({names}) top and ({names}) trousers", "", text)
    text = re.sub(rf"\b({names}) (car|van)", r"\2", text)
    return re.sub(
        r"^a (person|teenager) and a \1$", lambda m: "two people" if m[1] == "person" else "two teenagers", text
    )


def places_for(label: str) -> frozenset[str]:
    """Places where a thing can happen."""
    return ONLY_AT.get(label, frozenset(PLACES))


def make_event(label: str, scene: Scene, rng: np.random.Generator, start: float, span: float) -> Event:
    """The event `label` (one of ANOMALIES or NORMALS) in a scene, from `start` for `span` seconds."""
    script = ANOMALOUS.get(label) or NORMAL[label]
    who, what, local = script(Stage(scene, rng, start, span))

    def glow(t: float) -> float:
        u = t - start
        if label == "explosion" and 0 <= u < span:
            return max(0.0, 1 - u / 1.5)
        return 0.3 * ease(1.5, 5.0, u) if label == "arson" and 0 <= u < span else 0.0

    def worded(text: str) -> str:
        """Proper articles; and colours that an infrared picture cannot show are no truth."""
        text = _uncoloured(text) if scene.light == "infrared" else text
        return re.sub(r"\ba (?=[aeiou])", "an ", text)

    attributes = {
        "who": worded(who),
        "what": worded(what),
        "where": worded(f"in a {scene.place}") if scene.place != "station platform" else "on a station platform",
    }
    return Event(label, label in ANOMALOUS, start, start + span, attributes, lambda t: local(t - start), glow)
