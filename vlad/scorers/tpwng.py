"""TPWNG, Yang et al. 2024, "Text Prompt with Normality Guidance for Weakly Supervised Video Anomaly Detection".

CLIP's texts say which snippets of an anomalous video fit its class and not normality; from these pseudo labels a classifier learns whose
attention finds its own span of time.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .head import Classes, EmbedText, HeadConfig, Output, balanced
from .vadclip import CLIP_B16, DEFAULTS, TEMPERATURE, TextTower, prompted, tokens_of

SOFTNESS = 16.0  # snippets over which an attention span fades (Sukhbaatar et al. 2019)


class AdaptiveSpan(nn.Module):
    """A transformer layer each of whose heads looks as far in time as the video asks for (the paper's TCSAL)."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.span = nn.Linear(width, heads)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(2 * width, width), nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        b, t, width = x.shape
        y = self.norm(x)
        query, key, value = self.qkv(y).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dots = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5
        mean = (y * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        reach = self.span(mean).sigmoid() * t  # [B, heads]
        place = torch.arange(t, device=x.device)
        far = (place[:, None] - place[None]).abs()
        seen = ((SOFTNESS + reach[..., None, None] - far) / SOFTNESS).clamp(0, 1)
        weight = dots.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1) * seen
        weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)
        x = x + self.out((weight @ value).transpose(1, 2).flatten(2))
        return x + self.feed(x)  # type: ignore[no-any-return]


class TpwngHead(nn.Module):
    """extra: fit [B, T, 1 + C], the cosine of snippets to texts, normal first. options: layers, heads, prefix, postfix, dropout, text."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        shape = DEFAULTS | {"heads": 4, "dropout": 0.3} | dict(config.options)
        text, width = shape.get("text", CLIP_B16), config.clip
        self.prefix, self.postfix, self.text = shape["prefix"], shape["postfix"], text
        self.clipmodel = TextTower(text)
        self.text_prompt_embeddings = nn.Embedding(text["context"], text["width"])
        nn.init.normal_(self.text_prompt_embeddings.weight, std=0.01)
        self.inward = nn.Linear(config.width, width)
        self.layers = nn.ModuleList(
            AdaptiveSpan(width, heads=shape["heads"], dropout=shape["dropout"]) for _ in range(shape["layers"])
        )
        self.guide = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
        self.score = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 128), nn.GELU(), nn.Linear(128, 1))

    def names(self, classes: Classes, embed_text: EmbedText) -> torch.Tensor:
        """Tokens [1 + C, L], normal first."""
        return tokens_of(tuple(classes), self.text)

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """The text of normality is guided by what the bag itself shows as normal (the paper's NVP)."""
        mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device) if mask is None else mask
        x = y = values[..., : self.config.clip] + self.inward(balanced(values, self.config.clip))
        for layer in self.layers:
            y = layer(y, mask)
        logits = self.score(y).squeeze(-1)
        if names is None:
            return Output(logits)
        texts = prompted(self.clipmodel, self.text_prompt_embeddings, names, prefix=self.prefix, postfix=self.postfix)
        texts, unit = functional.normalize(texts, dim=-1), functional.normalize(x, dim=-1)
        calm = (unit @ texts[0] / TEMPERATURE).masked_fill(~mask, -torch.inf).softmax(-1)
        seen = functional.normalize((calm[:, None] @ unit)[:, 0], dim=-1)
        normal = texts[0] + self.guide(torch.cat([texts[0].expand_as(seen), seen], dim=-1))
        told = torch.cat([functional.normalize(normal, dim=-1)[:, None], texts[1:].expand(len(x), -1, -1)], dim=1)
        fit = unit @ told.transpose(1, 2)
        return Output(logits, fit / TEMPERATURE, {"fit": fit})
