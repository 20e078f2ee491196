"""Routes of evidence: make a case of segments, see the cases there are, fetch one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import Field

from . import evidence, view
from .api import Body, Id, Tell, library, lines
from .auth import Reader, Writer

router = APIRouter(prefix="/api/exports")


class NewCase(Body):
    """Which segments, and how. margin: seconds around each. undecided: also those nobody confirmed. originals: the whole clips too."""

    segments: list[Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]] = Field(min_length=1, max_length=evidence.MOST)
    title: str = Field("", max_length=300)
    margin: float = Field(2.0, ge=0, le=60, allow_inf_nan=False)
    undecided: bool = False
    originals: bool = False


@router.post("", response_class=StreamingResponse)
def make(request: Request, caller: Writer, body: NewCase) -> StreamingResponse:
    """Make a case: lines of JSON {done, total}, at the end {id} or {error}."""
    wanted = evidence.Wanted(body.segments, body.title, body.margin, body.undecided, body.originals)
    evidence.rows_of(library(request), wanted)  # what is wrong is said before an answer begins

    def work(tell: Tell) -> dict[str, Any]:
        row = evidence.make_case(
            library(request), request.app.state.settings, caller.user, wanted,
            lambda done, total: tell({"done": done, "total": total}),
        )  # fmt: skip
        return {"id": row.id}

    return lines(request, work)


@router.get("")
def cases(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """Every case, newest first, with the SHA-256 of each of its files."""
    return [view.export(row, evidence.size_of(library(request).case(row.id))) for row in library(request).exports()]


@router.get("/{export_id}/file")
def file(request: Request, caller: Reader, export_id: Id) -> FileResponse:
    """The case itself, a zip."""
    path = library(request).case(export_id)
    if not path.is_file():
        raise HTTPException(404, "case: no such id")
    library(request).log(caller.user.name, "fetched case", export_id)
    return FileResponse(path, media_type="application/zip", filename=f"vlad-case-{export_id[:8]}.zip")
