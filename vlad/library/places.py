"""Zones, lines and rules of cameras, in versions: each is kept as the very text of `vlad.rules`, and none is ever changed.

In: a camera's name ('' for clips without one), a text. Out: the newest version, those before it, and jobs that check them on clips whose tracks are there.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vlad.errors import ConflictError, InputError, MissingError, OutputError

from . import audit
from .asking import check_camera, now
from .database import Database, called, clean
from .jobs import ask
from .tables import AnalysisRow, RulesRow, User, Video

YOUNG = 86_400.0  # seconds for which a plan's picture stays that no version names yet


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
        """All of a camera's, newest first. Raises RightsError."""
        check_camera(camera)
        with self.database.read() as session:
            rows = select(RulesRow).where(RulesRow.camera == camera).order_by(RulesRow.version.desc())
            return list(session.scalars(rows))

    def save_rules(self, user: User, camera: str, text: str, seen: int) -> RulesRow:
        """A text as the next version. seen: the version that it was made from, 0 for none.

        Raises InputError with every fault of the text, RightsError, ConflictError where `seen` is not the newest any more.
        """
        from vlad.rules import parse

        camera, text = called(camera)[:200], clean(text)
        check_camera(camera)
        parse(text)
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
            audit.append(session, user.name, "rules saved", row.id, camera=camera, version=row.version)
            return row

    def put_plan(self, user: User, camera: str, data: bytes) -> str:
        """A floor plan's picture (bytes of one that was decoded here) for a camera; the name by which its text may name it. Raises RightsError.

        The name tells whose it is, so that no other camera's text shows it.
        """
        check_camera(camera)
        name = _owner(camera) + hashlib.sha256(data).hexdigest()[:16]
        shelf = self.database.shelf
        path = shelf.path(f"plans/{name}")
        part = path.with_name(f".{name}.{uuid4().hex[:8]}.part")
        try:
            part.write_bytes(data)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        shelf.put(f"plans/{name}")
        self.database.log(user.name, "plan uploaded", name, camera=camera)
        return name

    def plan(self, camera: str, name: str) -> Path:
        """Where that picture lies. Raises RightsError for a camera of somebody else, MissingError for another camera's or none."""
        check_camera(camera)
        if not name.startswith(_owner(camera)):
            raise MissingError("plan: there is none of that name for this camera")
        path = self.database.shelf.found(f"plans/{name}", now().patience if now().user else None)
        if not path.is_file():
            raise MissingError("plan: there is none of that name for this camera")
        return path

    def sweep_plans(self) -> int:
        """Remove plans' pictures that no version names, once they are a day old; how many went."""
        shelf, gone = self.database.shelf, 0
        names = [name for name in shelf.names("plans") if not name.startswith("plans/.")]
        with self.database.read() as session:
            texts = "\n".join(session.scalars(select(RulesRow.text).where(RulesRow.text.contains("plan"))))
        for name in names:
            own = name.removeprefix("plans/")
            with suppress(OSError, OutputError):
                if own not in texts and time.time() - shelf.found(name).stat().st_mtime > YOUNG:
                    shelf.remove(name)
                    gone += 1
        return gone

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


def _owner(camera: str) -> str:
    """The first half of the name of a camera's files."""
    return hashlib.sha256(camera.encode()).hexdigest()[:16]


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
