"""The desk of prompt engineers: templates in use, drafts of them looked at and tried, and saved as new versions.

In: a template's text. Out: what is wrong with it, what a model would get, what it answers. A saved version counts at once, in this server and
in its workers; the one before stays in the folder `history`. Drafts are for admins: a template runs on the server.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi import Path as InPath
from pydantic import Field

from vlad.errors import InputError, OutputError
from vlad.prompting import Prompt, names, parse, read_prompt, user_folder

from . import view
from .auth import Admin, Reader, Writer
from .common import Body, Id, library, models, row_of, turn, video_of
from .limits import DRAFTS, QUESTIONS, one_of, refusal

router = APIRouter(prefix="/api/prompts")
Name = Annotated[str, InPath(pattern=r"^[a-z][a-z0-9_-]{0,60}$")]
_SAVING = Lock()
LONGEST = 100_000  # letters of a template


class Draft(Body):
    """A template's text under its name."""

    source: str = Field(max_length=LONGEST)


class Look(Body):
    """A template, as it is in use, on a segment."""

    segment: Id


class Try(Draft):
    """A draft on a segment."""

    segment: Id


class Save(Draft):
    """A draft in place of the version it was made from. base: that version's hash."""

    base: str = Field("", max_length=6)


def folder_of(request: Request) -> Path | None:
    """Where templates of one's own lie."""
    return user_folder(request.app.state.settings.prompts)


def known(request: Request, name: str) -> Path:
    """The file of a template. Raises HTTPException 404."""
    path = names(folder_of(request)).get(name)
    if path is None:
        raise HTTPException(404, f"no template {name}")
    return path


def drafted(name: str, source: str) -> Prompt:
    """A draft that can be used. Raises HTTPException 422 with its faults."""
    prompt, faults = parse(source, Path(f"{name}.md"))
    if prompt is None:
        raise HTTPException(422, "; ".join(str(f) for f in faults if f.grave)[:1000])
    return prompt


@router.get("")
def prompts(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """The templates in use; `error` says why a file cannot be used and which version stays in use."""
    templates, found = models(request).templates, []
    for name in sorted(names(folder_of(request))):
        try:
            prompt = templates(name)
        except InputError as error:
            found.append({"name": name, "version": 0, "hash": "", "description": "", "source": "", "error": str(error)})
            continue
        found.append({
            "name": name, "version": prompt.version, "hash": prompt.hash, "description": prompt.description, "source": prompt.source,
            "error": templates.broken.get(name, ""),
        })  # fmt: skip
    return found


@router.get("/{name}/history")
def history(request: Request, caller: Reader, name: Name) -> list[dict[str, Any]]:
    """Versions before the one in use, newest first."""
    folder, found = folder_of(request), []
    for path in (folder / "history").glob(f"{name}@*.txt") if folder else ():
        prompt, _ = parse(path.read_text(encoding="utf-8"), Path(f"{name}.md"))
        if prompt is not None:
            found.append(
                {"hash": prompt.hash, "version": prompt.version, "saved": path.stat().st_mtime, "source": prompt.source}
            )
    return sorted(found, key=lambda f: -f["saved"])


@router.post("/{name}/lint")
def lint(request: Request, caller: Writer, name: Name, body: Draft) -> dict[str, Any]:
    """Every fault of a draft, with its line; nothing is run."""
    with turn(request, DRAFTS):
        prompt, faults = parse(body.source, Path(f"{name}.md"))
    return {
        "hash": prompt.hash if prompt else "", "usable": prompt is not None,
        "findings": [{"line": f.line, "text": f.text, "grave": f.grave} for f in faults],
    }  # fmt: skip


def _preview(request: Request, segment_id: str, prompt: Prompt) -> dict[str, Any]:
    row = row_of(request, segment_id)
    video = video_of(request, row.video_id)
    with turn(request, QUESTIONS):
        seen = models(request).preview(library(request), video, row, prompt)
    return {"text": seen.text, "times": [t for t, _ in seen.pictures], "video": row.video_id, "prompt": prompt.id}


@router.post("/{name}/preview")
def preview(request: Request, caller: Reader, name: Name, body: Look) -> dict[str, Any]:
    """What the model gets for a segment: messages, times of the frames (s), tokens."""
    known(request, name)
    return _preview(request, body.segment, models(request).templates(name))


@router.post("/{name}/preview-draft")
def preview_draft(request: Request, caller: Admin, name: Name, body: Try) -> dict[str, Any]:
    """The same for a draft."""
    return _preview(request, body.segment, drafted(name, body.source))


@router.post("/{name}/try")
def attempt(request: Request, caller: Admin, name: Name, body: Try) -> dict[str, Any]:
    """What the model answers to a draft; nothing is kept."""
    prompt, row = drafted(name, body.source), row_of(request, body.segment)
    video = video_of(request, row.video_id)
    with turn(request, QUESTIONS):
        said = models(request).explain(library(request), video, row, prompt)
    told = view.explanation(said)
    return {**told, "reading": view.read(told, row)}


@router.put("/{name}")
def save(request: Request, caller: Admin, name: Name, body: Save) -> dict[str, Any]:
    """A draft as the next version, in use at once. 409 where somebody else saved meanwhile."""
    folder = folder_of(request)
    if folder is None:
        raise HTTPException(409, "no folder of your own templates; start vlad app with --prompts")
    busy = refusal(503, "somebody else saves a template; try again in a moment", 2)
    with one_of(_SAVING, busy):  # between looking at the version in use and replacing it nobody else saves
        return _save(request, caller.user.name, name, body, folder)


def _save(request: Request, user: str, name: str, body: Save, folder: Path) -> dict[str, Any]:
    path = names(folder).get(name)
    try:
        old = read_prompt(path) if path else None
    except InputError:
        old = None  # a broken file is what a new version mends
    if old is not None and body.base != old.hash:
        raise HTTPException(409, f"{old.id} was saved meanwhile; look at it, and save again")
    source = numbered(body.source, old.version + 1 if old else 1)
    prompt = drafted(name, source)
    try:
        if old is not None:
            (folder / "history").mkdir(exist_ok=True)
            (folder / "history" / f"{old.id}.txt").write_text(old.source, encoding="utf-8")
        part = folder / f".{name}.part"
        part.write_text(source, encoding="utf-8")
        os.replace(part, folder / f"{name}.md")
    except OSError as error:
        raise OutputError(f"{name}: cannot be saved ({error.strerror})") from None
    library(request).log(user, "prompt saved", prompt.id, version=prompt.version)
    return {"name": name, "version": prompt.version, "hash": prompt.hash, "source": source}


def numbered(source: str, version: int) -> str:
    """A template's text with another number of its version, in the front matter."""
    head = re.match(r"---\r?\n.*?\r?\n---\r?\n", source, re.S)
    if head is None:
        return source
    front, count = re.subn(r"(?m)^version:.*$", f"version: {version}", head.group(), count=1)
    if not count:
        front = re.sub(r"\A---(\r?\n)", rf"---\g<1>version: {version}\g<1>", front)
    return front + source[head.end() :]
