"""What people decide: verdicts one by one or many at once, taken back exactly, and never on what somebody else just changed.

In: a person, segments with the versions that this person saw, a verdict. Out: what stands. Each decision comes with its row in the log.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, joinedload

from vlad.errors import ConflictError, InputError, MissingError

from . import audit
from .changes import tell
from .database import Database, clean
from .findings import segment_of_id
from .judging import judged_by_clips
from .tables import SegmentRow, SpanRow, User, VerdictRow, new_id

VERDICTS = ("confirmed", "dismissed")
TOGETHER = 2000  # segments decided at once, at most
Seen = tuple[str, int | None]  # a segment's id and the version that a person saw


@dataclass(frozen=True)
class Batch:
    """Verdicts given at once. decided: ids; refused: id to why."""

    id: str
    decided: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Undone:
    """What was taken back: the segments' ids, and in words; both empty where nothing was."""

    segments: list[str] = field(default_factory=list)
    said: str = ""


class Review:
    """Verdicts."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def decide(
        self, user: User, segment_id: str, verdict: str, reason: str = "", version: int | None = None
    ) -> tuple[VerdictRow, bool]:
        """Confirm or dismiss a segment; the verdict that stands, and whether it is new: an equal one by the same person is not given twice.

        version: of the segment as this person saw it. Raises ConflictError where somebody else changed it since, InputError.
        """
        with self.database.write() as session:
            found, why = _decide(session, user, [(segment_id, version)], verdict, reason)
            if segment_id in why:
                raise why[segment_id]
            return found[segment_id]

    def decide_all(self, user: User, seen: Sequence[Seen], verdict: str, reason: str = "") -> Batch:
        """The same for many, all in one change; those that cannot be decided are refused, each with its reason. Raises InputError.

        Of a segment without a version nobody knows what this person saw: what somebody else decided is left alone.
        """
        if not 0 < len(seen) <= TOGETHER:
            raise InputError(f"segments: expected 1 to {TOGETHER}")
        batch = new_id()
        with self.database.write() as session:
            found, why = _decide(session, user, list(dict(seen).items()), verdict, reason, batch, unseen=True)
        return Batch(batch, list(found), {segment_id: str(error) for segment_id, error in why.items()})

    def undo(self, user: User, *, verdict: str = "", batch: str = "") -> Undone:
        """Take back one verdict or one batch, or else a user's newest that stands. Raises MissingError for somebody else's."""
        with self.database.write() as session:
            rows = self._own(session, user, verdict, batch)
            standing = [row for row in rows if row.undone is None]
            if not standing:
                return Undone()
            for row in standing:
                row.undone = time.time()
            session.flush()
            segments = [segment_of_id(session, row.segment_id) for row in standing]
            for row, segment in zip(standing, segments, strict=True):
                before = _standing(session, [segment.id]).get(segment.id)
                segment.status = before.verdict if before else "open"
                segment.version += 1
                row.undone_version = segment.version
                tell(session, "segment", segment.id, video=segment.video_id, by=user.name)
            said = f"{standing[0].verdict}, {len(standing)} segments"
            if len(standing) == 1:
                said = f"{standing[0].verdict}, {minutes(segments[0].start)} of {segments[0].video.name}"
            kept = sum(segment.status != "open" for segment in segments)
            if kept:  # what was decided before stands again
                said += (
                    "; its earlier verdict stands" if len(standing) == 1 else f"; of {kept} an earlier verdict stands"
                )
            audit.append_all(
                session, user.name, "undone", [(row.segment_id, {"verdict": row.verdict}) for row in standing]
            )
            judged_by_clips(session, segments, user.name)
            return Undone([segment.id for segment in segments], said)

    def _own(self, session: Session, user: User, verdict: str, batch: str) -> list[VerdictRow]:
        if verdict or batch:
            named = VerdictRow.id == verdict if verdict else VerdictRow.batch == batch
            rows = list(session.scalars(select(VerdictRow).where(named)))
            if not rows or any(row.user_id != user.id for row in rows):
                raise MissingError("verdict: none of that id is yours")
            return rows
        own = select(VerdictRow).where(VerdictRow.user_id == user.id, VerdictRow.undone.is_(None))
        last = session.scalars(own.order_by(VerdictRow.created.desc()).limit(1)).first()
        if last is None or not last.batch:
            return [last] if last else []
        return list(session.scalars(own.where(VerdictRow.batch == last.batch)))


def _decide(
    session: Session,
    user: User,
    seen: Sequence[Seen],
    verdict: str,
    reason: str,
    batch: str = "",
    *,
    unseen: bool = False,
) -> tuple[dict[str, tuple[VerdictRow, bool]], dict[str, InputError]]:
    """Verdicts by segment, each with whether it is new; and by segment why there is none. unseen: another's verdict stands where no version is named."""
    if verdict not in VERDICTS:
        raise InputError(f"verdict {verdict!r}: choose one of {', '.join(VERDICTS)}")
    reason, ids = clean(reason)[:2000], [segment_id for segment_id, _ in seen]
    rows = {s.id: s for s in session.scalars(select(SegmentRow).where(SegmentRow.id.in_(ids)))}
    standing = _standing(session, ids)
    found: dict[str, tuple[VerdictRow, bool]] = {}
    why: dict[str, InputError] = {}
    for segment_id, version in seen:
        segment, last = rows.get(segment_id), standing.get(segment_id)
        if segment is None:
            why[segment_id] = MissingError("segment: no such id")
        elif last and (last.user_id, last.verdict, last.reason) == (user.id, verdict, reason):
            found[segment_id] = last, False
        elif unseen and version is None and last and last.user_id != user.id:
            why[segment_id] = ConflictError(
                f"{last.user.name} {last.verdict} this {ago(time.time() - last.created)} ago"
            )
        elif (changed := changed_since(session, segment, version, user)) is not None:
            why[segment_id] = changed
        else:
            segment.status, segment.version = verdict, segment.version + 1
            row = VerdictRow(
                segment_id=segment_id, user_id=user.id, verdict=verdict, reason=reason, batch=batch, version=segment.version
            )  # fmt: skip
            session.add(row)
            found[segment_id] = row, True
            tell(session, "segment", segment_id, video=segment.video_id, by=user.name)
    session.flush()
    detail = {"reason": reason, **({"batch": batch} if batch else {})}
    audit.append_all(session, user.name, verdict, [(i, detail) for i, (_, new) in found.items() if new])
    judged_by_clips(session, [rows[i] for i, (_, new) in found.items() if new], user.name)
    return found, why


def _standing(session: Session, ids: Sequence[str]) -> dict[str, VerdictRow]:
    """The newest verdict of each segment that was not taken back."""
    rows = select(VerdictRow).where(VerdictRow.segment_id.in_(ids), VerdictRow.undone.is_(None))
    return {v.segment_id: v for v in session.scalars(rows.order_by(VerdictRow.created, VerdictRow.version))}


def changed_since(session: Session, segment: SegmentRow, version: int | None, user: User) -> ConflictError | None:
    """What somebody else did to the segment's status or span since `version`, None for nothing; whose own changes are no conflict."""
    if version is None or version == segment.version:
        return None
    verdicts = select(VerdictRow).options(joinedload(VerdictRow.user)).where(
        VerdictRow.segment_id == segment.id, VerdictRow.user_id != user.id,
        or_(VerdictRow.version > version, VerdictRow.undone_version > version),
    )  # fmt: skip
    spans = select(SpanRow).where(SpanRow.segment_id == segment.id, SpanRow.version > version, SpanRow.by != user.name)
    did = [(s.created, f"{s.by} changed its span or class") for s in session.scalars(spans) if s.by]
    for row in session.scalars(verdicts):
        taken = row.undone is not None and (row.undone_version or 0) > version
        did.append(
            (row.undone or 0, f"{row.user.name} took back a verdict")
            if taken
            else (row.created, f"{row.user.name} {row.verdict} this")
        )
    if not did:
        return None
    at, what = max(did)
    return ConflictError(f"{what} {ago(time.time() - at)} ago")


def ago(seconds: float) -> str:
    """A span of time as a person says it: 9 s, 3 min, 2 h, 4 days."""
    for size, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (size < 86_400 and seconds >= size):
            return f"{int(seconds // size)} {name}"
    return f"{max(0, int(seconds))} s"


def minutes(seconds: float) -> str:
    """A time in a clip: 0:12, or 1:02:03."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
