"""A scorer for a new scene, from a few clips of it.

    vlad adapt SCORER --normal CLIPS --anomalous CLIPS -o DIR

In: a trained scorer and one to ten clips of a camera it has not seen, of either kind or both, one label a clip. Out: the scorer's folder
with scene.safetensors: prototypes of the scene's snippets and weights that lower the scores of what is usual there, and raise what is not.
The head itself stays as it is. What it knew is kept in memory.safetensors, features of videos it was selected on: the change is held small
there, and taken back step by step until their score is as good as it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track as bar
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from vlad.config import Settings
from vlad.errors import InputError
from vlad.pipeline import Analyzer
from vlad.scorers.head import Head, TrainedScorer
from vlad.scorers.normality import coreset
from vlad.scorers.scene import Scene, save_scene
from vlad.types import Features
from vlad.weights import nano_part

from .data import Floats
from .extract import find_videos
from .score import load

MEMORY = "memory.safetensors"
KEPT = 32  # directions of features in which snippets are compared
PROTOTYPES = 64  # of each kind
RIDGE = 0.02  # on the weights of the change
FAITH = 1.0  # weight of what was known against what is new
WORSE = 0.005  # of the old selection score, that an adapted scorer may lose


@dataclass(frozen=True)
class Memory:
    """Old videos, as the scene sees them: mean, scale [width], basis [width, K]; points [N, K], logits [N], bag int64 [N], truth [bags]."""

    mean: torch.Tensor
    scale: torch.Tensor
    basis: torch.Tensor
    points: torch.Tensor
    logits: torch.Tensor
    bag: torch.Tensor
    truth: torch.Tensor

    def score(self, logits: torch.Tensor) -> float:
        """ROC-AUC of the old videos' highest snippets (T // 16 + 1 of them) under other logits [N]."""
        found = []
        for k in range(len(self.truth)):
            own = logits[self.bag == k]
            found.append(float(own.topk(len(own) // 16 + 1).values.mean()))
        return float(roc_auc_score(self.truth.numpy() > 0, found))


def remember(head: Head, train: Sequence[Floats], select: Sequence[tuple[Floats, bool]], folder: Path) -> None:
    """Write memory.safetensors: directions from training videos, and the selection's videos in them. Needs both kinds in `select`."""
    scorer = TrainedScorer(head, head.config.labels, lambda texts: np.zeros((len(texts), head.config.clip), np.float32))
    seen = torch.from_numpy(np.concatenate(train)[:: max(1, sum(map(len, train)) // 20_000)])
    mean, scale = seen.mean(0), seen.std(0).clamp(min=1e-6)
    torch.manual_seed(0)
    _, _, basis = torch.pca_lowrank((seen - mean) / scale, q=min(KEPT, seen.shape[1]), center=False)
    points, logits, bag = [], [], []
    for k, (values, _) in enumerate(select):
        points.append(((torch.tensor(values) - mean) / scale) @ basis)
        logits.append(scorer.run(values)[0])
        bag.append(torch.full((len(values),), k))
    memory = Memory(
        mean,
        scale,
        basis,
        torch.cat(points),
        torch.cat(logits),
        torch.cat(bag),
        torch.tensor([float(t) for _, t in select]),
    )
    save_file({k: v.contiguous() for k, v in vars(memory).items()}, folder / MEMORY)


def load_memory(folder: Path) -> Memory:
    """What `remember` wrote. Raises InputError where it is missing."""
    if not (folder / MEMORY).is_file():
        raise InputError(f"{folder}: no {MEMORY}; train this scorer with `vlad finetune`, which writes it")
    return Memory(**load_file(folder / MEMORY))


def fit(
    scorer: TrainedScorer, memory: Memory, normal: Sequence[Features], anomalous: Sequence[Features]
) -> tuple[Scene, float, float]:
    """The scene of some clips, and the old selection score before and after. Takes seconds."""
    base = [torch.from_numpy(np.array(f.values)) for f in (*normal, *anomalous)]
    logits = [scorer.run(v.numpy())[0] for v in base]
    places = [((v - memory.mean) / memory.scale) @ memory.basis for v in base]
    calm = torch.cat(places[: len(normal)]) if normal else torch.zeros(0, memory.basis.shape[1])
    odd = [
        p[x.topk(len(x) // 8 + 1).indices] for p, x in zip(places[len(normal) :], logits[len(normal) :], strict=True)
    ]
    kinds = [
        part[coreset(part, PROTOTYPES)] if len(part) > PROTOTYPES else part
        for part in (calm, *([torch.cat(odd)] if odd else []))
    ]
    prototypes = torch.cat(kinds)
    apart = torch.cdist(torch.cat(places), torch.cat(places))
    reach = apart.kthvalue(min(6, len(apart)), dim=1).values.median().clamp(min=1e-3)
    zeros = torch.zeros(len(prototypes) + 1)
    scene = Scene(memory.mean, memory.scale, memory.basis, prototypes, reach, zeros, torch.tensor(0.0))
    scene = _weighed(scene, memory, base, logits, len(normal))
    before, change = memory.score(memory.logits), _change(scene, memory)
    for share in (1.0, 0.7, 0.5, 0.3, 0.1, 0.0):
        after = memory.score(memory.logits + share * change)
        if after >= before - WORSE:
            break
    return replace(scene, weights=scene.weights * share, bias=scene.bias * share), before, after


def _change(scene: Scene, memory: Memory) -> torch.Tensor:
    """What the scene adds to the logits of old snippets: float32 [N]."""
    alike = (-0.5 * (torch.cdist(memory.points, scene.prototypes) / scene.reach).square()).exp()
    old = torch.cat([alike, (memory.logits / 10).clamp(-1, 1)[:, None]], dim=1)
    return old @ scene.weights + scene.bias


def _weighed(scene: Scene, memory: Memory, base: list[torch.Tensor], logits: list[torch.Tensor], normal: int) -> Scene:
    """Weights by logistic regression on top of the logits: normal clips are calm throughout, anomalous ones in their highest snippets not."""
    told = [scene.described(v, x) for v, x in zip(base, logits, strict=True)]
    some = torch.linspace(0, len(memory.points) - 1, min(2000, len(memory.points))).long()
    old = replace(memory, points=memory.points[some], logits=memory.logits[some])
    weights, bias = scene.weights.clone().requires_grad_(), scene.bias.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        changed = [x + f @ weights + bias for x, f in zip(logits, told, strict=True)]
        total = (
            RIDGE * weights.square().sum()
            + FAITH * _change(replace(scene, weights=weights, bias=bias), old).square().mean()
        )
        if normal:
            calm = torch.cat(changed[:normal])
            total = total + functional.binary_cross_entropy_with_logits(calm, torch.zeros_like(calm))
        if len(changed) > normal:
            high = torch.stack([x.topk(len(x) // 16 + 1).values.mean() for x in changed[normal:]])
            total = total + functional.binary_cross_entropy_with_logits(high, torch.ones_like(high))
        total.backward()
        return total

    optimiser.step(loss)
    return replace(scene, weights=weights.detach(), bias=bias.detach())


def run(scorer: str, out: Path, settings: Settings, *, normal: Sequence[Path], anomalous: Sequence[Path]) -> list[str]:
    """Adapt into `out`; what was found, a line each. Raises VladError."""
    if not normal and not anomalous:
        raise InputError("no clips; name some of the new scene with --normal, with --anomalous, or both")
    source = nano_part("mil") if scorer == "nano" else Path(scorer)
    loaded, memory = load(scorer, settings), load_memory(source)
    loaded.scene = None  # adapting starts from what was trained
    analyzer = Analyzer(settings, scorer=loaded)
    found: list[list[Features]] = []
    for clips in (normal, anomalous):
        videos = list(find_videos(clips).values()) if clips else []
        found.append([analyzer.features(path)[0] for path in bar(videos, "clips", transient=True)])
    for features in found[0] + found[1]:
        loaded(features)  # raises MismatchError for another encoder's
    scene, before, after = fit(loaded, memory, *found)
    for file in source.iterdir():
        if file.suffix in (".json", ".safetensors") and source.resolve() != out.resolve():
            shutil.copy(file, out / file.name)
    save_scene(scene, out)
    return [
        f"{len(found[0])} normal and {len(found[1])} anomalous clips of the scene",
        f"old videos' score: {before:.4f} before, {after:.4f} after" + ("" if after != before else " (no change kept)"),
        f"in {out}; use it with --set scorer_weights={out}",
    ]
