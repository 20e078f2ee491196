"""nano's LLaVA: pre-trained on captions of real photos and on simulated spans, then a LoRA adapter for the templates.

In: Flickr8k's photos with five captions and what the detector sees in them, simulated spans with questions, JSON reports and measured facts.
Out: a folder that AutoModelForImageTextToText loads once `vlad.explainers.tower` is imported, and a PEFT adapter. The tower is nano's two eyes,
which stay as they are, so its tokens are computed once; all that is asked of one picture or span shares these tokens in one sequence, under a
mask that keeps one question from another. 820 photos, those that `vlad.finetune.sight` leaves out, are never read. Knows no test data.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

from vlad.config import make_settings
from vlad.device import choose_device, choose_dtype
from vlad.explainers.captioner import asked, seen_words, tidy
from vlad.explainers.explain import dialogue
from vlad.explainers.tower import SIDE, TOKENS, EyesConfig, EyesTower
from vlad.objects import load_detector
from vlad.prompting import load_prompt

from .clip import augment
from .instruct import asked_of, noted, task_of
from .recipe import LlavaRecipe
from .sight import Picture, read_photos
from .spans import Spans, pixels_of, spans_seen, suggested

CHAT = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' }}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% if m['role'] == 'assistant' %}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SPECIAL = ["<pad>", "<bos>", "<eos>", "<image>", "<system>", "<user>", "<assistant>"]
TEXTS = 1500  # spans whose words the tokenizer is built from
ADAPTER_SEEDS = 50_000  # spans that the adapter learns from begin there
TARGETS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


@dataclass(frozen=True)
class Lesson:
    """What is asked of some pictures. view: their tokens, float16 [N, E]; before: text before the questions, with an `<image>` a token; asked:
    pairs of a question, from which the answers are told apart, and an answer."""

    view: npt.NDArray[np.float16]
    before: str
    asked: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Photos:
    """Photos as the tower sees them, V x float16 [N, TOKENS, E]; what was detected, and five captions of each."""

    views: tuple[npt.NDArray[np.float16], ...]
    seen: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]


def text_of(messages: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Chat messages as CHAT lays them out: up to the last picture, each of which is TOKENS `<image>`s, and what follows it."""
    text = "".join(
        f"<{m['role']}>" + "".join("<image>" * TOKENS if c["type"] == "image" else c["text"] for c in m["content"])
        + ("<eos>" if m["role"] == "assistant" else "")
        for m in messages
    )  # fmt: skip
    place = text.rfind("<image>") + len("<image>") if "<image>" in text else 0
    return text[:place], text[place:] + "<assistant>"


@torch.inference_mode()
def tokens_of(tower: EyesTower, pictures: Iterable[Picture], count: int) -> npt.NDArray[np.float16]:
    """The tower's tokens float16 [count, TOKENS, E] of pictures uint8 RGB of any size."""
    found = np.zeros((count, TOKENS, tower.config.hidden_size), np.float16)
    for i, picture in enumerate(track(pictures, "pictures", total=count)):
        found[i] = tower(pixels_of([picture])).last_hidden_state[0].half().numpy()
    return found


def _kept(path: Path, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """An array that is computed once."""
    if not path.is_file():
        part = path.with_suffix(".part.npy")
        np.save(part, make(), allow_pickle=False)
        part.replace(path)
    return np.asarray(np.load(path, allow_pickle=False, mmap_mode="r"))


def photos_seen(tower: EyesTower, data: Path, work: Path) -> tuple[Photos, npt.NDArray[np.int64]]:
    """Flickr8k, each photo as it is and in one changed view, and the places of those that may be trained on."""
    photos = read_photos(data)
    count = len(photos.pictures)

    def changed() -> Iterable[Picture]:
        for i, p in enumerate(photos.pictures):
            yield augment([p], SIDE, np.random.default_rng([i, 47]), strength=0.3)[0]

    views = (
        _kept(work / "tokens.npy", lambda: tokens_of(tower, photos.pictures, count)),
        _kept(work / "tokens-changed.npy", lambda: tokens_of(tower, changed(), count)),
    )
    kept = work / "seen.json"
    if not kept.is_file():
        detector = load_detector(make_settings())
        words = [seen_words(detector([p])[0]) for p in track(photos.pictures, "objects")]
        kept.write_text(json.dumps(words))
    captions = tuple(tuple(map(tidy, five)) for five in photos.captions)
    return Photos(views, tuple(json.loads(kept.read_text())), captions), np.flatnonzero(~photos.held_out)


def photo_lesson(photos: Photos, place: int, rng: np.random.Generator, *, told: float = 0.5) -> Lesson:
    """All captions of a photo in one view. told: share of prompts that say what was detected."""
    before, after = text_of(asked(photos.seen[place] if rng.random() < told else ""))
    view = photos.views[int(rng.integers(len(photos.views)))][place]
    return Lesson(view, before + after, tuple(("", caption) for caption in photos.captions[place]))


def span_lesson(spans: Spans, place: int, recipe: LlavaRecipe, rng: np.random.Generator) -> Lesson:
    """Questions about a span, some with what was measured before them, and the report of it as JSON."""
    span, frames = spans.spans[place], spans.views[place]
    pairs = [span.asked[int(i)] for i in rng.permutation(len(span.asked))[:3]]
    if rng.random() < recipe.reports:  # an adapter alone cannot teach braces to frozen embeddings
        pairs.append(("Report what you see as JSON.", json.dumps(span.truth, ensure_ascii=False)))
    measured = [f"Measured: {span.facts}. " if span.facts and rng.random() < 0.5 else "" for _ in pairs]
    before = "<user>" + "<image>" * (TOKENS * len(frames))
    rows = tuple((f"{facts}{q}<assistant>", a) for facts, (q, a) in zip(measured, pairs, strict=True))
    return Lesson(frames.reshape(-1, frames.shape[-1]), before, rows)


def template_lesson(spans: Spans, place: int, recipe: LlavaRecipe, rng: np.random.Generator) -> Lesson:
    """A template about a span with its answer; explain twice, each with a suggestion of its own and with what was measured or without."""
    span, frames, task = spans.spans[place], spans.views[place], task_of(rng)
    flat = frames.reshape(-1, frames.shape[-1])
    if task == "summarise":
        values, answer = noted(span.seed, recipe, rng)
        before, after = text_of(load_prompt(task).tell(values, images=0))
        return Lesson(flat[:0], before, ((after, answer),))
    rows = []
    for _ in range(2 if task == "explain" else 1):
        values, answer, turns, _ = asked_of(span, task, suggested(span.label, recipe, rng), rng)
        if task == "explain" and rng.random() < recipe.told:
            values["facts"] = span.facts
        messages = dialogue(load_prompt(task), values, turns, values.get("question", ""), images=len(frames))
        before, after = text_of(messages)
        rows.append((after, answer))
    return Lesson(flat, before, tuple(rows))


def write_processor(folder: Path, texts: Iterable[str], vocabulary: int) -> Any:
    """An own byte-level BPE tokenizer over what the model reads and writes, with the image processor and the chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))  # fmt: skip
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", model_max_length=2048,  # noqa: S106 - tokens of a text
        additional_special_tokens=["<image>", "<system>", "<user>", "<assistant>"], padding_side="left",
    )  # fmt: skip
    pictures = CLIPImageProcessor(
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        resample=2,
    )
    processor = LlavaProcessor(
        image_processor=pictures, tokenizer=fast, patch_size=32, vision_feature_select_strategy="full",
        num_additional_image_tokens=0, chat_template=CHAT,
    )  # fmt: skip
    processor.save_pretrained(folder)
    return processor


def build(tokenizer: Any, *, width: int, layers: int, heads: int) -> Any:
    """A LLaVA of random language weights on nano's two eyes."""
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, max_position_embeddings=2048, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=EyesConfig(), text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1, vision_feature_select_strategy="full", image_seq_length=TOKENS, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    settings: Any = model.generation_config
    settings.update(pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    return model


@dataclass(frozen=True)
class Batch:
    """B lessons: view float [M, E], all pictures' tokens in order; ids int64 [B, L], the shared text padded on the left, then questions with their
    answers one after another; where int64 and of int64 [T]: places of predictors and of what they should predict in the flat [B * L]; mask bool
    [B, 1, L, L]; position int64 [B, L]."""

    view: torch.Tensor
    ids: torch.Tensor
    where: torch.Tensor
    target: torch.Tensor
    mask: torch.Tensor
    position: torch.Tensor


def make_batch(lessons: Sequence[Lesson], tokenizer: Any) -> Batch:
    """Lessons whose questions see what stands before all of them, and not one another."""

    def ids_of(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    befores = [ids_of(lesson.before) for lesson in lessons]
    rows = [[(ids_of(q), [*ids_of(a), tokenizer.eos_token_id]) for q, a in lesson.asked] for lesson in lessons]
    first = max(map(len, befores))
    total = first + max(sum(len(q) + len(a) for q, a in own) for own in rows)
    ids = np.full((len(rows), total), tokenizer.pad_token_id, np.int64)
    position, mask = np.zeros_like(ids), np.zeros((len(rows), total, total), np.bool_)
    where, target = [], []
    for b, (before, own) in enumerate(zip(befores, rows, strict=True)):
        begin, low = first - len(before), first
        ids[b, begin:first] = before
        position[b, begin:first] = np.arange(len(before))
        mask[b, begin:first, begin:first] = np.tri(len(before), dtype=np.bool_)
        for question, answer in own:
            length, told = len(question) + len(answer), low + len(question)
            ids[b, low : low + length] = question + answer
            position[b, low : low + length] = len(before) + np.arange(length)
            mask[b, low : low + length, begin:first] = True
            mask[b, low : low + length, low : low + length] = np.tri(length, dtype=np.bool_)
            for k, token in enumerate(answer):
                where.append(b * total + (first - 1 if told + k == low else told + k - 1))
                target.append(token)
            low += length
    mask |= np.eye(total, dtype=np.bool_)  # padding looks at itself: a row without any would be NaN
    view = np.concatenate([lesson.view for lesson in lessons]).astype(np.float32)
    numbers = [torch.from_numpy(a) for a in (view, ids, np.array(where), np.array(target), mask[:, None], position)]
    return Batch(*numbers)


def loss_of(model: Any, batch: Batch, *, noise: float, smoothing: float) -> torch.Tensor:
    """Cross-entropy of the answers' tokens. noise: share of the view's numbers, and half of it of the words, that are hidden in training."""
    image, device = model.config.image_token_id, model.device
    ids = batch.ids.to(device)
    pictured = ids == image
    view = functional.dropout(batch.view.to(device), noise, training=model.training)
    with torch.autocast(device.type, torch.bfloat16, enabled=choose_dtype(device, "auto") == torch.bfloat16):
        inputs = model.get_input_embeddings()(ids)
        if model.training and noise:
            hidden = torch.rand(ids.shape, device=device) < noise / 2
            inputs = inputs * ~(hidden & ~pictured)[..., None]
        seen = model.model.multi_modal_projector(view) if len(view) else view[:, : inputs.shape[-1]]
        inputs = inputs.masked_scatter(pictured[..., None], seen.to(inputs.dtype))
        states = model.model.language_model(
            inputs_embeds=inputs,
            attention_mask=batch.mask.to(device),
            position_ids=batch.position.to(device),
            use_cache=False,
        ).last_hidden_state
        logits = model.lm_head(states.flatten(0, 1)[batch.where.to(device)])
    kept = smoothing if model.training else 0.0
    return functional.cross_entropy(logits.float(), batch.target.to(device), label_smoothing=kept)


Drawn = Callable[[int, np.random.Generator], list[Lesson]]


@dataclass(frozen=True)
class Stage:
    """How a stage is trained. draw: the lessons of a step; watch: lessons that are not trained on, whose loss is told."""

    name: str
    steps: int
    lr: float
    weight_decay: float
    noise: float
    smoothing: float
    draw: Drawn
    watch: dict[str, list[Lesson]]


def train(model: Any, weights: dict[str, torch.nn.Parameter], tokenizer: Any, stage: Stage, seed: int, work: Path, log: Path) -> None:  # fmt: skip
    """Train `weights` of a model in place; goes on where it was stopped."""
    work.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.AdamW(weights.values(), lr=stage.lr, weight_decay=stage.weight_decay, betas=(0.9, 0.98))
    kept = work / "state.safetensors"
    step = _resume(kept, weights, optimiser) if kept.is_file() else 0
    begun, losses = time.monotonic(), []
    while step < stage.steps:
        rate = min(1.0, 20 * (step + 1) / stage.steps) * 0.5 * (1 + float(np.cos(np.pi * step / stage.steps)))
        for group in optimiser.param_groups:
            group["lr"] = stage.lr * rate
        model.train()
        torch.manual_seed(1_000_003 * seed + step)
        lessons = stage.draw(step, np.random.default_rng([seed, step]))
        loss = loss_of(model, make_batch(lessons, tokenizer), noise=stage.noise, smoothing=stage.smoothing)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        step += 1
        if step % 100 == 0 or step == stage.steps:
            row = {
                "stage": stage.name,
                "step": step,
                "loss": float(np.mean(losses)),
                "seconds": time.monotonic() - begun,
            }
            row |= {name: held_loss(model, tokenizer, lessons) for name, lessons in stage.watch.items()}
            with open(log, "a") as file:
                file.write(json.dumps(row) + "\n")
            _keep(kept, weights, optimiser, step)
            begun, losses = time.monotonic(), []


def _keep(path: Path, weights: dict[str, torch.nn.Parameter], optimiser: torch.optim.Optimizer, step: int) -> None:
    """Weights and the optimiser's moments: tensors, no pickle."""
    state = {f"weight.{name}": p.detach() for name, p in weights.items()}
    for name, p in weights.items():
        state |= {f"{key}.{name}": torch.as_tensor(value) for key, value in optimiser.state[p].items()}
    part = path.with_suffix(".part")
    save_file({k: v.clone().contiguous() for k, v in state.items()}, part, {"step": str(step)})
    part.replace(path)


def _resume(path: Path, weights: dict[str, torch.nn.Parameter], optimiser: torch.optim.Optimizer) -> int:
    """What `_keep` wrote; the steps that were done."""
    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
    state = load_file(path)
    for name, p in weights.items():
        p.data.copy_(state[f"weight.{name}"])
        optimiser.state[p] = {key: state[f"{key}.{name}"].to(p.device) for key in ("exp_avg", "exp_avg_sq")}
        optimiser.state[p]["step"] = state[f"step.{name}"]
    return step


@torch.inference_mode()
def held_loss(model: Any, tokenizer: Any, lessons: Sequence[Lesson]) -> float:
    """The mean loss of lessons that are not trained on."""
    model.eval()
    found = []
    for low in range(0, len(lessons), 16):
        found.append(float(loss_of(model, make_batch(lessons[low : low + 16], tokenizer), noise=0.0, smoothing=0.0)))
    return float(np.mean(found))


def texts_of(photos: Photos, rows: Sequence[int], spans: Spans, told: Spans, recipe: LlavaRecipe) -> list[str]:
    """What the model reads and writes in training, for the tokenizer: of photos all, of spans as many as tell nothing new."""
    rng = np.random.default_rng([recipe.seed, 59])
    lessons = [photo_lesson(photos, i, rng) for i in rows]
    lessons += [span_lesson(spans, i, recipe, rng) for i in range(min(len(spans.spans), TEXTS))]
    lessons += [template_lesson(told, i, recipe, rng) for i in range(min(len(told.spans), TEXTS))]
    return [t.replace("<image>", "") for x in lessons for t in (x.before, *(part for pair in x.asked for part in pair))]


@dataclass(frozen=True)
class Material:
    """What both stages learn from: photos with the places of those trained on and of those watched, spans of the base and of the adapter."""

    photos: Photos
    rows: npt.NDArray[np.int64]
    watched: npt.NDArray[np.int64]
    spans: Spans
    told: Spans


def material(recipe: LlavaRecipe, data: Path, work: Path) -> Material:
    """All of it, computed once."""
    work.mkdir(parents=True, exist_ok=True)
    tower = EyesTower(EyesConfig())
    photos, rows = photos_seen(tower, data, work)
    spans = spans_seen(tower, range(recipe.spans), recipe, work / "spans", measured=0.25)
    seeds = range(ADAPTER_SEEDS, ADAPTER_SEEDS + recipe.tune_spans)
    told = spans_seen(tower, seeds, recipe, work / "tune_spans", measured=1.0)
    return Material(photos, rows[recipe.watched :], rows[: recipe.watched], spans, told)


def train_llava(recipe: LlavaRecipe, found: Material, folder: Path, *, work: Path, log: Path) -> None:
    """Pre-train on photos alone first, then on photos, templates and spans in turn; writes float16 safetensors into `folder`."""
    photos, spans, told = found.photos, found.spans, found.told
    processor = write_processor(folder, texts_of(photos, found.rows.tolist(), spans, told, recipe), recipe.vocabulary)
    torch.manual_seed(recipe.seed)
    model = build(processor.tokenizer, width=recipe.width, layers=recipe.layers, heads=recipe.heads).to(
        choose_device("auto")
    )

    def draw(step: int, rng: np.random.Generator) -> list[Lesson]:
        if step < recipe.photos or step % recipe.mixed == 0:
            return [photo_lesson(photos, int(i), rng) for i in rng.choice(found.rows, recipe.batch, replace=False)]
        if step % recipe.mixed == 1:  # an adapter alone cannot teach long prompts to a frozen base
            count = len(told.spans) - recipe.kept
            return [template_lesson(told, int(i), recipe, rng) for i in rng.choice(count, recipe.batch)]
        return [
            span_lesson(spans, int(i), recipe, rng) for i in rng.choice(len(spans.spans) - recipe.kept, recipe.batch)
        ]

    rng = np.random.default_rng(recipe.seed)
    watch = {
        "photos": [photo_lesson(photos, int(i), rng, told=1.0) for i in found.watched],
        "spans": [span_lesson(spans, len(spans.spans) - 1 - i, recipe, rng) for i in range(recipe.kept)],
        "templates": [template_lesson(told, len(told.spans) - 1 - i, recipe, rng) for i in range(recipe.kept)],
    }
    stage = Stage("llava", recipe.steps, recipe.lr, recipe.weight_decay, recipe.noise, 0.1, draw, watch)
    train(model, dict(model.named_parameters()), processor.tokenizer, stage, recipe.seed, work, log)
    model.half().save_pretrained(folder)


def train_adapter(recipe: LlavaRecipe, found: Material, base: Path, folder: Path, *, work: Path, log: Path) -> None:
    """A LoRA adapter on the language model alone for all templates, with what was measured in the prompt of most explanations."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    loader: Any = AutoProcessor
    processor = loader.from_pretrained(base)
    model: Any = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(recipe.seed)
    tuned: Any = get_peft_model(model, LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=TARGETS))
    tuned = tuned.to(choose_device("auto"))
    weights = {n: p for n, p in tuned.named_parameters() if p.requires_grad}
    count = len(found.told.spans) - recipe.kept

    def draw(step: int, rng: np.random.Generator) -> list[Lesson]:
        return [template_lesson(found.told, int(i), recipe, rng) for i in rng.choice(count, recipe.batch)]

    rng = np.random.default_rng(recipe.seed)
    watch = {"templates": [template_lesson(found.told, count + i, recipe, rng) for i in range(recipe.kept)]}
    stage = Stage("adapter", recipe.tune_steps, recipe.tune_lr, 0.01, recipe.noise / 2, 0.0, draw, watch)
    train(model, weights, processor.tokenizer, stage, recipe.seed, work, log)
    tuned.peft_config["default"].base_model_name_or_path = "nano"  # else a path of this machine stands in the file
    tuned.half().save_pretrained(folder, save_embedding_layers=False)  # asked, it looks for the base on the hub
