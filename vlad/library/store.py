"""The library itself: every change goes through here, in one transaction with its row in the audit log.

Writers take turns (SQLite: one writer at a time, WAL lets readers go on; PostgreSQL: an advisory lock), so that a job is claimed once and the
log stays one chain. Files lie in `folder`, by id; nothing outside it is read or written.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from alembic import command
from alembic.config import Config
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import Engine, create_engine, event, func, or_, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from vlad.errors import InputError, LimitError, OutputError
from vlad.types import Analysis, Explanation, ScoreTrack, Segment

from . import audit
from .tables import (
    AnalysisRow,
    AuditRow,
    ExportRow,
    Job,
    Key,
    NoteRow,
    Option,
    SegmentRow,
    TagRow,
    Upload,
    User,
    VerdictRow,
    Video,
    new_id,
)

ROLES = ("reviewer", "admin")
VERDICTS = ("confirmed", "dismissed")
OPTIONS = {
    "enter": (0.0, 1.0),
    "retention_days": (1.0, 3660.0),
    "quota_gib": (0.001, 1e6),
}  # what may be set, from and to
TRIES = 2  # of a job before its clip is given up
SILENCE = 60.0  # seconds without a heartbeat after which a worker is taken for dead
FREE = 2 << 30  # bytes of disk that are never used up
LARGEST = 4 << 30  # bytes of one clip
LOCK = 0x76_6C_61_64  # PostgreSQL's advisory lock of writers
Floats = npt.NDArray[np.float32]


class Library:
    """A database and a folder. url: SQLAlchemy's, or a folder that holds library.sqlite. Raises InputError where it cannot be opened."""

    def __init__(self, url: str | Path, folder: Path | None = None) -> None:
        named = str(url)
        if "://" not in named:
            folder = folder or Path(named)
            folder.mkdir(parents=True, exist_ok=True)
            named = f"sqlite:///{(folder / 'library.sqlite').absolute()}"
        if folder is None:
            raise InputError("a library by URL needs a folder for its clips too")
        self.folder = folder
        for part in ("clips", "uploads", "embeddings", "exports"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._sqlite = named.startswith("sqlite")
        try:
            self.engine = _open(named)
            self._migrate()
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            line = str(error).splitlines()[0][:200]
            raise InputError(f"library: cannot be opened ({line}); check the URL, and that its server runs") from None
        self._hasher = PasswordHasher()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(files("vlad.library") / "migrations"))
        with self.engine.begin() as connection:
            if not self._sqlite:
                connection.execute(text(f"select pg_advisory_xact_lock({LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only looks."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes come whole or not at all, alone among writers. Raises OutputError where the database cannot be written."""
        try:
            with Session(self.engine.execution_options(write=True), expire_on_commit=False) as session, session.begin():
                if not self._sqlite:
                    session.execute(text(f"select pg_advisory_xact_lock({LOCK})"))
                yield session
        except OperationalError as error:
            raise OutputError(f"library: cannot be written ({str(error.orig).splitlines()[0][:160]})") from None

    def log(self, user: str, action: str, target: str = "", **detail: Any) -> None:
        """A row of the audit log by itself, for what only looks."""
        with self.write() as session:
            audit.append(session, user, action, target, **detail)

    # people

    def add_user(self, name: str, password: str, role: str = "reviewer") -> User:
        """A new user. Raises InputError for a name that is taken, a short password or an unknown role."""
        if role not in ROLES:
            raise InputError(f"role {role!r}: choose one of {', '.join(ROLES)}")
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise InputError("name: expected 1 to 200 printable letters")
        if len(password) < 10:
            raise InputError("password: expected 10 letters or more")
        user = User(name=name.strip(), role=role, password=self._hasher.hash(password))
        try:
            with self.write() as session:
                session.add(user)
                session.flush()
                audit.append(session, name, "user added", user.id, role=role)
        except IntegrityError:
            raise InputError(f"user {name!r}: there is one of that name") from None
        return user

    def local_user(self) -> User:
        """The one user of a library on loopback without sign-in; made when first asked for."""
        named = select(User).where(User.name == "local")
        with self.read() as session:  # every request asks: most of the time nobody has to wait for a writer
            found = session.scalars(named).first()
        if found is not None:
            return found
        with self.write() as session:
            found = session.scalars(named).first() or User(name="local", role="admin", password="")
            session.add(found)
            return found

    def has_users(self) -> bool:
        """Whether anybody can sign in."""
        with self.read() as session:
            return bool(
                session.scalar(select(func.count()).select_from(User).where(User.password != "", User.closed.is_(None)))
            )

    def users(self) -> list[User]:
        """Everybody who may sign in, by name."""
        with self.read() as session:
            able = select(User).where(User.password != "", User.closed.is_(None))
            return list(session.scalars(able.order_by(User.name)))

    def close_user(self, by: str, name: str) -> None:
        """Somebody may no longer sign in; their sessions and tokens end at once. Raises InputError for nobody, or the last admin."""
        with self.write() as session:
            able = list(session.scalars(select(User).where(User.password != "", User.closed.is_(None))))
            user = next((u for u in able if u.name == name), None)
            if user is None:
                raise InputError(f"user {name!r}: no such id or name")
            if user.role == "admin" and len(able) > 1 and sum(u.role == "admin" for u in able) == 1:
                raise InputError(f"user {name!r}: is the last admin; add another first")
            user.closed = time.time()
            audit.append(session, by, "user closed", user.id)

    def sign_in(self, name: str, password: str) -> User | None:
        """The user whose password this is, None for any other. Takes as long for a name that nobody has."""
        with self.read() as session:
            user = session.scalars(select(User).where(User.name == name, User.closed.is_(None))).first()
        kept = user.password if user and user.password else _NOBODY
        try:
            self._hasher.verify(kept, password)
        except (Argon2Error, InvalidHashError):
            self.log(_clean(name)[:200], "sign-in refused")
            return None
        self.log(name, "signed in")
        return user

    def open_key(self, user: User, seconds: float, *, name: str = "", scopes: Sequence[str] = ()) -> str:
        """A new session (no scopes) or token; the secret, which is not kept."""
        secret = secrets.token_urlsafe(32)
        with self.write() as session:
            session.add(
                Key(
                    user_id=user.id,
                    digest=_digest(secret),
                    name=name,
                    scopes=" ".join(scopes),
                    expires=time.time() + seconds,
                )
            )
            if scopes:
                audit.append(session, user.name, "token made", "", name=name, scopes=list(scopes))
        return secret

    def key(self, secret: str) -> Key | None:
        """The session or token of a secret, with its user; None once it expired or was closed."""
        with self.read() as session:
            found = session.scalars(select(Key).where(Key.digest == _digest(secret), Key.expires > time.time())).first()
            if found is None or found.user.closed is not None:
                return None
            return found

    def close_key(self, secret: str) -> None:
        """End a session or revoke a token."""
        with self.write() as session:
            session.execute(update(Key).where(Key.digest == _digest(secret)).values(expires=0.0))

    # options

    def options(self) -> dict[str, float]:
        """What was set, by name; see OPTIONS."""
        with self.read() as session:
            return {o.name: o.value for o in session.scalars(select(Option)) if o.value is not None}

    def set_option(self, user: User, name: str, value: float | None) -> None:
        """Set an option; None goes back to its default. Raises InputError for one that is unknown or out of range."""
        if name not in OPTIONS:
            raise InputError(f"option {name!r}: choose one of {', '.join(OPTIONS)}")
        low, high = OPTIONS[name]
        if value is not None and not low <= value <= high:
            raise InputError(f"{name}: expected {low:g} to {high:g}")
        with self.write() as session:
            session.merge(Option(name=name, value=value))
            audit.append(session, user.name, "option set", name, value=value)

    # clips

    def begin_upload(self, user: User, name: str, size: int, camera: str = "") -> Upload:
        """A place for a clip that comes in pieces. Raises LimitError where it is too large or the disk too full."""
        if not 0 < size <= LARGEST:
            raise LimitError(f"{name}: {size} bytes; a clip has 1 to {LARGEST} bytes")
        with self.read() as session:
            coming = session.scalar(select(func.sum(Upload.size - Upload.received))) or 0  # announced by others
            announced = session.scalar(select(func.sum(Upload.size))) or 0
            kept = session.scalar(select(func.sum(Video.size)).where(Video.removed.is_(None))) or 0
        quota = self.options().get("quota_gib")
        if quota is not None and kept + announced + size > quota * 2**30:
            raise LimitError(f"{name}: the library may hold {quota:g} GiB, and does; remove clips, or raise its quota")
        free = shutil.disk_usage(self.folder).free - int(coming)
        if free - size < FREE:
            raise LimitError(
                f"{name}: the disk has {free >> 20} MiB left; {FREE >> 20} MiB stay free. Remove clips, or shorten retention"
            )
        upload = Upload(user_id=user.id, name=_clean(name)[:500], size=size, camera=_clean(camera)[:200])
        with self.write() as session:
            session.add(upload)
            session.flush()
        self._part(upload.id).touch()
        return upload

    def _part(self, upload_id: str) -> Path:
        return self.folder / "uploads" / upload_id

    def append(self, user: User, upload_id: str, offset: int, data: bytes) -> int:
        """Add a piece at the byte where the file ends; how many bytes are there now. Raises InputError for another offset or too much."""
        with self.write() as session:
            upload = session.get(Upload, upload_id)
            if upload is None or upload.user_id != user.id:
                raise InputError("upload: there is none of that id")
            if offset != upload.received:
                raise InputError(f"upload: {upload.received} bytes are here, not {offset}; go on from there")
            if upload.received + len(data) > upload.size:
                raise InputError(f"upload: more than the {upload.size} bytes that were announced")
            with open(self._part(upload_id), "r+b") as file:
                file.seek(offset)
                file.write(data)
                file.truncate()
            upload.received += len(data)
            return upload.received

    def finish_upload(
        self, user: User, upload_id: str, settings: dict[str, Any] | None = None, *, recorded: float | None = None
    ) -> tuple[Video, Job]:
        """A whole upload becomes a clip of the same id with a job in the queue; asked twice, the same clip.

        recorded: when its first frame was taken (s since 1970), where somebody knows. Raises InputError where bytes are missing.
        """
        with self.write() as session:
            upload, there = session.get(Upload, upload_id), session.get(Video, upload_id)
            if there is not None and there.user_id == user.id:  # the first answer was lost on its way
                return there, session.scalars(select(Job).where(Job.video_id == there.id).order_by(Job.created)).one()
            if upload is None or upload.user_id != user.id:
                raise InputError("upload: there is none of that id")
            if upload.received != upload.size:
                raise InputError(f"upload: {upload.received} of {upload.size} bytes are here; send the rest")
            video = Video(id=upload.id, user_id=user.id, name=upload.name, size=upload.size, camera=upload.camera)
            video.recorded = recorded
            session.add(video)
            session.flush()
            if self._part(upload_id).exists():  # else it was moved before, and the database then went away
                os.replace(self._part(upload_id), self.clip(video.id))
            job = Job(video_id=video.id, settings=settings or {})
            session.add(job)
            session.delete(upload)
            audit.append(session, user.name, "uploaded", video.id, name=video.name, size=video.size)
        return video, job

    def clip(self, video_id: str) -> Path:
        """Where a clip lies. Raises InputError for what is no id."""
        if len(video_id) != 32 or not all(c in "0123456789abcdef" for c in video_id):
            raise InputError("video: no such id")
        return self.folder / "clips" / video_id

    def sheet(self, video_id: str) -> Path:
        """Where a clip's thumbnails lie, if there are any. Raises InputError for what is no id."""
        return self.folder / "sheets" / f"{self.clip(video_id).name}.jpg"

    def embeddings(self, video_id: str) -> Path:
        """Where the embeddings of a clip's snippets lie, if there are any. Raises InputError for what is no id."""
        return self.folder / "embeddings" / f"{self.clip(video_id).name}.npy"

    def videos(self) -> list[Video]:
        """Every clip that was not removed, newest first."""
        with self.read() as session:
            return list(session.scalars(select(Video).where(Video.removed.is_(None)).order_by(Video.created.desc())))

    def remove(self, user: User, video_id: str) -> None:
        """Remove a clip and every picture made of it; what was decided of it stays. Raises InputError where a segment of it was exported."""
        with self.write() as session:
            video = session.get(Video, video_id)
            if video is None or video.removed is not None:
                raise InputError("video: no such id")
            exported = (
                select(func.count())
                .select_from(SegmentRow)
                .where(SegmentRow.video_id == video_id, SegmentRow.exported.is_not(None))
            )
            if session.scalar(exported):
                raise InputError(f"{video.name}: part of it is evidence that was exported; it is kept")
            video.removed = time.time()
            audit.append(session, user.name, "removed", video_id, name=video.name)
        for file in (self.clip(video_id), self.sheet(video_id), self.embeddings(video_id)):
            file.unlink(missing_ok=True)

    def forget_uploads(self, days: float) -> None:
        """Remove what came of uploads that began `days` ago and never ended."""
        with self.write() as session:
            for upload in session.scalars(select(Upload).where(Upload.created < time.time() - days * 86_400)):
                self._part(upload.id).unlink(missing_ok=True)
                session.delete(upload)

    def retire(self, days: float) -> int:
        """Remove clips older than `days`, but for those of which something was exported; how many."""
        with self.read() as session:
            old = select(Video.id).where(Video.removed.is_(None), Video.created < time.time() - days * 86_400)
            kept = select(SegmentRow.video_id).where(SegmentRow.exported.is_not(None))
            ids = list(session.scalars(old.where(Video.id.not_in(kept))))
        for video_id in ids:
            self.remove(User(id="", name="retention", role="admin"), video_id)
        return len(ids)

    # jobs

    def claim(self, worker: str) -> Job | None:
        """The oldest waiting job, now this worker's; None where there is none."""
        with self.write() as session:
            job = session.scalars(
                select(Job).where(Job.status == "queued").order_by(Job.created, Job.id).limit(1)
            ).first()
            if job is None:
                return None
            job.status, job.worker, job.attempts = "running", worker, job.attempts + 1
            job.started = job.heartbeat = time.time()
            job.stage, job.done, job.total, job.error = "decoding", 0.0, None, ""
            _ = job.video.name
            return job

    def beat(self, job_id: str, worker: str, *, stage: str, done: float, total: float | None) -> bool:
        """Say that a job goes on; False where it is no longer this worker's, or was cancelled: stop then."""
        with self.write() as session:
            changed = session.execute(
                update(Job)
                .where(Job.id == job_id, Job.worker == worker, Job.status == "running")
                .values(stage=stage, done=done, total=total, heartbeat=time.time())
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def finish(self, job_id: str, worker: str) -> bool:
        """A job is done; False where it was taken away meanwhile."""
        return self._end(job_id, worker, "done", "")

    def fail(self, job_id: str, worker: str, reason: str) -> bool:
        """A job failed for a reason that trying again will not change."""
        return self._end(job_id, worker, "failed", reason[:500])

    def _end(self, job_id: str, worker: str, status: str, error: str) -> bool:
        with self.write() as session:
            changed = session.execute(
                update(Job)
                .where(Job.id == job_id, Job.worker == worker, Job.status == "running")
                .values(status=status, error=error, ended=time.time())
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def cancel(self, user: User, job_id: str) -> bool:
        """Take a job out of the queue, or stop it; False where it is over."""
        with self.write() as session:
            changed = session.execute(
                update(Job)
                .where(Job.id == job_id, Job.status.in_(("queued", "running")))
                .values(status="cancelled", ended=time.time())
            )
            if changed.rowcount:  # type: ignore[attr-defined]
                audit.append(session, user.name, "cancelled", job_id)
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def again(self, user: User, video_id: str, settings: dict[str, Any] | None = None) -> Job:
        """A new job for a clip, unless one is under way. Raises InputError."""
        with self.write() as session:
            video = session.get(Video, video_id)
            if video is None or video.removed is not None:
                raise InputError("video: no such id")
            waiting = select(Job).where(Job.video_id == video_id, Job.status.in_(("queued", "running")))
            if session.scalars(waiting).first():
                raise InputError(f"{video.name}: is in the queue already")
            job = Job(video_id=video_id, settings=settings or {})
            session.add(job)
            audit.append(session, user.name, "analysed again", video_id)
            return job

    def revive(self, silence: float = SILENCE) -> int:
        """Put jobs of workers that fell silent back into the queue; one tried TRIES times has failed. How many were found."""
        with self.write() as session:
            old = select(Job).where(
                Job.status == "running", or_(Job.heartbeat.is_(None), Job.heartbeat < time.time() - silence)
            )
            found = list(session.scalars(old))
            for job in found:
                if job.attempts >= TRIES:
                    job.status, job.ended = "failed", time.time()
                    job.error = f"given up: it ended its worker {job.attempts} times"
                else:
                    job.status, job.worker = "queued", ""
            return len(found)

    # what was found

    def keep(
        self, video_id: str, analysis: Analysis, embeddings: Floats | None = None, embedder: str = ""
    ) -> list[str]:
        """The analysis of a clip, in place of an older one; ids of its segments. Segments that somebody decided on stay.

        embeddings: unit vectors float32 [T, D] of its snippets, for search; embedder: of what encoder.
        """
        t = analysis.track
        with self.write() as session:
            video = session.get(Video, video_id)
            if video is None:
                raise InputError("video: no such id")
            video.sha256, video.duration = analysis.video.sha256, analysis.video.duration
            video.facts = {**asdict(analysis.video), "path": "", "gaps": [list(g) for g in analysis.video.gaps]}
            row = session.scalars(select(AnalysisRow).where(AnalysisRow.video_id == video_id)).first()
            row = row or AnalysisRow(video_id=video_id)
            row.scores, row.edges = t.scores.astype("<f4").tobytes(), t.edges.astype("<f8").tobytes()
            row.classes = None if t.classes is None else t.classes.astype("<f4").tobytes()
            row.labels, row.made_by, row.created = list(t.labels), dict(analysis.made_by), time.time()
            row.summary, row.embedder = asdict(analysis.summary) if analysis.summary else None, embedder
            session.add(row)
            ids = self._replace_segments(session, video_id, analysis)
        if embeddings is not None:
            part = self.embeddings(video_id).with_suffix(".part.npy")
            np.save(part, embeddings.astype(np.float16), allow_pickle=False)
            os.replace(part, self.embeddings(video_id))
        return ids

    def _replace_segments(self, session: Session, video_id: str, analysis: Analysis) -> list[str]:
        said = {e.segment: e for e in analysis.explanations}
        old = list(
            session.scalars(select(SegmentRow).where(SegmentRow.video_id == video_id, SegmentRow.gone.is_(None)))
        )
        ids_of_old = [row.id for row in old]
        decided = {
            found
            for said_in in (VerdictRow.segment_id, NoteRow.segment_id, TagRow.segment_id)
            for found in session.scalars(select(said_in).where(said_in.in_(ids_of_old)))
        }
        same = {(round(s.start, 3), round(s.end, 3)): s for s in old}
        ids = []
        for s in analysis.segments:
            row = same.pop((round(s.start, 3), round(s.end, 3)), None) or SegmentRow(video_id=video_id)
            row.start, row.end, row.peak, row.peak_time, row.label = s.start, s.end, s.peak, s.peak_time, s.label
            row.explanation = told_of(said[s]) if s in said else None
            session.add(row)
            session.flush()
            ids.append(row.id)
        for row in same.values():
            if row.id in decided or row.exported is not None:
                row.gone = time.time()
            else:
                session.delete(row)
        return ids

    def explain(self, segment_id: str, explanation: Explanation, user: str) -> None:
        """Other words for a segment."""
        with self.write() as session:
            self._segment(session, segment_id).explanation = told_of(explanation)
            audit.append(session, user, "explained again", segment_id, prompt=explanation.prompt)

    def explained(self, segment_id: str, explanation: Explanation) -> None:
        """The first words for a segment, by a worker; a segment that a newer analysis took away is let be."""
        with self.write() as session:
            row = session.get(SegmentRow, segment_id)
            if row is not None:
                row.explanation = told_of(explanation)

    def track(self, video_id: str) -> ScoreTrack:
        """A clip's timeline. Raises InputError where it has none yet."""
        with self.read() as session:
            row = session.scalars(select(AnalysisRow).where(AnalysisRow.video_id == video_id)).first()
        if row is None:
            raise InputError("video: not analysed yet")
        classes = None
        if row.classes is not None:
            classes = np.frombuffer(row.classes, "<f4").reshape(-1, len(row.labels))
        return ScoreTrack(np.frombuffer(row.scores, "<f4"), np.frombuffer(row.edges, "<f8"), tuple(row.labels), classes)

    def embedder(self, video_id: str) -> str:
        """What made a clip's embeddings, `name@fingerprint`; '' where there are none."""
        with self.read() as session:
            return session.scalars(select(AnalysisRow.embedder).where(AnalysisRow.video_id == video_id)).first() or ""

    def segments(
        self, *, video_id: str = "", status: str = "", label: str = "", camera: str = "", words: str = "", first: int = 0, count: int = 100,
        by: str = "peak",
    ) -> tuple[list[SegmentRow], int]:  # fmt: skip
        """A page of segments and how many there are: by peak (highest first), start, or newest clip first. words: in notes, tags, explanations."""
        wanted = select(SegmentRow).join(Video).where(SegmentRow.gone.is_(None), Video.removed.is_(None))
        for column, value in (
            (SegmentRow.video_id, video_id),
            (SegmentRow.status, status),
            (SegmentRow.label, label),
            (Video.camera, camera),
        ):
            wanted = wanted.where(column == value) if value else wanted
        if words:
            like = "%" + re.sub(r"([\\%_])", r"\\\1", words.lower()) + "%"
            noted = select(NoteRow.segment_id).where(func.lower(NoteRow.text).like(like, escape="\\"))
            tagged = select(TagRow.segment_id).where(func.lower(TagRow.tag).like(like, escape="\\"))
            wanted = wanted.where(
                or_(
                    SegmentRow.id.in_(noted),
                    SegmentRow.id.in_(tagged),
                    func.lower(SegmentRow.label).like(like, escape="\\"),
                )
            )
        orders: dict[str, list[Any]] = {
            "peak": [SegmentRow.peak.desc()], "start": [SegmentRow.start], "newest": [Video.created.desc(), SegmentRow.start]
        }  # fmt: skip
        with self.read() as session:
            total = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
            rows = list(session.scalars(wanted.order_by(*orders[by], SegmentRow.id).offset(first).limit(count)))
            for row in rows:
                _ = row.video.name
        return rows, total

    def spans(self, *, label: str = "", status: str = "") -> dict[str, list[tuple[float, float]]]:
        """Where segments of a label and a status lie: (start, end) (s) by clip."""
        wanted = select(SegmentRow.video_id, SegmentRow.start, SegmentRow.end).where(SegmentRow.gone.is_(None))
        for column, value in ((SegmentRow.label, label), (SegmentRow.status, status)):
            wanted = wanted.where(column == value) if value else wanted
        found: dict[str, list[tuple[float, float]]] = {}
        with self.read() as session:
            for video_id, start, end in session.execute(wanted):
                found.setdefault(video_id, []).append((start, end))
        return found

    def decided(self) -> tuple[float, list[tuple[float, str]]]:
        """Hours of the analysed clips of which every segment was decided, and (peak, status) of their segments."""
        with self.read() as session:
            waiting = select(SegmentRow.video_id).where(SegmentRow.status == "open", SegmentRow.gone.is_(None))
            whole = select(Video.id, Video.duration).where(Video.duration.is_not(None), Video.id.not_in(waiting))
            clips = {video_id: duration for video_id, duration in session.execute(whole)}
            rows = session.execute(
                select(SegmentRow.video_id, SegmentRow.peak, SegmentRow.status).where(SegmentRow.gone.is_(None))
            )
            found = [(peak, status) for video_id, peak, status in rows if video_id in clips]
        return sum(filter(None, clips.values())) / 3600, found

    def verdicts(self) -> list[tuple[SegmentRow, Video, VerdictRow, list[str]]]:
        """Every decided segment of a clip that is here, with the verdict that stands and the notes on it."""
        found = []
        with self.read() as session:
            rows = select(SegmentRow).join(Video).where(SegmentRow.status != "open", Video.removed.is_(None))
            for row in session.scalars(rows.order_by(SegmentRow.video_id, SegmentRow.start)):
                standing = select(VerdictRow).where(VerdictRow.segment_id == row.id, VerdictRow.undone.is_(None))
                verdict = session.scalars(standing.order_by(VerdictRow.created.desc()).limit(1)).one()
                notes = select(NoteRow.text).where(NoteRow.segment_id == row.id).order_by(NoteRow.created)
                found.append((row, row.video, verdict, list(session.scalars(notes))))
        return found

    def facets(self) -> dict[str, list[str]]:
        """What segments can be filtered by: labels and cameras there are."""
        live = (Video.removed.is_(None),)
        with self.read() as session:
            labels = select(SegmentRow.label).join(Video).where(*live, SegmentRow.gone.is_(None)).distinct()
            cameras = select(Video.camera).where(*live).distinct()
            return {
                "labels": sorted(filter(None, session.scalars(labels))),
                "cameras": sorted(filter(None, session.scalars(cameras))),
            }

    def _segment(self, session: Session, segment_id: str) -> SegmentRow:
        row = session.get(SegmentRow, segment_id)
        if row is None:
            raise InputError("segment: no such id")
        return row

    # what people say

    def decide(self, user: User, segment_id: str, verdict: str, reason: str = "") -> VerdictRow:
        """Confirm or dismiss a segment. Raises InputError."""
        if verdict not in VERDICTS:
            raise InputError(f"verdict {verdict!r}: choose one of {', '.join(VERDICTS)}")
        row = VerdictRow(segment_id=segment_id, user_id=user.id, verdict=verdict, reason=_clean(reason)[:2000])
        with self.write() as session:
            segment = self._segment(session, segment_id)
            segment.status = verdict
            session.add(row)
            session.flush()
            audit.append(session, user.name, verdict, segment_id, reason=row.reason)
        return row

    def undo(self, user: User) -> str | None:
        """Take back a user's newest verdict that stands; the segment's id, None where there is none."""
        with self.write() as session:
            own = select(VerdictRow).where(VerdictRow.user_id == user.id, VerdictRow.undone.is_(None))
            last = session.scalars(own.order_by(VerdictRow.created.desc()).limit(1)).first()
            if last is None:
                return None
            last.undone = time.time()
            session.flush()
            standing = select(VerdictRow).where(VerdictRow.segment_id == last.segment_id, VerdictRow.undone.is_(None))
            before = session.scalars(standing.order_by(VerdictRow.created.desc()).limit(1)).first()
            self._segment(session, last.segment_id).status = before.verdict if before else "open"
            audit.append(session, user.name, "undone", last.segment_id, verdict=last.verdict)
            return last.segment_id

    def note(self, user: User, segment_id: str, words: str) -> NoteRow:
        """Write on a segment. Raises InputError for nothing, or too much."""
        if not _clean(words).strip() or len(words) > 10_000:
            raise InputError("note: expected 1 to 10,000 letters")
        row = NoteRow(segment_id=segment_id, user_id=user.id, text=_clean(words))
        with self.write() as session:
            self._segment(session, segment_id)
            session.add(row)
            audit.append(session, user.name, "noted", segment_id)
        return row

    def tag(self, user: User, segment_id: str, tag: str, *, on: bool = True) -> None:
        """Hang a word on a segment, or take it off. Raises InputError."""
        word = _clean(tag).strip()
        if not word or len(word) > 60 or not word.isprintable():
            raise InputError("tag: expected 1 to 60 printable letters")
        with self.write() as session:
            self._segment(session, segment_id)
            found = session.scalars(select(TagRow).where(TagRow.segment_id == segment_id, TagRow.tag == word)).first()
            if on and found is None:
                session.add(TagRow(segment_id=segment_id, user_id=user.id, tag=word))
            elif not on and found is not None:
                session.delete(found)
            else:
                return
            audit.append(session, user.name, "tagged" if on else "untagged", segment_id, tag=word)

    def about(self, segment_id: str) -> tuple[list[VerdictRow], list[NoteRow], list[str]]:
        """Verdicts (newest first, those undone too), notes (oldest first) and tags of a segment."""
        with self.read() as session:
            verdicts = list(
                session.scalars(
                    select(VerdictRow).where(VerdictRow.segment_id == segment_id).order_by(VerdictRow.created.desc())
                )
            )
            notes = list(
                session.scalars(select(NoteRow).where(NoteRow.segment_id == segment_id).order_by(NoteRow.created))
            )
            tags = list(session.scalars(select(TagRow.tag).where(TagRow.segment_id == segment_id).order_by(TagRow.tag)))
            for who in (*(v.user for v in verdicts), *(n.user for n in notes)):
                _ = who.name
        return verdicts, notes, tags

    def exported(
        self, user: User, segment_ids: Sequence[str], manifest: dict[str, str], export_id: str = ""
    ) -> ExportRow:
        """Remember that a case was handed out. manifest: file name to SHA-256."""
        row = ExportRow(id=export_id or new_id(), user_id=user.id, segments=list(segment_ids), manifest=manifest)
        with self.write() as session:
            for segment_id in segment_ids:
                self._segment(session, segment_id).exported = time.time()
            session.add(row)
            session.flush()
            audit.append(session, user.name, "exported", row.id, segments=list(segment_ids))
        return row

    def exports(self) -> list[ExportRow]:
        """Every case, newest first, with who made it."""
        with self.read() as session:
            rows = list(session.scalars(select(ExportRow).order_by(ExportRow.created.desc())))
            for row in rows:
                _ = row.user.name
            return rows

    def case(self, export_id: str) -> Path:
        """Where a case lies. Raises InputError for what is no id."""
        return self.folder / "exports" / f"{self.clip(export_id).name}.zip"

    def deciders(self, segment_ids: Sequence[str]) -> dict[str, VerdictRow]:
        """The newest verdict that stands of each segment, with who gave it."""
        with self.read() as session:
            standing = select(VerdictRow).where(VerdictRow.segment_id.in_(segment_ids), VerdictRow.undone.is_(None))
            found = {v.segment_id: v for v in session.scalars(standing.order_by(VerdictRow.created))}
            for row in found.values():
                _ = row.user.name
            return found

    def audit_rows(self, *, first: int = 0, count: int = 100) -> list[AuditRow]:
        """A page of the log, newest first."""
        with self.read() as session:
            return list(session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).offset(first).limit(count)))


def segment_of(row: SegmentRow) -> Segment:
    """A row as the value that the line knows."""
    return Segment(row.start, row.end, row.peak, row.peak_time, row.label)


def told_of(explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON takes it; its segment is the row that holds it."""
    facts = {k: v for k, v in vars(explanation).items() if k != "segment"}
    lists = {k: list(facts[k]) for k in ("times", "notes")}
    return {**facts, **lists, "fields": dict(explanation.fields)}


def _clean(words: str) -> str:
    """Text that every database takes: no NUL, no half of a letter."""
    return words.replace("\x00", "").encode("utf-8", "replace").decode()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _open(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: see below
        for line in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {line}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


_NOBODY = PasswordHasher().hash("nobody has this password")
