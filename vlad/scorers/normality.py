"""What is unusual, learnt from normal footage alone: a snippet its neighbours do not foretell, or that lies far from all seen.

Three distances: the error of a network that fills in masked features from those around them, Mahalanobis' distance in the space of
normal features (as BN-WVAD uses it), and that to the nearest normal snippets (kNN over a coreset, as PatchCore, Roth et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .head import Classes, EmbedText, HeadConfig, Output, balanced

DISTANCES = 3
HIDDEN = 128
FAR = 1.0  # how steeply the score rises, in standard deviations of normal footage


class NormalityHead(nn.Module):
    """options: space (directions of normal features that are kept, at most their width, 64), bank (snippets kept, 1024), near (of these that are asked, 5).

    extra: distances [B, T, 3] in standard deviations of normal footage; errors [B, T] of masked snippets, in training.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    basis: torch.Tensor
    variance: torch.Tensor
    rest: torch.Tensor
    bank: torch.Tensor
    centre: torch.Tensor
    spread: torch.Tensor
    offset: torch.Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        space, bank = int(config.options.get("space", 64)), int(config.options.get("bank", 1024))
        self.near = int(config.options.get("near", 5))
        for name, shape in {
            "mean": (config.width,), "deviation": (config.width,), "basis": (config.width, space), "variance": (space,),
            "rest": (), "bank": (bank, space), "centre": (DISTANCES,), "spread": (DISTANCES,), "offset": (),
        }.items():  # fmt: skip
            self.register_buffer(
                name, torch.zeros(shape) if name in ("mean", "basis", "bank", "centre", "offset") else torch.ones(shape)
            )
        self.token = nn.Parameter(torch.zeros(space))
        self.foretell = nn.Sequential(
            nn.Conv1d(space, HIDDEN, 5, padding=2), nn.GELU(), nn.Conv1d(HIDDEN, HIDDEN, 5, padding=4, dilation=2), nn.GELU(),
            nn.Conv1d(HIDDEN, space, 1),
        )  # fmt: skip

    def names(self, classes: Classes, embed_text: EmbedText) -> None:
        """Knows no classes."""

    def standard(self, values: torch.Tensor) -> torch.Tensor:
        """Features [..., width], each number in standard deviations of normal footage."""
        return (balanced(values, self.config.clip) - self.mean) / self.deviation

    def whitened(self, standard: torch.Tensor) -> torch.Tensor:
        """To [..., space], the directions in which normal features vary most, each with variance 1."""
        return standard @ self.basis / self.variance.sqrt()

    def errors(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """How wrong the guess at each of the `hidden` snippets (bool [B, T]) of x [B, T, space] is: float [B, T]."""
        shown = torch.where(hidden[..., None], self.token, x)
        guess: torch.Tensor = self.foretell(shown.transpose(1, 2)).transpose(1, 2)
        return (guess - x).square().mean(-1)

    def distances(self, standard: torch.Tensor) -> torch.Tensor:
        """Of snippets [B, T, width], each hidden once in turns of four: float [B, T, 3], larger is stranger.

        Mahalanobis' distance takes the directions that are not kept as of one variance (probabilistic PCA, Tipping and Bishop 1999).
        """
        x = self.whitened(standard)
        turn = torch.arange(x.shape[1], device=x.device) % 4
        foretold = torch.stack([self.errors(x, (turn == k).expand(x.shape[:2])) * (turn == k) for k in range(4)]).sum(0)
        outside = standard.square().sum(-1) - (standard @ self.basis).square().sum(-1)
        away = x.square().sum(-1) + outside.clamp(min=0) / self.rest
        nearest = torch.cdist(x, self.bank.expand(len(x), -1, -1)).topk(self.near, largest=False).values.mean(-1)
        return torch.stack([foretold.sqrt(), away.sqrt(), nearest], dim=-1)

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """The mean of the three distances, .5 where one in a hundred of held-out normal snippets lies."""
        standard = self.standard(values)
        if self.training:
            x = self.whitened(standard)
            hidden = torch.rand(x.shape[:2], device=x.device) < 0.25
            return Output(x[..., 0] * 0, None, {"errors": self.errors(x, hidden), "hidden": hidden})
        far = (self.distances(standard) - self.centre) / self.spread
        return Output((far.mean(-1) - self.offset) / FAR, None, {"distances": far})

    @torch.no_grad()
    def learn_space(self, normal: torch.Tensor, generator: torch.Generator) -> None:
        """Mean, covariance and bank from normal snippets [N, width]."""
        x = balanced(normal, self.config.clip)
        self.mean.copy_(x.mean(0))
        self.deviation.copy_(x.std(0).clamp(min=1e-6))
        x = self.standard(normal)
        variance, directions = torch.linalg.eigh(x.T @ x / len(x))  # rising
        kept = self.basis.shape[1]
        self.basis.copy_(directions[:, -kept:])
        self.variance.copy_(variance[-kept:].clamp(min=1e-6))
        self.rest.copy_(variance[:-kept].mean().clamp(min=1e-6) if len(variance) > kept else torch.tensor(1.0))
        x = self.whitened(x)
        some = torch.randint(len(x), (len(self.bank),), generator=generator)
        self.bank.copy_(x[coreset(x, len(self.bank)) if len(x) > len(self.bank) else some])

    @torch.no_grad()
    def learn_scale(self, held_out: Sequence[torch.Tensor]) -> None:
        """Centre and spread of the distances, and where one in a hundred lies, on normal clips [T, width] the rest never saw."""
        found = torch.cat([self.distances(self.standard(v)[None])[0] for v in held_out])
        self.centre.copy_(found.mean(0))
        self.spread.copy_(found.std(0).clamp(min=1e-6))
        self.offset.copy_(((found - self.centre) / self.spread).mean(-1).quantile(0.99))


def coreset(x: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of `count` rows of x, each the farthest from those before (Roth et al. 2022): int64 [count]."""
    chosen = torch.zeros(count, dtype=torch.long)
    away = torch.full((len(x),), torch.inf)
    for i in range(1, count):
        away = torch.minimum(away, (x - x[chosen[i - 1]]).square().sum(-1))
        chosen[i] = int(away.argmax())
    return chosen
