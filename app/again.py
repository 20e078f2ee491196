"""Routes of finding again: an outfit or a vehicle's colour within one camera's days, by who has the right, for a reason that goes into the log.

In: a clip, and a track of it or colours. Out: tracks that are like it, as a worker found them, to who asked alone. Colours are no proof that it is the same person or vehicle.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, HTTPException, Request
from pydantic import Field, model_validator

from . import view
from .auth import Admin, Caller, Reader, Writer
from .common import Body, Id, library, video_of
from .privacy import Reason, Right

router = APIRouter(prefix="/api")
Colour = Literal[
    "beige", "black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow"
]
PARTS = {"person": ("top", "trousers"), "vehicle": ("vehicle",)}


class Wanted(Body):
    """A track of the clip, or colours of a person or of a vehicle; and why."""

    track: Annotated[int, Field(ge=1, le=10**6)] | None = None
    top: Colour | None = None
    trousers: Colour | None = None
    vehicle: Colour | None = None
    reason: Reason

    @model_validator(mode="after")
    def _one(self) -> Wanted:
        person, vehicle = self.top or self.trousers, self.vehicle
        if sum(bool(w) for w in (self.track, person, vehicle)) != 1:
            raise ValueError("expected a track, or colours of a person, or a vehicle's colour")
        return self

    def told(self) -> dict[str, Any]:
        """As the library keeps it."""
        if self.track is not None:
            return {"track": self.track}
        kind = "vehicle" if self.vehicle else "person"
        return {"kind": kind, "colours": {p: getattr(self, p) for p in PARTS[kind] if getattr(self, p)}}


def _may(request: Request, caller: Caller) -> bool:
    return bool(caller.user.seeks or request.app.state.gate.local)


@router.get("/again")
def again(request: Request, caller: Reader) -> dict[str, Any]:
    """For how many days it may be looked, 0 where that is off; whether who asks may; the colours that can be named."""
    days = library(request).options().get("seek_days", 0.0)
    return {"days": days, "may": bool(days) and _may(request, caller), "colours": list(get_args(Colour))}


@router.put("/users/again")
def set_seeks(request: Request, caller: Admin, body: Right) -> dict[str, Any]:
    """Give somebody the right to look for outfits, or take it."""
    return view.user(library(request).set_right(caller.user, body.name, "seeks", body.on))


@router.post("/videos/{video_id}/again", status_code=202)
def seek(request: Request, caller: Writer, video_id: Id, body: Wanted) -> dict[str, str]:
    """Look for it in the clips of this clip's camera. 403 without the right; 409 where it is off, or one's last look is under way."""
    video_of(request, video_id)
    if not _may(request, caller):
        raise HTTPException(403, "finding again is open to those whom an admin gave the right to")
    return {"id": library(request).seek(caller.user, video_id, body.told(), body.reason).id}


@router.get("/again/{sought_id}")
def sought(request: Request, caller: Reader, sought_id: Id) -> dict[str, Any]:
    """How far a look of one's own is, and what it found: hits in clips that are still there, the likest first, null before."""
    if not _may(request, caller):
        raise HTTPException(403, "finding again is open to those whom an admin gave the right to")
    row, job = library(request).sought(caller.user, sought_id)
    there = library(request).listed([h["video"] for h in row.hits or []])
    clips = {k: v.video for k, v in there.items() if v.video.removed is None}
    hits = [{**h, "name": clips[h["video"]].name, "starts_at": view.clock(clips[h["video"]], 0.0)} for h in row.hits or [] if h["video"] in clips]  # fmt: skip
    return {
        "wanted": row.wanted, "at": row.created, "hits": None if row.hits is None else hits,
        "job": {"id": job.id, "status": job.status, "done": job.done, "total": job.total, "error": job.error} if job else None,
    }  # fmt: skip
