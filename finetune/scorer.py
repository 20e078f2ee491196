"""The MIL head: one label a video in, a head out.

In: bags of snippet features, each with a video's label (and class). Out: a folder for `vlad.scorers.mil`. The losses: binary
cross-entropy on the mean of the top T // 16 + 1 logits of a bag (Wu et al. 2024, VadCLIP), smoothness and sparsity (Sultani et al.
2018), and cross-entropy of the pooled class logits of anomalous bags. The best epoch is chosen on held-out training bags.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from vlad.scorers.mil import EmbedText, MilConfig, MilHead, sentences


@dataclass(frozen=True)
class Bag:
    """One video: features float32 [T, D] and its class name, '' for a normal one."""

    values: npt.NDArray[np.float32]
    label: str


@dataclass(frozen=True)
class MilRecipe:
    """Every knob of this stage."""

    epochs: int = 60
    batch: int = 16  # bags of each kind a step
    lr: float = 5e-4
    weight_decay: float = 1e-2
    smooth: float = 8e-5 * 100
    sparse: float = 8e-5 * 100
    noise: float = 0.02  # on features, so that no single video is learnt by heart
    seed: int = 0


def bag_loss(head: MilHead, bag: Bag, names: torch.Tensor, labels: tuple[str, ...], recipe: MilRecipe) -> torch.Tensor:
    """The loss of one video."""
    values = torch.from_numpy(bag.values)[None]
    logits, direction = head(values + recipe.noise * torch.randn_like(values))
    count = logits.shape[1] // 16 + 1
    top = logits[0].topk(count)
    truth = torch.tensor(float(bool(bag.label)))
    loss = functional.binary_cross_entropy_with_logits(top.values.mean(), truth)
    scores = logits[0].sigmoid()
    loss = loss + recipe.smooth * scores.diff().square().sum() + recipe.sparse * scores.sum()
    if bag.label:
        classes = head.class_logits(direction[0, top.indices], names).mean(0)
        loss = loss + 0.5 * functional.cross_entropy(classes[None], torch.tensor([labels.index(bag.label)]))
    return loss


def bag_auc(head: MilHead, bags: list[Bag]) -> float:
    """ROC-AUC of bag scores on weak labels: the selection measure."""
    head.eval()
    with torch.inference_mode():
        found = [head(torch.from_numpy(b.values)[None])[0][0] for b in bags]
        scores = [float(x.topk(len(x) // 16 + 1).values.mean()) for x in found]
    return float(roc_auc_score([bool(b.label) for b in bags], scores))


def train_mil(
    train: list[Bag], select: list[Bag], *, config: MilConfig, embed_text: EmbedText, recipe: MilRecipe
) -> tuple[MilHead, list[dict[str, Any]]]:
    """The head of the best epoch on `select`, and a log line an epoch. Both lists need bags of both kinds."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    head, names = MilHead(config), torch.from_numpy(embed_text(sentences(config.labels)))
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    kinds = [[b for b in train if not b.label], [b for b in train if b.label]]
    steps = max(1, max(map(len, kinds)) // recipe.batch)
    best, kept, log = -1.0, copy.deepcopy(head.state_dict()), []
    for epoch in range(recipe.epochs):
        head.train()
        total = 0.0
        for _ in range(steps):
            chosen = [kind[int(i)] for kind in kinds for i in rng.integers(0, len(kind), recipe.batch)]
            loss = torch.stack([bag_loss(head, b, names, config.labels, recipe) for b in chosen]).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()
            total += loss.item() / steps
        auc = bag_auc(head, select)
        log.append({"stage": "mil", "epoch": epoch, "loss": round(total, 4), "select_bag_auc": round(auc, 4)})
        if auc > best:
            best, kept = auc, copy.deepcopy(head.state_dict())
    head.load_state_dict(kept)
    return head, log
