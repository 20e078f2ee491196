"""What routes share: bodies without unknown fields, ids, pages, the library behind a request, answers that come line by line."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from queue import Queue
from threading import Thread
from typing import Annotated, Any

from fastapi import HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import joinedload
from starlette.requests import ClientDisconnect

from vlad.errors import ConflictError, InputError, LimitError, MissingError, RightsError, VladError
from vlad.library import Library
from vlad.library.tables import CameraRow, SegmentRow, Video

from .limits import Limits, Share
from .models import Models

log = logging.getLogger("vlad.app")
VIEWED = 600.0  # seconds between two rows of the log about one person and one clip
PAGE = 500  # rows of a page at most
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Second = Annotated[float, Field(ge=0, le=200_000, allow_inf_nan=False)]
First = Annotated[int, Query(ge=0, le=10**9)]
Count = Annotated[int, Query(ge=1, le=PAGE)]
Name = Annotated[str, Query(max_length=200)]


class Body(BaseModel):
    """What a request carries: nothing unknown."""

    model_config = ConfigDict(extra="forbid")


def library(request: Request) -> Library:
    """The server's library."""
    found: Library = request.app.state.library
    return found


async def body_of(request: Request, most: int, what: str) -> bytes:
    """A request's raw body. Raises HTTPException 413 above `most` bytes, 400 where it was broken off, since a page was left."""
    data = bytearray()
    try:
        async for piece in request.stream():
            data += piece
            if len(data) > most:
                raise HTTPException(413, f"a {what} has at most {most} bytes")
    except ClientDisconnect:
        raise HTTPException(400, f"the {what} was broken off") from None
    return bytes(data)


def models(request: Request) -> Models:
    """The server's own loaded models, for search and words."""
    found: Models = request.app.state.models
    return found


def turn(request: Request, share: Share) -> AbstractContextManager[None]:
    """One of the turns of who asks, see Limits."""
    limits: Limits = request.app.state.limits
    return limits.turn(share, request.state.caller.user.id)


Tell = Callable[[dict[str, Any]], None]


def lines(request: Request, work: Callable[[Tell], dict[str, Any]]) -> StreamingResponse:
    """Work whose progress goes out as lines of JSON while it is done; its result, or {error}, is the last line."""
    told: Queue[dict[str, Any] | None] = Queue()

    def run() -> None:
        try:
            told.put(work(told.put))
        except VladError as error:
            told.put({"error": library(request).by_name(str(error))})
        except HTTPException as refused:
            told.put({"error": refused.detail})
        except Exception as error:  # the answer has begun: what went wrong can only be its last line
            log.exception("%s", request.url.path)
            told.put({"error": f"internal error ({type(error).__name__}); see the server's log"})
        told.put(None)

    def out() -> Iterator[str]:
        Thread(target=copy_context().run, args=(run,), daemon=True).start()
        while (line := told.get()) is not None:
            yield json.dumps(line) + "\n"

    return StreamingResponse(out(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


def video_of(request: Request, video_id: str) -> Video:
    """A clip that was not removed. Raises HTTPException 404."""
    with library(request).read() as session:
        row = session.get(Video, video_id)
        if row is None or row.removed is not None:
            raise HTTPException(404, "video: no such id")
        return row


def row_of(request: Request, segment_id: str) -> SegmentRow:
    """A segment. Raises HTTPException 404."""
    with library(request).read() as session:
        row = session.get(SegmentRow, segment_id, options=[joinedload(SegmentRow.video)])
        if row is None:
            raise HTTPException(404, "segment: no such id")
        return row


def viewed(request: Request, name: str, video_id: str) -> None:
    """Into the log, once in VIEWED seconds: a page that looks every second tells nothing new."""
    if _first(request, ("viewed", name, video_id)):
        library(request).log(name, "viewed", video_id)


def watched(request: Request, name: str, camera: CameraRow) -> None:
    """The same of a camera's live pictures."""
    if _first(request, ("watched", name, camera.id)):
        library(request).log(name, "camera viewed", camera.id, camera=camera.name)


def pictured(request: Request, name: str, video_id: str) -> None:
    """Small pictures of a clip go out: a look at it, but where they only stand beside its name in a list or among moments found."""
    if _first(request, ("shown", name, video_id)):
        viewed(request, name, video_id)


def shown_to(request: Request, name: str, videos: Sequence[str]) -> None:
    """A row of the log names these clips already."""
    for video_id in videos:
        _first(request, ("shown", name, video_id))


def listed(request: Request, name: str, videos: Sequence[str]) -> None:
    """A list shows small pictures of these clips: one row of the log in VIEWED seconds, not one a clip."""
    if videos and _first(request, ("listed", name, "")):
        library(request).log(name, "looked through clips")
    shown_to(request, name, videos)


def _first(request: Request, what: tuple[str, str, str]) -> bool:
    seen: dict[tuple[str, str, str], float] = request.app.state.viewed
    now = time.monotonic()
    if now - seen.get(what, -VIEWED) < VIEWED:
        return False
    if len(seen) > 10_000:
        seen.clear()
    seen[what] = now
    return True


def status_of(error: InputError) -> int:
    """403, 404, 409, 413 or 422 by what an error says."""
    for kind, status in ((LimitError, 413), (MissingError, 404), (RightsError, 403), (ConflictError, 409)):
        if isinstance(error, kind):
            return status
    words = str(error)
    if "no such id" in words or "none of that id" in words:
        return 404
    return (
        409 if any(w in words for w in ("already", "not analysed", "are here", "evidence", "one of that name")) else 422
    )
