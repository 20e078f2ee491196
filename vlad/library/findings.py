"""What was found in a clip: scores, segments, and everything that a model said of them.

In: analyses and explanations, by clip and segment. Out: timelines, and segments whose spans and decisions by people outlive a newer analysis.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, undefer

from vlad.errors import ConflictError, MissingError
from vlad.segments import iou
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Track
from vlad.wording import reading

from . import audit
from .changes import tell
from .clips import known
from .covering import want
from .database import Database
from .tables import AnalysisRow, ExplanationRow, NoteRow, SegmentRow, SpanRow, TagRow, VerdictRow, Video, WrongRow

Floats = npt.NDArray[np.float32]
Ruled = dict[str, Any]  # see AnalysisRow
SAME = 0.5  # of two spans' union that they share to be one moment


class Findings:
    """Analyses of clips, and what is said of their segments."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def keep(
        self, video_id: str, analysis: Analysis, embeddings: Floats | None = None, embedder: str = "", rules: Ruled | None = None
    ) -> list[str]:  # fmt: skip
        """The analysis of a clip, in place of an older one; ids of its segments. Segments that somebody decided on stay.

        embeddings: unit vectors float32 [T, D] of its snippets, for search; embedder: of what encoder. rules: what of the camera's held, see AnalysisRow; the
        analysis' segments heed it, its scores do not.
        """
        t = analysis.track
        with self.database.write() as session:
            video = session.get(Video, video_id)
            if video is None or video.removed is not None:  # meanwhile
                raise MissingError("video: no such id")
            video.sha256, video.duration = analysis.video.sha256, analysis.video.duration
            video.facts = {**asdict(analysis.video), "path": "", "gaps": [list(g) for g in analysis.video.gaps]}
            row = session.scalars(select(AnalysisRow).where(AnalysisRow.video_id == video_id)).first()
            row = row or AnalysisRow(video_id=video_id)
            row.scores, row.edges = t.scores.astype("<f4").tobytes(), t.edges.astype("<f8").tobytes()
            row.classes = None if t.classes is None else t.classes.astype("<f4").tobytes()
            row.labels, row.made_by, row.created = list(t.labels), _made_by(analysis.made_by, rules), time.time()
            row.summary, row.embedder = asdict(analysis.summary) if analysis.summary else None, embedder
            row.tracks = zlib.compress(json.dumps([_plain(k) for k in analysis.tracks]).encode())
            row.rules = rules
            session.add(row)
            ids = _replace(session, video_id, analysis, rules)
            want(session, video_id)
            tell(session, "video", video_id, video=video_id)
        if embeddings is not None:
            name = f"embeddings/{known(video_id)}.npy"
            here = self.database.shelf.path(name)
            part = here.with_suffix(".part.npy")
            np.save(part, embeddings.astype(np.float16), allow_pickle=False)
            os.replace(part, here)
            self.database.shelf.put(name)
        return ids

    def checked(self, video_id: str, segments: Sequence[Segment], rules: Ruled | None, seen: float) -> bool:
        """Newer rules on an analysis that was there at `seen`: its scores stay, and segments that a person decided on or touched; False where a newer analysis came.

        segments: those that scores and rules give together. One of them that shares most of its span with one that stays is that one.
        """
        with self.database.write() as session:
            row = session.scalars(select(AnalysisRow).where(AnalysisRow.video_id == video_id)).first()
            if row is None or row.created != seen:
                return False
            row.rules, row.made_by = rules, _made_by(row.made_by, rules)
            track = track_in(session, video_id)
            here = select(SegmentRow).where(SegmentRow.video_id == video_id, SegmentRow.gone.is_(None))
            rows = list(session.scalars(here))
            touched = _touched(session, [r.id for r in rows])
            stay = [r for r in rows if _is_kept(r, touched) or r.model_start is not None or r.origin == "person"]
            same = {_models_span(r): r for r in rows if r not in stay}
            for r in stay:
                r.rules = names_in(rules, r.start, r.end)
            for s in segments:
                if any(iou((s.start, s.end), (r.start, r.end)) >= SAME for r in stay):
                    continue
                found = same.pop((round(s.start, 3), round(s.end, 3)), None) or SegmentRow(video_id=video_id)
                _refresh(found, s, track)
                found.rules = names_in(rules, s.start, s.end)
                session.add(found)
                session.flush()
                tell(session, "segment", found.id, video=video_id)
            for r in same.values():
                session.execute(delete(ExplanationRow).where(ExplanationRow.segment_id == r.id))
                session.delete(r)
            tell(session, "video", video_id, video=video_id)
            return True

    def analysis(self, video_id: str) -> AnalysisRow:
        """What is kept of a clip's analysis, its rules too. Raises ConflictError where there is none."""
        with self.database.read() as session:
            rows = select(AnalysisRow).where(AnalysisRow.video_id == video_id).options(undefer(AnalysisRow.rules))
            row = session.scalars(rows).first()
        if row is None:
            raise ConflictError("video: not analysed yet")
        return row

    def explain(self, segment_id: str, explanation: Explanation, user: str) -> None:
        """Other words for a segment; those before stay in its history."""
        with self.database.write() as session:
            _say(session, segment_of_id(session, segment_id), explanation, user)
            audit.append(session, user, "explained again", segment_id, prompt=explanation.prompt)

    def explained(self, segment_id: str, explanation: Explanation) -> None:
        """Words for a segment, by a worker; a segment that a newer analysis took away is let be."""
        with self.database.write() as session:
            row = session.get(SegmentRow, segment_id)
            if row is not None:
                _say(session, row, explanation, "")

    def explanations(self, segment_id: str) -> list[ExplanationRow]:
        """Everything that a model said of a segment, newest first."""
        with self.database.read() as session:
            said = select(ExplanationRow).where(ExplanationRow.segment_id == segment_id)
            return list(session.scalars(said.order_by(ExplanationRow.created.desc())))

    def track(self, video_id: str) -> ScoreTrack:
        """A clip's timeline. Raises InputError where it has none yet."""
        with self.database.read() as session:
            return track_in(session, video_id)

    def tracks(self, video_id: str) -> list[dict[str, Any]]:
        """People and things that were followed through a clip: id, label, score, times (s), boxes (x, y, width, height as shares of the picture)."""
        with self.database.read() as session:
            kept = session.scalars(select(AnalysisRow.tracks).where(AnalysisRow.video_id == video_id)).first()
        try:
            found: list[dict[str, Any]] = json.loads(zlib.decompress(kept)) if kept else []
        except (zlib.error, ValueError):
            raise ConflictError("video: its tracks are damaged; analyse it again") from None
        return found

    def embedder(self, video_id: str) -> str:
        """What made a clip's embeddings, `name@fingerprint`; '' where there are none."""
        with self.database.read() as session:
            return session.scalars(select(AnalysisRow.embedder).where(AnalysisRow.video_id == video_id)).first() or ""


def _made_by(made_by: Mapping[str, Any], rules: Ruled | None) -> dict[str, Any]:
    """What made an analysis, with what its rules warn of: that the camera was moved, and what of the scorer's they hide. Whoever looks at the clip hears of it."""
    told, hidden = list((rules or {}).get("warnings", [])), (rules or {}).get("hidden", [])
    if hidden:
        names = ", ".join(sorted({name for span in hidden for name in span["rules"]}))[:200]
        at = [f"{int(span['start']) // 60}:{int(span['start']) % 60:02d}" for span in hidden]
        times = ", ".join(at[:5] + ["..."] * (len(at) > 5))
        told.append(f"{len(hidden)} x flagged by the scorer and held below by rules ({names}): at {times}")
    return {**{k: v for k, v in made_by.items() if k != "by_rules"}, **({"by_rules": told} if told else {})}


def _plain(track: Track) -> dict[str, Any]:
    return {
        "id": track.id, "label": track.label, "score": round(track.score, 3), "times": track.times.round(3).tolist(),
        "boxes": [[round(float(v), 4) for v in box] for box in track.boxes],
    }  # fmt: skip


def track_in(session: Session, video_id: str) -> ScoreTrack:
    """A clip's timeline within a session. Raises ConflictError where it has none yet, or a damaged one."""
    row = session.scalars(select(AnalysisRow).where(AnalysisRow.video_id == video_id)).first()
    if row is None:
        raise ConflictError("video: not analysed yet")
    try:
        classes = None
        if row.classes is not None:
            classes = np.frombuffer(row.classes, "<f4").reshape(-1, len(row.labels))
        return ScoreTrack(np.frombuffer(row.scores, "<f4"), np.frombuffer(row.edges, "<f8"), tuple(row.labels), classes)
    except (ValueError, TypeError):
        raise ConflictError("video: its scores are damaged; analyse it again") from None


def peak_in(track: ScoreTrack, start: float, end: float) -> tuple[float, float]:
    """The highest score between two times (s) of a clip and when it was: the middle of its snippet, inside the span."""
    inside = (track.edges[:-1] < end) & (track.edges[1:] > start)
    place = int(np.where(inside, track.scores, -1).argmax())
    middle = float(track.edges[place] + track.edges[place + 1]) / 2
    return float(track.scores[place]), min(max(middle, start), end)


def segment_of_id(session: Session, segment_id: str) -> SegmentRow:
    """A segment. Raises MissingError."""
    row = session.get(SegmentRow, segment_id)
    if row is None:
        raise MissingError("segment: no such id")
    return row


def segment_of(row: SegmentRow) -> Segment:
    """A row as the value that the line knows."""
    return Segment(row.start, row.end, row.peak, row.peak_time, row.label)


def scorers_label(row: SegmentRow) -> str:
    """The class by the scorer, whatever a person made of it; '' for a segment of a person's own."""
    if row.origin == "person":
        return ""
    return row.label if row.model_label is None else row.model_label


def told_of(explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON takes it; its segment is the row that holds it."""
    facts = {k: v for k, v in vars(explanation).items() if k != "segment"}
    lists = {k: list(facts[k]) for k in ("times", "notes")}
    return {**facts, **lists, "fields": dict(explanation.fields)}


def _say(session: Session, row: SegmentRow, explanation: Explanation, by: str) -> None:
    row.explanation = told_of(explanation)
    row.said = reading(explanation, scorers_label(row)).text
    session.add(ExplanationRow(segment_id=row.id, by=by, said=row.explanation))
    tell(session, "segment", row.id, video=row.video_id, by=by)


def names_in(rules: Ruled | None, start: float, end: float) -> list[str]:
    """Which rules held between two times (s), by their first span."""
    return list(
        dict.fromkeys(h["rule"] for h in (rules or {}).get("held", ()) if h["start"] < end and h["end"] > start)
    )


def _replace(session: Session, video_id: str, analysis: Analysis, rules: Ruled | None) -> list[str]:
    """The segments of a newer analysis, in place of those that no person touched."""
    said = {e.segment: e for e in analysis.explanations}
    here = select(SegmentRow).where(
        SegmentRow.video_id == video_id, SegmentRow.gone.is_(None), SegmentRow.origin == "model"
    )
    same = {_models_span(row): row for row in session.scalars(here)}
    touched = _touched(session, [row.id for row in same.values()])
    ids = []
    for s in analysis.segments:
        row = same.pop((round(s.start, 3), round(s.end, 3)), None) or SegmentRow(video_id=video_id)
        _refresh(row, s, analysis.track)
        row.rules = names_in(rules, row.start, row.end)
        session.add(row)
        session.flush()
        if s in said:
            _say(session, row, said[s], "")
        else:
            tell(session, "segment", row.id, video=video_id)
        ids.append(row.id)
    for row in same.values():
        if row.model_start is not None:  # a person corrected its span or class: that outlives an analysis
            continue
        if _is_kept(row, touched):
            row.gone = time.time()
        else:
            session.execute(delete(ExplanationRow).where(ExplanationRow.segment_id == row.id))
            session.delete(row)
    return ids


def _is_kept(row: SegmentRow, touched: set[str]) -> bool:
    """Whether somebody said something of a segment, or did something with it."""
    return row.id in touched or row.exported is not None or bool(row.assigned) or bool(row.adopted)


def _refresh(row: SegmentRow, s: Segment, track: ScoreTrack) -> None:
    """A segment of an analysis into its row; what a person corrected stays."""
    if row.model_start is None:
        if row.id is not None and row.label != s.label:
            row.version += 1
        row.start, row.end, row.peak, row.peak_time, row.label = s.start, s.end, s.peak, s.peak_time, s.label
    else:
        row.model_label = s.label
        row.label = row.label if row.label_by else s.label
        row.peak, row.peak_time = peak_in(track, row.start, row.end)


def _models_span(row: SegmentRow) -> tuple[float, float]:
    start = row.start if row.model_start is None else row.model_start
    end = row.end if row.model_end is None else row.model_end
    return round(start, 3), round(end, 3)


def _touched(session: Session, ids: list[str]) -> set[str]:
    """Those of which somebody said something."""
    found: set[str] = set()
    for column in (
        VerdictRow.segment_id,
        NoteRow.segment_id,
        TagRow.segment_id,
        WrongRow.segment_id,
        SpanRow.segment_id,
    ):
        found |= set(session.scalars(select(column).where(column.in_(ids))))
    return found
