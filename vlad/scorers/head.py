"""What all trained heads share: their description, their output, and how a clip is scored by one.

In: features of the encoder a head was trained on. Out: a ScoreTrack. Each kind of head has a file of its own beside this one; how they are
trained is `vlad.finetune.scorer`'s affair.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from vlad.errors import MismatchError
from vlad.segments import smooth
from vlad.types import Features, ScoreTrack

from .scene import Scene

EmbedText = Callable[[list[str]], npt.NDArray[np.float32]]
Classes = Mapping[str, Sequence[str]]  # a name and its sentences
TOGETHER = 64  # windows scored in one batch


@dataclass(frozen=True)
class HeadConfig:
    """Which head, for which features, and its shape.

    kind: its name in SCORERS. encoder: `name@fingerprint` of its features. width: numbers a snippet, sound included. clip: how many of
    them, the first, share a space with the encoder's text tower; 0 for none. audio: how many, the last, are sound. labels: the anomalous
    classes it was trained on. smooth: seconds over which its scores are averaged: an event lasts longer than a snippet. window: snippets
    it sees at once; 0 for the whole clip. options: shape of this kind of head.
    """

    kind: str
    encoder: str
    width: int
    clip: int
    labels: tuple[str, ...]
    audio: int = 0
    smooth: float = 0.0
    window: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


class Output(NamedTuple):
    """Of B bags of T snippets: logits [B, T]; class logits [B, T, C], or [B, T, 1 + C] with normal first, or None; what a loss needs more."""

    logits: torch.Tensor
    classes: torch.Tensor | None = None
    extra: Mapping[str, torch.Tensor] = {}


class Head(Protocol):
    """A torch module from float32 [B, T, width], with a mask bool [B, T] (False behind a bag's end) or None, to an Output."""

    config: HeadConfig

    def names(self, classes: Classes, embed_text: EmbedText) -> torch.Tensor | None:
        """What `__call__` wants to know of class names: their embeddings, their tokens, or nothing."""

    def __call__(self, values: torch.Tensor, mask: torch.Tensor | None, names: torch.Tensor | None) -> Output: ...
    def eval(self) -> Any: ...
    def train(self) -> Any: ...
    def to(self, device: torch.device) -> Any: ...
    def parameters(self) -> Iterator[torch.nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...
    def state_dict(self) -> dict[str, torch.Tensor]: ...
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> Any: ...


def sentences(labels: Sequence[str]) -> Classes:
    """How class names are put to a text tower where no file of sentences says it."""
    return {label: (f"a security camera shows {label}",) for label in labels}


def embedded(classes: Classes, embed_text: EmbedText) -> torch.Tensor:
    """The mean of each class's sentences, of length one: float32 [C, clip] (the prompt ensembles of Radford et al. 2021)."""
    counts = [len(texts) for texts in classes.values()]
    told = torch.from_numpy(
        embed_text([text for texts in classes.values() for text in texts])
    )  # a call costs more than a sentence
    rows = [own.mean(0) for own in torch.split(told, counts)]
    return functional.normalize(torch.stack(rows), dim=-1)


def balanced(values: torch.Tensor, clip: int) -> torch.Tensor:
    """Features [..., width] whose parts weigh alike: a unit vector of many numbers has small ones, what follows it comes at about one."""
    if not 0 < clip < values.shape[-1]:
        return values
    return torch.cat([values[..., :clip] * clip**0.5, values[..., clip:]], dim=-1)


def nearness(count: int, *, like: torch.Tensor) -> torch.Tensor:
    """exp(-|i - j| / e), float [count, count]: how near snippets are in time (Wu et al. 2020, HL-Net)."""
    place = torch.arange(count, device=like.device, dtype=like.dtype)
    return torch.exp(-(place[:, None] - place[None]).abs() / torch.e)


def similarity(values: torch.Tensor, mask: torch.Tensor | None, *, least: float = 0.7) -> torch.Tensor:
    """Each row the softmax over the cosine to other snippets, those below `least` counted as 0: float [B, T, T] (Wu et al. 2020)."""
    length = values.norm(dim=-1, keepdim=True)
    cosine = values @ values.transpose(1, 2) / (length @ length.transpose(1, 2) + 1e-20)
    return softmax_inside(functional.threshold(cosine, least, 0.0), mask)


def softmax_inside(logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Softmax of [B, T, T] over its last axis among the snippets of a bag (mask bool [B, T]); 0 outside."""
    if mask is None:
        return logits.softmax(dim=-1)
    inside = mask[:, :, None] & mask[:, None, :]
    return logits.masked_fill(~mask[:, None, :], -torch.inf).softmax(dim=-1).nan_to_num() * inside


class GraphConvolution(nn.Module):
    """Snippets [B, T, inward] mixed by a graph [B or 1, T, T], with a residual (Kipf and Welling 2017; names as in HL-Net's weights)."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inward, outward))
        nn.init.xavier_uniform_(self.weight)
        self.residual = nn.Identity() if inward == outward else nn.Conv1d(inward, outward, 5, padding=2)

    def forward(self, x: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
        return graph @ (x @ self.weight) + self.residual(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Calibration:
    """What `vlad calibrate` found: the threshold, and points between which scores become probabilities; () for as they are."""

    enter: float | None = None
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def mapped(self, track: ScoreTrack) -> ScoreTrack:
        """The track with probabilities for scores."""
        if not self.x:
            return track
        return replace(track, scores=np.interp(track.scores, self.x, self.y).clip(0, 1).astype(np.float32))


class TrainedScorer:
    """A trained head with the class names it chooses from. scene: what it learnt of one camera's footage since, or None."""

    def __init__(
        self, head: Head, classes: Classes, embed_text: EmbedText, *, calibration: Calibration | None = None,
        scene: Scene | None = None,
    ) -> None:  # fmt: skip
        head.eval()
        self.head, self.labels, self.name = head, tuple(classes), head.config.kind
        self.calibration, self.scene = calibration or Calibration(), scene
        self.enter = self.calibration.enter
        with torch.inference_mode():
            self._names = head.names(classes, embed_text)

    def __call__(self, features: Features) -> ScoreTrack:
        """Raises MismatchError for features of another encoder."""
        config = self.head.config
        if features.encoder != config.encoder:
            raise MismatchError(
                f"features come from {features.encoder}, this scorer was trained on {config.encoder}; "
                "compute them again with that encoder, or train a scorer for this one"
            )
        logits, classes = self.run(features.values)
        labels = self.labels if classes is None or classes.shape[1] == len(self.labels) else ("normal", *self.labels)
        shares = None if classes is None else classes.softmax(-1)
        if self.scene is not None:
            logits = self.scene(torch.from_numpy(np.array(features.values)), logits, shares)
        named = None if shares is None else shares.numpy()
        track = ScoreTrack(logits.sigmoid().numpy(), features.edges, labels if named is not None else (), named)
        track = replace(track, scores=smooth(track, config.smooth).astype(np.float32)) if config.smooth else track
        return self.calibration.mapped(track)

    def familiar(self, features: Features) -> npt.NDArray[np.float32] | None:
        """How much each snippet looks like the world that nano's words come from, in (0, 1), float32 [T]; None where the head can't tell."""
        of = getattr(self.head, "familiar", None)
        with torch.inference_mode():
            found = of(torch.from_numpy(np.array(features.values))) if of else None
        return None if found is None else found.numpy()

    def run(self, values: npt.NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits [T] of snippets [T, width], and their class logits or None; window by window where the head has one."""
        window = min(self.head.config.window or len(values), len(values))
        whole = torch.from_numpy(np.array(values))
        pieces = torch.split(whole, window * TOGETHER)
        logits, classes = [], []
        with torch.inference_mode():
            for piece in pieces:
                count = -(-len(piece) // window)
                padded = functional.pad(piece, (0, 0, 0, count * window - len(piece)))
                mask = torch.arange(count * window).view(count, window) < len(piece)
                out = self.head(padded.view(count, window, -1), None if mask.all() else mask, self._names)
                logits.append(out.logits.flatten()[: len(piece)])
                if out.classes is not None:
                    classes.append(out.classes.flatten(0, 1)[: len(piece)])
        return torch.cat(logits), torch.cat(classes) if classes else None


def save_head(head: Head, folder: Path) -> None:
    """Write head.json and head.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.cpu().contiguous() for k, v in head.state_dict().items()}, folder / "head.safetensors")
    (folder / "head.json").write_text(json.dumps(asdict(head.config), indent=1) + "\n")
