"""The server: routes, rules and workers under one roof.

    vlad app [--host 127.0.0.1] [--port 7860] [--library URL_OR_FOLDER] [--preset nano] [--workers 1]

In: a library and settings. Out: an ASGI application; `serve` runs it with its worker processes. On loopback it works at once with one local
user; anything else needs users first. No route but login and health answers without a session.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from sqlalchemy import func, select
from starlette.concurrency import run_in_threadpool

from vlad.config import Settings
from vlad.errors import InputError, SettingsError, VladError
from vlad.library import Library
from vlad.library.tables import Job, SegmentRow, Video
from vlad.prompting import user_folder

from . import admin, api, cases, desk, page
from .api import status_of
from .auth import LOOPBACK, Gate, may
from .models import Models
from .search import Index

log = logging.getLogger("vlad.app")
UNFINISHED = 7.0  # days after which an upload that never ended is forgotten
# Gradio's own scripts are inline; nothing comes from elsewhere, and nobody frames the page.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
}  # fmt: skip


def make_app(library: Library, settings: Settings, *, local: bool, models: Models | None = None) -> FastAPI:
    """The application. local: everybody is the one local user, for loopback without users."""
    app = FastAPI(title="vlad", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    if user_folder(settings.prompts) is None:
        (library.folder / "prompts").mkdir(exist_ok=True)
        settings = settings.model_copy(update={"prompts": library.folder / "prompts"})
    app.state.library, app.state.settings = library, settings
    app.state.viewed = {}
    app.state.gate, app.state.models = Gate(library, local=local), models or Models(settings)
    index, lock = Index(), threading.Lock()

    def index_of(videos: Sequence[str]) -> Index:
        with lock:
            index.refresh({v: library.embeddings(v) for v in videos}, lambda v: library.track(v).edges)
        return index

    app.state.index_of = index_of
    registry = CollectorRegistry()
    requests = Counter("vlad_requests", "Answered requests", ["method", "status"], registry=registry)
    gauges = {
        name: Gauge(f"vlad_{name}", words, registry=registry)
        for name, words in (("jobs_queued", "Jobs that wait"), ("jobs_running", "Jobs under way"), ("jobs_failed", "Jobs that failed"),
                            ("videos", "Clips"), ("segments_open", "Segments nobody decided on"), ("bytes", "Bytes of clips"))
    }  # fmt: skip

    @app.middleware("http")
    async def safe(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = await run_in_threadpool(page.refuse, request)
        response = refused or await call(request)
        response.headers.update(HEADERS)
        requests.labels(request.method, str(response.status_code)).inc()
        return response

    @app.exception_handler(VladError)
    def told(request: Request, error: VladError) -> JSONResponse:
        status = status_of(error) if isinstance(error, InputError) else 503
        return JSONResponse({"detail": str(error).replace(str(library.folder), "")}, status)

    @app.get("/healthz", include_in_schema=False)
    def health() -> dict[str, str]:
        """Whether the database answers."""
        with library.read() as session:
            session.execute(select(1))
        return {"status": "ok"}

    @app.get("/metrics", include_in_schema=False, dependencies=[Depends(may("read"))])
    def metrics() -> PlainTextResponse:
        """Prometheus."""
        with library.read() as session:
            for status in ("queued", "running", "failed"):
                found = session.scalar(select(func.count()).select_from(Job).where(Job.status == status))
                gauges[f"jobs_{status}"].set(found or 0)
            gauges["videos"].set(
                session.scalar(select(func.count()).select_from(Video).where(Video.removed.is_(None))) or 0
            )
            gauges["bytes"].set(session.scalar(select(func.sum(Video.size)).where(Video.removed.is_(None))) or 0)
            waiting = (
                select(func.count())
                .select_from(SegmentRow)
                .where(SegmentRow.status == "open", SegmentRow.gone.is_(None))
            )
            gauges["segments_open"].set(session.scalar(waiting) or 0)
        return PlainTextResponse(generate_latest(registry).decode())

    @app.get("/api/openapi.json", include_in_schema=False, dependencies=[Depends(may("read"))])
    def schema() -> dict[str, Any]:
        """What /api takes and gives."""
        return app.openapi()

    for routes in (api.router, desk.router, cases.router, admin.router, page.router):
        app.include_router(routes)
    return page.mount(app)


class Retention:
    """Removes unfinished uploads, and clips older than the library's option `retention_days`, once an hour, as long as it lives."""

    def __init__(self, library: Library) -> None:
        self.library, self.stop = library, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Retention:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()

    def _run(self) -> None:
        while not self.stop.is_set():
            try:
                self.library.forget_uploads(UNFINISHED)
                days = self.library.options().get("retention_days")
                if days is not None:
                    self.library.retire(days)
            except VladError as error:  # a database that is away for a moment ends no retention
                log.warning("retention: %s", error)
            self.stop.wait(3600)


class Workers:
    """`count` worker processes, started again when one ends, as long as this one lives."""

    def __init__(self, library: Library, url: str, settings: Settings, count: int) -> None:
        self.library, self.count = library, count
        changes = settings.model_dump(mode="json", exclude_defaults=True)
        if settings.server_key:  # is left out of every dump
            changes["server_key"] = settings.server_key
        told = {"library": url, "folder": str(library.folder), "settings": changes}
        self.told = json.dumps(told).encode()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Workers:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def _watch(self) -> None:
        while not self.stop.is_set():
            ended = [p for p in self.processes if p.poll() is not None]
            self.processes = [p for p in self.processes if p not in ended]
            if ended:
                self.library.revive(silence=30)
                time.sleep(0.5)
            while len(self.processes) < self.count:
                self.processes.append(self._start())
            self.stop.wait(1.0)

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "vlad.app.worker"], stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(self.told)
        process.stdin.close()
        return process


def serve(url: str, folder: Path, settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Run until interrupted. Raises SettingsError for a host that others can reach while nobody has to sign in."""
    import uvicorn

    library = Library(url, folder)
    users = library.has_users()
    if host not in LOOPBACK and not users:
        raise SettingsError(
            f"host {host}: others could reach it and nobody has to sign in; first: vlad users add NAME --role admin"
        )
    app = make_app(library, settings, local=host in LOOPBACK and not users)

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        with Workers(library, url, app.state.settings, workers), Retention(library):
            yield

    within = app.router.lifespan_context  # Gradio's own

    @asynccontextmanager
    async def whole(running: FastAPI) -> AsyncIterator[None]:
        async with within(running), alive(running):
            yield

    app.router.lifespan_context = whole
    print(f"vlad: http://{host}:{port}  library {library.folder}  (Ctrl-C ends it)", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)
