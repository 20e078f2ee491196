"""Routes of places: zones, lines and rules of a camera, in versions; what they count in a clip.

In: a camera's name, or a clip's id. Out: the text that is kept and what it says; every fault of a text at once; tables and curves of counts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import Field

from vlad.library.tables import RulesRow
from vlad.place import Place
from vlad.report import cell
from vlad.rules import LONGEST, Rules, counts, look, looks, occupied, parse

from . import view
from .auth import Reader, Writer
from .common import Body, Id, library, listed, turn, video_of, viewed
from .evidence import file_part
from .limits import DAYS, DRAFTS
from .ruled import steady

router = APIRouter(prefix="/api")
Camera = Annotated[str, Query(max_length=200)]
EMPTY: dict[str, Any] = {"zones": {}, "lines": {}, "rules": {}, "place": None, "background": ""}
POINTS = 240  # of a curve, at most
COUNTED = ("name", "of", "kind", "entered", "left", "most", "dwell", "inwards", "outwards")


class Text(Body):
    """A text of zones, lines and rules, see `vlad.rules`."""

    text: str = Field(max_length=4 * LONGEST)


class NewRules(Text):
    """A text for a camera, '' for clips without one. version: that it was made from, 0 for none."""

    camera: str = Field(max_length=200)
    version: int = Field(ge=0, le=10**6)


class Whose(Body):
    """A camera, '' for clips without one."""

    camera: str = Field(max_length=200)


def plain(rules: Rules) -> dict[str, Any]:
    """zones and lines as lists of points, rules as sentences, by name; place: its points and its error in words, None; background: as text, ''."""
    effects = {
        r.name: {k: getattr(r, k) for k in ("raises", "lowers") if getattr(r, k) is not None} for r in rules.rules
    }
    return {
        "zones": {name: points.tolist() for name, points in rules.zones.items()},
        "lines": {name: points.tolist() for name, points in rules.lines.items()},
        "rules": {r.name: {"when": r.words, **effects[r.name]} for r in rules.rules},
        "place": _place(rules.place) if rules.place else None,
        "background": rules.background.text() if rules.background else "",
    }  # fmt: skip


def _place(place: Place) -> dict[str, Any]:
    points = [[a, b] for a, b in zip(place.picture.tolist(), place.plan.tolist(), strict=True)]
    return {
        "points": points, "origin": place.origin, "bearing": place.bearing, "told": place.describe(),
        "plan": asdict(place.drawing) if place.drawing else None,
    }  # fmt: skip


def told(row: RulesRow | None, camera: str) -> dict[str, Any]:
    """A version; version 0 where a camera has none."""
    if row is None:
        return {"camera": camera, "version": 0, "text": "", "by": "", "at": None, **EMPTY}
    return {
        "camera": camera,
        "version": row.version,
        "text": row.text,
        "by": row.by,
        "at": row.created,
        **_said(row.text),
    }


@lru_cache(maxsize=256)  # versions never change, and one may take a second to read
def _said(text: str) -> dict[str, Any]:
    read, _ = look(text)
    return plain(read) if read else EMPTY


@router.get("/rules")
def rules(request: Request, caller: Reader, camera: Camera = "") -> dict[str, Any]:
    """A camera's newest version (0: it has none), and of how many clips it was not checked yet."""
    found = library(request)
    row = found.rules(camera)
    return {**told(row, camera), "unchecked": found.clips_to_check(camera) if row else 0}


@router.get("/rules/versions")
def versions(request: Request, caller: Reader, camera: Camera = "") -> list[dict[str, Any]]:
    """The newest versions of a camera, 100 at most, newest first."""
    with turn(request, DRAFTS):
        return [told(row, camera) for row in library(request).rules_versions(camera)]


@router.post("/rules/check")
def check(request: Request, caller: Reader, body: Text) -> dict[str, Any]:
    """Every fault of a text: part (zones, lines or rules, '' for the text itself), name of the entry, and what is wrong; what it says where none is. Nothing is kept."""
    with turn(request, DRAFTS):
        found, faults = look(body.text)
    return {"faults": [asdict(f) for f in faults], **(plain(found) if found else EMPTY)}


@router.put("/rules")
def save(request: Request, caller: Writer, body: NewRules) -> dict[str, Any]:
    """A text as the next version. 409 where somebody saved since `version`, 422 with every fault."""
    with turn(request, DRAFTS):
        library(request).save_rules(caller.user, body.camera, body.text, body.version)
    return rules(request, caller, body.camera)


@router.post("/rules/apply", status_code=202)
def apply(request: Request, caller: Writer, body: Whose) -> dict[str, int]:
    """Check the newest version on the camera's analysed clips: none is decoded, but for a few pictures where the rules have a background; scores stay, and what a person decided on; how many clips."""
    return {"clips": library(request).check_clips(caller.user, body.camera)}


@router.get("/days/{day}/counts.csv")
def day_counts(request: Request, caller: Reader, day: Annotated[str, Path(max_length=20)], camera: Camera = "", zone: Annotated[str, Query(max_length=64)] = "") -> Response:  # fmt: skip
    """What a camera's zones and lines counted on a day: a row for each of them in each clip, with its clock time, and a last one with the day's sum (most at once: the most).

    A clip counts on the day on which it began. Who was hidden for long, or is in two clips, counts twice. zone: of the day, '' for the server's.
    """
    found = library(request)
    begin, end, lanes, _ = found.day(day, zone)
    row = found.rules(camera)
    clips = [v for lane in lanes if lane.camera == camera for v in lane.clips if begin <= (v.recorded or 0.0) < end]
    read = parse(row.text) if row else None
    listed(request, caller.user.name, [v.id for v in clips])
    rows: list[dict[str, Any]] = []
    with turn(request, DAYS):
        for video in clips:
            facts = video.facts or {}
            if read is None or not video.duration or not facts.get("height"):
                continue
            span = {"from": view.clock(video, 0.0), "to": view.clock(video, video.duration)}
            told = counts(read, steady(found, video.id), video.duration, aspect=facts["width"] / facts["height"])
            rows += [{"clip": video.name, **span, **_named(r)} for r in told]
    whole = [{"clip": f"all of {day}", **row} for row in _summed(rows)]
    return _table(("clip", "from", "to", *COUNTED), [*rows, *whole], f"{file_part(camera) or 'camera'} {day} counts.csv")  # fmt: skip


def _summed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of several clips as one of each zone and line, and kind: sums, and the most of the most."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        whole = found.setdefault((row["of"], row["name"], row["kind"]), {k: row[k] for k in ("of", "name", "kind")})
        for key in row.keys() & {"entered", "left", "inwards", "outwards"}:
            whole[key] = whole.get(key, 0) + row[key]
        if "most" in row:
            whole["most"] = max(whole.get("most", 0), row["most"])
    return list(found.values())


def _named(row: dict[str, Any]) -> dict[str, Any]:
    of = "zone" if "zone" in row else "line"
    return {**row, "name": row[of], "of": of}


def _table(heads: Sequence[str], rows: Sequence[dict[str, Any]], name: str) -> Response:
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(heads)
    for row in rows:
        table.writerow([cell(row.get(head, "")) for head in heads])
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_")
    headers = {"Content-Disposition": f'attachment; filename="{ascii_name}"', "Cache-Control": "no-store"}
    return Response(out.getvalue(), media_type="text/csv", headers=headers)


def _counted(request: Request, video_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the clip's camera has, and its counts."""
    video, found = video_of(request, video_id), library(request)
    row, facts = found.rules(video.camera), video.facts or {}
    if not video.duration or not facts.get("height"):
        raise HTTPException(409, "not analysed yet")
    if row is None:
        return {"version": 0, "times": [], "curves": []}, []
    read, tracks = parse(row.text), steady(found, video_id)
    aspect = facts["width"] / facts["height"]
    with turn(request, DRAFTS):
        seen = looks(tracks, video.duration, aspect)
        rows = counts(read, tracks, video.duration, aspect=aspect, seen=seen)
        times, holds = occupied(read, tracks, video.duration, aspect=aspect, seen=seen)
    cuts = np.linspace(0, len(times), min(POINTS, len(times)) + 1).astype(int)[:-1]
    curves = [
        {"zone": zone, "kind": kind, "values": np.maximum.reduceat(values, cuts).tolist()}
        for (zone, kind), values in holds.items()
        if values.any()
    ]
    return {"version": row.version, "times": times[cuts].tolist(), "curves": curves}, rows


@router.get("/videos/{video_id}/counts")
def counted(request: Request, caller: Reader, video_id: Id) -> dict[str, Any]:
    """By the camera's newest zones and lines: rows (entered, left, most at once, dwell in s; crossed which way), and curves of the most at once from each of `times` (s) on."""
    viewed(request, caller.user.name, video_of(request, video_id).id)
    more, rows = _counted(request, video_id)
    return {**more, "rows": rows}


@router.get("/videos/{video_id}/counts.csv")
def counted_csv(request: Request, caller: Reader, video_id: Id) -> Response:
    """The same rows as a table."""
    video = video_of(request, video_id)
    viewed(request, caller.user.name, video.id)
    rows = [{"clip": video.name, **_named(row)} for row in _counted(request, video_id)[1]]
    return _table(("clip", *COUNTED), rows, f"{file_part(video.name) or 'clip'} counts.csv")


@router.get("/videos/{video_id}/rules")
def held(request: Request, caller: Reader, video_id: Id) -> dict[str, Any]:
    """What of its camera's rules held in a clip when they were checked: version, and spans {rule, start, end (s), tracks}."""
    video_of(request, video_id)
    checked = library(request).analysis(video_id).rules or {"version": 0, "held": []}
    return {"version": checked["version"], "held": checked["held"]}
