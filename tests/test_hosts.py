"""Where hosts lead: every address is checked, and the checked one is connected to."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from vlad.errors import InputError
from vlad.live.hosts import Named, connected, networks, refused, resolved


def lookup(*answers: str) -> Any:
    """A resolver that says these, whoever is asked for."""
    return lambda host, port, **more: [(0, 0, 0, "", (a, port)) for a in answers]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "169.254.1.1", "169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "255.255.255.255",
        "240.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:53aa::1", "::127.0.0.1", "fd00:ec2::254",
        "100.100.100.200", "192.0.0.192", "168.63.129.16", "192.0.2.1", "2001:db8::1",
    ],
)  # fmt: skip
def test_what_is_refused_even_where_private_networks_are_allowed(address: str) -> None:
    assert refused(ip_address(address), private=True)
    with pytest.raises(InputError, match="allow it by name"):
        resolved("x.example", 80, private=True, lookup=lookup(address))
    assert resolved("x.example", 80, allow=networks([address.removeprefix("::ffff:")]), lookup=lookup(address)) == [address]  # fmt: skip


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1", "192.168.178.1", "100.64.0.1", "fd12::1", "::ffff:10.1.2.3"])  # fmt: skip
def test_private_networks_only_where_they_are_allowed(address: str) -> None:
    assert refused(ip_address(address)) == "is of a private network"
    assert refused(ip_address(address), private=True) == ""
    assert refused(ip_address(address), allow=networks(["192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "fd00::/8"])) == ""  # fmt: skip


def test_of_several_addresses_those_that_may_are_taken() -> None:
    found = lookup("10.0.0.1", "93.184.216.34", "93.184.216.34", "2606:2800:220::1")
    assert resolved("x.example", 443, lookup=found) == ["93.184.216.34", "2606:2800:220::1"]


@pytest.mark.parametrize("host", ["", " ", "a b", "a/b", "user@host", "a%eth0", "x" * 254])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="expected a name"):
        resolved(host, 80, lookup=lookup("93.184.216.34"))


def test_what_cannot_be_found_or_is_no_network_is_told() -> None:
    def nobody(*arguments: Any, **more: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(InputError, match="there is no host of that name"):
        resolved("x.example", 80, lookup=nobody)
    with pytest.raises(InputError, match="expected 1 to 65535"):
        resolved("x.example", 0, lookup=nobody)
    with pytest.raises(InputError, match="expected a network"):
        networks(["everything"])
    with pytest.raises(InputError, match="in PEM"):
        Named.of("x", "no certificate")


def test_the_checked_address_is_connected_to_and_the_name_is_asked_for_once() -> None:
    """DNS rebinding: a name that leads to this machine with the second question."""
    asked = []

    def turning(host: str, port: int, **more: Any) -> Any:
        asked.append(host)
        return lookup("127.0.0.1" if len(asked) == 1 else "10.0.0.1")(host, port)

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with connected("x.example", port, 2.0, allow=networks(["127.0.0.1"]), lookup=turning) as line:
            assert line.getpeername() == ("127.0.0.1", port)
    assert asked == ["x.example"]
    with pytest.raises(InputError, match="private network"):
        connected("x.example", port, 2.0, allow=networks(["127.0.0.1"]), lookup=turning)
    with pytest.raises(OSError, match="refused"):
        connected("127.0.0.1", port, 2.0, allow=networks(["127.0.0.1"]))
