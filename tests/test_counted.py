"""Words that can be counted, and the spans of a clip where they were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import analysed, client, upload
from vlad.app.counted import Counted, counted, spans_of

from vlad.errors import InputError
from vlad.library import Library
from vlad.types import Track

PEOPLE, CARS = frozenset({"person"}), frozenset({"car"})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("two people running", Counted(PEOPLE, 2, True, True)),
        ("a person", Counted(PEOPLE, 1, False, True)),
        ("3 cars", Counted(CARS, 3, False, True)),
        ("several people in the picture", Counted(PEOPLE, 3, False, True)),
        ("a man who runs", Counted(PEOPLE, 1, True, True)),
        ("cars", Counted(CARS, 2, False, True)),
        ("a red car", Counted(CARS, 1, False, False)),
        ("two people fighting", Counted(PEOPLE, 2, False, False)),
        ("a fire", None),
        ("a person beside a car", None),
        ("carpet", None),
        ("", None),
    ],
)  # fmt: skip
def test_words_are_read(words: str, expected: Counted | None) -> None:
    assert counted(words) == expected


def track(number: int, start: float, end: float, *, speed: float = 0.0, label: str = "person") -> dict[str, Any]:
    """A thing a fifth of the picture high that moves to the right, `speed` of its heights a second."""
    times = np.arange(start, end + 1e-6, 0.5)
    boxes = [[0.1 + 0.2 * speed * (t - start), 0.4, 0.05, 0.2] for t in times]
    return {"id": number, "label": label, "score": 0.9, "times": times.tolist(), "boxes": boxes}


def test_spans_where_enough_are_seen_at_once() -> None:
    told = [track(1, 0, 6), track(2, 4, 10), track(3, 20, 24, label="car")]
    ((start, end),) = spans_of(told, Counted(PEOPLE, 2, False, True), duration=30, aspect=1.0)
    assert (start, end) == pytest.approx((4, 6), abs=0.6)
    assert spans_of(told, Counted(PEOPLE, 3, False, True), duration=30, aspect=1.0) == []
    ((start, end),) = spans_of(told, Counted(CARS, 1, False, True), duration=30, aspect=1.0)
    assert (start, end) == pytest.approx((20, 24), abs=0.6)


def test_who_walks_does_not_run() -> None:
    told = [track(1, 0, 5, speed=0.8), track(2, 10, 13, speed=2.2)]
    ((start, end),) = spans_of(told, Counted(PEOPLE, 1, True, True), duration=20, aspect=1.0)
    assert 9.5 <= start < end <= 13.5


def test_tracks_that_make_no_sense_are_told() -> None:
    with pytest.raises(InputError, match="analyse the clip again"):
        spans_of([{"id": 1, "label": "person"}], Counted(PEOPLE, 1, False, True), duration=5, aspect=1.0)


def test_search_finds_what_was_counted(tmp_path: Path) -> None:
    """Two people from 4 to 6 s: found first, though they look like nothing that was asked; a clip in which nobody was followed goes by looks."""
    library = Library(tmp_path)
    api = client(library)
    people = tuple(
        Track(t["id"], t["label"], np.array(t["times"]), np.array(t["boxes"], np.float32), t["score"])
        for t in (track(1, 0, 6), track(2, 4, 9.5))
    )
    seen = upload(api, b"clip", "seen.mp4")
    analysed(library, seen, tracks=people)
    other = upload(api, b"another clip", "other.mp4")
    analysed(library, other)
    found = api.get("/api/search", params={"words": "two people"}).json()
    first = found["moments"][0]
    assert (first["video"], first["well"]) == (seen, True)
    assert 3.0 <= first["start"] < 6.5, "snippets of a second"
    assert other in {m["video"] for m in found["moments"]}
    cars = api.get("/api/search", params={"words": "a red car"}).json()["moments"]
    assert not any(m["well"] for m in cars if m["video"] == seen), "no car was seen there"
