"""The page: one document, its scripts and styles, and the page to sign in. Who may fetch what of it.

In: requests for files of the page. Out: HTML, scripts, styles, icons. Each room is a script (`app/NAME.js`) that talks to /api, so the page can do
nothing that a token could not; words reach it as JSON and are written by `textContent`.
"""

from __future__ import annotations

import re
from importlib.resources import files

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
OPEN = re.compile(
    r"/(api/.*|healthz|metrics|login|page/(login\.(js|css)|favicon\.svg)|favicon\.ico)"
)  # ask for themselves, or need nobody
router = APIRouter(include_in_schema=False)


@router.get("/")
def index() -> HTMLResponse:
    """The page itself; its rooms come as they are needed."""
    return HTMLResponse(_text("index.html"), headers={"Cache-Control": "no-cache"})


@router.get("/login")
def login() -> HTMLResponse:
    """Where people sign in."""
    return HTMLResponse(_text("login.html"), headers={"Cache-Control": "no-cache"})


@router.get("/favicon.ico")
def icon() -> Response:
    """For who asks without reading the page."""
    return part("favicon", "svg")


@router.get("/page/{name}.{kind}")
def part(name: str, kind: str) -> Response:
    """A script, a style or a picture of the page."""
    if kind not in KINDS or not re.fullmatch(r"[a-z]{1,20}", name):
        raise HTTPException(404)
    try:
        text = _text(f"{name}.{kind}")
    except FileNotFoundError:
        raise HTTPException(404) from None
    return Response(text, media_type=KINDS[kind], headers={"Cache-Control": "no-cache"})


@router.api_route("/api/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def nothing(rest: str) -> Response:
    """What /api does not know."""
    raise HTTPException(404, "no such route; see /api/openapi.json")


def _text(name: str) -> str:
    return (files("vlad.app") / name).read_text(encoding="utf-8")


def refuse(request: Request) -> Response | None:
    """An answer instead of the page: for nobody. None: go on."""
    path = request.url.path
    if OPEN.fullmatch(path):
        return None
    try:
        request.app.state.gate.caller(request)
    except HTTPException as error:
        if error.status_code == 401 and path == "/":
            return RedirectResponse("/login", 303)
        return JSONResponse({"detail": error.detail}, error.status_code)
    return None


def mount(app: FastAPI) -> FastAPI:
    """The application with the page at its root."""
    app.include_router(router)
    return app
