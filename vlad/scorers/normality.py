"""What is unusual, learnt from normal footage alone: a snippet its neighbours do not foretell, or that lies far from all seen.

Distances: the error of a network that fills in masked features from those around them; and, of looks and of movement each on its own (as
Reiss and Hoshen 2022 keep them apart, since one drowns in the other), Mahalanobis' distance in the space of normal features (as BN-WVAD
uses it) and that to the nearest normal snippets (kNN over a coreset, as PatchCore, Roth et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .head import Classes, EmbedText, HeadConfig, Output, balanced

HIDDEN = 128
FAR = 1.0  # how steeply the score rises, in standard deviations of normal footage


class Density(nn.Module):
    """Where normal features [width] lie: their mean and covariance in the `space` directions of most variance, and `bank` of them."""

    mean: torch.Tensor
    deviation: torch.Tensor
    basis: torch.Tensor
    variance: torch.Tensor
    rest: torch.Tensor
    bank: torch.Tensor

    def __init__(self, width: int, space: int, bank: int) -> None:
        super().__init__()
        for name, shape in {
            "mean": (width,), "deviation": (width,), "basis": (width, space), "variance": (space,), "rest": (), "bank": (bank, space),
        }.items():  # fmt: skip
            self.register_buffer(name, torch.zeros(shape) if name in ("mean", "basis", "bank") else torch.ones(shape))

    def standard(self, values: torch.Tensor) -> torch.Tensor:
        """[..., width], each number in standard deviations of normal footage."""
        return (values - self.mean) / self.deviation

    def whitened(self, values: torch.Tensor) -> torch.Tensor:
        """[..., width] to [..., space], the directions in which normal features vary most, each with variance 1."""
        return self.standard(values) @ self.basis / self.variance.sqrt()

    def distances(self, values: torch.Tensor, near: int) -> torch.Tensor:
        """Of [B, T, width]: Mahalanobis', and to the `near` nearest of the bank, float [B, T, 2].

        The first takes the directions that are not kept as of one variance (probabilistic PCA, Tipping and Bishop 1999).
        """
        standard, x = self.standard(values), self.whitened(values)
        outside = standard.square().sum(-1) - (standard @ self.basis).square().sum(-1)
        away = x.square().sum(-1) + outside.clamp(min=0) / self.rest
        nearest = torch.cdist(x, self.bank.expand(len(x), -1, -1)).topk(near, largest=False).values.mean(-1)
        return torch.stack([away.sqrt(), nearest], dim=-1)

    @torch.no_grad()
    def learn(self, normal: torch.Tensor, generator: torch.Generator) -> None:
        """From normal snippets [N, width]."""
        self.mean.copy_(normal.mean(0))
        self.deviation.copy_(normal.std(0).clamp(min=1e-6))
        x = self.standard(normal)
        variance, directions = torch.linalg.eigh(x.T @ x / len(x))  # rising
        kept = self.basis.shape[1]
        self.basis.copy_(directions[:, -kept:])
        self.variance.copy_(variance[-kept:].clamp(min=1e-6))
        self.rest.copy_(variance[:-kept].mean().clamp(min=1e-6) if len(variance) > kept else torch.tensor(1.0))
        x = self.whitened(normal)
        some = torch.randint(len(x), (len(self.bank),), generator=generator)
        self.bank.copy_(x[coreset(x, len(self.bank)) if len(x) > len(self.bank) else some])


class NormalityHead(nn.Module):
    """options: motion (numbers, the last, that tell of movement and form a part of their own; 0: none), space (directions of a part's
    normal features that are kept, at most its width, 64), bank (snippets kept, 1024), near (of these that are asked, 5).

    extra: distances [B, T, D] in standard deviations of normal footage; errors [B, T] of masked snippets, in training.
    """

    centre: torch.Tensor
    spread: torch.Tensor
    offset: torch.Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        space, bank = int(config.options.get("space", 64)), int(config.options.get("bank", 1024))
        self.near, motion = int(config.options.get("near", 5)), int(config.options.get("motion", 0))
        self.widths = [config.width - motion, motion] if motion else [config.width]
        self.parts = nn.ModuleList(Density(width, min(space, width), bank) for width in self.widths)
        total = sum(min(space, width) for width in self.widths)
        for name, size in (
            ("centre", (1 + 2 * len(self.parts),)),
            ("spread", (1 + 2 * len(self.parts),)),
            ("offset", ()),
        ):
            self.register_buffer(name, torch.ones(size) if name == "spread" else torch.zeros(size))
        self.token = nn.Parameter(torch.zeros(total))
        self.foretell = nn.Sequential(
            nn.Conv1d(total, HIDDEN, 5, padding=2), nn.GELU(), nn.Conv1d(HIDDEN, HIDDEN, 5, padding=4, dilation=2), nn.GELU(),
            nn.Conv1d(HIDDEN, total, 1),
        )  # fmt: skip

    def names(self, classes: Classes, embed_text: EmbedText) -> None:
        """Knows no classes."""

    def split(self, values: torch.Tensor) -> list[tuple[Density, torch.Tensor]]:
        """Each part's density and its share of features [..., width]."""
        pieces = torch.split(balanced(values, self.config.clip), self.widths, dim=-1)
        return [(part, own) for part, own in zip(self.parts, pieces, strict=True) if isinstance(part, Density)]

    def whitened(self, values: torch.Tensor) -> torch.Tensor:
        """The parts side by side, each in its own space."""
        return torch.cat([part.whitened(own) for part, own in self.split(values)], dim=-1)

    def errors(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """How wrong the guess at each of the `hidden` snippets (bool [B, T]) of x [B, T, total space] is: float [B, T]."""
        shown = torch.where(hidden[..., None], self.token, x)
        guess: torch.Tensor = self.foretell(shown.transpose(1, 2)).transpose(1, 2)
        return (guess - x).square().mean(-1)

    def distances(self, values: torch.Tensor) -> torch.Tensor:
        """Of snippets [B, T, width], each hidden once in turns of four: float [B, T, 1 + 2 a part], larger is stranger."""
        x = self.whitened(values)
        turn = torch.arange(x.shape[1], device=x.device) % 4
        foretold = torch.stack([self.errors(x, (turn == k).expand(x.shape[:2])) * (turn == k) for k in range(4)]).sum(0)
        found = [part.distances(own, self.near) for part, own in self.split(values)]
        return torch.cat([foretold.sqrt()[..., None], *found], dim=-1)

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """The mean of the distances, .5 where one in a hundred of held-out normal snippets lies."""
        if self.training:
            x = self.whitened(values)
            hidden = torch.rand(x.shape[:2], device=x.device) < 0.25
            return Output(x[..., 0] * 0, None, {"errors": self.errors(x, hidden), "hidden": hidden})
        far = (self.distances(values) - self.centre) / self.spread
        return Output((far.mean(-1) - self.offset) / FAR, None, {"distances": far})

    @torch.no_grad()
    def learn_space(self, normal: torch.Tensor, generator: torch.Generator) -> None:
        """Where normal snippets [N, width] lie."""
        for part, own in self.split(normal):
            part.learn(own, generator)

    @torch.no_grad()
    def learn_scale(self, held_out: Sequence[torch.Tensor]) -> None:
        """Centre and spread of the distances, and where one in a hundred lies, on normal clips [T, width] the rest never saw."""
        found = torch.cat([self.distances(v[None])[0] for v in held_out])
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
