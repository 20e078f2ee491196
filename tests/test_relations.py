"""People and things on made-up tracks, each relation beside what only looks like it."""

import numpy as np
import pytest

from vlad.relations import KINDS, facts_of_relations, relations
from vlad.types import Track

TIMES = np.arange(0, 10.01, 0.5)


def track(number: int, label: str, x: object, y: object, w: float, h: float, times: np.ndarray = TIMES) -> Track:
    """Middle x and lower side y, shares of a square picture."""
    at, low = np.broadcast_to(np.asarray(x, float), times.shape), np.broadcast_to(np.asarray(y, float), times.shape)
    boxes = np.stack([at - w / 2, low - h, np.full(len(times), w), np.full(len(times), h)], 1)
    return Track(number, label, times, boxes.astype(np.float32), 0.8)


def person(x: object, times: np.ndarray = TIMES, y: object = 0.8) -> Track:
    return track(1, "person", x, y, 0.1, 0.3, times)


WALK = 0.1 + 0.08 * TIMES
STOP = np.minimum(WALK, 0.5)  # walks until 5 s
RETURN = np.where(TIMES < 5, WALK, 0.5 + 0.08 * (TIMES - 5))
BAG = np.where(TIMES < 5, WALK + 0.04, 0.5)
SCENES: dict[str, tuple[list[Track], set[str]]] = {
    "a bag in the hand": ([person(WALK), track(2, "handbag", WALK + 0.04, 0.75, 0.05, 0.06)], {"carries"}),
    "a bag in a standing hand": ([person(0.5), track(2, "handbag", 0.53, 0.75, 0.05, 0.06)], {"holds"}),
    "past a bag": ([person(WALK), track(2, "handbag", 0.5, 0.8, 0.05, 0.06)], set()),
    "a bag is put down": ([person(RETURN), track(2, "suitcase", BAG, 0.8, 0.05, 0.08)], {"carries", "puts down"}),
    "a bag is taken": ([person(WALK), track(2, "suitcase", np.where(TIMES < 5, 0.5, WALK), 0.78, 0.05, 0.08)], {"carries", "takes"}),
    "on a bicycle": ([person(WALK, y=0.75), track(2, "bicycle", WALK, 0.8, 0.16, 0.15)], {"rides"}),
    "past a bicycle": ([person(WALK), track(2, "bicycle", 0.5, 0.8, 0.16, 0.15)], set()),
    "beside a bicycle": ([person(WALK), track(2, "bicycle", WALK + 0.08, 0.8, 0.16, 0.15)], {"pushes"}),
    "into a car": ([person(STOP[:11], TIMES[:11]), track(2, "car", 0.55, 0.82, 0.4, 0.25)], {"enters a vehicle"}),
    "out of a car": ([person(0.5 + 0.05 * (TIMES[8:] - 4), TIMES[8:]), track(2, "car", 0.45, 0.82, 0.4, 0.25)], {"leaves a vehicle"}),
    "out of the picture past a car": ([person(WALK), track(2, "car", 0.55, 0.82, 0.4, 0.25)], set()),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENES)
def test_a_relation_and_what_only_looks_like_it(name: str) -> None:
    tracks, expected = SCENES[name]
    found = relations(tracks, (0.0, 10.0), aspect=1.0)
    assert {r.kind for r in found} == expected
    assert {r.kind for r in found} <= set(KINDS)
    assert all(0 < r.sure <= 1 and r.end > r.start and (r.person, r.thing) == (1, 2) for r in found)


def test_in_words() -> None:
    facts = {f.kind: f for f in facts_of_relations(SCENES["a bag is put down"][0], (0.0, 10.0), aspect=1.0)}
    assert facts["puts down"].text == "a person puts down a suitcase"
    assert facts["puts down"].time == pytest.approx(5.0, abs=1.0)
    (car,) = facts_of_relations(SCENES["into a car"][0], (0.0, 10.0), aspect=1.0)
    assert car.text == "a person enters a vehicle"


def test_nothing_of_nobody() -> None:
    assert relations([], (0.0, 10.0), aspect=1.0) == []
    assert relations([person(WALK)], (20.0, 30.0), aspect=1.0) == []
