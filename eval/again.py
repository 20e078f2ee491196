"""Is somebody found again by the colours that are measured? Halves of tracks on real clips.

    vlad eval again data=FOLDER [videos=street/s47.mp4,...] [work=runs/again]

In: clips of DATA with people and vehicles. Out: a table and WORK/again.json. Each track of two seconds or more is cut in two; the outfit of its first half is sought among the second halves of all
tracks of its clip, of people for people and of vehicles for vehicles. Found: the share that is first, ties by chance; asked: the share of tracks that show a colour at all. Intervals over tracks.
Control: a second half drawn by lot. Halves follow one another, so light and pose are alike: another hour of a day is harder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.progress import track as bar
from rich.table import Table

from vlad.again import likeness, outfits
from vlad.config import make_settings
from vlad.errors import SettingsError
from vlad.pipeline import Analyzer
from vlad.tracks import follow
from vlad.types import Track

from .metrics import Figure, bootstrap
from .verb import options_of, show_table

OPTIONS = {
    "data": os.environ.get("VLAD_DATA", ""),
    "videos": "street/s47.mp4,street/s29.mp4,street/s46.mp4,clips/c19.avi,street/s42.mp4,street/s36.mp4,clips/c18.avi,clips/c09.mp4",
    "work": "runs/again",
}
RATE = 4.0  # looks a second
LONG = 2.0  # seconds of a track


def halves(track: Track) -> list[Track]:
    """Its first and its second half, numbered 2 n - 1 and 2 n."""
    cut = len(track.times) // 2
    return [
        Track(2 * track.id - 1 + k, track.label, track.times[s], track.boxes[s], track.score)
        for k, s in enumerate((slice(0, cut), slice(cut, None)))
    ]


def measured(analyzer: Analyzer, path: Path) -> list[tuple[str, bool, float, float]]:
    """Of each track its kind, whether it shows a colour in its first half, the chance that its second half is first, and that of a lot."""
    seen = analyzer.watch(path)
    tracks = [t for t in follow(seen.sightings) if t.times[-1] - t.times[0] >= LONG]
    looks = outfits(seen.video.path, [h for t in tracks for h in halves(t)], seen.video.duration, analyzer.settings)
    found = []
    for track in (t for t in tracks if 2 * t.id in looks):
        wanted, kind = looks[2 * track.id - 1], "person" if track.label == "person" else "vehicle"
        others = {
            t.id: likeness(wanted, looks[2 * t.id])
            for t in tracks
            if 2 * t.id in looks and (t.label == "person") == (kind == "person")
        }
        best = max(others.values())
        first = [number for number, value in others.items() if value == best]
        found.append((kind, bool(wanted.colours), (track.id in first) / len(first), 1 / len(others)))
    return found


def _mean(values: Sequence[float]) -> Figure:
    return bootstrap([float(v) for v in values], lambda v: float(np.mean(v)))


def main(argv: Sequence[str]) -> int:
    """`vlad eval again`. Raises SettingsError without data."""
    options = options_of("again", argv, OPTIONS)
    if not options["data"]:
        raise SettingsError("eval again: needs data=FOLDER")
    work, analyzer = Path(options["work"]), Analyzer(make_settings(objects_rate=RATE))
    work.mkdir(parents=True, exist_ok=True)
    found = [
        row
        for name in bar(options["videos"].split(","), "clips")
        for row in measured(analyzer, Path(options["data"]) / name)
    ]
    table, rows = Table("kind", "tracks", "asked", "found first, of those asked", "control: by lot"), []
    for kind in ("person", "vehicle"):
        own = [r for r in found if r[0] == kind]
        asked = [r for r in own if r[1]]
        if asked:
            figures = [_mean([float(r[k]) for r in some]) for some, k in ((own, 1), (asked, 2), (asked, 3))]
            table.add_row(kind, str(len(own)), *map(str, figures))
            rows.append(
                {
                    "kind": kind,
                    "tracks": len(own),
                    **dict(zip(("asked", "found", "control"), map(asdict, figures), strict=True)),
                }
            )
    (work / "again.json").write_text(json.dumps(rows, indent=1) + "\n")
    show_table(table)
    return 0
