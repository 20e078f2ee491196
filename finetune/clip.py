"""nano's small CLIP: image and text towers trained together on simulated clips and their captions, and kept near the image tower's start
on real clips of `fights` train, whose labels it does not see.

In: a recipe and, for the start, the ImageNet file. Out: an open_clip folder (config, tokenizer, weights). Resumable: a checkpoint every
minute. Knows no test data.
"""

from __future__ import annotations

import copy
import csv
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import open_clip
import torch
from rich.progress import Progress
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from vlad.config import make_settings
from vlad.device import choose_dtype
from vlad.sim import ANOMALIES, NORMALS, simulate_clip
from vlad.video import open_video

from .backbone import start_trunk
from .recipe import ClipRecipe

CALM = "nothing unusual"
LABELS = (*ANOMALIES, *NORMALS, CALM)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRAIN_SEEDS, SELECT_SEEDS = 0, 100_000


def config_of(recipe: ClipRecipe, vocabulary: int) -> dict[str, Any]:
    """open_clip's own configuration format."""
    return {
        "model_cfg": {
            "embed_dim": recipe.embed,
            "vision_cfg": {
                "timm_model_name": "mobilenetv2_100", "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear",
                "image_size": recipe.size,
            },
            "text_cfg": {
                "context_length": 48, "vocab_size": vocabulary, "width": recipe.width, "heads": 4, "layers": 3,
                "hf_tokenizer_name": "nano", "tokenizer_kwargs": {"clean": "lower"},
            },
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bilinear", "resize_mode": "squash"},
    }  # fmt: skip


def write_tokenizer(folder: Path, *, words: int = 1500, vocabulary: int = 2048) -> int:
    """A byte-level BPE of the simulated captions; returns its size. The end token has the highest id, as CLIP's pooling needs."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    rng = np.random.default_rng(0)
    texts = list(LABELS)
    for seed in range(words):
        world = simulate_clip(seed, LABELS[seed % (len(LABELS) - 1)], size=(32, 24))
        texts += [world.caption(1.0, rng) for _ in range(4)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<pad>", "<start>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))  # fmt: skip
    tokenizer.add_special_tokens(["<end>"])
    ends = [(name, tokenizer.token_to_id(name)) for name in ("<start>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106 - tokens of a text
        bos_token="<start>",  # noqa: S106
        eos_token="<end>",  # noqa: S106
    )
    fast.save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


def augment(
    frames: list[npt.NDArray[np.uint8]], size: int, rng: np.random.Generator, *, strength: float = 1.0
) -> npt.NDArray[np.uint8]:
    """The same random change to every frame of a clip: crop, flip, light, colour, blur, JPEG, noise. uint8 [F, size, size, 3].

    strength: 1 for features that must not depend on colour; about 0.3 where colours are to be named.
    """
    height, width = frames[0].shape[:2]
    share = rng.uniform(1 - 0.3 * strength, 1.0)
    h, w = int(height * share), int(width * share)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    flip, grey = rng.random() < 0.5, rng.random() < 0.2 and strength >= 1
    gain = 1 + strength * (rng.uniform(0.6, 1.4, 3) * rng.uniform(0.8, 1.2) - 1)
    lift = strength * rng.uniform(-25, 25)
    blur, quality = rng.random() < 0.3 * strength, int(rng.integers(20, 95)) if rng.random() < 0.5 else 0
    noise = strength * rng.uniform(0, 8)
    out = []
    for frame in frames:
        x = cv2.resize(frame[top : top + h, left : left + w], (size, size), interpolation=cv2.INTER_AREA)
        x = x[:, ::-1] if flip else x
        y = x.astype(np.float32) * gain.astype(np.float32) + lift
        if grey:
            y = np.repeat(y.mean(axis=2, keepdims=True), 3, axis=2)
        y += rng.normal(0, noise, (size, size, 1)).astype(np.float32)
        x = np.clip(y, 0, 255).astype(np.uint8)
        if blur:
            x = cv2.GaussianBlur(x, (3, 3), 0)
        if quality:
            x = cv2.imdecode(cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
        out.append(x)
    return np.stack(out)


def sim_clip(seed: int, frames: int) -> tuple[list[npt.NDArray[np.uint8]], str, int]:
    """Frames of a simulated clip spread over about a second, a caption and its class."""
    rng = np.random.default_rng([seed, 5])
    label = int(rng.integers(len(LABELS)))
    if LABELS[label] == CALM:
        world = simulate_clip(seed, "walking")
        world = type(world)(world.seed, world.scene, world.duration, world.fps, ())
    else:
        world = simulate_clip(seed, LABELS[label])
    start, span = rng.uniform(0, 1.5), rng.uniform(0.4, 1.4)
    times = start + np.arange(frames) * span / max(frames - 1, 1)
    return [world.frame(float(t)) for t in times], world.caption(float(times[0]), rng), label


def real_clips(data: Path | None, frames: int) -> list[npt.NDArray[np.uint8]]:
    """uint8 [F, H, W, 3] of every snippet of `fights` train; empty without the data."""
    if data is None or not (data / "fights" / "manifest.csv").is_file():
        return []
    settings = make_settings(frames_per_snippet=frames)
    found = []
    with open(data / "fights" / "manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train":
                with open_video(data / "fights" / row["path"], settings, size=144) as clip:
                    found += [s.frames for s in clip]
    return found


@dataclass(frozen=True)
class Batch:
    """Augmented clips, uint8 [N, F, S, S, 3]: simulated ones with captions and classes (int64 [N]), and real ones (N may be 0)."""

    pixels: torch.Tensor
    words: list[str]
    labels: torch.Tensor
    real: torch.Tensor


class Batches(IterableDataset[Batch]):
    """Endless batches of `recipe.batch` clips; `recipe.real` of them from `real`, where that is not empty."""

    def __init__(self, recipe: ClipRecipe, real: list[npt.NDArray[np.uint8]], first: int) -> None:
        self.recipe, self.real, self.first = recipe, real, first

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        step = self.first + worker
        while True:
            yield self.batch(step)
            step += workers

    def batch(self, step: int) -> Batch:
        """The same for the same step."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, step, 11])
        count = recipe.real if self.real else 0
        chosen = rng.integers(0, max(len(self.real), 1), count)
        real = [augment(list(self.real[int(i)]), recipe.size, rng) for i in chosen]
        pixels, words, labels = [], [], []
        for i in range(recipe.batch - count):
            seed = TRAIN_SEEDS + (step * recipe.batch + i) % 100_000
            frames, caption, label = sim_clip(seed, recipe.frames)
            pixels.append(augment(frames, recipe.size, rng))
            words.append(caption)
            labels.append(label)
        shown = torch.from_numpy(np.stack(pixels))
        return Batch(shown, words, torch.tensor(labels), torch.from_numpy(np.stack(real)) if real else shown[:0])


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [B, F, S, S, 3] to the tower's input, float32 [B * F, 3, S, S]."""
    x = pixels.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values, device=x.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def embed_clips(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [B, F, S, S, 3] to unit vectors [B, D]: the mean over a clip's frames."""
    b, f = pixels.shape[:2]
    y = model.encode_image(normalised(pixels), normalize=True)
    return functional.normalize(y.view(b, f, -1).mean(1), dim=-1)


def kept_loss(trunk: Any, start: Any, pixels: torch.Tensor) -> torch.Tensor:
    """How far the trunk has gone from its start on real frames (uint8 [B, F, S, S, 3]): one minus the cosine of their features."""
    x = normalised(pixels)
    with torch.no_grad():
        before = start(x)
    return (1 - functional.cosine_similarity(trunk(x), before)).mean()


def loss_of(model: Any, tokenizer: Any, batch: Batch, device: torch.device) -> torch.Tensor:
    """CLIP's loss with clips of one class as half-right partners, plus classification by class names."""
    words, labels = batch.words, batch.labels.to(device)
    names = [f"a security camera shows {label}" for label in LABELS]
    image = embed_clips(model, batch.pixels.to(device))
    text = model.encode_text(tokenizer([*words, *names]).to(device), normalize=True)
    scale = model.logit_scale.exp().clamp(max=100)
    logits = scale * image @ text[: len(words)].T
    same = (labels[:, None] == labels[None]).float()
    target = 0.5 * torch.eye(len(words), device=device) + 0.5 * same / same.sum(1, keepdim=True)
    pairs = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    return pairs + functional.cross_entropy(scale * image @ text[len(words) :].T, labels)


def train_clip(recipe: ClipRecipe, folder: Path, *, backbone: str, data: Path | None, log: Path) -> None:
    """Train, or go on training, until `minutes` are used; leaves an open_clip folder.

    backbone: what `start_trunk` starts from; a run that goes on does not need it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    if not (folder / "open_clip_config.json").exists():
        vocabulary = write_tokenizer(folder)
        (folder / "open_clip_config.json").write_text(json.dumps(config_of(recipe, vocabulary), indent=1) + "\n")
    model: Any = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    start_trunk(model.visual.trunk, backbone)
    model.to(device, memory_format=torch.channels_last)
    for part in (model.visual.trunk.conv_stem, model.visual.trunk.bn1, *model.visual.trunk.blocks[: recipe.frozen]):
        part.requires_grad_(False)
    trunk = [p for p in model.visual.trunk.parameters() if p.requires_grad]
    begin = [p.detach().clone() for p in trunk]
    start = copy.deepcopy(model.visual.trunk).eval().requires_grad_(False)
    rest = [p for n, p in model.named_parameters() if not n.startswith("visual.trunk")]
    groups = [{"params": trunk, "lr": recipe.backbone_lr, "peak": recipe.backbone_lr},
              {"params": rest, "lr": recipe.head_lr, "peak": recipe.head_lr}]  # fmt: skip
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    checkpoint, step, used = folder / "checkpoint.safetensors", 0, 0.0
    if checkpoint.exists():
        state = load_file(checkpoint)
        step, used = int(state.pop("step")), float(state.pop("used"))
        model.load_state_dict(state)
    batches = DataLoader(
        Batches(recipe, real_clips(data, recipe.frames), step),
        batch_size=None,
        num_workers=recipe.workers,
        prefetch_factor=4 if recipe.workers else None,
        multiprocessing_context="spawn" if recipe.workers else None,
    )
    dtype = choose_dtype(device, "auto")
    model.train()
    for module in model.visual.trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()  # folded into the convolutions; batch statistics would undo them
    last, saved = time.monotonic(), time.monotonic()
    bar = Progress(disable=not sys.stderr.isatty())
    task = bar.add_task("clip", total=recipe.minutes * 60)
    bar.start()
    for batch in batches:
        done = used / (recipe.minutes * 60)
        bar.update(task, completed=used)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * min(1.0, (step + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = loss_of(model, tokenizer, batch, device)
            if recipe.keep and len(batch.real):
                loss = loss + recipe.keep * kept_loss(model.visual.trunk, start, batch.real.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(trunk, begin, recipe.anchor * optimiser.param_groups[0]["lr"] / recipe.backbone_lr)
        step += 1
        now = time.monotonic()
        used, last = used + now - last, now
        if step % 20 == 0:
            with open(log, "a") as file:
                file.write(
                    json.dumps({"stage": "clip", "step": step, "seconds": round(used), "loss": round(loss.item(), 4)})
                    + "\n"
                )
        if now - saved > 60:
            _checkpoint(model, checkpoint, step, used)
            saved = now
    bar.stop()
    _checkpoint(model, checkpoint, step, used)
    half = {
        k: v.half().contiguous() if v.is_floating_point() else v.contiguous() for k, v in model.state_dict().items()
    }
    save_file(half, folder / "model.safetensors")


def _checkpoint(model: Any, path: Path, step: int, used: float) -> None:
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    part = path.with_suffix(".part")
    save_file({**state, "step": torch.tensor(step), "used": torch.tensor(used)}, part)
    part.replace(path)
