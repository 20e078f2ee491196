"""Real video with real text: nano's adapter as it ships and tuned on people's sentences, cross-validated by video.

    vlad eval captions data=FOLDER [folds=2] [epochs=2] [work=runs/captions]

In: DATA/frames with ucf_captions.json: of 68 test videos of UCF-Crime what people (UCA) and a machine (HIVAU-70k) wrote of their moments. Out: a table and
WORK/captions.json, with references.jsonl, before.jsonl and after.jsonl beside it: people's sentences on moments of videos that the adapter was not tuned on,
beside a constant and a shuffled control; intervals are over videos. The shipped adapter has seen none of these videos. The adapters that this makes are for
this table alone: they have seen test videos.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from vlad.config import make_settings
from vlad.errors import SettingsError
from vlad.explainers import load_engine
from vlad.explainers.engine import read_json
from vlad.explainers.explain import PICTURE, make_request
from vlad.prompting import load_prompt
from vlad.video import frames_at
from vlad.weights import nano_part

from .answers import Item
from .verb import options_of, vlad
from .words import compare, show_lines

OPTIONS = {"data": os.environ.get("VLAD_DATA", ""), "folds": "2", "epochs": "2", "work": "runs/captions"}
TUNED = ("batch=16", "accumulate=1", "lr=4e-4", "checkpointing=false", "held_out=0.01", "evaluate=0", "probe=0")
Row = dict[str, Any]


def rows_of(data: Path, work: Path) -> tuple[list[Row], list[Row]]:
    """All rows of the template `caption` by `vlad instruct`, and those of them that people wrote."""
    source, made = data / "frames" / "ucf_captions.json", work / "rows.jsonl"
    if not made.is_file():
        vlad("instruct", str(source), "-o", str(made), "--kind", "captions", "--media", str(data / "frames"), "--tests")
    rows = [json.loads(line) for line in made.read_text().splitlines()]
    captions = [r for r in rows if r["prompt"] == "caption"]
    return captions, [r for r in captions if r["source"] == "uca"]


def video_of(row: Row) -> str:
    """The name of a row's video."""
    return Path(row["video"]).stem


def folds_of(rows: Sequence[Row], folds: int) -> dict[str, int]:
    """The fold of each video, in the order of their names' hashes."""
    names = sorted({video_of(r) for r in rows}, key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    return {name: i % folds for i, name in enumerate(names)}


def answers(adapter: Path, rows: Sequence[Row], name: str) -> list[str]:
    """What nano says under an adapter of each row's moment, '' for what cannot be read."""
    settings = make_settings(adapter=str(adapter))
    engine, prompt, said = load_engine(settings), load_prompt("caption"), []
    for row in track(rows, name):
        start, end = row["start"], row["end"]
        times = start + (np.arange(settings.explain_frames) + 0.5) / settings.explain_frames * (end - start)
        pictures = list(frames_at(row["video"], times.tolist(), settings, size=PICTURE))
        (reply,) = engine([make_request(prompt, prompt.tell(row["values"], images=len(pictures)), pictures, settings)])
        answer = read_json(reply.text)
        said.append(str(answer["text"]) if isinstance(answer, dict) and not prompt.faults(answer) else "")
    return said


def tuned(rows: Sequence[Row], fold: int, epochs: str, work: Path) -> Path:
    """The shipped adapter gone on with on these rows."""
    out, listed = work / f"adapter-{fold}", work / f"train-{fold}.jsonl"
    if not (out / "result.json").is_file():
        listed.write_text("".join(json.dumps(r) + "\n" for r in rows))
        vlad(
            "finetune",
            "llava-lora",
            f"adapter={nano_part('adapter')}",
            f"data={listed}",
            f"out={out}",
            f"epochs={epochs}",
            *TUNED,
        )
    return out


def write(path: Path, items: Sequence[Item]) -> None:
    """Rows that `vlad eval explanations` reads."""
    path.write_text("".join(json.dumps({"id": i.key, "task": i.task, "text": i.text}) + "\n" for i in items))


def main(argv: Sequence[str]) -> int:
    """`vlad eval captions`. Raises SettingsError for options that are not known."""
    options = options_of("captions", argv, OPTIONS)
    if not options["data"]:
        raise SettingsError("eval captions: name the data with data=FOLDER")
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    rows, people = rows_of(Path(options["data"]), work)
    fold = folds_of(rows, int(options["folds"]))
    before, after = work / "before.json", work / "after.json"
    if not before.is_file():
        before.write_text(json.dumps(answers(nano_part("adapter"), people, "before")))
    if not after.is_file():
        said = [""] * len(people)
        for k in range(int(options["folds"])):
            own = tuned([r for r in rows if fold[video_of(r)] != k], k, options["epochs"], work)
            places = [i for i, r in enumerate(people) if fold[video_of(r)] == k]
            for i, text in zip(places, answers(own, [people[i] for i in places], f"fold {k}"), strict=True):
                said[i] = text
        after.write_text(json.dumps(said))
    keys = [f"{video_of(r)}-{i}" for i, r in enumerate(people)]
    truth = [Item(k, "caption", json.loads(r["answer"])["text"]) for k, r in zip(keys, people, strict=True)]
    first, then = (
        [Item(k, "caption", text) for k, text in zip(keys, json.loads(p.read_text()), strict=True)]
        for p in (before, after)
    )
    for name, items in (("references", truth), ("before", first), ("after", then)):
        write(work / f"{name}.jsonl", items)
    groups = [video_of(r) for r in people]
    facts = {}
    for name, said_of, other in (("before", first, None), ("after, and over before", then, first)):
        lines = compare(truth, said_of, other, groups=groups)
        show_lines(f"{name}: {len(truth)} sentences of {len(set(groups))} videos", lines, {}, others=other is not None)
        facts[name] = [vars(line) for line in lines]
    (work / "captions.json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0
