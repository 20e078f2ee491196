"""nano's head: a temporal one with a class branch aligned to CLIP's text embeddings.

Trained with one label a video (Sultani et al. 2018; the top-k bag of Wu et al. 2024, VadCLIP). Class names are words: their CLIP text
embeddings choose among classes, so a user may change them without training.
"""

from __future__ import annotations

import torch
from torch import nn

from .head import Classes, EmbedText, HeadConfig, Output, balanced, embedded


class MilHead(nn.Module):
    """options: width (hidden, 128), kernel (snippets that one layer sees, 5), dropout (.4)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        shape = {"width": 128, "kernel": 5, "dropout": 0.4} | dict(config.options)
        width, kernel, pad, dropout = shape["width"], shape["kernel"], shape["kernel"] // 2, shape["dropout"]
        self.inward = nn.Sequential(nn.Linear(config.width, width), nn.GELU(), nn.Dropout(dropout))
        self.near = nn.Conv1d(width, width, kernel, padding=pad)
        self.wide = nn.Conv1d(width, width, kernel, padding=2 * pad, dilation=2)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.score = nn.Linear(width, 1)
        self.direction = nn.Linear(width, config.clip)
        self.temperature = nn.Parameter(torch.tensor(2.3))  # log of the scale of the cosine
        nn.init.constant_(self.score.bias, -2.0)

    def names(self, classes: Classes, embed_text: EmbedText) -> torch.Tensor:
        """Embedded class names [C, clip]."""
        return embedded(classes, embed_text)

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """A clip that is shorter than its bag scores as if it were alone."""
        x = self.inward(balanced(values, self.config.clip))
        x = x if mask is None else x * mask[..., None]
        y = x.transpose(1, 2)
        y = nn.functional.gelu(self.near(y)) + nn.functional.gelu(self.wide(y))
        x = self.drop(self.norm(x + y.transpose(1, 2)))
        direction = nn.functional.normalize(values[..., : self.config.clip] + self.direction(x), dim=-1)
        classes = None if names is None else self.temperature.exp() * direction @ names.T
        return Output(self.score(x).squeeze(-1), classes)
