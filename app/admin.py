"""Routes of settings and health: what runs here, thresholds by what they gave so far, retention, people, the log."""

from __future__ import annotations

import shutil
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from sqlalchemy import func, select

from vlad.device import choose_device
from vlad.library import verify
from vlad.library.store import FREE
from vlad.library.tables import Job, Video
from vlad.pipeline import versions

from . import view
from .api import Body, Count, First, library
from .auth import Admin, Reader

router = APIRouter(prefix="/api")
STEPS = tuple(round(0.05 * i, 2) for i in range(1, 20))


class NewUser(Body):
    """Somebody who may sign in."""

    name: str = Field(min_length=1, max_length=200)
    password: str = Field(min_length=10, max_length=500)
    role: Literal["reviewer", "admin"] = "reviewer"


class NewToken(Body):
    """A key for programs. days: until it expires."""

    name: str = Field(min_length=1, max_length=200)
    scopes: list[Literal["read", "write", "admin"]] = Field(min_length=1, max_length=3)
    days: float = Field(30, gt=0, le=3660, allow_inf_nan=False)


class Options(Body):
    """enter: threshold of new analyses, null for the scorer's own. retention_days: clips older than this are removed, null for never.

    quota_gib: of all clips together, null for as much as the disk holds.
    """

    enter: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    retention_days: float | None = Field(None, ge=1, le=3660, allow_inf_nan=False)
    quota_gib: float | None = Field(None, ge=0.001, le=1e6, allow_inf_nan=False)


@router.get("/health")
def health(request: Request, caller: Reader) -> dict[str, Any]:
    """Device, models, queue and storage."""
    settings, found = request.app.state.settings, library(request)
    with found.read() as session:
        queue = dict(session.execute(select(Job.status, func.count()).group_by(Job.status)).all())
        size = session.scalar(select(func.sum(Video.size)).where(Video.removed.is_(None))) or 0
        clips = session.scalar(select(func.count()).select_from(Video).where(Video.removed.is_(None))) or 0
    return {
        "preset": settings.preset, "device": str(choose_device(settings.device)), "encoder": settings.encoder, "scorer": settings.scorer,
        "explainer": settings.server or settings.explainer, "versions": versions(), "jobs": queue, "clips": clips, "bytes": int(size),
        "free": shutil.disk_usage(found.folder).free, "kept_free": FREE, "options": found.options(),
    }  # fmt: skip


@router.get("/facets")
def facets(request: Request, caller: Reader) -> dict[str, list[str]]:
    """Labels and cameras there are, to filter by."""
    return library(request).facets()


@router.get("/thresholds")
def thresholds(request: Request, caller: Reader) -> dict[str, Any]:
    """What each threshold would have flagged among the clips of which every segment was decided: confirmed, dismissed, and false alarms an hour.

    Segments below the threshold that the clips were analysed with were never flagged, so nothing is known of them.
    """
    hours, decided = library(request).decided()
    rows = []
    for step in STEPS:
        kept = [status for peak, status in decided if peak >= step]
        wrong = kept.count("dismissed")
        rows.append(
            {
                "threshold": step,
                "confirmed": kept.count("confirmed"),
                "dismissed": wrong,
                "false_alarms_per_hour": wrong / hours if hours else None,
            }
        )
    return {"hours": hours, "segments": len(decided), "thresholds": rows}


@router.put("/options")
def set_options(request: Request, caller: Admin, body: Options) -> dict[str, float]:
    """Change what is given; null goes back to the default."""
    for name in body.model_fields_set:
        library(request).set_option(caller.user, name, getattr(body, name))
    return library(request).options()


@router.get("/audit")
def audit(request: Request, caller: Admin, first: First = 0, count: Count = 100) -> dict[str, Any]:
    """The log, newest first, and whether it is one chain."""
    with library(request).read() as session:
        rows, last, broken = verify(session)
    log = [view.audit(r) for r in library(request).audit_rows(first=first, count=count)]
    return {"rows": rows, "digest": last, "broken": broken, "log": log}


@router.get("/users")
def users(request: Request, caller: Admin) -> list[dict[str, Any]]:
    """Everybody who may sign in."""
    return [view.user(u) for u in library(request).users()]


@router.post("/users", status_code=201)
def add_user(request: Request, caller: Admin, body: NewUser) -> dict[str, Any]:
    """Somebody who may sign in."""
    return view.user(library(request).add_user(body.name, body.password, body.role))


@router.delete("/users")
def close_user(
    request: Request, caller: Admin, name: Annotated[str, Query(min_length=1, max_length=200)]
) -> dict[str, bool]:
    """Somebody may no longer; sessions and tokens of theirs end."""
    library(request).close_user(caller.user.name, name)
    return {"closed": True}


@router.post("/tokens", status_code=201)
def add_token(request: Request, caller: Admin, body: NewToken) -> dict[str, str]:
    """A token for programs, shown once."""
    scopes = sorted(set(body.scopes))
    return {"token": library(request).open_key(caller.user, body.days * 86_400, name=body.name, scopes=scopes)}
