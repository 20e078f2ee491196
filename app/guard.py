"""What stands before every route: who may ask at all, how much a request may bring and how long it may take, and what every answer carries.

In: ASGI requests. Out: the application's answers with the security headers, counted; or 401, 403, 404 before a byte of the body is read, 413 for more
than a route takes, 408 for a body that does not come, 500 for what went wrong inside. Knows the rules of `auth` and the page, and no route.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h11
from anyio import move_on_after
from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from uvicorn.protocols.http.h11_impl import H11Protocol

from vlad.errors import VladError
from vlad.library.asking import Asking, asking

from . import page
from .auth import address_of
from .limits import WAIT, refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("vlad.app")
SMALL = 1 << 20  # bytes of a body
PIECE = 8 << 20  # bytes of one piece of an upload
BUSY = "the server has too much to do just now; try again in a moment"
PATIENCE = 30.0  # seconds without a byte, of a head or of a body
TOGETHER = 400  # connections at once
EACH = 24  # requests of one person at once: fewer than the server has threads
POLICY = (  # nothing comes from elsewhere, nothing inline runs, and nobody frames the page
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
}  # fmt: skip
RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """Pure ASGI, outside of all routes. count(method, status): hears of every answer. patience: seconds without a byte of a body."""

    def __init__(self, app: ASGIApp, *, count: Callable[[str, int], None], patience: float = PATIENCE) -> None:
        self.app, self.count, self.patience = app, count, patience
        self.under_way: Counter[str] = Counter()  # requests by who asks, '' for all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def told(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                own = {name for name, _ in RAW}
                kept = [(n, v) for n, v in message["headers"] if n.lower() not in own]
                message = {**message, "headers": [*kept, *RAW]}
                self.count(scope["method"], message["status"])
            await send(message)

        self.under_way[""] += 1
        try:
            if self.under_way[""] > TOGETHER - EACH:  # the last lines are for saying so
                raise refusal(503, BUSY, 3)
            await self._pass(scope, receive, told)
        except HTTPException as refused:  # inside, FastAPI answers these itself
            if not begun:
                await _answer(
                    told, refused.status_code, refused.detail, later=(refused.headers or {}).get("Retry-After")
                )
        except VladError as error:  # of who asks: the database is away
            if not begun:
                await _answer(told, 503, str(error), later="3")
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            if not begun:
                await _answer(told, 500, "internal error; see the server's log")
        finally:
            self.under_way[""] -= 1

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = most_of(scope)
        headers = dict(scope["headers"])
        if b"content-length" in headers and b"transfer-encoding" in headers:  # a proxy may read it as two requests
            raise HTTPException(400, "a request has one length")
        announced = headers.get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > most:
            raise HTTPException(413, f"a request has at most {most} bytes here")
        if scope["path"] == "/healthz":  # waits for no thread of the others
            await self.app(scope, self._counted(receive, most), send)
            return
        request = Request(scope)
        who = Asking(address=address_of(request), patience=WAIT)
        with asking(who):
            early = await _in_time(admitted, request)
            if early is not None:
                await early(scope, receive, send)
                return
            caller = getattr(request.state, "caller", None)
            if caller is None:
                await self.app(scope, self._counted(receive, most), send)
                return
            with self._share(caller.user.id), asking(replace(who, user=caller.user.id, cameras=caller.cameras)):
                await self.app(scope, self._counted(receive, most), send)

    @contextmanager
    def _share(self, user: str) -> Iterator[None]:
        """One of a person's requests, downloads and pages that follow along among them. Raises HTTPException 429 beyond EACH: one person can't keep all lines busy."""
        if self.under_way[user] >= EACH:
            raise refusal(429, f"{EACH} requests of yours are under way; try again in a moment", 1)
        self.under_way[user] += 1
        try:
            yield
        finally:
            self.under_way[user] -= 1
            if not self.under_way[user]:
                del self.under_way[user]

    def _counted(self, receive: Receive, most: int) -> Receive:
        """The body's messages: not more than `most` bytes, none later than `patience` after the one before."""
        got, whole = 0, False

        async def next_one() -> Message:
            nonlocal got, whole
            if whole:  # what comes now is the end of the connection, whenever that is
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self.patience)
            except TimeoutError:
                raise HTTPException(408, f"nothing came for {self.patience:g} s") from None
            got += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if got > most:
                raise HTTPException(413, f"a request has at most {most} bytes here")
            return message

        return next_one


async def _in_time(look: Callable[[Request], Response | None], request: Request) -> Response | None:
    """What `look` says, by a thread of the server's. Raises HTTPException 503 where all of them have others' work for long."""
    with move_on_after(WAIT):  # ends the wait for a thread, and no thread
        return await run_in_threadpool(look, request)
    raise refusal(503, BUSY, 3)


def admitted(request: Request) -> Response | None:
    """An answer to who may not ask, before anything is read; None: go on. Whoever asks /api or /metrics is in `request.state.caller` from then on."""
    path = request.url.path
    if path == "/api/login" or not (path.startswith("/api/") or path == "/metrics"):
        return page.refuse(request)
    try:
        request.state.caller = request.app.state.gate.caller(request)
    except HTTPException as error:
        return JSONResponse({"detail": error.detail}, error.status_code)
    return None


def most_of(scope: Scope) -> int:
    """Bytes that the body of a request may have."""
    large = scope["method"] == "PUT" and scope["path"].startswith(("/api/uploads/", "/api/plans"))
    return PIECE if large else SMALL


async def _answer(send: Send, status: int, words: str, *, later: str | None = None) -> None:
    body = json.dumps({"detail": words}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *([(b"retry-after", later.encode())] if later else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Patient(H11Protocol):
    """uvicorn's own protocol, which waits for a request's head no longer than PATIENCE, and has at most TOGETHER connections.

    Beyond those whoever says nothing for longest makes room: lines that are only held open keep nobody out. count: see Guard.
    """

    count: Callable[[str, int], None] = staticmethod(lambda method, status: None)
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client is there; it has to say what it wants."""
        super().connection_made(transport)
        if len(self.connections) > TOGETHER:
            silent = (c for c in self.connections if isinstance(c, Patient) and c._late is not None)
            oldest = min(silent, key=lambda c: c._late.when() if c._late else 0.0, default=self)
            oldest.transport.abort()
        self._wait()

    def send_400_response(self, msg: str) -> None:
        """What is no request gets the headers of every answer, and is counted."""
        self.count("", 400)
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *RAW]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=msg.encode()), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or of a body."""
        super().data_received(data)
        waiting = self.cycle is None or self.cycle.response_complete
        if waiting and self._late is None and not self.transport.is_closing():
            self._wait()
        elif not waiting and self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._late = self.loop.call_later(PATIENCE, self.transport.close)


def counted(count: Callable[[str, int], None]) -> type[Patient]:
    """The protocol of one server, whose answers without a request are counted too."""
    return type("Counted", (Patient,), {"count": staticmethod(count)})
