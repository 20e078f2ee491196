"""One POST to an address that is checked as it is connected to: no redirect, no more time and no longer an answer than it is given.

In: an https address (http for networks that are allowed by name), headers, a body. Out: nothing, or why it was not taken.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from vlad.errors import InputError

from .hosts import Lookup, Named, Network, resolved

SECONDS = 15.0  # of one sending, once its host is looked up
ANSWER = 64 << 10  # bytes of a receiver's answer that are read


class FailedError(Exception):
    """A message was not taken: why, in words that tell nothing of secrets; later: seconds that the receiver asks for; status: that it answered, 0 for none."""

    def __init__(self, why: str, later: float = 0.0, status: int = 0) -> None:
        super().__init__(why)
        self.later, self.status = later, status


def checked_hosts(host: str, port: int, allow: Sequence[Network], lookup: Lookup, *, plain: bool) -> list[str]:
    """The addresses that may be connected to; plain: without TLS, so that only those that are allowed by name may."""
    found = resolved(host, port, allow=allow, lookup=lookup)
    if plain:
        found = [a for a in found if any(ip_address(a).version == n.version and ip_address(a) in n for n in allow)]
    if not found:
        raise InputError(f"{host}: without TLS only the private networks that it may be in are told anything")
    return found


def post(
    address: str, headers: Mapping[str, str], body: bytes, *, allow: Sequence[Network] = (), authorities: str = "",
    lookup: Lookup = socket.getaddrinfo, seconds: float = SECONDS,
) -> None:  # fmt: skip
    """Raises FailedError for anything but 2xx, InputError for an address that may not be asked, OSError and httpcore2's own. authorities: see `Named`."""
    import httpcore2

    parts = urlsplit(address)
    end = time.monotonic() + seconds

    def left() -> float:
        if end <= time.monotonic():
            raise httpcore2.ReadTimeout
        return end - time.monotonic()

    class Stream(httpcore2.NetworkStream):
        """A connection whose every step ends with the time there is."""

        def __init__(self, stream: httpcore2.NetworkStream) -> None:
            self.stream = stream

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return self.stream.read(max_bytes, left())

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self.stream.write(buffer, left())

        def close(self) -> None:
            self.stream.close()

        def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> httpcore2.NetworkStream:  # fmt: skip
            return Stream(self.stream.start_tls(ssl_context, server_hostname, left()))

        def get_extra_info(self, info: str) -> Any:
            return self.stream.get_extra_info(info)

    class Backend(httpcore2.NetworkBackend):
        """Connects to what was checked, and to nothing else."""

        def connect_tcp(self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Iterable[Any] | None = None) -> httpcore2.NetworkStream:  # fmt: skip
            last: Exception = httpcore2.ConnectError()
            for place in checked_hosts(host, port, allow, lookup, plain=parts.scheme == "http"):
                try:
                    return Stream(httpcore2.SyncBackend().connect_tcp(place, port, left(), None, socket_options))
                except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                    last = error
            raise last

    context = Named.of(parts.hostname or "", authorities) if parts.scheme == "https" else None
    with (
        httpcore2.ConnectionPool(ssl_context=context, network_backend=Backend(), retries=0) as pool,
        pool.stream("POST", address, headers=list(headers.items()), content=body) as answer,
    ):
        got = 0
        for piece in answer.iter_stream():
            got += len(piece)
            if got > ANSWER:
                break
        status = answer.status
        asked = next((v for k, v in answer.headers if k.lower() == b"retry-after"), b"")
    if 300 <= status < 400:
        raise FailedError(f"it answered {status}: redirects are not followed", status=status)
    if not 200 <= status < 300:
        later = float(asked) if asked.isdigit() and len(asked) < 6 else 0.0
        raise FailedError(f"it answered {status}", later, status)
