"""Messages out of the library's outbox: webhooks, MQTT, e-mail, web push.

In: a library with targets; a turn every half second or so. Out: messages sent, each marked once it was taken. Who dies between sending and marking leaves it to the next: on
the wire a message may come twice, with the same key (`webhook-id`, `Message-ID`, `key` in JSON, a push's topic), by which a receiver knows it again.

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
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from vlad.clock import iso
from vlad.errors import InputError, VladError
from vlad.library import Library
from vlad.library.database import called
from vlad.library.outbox import Access
from vlad.library.tables import CameraRow, OutboxRow, TargetRow

from . import push
from .broker import Broker, login
from .hosts import Lookup, Named, Network, networks
from .post import SECONDS, FailedError, checked_hosts, post

log = logging.getLogger("vlad.live")
RUN = 100  # messages to one target, one after another
TOGETHER = 8  # messages that are sent at once, one a target
PORTS = {"https": 443, "http": 80, "smtps": 465, "smtp": 587}
SCHEMES = {"webhook": ("https", "http"), "mqtt": ("mqtts", "mqtt"), "mail": ("smtps", "smtp"), "push": ("https",)}
SHORTEST = 16  # letters of a webhook's secret


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
    if (parts.scheme in ("http", "mqtt") or (kind == "mail" and settings.get("plain"))) and not allow:
        raise InputError(
            "target: without encryption anybody on its way reads it; name the private networks that it may be in"
        )
    if settings.get("authorities"):
        Named.of("x", str(settings["authorities"]))
    if kind == "webhook" and secret is not None and len(secret) < SHORTEST:
        raise InputError(f"target: a webhook is signed with a key, its secret, of {SHORTEST} letters or more")
    if kind == "mail":
        told = [settings.get("sender") or "", *(settings.get("to") or [])]
        if len(told) < 2 or any(not _mailbox(t) for t in told):
            raise InputError("target: mail needs a sender and receivers, addresses such as guard@example.org")
    if kind == "mail" and secret:
        login(secret)
    if kind == "mqtt" and secret:
        login(secret)


def _mailbox(name: Any) -> bool:
    name = str(name)
    local, _, domain = name.partition("@")
    return bool(local and domain) and len(name) <= 320 and name.isascii() and name.isprintable() and not set(name) & set(' ,;<>"()[]\\:')  # fmt: skip


class Courier:
    """Sends what is due. now: seconds since 1970; lookup: as socket.getaddrinfo; contact: see `push.sealed`."""

    def __init__(self, library: Library, *, now: Callable[[], float] = time.time, lookup: Lookup = socket.getaddrinfo, contact: str = "") -> None:  # fmt: skip
        self.library, self.now, self.lookup, self.contact = library, now, lookup, contact
        self._pool = ThreadPoolExecutor(TOGETHER, "vlad-out")
        self._under_way: dict[Future[None], str] = {}  # and to which target
        self._ill: set[str] = (
            set()
        )  # ids of targets that did not take their last message: they have half of the senders
        self._brokers: dict[str, Broker] = {}
        self._keeping: dict[str, Future[None]] = {}

    def turn(self) -> None:
        """Begin to send what is due, and keep brokers connected; waits for none of it. Raises VladError where the library is away."""
        self._under_way = {f: t for f, t in self._under_way.items() if not f.done()}
        ill = set(self._ill)
        self._begin(TOGETHER - len(self._under_way), but=ill)
        if ill:
            held = sum(t in ill for t in self._under_way.values())
            self._begin(min(TOGETHER // 2 - held, TOGETHER - len(self._under_way)))
        self._keep()

    def _begin(self, count: int, but: Collection[str] = ()) -> None:
        for message in self.library.claim_messages(self.now(), count, but=but) if count > 0 else ():
            self._under_way[self._pool.submit(self._send_all, message)] = message.target_id

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

    def _send_all(self, message: OutboxRow) -> None:
        """A message, and what else is due at its target, as long as that takes it; after RUN of them other targets have their turn."""
        waiting = [message]
        with suppress(VladError):  # the library is away
            for left in range(RUN, 0, -1):
                if not waiting or not self._send(waiting[0]):
                    return
                waiting = self.library.claim_messages(self.now(), 1, message.target_id) if left > 1 else []

    def _send(self, message: OutboxRow) -> bool:
        """Whether it was taken."""
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
                self._ill.discard(message.target_id)
                self.library.message_sent(message.id, self.now())
                return True
        except VladError as error:  # it is away: the claim runs out, and the message is sent again with its key
            log.warning("outbox: %s", error)
        self._ill.add(message.target_id)
        return False

    def _sent(self, message: OutboxRow) -> None:
        target, access = message.target, self.library.target_access(message.target_id)
        secret = access.secret
        check_target(target.kind, target.address, None, target.settings)
        if target.kind == "webhook":
            post_webhook(target, access, message.payload, now=self.now(), lookup=self.lookup)
        elif target.kind == "mail":
            send_mail(target, secret, message.payload, self._picture(message), self.lookup)
        elif target.kind == "push":
            self._pushed(target, secret, message)
        else:
            broker = self._broker(target)
            broker.connect(secret, self._cameras(target))
            broker.tell(message.payload, self._going(message.payload.get("camera", "")))

    def _pushed(self, target: TargetRow, secret: str, message: OutboxRow) -> None:
        try:
            send_push(target, secret, message.payload, self.library.keys_folder(), self.lookup, self.contact)
        except FailedError as error:
            if error.status in (404, 410):  # the browser is gone for good, says its service
                self.library.push_gone(target.id)
            raise

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
                self._pool.submit(broker.close)  # it may hang: nobody waits for it
            broker = self._brokers[target.id] = Broker(target, self.lookup)
        return broker

    def _keep(self) -> None:
        """Brokers hear that somebody is here, of cameras that come and go, and of their scores."""
        targets = {t.id: t for t in self.library.targets() if t.kind == "mqtt" and t.on}
        for gone in set(self._brokers) - set(targets):
            self._pool.submit(self._brokers.pop(gone).close)
        for target_id, target in targets.items():
            before = self._keeping.get(target_id)
            broker = self._broker(target)
            if (before is None or before.done()) and broker.due():
                self._keeping[target_id] = self._pool.submit(self._kept, broker)

    def _kept(self, broker: Broker) -> None:
        try:
            cameras = self._cameras(broker.target)
            broker.connect(self.library.target_access(broker.target.id).secret, cameras)
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
        return f"{error.name} is not here: pip install '.[live]' where vlad lies"
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be reached ({error.strerror})"
    return f"it cannot be reached ({type(error).__name__})"


def _place(target: TargetRow) -> tuple[SplitResult, int, tuple[Network, ...]]:
    parts = urlsplit(target.address)
    return parts, parts.port or PORTS[parts.scheme], networks(target.settings.get("allow") or ())


def signature(secret: str, key: str, at: int, body: bytes) -> dict[str, str]:
    """Headers of a signed webhook, as Standard Webhooks has them: HMAC-SHA256 over id.timestamp.body. secret: whsec_ and base64, else its letters."""
    raw = secret.encode()
    if secret.startswith("whsec_"):
        with suppress(ValueError):
            raw = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    made = hmac.new(raw, f"{key}.{at}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-id": key, "webhook-timestamp": str(at), "webhook-signature": f"v1,{base64.b64encode(made).decode()}"}  # fmt: skip


def post_webhook(target: TargetRow, access: Access, payload: Mapping[str, Any], *, now: float, lookup: Lookup = socket.getaddrinfo, seconds: float = SECONDS) -> None:  # fmt: skip
    """A message as JSON, signed. Raises as `post`."""
    if not access.secret:
        raise FailedError("its secret is gone, since its host was changed; type it again")
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"content-type": "application/json", "user-agent": "vlad", **signature(access.secret, payload["key"], int(now), body)}  # fmt: skip
    _, _, allow = _place(target)
    post(
        target.address + (access.path or "/"),
        headers,
        body,
        allow=allow,
        authorities=_authorities(target),
        lookup=lookup,
        seconds=seconds,
    )


def send_push(target: TargetRow, secret: str, payload: Mapping[str, Any], folder: Path, lookup: Lookup = socket.getaddrinfo, contact: str = "") -> None:  # fmt: skip
    """A message to a browser, encrypted for it. folder: of the key that signs. Raises as `post` and `push.sealed`."""
    if not secret:
        raise FailedError("its browser's keys are gone")
    subscription = push.checked(secret)
    headers, body = push.sealed(subscription, payload, folder, contact)
    _, _, allow = _place(target)
    post(subscription["endpoint"], headers, body, allow=allow, authorities=_authorities(target), lookup=lookup, seconds=SECONDS)  # fmt: skip


def _authorities(target: TargetRow) -> str:
    return str(target.settings.get("authorities") or "")


class _Server(smtplib.SMTP):
    """A mail server at an address that was checked. secure: TLS from the start. line: its connection once more, by which all of it can be ended from another thread, whatever waits for it."""

    line: socket.socket | None = None

    def __init__(self, secure: Named | None) -> None:
        super().__init__(local_hostname="vlad", timeout=SECONDS)
        self.secure = secure

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = socket.create_connection((host, port), timeout)
        self.line = made.dup()
        return self.secure.wrap_socket(made) if self.secure else made

    def cut(self) -> None:
        """At once."""
        with suppress(OSError):
            if self.line is not None:
                self.line.shutdown(socket.SHUT_RDWR)


def send_mail(target: TargetRow, secret: str, payload: Mapping[str, Any], picture: bytes | None, lookup: Lookup = socket.getaddrinfo, seconds: float = SECONDS) -> None:  # fmt: skip
    """A message by SMTP, over TLS from the start (smtps) or by STARTTLS. Raises FailedError, InputError, OSError."""
    parts, port, allow = _place(target)
    host, plain = parts.hostname or "", bool(target.settings.get("plain"))
    context = Named.of(host, _authorities(target))
    address = checked_hosts(host, port, allow, lookup, plain=plain)[0]
    mail = mail_of(target, payload, picture)
    server = _Server(context if parts.scheme == "smtps" else None)
    over = threading.Timer(seconds, server.cut)  # each of its steps has a time of its own, and there is no end of steps
    over.start()
    try:
        server.connect(address, port)
        if parts.scheme == "smtp" and not plain:
            server.ehlo_or_helo_if_needed()
            if not server.has_extn("starttls"):
                raise FailedError("it offers no STARTTLS")
            server.starttls(context=context)
        if secret:
            server.ehlo_or_helo_if_needed()
            if not server.has_extn("auth"):
                raise FailedError("it takes no user and password")
            server.login(*login(secret))
        left_out = server.send_message(mail)
        with suppress(smtplib.SMTPException):
            server.quit()
        if left_out:
            raise FailedError(f"{len(left_out)} of {len(target.settings['to'])} receivers were refused")
    except smtplib.SMTPResponseException as error:  # its words may hold anything
        raise FailedError(f"its mail server answered {error.smtp_code}") from None
    except smtplib.SMTPException as error:
        raise FailedError(f"its mail server did not take it ({type(error).__name__})") from None
    finally:
        over.cancel()
        server.close()
        if server.line is not None:
            server.line.close()


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
