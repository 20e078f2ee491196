"""Routes of privacy: who is covered in what leaves, doubtful moments and what people say of them, and looks at originals, each with a reason.

In: a signed-in person's requests. Out: states of clips; which file of a clip they get (`file_of`). A look at an original is a key of this server's, for one
person and one clip, for LOOK seconds; it is written into the log before it is given.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import Field

from vlad.library.tables import CoverMark

from . import view
from .auth import Admin, Caller, Reader, Writer
from .common import Body, Id, Second, library, video_of

router = APIRouter(prefix="/api")
LOOK = 900.0  # seconds for which an original stays open
OPEN = 10_000  # looks that are remembered
Look = Annotated[str, Query(max_length=64)]
Version = Annotated[str, Query(max_length=32)]
Reason = Annotated[str, Field(min_length=3, max_length=500)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Wish(Body):
    """Who is covered in what leaves, and how."""

    cover: Literal["none", "faces", "people"]
    how: Literal["mosaic", "blur", "silhouette"] = "mosaic"


class Why(Body):
    """Why somebody looks at an original."""

    reason: Reason


class Right(Body):
    """Whether somebody has a right."""

    name: str = Field(min_length=1, max_length=200)
    on: bool


class Said(Body):
    """A box (x, y, width, height, shares of the picture) to be covered from start to end (s); null: that moment is fine."""

    start: Second
    end: Second
    box: tuple[Share, Share, Share, Share] | None = None


def may_see(request: Request, caller: Caller) -> None:
    """Raises HTTPException 403 for who may not see originals, and for a token that may only read."""
    if "write" not in caller.scopes:
        raise HTTPException(403, "this needs the scope write")
    if not (caller.user.originals or request.app.state.gate.local):
        raise HTTPException(403, "people are covered here; originals are open to those whom an admin gave the right to")


def file_of(request: Request, video_id: str, look: str) -> Path:
    """The file of a clip that a request gets: what may be shown of it, or the original by a look that is open. Raises ConflictError, HTTPException 403."""
    if not look:
        return library(request).shown(video_id)
    caller: Caller = request.state.caller
    may_see(request, caller)  # the right may have been taken since
    user, video, until = request.app.state.looks.get(look, ("", "", 0.0))
    if (user, video) != (caller.user.id, video_id) or time.monotonic() > until:
        raise HTTPException(403, "this look at the original is over; say again why you look")
    return library(request).clip(video_id)


@router.get("/privacy")
def privacy(request: Request, caller: Reader) -> dict[str, Any]:
    """Who is covered, and how; whether who asks may see originals."""
    wish = library(request).privacy()
    mine = caller.user.originals or request.app.state.gate.local
    return {"cover": wish.what, "how": wish.how, "originals": mine}


@router.put("/privacy")
def set_privacy(request: Request, caller: Admin, body: Wish) -> dict[str, Any]:
    """Cover people from now on, or stop; `clips`: how many are to be covered first, of which nothing is shown until then."""
    count = library(request).set_privacy(caller.user, body.cover, body.how)
    return {**privacy(request, caller), "clips": count}


@router.put("/users/originals")
def set_originals(request: Request, caller: Admin, body: Right) -> dict[str, Any]:
    """Give somebody the right to see originals, or take it; looks that are open end with it."""
    return view.user(library(request).set_right(caller.user, body.name, "originals", body.on))


@router.post("/videos/{video_id}/original", status_code=201)
def open_original(request: Request, caller: Writer, video_id: Id, body: Why) -> dict[str, Any]:
    """Look at the original, for a reason that goes into the log: `look`, for the routes media and frame, and for how many seconds. 403 without the right."""
    video_of(request, video_id)
    may_see(request, caller)
    library(request).log(caller.user.name, "original opened", video_id, reason=body.reason)
    looks: dict[str, tuple[str, str, float]] = request.app.state.looks
    if len(looks) > OPEN:
        looks.clear()
    key = secrets.token_urlsafe(24)
    looks[key] = (caller.user.id, video_id, time.monotonic() + LOOK)
    return {"look": key, "seconds": LOOK}


@router.get("/covers")
def covers(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """Clips with doubtful moments at which nobody looked yet: [{start, end, score, box}]."""
    return [
        {"video": v.id, "name": v.name, "camera": v.camera, "doubtful": left} for v, left in library(request).doubtful()
    ]


@router.get("/videos/{video_id}/cover")
def cover(request: Request, caller: Reader, video_id: Id) -> dict[str, Any]:
    """How far a clip is covered, its doubtful moments, and what people said of it."""
    video_of(request, video_id)
    row, _, marks = library(request).cover(video_id)
    state = library(request).covered_of([video_id]).get(video_id)
    return {
        "covered": asdict(state) if state else None,
        "doubtful": row.doubtful if row else [],
        "marks": [_mark(m) for m in marks],
    }


@router.post("/videos/{video_id}/cover/marks", status_code=201)
def mark(request: Request, caller: Writer, video_id: Id, body: Said) -> dict[str, Any]:
    """Draw a box that is to be covered, or say that a moment is fine. Nothing of the clip is shown until the box is covered."""
    video_of(request, video_id)
    library(request).mark_cover(caller.user, video_id, body.start, body.end, body.box)
    return cover(request, caller, video_id)


@router.delete("/videos/{video_id}/cover/marks/{mark_id}")
def unmark(request: Request, caller: Writer, video_id: Id, mark_id: Id) -> dict[str, Any]:
    """Take that back."""
    video_of(request, video_id)
    library(request).undo_cover(caller.user, video_id, mark_id)
    return cover(request, caller, video_id)


@router.post("/videos/{video_id}/cover/again", status_code=202)
def again(request: Request, caller: Writer, video_id: Id) -> dict[str, Any]:
    """Look for people in the clip anew."""
    video_of(request, video_id)
    library(request).cover_again(caller.user, video_id)
    return cover(request, caller, video_id)


def _mark(row: CoverMark) -> dict[str, Any]:
    return {"id": row.id, "start": row.start, "end": row.end, "box": row.box, "by": row.by, "at": row.created}
