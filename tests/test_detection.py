"""The evaluator against published digits, and against scikit-learn where nothing is published."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score
from vlad.eval.detection import align, framed, intervals, main, measure, orders, pool, read_scores, trained_on
from vlad.eval.protocols import Labelled, load_dataset, read_annotations, truth

from vlad.errors import InputError, SettingsError
from vlad.report import to_json
from vlad.types import Analysis, ScoreTrack, Video

MEASURES = ("auc", "auc_anomalous", "ap_trapezoid", "ap_step")

# frames and anomalous frames of the test videos, as the public code that uses each convention has them
TOTALS = {
    "ucf-crime": {"all": (1_111_808, 84_182), "ceil16": (1_114_144, 84_189), "floor16": (1_109_824, 84_160), "i3d": (1_109_680, 84_128),
                  "vadclip": (1_109_888, 84_160)},
    "xd-violence": {"all": (2_335_801, 538_324), "i3d": (2_330_384, 537_805), "vadclip": (2_331_296, 537_882)},
}  # fmt: skip


@pytest.mark.parametrize(("name", "convention"), [(n, c) for n, found in TOTALS.items() for c in found])
def test_totals(name: str, convention: str) -> None:
    labels = [truth(v, convention) for v in load_dataset(name).videos]
    assert (sum(map(len, labels)), int(sum(y.sum() for y in labels))) == TOTALS[name][convention]


def test_facts_of_ucf_crime() -> None:
    videos = load_dataset("ucf-crime").videos
    assert len(videos) == 290
    assert sum(not v.classes for v in videos) == 150
    assert sum(len(v.spans) == 2 for v in videos) == 16
    over = {v.name.split("_")[0] for v in videos if any(end > v.frames for _, end in v.spans)}
    assert over == {"Arson011", "Arson016", "Explosion033", "Fighting003", "Shooting015"}
    assert sum(v.frames // 16 - v.i3d_snippets for v in videos) == 9


def test_facts_of_xd_violence() -> None:
    dataset = load_dataset("xd-violence")
    assert [len(dataset.videos), sum(bool(v.spans) for v in dataset.videos)] == [800, 500]
    assert sum(len(v.spans) for v in dataset.videos) == 1238
    assert {c for v in dataset.videos for c in v.classes} == set(dataset.classes)
    assert {c for v in dataset.videos for c, _, _ in v.events} == set(dataset.classes)
    codes = dict(zip(("B1", "B2", "B4", "B5", "B6", "G"), dataset.classes, strict=True))
    for v in dataset.videos:
        assert list(v.classes) == [codes[c] for c in v.name.split("_label_")[1].split("-") if c in codes]


def published(*more: str) -> list[str]:
    folder = Path(os.environ["VLAD_DATA"]) / "published"
    return [
        "--dataset",
        "ucf-crime",
        "--scores",
        str(folder / "ucf_scores_498a3b28.csv"),
        "--order",
        str(folder / "ucf_order.txt"),
        *more,
    ]


@pytest.mark.data
def test_published_scores_give_the_published_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(published("--json")) == 0
    found = json.loads(capsys.readouterr().out)
    digits = (found["auc"], found["auc_anomalous"], found["ap_trapezoid"])
    assert found["mean_video_auc"] is not None
    assert found["false_alarms_per_hour"] > 0
    assert [round(d, 6) for d in digits] == [0.898843, 0.751319, 0.412588]
    assert (found["frames"], found["positives"], found["convention"]) == (1_109_680, 84_128, "i3d")
    assert all(found["ci"][m][0] < found[m] < found["ci"][m][1] for m in MEASURES)


@pytest.mark.data
def test_a_published_file_needs_no_list(capsys: pytest.CaptureFixture[str]) -> None:
    without = [a for a in published("--json") if "order" not in a]
    assert main(without) == 0
    found = json.loads(capsys.readouterr().out)
    assert [round(found[k], 6) for k in ("auc", "auc_anomalous", "ap_trapezoid")] == [0.898843, 0.751319, 0.412588]


@pytest.mark.parametrize("which", [0, 1])
def test_numbers_are_read_in_the_order_that_fits(which: int, tmp_path: Path) -> None:
    dataset = load_dataset("ucf-crime")
    names, frames = orders(dataset)[which], {v.name: v.frames for v in dataset.videos}
    with open(tmp_path / "scores.csv", "w") as file:
        file.write("video_id,score\n")
        for number, name in enumerate(names):
            file.writelines(f"{number},{number / 1000}\n" for _ in range(frames[name] // 16))
    found = read_scores(tmp_path / "scores.csv", dataset)
    assert all(np.allclose(found[name], number / 1000) for number, name in enumerate(names))


@pytest.mark.data
def test_labels_are_those_that_were_published() -> None:
    theirs = np.load(Path(os.environ["VLAD_DATA"]) / "published/ucf_frame_gt.npz")
    ours = {v.name: truth(v, "i3d") for v in load_dataset("ucf-crime").videos}
    for name in theirs.files:
        np.testing.assert_array_equal(ours[name.split("__")[0]], theirs[name])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file"), [("ucf-crime", "Temporal_Anomaly_Annotation.txt"), ("xd-violence", "xd_annotations.txt")]
)
def test_the_original_annotations_say_the_same(name: str, file: str) -> None:
    shipped = load_dataset(name)
    assert read_annotations(Path(os.environ["VLAD_DATA"]) / "annotations" / file, shipped) == shipped


@pytest.mark.data
def test_scores_against_themselves_differ_by_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    scores = published()[3]
    assert main(published("--json", "--against", scores)) == 0
    against = json.loads(capsys.readouterr().out)["against"]
    assert set(MEASURES) <= set(against["difference"])
    assert set(against["difference"].values()) == {0.0}
    assert all(ends == [0.0, 0.0] for ends in against["ci"].values())


@pytest.mark.parametrize("ties", [1000, 5])
def test_figures_agree_with_scikit_learn(ties: int) -> None:
    rng = np.random.default_rng(ties)
    labels = [(rng.random(n) < p).astype(np.uint8) for n, p in ((300, 0.2), (200, 0.0), (500, 0.6))]
    scores = [np.round((rng.random(len(y)) + 0.3 * y) * ties) / ties for y in labels]
    found = pool(scores, labels).measure(np.ones(3))
    y, s = np.concatenate(labels), np.concatenate(scores)
    precision, recall, _ = precision_recall_curve(y, s)
    assert found["auc"] == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    assert found["ap_trapezoid"] == pytest.approx(auc(recall, precision), abs=1e-12)
    assert found["ap_step"] == pytest.approx(average_precision_score(y, s), abs=1e-12)
    kept = [0, 2]
    only = roc_auc_score(np.concatenate([labels[i] for i in kept]), np.concatenate([scores[i] for i in kept]))
    assert found["auc_anomalous"] == pytest.approx(only, abs=1e-12)
    twice = pool([*scores, scores[0]], [*labels, labels[0]]).measure(np.ones(4))
    assert pool(scores, labels).measure(np.array([2.0, 1.0, 1.0])) == pytest.approx(twice)


def test_a_perfect_scorer_and_a_constant_one() -> None:
    dataset = load_dataset("ucf-crime")
    found, facts = measure(dataset, {v.name: truth(v, "all").astype(float) for v in dataset.videos}, "all")
    assert [facts[m] for m in (*MEASURES, "mean_video_auc")] == [1.0] * 5
    assert facts["largest_tie"] > 0.9
    assert facts["false_alarms_per_hour"] == 0
    assert intervals(found)["auc"] == (1.0, 1.0)
    found, facts = measure(dataset, {v.name: np.full(v.frames, 0.6) for v in dataset.videos}, "all")
    assert facts["auc"] == facts["mean_video_auc"] == 0.5
    assert facts["ap_step"] == pytest.approx(84_182 / 1_111_808)
    assert facts["false_alarms_per_hour"] == pytest.approx(150 / (1_111_808 / 30 / 3600))  # one in each normal video
    low, high = intervals(found)["false_alarms_per_hour"]
    assert low < facts["false_alarms_per_hour"] < high


@pytest.mark.parametrize("count", [98, 100, 102])
def test_a_drift_of_two_snippets_is_carried(count: int) -> None:
    got = align(np.arange(count, dtype=float), 1600, 1600, "x")
    assert len(got) == 1600
    assert got[-1] == min(count, 100) - 1


@pytest.mark.parametrize("count", [97, 103, 1000, 1])
def test_a_larger_drift_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=r"x: .* scores fit neither"):
        align(np.arange(count, dtype=float), 1600, 1600, "x")


@pytest.mark.parametrize("bad", [np.array([]), np.array([0.1, np.nan]), np.zeros((3, 2, 2))])
def test_what_is_no_row_of_scores_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="finite scores"):
        align(bad, 1600, 1600, "x")


def test_a_short_video_of_one_snippet() -> None:
    video = Labelled("x", 12, 1, (), (), ())
    assert align(np.array([0.3]), 12, len(truth(video, "ceil16")), "x").tolist() == [0.3] * 16


def test_all_missing_videos_are_named_at_once(tmp_path: Path) -> None:
    np.save(tmp_path / "Abuse028_x264.npy", np.zeros(88))
    with pytest.raises(InputError, match="no scores for 289 of 290 videos: Abuse030_x264"):
        main(["--dataset", "ucf-crime", "--scores", str(tmp_path)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n", "columns video,score"),
        ("video,score\nx,much\n", "a row cannot be read"),
        ("video_id,pred\n900,0.1\n", "--order"),
    ],
)
def test_a_csv_that_is_none_of_scores(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        main(["--dataset", "ucf-crime", "--scores", str(tmp_path / "s.csv")])


def test_annotations_of_something_else_are_listed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "Abuse028_x264.mp4  Abuse  165  240  -1  -1\nNobody  Abuse  1 2\nAbuse030_x264 Abuse x y\n"
    )
    with pytest.raises(InputError, match=r"line 2 .*line 3"):
        read_annotations(tmp_path / "a.txt", load_dataset("ucf-crime"))


def test_wrong_options() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--dataset", "ucf-crime"])
    with pytest.raises(SettingsError, match=r"choose one of ucf-crime, xd-violence, .* or name a CSV"):
        main(["--dataset", "mine", "--scores", "x"])


@pytest.mark.slow
def test_class_scores_give_map_and_the_same_auc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = load_dataset("ucf-crime")
    for v in dataset.videos:
        scores = np.zeros((v.frames, 1 + len(dataset.classes)), np.float32)
        for c, a, b in v.events:
            scores[a:b, 1 + dataset.classes.index(c)] = 1
        scores[:, 0] = 1 - scores.sum(1)
        np.save(tmp_path / f"{v.name}.npy", scores)
    assert main(["--dataset", "ucf-crime", "--scores", str(tmp_path), "--frames", "all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["auc"] == 1.0
    assert set(found["map_standard"].values()) == {100.0}
    assert found["ci"]["map_standard"] == [100.0, 100.0]
    assert found["map_vadclip"]["0.5"] == pytest.approx(92.857, abs=1e-3)
    np.save(tmp_path / "Abuse028_x264.npy", np.zeros((1412, 3)))
    with pytest.raises(InputError, match="1 \\+ 13 columns: normal, Abuse"):
        main(["--dataset", "ucf-crime", "--scores", str(tmp_path)])


def test_a_pickled_array_and_a_missing_list_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "Abuse028_x264.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled objects"):
        main(["--dataset", "ucf-crime", "--scores", str(tmp_path)])
    with pytest.raises(InputError, match="list of videos"):
        main(["--dataset", "ucf-crime", "--scores", str(tmp_path), "--order", str(tmp_path / "none.txt")])


def analysis(folder: Path, name: str, scores: list[float], seconds: float) -> None:
    track = ScoreTrack(np.array(scores, np.float32), np.linspace(0, seconds, len(scores) + 1))
    video = Video(f"{name}.mp4", "0" * 64, seconds, 25.0, 320, 240, "h264")
    (folder / f"{name}.json").write_text(to_json(Analysis(video, track, ())))


@pytest.mark.slow
def test_ones_own_clips_need_one_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, table = tmp_path / "scores", tmp_path / "mine.csv"
    scores.mkdir()
    analysis(scores, "yard", [0.1, 0.9, 0.1, 0.1], 8.0)
    analysis(scores, "gate", [0.2, 0.7], 4.0)
    table.write_text("path,label,start,end\nclips/yard.mp4,fighting,2,4\nclips/gate.mp4,normal,,\n")
    assert main(["--dataset", str(table), "--scores", str(scores), "--json", "--pictures", str(tmp_path / "p")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["auc"], found["frames"], found["positives"]) == (1.0, 360, 60)
    assert found["false_alarms_per_hour"] == pytest.approx(1 / (12 / 3600))
    assert found["per_class"]["fighting"]["videos"] == 1
    assert all(Path(p).stat().st_size > 5000 for p in found["pictures"])
    for name, values in (("yard", [0.1, 0.9, 0.1, 0.1]), ("gate", [0.2, 0.7])):
        (scores / f"{name}.json").unlink()
        np.save(scores / f"{name}.npy", np.array(values))
    with pytest.raises(InputError, match="--rate, scores a second"):
        main(["--dataset", str(table), "--scores", str(scores)])
    assert main(["--dataset", str(table), "--scores", str(scores), "--rate", "0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 360


def test_ones_own_csv_tells_every_bad_row(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(
        "path,label,start,end\na.mp4,fire,5,2\n,fire,1,2\nb.mp4,normal,,\nc.mp4,fire,x,2\n"
    )
    with pytest.raises(InputError, match=r"line 2, line 3, line 5"):
        main(["--dataset", str(tmp_path / "mine.csv"), "--scores", str(tmp_path)])


def test_an_analysis_of_vlad_is_a_score_file(tmp_path: Path) -> None:
    video = next(v for v in load_dataset("ucf-crime").videos if v.name.startswith("Abuse028"))
    track = ScoreTrack(np.array([0.1, 0.8], np.float32), np.array([0.0, 20.0, video.frames / 30]))
    assert framed(track, video.frames).tolist() == pytest.approx([0.1] * 600 + [0.8] * (video.frames - 600))


def test_two_clips_of_one_name_and_an_event_behind_the_end_are_told(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("path,label,start,end\na/gate.mp4,normal,,\nb/gate.mp4,fire,1,2\n")
    with pytest.raises(InputError, match=r"two clips of one name: line 3"):
        main(["--dataset", str(table), "--scores", str(tmp_path)])
    table.write_text("path,label,start,end\nyard.mp4,fire,90,95\n")
    analysis(tmp_path, "yard", [0.1, 0.9], 8.0)
    with pytest.raises(InputError, match=r"yard: an event begins at 90 s, but its scores end at 8 s"):
        main(["--dataset", str(table), "--scores", str(tmp_path)])


def test_masks_of_frames_are_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ShanghaiTech, UBnormal, MSAD and Ped2 publish one mask a video."""
    masks, scores = tmp_path / "masks", tmp_path / "scores"
    masks.mkdir()
    scores.mkdir()
    for name, spans in {"01_0014": [(40, 90), (130, 160)], "02_0128": []}.items():
        mask = np.zeros(200, np.int8)
        for a, b in spans:
            mask[a:b] = 1
        np.save(masks / f"{name}.npy", mask)
        np.save(scores / f"{name}.npy", mask.astype(np.float32) * 0.9)
    arguments = ["--dataset", "shanghaitech", "--scores", str(scores), "--frames", "all", "--json"]
    assert main([*arguments, "--annotations", str(masks)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["positives"], facts["auc"]) == (400, 80, 1.0)
    with pytest.raises(SettingsError, match="shanghaitech: name its published masks"):
        main(arguments)
    np.save(masks / "03_0001.npy", np.array([0, 2]))
    with pytest.raises(InputError, match=r"03_0001.npy \(not zeros and ones"):
        main([*arguments, "--annotations", str(masks)])


def test_nano_is_warned_of_on_videos_it_was_fitted_to(tmp_path: Path) -> None:
    for name, made in (
        ("Abuse030_x264", {"encoder": "nano@1", "settings": {"scorer_weights": ""}}),
        ("Abuse028_x264", {"encoder": "nano@1"}),
    ):
        analysis(tmp_path, name, [0.1, 0.9], 4.0)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "made_by": made}))
    assert trained_on(tmp_path) == ["Abuse030_x264"]
    path.write_text(
        json.dumps(
            {
                **json.loads(path.read_text()),
                "made_by": {"encoder": "nano@1", "settings": {"scorer_weights": "runs/mine"}},
            }
        )
    )
    assert trained_on(tmp_path) == ["Abuse030_x264"]
