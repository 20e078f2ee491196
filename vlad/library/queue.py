"""The reviewers' queue: segments by filters, in pages, with counts; and what all decisions so far add up to.

In: filters. Out: rows with their clips. A page of a hundred thousand segments is read off an index in order (tables.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import joinedload

from vlad.errors import ConflictError
from vlad.wording import UNCLEAR, UNSURE

from .database import Database
from .findings import peak_in, track_in
from .tables import NoteRow, SegmentRow, TagRow, VerdictRow, Video

STATUSES = ("open", "confirmed", "dismissed")
NOBODY = "-"  # asks for what is assigned to nobody


@dataclass(frozen=True)
class Filter:
    """Which segments; '' for any. words: in notes, tags, classes and what is shown of the explanation. assigned: a name, or NOBODY."""

    video: str = ""
    status: str = ""
    label: str = ""
    camera: str = ""
    words: str = ""
    assigned: str = ""
    origin: str = ""

    def conditions(self) -> list[ColumnElement[bool]]:
        """All but the status, as conditions on segments."""
        found: list[ColumnElement[bool]] = [
            SegmentRow.gone.is_(None),
            SegmentRow.video_id.not_in(select(Video.id).where(Video.removed.is_not(None))),
        ]
        named = ((SegmentRow.video_id, self.video), (SegmentRow.origin, self.origin))
        found += [column == value for column, value in named if value]
        if self.label:
            found.append(_called(SegmentRow.label == self.label))
        if self.assigned:
            found.append(SegmentRow.assigned == ("" if self.assigned == NOBODY else self.assigned))
        if self.camera:
            found.append(SegmentRow.video_id.in_(select(Video.id).where(Video.camera == self.camera)))
        if self.words:
            found.append(_says(self.words))
        return found


def _called(such: ColumnElement[bool]) -> ColumnElement[bool]:
    """Segments of such a class; a class of the scorer counts only where what was said does not speak against it."""
    sure = and_(SegmentRow.said != UNSURE, SegmentRow.said.not_like(f"%{UNCLEAR}%"))
    return and_(such, or_(SegmentRow.label_by != "", sure))


def _says(words: str) -> ColumnElement[bool]:
    like = "%" + re.sub(r"([\\%_])", r"\\\1", words.lower()) + "%"
    noted = select(NoteRow.segment_id).where(func.lower(NoteRow.text).like(like, escape="\\"))
    tagged = select(TagRow.segment_id).where(func.lower(TagRow.tag).like(like, escape="\\"))
    label, said = (func.lower(column).like(like, escape="\\") for column in (SegmentRow.label, SegmentRow.said))
    return or_(SegmentRow.id.in_(noted), SegmentRow.id.in_(tagged), _called(label), said)


class Queue:
    """Segments to look at, and what was decided of them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def page(
        self, wanted: Filter, *, first: int = 0, count: int = 100, by: str = "peak"
    ) -> tuple[list[SegmentRow], dict[str, int]]:
        """Segments from number `first` on, by peak (highest first), start, or newest clip first; how many there are by status."""
        conditions = wanted.conditions()
        with self.database.read() as session:
            numbers = select(SegmentRow.status, func.count()).where(*conditions).group_by(SegmentRow.status)
            counts = dict.fromkeys(STATUSES, 0) | {status: n for status, n in session.execute(numbers)}
            ids = list(session.scalars(_ordered(conditions, wanted, by).offset(first).limit(count)))
            whole = (
                select(SegmentRow).where(SegmentRow.id.in_(ids)).options(joinedload(SegmentRow.video, innerjoin=True))
            )
            found = {row.id: row for row in session.scalars(whole)}
            rows = [found[i] for i in ids]  # sorted by themselves: a row with its explanation is heavy
        return rows, counts

    def segments(
        self, *, video_id: str = "", first: int = 0, count: int = 100, by: str = "peak", **filters: str
    ) -> tuple[list[SegmentRow], int]:
        """A page of segments and how many there are; see Filter and page()."""
        wanted = Filter(video=video_id, **filters)
        rows, counts = self.page(wanted, first=first, count=count, by=by)
        return rows, total_of(counts, wanted)

    def segment_ids(self, wanted: Filter, *, by: str = "peak", count: int = 2000) -> list[tuple[str, int]]:
        """(id, version) of up to `count` segments, in the order of the queue."""
        with self.database.read() as session:
            ids = list(session.scalars(_ordered(wanted.conditions(), wanted, by).limit(count)))
            rows = select(SegmentRow.id, SegmentRow.version).where(SegmentRow.id.in_(ids))
            versions = {segment_id: version for segment_id, version in session.execute(rows)}
            return [(i, versions[i]) for i in ids]

    def segments_of(self, ids: Sequence[str]) -> dict[str, SegmentRow]:
        """Segments by id, with their clips."""
        with self.database.read() as session:
            rows = (
                select(SegmentRow).where(SegmentRow.id.in_(ids)).options(joinedload(SegmentRow.video, innerjoin=True))
            )
            return {row.id: row for row in session.scalars(rows)}

    def spans(self, *, label: str = "", status: str = "") -> dict[str, list[tuple[float, float]]]:
        """Where segments of a label and a status lie: (start, end) (s) by clip."""
        wanted = select(SegmentRow.video_id, SegmentRow.start, SegmentRow.end).where(SegmentRow.gone.is_(None))
        if label:
            wanted = wanted.where(_called(SegmentRow.label == label))
        if status:
            wanted = wanted.where(SegmentRow.status == status)
        found: dict[str, list[tuple[float, float]]] = {}
        with self.database.read() as session:
            for video_id, start, end in session.execute(wanted):
                found.setdefault(video_id, []).append((start, end))
        return found

    def spans_of(self, video_id: str) -> list[tuple[float, float]]:
        """Where a clip's segments lie (s), the highest peak first."""
        live = (SegmentRow.video_id == video_id, SegmentRow.gone.is_(None))
        rows = select(SegmentRow.start, SegmentRow.end).where(*live).order_by(SegmentRow.peak.desc(), SegmentRow.id)
        with self.database.read() as session:
            return [(start, end) for start, end in session.execute(rows)]

    def decided(self) -> tuple[float, list[tuple[float, str]]]:
        """Hours of the analysed clips of which every flagged segment was decided, and (peak, status) of those segments."""
        flagged = (SegmentRow.gone.is_(None), SegmentRow.origin == "model")
        with self.database.read() as session:
            waiting = select(SegmentRow.video_id).where(SegmentRow.status == "open", *flagged)
            whole = select(Video.id, Video.duration).where(Video.duration.is_not(None), Video.id.not_in(waiting))
            clips = {video_id: duration for video_id, duration in session.execute(whole)}
            rows = session.execute(select(SegmentRow.video_id, SegmentRow.peak, SegmentRow.status).where(*flagged))
            found = [(peak, status) for video_id, peak, status in rows if video_id in clips]
        return sum(filter(None, clips.values())) / 3600, found

    def missed(self) -> list[float]:
        """The highest score in each span that a person marked and the model had not flagged: segments of one's own, and what widened the model's.

        Dismissed ones are no misses.
        """
        live = (SegmentRow.gone.is_(None), SegmentRow.status != "dismissed")
        with self.database.read() as session:
            found = list(session.scalars(select(SegmentRow.peak).where(*live, SegmentRow.origin == "person")))
            for row in session.scalars(select(SegmentRow).where(*live, SegmentRow.model_start.is_not(None))):
                with suppress(ConflictError):  # damaged scores cost their own clip
                    found += [peak_in(track_in(session, row.video_id), *span)[0] for span in widened(row)]
        return found

    def verdicts(self) -> list[tuple[SegmentRow, Video, VerdictRow | None, list[str]]]:
        """Every decided segment of a clip that is here with the verdict that stands and the notes on it; and those that people marked."""
        found = []
        with self.database.read() as session:
            told = or_(SegmentRow.status != "open", (SegmentRow.origin == "person") & SegmentRow.gone.is_(None))
            rows = (
                select(SegmentRow)
                .join(Video)
                .where(told, Video.removed.is_(None))
                .options(joinedload(SegmentRow.video))
            )
            for row in session.scalars(rows.order_by(SegmentRow.video_id, SegmentRow.start)):
                standing = select(VerdictRow).where(VerdictRow.segment_id == row.id, VerdictRow.undone.is_(None))
                verdict = session.scalars(standing.order_by(VerdictRow.created.desc()).limit(1)).first()
                notes = select(NoteRow.text).where(NoteRow.segment_id == row.id).order_by(NoteRow.created)
                found.append((row, row.video, verdict, list(session.scalars(notes))))
        return found

    def undecided(self, video_ids: Sequence[str]) -> set[str]:
        """Those of these clips in which something that the model flagged is still open."""
        still = (SegmentRow.status == "open", SegmentRow.origin != "person", SegmentRow.gone.is_(None))
        with self.database.read() as session:
            return set(session.scalars(select(SegmentRow.video_id).where(SegmentRow.video_id.in_(video_ids), *still)))

    def facets(self) -> dict[str, list[str]]:
        """What segments can be filtered by: labels, cameras and people there are."""
        live = (Video.removed.is_(None),)
        with self.database.read() as session:
            labels = select(SegmentRow.label).join(Video).where(*live, SegmentRow.gone.is_(None)).distinct()
            cameras = select(Video.camera).where(*live).distinct()
            return {
                "labels": sorted(filter(None, session.scalars(labels))),
                "cameras": sorted(filter(None, session.scalars(cameras))),
            }

    def deciders(self, segment_ids: Sequence[str]) -> dict[str, VerdictRow]:
        """The newest verdict that stands of each segment, with who gave it."""
        with self.database.read() as session:
            standing = select(VerdictRow).where(VerdictRow.segment_id.in_(segment_ids), VerdictRow.undone.is_(None))
            rows = session.scalars(standing.order_by(VerdictRow.created).options(joinedload(VerdictRow.user)))
            return {v.segment_id: v for v in rows}


def widened(row: SegmentRow) -> list[tuple[float, float]]:
    """What a person added to the model's own span, before it and after it: (start, end) (s)."""
    if row.model_start is None or row.model_end is None:
        return []
    parts = [(row.start, min(row.model_start, row.end)), (max(row.model_end, row.start), row.end)]
    return [(start, end) for start, end in parts if end - start > 0.05]


def total_of(counts: dict[str, int], wanted: Filter) -> int:
    """How many segments a filter has in all."""
    return counts[wanted.status] if wanted.status else sum(counts.values())


def _ordered(conditions: list[ColumnElement[bool]], wanted: Filter, by: str) -> Select[Any]:
    """Ids with the status, in order; the id settles ties, so that no page repeats or leaves out a row."""
    rows = select(SegmentRow.id).where(*conditions)
    if wanted.status:
        rows = rows.where(SegmentRow.status == wanted.status)
    if by == "newest":
        return rows.join(SegmentRow.video).order_by(Video.created.desc(), SegmentRow.start, SegmentRow.id)
    order = (SegmentRow.peak.desc(), SegmentRow.id.desc()) if by == "peak" else (SegmentRow.start, SegmentRow.id)
    return rows.order_by(*order)
