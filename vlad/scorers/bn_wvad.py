"""BN-WVAD, Zhou et al. 2024, "BatchNorm-based Weakly Supervised Video Anomaly Detection".

How far a snippet lies from the running mean of a batch norm, which mostly saw normal snippets, tells how anomalous it is.
"""

from __future__ import annotations

import torch
from torch import nn

from .head import Classes, EmbedText, HeadConfig, Output, balanced
from .ur_dmu import INNER, GlobalLocal

TINY = 1e-12


class BnWvadHead(nn.Module):
    """About 5.8 million parameters on features of 1,024 numbers.

    A score is the sum of both distances times the classifier's, 0 to infinity; its logit is its logarithm, which keeps the order. extra:
    features_i [B, T, C_i] before each batch norm, distance_i [B, T], mean_i and variance_i [C_i], and certain [B, T], the classifier's
    score. options: ratios ([16, 32], of 512 channels).
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        first, second = (INNER // int(r) for r in config.options.get("ratios", (16, 32)))
        self.embed = nn.Conv1d(config.width, INNER, 3, padding=1)
        self.layers = nn.ModuleList(GlobalLocal(dropout=0.0) for _ in range(2))
        self.convs = nn.ModuleList([nn.Conv1d(INNER, first, 1), nn.Conv1d(first, second, 1)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(first), nn.BatchNorm1d(second)])
        self.score = nn.Conv1d(second, 1, 1)

    def names(self, classes: Classes, embed_text: EmbedText) -> None:
        """Knows no classes."""

    def relearn(self, values: torch.Tensor) -> None:
        """Means and variances of another scene's normal snippets, float32 [T, width], in place of those of training."""
        self.eval()
        with torch.no_grad():
            x = self._embedded(values[None], None)
            for conv, norm in zip(self.convs, self.norms, strict=True):
                x = conv(x)
                norm.running_mean, norm.running_var = x[0].mean(1), x[0].var(1)
                x = norm(x).relu()

    def _embedded(self, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = balanced(values, self.config.clip)
        x = x if mask is None else x * mask[..., None]
        x = self.embed(x.transpose(1, 2)).relu().transpose(1, 2)
        for layer in self.layers:
            x = layer(x, mask)
        return x.transpose(1, 2)  # type: ignore[no-any-return]

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """In training, batch norms see all snippets of a batch, padding too, as published: bags are stretched to one length."""
        x, total = self._embedded(values, mask), torch.zeros((), device=values.device)
        extra: dict[str, torch.Tensor] = {}
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            features = conv(x)
            x = norm(features).relu()
            mean, variance = (getattr(norm, f"running_{of}").clone() for of in ("mean", "var"))
            away = ((features - mean[:, None]).square() / variance[:, None]).sum(1).clamp(min=TINY).sqrt()
            total = total + away
            extra |= {
                f"features_{i}": features.transpose(1, 2),
                f"distance_{i}": away,
                f"mean_{i}": mean,
                f"variance_{i}": variance,
            }
        certain = self.score(x)[:, 0].sigmoid()
        return Output((total * certain).clamp(min=TINY).log(), None, {**extra, "certain": certain})
