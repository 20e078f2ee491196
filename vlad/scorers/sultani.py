"""The MIL ranking network of Sultani et al. 2018, "Real-World Anomaly Detection in Surveillance Videos": snippets one by one."""

from __future__ import annotations

import torch
from torch import nn

from .head import Classes, EmbedText, HeadConfig, Output, balanced


class SultaniHead(nn.Module):
    """Three layers, as published: 2,114,113 parameters on C3D features of 4,096 numbers. options: dropout (.6)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        dropout = float(config.options.get("dropout", 0.6))
        self.net = nn.Sequential(
            nn.Linear(config.width, 512), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(512, 32), nn.Dropout(dropout), nn.Linear(32, 1),
        )  # fmt: skip
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def names(self, classes: Classes, embed_text: EmbedText) -> None:
        """Knows no classes."""

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """Each snippet for itself."""
        return Output(self.net(balanced(values, self.config.clip)).squeeze(-1))
