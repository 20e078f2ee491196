"""A camera's address as a person writes it: parsed strictly, its user and password taken out at once.

In: `rtsp://user:password@host/path`, `http(s)://...`, `v4l2:/dev/video0`, a file that grows, or a folder into which a recorder drops files. Out: an `Address` whose
every text leaves out what is secret. Where a host leads is `vlad.live.hosts`' affair. Opens nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from vlad.errors import InputError

Kind = Literal["rtsp", "http", "device", "file"]
KINDS: dict[str, Kind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
MOST = 2048  # letters of an address
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9.])?|[0-9A-Fa-f:.]{2,45}")
HINT = "a user or password with : / @ ? or # in it is written with %3A %2F %40 %3F %23"


class Secret:
    """A user and a password that no text, log or traceback shows. user, password: ask for them by name where they are sent."""

    __slots__ = ("password", "user")

    def __init__(self, user: str, password: str) -> None:
        if len(user) > 256 or len(password) > 256 or not (user + password).isprintable() or ":" in user:
            raise InputError("user and password: expected at most 256 printable letters each, and no : in the user")
        self.user, self.password = user, password

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.user, self.password) == (other.user, other.password)

    def __hash__(self) -> int:
        return hash((self.user, self.password))

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written down")


@dataclass(frozen=True)
class Address:
    """Where a stream is. kind: how it is read. scheme, host, port, target (path and query): of rtsp and http; path: of a device, a file or a folder.

    A query may hold a key, so it is no more shown than the secret: `str` and `repr` leave both out.
    """

    kind: Kind
    scheme: str = ""
    host: str = ""
    port: int = 0
    target: str = ""
    path: str = ""
    secret: Secret | None = None

    @property
    def place(self) -> str:
        """host:port as a URL writes it, the port only where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """With its query, without user and password: for a request, not for a line that somebody reads."""
        return f"{self.scheme}://{self.place}{self.target}" if self.scheme else self.path

    def __str__(self) -> str:
        shown = f"{self.scheme}://{self.place}{self.target.partition('?')[0]}" if self.scheme else self.path
        return shown + ("?..." if "?" in self.target else "")

    def __repr__(self) -> str:
        return f"Address({self})"


def parse(text: str, secret: Secret | None = None) -> Address:
    """An address. secret: for one that names no user. Raises InputError, whose line repeats nothing of a URL."""
    text = text.strip()
    if not text or len(text) > MOST or not text.isprintable():
        raise InputError(f"a stream's address: expected 1 to {MOST} printable letters")
    if text.startswith("v4l2:") or re.fullmatch(r"/dev/video\d+", text):
        path = text.removeprefix("v4l2:")
        if not re.fullmatch(r"/dev/(video\d+|v4l/by-(id|path)/[\w.:+-]+)", path):
            raise InputError("a v4l2 address: expected v4l2:/dev/video0, or one of /dev/v4l/by-id")
        return Address("device", path=path)
    if "://" not in text:
        return Address("file", path=text)
    return _url(text, secret)


def _url(text: str, secret: Secret | None) -> Address:
    scheme = text.partition("://")[0].lower()
    if scheme not in KINDS:
        raise InputError(f"a stream's address: expected one of {', '.join(KINDS)}, a device, a file or a folder")
    if any(c in text for c in ' \\"<>^`{|}'):
        raise InputError("a stream's address: it holds a letter that a URL cannot hold; write it with %")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port or PORTS[scheme]
    except ValueError:
        raise InputError(f"a stream's address: its host or port cannot be read; {HINT}") from None
    if not HOST.fullmatch(host) or parts.fragment:
        raise InputError(f"a stream's address: its host cannot be read, or it has a part behind #; {HINT}")
    if parts.username is not None:
        secret = Secret(unquote(parts.username), unquote(parts.password or ""))
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="/?&=%:;,@!$'()*+~-._[]")
    return Address(KINDS[scheme], scheme, host, port, target, secret=secret)
