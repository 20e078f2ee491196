"""Where a host leads, and whether anything may be asked of it or sent to it.

In: a host's name or address, what is allowed beyond the public network. Out: the addresses that were checked: connect to one of them, never to the name again,
since a name may lead elsewhere a moment later (DNS rebinding). Opens no connection of its own but for `connected`.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from vlad.errors import InputError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Lookup = Callable[..., Sequence[Any]]  # as socket.getaddrinfo

PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")))
METADATA = frozenset(  # where clouds tell a machine its own credentials
    map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"))
)
CARRIERS = tuple(
    map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96"))
)  # of IPv4 in IPv6
MEANT = "; allow it by name where it is meant"
MOST = 16  # addresses of one host that are looked at


def networks(named: Iterable[str]) -> tuple[Network, ...]:
    """Networks such as 192.168.1.0/24, or single addresses. Raises InputError."""
    found = []
    for name in named:
        try:
            found.append(ip_network(name.strip(), strict=False))
        except ValueError:
            raise InputError(f"allow {name[:60]!r}: expected a network such as 192.168.1.0/24, or an address") from None
    return tuple(found)


def refused(address: Address, *, private: bool = False, allow: Sequence[Network] = ()) -> str:
    """Why an address is not connected to, '' where it may be. private: addresses of local networks may. allow: what may beyond that, loopback and metadata too."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address.version == n.version and address in n for n in allow):
        return ""
    if address in METADATA:
        return "is where a cloud tells its machines' secrets"
    if any(address.version == n.version and address in n for n in PRIVATE):
        return "" if private else "is of a private network"
    if address.is_loopback or address.is_unspecified:
        return "is this machine itself"
    if any(address.version == n.version and address in n for n in CARRIERS):
        return "leads to another address than it names"
    if address.is_link_local:
        return "is of this link only"
    if address.is_multicast or not address.is_global:
        return "is no single host of a public network"
    return ""


def resolved(
    host: str, port: int, *, private: bool = False, allow: Sequence[Network] = (), lookup: Lookup = socket.getaddrinfo
) -> list[str]:
    """The addresses of a host that may be connected to, in the resolver's order; host: a name, an IPv4 address, or an IPv6 one with or without brackets.

    Raises InputError where there is none, with what is wrong with the first one.
    """
    name = host.strip().removeprefix("[").removesuffix("]")
    if not name or len(name) > 253 or not name.isprintable() or any(c in name for c in " /\\@%?#"):
        raise InputError("host: expected a name or an address")
    if not 0 < port < 65536:
        raise InputError(f"port {port}: expected 1 to 65535")
    try:
        answers = lookup(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(f"{name}: there is no host of that name") from None
    found: list[str] = []
    why = ""
    for address in dict.fromkeys(str(answer[4][0]).partition("%")[0] for answer in answers[:MOST]):
        wrong = refused(ip_address(address), private=private, allow=allow)
        if not wrong:
            found.append(address)
        why = why or (f"{name}: {address} {wrong}" if wrong and address != name else f"{address} {wrong}")
    if not found:
        raise InputError(f"{why or f'{name}: there is no host of that name'}{MEANT}")
    return found


def connected(
    host: str, port: int, seconds: float, *, private: bool = False, allow: Sequence[Network] = (), lookup: Lookup = socket.getaddrinfo
) -> socket.socket:  # fmt: skip
    """A connection to one of a host's checked addresses, tried in order for `seconds` in all. Raises InputError as `resolved`, OSError where none answers."""
    end, last = time.monotonic() + seconds, OSError("nobody answers")
    for address in resolved(host, port, private=private, allow=allow, lookup=lookup):
        try:
            return socket.create_connection((address, port), max(0.1, end - time.monotonic()))
        except OSError as error:
            last = error
        if time.monotonic() > end:
            break
    raise last


class Named(ssl.SSLContext):
    """TLS to an address that was checked, with a certificate of the host's name: the system's authorities, and those of a file where one is named."""

    host: str

    @classmethod
    def of(cls, host: str, authorities: str = "") -> Named:
        """For one host. authorities: PEM of further ones, '' for none. Raises InputError for what is no certificate."""
        made = cls(ssl.PROTOCOL_TLS_CLIENT)  # names and certificates are checked
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.host = host.strip().removeprefix("[").removesuffix("]")
        made.load_default_certs()
        if authorities:
            try:
                made.load_verify_locations(cadata=authorities)
            except (ssl.SSLError, ValueError, TypeError):
                raise InputError("authorities: expected certificates in PEM") from None
        return made

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **more: Any) -> ssl.SSLSocket:
        """Whoever asks has connected to an address, and would have its certificate be the address's."""
        return super().wrap_socket(sock, *arguments, **{**more, "server_hostname": self.host})
