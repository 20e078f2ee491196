"""mAP by hand-computed cases, and what a perfect predictor gets on UCF-Crime in both modes."""

import numpy as np
import pytest
from vlad.eval.localisation import (
    IOUS,
    Detection,
    Truth,
    average_precision,
    detect_standard,
    detection_map,
    overlap,
    runs,
)
from vlad.eval.protocols import load_dataset


def test_runs_and_overlap() -> None:
    assert runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert runs(np.array([False])) == []
    assert overlap((0, 10), (5, 15)) == pytest.approx(1 / 3)
    assert overlap((0, 5), (5, 9)) == 0


def test_each_span_is_found_once_and_false_ones_cost() -> None:
    spans = {0: [(0, 10)], 1: [(20, 40)]}
    found = [Detection(0, 0, 10, 0.9), Detection(0, 0, 9, 0.8), Detection(1, 20, 40, 0.7)]
    assert average_precision(found, spans, 0.5) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(found[:1], spans, 0.5) == 0.5
    assert average_precision([Detection(0, 9, 30, 0.9)], spans, 0.5) == 0
    assert np.isnan(average_precision(found, {}, 0.5))


def test_a_run_within_a_run_is_kept_only_where_it_differs() -> None:
    column = np.full(100, 0.05)
    column[20:80], column[40:50] = 0.35, 0.95
    assert [(d.start, d.end) for d in detect_standard(0, column)] == [(40, 50), (20, 80)]


def perfect() -> list[Truth]:
    videos = load_dataset("ucf-crime")
    names = sorted({v.label for v in videos if v.label != "Normal"})
    truths = []
    for v in videos:
        scores = np.zeros((v.frames, 1 + len(names)))
        spans = tuple((a, min(b, v.frames), 1 + names.index(v.label)) for a, b in v.spans)
        for a, b, c in spans:
            scores[a:b, c] = 1
        scores[:, 0] = 1 - scores.sum(1)
        truths.append(Truth(scores, spans))
    return truths


def test_a_perfect_predictor_on_ucf_crime() -> None:
    truths = perfect()
    assert list(detection_map(truths).values()) == pytest.approx([100.0] * len(IOUS))
    assert list(detection_map(truths, mode="vadclip").values()) == pytest.approx([92.857] * len(IOUS), abs=1e-3)


def test_a_constant_predictor_has_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    videos = [Truth(np.full((400, 3), 0.5), ((a, a + 30, 1 + i % 2),)) for i, a in enumerate(rng.integers(0, 350, 20))]
    assert set(detection_map(videos).values()) == {0.0}
