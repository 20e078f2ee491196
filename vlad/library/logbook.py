"""The log, to be read: pages under filters, each row with the names of what it is about; and whether it is one chain.

In: filters. Out: rows. `audit.py` writes them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from vlad.clock import day_of, zone_of
from vlad.errors import OutputError

from .audit import verify
from .database import Database
from .tables import AlarmRow, AuditRow, CameraRow, ExportRow, Job, SegmentRow, TargetRow, User, Video

FRESH = 60.0  # seconds for which the chain's state is taken as known, while no row comes
PATIENCE = 2.0  # seconds that a look at it waits for another one


@dataclass(frozen=True)
class LogFilter:
    """Which rows; '' for any. video: a clip's id, with its segments and jobs. day: such as 2026-11-25, in `zone`."""

    user: str = ""
    action: str = ""
    video: str = ""
    day: str = ""
    zone: str = ""

    def conditions(self) -> list[ColumnElement[bool]]:
        """As conditions on rows. Raises InputError for a day or zone that is none."""
        found: list[ColumnElement[bool]] = [
            column == value for column, value in ((AuditRow.user, self.user), (AuditRow.action, self.action)) if value
        ]
        if self.day:
            begin, end = day_of(self.day, zone_of(self.zone))
            found += [AuditRow.at >= begin, AuditRow.at < end]
        if self.video:
            of = (select(t.id).where(t.video_id == self.video) for t in (SegmentRow, Job))
            found.append(or_(AuditRow.target == self.video, *(AuditRow.target.in_(ids) for ids in of)))
        return found


@dataclass(frozen=True)
class Named:
    """A row, and what it is about: a name, the clip's id, the segment's id and where it starts (s); '' and None where there is none."""

    row: AuditRow
    name: str = ""
    video: str = ""
    segment: str = ""
    start: float | None = None


class Log:
    """The log of one library."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._lock = threading.Lock()
        self._state: tuple[float, int, tuple[int, str, int | None]] = (-FRESH, -1, (0, "", None))

    def audit_rows(self, *, first: int = 0, count: int = 100) -> list[AuditRow]:
        """A page of the log, newest first."""
        with self.database.read() as session:
            return list(session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).offset(first).limit(count)))

    def audit_page(self, wanted: LogFilter, *, first: int = 0, count: int = 100) -> tuple[list[Named], int]:
        """A page of rows under filters, newest first, and how many there are. Raises InputError."""
        conditions = wanted.conditions()
        with self.database.read() as session:
            total = session.scalar(select(func.count()).select_from(AuditRow).where(*conditions)) or 0
            rows = select(AuditRow).where(*conditions).order_by(AuditRow.number.desc())
            return _named(session, list(session.scalars(rows.offset(first).limit(count)))), total

    def audit_state(self) -> tuple[int, str, int | None]:
        """(rows, last digest, first row that does not follow or None): new rows on every look, the whole log every FRESH seconds."""
        if not self._lock.acquire(timeout=PATIENCE):
            raise OutputError("log: its chain is being verified for somebody else; try again in a moment")
        try:
            return self._looked()
        finally:
            self._lock.release()

    def _looked(self) -> tuple[int, str, int | None]:
        with self.database.read() as session:
            last = session.scalar(select(func.max(AuditRow.number))) or 0
            looked, number, state = self._state
            rows, digest, broken = state
            if time.monotonic() - looked > FRESH or broken is not None or last < number:
                state = verify(session)
                self._state = (time.monotonic(), last, state)
            elif last > number:
                state = verify(session, (rows, digest))
                self._state = (looked, last, state)
            return state


def _named(session: Session, rows: Sequence[AuditRow]) -> list[Named]:
    ids = {row.target for row in rows if row.target}

    def by_id(table: Any) -> dict[str, Any]:
        return {found.id: found for found in session.scalars(select(table).where(table.id.in_(ids)))}

    segments, jobs, exports, users = (by_id(t) for t in (SegmentRow, Job, ExportRow, User))
    named = {**by_id(CameraRow), **by_id(TargetRow)}
    alarms = by_id(AlarmRow)
    ids |= {found.video_id for found in (*segments.values(), *jobs.values())}
    videos = by_id(Video)

    def of(row: AuditRow) -> Named:
        target = row.target
        if target in segments:
            segment = segments[target]
            return Named(row, videos[segment.video_id].name, segment.video_id, target, segment.start)
        video = jobs[target].video_id if target in jobs else target
        if video in videos:
            return Named(row, videos[video].name, video)
        if target in exports:
            return Named(row, exports[target].title)
        if target in alarms:
            return Named(row, alarms[target].camera)
        if target in named:
            return Named(row, named[target].name)
        return Named(row, users[target].name if target in users else "")

    return [of(row) for row in rows]
