"""Routes of the Day room: days with footage, and a day as lanes of cameras."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from vlad.library.tables import SegmentRow, Video

from . import view
from .auth import Reader
from .common import library

router = APIRouter(prefix="/api/days")
Zone = Annotated[str, Query(max_length=64)]


@router.get("")
def days(request: Request, caller: Reader, zone: Zone = "") -> list[dict[str, Any]]:
    """Days with footage, newest first. zone: IANA name or +HH:MM, '' for the server's."""
    return library(request).days(zone)


@router.get("/{day}")
def day(request: Request, caller: Reader, day: str, zone: Zone = "") -> dict[str, Any]:
    """A day as lanes of cameras over seconds since 1970, with what could not be decoded; and the clips of which nobody knows when."""
    begin, end, lanes, undated = library(request).day(day, zone)
    return {
        "day": day, "zone": zone, "start": begin, "end": end,
        "lanes": [
            {"camera": lane.camera, "clips": [_clip(v) for v in lane.clips], "segments": _segments(lane.clips, lane.segments)}
            for lane in lanes
        ],
        "undated": [{"id": v.id, "name": v.name, "camera": v.camera} for v in undated],
    }  # fmt: skip


def _clip(row: Video) -> dict[str, Any]:
    begin = row.recorded or 0.0
    gaps = [[begin + a, begin + b] for a, b in (row.facts or {}).get("gaps", [])]
    end = begin + (row.duration or 0.0)
    return {"id": row.id, "name": row.name, "start": begin, "end": end, "gaps": gaps, "unseen": view.unseen(row)}


def _segments(clips: list[Video], rows: list[SegmentRow]) -> list[dict[str, Any]]:
    begins = {v.id: v.recorded or 0.0 for v in clips}
    found = [
        {
            "id": s.id, "video": s.video_id, "start": begins[s.video_id] + s.start, "end": begins[s.video_id] + s.end, "status": s.status,
            "label": view.named(s), "peak": s.peak, "origin": s.origin,
        }
        for s in rows
    ]  # fmt: skip
    return sorted(found, key=lambda s: (s["start"], s["id"]))
