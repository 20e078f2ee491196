"""Values refuse what they cannot mean, and name it."""

import dataclasses

import numpy as np
import pytest

from vlad.config import PRESETS, make_settings
from vlad.errors import SettingsError
from vlad.types import Analysis, Explanation, Features, ScoreTrack, Segment, Snippet, Video

EDGES = np.array([0.0, 1.0, 2.5])
VIDEO = Video("a.mp4", "0" * 64, 2.5, 30.0, 320, 240, "h264")
TRACK = ScoreTrack(np.array([0.2, 0.8], np.float32), EDGES)
SEGMENT = Segment(1.0, 2.5, 0.8, 1.75, "fighting")


def test_score_at_a_time_is_half_open_and_clamped() -> None:
    assert TRACK.at([-1, 0, 0.999, 1.0, 2.4, 9]).tolist() == pytest.approx([0.2, 0.2, 0.2, 0.8, 0.8, 0.8])


def test_values_are_immutable() -> None:
    with pytest.raises(ValueError, match="read-only"):
        TRACK.scores[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError, match="fps"):
        VIDEO.fps = 25  # type: ignore[misc]


def test_repr_shows_shapes_and_no_pixels() -> None:
    snippet = Snippet(np.zeros((2, 4, 6, 3), np.uint8), 0.0, 0.5)
    assert repr(snippet) == "Snippet(frames=[2, 4, 6, 3], start=0.00, end=0.50)"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Video("a", "xyz", 1, 1, 1, 1, "h264"), "64 hex digits"),
        (lambda: Video("a", "0" * 64, 0, 1, 1, 1, "h264"), "duration"),
        (lambda: Snippet(np.zeros((2, 4, 6), np.uint8), 0, 1), r"expected uint8 \[F, H, W, 3\]"),
        (lambda: Features(np.full((2, 3), np.nan, np.float32), EDGES, "nano@1"), "NaN"),
        (lambda: Features(np.zeros((3, 3), np.float32), EDGES, "nano@1"), "edges has shape"),
        (lambda: ScoreTrack(np.array([0.0, 1.2], np.float32), EDGES), r"lie in \[0, 1\]"),
        (lambda: ScoreTrack(np.array([0.0, 1.0], np.float32), EDGES[::-1]), "rise strictly"),
        (lambda: Segment(2.0, 1.0, 0.5, 1.5), "0 <= start < end"),
        (lambda: Segment(0.0, 1.0, 0.5, 3.0), "peak_time"),
        (lambda: Explanation(SEGMENT, "maybe", "x"), "verdict is 'maybe'"),  # type: ignore[arg-type]
        (lambda: Explanation(SEGMENT, "normal", "x", {"mood": "y"}), "mood"),
        (lambda: Analysis(VIDEO, TRACK, (), (Explanation(SEGMENT, "normal", "x"),)), "not one of the segments"),
    ],
)
def test_a_value_checks_itself(make, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        make()


def test_every_preset_makes_settings() -> None:
    assert [make_settings(name).preset for name in PRESETS] == list(PRESETS)


def test_bad_settings_are_all_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"snippet_frames.*colour") as caught:
        make_settings(snippet_frames=0, colour="blue")
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="must not exceed enter"):
        make_settings(enter=0.1, leave=0.2)
    with pytest.raises(SettingsError, match="choose one of nano"):
        make_settings("giant")
