"""Ways to be surprised by a snippet, learnt from normal footage alone: networks whose error is large where nothing like it was seen.

In: snippets in the spaces of normal features, float32 [B, T, N]. Out: an error each, [B, T]. All of them in MODELS; `normality` takes one beside its distances.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

HIDDEN = 128
SLOTS = 256  # of the memory
HEADS, REACH = 4, 64  # of the transformer


class Foreteller(nn.Module):
    """turns: in how many parts the snippets of a clip are hidden one after another, so that each is guessed once; 1: none is hidden."""

    turns = 1

    def errors(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Mean squared error [B, T] of each of the `hidden` (bool [B, T]) of x [B, T, N]; in training with what the method adds to it."""
        raise NotImplementedError


def mlp(width: int, out: int) -> nn.Sequential:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, out))


class Fill(Foreteller):
    """Hidden snippets from those around them, by convolutions: masked prediction (He et al. 2022)."""

    turns = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(width))
        self.guess = nn.Sequential(
            nn.Conv1d(width, HIDDEN, 5, padding=2), nn.GELU(), nn.Conv1d(HIDDEN, HIDDEN, 5, padding=4, dilation=2), nn.GELU(),
            nn.Conv1d(HIDDEN, width, 1),
        )  # fmt: skip

    def errors(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """See `Foreteller`."""
        shown = torch.where(hidden[..., None], self.token, x)
        guess: torch.Tensor = self.guess(shown.transpose(1, 2)).transpose(1, 2)
        return (guess - x).square().mean(-1)


class Vae(Foreteller):
    """A variational autoencoder of single snippets (Kingma and Welling 2014, eq. 10): what was never seen is not rebuilt. In training the divergence is added."""

    turns = 1

    def __init__(self, width: int, latent: int = 16) -> None:
        super().__init__()
        self.read, self.write = mlp(width, 2 * latent), mlp(latent, width)

    def errors(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """See `Foreteller`."""
        mean, spread = self.read(x).chunk(2, dim=-1)
        spread = spread.clamp(-10, 10)
        latent = mean + torch.randn_like(mean) * (spread / 2).exp() if self.training else mean
        wrong: torch.Tensor = (self.write(latent) - x).square().mean(-1)
        if not self.training:
            return wrong
        divergence: torch.Tensor = (mean.square() + spread.exp() - 1 - spread).sum(-1) / 2
        return wrong + divergence / x.shape[-1]


class Memory(Foreteller):
    """An autoencoder whose code is rebuilt out of a few kept ones (MemAE, Gong et al. 2019, eqs. 3 to 7), so that it can't rebuild what is new."""

    turns = 1

    def __init__(self, width: int, latent: int = 32) -> None:
        super().__init__()
        self.read, self.write = mlp(width, latent), mlp(latent, width)
        self.slots = nn.Parameter(torch.randn(SLOTS, latent))

    def errors(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """See `Foreteller`."""
        alike = functional.normalize(self.read(x), dim=-1) @ functional.normalize(self.slots, dim=-1).T
        weight = (8 * alike).softmax(-1)
        least = 1 / SLOTS
        weight = (weight - least).relu() * weight / ((weight - least).abs() + 1e-12)  # hard shrinkage
        weight = functional.normalize(weight, p=1, dim=-1)
        wrong: torch.Tensor = (self.write(weight @ self.slots) - x).square().mean(-1)
        if not self.training:
            return wrong
        return wrong - 2e-4 * (weight * (weight + 1e-12).log()).sum(-1)


def before(x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """x [B, T, N] moved on by one snippet, behind `start` [N]."""
    return torch.cat([start.expand(len(x), 1, -1), x[:, :-1]], dim=1)


class Lstm(Foreteller):
    """Each snippet from those before it, by an LSTM (Hochreiter and Schmidhuber 1997; as Malhotra et al. 2015 find anomalies). The first from nothing."""

    turns = 1

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(width))
        self.over, self.guess = nn.LSTM(width, HIDDEN, batch_first=True), nn.Linear(HIDDEN, width)

    def errors(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """See `Foreteller`."""
        found: torch.Tensor = (self.guess(self.over(before(x, self.start))[0]) - x).square().mean(-1)
        return found


class Block(nn.Module):
    """Attention and two layers, norms first. torch's own encoder layer gives NaN for such a mask where no gradient is wanted (2.14)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.qkv, self.out = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.feed = mlp(HIDDEN, HIDDEN)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x [B, T, HIDDEN]; mask [HEADS, T, T] is added to what the heads think of each pair."""
        query, key, value = self.qkv(self.first(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.feed(self.second(x))  # type: ignore[no-any-return]


class Transformer(Foreteller):
    """The same by a small causal transformer (Vaswani et al. 2017), which sees REACH snippets back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(width))
        self.read, self.guess = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, width)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.near = nn.Parameter(torch.zeros(HEADS, REACH))  # what each head thinks of a distance

    def errors(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """See `Foreteller`."""
        at = torch.arange(x.shape[1], device=x.device)
        back = at[:, None] - at
        mask = self.near[:, back.clamp(0, REACH - 1)].masked_fill((back < 0) | (back >= REACH), -torch.inf)
        seen = self.read(before(x, self.start))
        for block in self.blocks:
            seen = block(seen, mask)
        found: torch.Tensor = (self.guess(seen) - x).square().mean(-1)
        return found


MODELS: dict[str, Callable[[int], Foreteller]] = {
    "fill": Fill,
    "vae": Vae,
    "memory": Memory,
    "lstm": Lstm,
    "transformer": Transformer,
}
