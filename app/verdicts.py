"""What reviewers decided, as the fine-tuning reads it: few-shot clips for `vlad adapt`, rows for `vlad instruct`, examples for `explain`.

In: a library. Out: a folder with normal/ and anomalous/ (a clip a decided segment; what people marked is there too), verdicts.jsonl, and examples/, the confirmed
descriptions that the setting `examples` shows to a model beside like moments. Or whole clips and one frame of each confirmed segment, for `vlad finetune`.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.errors import InputError, OutputError, VladError
from vlad.explainers.examples import Bank, save_bank
from vlad.library import Library
from vlad.library.queue import widened
from vlad.library.tables import SegmentRow, Video, WrongRow
from vlad.video import cut

from . import view
from .search import look_of

KINDS = {"confirmed": "anomalous", "dismissed": "normal"}
CORRECTED = "corrected"  # the folder, and the verdict, of what nobody decided but whose explanation was called wrong


def export(library: Library, settings: Settings, out: Path) -> list[str]:
    """Write the folder; what was written and what could not be, a line each. Raises OutputError.

    A segment that a person marked is one that the model missed: its row says so, and it counts as confirmed unless it was dismissed. Words that
    were called wrong are in no row; the right ones, where somebody gave them, are a row of their own for `vlad instruct`.
    """
    lines: list[str] = []
    rows: list[dict[str, Any]] = []
    wrong: dict[str, list[WrongRow]] = {}
    for mark in library.wrongs():
        wrong.setdefault(mark.segment_id, []).append(mark)
    try:
        for kind in KINDS.values():
            (out / kind).mkdir(parents=True, exist_ok=True)
        for row, video, verdict, notes in library.verdicts():
            path = _clip(library, settings, out / _kind(row), row, video, lines)
            if path is not None:
                note = " ".join(filter(None, [verdict.reason if verdict else "", *notes]))
                rows.append(_row(row, str(path.relative_to(out)), note, row.id in wrong))
        for row in library.segments_of(list(wrong)).values():
            right = next((mark.text for mark in wrong[row.id] if mark.text), "")  # the newest
            if right and row.video.removed is None:
                path = _clip(library, settings, out / _kind(row, CORRECTED), row, row.video, lines)
                if path is not None:
                    rows.append({**_place(row, str(path.relative_to(out))), "verdict": CORRECTED, "right": right})
        bank = confirmed(library, lines)
        if bank is not None:
            save_bank(bank, out / "examples")
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / "verdicts.jsonl").write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from None
    library.log("command line", "verdicts exported", rows=len(rows))  # clips leave the library
    return [_summary(rows), *lines, *_next(out, rows, bank is not None)]


def export_clicks(library: Library, out: Path) -> list[str]:
    """Write videos.csv (path, label, name) and clicks.csv (video-id, glance: a frame in each confirmed segment); what to run on them, a line each.

    A confirmation is a click on the segment's highest score, a mark of a person's own one on its middle. A clip is anomalous with any of these, normal where
    all that was flagged was dismissed; one in which something is still open is neither, and stays out. Raises OutputError; InputError where nothing is decided.
    """
    decided: dict[str, list[SegmentRow]] = {}
    for row, video, _, _ in library.verdicts():
        decided.setdefault(video.id, []).append(row)
    videos, clicks, left = [], [], 0
    waiting = library.undecided(list(decided))
    for video_id, rows in decided.items():
        seen, video = [row for row in rows if row.status != "dismissed"], rows[0].video
        fps = (video.facts or {}).get("fps")
        if not fps or (video_id in waiting and not seen):
            left += 1
            continue
        named = Counter(filter(None, map(view.named, seen)))
        label = named.most_common(1)[0][0] if named else "anomaly" if seen else "normal"
        videos.append((str(library.shown(video_id).resolve()), label, video.name))
        clicks += [(video_id, round(_click(row) * fps)) for row in seen]
    if not videos:
        raise InputError("no clip here is decided: confirm or dismiss what was flagged first")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, header, table in (
            ("videos", ("path", "label", "name"), videos),
            ("clicks", ("video-id", "glance"), clicks),
        ):
            with open(out / f"{name}.csv", "w", newline="", encoding="utf-8", errors="replace") as file:
                csv.writer(file).writerows([header, *table])
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from None
    library.log("command line", "clicks exported", rows=len(clicks))
    calm = sum(label == "normal" for _, label, _ in videos)
    return [
        f"{len(clicks)} clicks in {len(videos) - calm} anomalous clips; {calm} normal ones" + (f"; {left} left out, in which something is open" if left else ""),
        f"vlad features {out}/videos.csv -o {out}/features",
        f"vlad finetune custom data.features={out}/videos.csv data.root={out}/features data.clicks={out}/clicks.csv",
    ]  # fmt: skip


def _click(row: SegmentRow) -> float:
    """The moment (s) in a segment that somebody, confirming it, pointed at."""
    return (row.start + row.end) / 2 if row.origin == "person" else min(max(row.peak_time, row.start), row.end)


def _kind(row: SegmentRow, undecided: str = "anomalous") -> str:
    """The folder of a segment: what is open and yet here was marked by a person, or its explanation corrected."""
    return KINDS.get(row.status, "anomalous" if row.origin == "person" else undecided)


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    count = Counter(row["verdict"] for row in rows)
    missed = sum(bool(row.get("missed")) for row in rows)
    return (
        f"{count['confirmed']} confirmed, {count['dismissed']} dismissed"
        + (f", {missed} of them missed by the model" if missed else "")
        + (f"; {count[CORRECTED]} explanations corrected" if count[CORRECTED] else "")
    )


def _next(out: Path, rows: Sequence[dict[str, Any]], examples: bool) -> list[str]:
    """What to run on it."""
    told = [f"vlad instruct {out}/verdicts.jsonl --media {out} -o rows.jsonl"]
    given = [f"--{kind} {out}/{kind}" for said, kind in KINDS.items() if any(row["verdict"] == said for row in rows)]
    if given:
        told.append(f"vlad adapt nano {' '.join(given)} -o adapted")
    if examples:
        told.append(f"vlad analyze CLIP --set examples={out}/examples")
    return told


def _clip(
    library: Library, settings: Settings, folder: Path, row: SegmentRow, video: Video, lines: list[str]
) -> Path | None:
    """A segment's pictures as a clip; None, and a line why, where they cannot be read."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{row.id}.mp4"
    try:
        path.write_bytes(
            cut(library.shown(video.id), row.start, row.end, settings)
        )  # anew: who is covered may be another
    except VladError as error:
        path.unlink(missing_ok=True)  # of an export before
        lines.append(f"{video.name}, {row.start:.1f} s: left out ({error})")
        return None
    return path


def _place(row: SegmentRow, name: str) -> dict[str, Any]:
    return {
        "video": name,
        "start": 0.0,
        "end": row.end - row.start,
        "label": view.named(row),
    }  # no doubted class teaches


def _row(row: SegmentRow, name: str, note: str, wrong: bool) -> dict[str, Any]:
    """A decided or marked segment. wrong: its explanation was called so, and teaches nobody."""
    said = {} if wrong else row.explanation or {}
    fields, adopted = said.get("fields", {}), (row.adopted or {}).get("text", "")
    verdict = "dismissed" if row.status == "dismissed" else "confirmed"
    missed = row.origin == "person" or bool(widened(row))
    return {
        **_place(row, name), "verdict": verdict, "note": note, "text": adopted or said.get("text", ""),
        **{k: fields.get(k, "") for k in ("what", "who", "where")}, **({"missed": True} if missed and verdict == "confirmed" else {}),
    }  # fmt: skip


def confirmed(library: Library, lines: list[str]) -> Bank | None:
    """What was said of the confirmed segments, a person's words before a model's, by how they look; None where nothing was. lines: gets what was left out.

    Of one encoder, the one that most of them were analysed with. What somebody called wrong is left out.
    """
    found: list[tuple[str, npt.NDArray[np.float32], str]] = []
    wrong = {mark.segment_id for mark in library.wrongs()}
    for row, video, _, notes in library.verdicts():
        models = "" if row.id in wrong else str((row.explanation or {}).get("text", ""))
        said = (row.adopted or {}).get("text", "") or " ".join(notes) or models
        if row.status == "confirmed" and said and library.embeddings(video.id).is_file():
            try:
                found.append((library.embedder(video.id), look_of(library, row), said))
            except InputError as error:
                lines.append(f"{video.name}, {row.start:.1f} s: no example ({error})")
    if not found:
        return None
    encoder = Counter(name for name, _, _ in found).most_common(1)[0][0]
    own = [(look, said) for name, look, said in found if name == encoder]
    return Bank(np.stack([look for look, _ in own]), tuple(said for _, said in own), encoder)
