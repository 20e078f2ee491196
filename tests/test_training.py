"""Recipes, training from files, adaptation, calibration: what a researcher does with features on disk."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_scorers import CLIP, ENCODER, MOTION, bags, embed_text, features, new_head, recipe
from typer.testing import CliRunner
from vlad.finetune import scorer
from vlad.finetune.adapt import MEMORY, fit, load_memory, remember
from vlad.finetune.bags import shortened, split
from vlad.finetune.calibrate import (
    blocks,
    cross_validated,
    fit_map,
    read_truth,
    reliability,
)
from vlad.finetune.recipe import load_head_recipe
from vlad.finetune.score import copy_scorer
from vlad.finetune.scorer import train_head

from vlad.cli import app
from vlad.config import make_settings
from vlad.encoder import load_encoder
from vlad.errors import InputError, MismatchError, SettingsError
from vlad.live.normal import BLOCK, conformal_threshold
from vlad.pipeline import Analyzer
from vlad.scorers import HEADS, load_folder
from vlad.scorers.head import HeadConfig, TrainedScorer, save_head, sentences
from vlad.scorers.scene import save_scene
from vlad.types import Features, ScoreTrack

RECIPES = ("ucf-crime", "xd-violence", "shanghaitech", "custom")


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(
    "head", ["mil", "sultani", "rtfm", "ur-dmu", "vadclip", "tpwng", "hl-net", "causal", "normality"]
)
def test_every_recipe_takes_every_head(name: str, head: str) -> None:
    found = load_head_recipe(name, ["data.features=somewhere", f"head={head}", "scorer.lr=3e-4"])
    assert found.head == head
    assert found.scorer.lr == 3e-4


def test_a_recipe_tells_all_its_faults_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"'oops' is no change.*device.*data\.features.*scorer\.epochs.*scorer\.colour"
    ):
        load_head_recipe("custom", ["oops", "device=[1]", "scorer.epochs=none", "scorer.colour=red"])
    with pytest.raises(SettingsError, match="choose one of mil, sultani"):
        load_head_recipe("custom", ["head=best"])
    (tmp_path / "r.yaml").write_text("head: [")
    with pytest.raises(SettingsError, match="not YAML"):
        load_head_recipe(str(tmp_path / "r.yaml"))
    with pytest.raises(SettingsError, match="no such recipe"):
        load_head_recipe(str(tmp_path / "absent.yaml"))


def put_bags(folder: Path, count: int = 24) -> Path:
    """Features of synthetic videos and their CSV."""
    folder.mkdir()
    rows = [("path", "label")]
    for bag in bags(count, 0):
        np.save(folder / f"v{bag.name}.npy", bag.load(0))
        rows.append((str(folder / f"v{bag.name}.npy"), *(bag.classes or ("normal",))))
    with open(folder / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "list.csv"


def train(table: Path, out: Path, *changes: str) -> Any:
    given = [
        f"data.features={table}",
        f"data.encoder={ENCODER}",
        "data.clip=0",
        "data.text=",
        f"out={out}",
        "head=sultani",
    ]
    return CliRunner().invoke(app, ["finetune", "custom", *given, "scorer.epochs=3", "scorer.batch=4", *changes])


def test_a_run_killed_between_log_and_checkpoint_logs_each_epoch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, save = put_bags(tmp_path / "features"), scorer.Training.save

    def killed(self: Any, path: Path, of: Any) -> None:
        if self.epoch == 2:
            raise KeyboardInterrupt
        save(self, path, of)

    with monkeypatch.context() as patch:
        patch.setattr(scorer.Training, "save", killed)
        assert train(table, tmp_path / "out").exit_code != 0
    with open(tmp_path / "out" / "log.jsonl", "a") as log:
        log.write('{"stage": "sul')  # and the last line torn
    assert train(table, tmp_path / "out").exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2]


def test_features_on_disk_become_a_scorer_and_scores(tmp_path: Path) -> None:
    table = put_bags(tmp_path / "features")
    done = train(table, tmp_path / "out")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["train"] + len(result["select"]) == 24
    assert len(result["data"]) == 24
    assert 0 <= result["selection"] <= 1
    assert result["recipe"]["scorer"]["seed"] == 0
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000
    assert not list((tmp_path / "out").glob("checkpoint*"))
    scored = CliRunner().invoke(app, ["score", str(tmp_path / "out"), str(table), "-o", str(tmp_path / "scores")])
    assert scored.exit_code == 0, scored.output
    assert np.load(tmp_path / "scores" / "v3.npy").shape == (30,)


def test_a_list_of_clips_names_their_features_by_root(tmp_path: Path) -> None:
    """What `vlad verdicts export --clicks` says to run: clips by their places, features and what made them in a folder of their own."""
    (tmp_path / "features").mkdir()
    rows = []
    for k in range(8):
        np.save(
            tmp_path / "features" / f"{k:032x}.npy", np.random.default_rng(k).normal(size=(20, 6)).astype(np.float32)
        )
        rows.append((f"/library/clips/{k:032x}", "fight" if k % 2 else "normal", f"clip {k}"))
    (tmp_path / "features" / "manifest.jsonl").write_text(json.dumps({"fingerprint": f"{ENCODER}-12ab-34cd"}) + "\n")
    for name, header, table in (
        ("videos", ("path", "label", "name"), rows),
        ("clicks", ("video-id", "glance"), [(f"{1:032x}", 70)]),
    ):
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([header, *table])
    task = scorer.task_of(
        load_head_recipe(
            "custom",
            ["head=ur-dmu", f"data.features={tmp_path}/videos.csv", f"data.root={tmp_path}/features", f"data.clicks={tmp_path}/clicks.csv",
             "data.text=", "data.clip=0"],
        )
    )  # fmt: skip
    assert task.head.config.encoder == ENCODER
    clicks = {b.name: b.clicks for b in (*task.train, *task.select)}
    assert clicks[f"{1:032x}"] == (4,)
    assert sum(map(bool, clicks.values())) == 1
    (tmp_path / "clicks.csv").write_text(f"video-id,glance\n{0:032x},3\nnobody,3\n")
    with pytest.raises(InputError, match="2 videos that are no anomalous ones of these: nobody"):
        scorer.task_of(
            load_head_recipe(
                "custom",
                [
                    "head=ur-dmu",
                    f"data.features={tmp_path}/videos.csv",
                    f"data.root={tmp_path}/features",
                    f"data.clicks={tmp_path}/clicks.csv",
                    "data.text=",
                ],
            )
        )


def test_what_cannot_be_trained_on_is_told(tmp_path: Path) -> None:
    table = put_bags(tmp_path / "features", 6)
    np.save(tmp_path / "features" / "v2.npy", np.zeros((4, 3), np.float32))
    np.save(tmp_path / "features" / "v4.npy", np.full((4, CLIP + MOTION), np.nan))
    with pytest.raises(InputError, match=r"v4.npy: holds NaN.*1 files have not 20 numbers a snippet: v2 \(3\)"):
        raise_from(train(table, tmp_path / "out"))
    with pytest.raises(InputError, match="unknown classes arson"):
        raise_from(train(put_bags(tmp_path / "more"), tmp_path / "out", "data.classes={fighting: fighting}"))
    normal = tmp_path / "more" / "normal.csv"
    normal.write_text("\n".join(["path,label", *(f"{tmp_path}/more/v{i}.npy,normal" for i in (1, 3, 5, 7))]))
    with pytest.raises(InputError, match="sultani needs normal and anomalous videos"):
        raise_from(train(normal, tmp_path / "out"))
    assert train(normal, tmp_path / "calm", "head=normality", "options={space: 4, bank: 8}").exit_code == 0
    with pytest.raises(SettingsError, match="vadclip reads class names"):
        raise_from(train(tmp_path / "more" / "list.csv", tmp_path / "out", "head=vadclip"))


def raise_from(result: Any) -> None:
    assert result.exit_code != 0
    raise result.exception


def test_sound_lies_beside_sight(tmp_path: Path) -> None:
    table, sounds = put_bags(tmp_path / "features", 8), tmp_path / "sounds"
    sounds.mkdir()
    for k in range(8):
        np.save(sounds / f"v{k}__{'logmel' if k % 2 else 'vggish'}.npy", np.zeros((29 + k % 3, 128), np.float32))
    options = ["head=hl-net", f"data.audio={sounds}", "scorer.epochs=1", "scorer.length=16"]
    assert train(table, tmp_path / "out", *options).exit_code == 0
    config = json.loads((tmp_path / "out" / "head.json").read_text())
    assert (config["width"], config["audio"]) == (CLIP + MOTION + 128, 128)
    given = ["score", str(tmp_path / "out"), str(table), "-o", str(tmp_path / "scores"), "--audio", str(sounds)]
    assert CliRunner().invoke(app, given).exit_code == 0
    assert len(list((tmp_path / "scores").glob("*.npy"))) == 8
    np.save(sounds / "v0__vggish.npy", np.zeros((9, 128), np.float32))
    (sounds / "v1__logmel.npy").unlink()
    with pytest.raises(
        InputError, match=r"v0__vggish.npy: sound \[9, 128\] does not fit 30.*v1: no v1__vggish.npy or __logmel.npy"
    ):
        raise_from(train(table, tmp_path / "out", *options))


def test_no_test_set_can_be_selected_on(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no change"):
        raise_from(train(put_bags(tmp_path / "f", 4), tmp_path / "out", "--select", "test"))


def test_a_bag_is_shortened_by_means_and_stretched_by_repeats() -> None:
    values = np.arange(10, dtype=np.float32)[:, None]
    assert shortened(values, 5, "mask")[:, 0].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert len(shortened(values, 32, "mask")) == 10
    assert shortened(values[:2], 4, "repeat")[:, 0].tolist() == [0, 0, 1, 1]


def test_the_held_out_slice_has_both_kinds() -> None:
    train_bags, select = split(bags(20, 0), 0.1, 0)
    assert {bool(b.classes) for b in select} == {False, True}
    assert not {b.name for b in select} & {b.name for b in train_bags}
    with pytest.raises(InputError, match="only one anomalous video"):
        split([b for b in bags(20, 0) if not b.classes] + bags(1, 0), 0.1, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedScorer, Path]:
    """A head that finds both bursts, with its memory."""
    folder, head = tmp_path_factory.mktemp("head"), new_head("mil")
    names = head.names(sentences(head.config.labels), embed_text)
    train_head(head, bags(40, 0), bags(20, 1000), names=names, recipe=recipe())
    save_head(head, folder)
    remember(
        head,
        embed_text,
        [b.load(0) for b in bags(40, 0)],
        [(b.load(0), bool(b.classes)) for b in bags(20, 1000)],
        folder,
    )
    return TrainedScorer(head, sentences(head.config.labels), embed_text), folder


def site(seed: int, what: str = "") -> Features:
    """A clip of a place where arson is rehearsed daily; `what` happens besides."""
    values = np.array(features(40, seed).values)
    for start, name in ((8, "arson"), (26, what)):
        if name:
            values[start : start + 6, :CLIP] = embed_text([f"a security camera shows {name}"])[0]
            values[start : start + 6, CLIP:] += 1
    return Features(values, np.arange(41.0), ENCODER)


def test_a_scene_is_learnt_from_few_clips_and_nothing_forgotten(trained: tuple[TrainedScorer, Path]) -> None:
    scorer, folder = trained
    memory = load_memory(folder)
    clip = site(900, "fighting")
    before = scorer(clip).scores
    assert before[9:13].mean() > 0.5  # the rehearsal alarms
    scene, old, new = fit(scorer, memory, [site(i) for i in range(5)], [site(i, "fighting") for i in range(10, 15)])
    assert new >= old - 0.005
    scorer.scene = scene
    after = scorer(clip).scores
    scorer.scene = None
    assert after[9:13].mean() < 0.3
    assert after[27:31].mean() > 0.5


def test_one_kind_of_clips_is_enough_and_none_is_refused(trained: tuple[TrainedScorer, Path], tmp_path: Path) -> None:
    scorer, folder = trained
    memory = load_memory(folder)
    for normal, anomalous in (([site(1)], []), ([], [site(2, "fighting")])):
        scene, old, new = fit(scorer, memory, normal, anomalous)
        assert torch.isfinite(scene.weights).all()
        assert new >= old - 0.005
    done = CliRunner().invoke(app, ["adapt", str(folder), "-o", str(tmp_path / "out")])
    assert isinstance(done.exception, InputError)
    (folder / MEMORY).rename(tmp_path / MEMORY)
    with pytest.raises(InputError, match="train this scorer"):
        load_memory(folder)
    (tmp_path / MEMORY).rename(folder / MEMORY)


@pytest.mark.slow
def test_a_bn_wvad_head_takes_a_scenes_statistics_and_no_other_head_does(
    clip: Path, trained: tuple[TrainedScorer, Path], tmp_path: Path
) -> None:
    encoder = load_encoder(make_settings())
    (folder := tmp_path / "bn").mkdir()
    head = HEADS["bn-wvad"](HeadConfig("bn-wvad", encoder.name, sum(encoder.parts), 0, ()))
    for norm in head.norms:
        norm.running_mean.fill_(5.0)  # of quite another place
    save_head(head, folder)
    (folder / MEMORY).write_bytes(b"of scores as they were")
    told = CliRunner().invoke(
        app, ["adapt", str(folder), "--normal", str(clip), "--relearn", "-o", str(tmp_path / "out")]
    )
    assert told.exit_code == 0, told.output
    before, after = (load_folder(str(f), None, embed_text) for f in (folder, tmp_path / "out"))
    found = Analyzer(make_settings(), encoder=encoder).features(clip)[0]
    assert before(found).scores.mean() > after(found).scores.mean()
    assert not (tmp_path / "out" / MEMORY).exists()
    for given in ([str(trained[1]), "--normal", str(clip)], [str(folder), "--anomalous", str(clip)]):
        refused = CliRunner().invoke(app, ["adapt", *given, "--relearn", "-o", str(tmp_path / "no")])
        assert isinstance(refused.exception, InputError)


def test_a_scene_holds_for_its_own_classes_and_older_thresholds_do_not(
    trained: tuple[TrainedScorer, Path], tmp_path: Path
) -> None:
    scorer, folder = trained
    scene, _, _ = fit(scorer, load_memory(folder), [site(1)], [])
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    copy_scorer(str(folder), tmp_path / "old", without="calibration.json")
    (tmp_path / "old" / "calibration.json").write_text('{"enter": 0.9}')
    copy_scorer(str(tmp_path / "old"), tmp_path / "new", without="calibration.json")
    save_scene(scene, tmp_path / "new")
    assert load_folder(str(tmp_path / "old"), None, embed_text).enter == 0.9
    assert load_folder(str(tmp_path / "new"), None, embed_text).enter is None
    with pytest.raises(SettingsError, match="adapted under its own classes"):
        load_folder(str(tmp_path / "new"), sentences(["a spilled drink"]), embed_text)


def track(scores: Any, seconds: float = 1.0) -> ScoreTrack:
    scores = np.asarray(scores, np.float32)
    return ScoreTrack(scores, np.arange(len(scores) + 1) * seconds)


def test_blocks_are_minutes_by_their_highest_score() -> None:
    scores = np.zeros(130)
    scores[[10, 70, 125]] = 0.3, 0.6, 0.9
    assert blocks([track(scores)], 0.0).tolist() == pytest.approx([0.3, 0.9])  # what is over belongs to the last minute
    assert blocks([track([0.2] * 40), track([0.4] * 40)], 0.0).tolist() == pytest.approx(
        [0.4]
    )  # 40 s and 20 s, and the rest
    assert len(blocks([track([0.2, 0.4])], 0.0)) == 0


def test_the_threshold_keeps_its_promise_on_footage_it_never_saw() -> None:
    """Over many draws of calibration and test, the mean rate stays at or below what was asked, and not far below."""
    rng, rates = np.random.default_rng(0), []
    for _ in range(400):
        threshold = conformal_threshold(rng.beta(2, 5, 120), rate=3.0)
        rates.append((rng.beta(2, 5, 500) >= threshold).mean() * 3600 / BLOCK)
    assert 2.0 < np.mean(rates) <= 3.0


def test_too_little_footage_promises_nothing() -> None:
    with pytest.raises(InputError, match="10 minutes of normal footage cannot promise 1 alarms an hour; it takes 59"):
        conformal_threshold(np.linspace(0, 1, 10), rate=1.0)
    assert conformal_threshold(np.linspace(0, 0.5, 59), rate=1.0) > 0.5
    assert conformal_threshold(np.ones(19), rate=60.0) <= 1.0
    with pytest.raises(InputError, match="2 minutes of normal footage reach score 1"):
        conformal_threshold(np.ones(59), rate=2.0)


@pytest.mark.parametrize("snippets", [40, 400])  # Platt; isotonic
def test_scores_become_probabilities(snippets: int) -> None:
    rng = np.random.default_rng(0)
    tracks, spans = [], []
    for _ in range(12):
        chance = rng.beta(0.4, 2, snippets)
        truth = rng.random(snippets) < chance
        edges = np.flatnonzero(np.diff(truth.astype(int), prepend=0, append=0)).reshape(-1, 2)
        tracks.append(track(chance**3))  # a score that is far too low
        spans.append([(float(a), float(b)) for a, b in edges])
    held_out = cross_validated(tracks, spans)
    assert held_out is not None
    raw, mapped, labels = held_out
    assert reliability(mapped, labels)[1] < reliability(raw, labels)[1] / 2
    points = fit_map(raw, labels)
    assert (np.diff(points["y"]) >= -1e-9).all()
    assert cross_validated(tracks, [spans[0], *([[]] * (len(tracks) - 1))]) is None


def test_truth_of_clips(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("path,label,start,end\na.mp4,fighting,1,2\na.mp4,fighting,5,6.5\nb.mp4,normal,,\n")
    assert read_truth(file) == {"a.mp4": [(1.0, 2.0), (5.0, 6.5)], "b.mp4": []}
    file.write_text("path,label,start,end\na.mp4,fighting,,\n")
    with pytest.raises(InputError, match="expected a CSV path,label,start,end"):
        read_truth(file)


def test_a_folder_keeps_its_calibration(trained: tuple[TrainedScorer, Path], tmp_path: Path) -> None:
    _, folder = trained
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "calibration.json").write_text(json.dumps({"enter": 0.7, "x": [0, 1], "y": [0, 0.5]}))
    scorer, plain = (load_folder(str(f), None, embed_text) for f in (tmp_path, folder))
    assert (scorer.enter, plain.enter) == (0.7, None)
    np.testing.assert_allclose(scorer(features()).scores, plain(features()).scores / 2, atol=1e-6)


def killed_after(epoch: int, monkeypatch: pytest.MonkeyPatch, table: Path, out: Path) -> None:
    save = scorer.Training.save

    def killed(self: Any, path: Path, of: Any) -> None:
        save(self, path, of)
        if self.epoch == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scorer.Training, "save", killed)
        assert train(table, out).exit_code != 0


def test_another_recipe_or_other_features_do_not_go_on_with_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R2: a run was taken up with another rate and seed, whose split held out what had been trained on."""
    table, out = put_bags(tmp_path / "features"), tmp_path / "out"
    killed_after(2, monkeypatch, table, out)
    with pytest.raises(InputError, match=r"another scorer.lr \(was 0.001, is 0.01\), scorer.seed \(was 0, is 7\)"):
        raise_from(train(table, out, "scorer.lr=1e-2", "scorer.seed=7"))
    np.save(tmp_path / "features" / "v2.npy", np.ones((30, CLIP + MOTION), np.float32))
    with pytest.raises(InputError, match="another the features themselves"):
        raise_from(train(table, out))
    done = train(table, out, "scorer.lr=1e-2", "--anew")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    killed_after(1, monkeypatch, table, out)
    (out / "checkpoint.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"cannot be read.*--anew"):
        raise_from(train(table, out))


def test_a_plan_says_what_training_takes_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, out = put_bags(tmp_path / "features"), tmp_path / "out"
    told = train(table, out, "--plan")
    assert told.exit_code == 0, told.output
    found = dict(line.split() for line in told.output.splitlines())
    assert (found["rows"], found["batch"], found["passes"], found["steps"]) == ("20", "8", "3", "6")
    assert int(found["parameters"].replace(",", "")) == 512 * (CLIP + MOTION + 1) + 32 * 513 + 33
    assert 0 < int(found["megabytes"]) < 100
    assert not out.exists()
    monkeypatch.setattr(scorer, "_memory", lambda device: 1000)
    with pytest.raises(SettingsError, match=r"needs about .* GB.*lower scorer.batch \(4\)"):
        raise_from(train(table, out, "--plan"))


def test_scores_of_features_that_another_encoder_made_are_refused(tmp_path: Path) -> None:
    """R4: a manifest was never read, and another encoder's features of the same width were scored."""
    table = put_bags(tmp_path / "features")
    assert train(table, tmp_path / "out").exit_code == 0
    manifest = tmp_path / "features" / "manifest.jsonl"
    manifest.write_text(json.dumps({"fingerprint": "ViT-B-32@0-x-y"}) + "\n")
    score = ["score", str(tmp_path / "out"), str(table), "-o", str(tmp_path / "scores")]
    with pytest.raises(MismatchError, match="features of ViT-B-32@0"):
        raise_from(CliRunner().invoke(app, score))
    manifest.write_text(json.dumps({"fingerprint": f"{ENCODER}-x-y"}) + "\n")
    assert CliRunner().invoke(app, score).exit_code == 0
