"""Routes of the review: segments in pages, verdicts that nobody overrides unseen, spans and words of people.

In: a signed-in person's requests. Out: segments as they now are. 409 where somebody else changed one meanwhile: who, what and when.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from vlad.errors import ConflictError
from vlad.library.queue import Filter, total_of
from vlad.library.review import TOGETHER

from . import view
from .auth import Reader, Writer
from .common import Body, Count, First, Id, Name, library, listed, row_of

router = APIRouter(prefix="/api")
Order = Literal["peak", "start", "newest"]
Verdict = Literal["confirmed", "dismissed"]
Reason = Annotated[str, Field(max_length=2000)]
Version = Annotated[int | None, Field(ge=0, le=2**31)]
Time = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Tag = Annotated[str, Field(min_length=1, max_length=60)]


class Decision(Body):
    """A verdict on a segment. version: of the segment as the person saw it."""

    verdict: Verdict
    reason: Reason = ""
    version: Version = None


class Seen(Body):
    """A segment and the version of it that a person saw."""

    id: Id
    version: Version = None


class Decisions(Body):
    """One verdict on many segments."""

    segments: list[Seen] = Field(min_length=1, max_length=TOGETHER)
    verdict: Verdict
    reason: Reason = ""


class Back(Body):
    """Which verdict or batch is taken back; neither: one's newest."""

    verdict: Id | None = None
    batch: Id | None = None


class NewSpan(Body):
    """A segment of one's own (s)."""

    start: Time
    end: Time
    label: str = Field("", max_length=200)


class Correction(Body):
    """Other ends (s) or another class; what is left out stays. own: the model's span and class again."""

    start: Time | None = None
    end: Time | None = None
    label: str | None = Field(None, max_length=200)
    own: bool = False
    version: Version = None


class Words(Body):
    """Some text."""

    text: str = Field(min_length=1, max_length=10_000)


class Sentence(Words):
    """A sentence that a person stands by. version: of the segment as the person saw it."""

    version: Version = None


class Wrong(Body):
    """What would be right, and which explanation is meant; the newest where none is named."""

    text: str = Field("", max_length=10_000)
    explanation: Id | None = None


class Assignment(Body):
    """Whose segment it is; '' for nobody's."""

    to: str = Field(max_length=200)


def detail(request: Request, segment_id: str) -> dict[str, Any]:
    """A segment with everything that people and models said of it."""
    row, found = row_of(request, segment_id), library(request)
    verdicts, notes, tags = found.about(segment_id)
    return {
        **view.segment(row, found.deciders([segment_id]).get(segment_id)),
        "verdicts": [view.verdict(v) for v in verdicts], "notes": [view.note(n) for n in notes], "tags": tags,
        "explanations": [view.told(e, row) for e in found.explanations(segment_id)],
        "spans": [view.span(s) for s in found.span_history(segment_id)],
        "wrong": [view.wrong(w) for w in found.wrongs(segment_id)],
    }  # fmt: skip


def conflict(request: Request, segment_id: str, error: ConflictError) -> JSONResponse:
    """409 with what the segment is by now."""
    return JSONResponse({"detail": str(error), "segment": detail(request, segment_id)}, 409)


def several(request: Request, ids: list[str]) -> list[dict[str, Any]]:
    """Segments in the order of their ids."""
    found = library(request)
    rows, decided = found.segments_of(ids), found.deciders(ids)
    return [view.segment(rows[i], decided.get(i)) for i in ids]


def filters(
    video: Annotated[str, Query(max_length=32)] = "", status: Literal["", "open", "confirmed", "dismissed"] = "", label: Name = "",
    camera: Name = "", words: Name = "", assigned: Name = "", origin: Literal["", "model", "person"] = "",
) -> Filter:  # fmt: skip
    """Which segments; '' for any. assigned: a name, '-' for nobody's."""
    return Filter(video, status, label, camera, words, assigned, origin)


Filters = Annotated[Filter, Depends(filters)]


@router.get("/segments")
def segments(
    request: Request, caller: Reader, wanted: Filters, first: First = 0, count: Count = 100, by: Order = "peak"
) -> dict[str, Any]:
    """A page of segments, how many there are in all, and how many of each status under the same filters."""
    rows, counts = library(request).page(wanted, first=first, count=count, by=by)
    decided = library(request).deciders([r.id for r in rows])
    listed(request, caller.user.name, sorted({r.video_id for r in rows}))
    return {
        "total": total_of(counts, wanted),
        "counts": counts,
        "segments": [view.segment(r, decided.get(r.id)) for r in rows],
    }


@router.get("/segments/ids")
def segment_ids(request: Request, caller: Reader, wanted: Filters, by: Order = "peak") -> dict[str, Any]:
    """The ids and versions of up to 2,000 segments of a filter."""
    return {"ids": library(request).segment_ids(wanted, by=by, count=TOGETHER)}


@router.get("/segments/{segment_id}")
def segment(request: Request, caller: Reader, segment_id: Id) -> dict[str, Any]:
    """A segment with its verdicts, notes, tags, explanations, spans and marks."""
    return detail(request, segment_id)


@router.get("/people")
def people(request: Request, caller: Reader) -> list[str]:
    """Whom a segment can be given to."""
    return library(request).names()


@router.post("/segments/{segment_id}/verdict", status_code=201)
def decide(request: Request, response: Response, caller: Writer, segment_id: Id, body: Decision) -> Any:
    """Confirm or dismiss. 200 where this person's equal verdict stands already, 409 where somebody else changed the segment since `version`."""
    row_of(request, segment_id)
    try:
        row, new = library(request).decide(caller.user, segment_id, body.verdict, body.reason, body.version)
    except ConflictError as error:
        return conflict(request, segment_id, error)
    response.status_code = 201 if new else 200
    return {**detail(request, segment_id), "verdict_id": row.id}


@router.post("/verdicts")
def decide_all(request: Request, caller: Writer, body: Decisions) -> dict[str, Any]:
    """One verdict on many, in one change; those that somebody else changed meanwhile, or decided where no version is given, are refused and told."""
    seen = [(s.id, s.version) for s in body.segments]
    made = library(request).decide_all(caller.user, seen, body.verdict, body.reason)
    refused = [{"id": i, "detail": why} for i, why in made.refused.items()]
    return {"batch": made.id, "decided": several(request, made.decided), "refused": refused}


@router.post("/undo")
def undo(request: Request, caller: Writer, body: Back | None = None) -> dict[str, Any]:
    """Take back exactly one verdict or batch of one's own, the newest where none is named; what it was, in words. 404 for somebody else's."""
    wanted = body or Back()
    found = library(request).undo(caller.user, verdict=wanted.verdict or "", batch=wanted.batch or "")
    return {**asdict(found), "segments": several(request, found.segments)}


@router.post("/videos/{video_id}/segments", status_code=201)
def mark(request: Request, caller: Writer, video_id: Id, body: NewSpan) -> dict[str, Any]:
    """A segment of one's own, which the model missed."""
    return detail(request, library(request).mark(caller.user, video_id, body.start, body.end, body.label))


@router.patch("/segments/{segment_id}")
def correct(request: Request, caller: Writer, segment_id: Id, body: Correction) -> Any:
    """Move its ends, or give it another class; the model's own stay in `spans`."""
    row_of(request, segment_id)
    try:
        library(request).change(
            caller.user,
            segment_id,
            start=body.start,
            end=body.end,
            label=body.label,
            own=body.own,
            version=body.version,
        )
    except ConflictError as error:
        return conflict(request, segment_id, error)
    return detail(request, segment_id)


@router.delete("/segments/{segment_id}")
def take_back(request: Request, caller: Writer, segment_id: Id) -> dict[str, bool]:
    """Remove a segment that a person marked. 409 for the model's."""
    library(request).take_back(caller.acting, segment_id)
    return {"removed": True}


@router.put("/segments/{segment_id}/assigned")
def assign(request: Request, caller: Writer, segment_id: Id, body: Assignment) -> dict[str, Any]:
    """Give a segment to somebody."""
    library(request).assign(caller.user, segment_id, body.to)
    return detail(request, segment_id)


@router.post("/segments/{segment_id}/wrong", status_code=201)
def call_wrong(request: Request, caller: Writer, segment_id: Id, body: Wrong) -> dict[str, Any]:
    """Say that an explanation is wrong, and perhaps what would be right."""
    library(request).call_wrong(caller.user, segment_id, body.text, body.explanation or "")
    return detail(request, segment_id)


@router.delete("/segments/{segment_id}/wrong/{wrong_id}")
def uncall_wrong(request: Request, caller: Writer, segment_id: Id, wrong_id: Id) -> dict[str, Any]:
    """Take that back."""
    library(request).uncall_wrong(caller.acting, segment_id, wrong_id)
    return detail(request, segment_id)


@router.put("/segments/{segment_id}/adopted")
def adopt(request: Request, caller: Writer, segment_id: Id, body: Sentence) -> Any:
    """Stand by a sentence: only such words go into a case. 409 where somebody else adopted or edited one since `version`."""
    row_of(request, segment_id)
    try:
        library(request).adopt(caller.user, segment_id, body.text, body.version)
    except ConflictError as error:
        return conflict(request, segment_id, error)
    return detail(request, segment_id)


@router.delete("/segments/{segment_id}/adopted")
def unadopt(request: Request, caller: Writer, segment_id: Id) -> dict[str, Any]:
    """No longer."""
    library(request).adopt(caller.user, segment_id, None)
    return detail(request, segment_id)


@router.post("/segments/{segment_id}/notes", status_code=201)
def note(request: Request, caller: Writer, segment_id: Id, body: Words) -> dict[str, Any]:
    """Write on a segment."""
    library(request).note(caller.user, segment_id, body.text)
    return detail(request, segment_id)


@router.patch("/notes/{note_id}")
def edit_note(request: Request, caller: Writer, note_id: Id, body: Words) -> dict[str, Any]:
    """Other words for a note of one's own; its segment. 403 for somebody else's, an admin's request too."""
    return detail(request, library(request).edit_note(caller.acting, note_id, body.text))


@router.delete("/notes/{note_id}")
def remove_note(request: Request, caller: Writer, note_id: Id) -> dict[str, Any]:
    """Take a note of one's own away; its segment."""
    return detail(request, library(request).remove_note(caller.acting, note_id))


@router.put("/segments/{segment_id}/tags/{tag:path}")
def tag(request: Request, caller: Writer, segment_id: Id, tag: Tag) -> dict[str, Any]:
    """Hang a word on a segment."""
    library(request).tag(caller.user, segment_id, tag)
    return detail(request, segment_id)


@router.delete("/segments/{segment_id}/tags/{tag:path}")
def untag(request: Request, caller: Writer, segment_id: Id, tag: Tag) -> dict[str, Any]:
    """Take a word off."""
    library(request).tag(caller.user, segment_id, tag, on=False)
    return detail(request, segment_id)
