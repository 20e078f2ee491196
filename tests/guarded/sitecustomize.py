"""Of the processes that tests start, and of the tests' own: no connection but to this machine. What was tried is written down, and fails the run.

In: VLAD_GUARD, a file. Any way to a socket in Python ends here; a library of C's own is not seen (libpq: PostgreSQL's tests name a local server).
"""

import ipaddress
import os
import sys

HERE = ("127.", "::1", "localhost", "/", "\x00")


def _is_number(host):  # type: ignore[no-untyped-def]
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _guard(event, arguments):  # type: ignore[no-untyped-def]
    if event not in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"):
        return
    place = arguments[0] if event == "socket.getaddrinfo" else arguments[-1]
    host = place[0] if isinstance(place, tuple) and place else place
    host = host.decode("latin-1") if isinstance(host, bytes) else host
    if host is None or not isinstance(host, str) or host in ("", "0.0.0.0", "::") or host.startswith(HERE):
        return
    looked_up = event == "socket.getaddrinfo"  # of numbers: asks nobody; .invalid is nobody's (RFC 2606)
    if looked_up and (host == os.uname().nodename or host.endswith(".invalid") or _is_number(host)):
        return
    test = os.environ.get("PYTEST_CURRENT_TEST", "a process without a test")
    with open(os.environ["VLAD_GUARD"], "a") as file:
        file.write(f"{test}: {event} {host}\n")
    raise PermissionError(f"a test may not reach {host}")


if os.environ.get("VLAD_GUARD"):
    sys.addaudithook(_guard)
