"""Messages out of the library's outbox: webhooks, MQTT, e-mail.

In: a library with targets; a turn every half second or so. Out: messages sent, each marked once it was taken. Who dies between sending and marking leaves it to the next: on
the wire a message may come twice, with the same key (`webhook-id`, `Message-ID`, `key` in MQTT's JSON), by which a receiver knows it again.

Every address is looked up here and checked, and the checked one is connected to (`hosts`): private networks and this machine only where the target's `allow` names them. No
redirect is followed; a receiver has SECONDS in all and may answer ANSWER bytes.

settings of a target: events ([] for the usual ones), allow (networks), authorities (PEM of further ones); of mail also sender, to, picture, plain, page; of mqtt prefix and discovery.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

from vlad.clock import iso
from vlad.errors import InputError, VladError
from vlad.library import Library
from vlad.library.database import called
from vlad.library.tables import CameraRow, OutboxRow, TargetRow

from .hosts import Lookup, Named, Network, networks, resolved

log = logging.getLogger("vlad.live")
SECONDS = 15.0  # of one sending, from the look-up to the last byte of the answer
ANSWER = 64 << 10  # bytes of a receiver's answer that are read
TOGETHER = 8  # messages that are sent at once, one a target
PACE = 0.9  # seconds between two looks at what a broker is to be told of cameras
FRESH = 30.0  # seconds for which what is told of a camera counts
PORTS = {"https": 443, "http": 80, "mqtts": 8883, "mqtt": 1883, "smtps": 465, "smtp": 587}
SCHEMES = {"webhook": ("https", "http"), "mqtt": ("mqtts", "mqtt"), "mail": ("smtps", "smtp")}
SHORTEST = 16  # letters of a webhook's secret


class FailedError(Exception):
    """A message was not taken: why, in words that tell nothing of secrets; later: seconds that the receiver asks for."""

    def __init__(self, why: str, later: float = 0.0) -> None:
        super().__init__(why)
        self.later = later


def check_target(kind: str, address: str, secret: str | None, settings: Mapping[str, Any]) -> None:
    """Raises InputError for a target that nothing could be sent to. secret: None where it stays as it is."""
    if kind not in SCHEMES:
        raise InputError(f"target: {kind} is not there; choose one of {', '.join(SCHEMES)}")
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES[kind]:
        raise InputError(f"target: expected an address that begins with {' or '.join(f'{s}://' for s in SCHEMES[kind])}")  # fmt: skip
    allow = networks(settings.get("allow") or ())
    if parts.scheme in ("http", "mqtt") and not allow:
        raise InputError(
            f"target: {parts.scheme}:// is read by anybody on its way; only for networks that `allow` names"
        )
    if settings.get("authorities"):
        Named.of("x", str(settings["authorities"]))
    if kind == "webhook" and secret is not None and len(secret) < SHORTEST:
        raise InputError(f"target: a webhook is signed, with a secret of {SHORTEST} letters or more")
    if kind == "mail":
        told = [settings.get("sender") or "", *(settings.get("to") or [])]
        if len(told) < 2 or any(not _mailbox(t) for t in told):
            raise InputError("target: mail needs `sender` and `to`, addresses such as guard@example.org")
    if kind == "mail" and secret:
        _login(secret)
    if kind == "mqtt" and secret:
        _login(secret)


def _mailbox(name: Any) -> bool:
    name = str(name)
    local, _, domain = name.partition("@")
    return bool(local and domain) and len(name) <= 320 and name.isascii() and name.isprintable() and not set(name) & set(' ,;<>"()[]\\:')  # fmt: skip


def _login(secret: str) -> tuple[str, str]:
    """user:password of a secret. Raises InputError."""
    user, colon, password = secret.partition(":")
    if not colon or not user:
        raise InputError("target: expected a secret such as user:password")
    return user, password


class Courier:
    """Sends what is due. now: seconds since 1970; lookup: as socket.getaddrinfo."""

    def __init__(self, library: Library, *, now: Callable[[], float] = time.time, lookup: Lookup = socket.getaddrinfo) -> None:  # fmt: skip
        self.library, self.now, self.lookup = library, now, lookup
        self._pool = ThreadPoolExecutor(TOGETHER, "vlad-out")
        self._under_way: set[Future[None]] = set()
        self._brokers: dict[str, Broker] = {}
        self._keeping: dict[str, Future[None]] = {}

    def turn(self) -> None:
        """Begin to send what is due, and keep brokers connected; waits for none of it. Raises VladError where the library is away."""
        self._under_way = {f for f in self._under_way if not f.done()}
        for message in self.library.claim_messages(self.now(), TOGETHER - len(self._under_way)):
            self._under_way.add(self._pool.submit(self._send, message))
        self._keep()

    def wait(self, seconds: float = SECONDS + 5) -> None:
        """Until all that was begun is over, or time is."""
        end = time.monotonic() + seconds
        for future in [*self._under_way, *self._keeping.values()]:
            with suppress(TimeoutError):
                future.result(max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """Wait for what is under way, and tell brokers that nobody is here any more."""
        self.wait()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for broker in self._brokers.values():
            broker.close()

    def _send(self, message: OutboxRow) -> None:
        try:
            try:
                self._sent(message)
            except (FailedError, InputError) as error:
                later = error.later if isinstance(error, FailedError) else 0.0
                self.library.message_failed(message.id, str(error), self.now(), later=later)
            except Exception as error:  # a receiver's nonsense ends nothing; its words may hold anything
                log.warning("target %s: %s", message.target.name, type(error).__name__)
                self.library.message_failed(message.id, _words(error), self.now())
            else:
                self.library.message_sent(message.id, self.now())
        except (
            VladError
        ) as error:  # the library is away: the claim runs out, and the message is sent again with its key
            log.warning("outbox: %s", error)

    def _sent(self, message: OutboxRow) -> None:
        target, secret = message.target, self.library.target_secret(message.target_id)
        check_target(target.kind, target.address, None, target.settings)
        if target.kind == "webhook":
            post_webhook(target, secret, message.payload, now=self.now(), lookup=self.lookup)
        elif target.kind == "mail":
            send_mail(target, secret, message.payload, self._picture(message), self.lookup)
        else:
            broker = self._broker(target)
            broker.connect(secret, self._cameras(target))
            broker.tell(message.payload, self._going(message.payload.get("camera", "")))

    def _picture(self, message: OutboxRow) -> bytes | None:
        """What a mail may show: nothing while people are covered, since the picture is as it was recorded."""
        if not message.target.settings.get("picture") or not message.alarm_id or self.library.privacy().on:
            return None
        return self.library.alarm_picture(message.alarm_id)

    def _going(self, camera: str) -> bool:
        """Whether an alarm of a camera goes on: also where its messages come late."""
        return bool(camera) and bool(self.library.alarms(camera=camera, going=True, count=1))

    def _cameras(self, target: TargetRow) -> list[CameraRow]:
        return [c for c in self.library.cameras() if not target.cameras or c.name in target.cameras]

    def _broker(self, target: TargetRow) -> Broker:
        broker = self._brokers.get(target.id)
        if broker is None or (broker.target.address, broker.target.settings) != (target.address, target.settings):
            if broker is not None:
                broker.close()
            broker = self._brokers[target.id] = Broker(target, self.lookup)
        return broker

    def _keep(self) -> None:
        """Brokers hear that somebody is here, of cameras that come and go, and of their scores."""
        targets = {t.id: t for t in self.library.targets() if t.kind == "mqtt" and t.on}
        for gone in set(self._brokers) - set(targets):
            self._brokers.pop(gone).close()
        for target_id, target in targets.items():
            before = self._keeping.get(target_id)
            broker = self._broker(target)
            if (before is None or before.done()) and broker.due():
                self._keeping[target_id] = self._pool.submit(self._kept, broker)

    def _kept(self, broker: Broker) -> None:
        try:
            cameras = self._cameras(broker.target)
            broker.connect(self.library.target_secret(broker.target.id), cameras)
            broker.announce(cameras, self.now())
            going = {a.camera for a in self.library.alarms(going=True, count=1000)}
            for camera in cameras:
                broker.state(camera, camera.name in going)
        except (FailedError, VladError) as error:
            broker.failed(str(error))
        except Exception as error:
            broker.failed(_words(error))


def _words(error: Exception) -> str:
    """What went wrong, without words of the other side."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not fit ({error.verify_message})"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "it did not answer in time"
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not here: pip install 'vlad[live]'"
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be reached ({error.strerror})"
    return f"it cannot be reached ({type(error).__name__})"


def _place(target: TargetRow) -> tuple[SplitResult, int, tuple[Network, ...]]:
    parts = urlsplit(target.address)
    return parts, parts.port or PORTS[parts.scheme], networks(target.settings.get("allow") or ())


def _checked(host: str, port: int, allow: Sequence[Network], lookup: Lookup, *, plain: bool) -> list[str]:
    """The addresses that may be connected to; plain: without TLS, so that only those that are allowed by name may."""
    found = resolved(host, port, allow=allow, lookup=lookup)
    if plain:
        found = [a for a in found if any(ip_address(a).version == n.version and ip_address(a) in n for n in allow)]
    if not found:
        raise InputError(f"{host}: without TLS only networks that `allow` names are told anything")
    return found


def signature(secret: str, key: str, at: int, body: bytes) -> dict[str, str]:
    """Headers of a signed webhook, as Standard Webhooks has them: HMAC-SHA256 over id.timestamp.body. secret: whsec_ and base64, else its letters."""
    raw = secret.encode()
    if secret.startswith("whsec_"):
        with suppress(ValueError):
            raw = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    made = hmac.new(raw, f"{key}.{at}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-id": key, "webhook-timestamp": str(at), "webhook-signature": f"v1,{base64.b64encode(made).decode()}"}  # fmt: skip


def post_webhook(target: TargetRow, secret: str, payload: Mapping[str, Any], *, now: float, lookup: Lookup = socket.getaddrinfo, seconds: float = SECONDS) -> None:  # fmt: skip
    """POST a message as JSON. Raises FailedError for anything but 2xx, InputError for an address that may not be asked, OSError and httpcore2's."""
    import httpcore2

    if not secret:
        raise FailedError("its secret is gone, since its host was changed; type it again")
    parts, _, allow = _place(target)
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
            for address in _checked(host, port, allow, lookup, plain=parts.scheme == "http"):
                try:
                    return Stream(httpcore2.SyncBackend().connect_tcp(address, port, left(), None, socket_options))
                except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                    last = error
            raise last

    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"content-type": "application/json", "user-agent": "vlad", **signature(secret, payload["key"], int(now), body)}  # fmt: skip
    context = Named.of(parts.hostname or "", str(target.settings.get("authorities") or ""))
    with (
        httpcore2.ConnectionPool(ssl_context=context, network_backend=Backend(), retries=0) as pool,
        pool.stream("POST", target.address, headers=list(headers.items()), content=body) as answer,
    ):
        got = 0
        for piece in answer.iter_stream():
            got += len(piece)
            if got > ANSWER:
                break
        status = answer.status
        asked = next((v for k, v in answer.headers if k.lower() == b"retry-after"), b"")
    if 300 <= status < 400:
        raise FailedError(f"it answered {status}: redirects are not followed")
    if not 200 <= status < 300:
        raise FailedError(f"it answered {status}", float(asked) if asked.isdigit() and len(asked) < 6 else 0.0)


def send_mail(target: TargetRow, secret: str, payload: Mapping[str, Any], picture: bytes | None, lookup: Lookup = socket.getaddrinfo) -> None:  # fmt: skip
    """A message by SMTP, over TLS from the start (smtps) or by STARTTLS. Raises FailedError, InputError, OSError."""
    parts, port, allow = _place(target)
    host, plain = parts.hostname or "", bool(target.settings.get("plain"))
    context = Named.of(host, str(target.settings.get("authorities") or ""))
    address = _checked(host, port, allow, lookup, plain=plain)[0]
    mail = mail_of(target, payload, picture)
    begun: list[smtplib.SMTP] = []
    over = threading.Timer(2 * SECONDS, lambda: _shut(begun))  # each of its steps has a time of its own
    over.start()
    try:
        kind: Callable[..., smtplib.SMTP] = smtplib.SMTP
        more: dict[str, Any] = {}
        if parts.scheme == "smtps":
            kind, more = smtplib.SMTP_SSL, {"context": context}
        with kind(address, port, local_hostname="vlad", timeout=SECONDS, **more) as server:
            begun.append(server)
            if parts.scheme == "smtp" and not plain:
                server.starttls(context=context)
            if secret:
                server.login(*_login(secret))
            left_out = server.send_message(mail)
        if left_out:
            raise FailedError(f"{len(left_out)} of {len(target.settings['to'])} receivers were refused")
    except smtplib.SMTPResponseException as error:  # its words may hold anything
        raise FailedError(f"its mail server answered {error.smtp_code}") from None
    except smtplib.SMTPException as error:
        raise FailedError(f"its mail server did not take it ({type(error).__name__})") from None
    finally:
        over.cancel()


def _shut(servers: Sequence[smtplib.SMTP]) -> None:
    for server in servers:
        with suppress(OSError):
            if server.sock is not None:
                server.sock.shutdown(socket.SHUT_RDWR)


def mail_of(target: TargetRow, payload: Mapping[str, Any], picture: bytes | None) -> EmailMessage:
    """A message as a mail: plain text, with a picture where one may be shown."""
    mail, settings = EmailMessage(), target.settings
    camera, what = called(str(payload.get("camera", ""))), str(payload["type"])
    mail["From"], mail["To"] = settings["sender"], ", ".join(settings["to"])
    mail["Subject"] = f"vlad: test of {target.name}" if what == "test" else f"vlad: alarm {what}, {camera}"
    mail["Date"] = formatdate(float(payload["at"]))
    mail["Message-ID"] = f"<{hashlib.sha256(str(payload['key']).encode()).hexdigest()[:40]}@vlad>"
    lines = [f"A test message of vlad, asked for by {payload.get('by', '')}."] if what == "test" else sentences(payload)
    page = str(settings.get("page") or "")
    mail.set_content("\n".join([*lines, *([page] if page else []), "", f"key: {payload['key']}"]))
    if picture is not None:
        mail.add_attachment(picture, "image", "jpeg", filename="alarm.jpg")
    return mail


def sentences(payload: Mapping[str, Any]) -> list[str]:
    """An alarm in words, a line each."""
    start, end = float(payload["start"]), float(payload["end"])
    lines = [
        f"camera: {payload['camera']}",
        f"from {iso(start)} to {iso(end)}" + (", and goes on" if payload["going"] else ""),
        f"highest score: {payload['peak']:.2f}",
    ]
    lines += [f"{name}: {payload[name]}" for name in ("label", "zone") if payload[name]]
    if payload["summary"]:
        lines.append(f"stands for {payload['counted']} alarms beyond the camera's limit")
    if payload["state"] != "open":
        lines.append(f"{payload['state']} by {payload['by']}")
    return lines


class Broker:
    """One connection to an MQTT broker. Topics, by the camera's id: PREFIX/ID/alarm (ON, OFF; retained), score (retained), event (JSON with a key), status, and PREFIX/status, which
    the broker itself sets to offline once nobody is here. With `discovery` (homeassistant; '' for none) Home Assistant finds each camera by itself."""

    def __init__(self, target: TargetRow, lookup: Lookup = socket.getaddrinfo) -> None:
        self.target, self.lookup = target, lookup
        self.prefix = str(target.settings.get("prefix") or "vlad").strip("/")
        self.discovery = str(target.settings.get("discovery", "homeassistant")).strip("/")
        self._client: Any = None
        self._lock = threading.RLock()
        self._told: dict[str, str] = {}  # by topic, what is retained there by now
        self._known: set[str] = set()  # ids of cameras
        self._names: dict[str, str] = {}
        self._next, self._failures = 0.0, 0

    @property
    def connected(self) -> bool:
        """Whether the broker answers."""
        return self._client is not None and bool(self._client.is_connected())

    def due(self) -> bool:
        """Whether it is to be looked after: at once where it is connected, after a while where that failed."""
        return time.monotonic() >= self._next

    def failed(self, why: str) -> None:
        """It could not be reached: it is tried again later, and after longer with each time."""
        self._failures += 1
        self._next = time.monotonic() + min(60.0, 2.0**self._failures)
        log.warning("broker %s: %s", self.target.name, why)

    def connect(self, secret: str, cameras: Sequence[CameraRow]) -> None:
        """Unless it is. Raises FailedError, InputError, OSError."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        with self._lock:
            if self.connected:
                return
            self._drop()
            parts, port, allow = _place(self.target)
            host = parts.hostname or ""
            address = _checked(host, port, allow, self.lookup, plain=parts.scheme == "mqtt")[0]
            client = Client(CallbackAPIVersion.VERSION2, f"vlad-{self.target.id[:8]}-{uuid4().hex[:6]}", reconnect_on_failure=False)  # fmt: skip
            if parts.scheme == "mqtts":
                client.tls_set_context(Named.of(host, str(self.target.settings.get("authorities") or "")))
            if secret:
                client.username_pw_set(*_login(secret))
            client.will_set(f"{self.prefix}/status", "offline", qos=1, retain=True)
            client.connect_timeout = SECONDS
            answered, code = threading.Event(), [""]

            def on_connect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
                code[0] = str(reason) if reason.is_failure else ""
                answered.set()

            client.on_connect = on_connect
            client.connect(address, port, keepalive=30)
            client.loop_start()
            self._client = client
            if not answered.wait(SECONDS) or code[0]:
                self._drop()
                raise FailedError(f"the broker refused ({code[0][:60]})" if code[0] else "it did not answer in time")
            self._told, self._failures = {}, 0
            self._retain(f"{self.prefix}/status", "online")
            self._announce(cameras)

    def announce(self, cameras: Sequence[CameraRow], now: float) -> None:
        """Cameras that came, went, or have a new state or score."""
        with self._lock:
            self._next = time.monotonic() + PACE
            self._announce(cameras)
            for camera in cameras:
                state = camera.state or {}
                on = state.get("state") in ("on", "slow") and now - (camera.told or 0.0) < FRESH
                self._retain(f"{self.prefix}/{camera.id}/status", "online" if on else "offline")
                if on and state.get("score") is not None:
                    self._retain(f"{self.prefix}/{camera.id}/score", f"{float(state['score']):.2f}", qos=0)

    def state(self, camera: CameraRow, going: bool) -> None:
        """Whether an alarm of a camera goes on."""
        with self._lock:
            self._retain(f"{self.prefix}/{camera.id}/alarm", "ON" if going else "OFF")

    def tell(self, payload: Mapping[str, Any], going: bool) -> None:
        """A message, taken by the broker once this returns. Raises FailedError."""
        with self._lock:
            name = payload.get("camera", "")
            ids = {v: k for k, v in self._names.items()}
            place = ids.get(name, "test" if payload["type"] == "test" else "other")
            if place not in ("test", "other"):
                self._retain(f"{self.prefix}/{place}/alarm", "ON" if going else "OFF")
            self._publish(f"{self.prefix}/{place}/event", json.dumps(payload), qos=1, retain=False)

    def close(self) -> None:
        """Nobody is here any more."""
        with self._lock:
            if self.connected:
                with suppress(FailedError):
                    self._publish(f"{self.prefix}/status", "offline", qos=1, retain=True)
            self._drop()

    def _announce(self, cameras: Sequence[CameraRow]) -> None:
        self._names = {c.id: c.name for c in cameras}
        for gone in self._known - set(self._names):
            for topic in (*self._found(gone, ""), f"{self.prefix}/{gone}/alarm", f"{self.prefix}/{gone}/score", f"{self.prefix}/{gone}/status"):  # fmt: skip
                self._retain(topic, "")
        self._known = set(self._names)
        for camera in cameras:
            for topic, told in self._found(camera.id, camera.name).items():
                self._retain(topic, told)

    def _found(self, camera_id: str, name: str) -> dict[str, str]:
        """Topics by which Home Assistant finds a camera, and what stands there."""
        if not self.discovery:
            return {}
        own = f"{self.prefix}/{camera_id}"
        shared = {
            "device": {"identifiers": [f"vlad_{camera_id}"], "name": name, "manufacturer": "vlad"},
            "origin": {"name": "vlad"},
            "availability": [{"topic": f"{self.prefix}/status"}, {"topic": f"{own}/status"}],
            "availability_mode": "all",
        }
        alarm = {"name": "Alarm", "unique_id": f"vlad_{camera_id}_alarm", "state_topic": f"{own}/alarm", "device_class": "safety", "json_attributes_topic": f"{own}/event"}  # fmt: skip
        score = {"name": "Score", "unique_id": f"vlad_{camera_id}_score", "state_topic": f"{own}/score", "state_class": "measurement", "suggested_display_precision": 2}  # fmt: skip
        return {
            f"{self.discovery}/binary_sensor/vlad_{camera_id}/alarm/config": json.dumps({**alarm, **shared}),
            f"{self.discovery}/sensor/vlad_{camera_id}/score/config": json.dumps({**score, **shared}),
        }

    def _retain(self, topic: str, told: str, *, qos: int = 1) -> None:
        if self._told.get(topic) != told:
            self._publish(topic, told, qos=qos, retain=True)
            self._told[topic] = told

    def _publish(self, topic: str, told: str, *, qos: int, retain: bool) -> None:
        if self._client is None:
            raise FailedError("it is not connected")
        sent = self._client.publish(topic, told, qos=qos, retain=retain)
        try:
            sent.wait_for_publish(SECONDS)
        except (RuntimeError, ValueError):
            raise FailedError("the broker went away") from None
        if not sent.is_published():
            self._drop()
            raise FailedError("the broker did not take it in time")

    def _drop(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None
