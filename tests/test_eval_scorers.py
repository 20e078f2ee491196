"""The table of heads and the figures of adapting, on tracks whose figures are known."""

from pathlib import Path

import numpy as np
import pytest
from vlad.eval import calibration, fewshot, footage, scorers
from vlad.eval.metrics import Scored, calibration_error
from vlad.eval.run import main

from vlad.errors import InputError, SettingsError
from vlad.sim import simulate_site
from vlad.types import Features, ScoreTrack

NAMES = ("fighting", "arson")


def clip(events: tuple[tuple[str, int, int], ...]) -> scorers.Clip:
    labels = np.zeros(480, np.uint8)
    for _, a, b in events:
        labels[a:b] = 1
    return scorers.Clip(Features(np.zeros((30, 60), np.float32), np.arange(31.0) * 16 / 15, "x@1"), labels, events)


CLIPS = [clip((("fighting", 160, 240),)), clip(()), clip((("arson", 0, 80), ("arson", 320, 400))), clip(())]


def knowing(features: Features) -> ScoreTrack:
    """The truth, a snippet of 16 frames at a time."""
    (own,) = [c for c in CLIPS if c.features is features]
    scores, classes = np.zeros(30, np.float32), np.full((30, 2), 0.5, np.float32)
    for label, a, b in own.events:
        scores[a // 16 : b // 16] = 1
        classes[a // 16 : b // 16] = np.eye(2)[NAMES.index(label)]
    return ScoreTrack(scores, features.edges, NAMES, classes)


def test_one_who_knows_scores_full_marks() -> None:
    row, _ = scorers.figures(CLIPS, knowing, NAMES, fps=15.0)
    assert row["facts"]["auc"] == pytest.approx(1.0)
    assert row["facts"]["ap_step"] == pytest.approx(1.0)
    assert row["facts"]["map_standard"]["mean"] == pytest.approx(100.0)
    assert row["facts"]["positives"] == 240


def test_the_constant_control_knows_nothing() -> None:
    row, _ = scorers.figures(CLIPS, scorers.constant, NAMES, fps=15.0)
    assert row["facts"]["auc"] == pytest.approx(0.5)
    assert row["facts"]["map_standard"] is None


def test_gain_is_after_less_before() -> None:
    truth = np.array([1, 0, 0, 1]), np.array([0, 1, 1, 0])
    right, wrong = Scored(np.array([0.9, 0.1, 0.2, 0.8]), *truth), Scored(np.array([0.1, 0.9, 0.8, 0.2]), *truth)
    assert fewshot.difference([(wrong, right)]) == 1.0


def test_unknown_options_are_refused() -> None:
    for verb in ("scorers", "fewshot", "calibration"):
        with pytest.raises(SettingsError, match=f"eval {verb}: expected key=value with keys"):
            main([verb, "colour=red"])
    with pytest.raises(SettingsError, match="choose heads of mil"):
        main(["scorers", "heads=best"])


def test_a_site_is_one_camera_with_its_own_habit() -> None:
    """Background and habit stay; whether something is out of place is what was asked for; the seed is the whole truth."""
    one, other, normal = (
        simulate_site(3, 1, anomalous=True),
        simulate_site(3, 2, anomalous=True),
        simulate_site(3, 4, anomalous=False),
    )
    np.testing.assert_array_equal(one.scene.background, other.scene.background)
    assert one.anomalous
    assert not normal.anomalous
    habits = {e.label for k in range(12) for e in simulate_site(3, k, anomalous=False).events} & set(scorers.ANOMALIES)
    assert len(habits) == 1
    assert not habits & {e.label for k in range(12) for e in simulate_site(3, k, anomalous=True).events if e.anomalous}
    again = simulate_site(3, 1, anomalous=True)
    np.testing.assert_array_equal(one.frame(20.0), again.frame(20.0))


@pytest.mark.slow
def test_a_head_is_trained_and_measured_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["train=12", "select=6", "test=4", "seeds=1", "heads=sultani", "data="]
    assert main(["scorers", *sizes, f"work={tmp_path}", f"videos={tmp_path / 'videos'}"]) == 0
    said = capsys.readouterr().out
    assert "sultani" in said
    assert "motion energy" in said


def test_alarms_are_counted_by_the_minute_and_by_the_segment() -> None:
    """Two alarms in one minute of an hour are one minute; a clip's rest goes into the next minute."""
    scores = np.zeros(3600, np.float32)
    scores[[65, 66, 67, 100, 101, 102, 1000, 1001, 1002]] = 1
    track = ScoreTrack(scores, np.arange(3601.0))
    assert calibration.alarming([track], 0.9, 0.0) == (2.0, 3.0)
    parts = [ScoreTrack(scores[a : a + 90], np.arange(91.0)) for a in range(0, 3600, 90)]
    assert calibration.alarming(parts, 0.9, 0.0)[0] == 2.0


def test_halves_part_no_source_and_real_normal_clips_are_those_of_the_manifests(tmp_path: Path) -> None:
    groups = [f"source {i // 3}" for i in range(30)]
    for number in range(5):
        half, rest = calibration.halves(groups, number)
        assert sorted(half + rest) == list(range(30))
        assert len(half) == len(rest) == 15
        assert not {groups[i] for i in half} & {groups[i] for i in rest}
    assert calibration.halves(groups, 0) != calibration.halves(groups, 1)
    tables = {
        "fights": "path,label,source_video\na.mp4,normal,x\nb.mp4,fight,x\n", "street": "file,is_anomaly,scene\ns.mp4,0,yard\nt.mp4,1,yard\n",
        "clips": "file,is_anomaly\nc.mp4,0\n", "frames": "file,set,cls\nucf/n.mp4,ucf_stride16,Normal\nucf/a.mp4,ucf_stride16,Abuse\nped2/1.mp4,ped2,normal\n",
    }  # fmt: skip
    with pytest.raises(InputError, match="no normal footage with manifests"):
        calibration.real_normal(tmp_path)
    for name, rows in tables.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.csv").write_text(rows)
    (short, plain), (sparse, told) = calibration.real_normal(tmp_path).values()
    assert [(p.name, group) for p, group in short] == [("a.mp4", "x"), ("s.mp4", "yard"), ("c.mp4", "c.mp4")]
    assert ([p.name for p, _ in sparse], plain, told) == (["n.mp4"], (), calibration.SPARSE)


def test_calibration_error_is_nought_for_true_probabilities() -> None:
    scores = np.repeat([0.25, 0.75], 400)
    truth = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0]).astype(float)
    assert calibration_error(scores, truth) == pytest.approx(0.0)
    assert calibration_error(np.ones(800), truth) == pytest.approx(0.5)


def test_folds_hold_every_video_once_and_both_kinds() -> None:
    videos = [{"n_pos": str(i % 3)} for i in range(65)]
    found = footage.folds(videos)
    assert sorted(i for fold in found for i in fold) == list(range(65))
    assert all(5 <= sum(videos[i]["n_pos"] != "0" for i in fold) <= 10 for fold in found)
