"""VadCLIP, Wu et al. 2024, "VadCLIP: Adapting Vision-Language Models for Weakly Supervised Video Anomaly Detection".

A transformer over windows and two graphs; one branch says whether, the other which class, by the class names behind learnt prompt words.
Modules bear the names of the published weights, so that `vlad import vadclip FILE.pth` can read them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import open_clip
import torch
from open_clip.transformer import QuickGELU, Transformer
from torch import nn
from torch.nn import functional

from vlad.weights import nano_part

from .head import Classes, EmbedText, GraphConvolution, HeadConfig, Output, balanced, nearness, similarity

NORMAL = "normal"
TEMPERATURE = 0.07
DEFAULTS = {"layers": 2, "heads": 1, "window": 8, "prefix": 10, "postfix": 10}  # UCF-Crime's
CLIP_B16 = {
    "context": 77, "vocabulary": 49408, "width": 512, "layers": 12, "heads": 8, "embed": 512, "quick": True,
    "tokenizer": "ViT-B-16",
}  # fmt: skip


class TextTower(nn.Module):
    """CLIP's frozen text tower, from word embeddings that may be learnt. text: its shape, as `text_shape` gives."""

    def __init__(self, text: Mapping[str, Any]) -> None:
        super().__init__()
        width, activation = text["width"], QuickGELU if text["quick"] else nn.GELU
        self.token_embedding = nn.Embedding(text["vocabulary"], width)
        self.positional_embedding = nn.Parameter(torch.zeros(text["context"], width))
        self.transformer: Any = Transformer(width, text["layers"], text["heads"], act_layer=activation)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, text["embed"]))
        mask = torch.full((text["context"], text["context"]), -torch.inf).triu_(1)
        self.register_buffer("mask", mask, persistent=False)
        self.requires_grad_(False)

    def forward(self, embedded: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """Word embeddings [C, L, width] whose last word is at `ends` [C]: features [C, embed], not normalised."""
        x = self.transformer(embedded + self.positional_embedding, attn_mask=self.mask)
        return self.ln_final(x)[torch.arange(len(x)), ends] @ self.text_projection  # type: ignore[no-any-return]


def text_shape(model: Any, tokenizer: str) -> dict[str, Any]:
    """Shape of the text tower of an open_clip model. tokenizer: open_clip's name of it, or nano."""
    block = model.transformer.resblocks[0]
    context, width = model.positional_embedding.shape
    return {
        "context": int(context), "vocabulary": int(model.vocab_size), "width": int(width),
        "layers": len(model.transformer.resblocks), "heads": int(block.attn.num_heads),
        "embed": int(model.text_projection.shape[1]), "quick": isinstance(block.mlp.gelu, QuickGELU), "tokenizer": tokenizer,
    }  # fmt: skip


def tokens_of(labels: Sequence[str], text: Mapping[str, Any]) -> torch.Tensor:
    """Tokens int64 [1 + C, L] of normal and the class names, for a text tower of that shape."""
    name = f"local-dir:{nano_part('drawn')}" if text["tokenizer"] == "nano" else text["tokenizer"]
    found: torch.Tensor = open_clip.get_tokenizer(name)([NORMAL, *labels], context_length=text["context"])
    return found


def prompted(
    tower: TextTower, learnt: nn.Embedding, tokens: torch.Tensor, *, prefix: int, postfix: int
) -> torch.Tensor:
    """Features [1 + C, embed] of class names with `prefix` learnt words before and `postfix` behind them.

    A name that leaves too little room for the words loses its own last ones.
    """
    ends = tokens.argmax(dim=-1)  # the end of a text has CLIP's highest token
    words = tower.token_embedding(tokens)
    rows, context = [], tokens.shape[1]
    for row, own, end in zip(words, tokens, ends.tolist(), strict=True):
        inside = min(end, context - prefix - postfix - 1) - 1  # words between begin and end
        stop = prefix + 1 + inside + postfix
        last = tower.token_embedding(own[end])[None]
        rows.append(torch.cat([
            row[:1], learnt.weight[1 : prefix + 1], row[1 : inside + 1], learnt.weight[stop - postfix : stop], last,
            learnt.weight[stop + 1 :],
        ]))  # fmt: skip
    inside = ends.clamp(max=context - prefix - postfix - 1) - 1
    return tower(torch.stack(rows), prefix + 1 + inside + postfix)  # type: ignore[no-any-return]


def mlp(width: int) -> nn.Sequential:
    """Four times as wide inside, as in CLIP."""
    return nn.Sequential(OrderedDict([
        ("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU()), ("c_proj", nn.Linear(4 * width, width)),
    ]))  # fmt: skip


class VadClipHead(nn.Module):
    """12.64 million trained parameters with UCF-Crime's settings on CLIP ViT-B/16, 9.49 with XD-Violence's.

    extra: names [1 + C, clip]. config.window: snippets it sees at once (256). options: layers, heads, window (of attention), prefix,
    postfix (learnt words), text (shape of the text tower). Features that are wider than their CLIP part come in through one more layer.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        shape = DEFAULTS | dict(config.options)
        text, width = shape.get("text", CLIP_B16), config.clip
        self.prefix, self.postfix, self.text = shape["prefix"], shape["postfix"], text
        self.temporal: Any = Transformer(width, shape["layers"], shape["heads"], act_layer=QuickGELU)
        half = width // 2
        self.gc1, self.gc2 = GraphConvolution(width, half), GraphConvolution(half, half)
        self.gc3, self.gc4 = GraphConvolution(width, half), GraphConvolution(half, half)
        self.disAdj = nn.Module()
        self.disAdj.sigma = nn.Parameter(torch.tensor([0.1]))  # published with the weights, used nowhere
        self.linear, self.gelu = nn.Linear(width, width), QuickGELU()
        self.mlp1, self.mlp2, self.classifier = mlp(width), mlp(width), nn.Linear(width, 1)
        self.clipmodel = TextTower(text)
        self.frame_position_embeddings = nn.Embedding(config.window, width)
        self.text_prompt_embeddings = nn.Embedding(text["context"], text["width"])
        nn.init.normal_(self.frame_position_embeddings.weight, std=0.01)
        nn.init.normal_(self.text_prompt_embeddings.weight, std=0.01)
        self.inward = nn.Linear(config.width, width) if config.width != width else None
        place = torch.arange(config.window) // shape["window"]
        place = place.clamp(max=config.window // shape["window"] - 1)  # the last window takes what is over
        blocked = torch.zeros(config.window, config.window).masked_fill_(place[:, None] != place[None], -torch.inf)
        self.register_buffer("attention_mask", blocked, persistent=False)

    def names(self, classes: Classes, embed_text: EmbedText) -> torch.Tensor:
        """Tokens [1 + C, L], normal first."""
        return tokens_of(tuple(classes), self.text)

    def _video(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """float [B, window, width] and mask to [B, window, clip]; as published, what lies behind a bag's end is seen by the rest."""
        x = self.temporal(values + self.frame_position_embeddings.weight, attn_mask=self.attention_mask)
        like, near = similarity(x, mask), nearness(x.shape[1], like=x)[None]
        by_content = self.gelu(self.gc2(self.gelu(self.gc1(x, like)), like))
        by_time = self.gelu(self.gc4(self.gelu(self.gc3(x, near)), near))
        return self.linear(torch.cat([by_content, by_time], dim=2))  # type: ignore[no-any-return]

    def forward(
        self, values: torch.Tensor, mask: torch.Tensor | None = None, names: torch.Tensor | None = None
    ) -> Output:
        """At most `config.window` snippets a bag."""
        b, t, _ = values.shape
        window = self.config.window
        mask = torch.ones(b, t, dtype=torch.bool, device=values.device) if mask is None else mask
        x = balanced(values, self.config.clip)
        x = x if self.inward is None else x[..., : self.config.clip] + self.inward(x)
        x = functional.pad(x * mask[..., None], (0, 0, 0, window - t))
        x = self._video(x, functional.pad(mask, (0, window - t)))
        logits = self.classifier(x + self.mlp2(x))
        if names is None:
            return Output(logits[:, :t, 0])
        text = prompted(self.clipmodel, self.text_prompt_embeddings, names, prefix=self.prefix, postfix=self.postfix)
        seen = functional.normalize(logits.transpose(1, 2) @ x, dim=-1)
        told = text[None] + seen
        told = functional.normalize(told + self.mlp1(told), dim=-1)
        classes = functional.normalize(x, dim=-1) @ told.transpose(1, 2) / TEMPERATURE
        return Output(logits[:, :t, 0], classes[:, :t], {"names": text})
