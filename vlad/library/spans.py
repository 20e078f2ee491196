"""Spans by people: segments that the model missed, and ends and classes that people correct.

In: seconds of a clip, a class. Out: segments with the peak of the scores inside; the model's own span stays in the history.
"""

from __future__ import annotations

import math
import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from vlad.errors import ConflictError, InputError, MissingError

from . import audit
from .changes import tell
from .database import Database, clean
from .findings import peak_in, segment_of_id, track_in
from .review import changed_since
from .tables import SegmentRow, SpanRow, User, Video

SHORTEST = 0.05  # seconds of a span


class Spans:
    """Segments of one's own, and corrections."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def mark(self, user: User, video_id: str, start: float, end: float, label: str = "") -> str:
        """A segment of a person's own, open; its id. Raises InputError for a span outside the clip or too short, ConflictError before analysis."""
        with self.database.write() as session:
            video = session.get(Video, video_id)
            if video is None or video.removed is not None:
                raise MissingError("video: no such id")
            track = track_in(session, video_id)
            row = SegmentRow(
                video_id=video_id, origin="person", author=user.name, label=_class(label), label_by=user.name
            )
            row.start, row.end = _span(start, end, video.duration or float(track.edges[-1]))
            row.peak, row.peak_time = peak_in(track, row.start, row.end)
            session.add(row)
            session.flush()
            _remember(session, row, user.name)
            audit.append(session, user.name, "marked", row.id, start=row.start, end=row.end, label=row.label)
            tell(session, "segment", row.id, video=video_id, by=user.name)
            return row.id

    def change(
        self, user: User, segment_id: str, *, start: float | None = None, end: float | None = None, label: str | None = None,
        own: bool = False, version: int | None = None,
    ) -> None:  # fmt: skip
        """Move a segment's ends (s) or give it a class, the scorer's too: then it is the person's word. What it was stays in its history.

        own: back to the model's own span and class. Raises InputError, ConflictError.
        """
        with self.database.write() as session:
            row = segment_of_id(session, segment_id)
            conflict = changed_since(session, row, version, user)
            if conflict is not None:
                raise conflict
            track = track_in(session, row.video_id)
            first, last = _span(
                row.start if start is None else start,
                row.end if end is None else end,
                row.video.duration or float(track.edges[-1]),
            )
            name, by = (row.label, row.label_by) if label is None else (_class(label), user.name)
            if own and row.model_start is not None and row.model_end is not None:
                first, last, name, by = row.model_start, row.model_end, row.model_label or "", ""
            before, whose = (row.start, row.end, row.label), row.label_by
            if (first, last, name) == before and bool(by) == bool(whose):
                return
            if row.origin == "model" and row.model_start is None:
                row.model_start, row.model_end, row.model_label = before
                _remember(session, row, "")
            row.start, row.end, row.label, row.label_by, row.version = first, last, name, by, row.version + 1
            row.peak, row.peak_time = peak_in(track, first, last)
            if (first, last, name, by) == (row.model_start, row.model_end, row.model_label, ""):
                row.model_start = row.model_end = row.model_label = None
            _remember(session, row, user.name)
            audit.append(
                session, user.name, "span changed", segment_id, before=_told(*before, whose), after=_told(first, last, name, by),
            )  # fmt: skip
            tell(session, "segment", segment_id, video=row.video_id, by=user.name)

    def take_back(self, user: User, segment_id: str) -> None:
        """Remove a segment that a person marked: its author, or an admin; it stays in the record. Raises ConflictError for any other."""
        with self.database.write() as session:
            row = segment_of_id(session, segment_id)
            if row.origin != "person":
                raise ConflictError("the model flagged this segment: dismiss it, it cannot be removed")
            if row.author != user.name and user.role != "admin":
                raise ConflictError(f"{row.author} marked this segment; only {row.author} or an admin removes it")
            if row.exported is not None:
                raise ConflictError("this segment is evidence that was exported; it is kept")
            row.gone, row.version = row.gone or time.time(), row.version + 1
            audit.append(session, user.name, "mark removed", segment_id)
            tell(session, "segment", segment_id, video=row.video_id, by=user.name)

    def span_history(self, segment_id: str) -> list[SpanRow]:
        """Every span and class that a segment had, the first first."""
        with self.database.read() as session:
            rows = select(SpanRow).where(SpanRow.segment_id == segment_id)
            return list(session.scalars(rows.order_by(SpanRow.version, SpanRow.created)))


def _remember(session: Session, row: SegmentRow, by: str) -> None:
    session.add(
        SpanRow(
            segment_id=row.id,
            by=by,
            start=row.start,
            end=row.end,
            label=row.label,
            label_by=row.label_by,
            version=row.version,
        )
    )


def _told(start: float, end: float, label: str, label_by: str) -> list[Any]:
    """A span for the log: its ends (s), and its class with whose it is; the scorer's own, which it may not be sure of, is not repeated."""
    return [
        round(start, 3),
        round(end, 3),
        f"{label or 'no class'} by {label_by}" if label_by else "class by the scorer",
    ]


def _span(start: float, end: float, duration: float) -> tuple[float, float]:
    """A span that can be: inside the clip, long enough. Raises InputError."""
    if not (math.isfinite(start) and math.isfinite(end)):
        raise InputError("span: expected seconds")
    if end <= start:
        raise InputError(f"span: it ends at {end:.2f} s, before it begins at {start:.2f} s")
    if start < 0 or end > duration + SHORTEST:
        raise InputError(f"span: {start:.2f} to {end:.2f} s lies outside the clip, which lasts {duration:.2f} s")
    end = min(end, duration)
    if end - start < SHORTEST:
        raise InputError(f"span: {end - start:.3f} s; the shortest is {SHORTEST} s")
    return start, end


def _class(label: str) -> str:
    name = clean(label).strip()
    if len(name) > 200 or (name and not name.isprintable()):
        raise InputError("class: expected at most 200 printable letters")
    return name
