"""Alarms of cameras: written as they are raised, grow and end, with a message to each target that takes them in the same change; and what people do about them.

In: events of `vlad.live.alarms`, people. Out: alarms in pages. The same event told again changes nothing, so that whoever watches may die at any moment and go on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import delete, func, or_, select, tuple_
from sqlalchemy.orm import Session, undefer

from vlad.errors import ConflictError, InputError, MissingError

from . import audit
from .changes import tell
from .database import Database, clean
from .judging import judge
from .outbox import post
from .review import VERDICTS, ago
from .tables import AlarmRow, OutboxRow, User, Video

STATES = ("open", "acknowledged", "escalated")
LARGEST = 400_000  # bytes of a picture


class Told(Protocol):
    """See `vlad.live.alarms.Event`."""

    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> float: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def peak(self) -> float: ...
    @property
    def label(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def counted(self) -> int: ...
    @property
    def summary(self) -> bool: ...


def alarm_id(camera: str, key: float) -> str:
    """The id of an alarm: the same whoever tells of it, and however often."""
    return hashlib.sha256(f"{camera}\n{key!r}".encode()).hexdigest()[:32]


class AlarmBook:
    """The alarms of a library."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def record_alarm(
        self, camera: str, event: Told, *, threshold: float | None = None, hours: float | None = None,
        latency: Mapping[str, float] | None = None, picture: bytes | None = None,
    ) -> AlarmRow:  # fmt: skip
        """What became of an alarm, and the messages that tell of it. threshold, hours, latency, picture: see AlarmRow; they count with the first event.

        Raises InputError for a picture that is too large.
        """
        if picture is not None and len(picture) > LARGEST:
            raise InputError(f"picture: expected at most {LARGEST} bytes")
        with self.database.write() as session:
            row = session.get(AlarmRow, alarm_id(camera, event.key))
            if row is None:
                row = AlarmRow(
                    id=alarm_id(camera, event.key), camera=camera, key=event.key, start=event.start, end=event.end, peak=event.peak,
                    ends=0, counted=0, state="open", version=1, verdict="", by="", video_id="",
                    threshold=threshold, hours=hours, latency=dict(latency or {}), picture=picture,
                )  # fmt: skip
                session.add(row)
                happened = ["raised"]
            else:
                happened = ["again"] if row.ended is not None and event.kind == "grown" else []
            anew = event.counted > row.counted and row.counted > 0  # a summary that stands for one more
            row.label, row.zone = clean(event.label)[:200], clean(event.zone)[:80]
            row.start, row.end = min(row.start, event.start), max(row.end, event.end)
            row.peak, row.counted, row.summary = (
                max(row.peak, event.peak),
                max(row.counted, event.counted),
                event.summary,
            )
            if "again" in happened:
                row.ended = None
            if event.kind == "ended" and row.ended is None:
                row.ends += 1
                happened.append("ended")
            if event.kind == "ended":
                row.ended = row.end
            session.flush()
            for what in happened:
                post(session, row, what, f"{what}:{row.ends}")
            if happened or anew:
                tell(session, "alarm", row.id)
            return row

    def alarm(self, alarm_id: str) -> AlarmRow:
        """One of them. Raises MissingError."""
        with self.database.read() as session:
            return _there(session, alarm_id)

    def alarm_picture(self, alarm_id: str) -> bytes | None:
        """The JPEG of when it was raised, None where there is none: as it was recorded, see `Covering` for who may see it. Raises MissingError."""
        with self.database.read() as session:
            return _there(session, alarm_id, undefer(AlarmRow.picture)).picture

    def alarms(
        self, *, state: str = "", camera: str | None = None, going: bool = False, before: tuple[float, str] | None = None, count: int = 50
    ) -> list[AlarmRow]:  # fmt: skip
        """A page, the newest first. state: '' for any; camera: None for all; going: those that did not end yet; before: start and id of the last one of the page before."""
        rows = select(AlarmRow).order_by(AlarmRow.start.desc(), AlarmRow.id.desc()).limit(count)
        if state:
            rows = rows.where(AlarmRow.state == state)
        if camera is not None:
            rows = rows.where(AlarmRow.camera == camera)
        if going:
            rows = rows.where(AlarmRow.ended.is_(None))
        if before is not None:
            rows = rows.where(tuple_(AlarmRow.start, AlarmRow.id) < tuple_(*before))
        with self.database.read() as session:
            return list(session.scalars(rows))

    def alarm_counts(self) -> dict[str, int]:
        """How many nobody judged yet there are by state, and how many go on, by `going`."""
        with self.database.read() as session:
            found = {
                s: n
                for s, n in session.execute(
                    select(AlarmRow.state, func.count()).where(AlarmRow.verdict == "").group_by(AlarmRow.state)
                )
            }
            going = session.scalar(select(func.count()).select_from(AlarmRow).where(AlarmRow.ended.is_(None))) or 0
        return {**{s: found.get(s, 0) for s in STATES}, "going": going}

    def last_alarm(self, camera: str, since: float) -> tuple[AlarmRow | None, list[float]]:
        """The newest alarm of a camera since a time, or one that goes on since before, and when its others began, summaries left out: for who goes on watching."""
        with self.database.read() as session:
            rows = list(
                session.scalars(
                    select(AlarmRow)
                    .where(AlarmRow.camera == camera, or_(AlarmRow.key > since, AlarmRow.ended.is_(None)))
                    .order_by(AlarmRow.key)
                )
            )
        return (rows[-1] if rows else None), [r.key for r in rows if not r.summary]

    def answer_alarm(
        self, user: User, alarm_id: str, state: str, reason: str = "", version: int | None = None
    ) -> AlarmRow:
        """Acknowledge or escalate it. version: as this person saw it. Raises ConflictError where somebody else did something since, or it is so already, MissingError, InputError."""
        if state not in STATES[1:]:
            raise InputError(f"alarm: expected one of {', '.join(STATES[1:])}")
        with self.database.write() as session:
            row = _there(session, alarm_id)
            _unchanged(row, user, version)
            if row.state == state:
                raise ConflictError(f"alarm: {row.by} {row.state} it {ago(time.time() - (row.at or 0))} ago already")
            row.state, row.by, row.at, row.version = state, user.name, time.time(), row.version + 1
            audit.append(session, user.name, f"alarm {state}", row.id, camera=row.camera, start=row.start, reason=clean(reason)[:2000])  # fmt: skip
            post(session, row, state, f"{state}:{row.version}")
            tell(session, "alarm", row.id, by=user.name)
            return row

    def judge_alarm(self, user: User, alarm_id: str, verdict: str, version: int | None = None) -> AlarmRow:
        """Confirm or dismiss it, '' takes that back; the camera's threshold goes along. Raises as `answer_alarm`."""
        if verdict not in ("", *VERDICTS):
            raise InputError(f"verdict: expected one of {', '.join(VERDICTS)}, or nothing")
        with self.database.write() as session:
            row = _there(session, alarm_id)
            _unchanged(row, user, version)
            judge(session, row, verdict, user.name)
            return row

    def alarms_to_keep(self, camera: str, since: float, until: float) -> list[AlarmRow]:
        """Alarms of a camera that ended between two times (s since 1970), and of which no clip was kept; the oldest first."""
        rows = select(AlarmRow).where(
            AlarmRow.camera == camera, AlarmRow.ended.between(since, until), AlarmRow.video_id == ""
        )
        with self.database.read() as session:
            return list(session.scalars(rows.order_by(AlarmRow.ended)))

    def alarms_within(self, camera: str, start: float, end: float) -> list[AlarmRow]:
        """Alarms of a camera of which a part lies between two times (s since 1970), and of which no clip was kept."""
        rows = select(AlarmRow).where(
            AlarmRow.camera == camera, AlarmRow.start < end, AlarmRow.end > start, AlarmRow.video_id == ""
        )
        with self.database.read() as session:
            return list(session.scalars(rows.order_by(AlarmRow.start)))

    def alarm_kept(self, alarm_id: str, video_id: str) -> None:
        """The clip that was kept of it. Raises MissingError."""
        with self.database.write() as session:
            row = _there(session, alarm_id)
            row.video_id = video_id
            tell(session, "alarm", row.id, video=video_id)

    def forget_alarms(self, days: float) -> int:
        """Remove alarms that ended `days` ago, with their messages and pictures, but for those whose clip is still here; how many."""
        here = select(Video.id).where(Video.removed.is_(None))
        with self.database.write() as session:
            old = AlarmRow.end < time.time() - days * 86_400
            ids = list(session.scalars(select(AlarmRow.id).where(old, or_(AlarmRow.video_id == "", AlarmRow.video_id.not_in(here)))))  # fmt: skip
            for at in range(0, len(ids), 500):
                session.execute(delete(OutboxRow).where(OutboxRow.alarm_id.in_(ids[at : at + 500])))
                session.execute(delete(AlarmRow).where(AlarmRow.id.in_(ids[at : at + 500])))
            return len(ids)


def _there(session: Session, alarm_id: str, *options: Any) -> AlarmRow:
    row = session.get(AlarmRow, alarm_id, options=options)
    if row is None:
        raise MissingError("alarm: no such id")
    return row


def _unchanged(row: AlarmRow, user: User, version: int | None) -> None:
    if version is not None and version != row.version and row.by != user.name:
        raise ConflictError(f"{row.by or 'somebody'} changed this alarm meanwhile; look at it again")
