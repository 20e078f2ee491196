"""Scores to segments, by hand-computed cases."""

import numpy as np
import pytest

from vlad.segments import find_segments, iou, smooth
from vlad.types import ScoreTrack, Segment

PLAIN = {"smooth_seconds": 0.0, "enter": 0.5, "leave": 0.3, "merge_gap": 0.0, "min_length": 0.0}


def track(*scores: float, step: float = 1.0, **more: object) -> ScoreTrack:
    return ScoreTrack(np.array(scores, np.float32), np.arange(len(scores) + 1) * step, **more)  # type: ignore[arg-type]


def test_hysteresis_extends_to_leave_and_needs_enter() -> None:
    found = find_segments(track(0.1, 0.4, 0.9, 0.4, 0.1, 0.4, 0.1), **PLAIN)
    assert found == (Segment(1.0, 4.0, float(np.float32(0.9)), 2.5),)


def test_a_calm_clip_has_no_segment_whatever_its_own_maximum() -> None:
    assert find_segments(track(0.0, 0.2, 0.49, 0.1), **PLAIN) == ()


def test_close_segments_merge_and_far_ones_do_not() -> None:
    scores = track(0.9, 0.0, 0.9, 0.0, 0.0, 0.9)
    assert [(s.start, s.end) for s in find_segments(scores, **{**PLAIN, "merge_gap": 1.0})] == [(0, 3), (5, 6)]


def test_short_segments_go_unless_they_are_the_whole_clip() -> None:
    assert find_segments(track(0.1, 0.9, 0.1, step=0.5), **{**PLAIN, "min_length": 1.0}) == ()
    assert len(find_segments(track(0.9, step=0.5), **{**PLAIN, "min_length": 1.0})) == 1


def test_smoothing_weighs_by_time_and_not_by_snippet() -> None:
    uneven = ScoreTrack(np.array([1.0, 0.0, 0.0], np.float32), np.array([0.0, 1.0, 1.5, 5.0]))
    assert smooth(uneven, 2.0)[0] == pytest.approx(2 / 3)  # [0, 1.5) holds one second of 1 in 1.5
    assert smooth(uneven, 0.0).tolist() == [1.0, 0.0, 0.0]


def test_label_is_the_strongest_class_and_never_normal() -> None:
    classes = np.array([[0.8, 0.2, 0.0], [0.7, 0.0, 0.3]], np.float32)
    scores = track(0.6, 0.9, labels=("normal", "fighting", "arson"), classes=classes)
    assert find_segments(scores, **PLAIN)[0].label == "arson"


def test_iou() -> None:
    assert iou((0, 2), (1, 3)) == pytest.approx(1 / 3)
    assert iou((0, 1), (1, 2)) == 0
    assert iou((0, 1), (0, 1)) == 1
