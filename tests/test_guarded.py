"""The guard of these very tests: nothing but this machine is reached, from here and from what is started here."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CODE = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"


@pytest.mark.parametrize("where", ["192.0.2.1", "example.org", "2001:db8::1"])
def test_no_test_reaches_elsewhere(where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLAD_GUARD", str(tmp_path / "tried"))  # what is tried here is no fault
    with pytest.raises(PermissionError, match="may not reach"):
        socket.create_connection((where, 80), 1)
    with pytest.raises(PermissionError, match="may not reach"), socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("192.0.2.1", 53))
    assert where in (tmp_path / "tried").read_text()


def test_nor_does_what_a_test_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLAD_GUARD", str(tmp_path / "tried"))
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert "a test may not reach 192.0.2.1" in said.stderr
    assert "192.0.2.1" in (tmp_path / "tried").read_text()


def test_this_machine_is_reached() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname(), 2).close()


def test_f6_a_schema_refers_to_nothing_outside_itself() -> None:
    """It opened what it named; had it tried, the guard would have it."""
    from vlad.prompting import parse

    source = "---\nname: x\nvariables: {}\nschema:\n  type: object\n  properties: {text: {$ref: 'http://192.0.2.1/x'}}\n---\n## user\nHello\n"
    prompt, faults = parse(source, Path("x.md"))
    assert prompt is None
    assert any(f.grave for f in faults)
    assert "VLAD_GUARD" in os.environ
