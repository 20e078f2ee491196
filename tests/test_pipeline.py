"""The order of the rooms, with a plain encoder, scorer and explainer around the real decoder."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from vlad.config import Settings, make_settings
from vlad.errors import InputError
from vlad.pipeline import Analyzer, versions
from vlad.types import Explanation, Features, ScoreTrack, Segment, Snippet, Video


class Brightness:
    """Features are the snippets' mean brightness; counts its calls."""

    name = "brightness@000000"
    size = 64

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, snippets: Iterable[Snippet]) -> Features:
        self.calls += 1
        edges, values = [0.0], []
        for snippet in snippets:
            values.append([snippet.frames.mean()])
            edges.append(snippet.end)
        return Features(np.array(values, np.float32), np.array(edges), self.name)


def middle(features: Features) -> ScoreTrack:
    """Scores 1 in the middle third and the last snippet but one half as much."""
    count = len(features.values)
    scores = np.zeros(count, np.float32)
    scores[count // 3 : 2 * count // 3] = 1.0
    return ScoreTrack(scores, features.edges)


def two(features: Features) -> ScoreTrack:
    """A low hill early and a high one late."""
    scores = np.zeros(len(features.values), np.float32)
    scores[2:5], scores[-6:-2] = 0.7, 0.9
    return ScoreTrack(scores, features.edges)


def witness(
    video: Video,
    track: ScoreTrack,
    segments: Sequence[Segment],
    *,
    on_text: Callable[[int, str], None] | None = None,
) -> list[Explanation]:
    for index in range(len(segments)):
        if on_text:
            on_text(index, "seen")
    return [Explanation(segment, "normal", "seen") for segment in segments]


def settings(**changes: object) -> Settings:
    return make_settings(**{"cache": None, **changes})


def test_line_ends_in_a_segment_that_is_explained(clip: Path) -> None:
    heard: list[tuple[int, str]] = []
    analyzer = Analyzer(settings(), encoder=Brightness(), scorer=middle, explainer=witness)
    analysis = analyzer(clip, on_text=lambda index, piece: heard.append((index, piece)))
    (segment,) = analysis.segments
    third = analysis.video.duration / 3
    assert segment.start == pytest.approx(third, abs=1.5)
    assert segment.end == pytest.approx(2 * third, abs=1.5)
    assert [e.segment for e in analysis.explanations] == [segment]
    assert heard == [(0, "seen")]


@pytest.mark.slow
def test_a_verdict_of_normal_drops_no_segment(clip: Path) -> None:
    analysis = Analyzer(settings(), encoder=Brightness(), scorer=middle, explainer=witness)(clip)
    assert analysis.explanations[0].verdict == "normal"
    assert len(analysis.segments) == 1


@pytest.mark.slow
def test_only_the_highest_peaks_are_explained(clip: Path) -> None:
    changed = settings(max_explanations=1, smooth_seconds=0.0)
    analysis = Analyzer(changed, encoder=Brightness(), scorer=two, explainer=witness)(clip)
    assert len(analysis.segments) == 2
    assert [e.segment.peak for e in analysis.explanations] == pytest.approx([0.9])


@pytest.mark.slow
def test_without_explanations_no_explainer_is_loaded(clip: Path) -> None:
    analysis = Analyzer(settings(explain=False, explainer="nowhere"), encoder=Brightness(), scorer=middle)(clip)
    assert analysis.explanations == ()


@pytest.mark.slow
def test_progress_reaches_the_end(clip: Path) -> None:
    told: list[tuple[str, float, float | None]] = []
    analyzer = Analyzer(settings(), encoder=Brightness(), scorer=middle, explainer=witness)
    duration = analyzer(clip, on_progress=lambda *facts: told.append(facts)).video.duration
    assert ("features", duration, duration) in told
    assert told[-1] == ("explanations", 1, 1)
    done = [facts[1] for facts in told if facts[0] == "features"]
    assert done == sorted(done)


@pytest.mark.slow
def test_made_by_names_versions_and_settings_but_no_folder(clip: Path) -> None:
    analysis = Analyzer(settings(enter=0.6), encoder=Brightness(), scorer=middle, explainer=witness)(clip)
    assert analysis.made_by["versions"] == versions()
    assert analysis.made_by["settings"]["enter"] == 0.6
    assert "cache" not in analysis.made_by["settings"]
    assert analysis.made_by["encoder"] == Brightness.name


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    analyzer = Analyzer(settings(), encoder=Brightness(), scorer=middle, explainer=witness)
    with pytest.raises(InputError, match="no such file"):
        analyzer(tmp_path / "absent.mp4")


@pytest.mark.slow
def test_second_run_takes_features_from_the_cache(clip: Path, tmp_path: Path) -> None:
    encoder = Brightness()
    analyzer = Analyzer(settings(cache=tmp_path), encoder=encoder, scorer=middle, explainer=witness)
    first, second = analyzer(clip), analyzer(clip)
    assert encoder.calls == 1
    assert first.segments == second.segments
    other = Analyzer(settings(cache=tmp_path, snippet_frames=8), encoder=encoder, scorer=middle, explainer=witness)
    other(clip)
    assert encoder.calls == 2
