"""Snippets to features: CLIP's image tower by open_clip, and movement.

In: snippets as they are decoded. Out: `Features`, one row a snippet: the mean of the frames' embeddings, of length one; with `motion`
then how far the frames' inner features spread, and the movement descriptors. Any open_clip model works by its name and pretrained tag,
or a local folder; nano is such a folder. Knows nothing of files, scores or labels.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vlad import motion
from vlad.config import Settings
from vlad.device import choose_device, choose_dtype
from vlad.errors import WeightsError
from vlad.types import Features, Snippet
from vlad.weights import local_copy, nano_part, sha256_of

AHEAD = 8  # snippets decoded while others are encoded


class ClipEncoder:
    """An open_clip model as an Encoder.

    model, tokenizer: open_clip's own. name: what the fingerprint calls the weights. squash: the whole frame is fitted into the
    square (a scene has no centre to crop to); else the short side is fitted and the centre cut out, as open_clip does.
    """

    def __init__(
        self, model: Any, tokenizer: Callable[[list[str]], torch.Tensor], *, name: str, weights: str,
        use_motion: bool, squash: bool, device: torch.device, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        model.eval()
        fuse(model.visual)
        # A model made in float32 keeps its norms there and its products run in `dtype`; their weights are turned once, not at each call.
        self._mixed = dtype != torch.float32 and next(model.visual.parameters()).dtype == torch.float32
        if self._mixed:
            open_clip.model.convert_weights_to_lp(model, dtype)
        self.model = model.to(device, memory_format=torch.channels_last)
        self.tokenizer, self.use_motion, self.squash, self.device, self.dtype = (
            tokenizer,
            use_motion,
            squash,
            device,
            dtype,
        )
        # Frames a call. A transformer's activations grow with it, and on a CPU they should stay in the cache.
        small = hasattr(model.visual, "trunk")
        self.batch = 8 if device.type == "cpu" and not small else 32
        # A small tower is no dearer than decoding, which wants its share of the cores; a transformer takes all there are.
        self.threads = max(1, (os.cpu_count() or 2) // 2) if small and device.type == "cpu" else 0
        size = model.visual.image_size
        self.size = int(size if isinstance(size, int) else min(size))
        mean, std = (
            open_clip.get_model_preprocess_cfg(model).get(key, usual)
            for key, usual in (("mean", open_clip.OPENAI_DATASET_MEAN), ("std", open_clip.OPENAI_DATASET_STD))
        )
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(mean, device=device).view(shape) * 255
        self._std = torch.tensor(std, device=device).view(shape) * 255
        facts = [weights, self.size, squash, mean, std, motion.VERSION if use_motion else 0]
        self.name = f"{name}@{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"

    @property
    def parts(self) -> tuple[int, int]:
        """Widths of a feature's parts: the mean embedding, and all that tells of change (the spread and the movement descriptors)."""
        space = int(self.embed_text(["width"]).shape[1])
        visual = self.model.visual
        inner = int(visual.trunk.num_features) if hasattr(visual, "trunk") else space
        return space, inner + motion.MOTION_DIM if self.use_motion else 0

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.dtype) if self._mixed else nullcontext()

    def pixels(self, frames: npt.NDArray[np.uint8]) -> torch.Tensor:
        """uint8 RGB [N, H, W, 3] to the tower's input [N, 3, size, size], in its own precision."""
        batch = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2).float()
        height, width = batch.shape[2:]
        target = (self.size, self.size)
        if not self.squash:
            scale = self.size / min(height, width)
            target = (max(self.size, round(height * scale)), max(self.size, round(width * scale)))
        if (height, width) != target:
            batch = functional.interpolate(batch, target, mode="bilinear" if self.squash else "bicubic", antialias=True)
        top, left = (target[0] - self.size) // 2, (target[1] - self.size) // 2
        batch = batch[..., top : top + self.size, left : left + self.size].clamp(0, 255)
        batch = ((batch - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        return batch if self._mixed else batch.to(self.dtype)

    def tower(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `pixels` gives to unit vectors [N, D], and the tower's inner features [N, E].

        These are what a timm tower has before its projection: wider, and nearer to its pre-training. Other towers show their unit vectors.
        """
        visual = self.model.visual
        with torch.inference_mode(), self._autocast():
            if not hasattr(visual, "trunk"):
                embedded = self.model.encode_image(pixels, normalize=True)
                return embedded, embedded
            inner = visual.trunk(pixels)
            return functional.normalize(visual.head(inner), dim=-1), inner

    def embed_text(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Sentences to unit vectors float32 [N, D]."""
        with torch.inference_mode(), self._autocast():
            found = self.model.encode_text(self.tokenizer(texts).to(self.device), normalize=True)
        return found.float().cpu().numpy()  # type: ignore[no-any-return]

    def __call__(self, snippets: Iterable[Snippet]) -> Features:
        """Features of a clip's snippets, taken one after another; decoding goes on meanwhile."""
        rows: list[npt.NDArray[np.float32]] = []
        edges = [0.0]
        with _threads(self.threads):
            for batch in _batches(_ahead(snippets), self.batch):
                edges += [s.end for s in batch]
                rows += self._rows(batch)
        if not rows:
            raise ValueError("no snippets to encode")
        return Features(np.stack(rows), np.array(edges), self.name)

    def _rows(self, batch: list[Snippet]) -> list[npt.NDArray[np.float32]]:
        seen = self.tower(self.pixels(np.concatenate([s.frames for s in batch])))
        ends = np.cumsum([len(s.frames) for s in batch])[:-1]
        embedded, inner = (np.split(part.float().cpu().numpy(), ends) for part in seen)
        rows = []
        for snippet, vectors, within in zip(batch, embedded, inner, strict=True):
            mean = vectors.mean(axis=0)
            mean /= max(float(np.linalg.norm(mean)), 1e-6)
            change = [within.std(axis=0), motion.descriptors(snippet.frames)] if self.use_motion else []
            rows.append(np.concatenate([mean, *change]))
        return rows


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """At most `count` threads for torch inside; 0 leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(count or before, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fuse(module: nn.Module) -> None:
    """Put each batch norm into the convolution before it, in place: the same function, several times faster on a CPU."""
    children = list(module.named_children())
    for (name, first), (after, second) in pairwise(children):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(first, second))
            setattr(module, after, getattr(second, "act", nn.Identity()))  # timm's norms end in an activation
    for _, child in children:
        fuse(child)


def _batches(snippets: Iterable[Snippet], frames: int) -> Iterator[list[Snippet]]:
    """Snippets of one shape in groups of at most `frames` frames, or single ones."""
    batch: list[Snippet] = []
    for snippet in snippets:
        if batch and (snippet.frames.shape != batch[0].frames.shape or (len(batch) + 1) * len(snippet.frames) > frames):
            yield batch
            batch = []
        batch.append(snippet)
    if batch:
        yield batch


def _ahead(snippets: Iterable[Snippet]) -> Iterator[Snippet]:
    """The same snippets, read by a thread that stays at most AHEAD of them; its error is raised here."""
    line: queue.Queue[Snippet | BaseException | None] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(value: Snippet | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                line.put(value, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for snippet in snippets:
                if not put(snippet):
                    return
            put(None)
        except BaseException as error:  # handed to the thread that waits for it
            put(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while (value := line.get()) is not None:
            if isinstance(value, BaseException):
                raise value
            yield value
    finally:
        stop.set()
        thread.join(timeout=5)


def _folder_of(settings: Settings) -> Path | None:
    """Where an open_clip model lies: the folder that is named, or what was pulled of its pinned revision; None for neither."""
    if Path(settings.encoder).is_dir():
        return Path(settings.encoder)
    tag = open_clip.get_pretrained_cfg(settings.encoder, settings.encoder_weights) or {}
    return local_copy(str(tag.get("hf_hub", "")).rstrip("/"))


def load_encoder(settings: Settings) -> ClipEncoder:
    """The encoder that the settings name. Raises WeightsError where its weights are not here."""
    device = choose_device(settings.device)
    dtype = choose_dtype(device, settings.precision)
    nano = settings.encoder == "nano"
    name = "nano" if nano else Path(settings.encoder).name
    folder = nano_part("clip") if nano else _folder_of(settings)
    model_name, tag = (f"local-dir:{folder}", None) if folder else (settings.encoder, settings.encoder_weights)
    weights = sha256_of(folder) if folder else f"{settings.encoder}:{tag}"
    if not folder and not tag:
        raise WeightsError(
            f"encoder {settings.encoder!r} needs Settings.encoder_weights, a tag such as 'openai' or a file"
        )
    try:
        # nano's tower was trained with float32 norms; open_clip's own keep theirs so in "bf16"
        precision = "bf16" if dtype == torch.bfloat16 and not nano else "fp32"
        model = open_clip.create_model(model_name, pretrained=tag, precision=precision, device="cpu", weights_only=True)
        tokenizer = open_clip.get_tokenizer(model_name)
    except (OSError, RuntimeError, ValueError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"encoder {settings.encoder!r} cannot be loaded ({line}); "
            "run `vlad models pull`, name a local folder, or use --preset nano, which needs no download"
        ) from None
    return ClipEncoder(
        model, tokenizer, name=name, weights=weights, use_motion=settings.motion,
        squash=settings.encoder == "nano", device=device, dtype=dtype,
    )  # fmt: skip
