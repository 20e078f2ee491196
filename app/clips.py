"""Routes of clips: uploads in pieces, what is known of a clip, its scores, and pictures of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import undefer

from vlad import clock
from vlad.library.tables import AnalysisRow, Upload

from . import media, samples, sheets, view
from .auth import Admin, Caller, Reader, Writer, may
from .common import Body, Count, First, Id, Name, Second, body_of, library, listed, pictured, turn, video_of, viewed
from .limits import PICTURES, UPLOADS
from .privacy import Look, Version, file_of

PIECE = 8 << 20  # bytes of one piece of an upload
router = APIRouter(prefix="/api")
Recorded = Annotated[float | None, Field(allow_inf_nan=False)]  # see clock.checked
Zone = Annotated[str, Field(max_length=64)]


class NewUpload(Body):
    """A clip that will come in pieces. size: bytes."""

    name: str = Field(min_length=1, max_length=500)
    size: int = Field(gt=0, le=2**53)
    camera: str = Field("", max_length=200)


class Wish(Body):
    """How a clip is to be analysed."""

    enter: float | None = Field(None, ge=0, le=1)
    explain: bool = True


class Whole(Wish):
    """A clip is here. recorded: when its first frame was taken, seconds since 1970; left out, its name may tell. zone: IANA or +HH:MM."""

    recorded: Recorded = None
    zone: Zone = ""
    camera: str = Field("", max_length=200)


class ClipChange(Body):
    """What is mended of a clip; what is left out stays, and recorded or local null forgets. local: recorded as clock time in `zone`."""

    name: str | None = Field(None, min_length=1, max_length=500)
    camera: str | None = Field(None, max_length=200)
    recorded: Recorded = None
    local: Annotated[str, Field(max_length=40)] | None = None
    zone: Zone | None = None


@router.post("/uploads", status_code=201)
def begin_upload(request: Request, caller: Writer, body: NewUpload) -> dict[str, Any]:
    """Announce a clip; then PUT its bytes piece by piece. 413 where it is too large or the disk too full, 429 where one begins too many."""
    with turn(request, UPLOADS):
        upload = library(request).begin_upload(caller.user, body.name, body.size, body.camera)
    return {"id": upload.id, "received": 0, "piece": PIECE}


@router.get("/uploads/{upload_id}")
def upload_state(request: Request, caller: Writer, upload_id: Id) -> dict[str, Any]:
    """How many bytes are here: where to go on."""
    with library(request).read() as session:
        upload = session.get(Upload, upload_id)
    if upload is None or upload.user_id != caller.user.id:
        raise HTTPException(404, "upload: none of that id")
    return {"id": upload.id, "received": upload.received, "size": upload.size}


@router.put("/uploads/{upload_id}")
async def upload_piece(
    request: Request, upload_id: Id, offset: Annotated[int, Query(ge=0, le=2**53)]
) -> dict[str, int]:
    """Add bytes (the raw body, 8 MiB at most) at `offset`; 409 says from where to go on."""
    from starlette.concurrency import run_in_threadpool

    caller = await run_in_threadpool(may("write"), request)
    data = await body_of(request, PIECE, "piece")  # broken off: whoever comes back asks how many bytes are here
    received = await run_in_threadpool(library(request).append, caller.user, upload_id, offset, data)
    return {"received": received}


@router.post("/uploads/{upload_id}/finish", status_code=201)
def finish_upload(request: Request, caller: Writer, upload_id: Id, body: Whole) -> dict[str, Any]:
    """All bytes are here: the clip goes into the queue."""
    wish = body.model_dump(exclude_none=True, exclude={"recorded", "zone", "camera"})
    library(request).finish_upload(
        caller.user, upload_id, wish, recorded=body.recorded, zone=body.zone, camera=body.camera
    )
    return shown(request, upload_id)


@router.get("/uploads")
def uploads(request: Request, caller: Writer) -> list[dict[str, Any]]:
    """One's own uploads that are not whole yet, newest first."""
    names = ("id", "name", "size", "received", "created")
    return [{name: getattr(row, name) for name in names} for row in library(request).uploads(caller.user)]


@router.delete("/uploads/{upload_id}")
def drop_upload(request: Request, caller: Writer, upload_id: Id) -> dict[str, bool]:
    """Give up an upload of one's own."""
    library(request).drop_upload(caller.user, upload_id)
    return {"dropped": True}


@router.post("/sample", status_code=201)
def sample(request: Request, caller: Writer) -> dict[str, Any]:
    """A rendered scene to try things with; the same clip when asked again."""
    with turn(request, UPLOADS):
        return shown(request, samples.add(library(request), caller.user))


def shown(request: Request, video_id: str) -> dict[str, Any]:
    """A clip as the list has it."""
    row = library(request).listed([video_id])[video_id]
    return view.video(
        row.video, row.job, row.found, row.warnings, library(request).covered_of([video_id]).get(video_id)
    )


@router.get("/videos")
def videos(
    request: Request, caller: Reader, first: First = 0, count: Count = 50,
    sort: Literal["created", "name", "camera", "recorded", "peak", "found", "state"] = "created", down: bool = True, words: Name = "",
    camera: Name = "", state: Literal["", "queued", "running", "done", "failed", "cancelled"] = "",
) -> dict[str, Any]:  # fmt: skip
    """A page of clips with what was found in each, how many there are in all, and how many jobs wait or run (`busy`)."""
    rows, total, busy = library(request).clips(
        first=first, count=count, sort=sort, down=down, words=words, camera=camera, state=state
    )
    listed(request, caller.user.name, [r.video.id for r in rows if r.found is not None])
    covered = library(request).covered_of([r.video.id for r in rows])
    told = [view.video(r.video, r.job, r.found, r.warnings, covered.get(r.video.id)) for r in rows]
    return {"total": total, "busy": busy, "videos": told}


@router.get("/videos/{video_id}")
def video(request: Request, caller: Reader, video_id: Id) -> dict[str, Any]:
    """A clip with its newest job, and what made its analysis."""
    video_of(request, video_id)
    with library(request).read() as session:
        made = session.scalars(
            select(AnalysisRow).where(AnalysisRow.video_id == video_id).options(undefer(AnalysisRow.rules))
        ).first()
    viewed(request, caller.user.name, video_id)
    settings = made.made_by.get("settings", {}) if made else {}
    return {
        **shown(request, video_id), "analysed": made is not None, "analysed_at": made.created if made else None, "labels": made.labels if made else [],
        "threshold": settings.get("enter"), "rules": (made.rules or {}).get("version", 0) if made else 0, "summary": (made.summary or {}).get("text", "") if made else "",
    }  # fmt: skip


@router.patch("/videos/{video_id}")
def change(request: Request, caller: Writer, video_id: Id, body: ClipChange) -> dict[str, Any]:
    """Mend a clip's name, camera, time or zone."""
    told = body.model_fields_set
    given = {n: getattr(body, n) for n in told if n == "recorded" or getattr(body, n) is not None}
    if "local" in told:
        zone = body.zone if body.zone is not None else video_of(request, video_id).zone
        given.pop("local", None)
        given["recorded"] = None if body.local is None else clock.stamp(body.local, zone)
    library(request).edit(caller.user, video_id, given)
    return shown(request, video_id)


@router.delete("/videos/{video_id}")
def remove(request: Request, caller: Admin, video_id: Id) -> dict[str, bool]:
    """Remove a clip's file; what was decided stays. 409 for evidence that was exported."""
    video_of(request, video_id)
    library(request).remove(caller.user, video_id)
    return {"removed": True}


@router.post("/videos/{video_id}/analyse", status_code=201)
def analyse_again(request: Request, caller: Writer, video_id: Id, body: Wish) -> dict[str, Any]:
    """Analyse a clip again."""
    video_of(request, video_id)
    return view.job(library(request).again(caller.user, video_id, body.model_dump(exclude_none=True)))


@router.get("/videos/{video_id}/scores")
def scores(request: Request, caller: Reader, video_id: Id) -> Response:
    """The timeline: T scores and then T + 1 edges (s), Float32, little endian. 409 until it is analysed."""
    video_of(request, video_id)
    track = library(request).track(video_id)
    data = np.concatenate([track.scores.astype("<f4"), track.edges.astype("<f4")]).tobytes()
    return Response(data, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


@router.get("/videos/{video_id}/tracks")
def tracks(request: Request, caller: Reader, video_id: Id) -> list[dict[str, Any]]:
    """People and things that were followed: id, label, score, times (s) and boxes (x, y, width, height as shares of the picture)."""
    video_of(request, video_id)
    return library(request).tracks(video_id)


@router.get("/videos/{video_id}/media")
def clip(request: Request, caller: Reader, video_id: Id, v: Version = "", look: Look = "") -> Response:
    """The clip itself, or a range of it: where people are covered the covered one, 409 until it is there. look: see POST original. v: to be kept by."""
    video_of(request, video_id)
    path = file_of(request, video_id, look)
    viewed(request, caller.user.name, video_id)
    return media.clip_response(path, request.headers, kept=not look)


def _picture(
    request: Request, caller: Caller, video_id: str, look: str, make: Callable[[Path, str], Response], *how: object
) -> Response:
    """What `make` makes of the clip's file, under the tag that it is given; without making anything where the browser has it. how: what else it depends on."""
    video_of(request, video_id)
    path = file_of(request, video_id, look)
    viewed(request, caller.user.name, video_id)
    tag = "" if look else media.tag_of(path, *how)
    if tag and (same := media.unchanged(request.headers, tag)):
        return same
    with turn(request, PICTURES):
        made = make(path, tag)
    if file_of(request, video_id, look) != path:  # people are to be covered since
        raise HTTPException(409, "what may be shown of this clip has just changed; ask again")
    return made


@router.get("/videos/{video_id}/frame")
def frame(
    request: Request, caller: Reader, video_id: Id, t: Annotated[Second, Query()], v: Version = "", look: Look = ""
) -> Response:
    """The frame at t seconds, a JPEG. v, look: as for the clip."""
    settings = request.app.state.settings
    return _picture(
        request, caller, video_id, look, lambda path, tag: media.frame_response(path, t, settings, tag=tag), "frame", t
    )


@router.get("/videos/{video_id}/strip")
def strip(
    request: Request, caller: Reader, video_id: Id, t: Annotated[list[Second], Query(min_length=1, max_length=64)], v: Version = "",
) -> Response:  # fmt: skip
    """The frames at several times as one JPEG, side by side in the order given, each 160 pixels wide: one decoder for all."""
    settings = request.app.state.settings
    return _picture(
        request, caller, video_id, "", lambda path, tag: media.strip_response(path, t, settings, tag=tag), "strip", t
    )


def _sheet(request: Request, video_id: str) -> sheets.Sheet:
    row, found = video_of(request, video_id), library(request)
    if not row.duration:
        raise HTTPException(409, "not analysed yet")
    spans = found.spans_of(video_id)
    if sheets.read(found.sheet(video_id)) is not None:  # costs no decoder
        return sheets.current(found, video_id, row.duration, spans, request.app.state.settings)
    with turn(request, PICTURES):
        return sheets.current(found, video_id, row.duration, spans, request.app.state.settings)


@router.get("/videos/{video_id}/sheet")
def sheet(request: Request, caller: Reader, video_id: Id, v: Annotated[str, Query(max_length=32)] = "") -> Response:
    """Small pictures of a clip on one sheet, more of them in and near its segments; where each lies says sheet.json. v: its version, to be kept by."""
    made = _sheet(request, video_id)
    if library(request).sheet(video_id) != made.path:
        raise HTTPException(409, "what may be shown of this clip has just changed; ask again")
    pictured(request, caller.user.name, video_id)
    tag = media.tag_of(made.path)
    return media.unchanged(request.headers, tag) or FileResponse(
        made.path, media_type="image/jpeg", headers={**media.PRIVATE, "ETag": tag}
    )


@router.get("/videos/{video_id}/sheet.json")
def sheet_facts(request: Request, caller: Reader, video_id: Id) -> dict[str, Any]:
    """times: of the pictures (s), row by row; columns; width, height: of each in pixels; ratio: width over height; version: for `sheet?v=`."""
    return _sheet(request, video_id).facts


@router.post("/jobs/{job_id}/cancel")
def cancel(request: Request, caller: Writer, job_id: Id) -> dict[str, bool]:
    """Take a job out of the queue, or stop it."""
    return {"cancelled": library(request).cancel(caller.user, job_id)}
