"""Routes of evidence: order a case of segments, see how far it is, fetch it. Cases are made one after another by a thread of this server."""

from __future__ import annotations

import logging
import threading
import time
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse
from pydantic import Field

from vlad.config import Settings
from vlad.errors import VladError
from vlad.library import Library
from vlad.library.tables import ExportRow

from . import evidence, view
from .auth import Reader, Writer
from .common import Body, Id, library
from .limits import ORDERS, refusal

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
    """Which segments, and how. margin: seconds around each. undecided: also those nobody confirmed. originals: the whole clips too."""

    segments: list[Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]] = Field(min_length=1, max_length=evidence.MOST)
    title: str = Field("", max_length=300)
    margin: float = Field(2.0, ge=0, le=60, allow_inf_nan=False)
    undecided: bool = False
    originals: bool = False


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
    how = {"margin": body.margin, "undecided": body.undecided, "originals": body.originals}
    row = library(request).order(caller.user, [s.id for s, _ in rows], body.title, how)
    maker: Maker = request.app.state.maker
    maker.wake()
    return {"id": row.id, "status": row.status}


@router.get("")
def cases(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """Every case, newest first, with how far it is and the SHA-256 of each of its files."""
    return [view.export(row, library(request).case_size(row.id)) for row in library(request).exports()]


@router.get("/{export_id}/file")
def file(request: Request, caller: Reader, export_id: Id) -> FileResponse:
    """The case itself, a zip under its title and date."""
    row, path = library(request).export(export_id), library(request).case(export_id)
    if not path.is_file():
        raise HTTPException(404, "case: no such id")
    words = ["vlad", evidence.file_part(row.title), time.strftime("%Y-%m-%d", time.localtime(row.created))]
    library(request).log(caller.user.name, "fetched case", export_id)
    return FileResponse(path, media_type="application/zip", filename=" ".join(filter(None, words)) + ".zip")
