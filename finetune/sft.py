"""A LoRA adapter for vlad's templates, by TRL's SFT: on the language model alone, on the answers alone.

    vlad finetune llava-lora data=ROWS.jsonl [base=...]      vlad finetune llava-qlora data=ROWS.jsonl

In: rows of `vlad instruct`. Out: a folder as PEFT expects it, with a card, log.jsonl and result.json: what held-out rows and a general
probe say before and after. A row is rendered by the template's own `tell` and laid out by the explainer's own `Layout`, so that a tuned
model meets at inference what it met here. Resumes from its newest checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from vlad.config import Settings, make_settings
from vlad.device import choose_device
from vlad.errors import InputError, SettingsError
from vlad.explainers.engine import Request, fewer, read_json
from vlad.explainers.explain import PICTURE, dialogue, make_request
from vlad.explainers.llava import Layout, LlavaEngine, load_llava
from vlad.prompting import load_prompt
from vlad.video import frames_at, open_video
from vlad.weights import nano_part

from . import probe
from .instruct import Row, read_rows
from .recipe import Recipe, checked, read_recipe

IGNORED = -100  # the label that transformers' loss leaves out


class SftRecipe(Recipe):
    """llava-lora.yaml and llava-qlora.yaml; each knob has its comment there."""

    base: str = Field(min_length=1)
    adapter: str
    data: str = Field(min_length=1)
    prompts: str
    out: str = Field(min_length=1)
    device: str
    bits: Literal[4, 8, 16]
    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    targets: str = Field(min_length=1)
    epochs: float = Field(gt=0)
    batch: int = Field(ge=1)
    accumulate: int = Field(ge=1)
    lr: float = Field(gt=0)
    warmup: float = Field(ge=0, le=1)
    weight_decay: float = Field(ge=0)
    frames: int = Field(ge=1, le=64)
    checkpointing: bool
    workers: int = Field(ge=0)
    held_out: float = Field(gt=0, lt=1)
    evaluate: int = Field(ge=0)
    probe: int = Field(ge=0)
    save_steps: int = Field(ge=1)
    seed: int


@dataclass(frozen=True)
class Told:
    """What rows and probe say of a model: mean loss of an answer's token; of JSON answers the share that can be read and, of those with
    one, the share with the right verdict; of normal rows under a loaded suggestion, the share called normal; of general questions, the share
    answered rightly. None where there was nothing to ask."""

    loss: float
    readable: float | None
    verdict: float | None
    refusal: float | None
    probe: float | None


def split(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """(training, held out), by clip, so that no clip is in both; the same on every machine."""

    def clip(row: Row) -> str:
        return row.video or (row.images[0] if row.images else row.id)

    ordered = sorted({clip(r) for r in rows}, key=lambda c: hashlib.sha256(c.encode()).hexdigest())
    out = set(ordered[: max(1, round(share * len(ordered)))])
    return [r for r in rows if clip(r) not in out], [r for r in rows if clip(r) in out]


class Rows:
    """Rows as requests with their answers, free of grammars: the one way in which training and measuring see them."""

    def __init__(self, layout: Layout, recipe: SftRecipe, settings: Settings) -> None:
        self.layout, self.recipe = layout, recipe
        self.settings = settings.model_copy(update={"constrain": False})
        self.folder = Path(recipe.prompts) if recipe.prompts else None

    def request(self, row: Row) -> Request:
        """What is asked, by the functions that the explainer asks with. Raises InputError for a clip that cannot be read."""
        prompt, pictures = load_prompt(row.prompt, self.folder), self._pictures(row)
        messages = dialogue(prompt, row.values, row.turns, row.values.get("question", ""), images=len(pictures))
        return make_request(prompt, messages, pictures, self.settings)

    def too_long(self, rows: Sequence[Row]) -> list[str]:
        """Rows whose words and pictures are more tokens than the model's context holds, each with its number; the pictures of one clip stand for all."""
        first = next((r for r in rows if r.video or r.images), None)
        shown = self.request(first) if first else None
        pictures = self.layout.count(shown) - self.layout.count(fewer(shown, ())) if shown else 0
        each = pictures / max(1, len(shown.pictures)) if shown else 0.0
        told = []
        for row in rows:
            prompt = load_prompt(row.prompt, self.folder)
            messages = dialogue(prompt, row.values, row.turns, row.values.get("question", ""), images=0)
            words = self.layout.count(make_request(prompt, messages, [], self.settings))
            count = words + len(self.layout.tokenizer(row.answer)["input_ids"]) + 1
            count += round(each * (len(row.images) or (self.recipe.frames if row.video else 0)))
            if count > self.layout.context:
                told.append(f"{row.id} ({count})")
        return told

    def _pictures(self, row: Row) -> list[Any]:
        if row.images:
            return [np.asarray(Image.open(p).convert("RGB")) for p in row.images]
        if row.video is None:
            return []
        end = row.end
        if end is None:
            with open_video(row.video, self.settings, size=64) as clip:
                for _ in clip:
                    pass
                end = clip.video.duration
        start = row.start or 0.0
        times = start + (np.arange(self.recipe.frames) + 0.5) / self.recipe.frames * (end - start)
        return list(frames_at(row.video, times.tolist(), self.settings, size=PICTURE))

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """A batch whose labels are the answers alone, each closed by the end token."""
        tokenizer = self.layout.tokenizer
        asked = dict(self.layout([self.request(r) for r in rows]))
        told = tokenizer(
            [r.answer + tokenizer.eos_token for r in rows],
            add_special_tokens=False,
            padding=True,
            padding_side="right",
            return_tensors="pt",
        )
        labels = told["input_ids"].masked_fill(told["attention_mask"] == 0, IGNORED)
        batch = {
            **asked,
            "input_ids": torch.cat([asked["input_ids"], told["input_ids"]], 1),
            "attention_mask": torch.cat([asked["attention_mask"], told["attention_mask"]], 1),
            "labels": torch.cat([torch.full_like(asked["input_ids"], IGNORED), labels], 1),
        }
        for kind in ("token_type_ids", "mm_token_type_ids"):  # of text
            if kind in batch:
                batch[kind] = torch.cat([batch[kind], torch.zeros_like(told["input_ids"])], 1)
        return batch


def measure(engine: LlavaEngine, made: Rows, held: Sequence[Row], questions: Sequence[probe.Question]) -> Told:
    """Loss on all held-out rows, answers to as many as the recipe says, and the probe."""
    loss = _loss(engine, made, held)
    asked = held[: made.recipe.evaluate]
    readable, right, refused = [], [], []
    for row in asked:
        prompt = load_prompt(row.prompt, made.folder)
        if prompt.schema is None:
            continue
        (reply,) = engine([made.request(row)])
        answer = read_json(reply.text)
        well = isinstance(answer, dict) and not prompt.faults(answer)
        readable.append(well)
        wanted = json.loads(row.answer).get("verdict")
        if wanted:
            said = answer.get("verdict") if well and isinstance(answer, dict) else "unclear"
            right.append(said == wanted)
            if row.normal and row.loaded:
                refused.append(said == "normal")
    probed = []
    for question in questions:
        item = [{"type": "image"}, {"type": "text", "text": question.text}]
        (reply,) = engine([Request([{"role": "user", "content": item}], [question.picture], None, 24)])
        probed.append(question.marked(reply.text))
    mean: Callable[[list[bool]], float | None] = lambda xs: float(np.mean(xs)) if xs else None  # noqa: E731
    return Told(loss, mean(readable), mean(right), mean(refused), mean(probed))


def _loss(engine: LlavaEngine, made: Rows, rows: Sequence[Row]) -> float:
    """Mean loss of an answer's token, each row alike."""
    found = []
    with torch.inference_mode():
        for row in rows:
            batch = {k: v.to(engine.model.device) for k, v in made([row]).items()}
            for key in ("pixel_values", "pixel_values_videos"):
                if key in batch:
                    batch[key] = batch[key].to(engine.model.dtype)
            found.append(float(engine.model(**batch).loss))
    return float(np.mean(found)) if found else float("nan")


def check_targets(model: Any, pattern: str) -> None:
    """Raise SettingsError for a pattern that names no layer, or one of the vision tower."""
    import re

    named = [n for n, m in model.named_modules() if re.fullmatch(pattern, n) and getattr(m, "weight", None) is not None]
    seeing = [n for n in named if "vision" in n or "projector" in n]
    if not named or seeing:
        why = f"also names {seeing[0]}" if seeing else "names no layer"
        raise SettingsError(f"targets {pattern!r}: {why}; the shipped pattern tunes the language model alone")


def load_base(recipe: SftRecipe) -> LlavaEngine:
    """The base, under the adapter that is gone on from if there is one, not merged. Raises WeightsError."""
    device = str(choose_device(recipe.device))
    precision = "bfloat16" if device.startswith("cuda") else "float32"
    settings = make_settings(device=device, precision=precision, explainer_bits=recipe.bits)
    folder = str(nano_part("llava")) if recipe.base == "nano" else recipe.base
    return load_llava(folder, "", settings, name=recipe.base)


def adapted(engine: LlavaEngine, recipe: SftRecipe) -> Any:
    """The model with a new adapter, or the one that is gone on from, ready to be trained."""
    from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training

    model = engine.model
    if recipe.bits != 16:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=recipe.checkpointing)
    if recipe.adapter:
        return PeftModel.from_pretrained(model, recipe.adapter, is_trainable=True, use_safetensors=True)
    check_targets(model, recipe.targets)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=recipe.targets,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def train(engine: LlavaEngine, made: Rows, rows: Sequence[Row], out: Path) -> None:
    """Tune in place; goes on from the newest checkpoint of `out`."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    recipe, log = made.recipe, out / "log.jsonl"

    class Lines(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            with open(log, "a") as file:
                file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")

    work = out / "checkpoints"
    found = get_last_checkpoint(str(work)) if work.is_dir() else None
    cuda = engine.model.device.type == "cuda"
    arguments = SFTConfig(
        output_dir=str(work), num_train_epochs=recipe.epochs, per_device_train_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulate, learning_rate=recipe.lr, lr_scheduler_type="cosine", warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay, bf16=True, use_cpu=not cuda, gradient_checkpointing=recipe.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if recipe.checkpointing else None, logging_steps=5,
        save_steps=recipe.save_steps, save_total_limit=1, report_to=[], remove_unused_columns=False, max_length=None, seed=recipe.seed,
        dataloader_num_workers=recipe.workers, dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    listed = list(rows)
    # The columns are those of TRL's prompt and completion with images; the collator reads the rows by number, so that no picture is
    # loaded before its batch.
    data = Dataset.from_dict({
        "prompt": ["" for _ in listed], "completion": [r.answer for r in listed], "images": [[] for _ in listed],
        "number": list(range(len(listed))),
    })  # fmt: skip
    trainer = SFTTrainer(
        model=engine.model, args=arguments, train_dataset=data, processing_class=made.layout.processor,
        data_collator=lambda batch: made([listed[b["number"]] for b in batch]), callbacks=[Lines()],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=found)


CARD = """---
base_model: {base}
library_name: peft
tags: [lora, video-anomaly-detection, vlad]
---
# A LoRA adapter for vlad's templates

Tuned by `vlad finetune` on {rows} rows of {data} (SHA-256 {digest}), {held} held out by clip. Use it with
`vlad analyze CLIP --set explainer={base} --set adapter=FOLDER`.

| on | before | after |
|---|---|---|
{table}

What it says is a guess in the words of its rows; on footage of another kind it may see anomalies everywhere or nowhere.
A person decides. Settings: {recipe}
"""


def write_card(out: Path, recipe: SftRecipe, before: Told, after: Told, rows: int, held: int, digest: str) -> None:
    """README.md beside the adapter."""
    names = {
        "loss": "loss of a held-out answer's token", "readable": "held-out answers that can be read", "verdict": "right verdicts",
        "refusal": "normal clips under a loaded suggestion called normal", "probe": "general questions answered rightly",
    }  # fmt: skip
    shown = lambda x: "not asked" if x is None else f"{x:.3f}"  # noqa: E731
    table = "\n".join(
        f"| {words} | {shown(getattr(before, k))} | {shown(getattr(after, k))} |" for k, words in names.items()
    )
    (out / "README.md").write_text(CARD.format(
        base=recipe.base, rows=rows, data=Path(recipe.data).name, digest=digest, held=held, table=table,
        recipe=json.dumps(recipe.model_dump(exclude={"data", "out", "device", "prompts"})),
    ))  # fmt: skip


def run(recipe: SftRecipe) -> tuple[Told, Told]:
    """Tune by a recipe; what is told before and after. Raises VladError."""
    out = Path(recipe.out)
    rows = read_rows(Path(recipe.data))
    ours, held = split(rows, recipe.held_out)
    if not ours or not held:
        raise InputError(
            f"{recipe.data}: {len(rows)} rows leave {len(ours)} to train on and {len(held)} held out; add clips"
        )
    out.mkdir(parents=True, exist_ok=True)
    engine = load_base(recipe)
    made = Rows(engine.layout, recipe, make_settings())
    long = made.too_long(rows)
    if long:
        more = f" and {len(long) - 20} more" if len(long) > 20 else ""
        raise InputError(
            f"{recipe.data}: {len(long)} rows are longer than the {engine.layout.context} tokens that {recipe.base} holds: "
            f"{', '.join(long[:20])}{more}; shorten or leave them out"
        )
    questions = probe.questions(recipe.probe)
    kept = out / "before.json"
    if kept.is_file():
        before = Told(**json.loads(kept.read_text()))
    else:
        before = measure(engine, made, held, questions)
        kept.write_text(json.dumps(asdict(before)))
        # bitsandbytes packs weights for inference once they have answered; gradients through these are wrong.
        if recipe.bits != 16:
            engine = load_base(recipe)
    engine.model = adapted(engine, recipe)
    train(engine, made, ours, out)
    engine.model.eval()
    tuned = engine.model.peft_config["default"]
    tuned.base_model_name_or_path = recipe.base  # else a path of this machine may stand in the file
    engine.model.save_pretrained(out, save_embedding_layers=False)
    after = measure(engine, made, held, questions)
    digest = hashlib.sha256(Path(recipe.data).read_bytes()).hexdigest()
    write_card(out, recipe, before, after, len(ours), len(held), digest)
    facts = {
        "recipe": recipe.model_dump(),
        "data": digest,
        "rows": len(ours),
        "held_out": len(held),
        "before": asdict(before),
        "after": asdict(after),
    }
    (out / "result.json").write_text(json.dumps(facts, indent=1) + "\n")
    kept.unlink()
    return before, after


def merge(base: str, adapter: str, out: Path) -> str:
    """A model folder with the adapter in its weights. Raises WeightsError."""
    from vlad.explainers.llava import with_adapter

    folder = str(nano_part("llava")) if base == "nano" else base
    engine = load_llava(folder, "", make_settings(device="cpu", precision="auto"), name=base)
    model = with_adapter(engine.model, adapter, base, merge=True)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    engine.processor.save_pretrained(out)
    return f"{base} with {adapter} in {out}; use it with --set explainer={out}"


def main(argv: Sequence[str]) -> int:
    """`vlad finetune llava-lora` and llava-qlora. Raises VladError."""
    name, values, faults = read_recipe(argv[0], argv[1:])
    recipe = checked(SftRecipe, name, values, faults)
    before, after = run(recipe)
    for key, old in asdict(before).items():
        new = getattr(after, key)
        if old is not None and new is not None:
            print(f"{key}: {old:.3f} before, {new:.3f} after")
    print(f"in {recipe.out}; use it with --set explainer={recipe.base} --set adapter={recipe.out}")
    return 0
