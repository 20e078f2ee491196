"""The weakly supervised head: snippet features to scores and classes.

In: features of the encoder it was trained on. Out: a ScoreTrack. Trained with one label a video (Sultani et al. 2018; the top-k bag
of Wu et al. 2024, VadCLIP) by `vlad.finetune.scorer`. Class names are words: their CLIP text embeddings choose among classes, so a
user may change them without training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vlad.errors import MismatchError, WeightsError
from vlad.segments import smooth
from vlad.types import Features, ScoreTrack

EmbedText = Callable[[list[str]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class MilConfig:
    """Shape of a head. clip, motion: widths of the two parts of a feature. labels: what the class branch was trained on."""

    clip: int
    motion: int
    encoder: str
    labels: tuple[str, ...]
    width: int = 128
    kernel: int = 5  # snippets that one layer of the temporal branch sees
    dropout: float = 0.4
    smooth: float = 3.0  # seconds over which the scorer averages: an event lasts longer than a snippet


class MilHead(nn.Module):
    """float32 [B, T, clip + motion] to logits [B, T] and class directions [B, T, clip]."""

    def __init__(self, config: MilConfig) -> None:
        super().__init__()
        self.config = config
        width, pad = config.width, config.kernel // 2
        self.inward = nn.Sequential(
            nn.Linear(config.clip + config.motion, width), nn.GELU(), nn.Dropout(config.dropout)
        )
        self.near = nn.Conv1d(width, width, config.kernel, padding=pad)
        self.wide = nn.Conv1d(width, width, config.kernel, padding=2 * pad, dilation=2)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(config.dropout)
        self.score = nn.Linear(width, 1)
        self.direction = nn.Linear(width, config.clip)
        self.temperature = nn.Parameter(torch.tensor(2.3))  # log of the scale of the cosine
        nn.init.constant_(self.score.bias, -2.0)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """mask: bool [B, T], False behind the end of a shorter clip; such a clip scores as if it were alone."""
        clip, motion = features[..., : self.config.clip], features[..., self.config.clip :]
        # a unit vector of many parts has small ones; movement comes at about one
        x = self.inward(torch.cat([clip * self.config.clip**0.5, motion], dim=-1))
        x = x if mask is None else x * mask[..., None]
        y = x.transpose(1, 2)
        y = nn.functional.gelu(self.near(y)) + nn.functional.gelu(self.wide(y))
        x = self.drop(self.norm(x + y.transpose(1, 2)))
        direction = nn.functional.normalize(clip + self.direction(x), dim=-1)
        return self.score(x).squeeze(-1), direction

    def class_logits(self, direction: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
        """Unit directions [..., clip] against embedded class names [C, clip]: logits [..., C]."""
        return self.temperature.exp() * direction @ names.T


def sentences(labels: Sequence[str]) -> list[str]:
    """How class names are put to the text tower."""
    return [f"a security camera shows {label}" for label in labels]


class MilScorer:
    """A trained head with the class names it chooses from."""

    name = "mil"

    def __init__(self, head: MilHead, labels: Sequence[str], embed_text: EmbedText) -> None:
        self.head, self.labels = head.eval(), tuple(labels)
        self._names = torch.from_numpy(embed_text(sentences(self.labels)))

    def __call__(self, features: Features) -> ScoreTrack:
        """Raises MismatchError for features of another encoder."""
        if features.encoder != self.head.config.encoder:
            raise MismatchError(
                f"features come from {features.encoder}, this scorer was trained on {self.head.config.encoder}; "
                "compute them again with that encoder, or train a scorer for this one"
            )
        with torch.inference_mode():
            logits, direction = self.head(torch.from_numpy(np.array(features.values))[None])
            classes = self.head.class_logits(direction[0], self._names).softmax(-1)
        track = ScoreTrack(logits[0].sigmoid().numpy(), features.edges, self.labels, classes.numpy())
        return replace(track, scores=smooth(track, self.head.config.smooth).astype(np.float32))


def save_head(head: MilHead, folder: Path) -> None:
    """Write head.json and head.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in head.state_dict().items()}, folder / "head.safetensors")
    (folder / "head.json").write_text(json.dumps(asdict(head.config), indent=1) + "\n")


def load_head(folder: Path) -> MilHead:
    """A head from a folder. Raises WeightsError where it is missing or does not fit."""
    try:
        facts = json.loads((folder / "head.json").read_text())
        head = MilHead(MilConfig(**{**facts, "labels": tuple(facts["labels"])}))
        head.load_state_dict(load_file(folder / "head.safetensors"))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        line = str(error).splitlines()[0][:160]
        raise WeightsError(f"scorer {folder}: cannot be loaded ({line}); train one, or use --preset nano") from None
    return head
