"""Boxes to tracks: identities kept through noise, misses and crossings; IDF1 on synthetic paths."""

import numpy as np
import pytest
from vlad.eval.tracking import Path, idf1

from vlad.tracks import counts, follow
from vlad.types import Box, Sighting, Track


def walkers(rng: np.random.Generator, *, count: int, times: np.ndarray) -> list[Path]:
    """People who cross the picture in straight lines, each at its own height and speed."""
    paths = []
    for k in range(count):
        height = rng.uniform(0.2, 0.35)
        width, side = height * 0.4, rng.random() < 0.5
        x = np.linspace(0.05, 0.85, len(times)) if side else np.linspace(0.85, 0.05, len(times))
        y = np.full(len(times), 0.05 + 0.6 * k / count) + 0.01 * np.sin(times + k)
        paths.append(Path(times, np.stack([x, y, np.full(len(times), width), np.full(len(times), height)], axis=1)))
    return paths


def seen(paths: list[Path], rng: np.random.Generator, *, noise: float, missed: float) -> list[Sighting]:
    """What a detector makes of it: boxes shaken by a share of their size, some left out."""
    sightings = []
    for i, time in enumerate(paths[0].times):
        boxes = []
        for path in paths:
            if rng.random() < missed:
                continue
            x, y, w, h = path.boxes[i] + rng.normal(0, noise, 4) * path.boxes[i][[2, 3, 2, 3]]
            x, y = max(x, 0.0), max(y, 0.0)
            boxes.append(Box("person", float(rng.uniform(0.35, 0.9)), (x, y, min(w, 1 - x), min(h, 1 - y))))
        sightings.append(Sighting(float(time), tuple(boxes)))
    return sightings


@pytest.mark.parametrize(
    ("rate", "noise", "missed", "least"), [(2.0, 0.03, 0.0, 0.9), (6.0, 0.05, 0.15, 0.85), (2.0, 0.05, 0.15, 0.75)]
)
def test_identities_are_kept_through_noise_misses_and_crossings(
    rate: float, noise: float, missed: float, least: float
) -> None:
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        paths = walkers(rng, count=4, times=np.arange(0, 12, 1 / rate))
        found.append(idf1(paths, follow(seen(paths, rng, noise=noise, missed=missed))))
    assert np.mean(found) >= least, found


def test_idf1_is_paid_for_a_track_that_changes_to_another_person() -> None:
    times = np.arange(0, 4, 0.5)
    box = np.array([0.1, 0.1, 0.1, 0.3])
    paths = [Path(times, np.tile(box + np.array([dx, 0, 0, 0]), (8, 1))) for dx in (0, 0.5)]
    right = [Track(k + 1, "person", p.times, p.boxes.astype(np.float32), 0.9) for k, p in enumerate(paths)]
    swapped = [
        Track(
            k + 1, "person", times, np.concatenate([paths[k].boxes[:4], paths[1 - k].boxes[4:]]).astype(np.float32), 0.9
        )
        for k in (0, 1)
    ]
    assert idf1(paths, right) == 1.0
    assert idf1(paths, swapped) == 0.5
    assert idf1(paths, []) == 0.0


def test_a_single_sighting_is_no_track_and_a_van_is_one_thing() -> None:
    van = [Box(label, 0.8, (0.1 + 0.02 * i, 0.4, 0.3, 0.2)) for i, label in enumerate(("car", "truck", "truck"))]
    once = Box("person", 0.9, (0.8, 0.1, 0.05, 0.2))
    tracks = follow([Sighting(0.5 * i, (b, once) if i == 1 else (b,)) for i, b in enumerate(van)])
    assert [(t.label, len(t.times), t.id) for t in tracks] == [("truck", 3, 1)]


def test_doubtful_boxes_go_on_with_a_track_and_begin_none() -> None:
    boxes = [Box("person", score, (0.1, 0.1, 0.1, 0.3)) for score in (0.8, 0.32, 0.31, 0.9)]
    assert [len(t.times) for t in follow([Sighting(0.5 * i, (b,)) for i, b in enumerate(boxes)])] == [4]
    assert follow([Sighting(0.5 * i, (Box("person", 0.32, (0.1, 0.1, 0.1, 0.3)),)) for i in range(4)]) == ()


def test_what_was_away_too_long_is_another() -> None:
    box = Box("person", 0.8, (0.1, 0.1, 0.1, 0.3))
    assert len(follow([Sighting(t, (box,)) for t in (0.0, 0.5, 4.0, 4.5)])) == 2


def test_counts_of_people_and_vehicles() -> None:
    def made(number: int, label: str, start: float) -> Track:
        return Track(
            number, label, np.array([start, start + 2]), np.tile(np.float32([0.1, 0.1, 0.1, 0.2]), (2, 1)), 0.5
        )

    people, vehicles = counts([made(1, "person", 0), made(2, "person", 1), made(3, "car", 1)], [0.5, 1.5, 2.5, 5])
    assert people.tolist() == [1, 2, 1, 0]
    assert vehicles.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 0}, "id is 0"),
        ({"times": np.array([1.0, 1.0])}, "rise"),
        ({"boxes": np.zeros((2, 3), np.float32)}, "shape"),
        ({"score": 2.0}, "score"),
    ],
)
def test_a_track_is_checked(change: dict, message: str) -> None:
    usual = {
        "id": 1,
        "label": "person",
        "times": np.array([0.0, 1.0]),
        "boxes": np.full((2, 4), 0.2, np.float32),
        "score": 0.5,
    }
    with pytest.raises(ValueError, match=message):
        Track(**{**usual, **change})
