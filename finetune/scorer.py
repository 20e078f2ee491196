"""The MIL head: one label a video in, a head out.

In: bags of snippet features, each with a video's label (and class). Out: a folder for `vlad.scorers.mil`. The losses: binary
cross-entropy on the mean of the top T // 16 + 1 logits of a bag (Wu et al. 2024, VadCLIP), smoothness and sparsity (Sultani et al.
2018), and cross-entropy of the pooled class logits of anomalous bags. The best epoch is chosen on held-out training bags.
"""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from sklearn.metrics import roc_auc_score
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from vlad.scorers.mil import EmbedText, MilConfig, MilHead, sentences

from .recipe import MilRecipe


@dataclass(frozen=True)
class Bag:
    """One video: features float32 [T, D] and its class name, '' for a normal one."""

    values: npt.NDArray[np.float32]
    label: str


def bags_loss(
    head: MilHead, bags: list[Bag], names: torch.Tensor, labels: tuple[str, ...], recipe: MilRecipe
) -> torch.Tensor:
    """The mean loss of some videos."""
    values = pad_sequence([torch.from_numpy(b.values) for b in bags], batch_first=True)
    lengths = torch.tensor([len(b.values) for b in bags])
    mask = torch.arange(values.shape[1])[None] < lengths[:, None]
    truth = torch.tensor([float(bool(b.label)) for b in bags])
    shift = recipe.drift * values.std(dim=(0, 1)) * torch.randn(len(bags), 1, values.shape[2])
    logits, direction = head(values + shift + recipe.noise * torch.randn_like(values), mask)
    order = logits.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True)
    top = torch.arange(values.shape[1])[None] < (lengths // 16 + 1)[:, None]  # the first of `order`
    share = top / top.sum(1, keepdim=True)
    bag_logits = (logits.gather(1, order).masked_fill(~top, 0) * share).sum(1)
    scores = logits.sigmoid() * mask
    smooth = (scores.diff(dim=1).square() * mask[:, 1:]).sum(1)
    loss = functional.binary_cross_entropy_with_logits(bag_logits, truth)
    loss = loss + (recipe.smooth * smooth + recipe.sparse * scores.sum(1)).mean()
    chosen = direction.gather(1, order[..., None].expand_as(direction))
    classes = (head.class_logits(chosen, names) * share[..., None]).sum(1)
    named = torch.tensor([labels.index(b.label) if b.label else -100 for b in bags])
    return torch.as_tensor(loss + 0.5 * functional.cross_entropy(classes, named) * truth.mean())


def bag_auc(head: MilHead, bags: list[Bag]) -> float:
    """ROC-AUC of bag scores on weak labels: the selection measure."""
    head.eval()
    with torch.inference_mode():
        found = [head(torch.from_numpy(b.values)[None])[0][0] for b in bags]
        scores = [float(x.topk(len(x) // 16 + 1).values.mean()) for x in found]
    return float(roc_auc_score([bool(b.label) for b in bags], scores))


def train_mil(
    train: list[Bag], select: list[Bag], real: list[Bag], *, config: MilConfig, embed_text: EmbedText, recipe: MilRecipe
) -> tuple[MilHead, list[dict[str, Any]]]:
    """The head of the best epoch on `select`, and a log line an epoch.

    train, select: simulated bags of both kinds. real: bags of real clips, or []; `recipe.real` of each step's bags come from there.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    head, names = MilHead(config), torch.from_numpy(embed_text(sentences(config.labels)))
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    kinds = [[[b for b in bags if bool(b.label) == wanted] for bags in (train, real)] for wanted in (False, True)]
    steps = max(1, max(len(simulated) for simulated, _ in kinds) // recipe.batch)
    best, kept, log = -1.0, copy.deepcopy(head.state_dict()), []
    for epoch in track(range(recipe.epochs), "mil", disable=not sys.stderr.isatty()):
        head.train()
        total = 0.0
        for _ in range(steps):
            chosen = [bag for kind in kinds for bag in _draw(kind, recipe, rng)]
            loss = bags_loss(head, chosen, names, config.labels, recipe)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()
            total += loss.item() / steps
        auc = bag_auc(head, select)
        log.append({"stage": "mil", "epoch": epoch, "loss": round(total, 4), "select_bag_auc": round(auc, 4)})
        if auc >= best:
            best, kept = auc, copy.deepcopy(head.state_dict())
    head.load_state_dict(kept)
    return head, log


def _draw(kind: list[list[Bag]], recipe: MilRecipe, rng: np.random.Generator) -> list[Bag]:
    """`recipe.batch` bags of one kind, a share of them real where there are any."""
    simulated, real = kind
    count = round(recipe.batch * recipe.real) if real else 0
    return [simulated[int(i)] for i in rng.integers(0, len(simulated), recipe.batch - count)] + [
        real[int(i)] for i in rng.integers(0, max(len(real), 1), count)
    ]
