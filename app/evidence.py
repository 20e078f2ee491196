"""Segments as a case to hand out: one zip with clips, a report, tables, and the SHA-256 of each file.

In: ids of segments. Out: a zip in the library's folder `exports`. The clips are cut and encoded anew from decoded pictures, so nothing
that hides in an upload gets out; originals come along where somebody asks. Every word of people and models is drawn as text.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlad.clock import iso
from vlad.config import Settings
from vlad.errors import InputError, LimitError, OutputError, VladError
from vlad.library import Library
from vlad.library.clips import FREE
from vlad.library.findings import scorers_label
from vlad.library.tables import ExportRow, SegmentRow, User, Video, new_id
from vlad.report import cell
from vlad.video import cut, frames_at

from . import view

MOST = 200  # segments of one case
SHOWN = 240  # pixels of the short side of a frame in the report
COLUMNS = (
    "number", "clip", "video", "camera", "start", "end", "starts_at", "ends_at", "peak", "label", "label_by", "status", "decided_by", "decided_at", "reason",
    "tags", "notes", "said", "said_by", "marked_by", "sha256_of_video",
)  # fmt: skip
MODELS = ("explanation", "reading")  # a model's words, which a person has to stand by before they go out


@dataclass(frozen=True)
class Wanted:
    """What a case holds. margin: seconds before and after each segment. originals: the whole clips too. uncovered: people in it are not covered, see privacy.
    covered: who was promised to be, when it was ordered."""

    segments: Sequence[str]
    title: str = ""
    margin: float = 2.0
    undecided: bool = False
    originals: bool = False
    uncovered: bool = False
    covered: str = ""

    def file(self, library: Library, video_id: str, what: str) -> Path:
        """Of a clip, that pictures are taken from. what: who is covered in the whole case. Raises ConflictError as `Library.shown`."""
        return library.clip(video_id) if self.uncovered else library.shown(video_id, what)


def rows_of(library: Library, wanted: Wanted) -> list[tuple[SegmentRow, Video]]:
    """The segments with their clips. Raises InputError for none, too many, removed clips, and for those nobody confirmed unless asked."""
    ids = list(dict.fromkeys(wanted.segments))
    if not 0 < len(ids) <= MOST:
        raise InputError(f"segments: expected 1 to {MOST}")
    found = []
    with library.read() as session:
        for segment_id in ids:
            row = session.get(SegmentRow, segment_id)
            if row is None:
                raise InputError("segment: no such id")
            if row.video.removed is not None:
                raise InputError(f"{row.video.name}: was removed; its segments can't be exported")
            found.append((row, row.video))
    open_ones = sum(row.status != "confirmed" for row, _ in found)
    if open_ones and not wanted.undecided:
        raise InputError(f"{open_ones} of {len(found)} segments are not confirmed; confirm them, or ask for all")
    return found


def make_case(
    library: Library,
    settings: Settings,
    user: User,
    wanted: Wanted,
    tell: Callable[[int, int], None],
    export_id: str = "",
) -> ExportRow:
    """A case in the library's folder; tell(done, total) of its segments. export_id: of the order. Raises VladError; nothing half-made stays."""
    rows, export_id = rows_of(library, wanted), export_id or new_id()
    path = library.case(export_id)
    part = path.with_suffix(f".{new_id()[:8]}.part")  # of two servers that make it each has its own
    coming = sum({v.id: v.size for _, v in rows}.values()) if wanted.originals else 0
    if shutil.disk_usage(library.folder).free - coming < FREE:
        raise LimitError(f"the disk has less than {FREE >> 20} MiB to spare; remove clips, or export fewer")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as case:
            manifest = _fill(case, library, settings, user, rows, wanted, tell)
            lines = "".join(f"{digest}  {name}\n" for name, digest in manifest.items())
            case.writestr("MANIFEST.sha256", lines)
        os.replace(part, path)
        library.put_case(export_id)
    except OSError as error:
        raise OutputError(f"the case cannot be written, or a clip of it not read ({error.strerror})") from None
    finally:
        part.unlink(missing_ok=True)
    return library.exported(user, [row.id for row, _ in rows], manifest, export_id, wanted.title)


def _fill(
    case: zipfile.ZipFile, library: Library, settings: Settings, user: User, rows: Sequence[tuple[SegmentRow, Video]], wanted: Wanted,
    tell: Callable[[int, int], None],
) -> dict[str, str]:  # fmt: skip
    manifest: dict[str, str] = {}

    def put(name: str, data: bytes) -> None:
        case.writestr(name, data)
        manifest[name] = hashlib.sha256(data).hexdigest()

    told, pictures = [], []
    what = wanted.covered or library.privacy().what
    for number, (row, video) in enumerate(rows, 1):
        tell(number - 1, len(rows))
        name, note = f"clips/{_name(number, row)}.mp4", ""
        path = wanted.file(library, video.id, what)
        start, end = max(0.0, row.start - wanted.margin), min(video.duration or row.end, row.end + wanted.margin)
        try:
            put(name, cut(path, start, end, settings))
        except VladError as error:
            name, note = "", library.by_name(str(error))
        told.append(
            {
                **_facts(library, row, video),
                "number": number,
                "clip": name,
                "clip_start": start,
                "clip_end": end,
                "clip_note": note,
            }
        )
        pictures.append(_pictures(path, row, settings))
    if wanted.originals:
        for video in {v.id: v for _, v in rows}.values():
            name = f"originals/{video.id}"
            case.write(library.clip(video.id), name)
            with case.open(name) as written:  # what the zip holds, not what was once analysed
                manifest[name] = hashlib.file_digest(written, "sha256").hexdigest()  # type: ignore[arg-type]
            if manifest[name] != video.sha256:
                raise InputError(f"{video.name}: its file is not the one that was analysed; it is no evidence")
    covered = "nobody" if what == "none" or wanted.uncovered else what
    facts = {
        "title": wanted.title, "made": iso(time.time()), "by": user.name, "segments": told,
        "covered": covered,
        "note": f"Clips were cut {'from the originals' if covered == 'nobody' else f'after {covered} that were found had been covered'} and encoded anew, without sound. "
                "Scores are a model's; verdicts are people's. A model's sentence stands here only where a person adopted or edited it, and says so.",
    }  # fmt: skip
    put("case.json", json.dumps(facts, ensure_ascii=False, indent=1).encode("utf-8", "replace"))
    put("segments.csv", _table(told).encode("utf-8", "replace"))
    curves = [library.track(video.id) for _, video in rows]
    from .casebook import draw

    put("report.pdf", draw(facts, pictures, curves))
    tell(len(rows), len(rows))
    return manifest


def _name(number: int, row: SegmentRow) -> str:
    """Of a segment's clip: 001 riot 0m00."""
    minutes, seconds = divmod(int(row.start), 60)
    when = f"{minutes // 60}h{minutes % 60:02d}m{seconds:02d}" if minutes >= 60 else f"{minutes}m{seconds:02d}"
    return " ".join(filter(None, (f"{number:03d}", file_part(view.named(row), 40), when)))


def file_part(words: str, most: int = 80) -> str:
    """Words as a part of a file name on any system: letters, digits, spaces, - and _."""
    kept = "".join(c if c.isalnum() or c in "-_" else " " for c in words)
    return " ".join(kept.split())[:most].strip()


def _facts(library: Library, row: SegmentRow, video: Video) -> dict[str, Any]:
    verdicts, notes, tags = library.about(row.id)
    decided = library.deciders([row.id]).get(row.id)
    found = {k: v for k, v in view.segment(row, decided).items() if k not in MODELS}
    numbers = {k: round(found[k], 3) for k in ("start", "end", "peak", "peak_time")}
    adopted, history, label = row.adopted or {}, library.span_history(row.id), view.named(row)
    # no class of the scorer that is not sure goes out, as history neither, unless a person agreed with it
    doubted = "" if view.scorers(row) or label == scorers_label(row) else scorers_label(row)

    def shown(span: dict[str, Any]) -> dict[str, Any]:
        return {**span, "label": "" if span["label"] == doubted and not span.get("label_by") else span["label"]}

    return {
        **found, **numbers, "decided_at": iso(decided.created, video.zone) if decided else "",
        "verdicts": [view.verdict(v) for v in verdicts], "notes": [view.note(n) for n in notes], "tags": tags,
        "said": adopted.get("text", ""), "said_by": said_by(row), "label": label, "label_by": (row.label_by or "the scorer") if label else "",
        "marked_by": row.author, "spans": [shown(view.span(s)) for s in history], "span": shown(found["span"]) if found["span"] else None,
        "sha256_of_video": video.sha256, "video_facts": {**(video.facts or {}), "path": ""}, "unseen": round(view.unseen(video), 4),
        "recorded": view.clock(video, 0.0) or "", "recorded_by": video.recorded_by if view.clock(video, 0.0) else "",
    }  # fmt: skip


def said_by(row: SegmentRow) -> str:
    """Whose sentence goes out: 'written by ann' where the model had none that could be shown, else adopted or edited by; '' for none."""
    adopted = row.adopted
    if not adopted:
        return ""
    models = view.read(row.explanation, row)
    how = "adopted" if not adopted.get("edited") else "edited" if models and models["sure"] else "written"
    return f"{how} by {adopted['by']}"


def _pictures(path: Path, row: SegmentRow, settings: Settings) -> list[tuple[float, npt.NDArray[np.uint8]]]:
    times = sorted({row.peak_time, *(row.explanation or {}).get("times", ())})[:6]
    try:
        return list(zip(times, frames_at(path, times, settings, size=SHOWN), strict=True))
    except VladError:
        return []


def _table(told: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(COLUMNS)
    for fact in told:
        given = {
            **fact, "video": fact["name"], "tags": " ".join(fact["tags"]), "notes": " | ".join(n["text"] for n in fact["notes"]),
        }  # fmt: skip
        rows.writerow([cell(given.get(c) if given.get(c) is not None else "") for c in COLUMNS])
    return out.getvalue()
