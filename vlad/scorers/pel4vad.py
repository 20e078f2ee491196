"""PEL4VAD, Pu et al. 2024, "Learning Prompt-Enhanced Context Features for Weakly-Supervised Video Anomaly Detection".

One attention over the whole clip and over the near snippets, and a causal classifier; in training, what a video shows is drawn to the words of
its class. Modules bear the published names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .head import Classes, EmbedText, HeadConfig, Output, balanced, embedded

FAR = -1e9  # what the published attention puts on snippets outside its window


class DistanceAdj(nn.Module):
    """exp(-|w d^2 - b|) of snippets d apart, [T, T] (eq. 3)."""

    def __init__(self, gamma: float, bias: float) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.tensor([gamma])), nn.Parameter(torch.tensor([bias]))

    def forward(self, count: int) -> torch.Tensor:
        place = torch.arange(count, device=self.w.device, dtype=self.w.dtype)
        return torch.exp(-(self.w * (place[:, None] - place[None]).square() - self.b).abs())


class ContextAttention(nn.Module):
    """Temporal context aggregation (eqs. 1 to 5): one map of likeness, its softmax over all snippets and over a window, weighed by alpha."""

    def __init__(self, width: int, hidden: int, window: int, norm: bool) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, hidden) for _ in range(3))
        self.o, self.alpha = nn.Linear(hidden, width), nn.Parameter(torch.tensor(0.0))
        self.reach, self.norm = window // 2, norm

    def forward(self, x: torch.Tensor, near: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        query, key, value = self.q(x), self.k(x), self.v(x)
        likeness = query @ key.transpose(1, 2) / key.shape[2] ** 0.5 + near
        if mask is not None:
            likeness = likeness.masked_fill(~mask[:, None], FAR)
        place = torch.arange(x.shape[1], device=x.device)
        outside = (place[:, None] - place[None]).abs() > self.reach
        share = self.alpha.sigmoid()
        seen = share * (likeness.softmax(-1) @ value)
        seen = seen + (1 - share) * (likeness.masked_fill(outside, FAR).softmax(-1) @ value)
        if self.norm:  # a signed root, then length one over time
            seen = seen.relu().sqrt() - (-seen).relu().sqrt()
            seen = functional.normalize(seen if mask is None else seen * mask[..., None], dim=1)
        return self.o(seen)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Context, then two layers on each snippet: [B, T, width] to [B, T, space], which the words speak of, and [B, T, out]."""

    def __init__(self, width: int, space: int, options: dict[str, Any]) -> None:
        super().__init__()
        self.self_attn = ContextAttention(width, options["hidden"], options["window"], options["norm"])
        self.linear1, self.linear2 = nn.Conv1d(width, space, 1), nn.Conv1d(space, options["out"], 1)
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(options["dropout"])
        self.loc_adj = DistanceAdj(options["gamma"], options["bias"])

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norm(x + self.self_attn(x, self.loc_adj(x.shape[1]), mask)).transpose(1, 2)
        spoken = self.drop(functional.gelu(self.linear1(x)))
        inner = self.drop(functional.gelu(self.linear2(spoken)))
        return spoken.transpose(1, 2), inner.transpose(1, 2)


# Of UCF-Crime; XD-Violence's differ: see finetune/xd-violence.yaml.
DEFAULTS = {
    "hidden": 128,
    "out": 300,
    "window": 9,
    "norm": True,
    "gamma": 0.6,
    "bias": 0.2,
    "steps": 9,
    "temperature": 0.09,
    "dropout": 0.1,
}


class PelHead(nn.Module):
    """About 1.4 million parameters on features of 1,024 numbers.

    extra: spoken [B, T, space] and scale, for the loss; names [1 + C, space], normal first. options: DEFAULTS, and space (width // 2), which is
    that of the text tower where one reads class names.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        options = {**DEFAULTS, **config.options}
        self.space, self.steps = int(options.get("space", config.width // 2)), int(options["steps"])
        self.self_attention = Encoder(config.width, self.space, options)
        self.classifier = nn.Conv1d(int(options["out"]), 1, self.steps)
        self.logit_scale = nn.Parameter(torch.tensor(1 / float(options["temperature"])).log())
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)

    def names(self, classes: Classes, embed_text: EmbedText) -> torch.Tensor | None:
        """For training, what normal footage and each class sound like: unit vectors [1 + C, space]; None for scoring, and where no text tower
        of that space reads them."""
        if not self.training:
            return None
        found = embedded({"normal": ("normal",), **classes}, embed_text)
        return found if found.shape[1] == self.space else None

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """A score knows what follows, as the attention does; the classifier alone is causal."""
        x = balanced(values, self.config.clip)
        x = x if mask is None else x * mask[..., None]
        spoken, inner = self.self_attention(x, mask)
        logits = self.classifier(functional.pad(inner.transpose(1, 2), (self.steps - 1, 0)))[:, 0]
        extra = {"spoken": spoken, "scale": self.logit_scale.exp()}
        return Output(logits, None, extra if names is None else {**extra, "names": names})
