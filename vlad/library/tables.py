"""The tables of the library. Times are seconds since 1970, UTC; ids are random; what people and models write is text and nothing else."""

from __future__ import annotations

import time
import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, false
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
    """Who decides. role: reviewer or admin. password: argon2. originals: may look at clips as they were recorded, where people are covered. seeks: may look for an outfit again."""

    __tablename__ = "users"
    id: Mapped[str] = _id()
    name: Mapped[str] = mapped_column(String(200), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    password: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[float] = _now()
    closed: Mapped[float | None]
    originals: Mapped[bool] = mapped_column(default=False, server_default=false())
    seeks: Mapped[bool] = mapped_column(default=False, server_default=false())


class Group(Base):
    """Cameras, '' for clips without one, and who may see their clips. members: ids of users. Without any group everybody sees all."""

    __tablename__ = "groups"
    id: Mapped[str] = _id()
    name: Mapped[str] = mapped_column(String(200), unique=True)
    cameras: Mapped[list[str]] = mapped_column(JSON, default=list)
    members: Mapped[list[str]] = mapped_column(JSON, default=list)


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
    used: Mapped[float | None]
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
    """A clip. name: as a person called it, for display only; the file is stored by id. facts: of its decoding, None until analysed.

    recorded: when its first frame was taken; recorded_by: typed, name or metadata, '' where nobody told. zone: of its clock, '' for this machine's.
    """

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
    recorded_by: Mapped[str] = mapped_column(String(10), default="", server_default="")
    zone: Mapped[str] = mapped_column(String(64), default="", server_default="")
    created: Mapped[float] = _now()
    removed: Mapped[float | None]
    jobs: Mapped[list[Job]] = relationship(back_populates="video")


class Job(Base):
    """Work on a clip. kind: analysis, rules (its camera's newest, on the tracks there are), cover (people in it),
    movement (the usual paths of its camera, of the clips that settings name), again (an outfit in the clips that settings
    name). status: queued, running, done, failed, cancelled. stage: decoding, scoring, explaining, checking, covering, learning, looking.

    attempts: how often it ended its worker. lost: how often its worker fell silent.
    """

    __tablename__ = "jobs"
    id: Mapped[str] = _id()
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"))
    kind: Mapped[str] = mapped_column(String(10), default="analysis", server_default="analysis")
    status: Mapped[str] = mapped_column(String(20), default="queued", index=True)
    stage: Mapped[str] = mapped_column(String(20), default="")
    done: Mapped[float] = mapped_column(default=0.0)
    total: Mapped[float | None]
    error: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    lost: Mapped[int] = mapped_column(default=0, server_default="0")
    worker: Mapped[str] = mapped_column(String(64), default="")
    settings: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created: Mapped[float] = _now()
    started: Mapped[float | None]
    heartbeat: Mapped[float | None]
    ended: Mapped[float | None]
    video: Mapped[Video] = relationship(back_populates="jobs")


class AnalysisRow(Base):
    """The newest analysis of a video. scores float32 [T], edges float64 [T + 1], classes float32 [T, C], little endian.

    tracks: people and things that were followed, JSON of the analysis's own form, by zlib; fetched only where it is asked for. rules: {version, held: [{rule, start,
    end, tracks}], elsewhere: [[state, start, end]]} of the camera's that were checked; scores are the scorer's own, untouched by them.
    """

    __tablename__ = "analyses"
    id: Mapped[str] = _id()
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), unique=True)
    scores: Mapped[bytes] = mapped_column(LargeBinary)
    edges: Mapped[bytes] = mapped_column(LargeBinary)
    classes: Mapped[bytes | None] = mapped_column(LargeBinary)
    labels: Mapped[list[str]] = mapped_column(JSON)
    made_by: Mapped[dict[str, Any]] = mapped_column(JSON)
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    tracks: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    rules: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    embedder: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[float] = _now()


class SegmentRow(Base):
    """A span that the model flagged, or a person marked. status: open, confirmed or dismissed, as the newest verdict that was not undone has it.

    version grows with every change of status, span, class, assignment and adopted sentence. origin: model or person; author: that person's name. start, end, label
    may be a person's; model_*: the model's own where a person changed one of them. label_by: whose class it is, '' for the scorer's. said: what is shown of the newest explanation, to be searched.
    rules: names of those that held in it.
    """

    __tablename__ = "segments"
    id: Mapped[str] = _id()
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), index=True)
    start: Mapped[float]
    end: Mapped[float]
    peak: Mapped[float]
    peak_time: Mapped[float]
    label: Mapped[str] = mapped_column(Text, default="")
    label_by: Mapped[str] = mapped_column(String(200), default="", server_default="")
    status: Mapped[str] = mapped_column(String(20), default="open")
    explanation: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    exported: Mapped[float | None]
    gone: Mapped[
        float | None
    ]  # a newer analysis no longer has it, but somebody decided on it; or its author took it back
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    origin: Mapped[str] = mapped_column(String(10), default="model", server_default="model")
    author: Mapped[str] = mapped_column(String(200), default="", server_default="")
    model_start: Mapped[float | None]
    model_end: Mapped[float | None]
    model_label: Mapped[str | None] = mapped_column(Text)
    assigned: Mapped[str] = mapped_column(String(200), default="", server_default="")
    adopted: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    said: Mapped[str] = mapped_column(Text, default="", server_default="")
    rules: Mapped[list[str]] = mapped_column(JSON, default=list, server_default="[]")
    video: Mapped[Video] = relationship()


class SpanRow(Base):
    """A span that a segment once had: the model's own first (by ''), then each that a person gave it. label_by: whose class it was, '' for the scorer's.
    version: the segment's, from then on.
    """

    __tablename__ = "spans"
    id: Mapped[str] = _id()
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id"), index=True)
    by: Mapped[str] = mapped_column(String(200), default="")
    start: Mapped[float]
    end: Mapped[float]
    label: Mapped[str] = mapped_column(Text)
    label_by: Mapped[str] = mapped_column(String(200), default="", server_default="")
    version: Mapped[int]
    created: Mapped[float] = _now()


class ExplanationRow(Base):
    """One thing that a model said of a segment; all are kept. by: who asked for it, '' for a worker. said: the Explanation as JSON."""

    __tablename__ = "explanations"
    id: Mapped[str] = _id()
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id"), index=True)
    by: Mapped[str] = mapped_column(String(200), default="")
    said: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[float] = _now()


class WrongRow(Base):
    """A person says that an explanation is wrong, and what would be right ('' where they don't). explanation: its id, '' once it is gone."""

    __tablename__ = "wrongs"
    id: Mapped[str] = _id()
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    explanation: Mapped[str] = mapped_column(String(32), default="")
    text: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[float] = _now()
    user: Mapped[User] = relationship()


class VerdictRow(Base):
    """What a person decided, and why. undone: when it was taken back. batch: shared by those given at once, '' for one alone.

    version: the segment's once it was given; undone_version: once it was taken back.
    """

    __tablename__ = "verdicts"
    id: Mapped[str] = _id()
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    verdict: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[float] = _now()
    undone: Mapped[float | None]
    batch: Mapped[str] = mapped_column(String(32), default="", server_default="", index=True)
    version: Mapped[int] = mapped_column(default=0, server_default="0")
    undone_version: Mapped[int | None]
    user: Mapped[User] = relationship()


class NoteRow(Base):
    """What a person wrote on a segment. edited: when its words were last changed."""

    __tablename__ = "notes"
    id: Mapped[str] = _id()
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[float] = _now()
    edited: Mapped[float | None]
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
    """A case, ordered and made in the background. status: queued, running, done or failed. done, total: segments. wanted: how it was ordered.

    manifest: file name to SHA-256, empty until it is done.
    """

    __tablename__ = "exports"
    id: Mapped[str] = _id()
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    segments: Mapped[list[str]] = mapped_column(JSON)
    manifest: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    title: Mapped[str] = mapped_column(Text, default="", server_default="")
    status: Mapped[str] = mapped_column(String(10), default="done", server_default="done")
    done: Mapped[int] = mapped_column(default=0, server_default="0")
    total: Mapped[int] = mapped_column(default=0, server_default="0")
    error: Mapped[str] = mapped_column(Text, default="", server_default="")
    wanted: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created: Mapped[float] = _now()
    user: Mapped[User] = relationship()


class Guess(Base):
    """Wrong passwords of late. key: SHA-256 of what they were tried at and from where, see guesses.py. at: of the last one."""

    __tablename__ = "guesses"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int]
    at: Mapped[float] = mapped_column(Float, index=True)


class Option(Base):
    """One setting of the library, which admins change while it runs: the threshold of new analyses, days of retention; in words: who is covered, and how."""

    __tablename__ = "options"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[float | None]
    words: Mapped[str | None] = mapped_column(String(40))


class RulesRow(Base):
    """A version of a camera's zones, lines and rules, in the words of `vlad.rules`; never changed. camera: '' for clips without one."""

    __tablename__ = "rules"
    __table_args__ = (UniqueConstraint("camera", "version"),)
    id: Mapped[str] = _id()
    camera: Mapped[str] = mapped_column(String(200))
    version: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(200))
    created: Mapped[float] = _now()


class CoverRow(Base):
    """What is covered in a clip. what, how: see `covering`. version: a number of the covered file's own. places: JSON rows of start, end (s), x, y, width, height
    (shares), by zlib; found by looking, without what people drew. doubtful: [{start, end, score, box}] that a person has to look at. stale: people drew since.
    """

    __tablename__ = "covers"
    id: Mapped[str] = _id()
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), unique=True)
    what: Mapped[str] = mapped_column(String(10))
    how: Mapped[str] = mapped_column(String(10))
    version: Mapped[int]
    places: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    doubtful: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    stale: Mapped[bool] = mapped_column(default=False)
    created: Mapped[float] = _now()


class CoverMark(Base):
    """A person's word on what is covered from start to end (s): box [x, y, width, height] (shares) is to be covered too, None: it is fine. undone: taken back."""

    __tablename__ = "cover_marks"
    id: Mapped[str] = _id()
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), index=True)
    start: Mapped[float]
    end: Mapped[float]
    box: Mapped[list[float] | None] = mapped_column(JSON(none_as_null=True))
    by: Mapped[str] = mapped_column(String(200))
    created: Mapped[float] = _now()
    undone: Mapped[float | None]


class CameraRow(Base):
    """A camera that is watched. name: what its clips call it. url, sub_url: without user, password and whatever else opens it, which `secret` holds (see `vault`); '' for none.

    settings: its alarm's rule (see `vlad.live.alarms`), hours and bytes that are recorded, and the like. muted_until: s since 1970. calibration: {enter, rate, now, ...}, see
    `adapting`. state: as whoever watches it last told, at `told`. closed: when it was removed; its alarms stay.
    """

    __tablename__ = "cameras"
    id: Mapped[str] = _id()
    name: Mapped[str] = mapped_column(String(200), unique=True)
    url: Mapped[str] = mapped_column(Text)
    sub_url: Mapped[str] = mapped_column(Text, default="")
    secret: Mapped[str] = mapped_column(Text, default="", deferred=True)
    on: Mapped[bool] = mapped_column(default=True)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    muted_until: Mapped[float] = mapped_column(Float, default=0.0)
    calibration: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    state: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    told: Mapped[float | None]
    created: Mapped[float] = _now()
    closed: Mapped[float | None]


class ScoreRow(Base):
    """Scores of a camera as they came, by the scorer of that name. start, end: s since 1970. scores float32 [T], edges float64 [2T] (start and end of each, s since 1970), little endian."""

    __tablename__ = "camera_scores"
    id: Mapped[str] = _id()
    camera: Mapped[str] = mapped_column(String(200))
    start: Mapped[float]
    end: Mapped[float]
    scorer: Mapped[str] = mapped_column(String(200), default="")
    scores: Mapped[bytes] = mapped_column(LargeBinary)
    edges: Mapped[bytes] = mapped_column(LargeBinary)


class AlarmRow(Base):
    """An alarm of a camera. key: when it began as it was raised (s since 1970), by which its events are told to be its; start, end: as far as it goes by now; ended: when it
    did, None while it goes on; ends: how often. state: open, acknowledged or escalated, by whom and when. verdict: confirmed, dismissed or ''. version grows with what people do.

    counted: events that it stands for; summary: those beyond the camera's limit. video_id: of the clip that was kept, '' before. threshold: that was in force; hours: looked
    at since the alarm before. latency: seconds {score, raised} after the frame. picture: a JPEG.
    """

    __tablename__ = "alarms"
    id: Mapped[str] = _id()
    camera: Mapped[str] = mapped_column(String(200))
    key: Mapped[float]
    start: Mapped[float]
    end: Mapped[float]
    peak: Mapped[float]
    label: Mapped[str] = mapped_column(Text, default="")
    zone: Mapped[str] = mapped_column(String(80), default="")
    ended: Mapped[float | None]
    ends: Mapped[int] = mapped_column(default=0)
    counted: Mapped[int] = mapped_column(default=1)
    summary: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(20), default="open")
    by: Mapped[str] = mapped_column(String(200), default="")
    at: Mapped[float | None]
    verdict: Mapped[str] = mapped_column(String(20), default="")
    version: Mapped[int] = mapped_column(default=1)
    video_id: Mapped[str] = mapped_column(String(32), default="", index=True)
    threshold: Mapped[float | None]
    hours: Mapped[float | None]
    latency: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    picture: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    created: Mapped[float] = _now()


class TargetRow(Base):
    """Where alarms are told. kind: webhook, mqtt, mail or push. secret: see `vault`. cameras: names, [] for all. settings: by kind, see `vlad.live.out`."""

    __tablename__ = "targets"
    id: Mapped[str] = _id()
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(200), unique=True)
    address: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(Text, default="", deferred=True)
    cameras: Mapped[list[str]] = mapped_column(JSON, default=list)
    on: Mapped[bool] = mapped_column(default=True)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created: Mapped[float] = _now()


class OutboxRow(Base):
    """A message to a target, written with what it tells of. key: of the alarm, what happened to it, and the target: there is never a second one.

    next: when it is tried again (s since 1970); claimed: until when somebody tries it. sent: when it was; failed: why it was given up; error: of the last try.
    """

    __tablename__ = "outbox"
    id: Mapped[str] = _id()
    key: Mapped[str] = mapped_column(String(120), unique=True)
    target_id: Mapped[str] = mapped_column(ForeignKey("targets.id"), index=True)
    alarm_id: Mapped[str] = mapped_column(String(32), default="", index=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(default=0)
    next: Mapped[float]
    claimed: Mapped[float] = mapped_column(Float, default=0.0)
    sent: Mapped[float | None]
    failed: Mapped[str] = mapped_column(Text, default="")
    error: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[float] = _now()
    target: Mapped[TargetRow] = relationship()


class SoughtRow(Base):
    """Somebody looked for an outfit or a vehicle's colour in a camera's day, from a clip. wanted: {kind, colours: {part: name}}, or {track} of that clip. hits: [{video, track, start, end,
    sure, kind, colours}], None until a worker found them. Forgotten after as many days as an option says.
    """

    __tablename__ = "sought"
    id: Mapped[str] = _id()
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"))
    job_id: Mapped[str] = mapped_column(String(32))
    wanted: Mapped[dict[str, Any]] = mapped_column(JSON)
    hits: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    created: Mapped[float] = _now()


class Change(Base):
    """What just changed, for pages that follow along: written with each change by whichever process made it, and forgotten after a while.

    kind: segment, video, job, note, export, camera or alarm. by: who, '' for a worker. n rises in the order in which changes were committed.
    """

    __tablename__ = "changes"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - a number is never given twice
    n: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    target: Mapped[str] = mapped_column(String(32))
    video: Mapped[str] = mapped_column(String(32), default="")
    by: Mapped[str] = mapped_column(String(200), default="")
    at: Mapped[float] = _now()


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


Index("audit_by_target", AuditRow.target)
Index("scores_of_camera", ScoreRow.camera, ScoreRow.start)
Index("alarms_in_order", AlarmRow.start, AlarmRow.id)
Index("alarms_of_camera", AlarmRow.camera, AlarmRow.key)
Index("outbox_due", OutboxRow.sent, OutboxRow.failed, OutboxRow.next)
Index("jobs_in_order", Job.status, Job.created)
Index("jobs_of_video", Job.video_id, Job.created)
# A page of the queue is read off these in order, and its counts without a look at the rows themselves.
Index("segments_queue", SegmentRow.gone, SegmentRow.status, SegmentRow.peak, SegmentRow.id, SegmentRow.video_id)
Index("segments_all", SegmentRow.gone, SegmentRow.peak, SegmentRow.id)
Index("segments_of_clip", SegmentRow.video_id, SegmentRow.gone, SegmentRow.start, SegmentRow.id, SegmentRow.status)
Index("verdicts_own", VerdictRow.user_id, VerdictRow.undone, VerdictRow.created)
