"""What rules and counts are worth: crossings beside drawn paths and beside counts by eye, a rule beside the scorer, and rules as a prior in training.

    vlad eval rules [parts=paths,clips,scorer,training] [data=FOLDER] [videos=32] [head=mil] [work=runs/rules]

In: nothing; real footage from DATA. Out: tables and WORK/rules.json. paths: crossings of 200 drawn scenes whose boxes shake, are missed and cross each other, after the
tracker. clips: 20 real clips of DATA counted by eye (counted.json). The error is the sum of what is too many and too few, over the sum of what is there; control: nothing
counted, which has 1. scorer: nano's scores with and without RULES, which were written down once and tuned on nothing, on unseen simulated videos and `fights` val.
training: a head from the weak labels of `fights` train, and with the middle of each span in which PRIOR held in a fight of these, as if somebody had clicked it; on `fights` val.
Exit status 0: there is no bar.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.errors import SettingsError
from vlad.objects import inside
from vlad.pipeline import Analyzer
from vlad.rules import applied, counts, held, parse
from vlad.scorers import load_folder
from vlad.tracks import follow
from vlad.types import Box, ScoreTrack, Sighting

from . import benchmarks, scorers
from .clicks import FRAMES, write_clicks
from .metrics import Figure, Scored, bootstrap, clip_auc, frame_auc
from .verb import options_of, show_table

PARTS = ("paths", "clips", "scorer", "training")
OPTIONS = {
    "parts": ",".join(PARTS), "data": os.environ.get("VLAD_DATA", ""), "videos": "32", "head": "mil",
    "work": "runs/rules", "sim": "runs/eval/sim",
}  # fmt: skip
RULES = """
rules:
  brawl: {when: two people nearer than 1 body height with speed over 1.5 for 1 s, raises: 0.7}
  fallen: {when: a person down for 2 s, raises: 0.7}
  panic: {when: three people with speed over 2 for 1 s, raises: 0.7}
  forgotten: {when: a bag left for 10 s, raises: 0.7}
"""
PRIOR = "rules: {close: {when: two people nearer than 1 body height}}"  # by `fights` train: it holds in .75 of its fights, in .36 of its calm clips
SEEDS = 3  # of a trained head
SCENES, LONG, LOOKS = 200, 30.0, 2.0  # drawn scenes, their seconds, and looks a second, as in an analysis
SHAKE, MISSED = 0.05, 0.15  # of a box's sides, and the share of looks at which somebody is not seen
MIDDLE = [[0.5, 0.0], [0.5, 1.0]]
LINE = "lines: {line: %s}\nrules: {}"


@dataclass(frozen=True)
class Counted:
    """Crossings of one clip or scene, (inwards, outwards): of truth, and found."""

    name: str
    true: tuple[int, int]
    found: tuple[int, int]


def error(some: Sequence[Counted]) -> float:
    """What is too many and too few, over what is there."""
    wrong = sum(abs(a - b) for c in some for a, b in zip(c.true, c.found, strict=True))
    return wrong / max(sum(sum(c.true) for c in some), 1)


def crossed(line: Any, tracks: Any, duration: float, aspect: float, kind: str) -> tuple[int, int]:
    """(inwards, outwards) of a line, as `vlad rules count` tells them."""
    rows = counts(parse(LINE % json.dumps(line)), tracks, duration, aspect=aspect)
    (row,) = (r for r in rows if "line" in r and r["kind"] == kind)
    return row["inwards"], row["outwards"]


def scene(seed: int) -> Counted:
    """People who walk through a drawn picture, some of whom turn round."""
    rng = np.random.default_rng([seed, 71])
    times = np.arange(0, LONG, 1 / LOOKS)
    paths, true = [], [0, 0]
    for _ in range(int(rng.integers(1, 7))):
        begin, width = float(rng.uniform(0, LONG - 8)), float(rng.uniform(0.04, 0.1))
        where = np.concatenate([[rng.choice([0.0, 1.0])], rng.uniform(0, 1, int(rng.integers(1, 3)))])
        ends = begin + np.cumsum(np.concatenate([[0.0], np.abs(np.diff(where)) * rng.uniform(5, 14) + 1]))
        x = np.interp(times, ends, where)
        y, there = float(rng.uniform(0.5, 0.95)), (times >= ends[0]) & (times <= ends[-1])
        side = np.interp(np.linspace(ends[0], min(ends[-1], LONG), 2000), ends, where) > 0.5
        right = int((np.diff(side.astype(int)) > 0).sum())
        left = int((np.diff(side.astype(int)) < 0).sum())
        true = [true[0] + left, true[1] + right]  # inwards of a line from the top is to the left
        paths.append((x, y, width, there))
    sightings = []
    for k, time in enumerate(times):
        boxes = []
        for x, y, width, there in paths:
            if there[k] and rng.random() >= MISSED:
                w, h = width * (1 + SHAKE * rng.standard_normal()), 3 * width * (1 + SHAKE * rng.standard_normal())
                at = x[k] + SHAKE * width * rng.standard_normal()
                shown = inside(np.array([at - w / 2, y - h, w, h], np.float32))
                if shown is not None:
                    boxes.append(Box("person", float(rng.uniform(0.3, 0.9)), shown))
        sightings.append(Sighting(float(time), tuple(boxes)))
    found = crossed(MIDDLE, follow(sightings), LONG, 4 / 3, "people")
    return Counted(str(seed), (true[0], true[1]), found)


def by_eye(data: Path) -> dict[str, list[Counted]]:
    """The clips of counted.json, by what was counted."""
    rows = json.loads(files("vlad.eval").joinpath("counted.json").read_text())["clips"]
    analyzer = Analyzer(make_settings(explain=False))
    found: dict[str, list[Counted]] = {}
    for row in bar(rows, "clips counted by eye"):
        analysis = analyzer(data / row["file"])
        video = analysis.video
        told = crossed(row["line"], analysis.tracks, video.duration, video.width / video.height, row["kind"])
        found.setdefault(row["kind"], []).append(Counted(row["file"], (row["inwards"], row["outwards"]), told))
    return found


def ruled(analyzer: Analyzer, path: Path) -> tuple[ScoreTrack, ScoreTrack, Any]:
    """A clip's timeline without rules and with, and its features. The analyzer's settings name the rules."""
    features, video, _ = analyzer.features(path)
    plain = analyzer.score(features)
    return plain, applied(parse(RULES), analyzer.held(video), plain), features


def beside(analyzer: Analyzer, options: dict[str, str]) -> dict[str, tuple[Figure, Figure, Figure]]:
    """By what they were measured on: nano's figure, with rules, and the difference."""
    pairs = []
    for seed in bar(range(benchmarks.EVAL_SEEDS, benchmarks.EVAL_SEEDS + int(options["videos"])), "simulated videos"):
        world, path = benchmarks.rendered(seed, Path(options["sim"]))
        plain, other, features = ruled(analyzer, path)
        times = world.times()
        pos, neg = benchmarks.counts(world.labels(times), times, features.edges)
        pairs.append(tuple(Scored(t.scores.astype(np.float64), pos, neg) for t in (plain, other)))
    found = {"simulated, frame AUC": _paired(pairs, frame_auc)}
    if options["data"]:
        data, clips = Path(options["data"]) / "fights", []
        for row in bar(fights(data, "val"), "fights"):
            tracks = ruled(analyzer, data / row["path"])[:2]
            label = int(row["label"] == "fight")
            clips.append(tuple((benchmarks.bag_score(t.scores.astype(np.float64)), label) for t in tracks))
        found["fights val, clip AUC"] = _paired(clips, _of_clips)
    return found


def fights(data: Path, split: str) -> list[dict[str, str]]:
    """The manifest's rows of a split."""
    with open(data / "manifest.csv", newline="") as file:
        return [r for r in csv.DictReader(file) if r["split"] == split]


def _of_clips(some: Sequence[tuple[float, int]]) -> float:
    scores, truth = zip(*some, strict=True)
    return clip_auc(scores, truth)


def _paired(pairs: Sequence[Any], figure: Any) -> tuple[Figure, Figure, Figure]:
    def way(i: int) -> Any:
        return lambda some: figure([p[i] for p in some])

    return (
        bootstrap(pairs, way(0)),
        bootstrap(pairs, way(1)),
        bootstrap(pairs, lambda some: way(1)(some) - way(0)(some)),
    )


def prior(analyzer: Analyzer, options: dict[str, str], work: Path) -> dict[str, Any]:
    """A head trained on `fights` train by its weak labels, and by these with clicks of rules: clip AUC on `fights` val of both and the difference, over the mean score of
    three seeds; how many spans a rule held in of anomalous clips (which are clicked), and of others."""
    data, features, clicks, calm = Path(options["data"]) / "fights", work / "features", [], 0
    features.mkdir(exist_ok=True)
    rows = fights(data, "train")
    for row in bar(rows, "training clips"):
        name = Path(row["path"]).stem
        found, video, _ = analyzer.features(data / row["path"])
        np.save(features / f"{name}.npy", np.array(found.values), allow_pickle=False)
        aspect = video.width / video.height
        spans = held(parse(PRIOR), analyzer.tracks(video), video.duration, aspect=aspect)
        if row["label"] == "fight":
            middles = [(h.start + h.end) / 2 for h in spans]
            clicks += [(name, FRAMES * int(np.searchsorted(found.edges, m, side="right") - 1)) for m in middles]
        else:
            calm += len(spans)
    write_clicks(work / "clicks.csv", clicks)
    with open(work / "train.csv", "w", newline="") as file:
        kinds = [(str(features / f"{Path(r['path']).stem}.npy"), "anomaly" if r["label"] == "fight" else "normal") for r in rows]  # fmt: skip
        csv.writer(file).writerows([("path", "label"), *kinds])
    tests, head, ways = fights(data, "val"), options["head"], []
    own = [analyzer.features(data / row["path"])[0] for row in tests]
    for way, more in (("weak", []), ("rules", [f"data.clicks={work / 'clicks.csv'}", f"data.snippet={FRAMES}"])):
        scores = np.zeros(len(tests))
        for seed in range(SEEDS):
            out = work / f"{head}-{way}-{seed}"
            scorers.train(head, seed, work / "train.csv", analyzer.encoder.name, 0.2, out, more)
            scorer = load_folder(str(out), None, analyzer.encoder.embed_text)
            scores += [benchmarks.bag_score(scorer(f).scores.astype(np.float64)) / SEEDS for f in own]
        ways.append([(float(score), int(row["label"] == "fight")) for score, row in zip(scores, tests, strict=True)])
    figures = _paired(list(zip(*ways, strict=True)), _of_clips)
    return {"clicks": len(clicks), "in calm clips": calm, "figures": figures}


def main(argv: Sequence[str]) -> int:
    """`vlad eval rules`. Raises SettingsError for options that are not known."""
    options = options_of("rules", argv, OPTIONS)
    parts, work = options["parts"].split(","), Path(options["work"])
    told: dict[str, Any] = {}
    if unknown := set(parts) - set(PARTS):
        raise SettingsError(f"parts {', '.join(sorted(unknown))}: choose of {', '.join(PARTS)}")
    work.mkdir(parents=True, exist_ok=True)
    (work / "rules.yaml").write_text(RULES)
    analyzer = Analyzer(make_settings(explain=False, rules=work / "rules.yaml"))
    crossings: dict[str, list[Counted]] = {}
    if "paths" in parts:
        crossings[f"{SCENES} drawn scenes"] = [scene(i) for i in bar(range(SCENES), "drawn scenes")]
    if "clips" in parts and options["data"]:
        crossings |= {f"{len(own)} real clips, {kind}": own for kind, own in by_eye(Path(options["data"])).items()}
    if crossings:
        table = Table("crossings of", "there", "found", "error over what is there [95 %]", "exactly right")
        for name, some in crossings.items():
            right = sum(c.true == c.found for c in some)
            there, found = (sum(sum(getattr(c, k)) for c in some) for k in ("true", "found"))
            table.add_row(name, str(there), str(found), str(bootstrap(some, error)), f"{right} of {len(some)}")
            told[name] = [vars(c) for c in some]
        show_table(table)
    if "scorer" in parts:
        table = Table("on", "nano", "with rules", "difference [95 %]")
        for name, (plain, other, gain) in beside(analyzer, options).items():
            table.add_row(name, str(plain), str(other), f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
            told[name] = [vars(f) for f in (plain, other, gain)]
        show_table(table)
    if "training" in parts and options["data"]:
        told["training"] = one = prior(analyzer, options, work)
        table = Table("training on fights", "weak labels", "with rules as clicks", "difference [95 %]")
        plain, other, gain = one["figures"]
        words = f"{one['clicks']} clicks; {one['in calm clips']} spans in calm clips"
        table.add_row(words, str(plain), str(other), f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
        show_table(table)
    (work / "rules.json").write_text(json.dumps(told, indent=1, default=vars) + "\n")
    return 0
