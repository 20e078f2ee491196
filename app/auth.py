"""Who is asking, and may they? Sessions in a cookie, tokens in a header, guesses that are slowed down, and the origin of writes.

In: requests. Out: a `Caller`, or 401, 403, 429. On loopback without users everybody on this machine is the one local user; a page of another site cannot
write even then, since its Origin is not ours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request

from vlad.library import Library
from vlad.library.asking import asking, now
from vlad.library.tables import Key, User

from .address import LOOPBACK

COOKIE, DEVICE = "vlad_session", "vlad_device"  # __Host-... over https: no other port or host can set them
SESSION, KNOWN = 12 * 3600.0, 180 * 86_400.0  # seconds of a session, and for which a browser is known
KEPT = 10_000  # uses of tokens that are remembered
SCOPES = ("read", "write", "admin")
SAFE = ("GET", "HEAD", "OPTIONS")
PASSED_ON = re.compile(
    r"forwarded|via|x-real-ip|x-forwarded-.*|x-client-ip|cf-connecting-ip|true-client-ip", re.I
)  # headers of a proxy


@dataclass(frozen=True)
class Caller:
    """user: whose request this is. scopes: what it may do; a session may do what its user may. cameras: whose clips there are for them, None for all."""

    user: User
    scopes: frozenset[str]
    cameras: frozenset[str] | None = None

    @property
    def acting(self) -> User:
        """The user with no more rights than these scopes give: an admin's token without `admin` is a reviewer's."""
        return self.user if "admin" in self.scopes else User(id=self.user.id, name=self.user.name, role="reviewer")


class Gate:
    """The rules of one server. local: it listens on loopback alone, so that nobody signs in while the library has no users."""

    def __init__(self, library: Library, *, local: bool) -> None:
        self.library, self._loopback = library, local
        self._used: dict[tuple[str, str, int], bool] = {}

    @property
    def local(self) -> bool:
        """Whether everybody on this machine is the one local user; the first user that is added ends it at once."""
        return self._loopback and not self.library.has_users()

    def caller(self, request: Request) -> Caller:
        """Who is asking. Raises HTTPException 401 for nobody, 403 for a write from another site, or for what comes from elsewhere in local mode."""
        local = self.check_origin(request)
        header = request.headers.get("authorization", "")
        if header.lower().startswith("bearer "):
            key = self.library.key(header[7:].strip())
            if key is None or not key.scopes:
                raise HTTPException(401, "this token is unknown, expired or revoked")
            self._note(key, address_of(request))
            return Caller(key.user, frozenset(key.scopes.split()), self.library.cameras_of(key.user))
        if local:
            return Caller(self.library.local_user(), frozenset(SCOPES))
        key = self.library.key(session_of(request))
        if key is None or key.scopes:
            raise HTTPException(401, "sign in first")
        scopes = frozenset(SCOPES if key.user.role == "admin" else SCOPES[:2])
        return Caller(key.user, scopes, self.library.cameras_of(key.user))

    def _note(self, key: Key, address: str) -> None:
        """A token's first use of a day from an address goes into the log."""
        use = (key.id, address, int(time.time() // 86_400))
        if use not in self._used:
            if len(self._used) > KEPT:
                self._used.clear()
            with asking(replace(now(), user=key.user_id, address=address)):
                self.library.log(key.user.name, "token used", "", name=key.name)
            self._used[use] = True

    def check_origin(self, request: Request) -> bool:
        """Refuse a write from a page of another site; in local mode also whatever did not come straight from this machine. Whether it is local mode.

        A proxy on this machine would hand the open library to whoever reaches the proxy: it shows in its headers, or in a name that is not ours.
        """
        host, local = request.headers.get("host", ""), self.local
        if local and urlsplit(f"//{host}").hostname not in LOOPBACK:
            raise HTTPException(403, "this server answers on this machine only")
        if local and (not _is_loopback(request) or any(PASSED_ON.fullmatch(name) for name in request.headers)):
            raise HTTPException(
                403,
                "nobody signs in here, so only this machine itself is answered; add a user first: vlad users add NAME --role admin",
            )
        origin = request.headers.get("origin")
        said = urlsplit(origin or "")
        plain = request.url.scheme == "https" and said.scheme != "https"
        if request.method not in SAFE and origin is not None and (said.netloc != host or plain):
            raise HTTPException(403, "writes come from this page only")
        if request.method not in SAFE and request.headers.get("sec-fetch-site") == "cross-site":
            raise HTTPException(403, "writes come from this page only")
        return local

    def begin_guess(self, name: str, request: Request, *, known: bool = False) -> str:
        """A try at a password, see Guesses; the place it counts for. Raises HTTPException 429 with when to come back."""
        place = self.library.device_of(name, request.cookies.get(cookie_of(request, DEVICE), ""))
        known = known or bool(place)
        place = place or address_of(request)
        wait = self.library.begin_guess(name, place, known=known or self.library.signed_in_from(name, place))
        if wait > 0:
            seconds = int(wait) + 1
            raise HTTPException(429, f"too many tries; wait {seconds} s", headers={"Retry-After": str(seconds)})
        return place


def address_of(request: Request) -> str:
    """Where a request comes from: the peer, or what a trusted proxy says of it."""
    return request.client.host[:64] if request.client else ""


def cookie_of(request: Request, name: str = COOKIE) -> str:
    """What a cookie is called, the session's where none is named."""
    return f"__Host-{name}" if request.url.scheme == "https" else name


def session_of(request: Request) -> str:
    """The secret of the session's cookie, '' where there is none."""
    return request.cookies.get(cookie_of(request), "")


def _is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def may(scope: str) -> Callable[..., Caller]:
    """A dependency: the caller, who has `scope`. Raises HTTPException 403."""

    def check(request: Request) -> Caller:
        caller: Caller = request.state.caller  # see guard.admitted
        if scope not in caller.scopes:
            raise HTTPException(403, f"this needs the scope {scope}")
        return caller

    return check


Reader = Annotated[Caller, Depends(may("read"))]
Writer = Annotated[Caller, Depends(may("write"))]
Admin = Annotated[Caller, Depends(may("admin"))]
