"""Detection figures as the field prints them, from scores and a data set's truth.

    vlad eval detection --dataset ucf-crime|xd-violence|shanghaitech|ubnormal|msad|ped2|avenue|OWN.csv --scores CSV_OR_FOLDER [--frames i3d] [--against OTHER]
                        [--threshold 0.5] [--pictures FOLDER] [--annotations FILE] [--json]

In: a folder of NAME.npy (one score a snippet of 16 frames, or one a frame: told by the length; or rows of 1 + C class scores, normal
first, then the classes in the data set's order, which also give detection mAP), a CSV `video,score` in order of time (`video_id` may be
a line number of --order, or of the data set's own list), or a folder of vlad's own analyses NAME.json. Out: frame AUC and AP by both definitions, mAP, false alarms an
hour, each with a 95 % interval over resampled videos; with --against the paired difference. Knows no model.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from vlad.arrays import load_array
from vlad.errors import InputError, SettingsError
from vlad.report import from_json
from vlad.types import ScoreTrack

from .localisation import IOUS, Found, Truth, find, mean_ap, runs
from .protocols import (
    CONVENTIONS,
    DATASETS,
    MASKED,
    OWN_RATE,
    SNIPPET,
    Dataset,
    Labelled,
    load_dataset,
    read_annotations,
    read_masks,
    truth,
    with_length,
)
from .verb import show_table

DRIFT = 2  # snippets by which features and annotation may differ in length
ROUNDS = 1000
Floats = npt.NDArray[np.float64]
MODES = ("standard", "vadclip")
Scores = Mapping[str, Floats | ScoreTrack]


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


def _load(path: Path) -> Floats:
    try:
        found = np.asarray(load_array(path), np.float64)
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: no array of numbers ({(str(error).splitlines() or [''])[0][:120]})") from None


def _read_order(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the list of videos cannot be read ({error})") from None


def _plain(value: Any) -> Any:
    """JSON has no nan: what is not defined is null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


def orders(dataset: Dataset) -> list[list[str]]:
    """In which published files number a data set's videos: by name, or the anomalous ones first, each by name."""
    first = sorted(dataset.videos, key=lambda v: (not v.spans, v.name))
    return [[v.name for v in dataset.videos], [v.name for v in first]]


def _named(counts: Mapping[int, int], dataset: Dataset) -> list[str]:
    """The order in which most videos have as many scores as they have frames or snippets. counts: scores by number."""
    frames = {v.name: v.frames for v in dataset.videos}

    def fits(order: list[str]) -> int:
        spans = ((count, frames[order[number]]) for number, count in counts.items() if number < len(order))
        return sum(count == total or abs(count - total / SNIPPET) <= DRIFT for count, total in spans)

    return max(orders(dataset), key=fits)


def read_scores(source: Path, dataset: Dataset, order: Sequence[str] | None = None) -> dict[str, Floats | ScoreTrack]:
    """Scores by video name. order: names by line, for a CSV whose videos are numbers; else the one of `orders` that fits. Raises InputError."""
    if source.is_dir():
        arrays: dict[str, Floats | ScoreTrack] = {p.stem: _load(p) for p in sorted(source.glob("*.npy"))}
        for path in sorted(source.glob("*.json")):
            try:
                arrays[path.stem] = from_json(path.read_text()).track
            except (OSError, UnicodeDecodeError, InputError) as error:
                raise InputError(f"{path}: {error}") from None
        return arrays
    found: dict[str, list[float]] = {}
    try:
        with open(source, newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if len(header) < 2 or not header[0].startswith("video"):
                raise InputError(f"{source}: expected a CSV with the columns video,score")
            for row in rows:
                found.setdefault(row[0], []).append(float(row[1]))
            if header[0] == "video_id":
                numbered = {int(number): values for number, values in found.items()}
                names = order or _named({number: len(values) for number, values in numbered.items()}, dataset)
                found = {names[number]: values for number, values in numbered.items()}
    except OSError as error:
        raise InputError(
            f"{source}: cannot be read ({error.strerror}); name a CSV or a folder of .npy or .json"
        ) from None
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{source}: a row cannot be read ({error}); with video_id, name the list of videos with --order"
        ) from None
    return {name.removesuffix(".mp4"): np.array(values) for name, values in found.items()}


def trained_on(source: Path) -> list[str]:
    """Of a folder of analyses by nano as it ships, the videos that it was fitted to, by their names."""
    known = set((Path(__file__).parent / "nano_trained.txt").read_text().split())
    found = []
    for path in sorted(source.glob("*.json")) if source.is_dir() else ():
        made = from_json(path.read_text()).made_by
        settings = made.get("settings") or {}
        own = str(made.get("encoder", "")).startswith("nano@") and not settings.get("scorer_weights")
        if own and path.stem.removesuffix("_x264") in known:
            found.append(path.stem)
    return found


def framed(scores: ScoreTrack, frames: int) -> Floats:
    """A track's score at each of `frames` frames that lie evenly over its time: float64 [frames]."""
    times = (np.arange(frames) + 0.5) * (scores.edges[-1] / frames)
    index = np.clip(np.searchsorted(scores.edges, times, side="right") - 1, 0, len(scores.scores) - 1)
    spread: Floats = scores.scores.astype(np.float64)[index]
    return spread


@dataclass(frozen=True)
class Pool:
    """Frames of many videos, sorted by falling score once, so that a resampled figure costs two sums."""

    video: npt.NDArray[np.int64]  # which video each run of frames belongs to
    pos: Floats  # anomalous frames of the run
    neg: Floats
    ends: npt.NDArray[np.int64]  # last run of each distinct score
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
        joined[0], joined[1].astype(float), joined[2].astype(float), ends, len(scores),
        np.array([bool(y.any()) for y in labels]),
    )  # fmt: skip


def largest_tie(found: Pool) -> float:
    """Share of all frames under the commonest score: where it is large, the two definitions of AP part."""
    sizes = np.add.reduceat(found.pos + found.neg, np.append(0, found.ends[:-1] + 1))
    return float(sizes.max() / sizes.sum())


@dataclass(frozen=True)
class Measured:
    """What a score file gives on a data set: its pool, its single videos, its detections; figures with and without resampling.

    single: AUC of each video that has both kinds of frames. alarms: runs above the threshold that touch no anomalous frame, and hours,
    by video. found: detections by mode, None without class scores.
    """

    pool: Pool
    single: Floats
    alarms: Floats
    hours: Floats
    found: dict[str, Found | None]

    def figures(self, times: Floats) -> dict[str, float]:
        """Every figure with each video taken `times` times."""
        taken = times * ~np.isnan(self.single)
        hours = float((times * self.hours).sum())
        figures = self.pool.measure(times)
        figures["mean_video_auc"] = (
            float((taken * np.nan_to_num(self.single)).sum() / taken.sum()) if taken.any() else float("nan")
        )
        figures["false_alarms_per_hour"] = float((times * self.alarms).sum()) / hours if hours else float("nan")
        for mode, found in self.found.items():
            if found:
                figures[f"map_{mode}"] = mean_ap(found, times)["mean"]
        return figures


def measure(
    dataset: Dataset, scores: Scores, convention: str, *, threshold: float = 0.5, rate: float | None = None
) -> tuple[Measured, dict[str, Any]]:
    """The measured pool, and every figure without its interval.

    rate: scores a second, for a person's own videos whose scores are bare arrays. Raises InputError that names all videos without scores.
    """
    missing = [v.name for v in dataset.videos if v.name not in scores]
    if missing:
        raise InputError(
            f"no scores for {len(missing)} of {len(dataset.videos)} videos: {', '.join(missing[:10])}{' ...' * (len(missing) > 10)}"
        )
    extra = sorted(scores.keys() - {v.name for v in dataset.videos})
    if extra:
        told = f"{', '.join(extra[:5])}{' ...' * (len(extra) > 5)}"
        Console(stderr=True).print(
            f"{len(extra)} score files belong to no video of this set and count nowhere: {told}", markup=False
        )
    pairs = [_spread(v, scores[v.name], convention, rate) for v in dataset.videos]
    videos, spread = [v for v, _ in pairs], [s for _, s in pairs]
    labels = [truth(v, convention) for v in videos]
    found = _detections(videos, spread, dataset.classes)
    flat = [s if s.ndim == 1 else 1 - s[:, 0] for s in spread]
    both = pool(flat, labels)
    single = [pool([s], [y]).measure(np.ones(1))["auc"] for s, y in zip(flat, labels, strict=True)]
    alarms = [sum(not y[a:b].any() for a, b in runs(s > threshold)) for s, y in zip(flat, labels, strict=True)]
    hours = np.array([len(y) for y in labels]) / dataset.rate / 3600
    measured = Measured(both, np.array(single), np.array(alarms, float), hours, found)
    facts: dict[str, Any] = measured.figures(np.ones(len(videos)))
    normal = ~both.anomalous
    classes = {}
    for label in dataset.classes:
        of_class = np.array([label in v.classes for v in videos])
        if not of_class.any():
            continue
        figures = both.measure((of_class | normal).astype(float))
        classes[label] = {k: figures[k] for k in ("auc", "auc_anomalous", "ap_step")} | {"videos": int(of_class.sum())}
    maps = {f"map_{mode}": mean_ap(f, np.ones(len(videos))) if f else None for mode, f in found.items()}
    return measured, {
        **facts, **maps, "largest_tie": largest_tie(both), "per_class": classes, "threshold": threshold,
        "frames": int(sum(map(len, labels))), "positives": int(sum(int(y.sum()) for y in labels)), "convention": convention,
    }  # fmt: skip


def _spread(
    video: Labelled, scores: Floats | ScoreTrack, convention: str, rate: float | None
) -> tuple[Labelled, Floats]:
    """A video whose length is known, and its scores for each counted frame."""
    if isinstance(scores, ScoreTrack):
        video = video if video.frames else with_length(video, max(1, round(float(scores.edges[-1]) * OWN_RATE)))
        return video, align(framed(scores, video.frames), video.frames, CONVENTIONS[convention](video), video.name)
    if video.frames:
        return video, align(scores, video.frames, CONVENTIONS[convention](video), video.name)
    if rate is None:
        raise InputError(
            f"{video.name}: how long is it? for your own videos give vlad's analyses as --scores, or --rate, scores a second"
        )
    video = with_length(video, max(1, round(len(scores) / rate * OWN_RATE)))
    index = np.minimum((np.arange(video.frames) / OWN_RATE * rate).astype(int), len(scores) - 1)
    return video, align(scores[index], video.frames, CONVENTIONS[convention](video), video.name)


def _detections(videos: Sequence[Labelled], spread: Sequence[Floats], names: Sequence[str]) -> dict[str, Found | None]:
    """Detections in both modes; None where there are no class scores. Raises InputError for a wrong number of classes.

    `standard` counts what frame labels can tell: spans of one class that overlap are one, and none overruns the video. `vadclip` takes
    the published spans as they are.
    """
    if all(s.ndim == 1 for s in spread):
        return dict.fromkeys(MODES)
    wrong = [v.name for v, s in zip(videos, spread, strict=True) if s.ndim != 2 or s.shape[1] != 1 + len(names)]
    if wrong:
        raise InputError(f"{', '.join(wrong[:5])}: expected 1 + {len(names)} columns: normal, {', '.join(names)}")
    published = [
        Truth(s, tuple((a, b, 1 + names.index(c)) for c, a, b in v.events)) for v, s in zip(videos, spread, strict=True)
    ]
    return {"standard": find([_by_frame(t) for t in published], "standard"), "vadclip": find(published, "vadclip")}


def _by_frame(video: Truth) -> Truth:
    spans = []
    for column in sorted({c for _, _, c in video.spans}):
        labels = np.zeros(len(video.scores), bool)
        for start, end, c in video.spans:
            labels[start:end] |= c == column
        spans += [(a, b, column) for a, b in runs(labels)]
    return Truth(video.scores, tuple(spans))


def intervals(found: Measured, other: Measured | None = None) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals over videos of each figure, or of its difference to `other` over the same videos."""
    rng, count = np.random.default_rng(0), len(found.hours)
    draws: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        times = np.bincount(rng.integers(0, count, count), minlength=count).astype(float)
        ours, theirs = found.figures(times), other.figures(times) if other else {}
        for name, value in ours.items():
            if other is None or name in theirs:
                draws.setdefault(name, []).append(value - theirs.get(name, 0.0))
    return {name: _middle(values) for name, values in draws.items()}


def _middle(values: list[float]) -> tuple[float, float]:
    kept = [v for v in values if not np.isnan(v)]
    if not kept:
        return float("nan"), float("nan")
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def draw(found: Measured, dataset: Dataset, folder: Path) -> list[Path]:
    """ROC and PR curves as roc.png and pr.png, and with each class against all normal videos as roc_classes.png and pr_classes.png.

    Raises SettingsError without matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise SettingsError("--pictures needs matplotlib: pip install '.[eval]' where vlad lies") from None
    every = {"scores": np.ones(found.pool.videos)}
    classes = {c: np.array([not v.spans or c in v.classes for v in dataset.videos], float) for c in dataset.classes}
    classes = {c: times for c, times in classes.items() if (times * found.pool.anomalous).any()}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, curves in (("", every), ("_classes", classes)):
        for kind, (across, up) in {"roc": ("false positive rate", "true positive rate"), "pr": ("recall", "precision")}.items():  # fmt: skip
            if not curves:
                continue
            figure = Figure(figsize=(5, 5) if not suffix else (7, 5), dpi=120, layout="constrained")
            axes = figure.subplots()
            axes.set_prop_cycle(color=matplotlib.colormaps["tab20"](np.arange(20)))
            for name, times in curves.items():
                tp, fp = found.pool.curve(times)
                hit, share = tp / max(tp[-1], 1), tp[-1] / max(tp[-1] + fp[-1], 1)
                x, y = (fp / max(fp[-1], 1), hit) if kind == "roc" else (hit, tp / np.maximum(tp + fp, 1))
                axes.plot(x, y, label=name, **({"color": "#1f5fa8"} if not suffix else {"linewidth": 1}))
                if not suffix:
                    axes.plot([0, 1], [0, 1] if kind == "roc" else [share, share], color="0.6", linestyle="--", label="constant score")  # fmt: skip
            axes.set(xlabel=across, ylabel=up, xlim=(0, 1), ylim=(0, 1.01))
            if suffix:
                axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
            else:
                axes.legend(loc="lower right" if kind == "roc" else "upper right")
            figure.savefig(folder / f"{kind}{suffix}.png")
            written.append(folder / f"{kind}{suffix}.png")
    return written


def main(argv: Sequence[str]) -> int:
    """Measure and print. Raises InputError for files that do not fit; wrong options end the program with 2, as argparse does."""
    parser = argparse.ArgumentParser(prog="vlad eval detection")
    parser.add_argument(
        "--dataset",
        required=True,
        help=f"{', '.join([*DATASETS, *MASKED])}, or a CSV of your own: path,label[,start,end]",
    )
    parser.add_argument("--scores", required=True, type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--order", type=Path, help="names of the videos, one a line, for a CSV that numbers them")
    parser.add_argument("--frames", choices=list(CONVENTIONS), help="frames counted; i3d, for your own CSV all")
    parser.add_argument("--threshold", type=float, default=0.5, help="of the false alarms")
    parser.add_argument("--rate", type=float, help="scores a second, for a CSV of your own with bare scores")
    parser.add_argument("--pictures", type=Path, help="folder for the ROC and PR curves")
    parser.add_argument("--annotations", type=Path, help="the original file; of the last five a folder of masks")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(list(argv))
    if given.dataset in MASKED and given.annotations:
        dataset = read_masks(given.dataset, given.annotations)
    else:
        dataset = load_dataset(given.dataset)
        if given.annotations:
            dataset = read_annotations(given.annotations, dataset)
    order = _read_order(given.order) if given.order else None
    frames = given.frames or ("i3d" if given.dataset in DATASETS else "all")
    found, facts = measure(
        dataset, read_scores(given.scores, dataset, order), frames, threshold=given.threshold, rate=given.rate
    )
    if leaked := trained_on(given.scores):
        print(
            f"warning: nano learnt from {len(leaked)} of these videos with their labels ({', '.join(leaked[:5])} ...): this is no measure of it; "
            "its card names them, and `vlad eval nano` measures it by folds",
            file=sys.stderr,
        )
    facts["ci"] = intervals(found)
    if given.against:
        other, _ = measure(
            dataset, read_scores(given.against, dataset, order), frames, threshold=given.threshold, rate=given.rate
        )
        once = np.ones(len(dataset.videos))
        ours, others = found.figures(once), other.figures(once)
        difference = {n: v - others[n] for n, v in ours.items() if n in others}
        facts["against"] = {"difference": difference, "ci": intervals(found, other)}
    if given.pictures:
        facts["pictures"] = [str(p) for p in draw(found, dataset, given.pictures)]
    if given.json:
        print(json.dumps(_plain(facts), allow_nan=False))
    else:
        _show(facts)
    return 0


NAMES = {
    "auc": "frame AUC", "auc_anomalous": "frame AUC, anomalous videos", "ap_trapezoid": "AP (trapezoid)", "ap_step": "AP (step)",
    "mean_video_auc": "mean per-video AUC", "false_alarms_per_hour": "false alarms an hour", "map_standard": "mAP, mean (standard)",
    "map_vadclip": "mAP, mean (vadclip)",
}  # fmt: skip


def _show(facts: dict[str, Any]) -> None:
    table = Table("measure", "figure", "95 % over videos", "difference", "95 %", title=f"{facts['frames']:,} frames, {facts['positives']:,} anomalous ({facts['convention']})")  # fmt: skip
    for name, (low, high) in facts["ci"].items():
        value = facts[name]["mean"] if isinstance(facts[name], dict) else facts[name]
        row = [NAMES[name], f"{value:.6f}", f"{low:.4f} to {high:.4f}"]
        if name in facts.get("against", {}).get("ci", {}):
            a, b = facts["against"]["ci"][name]
            row += [f"{facts['against']['difference'][name]:+.4f}", f"{a:+.4f} to {b:+.4f}"]
        table.add_row(*row)
    table.add_row("largest tie", f"{facts['largest_tie']:.2%}")
    for mode in MODES:
        figures = facts[f"map_{mode}"]
        said = ", ".join(f"{figures[k]:.2f} at {k}" for k in map(str, IOUS)) if figures else "no class scores given"
        table.add_row(f"mAP by IoU ({mode})", said)
    table.caption = f"false alarms: runs above {facts['threshold']:g} that touch no anomalous frame"
    show_table(table, width=120)
    classes = Table(
        "class", "videos", "AUC", "AUC, its own videos", "AP (step)", title="each class against all normal videos"
    )
    for label, c in facts["per_class"].items():
        classes.add_row(label, str(c["videos"]), f"{c['auc']:.4f}", f"{c['auc_anomalous']:.4f}", f"{c['ap_step']:.4f}")
    show_table(classes, width=120)
