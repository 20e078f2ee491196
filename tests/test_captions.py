"""The captioner: how captions of one photo share a sequence, what it learns, and what its folder holds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from vlad.finetune.captions import Shown, held_loss, loss_of, make_batch, train, write_tokenizer
from vlad.finetune.recipe import load_recipe

from vlad.errors import WeightsError
from vlad.explainers.captioner import TOKENS, build, guess, load_captioner, seen_words, tidy, write
from vlad.types import Box

TEXTS = ("a dog runs", "a man rides a red bike", "two people talk", "a car", "a child in a pink dress")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return write_tokenizer(tmp_path, TEXTS, 300)


def shown(count: int, captions: tuple[str, ...] = TEXTS) -> Shown:
    rng = np.random.default_rng(0)
    return Shown(
        (rng.random((count, TOKENS, 1280)).astype(np.float16),), ("2 people, 1 dog",) * count, (captions,) * count
    )


def test_words_of_captions_and_of_what_was_seen() -> None:
    assert tidy("A dog 's owner , in RED .") == "a dog 's owner in red"
    boxes = [Box(label, 0.9, (0.1, 0.1, 0.2, 0.2)) for label in ("dog", "person", "person")]
    assert seen_words(boxes) == "2 people, 1 dog"
    assert seen_words([]) == ""


def test_a_caption_of_footage_names_no_colour_and_no_event() -> None:
    assert guess("a man in a red shirt is standing by an orange car") == "a man in a shirt is standing by a car"
    assert guess("a black umbrella on a beach") == "an umbrella on a beach"
    assert guess("two boys are fighting in the street") == ""


@pytest.mark.slow
def test_captions_that_share_a_sequence_do_not_see_one_another(tokenizer: Tokenizer) -> None:
    """The loss of five captions together is that of each alone, weighed by its words."""
    torch.manual_seed(0)
    model = build(tokenizer, width=32, layers=2, heads=2).eval()
    rng, image = np.random.default_rng(0), tokenizer.token_to_id("<image>")

    def loss(captions: tuple[str, ...]) -> tuple[float, int]:
        batch = make_batch(shown(2, captions), [0, 1], tokenizer, rng, told=1.0)
        with torch.no_grad():
            return float(loss_of(model, batch, image=image, noise=0.0, smoothing=0.0)), len(batch.target)

    together, alone = loss(TEXTS), [loss((text,)) for text in TEXTS]
    assert together[1] == sum(count for _, count in alone)
    assert together[0] == pytest.approx(sum(v * n for v, n in alone) / together[1], abs=1e-5)


@pytest.mark.slow
def test_it_learns_and_goes_on_where_it_was_stopped(tokenizer: Tokenizer, tmp_path: Path) -> None:
    changes = ("steps=60", "batch=4", "lr=5e-3", "simulated=10", "width=32", "layers=1", "heads=2")
    recipe = load_recipe(None, [f"captions.{c}" for c in changes]).captions
    torch.manual_seed(0)
    model = build(tokenizer, width=32, layers=1, heads=2)
    before = held_loss(model, tokenizer, shown(4), tokenizer.token_to_id("<image>"))
    train(model, tokenizer, shown(8), shown(4, TEXTS[:1]), shown(4), recipe, tmp_path, tmp_path / "log.jsonl")
    after = held_loss(model, tokenizer, shown(4), tokenizer.token_to_id("<image>"))
    assert after < 0.7 * before
    other = build(tokenizer, width=32, layers=1, heads=2)
    train(other, tokenizer, shown(8), shown(4), None, recipe, tmp_path, tmp_path / "log.jsonl")  # nothing is left to do
    assert held_loss(other, tokenizer, shown(4), tokenizer.token_to_id("<image>")) == pytest.approx(after)
    write(model, tmp_path)
    assert not any("vision_tower" in k for k in _keys(tmp_path)), "the tower is nano's eye and is not stored twice"
    speak = load_captioner(tmp_path)
    (said, sure), (again, _) = speak([np.full((60, 80, 3), v, np.uint8) for v in (40, 200)], ["1 dog", ""])
    assert said
    assert set(said) <= set(" abcdefghijklmnopqrstuvwxyz")
    assert 0 < sure <= 1
    assert isinstance(again, str)


def _keys(folder: Path) -> set[str]:
    from safetensors.torch import load_file

    return set(load_file(folder / "model.safetensors"))


def test_a_folder_that_does_not_fit_is_told(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(build(tokenizer, width=32, layers=1, heads=2), tmp_path)
    (tmp_path / "captioner.json").write_text('{"width": 32, "layers": 2, "heads": 2}')
    with pytest.raises(WeightsError, match=r"is not in both.*reinstall"):
        load_captioner(tmp_path)
    (tmp_path / "tokenizer.json").write_text("no tokenizer")
    with pytest.raises(WeightsError, match="reinstall"):
        load_captioner(tmp_path)
