"""Actions in untrimmed video: mAP over spans as ActivityNet's code counts it, over tubes, from the field's JSON and from vlad's own analyses."""

import json
from pathlib import Path

import numpy as np
import pytest
from vlad.eval import actions
from vlad.eval.actions import IOUS, Action, measure, read_found, read_truth, tube_overlap

from vlad.errors import InputError
from vlad.report import to_json
from vlad.tracks import tubes
from vlad.types import Analysis, ScoreTrack, Segment, Track, Video


def walker(number: int, start: float, end: float, x: float = 0.1) -> Track:
    return Track(number, "person", np.array([start, end]), np.array([[x, 0.2, 0.1, 0.3]] * 2, np.float32), 0.9)


def written_out(truth: dict[str, list[Action]], found: dict[str, list[Action]], label: str, least: float) -> float:
    """AP of a class in the words of eval_detection.py: sort by score, each detection takes the best span that nobody has, precision's envelope."""
    rows = sorted(((a.score, v, a) for v, own in found.items() for a in own if a.label == label), key=lambda r: -r[0])
    taken: set[tuple[str, int]] = set()
    hits = []
    for _, video, a in rows:
        best, best_fit = None, 0.0
        for k, t in enumerate(truth.get(video, [])):
            shared = max(0.0, min(a.end, t.end) - max(a.start, t.start))
            fit = shared / (a.end - a.start + t.end - t.start - shared)
            if t.label == label and (video, k) not in taken and fit >= max(least, best_fit):
                best, best_fit = k, fit
        hits.append(best is not None)
        if best is not None:
            taken.add((video, best))
    count = sum(t.label == label for own in truth.values() for t in own)
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return sum(max(precision[n:]) for n, hit in enumerate(hits) if hit) / count


@pytest.mark.slow
def test_map_is_activitynets() -> None:
    rng = np.random.default_rng(0)

    def drawn(most: int) -> list[Action]:
        starts = rng.uniform(0, 50, rng.integers(1, most))
        return [
            Action("abc"[rng.integers(3)], float(a), float(a + rng.uniform(1, 20)), float(rng.random())) for a in starts
        ]

    truth = {f"v{k}": drawn(6) for k in range(12)}
    found = {f"v{k}": drawn(20) for k in range(13)}  # one is not in the truth: all wrong
    facts = measure(truth, found, IOUS["thumos"])
    for least in IOUS["thumos"]:
        assert facts["map"][f"{least:g}"] == pytest.approx(
            np.mean([written_out(truth, found, c, least) for c in "abc"])
        )
    assert facts["ci"][0] < facts["mean"] < facts["ci"][1]
    assert measure(truth, truth, IOUS["activitynet"])["mean"] == 1.0


def test_a_tube_is_measured_in_time_and_in_the_picture() -> None:
    def tube(start: float, end: float, x: float) -> Action:
        return Action("fall", start, end, 1.0, np.array([[start, x, 0.2, 0.2, 0.4], [end, x, 0.2, 0.2, 0.4]]))

    assert tube_overlap(tube(0, 4, 0.1), tube(0, 4, 0.1)) == pytest.approx(1)
    assert tube_overlap(tube(0, 4, 0.1), tube(2, 6, 0.1)) == pytest.approx(1 / 3)
    assert tube_overlap(tube(0, 4, 0.1), tube(0, 4, 0.2)) == pytest.approx(1 / 3)
    assert tube_overlap(tube(0, 4, 0.1), tube(0, 4, 0.5)) == 0
    truth = {"a": [tube(0, 4, 0.1)]}
    assert measure(truth, {"a": [tube(0, 4, 0.5)]}, (0.5,), boxes=True)["mean"] == 0
    assert measure(truth, {"a": [tube(0, 4, 0.5)]}, (0.5,))["mean"] == 1  # as a span it is found
    assert measure(truth, {"a": [tube(0, 4, 0.11)]}, (0.5,), boxes=True)["mean"] == 1


def test_an_analysis_names_who_was_there_in_each_segment() -> None:
    segments = (Segment(2.0, 6.0, 0.8, 3.0, "fall"),)
    found = tubes(segments, [walker(1, 0, 5), walker(2, 5, 9), walker(3, 0, 9)])
    assert [(t.track, t.start, t.end, round(t.score, 2)) for t in found] == [(3, 2.0, 6.0, 0.8), (1, 2.0, 5.0, 0.6)]


@pytest.mark.slow
def test_files_of_the_field_and_analyses_of_our_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"label": "fall", "segment": [2, 6], "boxes": [[2, 0.1, 0.2, 0.1, 0.3], [6, 0.1, 0.2, 0.1, 0.3]]}]
    (tmp_path / "truth.json").write_text(
        json.dumps(
            {
                "database": {
                    "lobby": {"subset": "val", "annotations": rows},
                    "other": {"subset": "train", "annotations": []},
                }
            }
        )
    )
    video = Video("lobby.mp4", "0" * 64, 10.0, 25.0, 64, 48, "h264")
    track = ScoreTrack(np.full(10, 0.5, np.float32), np.arange(11.0))
    analysis = Analysis(video, track, (Segment(2.0, 6.0, 0.8, 3.0, "fall"),), (), {}, tracks=(walker(1, 0, 9),))
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "lobby.json").write_text(to_json(analysis))
    options = ["--truth", str(tmp_path / "truth.json"), "--subset", "val", "--found", str(tmp_path / "made"), "--json"]
    assert actions.main(options) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["spans"]["mean"], facts["tubes"]["mean"], facts["spans"]["videos"]) == (1.0, 1.0, 1)
    assert actions.main(options[:-1]) == 0
    assert "fall" in capsys.readouterr().out


@pytest.mark.parametrize(
    "row",
    [{}, {"label": "a", "segment": [3, 2]}, {"label": "a", "segment": [0, 1e999]}, {"label": "a", "segment": "x"}, 7,
     {"label": "a", "segment": [0, 1], "boxes": [[1, 2]]}, {"label": "a", "segment": [0, 1], "boxes": [[1, 0, 0, 1, 1], [0, 0, 0, 1, 1]]}],
)  # fmt: skip
def test_rows_that_are_none_are_named(row: object, tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"database": {"odd": {"subset": "val", "annotations": [row]}}}))
    with pytest.raises(InputError, match="odd"):
        read_truth(path, "val")
    with pytest.raises(InputError, match="it has val"):
        read_truth(path, "test")
    with pytest.raises(InputError, match="results"):
        read_found(path)
