"""Does a calibrated threshold keep its promise on footage that calibrating did not see, and are the probabilities true?

    vlad eval calibration [scorer=nano] [rates=2,4] [rounds=10] [normal=160] [validation=60] [first=4000000] [work=runs/calibration]

In: nothing; simulated videos of evaluation seeds from `first` on. Out: a table. For each rate, half of the normal videos calibrate and the
other half are measured, in `rounds` different halves: minutes with an alarm an hour, which the conformal threshold keeps on average, and
alarms as the line raises them; the halves overlap, so that the intervals over them are too narrow. Then the calibration error of scores and of probabilities, on videos that neither the map nor the scorer saw.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.pipeline import LEAVE, Analyzer
from vlad.segments import find_segments, smooth
from vlad.sim import World, simulate
from vlad.types import ScoreTrack

from .benchmarks import counts, rendered
from .metrics import Figure, bootstrap, calibration_error
from .verb import options_of, vlad

OPTIONS = {
    "scorer": "nano", "rates": "2,4", "rounds": "10", "normal": "160", "validation": "60", "first": "4000000",
    "work": "runs/calibration",
}  # fmt: skip
MINUTE = 60.0
Floats = npt.NDArray[np.float64]


def seeds(first: int, count: int, *, normal: bool) -> list[int]:
    """The first seeds from `first` on, normal videos only or as they come."""
    found: list[int] = []
    seed = first
    while len(found) < count:
        if not normal or not simulate(seed).anomalous:
            found.append(seed)
        seed += 1
    return found


def alarming(tracks: Sequence[ScoreTrack], threshold: float, seconds: float) -> tuple[float, float]:
    """(minutes with a score at the threshold or above, segments), each an hour, of clips put one behind the other."""
    smoothed = np.concatenate([smooth(t, seconds) for t in tracks])
    ends = np.cumsum(np.concatenate([np.diff(t.edges) for t in tracks]))
    minutes = len(np.unique(((ends - 1e-9) // MINUTE)[smoothed >= threshold]))
    s = make_settings()
    segments = sum(
        len(
            find_segments(
                t, smooth_seconds=seconds, enter=threshold, leave=LEAVE * threshold, merge_gap=s.merge_gap, min_length=s.min_length
            )
        )
        for t in tracks
    )  # fmt: skip
    hours = float(ends[-1]) / 3600
    return minutes / hours, segments / hours


def _table(worlds: Sequence[World], paths: Sequence[Path], file: Path) -> None:
    """`path,label,start,end` of simulated videos."""
    with open(file, "w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("path", "label", "start", "end"))
        for world, path in zip(worlds, paths, strict=True):
            events = [(e.label, e.start, e.end) for e in world.events if e.anomalous]
            rows.writerows((str(path.resolve()), *event) for event in events)
            if not events:
                rows.writerow((str(path.resolve()), "normal", "", ""))


def promise(plain: Analyzer, scorer: str, rate: str, paths: Sequence[Path], rounds: int, work: Path) -> tuple[Figure, Figure]:  # fmt: skip
    """(minutes with an alarm, segments) an hour on the half that did not calibrate, over `rounds` halves."""
    tracks = [plain.score(plain.features(p)[0]) for p in paths]
    found = []
    for number in range(rounds):
        order = np.random.default_rng(number).permutation(len(paths))
        half, rest = order[: len(order) // 2], order[len(order) // 2 :]
        out = work / f"rate-{rate}-{number}"
        clips = [part for i in half for part in ("--normal", str(paths[i]))]
        vlad("calibrate", scorer, *clips, "--false-alarms-per-hour", rate, "-o", str(out))
        threshold = json.loads((out / "calibration.json").read_text())["enter"]
        found.append(alarming([tracks[i] for i in rest], threshold, plain.settings.smooth_seconds))
    return tuple(bootstrap([f[k] for f in found], lambda some: float(np.mean(some))) for k in (0, 1))  # type: ignore[return-value]


def truthful(plain: Analyzer, scorer: str, work: Path, options: dict[str, str], normal: Sequence[Path], rate: str) -> tuple[Figure, Figure]:  # fmt: skip
    """Calibration error of scores and of probabilities, on as many videos as made the map."""
    count = int(options["validation"])
    worlds, paths = zip(
        *(
            rendered(s, work)
            for s in bar(seeds(int(options["first"]) + 10_000, 2 * count, normal=False), "validation videos")
        ),
        strict=True,
    )
    _table(worlds[:count], paths[:count], work / "validation.csv")
    out = work / "mapped"
    clips = [part for p in normal for part in ("--normal", str(p))]
    vlad("calibrate", scorer, *clips, "--false-alarms-per-hour", rate, "--validation", str(work / "validation.csv"), "-o", str(out))  # fmt: skip
    mapped = Analyzer(make_settings(scorer_weights=str(out)), encoder=plain.encoder)
    pairs = []
    for world, path in zip(worlds[count:], paths[count:], strict=True):
        features, _, _ = plain.features(path)
        pos, neg = counts(world.labels(world.times()), world.times(), features.edges)
        truth = (pos > neg).astype(np.float64)
        pairs.append([(np.asarray(a.score(features).scores, np.float64), truth) for a in (plain, mapped)])

    def of(which: int) -> Figure:
        return bootstrap(
            [p[which] for p in pairs],
            lambda some: calibration_error(np.concatenate([s for s, _ in some]), np.concatenate([t for _, t in some])),
        )

    return of(0), of(1)


def main(argv: Sequence[str]) -> int:
    """`vlad eval calibration`; 1 where a rate lies above its promise by the interval. Raises SettingsError."""
    options = options_of("calibration", argv, OPTIONS)
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    scorer, rates = options["scorer"], options["rates"].split(",")
    plain = Analyzer(make_settings(**({} if scorer == "nano" else {"scorer_weights": scorer})))
    normal = [
        rendered(s, work)[1]
        for s in bar(seeds(int(options["first"]), int(options["normal"]), normal=True), "normal videos")
    ]
    table = Table("measure", "promised", "found, mean of the halves", title=f"{len(normal)} normal videos, halves")
    rows, well = [], True
    for rate in rates:
        minutes, alarms = promise(plain, scorer, rate, normal, int(options["rounds"]), work)
        table.add_row("minutes with an alarm, an hour", f"at most {rate}", str(minutes))
        table.add_row("alarms an hour", "", str(alarms))
        rows.append({"rate": float(rate), "minutes": vars(minutes), "alarms": vars(alarms)})
        well &= minutes.low <= float(rate)
    before, after = truthful(plain, scorer, work, options, normal, rates[-1])
    table.add_row("calibration error of scores", "", str(before))
    table.add_row("calibration error of probabilities", "", str(after))
    Console(width=110).print(table)
    facts = {"promises": rows, "error": [vars(before), vars(after)]}
    (work / "calibration.json").write_text(json.dumps(facts, indent=1) + "\n")
    return int(not well)
