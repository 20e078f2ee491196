"""Routes of the ground: a camera's floor plan, where people of a clip are on it, and what stands still in its picture.

In: a picture of a plan, decoded here and written anew; a clip's id. Out: the plan, maps of paths in metres and as GeoJSON, a background for the camera's text.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse
from PIL import Image, ImageOps
from starlette.concurrency import run_in_threadpool

from vlad.elsewhere import reference
from vlad.errors import InputError
from vlad.place import Place, geojson
from vlad.rules import parse
from vlad.types import Track

from . import media
from .auth import Reader, Writer, may
from .common import Id, body_of, library, turn, video_of, viewed
from .evidence import file_part
from .limits import PICTURES
from .ruled import steady

router = APIRouter(prefix="/api")
Camera = Annotated[str, Query(max_length=200)]
Picture = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
LARGEST = 8 << 20  # bytes of a plan
PIXELS = 25_000_000
SIDE = 2000  # pixels of the longer side that is kept
FORMATS = ("PNG", "JPEG", "WEBP")


def plan_of(data: bytes) -> tuple[bytes, int, int]:
    """A plan's picture as a JPEG of ours, with its width and height; nothing of what came is kept but what it shows. Raises InputError for what is none."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > PIXELS or min(width, height) < 16 or max(width, height) > 50 * min(width, height):
                raise InputError(
                    f"plan: {width} x {height} pixels; expected {PIXELS // 10**6} megapixels at most, and no stripe"
                )
            image.load()
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except InputError:
        raise
    except Exception as error:  # what decoders raise for hostile bytes is anything
        raise InputError(f"plan: not a PNG, JPEG or WebP picture that can be read ({type(error).__name__})") from None
    upright.thumbnail((SIDE, SIDE))
    ground = Image.new("RGB", upright.size, "white")
    ground.paste(upright, mask=upright.getchannel("A"))
    out = io.BytesIO()
    ground.save(out, "JPEG", quality=88)
    return out.getvalue(), *ground.size


@router.put("/plans", status_code=201)
async def put_plan(request: Request, camera: Camera = "") -> dict[str, Any]:
    """A floor plan for a camera (the raw body: PNG, JPEG or WebP, 8 MiB at most): `picture`, the name for the camera's text, and pixels. It shows once a version names it."""
    caller = await run_in_threadpool(may("write"), request)
    data = await body_of(request, LARGEST, "plan")

    def keep() -> dict[str, Any]:
        with turn(request, PICTURES):
            made, width, height = plan_of(data)
        return {"picture": library(request).put_plan(caller.user, camera, made), "width": width, "height": height}

    return await run_in_threadpool(keep)


@router.get("/plans/{picture}")
def plan(request: Request, caller: Reader, picture: Picture, camera: Camera = "") -> Response:
    """A camera's floor plan, a JPEG."""
    return FileResponse(library(request).plan(camera, picture), media_type="image/jpeg", headers=media.PRIVATE)


def _placed(request: Request, video_id: str) -> tuple[Place | None, list[Track], int]:
    """The ground of the clip's camera and tracks on it, without those from when the camera was moved; how many were left out so."""
    video, found = video_of(request, video_id), library(request)
    row = found.rules(video.camera)
    place = parse(row.text).place if row else None
    if place is None:
        return None, [], 0
    there = steady(found, video_id)
    return place, there, len(found.tracks(video_id)) - len(there)


@router.get("/videos/{video_id}/map")
def mapped(request: Request, caller: Reader, video_id: Id) -> dict[str, Any]:
    """Paths on the ground in metres: `map`, a FeatureCollection with times (s) and speeds (m/s); `plan`, its picture's name and sides in metres; `told`, the error in words.

    All null where the camera has no place. left_out: how many tracks are from when the camera was moved.
    """
    viewed(request, caller.user.name, video_of(request, video_id).id)
    place, tracks, left_out = _placed(request, video_id)
    if place is None:
        return {"map": None, "plan": None, "told": [], "left_out": 0, "points": []}
    drawn = place.drawing
    return {
        "map": geojson(replace(place, origin=None), tracks), "told": place.describe(), "left_out": left_out, "points": place.plan.tolist(),
        "plan": {"picture": drawn.picture, "width": drawn.width, "height": drawn.height} if drawn else None,
    }  # fmt: skip


@router.get("/videos/{video_id}/map.geojson")
def mapped_file(request: Request, caller: Reader, video_id: Id) -> Response:
    """The same as a file: degrees where the plan has an origin, else metres. 409 where the camera has no place."""
    video = video_of(request, video_id)
    viewed(request, caller.user.name, video.id)
    place, tracks, _ = _placed(request, video_id)
    if place is None:
        raise HTTPException(409, "this camera has no place: give four points or more under Places")
    name = f"{file_part(video.name) or 'clip'}.geojson".encode("ascii", "replace").decode().replace("?", "_")
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(json.dumps(geojson(place, tracks, name=video.name)), media_type="application/geo+json", headers=headers)  # fmt: skip


@router.post("/videos/{video_id}/background")
def background(request: Request, caller: Writer, video_id: Id) -> dict[str, str]:
    """What stands still in a clip's picture, as the text `background:` holds: this is where its camera looks. 422 where too little stands still."""
    video = video_of(request, video_id)
    viewed(request, caller.user.name, video.id)
    if not video.duration:
        raise HTTPException(409, "not analysed yet")
    with turn(request, PICTURES):
        found = reference(library(request).clip(video_id), video.duration, request.app.state.settings)
    return {"background": found.text()}
