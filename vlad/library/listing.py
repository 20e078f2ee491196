"""Clips in pages with what was found in each, and days of footage: what stands in the rooms Analyse and Day.

In: filters, days. Out: rows that need no further question. Times are seconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, cast, func, or_, select
from sqlalchemy.orm import Session

from vlad.clock import FIRST, LAST, at, day_of, zone_of
from vlad.wording import reading

from .database import Database
from .tables import AnalysisRow, Job, SegmentRow, Video

SORTS = ("created", "name", "camera", "recorded", "peak", "found", "state")


@dataclass(frozen=True)
class Found:
    """What is in a clip: counts of its segments by status, and the highest peak with its class, time (s) and segment ('' where there is none)."""

    count: int = 0
    open: int = 0
    confirmed: int = 0
    dismissed: int = 0
    peak: float | None = None
    label: str = ""
    first: str | None = None
    peak_time: float | None = None


@dataclass(frozen=True)
class Listed:
    """A clip with its newest job and what was found; found: None before it was analysed."""

    video: Video
    job: Job | None
    found: Found | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lane:
    """What one camera took on a day."""

    camera: str
    clips: list[Video] = field(default_factory=list)
    segments: list[SegmentRow] = field(default_factory=list)


class Listing:
    """Clips to look over."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def clips(
        self, *, first: int = 0, count: int = 50, sort: str = "created", down: bool = True, words: str = "", camera: str = "", state: str = "",
    ) -> tuple[list[Listed], int, int]:  # fmt: skip
        """A page of clips, how many there are under the filters, and how many jobs wait or run. words: in names and cameras."""
        conditions: list[ColumnElement[bool]] = [Video.removed.is_(None)]
        if words:
            like = "%" + re.sub(r"([\\%_])", r"\\\1", words.lower()) + "%"
            conditions.append(or_(*(func.lower(c).like(like, escape="\\") for c in (Video.name, Video.camera))))
        if camera:
            conditions.append(Video.camera == camera)
        if state:
            newest = _newest_jobs().subquery()
            conditions.append(Video.id.in_(select(newest.c.video_id).where(newest.c.status == state)))
        with self.database.read() as session:
            total = session.scalar(select(func.count()).select_from(Video).where(*conditions)) or 0
            ids = list(
                session.scalars(_sorted(select(Video.id).where(*conditions), sort, down).offset(first).limit(count))
            )
            waiting = select(func.count()).select_from(Job).where(Job.status.in_(("queued", "running")))
            busy = session.scalar(waiting) or 0
        found = self.listed(ids)
        return [found[i] for i in ids], total, busy

    def listed(self, ids: Sequence[str]) -> dict[str, Listed]:
        """Clips by id."""
        with self.database.read() as session:
            videos = {v.id: v for v in session.scalars(select(Video).where(Video.id.in_(ids)))}
            newest = select(Job).where(Job.video_id.in_(ids), Job.kind == "analysis").order_by(Job.created)
            jobs = {j.video_id: j for j in session.scalars(newest)}
            made = select(AnalysisRow.video_id, AnalysisRow.made_by).where(AnalysisRow.video_id.in_(ids))
            warnings = {
                i: tuple(str(w) for key in ("warnings", "by_rules") for w in by.get(key, ()))
                for i, by in session.execute(made)
            }
            live = (SegmentRow.video_id.in_(ids), SegmentRow.gone.is_(None))
            numbers = select(SegmentRow.video_id, SegmentRow.status, func.count()).where(*live)
            counts: dict[str, dict[str, int]] = {}
            for i, status, n in session.execute(numbers.group_by(SegmentRow.video_id, SegmentRow.status)):
                counts.setdefault(i, {})[status] = n
            place = func.row_number().over(
                partition_by=SegmentRow.video_id, order_by=(SegmentRow.peak.desc(), SegmentRow.id)
            )
            ranked = select(
                SegmentRow.video_id, SegmentRow.id, SegmentRow.peak, SegmentRow.peak_time, SegmentRow.label, SegmentRow.origin, SegmentRow.label_by,
                SegmentRow.explanation, place.label("place"),
            ).where(*live)  # fmt: skip
            tops = ranked.subquery()
            highest = {r.video_id: r for r in session.execute(select(tops).where(tops.c.place == 1))}
        return {
            i: Listed(videos[i], jobs.get(i), _found(counts.get(i, {}), highest.get(i)) if i in warnings else None, warnings.get(i, ()))
            for i in ids
        }  # fmt: skip

    def days(self, zone: str = "") -> list[dict[str, Any]]:
        """Days with footage, newest first: day, clips, segments, open. A clip over midnight counts on both days."""
        where = zone_of(zone)
        found: dict[str, dict[str, Any]] = {}
        whole: dict[str, str] = {}  # clips of one day
        split: dict[str, float] = {}  # clips over midnight, and when they began
        with self.database.read() as session:
            dated = select(Video.id, Video.recorded, Video.duration).where(*_dated())
            for video_id, recorded, duration in session.execute(dated):
                begin = recorded or 0.0
                days = {at(t, where).date().isoformat() for t in _moments(begin, begin + (duration or 0.0))}
                for day in days:
                    found.setdefault(day, {"day": day, "clips": 0, "segments": 0, "open": 0})["clips"] += 1
                if len(days) == 1:
                    whole[video_id] = days.pop()
                else:
                    split[video_id] = begin
            for video_id, start, count, waiting in _by_clip(session, whole, split):
                day = whole.get(video_id) or at(split[video_id] + start, where).date().isoformat()
                if day in found:
                    found[day]["segments"] += count
                    found[day]["open"] += waiting
        return sorted(found.values(), key=lambda d: str(d["day"]), reverse=True)

    def day(self, day: str, zone: str = "") -> tuple[float, float, list[Lane], list[Video]]:
        """When a day begins and ends, a lane for each camera with its clips and segments, and the clips of which nobody knows when. Raises InputError."""
        begin, end = day_of(day, zone_of(zone))
        with self.database.read() as session:
            within = (Video.recorded < end, Video.recorded + func.coalesce(Video.duration, 0.0) >= begin)
            videos = list(
                session.scalars(select(Video).where(*_dated(), *within).order_by(Video.camera, Video.recorded))
            )
            unknown = select(Video).where(
                Video.removed.is_(None), or_(Video.recorded.is_(None), ~Video.recorded.between(FIRST, LAST))
            )
            undated = list(session.scalars(unknown.order_by(Video.created.desc()).limit(1000)))
            rows = select(SegmentRow).where(SegmentRow.gone.is_(None), SegmentRow.video_id.in_([v.id for v in videos]))
            segments = list(session.scalars(rows.order_by(SegmentRow.start)))
        lanes = {v.camera: Lane(v.camera) for v in videos}
        called = {v.id: v for v in videos}
        for video in videos:
            lanes[video.camera].clips.append(video)
        for segment in segments:
            video = called[segment.video_id]
            if (
                video.recorded is not None
                and video.recorded + segment.end > begin
                and video.recorded + segment.start < end
            ):
                lanes[video.camera].segments.append(segment)
        return begin, end, list(lanes.values()), undated


def _dated() -> tuple[ColumnElement[bool], ...]:
    return Video.removed.is_(None), Video.recorded.between(FIRST, LAST)


def _by_clip(session: Session, whole: Collection[str], split: Collection[str]) -> Iterator[tuple[str, float, int, int]]:
    """(clip, start (s), segments, of which open): of clips of one day in one row, of others a row a segment."""
    is_open = cast(SegmentRow.status == "open", Integer)
    live = SegmentRow.gone.is_(None)
    sums = select(SegmentRow.video_id, func.count(), func.sum(is_open)).where(live).group_by(SegmentRow.video_id)
    for video_id, count, waiting in session.execute(sums):
        if video_id in whole:
            yield video_id, 0.0, count, waiting
    each = select(SegmentRow.video_id, SegmentRow.start, is_open).where(live, SegmentRow.video_id.in_(split))
    for video_id, start, waiting in session.execute(each):
        yield video_id, start, 1, waiting


def _moments(begin: float, end: float) -> list[float]:
    """Times that meet every day between two."""
    return [begin, *(begin + 43_200.0 * i for i in range(1, int((end - begin) // 43_200) + 1)), max(begin, end - 0.001)]


def _newest_jobs() -> Select[Any]:
    place = func.row_number().over(partition_by=Job.video_id, order_by=(Job.created.desc(), Job.id))
    ranked = select(Job.video_id, Job.status, place.label("place")).where(Job.kind == "analysis").subquery()
    return select(ranked.c.video_id, ranked.c.status).where(ranked.c.place == 1)


def _sorted(rows: Select[Any], sort: str, down: bool) -> Select[Any]:
    """In order; what is not known comes last either way, and the id settles ties."""
    key: Any
    if sort in ("peak", "found"):
        told: Any = (func.max(SegmentRow.peak) if sort == "peak" else func.count()).label("told")
        numbers = (
            select(SegmentRow.video_id, told).where(SegmentRow.gone.is_(None)).group_by(SegmentRow.video_id).subquery()
        )
        rows, key = rows.outerjoin(numbers, numbers.c.video_id == Video.id), numbers.c.told
    elif sort == "state":
        newest = _newest_jobs().subquery()
        rows, key = rows.outerjoin(newest, newest.c.video_id == Video.id), newest.c.status
    elif sort in ("name", "camera"):
        key = func.lower(getattr(Video, sort))
    else:
        key = getattr(Video, sort)
    return rows.order_by(key.is_(None), key.desc() if down else key, Video.created.desc(), Video.id)


def _found(counts: dict[str, int], top: Any) -> Found:
    if top is None:
        return Found()
    return Found(
        sum(counts.values()), **counts, peak=top.peak, label=_class(top), first=top.id, peak_time=top.peak_time
    )


def _class(top: Any) -> str:
    """The class of a segment as it may be shown: a person's word, or the scorer's where what the model said does not speak against it."""
    if top.label_by or not top.explanation:
        return str(top.label)
    said = reading(top.explanation, top.label)
    return str(top.label) if said.sure and top.explanation.get("verdict") != "normal" else ""
