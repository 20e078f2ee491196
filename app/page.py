"""The page: Gradio's tabs, and in each one component whose script talks to /api. And who may fetch what of it.

In: requests for files of the page. Out: HTML, scripts, Gradio's own files. Words reach the page as JSON and are written by `textContent`;
no value passes through Gradio, so its templates see none and its queue stays empty.
"""

from __future__ import annotations

import asyncio
import os
import re
from importlib.resources import files

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

ROOMS = ("Analyse", "Review", "Search", "Prompts", "Evidence", "Settings")
KINDS = {"js": "text/javascript", "css": "text/css"}
OPEN = re.compile(r"/(api/.*|healthz|metrics)")  # routes that ask for themselves, or need nobody
# What Gradio's page fetches; its uploads, file and proxy routes are closed.
GRADIO = re.compile(
    r"/(|config|theme\.css|favicon\.ico|manifest\.json|pwa_icon|(assets|static|page|svelte|gradio_api/(app_id|heartbeat|startup-events|info))(/.*)?)"
)
router = APIRouter(include_in_schema=False)


@router.get("/login")
def login() -> HTMLResponse:
    """Where people sign in; needs nothing else of the server."""
    return HTMLResponse(_text("login.html"))


@router.get("/page/{name}.{kind}")
def part(name: str, kind: str) -> Response:
    """A script or the style of the page."""
    if kind not in KINDS or not re.fullmatch(r"[a-z]{1,20}", name):
        raise HTTPException(404)
    try:
        text = _text(f"{name}.{kind}")
    except FileNotFoundError:
        raise HTTPException(404) from None
    return Response(text, media_type=KINDS[kind], headers={"Cache-Control": "no-cache"})


@router.api_route("/api/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def nothing(rest: str) -> Response:
    """What /api does not know is not Gradio's to answer."""
    raise HTTPException(404, "no such route; see /api/openapi.json")


def _text(name: str) -> str:
    return (files("vlad.app") / name).read_text(encoding="utf-8")


def refuse(request: Request) -> Response | None:
    """An answer instead of what was asked for: of nobody, of a closed route, of a write to Gradio. None: go on."""
    path = request.url.path
    if OPEN.fullmatch(path) or (path == "/login" and request.method == "GET"):
        return None
    try:
        request.app.state.gate.caller(request)
    except HTTPException as error:
        if error.status_code == 401 and path == "/":
            return RedirectResponse("/login", 303)
        return JSONResponse({"detail": error.detail}, error.status_code)
    if request.method not in ("GET", "HEAD") or not GRADIO.fullmatch(path):
        return JSONResponse({"detail": "no such page"}, 404)
    return None


def mount(app: FastAPI) -> FastAPI:
    """The application with the page at its root. Not from within a running event loop."""
    return asyncio.run(_mounted(app))  # where no loop runs Gradio opens one a lock and closes none


async def _mounted(app: FastAPI) -> FastAPI:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    import gradio as gr

    with gr.Blocks(title="vlad", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(html_template="<header></header>", js_on_load=_start("head"), apply_default_css=False)
        with gr.Tabs(elem_id="rooms", overflow_behavior="wrap"):
            for room in ROOMS:
                with gr.Tab(room, id=room.lower(), elem_id=f"room-{room.lower()}"):
                    gr.HTML(
                        html_template="<section></section>", js_on_load=_start(room.lower()), apply_default_css=False
                    )
    gate = app.state.gate

    def known(request: Request) -> str | None:  # of Gradio's own application, whose state is not ours
        try:
            name: str = gate.caller(request).user.name
        except HTTPException:
            return None
        return name

    theme = gr.themes.Base(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )  # none from elsewhere
    mounted: FastAPI = gr.mount_gradio_app(
        app, page, "/", theme=theme, head='<link rel="stylesheet" href="/page/page.css">', footer_links=[],
        allowed_paths=[], max_file_size=1, auth_dependency=known, ssr_mode=False, run_history=False, show_error=False,
    )  # fmt: skip
    return mounted


def _start(room: str) -> str:
    """What a component runs when it is there."""
    return f"import('/page/{room}.js').then((room) => room.start(element.querySelector('header, section')))"
