"""Where streams may lead, and how fast: what the ways to a camera (`rtsp`, `web`) have in common.

In: hosts and ports. Out: connections to addresses that were checked (`vlad.live.hosts`), or one line that says why not. Knows no protocol.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from vlad.errors import InputError, VladError
from vlad.live.hosts import MEANT, Network, connected, refused, resolved

CONNECT, ANSWER = 5.0, 10.0  # seconds for a connection, and for an answer
PACE = 16 << 20  # bytes a second from one camera at most
LEAST = 2 << 10  # bytes that a piece counts as at least: thousands of tiny ones cost more than what is in them
PIECE = 64 << 10


class Unreachable(VladError):
    """The camera is away, or said nothing, or stopped: it is asked again soon."""


class Denied(VladError):
    """The camera, or what it sends, is refused: asking again soon would change nothing."""


@dataclass(frozen=True)
class Rules:
    """Where streams may lead. allow: networks beyond those that cameras are in by default (all public and private ones); tls: PEM of further authorities."""

    allow: Sequence[Network] = ()
    tls: str = ""

    def connect(self, host: str, port: int) -> socket.socket:
        """Raises Denied, Unreachable."""
        try:
            return connected(host, port, CONNECT, private=True, allow=self.allow)
        except InputError as error:
            raise _refusal(error) from None
        except OSError as error:
            raise Unreachable(f"no connection ({error.strerror or error})") from None

    def checked(self, host: str, port: int, *, private: bool = True) -> str:
        """An address of a host. private: also of a local network. Raises Denied, Unreachable."""
        try:
            return resolved(host, port, private=private, allow=self.allow)[0]
        except InputError as error:
            raise _refusal(error) from None

    def near(self, ip: str) -> bool:
        """Whether an address that was checked is of a local network."""
        return bool(refused(ip_address(ip)))


def _refusal(error: InputError) -> VladError:
    if "no host of that name" in str(error):
        return Unreachable(str(error))
    return Denied(str(error).replace(MEANT, "; where it is meant, start with --allow and its network"))


class Budget:
    """A pace of bytes: whoever is too fast is read more slowly."""

    def __init__(self, pace: int = PACE) -> None:
        self.pace, self.left, self.at = pace, float(pace), time.monotonic()

    def spend(self, count: int, pieces: int = 1) -> None:
        """Wait until so many bytes in so many pieces are allowed."""
        now, count = time.monotonic(), max(count, LEAST * pieces)
        self.left, self.at = min(self.left + (now - self.at) * self.pace, float(self.pace)) - count, now
        if self.left < 0:
            time.sleep(min(-self.left / self.pace, 1.0))
