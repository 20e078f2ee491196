"""Rows of the library as things to look at: plain dicts that JSON takes. Knows no server and no page."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vlad.clock import iso, known
from vlad.library.covering import Covered
from vlad.library.findings import scorers_label, told_of
from vlad.library.listing import Found
from vlad.library.logbook import Named
from vlad.library.tables import (
    ExplanationRow,
    ExportRow,
    Job,
    Key,
    NoteRow,
    SegmentRow,
    SpanRow,
    User,
    VerdictRow,
    Video,
    WrongRow,
)
from vlad.types import Explanation
from vlad.wording import has_verdict, reading

ID = re.compile(r"[0-9a-f]{32}")


def user(row: User) -> dict[str, Any]:
    """Without the password."""
    return {"id": row.id, "name": row.name, "role": row.role, "originals": row.originals, "seeks": row.seeks}


def job(row: Job) -> dict[str, Any]:
    """With the share that is done and the seconds left, None where nobody can tell."""
    share = min(1.0, row.done / row.total) if row.total else None
    spent = time.time() - row.started if row.started and row.status == "running" else None
    left = spent * (1 - share) / share if spent is not None and share and row.stage == "decoding" else None
    return {
        "id": row.id, "video": row.video_id, "kind": row.kind, "status": row.status, "stage": row.stage, "share": share, "seconds_left": left,
        "done": row.done, "total": row.total, "error": row.error, "attempts": row.attempts, "created": row.created, "ended": row.ended,
    }  # fmt: skip


def video(
    row: Video,
    latest: Job | None,
    found: Found | None = None,
    warnings: Sequence[str] = (),
    covered: Covered | None = None,
) -> dict[str, Any]:
    """A clip with its newest job and what was found in it. unseen: the share that nobody could decode. covered: how far, null where nobody is."""
    facts = row.facts or {}
    gaps = facts.get("gaps", [])
    return {
        "id": row.id, "name": row.name, "camera": row.camera, "size": row.size, "duration": row.duration, "created": row.created,
        "recorded": row.recorded if known(row.recorded) else None, "recorded_by": row.recorded_by if known(row.recorded) else "", "zone": row.zone,
        "starts_at": clock(row, 0.0), "sha256": row.sha256, "width": facts.get("width"), "height": facts.get("height"),
        "fps": facts.get("fps"), "gaps": gaps, "unseen": unseen(row), "warnings": list(warnings),
        "found": asdict(found) if found else None, "job": job(latest) if latest else None, "covered": asdict(covered) if covered else None,
    }  # fmt: skip


def unseen(row: Video) -> float:
    """The share of a clip, 0 to 1, that could not be decoded."""
    lost = sum(end - start for start, end in (row.facts or {}).get("gaps", []))
    return min(1.0, lost / row.duration) if row.duration else 0.0


def clock(row: Video, seconds: float) -> str | None:
    """When something happened, ISO 8601 with the offset of the clip's zone; None where nobody knows when the clip was recorded."""
    return None if row.recorded is None or not known(row.recorded) else iso(row.recorded + seconds, row.zone)


def segment(row: SegmentRow, decided: VerdictRow | None = None) -> dict[str, Any]:
    """A flagged span with what was said of it. decided: its newest verdict that stands."""
    own = row.model_start is not None
    return {
        "id": row.id, "video": row.video_id, "name": row.video.name, "camera": row.video.camera, "start": row.start, "end": row.end,
        "peak": row.peak, "peak_time": row.peak_time, "label": row.label, "label_by": row.label_by, "status": row.status, "explanation": row.explanation,
        "reading": read(row.explanation, row), "adopted": row.adopted, "exported": row.exported,
        "decided_by": decided.user.name if decided else "", "decided_at": decided.created if decided else None,
        "reason": decided.reason if decided else "", "gone": row.gone is not None, "version": row.version, "origin": row.origin,
        "author": row.author, "assigned": row.assigned, "rules": row.rules,
        "span": {"start": row.model_start, "end": row.model_end, "label": row.model_label} if own else None,
        "starts_at": clock(row.video, row.start), "ends_at": clock(row.video, row.end),
    }  # fmt: skip


def named(row: SegmentRow) -> str:
    """The class of a segment that may be passed on: a person's, or the scorer's where nothing that was said speaks against it; '' else."""
    return row.label if row.label_by else scorers(row)


def scorers(row: SegmentRow) -> str:
    """The scorer's class of a segment, '' where what was said speaks against it."""
    said = read(row.explanation, row)
    return "" if said and not said["sure"] else scorers_label(row)


def read(said: dict[str, Any] | None, row: SegmentRow) -> dict[str, Any] | None:
    """What may be shown of an explanation, None where nothing was said."""
    return reading(said, scorers_label(row)).told() if said else None


def told(row: ExplanationRow, segment: SegmentRow) -> dict[str, Any]:
    """One thing that a model said, with what may be shown of it. verdict: '' where the template asks for none."""
    said = row.said
    return {
        "id": row.id, "at": row.created, "by": row.by, "prompt": said.get("prompt", ""), "model": said.get("model", ""),
        "verdict": said.get("verdict", "") if has_verdict(said) else "", "reading": read(said, segment), "raw": said.get("raw", ""),
        "times": said.get("times", []), "notes": said.get("notes", []),
    }  # fmt: skip


def span(row: SpanRow) -> dict[str, Any]:
    """A span and class that a segment had; by '' for the model's own, label_by '' for the scorer's class."""
    return {
        "start": row.start,
        "end": row.end,
        "label": row.label,
        "label_by": row.label_by,
        "by": row.by,
        "at": row.created,
    }


def wrong(row: WrongRow) -> dict[str, Any]:
    """Who called which explanation wrong, and what would be right."""
    return {"id": row.id, "text": row.text, "by": row.user.name, "at": row.created, "explanation": row.explanation}


def explanation(said: Explanation) -> dict[str, Any]:
    """What a model said, without its segment."""
    return told_of(said)


def verdict(row: VerdictRow) -> dict[str, Any]:
    """Who decided what."""
    return {
        "id": row.id, "verdict": row.verdict, "reason": row.reason, "by": row.user.name, "at": row.created, "undone": row.undone,
        "batch": row.batch,
    }  # fmt: skip


def note(row: NoteRow) -> dict[str, Any]:
    """Who wrote what."""
    return {"id": row.id, "text": row.text, "by": row.user.name, "at": row.created, "edited": row.edited}


def audit(found: Named) -> dict[str, Any]:
    """A row of the log, with what it is about."""
    row = found.row
    return {
        "number": row.number, "at": row.at, "user": row.user, "action": row.action, "target": row.target, "detail": _plain(found),
        "name": found.name, "video": found.video, "segment": found.segment, "start": found.start,
        "reason": str(row.detail.get("reason") or ""), "address": str(row.detail.get("address") or ""), "digest": row.digest,
    }  # fmt: skip


def _plain(found: Named) -> dict[str, Any]:
    """A row's detail for people: how many ids instead of which, and nothing that the row's other fields say."""
    row = found.row
    said = {row.action, row.target, found.name, found.video, found.segment} - {""}
    return {
        name: len(value) if isinstance(value, list) and all(map(_is_id, value)) else value
        for name, value in row.detail.items()
        if name not in ("reason", "address") and not (isinstance(value, str) and (value in said or _is_id(value)))
    }


def _is_id(value: object) -> bool:
    return isinstance(value, str) and ID.fullmatch(value) is not None


def key(row: Key) -> dict[str, Any]:
    """A token or session, without what it proves itself by."""
    return {
        "id": row.id, "name": row.name, "scopes": row.scopes.split(), "user": row.user.name, "created": row.created, "used": row.used,
        "expires": row.expires,
    }  # fmt: skip


def export(row: ExportRow, size: int) -> dict[str, Any]:
    """A case, and how far it is. size: bytes, 0 before it is made and once its file is gone."""
    return {
        "id": row.id, "title": row.title, "at": row.created, "by": row.user.name, "status": row.status, "done": row.done, "total": row.total,
        "error": row.error, "segments": row.segments, "manifest": row.manifest, "size": size,
    }  # fmt: skip
