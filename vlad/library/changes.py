"""What just changed, numbered: pages of this server and of others on the same library follow along by asking for what came after a number.

In: the session of a change, or a number. Out: rows. Every room tells of its changes here, in the transaction that makes them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from .database import Database, clean
from .tables import AlarmRow, CameraRow, Change, ExportRow, Video

KEPT = 3600.0  # seconds for which a change can still be asked for


def tell(session: Session, kind: str, target: str, *, video: str = "", by: str = "") -> None:
    """kind: segment, video, job, note (target: its segment), export, camera or alarm. target, video: ids. by: who did it, '' for a worker."""
    session.add(Change(kind=kind, target=target, video=video, by=clean(by)[:200]))


class Changes:
    """The newest number, and what came after one."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def last_change(self) -> int:
        """The number of the newest change; 0 before the first."""
        with self.database.read() as session:
            return session.scalar(select(func.max(Change.n))) or 0

    def changes(self, after: int, count: int = 500) -> list[Change]:
        """Up to `count` changes after a number, oldest first."""
        with self.database.read() as session:
            return list(session.scalars(select(Change).where(Change.n > after).order_by(Change.n).limit(count)))

    def whose(self, rows: Sequence[Change]) -> dict[int, tuple[str | None, str]]:
        """By number of a change: the camera of its clip, or that it is about itself, None where it is about none, and who ordered the case that it is about, '' for none."""
        with self.database.read() as session:
            clips = select(Video.id, Video.camera).where(Video.id.in_({r.video for r in rows if r.video}))
            cameras = {i: camera for i, camera in session.execute(clips)}
            cases = select(ExportRow.id, ExportRow.user_id).where(
                ExportRow.id.in_({r.target for r in rows if not r.video})
            )
            owners = {i: user for i, user in session.execute(cases)}
            for kind, of in (
                ("camera", select(CameraRow.id, CameraRow.name)),
                ("alarm", select(AlarmRow.id, AlarmRow.camera)),
            ):
                about = {r.target for r in rows if r.kind == kind}
                if about:
                    cameras.update(
                        {i: name for i, name in session.execute(of.where(of.selected_columns[0].in_(about)))}
                    )
        return {r.n: (cameras.get(r.video or r.target), owners.get(r.target, "")) for r in rows}

    def announce(self, kind: str, target: str, video: str = "") -> None:
        """A change that is in no table, such as new pictures of a clip."""
        with self.database.write() as session:
            tell(session, kind, target, video=video)

    def forget_changes(self) -> None:
        """Remove those older than KEPT; the newest stays, so that numbers go on."""
        with self.database.write() as session:
            last = session.scalar(select(func.max(Change.n))) or 0
            session.execute(delete(Change).where(Change.at < time.time() - KEPT, Change.n < last))
