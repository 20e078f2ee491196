"""Who is asking, and may they? Sessions in a cookie, tokens in a header, five tries a minute, and the origin of writes.

In: requests. Out: a `Caller`, or 401, 403, 429. On loopback without users everybody is the one local user; a page of another site cannot
write even then, since its Origin is not ours.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request

from vlad.library import Library
from vlad.library.tables import User

COOKIE = "vlad_session"
SESSION = 12 * 3600.0  # seconds
TRIES, WINDOW = 5, 60.0  # sign-ins a minute, by name and by address
SCOPES = ("read", "write", "admin")
SAFE = ("GET", "HEAD", "OPTIONS")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Caller:
    """user: whose request this is. scopes: what it may do; a session may do what its user may."""

    user: User
    scopes: frozenset[str]


class Gate:
    """The rules of one server. local: nobody signs in; only where no users are, on loopback."""

    def __init__(self, library: Library, *, local: bool) -> None:
        self.library, self.local = library, local
        self.tries: dict[str, deque[float]] = defaultdict(deque)

    def caller(self, request: Request) -> Caller:
        """Who is asking. Raises HTTPException 401 for nobody, 403 for a write from another site."""
        self.check_origin(request)
        header = request.headers.get("authorization", "")
        if header.lower().startswith("bearer "):
            key = self.library.key(header[7:].strip())
            if key is None or not key.scopes:
                raise HTTPException(401, "this token is unknown, expired or revoked")
            return Caller(key.user, frozenset(key.scopes.split()))
        if self.local:
            return Caller(self.library.local_user(), frozenset(SCOPES))
        key = self.library.key(request.cookies.get(COOKIE, ""))
        if key is None or key.scopes:
            raise HTTPException(401, "sign in first")
        return Caller(key.user, frozenset(SCOPES if key.user.role == "admin" else SCOPES[:2]))

    def check_origin(self, request: Request) -> None:
        """A write from a page of another site is refused, and a name that is not ours (DNS rebinding) on loopback."""
        host = request.headers.get("host", "")
        if self.local and urlsplit(f"//{host}").hostname not in LOOPBACK:
            raise HTTPException(403, "this server answers on this machine only")
        origin = request.headers.get("origin")
        if request.method not in SAFE and origin is not None and urlsplit(origin).netloc != host:
            raise HTTPException(403, "writes come from this page only")

    def try_sign_in(self, name: str, address: str) -> None:
        """Count a try. Raises HTTPException 429 beyond five a minute, for a name or from an address."""
        now = time.monotonic()
        self.tries = defaultdict(deque, {k: t for k, t in self.tries.items() if t and now - t[-1] <= WINDOW})
        for key in (f"name {name.lower()}", f"address {address}"):
            tries = self.tries[key]
            while tries and now - tries[0] > WINDOW:
                tries.popleft()
            if len(tries) >= TRIES:
                wait = int(WINDOW - (now - tries[0])) + 1
                raise HTTPException(429, f"too many tries; wait {wait} s", headers={"Retry-After": str(wait)})
        for key in (f"name {name.lower()}", f"address {address}"):
            self.tries[key].append(now)


def may(scope: str) -> Callable[..., Caller]:
    """A dependency: the caller, who has `scope`. Raises HTTPException 403."""

    def check(request: Request) -> Caller:
        caller: Caller = request.app.state.gate.caller(request)
        if scope not in caller.scopes:
            raise HTTPException(403, f"this needs the scope {scope}")
        return caller

    return check


Reader = Annotated[Caller, Depends(may("read"))]
Writer = Annotated[Caller, Depends(may("write"))]
Admin = Annotated[Caller, Depends(may("admin"))]
