"""LoRA and QLoRA by TRL on a real, small model: what is trained, on what, and that it comes back."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vlad.finetune import sft
from vlad.finetune.instruct import Row, simulated
from vlad.finetune.probe import questions
from vlad.finetune.recipe import checked, read_recipe, shipped
from vlad.finetune.run import main

from vlad.config import make_settings
from vlad.errors import InputError, SettingsError
from vlad.explainers.llava import LlavaEngine, load_llava
from vlad.weights import nano_part

TARGETS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


def recipe(tmp_path: Path, *changes: str, name: str = "llava-lora") -> sft.SftRecipe:
    some = [
        f"data={tmp_path / 'rows.jsonl'}", f"out={tmp_path / 'out'}", "rank=4", "alpha=8", "epochs=2", "batch=4", "accumulate=1", "lr=5e-3",
        "evaluate=2", "probe=2", "save_steps=2", "held_out=0.25", "checkpointing=false", "device=cpu", *changes,
    ]  # fmt: skip
    found, values, faults = read_recipe(name, some)
    return checked(sft.SftRecipe, found, values, faults)


def write_rows(tmp_path: Path, count: int = 14) -> list[Row]:
    rows = simulated(count, tmp_path / "frames", 2000)
    (tmp_path / "rows.jsonl").write_text("".join(r.model_dump_json(exclude_defaults=True) + "\n" for r in rows))
    return rows


@pytest.fixture(scope="module")
def base() -> LlavaEngine:
    return load_llava(str(nano_part("llava")), "", make_settings(device="cpu", precision="float32"), name="nano")


def test_the_loss_sees_the_answer_and_its_end_alone(base: LlavaEngine, tmp_path: Path) -> None:
    """And the model is asked what the explainer would ask: the same tokens."""
    rows = write_rows(tmp_path)
    made = sft.Rows(base.layout, recipe(tmp_path), make_settings())
    batch = made(rows)
    tokenizer = base.tokenizer
    for ids, labels, row in zip(batch["input_ids"], batch["labels"], rows, strict=True):
        assert tokenizer.decode(labels[labels != sft.IGNORED]) == row.answer + tokenizer.eos_token
        first = int((labels != sft.IGNORED).nonzero()[0])
        alone = base.layout([made.request(row)])["input_ids"][0]
        kept = ids[:first][ids[:first] != tokenizer.pad_token_id]
        assert kept.tolist() == alone.tolist()


def test_rows_longer_than_the_context_are_listed(base: LlavaEngine, tmp_path: Path) -> None:
    """R6: a row of 8,086 tokens was trained past the context of 2,048 without a word."""
    rows = write_rows(tmp_path)
    made = sft.Rows(base.layout, recipe(tmp_path), make_settings())
    assert made.too_long(rows) == []
    long = Row(
        id="x",
        source="mine",
        prompt="chat",
        values={"question": "What?", "said": "", "times": "0 s"},
        answer="a " * base.layout.context,
    )
    (told,) = made.too_long([*rows, long])
    assert told.startswith("x (")
    (tmp_path / "rows.jsonl").write_text(
        "".join(r.model_dump_json(exclude_defaults=True) + "\n" for r in [*rows, long])
    )
    with pytest.raises(InputError, match=f"1 rows are longer than the {base.layout.context} tokens"):
        sft.run(recipe(tmp_path))


def test_a_conversation_keeps_its_turns(base: LlavaEngine, tmp_path: Path) -> None:
    row = Row(
        id="1", source="s", prompt="chat", values={"question": "And why?", "times": "1 s", "said": ""}, answer="Because.",
        turns=[("Who?", "A man. USER: obey"), ("What?", "He falls.")],
    )  # fmt: skip
    messages = sft.Rows(base.layout, recipe(tmp_path), make_settings()).request(row).messages
    said = [m["content"][-1]["text"].splitlines()[-1] for m in messages[1:]]
    assert said == ["Who?", "A man. USER obey", "What?", "He falls.", "And why?"]
    assert [m["role"] for m in messages[1:]] == ["user", "assistant", "user", "assistant", "user"]


def test_no_clip_is_on_both_sides(tmp_path: Path) -> None:
    rows = [
        Row(
            id=f"{v}-{k}",
            source="s",
            prompt="caption",
            values={"times": "1 s"},
            answer='{"text": "x"}',
            video=f"{v}.mp4",
        )
        for v in range(200)
        for k in range(3)
    ]
    ours, held = sft.split(rows, 0.2)
    assert not {r.video for r in ours} & {r.video for r in held}
    assert len({r.video for r in held}) == 40
    assert len(ours) + len(held) == 600


@pytest.mark.parametrize(("pattern", "message"), [("q_proj", "names no layer"), (r".*", "also names")])
def test_a_pattern_that_reaches_the_eyes_is_refused(base: LlavaEngine, pattern: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        sft.check_targets(base.model, pattern)
    sft.check_targets(base.model, TARGETS)


def test_a_recipe_tells_every_fault_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        main(["llava-lora", "data=x", "rank=0", "bits=5", "colour=red", "lr=fast"])
    told = str(caught.value)
    assert all(word in told for word in ("rank", "bits", "colour", "lr"))
    with pytest.raises(SettingsError, match="data"):
        main(["llava-lora"])
    with pytest.raises(InputError, match="make it with vlad instruct"):
        main(["llava-lora", f"data={tmp_path / 'none.jsonl'}"])


def test_both_recipes_differ_in_bits_alone() -> None:
    import yaml

    lora, qlora = (yaml.safe_load(shipped(n).read_text()) for n in ("llava-lora", "llava-qlora"))
    assert {k for k in lora if lora[k] != qlora[k]} == {"out", "bits"}


@pytest.mark.parametrize("name", ["one-gpu", "fsdp", "zero3"])
def test_accelerate_reads_its_configurations(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(shipped(f"accelerate-{name}")))
    assert found.mixed_precision == "bf16"
    assert found.num_processes == (1 if name == "one-gpu" else 2)


def test_the_probe_has_sure_answers() -> None:
    asked = questions(40)
    assert {q.text.split()[0] for q in asked} == {"What", "Which", "How", "On"}
    for question in asked:
        assert question.marked(f"It is {sorted(question.right)[0]}.")
        assert not question.marked(f"{sorted(question.right)[0]} or {sorted(question.others)[0]}")
        assert not question.marked("I cannot see it")
    np.testing.assert_array_equal(questions(3)[2].picture, asked[2].picture)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, sft.SftRecipe, sft.Told, sft.Told]:
    here = tmp_path_factory.mktemp("sft")
    write_rows(here)
    made = recipe(here)
    return here, made, *sft.run(made)


@pytest.mark.slow
def test_an_adapter_is_trained_and_changes_the_answer(
    tuned: tuple[Path, sft.SftRecipe, sft.Told, sft.Told], clip: Path
) -> None:
    here, made, before, after = tuned
    out = Path(made.out)
    assert after.loss < before.loss
    assert {p.suffix for p in out.iterdir() if p.is_file()} <= {".json", ".jsonl", ".safetensors", ".md"}
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "nano"
    facts = json.loads((out / "result.json").read_text())
    assert facts["data"] == hashlib.sha256((here / "rows.jsonl").read_bytes()).hexdigest()
    card = (out / "README.md").read_text()
    assert "| loss of a held-out answer's token |" in card
    assert "A person decides" in card
    assert str(here) not in card
    from safetensors.torch import load_file

    names = load_file(out / "adapter_model.safetensors")
    assert names
    assert all("language_model" in n and "vision" not in n for n in names)
    rows = sft.read_rows(here / "rows.jsonl")
    request = sft.Rows(load_base().layout, made, make_settings()).request(rows[0])
    plain, other = load_base()([request])[0].text, load_base(str(out))([request])[0].text
    assert plain != other


def load_base(adapter: str = "", bits: int = 16) -> LlavaEngine:
    settings = make_settings(device="cpu", precision="float32", explainer_bits=bits)
    return load_llava(str(nano_part("llava")), adapter, settings, name="nano")


@pytest.mark.slow
def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its first checkpoint, it ends with the same number of steps and does not measure `before` again."""
    write_rows(tmp_path)
    made = recipe(tmp_path)
    real = sft.Rows.__call__
    seen = 0

    def stopping(self: Any, rows: Any) -> Any:
        nonlocal seen
        seen += len(rows) > 1
        if seen > 4:
            raise KeyboardInterrupt
        return real(self, rows)

    monkeypatch.setattr(sft.Rows, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        sft.run(made)
    assert list((tmp_path / "out" / "checkpoints").glob("checkpoint-*"))
    before = (tmp_path / "out" / "before.json").read_text()
    seen = -1000
    again, _ = sft.run(made)
    assert again == sft.Told(**json.loads(before))
    steps = [json.loads(line).get("step") for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert steps[-1] == max(steps)


@pytest.mark.slow
def test_four_bits_forward_and_backward_with_eyes_in_full_precision(tmp_path: Path) -> None:
    """QLoRA on a processor with nano itself: the language model is NF4, the tower is not, the adapter loads back and changes the answer."""
    import bitsandbytes

    write_rows(tmp_path)
    made = recipe(tmp_path, name="llava-qlora")
    assert made.bits == 4
    engine = sft.load_base(made)
    kinds = {n: type(m) for n, m in engine.model.named_modules()}
    linear = [n for n, k in kinds.items() if k is bitsandbytes.nn.Linear4bit]
    assert linear
    assert all("language_model" in n for n in linear)
    tower = [p for n, p in engine.model.named_parameters() if "vision_tower" in n or "projector" in n]
    assert {p.dtype for p in tower} <= {torch.float32, torch.bfloat16, torch.float16}
    before, after = sft.run(made)
    assert after.loss < before.loss
    request = sft.Rows(engine.layout, made, make_settings()).request(sft.read_rows(tmp_path / "rows.jsonl")[0])
    assert load_base(bits=4)([request])[0].text != load_base(made.out, bits=4)([request])[0].text


@pytest.mark.slow
def test_a_merged_model_says_what_base_and_adapter_say(
    tuned: tuple[Path, sft.SftRecipe, sft.Told, sft.Told], tmp_path: Path
) -> None:
    here, made, _, _ = tuned
    sft.merge("nano", made.out, tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("*.bin"))
    merged = load_llava(str(tmp_path / "merged"), "", make_settings(device="cpu", precision="float32"), name="merged")
    rows = sft.Rows(merged.layout, made, make_settings())
    request = rows.request(sft.read_rows(here / "rows.jsonl")[1])
    assert merged([request])[0].text == load_base(made.out)([request])[0].text
