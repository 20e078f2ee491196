"""Routes of usual paths: how a camera's place is walked and driven, learnt of its normal clips by their tracks, and who departs from it in a clip.

In: a camera's name, or a clip's id. Out: whether that was learnt and of what, departures, maps on a plain ground. Nothing is decoded, and nothing is told before somebody had it learnt.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import Field

from vlad.movement import Departure, Paths, Walked, drawn, judge, marked, png, unpacked

from . import media
from .auth import Reader, Writer
from .common import Body, Id, library, turn, video_of, viewed
from .limits import PICTURES
from .ruled import walked

router = APIRouter(prefix="/api")
Camera = Annotated[str, Query(max_length=200)]
MOST = 200  # clips that paths are learnt of


class Lesson(Body):
    """A camera, '' for clips without one, and of how many of its newest normal clips its paths are learnt."""

    camera: str = Field(max_length=200)
    clips: int = Field(50, ge=2, le=MOST)


def _paths(request: Request, camera: str) -> Paths | None:
    file = library(request).paths(camera)
    return None if file is None else unpacked(file)


@router.get("/movement")
def movement(request: Request, caller: Reader, camera: Camera = "") -> dict[str, Any]:
    """A camera's usual paths: `learnt`, of how many clips and seconds and when, or null; `normal`, how many clips they could be learnt of; `job`, how far that is."""
    found = library(request)
    file, job = found.paths(camera), found.learning(camera)
    paths = _paths(request, camera)
    return {
        "learnt": {"clips": paths.clips, "seconds": paths.seconds, "at": file.stat().st_mtime} if paths and file else None,
        "normal": len(found.normal_clips(camera, MOST)),
        "job": {"status": job.status, "error": job.error} if job else None,
    }  # fmt: skip


@router.post("/movement", status_code=202)
def learn(request: Request, caller: Writer, body: Lesson) -> dict[str, int]:
    """Learn them, by a worker, of clips in which nobody confirmed anything, by what was followed in them; of how many. 422 for fewer than two."""
    return {"clips": library(request).learn_paths(caller.user, body.camera, body.clips)}


@router.delete("/movement")
def forget(request: Request, caller: Writer, camera: Camera = "") -> dict[str, bool]:
    """Forget them."""
    library(request).drop_paths(caller.user, camera)
    return {"forgotten": True}


@router.get("/movement/map")
def usual_map(request: Request, caller: Reader, camera: Camera = "", hour: Annotated[int | None, Query(ge=0, le=23)] = None) -> Response:  # fmt: skip
    """Where people and vehicles of a camera are and which way most go, by day or in an hour: a PNG. 404 before it was learnt."""
    paths = _paths(request, camera)
    if paths is None:
        raise HTTPException(404, "movement: nobody had this camera's usual paths learnt")
    with turn(request, PICTURES):
        return Response(png(drawn(paths, hour=hour)), media_type="image/png", headers=media.UNKEPT)


def _judged(request: Request, video_id: str) -> tuple[Paths, Walked, list[Departure]] | None:
    video = video_of(request, video_id)
    viewed(request, request.state.caller.user.name, video_id)
    paths = _paths(request, video.camera)
    if paths is None:
        return None
    clip = walked(library(request), video_id)
    if clip is None:
        raise HTTPException(409, "not analysed yet")
    with turn(request, PICTURES):
        return paths, clip, judge(paths, clip)[1]


@router.get("/videos/{video_id}/movement")
def departures(request: Request, caller: Reader, video_id: Id) -> dict[str, Any]:
    """Who departs from the usual paths of a clip's camera: {track, kind, why, start, end (s), score}, the highest first; learnt false before somebody had them learnt."""
    found = _judged(request, video_id)
    return {"learnt": found is not None, "departures": [asdict(d) for d in found[2]] if found else []}


@router.get("/videos/{video_id}/movement/map")
def departures_map(request: Request, caller: Reader, video_id: Id) -> Response:
    """Them on the map, a PNG on a plain ground."""
    found = _judged(request, video_id)
    if found is None:
        raise HTTPException(404, "movement: nobody had this camera's usual paths learnt")
    return Response(png(marked(*found)), media_type="image/png", headers=media.UNKEPT)
