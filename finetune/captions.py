"""nano's captioner: a small LLaVA that learns to speak from captions of real photos, on the frozen tower of nano's eye.

In: Flickr8k's photos and captions and simulated frames with theirs; what the detector sees stands in half of the prompts. Out: a folder that
`vlad.explainers.captioner` loads. The tower stays as it is, so its tokens are computed once; the captions of a photo share its tokens and
prompt in one sequence, under a mask that keeps them from one another. 820 photos, those that `vlad.finetune.sight` leaves out, are never read.
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
from vlad.explainers.captioner import (  # fmt: skip
    ASK,
    SIDE,
    TOKENS,
    build,
    pixels_of,
    plain_caption,
    seen_words,
    tidy,
    write,
)
from vlad.explainers.tower import SightConfig, SightTower
from vlad.objects import load_detector

from .clip import augment, sim_clip
from .recipe import CaptionsRecipe
from .sight import Picture, read_photos

IGNORED = -100
SPECIAL = ["<pad>", "<bos>", "<eos>", "<image>", "<user>", "<assistant>"]
FIVE = 5  # captions of a photo


@dataclass(frozen=True)
class Shown:
    """Pictures as the tower sees them, V x float16 [N, TOKENS, E]; what was detected, and the captions of each."""

    views: tuple[npt.NDArray[np.float16], ...]
    seen: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]

    def some(self, rows: Sequence[int]) -> Shown:
        """Those of some pictures."""
        return Shown(
            tuple(v[rows] for v in self.views),
            tuple(self.seen[i] for i in rows),
            tuple(self.captions[i] for i in rows),
        )


@torch.inference_mode()
def tokens_of(tower: SightTower, pictures: Iterable[Picture], count: int) -> npt.NDArray[np.float16]:
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


def photos_shown(tower: SightTower, data: Path, work: Path) -> tuple[Shown, npt.NDArray[np.bool_]]:
    """Flickr8k, as it is and in one changed view, and which photos no training may see."""
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
    return Shown(views, tuple(json.loads(kept.read_text())), captions), photos.held_out


def simulated_shown(tower: SightTower, count: int, work: Path) -> Shown:
    """Frames of `count` simulated clips, with a caption each."""
    texts: list[str] = []

    def frames() -> Iterable[Picture]:
        for seed in range(count):
            own, text, _ = sim_clip(seed, 1)
            texts.append(tidy(text))
            yield augment(own, SIDE, np.random.default_rng([seed, 53]), strength=0.3)[0]

    view = _kept(work / f"tokens-sim-{count}.npy", lambda: tokens_of(tower, frames(), count))
    kept = work / f"captions-sim-{count}.json"
    if not kept.is_file():
        kept.write_text(json.dumps(texts or [tidy(sim_clip(seed, 1)[1]) for seed in range(count)]))
    return Shown((view,), ("",) * count, tuple((text,) for text in json.loads(kept.read_text())))


def write_tokenizer(folder: Path, texts: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer over the captions."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


@dataclass(frozen=True)
class Batch:
    """B pictures: view float [B, TOKENS, E]; ids int64 [B, L], the prompt padded on the left, then FIVE captions of one length each; where int64
    and of int64 [M]: places of predictors and of what they should predict in the flat [B * L]; mask bool [B, 1, L, L]; position int64 [B, L]."""

    view: torch.Tensor
    ids: torch.Tensor
    where: torch.Tensor
    target: torch.Tensor
    mask: torch.Tensor
    position: torch.Tensor


def make_batch(shown: Shown, rows: Sequence[int], tokenizer: Any, rng: np.random.Generator, *, told: float) -> Batch:
    """Pictures in one view each, with all their captions. told: share of prompts that say what was detected."""
    image, end = tokenizer.token_to_id("<image>"), tokenizer.token_to_id("<eos>")
    prompts, answers = [], []
    for i in rows:
        said = shown.seen[i] if rng.random() < told else ""
        prompts.append(tokenizer.encode(ASK.format(image="<image>" * TOKENS, seen=said)).ids)
        own = [[*tokenizer.encode(c).ids[:40], end] for c in shown.captions[i][:FIVE]]
        answers.append(own + [[]] * (FIVE - len(own)))
    first, length = max(map(len, prompts)), max(len(a) for own in answers for a in own)
    total = first + FIVE * length
    ids = np.zeros((len(rows), total), np.int64)
    position, mask = np.zeros_like(ids), np.zeros((len(rows), total, total), np.bool_)
    where, target = [], []
    for b, (prompt, own) in enumerate(zip(prompts, answers, strict=True)):
        begin = first - len(prompt)
        ids[b, begin:first] = prompt
        position[b, begin:first] = np.arange(len(prompt))
        mask[b, :first, begin:first] = np.tri(first, dtype=np.bool_)[:, begin:first]
        for k, answer in enumerate(own):
            low = first + k * length
            ids[b, low : low + len(answer)] = answer
            position[b, low : low + length] = len(prompt) + np.arange(length)
            mask[b, low : low + length, begin:first] = True
            mask[b, low : low + length, low : low + length] = np.tri(length, dtype=np.bool_)
            for j, token in enumerate(answer):
                where.append(b * total + (first - 1 if j == 0 else low + j - 1))
                target.append(token)
    mask |= np.eye(total, dtype=np.bool_)  # padding looks at itself: a row without any would be NaN
    choice = rng.integers(len(shown.views), size=len(rows))
    view = np.stack([shown.views[v][i] for v, i in zip(choice, rows, strict=True)]).astype(np.float32)
    assert (ids == image).sum() == TOKENS * len(rows)
    numbers = [torch.from_numpy(a) for a in (view, ids, np.array(where), np.array(target), mask[:, None], position)]
    return Batch(*numbers)


def loss_of(model: Any, batch: Batch, *, image: int, noise: float, smoothing: float) -> torch.Tensor:
    """Cross-entropy of the captions' tokens. noise: share of the view's numbers, and of words, that are hidden in training."""
    view = functional.dropout(batch.view, noise, training=model.training)
    seen = model.model.multi_modal_projector(view)
    inputs = model.get_input_embeddings()(batch.ids)
    if model.training and noise:
        hidden = torch.rand(batch.ids.shape) < noise / 2
        inputs = inputs * ~(hidden & (batch.ids != image))[..., None]
    inputs = inputs.masked_scatter((batch.ids == image)[..., None], seen)
    allowed = torch.zeros(batch.mask.shape).masked_fill(~batch.mask, torch.finfo(torch.float32).min)
    states = model.model.language_model(
        inputs_embeds=inputs, attention_mask=allowed, position_ids=batch.position, use_cache=False
    ).last_hidden_state
    logits = model.lm_head(states.flatten(0, 1)[batch.where])
    return functional.cross_entropy(logits, batch.target, label_smoothing=smoothing if model.training else 0.0)


def train(model: Any, tokenizer: Any, real: Shown, simulated: Shown, held: Shown | None, recipe: CaptionsRecipe, work: Path, log: Path) -> None:  # fmt: skip
    """Train projector and language model in place; goes on where it was stopped."""
    weights = dict(model.named_parameters())
    optimiser = torch.optim.AdamW(weights.values(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    image, kept = tokenizer.token_to_id("<image>"), work / "state.safetensors"
    step = _resume(kept, weights, optimiser) if kept.is_file() else 0
    while step < recipe.steps:
        rng = np.random.default_rng([recipe.seed, step])
        begun = time.monotonic()
        rate = min(1.0, 10 * (step + 1) / recipe.steps) * 0.5 * (1 + float(np.cos(np.pi * step / recipe.steps)))
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * rate
        model.train()
        rows = rng.choice(len(real.seen), recipe.batch, replace=False)
        loss = loss_of(model, make_batch(real, rows.tolist(), tokenizer, rng, told=0.5), image=image, noise=recipe.noise, smoothing=0.1)  # fmt: skip
        if step % recipe.simulated == 0:
            some = rng.choice(len(simulated.seen), recipe.batch, replace=False)
            own = make_batch(simulated, some.tolist(), tokenizer, rng, told=0.0)
            loss = loss + 0.3 * loss_of(model, own, image=image, noise=recipe.noise, smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
        step += 1
        if step % 100 == 0 or step == recipe.steps:
            row = {"stage": "captions", "step": step, "loss": loss.item(), "seconds": time.monotonic() - begun}
            if held is not None:
                row["held"] = held_loss(model, tokenizer, held, image)
            with open(log, "a") as file:
                file.write(json.dumps(row) + "\n")
            _keep(kept, weights, optimiser, step)


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
        optimiser.state[p] = {key: state[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
    return step


@torch.inference_mode()
def held_loss(model: Any, tokenizer: Any, held: Shown, image: int) -> float:
    """The loss of captions of photos that are not trained on."""
    model.eval()
    rng, found = np.random.default_rng(0), []
    for low in range(0, len(held.seen), 16):
        rows = list(range(low, min(low + 16, len(held.seen))))
        batch = make_batch(held, rows, tokenizer, rng, told=1.0)
        found.append(float(loss_of(model, batch, image=image, noise=0.0, smoothing=0.0)))
    return float(np.mean(found))


def train_captions(recipe: CaptionsRecipe, folder: Path, *, data: Path, work: Path, log: Path) -> None:
    """All of it; `folder` then holds the captioner."""
    work.mkdir(parents=True, exist_ok=True)
    tower = SightTower(SightConfig())
    photos, left_out = photos_shown(tower, data, work)
    simulated = simulated_shown(tower, recipe.sim_frames, work)
    own = np.flatnonzero(~left_out)
    watched, rows = own[: recipe.watched], own[recipe.watched :]
    real, held = photos.some(rows.tolist()), photos.some(watched.tolist()) if recipe.watched else None
    texts = [c for five in (*real.captions, *simulated.captions) for c in five]
    tokenizer = write_tokenizer(folder, [*texts, *(plain_caption(s) for s in real.seen)], recipe.vocabulary)
    torch.manual_seed(recipe.seed)
    model = build(tokenizer, width=recipe.width, layers=recipe.layers, heads=recipe.heads)
    train(model, tokenizer, real, simulated, held, recipe, work, log)
    write(model, folder)
