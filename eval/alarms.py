"""Alarms an hour as calibrated: streams of normal footage, of which one half sets a camera's threshold and the other is watched with it.

    vlad eval alarms [rates=2,4] [rounds=10] [normal=160] [first=4200000] [work=runs/alarms]
    vlad eval alarms data=FOLDER rates=6,12 [rounds=10] [work=runs/alarms]

In: nothing; simulated normal videos of evaluation seeds from `first` on, put one behind the other as a camera's stream. With data=FOLDER the real normal footage there. Out: a table: by
each rate the alarms an hour on the half that did not calibrate, as `vlad.live.alarms` raises them (held, merged, cooled down), before and after calibrating; with `judged`, where each alarm is
dismissed as it comes and moves the threshold. Scores are the line's own. The halves overlap, so that the intervals over them are too narrow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.library.adapting import Judged, adapted
from vlad.live.alarms import AlarmRule
from vlad.live.normal import camera_threshold, raised_in
from vlad.pipeline import Analyzer
from vlad.types import ScoreTrack

from .benchmarks import rendered
from .calibration import halves, real_normal, seeds
from .metrics import Figure, bootstrap
from .verb import options_of, show_table

OPTIONS = {"rates": "2,4", "rounds": "10", "normal": "160", "first": "4200000", "work": "runs/alarms", "data": ""}
Floats = npt.NDArray[np.float64]
HOUR = 3600.0


def streamed(tracks: Sequence[ScoreTrack]) -> tuple[Floats, Floats]:
    """Clips one behind the other: edges [T, 2] (s) and scores [T]."""
    starts = np.cumsum([0.0, *(float(t.edges[-1]) for t in tracks)])
    edges = [np.stack([t.edges[:-1], t.edges[1:]], 1) + at for t, at in zip(tracks, starts, strict=False)]
    return np.concatenate(edges), np.concatenate([t.scores.astype(np.float64) for t in tracks])


def judged(stream: tuple[Floats, Floats], enter: float, rate: float, rule: AlarmRule) -> int:
    """Alarms in a stream where each is dismissed at once, in steps of ten minutes after which the threshold is what that makes of it."""
    edges, scores = stream
    told: list[Judged] = []
    count, since = 0, 0.0
    for at in np.arange(0.0, edges[-1, 1], 600.0):
        here = (edges[:, 0] >= at) & (edges[:, 0] < at + 600.0)
        if here.any():
            now = raised_in([(edges[here], scores[here])], replace(rule, threshold=adapted(enter, rate, told)))
            since += 600.0 / HOUR
            told += [Judged(True, 1.0, since / max(now, 1))] * now
            since = 0.0 if now else since
            count += now
    return count


def main(argv: Sequence[str]) -> int:
    """`vlad eval alarms`; 1 where a rate lies above its promise by the interval. Raises SettingsError, InputError."""
    options = options_of("alarms", argv, OPTIONS)
    work, rounds, rule = Path(options["work"]), int(options["rounds"]), AlarmRule(most_an_hour=3600)
    work.mkdir(parents=True, exist_ok=True)
    table, rows, well = Table("alarms an hour", "promised", "found", title="the half that did not calibrate"), [], True

    def measure(clips: Sequence[tuple[Path, str]], analyzer: Analyzer, on: str) -> None:
        nonlocal well
        tracks = [analyzer.score(analyzer.features(p)[0]) for p, _ in bar(clips, on, transient=True)]
        whole = streamed(tracks)
        hours = float(whole[0][-1, 1]) / HOUR
        before = raised_in([whole], rule) / hours
        table.add_row(f"{on}, {hours:.2f} h, uncalibrated", "nothing, at 0.5", f"{before:.2f}")
        for rate in map(float, options["rates"].split(",")):
            found: list[tuple[float, float]] = []
            for number in range(rounds):
                ours, theirs = (streamed([tracks[i] for i in half]) for half in halves([g for _, g in clips], number))
                enter, rest = camera_threshold([ours], rate, rule)["enter"], float(theirs[0][-1, 1]) / HOUR
                fixed = raised_in([theirs], replace(rule, threshold=min(enter, 1.0))) / rest
                found.append((fixed, judged(theirs, enter, rate, rule) / rest))
            figures: list[Figure] = [bootstrap([f[k] for f in found], lambda some: float(np.mean(some))) for k in (0, 1)]  # fmt: skip
            table.add_row(f"{on}, calibrated", f"at most {rate:g}", str(figures[0]))
            table.add_row("and judged as they come", f"near {rate:g}", str(figures[1]))
            rows.append({"on": on, "hours": hours, "rate": rate, "before": before, "fixed": vars(figures[0]), "judged": vars(figures[1])})  # fmt: skip
            well &= figures[0].low <= rate

    if options["data"]:
        for on, (clips, more) in real_normal(Path(options["data"])).items():
            measure(clips, Analyzer(make_settings(snippet_frames=4) if more else make_settings()), on)
    else:
        found = seeds(int(options["first"]), int(options["normal"]), normal=True)
        normal = [rendered(s, work)[1] for s in bar(found, "normal videos", transient=True)]
        measure([(p, p.name) for p in normal], Analyzer(make_settings()), f"{len(normal)} simulated videos")
    show_table(table, width=130)
    (work / "alarms.json").write_text(json.dumps(rows, indent=1) + "\n")
    return int(not well)
