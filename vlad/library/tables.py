"""The tables of the library. Times are seconds since 1970, UTC; ids are random; what people and models write is text and nothing else."""

from __future__ import annotations

import time
import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def new_id() -> str:
    """32 random hex digits."""
    return uuid.uuid4().hex


class Base(DeclarativeBase):
    """What all tables share."""


def _id() -> Mapped[str]:
    return mapped_column(String(32), primary_key=True, default=new_id)


def _now() -> Mapped[float]:
    return mapped_column(Float, default=time.time)


class User(Base):
    """Who decides. role: reviewer or admin. password: argon2."""

    __tablename__ = "users"
    id: Mapped[str] = _id()
    name: Mapped[str] = mapped_column(String(200), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    password: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[float] = _now()
    closed: Mapped[float | None]


class Key(Base):
    """A session of the page or a token of the API, as the hash of its secret. scopes: what a token may do; '' is a session."""

    __tablename__ = "keys"
    id: Mapped[str] = _id()
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200), default="")
    scopes: Mapped[str] = mapped_column(String(200), default="")
    created: Mapped[float] = _now()
    expires: Mapped[float]
    user: Mapped[User] = relationship()


class Upload(Base):
    """A file on its way, in pieces. size, received: bytes."""

    __tablename__ = "uploads"
    id: Mapped[str] = _id()
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(Text)
    camera: Mapped[str] = mapped_column(String(200), default="")
    size: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    created: Mapped[float] = _now()


class Video(Base):
    """A clip. name: as a person called it, for display only; the file is stored by id. facts: of its decoding, '' until analysed."""

    __tablename__ = "videos"
    id: Mapped[str] = _id()
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(Text)
    camera: Mapped[str] = mapped_column(String(200), default="")
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), default="")
    duration: Mapped[float | None]
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    recorded: Mapped[float | None]
    created: Mapped[float] = _now()
    removed: Mapped[float | None]
    jobs: Mapped[list[Job]] = relationship(back_populates="video")


class Job(Base):
    """One analysis to be made. status: queued, running, done, failed, cancelled. stage: decoding, scoring, explaining."""

    __tablename__ = "jobs"
    id: Mapped[str] = _id()
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"))
    status: Mapped[str] = mapped_column(String(20), default="queued", index=True)
    stage: Mapped[str] = mapped_column(String(20), default="")
    done: Mapped[float] = mapped_column(default=0.0)
    total: Mapped[float | None]
    error: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str] = mapped_column(String(64), default="")
    settings: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created: Mapped[float] = _now()
    started: Mapped[float | None]
    heartbeat: Mapped[float | None]
    ended: Mapped[float | None]
    video: Mapped[Video] = relationship(back_populates="jobs")


class AnalysisRow(Base):
    """The newest analysis of a video. scores float32 [T], edges float64 [T + 1], classes float32 [T, C], little endian."""

    __tablename__ = "analyses"
    id: Mapped[str] = _id()
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), unique=True)
    scores: Mapped[bytes] = mapped_column(LargeBinary)
    edges: Mapped[bytes] = mapped_column(LargeBinary)
    classes: Mapped[bytes | None] = mapped_column(LargeBinary)
    labels: Mapped[list[str]] = mapped_column(JSON)
    made_by: Mapped[dict[str, Any]] = mapped_column(JSON)
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    embedder: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[float] = _now()


class SegmentRow(Base):
    """A flagged span. status: open, confirmed or dismissed, as the newest verdict that was not undone has it."""

    __tablename__ = "segments"
    id: Mapped[str] = _id()
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), index=True)
    start: Mapped[float]
    end: Mapped[float]
    peak: Mapped[float] = mapped_column(index=True)
    peak_time: Mapped[float]
    label: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[str] = mapped_column(String(20), default="open", index=True)
    explanation: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    exported: Mapped[float | None]
    gone: Mapped[float | None]  # a newer analysis no longer has it, but somebody decided on it
    video: Mapped[Video] = relationship()


class VerdictRow(Base):
    """What a person decided, and why. undone: when it was taken back."""

    __tablename__ = "verdicts"
    id: Mapped[str] = _id()
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    verdict: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[float] = _now()
    undone: Mapped[float | None]
    user: Mapped[User] = relationship()


class NoteRow(Base):
    """What a person wrote on a segment."""

    __tablename__ = "notes"
    id: Mapped[str] = _id()
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[float] = _now()
    user: Mapped[User] = relationship()


class TagRow(Base):
    """A word that people hang on a segment."""

    __tablename__ = "tags"
    __table_args__ = (UniqueConstraint("segment_id", "tag"),)
    id: Mapped[str] = _id()
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    tag: Mapped[str] = mapped_column(String(60))
    created: Mapped[float] = _now()


class ExportRow(Base):
    """A case that was handed out. manifest: file name to SHA-256."""

    __tablename__ = "exports"
    id: Mapped[str] = _id()
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    segments: Mapped[list[str]] = mapped_column(JSON)
    manifest: Mapped[dict[str, str]] = mapped_column(JSON)
    created: Mapped[float] = _now()
    user: Mapped[User] = relationship()


class Option(Base):
    """One setting of the library, which admins change while it runs: the threshold of new analyses, days of retention."""

    __tablename__ = "options"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[float | None]


class AuditRow(Base):
    """Who did what, in order. digest: SHA-256 over this row and the digest before it."""

    __tablename__ = "audit"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    user: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(String(40))
    target: Mapped[str] = mapped_column(String(80))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    digest: Mapped[str] = mapped_column(String(64))


Index("jobs_in_order", Job.status, Job.created)
Index("segments_by_peak", SegmentRow.status, SegmentRow.peak)
