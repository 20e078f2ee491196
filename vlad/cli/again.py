"""The verb find-again."""

from __future__ import annotations

import json
from typing import Annotated

import typer

import vlad
from vlad.errors import InputError, SettingsError

from .common import printable, verb
from .rules import Analyses, Zone, tracked

PARTS = ("top", "trousers", "vehicle")


def find_again(
    analyses: Analyses,
    like: Annotated[int, typer.Option(help="A track's id in the first analysis: who looks like that.")] = 0,
    top: Annotated[str, typer.Option(help="A colour, such as red.")] = "",
    trousers: Annotated[str, typer.Option(help="A colour; dark for black and dark blue.")] = "",
    vehicle: Annotated[str, typer.Option(help="A vehicle's colour.")] = "",
    days: Annotated[float, typer.Option(help="Days that the clips may span.")] = 1.0,
    zone: Zone = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
) -> None:
    """An outfit or a vehicle's colour, again in the clips of one camera and day; by colours alone, and no proof that it is the same."""
    settings, clips = vlad.make_settings(), [tracked(path)[0] for path in analyses]
    outfit = verb("vlad.again", "Outfit")
    asked = {part: (colour, 1.0) for part, colour in zip(PARTS, (top, trousers, vehicle), strict=True) if colour}
    if bool(like) == bool(asked) or ("vehicle" in asked and len(asked) > 1):
        raise SettingsError(
            "find-again: expected --like TRACK, or colours of a person (--top, --trousers), or of a --vehicle"
        )
    verb("vlad.again", "one_camera")(clips, days=days, zone=zone)
    if like:
        if like not in {t.id for t in clips[0].tracks}:
            raise InputError(f"{analyses[0]}: has no track {like}")
        first = clips[0]
        known = verb("vlad.again", "outfits")(
            first.video.path, first.tracks, first.video.duration, settings, only=[like]
        )
        wanted = known.get(like) or outfit("")
    else:
        wanted = outfit("vehicle" if vehicle else "person", asked)
    hits = verb("vlad.again", "find_again")(wanted, clips, settings, days=days, zone=zone)
    hits = [h for h in hits if not (like and h.track == like and h.clip == clips[0].video.path)]
    if as_json:
        print(json.dumps([{"path": h.clip, "track": h.track, "start": h.start, "end": h.end, "sure": round(h.sure, 3), "kind": h.outfit.kind,
                           "colours": {part: colour for part, (colour, _) in h.outfit.colours.items()}} for h in hits], ensure_ascii=True))  # fmt: skip
        return
    told = ", ".join(f"{colour} {part}" for part, (colour, _) in wanted.colours.items())
    print(
        printable(f"{wanted.kind}, {told}: {len(hits)} alike; in like clothes, which is no proof that it is the same")
    )
    for h in hits:
        worn = ", ".join(f"{colour} {part}" for part, (colour, _) in h.outfit.colours.items())
        print(
            printable(f"  {h.sure:.2f}  {h.clip}  {h.start:7.1f} to {h.end:7.1f} s  {h.outfit.kind} {h.track}: {worn}")
        )
