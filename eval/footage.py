"""Heads on real footage: as they are, adapted to some of it, and trained on nothing but normal footage.

In: VLAD_DATA. Out: frame AUC on ucf_stride16 and ped2 and clip AUC on fights val, each beside the energy of movement, which learns
nothing. The UCF-Crime videos are a subset, every 16th frame of theirs: none of these is the benchmark's figure.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlad.config import make_settings
from vlad.motion import BANDS
from vlad.pipeline import Analyzer
from vlad.types import Scorer

from . import benchmarks
from .metrics import Figure, Scored, bootstrap, clip_auc, frame_auc
from .verb import vlad

SPARSE = 4  # snippet_frames of ucf_stride16, which shows two frames a second
FOLDS = 5
STEADY: dict[str, Any] = {"speeds": True, "snippet_frames": 4}  # of a camera that stands still, at ten frames a second
SETS = ("ucf_stride16", "ped2", "fights")
Pairs = list[tuple[Scored, Scored]]


def quiet(done: int, total: int) -> None:
    """No progress: features come from the cache after the first head."""


def rows(data: Path, name: str, split: str = "") -> list[dict[str, str]]:
    """Lines of frames/manifest.csv for a set, perhaps of one split."""
    with open(data / "frames" / "manifest.csv", newline="") as file:
        return [r for r in csv.DictReader(file) if r["set"] == name and split in ("", r["split"])]


def sparse(**changes: Any) -> Analyzer:
    """An Analyzer for ucf_stride16."""
    return Analyzer(make_settings(snippet_frames=SPARSE, **changes))


def measured(analyzer: Analyzer, data: Path, score: Scorer) -> dict[str, tuple[Figure, Figure]]:
    """Of each set (ours, motion energy), with intervals over videos."""
    found = {}
    for name, used in (("ucf_stride16", sparse()), ("ped2", analyzer)):
        pairs = benchmarks.real_frames(Analyzer(used.settings, scorer=score), data, name, on_progress=quiet)
        found[name] = bootstrap([a for a, _ in pairs], frame_auc), bootstrap([b for _, b in pairs], frame_auc)
    clips = benchmarks.fights(Analyzer(analyzer.settings, scorer=score), data, on_progress=quiet)

    def auc(place: int) -> Figure:
        return bootstrap(clips, lambda some: clip_auc([c[place] for c in some], [c[2] for c in some]))

    found["fights"] = auc(0), auc(1)
    return found


def folds(videos: Sequence[dict[str, str]]) -> list[list[int]]:
    """Places of the videos of each fold, both kinds spread evenly; the same on every machine."""
    order = np.random.default_rng(0).permutation(len(videos))
    ordered = sorted(order.tolist(), key=lambda i: videos[i]["n_pos"] == "0")
    return [ordered[k::FOLDS] for k in range(FOLDS)]


def few_shot(data: Path, scorer: str, shots: int, work: Path) -> tuple[Figure, Figure, Figure]:
    """Frame AUC on ucf_stride16 before and after `vlad adapt` with K normal and K anomalous videos of the other folds, and the difference."""
    videos = rows(data, "ucf_stride16")
    before = [a for a, _ in benchmarks.real_frames(sparse(**_weights(scorer)), data, "ucf_stride16", on_progress=quiet)]
    after: dict[int, Scored] = {}
    for number, fold in enumerate(folds(videos)):
        out = work / f"ucf-{shots}-{number}"
        others = [i for other in folds(videos) if other is not fold for i in other]
        chosen = [[i for i in others if (videos[i]["n_pos"] == "0") == calm][:shots] for calm in (True, False)]
        clips = [
            part
            for flag, own in zip(("--normal", "--anomalous"), chosen, strict=True)
            for i in own
            for part in (flag, str(data / "frames" / videos[i]["file"]))
        ]
        vlad("adapt", scorer, *clips, "-o", str(out), "--set", f"snippet_frames={SPARSE}")
        pairs = benchmarks.real_frames(
            sparse(scorer_weights=str(out)), data, "ucf_stride16", on_progress=quiet, places=fold
        )
        after |= dict(zip(fold, (a for a, _ in pairs), strict=True))
    pairs = [(b, after[i]) for i, b in enumerate(before)]
    return (
        bootstrap(before, frame_auc),
        bootstrap([a for _, a in pairs], frame_auc),
        bootstrap(pairs, lambda some: frame_auc([a for _, a in some]) - frame_auc([b for b, _ in some])),
    )


def _weights(scorer: str) -> dict[str, str]:
    return {} if scorer == "nano" else {"scorer_weights": scorer}


def normal_only(data: Path, work: Path) -> tuple[Figure, Figure]:
    """(ours, motion energy) on ped2's test videos of a `normality` head that `vlad finetune` trained on its training videos."""
    listed, features = work / "ped2.csv", work / "ped2-features"
    clips = [data / "frames" / r["file"] for r in rows(data, "ped2", "train")]
    work.mkdir(parents=True, exist_ok=True)
    with open(listed, "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((str(p), "normal") for p in clips)])
    options = [part for key, value in STEADY.items() for part in ("--set", f"{key}={str(value).lower()}")]
    vlad("features", str(listed), "-o", str(features), *options)
    with open(work / "ped2-train.csv", "w", newline="") as file:
        made = [(str(features.resolve() / f"{p.stem}.npy"), "normal") for p in clips]
        csv.writer(file).writerows([("path", "label"), *made])
    head = work / "ped2-normality"
    encoder = Analyzer(make_settings(**STEADY)).encoder.name
    vlad("finetune", "custom", "head=normality", f"data.features={work / 'ped2-train.csv'}", f"data.encoder={encoder}", f"out={head}",
         "average=1", f"options={{speeds: {BANDS}}}")  # fmt: skip
    analyzer = Analyzer(make_settings(**STEADY, scorer_weights=str(head)))
    pairs = benchmarks.real_frames(analyzer, data, "ped2", on_progress=quiet)
    return bootstrap([a for a, _ in pairs], frame_auc), bootstrap([b for _, b in pairs], frame_auc)
