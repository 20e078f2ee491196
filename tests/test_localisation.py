"""mAP by hand-computed cases, and what a perfect predictor gets on the field's data sets."""

import numpy as np
import pytest
from vlad.eval.localisation import IOUS, Detection, Found, Truth, detect_standard, find, match, mean_ap, runs
from vlad.eval.protocols import CONVENTIONS, load_dataset


def test_runs() -> None:
    assert runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert runs(np.array([False])) == []


def test_each_span_is_found_once_and_false_ones_cost() -> None:
    spans = {0: [(0, 10)], 1: [(20, 40)]}
    found = [Detection(0, 0, 10, 0.9), Detection(0, 0, 9, 0.8), Detection(1, 20, 40, 0.7)]
    assert match(found, spans, 0.5) == [True, False, True]
    assert match([Detection(0, 9, 30, 0.9)], spans, 0.5) == [False]
    assert match(found, {}, 0.5) == [False] * 3
    hit = np.array([match(found, spans, k) for k in IOUS])
    whole = Found((np.array([0, 0, 1]),), (hit,), (np.array([1.0, 1.0]),), zero=False)
    assert mean_ap(whole, np.ones(2))["0.5"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert mean_ap(whole, np.array([0.0, 1.0]))["mean"] == 100  # without the first video its false one is gone


def test_a_class_without_any_detection_is_nothing_for_the_published_code() -> None:
    """R10: VadCLIP's evaluation returns 0 for an IoU where a class was never detected."""
    hit = np.ones((len(IOUS), 1), bool)
    none = (np.array([], np.int64), np.ones((len(IOUS), 0), bool))
    seen = (np.array([0]), hit)
    for zero, mean in ((True, 0.0), (False, 50.0)):
        found = Found((seen[0], none[0]), (seen[1], none[1]), (np.array([1.0]), np.array([1.0])), zero=zero)
        assert mean_ap(found, np.ones(1))["mean"] == mean


def test_a_run_within_a_run_is_kept_only_where_it_differs() -> None:
    column = np.full(100, 0.05)
    column[20:80], column[40:50] = 0.35, 0.95
    assert [(d.start, d.end) for d in detect_standard(0, column)] == [(40, 50), (20, 80)]


def perfect(name: str, convention: str) -> list[Truth]:
    dataset = load_dataset(name)
    truths = []
    for v in dataset.videos:
        scores = np.zeros((CONVENTIONS[convention](v), 1 + len(dataset.classes)))
        spans = tuple((a, b, 1 + dataset.classes.index(c)) for c, a, b in v.events)
        for a, b, c in spans:
            scores[a:b, c] = 1
        scores[:, 0] = ~scores[:, 1:].any(1)
        truths.append(Truth(scores, spans))
    return truths


@pytest.mark.parametrize(
    ("name", "convention", "mean"), [("ucf-crime", "all", 92.857), ("xd-violence", "vadclip", 82.332)]
)
def test_a_perfect_predictor_in_vadclip_mode(name: str, convention: str, mean: float) -> None:
    truths = perfect(name, convention)
    assert mean_ap(find(truths, "vadclip"), np.ones(len(truths)))["mean"] == pytest.approx(mean, abs=1e-3)


def test_a_constant_predictor_has_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    videos = [Truth(np.full((400, 3), 0.5), ((a, a + 30, 1 + i % 2),)) for i, a in enumerate(rng.integers(0, 350, 20))]
    assert mean_ap(find(videos, "standard"), np.ones(20))["mean"] == 0.0
