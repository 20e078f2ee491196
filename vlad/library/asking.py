"""On whose behalf the library is asked: from which address, as the log tells it, and the clips of which cameras there are for them.

In: who asks, for as long as a block or a request lasts. Out: conditions that every question to the database gets (`database.py`), so that a clip of
somebody else's camera is not there, by whichever way it is asked for. Workers, sweeps and the command line ask for nobody, and see all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import with_loader_criteria

from vlad.errors import RightsError

from .tables import (
    AlarmRow,
    AnalysisRow,
    CameraRow,
    CoverMark,
    CoverRow,
    ExplanationRow,
    ExportRow,
    Job,
    NoteRow,
    RulesRow,
    ScoreRow,
    SegmentRow,
    SpanRow,
    TagRow,
    VerdictRow,
    Video,
    WrongRow,
)


@dataclass(frozen=True)
class Asking:
    """user: an id, '' for nobody. address: of the network, '' for this machine's own. cameras: whose clips there are ('' for those without one), None for all.

    patience: seconds that the database's writers are waited for: less while a person waits, and holds a thread that others need.
    """

    user: str = ""
    address: str = ""
    cameras: frozenset[str] | None = None
    patience: float = 30.0

    def sees(self, camera: str) -> bool:
        """Whether clips of a camera are there."""
        return self.cameras is None or camera in self.cameras


NOBODY = Asking()
_NOW: ContextVar[Asking] = ContextVar("asking", default=NOBODY)


def now() -> Asking:
    """Who asks."""
    return _NOW.get()


@contextmanager
def asking(who: Asking) -> Iterator[None]:
    """Within: on whose behalf."""
    token = _NOW.set(who)
    try:
        yield
    finally:
        _NOW.reset(token)


def everything() -> AbstractContextManager[None]:
    """Within: all clips, for sums over the whole library; the address stays."""
    return asking(replace(now(), cameras=None))


def check_camera(camera: str) -> None:
    """Raises RightsError where clips of a camera are not for who asks: nobody adds what they could not see."""
    who = now()
    if who.cameras is not None and camera not in who.cameras:
        yours = ", ".join(sorted(filter(None, who.cameras))) or "none"
        raise RightsError(f"camera {camera!r}: not one of your cameras, which are: {yours}"[:300])


def conditions() -> list[Any]:
    """Options of a question: what is there for who asks; [] for all."""
    who = now()
    if who.cameras is None:
        return []
    videos, segments = Video.__table__, SegmentRow.__table__
    theirs = select(videos.c.id).where(videos.c.camera.in_(sorted(who.cameras)))
    spans = select(segments.c.id).where(segments.c.video_id.in_(theirs))
    of_clip = (
        with_loader_criteria(t, t.video_id.in_(theirs)) for t in (SegmentRow, Job, AnalysisRow, CoverRow, CoverMark)
    )
    of_segment = (
        with_loader_criteria(t, t.segment_id.in_(spans))
        for t in (SpanRow, ExplanationRow, WrongRow, VerdictRow, NoteRow, TagRow)
    )
    return [
        with_loader_criteria(Video, Video.camera.in_(sorted(who.cameras))),
        with_loader_criteria(CameraRow, CameraRow.name.in_(sorted(who.cameras))),
        with_loader_criteria(AlarmRow, AlarmRow.camera.in_(sorted(who.cameras))),
        with_loader_criteria(ScoreRow, ScoreRow.camera.in_(sorted(who.cameras))),
        with_loader_criteria(RulesRow, RulesRow.camera.in_(sorted(who.cameras))),
        with_loader_criteria(ExportRow, ExportRow.user_id == who.user),  # and see Cases.exports
        *of_clip,
        *of_segment,
    ]
