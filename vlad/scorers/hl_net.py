"""HL-Net, Wu et al. 2020, "Not only Look, but also Listen: Learning Multimodal Violence Detection under Weak Supervision".

Three graphs over snippets with sight and sound; a causal head, distilled from them, scores as it goes. Modules bear the published names.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .head import (
    Classes,
    EmbedText,
    GraphConvolution,
    HeadConfig,
    Output,
    balanced,
    nearness,
    similarity,
    softmax_inside,
)


class HlNetHead(nn.Module):
    """842,883 parameters on 1,024 numbers of sight and 128 of sound.

    logits: the offline branch's, or the causal one's with options online (False). extra: online [B, T]. options: dropout (.6), online.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conv1d1, self.conv1d2 = nn.Conv1d(width, 512, 1), nn.Conv1d(512, 128, 1)
        # These two and simAdj are part of the published weights; its forward pass does not use them.
        self.conv1d3, self.conv1d4 = nn.Conv1d(128, 32, 5, padding=2), nn.Conv1d(32, 32, 5, padding=2)
        self.simAdj = nn.Module()
        self.simAdj.weight0, self.simAdj.weight1 = (nn.Parameter(torch.empty(width, 32)) for _ in range(2))
        self.disAdj = nn.Module()
        self.disAdj.sigma = nn.Parameter(torch.tensor([0.1]))
        self.gc1, self.gc3, self.gc5 = (GraphConvolution(128, 32) for _ in range(3))
        self.gc2, self.gc4, self.gc6 = (GraphConvolution(32, 32) for _ in range(3))
        self.classifier = nn.Linear(96, 1)
        self.approximator = nn.Sequential(nn.Conv1d(128, 64, 1), nn.ReLU(), nn.Conv1d(64, 32, 1), nn.ReLU())
        self.conv1d_approximator = nn.Conv1d(32, 1, 5)
        self.drop = nn.Dropout(float(config.options.get("dropout", 0.6)))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def names(self, classes: Classes, embed_text: EmbedText) -> None:
        """Knows no classes."""

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """The graph by score stands on the causal head's scores, which it does not train."""
        values = balanced(values, self.config.clip)
        values = values if mask is None else values * mask[..., None]
        x = self.drop(self.conv1d1(values.transpose(1, 2)).relu())
        x = self.drop(self.conv1d2(x).relu())
        online = self.conv1d_approximator(functional.pad(self.approximator(x), (4, 0)))[:, 0]
        x = x.transpose(1, 2)
        score = online.detach().sigmoid()
        close = 1 - (score[:, :, None] - score[:, None, :]).abs()
        graphs = (
            similarity(values, mask), nearness(x.shape[1], like=x)[None],
            softmax_inside(((close - 0.5) / 0.1).sigmoid(), mask),
        )  # fmt: skip
        branches = []
        for graph, first, second in zip(
            graphs, (self.gc1, self.gc3, self.gc5), (self.gc2, self.gc4, self.gc6), strict=True
        ):
            y = self.drop(first(x, graph).relu())
            branches.append(self.drop(second(y, graph).relu()))
        offline = self.classifier(torch.cat(branches, dim=2)).squeeze(-1)
        return Output(
            online if self.config.options.get("online") else offline, None, {"online": online, "offline": offline}
        )
