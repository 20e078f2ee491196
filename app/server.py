"""The server: routes, rules and workers under one roof.

    vlad app [--host 127.0.0.1] [--port 7860] [--library URL_OR_FOLDER] [--preset nano] [--workers 1]

In: a library and settings. Out: an ASGI application; `serve` runs it with its worker processes. On loopback it works at once with one local
user; anything else needs users first. No route but login and health answers without a session.
"""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, generate_latest
from sqlalchemy import func, select

from vlad.config import Settings
from vlad.errors import InputError, VladError
from vlad.library import Library
from vlad.library.tables import Job
from vlad.prompting import user_folder

from . import (
    admin,
    again,
    alarms,
    cameras,
    cases,
    clips,
    days,
    desk,
    ground,
    live,
    page,
    paths,
    places,
    privacy,
    push,
    segments,
    session,
    talk,
    targets,
    wall,
)
from .address import LOOPBACK, check
from .auth import Gate, may
from .background import Background
from .common import status_of
from .guard import Guard, counted
from .limits import Limits, one_of, refusal
from .metrics import Told
from .models import Models
from .reference import reference
from .search import Index

FULL = 256 << 20  # bytes of disk below which the library cannot go on for long


def make_app(library: Library, settings: Settings, *, local: bool, models: Models | None = None) -> FastAPI:
    """The application. local: everybody is the one local user, for loopback without users."""
    app = FastAPI(title="vlad", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    if user_folder(settings.prompts) is None:
        (library.folder / "prompts").mkdir(exist_ok=True)
        settings = settings.model_copy(update={"prompts": library.folder / "prompts"})
    app.state.library, app.state.settings = library, settings
    app.state.limits = Limits()
    app.state.viewed, app.state.looks, app.state.live = {}, {}, live.Live(library)
    app.state.maker = cases.Maker(library, settings)
    app.state.gate, app.state.models = Gate(library, local=local), models or Models(settings)
    index, lock = Index(), threading.Lock()

    def index_of(videos: Sequence[str]) -> Index:
        with one_of(lock, refusal(503, "what is searched is being read anew; try again in a moment", 3)):
            index.refresh({v: library.embeddings(v) for v in videos}, lambda v: library.track(v).edges)
        return index

    app.state.index_of = index_of
    registry = CollectorRegistry()
    requests = Counter("vlad_requests", "Answered requests", ["method", "status"], registry=registry)
    app.state.searches = Counter("vlad_searches", "Searches by words or likeness", registry=registry)
    registry.register(Told(library, lambda: app.state.behind()))

    app.state.count = lambda method, status: requests.labels(method, str(status)).inc()
    app.add_middleware(Guard, count=app.state.count)

    @app.exception_handler(RequestValidationError)
    def senseless(request: Request, error: RequestValidationError) -> JSONResponse:
        """What makes no sense, by field, an id of a wrong form as one that nothing has; never what was sent, which may be a password or huge."""
        wrong = next(
            (e["loc"] for e in error.errors() if e["loc"][0] == "path" and str(e["loc"][-1]).endswith("_id")), None
        )
        if wrong is not None:
            return JSONResponse({"detail": f"{str(wrong[-1]).removesuffix('_id')}: no such id"}, 404)
        told = [{"loc": list(e["loc"])[:6], "msg": str(e["msg"])[:200], "type": e["type"]} for e in error.errors()[:20]]
        return JSONResponse({"detail": told}, 422)

    @app.exception_handler(VladError)
    def told(request: Request, error: VladError) -> JSONResponse:
        status = status_of(error) if isinstance(error, InputError) else 503
        later = {"Retry-After": "3"} if status == 503 else None
        return JSONResponse({"detail": _named(library, str(error))}, status, later)

    @app.exception_handler(OSError)
    def full(request: Request, error: OSError) -> JSONResponse:
        """A disk that is full or read-only is no bug; anything else is, and goes on as one."""
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise error
        words = f"the library's disk cannot be used just now ({error.strerror})"
        return JSONResponse({"detail": words}, 503, {"Retry-After": "30"})

    own = CapacityLimiter(2)  # threads of /healthz alone
    app.state.behind = dict

    @app.get("/healthz", include_in_schema=False)
    async def health() -> dict[str, Any]:
        """Whether the database answers, and what goes on behind: workers, the age of the oldest job that waits (s; covers, which come last, left out), sweeps, disk."""
        return await to_thread.run_sync(lambda: state_of(library, app.state.behind()), limiter=own)

    @app.get("/metrics", include_in_schema=False, dependencies=[Depends(may("read"))])
    def metrics() -> PlainTextResponse:
        """Prometheus."""
        return PlainTextResponse(generate_latest(registry).decode())

    @app.get("/api/openapi.json", include_in_schema=False, dependencies=[Depends(may("read"))])
    def schema() -> dict[str, Any]:
        """What /api takes and gives."""
        return app.openapi()

    @app.get("/api/docs", include_in_schema=False, dependencies=[Depends(may("read"))])
    def docs() -> HTMLResponse:
        """The same for people."""
        return HTMLResponse(reference(app.openapi()))

    for room in (
        session,
        clips,
        segments,
        places,
        ground,
        paths,
        privacy,
        again,
        days,
        talk,
        live,
        desk,
        cases,
        cameras,
        alarms,
        targets,
        wall,
        push,
        admin,
        page,
    ):
        app.include_router(room.router)
    return page.mount(app)


def _named(library: Library, words: str) -> str:
    try:
        return library.by_name(words)
    except VladError:  # the database is what is away
        return words


def state_of(library: Library, behind: dict[str, Any]) -> dict[str, Any]:
    """What /healthz tells. behind: of what goes on behind the server. status: ok, or what is not: a loop fails, no worker lives, the disk is full. Raises OutputError where the database is away."""
    with library.read() as asked:
        oldest = asked.scalar(select(func.min(Job.created)).where(Job.status == "queued", Job.kind != "cover"))
    waits = max(0.0, time.time() - oldest) if oldest else 0.0
    wrong = [name for name, loop in behind.get("loops", {}).items() if loop["failed"] or not loop["alive"]]
    if behind.get("wanted") and not behind["workers"]:
        wrong.append("no worker")
    free = shutil.disk_usage(library.folder).free
    if free < FULL:
        wrong.append("no disk")
    return {
        "status": "failing: " + ", ".join(wrong) if wrong else "ok", "oldest_job": round(waits, 1), "free": free, **behind,
    }  # fmt: skip


def serve(
    url: str, place: str, settings: Settings, *, host: str, port: int, workers: int, trusted_proxy: str = "", syslog: str = "",
    allow: Sequence[str] = (), contact: str = "",
) -> None:  # fmt: skip
    """Run until interrupted. trusted_proxy: the one network whose headers of forwarding count. syslog: where the log's seals go too. allow: networks of cameras beyond the usual ones. contact: whom
    the services of browsers that are told of alarms may write to.

    Raises SettingsError for a host that others can reach while nobody has to sign in.
    """
    import uvicorn

    library = Library(url, place)
    check(host, port, trusted_proxy, library.has_users)
    app = make_app(library, settings, local=host in LOOPBACK and not trusted_proxy)

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        library.revive_cases()
        app.state.maker.wake()
        with Background(library, url, app.state.settings, workers, syslog, allow, contact) as behind:
            app.state.behind = behind.state
            yield

    within = app.router.lifespan_context

    @asynccontextmanager
    async def whole(running: FastAPI) -> AsyncIterator[None]:
        async with within(running), alive(running):
            yield

    app.router.lifespan_context = whole
    print(f"vlad: http://{host}:{port}  library {library.shelf.place}  (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", server_header=False, http=counted(app.state.count), ws="none",
        proxy_headers=bool(trusted_proxy), forwarded_allow_ips=trusted_proxy or "",
    )  # fmt: skip
    server = uvicorn.Server(config)
    handle = server.handle_exit

    def ended(number: int, frame: FrameType | None) -> None:
        app.state.live.close()  # or the server would wait for pages that follow along
        handle(number, frame)

    server.handle_exit = ended  # type: ignore[method-assign, assignment]
    server.run()
