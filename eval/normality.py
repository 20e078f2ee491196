"""Normal footage alone: which model is surprised rightly, by one protocol on Ped2 and on simulated cameras.

    vlad eval normality [models=fill,vae,memory,lstm,transformer] [sites=4] [first=300] [seeds=1] [data=FOLDER] [work=runs/normality]

In: nothing; Ped2 from DATA. Out: a table and WORK/normality.json: pooled frame AUC with its 95 % interval over videos, of each model's error by itself, of the
head that has it beside its distances, and of that with one kind of distance more: how far tracks leave the usual paths (`vlad.movement`; Reiss and Hoshen 2022
put velocity, pose and deep features side by side so; no pose is measured here). Each head learns from the training videos of its camera, none of them anomalous, and is measured on others.
Controls: motion energy, which learns nothing, and the distances without any model.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.motion import BANDS
from vlad.movement import Paths, Walked, judge, learn
from vlad.pipeline import Analyzer
from vlad.scorers import load_folder
from vlad.scorers.normality import NormalityHead
from vlad.types import Features

from . import benchmarks, fewshot, footage, movement
from .metrics import Figure, Scored, bootstrap, frame_auc
from .verb import options_of, show_table, vlad

OPTIONS = {
    "models": "fill,vae,memory,lstm,transformer", "sites": "4", "first": "300", "seeds": "1", "data": os.environ.get("VLAD_DATA", ""),
    "work": "runs/normality",
}  # fmt: skip
WAYS = ("model alone", "distances alone", "together", "tracks alone", "with tracks")


@dataclass(frozen=True)
class Clip:
    """A measured video: features, anomalous and normal frames in each snippet int [T], and how far its tracks leave the usual paths [T], in levels of normal footage."""

    features: Features
    pos: npt.NDArray[np.int64]
    neg: npt.NDArray[np.int64]
    strayed: npt.NDArray[np.float64]

    def scored(self, scores: npt.NDArray[np.float64]) -> Scored:
        """Its frames under scores [T]."""
        return Scored(scores, self.pos, self.neg)


@dataclass(frozen=True)
class Camera:
    """Feature files of normal videos, what made them, the videos to measure, and what the recipe needs more."""

    name: str
    table: Path
    encoder: str
    clips: list[Clip]
    changes: tuple[str, ...] = ()


def simulated(site: int, folder: Path) -> Camera:
    """A simulated camera: as many normal clips as `vlad eval fewshot` adapts with, and its test clips."""
    analyzer, made = Analyzer(make_settings()), folder / f"site-{site}"
    made.mkdir(parents=True, exist_ok=True)
    rows, walks = [], []
    for k in range(fewshot.MOST):
        path = made / f"{k}.npy"
        _, clip = fewshot.clip_of(site, k, False, folder)
        walks.append(movement.watched(analyzer, clip)[0])
        if not path.exists():
            np.save(path, np.array(analyzer.features(clip)[0].values), allow_pickle=False)
        rows.append(path)
    clips, paths = [], learn(walks)
    for k in range(fewshot.MOST, fewshot.MOST + fewshot.TEST):
        for anomalous in (False, True):
            world, path = fewshot.clip_of(site, k, anomalous, folder)
            features, times = analyzer.features(path)[0], world.times()
            away = strayed(paths, movement.watched(analyzer, path)[0], features)
            clips.append(Clip(features, *benchmarks.counts(world.labels(times), times, features.edges), away))
    return Camera(f"simulated camera {site}", _listed(rows, made / "train.csv"), analyzer.encoder.name, clips)


def ped2(data: Path, work: Path) -> Camera:
    """Ped2 with speeds by height, as `vlad eval nano` measures it."""
    analyzer, features = Analyzer(make_settings(**footage.STEADY)), work / "ped2-features"
    paths = [data / "frames" / r["file"] for r in footage.rows(data, "ped2", "train")]
    listed = _listed(paths, work / "ped2.csv")
    options = [p for key, value in footage.STEADY.items() for p in ("--set", f"{key}={str(value).lower()}")]
    vlad("features", str(listed), "-o", str(features), *options)
    walker = Analyzer(make_settings(**movement.DETECTED))
    usual = learn([movement.watched(walker, p)[0] for p in paths])
    clips = []
    for row in footage.rows(data, "ped2"):
        if row["split"] == "train":
            continue
        found, video, _ = analyzer.features(data / "frames" / row["file"])
        labels = np.load(data / "frames" / row["labels"], allow_pickle=False).ravel()
        times = (np.arange(len(labels)) + 0.5) / len(labels) * video.duration
        away = strayed(usual, movement.watched(walker, data / "frames" / row["file"])[0], found)
        clips.append(Clip(found, *benchmarks.counts(labels, times, found.edges), away))
    table = _listed([(features / f"{p.stem}.npy").resolve() for p in paths], work / "ped2-train.csv")
    return Camera("Ped2", table, analyzer.encoder.name, clips, (f"speeds: {BANDS}",))


def strayed(paths: Paths, walked: Walked, features: Features) -> npt.NDArray[np.float64]:
    """Of each snippet how far the tracks in it leave the usual paths: 0 where nobody is, 1 where one second in a hundred of normal footage is: [T]."""
    track, _ = judge(paths, walked)
    places = np.clip(np.searchsorted(track.edges, features.edges) - 1, 0, len(track.scores) - 1)
    share = np.sqrt(track.scores / (1 - track.scores.clip(max=1 - 1e-6)))
    return np.array([share[a : max(a, b) + 1].max() for a, b in pairwise(places)], np.float64)


def _listed(paths: Sequence[Path], table: Path) -> Path:
    table.parent.mkdir(parents=True, exist_ok=True)
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((str(p), "normal") for p in paths)])
    return table


def scores_of(camera: Camera, model: str, seed: int, work: Path) -> dict[str, list[Scored]]:
    """Each way's scores of the camera's clips, averaged over a second, under a head that `vlad finetune` trained."""
    out = work / f"{camera.name.replace(' ', '-')}-{model}-{seed}"
    if not (out / "head.json").exists():
        options = ", ".join((*camera.changes, f"model: {model}"))
        vlad("finetune", "custom", "head=normality", f"data.features={camera.table}", f"data.encoder={camera.encoder}", f"out={out}",
             "average=1", f"options={{{options}}}", f"scorer.seed={seed}")  # fmt: skip
    scorer = load_folder(str(out), None, lambda texts: np.zeros((len(texts), 1), np.float32))
    head = scorer.head
    assert isinstance(head, NormalityHead)
    found: dict[str, list[Scored]] = {way: [] for way in WAYS}
    for clip in camera.clips:
        with torch.inference_mode():
            far = head(torch.tensor(clip.features.values)[None], None, None).extra["distances"][0]
            parts = {"model alone": far[:, 0], "distances alone": head.together(far, without_model=True), "together": head.together(far)}  # fmt: skip
        kinds = round(1 / head.weights[0])  # all weigh alike: tracks are one more
        values = {way: of.double().numpy() for way, of in parts.items()} | {"tracks alone": clip.strayed}
        values["with tracks"] = (kinds * values["together"] + clip.strayed) / (kinds + 1)
        for way, of in values.items():
            found[way].append(clip.scored(_smooth(of, clip.features)))
    return found


def _smooth(values: npt.NDArray[np.float64], features: Features) -> npt.NDArray[np.float64]:
    """Averaged over the snippets within half a second to either side."""
    middle = (features.edges[:-1] + features.edges[1:]) / 2
    near = np.abs(middle[:, None] - middle[None]) <= 0.5
    averaged: npt.NDArray[np.float64] = near @ values / near.sum(1)
    return averaged


def main(argv: Sequence[str]) -> int:
    """`vlad eval normality`. Raises SettingsError for options that are not known."""
    options = options_of("normality", argv, OPTIONS)
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    first, models = int(options["first"]), options["models"].split(",")
    groups = {
        "simulated cameras": [simulated(s, work) for s in bar(range(first, first + int(options["sites"])), "cameras")]
    }
    if options["data"]:
        groups["Ped2"] = [ped2(Path(options["data"]), work)]
    table, rows = (
        Table("on", "model", *WAYS, caption="frame AUC, mean over seeds; intervals over videos, of the first seed"),
        [],
    )
    for name, cameras in groups.items():
        still = [c.scored(benchmarks.energy_of(c.features)) for camera in cameras for c in camera.clips]
        table.add_row(name, "motion energy, the control", "", "", str(bootstrap(still, frame_auc)))
        for model in models:
            figures: dict[str, list[Figure]] = {way: [] for way in WAYS}
            for seed in range(int(options["seeds"])):
                told = [scores_of(camera, model, seed, work) for camera in cameras]
                for way in WAYS:
                    figures[way].append(bootstrap([s for of in told for s in of[way]], frame_auc))
            table.add_row(name, model, *(f"{np.mean([f.value for f in of]):.3f} [{of[0].low:.3f}, {of[0].high:.3f}]" for of in figures.values()))  # fmt: skip
            rows.append({"on": name, "model": model, **{way: [asdict(f) for f in of] for way, of in figures.items()}})
            (work / "normality.json").write_text(json.dumps(rows, indent=1) + "\n")
    show_table(table)
    return 0
