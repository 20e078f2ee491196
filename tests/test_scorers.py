"""Every scorer keeps the same promises."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import roc_auc_score
from vlad.finetune.bags import Bag, batch_of, held, rows_of
from vlad.finetune.losses import LOSSES
from vlad.finetune.recipe import ScorerRecipe
from vlad.finetune.scorer import train_head

from vlad.config import make_settings
from vlad.errors import MismatchError, SettingsError, WeightsError
from vlad.scorers import HEADS, SCORERS, load_scorer
from vlad.scorers.causal import CausalHead, Stream
from vlad.scorers.foretelling import MODELS
from vlad.scorers.head import HeadConfig, TrainedScorer, save_head, sentences
from vlad.scorers.vadclip import prompted
from vlad.types import Features, Scorer

CLIP, MOTION, ENCODER = 16, 4, "tiny@0123456789ab"


def embed_text(texts: list[str]) -> npt.NDArray[np.float32]:
    """A sentence's words, hashed into a unit vector: the same words, the same place."""
    rows = []
    for text in texts:
        row = sum(np.random.default_rng(sum(map(ord, w)) * 7919 + len(w)).normal(size=CLIP) for w in text.split())
        rows.append(row / np.linalg.norm(row))
    return np.array(rows, np.float32)


class Tower:
    embed_text = staticmethod(embed_text)


def features(count: int = 20, seed: int = 0, encoder: str = ENCODER) -> Features:
    rng = np.random.default_rng(seed)
    clip = rng.normal(size=(count, CLIP))
    values = np.hstack([clip / np.linalg.norm(clip, axis=1, keepdims=True), rng.random((count, MOTION))])
    return Features(values.astype(np.float32), np.arange(count + 1.0), encoder)


TEXT = {
    "context": 48,
    "vocabulary": 721,
    "width": 16,
    "layers": 1,
    "heads": 2,
    "embed": CLIP,
    "quick": False,
    "tokenizer": "nano",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "vadclip": {"prefix": 4, "postfix": 4, "text": TEXT}, "tpwng": {"prefix": 4, "postfix": 4, "text": TEXT},
    "normality": {"space": 8, "bank": 32}, "mil": {"width": 32}, "causal": {"width": 32}, "pel4vad": {"space": CLIP},
}  # fmt: skip
WINDOWS = {"vadclip": 24, "tpwng": 32, "rtfm": 64, "ur-dmu": 64, "hl-net": 64, "pel4vad": 64, "bn-wvad": 64}
LOCAL = ("mil", "sultani", "causal")  # a snippet's score hangs on its near ones alone


def new_head(kind: str, labels: tuple[str, ...] = ("fighting", "arson"), *, seed: int = 0) -> Any:
    """A small untrained head; one with a text tower gets random weights there."""
    torch.manual_seed(seed)
    config = HeadConfig(
        kind, ENCODER, CLIP + MOTION, CLIP, labels, window=WINDOWS.get(kind, 0), options=OPTIONS.get(kind, {})
    )
    head = HEADS[kind](config)
    if hasattr(head, "clipmodel"):
        tower = head.clipmodel  # random words have to differ as much as a trained tower's do
        attention = tower.transformer.resblocks[0].attn
        for parameter, std in (
            (attention.in_proj_weight, 0.3),
            (attention.out_proj.weight, 3.0),
            (tower.text_projection, 1.0),
        ):
            torch.nn.init.normal_(parameter, std=std)
    if kind == "normality":
        normal = torch.from_numpy(np.concatenate([features(60, i).values for i in range(4)]))
        head.learn_space(normal, torch.Generator().manual_seed(0))
        head.learn_scale([torch.from_numpy(np.array(features(60, 50 + i).values)) for i in range(3)])
    return head


@pytest.fixture(params=sorted(SCORERS))
def scorer(request: pytest.FixtureRequest, tmp_path: Path) -> Scorer:
    if request.param in HEADS:
        save_head(new_head(request.param), tmp_path)
    return load_scorer(make_settings(scorer=request.param, scorer_weights=str(tmp_path)), Tower())


def test_scores_are_absolute_and_tile_the_clip(scorer: Scorer) -> None:
    for count in (1, 20, 130):  # one snippet; less than a window; several windows and a rest
        track = scorer(features(count))
        assert track.scores.shape == (count,)
        assert track.edges.tolist() == features(count).edges.tolist()
        if track.classes is not None:
            np.testing.assert_allclose(track.classes.sum(axis=1), 1, atol=1e-4)


def test_the_same_features_score_the_same(scorer: Scorer) -> None:
    np.testing.assert_array_equal(scorer(features(40)).scores, scorer(features(40)).scores)


@pytest.mark.parametrize("kind", [*LOCAL, "text"])
def test_a_score_does_not_hang_on_the_rest_of_a_long_clip(kind: str, tmp_path: Path) -> None:
    """No scaling by clip: what happens a minute later changes nothing here."""
    if kind in HEADS:
        save_head(new_head(kind), tmp_path)
    scorer = load_scorer(make_settings(scorer=kind, scorer_weights=str(tmp_path)), Tower())
    one, other = features(120, 1), features(120, 1)
    values = np.array(other.values)
    values[80:] = features(40, 9).values
    changed = Features(values, other.edges, ENCODER)
    np.testing.assert_allclose(scorer(one).scores[:60], scorer(changed).scores[:60], atol=1e-6)


def test_a_window_scores_without_the_others() -> None:
    """However long a clip is, attention costs a window; what lies in another window changes nothing."""
    scorer = TrainedScorer(new_head("vadclip"), sentences(("fighting", "arson")), embed_text)
    one, values = features(120, 1), np.array(features(120, 1).values)
    values[48:] = features(72, 9).values
    changed = scorer(Features(values, one.edges, ENCODER))
    np.testing.assert_allclose(scorer(one).scores[:48], changed.scores[:48], atol=1e-6)


# (kind, width, clip, settings, trained parameters of the published network)
PUBLISHED = [
    ("sultani", 4096, 0, {}, 2_114_113),
    ("hl-net", 1152, 0, {}, 842_883),
    ("vadclip", 512, 512, {}, 12_642_306),
    ("vadclip", 512, 512, {"layers": 1, "window": 64}, 9_489_922),
]


@pytest.mark.parametrize(("kind", "width", "clip", "options", "count"), PUBLISHED)
def test_a_head_is_as_large_as_the_published_one(
    kind: str, width: int, clip: int, options: dict[str, Any], count: int
) -> None:
    small_text = {"text": {**TEXT, "context": 77, "width": 512, "embed": 512}} if kind == "vadclip" else {}
    head = HEADS[kind](HeadConfig(kind, ENCODER, width, clip, (), window=256, options={**options, **small_text}))
    assert sum(p.numel() for p in head.parameters() if p.requires_grad) == count


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("ur-dmu", 5.5e6, 7e6), ("causal", 1.1e6, 1.3e6), ("pel4vad", 1.1e6, 1.7e6), ("bn-wvad", 5.2e6, 6.2e6)],
)
def test_a_head_is_about_as_large_as_the_published_one(kind: str, least: float, most: float) -> None:
    head = HEADS[kind](HeadConfig(kind, ENCODER, 1024, 512, ()))
    assert least < sum(p.numel() for p in head.parameters()) < most


def test_a_causal_score_does_not_know_the_future() -> None:
    head = new_head("causal").eval()
    values = torch.from_numpy(np.array(features(60).values))[None]
    changed = values.clone()
    changed[:, 31:] = 5.0
    with torch.inference_mode():
        before, after = head(values).logits[0], head(changed).logits[0]
    torch.testing.assert_close(before[:31], after[:31])
    assert not torch.allclose(before[31:], after[31:])


def test_a_stream_gives_what_the_whole_clip_gets_and_does_not_grow() -> None:
    head: CausalHead = new_head("causal").eval()
    stream, sizes, live = Stream(head), set(), []
    for row in features(60).values:
        live.append(stream.push(row))
        sizes.add(sum(part.numel() for part in stream._state))
    whole = TrainedScorer(head, sentences(("fighting", "arson")), embed_text)(features(60)).scores
    np.testing.assert_allclose(live, whole, atol=1e-5)
    assert len(sizes) == 1


def test_normality_finds_what_was_never_seen() -> None:
    head = new_head("normality")
    values = np.array(features(60, 7).values)
    values[30:36, CLIP:] += 6
    scores = TrainedScorer(head, {}, embed_text)(Features(values, np.arange(61.0), ENCODER)).scores
    assert scores[30:36].min() > 0.9
    assert np.median(scores[:28]) < 0.5


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.slow
def test_every_model_is_surprised_by_what_it_never_saw(model: str) -> None:
    """A rhythm of eight numbers in a plane of two; the odd ones leave the plane, or the rhythm for those that know time."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    plane = torch.randn(2, 8, generator=generator)

    def rhythm(shift: float) -> torch.Tensor:
        at = torch.arange(48) * 0.6 + shift
        return torch.stack([at.sin(), at.cos()], 1) @ plane + 0.05 * torch.randn(48, 8, generator=generator)

    head = HEADS["normality"](HeadConfig("normality", ENCODER, 8, 0, (), options={"model": model, "bank": 16}))
    own, optimiser = head.foretell, torch.optim.Adam(head.foretell.parameters(), 3e-3)
    for step in range(80):
        x = torch.stack([rhythm(float(k + step)) for k in range(4)])
        optimiser.zero_grad()
        own.errors(x, torch.rand(4, 48, generator=generator) < 1 / own.turns).mean().backward()
        optimiser.step()
    odd = rhythm(0.3)
    odd[20:24] = 1.5 * torch.randn(4, 8, generator=generator)
    turn = torch.arange(48) % own.turns
    with torch.no_grad():
        own.eval()
        wrong = sum(own.errors(odd[None], (turn == k)[None])[0] * (turn == k) for k in range(own.turns))
    assert wrong[20:24].mean() > 3 * wrong[4:18].mean()
    with pytest.raises(SettingsError, match="no model 'x'; choose one of fill, vae"):
        HEADS["normality"](HeadConfig("normality", ENCODER, 8, 0, (), options={"model": "x"}))


def test_normality_hears_movement_beside_looks_of_many_numbers() -> None:
    """What is odd in three numbers of movement alone does not drown in sixty of looks."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(400, 63, generator=generator)
    found = []
    for motion in (3, 0):
        head = HEADS["normality"](HeadConfig("normality", ENCODER, 63, 0, (), options={"motion": motion, "bank": 64}))
        head.learn_space(normal[:300], generator)
        head.learn_scale([normal[300:]])
        odd = normal[300:340].clone()
        odd[20:, -3:] += 4
        with torch.no_grad():
            logits = head.eval()(odd[None]).logits[0]
        found.append(float((logits[20:].mean() - logits[:20].mean()) / logits[:20].std()))
    assert found[0] > 2 * found[1]


def test_normality_hears_what_is_faster_than_anything_at_its_height() -> None:
    """Near things are fast at the bottom of the picture every day; the same speed at the top is not."""
    generator = torch.Generator().manual_seed(0)
    usual = torch.rand(400, 24, generator=generator) * torch.linspace(0.1, 1.0, 24)
    normal = torch.cat([torch.randn(400, 40, generator=generator), usual, torch.zeros(400, 5)], dim=1)
    options = {"speeds": 24, "motion": 5, "bank": 64, "space": 8}
    head = HEADS["normality"](HeadConfig("normality", ENCODER, 69, 0, (), options=options))
    head.learn_space(normal[:300], generator)
    head.learn_scale([normal[300:]])
    odd = normal[300:340].clone()
    odd[10, 40 + 20], odd[20, 40 + 2] = 0.8, 0.8
    with torch.no_grad():
        logits = head.eval()(odd[None]).logits[0]
    assert int(logits.argmax()) == 20
    assert logits[20] > 0 > logits[10]


def test_classes_are_words_that_a_user_may_change(tmp_path: Path) -> None:
    save_head(new_head("mil", ("fighting",)), tmp_path)
    words = ("a spilled drink", "a dog on the track")
    track = load_scorer(make_settings(scorer_weights=str(tmp_path), classes=words), Tower())(features())
    assert track.labels == words


@pytest.mark.parametrize("kind", ["text", "mil"])
def test_a_file_of_sentences_names_the_classes(kind: str, tmp_path: Path) -> None:
    """A new class works with no training; one of several sentences is their mean."""
    save_head(new_head("mil", ("fighting",)), tmp_path)
    file = tmp_path / "classes.yaml"
    file.write_text("a spilled drink: [juice on the floor, a wet floor]\ndog: a dog on the track\n")
    settings = make_settings(scorer=kind, scorer_weights=str(tmp_path), classes_file=file)
    values = np.array(features(6).values)
    values[3, :CLIP] = embed_text(["a dog on the track"])[0]
    track = load_scorer(settings, Tower())(Features(values, np.arange(7.0), ENCODER))
    assert track.labels == ("a spilled drink", "dog")
    if kind == "text":
        assert track.classes is not None
        assert track.classes[3].argmax() == 1
    file.write_text("dog: 3\ncat: [1, 2]\n")
    with pytest.raises(SettingsError, match="a list of sentences for dog, cat"):
        load_scorer(settings, Tower())
    file.write_text("just words")
    with pytest.raises(SettingsError, match="expected lines such as"):
        load_scorer(settings, Tower())


def test_features_of_another_encoder_are_refused(tmp_path: Path) -> None:
    save_head(new_head("mil", ("fighting",)), tmp_path)
    scorer = load_scorer(make_settings(scorer_weights=str(tmp_path)), Tower())
    with pytest.raises(MismatchError, match="features come from other@x, this scorer was trained on tiny"):
        scorer(features(encoder="other@x"))


def test_missing_and_foreign_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_scorer(make_settings(scorer_weights=str(tmp_path)), Tower())
    save_head(new_head("mil", ("fighting",)), tmp_path)
    (tmp_path / "head.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_scorer(make_settings(scorer_weights=str(tmp_path)), Tower())
    with pytest.raises(SettingsError, match="choose one of mil, sultani"):
        load_scorer(make_settings(scorer="best"), Tower())


def test_a_clip_scores_in_a_batch_as_it_does_alone() -> None:
    head = new_head("mil", ("fighting",)).eval()
    values = torch.from_numpy(np.array(features(12).values))
    batch = torch.zeros(1, 30, CLIP + MOTION)
    batch[0, :12] = values
    mask = torch.arange(30)[None] < 12
    with torch.inference_mode():
        torch.testing.assert_close(head(batch, mask)[0][0, :12], head(values[None])[0][0])


@pytest.mark.parametrize("kind", ["ur-dmu", "hl-net", "pel4vad", "causal", "mil", "sultani", "tpwng", "vadclip"])
def test_what_lies_behind_a_bags_end_does_not_reach_its_scores(kind: str) -> None:
    head = new_head(kind).eval()
    batch = torch.zeros(1, 24, CLIP + MOTION)
    batch[0, :12] = torch.from_numpy(np.array(features(12).values))
    noisy = batch.clone()
    noisy[0, 12:] = 9.0
    mask = torch.arange(24)[None] < 12
    with torch.inference_mode():
        torch.testing.assert_close(head(batch, mask).logits[0, :12], head(noisy, mask).logits[0, :12])


def bags(count: int, first: int, names: npt.NDArray[np.float32] | None = None) -> list[Bag]:
    """Every other bag hides a burst of one direction, that of its class's name; names: unit vectors of fighting and arson."""
    found = []
    names = (
        embed_text(["a security camera shows fighting", "a security camera shows arson"]) if names is None else names
    )
    for i in range(first, first + count):
        values = np.array(features(30, i).values)
        label = "" if i % 2 else ("fighting", "arson")[i // 2 % 2]
        if label:
            values[10:16, :CLIP] = names[i // 2 % 2]
            values[10:16, CLIP:] += 1
        found.append(held(values, (label,) if label else (), str(i)))
    return found


def recipe(**changes: Any) -> ScorerRecipe:
    return ScorerRecipe(**{
        "epochs": 15, "batch": 8, "lr": 2e-3, "smooth": 8e-3, "sparse": 2e-3, "named": 0.5, "margin": 10, "magnitude": 1e-4,
        "distil": 5, "guidance": 0.5, "least": 0.6, "seed": 0, **changes,
    })  # fmt: skip


# Epochs after which each head has found the burst of a synthetic bag, with room to spare.
ENOUGH = {
    "mil": 15,
    "sultani": 20,
    "rtfm": 6,
    "ur-dmu": 6,
    "vadclip": 20,
    "tpwng": 30,
    "hl-net": 40,
    "pel4vad": 15,
    "bn-wvad": 12,
    "causal": 25,
}
QUICK = ("mil", "sultani", "causal")


def test_padding_far_behind_a_short_bag_leaves_its_scores_finite() -> None:
    """The distance of padding from every snippet underflows: 0 / 0 once made every score of UR-DMU NaN."""
    torch.manual_seed(0)
    head = HEADS["ur-dmu"](HeadConfig("ur-dmu", ENCODER, 24, 16, ())).eval()
    values = torch.randn(1, 30, 24)
    padded, mask = torch.zeros(1, 600, 24), torch.arange(600)[None] < 30
    padded[:, :30] = values
    with torch.inference_mode():
        alone, found = head(values).logits, head(padded, mask).logits[:, :30]
    torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in ENOUGH]
)
def test_one_label_a_video_is_enough_to_find_the_moment(kind: str) -> None:
    head, rows, said = new_head(kind), [], None
    names = head.names(sentences(head.config.labels), embed_text)
    if kind == "tpwng":  # its labels come from what its own texts are alike to
        with torch.no_grad():
            texts = prompted(head.clipmodel, head.text_prompt_embeddings, names, prefix=4, postfix=4)
        said = torch.nn.functional.normalize(texts[1:], dim=-1).numpy()
    knobs: dict[str, Any] = {
        "rtfm": {"length": 32, "fill": "repeat"},
        "tpwng": {"lr": 5e-4, "guidance": 0.8, "least": 0.8},
    }.get(kind, {})
    train_head(
        head, bags(40, 0, said), bags(20, 1000, said), names=names, tell=rows.append, recipe=recipe(epochs=ENOUGH[kind], **knobs)
    )  # fmt: skip
    assert len(rows) == ENOUGH[kind]
    scorer = TrainedScorer(head, sentences(head.config.labels), embed_text)
    inside, outside, right = [], [], []
    for bag in bags(12, 5000, said):
        track = scorer(Features(bag.load(0), np.arange(31.0), ENCODER))
        if not bag.classes:
            outside.append(track.scores)
            continue
        inside.append(track.scores[13:16] if kind == "causal" else track.scores[10:16])  # it has to have seen some
        outside.append(track.scores[:7])
        if track.classes is not None:
            named = [track.labels.index(name) for name in ("fighting", "arson")]
            right.append(
                ("fighting", "arson")[int(track.classes[15 if kind == "causal" else 12, named].argmax())]
                == bag.classes[0]
            )
    assert roc_auc_score(
        np.repeat([1, 0], [sum(map(len, inside)), sum(map(len, outside))]), np.concatenate([*inside, *outside])
    ) > 0.9  # fmt: skip
    assert kind == "tpwng" or not right or np.mean(right) > 0.9  # its two random texts are nearly one


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_reaches_what_it_should(kind: str) -> None:
    """Every trained parameter that the forward pass uses gets a gradient; nothing is nan, also for bags of one snippet."""
    head = new_head(kind)
    head.train()
    some = [held(features(n, n).values, (), str(n)) for n in (1, 9)] + [
        held(features(n, n).values, ("arson",)) for n in (3, 20)
    ]
    batch = batch_of(
        rows_of(some, "videos"),
        head.config,
        recipe(noise=0.1, drift=0.1),
        np.random.default_rng(0),
        torch.device("cpu"),
    )
    names = head.names(sentences(head.config.labels), embed_text)
    LOSSES[kind](head(batch.values, batch.mask, names), batch, recipe()).backward()
    unused = ("conv1d3", "conv1d4", "simAdj", "disAdj", "clipmodel")
    for name, parameter in head.named_parameters():
        if not name.startswith(unused):
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_training_that_was_stopped_is_training_that_was_not(tmp_path: Path) -> None:
    whole, parts = new_head("sultani"), new_head("sultani")
    train_head(whole, bags(16, 0), bags(8, 1000), names=None, recipe=recipe(epochs=4))

    class Stopped(Exception):
        pass

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train_head(parts, bags(16, 0), bags(8, 1000), names=None, recipe=recipe(epochs=4), work=tmp_path, tell=stop)
    again, rows = new_head("sultani", seed=5), []
    train_head(again, bags(16, 0), bags(8, 1000), names=None, recipe=recipe(epochs=4), work=tmp_path, tell=rows.append)
    assert [row["epoch"] for row in rows] == [2, 3]
    for ours, theirs in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs)
