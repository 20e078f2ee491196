"""The queue of work on clips: each job is claimed once, beats while it is worked on, and comes back where its worker died.

In: names of workers. Out: jobs. Only what the clip may have done counts as a try: a worker that ended while its server lived (`died`). A worker that falls
silent, since its machine or its server is gone, gives its job back (`revive`, `release`). A job that ended its worker TRIES times has failed, the last time alone.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from vlad.errors import ConflictError, MissingError

from . import audit
from .changes import tell
from .database import Database
from .tables import Job, User, Video

TRIES = 3  # of a job before its clip is given up
LOST = 20  # times that a job's worker may fall silent before that is taken for the clip's doing
SILENCE = 60.0  # seconds without a heartbeat after which a worker is taken for dead


class Jobs:
    """Analyses that wait, are under way, or are over."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def claim(self, worker: str) -> Job | None:
        """The oldest waiting job, covers after all others and the newest of them first, now this worker's; None where there is none, or one on its last try has to be alone."""
        last = TRIES - 1
        with self.database.write() as session:
            under_way = list(session.scalars(select(Job.attempts).where(Job.status == "running")))
            if any(tried >= last for tried in under_way):
                return None
            waiting = select(Job).where(Job.status == "queued").limit(1)
            others = waiting.where(Job.kind != "cover").order_by(Job.created, Job.id)
            covers = waiting.where(Job.kind == "cover").order_by(Job.created.desc(), Job.id)
            job = session.scalars(others).first() or session.scalars(covers).first()
            if job is None or (under_way and job.attempts >= last):
                return None
            job.status, job.worker = "running", worker
            job.started, job.heartbeat = time.time(), self.database.clock(session)
            job.stage, job.done, job.total, job.error = "decoding", 0.0, None, ""
            _ = job.video.name
            tell(session, "job", job.id, video=job.video_id)
            return job

    def beat(self, job_id: str, worker: str, *, stage: str, done: float, total: float | None) -> bool:
        """Say that a job goes on; False where it is no longer this worker's, or was cancelled: stop then."""
        with self.database.write() as session:
            changed = session.execute(
                update(Job)
                .where(Job.id == job_id, Job.worker == worker, Job.status == "running")
                .values(stage=stage, done=done, total=total, heartbeat=self.database.clock(session))
            )
            _tell(session, job_id)
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def finish(self, job_id: str, worker: str) -> bool:
        """A job is done; False where it was taken away meanwhile."""
        return self._end(job_id, worker, "done", "")

    def fail(self, job_id: str, worker: str, reason: str) -> bool:
        """A job failed for a reason that trying again will not change."""
        return self._end(job_id, worker, "failed", reason[:500])

    def _end(self, job_id: str, worker: str, status: str, error: str) -> bool:
        with self.database.write() as session:
            changed = session.execute(
                update(Job)
                .where(Job.id == job_id, Job.worker == worker, Job.status == "running")
                .values(status=status, error=error, ended=time.time())
            )
            _tell(session, job_id)
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def cancel(self, user: User, job_id: str) -> bool:
        """Take a job out of the queue, or stop it; False where it is over."""
        with self.database.write() as session:
            changed = session.execute(
                update(Job)
                .where(Job.id == job_id, Job.status.in_(("queued", "running")))
                .values(status="cancelled", ended=time.time())
            )
            if changed.rowcount:  # type: ignore[attr-defined]
                audit.append(session, user.name, "cancelled", job_id)
                _tell(session, job_id, user.name)
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def again(self, user: User, video_id: str, settings: dict[str, Any] | None = None) -> Job:
        """A new job for a clip, unless one is under way. Raises InputError."""
        with self.database.write() as session:
            video = session.get(Video, video_id)
            if video is None or video.removed is not None:
                raise MissingError("video: no such id")
            waiting = (Job.video_id == video_id, Job.kind == "analysis", Job.status.in_(("queued", "running")))
            if session.scalars(select(Job).where(*waiting)).first():
                raise ConflictError(f"{video.name}: is in the queue already")
            job = Job(video_id=video_id, settings=settings or {})
            session.add(job)
            session.flush()
            audit.append(session, user.name, "analysed again", video_id)
            tell(session, "job", job.id, video=video_id, by=user.name)
            return job

    def died(self, worker: str) -> int:
        """A worker ended while its server lived: its job was tried, and waits again or has failed. How many it had."""
        with self.database.write() as session:
            found = _running(session, Job.worker == worker)
            for job in found:
                job.attempts += 1
                _back(session, job, f"it ended its worker {job.attempts} times" if job.attempts >= TRIES else "")
            return len(found)

    def release(self, worker: str, *, lost: bool = False) -> int:
        """A worker stops in the middle, through no fault of the clip: its job waits again, and was not tried. How many it had.

        lost: it may be the clip's after all, such as a file that the storage never hands out: LOST times, and it has failed.
        """
        with self.database.write() as session:
            found = _running(session, Job.worker == worker)
            for job in found:
                job.lost += lost
                _back(session, job, f"its file did not come {job.lost} times" if job.lost >= LOST else "")
            return len(found)

    def revive(self, silence: float = SILENCE) -> int:
        """Put jobs of workers that fell silent back into the queue; how many were found."""
        with self.database.write() as session:
            found = _running(
                session, or_(Job.heartbeat.is_(None), Job.heartbeat < self.database.clock(session) - silence)
            )
            for job in found:
                job.lost += 1
                _back(session, job, f"its worker fell silent {job.lost} times" if job.lost >= LOST else "")
            return len(found)


def ask(session: Session, video_id: str, kind: str, by: str = "") -> None:
    """Work of a kind on a clip, unless some waits already: one that is under way may have begun before what is asked for."""
    waiting = (Job.video_id == video_id, Job.kind == kind, Job.status == "queued")
    if session.scalar(select(Job.id).where(*waiting).limit(1)) is None:
        job = Job(video_id=video_id, kind=kind)
        session.add(job)
        session.flush()
        tell(session, "job", job.id, video=video_id, by=by)


def _running(session: Session, which: ColumnElement[bool]) -> list[Job]:
    return list(session.scalars(select(Job).where(Job.status == "running", which)))


def _back(session: Session, job: Job, hopeless: str = "") -> None:
    """Into the queue, or given up: why."""
    if hopeless:
        job.status, job.ended, job.error = "failed", time.time(), f"given up: {hopeless}"
    else:
        job.status, job.worker = "queued", ""
    tell(session, "job", job.id, video=job.video_id)


def _tell(session: Session, job_id: str, by: str = "") -> None:
    video = session.scalar(select(Job.video_id).where(Job.id == job_id))
    if video is not None:
        tell(session, "job", job_id, video=video, by=by)
