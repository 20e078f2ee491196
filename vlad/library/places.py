"""Zones, lines and rules of cameras, in versions: each is kept as the very text of `vlad.rules`, and none is ever changed.

In: a camera's name ('' for clips without one), a text. Out: the newest version, those before it, and jobs that check them on clips whose tracks are there.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vlad.errors import ConflictError, InputError

from . import audit
from .asking import check_camera
from .database import Database, called, clean
from .jobs import ask
from .tables import AnalysisRow, RulesRow, User, Video

VERSIONS = 100  # of a camera that are told; all are kept


class Places:
    """What people drew over cameras' pictures."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def rules(self, camera: str) -> RulesRow | None:
        """A camera's newest version, None where there is none. Raises RightsError for a camera of somebody else."""
        check_camera(camera)
        with self.database.read() as session:
            return newest(session, camera)

    def rules_versions(self, camera: str) -> list[RulesRow]:
        """A camera's newest VERSIONS, newest first. Raises RightsError."""
        check_camera(camera)
        with self.database.read() as session:
            rows = select(RulesRow).where(RulesRow.camera == camera).order_by(RulesRow.version.desc())
            return list(session.scalars(rows.limit(VERSIONS)))

    def save_rules(self, user: User, camera: str, text: str, seen: int) -> RulesRow:
        """A text as the next version. seen: the version that it was made from, 0 for none.

        Raises InputError with every fault of the text, RightsError, ConflictError where `seen` is not the newest any more.
        """
        from vlad.rules import parse

        camera, text = called(camera)[:200], clean(text)
        check_camera(camera)
        lowers = [r.name for r in parse(text).rules if r.lowers is not None]
        with self.database.write() as session:
            last = newest(session, camera)
            if seen != (last.version if last else 0):
                raise ConflictError(
                    f"{last.by} saved version {last.version} of these rules meanwhile; look at it, and save again"
                    if last
                    else "rules: there is no such version of this camera"
                )
            row = RulesRow(camera=camera, version=seen + 1, text=text, by=user.name)
            session.add(row)
            session.flush()
            more = {"lowers": lowers} if lowers else {}  # they may hide what the scorer flags
            audit.append(session, user.name, "rules saved", row.id, camera=camera, version=row.version, **more)
            return row

    def clips_to_check(self, camera: str) -> int:
        """How many analysed clips of a camera were not checked with its newest version."""
        with self.database.read() as session:
            return len(_unchecked(session, camera))

    def check_clips(self, user: User, camera: str) -> int:
        """Check the newest version on those, without decoding anything; how many. Raises InputError where the camera has no rules."""
        check_camera(camera)
        with self.database.write() as session:
            last = newest(session, camera)
            if last is None:
                raise InputError("rules: this camera has none")
            ids = _unchecked(session, camera)
            for video_id in ids:
                ask(session, video_id, "rules", user.name)
            audit.append(
                session, user.name, "rules checked", last.id, camera=camera, version=last.version, clips=len(ids)
            )
            return len(ids)


def newest(session: Session, camera: str) -> RulesRow | None:
    """A camera's newest version within a session."""
    rows = select(RulesRow).where(RulesRow.camera == camera).order_by(RulesRow.version.desc())
    return session.scalars(rows.limit(1)).first()


def _unchecked(session: Session, camera: str) -> list[str]:
    version = session.scalar(select(func.max(RulesRow.version)).where(RulesRow.camera == camera)) or 0
    there = (Video.camera == camera, Video.removed.is_(None))
    rows = select(AnalysisRow.video_id, AnalysisRow.rules).join(Video, Video.id == AnalysisRow.video_id).where(*there)
    checked = ((i, found or {"version": 0, "camera": camera}) for i, found in session.execute(rows))
    return [i for i, found in checked if (found["version"], found["camera"]) != (version, camera)]
