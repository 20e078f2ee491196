"""Where the server is to be reached, asked before anything is loaded: a port that is taken, a host that is not this machine's, nobody who could sign in.

In: host, port, who there is. Out: nothing, or one line with the remedy. Knows no library and no model.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from vlad.errors import SettingsError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check(host: str, port: int, trusted_proxy: str, has_users: Callable[[], bool]) -> None:
    """Raises SettingsError. trusted_proxy: a network, '' for none: others come through it. has_users: asked only where others could come."""
    try:
        (kind, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with socket.socket(kind, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except (OSError, UnicodeError) as error:
        raise SettingsError(_remedy(host, port, error)) from None
    if (host not in LOOPBACK or trusted_proxy) and not has_users():
        raise SettingsError(
            f"host {host}: others could reach it and nobody has to sign in; first: vlad users add NAME --role admin"
        )


def _remedy(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else port - 1
        return f"port {port}: another program has it; end that one, or choose another: vlad app --port {other}"
    if number in (errno.EACCES, errno.EPERM):
        return f"port {port}: this user may not open it; choose one above 1023, such as vlad app --port 7860"
    return f"host {host}: not an address of this machine; leave --host out for this machine alone, or name 0.0.0.0 for all its addresses"
