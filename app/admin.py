"""Routes of settings and health: what runs here, thresholds by what they gave so far, retention, people, the log."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy import func, select

from vlad.clock import iso
from vlad.device import choose_device
from vlad.library.clips import FREE
from vlad.library.groups import MOST
from vlad.library.logbook import LogFilter
from vlad.library.tables import Job, Video
from vlad.pipeline import versions
from vlad.report import cell

from . import view
from .auth import Admin, Reader, Writer
from .common import Body, Count, First, Id, Name, library

router = APIRouter(prefix="/api")
LOGGED = (
    "number",
    "at",
    "user",
    "action",
    "name",
    "start",
    "reason",
    "target",
    "video",
    "segment",
    "detail",
    "digest",
    "address",
)
STEPS = tuple(round(0.05 * i, 2) for i in range(1, 20))


class NewUser(Body):
    """Somebody who may sign in."""

    name: str = Field(min_length=1, max_length=200)
    password: str = Field(min_length=10, max_length=500)
    role: Literal["reviewer", "admin"] = "reviewer"


class NewGroup(Body):
    """Cameras, '' for clips without one, and the names of those who see their clips."""

    name: str = Field(min_length=1, max_length=200)
    cameras: list[Annotated[str, Field(max_length=200)]] = Field(max_length=MOST)
    members: list[Annotated[str, Field(max_length=200)]] = Field(max_length=MOST)


class NewToken(Body):
    """A key for programs. days: until it expires."""

    name: str = Field(min_length=1, max_length=200)
    scopes: list[Literal["read", "write", "admin"]] = Field(min_length=1, max_length=3)
    days: float = Field(30, gt=0, le=3660, allow_inf_nan=False)


class Options(Body):
    """enter: threshold of new analyses, null for the scorer's own. retention_days: clips older than this are removed, null for never.

    quota_gib: of all clips together, null for as much as the disk holds. seek_days: how far an outfit may be looked for again, and how long
    what was found is kept, null for not at all.
    """

    enter: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    retention_days: float | None = Field(None, ge=1, le=3660, allow_inf_nan=False)
    quota_gib: float | None = Field(None, ge=0.001, le=1e6, allow_inf_nan=False)
    seek_days: float | None = Field(None, ge=1, le=7, allow_inf_nan=False)


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

    Of what lies below the threshold that the clips were analysed with, only that is known which people marked themselves: `missed` counts those
    spans that a threshold would still have missed, in all those that the analyses did.
    """
    hours, decided = library(request).decided()
    missed = library(request).missed()
    rows = []
    for step in STEPS:
        kept = [status for peak, status in decided if peak >= step]
        wrong = kept.count("dismissed")
        rows.append(
            {
                "threshold": step,
                "confirmed": kept.count("confirmed"),
                "dismissed": wrong,
                "missed": sum(peak < step for peak in missed),
                "false_alarms_per_hour": wrong / hours if hours else None,
            }
        )
    return {"hours": hours, "segments": len(decided), "missed": len(missed), "thresholds": rows}


@router.put("/options")
def set_options(request: Request, caller: Admin, body: Options) -> dict[str, float]:
    """Change what is given; null goes back to the default."""
    for name in body.model_fields_set:
        library(request).set_option(caller.user, name, getattr(body, name))
    return library(request).options()


def log_filter(
    user: Name = "", video: Annotated[str, Query(max_length=32)] = "", action: Annotated[str, Query(max_length=40)] = "",
    day: Annotated[str, Query(max_length=20)] = "", zone: Annotated[str, Query(max_length=64)] = "",
) -> LogFilter:  # fmt: skip
    """Which rows; '' for any. day: such as 2026-11-25, in a zone ('' for the server's)."""
    return LogFilter(user, action, video, day, zone)


Wanted = Annotated[LogFilter, Depends(log_filter)]


@router.get("/audit")
def audit(request: Request, caller: Admin, wanted: Wanted, first: First = 0, count: Count = 100) -> dict[str, Any]:
    """The log, newest first, with what each row is about, how many rows the filters leave, and whether all of it is one chain."""
    page, total = library(request).audit_page(wanted, first=first, count=count)
    rows, last, broken = library(request).audit_state()
    return {"rows": rows, "digest": last, "broken": broken, "total": total, "log": [view.audit(r) for r in page]}


@router.get("/audit.csv", response_class=StreamingResponse)
def audit_csv(request: Request, caller: Admin, wanted: Wanted) -> StreamingResponse:
    """The same as a table, every row of the filters."""
    wanted.conditions()  # what is wrong is said before an answer begins

    def lines() -> Iterator[str]:
        yield _line(LOGGED)
        for first in range(0, 10**7, 1000):
            page, _ = library(request).audit_page(wanted, first=first, count=1000)
            for row in page:
                found = view.audit(row)
                told = {
                    **found,
                    "at": iso(found["at"], wanted.zone),
                    "detail": json.dumps(row.row.detail, ensure_ascii=False),
                }
                yield _line(["" if told[c] is None else told[c] for c in LOGGED])
            if len(page) < 1000:
                return

    library(request).log(caller.user.name, "log fetched")
    headers = {"Content-Disposition": 'attachment; filename="vlad log.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(lines(), media_type="text/csv", headers=headers)


def _line(values: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([cell(v) for v in values])
    return out.getvalue()


@router.get("/users")
def users(request: Request, caller: Admin) -> list[dict[str, Any]]:
    """Everybody who may sign in."""
    return [view.user(u) for u in library(request).users()]


@router.post("/users", status_code=201)
def add_user(request: Request, caller: Admin, body: NewUser) -> dict[str, Any]:
    """Somebody who may sign in."""
    return view.user(library(request).add_user(body.name, body.password, body.role, by=caller.user.name))


@router.delete("/users")
def close_user(
    request: Request, caller: Admin, name: Annotated[str, Query(min_length=1, max_length=200)]
) -> dict[str, bool]:
    """Somebody may no longer; sessions and tokens of theirs end."""
    library(request).close_user(caller.user.name, name)
    return {"closed": True}


@router.get("/groups")
def groups(request: Request, caller: Admin) -> list[dict[str, Any]]:
    """Who sees which cameras: every group by name. Without any everybody sees all."""
    return [
        {"id": g.id, "name": g.name, "cameras": g.cameras, "members": names} for g, names in library(request).groups()
    ]


@router.put("/groups")
def set_group(request: Request, caller: Admin, body: NewGroup) -> list[dict[str, Any]]:
    """Make a group, or change the one of that name; all groups. From the first one on reviewers see the cameras of theirs only."""
    library(request).set_group(caller.user.name, body.name, body.cameras, body.members)
    request.app.state.live.renew()
    return groups(request, caller)


@router.delete("/groups")
def remove_group(
    request: Request, caller: Admin, name: Annotated[str, Query(min_length=1, max_length=200)]
) -> list[dict[str, Any]]:
    """Remove a group; all that are left. With the last one gone everybody sees all again."""
    library(request).remove_group(caller.user.name, name)
    request.app.state.live.renew()
    return groups(request, caller)


@router.post("/tokens", status_code=201)
def add_token(request: Request, caller: Admin, body: NewToken) -> dict[str, str]:
    """A token for programs, shown once."""
    scopes = sorted(set(body.scopes))
    return {"token": library(request).open_key(caller.user, body.days * 86_400, name=body.name, scopes=scopes)}


@router.get("/tokens")
def tokens(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """Tokens that are valid, newest first, with their last use: one's own, an admin's everybody's."""
    return [view.key(k) for k in library(request).keys(None if "admin" in caller.scopes else caller.user)]


@router.delete("/tokens/{token_id}")
def revoke(request: Request, caller: Writer, token_id: Id) -> dict[str, bool]:
    """End a token or session of one's own, an admin any."""
    library(request).revoke(caller.acting, token_id)
    return {"revoked": True}
