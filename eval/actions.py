"""Actions in untrimmed video as ActivityNet and THUMOS measure them: mAP over spans, and over tubes where boxes are given.

    vlad eval actions --truth FILE.json --found FILE.json|FOLDER [--subset validation] [--ious activitynet|thumos|vad] [--json]

In: truth as `{"database": {VIDEO: {"subset", "annotations": [{"label", "segment": [start, end]}]}}}`, detections as `{"results": {VIDEO: [{"label",
"score", "segment"}]}}`, times in seconds, or a folder of vlad's own analyses NAME.json. An annotation or a result with `"boxes": [[time, x, y, width,
height], ...]` is a tube: which person or thing, from when to when, boxes in shares of the picture. Out: mAP at each IoU and their mean with a 95 %
interval over videos, and each class's AP; the same over tubes. AP is interpolated, a span is found once, by the highest score (ActivityNet's
eval_detection.py; THUMOS'14 is read in the same JSON). The IoU of tubes is that in time multiplied by the mean IoU of their boxes while both last
(Weinzaepfel et al. 2015). Knows no model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from vlad.errors import InputError
from vlad.report import from_json
from vlad.segments import iou
from vlad.tracks import overlaps, tubes

from .verb import show_table

IOUS: Mapping[str, tuple[float, ...]] = {
    "activitynet": tuple(np.linspace(0.5, 0.95, 10).round(2)),
    "thumos": (0.3, 0.4, 0.5, 0.6, 0.7),
    "vad": (0.1, 0.2, 0.3, 0.4, 0.5),
}
ROUNDS = 1000
TICKS = 32  # moments at which the boxes of two tubes are compared
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Action:
    """A span [start, end] (s) of a class with its score in any unit (1 for truth); boxes float [N, 5]: time (s), x, y, width, height; None: no tube."""

    label: str
    start: float
    end: float
    score: float = 1.0
    boxes: Floats | None = None

    def at(self, times: Floats) -> Floats:
        """Its box at each time, in a straight line between those that are given: float [N, 4]."""
        assert self.boxes is not None
        return np.stack([np.interp(times, self.boxes[:, 0], self.boxes[:, k]) for k in (1, 2, 3, 4)], axis=1)


Actions = Mapping[str, Sequence[Action]]  # by video


def _read(path: Path, key: str) -> Mapping[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        found = facts[key]
        if not isinstance(found, dict):
            raise TypeError(f"{key} is no table")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file with {key!r} ({str(error)[:120]})") from None
    return found


def _action(row: Any, *, scored: bool) -> Action:
    """Raises TypeError, ValueError or KeyError for what is none."""
    start, end = (float(x) for x in row["segment"])
    boxes = np.array(row["boxes"], np.float64).reshape(-1, 5) if row.get("boxes") else None
    score = float(row["score"]) if scored else 1.0
    numbers = [start, end, score, *(() if boxes is None else boxes.ravel())]
    if (
        not np.isfinite(numbers).all()
        or start > end
        or (start == end and not scored)
        or (boxes is not None and (np.diff(boxes[:, 0]) <= 0).any())
    ):
        raise ValueError("times must be finite and rise")
    return Action(str(row["label"]), start, end, score, boxes)


def _actions(videos: Mapping[str, Any], source: Path, *, scored: bool) -> dict[str, list[Action]]:
    found: dict[str, list[Action]] = {}
    faults = []
    for name, rows in videos.items():
        try:
            found[name] = [_action(row, scored=scored) for row in rows]
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            faults.append(f"{name} ({str(error)[:60]})")
    if faults:
        raise InputError(f"{source}: {len(faults)} videos cannot be used: {', '.join(faults[:20])}")
    return found


def read_truth(path: Path, subset: str) -> dict[str, list[Action]]:
    """Annotations of a subset, `''` for all. Raises InputError that lists every video that cannot be used, and where none is of the subset."""
    videos = _read(path, "database")
    subsets = {str(v.get("subset", "")) for v in videos.values() if isinstance(v, dict)}
    chosen = {
        name: v.get("annotations", ())
        for name, v in videos.items()
        if isinstance(v, dict) and (not subset or v.get("subset") == subset)
    }
    if not chosen:
        raise InputError(f"{path}: no video of subset {subset!r}; it has {', '.join(sorted(subsets)) or 'none'}")
    return _actions(chosen, path, scored=False)


def read_found(source: Path) -> dict[str, list[Action]]:
    """Detections of a results file, or of a folder of vlad's analyses: a segment each, and a tube for everyone who was there. Raises InputError."""
    if not source.is_dir():
        return _actions(_read(source, "results"), source, scored=True)
    found: dict[str, list[Action]] = {}
    for path in sorted(source.glob("*.json")):
        try:
            analysis = from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, InputError) as error:
            raise InputError(f"{path}: {error}") from None
        own = [Action(s.label, s.start, s.end, s.peak) for s in analysis.segments]
        tracks = {t.id: t for t in analysis.tracks}
        for tube in tubes(analysis.segments, analysis.tracks):
            track = tracks[tube.track]
            own.append(Action(tube.label, tube.start, tube.end, tube.score, np.column_stack([track.times, track.boxes]).astype(np.float64)))  # fmt: skip
        found[path.stem] = own
    if not found:
        raise InputError(f"{source}: holds no analysis (.json)")
    return found


def overlap(a: Action, b: Action) -> float:
    """IoU of two spans in time, in [0, 1]."""
    return iou((a.start, a.end), (b.start, b.end))


def tube_overlap(a: Action, b: Action) -> float:
    """IoU of two tubes, in [0, 1]."""
    low, high = max(a.start, b.start), min(a.end, b.end)
    if high < low:
        return 0.0
    times = np.linspace(low, high, TICKS)
    return overlap(a, b) * float(np.mean([overlaps(p[None], q[None])[0, 0] for p, q in zip(a.at(times), b.at(times), strict=True)]))  # fmt: skip


@dataclass(frozen=True)
class Ranked:
    """Detections of a class, strongest first: the place of each one's video int [n], whether it finds a true span bool [IoUs, n]; true spans by video."""

    video: npt.NDArray[np.int64]
    hit: npt.NDArray[np.bool_]
    spans: Floats


def rank(
    truth: Sequence[Sequence[Action]], found: Sequence[Sequence[Action]], ious: Sequence[float],
    alike: Callable[[Action, Action], float],
) -> Ranked:  # fmt: skip
    """Hits of one class, its actions by video in the same order: each true span is found once, by the highest score that overlaps it enough."""
    ordered = sorted(((i, a) for i, own in enumerate(found) for a in own), key=lambda pair: -pair[1].score)
    hit = np.zeros((len(ious), len(ordered)), bool)
    taken: set[tuple[int, int, int]] = set()
    for n, (video, action) in enumerate(ordered):
        fits = sorted(((alike(action, t), k) for k, t in enumerate(truth[video])), reverse=True)
        for row, least in enumerate(ious):
            best = next((k for fit, k in fits if fit >= least and (row, video, k) not in taken), None)
            if best is not None:
                taken.add((row, video, best))
                hit[row, n] = True
    return Ranked(np.array([v for v, _ in ordered], np.int64), hit, np.array([len(t) for t in truth], float))


def average_precision(ranked: Ranked, times: Floats) -> Floats:
    """Interpolated AP at each IoU, in [0, 1], with each video taken `times` times; nan without a true span."""
    total = float((times * ranked.spans).sum())
    if not total:
        return np.full(len(ranked.hit), np.nan)
    weight = times[ranked.video]
    found = []
    for hit in ranked.hit:
        true, seen = np.cumsum(weight * hit), np.cumsum(weight)
        precision = np.divide(true, seen, out=np.zeros_like(true), where=seen > 0)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        found.append(float((np.diff(true / total, prepend=0.0) * envelope).sum()))
    return np.array(found)


def measure(truth: Actions, found: Actions, ious: Sequence[float], *, boxes: bool = False) -> dict[str, Any]:
    """mAP at each IoU, their mean, its 95 % interval over resampled videos, and the mean AP of each class that is in the truth. boxes: of tubes.

    Detections in videos that are not in the truth are wrong ones, as in the published code; those of classes that are not count nowhere. Raises InputError where there is no truth.
    """
    names = sorted(truth.keys() | found.keys())
    plain = any(a.boxes is None for own in found.values() for a in own)  # else tubes are the spans, too

    def of(actions: Actions, label: str, wanted: Callable[[Action], bool]) -> list[list[Action]]:
        return [[a for a in actions.get(n, ()) if a.label == label and wanted(a)] for n in names]

    def true(a: Action) -> bool:
        return not boxes or a.boxes is not None

    def told(a: Action) -> bool:
        return (a.boxes is not None) == boxes or not (boxes or plain)

    labels = sorted({a.label for own in truth.values() for a in own if true(a)})
    if not labels:
        raise InputError("the truth holds no action")
    alike = tube_overlap if boxes else overlap
    ranked = [rank(of(truth, label, true), of(found, label, told), ious, alike) for label in labels]

    def figures(times: Floats) -> Floats:
        return np.array([average_precision(r, times) for r in ranked])

    once = figures(np.ones(len(names)))
    rng = np.random.default_rng(0)
    draws = [np.nanmean(figures(np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names)).astype(float))) for _ in range(ROUNDS)]  # fmt: skip
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return {
        "map": {f"{k:g}": float(v) for k, v in zip(ious, np.nanmean(once, axis=0), strict=True)},
        "mean": float(np.nanmean(once)), "ci": [float(low), float(high)],
        "per_class": dict(zip(labels, np.nanmean(once, axis=1).tolist(), strict=True)),
        "videos": len(names), "spans": int(sum(r.spans.sum() for r in ranked)),
    }  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Measure and print. Raises InputError for files that do not fit; wrong options end the program with 2, as argparse does."""
    parser = argparse.ArgumentParser(prog="vlad eval actions")
    parser.add_argument("--truth", required=True, type=Path)
    parser.add_argument("--found", required=True, type=Path)
    parser.add_argument("--subset", default="", help="such as validation; all without")
    parser.add_argument("--ious", choices=list(IOUS), default="activitynet")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(list(argv))
    truth, found = read_truth(given.truth, given.subset), read_found(given.found)
    ious = IOUS[given.ious]
    facts = {"spans": measure(truth, found, ious)}
    if any(a.boxes is not None for own in truth.values() for a in own):
        facts["tubes"] = measure(truth, found, ious, boxes=True)
    if given.json:
        print(json.dumps(facts))
        return 0
    table = Table("over", "mean mAP", "95 % over videos", *(f"at {k:g}" for k in ious))
    for name, of in facts.items():
        low, high = of["ci"]
        table.add_row(name, f"{of['mean']:.4f}", f"{low:.4f} to {high:.4f}", *(f"{v:.4f}" for v in of["map"].values()))
    classes = Table("class", *facts)
    for label in facts["spans"]["per_class"]:
        classes.add_row(label, *(f"{of['per_class'].get(label, float('nan')):.4f}" for of in facts.values()))
    show_table(table)
    show_table(classes)
    return 0
