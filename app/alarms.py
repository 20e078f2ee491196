"""Routes of alarms: a list by pages, and what people do about them.

In: ids of alarms. Out: alarms as plain JSON. A picture goes out as clips do: where people are covered, to nobody, since it is as it was recorded.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import Field

from vlad.library.tables import AlarmRow

from .auth import Reader, Writer
from .common import Body, Id, library, turn
from .limits import PICTURES

router = APIRouter(prefix="/api")
CURSOR = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,17})?(?:e[+-]?[0-9]{1,2})?)-([0-9a-f]{32})")
Version = Annotated[int | None, Field(ge=0, le=2**31 - 1)]


class Answer(Body):
    """Why, for the log; version: of the alarm as this person saw it, null for any."""

    reason: str = Field("", max_length=2000)
    version: Version = None


class Verdict(Body):
    """confirmed: it was right; dismissed: a false alarm, which raises a calibrated camera's threshold; '' takes a verdict back."""

    verdict: Literal["confirmed", "dismissed", ""]
    version: Version = None


def alarm(row: AlarmRow) -> dict[str, Any]:
    """An alarm; times in seconds since 1970. going: it has not ended; counted: events that it stands for."""
    return {
        "id": row.id, "camera": row.camera, "start": row.start, "end": row.end, "peak": row.peak, "label": row.label, "zone": row.zone,
        "going": row.ended is None, "state": row.state, "by": row.by, "at": row.at, "verdict": row.verdict, "version": row.version,
        "video": row.video_id, "counted": row.counted, "summary": row.summary, "threshold": row.threshold, "latency": row.latency,
        "created": row.created,
    }  # fmt: skip


@router.get("/alarms")
def alarms(
    request: Request, caller: Reader, state: Literal["", "open", "acknowledged", "escalated"] = "",
    camera: Annotated[str | None, Query(max_length=200)] = None, going: bool = False,
    before: Annotated[str, Query(max_length=80)] = "", count: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:  # fmt: skip
    """Alarms, the newest first, and how many there are by state. before: `next` of the page before, which is null where there are no more; camera: null for all."""
    cursor = None
    if before:
        found = CURSOR.fullmatch(before)
        if found is None:
            raise HTTPException(422, "before: expected `next` of an earlier page")
        cursor = (float(found[1]), found[2])
    rows = library(request).alarms(state=state, camera=camera, going=going, before=cursor, count=count)
    more = f"{rows[-1].start!r}-{rows[-1].id}" if len(rows) == count else None
    return {"alarms": [alarm(r) for r in rows], "next": more, "counts": library(request).alarm_counts()}


@router.get("/alarms/{alarm_id}")
def one(request: Request, caller: Reader, alarm_id: Id) -> dict[str, Any]:
    """One of them."""
    return alarm(library(request).alarm(alarm_id))


@router.get("/alarms/{alarm_id}/picture", response_class=Response)
def picture(request: Request, caller: Reader, alarm_id: Id) -> Response:
    """A JPEG of when it was raised. 404 where there is none, 409 where people are covered by now."""
    with turn(request, PICTURES):
        row, data = library(request).alarm(alarm_id), library(request).alarm_picture(alarm_id)
    if data is None:
        raise HTTPException(404, "alarm: there is no picture of it")
    if library(request).privacy().on:
        raise HTTPException(409, "people are covered, and this picture is as it was recorded; look at the clip of it")
    library(request).log(caller.user.name, "alarm viewed", row.id, camera=row.camera)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


@router.post("/alarms/{alarm_id}/acknowledge")
def acknowledge(request: Request, caller: Writer, alarm_id: Id, body: Answer) -> dict[str, Any]:
    """Somebody looks after it. 409 where somebody else did something about it since `version`, or it is acknowledged already."""
    return alarm(library(request).answer_alarm(caller.user, alarm_id, "acknowledged", body.reason, body.version))


@router.post("/alarms/{alarm_id}/escalate")
def escalate(request: Request, caller: Writer, alarm_id: Id, body: Answer) -> dict[str, Any]:
    """Others are told, at every target that takes escalations. 409 as for acknowledge."""
    return alarm(library(request).answer_alarm(caller.user, alarm_id, "escalated", body.reason, body.version))


@router.post("/alarms/{alarm_id}/verdict")
def verdict(request: Request, caller: Writer, alarm_id: Id, body: Verdict) -> dict[str, Any]:
    """Whether it was right; a calibrated camera's threshold goes along, which the log tells."""
    return alarm(library(request).judge_alarm(caller.user, alarm_id, body.verdict, body.version))
