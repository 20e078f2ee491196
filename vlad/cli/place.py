"""Verbs of a place: check, reference, map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import vlad
from vlad.errors import InputError, OutputError

from .common import printable, quiet, verb
from .rules import Analyses, tracked

place = typer.Typer(no_args_is_help=True, help="Where people are on a floor plan, in metres, by four points or more; and whether the camera was moved.")  # fmt: skip
File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE.yaml", help="With place: points: [[[x, y], [metres, metres]], ...]; a rules file will do."
    ),
]


@place.command()
def check(file: File) -> None:
    """The place's error in metres, or every fault of the file."""
    found = verb("vlad.rules", "read")(file)
    for line in _place(found, file).describe():
        print(printable(line))
    print("with a background: rules pause where the camera was moved" if found.background else "no background yet: `vlad place reference`")  # fmt: skip


@place.command()
def reference(
    file: File,
    clip: Annotated[Path, typer.Argument(help="Of that camera, as it stands now, some seconds by day.")],
) -> None:
    """Write into the file what stands still in the camera's picture, so that a camera that was moved is noticed."""
    verb("vlad.rules", "read")(file)  # only into what can be read
    settings = vlad.make_settings()
    with verb("vlad.video", "open_video")(clip, settings, size=240) as opened:
        for _ in opened:
            pass
        duration = opened.video.duration
    found = verb("vlad.elsewhere", "reference")(clip, duration, settings)
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("background:")]
    try:
        file.write_text("\n".join([*lines, f"background: {found.text()}", ""]), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror})") from None
    print(printable(f"{file}: {len(found.points)} features of the background"))


@place.command("map")
def mapped(
    file: File,
    analyses: Analyses,
    out: Annotated[Path, typer.Option("-o", "--out", help="A .geojson file.")],
) -> None:
    """Paths on the plan as GeoJSON, with metres a second: degrees where the place has an origin, else metres."""
    quiet()
    found, features = _place(verb("vlad.rules", "read")(file), file), []
    whole: dict[str, Any] = {}
    for path in analyses:
        analysis, _ = tracked(path)
        whole = verb("vlad.place", "geojson")(found, analysis.tracks, name=Path(analysis.video.path).name)
        features += whole["features"]
        gone = len(analysis.tracks) - len(whole["features"])
        print(
            printable(
                f"{path}: {len(whole['features'])} paths" + (f"; {gone} without a place on the plan" if gone else "")
            )
        )
    try:
        out.write_text(json.dumps({**whole, "features": features}) + "\n")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from None
    print(printable(f"{out}; {found.describe()[0]}"))


def _place(found: Any, file: Path) -> Any:
    if found.place is None:
        raise InputError(f"{file}: no place in it; expected place: points: with four or more pairs")
    return found.place
