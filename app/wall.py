"""Routes of live view: a camera's newest picture, and what it sent lately as HLS (RFC 8216), as the process on this machine that watches it keeps them.

In: a camera's id. Out: a JPEG, a playlist, fragments, each looked at by who may see the camera. Where people are covered nothing of this is shown to anybody: it is as it comes from the
camera, and an alarm's clip is covered first.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.responses import FileResponse, PlainTextResponse

from vlad.library.tables import CameraRow
from vlad.live.ring import HEAD, Ring
from vlad.live.watcher import place_of

from .auth import Reader
from .common import Id, library, watched

router = APIRouter(prefix="/api")
FRESH = 10.0  # seconds for which the newest picture is one
BACK = 3600.0  # seconds that a live view may begin ago
UNKEPT = {"Cache-Control": "no-store"}
Moment = Annotated[float, Query(ge=0, le=2**33, allow_inf_nan=False)]


def _camera(request: Request, camera_id: str) -> tuple[CameraRow, Path]:
    """A camera, and where what it showed lies. Raises HTTPException 409 where people are covered; it is logged who looks, once a while."""
    found = library(request)
    row = found.camera(camera_id)
    if found.privacy().on:
        raise HTTPException(
            409, "people are covered here, and live pictures cannot be; look at the clips of its alarms"
        )
    watched(request, request.state.caller.user.name, row)
    return row, place_of(found, camera_id)


def _ring(folder: Path) -> Ring:
    """Its ring, to be read. Raises HTTPException 404 where nothing was recorded on this machine."""
    if not (folder / "ring").is_dir():
        raise HTTPException(404, "camera: nothing of it is recorded on this machine")
    return Ring(folder / "ring", writes=False)


@router.get("/cameras/{camera_id}/picture", response_class=Response)
def picture(request: Request, caller: Reader, camera_id: Id) -> Response:
    """Its newest picture, a JPEG. 404 where there is none of the last seconds."""
    _, folder = _camera(request, camera_id)
    try:
        with open(folder / "picture.jpg", "rb") as file:
            age = time.time() - (folder / "picture.jpg").stat().st_mtime
            data = file.read()
    except OSError:
        age, data = FRESH + 1, b""
    if not -FRESH < age < FRESH:
        raise HTTPException(404, "camera: there is no picture of the last seconds")
    return Response(data, media_type="image/jpeg", headers=UNKEPT)


@router.get("/cameras/{camera_id}/live.m3u8", response_class=PlainTextResponse)
def playlist(request: Request, caller: Reader, camera_id: Id, since: Moment) -> PlainTextResponse:
    """What it sent since a time (s since 1970, at most an hour ago), and goes on to send: a playlist that grows as long as `since` stays the same."""
    _, folder = _camera(request, camera_id)
    since = max(since, time.time() - BACK)
    text = _ring(folder).playlist(since, float("inf"), address=lambda p: f"live/{p.parent.name}/{p.name}", live=True)
    return PlainTextResponse(text, media_type="application/vnd.apple.mpegurl", headers=UNKEPT)


@router.get("/cameras/{camera_id}/live/{recording}/{part}", response_class=FileResponse)
def fragment(
    request: Request, caller: Reader, camera_id: Id, recording: Annotated[str, PathParam(pattern=r"^[0-9]{1,16}$")],
    part: Annotated[str, PathParam(pattern=r"^([0-9]{1,16}-[0-9]{1,16}\.m4s|header\.mp4)$")],
) -> FileResponse:  # fmt: skip
    """A fragment, or the head of a recording. 404 for one that is forgotten."""
    _, folder = _camera(request, camera_id)
    path = folder / "ring" / recording / part
    if not path.is_file():
        raise HTTPException(404, "camera: that is forgotten by now")
    return FileResponse(path, media_type="video/mp4" if part == HEAD else "video/iso.segment", headers=UNKEPT)
