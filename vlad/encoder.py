"""Snippets to features: an image tower, how its inner features change from frame to frame, and movement.

In: snippets as they are decoded. Out: `Features`, one row a snippet: the mean of the frames' embeddings, of length one; with `motion`
then the mean absolute change of the tower's inner features from one frame to the next, speeds by height of the picture where they are asked
for, what a detector's sightings say, and movement. nano
has a second eye, tuned on rendered scenes, that opens only where footage looks rendered (`Drawn`); elsewhere its numbers are 0. Any open_clip model
works by its name and pretrained tag, or a local folder; nano is a folder of `vlad.sight`. Knows nothing of files, scores or labels.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch.nn import functional

from vlad import motion, seen
from vlad.config import Settings
from vlad.device import choose_device, choose_dtype, cores
from vlad.errors import WeightsError
from vlad.sight import TRUNK, Graph, Pictures, fuse, is_sight, load_sight, part_of
from vlad.together import Batched, Tower
from vlad.tubes import Tubes, cubes, is_tubes, load_tubes, scaled
from vlad.types import Features, Sighting, Snippet
from vlad.weights import local_copy, missing, nano_part, offline, sha256_of

AHEAD = 8  # snippets decoded while others are encoded
DRAWN_SPACE, DRAWN_WIDTH = 192, 192 + 1280  # of the second eye: its embedding, and that with the spread
STEP = 0.27  # seconds from one frame that the tower sees to the next, about; movement is told from all of them
RENDERED = 0.05  # from which a snippet is also shown to the eye for rendered scenes
# of pictures, as OpenAI's CLIP takes them, where a model does not say
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
Known = Mapping[str, npt.NDArray[np.float32]]  # sentences and their unit vectors [D]
CHANGE = 1  # part of the fingerprint: raise it when what a feature says of change changes its meaning


class ClipEncoder:
    """An open_clip model as an Encoder.

    model, tokenizer: open_clip's own. name: what the fingerprint calls the weights. squash: the whole frame is fitted into the
    square (a scene has no centre to crop to); else the short side is fitted and the centre cut out, as open_clip does. graph: of the
    backbone of a Sight or Pictures, for a processor and float32 (`vlad.sight.Graph`). known: sentences that need no text tower. compiled: the
    tower by torch.compile, which takes a minute once and is for a GPU.
    """

    def __init__(
        self, model: Any, tokenizer: Callable[[list[str]], torch.Tensor], *, name: str, weights: str,
        use_motion: bool, squash: bool, device: torch.device, dtype: torch.dtype = torch.float32, drawn: Drawn | None = None,
        use_speeds: bool = False, graph: Path | None = None, known: Known | None = None,
        compiled: bool = False,
    ) -> None:  # fmt: skip
        self.known = known or {}
        self.drawn, self.use_speeds = drawn if use_motion else None, use_speeds and use_motion
        # of words and a moment: below it they hardly match (by `vlad eval`'s real clips, docs/experiments.md); 0: not known
        self.least_likeness = 0.44 if drawn else 0.0
        model.eval()
        if graph is None:
            fuse(model.visual, even=bool(np.all(np.array(model.visual.image_size) % 32 == 0)))
        # A model made in float32 keeps its norms there and its products run in `dtype`; their weights are turned once, not at each call.
        self._mixed = dtype != torch.float32 and next(model.visual.parameters()).dtype == torch.float32
        if self._mixed:
            from open_clip.model import convert_weights_to_lp

            convert_weights_to_lp(model, dtype)
        self.model = model.to(device, memory_format=torch.channels_last)
        self.tokenizer, self.use_motion, self.squash, self.device, self.dtype = (
            tokenizer,
            use_motion,
            squash,
            device,
            dtype,
        )
        # Frames a call. A transformer's activations grow with it, and on a CPU they should stay in the cache.
        small = graph is not None or hasattr(model.visual, "trunk")
        self.batch = 256 if device.type != "cpu" else 16 if small else 8
        # A small tower is no dearer than decoding, which wants its share of the cores; a transformer takes all there are.
        self.threads = max(1, cores() // 2) if small and device.type == "cpu" else 0
        size = model.visual.image_size
        if graph is not None:
            self._trunk: Any = Graph(graph, part_of(model.state, TRUNK), self.threads)
            self._inner = int(model.visual.inner)
        else:
            self._trunk = getattr(model.visual, "trunk", None)
            self._inner = int(self._trunk.num_features) if self._trunk is not None else 0
        if self._trunk is None:
            self._image = torch.compile(model.encode_image) if compiled else model.encode_image
        self.side = int(size if isinstance(size, int) else min(size))  # pixels of the tower's square
        self.size = max(self.side, int(getattr(model.visual, "decoded", 0)))  # of the short side of frames it wants
        told = getattr(model.visual, "preprocess_cfg", {})
        mean, std = told.get("mean", MEAN), told.get("std", STD)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(mean, device=device).view(shape) * 255
        self._std = torch.tensor(std, device=device).view(shape) * 255
        facts = [
            weights,
            self.side,
            self.size,
            squash,
            mean,
            std,
            (motion.VERSION, seen.VERSION, CHANGE, STEP) if use_motion else 0,
        ] + ["speeds"] * self.use_speeds
        self.name = f"{name}@{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"
        self._tower: Tower = self._alone

    def share(self) -> None:
        """From now on several threads may encode a clip each, and their frames go through the tower together."""
        self._tower = Batched(self._alone, self.batch)

    @property
    def parts(self) -> tuple[int, int]:
        """Widths of a feature's parts: the mean embedding, and all that tells of change (of the inner features, what was seen, movement)."""
        space = int(self.embed_text(["width"]).shape[1])
        inner = self._inner or space
        told = self.drawn_width + motion.BANDS * self.use_speeds + seen.SEEN_DIM + motion.MOTION_DIM
        return space, inner + told if self.use_motion else 0

    @property
    def drawn_width(self) -> int:
        """Numbers of the second eye in a feature."""
        return DRAWN_WIDTH if self.drawn else 0

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.dtype) if self._mixed else nullcontext()

    def pixels(self, frames: npt.NDArray[np.uint8]) -> torch.Tensor:
        """uint8 RGB [N, H, W, 3] to the tower's input [N, 3, side, side], in its own precision."""
        whole = torch.from_numpy(np.ascontiguousarray(frames))
        if self.device.type == "cuda":
            whole = whole.pin_memory()  # goes up while the GPU still works on what came before
        batch = whole.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        height, width = batch.shape[2:]
        target = (self.side, self.side)
        if not self.squash:
            scale = self.side / min(height, width)
            target = (max(self.side, round(height * scale)), max(self.side, round(width * scale)))
        if (height, width) != target:
            batch = functional.interpolate(batch, target, mode="bilinear" if self.squash else "bicubic", antialias=True)
        top, left = (target[0] - self.side) // 2, (target[1] - self.side) // 2
        batch = batch[..., top : top + self.side, left : left + self.side].clamp(0, 255)
        batch = ((batch - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        return batch if self._mixed else batch.to(self.dtype)

    def tower(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `pixels` gives to unit vectors [N, D], and the tower's inner features [N, E].

        These are what a timm tower has before its projection: wider, and nearer to its pre-training. Other towers show their unit vectors.
        """
        embedded, inner = self._tower(pixels)
        return embedded, inner

    def _alone(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        visual = self.model.visual
        with torch.inference_mode(), self._autocast():
            if self._trunk is None:
                embedded = self._image(pixels, normalize=True)
                return embedded, embedded
            inner = self._trunk(pixels)
            # of a pooling by mean and maximum, the mean is what changes smoothly
            return functional.normalize(visual.head(inner), dim=-1), inner[:, : self._inner]

    def embed_text(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Sentences to unit vectors float32 [N, D]."""
        if all(text in self.known for text in texts):
            return np.stack([self.known[text] for text in texts])
        with torch.inference_mode(), self._autocast():
            found = self.model.encode_text(self.tokenizer(texts).to(self.device), normalize=True)
        return found.float().cpu().numpy()  # type: ignore[no-any-return]

    def __call__(self, snippets: Iterable[Snippet]) -> Features:
        """Features of a clip's snippets, taken one after another; decoding goes on meanwhile. A quiet one, never the first, has those of the one before."""
        rows: list[npt.NDArray[np.float32]] = []
        edges = [0.0]
        before: npt.NDArray[np.float32] | None = None
        with _threads(self.threads):
            for batch in _batches(_ahead(snippets), self.batch):
                edges += [s.end for s in batch]
                shown = [s for s in batch if not s.quiet]
                more, before = self.rows(shown, before) if shown else ([], before)
                told = iter(more)
                for snippet in batch:
                    rows.append(rows[-1] if snippet.quiet else next(told))
        if not rows:
            raise ValueError("no snippets to encode")
        values = np.stack(rows)
        if self.use_motion:
            put_seen(values, np.array(edges), getattr(snippets, "sightings", ()), getattr(snippets, "aspect", 1.0))
        return Features(values, np.array(edges), self.name)

    def _second(self, snippet: Snippet, mean: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What the second eye sees of a snippet whose mean embedding looks rendered; zeros of others."""
        assert self.drawn is not None
        with torch.inference_mode():
            rendered = float(self.model.gate(torch.from_numpy(mean).to(self.device)).sigmoid())
        return self.drawn(snippet) if rendered >= RENDERED else np.zeros(DRAWN_WIDTH, np.float32)

    def rows(
        self, batch: list[Snippet], before: npt.NDArray[np.float32] | None
    ) -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
        """A row a snippet, what was seen left 0, and the inner features [E] of the last frame seen. before: those of the frame before the first."""
        frames = [seen_frames(s) if self.use_motion else s.frames for s in batch]
        found = self.tower(self.pixels(np.concatenate(frames)))
        ends = np.cumsum([len(f) for f in frames])[:-1]
        embedded, inner = (np.split(part.float().cpu().numpy(), ends) for part in found)
        rows = []
        for snippet, vectors, within in zip(batch, embedded, inner, strict=True):
            mean = vectors.mean(axis=0)
            mean /= max(float(np.linalg.norm(mean)), 1e-6)
            second = [self._second(snippet, mean)] if self.drawn else []
            gap = (snippet.end - snippet.start) / len(snippet.frames)
            fast = [motion.speeds(snippet.frames, gap)] if self.use_speeds else []
            moves = motion.descriptors(snippet.frames) if self.use_motion else None
            room = np.zeros(
                seen.SEEN_DIM, np.float32
            )  # for what was seen, known at the end: a day's features are not copied for it
            change = [] if moves is None else [change_of(within, before), *second, *fast, room, moves]
            rows.append(np.concatenate([mean, *change]))
            before = within[-1]
        assert before is not None
        return rows, before


class Drawn:
    """The eye for rendered scenes: a small CLIP whose tower was tuned on them, loaded when the first rendered snippet comes.

    load: gives that encoder; its features are the mean embedding and the spread of the inner features over a snippet's frames.
    """

    def __init__(self, load: Callable[[], ClipEncoder]) -> None:
        self._load, self._encoder = load, None  # type: tuple[Callable[[], ClipEncoder], ClipEncoder | None]
        self._lock = threading.Lock()

    @property
    def encoder(self) -> ClipEncoder:
        """The small CLIP."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self._load()
            return self._encoder

    def __call__(self, snippet: Snippet) -> npt.NDArray[np.float32]:
        """Mean embedding and spread of a snippet, float32 [DRAWN_WIDTH]."""
        vectors, inner = (
            part.float().cpu().numpy() for part in self.encoder.tower(self.encoder.pixels(snippet.frames))
        )
        mean = vectors.mean(axis=0)
        mean /= max(float(np.linalg.norm(mean)), 1e-6)
        found: npt.NDArray[np.float32] = np.concatenate([mean, inner.std(axis=0)])
        return found


class TubeEncoder:
    """A model of `vlad.tubes` as an Encoder: a feature is the mean of a snippet's tokens [width], and their mean absolute change from one step to the next
    at each place [width]. It has no words: a head that reads class names is not for it.

    name: what the fingerprint calls the weights.
    """

    use_motion = False

    def __init__(self, model: Tubes, *, name: str, weights: str, device: torch.device, dtype: torch.dtype) -> None:
        self.model, self.device, self.dtype = model.eval().to(device), device, dtype
        self.size = model.shape.size  # pixels; of the short side of frames it wants
        self.batch = 2 if device.type == "cpu" else 32  # snippets a call
        self.name = f"{name}@{hashlib.sha256(json.dumps([weights, CHANGE]).encode()).hexdigest()[:12]}"

    def share(self) -> None:
        """Several threads may encode a clip each; each calls the model by itself."""

    def embed_text(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Raises WeightsError: nobody told this encoder of words."""
        raise WeightsError(
            f"encoder {self.name.partition('@')[0]} knows no words: train a head on its features with `vlad finetune`, one that reads no class names "
            "(sultani, rtfm, ur-dmu, bn-wvad, normality), and name it in Settings.scorer_weights"
        )

    def __call__(self, snippets: Iterable[Snippet]) -> Features:
        """Features of a clip's snippets; decoding goes on meanwhile. A quiet one, never the first, has those of the one before."""
        rows: list[npt.NDArray[np.float32]] = []
        edges = [0.0]
        for batch in _batches(_ahead(snippets), self.batch * self.model.shape.frames):
            edges += [s.end for s in batch]
            shown = [s for s in batch if not s.quiet]
            told = iter(self.rows(shown, None)[0]) if shown else iter(())
            for snippet in batch:
                rows.append(rows[-1] if snippet.quiet else next(told))
        if not rows:
            raise ValueError("no snippets to encode")
        return Features(np.stack(rows), np.array(edges), self.name)

    def rows(self, batch: list[Snippet], before: None) -> tuple[list[npt.NDArray[np.float32]], None]:
        """A row a snippet, [2 width], which needs nothing of the one before; frames are taken evenly where a snippet has more or fewer than the model reads."""
        shape = self.model.shape
        taken = [s.frames[np.arange(shape.frames) * len(s.frames) // shape.frames] for s in batch]
        pixels = torch.from_numpy(np.concatenate(taken)).to(self.device).permute(0, 3, 1, 2).float()
        pixels = functional.interpolate(pixels, (shape.size, shape.size), mode="bilinear", antialias=True)
        parts = cubes(scaled(pixels).permute(0, 2, 3, 1).reshape(-1, shape.frames, shape.size, shape.size, 3), shape)
        mixed = torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
        with torch.inference_mode(), mixed:
            tokens = self.model(parts).float()
        found = tokens.reshape(len(tokens), shape.steps, -1, shape.width)
        change = found.diff(dim=1).abs().mean((1, 2))
        return list(torch.cat([found.mean((1, 2)), change], 1).cpu().numpy()), None


def put_seen(
    values: npt.NDArray[np.float32], edges: npt.NDArray[np.float64], sightings: Sequence[Sighting], aspect: float
) -> None:
    """What was seen of snippets between `edges` [T + 1] (s), into its place in features [T, width] before their movement; zeros where nobody looked."""
    values[:, -motion.MOTION_DIM - seen.SEEN_DIM : -motion.MOTION_DIM] = seen.described(sightings, edges, aspect=aspect)


def seen_frames(snippet: Snippet) -> npt.NDArray[np.uint8]:
    """Of a snippet's frames those about STEP seconds apart, at least one: uint8 [1 to F, H, W, 3]."""
    step = (snippet.end - snippet.start) / len(snippet.frames)
    return snippet.frames[:: max(1, round(STEP / step))]


def change_of(inner: npt.NDArray[np.float32], before: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32]:
    """Mean absolute change of inner features [F, E] from one frame to the next, from that `before` them on where there is one: [E]."""
    line = inner if before is None else np.concatenate([before[None], inner])
    if len(line) < 2:
        return np.zeros(inner.shape[1], np.float32)
    found: npt.NDArray[np.float32] = np.abs(np.diff(line, axis=0)).mean(axis=0)
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """At most `count` threads for torch inside; 0 leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(count or before, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(snippets: Iterable[Snippet], frames: int) -> Iterator[list[Snippet]]:
    """Snippets of one shape in groups of at most `frames` frames, or single ones; quiet ones cost nothing, and wait for no more than AHEAD others."""
    batch: list[Snippet] = []
    for snippet in snippets:
        many = sum(not s.quiet for s in (*batch, snippet)) * len(snippet.frames) > frames or len(batch) >= AHEAD * 2
        if batch and (snippet.frames.shape != batch[0].frames.shape or many):
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
    return local_copy(_hub_of(settings))


def _hub_of(settings: Settings) -> str:
    """The hub's name of an open_clip model with its tag, '' where it has none."""
    import open_clip

    if settings.encoder == "nano" or not settings.encoder_weights:
        return ""
    tag = open_clip.get_pretrained_cfg(settings.encoder, settings.encoder_weights) or {}
    return str(tag.get("hf_hub", "")).rstrip("/")


def _is_cached(repo: str) -> bool:
    """Whether somebody fetched a model of the hub before, by whatever program."""
    from huggingface_hub import try_to_load_from_cache

    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(repo, name), str) for name in names)


def load_encoder(settings: Settings) -> ClipEncoder | TubeEncoder:
    """The encoder that the settings name. Raises WeightsError where its weights are not here."""
    own = Path(settings.encoder)
    if not is_tubes(own):
        return load_clip(settings)
    device = choose_device(settings.device)
    dtype = choose_dtype(device, settings.precision)
    return TubeEncoder(load_tubes(own), name=own.name, weights=sha256_of(own), device=device, dtype=dtype)


def load_clip(settings: Settings) -> ClipEncoder:
    """The encoder that the settings name, one that knows words. Raises WeightsError where its weights are not here."""
    device = choose_device(settings.device)
    dtype = choose_dtype(device, settings.precision)
    nano = settings.encoder == "nano"
    name = "nano" if nano else Path(settings.encoder).name
    folder = nano_part("clip") if nano else _folder_of(settings)
    model_name, tag = (f"local-dir:{folder}", None) if folder else (settings.encoder, settings.encoder_weights)
    weights = sha256_of(folder) if folder else f"{settings.encoder}:{tag}"
    weights += sha256_of(nano_part("drawn")) if nano else ""
    if not folder and not tag:
        raise WeightsError(
            f"encoder {settings.encoder!r} needs Settings.encoder_weights, a tag such as 'openai' or a file"
        )
    graph = None
    if folder is not None and is_sight(folder):
        if device.type == "cpu" and settings.precision == "auto":
            dtype = torch.float32  # how little a calm picture changes is lost in bfloat16
        if nano and device.type == "cpu" and dtype == torch.float32:
            graph = nano_part("tower") / "trunk"
        model, tokenizer = load_sight(folder, whole=graph is None)
    else:
        model, tokenizer = _open_clip(settings, model_name, tag, dtype)
    return ClipEncoder(
        model, tokenizer, name=name, weights=weights, use_motion=settings.motion,
        squash=nano or is_sight(folder), device=device, dtype=dtype, drawn=_drawn(device) if nano else None,
        use_speeds=settings.speeds, compiled=settings.compiled, graph=graph, known=known_sentences("sight") if nano else None,
    )  # fmt: skip


def _drawn(device: torch.device) -> Drawn:
    """nano's second eye. On a processor its backbone runs as a graph, and its text tower is not there."""

    def load() -> ClipEncoder:
        if device.type != "cpu":
            return _drawn_whole(device)
        return ClipEncoder(
            Pictures(nano_part("drawn")), _no_words, name="drawn", weights="", use_motion=False, squash=True, device=device,
            graph=nano_part("tower") / "drawn",
        )  # fmt: skip

    return Drawn(load)


def _no_words(texts: list[str]) -> torch.Tensor:
    raise ValueError("the second eye was loaded without its text tower; ask drawn_words")


def _drawn_whole(device: torch.device) -> ClipEncoder:
    """The small CLIP that the second eye is of."""
    import open_clip

    name = f"local-dir:{nano_part('drawn')}"
    model = open_clip.create_model(name, precision="fp32", device="cpu", weights_only=True)
    return ClipEncoder(
        model, open_clip.get_tokenizer(name), name="drawn", weights="", use_motion=False, squash=True, device=device
    )


def drawn_words() -> Callable[[list[str]], npt.NDArray[np.float32]]:
    """Sentences to unit vectors float32 [N, DRAWN_SPACE] of the second eye; the eye is loaded for those that are not known."""
    known = known_sentences("drawn")

    def embed(texts: list[str]) -> npt.NDArray[np.float32]:
        if all(text in known for text in texts):
            return np.stack([known[text] for text in texts])
        return _drawn_whole(torch.device("cpu")).embed_text(texts)

    return embed


def known_sentences(tower: str) -> Known:
    """Unit vectors of the sentences that nano's own head asks for, by one of its text towers (sight or drawn), which then need not be loaded."""
    with safe_open(nano_part("tower") / "words.safetensors", "np") as file:
        texts = json.loads(file.metadata()["sentences"])
        return dict(zip(texts, file.get_tensor(tower), strict=True))


def _open_clip(settings: Settings, name: str, tag: str | None, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer by open_clip. Raises WeightsError where its weights are not here."""
    import open_clip

    hub = _hub_of(settings)
    local = name.startswith("local-dir:") or Path(str(tag)).is_file()
    if not local and not (hub and _is_cached(hub)):
        raise WeightsError(
            f"encoder {settings.encoder!r}: {missing(hub)}, name a folder in Settings.encoder, or use --preset nano, which needs no download"
        )
    try:
        precision = "bf16" if dtype == torch.bfloat16 else "fp32"  # open_clip's own keep their norms in float32 so
        with offline():
            model = open_clip.create_model(name, pretrained=tag, precision=precision, device="cpu", weights_only=True)
            return model, open_clip.get_tokenizer(name)
    except (OSError, RuntimeError, ValueError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"encoder {settings.encoder!r} cannot be loaded ({line}); "
            "run `vlad models pull`, name a local folder, or use --preset nano, which needs no download"
        ) from None
