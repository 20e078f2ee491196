"""Does a calibrated threshold keep its promise on footage that calibrating did not see, and are the probabilities true?

    vlad eval calibration [scorer=nano] [rates=2,4] [rounds=10] [normal=160] [validation=60] [first=4000000] [work=runs/calibration]
    vlad eval calibration data=FOLDER rates=6,12 [rounds=10] [scorer=nano] [work=runs/calibration]

In: nothing; simulated videos of evaluation seeds from `first` on. With data=FOLDER the real normal footage there instead, halved by source and
scene. nano has learnt from most of it, from both halves alike: what is measured is the promise, not how high a new camera's threshold is. Out: a table. For each rate, half of the normal videos calibrate and the
other half are measured, in `rounds` different halves: minutes with an alarm an hour, which the conformal threshold keeps on average, and
alarms as the line raises them; the halves overlap, so that the intervals over them are too narrow. Then the calibration error of scores and of probabilities, on videos that neither the map nor the scorer saw.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.errors import InputError
from vlad.pipeline import ENTER, LEAVE, Analyzer
from vlad.segments import find_segments, smooth
from vlad.sim import World, simulate
from vlad.types import ScoreTrack

from .benchmarks import counts, rendered
from .metrics import Figure, bootstrap, calibration_error
from .verb import options_of, show_table, vlad

OPTIONS = {
    "scorer": "nano", "rates": "2,4", "rounds": "10", "normal": "160", "validation": "60", "first": "4000000",
    "work": "runs/calibration", "data": "",
}  # fmt: skip
SPARSE = ("--set", "snippet_frames=4")  # for ucf_stride16, which shows two frames a second
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


def real_normal(data: Path) -> dict[str, tuple[list[tuple[Path, str]], tuple[str, ...]]]:
    """Normal clips with what must stay in one half, and what `vlad` must be told of them, by what they are. Raises InputError."""

    def rows(name: str) -> list[dict[str, str]]:
        with open(data / name / "manifest.csv", newline="") as file:
            return list(csv.DictReader(file))

    try:
        short = [(data / "fights" / r["path"], r["source_video"]) for r in rows("fights") if r["label"] == "normal"]
        for name in ("street", "clips"):
            own = [r for r in rows(name) if r["is_anomaly"] == "0"]
            short += [(data / name / r["file"], r.get("scene") or r["file"]) for r in own]
        long = [r["file"] for r in rows("frames") if r["set"] == "ucf_stride16" and r["cls"].lower() == "normal"]
    except (OSError, KeyError) as error:
        raise InputError(f"{data}: no normal footage with manifests ({error})") from None
    return {
        "short clips of fights, street and clips": (short, ()),
        "ucf_stride16": ([(data / "frames" / file, file) for file in long], SPARSE),
    }


def halves(groups: Sequence[str], number: int) -> tuple[list[int], list[int]]:
    """The places of two halves, one of many ways: a group lies in one of them."""
    names = np.array(sorted(set(groups)))
    chosen = set(np.random.default_rng(number).permutation(names)[: len(names) // 2].tolist())
    places = range(len(groups))
    return [i for i in places if groups[i] in chosen], [i for i in places if groups[i] not in chosen]


def promise(
    tracks: Sequence[ScoreTrack], scorer: str, rate: str, clips: Sequence[tuple[Path, str]], rounds: int, work: Path, seconds: float,
    more: Sequence[str] = (),
) -> tuple[Figure, Figure]:  # fmt: skip
    """(minutes with an alarm, segments) an hour on the half that did not calibrate, over `rounds` halves. clips: with what must stay together."""
    found = []
    for number in range(rounds):
        half, rest = halves([group for _, group in clips], number)
        out = work / f"rate-{rate}-{number}"
        named = [part for i in half for part in ("--normal", str(clips[i][0]))]
        vlad("calibrate", scorer, *named, "--false-alarms-per-hour", rate, "-o", str(out), *more)
        threshold = json.loads((out / "calibration.json").read_text())["enter"]
        found.append(alarming([tracks[i] for i in rest], threshold, seconds))
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
    """`vlad eval calibration`; 1 where a rate lies above its promise by the interval. Raises SettingsError, InputError."""
    options = options_of("calibration", argv, OPTIONS)
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    scorer, rates, rounds = options["scorer"], options["rates"].split(","), int(options["rounds"])
    chosen = {} if scorer == "nano" else {"scorer_weights": scorer}
    table = Table("measure", "promised", "found, mean of the halves", title="the half that did not calibrate")
    rows, well, facts = [], True, {}

    def promises(clips: Sequence[tuple[Path, str]], analyzer: Analyzer, on: str, more: Sequence[str] = ()) -> None:
        nonlocal well
        tracks = [analyzer.score(analyzer.features(p)[0]) for p, _ in clips]
        hours, seconds = sum(float(t.edges[-1]) for t in tracks) / 3600, analyzer.settings.smooth_seconds
        usual = getattr(analyzer.scorer, "enter", None) or ENTER
        before = alarming(tracks, usual, seconds)
        table.add_row(f"{on}: minutes with an alarm, an hour", f"nothing, at {usual:g}", f"{before[0]:.2f}")
        table.add_row("alarms an hour", "", f"{before[1]:.2f}")
        for rate in rates:
            minutes, alarms = promise(tracks, scorer, rate, clips, rounds, work, seconds, more)
            table.add_row(f"{on}: minutes with an alarm, an hour", f"at most {rate}", str(minutes))
            table.add_row("alarms an hour", "", str(alarms))
            row = {"on": on, "clips": len(clips), "hours": hours, "rate": float(rate), "before": before}
            rows.append({**row, "minutes": vars(minutes), "alarms": vars(alarms)})
            well &= minutes.low <= float(rate)

    if options["data"]:
        for on, (clips, more) in real_normal(Path(options["data"])).items():
            own: dict[str, Any] = {"snippet_frames": 4} if more else {}
            promises(clips, Analyzer(make_settings(**chosen, **own)), on, more)
    else:
        plain = Analyzer(make_settings(**chosen))
        made = bar(seeds(int(options["first"]), int(options["normal"]), normal=True), "normal videos")
        normal = [rendered(s, work)[1] for s in made]
        promises([(p, p.name) for p in normal], plain, f"{len(normal)} simulated videos")
        raw, mapped = truthful(plain, scorer, work, options, normal, rates[-1])
        table.add_row("calibration error of scores", "", str(raw))
        table.add_row("calibration error of probabilities", "", str(mapped))
        facts["error"] = [vars(raw), vars(mapped)]
    show_table(table, width=130)
    (work / "calibration.json").write_text(json.dumps({"promises": rows, **facts}, indent=1) + "\n")
    return int(not well)
