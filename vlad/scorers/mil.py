"""nano's head: a temporal one with a class branch aligned to CLIP's text embeddings, and beside it a plain one for real footage.

Trained with one label a video (Sultani et al. 2018; the top-k bag of Wu et al. 2024, VadCLIP). Class names are words: their CLIP text
embeddings choose among classes, so a user may change them without training. With the option `plain` two experts share the work (Jacobs et
al. 1991): a network learnt the rendered world, where there is truth enough; a linear function, held close to what is known without
learning (how much the inner features change), learnt real footage, of which there is little; a gate tells the two worlds apart by looks.
"""

from __future__ import annotations

import torch
from torch import nn

from vlad.encoder import drawn_words

from .head import Classes, EmbedText, HeadConfig, Output, balanced, embedded

BLAZE, HOT = 0.24, 30.0  # likeness to fire from which it speaks for an event, and how loudly


class Plain(nn.Module):
    """A linear expert. width: of a feature; clip: of its embedding; change: (first, end) of the numbers that tell of change; felled: the place of
    the number that tells of a fall, -1 for none."""

    change: torch.Tensor

    def __init__(self, width: int, clip: int, change: tuple[int, int], felled: int) -> None:
        super().__init__()
        self.span, self.place = change, felled
        self.score = nn.Linear(width, 1)
        self.amount = nn.Parameter(
            torch.zeros(())
        )  # weight of the log of the mean change: what is known without learning
        self.fall = nn.Parameter(torch.zeros(()))  # weight of a fall beyond doubt
        self.blaze = nn.Parameter(
            torch.zeros(clip)
        )  # from everyday scenes to fire, in the embedding's space: words alone, no clip
        self.direction = nn.Linear(width, clip)
        self.gate = nn.Linear(clip, 1)  # of the embedding: above 0 where it looks like the rendered world
        for layer in (self.score, self.direction, self.gate):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def logits(self, values: torch.Tensor) -> torch.Tensor:
        """Of raw features [..., width]: [...]."""
        felled = 0 if self.place < 0 else self.fall * (values[..., self.place] - 0.4).clamp(min=0)
        return self.score(values).squeeze(-1) + self.amount * self.much(values) + felled + self.fire(values)  # type: ignore[no-any-return]

    def fire(self, values: torch.Tensor) -> torch.Tensor:
        """How loudly features [..., width] speak of fire, 0 for most: [...]."""
        return HOT * (values[..., : len(self.blaze)] @ self.blaze - BLAZE).clamp(min=0)

    def towards(self, values: torch.Tensor) -> torch.Tensor:
        """Where in the space of class names features [..., width] point, beside their embedding: [..., clip]."""
        hot = self.blaze / self.blaze.norm().clamp(min=1e-6)
        return self.direction(values) + self.fire(values)[..., None] * hot  # type: ignore[no-any-return]

    def much(self, values: torch.Tensor) -> torch.Tensor:
        """How much changes in features [..., width], without learning: the log of the mean change [...]."""
        return (values[..., self.span[0] : self.span[1]].mean(-1) + 0.02).log()

    def rendered(self, embedding: torch.Tensor) -> torch.Tensor:
        """How much embeddings [..., clip] look like the rendered world, in (0, 1): [...]."""
        return self.gate(embedding).squeeze(-1).sigmoid()  # type: ignore[no-any-return]


class MilHead(nn.Module):
    """options: width (hidden, 128), kernel (snippets that one layer sees, 5), dropout (.4), plain (a second expert: `change` and `felled` of
    `Plain`, and `drawn`, (first, end, space): the numbers of the eye for rendered scenes, all that the network looks at beside movement,
    the last `motion` ones; none)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        shape = {"width": 128, "kernel": 5, "dropout": 0.4} | dict(config.options)
        width, kernel, pad, dropout = shape["width"], shape["kernel"], shape["kernel"] // 2, shape["dropout"]
        plain = shape.get("plain")
        self.plain = Plain(config.width, config.clip, tuple(plain["change"]), plain["felled"]) if plain else None
        self.drawn = tuple(plain["drawn"]) if plain else (0, config.width, config.clip)
        self.motion = int(plain["motion"]) if plain else 0
        self.inward = nn.Sequential(
            nn.Linear(self.drawn[1] - self.drawn[0] + self.motion, width), nn.GELU(), nn.Dropout(dropout)
        )
        self.near = nn.Conv1d(width, width, kernel, padding=pad)
        self.wide = nn.Conv1d(width, width, kernel, padding=2 * pad, dilation=2)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.score = nn.Linear(width, 1)
        self.direction = nn.Linear(width, self.drawn[2])
        self.temperature = nn.Parameter(torch.tensor(2.3))  # log of the scale of the cosine
        nn.init.constant_(self.score.bias, -2.0)

    def names(self, classes: Classes, embed_text: EmbedText) -> torch.Tensor:
        """Embedded class names [C, clip]; with a second expert [C, clip + space], in both eyes' spaces."""
        found = embedded(classes, embed_text)
        return found if self.plain is None else torch.cat([found, embedded(classes, drawn_words())], dim=-1)

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """A clip that is shorter than its bag scores as if it were alone."""
        first, end, space = self.drawn
        own = values if self.plain is None else torch.cat([values[..., first:end], values[..., -self.motion :]], dim=-1)
        x = self.inward(balanced(own, space))
        x = x if mask is None else x * mask[..., None]
        y = x.transpose(1, 2)
        y = nn.functional.gelu(self.near(y)) + nn.functional.gelu(self.wide(y))
        x = self.drop(self.norm(x + y.transpose(1, 2)))
        direction, logits = (
            nn.functional.normalize(own[..., :space] + self.direction(x), dim=-1),
            self.score(x).squeeze(-1),
        )
        scale = self.temperature.exp()
        classes = None if names is None else scale * direction @ names[:, -space:].T
        if self.plain is None:
            return Output(logits, classes)
        embedding = values[..., : self.config.clip]
        rendered = self.plain.rendered(embedding)
        logits = rendered * logits + (1 - rendered) * self.plain.logits(values)
        if classes is not None and names is not None:
            real = (
                nn.functional.normalize(embedding + self.plain.towards(values), dim=-1) @ names[:, : self.config.clip].T
            )
            classes = rendered[..., None] * classes + (1 - rendered[..., None]) * scale * real
        return Output(logits, classes)

    def familiar(self, values: torch.Tensor) -> torch.Tensor | None:
        """How much snippets [T, width] look like the rendered world, in (0, 1): [T]; None without the second expert."""
        return None if self.plain is None else self.plain.rendered(values[..., : self.config.clip])
