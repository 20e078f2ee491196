"""A scorer for a new scene, from a few clips of it.

    vlad adapt SCORER --normal CLIPS --anomalous CLIPS -o DIR
    vlad adapt SCORER --normal CLIPS --relearn -o DIR            (bn-wvad)

In: a trained scorer and one to ten clips of a camera it has not seen, of either kind or both, one label a clip. Out: the scorer's folder
with scene.safetensors: prototypes of the scene's snippets and weights that lower the scores of what is usual there, and raise what is not.
The head itself stays as it is. What it knew is kept in memory.safetensors, features of videos it was selected on: the change is held small
there, and taken back step by step until their score is as good as it was. With --relearn nothing is added: the statistics of a bn-wvad head are
taken anew from the normal clips (Zhou et al. 2024, whose score is the distance to them).
"""

from __future__ import annotations

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
from vlad.scorers import CALIBRATION, folder_of
from vlad.scorers.bn_wvad import BnWvadHead
from vlad.scorers.head import Calibration, EmbedText, Head, TrainedScorer, save_head, sentences
from vlad.scorers.normality import coreset
from vlad.scorers.scene import FILE as SCENE
from vlad.scorers.scene import Scene, save_scene
from vlad.types import Features

from .data import Floats
from .extract import find_videos
from .score import copy_scorer, load

MEMORY = "memory.safetensors"
KEPT = 32  # directions of features in which snippets are compared
PROTOTYPES = 64  # of each kind
RIDGE = 5e-4  # on the weights of the change
FAITH = 0.01  # weight of what was known against what is new
WORSE = 0.005  # of the old selection score, that an adapted scorer may lose


@dataclass(frozen=True)
class Memory:
    """Old videos, as the scene sees them: mean, scale [width], basis [width, K]; points [N, K], logits [N], bag int64 [N], truth
    [bags], classes [N, C] (C 0 without classes)."""

    mean: torch.Tensor
    scale: torch.Tensor
    basis: torch.Tensor
    points: torch.Tensor
    logits: torch.Tensor
    bag: torch.Tensor
    truth: torch.Tensor
    classes: torch.Tensor

    def score(self, logits: torch.Tensor) -> float:
        """ROC-AUC of the old videos' highest snippets (T // 16 + 1 of them) under other logits [N]."""
        found = []
        for k in range(len(self.truth)):
            own = logits[self.bag == k]
            found.append(float(own.topk(len(own) // 16 + 1).values.mean()))
        return float(roc_auc_score(self.truth.numpy() > 0, found))


def remember(
    head: Head, embed_text: EmbedText, train: Sequence[Floats], select: Sequence[tuple[Floats, bool]], folder: Path
) -> None:
    """Write memory.safetensors: directions from training videos, and the selection's videos in them. Needs both kinds in `select`."""
    scorer = TrainedScorer(head, sentences(head.config.labels), embed_text)
    seen = torch.from_numpy(np.concatenate(train)[:: max(1, sum(map(len, train)) // 20_000)])
    mean, scale = seen.mean(0), seen.std(0).clamp(min=1e-6)
    torch.manual_seed(0)
    _, _, basis = torch.pca_lowrank((seen - mean) / scale, q=min(KEPT, seen.shape[1]), center=False)
    parts = []
    for k, (values, _) in enumerate(select):
        logits, classes = scorer.run(values)
        shares = torch.zeros(len(values), 0) if classes is None else classes.softmax(-1)
        parts.append((((torch.tensor(values) - mean) / scale) @ basis, logits, torch.full((len(values),), k), shares))
    points, logits, bag, shares = (torch.cat(part) for part in zip(*parts, strict=True))
    truth = torch.tensor([float(t) for _, t in select])
    memory = Memory(mean, scale, basis, points, logits, bag, truth, shares)
    save_file({k: v.contiguous() for k, v in vars(memory).items()}, folder / MEMORY)


def load_memory(folder: Path) -> Memory:
    """What `remember` wrote. Raises InputError where it is missing."""
    if not (folder / MEMORY).is_file():
        raise InputError(f"{folder}: no {MEMORY}; train this scorer with `vlad finetune`, which writes it")
    return Memory(**load_file(folder / MEMORY))


@dataclass(frozen=True)
class Seen:
    """A clip of the scene as the scorer sees it: places [T, K], logits [T], class shares [T, C] or None."""

    places: torch.Tensor
    logits: torch.Tensor
    classes: torch.Tensor | None


def fit(
    scorer: TrainedScorer, memory: Memory, normal: Sequence[Features], anomalous: Sequence[Features]
) -> tuple[Scene, float, float]:
    """The scene of some clips, and the old selection score before and after. Takes seconds."""
    clips = []
    for features in (*normal, *anomalous):
        values = np.array(features.values)
        logits, classes = scorer.run(values)
        place = ((torch.from_numpy(values) - memory.mean) / memory.scale) @ memory.basis
        clips.append(Seen(place, logits, None if classes is None else classes.softmax(-1)))
    calm, odd = clips[: len(normal)], clips[len(normal) :]
    kinds = [[c.places for c in calm], [c.places[c.logits.topk(len(c.logits) // 8 + 1).indices] for c in odd]]
    parts = [torch.cat(kind) for kind in kinds if kind]
    prototypes = torch.cat([p[coreset(p, PROTOTYPES)] if len(p) > PROTOTYPES else p for p in parts])
    places = torch.cat([c.places for c in clips])
    near = torch.cdist(places, places).kthvalue(min(6, len(places)), dim=1).values
    blank = Scene(
        memory.mean, memory.scale, memory.basis, prototypes, near.median().clamp(min=1e-3),
        torch.zeros(len(prototypes) + 1 + memory.classes.shape[1]), torch.tensor(0.0),
    )  # fmt: skip
    scene = _weighed(blank, memory, calm, odd)
    change = _told(scene, memory) @ scene.weights + scene.bias
    before = after = memory.score(memory.logits)
    for share in (1.0, 0.7, 0.5, 0.3, 0.1, 0.0):
        after = memory.score(memory.logits + share * change)
        if after >= before - WORSE:
            break
    return replace(scene, weights=scene.weights * share, bias=scene.bias * share), before, after


def _told(scene: Scene, memory: Memory) -> torch.Tensor:
    return scene.described(memory.points, memory.logits, memory.classes if memory.classes.shape[1] else None)


def _weighed(scene: Scene, memory: Memory, calm: Sequence[Seen], odd: Sequence[Seen]) -> Scene:
    """Weights by logistic regression on top of the logits: normal clips are calm throughout, anomalous ones in their highest snippets not."""
    told = [scene.described(c.places, c.logits, c.classes) for c in (*calm, *odd)]
    logits = [c.logits for c in (*calm, *odd)]
    old = _told(scene, memory)
    weights, bias = scene.weights.clone().requires_grad_(), scene.bias.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        changed = [x + f @ weights + bias for x, f in zip(logits, told, strict=True)]
        total = RIDGE * weights.square().sum() + FAITH * (old @ weights + bias).square().mean()
        if calm:
            low = torch.cat(changed[: len(calm)])
            total = total + functional.binary_cross_entropy_with_logits(low, torch.zeros_like(low))
        if odd:
            high = torch.stack([x.topk(len(x) // 16 + 1).values.mean() for x in changed[len(calm) :]])
            total = total + functional.binary_cross_entropy_with_logits(high, torch.ones_like(high))
        total.backward()
        return total

    optimiser.step(loss)
    return replace(scene, weights=weights.detach(), bias=bias.detach())


def run(
    scorer: str,
    out: Path,
    settings: Settings,
    *,
    normal: Sequence[Path],
    anomalous: Sequence[Path],
    relearn: bool = False,
) -> list[str]:
    """Adapt into `out`; what was found, a line each. relearn: by the statistics of the normal clips alone. Raises VladError."""
    if not normal and not anomalous:
        raise InputError("no clips; name some of the new scene with --normal, with --anomalous, or both")
    # Adapting starts from what was trained: other classes, an older scene or calibration have no part in it.
    settings = settings.model_copy(update={"classes": (), "classes_file": None})
    loaded = load(scorer, settings)
    if relearn and (not isinstance(loaded.head, BnWvadHead) or anomalous or not normal):
        raise InputError(
            "--relearn takes a bn-wvad head and normal clips alone; its score is the distance to their statistics"
        )
    memory = None if relearn else load_memory(folder_of(scorer))
    loaded.scene, loaded.calibration = None, Calibration()
    analyzer = Analyzer(settings, scorer=loaded)
    found: list[list[Features]] = []
    for clips in (normal, anomalous):
        videos = list(find_videos(clips).values()) if clips else []
        found.append([analyzer.features(path)[0] for path in bar(videos, "clips", transient=True)])
    for features in found[0] + found[1]:
        loaded(features)  # raises MismatchError for another encoder's
    if memory is None:
        return _relearn(loaded.head, scorer, out, found[0])
    scene, before, after = fit(loaded, memory, *found)
    copy_scorer(scorer, out, without=CALIBRATION)  # a threshold of other scores promises nothing
    save_scene(scene, out)
    return [
        f"{len(found[0])} normal and {len(found[1])} anomalous clips of the scene",
        f"old videos' score: {before:.4f} before, {after:.4f} after"
        + ("" if scene.weights.any() else " (no change kept)"),
        f"in {out}; use it with --set scorer_weights={out}",
    ]


def _relearn(head: Head, scorer: str, out: Path, normal: Sequence[Features]) -> list[str]:
    """The head with the statistics of the scene's normal clips, into `out`."""
    assert isinstance(head, BnWvadHead)
    head.relearn(torch.from_numpy(np.concatenate([f.values for f in normal])))
    copy_scorer(scorer, out, without=CALIBRATION)
    for stale in (MEMORY, SCENE):  # of scores as they were
        (out / stale).unlink(missing_ok=True)
    save_head(head, out)
    snippets = sum(len(f.values) for f in normal)
    return [
        f"statistics of {len(normal)} normal clips ({snippets} snippets)",
        f"in {out}; use it with --set scorer_weights={out}",
    ]
