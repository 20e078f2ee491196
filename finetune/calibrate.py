"""The threshold of a scorer from normal footage, and scores that are probabilities.

    vlad calibrate SCORER --normal CLIPS --false-alarms-per-hour X [--validation OWN.csv] -o DIR
    vlad calibrate --camera NAME --library FOLDER --false-alarms-per-hour X

In: clips on which nothing happens; perhaps a CSV `path,label,start,end` (seconds) of clips with truth. Out: the scorer's folder with
calibration.json, which the line reads: the threshold that keeps the rate, and Platt's or the isotonic map. The threshold is conformal
(Angelopoulos et al. 2024, "Conformal Risk Control"): of all minutes like those shown, the expected share with an alarm is at most X / 60.
With --camera it is that camera's, in its library, by the scores of its own clips and stream in which nobody confirmed anything, held as its alarms hold them. All of it
holds for minutes exchangeable with these: the same cameras and habits. Minutes of one clip are alike, so more clips mean more.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track as bar
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from vlad.config import Settings
from vlad.errors import InputError
from vlad.library import Library
from vlad.live.normal import SINCE, camera_threshold, conformal_threshold, highest_of
from vlad.live.raising import rule_for
from vlad.pipeline import Analyzer
from vlad.scorers import CALIBRATION
from vlad.scorers.head import Calibration
from vlad.segments import smooth
from vlad.types import ScoreTrack

from .extract import find_videos
from .score import copy_scorer, load

BINS = 10
FOLDS = 5
Floats = npt.NDArray[np.float64]


def blocks(tracks: Sequence[ScoreTrack], seconds: float) -> Floats:
    """The highest smoothed score of each minute of footage, the clips put one behind the other: float64 [N].

    What is over belongs to the last minute, so that no block is shorter; less than a minute in all is none.
    """
    return highest_of([smooth(t, seconds) for t in tracks], [np.diff(t.edges) for t in tracks])


def run_camera(library: Library, camera: str, rate: float) -> list[str]:
    """Hold a library's camera to a threshold by its own normal hours; what was found, a line each. Raises VladError."""
    row = library.camera_named(camera)
    rule = replace(rule_for(row), zones=(), muted_until=0.0)
    parts = [
        (e[open_], s[open_])
        for e, s in library.normal_scores(camera)
        for open_ in [np.array([e[0, 0] < SINCE or not rule.closed(float(end)) for end in e[:, 1]], bool)]
    ]
    facts = camera_threshold(parts, rate, rule)
    library.calibrate_camera("command line", row.id, facts)
    (low, high), (least, most) = facts["interval"], facts["alarms_an_hour"]
    return [
        f"threshold {facts['enter']:.4f} (95 %: {low:.4f} to {high:.4f}, by hours) on {facts['blocks']} minutes, {facts['hours']:.2f} h of normal scores",
        f"in them it raises {facts['alarms']} alarms, {facts['alarms'] / facts['hours']:.2f} an hour (95 %: {least:.2f} to {most:.2f})",
        f"expected on hours like these: at most {rate:g} an hour (conformal); verdicts on its alarms move it from here",
        *(["its zones were left out, since no boxes are kept with scores: with them it raises fewer"] if rule_for(row).zones else []),
    ]  # fmt: skip


def fit_map(scores: Floats, truth: Floats) -> dict[str, list[float]]:
    """Platt's scaling of the logit where there are few anomalous snippets, else the isotonic map; as points [x], [y] to read between."""
    x = np.linspace(0, 1, 201)
    if truth.sum() < 200:
        model = LogisticRegression(C=1e6).fit(logit(scores)[:, None], truth)
        return {"x": x.tolist(), "y": model.predict_proba(logit(x)[:, None])[:, 1].tolist()}
    rising = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, truth)
    return {"x": x.tolist(), "y": rising.predict(x).tolist()}


def logit(p: Floats) -> Floats:
    """log(p / (1 - p)), p kept 1e-4 off 0 and 1."""
    p = np.clip(p, 1e-4, 1 - 1e-4)
    found: Floats = np.log(p / (1 - p))
    return found


def reliability(scores: Floats, truth: Floats) -> tuple[list[tuple[float, float, int]], float]:
    """(mean score, share of truth, snippets) of each bin of scores, and their expected calibration error (Naeini et al. 2015)."""
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    rows = [
        (float(scores[place == k].mean()), float(truth[place == k].mean()), int((place == k).sum()))
        for k in range(BINS)
        if (place == k).any()
    ]
    return rows, sum(n * abs(a - b) for a, b, n in rows) / len(scores)


def read_truth(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Clip -> spans in seconds, of a CSV `path,label[,start,end]`; the label normal has none. Raises InputError."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            spans = found.setdefault(row["path"], [])
            if row["label"].lower() != "normal":
                spans.append((float(row["start"]), float(row["end"])))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected a CSV path,label,start,end in seconds ({error})") from None
    return found


def snippets_of(tracks: Sequence[ScoreTrack], spans: Sequence[Sequence[tuple[float, float]]]) -> tuple[Floats, Floats]:
    """Scores and truth of every snippet, by its middle: float64 [N] each."""
    scores, truth = [], []
    for t, own in zip(tracks, spans, strict=True):
        middle = (t.edges[:-1] + t.edges[1:]) / 2
        scores.append(t.scores.astype(np.float64))
        truth.append(
            np.any([(middle >= a) & (middle < b) for a, b in own], axis=0) if own else np.zeros(len(middle), bool)
        )
    return np.concatenate(scores), np.concatenate(truth).astype(np.float64)


def cross_validated(
    tracks: Sequence[ScoreTrack], spans: Sequence[Sequence[tuple[float, float]]]
) -> tuple[Floats, Floats, Floats] | None:
    """Scores, probabilities by maps that never saw the clip, and truth of every snippet; None with fewer than two anomalous clips.

    Anomalous clips are dealt out evenly, so that every map sees one.
    """
    folds = min(FOLDS, sum(map(bool, spans)))
    if folds < 2:
        return None
    order = np.random.default_rng(0).permutation(len(tracks)).tolist()
    order.sort(key=lambda i: not spans[i])
    parts: list[tuple[Floats, Floats, Floats]] = []
    for fold in range(folds):
        theirs = sorted(order[fold::folds])
        ours = [i for i in range(len(tracks)) if i not in theirs]
        points = fit_map(*snippets_of([tracks[i] for i in ours], [spans[i] for i in ours]))
        scores, truth = snippets_of([tracks[i] for i in theirs], [spans[i] for i in theirs])
        parts.append((scores, np.interp(scores, points["x"], points["y"]), truth))
    return tuple(np.concatenate(p) for p in zip(*parts, strict=True))  # type: ignore[return-value]


def draw(raw: Floats, mapped: Floats, truth: Floats, path: Path) -> None:
    """Reliability before and after, on held-out clips; nothing without matplotlib, which is an extra."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(5, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="calibrated")
    for scores, name, colour in ((raw, "score", "#D55E00"), (mapped, "probability", "#0072B2")):
        rows, error = reliability(scores, truth)
        axes.plot(
            [r[0] for r in rows], [r[1] for r in rows], marker="o", color=colour, label=f"{name}, error {error:.3f}"
        )
    axes.set(xlabel="mean score of a bin", ylabel="share of anomalous snippets", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.savefig(path)


def run(
    scorer: str, settings: Settings, out: Path, *, normal: Sequence[Path], rate: float, validation: Path | None
) -> list[str]:
    """Calibrate into `out`; what was found, a line each. Raises VladError."""
    loaded = load(scorer, settings)
    loaded.calibration = Calibration()  # an older one has no part in it
    analyzer = Analyzer(settings, scorer=loaded)

    def scored(paths: Sequence[Path]) -> list[ScoreTrack]:
        return [analyzer.score(analyzer.features(p)[0]) for p in bar(paths, "clips", transient=True)]

    lines, chart = [], None
    points: dict[str, list[float]] = {}
    probability: Callable[[ScoreTrack], ScoreTrack] = lambda t: t  # noqa: E731
    if validation:
        truth = read_truth(validation)
        paths = [validation.parent / p for p in truth]
        tracks, spans = scored(paths), list(truth.values())
        if not any(spans) or len(tracks) < 2:
            raise InputError(f"{validation}: a map of probabilities takes two clips or more, one of them anomalous")
        known = snippets_of(tracks, spans)
        if len(set(known[1])) < 2:
            raise InputError(
                f"{validation}: its spans cover {'every' if known[1].any() else 'no'} snippet; a map takes both kinds"
            )
        points = fit_map(*known)
        chart = cross_validated(tracks, spans)
        if chart:
            raw, mapped, labels = chart
            before, after = reliability(raw, labels)[1], reliability(mapped, labels)[1]
            lines.append(f"calibration error on held-out clips: {before:.3f} before, {after:.3f} after")
        else:
            lines.append("calibration error not measured: that takes two anomalous clips or more")
        probability = Calibration(x=tuple(points["x"]), y=tuple(points["y"])).mapped
    tracks = [probability(t) for t in scored(list(find_videos(normal).values()))]
    highest = blocks(tracks, settings.smooth_seconds)
    threshold = conformal_threshold(highest, rate)
    hours = sum(float(t.edges[-1]) for t in tracks) / 3600
    facts: dict[str, Any] = {
        "enter": threshold, "false_alarms_per_hour": rate, "blocks": len(highest),
        "hours": hours, **points,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    copy_scorer(scorer, out, without=CALIBRATION)
    (out / CALIBRATION).write_text(json.dumps(facts, indent=1) + "\n")
    if chart:
        draw(*chart, out / "reliability.png")
    over = int((highest >= threshold).sum())
    return [
        *lines,
        f"threshold {threshold:.4f} on {len(highest)} blocks of a minute ({hours:.2f} h): {over} reach it",
        f"expected on normal footage like this: at most {rate:g} minutes an hour with an alarm (conformal; the clips must be like those to come)",
        f"in {out}; use it with --set scorer_weights={out}",
    ]
