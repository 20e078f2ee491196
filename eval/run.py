"""Measure and print: every figure beside its bar, its control and its interval.

    vlad eval nano   [videos=200] [data=FOLDER] [work=runs/eval] [only=sim,real] [first=1000000]
    vlad eval memory [seconds=3600] [work=runs/eval]
    vlad eval all    [data=FOLDER] [quick=true] ...                  (see everything.py)
    vlad eval scorers [heads=mil,...] [seeds=3] ...                  (see scorers.py)
    vlad eval clicks  [heads=mil,ur-dmu] [seeds=3] ...               (see clicks.py)
    vlad eval normality [models=fill,vae,...] [sites=4] ...          (see normality.py)
    vlad eval movement [only=paths,sites,ped2] [sites=2] ...         (see movement.py)
    vlad eval moved data=FOLDER                                      (see moved.py)
    vlad eval relations [clips=8] [data=FOLDER]                      (see relations.py)
    vlad eval again data=FOLDER                                      (see again.py)
    vlad eval descriptors tubes=FOLDER [data=FOLDER] ...             (see descriptors.py)
    vlad eval fewshot [sites=10] [shots=1,5,10] ...                  (see fewshot.py)
    vlad eval calibration [rates=2,4] [rounds=10] ...                (see calibration.py)
    vlad eval alarms  [rates=2,4] [rounds=10] [data=FOLDER] ...      (see alarms.py)
    vlad eval adapter [base=nano] [adapter=nano] ...                 (see adapter.py)
    vlad eval captions data=FOLDER [folds=2] ...                     (see captions.py)
    vlad eval judge server=URL model=NAME data=FOLDER ...            (see judge.py)
    vlad eval privacy data=FOLDER [photos=40] ...                    (see privacy.py)
    vlad eval anonymised data=FOLDER [how=mosaic] ...                (see anonymised.py)
    vlad eval rules   [parts=paths,clips,...] [data=FOLDER] ...      (see rules.py)
    vlad eval injection [videos=40] ...                              (see injection.py)
    vlad eval speed [PART...] [seconds=30] [clip=FILE] ...           (see speed.py)
    vlad eval gating [days=48] [seconds=120] ...                     (see gating.py)
    vlad eval live [seconds=60] [quiet=8] [busy=3] ...              (see live.py)
    vlad eval soak [hours=12] [speed=20] ...                        (see soak.py)
    vlad eval explanations --predictions FILE --references FILE ...  (see words.py)
    vlad eval actions --truth FILE --found FILE_OR_FOLDER ...        (see actions.py)
    vlad eval detection --dataset NAME --scores CSV_OR_FOLDER ...    (see detection.py)

In: options as key=value. Out: a table, WORK/NAME.json, and exit status 1 where a bar is missed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress
from rich.table import Table

from vlad.config import make_settings
from vlad.errors import SettingsError
from vlad.pipeline import Analyzer, versions
from vlad.segments import iou

from . import (
    actions,
    adapter,
    again,
    alarms,
    anonymised,
    benchmarks,
    calibration,
    captions,
    clicks,
    descriptors,
    detection,
    everything,
    explanations,
    fewshot,
    footage,
    gating,
    injection,
    judge,
    live,
    metrics,
    moved,
    movement,
    normality,
    privacy,
    real,
    relations,
    rules,
    scorers,
    soak,
    speed,
    words,
)
from .metrics import Figure, bootstrap
from .verb import show_table

DEFAULTS = {
    "nano": {
        "videos": "200",
        "data": os.environ.get("VLAD_DATA", ""),
        "work": "runs/eval",
        "only": "sim,real",
        "first": str(benchmarks.EVAL_SEEDS),
    },  # of the simulated seeds
    "memory": {"seconds": "3600", "work": "runs/eval"},
}
OTHERS: dict[str, Callable[[Sequence[str]], int]] = {
    "actions": actions.main,
    "again": again.main,
    "detection": detection.main,
    "scorers": scorers.main,
    "clicks": clicks.main,
    "descriptors": descriptors.main,
    "fewshot": fewshot.main,
    "moved": moved.main,
    "movement": movement.main,
    "normality": normality.main,
    "alarms": alarms.main,
    "calibration": calibration.main,
    "explanations": words.main,
    "adapter": adapter.main,
    "captions": captions.main,
    "judge": judge.main,
    "injection": injection.main,
    "privacy": privacy.main,
    "anonymised": anonymised.main,
    "relations": relations.main,
    "rules": rules.main,
    "speed": speed.main,
    "gating": gating.main,
    "live": live.main,
    "soak": soak.main,
}  # verbs with options of their own


@dataclass(frozen=True)
class Row:
    """One line of the table. bar: None where there is none; most: the bar is an upper one. control: what learns nothing gets."""

    on: str
    measure: str
    figure: Figure
    bar: float | None = None
    most: bool = False
    control: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.figure.value <= self.bar if self.most else self.figure.value >= self.bar


def plain(value: float) -> Figure:
    """A figure without an interval."""
    return Figure(value, float("nan"), float("nan"))


def main(argv: Sequence[str]) -> int:
    """Run one of the verbs; 1 where a bar is missed. Raises SettingsError for wrong options."""
    if argv and argv[0] in OTHERS:
        return OTHERS[argv[0]](argv[1:])
    if argv and argv[0] == "all":
        return everything.main(argv[1:], {**OTHERS, "nano": lambda given: main(["nano", *given])})
    verb, given = (argv[0] if argv else ""), dict(a.split("=", 1) for a in argv[1:] if "=" in a)
    if verb not in DEFAULTS:
        raise SettingsError(f"eval: expected one of {', '.join(['all', *DEFAULTS, *OTHERS])}; got {verb!r}")
    if set(given) - set(DEFAULTS[verb]) or len(given) != len(argv) - 1:
        raise SettingsError(f"eval {verb}: expected key=value with keys {', '.join(DEFAULTS[verb])}; got {argv[1:]}")
    options = {**DEFAULTS[verb], **given}
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    rows = {"nano": nano, "memory": memory}[verb](options, work)
    show(rows)
    record = {"versions": versions(), "options": options, "rows": [{**asdict(r), "passed": r.passed} for r in rows]}
    (work / f"{verb}.json").write_text(json.dumps(record, indent=1) + "\n")
    return int(any(r.passed is False for r in rows))


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    table = Table("on", "measure", "figure [95 %]", "bar", "", "control")
    for r in rows:
        value = f"{r.figure.value:.3f}" if np.isnan(r.figure.low) else str(r.figure)
        bar = "" if r.bar is None else f"{'<=' if r.most else '>='} {r.bar:g}"
        table.add_row(r.on, r.measure, value, bar, {True: "ok", False: "MISSED", None: ""}[r.passed], r.control)
    show_table(table, width=160)


def _progress(bar: Progress, name: str) -> Callable[[int, int], None]:
    task = bar.add_task(name)
    return lambda done, total: bar.update(task, completed=done, total=total)


def nano(options: dict[str, str], work: Path) -> list[Row]:
    """The embedded default on unseen simulated videos and on the real footage."""
    analyzer = Analyzer(make_settings())
    rows: list[Row] = []
    with Progress(disable=not sys.stderr.isatty()) as bar:
        if "sim" in options["only"]:
            told = _progress(bar, "simulated")
            results = list(
                benchmarks.sim_results(
                    analyzer, int(options["videos"]), work / "sim", on_progress=told, first=int(options["first"])
                )
            )
            rows += sim_rows(results) + explanation_rows(results)
        if "real" in options["only"]:
            data = Path(options["data"]) if options["data"] else None
            if data is None or not (data / "fights").is_dir():
                print("real footage: not run (set VLAD_DATA or data=FOLDER)", file=sys.stderr)
            else:
                rows += real_rows(analyzer, data, work, bar)
    return rows


def sim_rows(results: Sequence[benchmarks.SimResult]) -> list[Row]:
    """Timeline, events, false alarms and classes."""
    ours = [benchmarks.sim_scored(r, r.track.scores.astype(np.float64)) for r in results]
    still = [benchmarks.sim_scored(r, r.energy) for r in results]
    on = f"sim, {len(results)} videos"

    def outcome(items: list[benchmarks.SimResult]) -> tuple[int, int, int, int, float]:
        events = found = right = alarms = 0
        seconds = 0.0
        for r in items:
            anomalous = [e for e in r.world.events if e.anomalous]
            spans = [(e.start, e.end) for e in anomalous]
            pairs = metrics.match(spans, benchmarks.spans(r.segments))
            events, found, seconds = events + len(spans), found + len(pairs), seconds + r.video.duration
            right += sum(r.segments[j].label == anomalous[i].label for i, j in pairs.items())
            alarms += metrics.false_alarms(spans, benchmarks.spans(r.segments))
        return events, found, right, alarms, seconds

    def share(top: int, under: int) -> Callable[[list[benchmarks.SimResult]], float]:
        return lambda items: (lambda o: o[top] / o[under] if o[under] else float("nan"))(outcome(items))

    hourly = bootstrap(results, lambda items: outcome(items)[3] / outcome(items)[4] * 3600)
    labels = [e.label for r in results for e in r.world.events if e.anomalous]
    common = max(labels.count(x) for x in set(labels)) / len(labels)
    return [
        Row(on, "frame AUC", bootstrap(ours, metrics.frame_auc, rounds=300), 0.94, control=f"motion energy {metrics.frame_auc(still):.3f}"),
        Row(on, "frame AUC, anomalous videos only", bootstrap(metrics.anomaly_only(ours), metrics.frame_auc, rounds=300), 0.90,
            control=f"motion energy {metrics.frame_auc(metrics.anomaly_only(still)):.3f}"),
        Row(on, "events found (IoU .3)", bootstrap(results, share(1, 0)), 0.85, control="one span a video: the whole clip " + f"{whole(results):.3f}"),
        Row(on, "false alarms an hour", hourly, 3, most=True, control="the whole clip: one a normal video"),
        Row(on, "class of found segments", bootstrap(results, share(2, 1)), 0.80, control=f"commonest class {common:.3f}"),
    ]  # fmt: skip


def whole(results: Sequence[benchmarks.SimResult]) -> float:
    """Share of events found by flagging every clip from end to end."""
    events = [(e.start, e.end, r.video.duration) for r in results for e in r.world.events if e.anomalous]
    return float(np.mean([iou((a, b), (0.0, d)) >= 0.3 for a, b, d in events]))


def explanation_rows(results: Sequence[benchmarks.SimResult]) -> list[Row]:
    """What is said of found segments, and of calm spans of normal videos."""
    told = explanations.told_of(results)
    calm = [r.explanations[-1] for r in results if not r.world.anomalous and r.explanations]
    every = [e for r in results for e in r.explanations]
    if not told or not calm:
        return [Row("sim, explanations", "valid answer", plain(float("nan")), 1.0)]
    mixed, fixed = explanations.shuffled(told), explanations.constant(told)

    def mean(of: Callable[[Any], float]) -> Callable[[list[Any]], float]:
        return lambda items: float(np.nanmean([of(i) for i in items])) if items else float("nan")

    def named(t: explanations.Told) -> float:
        return float(explanations.category(t.explanation) == t.event.label)

    def hinted(t: explanations.Told) -> float:
        return float(t.explanation.segment.label == t.event.label)

    def recalled(t: explanations.Told) -> float:
        return explanations.recall(explanations.truth_of(t.event), explanations.said(t.explanation))

    def coloured(t: explanations.Told) -> float:
        return explanations.recall(
            explanations.truth_of(t.event), explanations.said(t.explanation), only=explanations.COLOURS
        )

    def rightly(t: explanations.Told) -> float:
        return explanations.rightly_coloured(explanations.truth_of(t.event), explanations.said(t.explanation))

    def controls(of: Callable[[explanations.Told], float]) -> str:
        return f"constant {mean(of)(fixed):.3f}, shuffled {mean(of)(mixed):.3f}"

    on = f"sim, {len(told)} found segments"
    normal = mean(lambda e: float(e.verdict == "normal"))
    return [
        Row(f"sim, {len(every)} explanations", "valid answer", bootstrap(every, mean(lambda e: float(bool(e.fields)))), 1.0),
        Row(on, "category", bootstrap(told, mean(named)), 0.80, control=f"{controls(named)}, the hint alone {mean(hinted)(told):.3f}"),
        Row(on, "who and what recalled", bootstrap(told, mean(recalled)), 0.80, control=controls(recalled)),
        Row(on, "of these, colours", bootstrap(told, mean(coloured)), control=controls(coloured)),
        Row(on, "colours that are named, right", bootstrap(told, mean(rightly)), control=controls(rightly)),
        Row(on, "verdict anomaly", bootstrap(told, mean(lambda t: float(t.explanation.verdict == "anomaly"))), control="always anomaly 1.000"),
        Row(f"sim, {len(every)} explanations", "contradictions within one", plain(float(sum(map(real.contradicts, every)))), 0, most=True),
        Row(f"sim, {len(calm)} calm spans", "verdict normal", bootstrap(calm, normal), 0.90, control="always anomaly 0.000"),
    ]  # fmt: skip


def real_rows(analyzer: Analyzer, data: Path, work: Path, bar: Progress) -> list[Row]:
    """Real footage. The UCF files are a subset: never the published measure."""
    clips = benchmarks.fights(analyzer, data, on_progress=_progress(bar, "fights"))
    figure = bootstrap(clips, lambda c: metrics.clip_auc([x[0] for x in c], [x[2] for x in c]))
    energy = metrics.clip_auc([c[1] for c in clips], [c[2] for c in clips])
    rows = [Row(f"fights val, {len(clips)} clips", "clip AUC", figure, 0.80, control=f"motion energy {energy:.3f}")]
    rows += ucf_rows(data, work, bar) + street_rows(data, work, bar)
    ours, still = footage.normal_only(data, work)
    rows.append(
        Row("ped2, normality on its 16 normal videos", "frame AUC", ours, 0.92, control=f"motion energy {still}")
    )
    return rows + still_rows(data) + caption_rows(data, work, bar)


def ucf_rows(data: Path, work: Path, bar: Progress) -> list[Row]:
    """The UCF-Crime subset, each video under the fold that left it out."""
    found = real.fold_frames(data, work, on_progress=_progress(bar, "ucf, five folds"))
    both = [p for pairs in found.values() for p in pairs]
    rows = [Row(f"UCF-Crime subset, {len(both)} videos, five folds", "frame AUC", real.auc_of(both, 0), 0.79,
                control=f"motion energy {real.auc_of(both, 1).value:.3f}")]  # fmt: skip
    floors = {"ucf_stride16": 0.739, "ucf_full": 0.547}  # frame differences, from the data's own README
    return rows + [
        Row(f"{name}, {len(pairs)} videos, five folds", "frame AUC", real.auc_of(pairs, 0),
            control=f"motion energy {real.auc_of(pairs, 1).value:.3f}, published floor {floors[name]}")
        for name, pairs in found.items()
    ]  # fmt: skip


def street_rows(data: Path, work: Path, bar: Progress) -> list[Row]:
    """`street` and `clips`, each clip under the fold that left its scene out: flagged, named, and what the words say."""
    every = real.fold_clips(data, work, words=True, on_progress=_progress(bar, "street and clips, five folds"))
    anomalous = [c for c in every if c.anomalous and c.label != "unknown"]
    calm = [c for c in every if not c.anomalous]
    told = [c.said for c in every if c.said]
    labels = [c.label for c in anomalous]
    common = max(sorted(set(labels)), key=labels.count)
    share = (
        float(np.mean([c.label == common for c in anomalous if c.segment]))
        if any(c.segment for c in anomalous)
        else float("nan")
    )
    on = "street and clips, folds by scene"
    return [
        Row(f"{on}, {len(anomalous)} anomalous", "flagged", bootstrap(anomalous, real.flagged_share), 0.75, control="all flagged 1.000"),
        Row(f"{on}, {len(calm)} normal", "flagged", bootstrap(calm, real.flagged_share), 0.12, most=True, control="all flagged 1.000"),
        Row(f"{on}, flagged anomalous", "label in the right family", bootstrap(anomalous, real.family_share), 0.50, control=f"always {common} {share:.3f}"),
        Row(f"{on}, {len(told)} explanations", "words naming another crime", bootstrap(every, real.wrong_share), 0.15, most=True,
            control="the old nano .63"),
        Row(f"{on}, {len(told)} explanations", "contradictions within one", plain(float(sum(map(real.contradicts, told)))), 0, most=True),
        Row(f"{on}, {len(told)} explanations", "sure of what it names", bootstrap(told, lambda e: float(np.mean([x.sure for x in e])))),
    ]  # fmt: skip


def _within(count: int) -> Callable[[Sequence[int]], float]:
    return lambda ranks: float(np.mean([rank < count for rank in ranks]))


def still_rows(data: Path) -> list[Row]:
    """Photos by their captions, and people in pictures."""
    rows = []
    if (data / "flickr8k").is_dir():
        own, other = real.photo_ranks(data)
        for k, least in ((1, None), (5, None), (10, 0.62)):
            figure = bootstrap(own, _within(k), rounds=200)
            control = f"chance {k / real.HELD_OUT:.3f}, shuffled {np.mean([r < k for r in other]):.3f}"
            rows.append(
                Row(f"Flickr8k, {real.HELD_OUT} photos left out", f"recall at {k}", figure, least, control=control)
            )
    if (data / "people").is_dir():
        found = real.people(data)
        figure = bootstrap(found, lambda c: sum(x[0] for x in c) / max(sum(x[1] for x in c), 1))
        alarms = sum(x[2] for x in found)
        rows.append(
            Row(
                f"people, {len(found)} pictures",
                "recall at IoU .5, score .3",
                figure,
                0.55,
                control=f"{alarms} boxes on nothing that is marked",
            )
        )
        worn = real.garments(data)
        figure = bootstrap(worn, lambda some: float(np.mean([g.right for g in some])))
        always = float(np.mean([g.constant for g in worn]))
        on = f"people, {len(worn)} garments named on 40 boxes"
        rows.append(Row(on, "colour right", figure, 0.70, control=f"always dark {always:.3f}"))
    return rows


def caption_rows(data: Path, work: Path, bar: Progress) -> list[Row]:
    """What nano says of photos that no training saw, beside a constant caption and those of other photos."""
    if not (data / "flickr8k").is_dir():
        return []
    told = real.told_photos(data, work, on_progress=_progress(bar, "captions"))
    controls = {name: float(np.mean([getattr(t, name) for t in told])) for name in ("constant", "shuffled")}
    figure = bootstrap(told, lambda some: float(np.mean([t.own for t in some])), rounds=300)
    return [Row(f"Flickr8k, {len(told)} photos left out", "CIDEr-D of captions", figure, max(controls.values()),
                control=", ".join(f"{name} {value:.3f}" for name, value in controls.items()))]  # fmt: skip


def memory(options: dict[str, str], work: Path) -> list[Row]:
    """Peak memory of the whole process tree on a long 1920 x 1080 clip."""
    found = speed.hour_memory(work, seconds=float(options["seconds"]))
    return [Row(f"{options['seconds']} s of 1920 x 1080", "peak memory, GB", plain(found["peak_gb"]), 2, most=True,
                control=f"took {found['seconds']:.0f} s")]  # fmt: skip
