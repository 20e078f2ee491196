"""What is unusual, learnt from normal footage alone: a snippet its neighbours do not foretell, or that lies far from all seen.

Distances: the error of a network that foretells features, from those around them or before them, or rebuilds them (foretelling.py); and, of looks, of what was seen and of movement each
on its own (as Reiss and Hoshen 2022 keep them apart, since one drowns in the other), Mahalanobis' distance in the space of normal features
(as BN-WVAD uses it) and that to the nearest normal snippets (kNN over a coreset, as PatchCore, Roth et al. 2022); and how many times faster
than anything normal the fastest thing is, at its height of the picture. Each is measured by its range on normal clips that nothing else saw,
as theirs are; an unusual thing leaves that range in one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from vlad.errors import SettingsError

from .foretelling import MODELS
from .head import Classes, EmbedText, HeadConfig, Output, balanced

FAR = 0.1  # how steeply the score rises, in ranges of normal footage


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
        deviation = normal.std(
            0
        )  # of what hardly moves a tenth of the usual: the first time it does is not infinitely far
        self.deviation.copy_(deviation.clamp(min=max(float(deviation.mean()) / 10, 1e-6)))
        x = self.standard(normal)
        variance, directions = torch.linalg.eigh(x.T @ x / len(x))  # rising
        kept = self.basis.shape[1]
        self.basis.copy_(directions[:, -kept:])
        self.variance.copy_(variance[-kept:].clamp(min=1e-6))
        self.rest.copy_(variance[:-kept].mean().clamp(min=1e-6) if len(variance) > kept else torch.tensor(1.0))
        x = self.whitened(normal)
        some = torch.randint(len(x), (len(self.bank),), generator=generator)
        self.bank.copy_(x[coreset(x, len(self.bank)) if len(x) > len(self.bank) else some])


class Limits(nn.Module):
    """The highest normal value of each of `width` numbers, those of neighbouring bands of a picture."""

    limit: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("limit", torch.ones(width))

    def distances(self, values: torch.Tensor) -> torch.Tensor:
        """Of [B, T, width]: by how many times the limit of its band the highest is, float [B, T, 1]."""
        return (values / self.limit).amax(-1, keepdim=True)

    @torch.no_grad()
    def learn(self, normal: torch.Tensor) -> None:
        """From normal snippets [N, width]: the mean over five bands of the highest value; no band has less than a fifth of the mean limit."""
        highest = nn.functional.pad(normal.amax(0)[None, None], (2, 2), mode="replicate")
        found = nn.functional.avg_pool1d(highest, 5, 1)[0, 0]
        self.limit.copy_(found.clamp(min=max(float(found.mean()) / 5, 1e-6)))


class NormalityHead(nn.Module):
    """options: motion, seen, speeds (numbers, the last, those before them and those before these, that tell of movement, of what was seen and
    of speeds by height, and form parts of their own; 0: none), space (directions of a part's normal features that are kept, at most its
    width, 64), bank (snippets kept, 1024), near (of these that are asked, 5), model (what is surprised: fill, vae, memory, lstm or transformer, see
    foretelling.py).

    extra: distances [B, T, D], each in ranges of normal footage, the model's error first; errors [B, T] of `hidden` snippets, in training.
    Raises SettingsError for a model that is not known.
    """

    centre: torch.Tensor
    spread: torch.Tensor
    offset: torch.Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        space, bank = int(config.options.get("space", 64)), int(config.options.get("bank", 1024))
        self.near = int(config.options.get("near", 5))
        own = {name: int(config.options.get(name, 0)) for name in ("speeds", "seen", "motion")}
        self.widths = [config.width - sum(own.values()), own["speeds"], own["seen"], own["motion"]]
        self.limits = Limits(own["speeds"])
        self.parts = nn.ModuleList(Density(w, min(space, w), bank) for i, w in enumerate(self.widths) if w and i != 1)
        total = sum(min(space, w) for i, w in enumerate(self.widths) if i != 1)
        columns = [1, *[2] * len(self.parts), *[1] * bool(own["speeds"])]  # distances of each kind; kinds weigh alike
        self.weights = [1 / count / len(columns) for count in columns for _ in range(count)]
        for name, size in (("centre", (sum(columns),)), ("spread", (sum(columns),)), ("offset", ())):
            self.register_buffer(name, torch.ones(size) if name == "spread" else torch.zeros(size))
        model = str(config.options.get("model", "fill"))
        if model not in MODELS:
            raise SettingsError(f"normality: no model {model!r}; choose one of {', '.join(MODELS)}")
        self.foretell = MODELS[model](total)

    def names(self, classes: Classes, embed_text: EmbedText) -> None:
        """Knows no classes."""

    def split(self, values: torch.Tensor) -> tuple[list[tuple[Density, torch.Tensor]], torch.Tensor]:
        """Each part's density and its share of features [..., width]; and the speeds."""
        looks, speeds, *rest = torch.split(balanced(values, self.config.clip), self.widths, dim=-1)
        pieces = [p for p in (looks, *rest) if p.shape[-1]]
        found = [(part, own) for part, own in zip(self.parts, pieces, strict=True) if isinstance(part, Density)]
        return found, speeds

    def whitened(self, values: torch.Tensor) -> torch.Tensor:
        """The parts side by side, each in its own space."""
        return torch.cat([part.whitened(own) for part, own in self.split(values)[0]], dim=-1)

    def distances(self, values: torch.Tensor) -> torch.Tensor:
        """Of snippets [B, T, width], each guessed once: float [B, T, 1 + 2 a part + 1 for speeds], larger is stranger."""
        x, turns = self.whitened(values), self.foretell.turns
        turn = torch.arange(x.shape[1], device=x.device) % turns
        foretold = torch.stack(
            [self.foretell.errors(x, (turn == k).expand(x.shape[:2])) * (turn == k) for k in range(turns)]
        ).sum(0)
        parts, speeds = self.split(values)
        found = [part.distances(own, self.near) for part, own in parts]
        fast = [self.limits.distances(speeds)] if speeds.shape[-1] else []
        return torch.cat([foretold.sqrt()[..., None], *found, *fast], dim=-1)

    def together(self, far: torch.Tensor, *, without_model: bool = False) -> torch.Tensor:
        """The mean over the kinds of distances [..., D], each in its range: [...]. without_model: over all but the first."""
        weights = torch.tensor(self.weights, dtype=far.dtype, device=far.device)
        if without_model:
            weights = weights * torch.tensor([0.0] + [1 / (1 - self.weights[0])] * (len(weights) - 1))
        return far @ weights

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """The mean of the distances, .5 where one in a hundred of held-out normal snippets lies."""
        if self.training:
            x = self.whitened(values)
            hidden = torch.rand(x.shape[:2], device=x.device) < 1 / self.foretell.turns
            return Output(x[..., 0] * 0, None, {"errors": self.foretell.errors(x, hidden), "hidden": hidden})
        far = (self.distances(values) - self.centre) / self.spread
        return Output((self.together(far) - self.offset) / FAR, None, {"distances": far})

    @torch.no_grad()
    def learn_space(self, normal: torch.Tensor, generator: torch.Generator) -> None:
        """Where normal snippets [N, width] lie."""
        parts, speeds = self.split(normal)
        for part, own in parts:
            part.learn(own, generator)
        if speeds.shape[-1]:
            self.limits.learn(speeds)

    @torch.no_grad()
    def learn_scale(self, held_out: Sequence[torch.Tensor]) -> None:
        """Least and range of the distances, and where one in a hundred lies, on normal clips [T, width] the rest never saw."""
        found = torch.cat([self.distances(v[None])[0] for v in held_out])
        self.centre.copy_(found.amin(0))
        self.spread.copy_((found.amax(0) - found.amin(0)).clamp(min=1e-6))
        self.offset.copy_(self.together((found - self.centre) / self.spread).quantile(0.99))


def coreset(x: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of `count` rows of x, each the farthest from those before (Roth et al. 2022): int64 [count]."""
    chosen = torch.zeros(count, dtype=torch.long)
    away = torch.full((len(x),), torch.inf)
    for i in range(1, count):
        away = torch.minimum(away, (x - x[chosen[i - 1]]).square().sum(-1))
        chosen[i] = int(away.argmax())
    return chosen
