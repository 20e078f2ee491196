"""Numbers against those computed another way."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from vlad.eval.benchmarks import bag_score, counts
from vlad.eval.explanations import elements, recall, rightly_coloured
from vlad.eval.metrics import Scored, anomaly_only, bootstrap, clip_auc, false_alarms, frame_auc, match


def scored(seed: int, *, anomalous: bool = True) -> tuple[Scored, list[int], list[float]]:
    rng = np.random.default_rng(seed)
    scores = rng.random(12).round(1)
    labels = rng.integers(0, 2, (12, 16)) * int(anomalous)
    pos = labels.sum(axis=1)
    frames = np.repeat(scores, 16).tolist()
    return Scored(scores, pos, 16 - pos), labels.ravel().tolist(), frames


def test_counts_a_snippet_give_the_figure_of_single_frames() -> None:
    videos = [scored(i, anomalous=i % 2 == 0) for i in range(6)]
    truth, frames = [x for v in videos for x in v[1]], [x for v in videos for x in v[2]]
    assert frame_auc([v[0] for v in videos]) == pytest.approx(roc_auc_score(truth, frames))
    assert len(anomaly_only([v[0] for v in videos])) == 3


def test_what_cannot_be_measured_is_nan() -> None:
    assert np.isnan(frame_auc([scored(1, anomalous=False)[0]]))
    assert np.isnan(clip_auc([0.1, 0.2], [0, 0]))


def test_frames_fall_into_their_snippets() -> None:
    pos, neg = counts(np.array([0, 1, 1, 1], np.uint8), np.array([0.0, 0.5, 1.0, 9.0]), np.array([0.0, 1.0, 2.0]))
    assert pos.tolist() == [1, 2]
    assert neg.tolist() == [1, 0]


def test_an_interval_holds_its_value_and_shrinks_with_more_videos() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random(20).tolist(), rng.random(500).tolist()
    a, b = (bootstrap(x, lambda items: float(np.mean(items))) for x in (few, many))
    assert a.low < a.value < a.high
    assert b.high - b.low < a.high - a.low


def test_each_segment_finds_one_event() -> None:
    events, found = [(0.0, 10.0), (20.0, 30.0)], [(0.0, 9.0), (1.0, 10.0), (50.0, 60.0)]
    assert match(events, found) in ({0: 0}, {0: 1})
    assert false_alarms(events, found) == 1


def test_recall_counts_words_that_carry_meaning() -> None:
    assert elements("A person in the red top") == {"person", "red", "top"}
    assert recall("a red car", "the red bus") == 0.5
    assert np.isnan(recall("a car", "a car", only=frozenset({"red"})))
    assert rightly_coloured("a red top and blue trousers", "a red top and dark trousers") == 0.5
    assert np.isnan(rightly_coloured("a red car", "a car")), "naming none is no mistake"


def test_a_bag_is_scored_by_its_highest() -> None:
    assert bag_score(np.array([0.1, 0.9, 0.2])) == pytest.approx(0.9)
    assert bag_score(np.linspace(0, 1, 32)) == pytest.approx(np.linspace(0, 1, 32)[-3:].mean())
