"""Every scorer keeps the same promises."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from vlad.finetune.recipe import load_recipe
from vlad.finetune.scorer import Bag, train_mil

from vlad.config import make_settings
from vlad.errors import MismatchError, SettingsError, WeightsError
from vlad.scorers import SCORERS, load_scorer
from vlad.scorers.mil import MilConfig, MilHead, MilScorer, save_head
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


@pytest.fixture(params=sorted(SCORERS))
def scorer(request: pytest.FixtureRequest, tmp_path: Path) -> Scorer:
    save_head(MilHead(MilConfig(CLIP, MOTION, ENCODER, ("fighting", "arson"))), tmp_path)
    return load_scorer(make_settings(scorer=request.param, scorer_weights=str(tmp_path)), Tower())


def test_scores_are_absolute_and_tile_the_clip(scorer: Scorer) -> None:
    track = scorer(features())
    assert track.scores.shape == (20,)
    assert track.edges.tolist() == features().edges.tolist()
    assert track.classes is not None
    np.testing.assert_allclose(track.classes.sum(axis=1), 1, atol=1e-5)


def test_a_score_does_not_hang_on_the_rest_of_a_long_clip(scorer: Scorer) -> None:
    """No scaling by clip: what happens a minute later changes nothing here."""
    one, other = features(120, 1), features(120, 1)
    values = np.array(other.values)
    values[80:] = features(40, 9).values
    changed = Features(values, other.edges, ENCODER)
    np.testing.assert_allclose(scorer(one).scores[:60], scorer(changed).scores[:60], atol=1e-6)


def test_classes_are_words_that_a_user_may_change(tmp_path: Path) -> None:
    save_head(MilHead(MilConfig(CLIP, MOTION, ENCODER, ("fighting",))), tmp_path)
    words = ("a spilled drink", "a dog on the track")
    track = load_scorer(make_settings(scorer_weights=str(tmp_path), classes=words), Tower())(features())
    assert track.labels == words


def test_features_of_another_encoder_are_refused(tmp_path: Path) -> None:
    save_head(MilHead(MilConfig(CLIP, MOTION, ENCODER, ("fighting",))), tmp_path)
    scorer = load_scorer(make_settings(scorer_weights=str(tmp_path)), Tower())
    with pytest.raises(MismatchError, match="features come from other@x, this scorer was trained on tiny"):
        scorer(features(encoder="other@x"))


def test_missing_and_foreign_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_scorer(make_settings(scorer_weights=str(tmp_path)), Tower())
    save_head(MilHead(MilConfig(CLIP, MOTION, ENCODER, ("fighting",))), tmp_path)
    (tmp_path / "head.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_scorer(make_settings(scorer_weights=str(tmp_path)), Tower())
    with pytest.raises(SettingsError, match="choose one of mil, text"):
        load_scorer(make_settings(scorer="best"), Tower())


def test_a_clip_scores_in_a_batch_as_it_does_alone() -> None:
    head = MilHead(MilConfig(CLIP, MOTION, ENCODER, ("fighting",))).eval()
    values = torch.from_numpy(np.array(features(12).values))
    batch = torch.zeros(1, 30, CLIP + MOTION)
    batch[0, :12] = values
    mask = torch.arange(30)[None] < 12
    with torch.inference_mode():
        torch.testing.assert_close(head(batch, mask)[0][0, :12], head(values[None])[0][0])


def bags(count: int, first: int) -> list[Bag]:
    """Every other bag hides a burst of one direction; its class is the direction's name."""
    found, names = [], embed_text(["a security camera shows fighting", "a security camera shows arson"])
    for i in range(first, first + count):
        values = np.array(features(30, i).values)
        label = "" if i % 2 else ("fighting", "arson")[i // 2 % 2]
        if label:
            values[10:16, :CLIP] = names[i // 2 % 2]
            values[10:16, CLIP:] += 1
        found.append(Bag(values, label))
    return found


def test_one_label_a_video_is_enough_to_find_the_moment() -> None:
    recipe = load_recipe(changes=["mil.epochs=15", "mil.batch=8", "mil.lr=2.0e-3"]).mil
    config = MilConfig(CLIP, MOTION, ENCODER, ("fighting", "arson"), width=32)
    head, log = train_mil(bags(40, 0), bags(20, 1000), [], config=config, embed_text=embed_text, recipe=recipe)
    assert len(log) == 15
    unseen = bags(8, 5000)
    scorer = MilScorer(head, config.labels, embed_text)
    for bag in unseen:
        track = scorer(Features(bag.values, np.arange(31.0), ENCODER))
        if bag.label:
            assert track.scores[10:16].mean() > track.scores[:8].mean() + 0.2
            assert track.classes is not None
            assert track.labels[int(track.classes[12].argmax())] == bag.label
        else:
            assert track.scores.mean() < 0.5
