"""Routes that ask a model while somebody waits: other words for a segment, answers to questions, moments by words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from prometheus_client import Counter
from pydantic import Field

from vlad.clock import at, zone_of
from vlad.library import Library
from vlad.library.asking import everything
from vlad.library.tables import Video

from .auth import Reader, Writer
from .common import Body, Id, Tell, library, lines, models, row_of, shown_to, turn, video_of
from .counted import LONGEST, Counted, counted, spans_of
from .limits import QUESTIONS
from .search import Floats, Index, Moment, Times, Wanted, look_of
from .segments import detail
from .view import clock

router = APIRouter(prefix="/api")
SCANNED = 500  # clips, the newest, whose tracks a search looks at
BESIDE = 1.0  # seconds from a moment in which what it must show may have been seen


class Again(Body):
    """With which template."""

    prompt: str = Field("explain", pattern=r"^[a-z][a-z0-9_-]{0,60}$")


Local = Annotated[str, Query(pattern=r"^(\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?$")]
Said = Annotated[str, Field(max_length=2000)]  # of a question or an answer


class Question(Body):
    """A question about a segment, after those before it."""

    question: str = Field(min_length=1, max_length=2000)
    turns: list[tuple[Said, Said]] = Field([], max_length=20)


@router.post("/segments/{segment_id}/explain")
def explain(request: Request, caller: Writer, segment_id: Id, body: Again) -> dict[str, Any]:
    """Explain again, with another template."""
    row = row_of(request, segment_id)
    video = video_of(request, row.video_id)
    with turn(request, QUESTIONS):
        said = models(request).explain(library(request), video, row, models(request).templates(body.prompt))
    library(request).explain(segment_id, said, caller.user.name)
    return detail(request, segment_id)


@router.post("/segments/{segment_id}/chat")
def chat(request: Request, caller: Writer, segment_id: Id, body: Question) -> dict[str, str]:
    """An answer to a question about a segment."""
    row = row_of(request, segment_id)
    video = video_of(request, row.video_id)
    with turn(request, QUESTIONS):
        answer = models(request).chat(library(request), video, row, body.question, body.turns)
    library(request).log(caller.user.name, "asked", segment_id)
    return {"answer": answer}


@router.post("/segments/{segment_id}/chat/stream", response_class=StreamingResponse)
def chat_stream(request: Request, caller: Writer, segment_id: Id, body: Question) -> StreamingResponse:
    """The same as it is written: lines of JSON {piece}, at the end {answer} or {error}."""
    row = row_of(request, segment_id)
    video = video_of(request, row.video_id)
    library(request).log(caller.user.name, "asked", segment_id)

    def work(tell: Tell) -> dict[str, Any]:
        with turn(request, QUESTIONS):
            found = models(request).chat(
                library(request), video, row, body.question, body.turns, lambda piece: tell({"piece": piece})
            )
        return {"answer": found}

    return lines(request, work)


@router.get("/search")
def search(
    request: Request, caller: Reader, words: Annotated[str, Query(max_length=300)] = "", like: Annotated[str, Query(max_length=32)] = "",
    camera: Annotated[str, Query(max_length=200)] = "", label: Annotated[str, Query(max_length=200)] = "",
    status: Literal["", "open", "confirmed", "dismissed"] = "", after: Local = "", before: Local = "",
    count: Annotated[int, Query(ge=1, le=100)] = 24,
) -> dict[str, Any]:  # fmt: skip
    """Moments that look like the words, or like a segment; `well` is false where nothing stands out.

    damaged: names of clips that were left out, since what was kept of them cannot be read; analyse them again.
    label, status: only moments inside such segments. after, before: clock time of the place, such as 2026-11-25T14:00, of when the moment was
    recorded, or else its clip added.
    """
    first, last = _wall(after), _wall(before)
    with turn(request, QUESTIONS):
        return _search(request, caller, words, like, camera, label, status, first, last, count)


def _search(
    request: Request, caller: Reader, words: str, like: str, camera: str, label: str, status: str, first: float | None, last: float | None,
    count: int,
) -> dict[str, Any]:  # fmt: skip
    found = library(request)
    spans = found.spans(label=label, status=status) if label or status else None
    called = {
        v.id: v for v in found.videos()
        if (not camera or v.camera == camera) and (spans is None or v.id in spans) and _may_be(v, first, last)
    }  # fmt: skip
    everyday = None
    if like:
        vector = look_of(found, row_of(request, like))
    elif words.strip():
        vector, everyday = models(request).words(words)
    else:
        raise HTTPException(422, "say words, or like=SEGMENT")

    def wanted(video_id: str, starts: Times, ends: Times) -> npt.NDArray[np.bool_]:
        clip = called.get(video_id)
        if clip is None:
            return np.zeros(len(starts), bool)
        taken = _began(clip) + (starts if clip.recorded is not None else np.zeros(len(starts)))
        inside = np.ones(len(starts), bool) if spans is None else np.zeros(len(starts), bool)
        for start, end in spans[video_id] if spans is not None else ():
            inside |= (start < ends) & (starts < end)
        if first is not None:
            inside &= taken >= first
        if last is not None:
            inside &= taken < last
        return inside

    with everything():  # one index for all
        index: Index = request.app.state.index_of([v.id for v in found.videos()])
    moments = index.nearest(vector, count, wanted=wanted, everyday=everyday, least=models(request).least)
    wish = counted(words) if everyday is not None else None
    if wish is not None:
        moments = _measured(found, index, moments, wish, vector, list(called.values())[:SCANNED], wanted)[:count]
    seen = sorted({m.video for m in moments})
    library(request).log(caller.user.name, "searched", like, words=words, count=len(moments), videos=seen)
    shown_to(request, caller.user.name, seen)
    searches: Counter = request.app.state.searches
    searches.inc()
    moments = sorted(moments, key=lambda m: not m.well)  # good matches first, each part by likeness
    rows = [
        {**vars(m), "name": clip.name, "camera": clip.camera, "starts_at": clock(clip, m.start)}
        for m, clip in ((m, called[m.video]) for m in moments)
    ]
    damaged = [called[v].name for v in sorted(index.damaged & called.keys())]
    return {"well": any(m.well for m in moments), "moments": rows, "damaged": damaged}


def _wall(local: str) -> float | None:
    """What a clock on a wall shows, as seconds that grow with it; None for ''. Raises HTTPException for what no clock shows."""
    try:
        return datetime.fromisoformat(local).replace(tzinfo=UTC).timestamp() if local else None
    except ValueError:
        raise HTTPException(422, f"{local}: expected a day and a time such as 2026-11-25T14:00") from None


def _began(clip: Video) -> float:
    """What the clock of a clip's place showed at its first frame, or where nobody knows that, when it was added; as `_wall`."""
    moment = at(clip.created if clip.recorded is None else clip.recorded, zone_of(clip.zone))
    return moment.replace(tzinfo=UTC).timestamp()


def _may_be(clip: Video, after: float | None, before: float | None) -> bool:
    """Whether a moment of a clip can lie between two times, as `_wall`."""
    begin = _began(clip)
    end = begin if clip.recorded is None else begin + (clip.duration or 0.0)
    return (after is None or end >= after) and (before is None or begin < before)


def _measured(
    found: Library, index: Index, moments: Sequence[Moment], wish: Counted, vector: Floats, videos: Sequence[Video], wanted: Wanted
) -> list[Moment]:  # fmt: skip
    """Moments by looks, held against what was counted: where words ask for nothing else, the spans that were measured are the good matches, most
    alike first; else a moment is none where what it must show was not seen. Clips without tracks, and very long ones, are judged by looks alone."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for video in videos:
        told = found.tracks(video.id)
        facts = video.facts or {}
        duration = float(video.duration or 0.0)
        if told and facts.get("height") and 0 < duration <= LONGEST:
            aspect = facts["width"] / facts["height"]
            spans[video.id] = spans_of(told, wish, duration=duration, aspect=aspect)
    if wish.whole:
        own = [index.inside(video, span, vector) for video, some in spans.items() for span in some]
        good = sorted(
            (m for m in own if m and wanted(m.video, np.array([m.start]), np.array([m.end]))[0]),
            key=lambda m: -m.likeness,
        )
        rest = [replace(m, well=m.well and m.video not in spans) for m in moments]
        return [
            *good,
            *(m for m in rest if not any(m.video == g.video and m.start < g.end and g.start < m.end for g in good)),
        ]

    def may(m: Moment) -> bool:
        return m.video not in spans or any(a < m.end + BESIDE and m.start - BESIDE < b for a, b in spans[m.video])

    return [replace(m, well=m.well and may(m)) for m in moments]
