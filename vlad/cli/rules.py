"""Verbs of rules: check, test, count."""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vlad import Analysis
from vlad.errors import InputError

from .common import printable, verb

rules = typer.Typer(
    no_args_is_help=True, help="Zones, lines and what must not happen there, checked on the tracks of analyses."
)
File = Annotated[Path, typer.Argument(metavar="RULES.yaml", help="Zones, lines and rules.")]
Analyses = Annotated[list[Path], typer.Argument(metavar="NAME.json...", help="Of `vlad analyze`.")]
Zone = Annotated[
    str, typer.Option(help="Of the clock in clips' names, such as Europe/Berlin; without it this machine's.")
]


@rules.command()
def check(file: File) -> None:
    """Every fault of a file at once, or what it holds."""
    found = verb("vlad.rules", "read")(file)
    print(printable(f"{file}: {len(found.zones)} zones, {len(found.lines)} lines, {len(found.rules)} rules"))
    for rule in found.rules:
        print(printable(f"  {rule.name}: {rule.words}"))


@rules.command("test")
def tried(
    file: File,
    analyses: Analyses,
    zone: Zone = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
) -> None:
    """When each rule held on recorded tracks, and how much of it the scorer had not flagged."""
    found, told = verb("vlad.rules", "read")(file), []
    for path in analyses:
        analysis, aspect = tracked(path)
        clock = clock_of(analysis.video.path, zone)
        spans = verb("vlad.rules", "held")(found, analysis.tracks, analysis.video.duration, aspect=aspect, clock=clock)
        timed = [r.name for r in found.rules if r.between and clock is None]
        told.append(
            {
                "path": analysis.video.path,
                "held": [{"rule": h.rule, "start": h.start, "end": h.end, "tracks": list(h.tracks)} for h in spans],
                "not_flagged": verb("vlad.rules", "beside")(spans, analysis.segments),
                "without_a_clock": timed,
            }
        )
    if as_json:
        print(json.dumps(told, ensure_ascii=True))
        return
    for one in told:
        print(printable(f"{one['path']}: {len(one['held'])} times"))
        for h in one["held"]:
            who = ", ".join(map(str, h["tracks"]))
            print(printable(f"  {h['start']:7.1f} to {h['end']:7.1f} s  {h['rule']}  (tracks {who})"))
        for name, number in one["not_flagged"].items():
            print(printable(f"  {name}: {number} of them where the scorer flagged nothing"))
        for name in one["without_a_clock"]:
            print(printable(f"  {name}: not judged, since nothing says at what time of day this clip was recorded"))


@rules.command()
def count(file: File, analyses: Analyses) -> None:
    """Who entered, left and stayed in each zone, and crossed each line, as CSV."""
    found, rows = verb("vlad.rules", "read")(file), []
    for path in analyses:
        analysis, aspect = tracked(path)
        rows += [{"path": analysis.video.path, **row} for row in verb("vlad.rules", "counts")(found, analysis.tracks, analysis.video.duration, aspect=aspect)]  # fmt: skip
    cell = verb("vlad.report", "cell")
    names = ("path", "zone", "line", "kind", "entered", "left", "most", "dwell", "inwards", "outwards")
    out = csv.writer(sys.stdout)
    out.writerow(names)
    out.writerows([[cell(row.get(name, "")) for name in names] for row in rows])


def tracked(path: Path) -> tuple[Analysis, float]:
    """An analysis and the aspect of its picture. Raises InputError, also for one without tracks."""
    try:
        analysis: Analysis = verb("vlad.report", "from_json")(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not analysis.tracks and not _looked(analysis):
        raise InputError(f"{path}: made without looking for people and things; analyse it again with objects on")
    return analysis, analysis.video.width / analysis.video.height


def _looked(analysis: Analysis) -> bool:
    """Whether it looked for people at all: an empty street has no tracks either."""
    settings = analysis.made_by.get("settings")
    return not isinstance(settings, dict) or bool(settings.get("objects", True))


def clock_of(name: str, zone: str) -> Any:
    """When a clip began, by its name, and the zone of its clock; None where its name does not say."""
    place = verb("vlad.clock", "zone_of")(zone) or datetime.now(UTC).astimezone().tzinfo
    began = verb("vlad.clock", "from_name")(Path(name).name, zone)
    return None if began is None else (began, place)
