"""RTFM, Tian et al. 2021, "Weakly-supervised Video Anomaly Detection with Robust Temporal Feature Magnitude Learning".

A pyramid of dilated convolutions and a non-local block; the length of a snippet's new feature tells how anomalous it is.
"""

from __future__ import annotations

import torch
from torch import nn

from .head import Classes, EmbedText, HeadConfig, Output, balanced

HIDDEN = 512


class NonLocal(nn.Module):
    """Attention of every snippet to every other, without softmax (Wang et al. 2018, the dot product form)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 2
        self.g, self.theta, self.phi = (nn.Conv1d(width, inner, 1) for _ in range(3))
        self.out, self.norm = nn.Conv1d(inner, width, 1), nn.BatchNorm1d(width)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = self.theta(x).transpose(1, 2) @ self.phi(x) / x.shape[2]
        return x + self.norm(self.out((near @ self.g(x).transpose(1, 2)).transpose(1, 2)))  # type: ignore[no-any-return]


class RtfmHead(nn.Module):
    """extra: features [B, T, width], whose magnitude the loss wants, and kept [B, T], 0 where dropout forbids to choose a snippet. options: dropout (.7)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        width, dropout = config.width, float(config.options.get("dropout", 0.7))
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, HIDDEN, 3, padding=d, dilation=d), nn.ReLU(), nn.BatchNorm1d(HIDDEN)
            ) for d in (1, 2, 4)
        )  # fmt: skip
        self.squeeze = nn.Sequential(nn.Conv1d(width, HIDDEN, 1, bias=False), nn.ReLU())
        self.non_local = NonLocal(HIDDEN)
        self.fuse = nn.Sequential(
            nn.Conv1d(4 * HIDDEN, width, 3, padding=1, bias=False), nn.ReLU(), nn.BatchNorm1d(width)
        )
        self.drop = nn.Dropout(dropout)
        self.score = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(HIDDEN, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, 1),
        )  # fmt: skip
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def names(self, classes: Classes, embed_text: EmbedText) -> None:
        """Knows no classes."""

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """Snippets behind a bag's end count as zeros."""
        x = balanced(values, self.config.clip)
        x = (x if mask is None else x * mask[..., None]).transpose(1, 2)
        parts = [*(scale(x) for scale in self.scales), self.non_local(self.squeeze(x))]
        features = self.drop((self.fuse(torch.cat(parts, 1)) + x).transpose(1, 2))
        kept = self.drop(torch.ones(features.shape[:2], device=features.device))
        return Output(self.score(features).squeeze(-1), None, {"features": features, "kept": kept})
