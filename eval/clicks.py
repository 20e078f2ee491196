"""What one click an event brings: heads trained on weak labels alone, and with a frame in each event (Zhang et al. 2024, GlanceVAD).

    vlad eval clicks [heads=mil,ur-dmu] [seeds=3] [train=420] [select=80] [test=200] [data=FOLDER] [work=runs/scorers] [videos=runs/eval/sim]

In: nothing; features of simulated videos as `vlad eval scorers` makes and keeps them. Out: a table and WORK/clicks.json: frame AUC and AP on
other simulated videos, frame AUC on the UCF-Crime subset of DATA in five folds over its videos, each without and with clicks, and the paired
difference with its 95 % interval over videos. A click is a frame drawn evenly from each event by a seed, on training videos only.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from vlad.config import make_settings
from vlad.pipeline import Analyzer
from vlad.scorers import load_folder
from vlad.sim import ANOMALIES, training_world

from . import benchmarks, footage, scorers
from .detection import intervals
from .metrics import Figure, Scored, bootstrap, frame_auc
from .verb import options_of, show_table, vlad

OPTIONS = {**scorers.OPTIONS, "heads": "mil,ur-dmu"}
FRAMES = 16  # of a snippet of simulated videos
SUBSET = "ucf_stride16"
WAYS = ("weak", "clicks")


def write_clicks(path: Path, clicks: Sequence[tuple[str, int]]) -> None:
    """A CSV as `data.clicks` reads it."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("video-id", "glance"), *clicks])


def within(spans: Sequence[tuple[int, int]], seed: int) -> list[int]:
    """A frame in each span (first, end), drawn evenly."""
    rng = np.random.default_rng([seed, 11])
    return [int(rng.integers(a, max(b, a + 1))) for a, b in spans]


def simulated(options: dict[str, str], work: Path) -> list[dict[str, Any]]:
    """Rows of each head and seed: frame AUC and AP without clicks, with, and the differences."""
    analyzer = Analyzer(make_settings())
    encoder = analyzer.encoder
    seeds = [*range(int(options["train"])), *range(scorers.SELECT_SEEDS, scorers.SELECT_SEEDS + int(options["select"]))]
    table, clicks = scorers.train_features(analyzer, work / "train", seeds), []
    for seed in seeds:
        world = training_world(seed)
        spans = [(round(e.start * world.fps), round(e.end * world.fps)) for e in world.events if e.anomalous]
        clicks += [(str(seed), frame) for frame in within(spans, seed)]
    write_clicks(work / "clicks.csv", clicks)
    clips = scorers.test_clips(analyzer, int(options["test"]), Path(options["videos"]))
    share, rows = int(options["select"]) / len(seeds), []
    for head in options["heads"].split(","):
        for seed in range(int(options["seeds"])):
            found = []
            for way in WAYS:
                out = work / (f"{head}-{seed}" + ("" if way == "weak" else "-clicks"))
                more = [] if way == "weak" else [f"data.clicks={work / 'clicks.csv'}", f"data.snippet={FRAMES}"]
                scorers.train(head, seed, table, encoder.name, share, out, more)
                scorer = load_folder(str(out), None, encoder.embed_text)
                found.append(scorers.figures(clips, scorer, ANOMALIES, scorers.FPS))
            (before, weak), (after, clicked) = found
            rows.append(
                {
                    "head": head,
                    "seed": seed,
                    "difference": intervals(clicked, weak),
                    **{k: [f["facts"][k] for f in (before, after)] for k in ("auc", "ap_step")},
                }
            )
    return rows


def subset(head: str, seed: int, data: Path, work: Path) -> tuple[Figure, Figure, Figure]:
    """Frame AUC on the UCF-Crime subset without clicks, with, and the difference: five folds, trained on the other four."""
    videos, analyzer = footage.rows(data, SUBSET), footage.sparse()
    names = [Path(v["file"]).stem for v in videos]
    features = work / "ucf-features"
    listed = work / "ucf.csv"
    with open(listed, "w", newline="") as file:
        csv.writer(file).writerows([("path",), *((str(data / "frames" / v["file"]),) for v in videos)])
    vlad("features", str(listed), "-o", str(features), "--set", f"snippet_frames={footage.SPARSE}")
    clicks = []
    for number, (name, video) in enumerate(zip(names, videos, strict=True)):
        labels = np.load(data / "frames" / video["labels"], allow_pickle=False).ravel() > 0
        ends = np.flatnonzero(np.diff(np.concatenate([[False], labels, [False]]).astype(int)))
        clicks += [(name, frame) for frame in within([(int(a), int(b)) for a, b in zip(ends[::2], ends[1::2], strict=True)], number)]  # fmt: skip
    found: dict[str, dict[int, Scored]] = {way: {} for way in WAYS}
    for number, fold in enumerate(footage.folds(videos)):
        others = [i for i in range(len(videos)) if i not in fold]
        table, own = work / f"ucf-{number}.csv", {names[i] for i in others}
        with open(table, "w", newline="") as file:
            kinds = [(str(features / f"{names[i]}.npy"), "normal" if videos[i]["n_pos"] == "0" else "anomaly") for i in others]  # fmt: skip
            csv.writer(file).writerows([("path", "label"), *kinds])
        write_clicks(work / f"ucf-{number}-clicks.csv", [c for c in clicks if c[0] in own])
        for way in WAYS:
            out = work / f"ucf-{head}-{seed}-{number}-{way}"
            more = [] if way == "weak" else [f"data.clicks={work / f'ucf-{number}-clicks.csv'}", f"data.snippet={footage.SPARSE}"]  # fmt: skip
            scorers.train(head, seed, table, analyzer.encoder.name, 0.2, out, more)
            pairs = benchmarks.real_frames(
                footage.sparse(scorer_weights=str(out)), data, SUBSET, on_progress=footage.quiet, places=fold
            )
            found[way] |= dict(zip(fold, (ours for ours, _ in pairs), strict=True))
    pairs = [(found["weak"][i], found["clicks"][i]) for i in range(len(videos))]
    return (
        bootstrap([a for a, _ in pairs], frame_auc),
        bootstrap([b for _, b in pairs], frame_auc),
        bootstrap(pairs, lambda some: frame_auc([b for _, b in some]) - frame_auc([a for a, _ in some])),
    )


def main(argv: Sequence[str]) -> int:
    """`vlad eval clicks`. Raises SettingsError for options that are not known."""
    options = options_of("clicks", argv, OPTIONS)
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    rows = simulated(options, work)
    table = Table("head", "on", "measure", "weak labels", "with a click an event", "difference [95 %, over videos]")
    for row in rows:
        for name, words in (("auc", "frame AUC"), ("ap_step", "AP")):
            before, after = row[name]
            low, high = row["difference"][name]
            table.add_row(f"{row['head']}, seed {row['seed']}", "simulated", words, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f} [{low:+.3f}, {high:+.3f}]")  # fmt: skip
    if options["data"]:
        for head in options["heads"].split(","):
            for seed in range(int(options["seeds"])):
                before, after, gain = subset(head, seed, Path(options["data"]), work)
                rows.append({"head": head, "seed": seed, "set": SUBSET, "before": vars(before), "after": vars(after), "difference": vars(gain)})  # fmt: skip
                table.add_row(f"{head}, seed {seed}", "UCF-Crime subset, five folds", "frame AUC", str(before), str(after), f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")  # fmt: skip
    show_table(table)
    (work / "clicks.json").write_text(json.dumps(rows, indent=1, default=os.fspath) + "\n")
    return 0
