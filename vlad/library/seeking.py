"""Finding an outfit or a vehicle's colour again within one camera's day: who may, each look with its reason in the log, and what was found, for as many days as an option says.

In: a person, a clip, what is wanted. Out: a job for a worker, and what it found, to who asked alone. Off until an admin says for how many days (`seek_days`), and gives people the right.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from vlad.errors import ConflictError, InputError, MissingError

from . import audit
from .asking import everything
from .database import Database
from .tables import AnalysisRow, Job, Option, SoughtRow, User, Video

OPTION = "seek_days"
DAY = 86_400.0  # seconds
CLIPS = 200  # that one look goes through at most, those nearest in time


class Seeking:
    """Looks for an outfit."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def seek(self, user: User, video_id: str, wanted: dict[str, Any], reason: str) -> SoughtRow:
        """Look for what is `wanted` (see SoughtRow) in the clips of a clip's camera that were recorded within the option's days of it.

        Raises ConflictError where it is off, the clip is not analysed, or the asker's last look is still under way; InputError for a clip of no camera or of no known time.
        """
        with self.database.write() as session:
            days = seek_days(session)
            if not days:
                raise ConflictError(
                    "finding again is off in this library; an admin may switch it on, and says for how many days"
                )
            video = session.get(Video, video_id)
            if video is None or video.removed is not None:
                raise MissingError("video: no such id")
            began = video.recorded
            if not video.camera or began is None:
                raise InputError(
                    "finding again stays within one camera's days: say first of which camera this clip is, and when it was recorded"
                )
            waits = (
                select(Job.id)
                .join(SoughtRow, SoughtRow.job_id == Job.id)
                .where(SoughtRow.user_id == user.id, Job.status.in_(("queued", "running")))
            )
            if session.scalar(waits.limit(1)):
                raise ConflictError("your last look is still under way; wait for it, or cancel it")
            near = (
                Video.camera == video.camera,
                Video.removed.is_(None),
                Video.recorded.between(began - days * DAY, began + days * DAY),
            )
            rows = (
                select(Video.id)
                .join(AnalysisRow, AnalysisRow.video_id == Video.id)
                .where(*near, AnalysisRow.tracks.is_not(None))
                .order_by(func.abs(Video.recorded - began), Video.id)
            )
            clips = list(session.scalars(rows.limit(CLIPS)))
            if video_id not in clips:
                raise ConflictError("nobody was followed in this clip: analyse it first, with objects")
            row = SoughtRow(user_id=user.id, video_id=video_id, job_id="", wanted=wanted)
            session.add(row)
            session.flush()
            job = Job(video_id=video_id, kind="again", settings={"sought": row.id, "clips": clips})
            session.add(job)
            session.flush()
            row.job_id = job.id
            audit.append(
                session,
                user.name,
                "looked for again",
                video_id,
                wanted=wanted,
                reason=reason,
                clips=len(clips),
                days=days,
            )
            return row

    def sought(self, user: User, sought_id: str) -> tuple[SoughtRow, Job | None]:
        """A look of one's own, and its job. Raises MissingError for another's or none, and once it was forgotten."""
        with self.database.read() as session:
            row = session.get(SoughtRow, sought_id)
            if row is None or row.user_id != user.id or not seek_days(session):
                raise MissingError("sought: no such id")
            return row, session.get(Job, row.job_id)

    def wanted(self, sought_id: str) -> dict[str, Any]:
        """What a look is for. Raises MissingError once it was forgotten."""
        with self.database.read() as session:
            row = session.get(SoughtRow, sought_id)
            if row is None:
                raise MissingError("sought: no such id")
            return row.wanted

    def found_again(self, sought_id: str, hits: list[dict[str, Any]]) -> None:
        """What a worker found."""
        with self.database.write() as session:
            row = session.get(SoughtRow, sought_id)
            if row is not None:
                row.hits = hits

    def forget_sought(self) -> None:
        """Forget looks older than the option's days, all of them where it is off."""
        with everything(), self.database.write() as session:
            session.execute(delete(SoughtRow).where(SoughtRow.created < time.time() - seek_days(session) * DAY))


def seek_days(session: Session) -> float:
    """For how many days, 0 where it is off."""
    option = session.get(Option, OPTION)
    return float(option.value) if option is not None and option.value else 0.0
