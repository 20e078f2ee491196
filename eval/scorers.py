"""Every head on nano's features: trained on simulated videos by weak labels, measured on others and on real footage.

    vlad eval scorers [heads=mil,sultani,...] [seeds=3] [train=420] [select=80] [test=200] [data=FOLDER] [work=runs/scorers]
                      [videos=runs/eval/sim]

In: nothing; features of simulated videos are made once and kept in WORK. Out: a table and WORK/scorers.json: frame AUC, AP, detection mAP,
trained parameters, minutes of training, seconds an hour of video, each quality figure with its interval over videos and the mean over
seeds. Training is `vlad finetune custom`, as a person would run it; a head whose folder is there is not trained again. The controls
learn nothing: motion energy, a constant, and nano's text scorer. A head that was measured on the same is not measured again.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.errors import SettingsError
from vlad.pipeline import Analyzer
from vlad.scorers import HEADS, load_folder, load_scorer
from vlad.sim import ANOMALIES, training_world, write_video
from vlad.types import Features, Scorer, ScoreTrack

from . import benchmarks, footage
from .detection import Measured, draw, framed, intervals, measure
from .metrics import Figure
from .protocols import Dataset, Labelled
from .verb import options_of, show_table, vlad

SELECT_SEEDS = 100_000  # as finetune uses them; training takes those below, evaluation those from 1,000,000
# What a head needs on 420 videos rather than on the thousands of its paper. Nothing here was chosen on the test videos.
SMALL = {
    "sultani": ["scorer.epochs=60"],
    "rtfm": ["scorer.epochs=8", "scorer.batch=16", "scorer.lr=5e-4"],
    "ur-dmu": ["scorer.epochs=15", "scorer.batch=16"],
    "vadclip": [
        "scorer.epochs=30",
        "scorer.batch=16",
        "scorer.lr=2e-4",
        "scorer.length=96",
        "window=96",
        "average=3.0",
    ],
    "tpwng": ["scorer.epochs=30", "scorer.lr=2e-4", "scorer.length=96", "window=96"],
    "hl-net": ["scorer.batch=16"],
    "pel4vad": ["scorer.batch=16"],
    "bn-wvad": ["scorer.epochs=15", "scorer.batch=16"],
    "causal": ["scorer.epochs=40"],
}
PROMPTED = ("vadclip", "tpwng")  # learn prompt words, which nano's sentence encoder does not take
OPTIONS = {
    "heads": ",".join(h for h in HEADS if h not in PROMPTED), "seeds": "3", "train": "420", "select": "80", "test": "200", "data": os.environ.get("VLAD_DATA", ""),
    "work": "runs/scorers", "videos": "runs/eval/sim",
}  # fmt: skip
BASELINE = "sultani"  # what the other heads must beat
FPS = 15.0  # of the simulated world
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Clip:
    """A video's features with its truth: labels uint8 [N] a frame, events (class, first frame, end frame)."""

    features: Features
    labels: npt.NDArray[np.uint8]
    events: tuple[tuple[str, int, int], ...]


def train_features(analyzer: Analyzer, folder: Path, seeds: Sequence[int]) -> Path:
    """NAME.npy of simulated training videos, made where they are missing, and the CSV path,label of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in bar(seeds, "features of simulated videos"):
        world, path = training_world(seed), folder / f"{seed}.npy"
        if not path.exists():
            clip = folder / "clip.mp4"
            write_video(world, clip)
            np.save(path, np.array(analyzer.features(clip)[0].values), allow_pickle=False)
        rows.append((path.name, next((e.label for e in world.events if e.anomalous), "normal")))
    with open(folder / "train.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((str(folder / name), label) for name, label in rows)])
    return folder / "train.csv"


def test_clips(analyzer: Analyzer, count: int, folder: Path) -> list[Clip]:
    """Simulated videos of evaluation seeds, decoded from real h264."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in bar(range(benchmarks.EVAL_SEEDS, benchmarks.EVAL_SEEDS + count), "test videos"):
        world, path = benchmarks.rendered(seed, folder)
        labels = world.labels(world.times())
        events = tuple(
            (e.label, round(e.start * world.fps), min(round(e.end * world.fps), len(labels)))
            for e in world.events
            if e.anomalous
        )
        found.append(Clip(analyzer.features(path)[0], labels, events))
    return found


def train(kind: str, seed: int, table: Path, encoder: str, share: float, out: Path, more: Sequence[str] = ()) -> float:
    """`vlad finetune custom` for one head, with more changes of its recipe; the seconds it took, also when it was trained before."""
    done = out / "seconds"
    if not done.exists():
        options = [
            f"head={kind}", f"data.features={table}", f"data.encoder={encoder}", f"data.select={share}", f"out={out}",
            f"scorer.seed={seed}", "scorer.batch=16", *SMALL.get(kind, []), *more,
        ]  # fmt: skip
        begin = time.perf_counter()
        vlad("finetune", "custom", *options)
        done.write_text(str(time.perf_counter() - begin))
    return float(done.read_text())


def figures(
    clips: Sequence[Clip], score: Scorer, names: Sequence[str], fps: float, pictures: Path | None = None
) -> tuple[dict[str, Any], Measured]:
    """Frame AUC, AP and mAP of a scorer with their intervals, and seconds an hour of video; and what to compare it by. pictures: folder of its curves."""
    begin = time.perf_counter()
    tracks = [score(c.features) for c in clips]
    spent = time.perf_counter() - begin
    videos, scores = [], {}
    for k, (clip, track) in enumerate(zip(clips, tracks, strict=True)):
        name, frames = f"{k:04d}", len(clip.labels)
        spans, classes = tuple((a, b) for _, a, b in clip.events), tuple(dict.fromkeys(c for c, _, _ in clip.events))
        videos.append(Labelled(name, frames, frames // 16, spans, clip.events, classes))
        scores[name] = _rows(track, frames, names)
    dataset = Dataset(tuple(videos), tuple(names), fps)
    found, facts = measure(dataset, scores, "all")
    if pictures:
        draw(found, dataset, pictures)
    hours = sum(float(c.features.edges[-1]) for c in clips) / 3600
    return {"facts": facts, "ci": intervals(found), "hour": spent / hours}, found


def _rows(track: ScoreTrack, frames: int, names: Sequence[str]) -> Floats:
    """A score a frame, or with classes 1 + C of them, normal first."""
    score = framed(track, frames)
    if track.classes is None or not set(names) <= set(track.labels):
        return score
    shares = track.classes[:, [track.labels.index(n) for n in names]].astype(np.float64)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    middle = (np.arange(frames) + 0.5) * (track.edges[-1] / frames)
    place = np.clip(np.searchsorted(track.edges, middle, side="right") - 1, 0, len(shares) - 1)
    return np.concatenate([1 - score[:, None], score[:, None] * shares[place]], axis=1)


def energy(features: Features) -> ScoreTrack:
    """The control: how much moves, on a fixed scale."""
    return ScoreTrack(np.clip(benchmarks.energy_of(features), 0, 1).astype(np.float32), features.edges)


def constant(features: Features) -> ScoreTrack:
    """The control that looks at nothing."""
    return ScoreTrack(np.full(len(features.values), 0.5, np.float32), features.edges)


def run(options: dict[str, str], work: Path) -> list[dict[str, Any]]:
    """Train and measure every head that is asked for; a row each, controls first."""
    analyzer = Analyzer(make_settings())
    encoder = analyzer.encoder
    seeds = [*range(int(options["train"])), *range(SELECT_SEEDS, SELECT_SEEDS + int(options["select"]))]
    table = train_features(analyzer, work / "train", seeds)
    share = int(options["select"]) / len(seeds)
    clips = test_clips(analyzer, int(options["test"]), Path(options["videos"]))
    text = load_scorer(make_settings(scorer="text"), encoder)
    rows: list[dict[str, Any]] = []
    baselines: dict[int, Measured] = {}  # by seed
    for name, control in (("constant", constant), ("motion energy", energy), ("text, no training", text)):
        rows.append({"head": name, "seed": None, **figures(clips, control, ANOMALIES, FPS)[0]})
    kinds = options["heads"].split(",")
    for kind in sorted(kinds, key=lambda k: k != BASELINE):
        for seed in range(int(options["seeds"])):
            out = work / f"{kind}-{seed}"
            seconds = train(kind, seed, table, encoder.name, share, out)
            kept, made_of = out / "measured.json", [options["test"], bool(options["data"]), encoder.name]
            if kind != BASELINE and kept.exists() and json.loads(kept.read_text())["of"] == made_of:
                rows.append(json.loads(kept.read_text())["row"])
                continue
            scorer = load_folder(str(out), None, encoder.embed_text)
            facts, found = figures(clips, scorer, ANOMALIES, FPS, pictures=None if seed else out)
            told = json.loads((out / "result.json").read_text())
            row = {"head": kind, "seed": seed, "minutes": seconds / 60, **facts}
            row |= {k: told[k] for k in ("parameters", "selection")}
            baselines |= {seed: found} if kind == BASELINE else {}
            if kind != BASELINE and seed in baselines:
                row["over"] = intervals(found, baselines[seed])
            if options["data"]:
                row["real"] = footage.measured(analyzer, Path(options["data"]), scorer)
            kept.write_text(json.dumps({"of": made_of, "row": row}, default=_plain))
            row = json.loads(kept.read_text())["row"]
            rows.append(row)
            _keep(rows, work)
    return rows


def _plain(value: Any) -> Any:
    """A figure as a dict, a number of NumPy's as Python's."""
    return asdict(value) if isinstance(value, Figure) else float(value)


def _keep(rows: Sequence[dict[str, Any]], work: Path) -> None:
    (work / "scorers.json").write_text(json.dumps(rows, indent=1, default=_plain) + "\n")


def show(rows: Sequence[dict[str, Any]]) -> None:
    """One line a head, the mean over its seeds; intervals of the first seed, over videos."""
    table = Table("head", "frame AUC", "AP", "mAP", f"AP over {BASELINE}", "parameters", "minutes", "s an hour")
    for head in dict.fromkeys(r["head"] for r in rows):
        own = [r for r in rows if r["head"] == head]

        def mean(name: str, own: list[dict[str, Any]] = own) -> str:
            values = [r["facts"][name] for r in own]
            if values[0] is None:
                return ""
            every = [v["mean"] if isinstance(v, dict) else v for v in values]
            low, high = own[0]["ci"][name]
            return f"{np.mean(every):.3f} [{low:.3f}, {high:.3f}]"

        low, high = own[0].get("over", {}).get("ap_step", (0.0, 0.0))
        table.add_row(
            head, mean("auc"), mean("ap_step"), mean("map_standard"),
            f"{low:+.3f} to {high:+.3f}" if "over" in own[0] else "",
            f"{own[0]['parameters']:,}" if "parameters" in own[0] else "",
            f"{np.mean([r['minutes'] for r in own]):.1f}" if "minutes" in own[0] else "", f"{own[0]['hour']:.1f}",
        )  # fmt: skip
    table.caption = f"mean over seeds; intervals: 95 %, over videos, of the first seed ({BASELINE}: paired)"
    show_table(table)
    there = [r for r in rows if "real" in r]
    if not there:
        return
    table = Table("on real footage", *footage.SETS)
    for head in dict.fromkeys(r["head"] for r in there):
        own = [r["real"] for r in there if r["head"] == head]
        cells = [(np.mean([r[n][0]["value"] for r in own]), Figure(**own[0][n][0])) for n in footage.SETS]
        table.add_row(head, *(f"{value:.3f} [{first.low:.3f}, {first.high:.3f}]" for value, first in cells))
    table.add_row("motion energy, the control", *(str(Figure(**there[0]["real"][n][1])) for n in footage.SETS))
    show_table(table)


def show_adapted(data: Path, work: Path) -> list[dict[str, Any]]:
    """What some real footage adds: nano adapted to videos of other folds, and a head that saw normal footage alone."""
    table = Table("learnt from real footage", "before", "after", "difference")
    rows: list[dict[str, Any]] = []
    for shots in (1, 5, 10):
        before, after, gain = footage.few_shot(data, "nano", shots, work)
        table.add_row(f"ucf_stride16, nano adapted to {shots} + {shots} videos of other folds", str(before), str(after), f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")  # fmt: skip
        rows.append({"set": "ucf_stride16", "shots": shots, "before": before, "after": after, "difference": gain})
    ours, control = footage.normal_only(data, work)
    table.add_row("ped2, normality trained on its 16 normal videos; before: motion energy", str(control), str(ours), "")
    rows.append({"set": "ped2", "before": control, "after": ours})
    show_table(table)
    return rows


def main(argv: Sequence[str]) -> int:
    """`vlad eval scorers`. Raises SettingsError for options that are not known."""
    options = options_of("scorers", argv, OPTIONS)
    unknown = [h for h in options["heads"].split(",") if h not in HEADS]
    if unknown:
        raise SettingsError(f"eval scorers: unknown heads {', '.join(unknown)}; choose heads of {', '.join(HEADS)}")
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    rows = run(options, work)
    show(rows)
    if options["data"]:
        _keep([*rows, *show_adapted(Path(options["data"]), work)], work)
    return 0
