"""Routes of cameras that are watched: admins add, change and remove them, whoever sees their clips looks at them and mutes them.

In: addresses, with what opens them. Out: cameras, of which nobody is told more than that something opens them.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import Field

from vlad.library.adapting import threshold_of
from vlad.library.cameras import version_of
from vlad.library.tables import CameraRow
from vlad.live.alarms import MOST, rule_of

from .auth import Admin, Reader, Writer
from .common import Body, Id, library

router = APIRouter(prefix="/api")
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Threshold = Annotated[float | None, Field(gt=0, le=1, allow_inf_nan=False)]
Secret = Annotated[str | None, Field(max_length=500)]
Address = Annotated[str, Field(max_length=2000)]
POINTS = 600  # of scores, at most


class Hours(Body):
    """days: [] for every day; since and until: clock time in the camera's zone, over midnight where until is not after since."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field([], max_length=7)
    since: str = Field("00:00", pattern=r"^[0-2][0-9]:[0-5][0-9]$")
    until: str = Field("00:00", pattern=r"^[0-2][0-9]:[0-5][0-9]$")


class Zone(Body):
    """A polygon in shares of the picture in which somebody's feet have to be; threshold, hold (s): null for the camera's own."""

    name: str = Field(min_length=1, max_length=80)
    points: list[tuple[Share, Share]] = Field(min_length=3, max_length=100)
    threshold: Threshold = None
    hold: float | None = Field(None, ge=0, le=120, allow_inf_nan=False)


class Settings(Body):
    """threshold: null for as it was calibrated, or .5. hold, cool, merge: seconds, see the README. clock: the zone of the schedule. before, after: seconds of an alarm's clip around
    it. hours, gib: of what is recorded, null for what the watcher keeps by itself."""

    threshold: Threshold = None
    hold: float = Field(1.0, ge=0, le=120, allow_inf_nan=False)
    cool: float = Field(60.0, ge=0, le=86_400, allow_inf_nan=False)
    merge: float = Field(10.0, ge=0, le=300, allow_inf_nan=False)
    most_an_hour: int = Field(12, ge=1, le=3600)
    schedule: list[Hours] = Field([], max_length=MOST)
    clock: str = Field("", max_length=64)
    zones: list[Zone] = Field([], max_length=MOST)
    before: float = Field(10.0, ge=0, le=600, allow_inf_nan=False)
    after: float = Field(10.0, ge=0, le=600, allow_inf_nan=False)
    hours: float | None = Field(None, ge=0, le=8760, allow_inf_nan=False)
    gib: float | None = Field(None, ge=0, le=1e6, allow_inf_nan=False)

    def plain(self) -> dict[str, Any]:
        """As the library keeps it: what differs. Raises InputError for what makes no rule."""
        told = self.model_dump(mode="json", exclude_defaults=True)
        rule_of(told)
        return told


class NewCamera(Body):
    """url: rtsp, rtsps, http or https, or a path of the machine that watches; a user and a password in it are taken out at once. sub_url: a smaller stream to look at, '' for the same."""

    name: str = Field(min_length=1, max_length=200)
    url: Address
    sub_url: Address = ""
    user: Secret = None
    password: Secret = None
    on: bool = True
    settings: Settings | None = None


class Changes(Body):
    """What is to change. With another host, user and password are forgotten unless they are told anew; '' forgets them. version: as it was seen."""

    url: Address | None = None
    sub_url: Address | None = None
    user: Secret = None
    password: Secret = None
    on: bool | None = None
    settings: Settings | None = None
    version: str | None = Field(None, max_length=16)


class Mute(Body):
    """For how many minutes no alarm is raised, 0 to hear again at once; why, for the log."""

    minutes: float = Field(ge=0, le=31 * 1440, allow_inf_nan=False)
    reason: str = Field("", max_length=2000)


def told(request: Request, row: CameraRow) -> dict[str, Any]:
    """A camera. threshold: that its scores are held to; opened: whether a user or a password is kept; state: as whoever watches it told at `told` (s since 1970)."""
    c = row.calibration
    calibration = {k: c[k] for k in ("enter", "now", "rate", "at", "verdicts")} if c else None
    return {
        "id": row.id, "name": row.name, "url": row.url, "sub_url": row.sub_url, "on": row.on, "settings": row.settings,
        "threshold": threshold_of(row.settings, c), "calibration": calibration, "opened": library(request).opened().get(row.id, False),
        "muted_until": row.muted_until if row.muted_until > time.time() else None, "state": row.state, "told": row.told, "created": row.created,
        "version": version_of(row),
    }  # fmt: skip


@router.get("/cameras")
def cameras(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """Every camera, by name; addresses are for admins."""
    return [_for(caller, told(request, row)) for row in library(request).cameras()]


def _for(caller: Reader, found: dict[str, Any]) -> dict[str, Any]:
    return found if "admin" in caller.scopes else {**found, "url": "", "sub_url": ""}


@router.post("/cameras", status_code=201)
def add(request: Request, caller: Admin, body: NewCamera) -> dict[str, Any]:
    """A camera. 409 where there is one of that name."""
    return told(request, library(request).save_camera(caller.user, _changed(body)))


@router.get("/cameras/{camera_id}")
def one(request: Request, caller: Reader, camera_id: Id) -> dict[str, Any]:
    """One of them."""
    return _for(caller, told(request, library(request).camera(camera_id)))


@router.patch("/cameras/{camera_id}")
def change(request: Request, caller: Admin, camera_id: Id, body: Changes) -> dict[str, Any]:
    """Change what is given. 409 where somebody changed it since `version`."""
    return told(request, library(request).save_camera(caller.user, _changed(body), camera_id, body.version))


def _changed(body: NewCamera | Changes) -> dict[str, Any]:
    told = body.model_dump(exclude_none=True, exclude={"settings", "version"})
    return told if body.settings is None else {**told, "settings": body.settings.plain()}


@router.delete("/cameras/{camera_id}")
def remove(request: Request, caller: Admin, camera_id: Id) -> dict[str, bool]:
    """It is watched no more, and what opened it is forgotten; clips and alarms of it stay."""
    library(request).remove_camera(caller.user, camera_id)
    return {"removed": True}


@router.post("/cameras/{camera_id}/mute")
def mute(request: Request, caller: Writer, camera_id: Id, body: Mute) -> dict[str, Any]:
    """No alarm of it for a while; what would have been one is counted."""
    until = time.time() + 60 * body.minutes if body.minutes else 0.0
    return _for(caller, told(request, library(request).mute_camera(caller.user, camera_id, until, body.reason)))


@router.get("/cameras/{camera_id}/scores")
def scores(request: Request, caller: Reader, camera_id: Id, minutes: Annotated[float, Query(gt=0, le=1440, allow_inf_nan=False)] = 10) -> dict[str, Any]:  # fmt: skip
    """What it scored of late: times (s since 1970) and scores, of every 600th part of that span the highest."""
    row, since = library(request).camera(camera_id), time.time() - 60 * minutes
    edges, values = library(request).recent_scores(row.name, since)
    if not len(values):
        return {"times": [], "scores": []}
    place = ((edges[:, 1] - since) / (60 * minutes) * POINTS).astype(int)
    cuts = np.flatnonzero(np.diff(place, prepend=-1))
    return {"times": edges[cuts, 0].tolist(), "scores": np.maximum.reduceat(values, cuts).tolist()}
