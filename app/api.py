"""REST for everything the page does, under /api, with OpenAPI.

In: requests of a signed-in user or a token. Out: JSON; scores as Float32, segments in pages, media by id with ranges. Errors are one line in
`detail`: 404 for what is not there, 409 for what does not fit what is, 422 for what makes no sense.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from queue import Queue
from threading import Thread
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from vlad.errors import InputError, LimitError, VladError
from vlad.library import Library
from vlad.library.tables import AnalysisRow, Job, SegmentRow, Upload, Video

from . import media, view
from .auth import COOKIE, SESSION, Admin, Reader, Writer, may
from .models import Models
from .search import look_of

log = logging.getLogger("vlad.app")
VIEWED = 600.0  # seconds between two rows of the log about one person and one clip
PIECE = 8 << 20  # bytes of one piece of an upload
PAGE = 500  # rows of a page at most
router = APIRouter(prefix="/api")
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Second = Annotated[float, Field(ge=0, le=200_000, allow_inf_nan=False)]
First = Annotated[int, Query(ge=0, le=10**9)]
When = Annotated[float | None, Query(ge=0, le=2**40, allow_inf_nan=False)]
Count = Annotated[int, Query(ge=1, le=PAGE)]


class Body(BaseModel):
    """What a request carries: nothing unknown."""

    model_config = ConfigDict(extra="forbid")


class SignIn(Body):
    """Name and password."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=500)


class NewUpload(Body):
    """A clip that will come in pieces. size: bytes."""

    name: str = Field(min_length=1, max_length=500)
    size: int = Field(gt=0, le=2**53)
    camera: str = Field("", max_length=200)


class Wish(Body):
    """How a clip is to be analysed."""

    enter: float | None = Field(None, ge=0, le=1)
    explain: bool = True


class Whole(Wish):
    """A clip is here. recorded: when its first frame was taken, seconds since 1970."""

    recorded: float | None = Field(None, ge=0, le=2**40)


class Decision(Body):
    """A verdict on a segment."""

    verdict: Literal["confirmed", "dismissed"]
    reason: str = Field("", max_length=2000)


class Words(Body):
    """Some text."""

    text: str = Field(min_length=1, max_length=10_000)


class Again(Body):
    """With which template."""

    prompt: str = Field("explain", pattern=r"^[a-z][a-z0-9_-]{0,60}$")


class Question(Body):
    """A question about a segment, after those before it."""

    question: str = Field(min_length=1, max_length=2000)
    turns: list[tuple[str, str]] = Field([], max_length=20)


def library(request: Request) -> Library:
    """The server's library."""
    found: Library = request.app.state.library
    return found


def models(request: Request) -> Models:
    """The server's own loaded models, for search and words."""
    found: Models = request.app.state.models
    return found


Tell = Callable[[dict[str, Any]], None]


def lines(request: Request, work: Callable[[Tell], dict[str, Any]]) -> StreamingResponse:
    """Work whose progress goes out as lines of JSON while it is done; its result, or {error}, is the last line."""
    told: Queue[dict[str, Any] | None] = Queue()

    def run() -> None:
        try:
            told.put(work(told.put))
        except VladError as error:
            told.put({"error": str(error).replace(str(library(request).folder), "")})
        except Exception as error:  # the answer has begun: what went wrong can only be its last line
            log.exception("%s", request.url.path)
            told.put({"error": f"internal error ({type(error).__name__}); see the server's log"})
        told.put(None)

    def out() -> Iterator[str]:
        Thread(target=run, daemon=True).start()
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
        row = session.get(SegmentRow, segment_id)
        if row is None:
            raise HTTPException(404, "segment: no such id")
        _ = row.video.name
        return row


@router.post("/login")
def login(request: Request, response: Response, body: SignIn) -> dict[str, Any]:
    """Sign in; the session is in a cookie. 401 for a wrong name or password, 429 beyond five tries a minute."""
    gate = request.app.state.gate
    gate.check_origin(request)
    gate.try_sign_in(body.name, request.client.host if request.client else "")
    user = library(request).sign_in(body.name, body.password)
    if user is None:
        raise HTTPException(401, "name or password is wrong")
    secret = library(request).open_key(user, SESSION)
    response.set_cookie(
        COOKIE, secret, max_age=int(SESSION), httponly=True, samesite="lax", secure=request.url.scheme == "https"
    )
    return view.user(user)


@router.post("/logout")
def logout(request: Request, response: Response, caller: Reader) -> dict[str, bool]:
    """End this session."""
    library(request).close_key(request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE)
    return {"signed_out": True}


@router.get("/me")
def me(request: Request, caller: Reader) -> dict[str, Any]:
    """Who is asking, and what they may do."""
    return {**view.user(caller.user), "scopes": sorted(caller.scopes), "local": request.app.state.gate.local}


@router.post("/uploads", status_code=201)
def begin_upload(request: Request, caller: Writer, body: NewUpload) -> dict[str, Any]:
    """Announce a clip; then PUT its bytes piece by piece. 413 where it is too large or the disk too full."""
    upload = library(request).begin_upload(caller.user, body.name, body.size, body.camera)
    return {"id": upload.id, "received": 0, "piece": PIECE}


@router.get("/uploads/{upload_id}")
def upload_state(request: Request, caller: Writer, upload_id: Id) -> dict[str, Any]:
    """How many bytes are here: where to go on."""
    with library(request).read() as session:
        upload = session.get(Upload, upload_id)
    if upload is None or upload.user_id != caller.user.id:
        raise HTTPException(404, "upload: none of that id")
    return {"id": upload.id, "received": upload.received, "size": upload.size}


@router.put("/uploads/{upload_id}")
async def upload_piece(
    request: Request, upload_id: Id, offset: Annotated[int, Query(ge=0, le=2**53)]
) -> dict[str, int]:
    """Add bytes (the raw body, 8 MiB at most) at `offset`; 409 says from where to go on."""
    from starlette.concurrency import run_in_threadpool

    caller = await run_in_threadpool(may("write"), request)
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > PIECE:
            raise HTTPException(413, f"a piece has at most {PIECE} bytes")
    received = await run_in_threadpool(library(request).append, caller.user, upload_id, offset, bytes(data))
    return {"received": received}


@router.post("/uploads/{upload_id}/finish", status_code=201)
def finish_upload(request: Request, caller: Writer, upload_id: Id, body: Whole) -> dict[str, Any]:
    """All bytes are here: the clip goes into the queue."""
    wish = body.model_dump(exclude_none=True, exclude={"recorded"})
    video, job = library(request).finish_upload(caller.user, upload_id, wish, recorded=body.recorded)
    return view.video(video, job)


@router.get("/videos")
def videos(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """Every clip, newest first, with its newest job."""
    found = library(request).videos()
    with library(request).read() as session:
        latest = {j.video_id: j for j in session.scalars(select(Job).order_by(Job.created))}
    return [view.video(v, latest.get(v.id)) for v in found]


@router.get("/videos/{video_id}")
def video(request: Request, caller: Reader, video_id: Id) -> dict[str, Any]:
    """A clip with its newest job, and what made its analysis."""
    row = video_of(request, video_id)
    with library(request).read() as session:
        job = session.scalars(select(Job).where(Job.video_id == video_id).order_by(Job.created.desc()).limit(1)).first()
        made = session.scalars(select(AnalysisRow).where(AnalysisRow.video_id == video_id)).first()
    _viewed(request, caller.user.name, video_id)
    settings = made.made_by.get("settings", {}) if made else {}
    return {
        **view.video(row, job), "analysed": made is not None, "labels": made.labels if made else [],
        "threshold": settings.get("enter"), "summary": (made.summary or {}).get("text", "") if made else "",
        "warnings": made.made_by.get("warnings", []) if made else [],
    }  # fmt: skip


def _viewed(request: Request, name: str, video_id: str) -> None:
    """Into the log, once in VIEWED seconds: a page that looks every second tells nothing new."""
    seen: dict[tuple[str, str], float] = request.app.state.viewed
    now = time.monotonic()
    if now - seen.get((name, video_id), -VIEWED) >= VIEWED:
        if len(seen) > 10_000:
            seen.clear()
        seen[name, video_id] = now
        library(request).log(name, "viewed", video_id)


@router.delete("/videos/{video_id}")
def remove(request: Request, caller: Admin, video_id: Id) -> dict[str, bool]:
    """Remove a clip's file; what was decided stays. 409 for evidence that was exported."""
    video_of(request, video_id)
    library(request).remove(caller.user, video_id)
    return {"removed": True}


@router.post("/videos/{video_id}/analyse", status_code=201)
def analyse_again(request: Request, caller: Writer, video_id: Id, body: Wish) -> dict[str, Any]:
    """Analyse a clip again."""
    video_of(request, video_id)
    return view.job(library(request).again(caller.user, video_id, body.model_dump(exclude_none=True)))


@router.get("/videos/{video_id}/scores")
def scores(request: Request, caller: Reader, video_id: Id) -> Response:
    """The timeline: T scores and then T + 1 edges (s), Float32, little endian. 409 until it is analysed."""
    video_of(request, video_id)
    track = library(request).track(video_id)
    data = np.concatenate([track.scores.astype("<f4"), track.edges.astype("<f4")]).tobytes()
    return Response(data, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


@router.get("/videos/{video_id}/media")
def clip(request: Request, caller: Reader, video_id: Id) -> Response:
    """The clip itself, or a range of it."""
    _viewed(request, caller.user.name, video_of(request, video_id).id)
    return media.clip_response(library(request).clip(video_id), request.headers.get("range"))


@router.get("/videos/{video_id}/frame")
def frame(request: Request, caller: Reader, video_id: Id, t: Annotated[Second, Query()]) -> Response:
    """The frame at t seconds, a JPEG."""
    _viewed(request, caller.user.name, video_of(request, video_id).id)
    return media.frame_response(library(request).clip(video_id), t, request.app.state.settings)


@router.get("/videos/{video_id}/strip")
def strip(
    request: Request, caller: Reader, video_id: Id, t: Annotated[list[Second], Query(min_length=1, max_length=64)]
) -> Response:
    """The frames at several times as one JPEG, side by side in the order given, each 160 pixels wide: one decoder for all."""
    _viewed(request, caller.user.name, video_of(request, video_id).id)
    return media.strip_response(library(request).clip(video_id), t, request.app.state.settings)


@router.get("/videos/{video_id}/sheet")
def sheet(request: Request, caller: Reader, video_id: Id) -> Response:
    """A hundred thumbnails, ten a row, evenly over the clip."""
    row = video_of(request, video_id)
    _viewed(request, caller.user.name, row.id)
    if not row.duration:
        raise HTTPException(409, "not analysed yet")
    found = library(request)
    path = media.sheet(found.clip(video_id), row.duration, request.app.state.settings, found.sheet(video_id))
    return FileResponse(path, media_type="image/jpeg", headers=media.PRIVATE)


@router.post("/jobs/{job_id}/cancel")
def cancel(request: Request, caller: Writer, job_id: Id) -> dict[str, bool]:
    """Take a job out of the queue, or stop it."""
    return {"cancelled": library(request).cancel(caller.user, job_id)}


@router.get("/segments")
def segments(
    request: Request, caller: Reader, video: Annotated[str, Query(max_length=32)] = "",
    status: Literal["", "open", "confirmed", "dismissed"] = "", label: Annotated[str, Query(max_length=200)] = "",
    camera: Annotated[str, Query(max_length=200)] = "", words: Annotated[str, Query(max_length=200)] = "", first: First = 0, count: Count = 100,
    by: Literal["peak", "start", "newest"] = "peak",
) -> dict[str, Any]:  # fmt: skip
    """A page of segments, and how many there are in all."""
    rows, total = library(request).segments(
        video_id=video, status=status, label=label, camera=camera, words=words, first=first, count=count, by=by
    )
    decided = library(request).deciders([r.id for r in rows])
    return {"total": total, "segments": [view.segment(r, decided.get(r.id)) for r in rows]}


@router.get("/segments/{segment_id}")
def segment(request: Request, caller: Reader, segment_id: Id) -> dict[str, Any]:
    """A segment with its verdicts, notes and tags."""
    row = row_of(request, segment_id)
    verdicts, notes, tags = library(request).about(segment_id)
    return {
        **view.segment(row, library(request).deciders([segment_id]).get(segment_id)), "verdicts": [view.verdict(v) for v in verdicts], "notes": [view.note(n) for n in notes], "tags": tags,
    }  # fmt: skip


@router.post("/segments/{segment_id}/verdict", status_code=201)
def decide(request: Request, caller: Writer, segment_id: Id, body: Decision) -> dict[str, Any]:
    """Confirm or dismiss."""
    row_of(request, segment_id)
    library(request).decide(caller.user, segment_id, body.verdict, body.reason)
    return segment(request, caller, segment_id)


@router.post("/undo")
def undo(request: Request, caller: Writer) -> dict[str, str | None]:
    """Take back one's own newest verdict; which segment it was on, null for none."""
    return {"segment": library(request).undo(caller.user)}


@router.post("/segments/{segment_id}/notes", status_code=201)
def note(request: Request, caller: Writer, segment_id: Id, body: Words) -> dict[str, Any]:
    """Write on a segment."""
    row_of(request, segment_id)
    library(request).note(caller.user, segment_id, body.text)
    return segment(request, caller, segment_id)


@router.put("/segments/{segment_id}/tags/{tag:path}")
def tag(
    request: Request, caller: Writer, segment_id: Id, tag: Annotated[str, Field(min_length=1, max_length=60)]
) -> dict[str, Any]:
    """Hang a word on a segment."""
    row_of(request, segment_id)
    library(request).tag(caller.user, segment_id, tag)
    return segment(request, caller, segment_id)


@router.delete("/segments/{segment_id}/tags/{tag:path}")
def untag(
    request: Request, caller: Writer, segment_id: Id, tag: Annotated[str, Field(min_length=1, max_length=60)]
) -> dict[str, Any]:
    """Take a word off."""
    row_of(request, segment_id)
    library(request).tag(caller.user, segment_id, tag, on=False)
    return segment(request, caller, segment_id)


@router.post("/segments/{segment_id}/explain")
def explain(request: Request, caller: Writer, segment_id: Id, body: Again) -> dict[str, Any]:
    """Explain again, with another template."""
    row = row_of(request, segment_id)
    video = video_of(request, row.video_id)
    said = models(request).explain(library(request), video, row, models(request).templates(body.prompt))
    library(request).explain(segment_id, said, caller.user.name)
    return segment(request, caller, segment_id)


@router.post("/segments/{segment_id}/chat")
def chat(request: Request, caller: Writer, segment_id: Id, body: Question) -> dict[str, str]:
    """An answer to a question about a segment."""
    row = row_of(request, segment_id)
    answer = models(request).chat(library(request), video_of(request, row.video_id), row, body.question, body.turns)
    library(request).log(caller.user.name, "asked", segment_id)
    return {"answer": answer}


@router.post("/segments/{segment_id}/chat/stream", response_class=StreamingResponse)
def chat_stream(request: Request, caller: Writer, segment_id: Id, body: Question) -> StreamingResponse:
    """The same as it is written: lines of JSON {piece}, at the end {answer} or {error}."""
    row = row_of(request, segment_id)
    video = video_of(request, row.video_id)
    library(request).log(caller.user.name, "asked", segment_id)

    def work(tell: Tell) -> dict[str, Any]:
        found = models(request).chat(
            library(request), video, row, body.question, body.turns, lambda piece: tell({"piece": piece})
        )
        return {"answer": found}

    return lines(request, work)


@router.get("/search")
def search(
    request: Request, caller: Reader, words: Annotated[str, Query(max_length=300)] = "", like: Annotated[str, Query(max_length=32)] = "",
    camera: Annotated[str, Query(max_length=200)] = "", label: Annotated[str, Query(max_length=200)] = "",
    status: Literal["", "open", "confirmed", "dismissed"] = "", after: When = None, before: When = None,
    count: Annotated[int, Query(ge=1, le=100)] = 24,
) -> dict[str, Any]:  # fmt: skip
    """Moments that look like the words, or like a segment; `well` is false where nothing stands out.

    label, status: only moments inside such segments. after, before: seconds since 1970, of when the moment was recorded, or else its clip added.
    """
    found = library(request)
    called = {v.id: v for v in found.videos() if not camera or v.camera == camera}
    everyday = None
    if like:
        vector = look_of(found, row_of(request, like))
    elif words.strip():
        vector, everyday = models(request).words(words)
    else:
        raise HTTPException(422, "say words, or like=SEGMENT")
    spans = found.spans(label=label, status=status) if label or status else None

    def wanted(video_id: str, start: float, end: float) -> bool:
        clip = called.get(video_id)
        if clip is None:
            return False
        taken = (clip.recorded + start) if clip.recorded is not None else clip.created
        inside = spans is None or any(s < end and start < e for s, e in spans.get(video_id, ()))
        return inside and (after is None or taken >= after) and (before is None or taken < before)

    moments = request.app.state.index_of([v.id for v in found.videos()]).nearest(
        vector, count, wanted=wanted, everyday=everyday
    )
    rows = [{**vars(m), "name": called[m.video].name, "camera": called[m.video].camera} for m in moments]
    return {"well": any(m.well for m in moments), "moments": rows}


def status_of(error: InputError | LimitError) -> int:
    """404, 409, 413 or 422 by what an error says."""
    if isinstance(error, LimitError):
        return 413
    words = str(error)
    if "no such id" in words or "none of that id" in words:
        return 404
    return (
        409 if any(w in words for w in ("already", "not analysed", "are here", "evidence", "one of that name")) else 422
    )
