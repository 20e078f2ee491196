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

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from vlad.errors import ConflictError, InputError, MissingError, OutputError

from . import audit
from .asking import check_camera, everything, now
from .changes import tell
from .database import Database, called, clean
from .jobs import ask
from .tables import AnalysisRow, Job, RulesRow, SegmentRow, User, Video

YOUNG = 86_400.0  # seconds for which a plan's picture stays that no version names yet
WAITING = 100  # such pictures at most, of all cameras

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

    def put_plan(self, user: User, camera: str, data: bytes) -> str:
        """A floor plan's picture (bytes of one that was decoded here) for a camera; the name by which its text may name it. Raises RightsError, ConflictError while WAITING others wait.

        The name tells whose it is, so that no other camera's text shows it.
        """
        check_camera(camera)
        name = _owner(camera) + hashlib.sha256(data).hexdigest()[:16]
        if len(self._unnamed()) >= WAITING:
            raise ConflictError(
                f"plan: {WAITING} uploaded plans are already waiting for somebody to save them; they go within a day"
            )
        self._write(f"plans/{name}", data)
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
        for name in self._unnamed():
            with suppress(OSError, OutputError):
                if time.time() - shelf.found(name).stat().st_mtime > YOUNG:
                    shelf.remove(name)
                    gone += 1
        return gone

    def _unnamed(self) -> list[str]:
        """Plans' pictures that no version of any camera names."""
        names = [name for name in self.database.shelf.names("plans") if not name.startswith("plans/.")]
        with everything(), self.database.read() as session:
            texts = "\n".join(session.scalars(select(RulesRow.text).where(RulesRow.text.contains("plan"))))
        return [name for name in names if name.removeprefix("plans/") not in texts]

    def normal_clips(self, camera: str, most: int) -> list[str]:
        """Clips of a camera, the newest first, whose people were followed and of which nobody confirmed a segment."""
        check_camera(camera)
        confirmed = select(SegmentRow.video_id).where(SegmentRow.status == "confirmed", SegmentRow.gone.is_(None))
        there = (Video.camera == camera, Video.removed.is_(None), AnalysisRow.tracks.is_not(None))
        rows = (
            select(Video.id)
            .join(AnalysisRow, AnalysisRow.video_id == Video.id)
            .where(*there, Video.id.not_in(confirmed))
        )
        with self.database.read() as session:
            newest_first = func.coalesce(Video.recorded, Video.created).desc()
            return list(session.scalars(rows.order_by(newest_first, Video.id).limit(most)))

    def learn_paths(self, user: User, camera: str, most: int) -> int:
        """Have the usual paths of a camera learnt of its newest normal clips, by what was found in them; of how many. Raises RightsError, InputError for too few."""
        clips = self.normal_clips(camera, most)
        if len(clips) < 2:
            raise InputError("movement: two clips or more of this camera are needed in which nobody confirmed anything")
        with self.database.write() as session:
            waits = session.scalars(_learning(camera).where(Job.status == "queued")).first()
            if waits is not None:
                waits.status, waits.ended = "cancelled", time.time()
            job = Job(video_id=clips[0], kind="movement", settings={"camera": camera, "clips": clips})
            session.add(job)
            audit.append(session, user.name, "paths learnt", "", camera=camera, clips=len(clips))
        return len(clips)

    def learning(self, camera: str) -> Job | None:
        """The newest job that learns a camera's paths, None where nobody asked. Raises RightsError."""
        check_camera(camera)
        with self.database.read() as session:
            return session.scalars(_learning(camera).order_by(Job.created.desc())).first()

    def put_paths(self, camera: str, data: bytes, video_id: str) -> None:
        """A camera's usual paths, in place of those before; pages that look at the clip hear of it."""
        self._write(f"paths/{_owner(camera, 32)}", data)
        with self.database.write() as session:
            tell(session, "video", video_id, video=video_id)

    def paths(self, camera: str) -> Path | None:
        """Where they lie; None where nobody had them learnt. Raises RightsError."""
        check_camera(camera)
        path = self.database.shelf.found(f"paths/{_owner(camera, 32)}", now().patience if now().user else None)
        return path if path.is_file() else None

    def drop_paths(self, user: User, camera: str) -> None:
        """Forget them. Raises RightsError."""
        check_camera(camera)
        self.database.shelf.remove(f"paths/{_owner(camera, 32)}")
        self.database.log(user.name, "paths forgotten", "", camera=camera)

    def _write(self, name: str, data: bytes) -> None:
        shelf = self.database.shelf
        path = shelf.path(name)
        part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
        try:
            part.write_bytes(data)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        shelf.put(name)

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


def _owner(camera: str, letters: int = 16) -> str:
    """The name of a camera's file, or the first half of it."""
    return hashlib.sha256(camera.encode()).hexdigest()[:letters]


def _learning(camera: str) -> Select[Job]:
    """Jobs that learn a camera's paths."""
    return select(Job).where(Job.kind == "movement", Job.settings["camera"].as_string() == camera)


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
