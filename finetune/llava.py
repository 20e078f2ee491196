"""nano's small LLaVA: pre-trained on captions and questions, then a LoRA adapter for the explanation template.

In: simulated scenes, seen through nano's eye for them (`drawn`), whose trunk is the tower and stays as it is. Out: a folder that
AutoModelForImageTextToText loads once `vlad.explainers.tower` is imported, and a PEFT adapter. Both stages are transformers' Trainer, with its checkpoints; samples are simulated as they are needed and never repeat.
Knows no test data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from vlad.explainers.tower import STRIDE, TrunkConfig
from vlad.prompting import Prompt, load_prompt
from vlad.sim import ANOMALIES, World, simulate
from vlad.sim.captions import answer_of

from .clip import MEAN, STD, augment
from .recipe import LlavaRecipe

IGNORED = -100  # the label that transformers' loss leaves out
CHAT = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' }}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% if m['role'] == 'assistant' %}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@dataclass(frozen=True)
class Sample:
    """One question about a span: pictures uint8 RGB [F, S, S, 3], chat messages, the right answer."""

    pictures: npt.NDArray[np.uint8]
    messages: list[dict[str, Any]]
    answer: str


def draw_world(seed: int, recipe: LlavaRecipe, rng: np.random.Generator) -> tuple[World, tuple[float, float], str]:
    """A simulated video, a span of it, and the class that a detector might suggest for it ('' for none)."""
    if rng.random() < recipe.normal:
        world = simulate(seed, duration=16.0, events=())
        start = float(rng.uniform(0, 9))
        span = (start, start + float(rng.uniform(2, 7)))
        truth = ""
    else:
        truth = ANOMALIES[int(rng.integers(len(ANOMALIES)))]
        world = simulate(seed, duration=16.0, events=(truth,))
        event = next(e for e in world.events if e.anomalous)
        slack = rng.uniform(-1.0, 1.5, 2)
        start, end = max(0.0, event.start + slack[0]), min(world.duration, event.end - slack[1])
        span = (start, max(end, start + 2))
    hint = truth if rng.random() < recipe.honest else str(rng.choice(["", *ANOMALIES]))
    if not truth and rng.random() < 0.8:
        hint = str(rng.choice(ANOMALIES))  # a detector that flags a calm span always names something
    return world, span, hint


def draw_sample(seed: int, recipe: LlavaRecipe, prompt: Prompt | None) -> Sample:
    """A caption or question for pre-training where `prompt` is None, else the template with its JSON answer."""
    rng = np.random.default_rng([recipe.seed, seed, 23])
    world, (start, end), hint = draw_world(seed, recipe, rng)
    times = start + (np.arange(recipe.frames) + rng.uniform(0.2, 0.8, recipe.frames)) / recipe.frames * (end - start)
    frames = [world.frame(float(t)) for t in times]
    pictures = augment(frames, recipe.size, rng, strength=0.3)
    middle = float(times[recipe.frames // 2])
    event = next((e for e in world.events if e.anomalous), world.event_at(middle))
    if prompt is not None:
        values = {"label": hint, "times": ", ".join(f"{t:.1f} s" for t in times)}
        return Sample(
            pictures,
            prompt.render(values, images=recipe.frames),
            json.dumps(answer_of(event, world.scene.place), ensure_ascii=False),
        )
    seen = event.start if event else middle
    asked = [("Describe these frames.", world.caption(seen if event else middle, rng)), *world.questions(seen, rng)]
    truth = answer_of(event, world.scene.place)
    asked += [("Who can be seen?", truth["who"]), ("What happens, and to whom?", f"{truth['what']}; {truth['who']}"),
              ("Name the activity.", truth["what"]), ("Describe it fully.", truth["text"])]  # fmt: skip
    question, answer = asked[int(rng.integers(len(asked)))]
    if rng.random() < recipe.reports:  # an adapter alone cannot teach braces to frozen embeddings
        question, answer = "Report what you see as JSON.", json.dumps(truth, ensure_ascii=False)
    content = [{"type": "image"}] * recipe.frames + [{"type": "text", "text": question}]
    return Sample(pictures, [{"role": "user", "content": content}], answer)


class Samples(IterableDataset[Sample]):
    """Endless samples; `first` is the number of those a resumed run has used."""

    def __init__(self, recipe: LlavaRecipe, prompt: Prompt | None, first: int) -> None:
        self.recipe, self.prompt, self.first = recipe, prompt, first

    def __iter__(self) -> Iterator[Sample]:
        cv2.setNumThreads(1)
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        seed = self.first + worker
        while True:
            yield draw_sample(seed % 100_000, self.recipe, self.prompt)
            seed += workers


def collate(processor: Any, samples: list[Sample]) -> dict[str, torch.Tensor]:
    """A batch whose labels are the answers alone, each closed by the end token."""
    tokenizer = processor.tokenizer
    texts, lengths = [], []
    for s in samples:
        asked = processor.apply_chat_template(s.messages, add_generation_prompt=True, tokenize=False)
        texts.append(asked + s.answer + tokenizer.eos_token)
        lengths.append(len(tokenizer(s.answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]))
    images = [[Image.fromarray(p) for p in s.pictures] for s in samples]
    batch = dict(processor(images=images, text=texts, return_tensors="pt", padding=True, padding_side="left"))
    labels = torch.full_like(batch["input_ids"], IGNORED)
    for row, length in enumerate(lengths):
        labels[row, -length:] = batch["input_ids"][row, -length:]
    return {**batch, "labels": labels}


def write_processor(folder: Path, recipe: LlavaRecipe) -> Any:
    """An own byte-level BPE tokenizer over what the model reads and writes, with the image processor and the chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    prompt, texts = load_prompt("explain"), []
    small = recipe.model_copy(update={"size": 8, "frames": 1})
    for seed in range(recipe.texts):
        for sample in (draw_sample(seed, small, None), draw_sample(seed, small, prompt)):
            texts += [c["text"] for m in sample.messages for c in m["content"] if "text" in c] + [sample.answer]
    special = ["<pad>", "<bos>", "<eos>", "<image>", "<system>", "<user>", "<assistant>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=recipe.vocabulary, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))  # fmt: skip
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", model_max_length=2048,  # noqa: S106 - tokens of a text
        additional_special_tokens=["<image>", "<system>", "<user>", "<assistant>"], padding_side="left",
    )  # fmt: skip
    size = {"height": recipe.size, "width": recipe.size}
    pictures = CLIPImageProcessor(
        size=size, do_center_crop=False, image_mean=list(MEAN), image_std=list(STD), resample=2
    )
    processor = LlavaProcessor(
        image_processor=pictures, tokenizer=fast, patch_size=STRIDE, vision_feature_select_strategy="full",
        num_additional_image_tokens=0, chat_template=CHAT,
    )  # fmt: skip
    processor.save_pretrained(folder)
    return processor


def make_model(recipe: LlavaRecipe, processor: Any) -> Any:
    """A LLaVA of random language weights on nano's eye for rendered scenes."""
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = processor.tokenizer
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.width, intermediate_size=3 * recipe.width,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        max_position_embeddings=2048, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=TrunkConfig(image_size=recipe.size), text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
        vision_feature_select_strategy="full", image_seq_length=(recipe.size // STRIDE) ** 2, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(recipe.seed)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.update(pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    return model


def run_stage(model: Any, processor: Any, recipe: LlavaRecipe, prompt: Prompt | None, *, work: Path, log: Path) -> None:
    """Train a model in place; goes on from the newest checkpoint in `work`."""
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    stage, steps = ("llava", recipe.steps) if prompt is None else ("adapter", recipe.tune_steps)

    class Lines(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            with open(log, "a") as file:
                file.write(json.dumps({"stage": stage, "step": state.global_step, **(logs or {})}) + "\n")

    found = get_last_checkpoint(str(work)) if work.is_dir() else None
    used = int(found.rsplit("-", 1)[1]) if found else 0
    cuda = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(work), max_steps=steps, per_device_train_batch_size=recipe.batch, bf16=True, use_cpu=not cuda,
        learning_rate=recipe.lr if prompt is None else recipe.tune_lr, lr_scheduler_type="cosine", warmup_steps=40,
        weight_decay=0.01, logging_steps=20, save_steps=100, save_total_limit=1, report_to=[],
        remove_unused_columns=False, dataloader_num_workers=recipe.workers, dataloader_prefetch_factor=4 if recipe.workers else None,
        dataloader_multiprocessing_context="spawn" if recipe.workers else None,  # a fork of a process that ran torch can wait for ever
        ignore_data_skip=True, seed=recipe.seed, accelerator_config={"dispatch_batches": False},
    )  # fmt: skip
    first = used * recipe.batch + (0 if prompt is None else 50_000)
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Samples(recipe, prompt, first),
        data_collator=partial(collate, processor),
        callbacks=[Lines()],
    )
    trainer.train(resume_from_checkpoint=found)


def train_llava(recipe: LlavaRecipe, folder: Path, *, work: Path, log: Path) -> None:
    """Stage (c): pre-train on captions and questions; writes float16 safetensors into `folder`."""
    processor = write_processor(folder, recipe)
    model = make_model(recipe, processor)
    run_stage(model, processor, recipe, None, work=work, log=log)
    model.half().save_pretrained(folder)


def train_adapter(recipe: LlavaRecipe, base: Path, folder: Path, *, work: Path, log: Path) -> None:
    """Stage (d): a LoRA adapter on the language model alone for the template `explain`."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    loader: Any = AutoProcessor
    processor = loader.from_pretrained(base)
    model: Any = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    targets = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    tuned: Any = get_peft_model(
        model,
        LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=targets),
    )
    run_stage(tuned, processor, recipe, load_prompt("explain"), work=work, log=log)
    tuned.peft_config["default"].base_model_name_or_path = "nano"  # else a path of this machine stands in the file
    tuned.half().save_pretrained(folder, save_embedding_layers=False)  # asked, it looks for the base on the hub
