"""Routes of evidence: order a case of segments, see how far it is, fetch it. Cases are made one after another by a thread of this server."""

from __future__ import annotations

import logging
import threading
import time
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse
from pydantic import Field

from vlad.config import Settings
from vlad.errors import VladError
from vlad.library import Library
from vlad.library.tables import ExportRow

from . import evidence, view
from .auth import Caller, Reader, Writer
from .common import Body, Id, library
from .limits import ORDERS, refusal
from .privacy import may_see

log = logging.getLogger("vlad.app")
router = APIRouter(prefix="/api/exports")
PAUSE = 5.0  # seconds before cases that could not be looked at are looked at again


class Maker:
    """Makes the cases that wait, one after another; its thread ends when none does."""

    def __init__(self, library: Library, settings: Settings) -> None:
        self.library, self.settings = library, settings
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = False

    def wake(self) -> None:
        """A case waits."""
        with self._lock:
            self._again = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._again:
                    self._thread = None
                    return
                self._again = False
            try:
                while (row := self.library.next_case()) is not None:
                    self._make(row)
            except Exception:  # a database that is away for a moment: what waits is looked at again
                log.exception("cases")
                time.sleep(PAUSE)
                self._again = True

    def _make(self, row: ExportRow) -> None:
        wanted = evidence.Wanted(row.segments, row.title, **(row.wanted or {}))
        try:
            evidence.make_case(
                self.library,
                self.settings,
                row.user,
                wanted,
                lambda done, _: self.library.case_goes_on(row.id, done),
                row.id,
            )
        except VladError as error:
            self._failed(row, str(error))
        except Exception as error:  # a bug costs its case and not those that wait
            log.exception("case %s", row.id)
            self._failed(row, f"internal error ({type(error).__name__}); see the server's log")

    def _failed(self, row: ExportRow, why: str) -> None:
        """Into the library, also where that is away just now."""
        while True:
            try:
                return self.library.case_failed(row.id, self.library.by_name(why))
            except VladError as error:
                log.warning("cases: %s", error)
                time.sleep(PAUSE)


class NewCase(Body):
    """Which segments, and how. margin: seconds around each. undecided: also those nobody confirmed. originals: the whole clips too.

    uncovered: people are not covered; that and originals need the right to see them, and a reason, where people are covered.
    """

    segments: list[Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]] = Field(min_length=1, max_length=evidence.MOST)
    title: str = Field("", max_length=300)
    margin: float = Field(2.0, ge=0, le=60, allow_inf_nan=False)
    undecided: bool = False
    originals: bool = False
    uncovered: bool = False
    reason: str = Field("", max_length=500)


def _open(request: Request, caller: Caller, what: str, reason: str) -> None:
    """Somebody takes out what is not covered, for a reason that goes into the log. Raises HTTPException 403, 422."""
    may_see(request, caller)
    if len(reason.strip()) < 3:
        raise HTTPException(422, "reason: say why people in it are not to be covered")
    library(request).log(caller.user.name, "original opened", what, reason=reason.strip())


@router.post("", status_code=202)
def make(request: Request, caller: Writer, body: NewCase) -> dict[str, str]:
    """Order a case; it is made whether or not anybody waits. 422 where a segment is not confirmed, unless undecided ones are wanted, 429 while several of one's own wait."""
    wanted = evidence.Wanted(body.segments, body.title, body.margin, body.undecided, body.originals)
    rows = evidence.rows_of(library(request), wanted)  # what is wrong is said before anything is ordered
    waiting = [
        e for e in library(request).exports() if e.user_id == caller.user.id and e.status in ("queued", "running")
    ]
    if len(waiting) >= ORDERS:
        raise refusal(429, f"{ORDERS} cases of yours are not made yet; order this one once they are", 30)
    covered = (
        library(request).privacy().what
        if library(request).privacy().on and not (body.uncovered or body.originals)
        else ""
    )
    if library(request).privacy().on and not covered:
        for video_id in dict.fromkeys(v.id for _, v in rows):
            _open(request, caller, video_id, body.reason)
    if not body.uncovered:
        for _, video in rows:
            library(request).shown(video.id)  # or it is said now, and not after an hour
    how = {
        "margin": body.margin, "undecided": body.undecided, "originals": body.originals, "uncovered": body.uncovered, "covered": covered,
    }  # fmt: skip
    row = library(request).order(caller.user, [s.id for s, _ in rows], body.title, how)
    maker: Maker = request.app.state.maker
    maker.wake()
    return {"id": row.id, "status": row.status}


def _is_covered(request: Request, row: ExportRow) -> bool:
    """Whether a case shows no more than may be shown now: who is covered as people shows no face either."""
    wish = library(request).privacy()
    return not wish.on or (row.wanted or {}).get("covered", "") in (wish.what, "people")


@router.get("")
def cases(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """Every case, newest first, with how far it is and the SHA-256 of each of its files."""
    return [
        {**view.export(row, library(request).case_size(row.id)), "covered": _is_covered(request, row)}
        for row in library(request).exports()
    ]


@router.get("/{export_id}/file")
def file(
    request: Request, caller: Reader, export_id: Id, reason: Annotated[str, Query(max_length=500)] = ""
) -> FileResponse:
    """The case itself, a zip under its title and date. Where people are covered by now and in it are not, it takes the right to see originals, and a reason."""
    row, path = library(request).export(export_id), library(request).case(export_id)
    if not path.is_file():
        raise HTTPException(404, "case: no such id")
    if not _is_covered(request, row):
        _open(request, caller, export_id, reason)
    words = ["vlad", evidence.file_part(row.title), time.strftime("%Y-%m-%d", time.localtime(row.created))]
    library(request).log(caller.user.name, "fetched case", export_id)
    return FileResponse(path, media_type="application/zip", filename=" ".join(filter(None, words)) + ".zip")
