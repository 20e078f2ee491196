"""Verbs of movement: learn, score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import check_folder, printable, verb
from .rules import Analyses, Zone, clock_of, tracked

movement = typer.Typer(no_args_is_help=True, help="How a place is walked and driven, by tracks alone, and departures from it.")  # fmt: skip
Learnt = Annotated[Path, typer.Argument(metavar="PATHS", help="A folder of `vlad movement learn`.")]


@movement.command("learn")
def learnt(
    analyses: Analyses,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for what was learnt, and its map.png.")],
    zone: Zone = "",
) -> None:
    """Heat map, ways and speeds by hour of the day, of normal clips of one camera; at least two."""
    check_folder(out)
    clips = [_walked(path, zone)[1] for path in analyses]
    written = verb("vlad.movement", "keep")(verb("vlad.movement", "learn")(clips), out)
    timed = sum(c.clock is not None for c in clips)
    print(printable(f"{len(clips)} clips, {sum(c.duration for c in clips) / 60:.1f} minutes; {timed} of them with a time of day"))  # fmt: skip
    print(printable("  ".join(map(str, written))))


@movement.command()
def score(
    paths: Learnt,
    analyses: Analyses,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for NAME-movement.json and .png.")] = Path(
        "vlad-out"
    ),
    zone: Zone = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
) -> None:
    """Who departs from the usual paths, when and why; .5 is what a second in a hundred of the normal footage reaches."""
    check_folder(out)
    usual, told = verb("vlad.movement", "kept")(paths), []
    for path in analyses:
        name, walked = _walked(path, zone)
        track, found = verb("vlad.movement", "judge")(usual, walked)
        one = {
            "path": name, "clock": walked.clock is not None,
            "departures": [{"start": d.start, "end": d.end, "score": round(d.score, 3), "why": d.why, "kind": d.kind, "track": d.track} for d in found],
            "step": float(track.edges[1] - track.edges[0]), "scores": [round(float(v), 3) for v in track.scores],
        }  # fmt: skip
        told.append(one)
        (out / f"{path.stem}-movement.json").write_text(json.dumps(one, ensure_ascii=True) + "\n")
        picture = verb("vlad.movement", "marked")(usual, walked, found)
        (out / f"{path.stem}-movement.png").write_bytes(verb("vlad.movement", "png")(picture))
        if not as_json:
            print(printable(f"{name}: {len(found)} departures" + ("" if one["clock"] else "; no time of day is known")))
            for d in found:
                print(printable(f"  {d.start:7.1f} to {d.end:7.1f} s  {d.score:.2f}  {d.kind} {d.track}: {d.why}"))
    if as_json:
        print(json.dumps(told, ensure_ascii=True))


def _walked(path: Path, zone: str) -> tuple[str, Any]:
    """The name of an analysed clip, and its tracks with their clock."""
    analysis, aspect = tracked(path)
    clock = clock_of(analysis.video.path, zone)
    return analysis.video.path, verb("vlad.movement", "Walked")(analysis.tracks, analysis.video.duration, aspect, clock)
