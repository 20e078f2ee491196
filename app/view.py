"""Rows of the library as things to look at: plain dicts that JSON takes. Knows no server and no page."""

from __future__ import annotations

import time
from typing import Any

from vlad.library.store import told_of
from vlad.library.tables import AuditRow, ExportRow, Job, NoteRow, SegmentRow, User, VerdictRow, Video
from vlad.types import Explanation


def user(row: User) -> dict[str, Any]:
    """Without the password."""
    return {"id": row.id, "name": row.name, "role": row.role}


def job(row: Job) -> dict[str, Any]:
    """With the share that is done and the seconds left, None where nobody can tell."""
    share = min(1.0, row.done / row.total) if row.total else None
    spent = time.time() - row.started if row.started and row.status == "running" else None
    left = spent * (1 - share) / share if spent is not None and share and row.stage == "decoding" else None
    return {
        "id": row.id, "video": row.video_id, "status": row.status, "stage": row.stage, "share": share, "seconds_left": left,
        "error": row.error, "attempts": row.attempts, "created": row.created, "ended": row.ended,
    }  # fmt: skip


def video(row: Video, latest: Job | None) -> dict[str, Any]:
    """A clip with its newest job."""
    facts = row.facts or {}
    return {
        "id": row.id, "name": row.name, "camera": row.camera, "size": row.size, "duration": row.duration, "created": row.created,
        "recorded": row.recorded, "sha256": row.sha256, "width": facts.get("width"), "height": facts.get("height"), "fps": facts.get("fps"), "gaps": facts.get("gaps", []),
        "job": job(latest) if latest else None,
    }  # fmt: skip


def segment(row: SegmentRow, decided: VerdictRow | None = None) -> dict[str, Any]:
    """A flagged span with what was said of it. decided: its newest verdict that stands."""
    return {
        "id": row.id, "video": row.video_id, "name": row.video.name, "camera": row.video.camera, "start": row.start, "end": row.end,
        "peak": row.peak, "peak_time": row.peak_time, "label": row.label, "status": row.status, "explanation": row.explanation,
        "exported": row.exported, "decided_by": decided.user.name if decided else "", "decided_at": decided.created if decided else None,
        "reason": decided.reason if decided else "", "gone": row.gone is not None,
    }  # fmt: skip


def explanation(said: Explanation) -> dict[str, Any]:
    """What a model said, without its segment."""
    return told_of(said)


def verdict(row: VerdictRow) -> dict[str, Any]:
    """Who decided what."""
    return {"verdict": row.verdict, "reason": row.reason, "by": row.user.name, "at": row.created, "undone": row.undone}


def note(row: NoteRow) -> dict[str, Any]:
    """Who wrote what."""
    return {"text": row.text, "by": row.user.name, "at": row.created}


def audit(row: AuditRow) -> dict[str, Any]:
    """A row of the log."""
    return {
        "number": row.number,
        "at": row.at,
        "user": row.user,
        "action": row.action,
        "target": row.target,
        "detail": row.detail,
        "digest": row.digest,
    }


def export(row: ExportRow, size: int) -> dict[str, Any]:
    """A case that was handed out. size: bytes, 0 once its file is gone."""
    return {
        "id": row.id,
        "at": row.created,
        "by": row.user.name,
        "segments": row.segments,
        "manifest": row.manifest,
        "size": size,
    }
