"""What changes, as it changes: server-sent events for pages, and who is looking at what.

In: the library's numbered changes, whichever process made them; pages that say what they show. Out: streams of text/event-stream. One thread asks
the library while anybody listens; every listener has a short queue, and one that does not keep up is let go and comes back with the number it
had (`Last-Event-ID`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from vlad.errors import VladError
from vlad.library import Library
from vlad.library.asking import Asking, everything, now
from vlad.library.tables import Change, SegmentRow, Video

from .auth import Reader, Writer
from .common import Body, Id, library

log = logging.getLogger("vlad.app")
router = APIRouter(prefix="/api")
PACE = 0.3  # seconds between two looks into the library
QUIET = 15.0  # seconds after which a comment says that the line is up
GONE = 30.0  # seconds without a word after which nobody is looking any more
OPEN = 600.0  # seconds of one stream: then it is opened, and its caller asked for, anew
MOST = 300  # streams at once
WAITING = 200  # events that wait for one page


@dataclass(eq=False)
class Listener:
    """A page that follows. who: what it gets to see. queue: lines for it; None ends its stream."""

    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(WAITING))
    who: Asking = field(default_factory=now)

    def offer(self, text: str | None) -> None:
        """From any thread: a line for the page, or its end; a page that does not keep up is let go."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._put, text)

    def _put(self, text: str | None) -> None:
        if text is None or self.queue.full():
            while not self.queue.empty():
                self.queue.get_nowait()
            text = None
        self.queue.put_nowait(text)


@dataclass(frozen=True)
class Looking:
    """Somebody who is here. segment, video: what their page shows, '' for nothing. at: when it last said so (s since 1970). camera: of that clip."""

    name: str
    segment: str
    video: str
    at: float
    camera: str = ""

    def told(self, who: Asking) -> dict[str, Any]:
        """To somebody: what they cannot see is not looked at."""
        seen = who.sees(self.camera)
        return {
            "name": self.name,
            "segment": self.segment if seen else "",
            "video": self.video if seen else "",
            "at": self.at,
        }


class Live:
    """Changes and people of one server."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._listeners: set[Listener] = set()
        self._people: dict[str, Looking] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def join(self, last: int) -> Listener:
        """A new listener of the running loop, to everything after change number `last` that is for who asks. Raises HTTPException 503 beyond MOST."""
        listener = Listener(asyncio.get_running_loop())
        with self._lock:
            if len(self._listeners) >= MOST or self._stop.is_set():
                raise HTTPException(503, "too many pages follow along; try again later", headers={"Retry-After": "30"})
            self._listeners.add(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, args=(last,), daemon=True)
                self._thread.start()
        return listener

    def leave(self, listener: Listener) -> None:
        """It listens no more."""
        with self._lock:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End every stream, for good."""
        self._stop.set()
        self.renew()

    def renew(self) -> None:
        """End every stream; pages come back as those who they are by then."""
        self._send(lambda listener: None)

    def look(self, name: str, segment: str, video: str, camera: str = "") -> list[Looking]:
        """Somebody's page shows something; who is here."""
        with self._lock:
            self._people[name] = Looking(name, segment, video, time.time(), camera)
        self._tell_people()
        return self.people()

    def people(self) -> list[Looking]:
        """Who is here, by name."""
        with self._lock:
            self._people = {n: p for n, p in self._people.items() if time.time() - p.at < GONE}
            return [self._people[name] for name in sorted(self._people)]

    def _tell_people(self) -> None:
        people = self.people()
        self._send(lambda listener: _present(people, listener.who))

    def _send(self, text: Callable[[Listener], str | None]) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.offer(text(listener))

    def _run(self, last: int) -> None:
        here = 0
        while not self._stop.wait(PACE):
            with self._lock:
                if not self._listeners:
                    self._thread = None
                    return
            try:
                last = self._pass_on(last)
            except Exception as error:  # a database that is away for a moment ends no stream
                log.warning("changes: %s", error)
            if len(self.people()) < here:
                self._tell_people()
            here = len(self.people())

    def _pass_on(self, last: int) -> int:
        rows = self.library.changes(last)
        whose = self.library.whose(rows) if rows else {}
        with self._lock:
            listeners = list(self._listeners)
        for row in rows:
            for listener in listeners:
                if _theirs(listener.who, *whose[row.n]):
                    listener.offer(told(row))
            last = row.n
        return last


def _theirs(who: Asking, camera: str | None, owner: str) -> bool:
    """Whether a change is for somebody: of a clip that they see, or of their own case."""
    return who.sees(camera) if camera is not None else who.cameras is None or owner == who.user


def _present(people: list[Looking], who: Asking) -> str:
    return f"event: presence\ndata: {json.dumps({'people': [p.told(who) for p in people]})}\n\n"


def told(row: Change) -> str:
    """A change as an event."""
    facts = {"n": row.n, "kind": row.kind, "id": row.target, "video": row.video, "by": row.by, "at": row.at}
    return f"id: {row.n}\nevent: change\ndata: {json.dumps(facts)}\n\n"


class Presence(Body):
    """What a page shows."""

    segment: Id | None = None
    video: Id | None = None


@router.post("/presence")
def presence(request: Request, caller: Writer, body: Presence) -> dict[str, Any]:
    """What this person's page shows, to be said again within 30 s; who is here, and what they look at. What does not exist is not looked at."""
    live: Live = request.app.state.live
    found = library(request)
    with found.read() as session:
        segment = session.get(SegmentRow, body.segment) if body.segment else None
        clip = (
            session.get(Video, body.video or (segment.video_id if segment else "")) if body.video or segment else None
        )
    if (body.segment and segment is None) or (body.video and clip is None):
        people = live.people()
    else:
        people = live.look(caller.user.name, body.segment or "", body.video or "", clip.camera if clip else "")
    return {"people": [p.told(now()) for p in people]}


@router.get("/events", response_class=StreamingResponse)
async def events(request: Request, caller: Reader) -> StreamingResponse:
    """`change` events {n, kind, id, video, by, at} and `presence` events {people}, as they happen; after `Last-Event-ID` where it is given."""
    live: Live = request.app.state.live
    said = request.headers.get("last-event-id", "")
    listener = live.join(await run_in_threadpool(live.library.last_change))
    try:  # only then: what changes meanwhile may come twice, but is not lost
        missed = await run_in_threadpool(_missed, live, int(said)) if said.isdecimal() and len(said) < 10 else []
    except VladError:
        live.leave(listener)
        raise
    return StreamingResponse(
        _stream(live, listener, missed), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


def _missed(live: Live, last: int) -> list[Change]:
    """Changes after a number that are for who asks."""
    rows = live.library.changes(last)
    with everything():
        whose = live.library.whose(rows)
    return [row for row in rows if _theirs(now(), *whose[row.n])]


async def _stream(live: Live, listener: Listener, missed: list[Change]) -> AsyncIterator[str]:
    end = time.monotonic() + OPEN
    try:
        yield "retry: 2000\n\n"
        for row in missed:
            yield told(row)
        yield _present(live.people(), listener.who)
        while time.monotonic() < end:
            try:
                text = await asyncio.wait_for(listener.queue.get(), QUIET)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            if text is None:
                return
            yield text
    finally:
        live.leave(listener)
