"""nano's LLaVA: how questions about one picture share a sequence, what it learns, and what it says of photos."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vlad.finetune import llava, spans
from vlad.finetune.llava import Lesson, Photos, Stage, held_loss, loss_of, make_batch, text_of, train, write_processor
from vlad.finetune.recipe import LlavaRecipe, load_recipe

from vlad.config import make_settings
from vlad.explainers.captioner import asked, guess, load_captioner, seen_words, tidy
from vlad.explainers.engine import Request
from vlad.explainers.grounded import told
from vlad.explainers.llava import Layout
from vlad.explainers.tower import TOKENS, EyesConfig, EyesTower
from vlad.objects import load_detector
from vlad.prompting import load_prompt
from vlad.sight import load_sight
from vlad.types import Box, Fact
from vlad.weights import nano_part

WIDE = EyesConfig().hidden_size
TEXTS = ("a dog runs", "a man rides a red bike", "two people talk", "a car", "a child in a pink dress")


@pytest.fixture(scope="module")
def recipe() -> LlavaRecipe:
    changes = (
        "batch=4",
        "kept=2",
        "watched=0",
        "spans=6",
        "tune_spans=6",
        "width=32",
        "layers=1",
        "heads=2",
        "frames=2",
    )
    return load_recipe(None, [f"llava.{c}" for c in changes]).llava


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_processor(tmp_path_factory.mktemp("words"), [*TEXTS, "Describe the picture. 2 people, 1 dog"], 300)


def photos(count: int) -> Photos:
    rng = np.random.default_rng(0)
    return Photos(
        (rng.random((count, TOKENS, WIDE)).astype(np.float16),), ("2 people, 1 dog",) * count, (TEXTS,) * count
    )


def lessons(count: int) -> list[Lesson]:
    rng = np.random.default_rng(0)
    return [llava.photo_lesson(photos(count), i, rng, told=1.0) for i in range(count)]


def test_words_of_captions_and_of_what_was_seen() -> None:
    assert tidy("A dog 's owner , in RED .") == "a dog 's owner in red"
    boxes = [Box(label, 0.9, (0.1, 0.1, 0.2, 0.2)) for label in ("dog", "person", "person")]
    assert seen_words(boxes) == "2 people, 1 dog"
    assert seen_words([]) == ""


def test_a_caption_of_footage_names_no_colour_and_no_event() -> None:
    assert guess("a man in a red shirt is standing by an orange car") == "a man in a shirt is standing by a car"
    assert guess("a black umbrella on a beach") == "an umbrella on a beach"
    assert guess("two boys are fighting in the street") == ""


def test_the_model_is_told_what_was_measured_but_no_colour() -> None:
    facts = [
        Fact("people", "2 people at once", 2, 0.9, 1.0), Fact("vehicles", "no vehicle detected", 0, 0.5, 0.0),
        Fact("clothes", "a red top", 1, 0.9, 1.0), Fact("fall", "a person goes from upright to lying", 1, 0.8, 2.0),
    ]  # fmt: skip
    assert told(facts) == "2 people at once, a person goes from upright to lying"
    assert told([]) == ""


def test_training_lays_a_question_out_as_the_processor_does(processor: Any) -> None:
    values = {"times": "1.0 s", "label": "fighting"}
    frames = [np.zeros((24, 32, 3), np.uint8)] * 2
    for messages, shown in ((asked("1 dog"), frames[:1]), (load_prompt("explain").tell(values, images=2), frames)):
        own = make_batch(
            [Lesson(np.zeros((0, WIDE), np.float16), "".join(text_of(messages)), (("", "a"),))], processor.tokenizer
        )
        theirs = Layout(processor, EyesConfig(), name="x")([Request(messages, shown)])["input_ids"]
        assert own.ids[0, : theirs.shape[1]].tolist() == theirs[0].tolist()


def test_questions_about_one_picture_do_not_see_one_another(processor: Any) -> None:
    """The loss of five captions together is that of each alone, weighed by its words."""
    torch.manual_seed(0)
    model = llava.build(processor.tokenizer, width=32, layers=2, heads=2).eval()

    def loss(rows: list[Lesson]) -> tuple[float, int]:
        batch = make_batch(rows, processor.tokenizer)
        with torch.no_grad():
            return float(loss_of(model, batch, noise=0.0, smoothing=0.0)), len(batch.target)

    whole = [Lesson(x.view, x.before, (("", "a dog"), ("a car", "two people"), ("", "a man"))) for x in lessons(2)]
    together = loss(whole)
    alone = [loss([Lesson(x.view, x.before, (pair,)) for x in whole]) for pair in whole[0].asked]
    assert together[1] == sum(count for _, count in alone)
    assert together[0] == pytest.approx(sum(v * n for v, n in alone) / together[1], abs=0.01)  # of bfloat16


@pytest.mark.slow
def test_it_learns_and_goes_on_where_it_was_stopped(processor: Any, tmp_path: Path) -> None:
    tokenizer = processor.tokenizer

    def made(steps: int) -> tuple[Any, float]:
        torch.manual_seed(0)
        model = llava.build(tokenizer, width=32, layers=1, heads=2)
        before = held_loss(model, tokenizer, lessons(4))
        stage = Stage("llava", steps, 5e-3, 0.1, 0.2, 0.1, lambda step, rng: lessons(4), {"photos": lessons(4)})
        train(model, dict(model.named_parameters()), tokenizer, stage, 0, tmp_path, tmp_path / "log.jsonl")
        return model, before

    model, before = made(60)
    after = held_loss(model, tokenizer, lessons(4))
    assert after < 0.7 * before
    again, _ = made(60)  # nothing is left to do
    assert held_loss(again, tokenizer, lessons(4)) == pytest.approx(after)
    model.half().save_pretrained(tmp_path / "saved")
    state = (tmp_path / "saved" / "model.safetensors").read_bytes()
    assert b"vision_tower" not in state, "the tower is nano's eye and is not stored twice"


@pytest.mark.slow
def test_spans_are_measured_once_and_teach_the_verdict_normal_and_doubt_of_the_hint(
    recipe: LlavaRecipe, tmp_path: Path
) -> None:
    tower = EyesTower(EyesConfig())
    found = spans.spans_seen(tower, range(6), recipe, tmp_path, measured=1.0)
    again = spans.spans_seen(tower, range(6), recipe, tmp_path, measured=1.0)
    assert found.spans == again.spans
    assert all(v.shape == (2, TOKENS, WIDE) for v in found.views)
    assert any(s.facts for s in found.spans)
    rng = np.random.default_rng(0)
    for i in range(6):
        for lesson in (llava.span_lesson(found, i, recipe, rng), llava.template_lesson(found, i, recipe, rng)):
            assert len(lesson.view) == TOKENS * lesson.before.count("<image>") // TOKENS
            assert lesson.asked
    small = recipe.model_copy(update={"size": 32})
    verdicts, doubted = [], 0
    for seed in range(60):
        span = spans.draw_span(seed, small, None)[1]
        verdicts.append(span.truth["verdict"])
        doubted += spans.suggested(span.label, small, rng) not in ("", span.label)
    assert 15 < verdicts.count("normal") < 40
    assert doubted > 15
    assert spans.facts_in(
        spans.simulate(3, duration=16.0, events=("fighting",)), (4.0, 6.0), load_detector(make_settings())
    )


@pytest.mark.slow
def test_nano_says_what_is_in_a_picture() -> None:
    speak = load_captioner()
    (said, sure), (again, _) = speak([np.full((60, 80, 3), v, np.uint8) for v in (40, 200)], ["1 dog", ""])
    assert said
    assert set(said) <= set(" abcdefghijklmnopqrstuvwxyz'-0123456789")
    assert 0 < sure <= 1
    assert isinstance(again, str)
    assert json.dumps(said)


@pytest.mark.slow
def test_a_token_holds_what_both_eyes_see_in_its_cell() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, 192, 192)).astype(np.float32))
    with torch.inference_mode():
        tokens = EyesTower(EyesConfig())(pixels).last_hidden_state
        real = load_sight(nano_part("clip"))[0].visual.trunk.forward_features(pixels)
    assert tokens.shape == (2, TOKENS, WIDE)
    assert float((tokens[..., :1280].transpose(1, 2).reshape(2, 1280, 6, 6) - real).abs().max()) < 1e-3
    assert float(tokens[..., 1280:].abs().max()) > 0
