"""Detection figures as the field prints them, from scores and a data set's truth.

    vlad eval detection --dataset ucf-crime --scores CSV_OR_FOLDER [--frames i3d] [--against OTHER] [--annotations FILE] [--json]

In: a folder of NAME.npy (one score a snippet of 16 frames, or one a frame: told by the length; or rows of 1 + C class scores, normal
first, then the classes by alphabet, which also give detection mAP), or a CSV `video,score` in order of
time (`video_id` may be a line number of --order). Out: frame AUC and AP by both definitions, with a 95 % interval over resampled videos;
with --against the paired difference. Knows no model.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from vlad.errors import InputError, SettingsError

from .localisation import Truth, detection_map
from .protocols import CONVENTIONS, DATASETS, SNIPPET, Labelled, load_dataset, read_annotations, truth

DRIFT = 2  # snippets by which features and annotation may differ in length
ROUNDS = 1000
Floats = npt.NDArray[np.float64]
MEASURES = ("auc", "auc_anomalous", "ap_trapezoid", "ap_step")


def align(scores: Floats, frames: int, counted: int, name: str) -> Floats:
    """Scores [T] or [T, 1 + C] of snippets or of frames, as one for each counted frame: float [counted] or [counted, 1 + C].

    Cut at the end or continued with the last score. Raises InputError where the length is off by more than 2 snippets.
    """
    if scores.ndim not in (1, 2) or not scores.size or not np.isfinite(scores).all():
        raise InputError(f"{name}: expected a row of finite scores, got {scores.dtype} {scores.shape}")
    if abs(len(scores) - frames) <= DRIFT * SNIPPET and len(scores) > frames / 4:
        spread = scores
    elif abs(len(scores) - frames / SNIPPET) <= DRIFT:
        spread = np.repeat(scores, SNIPPET, axis=0)
    else:
        raise InputError(
            f"{name}: {len(scores)} scores fit neither {frames} frames nor {frames / SNIPPET:.0f} snippets of {SNIPPET}; "
            "check that they are of this video and this data set"
        )
    return np.concatenate([spread[:counted], np.repeat(spread[-1:], max(0, counted - len(spread)), axis=0)])


def read_scores(source: Path, order: Sequence[str]) -> dict[str, Floats]:
    """Scores by video name. order: names by line, for a CSV whose videos are numbers. Raises InputError."""
    if source.is_dir():
        arrays = {p.stem: np.asarray(np.load(p, allow_pickle=False), np.float64) for p in sorted(source.glob("*.npy"))}
        return {name: a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a for name, a in arrays.items()}
    found: dict[str, list[float]] = {}
    try:
        with open(source, newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if len(header) < 2 or not header[0].startswith("video"):
                raise InputError(f"{source}: expected a CSV with the columns video,score")
            for row in rows:
                name = order[int(row[0])] if header[0] == "video_id" else row[0]
                found.setdefault(name.removesuffix(".mp4"), []).append(float(row[1]))
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror}); name a CSV or a folder of .npy files") from None
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{source}: a row cannot be read ({error}); with video_id, name the list of videos with --order"
        ) from None
    return {name: np.array(values) for name, values in found.items()}


@dataclass(frozen=True)
class Pool:
    """Frames of many videos, sorted by falling score once, so that a resampled figure costs two sums."""

    video: npt.NDArray[np.int64]  # which video each run of frames belongs to
    pos: Floats  # anomalous frames of the run
    neg: Floats
    ends: npt.NDArray[np.int64]  # last run of each distinct score
    scores: Floats
    videos: int
    anomalous: npt.NDArray[np.bool_]  # by video, by truth

    def curve(self, times: Floats) -> tuple[Floats, Floats]:
        """Cumulated (true, false) positives at each distinct score, with each video taken `times` times."""
        weight = times[self.video]
        return np.cumsum(self.pos * weight)[self.ends], np.cumsum(self.neg * weight)[self.ends]

    def measure(self, times: Floats) -> dict[str, float]:
        """The four figures; nan where they are not defined."""
        found = {}
        for suffix, taken in (("", times), ("_anomalous", times * self.anomalous)):
            tp, fp = self.curve(taken)
            found["auc" + suffix] = _area(fp, tp) / (tp[-1] * fp[-1]) if tp[-1] and fp[-1] else float("nan")
        tp, fp = self.curve(times)
        keep = tp + fp > 0
        tp, fp = tp[keep], fp[keep]
        if not len(tp) or not tp[-1]:
            return {**found, "ap_trapezoid": float("nan"), "ap_step": float("nan")}
        recall, precision = tp / tp[-1], tp / (tp + fp)
        found["ap_trapezoid"] = float(np.trapezoid(np.append(1.0, precision), np.append(0.0, recall)))
        found["ap_step"] = float((np.diff(recall, prepend=0.0) * precision).sum())
        return found


def _area(x: Floats, y: Floats) -> float:
    return float(np.trapezoid(np.append(0.0, y), np.append(0.0, x)))


def pool(scores: Sequence[Floats], labels: Sequence[npt.NDArray[np.uint8]]) -> Pool:
    """scores: float [n] of each video's frames; labels: uint8 [n]."""
    video, pos, neg, value = [], [], [], []
    for index, (s, y) in enumerate(zip(scores, labels, strict=True)):
        starts = np.flatnonzero(np.diff(s, prepend=np.nan))  # frames under one score in a row are one run
        total, hit = np.diff(np.append(starts, len(s))), np.add.reduceat(y.astype(np.int64), starts)
        video.append(np.full(len(starts), index))
        pos.append(hit)
        neg.append(total - hit)
        value.append(s[starts])
    flat = np.concatenate(value)
    order = np.argsort(-flat, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(flat[order]) != 0, True))
    joined = [np.concatenate(part)[order] for part in (video, pos, neg)]
    return Pool(
        joined[0], joined[1].astype(float), joined[2].astype(float), ends, flat[order], len(scores),
        np.array([bool(y.any()) for y in labels]),
    )  # fmt: skip


def largest_tie(found: Pool) -> float:
    """Share of all frames under the commonest score: where it is large, the two definitions of AP part."""
    sizes = np.add.reduceat(found.pos + found.neg, np.append(0, found.ends[:-1] + 1))
    return float(sizes.max() / sizes.sum())


def evaluate(videos: Sequence[Labelled], scores: dict[str, Floats], convention: str) -> tuple[dict[str, Any], Pool]:
    """Every figure without its interval, and the pool. Raises InputError that names all videos without scores."""
    missing = [v.name for v in videos if v.name not in scores]
    if missing:
        raise InputError(
            f"no scores for {len(missing)} of {len(videos)} videos: {', '.join(missing[:10])}{' ...' * (len(missing) > 10)}"
        )
    labels = [truth(v, convention) for v in videos]
    spread = [align(scores[v.name], v.frames, len(y), v.name) for v, y in zip(videos, labels, strict=True)]
    maps = _maps(videos, spread)
    spread = [s if s.ndim == 1 else 1 - s[:, 0] for s in spread]
    found = pool(spread, labels)
    facts: dict[str, Any] = found.measure(np.ones(len(videos)))
    single = {
        v.name: pool([s], [y]).measure(np.ones(1))["auc"]
        for v, s, y in zip(videos, spread, labels, strict=True)
        if 0 < y.sum() < len(y)
    }
    normal = np.array([not a for a in found.anomalous])
    classes = {}
    for label in sorted({v.label for v, a in zip(videos, found.anomalous, strict=True) if a}):
        of_class = np.array([v.label == label for v in videos])
        measured = found.measure((of_class | normal).astype(float))
        classes[label] = {
            "auc": measured["auc"],
            "auc_anomalous": measured["auc_anomalous"],
            "ap_step": measured["ap_step"],
            "videos": int(of_class.sum()),
        }
    return {
        **facts, "largest_tie": largest_tie(found), "mean_video_auc": float(np.mean(list(single.values()))) if single else float("nan"),
        "per_class": classes, **maps, "frames": int(sum(map(len, labels))), "positives": int(sum(int(y.sum()) for y in labels)), "convention": convention,
    }, found  # fmt: skip


def _maps(videos: Sequence[Labelled], spread: Sequence[Floats]) -> dict[str, dict[float, float] | None]:
    """mAP in percent by IoU in both modes; None where there are no class scores. Raises InputError for a wrong number of classes."""
    if all(s.ndim == 1 for s in spread):
        return {"map_standard": None, "map_vadclip": None}
    names = sorted({v.label for v in videos if v.spans})
    wrong = [v.name for v, s in zip(videos, spread, strict=True) if s.ndim != 2 or s.shape[1] != 1 + len(names)]
    if wrong:
        raise InputError(f"{', '.join(wrong[:5])}: expected 1 + {len(names)} columns: normal, {', '.join(names)}")
    truths = [
        Truth(s, tuple((a, min(b, len(s)), 1 + names.index(v.label)) for a, b in v.spans if a < len(s)))
        for v, s in zip(videos, spread, strict=True)
    ]
    return {f"map_{mode}": detection_map(truths, mode=mode) for mode in ("standard", "vadclip")}


def intervals(found: Pool, other: Pool | None = None) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals over videos of each figure, or of its difference to `other` over the same videos."""
    rng = np.random.default_rng(0)
    draws: dict[str, list[float]] = {name: [] for name in MEASURES}
    for _ in range(ROUNDS):
        times = np.bincount(rng.integers(0, found.videos, found.videos), minlength=found.videos).astype(float)
        ours = found.measure(times)
        theirs = other.measure(times) if other else dict.fromkeys(MEASURES, 0.0)
        for name in MEASURES:
            draws[name].append(ours[name] - theirs[name])
    return {n: (float(np.nanpercentile(d, 2.5)), float(np.nanpercentile(d, 97.5))) for n, d in draws.items()}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"eval detection: {message}")


def main(argv: Sequence[str]) -> int:
    """Measure and print. Raises SettingsError for wrong options, InputError for files that do not fit."""
    parser = _Parser(prog="vlad eval detection")
    parser.add_argument("--dataset", required=True, choices=list(DATASETS))
    parser.add_argument("--scores", required=True, type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--order", type=Path, help="names of the videos, one a line, for a CSV that numbers them")
    parser.add_argument("--frames", choices=list(CONVENTIONS), default="i3d")
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(list(argv))
    videos = load_dataset(given.dataset)
    if given.annotations:
        videos = read_annotations(given.annotations, videos)
    order = given.order.read_text().split() if given.order else [v.name for v in videos]
    facts, found = evaluate(videos, read_scores(given.scores, order), given.frames)
    facts["ci"] = intervals(found)
    if given.against:
        theirs, other = evaluate(videos, read_scores(given.against, order), given.frames)
        facts["against"] = {"difference": {n: facts[n] - theirs[n] for n in MEASURES}, "ci": intervals(found, other)}
    if given.json:
        print(json.dumps(facts))
    else:
        _show(facts)
    return 0


def _show(facts: dict[str, Any]) -> None:
    table = Table("measure", "figure", "95 % over videos", "difference", "95 %", title=f"{facts['frames']:,} frames, {facts['positives']:,} anomalous ({facts['convention']})")  # fmt: skip
    for name in MEASURES:
        low, high = facts["ci"][name]
        row = [name, f"{facts[name]:.6f}", f"{low:.4f} to {high:.4f}"]
        if "against" in facts:
            a, b = facts["against"]["ci"][name]
            row += [f"{facts['against']['difference'][name]:+.4f}", f"{a:+.4f} to {b:+.4f}"]
        table.add_row(*row)
    table.add_row("mean per-video AUC", f"{facts['mean_video_auc']:.6f}")
    table.add_row("largest tie", f"{facts['largest_tie']:.2%}")
    for mode in ("standard", "vadclip"):
        figures = facts[f"map_{mode}"]
        said = ", ".join(f"{v:.2f} at {k:g}" for k, v in figures.items()) if figures else "no class scores given"
        table.add_row(f"mAP ({mode})", said)
    console = Console(width=120)
    console.print(table)
    classes = Table(
        "class", "videos", "AUC", "AUC, its own videos", "AP (step)", title="each class against all normal videos"
    )
    for label, c in facts["per_class"].items():
        classes.add_row(label, str(c["videos"]), f"{c['auc']:.4f}", f"{c['auc_anomalous']:.4f}", f"{c['ap_step']:.4f}")
    console.print(classes)
