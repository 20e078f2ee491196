"""A head for live video: each score uses only what has been seen, at a constant cost a snippet.

Causal dilated convolutions (van den Oord et al. 2016) under a causal classifier, as PEL4VAD's (Pu et al. 2023). `Stream` scores snippets
as they arrive and gives what the whole clip would have got.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from .head import Classes, EmbedText, HeadConfig, Output, balanced, embedded

DILATIONS = (1, 2, 4, 8)


class CausalLayer(nn.Module):
    """x [B, D, T] plus what the present and two past snippets, `dilation` apart, give."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
        """past: the 2 * dilation snippets before x, [B, D, 2 * dilation]."""
        y = functional.gelu(self.conv(torch.cat([past, x], dim=2)))
        return self.norm((x + self.drop(y)).transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class CausalHead(nn.Module):
    """About 1.2 million parameters on features of 1,024 numbers. options: width (hidden, 256), dropout (.3)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        width, dropout = int(config.options.get("width", 256)), float(config.options.get("dropout", 0.3))
        self.inward = nn.Sequential(nn.Linear(config.width, width), nn.GELU(), nn.Dropout(dropout))
        self.layers = nn.ModuleList(CausalLayer(width, d, dropout) for d in DILATIONS)
        self.score = nn.Conv1d(width, 1, 9)
        self.memory = 8  # snippets of the past that `score` needs
        self.direction = nn.Linear(width, config.clip) if config.clip else None
        self.temperature = nn.Parameter(torch.tensor(2.3))
        nn.init.constant_(self.score.bias, -2.0)  # type: ignore[arg-type]

    def names(self, classes: Classes, embed_text: EmbedText) -> torch.Tensor | None:
        """Embedded class names [C, clip], where features have a CLIP part."""
        return embedded(classes, embed_text) if self.direction is not None else None

    def start(self, bags: int = 1) -> list[torch.Tensor]:
        """The state before the first snippet: zeros."""
        sizes = [*(2 * dilation for dilation in DILATIONS), self.memory]
        return [torch.zeros(bags, self.score.in_channels, n, device=self.score.weight.device) for n in sizes]

    def step(
        self, values: torch.Tensor, state: list[torch.Tensor], names: torch.Tensor | None = None
    ) -> tuple[Output, list[torch.Tensor]]:
        """The next snippets [B, T, width] of some bags, and the state behind them, whose size never changes."""
        x = self.inward(balanced(values, self.config.clip)).transpose(1, 2)
        left = []
        for layer, past in zip(self.layers, state, strict=False):
            left.append(torch.cat([past, x], dim=2)[:, :, -past.shape[2] :])
            x = layer(x, past)
        seen = torch.cat([state[-1], x], dim=2)
        left.append(seen[:, :, -self.memory :])
        classes = None
        if names is not None and self.direction is not None:
            direction = functional.normalize(
                values[..., : self.config.clip] + self.direction(x.transpose(1, 2)), dim=-1
            )
            classes = self.temperature.exp() * direction @ names.T
        return Output(self.score(seen)[:, 0], classes), left

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """Whole bags; what lies behind a bag's end cannot reach what lies before."""
        return self.step(values, self.start(len(values)), names)[0]


class Stream:
    """One live video. Memory and time a snippet are constant."""

    def __init__(self, head: CausalHead) -> None:
        self.head = head.eval()
        self._state = head.start()

    def push(self, snippet: npt.NDArray[np.float32]) -> float:
        """The score in [0, 1] of the next snippet, float32 [width]."""
        with torch.inference_mode():
            out, self._state = self.head.step(torch.from_numpy(np.array(snippet))[None, None], self._state)
        return float(out.logits[0, -1].sigmoid())
