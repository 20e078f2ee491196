"""Receivers of the tests' own, on free ports of this machine: webhooks, mail, an MQTT broker; and certificates that nobody else trusts."""

import datetime
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Hook:
    """What came to a webhook. answer: called with the handler, sends what is to be answered."""

    port: int = 0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answer: Callable[[Any], None] = lambda handler: _status(handler, 204)


def _status(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def status(code: int, **headers: str) -> Callable[[Any], None]:
    """An answer without a body."""
    return lambda handler: _status(handler, code, **headers)


@contextmanager
def webhook(tls: ssl.SSLContext | None = None) -> Iterator[Hook]:
    """A receiver of webhooks."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            hook.answer(self)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    hook.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """A server's side of TLS for a host's name or address, and the PEM by which it is trusted."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    other: x509.GeneralName = x509.DNSName(name)
    with suppress(ValueError):
        other = x509.IPAddress(ip_address(name))
    made = (
        x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([other]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    (folder / f"{name}.pem").write_text(pem)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())  # fmt: skip
    (folder / f"{name}.key").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context, pem


@dataclass
class Broker:
    """A Mosquitto. port: of plain MQTT with a password, tls: of MQTT over TLS."""

    port: int
    tls: int
    pem: str
    process: "subprocess.Popen[bytes]"
    start: Callable[[], "subprocess.Popen[bytes]"]

    def stop(self) -> None:
        """At once."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """And wait until it answers."""
        self.process = self.start()


@contextmanager
def mosquitto(folder: Path) -> Iterator[Broker]:
    """A broker that wants user guard with password hush; skips where there is none."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    named = shutil.which("mosquitto_passwd") or shutil.which("mosquitto_passwd", path="/usr/sbin:/usr/bin")
    if program is None or named is None:
        pytest.skip("Mosquitto is not installed")
    _, pem = certificate(folder, "broker.test")
    subprocess.run([named, "-b", "-c", str(folder / "passwd"), "guard", "hush"], check=True, capture_output=True)
    ports = [free(), free()]
    (folder / "mosquitto.conf").write_text(
        f"allow_anonymous false\npassword_file {folder}/passwd\nuser root\nlistener {ports[0]} 127.0.0.1\nlistener {ports[1]} 127.0.0.1\n"
        f"certfile {folder}/broker.test.pem\nkeyfile {folder}/broker.test.key\n"
    )

    def start() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", ports[0]), 1).close()
                return process
            except OSError:
                time.sleep(0.05)
        raise AssertionError("Mosquitto did not start")

    broker = Broker(ports[0], ports[1], pem, start(), start)
    try:
        yield broker
    finally:
        broker.stop()


def free() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
