"""Verdicts on alarms, given on themselves or on the clip that was kept of them; and what a calibrated camera's threshold becomes by them.

In: the session of a verdict. Out: the alarm's row and the camera's threshold, each with its row in the log.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import audit
from .adapting import Judged, adapted
from .changes import tell
from .tables import AlarmRow, CameraRow, SegmentRow, Video


def judge(session: Session, row: AlarmRow, verdict: str, by: str) -> None:
    """A verdict on an alarm ('' takes it back)."""
    if row.verdict == verdict:
        return
    row.verdict, row.version = verdict, row.version + 1
    session.flush()
    audit.append(session, by, f"alarm {verdict or 'verdict undone'}", row.id, camera=row.camera, start=row.start)
    adapt(session, row.camera, by)
    tell(session, "alarm", row.id, by=by)


def judged_by_clips(session: Session, segments: Iterable[SegmentRow], by: str) -> None:
    """Verdicts on segments of clips that were kept of alarms are verdicts on these: confirmed where any segment is, dismissed where all are. Of a clip with several alarms, such as a
    recorder's file, each is judged by the segments that meet it."""
    clips = {s.video_id for s in segments}
    rows = list(session.scalars(select(AlarmRow).where(AlarmRow.video_id.in_(clips)))) if clips else []
    if not rows:
        return
    session.flush()
    for row in rows:
        there = SegmentRow.video_id == row.video_id, SegmentRow.gone.is_(None)
        found = list(session.scalars(select(SegmentRow).where(*there)))
        if sum(r.video_id == row.video_id for r in rows) > 1:
            began = session.scalars(select(Video.recorded).where(Video.id == row.video_id)).one() or 0.0
            found = [s for s in found if began + s.start < row.end and began + s.end > row.start]
        states = {s.status for s in found}
        judge(
            session, row, "confirmed" if "confirmed" in states else "dismissed" if states == {"dismissed"} else "", by
        )


def adapt(session: Session, camera: str, by: str) -> None:
    """The threshold of a calibrated camera anew, by all verdicts on its alarms since; logged where it moved."""
    row = session.scalars(select(CameraRow).where(CameraRow.name == camera, CameraRow.closed.is_(None))).first()
    if row is None or not row.calibration:
        return
    told, judged = row.calibration, (AlarmRow.verdict != "") & (AlarmRow.summary.is_(False))
    since = AlarmRow.camera == camera, AlarmRow.key > told["at"], judged
    alarms = session.scalars(select(AlarmRow).where(*since).order_by(AlarmRow.key))
    found = [Judged(a.verdict == "dismissed", a.peak, a.hours or 0.0) for a in alarms]
    now = adapted(told["enter"], told["rate"], found)
    row.calibration = {**told, "now": now, "verdicts": len(found)}
    if abs(now - told["now"]) > 1e-6:
        audit.append(session, by, "threshold adapted", row.id, camera=camera, before=told["now"], after=now, verdicts=len(found))  # fmt: skip
        tell(session, "camera", row.id, by=by)
