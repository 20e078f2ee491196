"""Adapting to a scene from K clips: does it help where the camera and what is usual are new?

    vlad eval fewshot [scorer=nano] [sites=10] [first=100] [shots=1,5,10] [relearn=false] [work=runs/fewshot]

In: nothing; each site is one simulated camera where something is daily life that the scorer takes for an anomaly. Out: a table: pooled
frame AUC on clips of the sites that adapting did not see, before and after `vlad adapt` with K normal and K anomalous clips, and the
paired difference with its 95 % interval over videos. relearn: a bn-wvad head takes its statistics from the K normal clips instead.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.pipeline import Analyzer
from vlad.sim import World, simulate_site, write_video

from . import benchmarks
from .metrics import Scored, bootstrap, frame_auc
from .verb import options_of, show_table, vlad

OPTIONS = {
    "scorer": "nano",
    "sites": "10",
    "first": "100",
    "shots": "1,5,10",
    "relearn": "false",
    "work": "runs/fewshot",
}
MOST = 10  # clips of each kind that are kept for adapting
ENOUGH = 5  # of each kind, that must help significantly
TEST = 4  # clips of each kind that are measured


def clip_of(site: int, number: int, anomalous: bool, folder: Path) -> tuple[World, Path]:
    """A clip of a site as real h264, rendered once."""
    world, path = simulate_site(site, number, anomalous=anomalous), folder / f"{site}-{number}-{int(anomalous)}.mp4"
    if not path.exists():
        part = folder / ".part.mp4"
        write_video(world, part)
        part.replace(path)
    return world, path


def adapted(scorer: str, site: int, shots: int, folder: Path, *, relearn: bool = False) -> Path:
    """`vlad adapt`, as a person would run it."""
    out = folder / f"{'relearnt' if relearn else 'adapted'}-{site}-{shots}"
    if not (out / "head.json").is_file():
        kinds = [
            [] if anomalous and relearn else [str(clip_of(site, k, anomalous, folder)[1]) for k in range(shots)]
            for anomalous in (False, True)
        ]
        options = [
            part
            for name, paths in zip(("--normal", "--anomalous"), kinds, strict=True)
            for path in paths
            for part in (name, path)
        ]
        vlad("adapt", scorer, "-o", str(out), *options, *(["--relearn"] if relearn else []))
    return out


def measured(analyzer: Analyzer, site: int, folder: Path) -> list[Scored]:
    """Frame counts under the scores of the site's test clips."""
    found = []
    for k in range(MOST, MOST + TEST):
        for anomalous in (False, True):
            world, path = clip_of(site, k, anomalous, folder)
            features, _, _ = analyzer.features(path)
            times = world.times()
            scores = analyzer.score(features).scores.astype(np.float64)
            found.append(Scored(scores, *benchmarks.counts(world.labels(times), times, features.edges)))
    return found


def difference(pairs: Sequence[tuple[Scored, Scored]]) -> float:
    """Frame AUC after less before."""
    return frame_auc([b for _, b in pairs]) - frame_auc([a for a, _ in pairs])


def main(argv: Sequence[str]) -> int:
    """`vlad eval fewshot`; 1 where five clips do not help significantly, or one clip lowers the figure. Raises SettingsError."""
    options = options_of("fewshot", argv, OPTIONS)
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    sites = range(int(options["first"]), int(options["first"]) + int(options["sites"]))
    trained = {} if options["scorer"] == "nano" else {"scorer_weights": options["scorer"]}
    plain = Analyzer(make_settings(**trained))
    before = {site: measured(plain, site, work) for site in bar(sites, "before")}
    table = Table(
        "clips of each kind",
        "frame AUC before",
        "after",
        "difference",
        "95 %",
        "sites better, worse",
        title=f"{len(sites)} sites",
    )
    rows, well = [], True
    for shots in map(int, options["shots"].split(",")):
        after = {}
        for site in bar(sites, f"adapting, {shots}"):
            folder = adapted(options["scorer"], site, shots, work, relearn=options["relearn"] == "true")
            after[site] = measured(
                Analyzer(make_settings(scorer_weights=str(folder)), encoder=plain.encoder), site, work
            )
        pairs = [pair for site in sites for pair in zip(before[site], after[site], strict=True)]
        figure = bootstrap(pairs, difference, rounds=500)
        by_site = [difference(list(zip(before[s], after[s], strict=True))) for s in sites]
        old, new = frame_auc([a for a, _ in pairs]), frame_auc([b for _, b in pairs])
        better, worse = sum(d > 0.001 for d in by_site), sum(d < -0.001 for d in by_site)
        table.add_row(
            str(shots),
            f"{old:.4f}",
            f"{new:.4f}",
            f"{figure.value:+.4f}",
            f"{figure.low:+.4f} to {figure.high:+.4f}",
            f"{better}, {worse}",
        )
        rows.append(
            {
                "shots": shots,
                "before": old,
                "after": new,
                "difference": figure.value,
                "ci": [figure.low, figure.high],
                "sites": by_site,
            }
        )
        well &= figure.value >= 0 if shots < ENOUGH else figure.low > 0
    show_table(table, width=120)
    (work / "fewshot.json").write_text(json.dumps(rows, indent=1) + "\n")
    return int(not well)
