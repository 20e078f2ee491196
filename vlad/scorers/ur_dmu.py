"""UR-DMU, Zhou et al. 2023, "Dual Memory Units with Uncertainty Regulation for Weakly Supervised Video Anomaly Detection".

Attention that is half global and half local, then two memories: one learns what normal snippets look like, one the anomalous ones.
"""

from __future__ import annotations

import torch
from torch import nn

from .head import Classes, EmbedText, HeadConfig, Output, balanced, nearness

INNER = 512


class GlobalLocal(nn.Module):
    """A transformer layer whose heads see all snippets by content, and the near ones by distance."""

    def __init__(self, *, heads: int = 4, head_width: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.heads, self.scale = heads, head_width**-0.5
        self.norm = nn.LayerNorm(INNER)
        self.qkvt = nn.Linear(INNER, 4 * heads * head_width, bias=False)
        self.out = nn.Sequential(nn.Linear(2 * heads * head_width, INNER), nn.Dropout(dropout))
        self.feed = nn.Sequential(
            nn.LayerNorm(INNER), nn.Linear(INNER, INNER), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(INNER, INNER), nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        b, t, _ = x.shape
        parts = self.qkvt(self.norm(x)).view(b, t, 4, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value, local = parts
        dots = query @ key.transpose(-1, -2) * self.scale
        near = nearness(t, like=x).expand(b, t, t)
        if mask is not None:
            dots = dots.masked_fill(~mask[:, None, None], -torch.inf)
            near = near * mask[:, None]
        # Each column by its own sum, as published; the paper's eq. 1 divides rows. Padding far from all snippets has no neighbour.
        near = near / near.sum(-1).clamp(min=torch.finfo(near.dtype).tiny)[:, None]
        seen = torch.cat([dots.softmax(-1) @ value, near[:, None] @ local], dim=-1)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.feed(x)  # type: ignore[no-any-return]


class Memory(nn.Module):
    """`count` vectors that snippets are compared with."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.block = nn.Parameter(torch.empty(count, INNER).uniform_(-(INNER**-0.5), INNER**-0.5))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """How well snippets [B, T, D] fit, float in (0, 1) [B, T], and what the memory says of them [B, T, D]."""
        attention = (x @ self.block.T / INNER**0.5).sigmoid()
        return attention.topk(len(self.block) // 16 + 1, dim=-1).values.mean(-1), attention @ self.block


class UrDmuHead(nn.Module):
    """About 6 million parameters on features of 1,024 numbers.

    extra: embedded [B, T, 512]; fit_normal, fit_anomalous [B, T]; mu, log_variance [B, T, 512] of what the normal memory says, and
    mu_anomalous. options: memory (vectors of each, 60), dropout (.5).
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        dropout, count = float(config.options.get("dropout", 0.5)), int(config.options.get("memory", 60))
        self.embed = nn.Conv1d(config.width, INNER, 3, padding=1)
        self.layers = nn.ModuleList(GlobalLocal(dropout=dropout) for _ in range(2))
        self.anomalous, self.normal = Memory(count), Memory(count)
        self.mu, self.variance = nn.Linear(INNER, INNER), nn.Linear(INNER, INNER)
        self.score = nn.Sequential(nn.Linear(2 * INNER, 128), nn.ReLU(), nn.Linear(128, 1))

    def names(self, classes: Classes, embed_text: EmbedText) -> None:
        """Knows no classes."""

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """In training what the normal memory says of normal bags, the first half of a batch, is drawn from its distribution, as published."""
        x = balanced(values, self.config.clip)
        x = x if mask is None else x * mask[..., None]
        x = self.embed(x.transpose(1, 2)).relu().transpose(1, 2)
        for layer in self.layers:
            x = layer(x, mask)
        (fit_anomalous, said_anomalous), (fit_normal, said_normal) = self.anomalous(x), self.normal(x)
        mu, log_variance, mu_anomalous = self.mu(said_normal), self.variance(said_normal), self.mu(said_anomalous)
        drawn = mu
        if self.training:
            noise = torch.randn_like(mu) * (torch.arange(len(mu), device=mu.device) < (len(mu) + 1) // 2)[:, None, None]
            drawn = mu + noise * (log_variance / 2).exp()
        logits = self.score(torch.cat([x, drawn + mu_anomalous], dim=-1)).squeeze(-1)
        return Output(logits, None, {
            "embedded": x, "fit_normal": fit_normal, "fit_anomalous": fit_anomalous,
            "mu": mu, "drawn": drawn, "log_variance": log_variance, "mu_anomalous": mu_anomalous,
        })  # fmt: skip
