"""Who carries, puts down, takes, enters, rides and pushes what: beside rendered scenes whose truth is known, and moments marked by hand.

    vlad eval relations [clips=8] [data=FOLDER] [work=runs/relations]

In: rendered clips (seeds from 1,000,000); relations.json, thirty real moments of DATA, marked before any rule ran. Out: a table and WORK/relations.json. A rendered clip counts as found where
the event's relation is told; a real moment where that relation is told within a second of its span. Intervals over clips, or moments. Control: what is told of the same kind of clip, or
of moments as long of the same videos at random times, where nothing of the kind was marked. Marks are not of everything that happens, so what else is told of the real clips is counted, not judged.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.objects import load_detector
from vlad.pipeline import Analyzer
from vlad.relations import Relation, relations
from vlad.sim import simulate
from vlad.sim.events import make_event, places_for
from vlad.sim.world import World
from vlad.tracks import follow
from vlad.types import Sighting

from .metrics import Figure, bootstrap
from .verb import options_of, show_table

OPTIONS = {"clips": "8", "data": os.environ.get("VLAD_DATA", ""), "work": "runs/relations"}
FIRST = 1_000_000
RATE, SECONDS = 4.0, 12.0
SCENES = {
    "carrying": "carries", "cycling": "rides", "abandoned object": "puts down", "robbery": "takes", "walking": "", "driving": "", "standing and talking": "",
}  # fmt: skip
SLACK = 1.0  # seconds around a marked moment
ALIKE = {"carries": ("carries", "holds")}  # somebody who stands carries too


def rendered(label: str, seed: int) -> list[Relation]:
    """What is told of a rendered clip of one event, 640 x 480, by vlad's own detector and tracker."""
    scene = simulate(seed, duration=SECONDS, size=(640, 480), events=()).scene
    place = (
        scene.place if scene.place in places_for(label) else sorted(places_for(label))[seed % len(places_for(label))]
    )
    if place != scene.place:
        from vlad.sim.scene import make_scene

        scene = make_scene(seed, np.random.default_rng([seed, 1]), size=(640, 480), place=place)
    world = World(
        seed, scene, SECONDS, 15.0, (make_event(label, scene, np.random.default_rng([seed, 2]), 0.0, SECONDS),)
    )
    detector, times = load_detector(make_settings()), np.arange(0.1, SECONDS, 1 / RATE)
    seen = [Sighting(float(t), detector([world.frame(float(t))])[0]) for t in times]
    return relations(follow(seen), (0.0, SECONDS), aspect=4 / 3)


def told(found: Sequence[Relation], kind: str, start: float, end: float) -> bool:
    """Whether a relation is told that touches a span."""
    return any(r.kind in ALIKE.get(kind, (kind,)) and r.start <= end + SLACK and r.end >= start - SLACK for r in found)


def share(values: Sequence[bool]) -> Figure:
    """The mean of flags, with an interval."""
    return bootstrap([float(v) for v in values], lambda v: float(np.mean(v)))


def of_rendered(clips: dict[str, list[list[Relation]]], table: Table) -> list[dict[str, Any]]:
    """Rows of what is told of rendered clips of each event; also into the table."""
    rows: list[dict[str, Any]] = []
    calm = [own for label in ("walking", "driving", "standing and talking") for own in clips[label]]
    for label, kind in SCENES.items():
        besides = Counter(r.kind for own in clips[label] for r in own if r.kind not in ALIKE.get(kind, (kind,)))
        words = ", ".join(f"{n} {k}" for k, n in besides.most_common()) or "nothing"
        row: dict[str, Any] = {"on": label, "relation": kind, "besides": besides}
        shown = ("", "")
        if kind:
            found, control = (share([told(own, kind, 0.0, SECONDS) for own in some]) for some in (clips[label], calm))
            row |= {"found": found.value, "low": found.low, "high": found.high, "control": control.value}
            shown = (str(found), str(control))
        table.add_row(f"rendered: {label}", kind or "none", str(len(clips[label])), *shown, words)
        rows.append(row)
    return rows


def of_real(data: Path, table: Table) -> list[dict[str, Any]]:
    """Rows of the marked moments of real clips, and of what else is told of them; also into the table."""
    moments = json.loads(files("vlad.eval").joinpath("relations.json").read_text())["moments"]
    analyzer, seen, rows = Analyzer(make_settings(objects_rate=RATE)), {}, []
    for name in bar(sorted({m["video"] for m in moments}), "real"):
        watched = analyzer.watch(data / name)
        video = watched.video
        found_there = relations(follow(watched.sightings), (0.0, video.duration), aspect=video.width / video.height)
        seen[name] = video.duration, found_there
    rng = np.random.default_rng(0)
    for kind in ("all", *dict.fromkeys(m["relation"] for m in moments)):
        own = [m for m in moments if kind in ("all", m["relation"])]
        found = share([told(seen[m["video"]][1], m["relation"], m["start"], m["end"]) for m in own])
        control = share([c for m in own for c in _elsewhere(m, moments, *seen[m["video"]], rng)] or [False])
        table.add_row("real", kind, str(len(own)), str(found), str(control), "")
        row = {"on": "real", "relation": kind, "moments": len(own)}
        rows.append({**row, "found": found.value, "low": found.low, "high": found.high, "control": control.value})
    every = [(name, r) for name, (_, own) in seen.items() for r in own]
    right = [
        any(m["video"] == name and told([r], m["relation"], m["start"], m["end"]) for m in moments) for name, r in every
    ]
    words = "of all that is told, of a marked kind and time"
    table.add_row("real", words, str(len(right)), str(share(right or [False])), "", "")
    rows.append({"told": [{"video": name, "kind": r.kind, "label": r.label, "start": r.start, "end": r.end, "sure": round(r.sure, 2), "person": r.person, "marked": m}
                          for (name, r), m in zip(every, right, strict=True)]})  # fmt: skip
    return rows


def main(argv: Sequence[str]) -> int:
    """`vlad eval relations`. Raises SettingsError for options that are not known."""
    options = options_of("relations", argv, OPTIONS)
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    heads = ("on", "relation", "number", "found", "control", "told besides")
    table = Table(*heads, caption="shares, intervals over clips or moments")
    clips = {
        label: [rendered(label, FIRST + 1000 * i + k) for k in range(int(options["clips"]))]
        for i, label in enumerate(bar(SCENES, "rendered"))
    }
    rows = of_rendered(clips, table)
    if options["data"]:
        rows += of_real(Path(options["data"]), table)
    (work / "relations.json").write_text(json.dumps(rows, indent=1) + "\n")
    show_table(table)
    return 0


def _elsewhere(
    moment: dict[str, Any],
    moments: list[dict[str, Any]],
    duration: float,
    found: Sequence[Relation],
    rng: np.random.Generator,
) -> list[bool]:
    """Whether the moment's relation is told at ten other times of its video, as long, where no such moment was marked."""
    long, times = moment["end"] - moment["start"], []
    same = [m for m in moments if m["video"] == moment["video"] and m["relation"] == moment["relation"]]
    for _ in range(200):
        start = float(rng.uniform(0, max(duration - long, 0.01)))
        if all(start > m["end"] + 2 * SLACK or start + long < m["start"] - 2 * SLACK for m in same):
            times.append(start)
    return [told(found, moment["relation"], t, t + long) for t in times[:10]]
