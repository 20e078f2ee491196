"""Messages out of the outbox to real receivers: webhooks, an SMTP sink, Mosquitto; hostile ones, those that are away, and senders that are killed in the middle."""

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from receivers import Hook, certificate, free, mosquitto, status, webhook
from sqlalchemy import select

from vlad.errors import InputError
from vlad.library import Library
from vlad.library.outbox import LEASE, Access
from vlad.library.tables import OutboxRow, TargetRow, User
from vlad.live import broker as broker_room
from vlad.live import out, push
from vlad.live.alarms import Event
from vlad.live.out import Courier, check_target, mail_of, post_webhook, signature

SECRET = "a secret of the hook"
HERE = {"allow": ["127.0.0.1"]}
T = 1_795_608_000.0


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def root(library: Library) -> User:
    return library.local_user()


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with webhook() as found:
        yield found


@pytest.fixture(autouse=True)
def _plain(request: pytest.FixtureRequest) -> None:
    if "hook" in request.fixturenames:
        found = request.getfixturevalue("hook")
        found.got.clear()
        found.answer = status(204)


def to(library: Library, root: User, address: str, kind: str = "webhook", secret: str = SECRET, **settings: Any) -> TargetRow:  # fmt: skip
    told = {"kind": kind, "name": kind, "address": address, "secret": secret, "settings": {**HERE, **settings}}
    return library.save_target(root, told)


def alarm(library: Library, start: float = T, *, kind: str = "raised", camera: str = "door", picture: bytes | None = None) -> str:  # fmt: skip
    found: str = library.record_alarm(camera, Event(kind, start, start, start + 2, 0.9, "fighting"), picture=picture).id
    return found


def leads_to(address: str) -> Any:
    """A resolver by which every name does."""
    return lambda host, port, **more: [(0, 0, 0, "", (address, port))]


def carry(library: Library, turns: int = 1, **more: Any) -> None:
    courier = Courier(library, **more)
    for _ in range(turns):
        courier.turn()
        courier.wait()
    courier.close()


def rows(library: Library) -> list[OutboxRow]:
    with library.read() as session:
        return list(session.scalars(select(OutboxRow).order_by(OutboxRow.created)))


def test_a_webhook_is_signed_and_sent_once(library: Library, root: User, hook: Hook) -> None:
    to(library, root, f"http://127.0.0.1:{hook.port}/vlad?x=1")
    found = alarm(library)
    carry(library, 3)
    ((headers, body),) = hook.got
    key, at = headers["webhook-id"], headers["webhook-timestamp"]
    made = hmac.new(SECRET.encode(), f"{key}.{at}.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(made).decode()}"
    assert abs(int(at) - time.time()) < 60
    told = json.loads(body)
    assert (told["type"], told["alarm"], told["camera"], told["going"], told["key"]) == ("raised", found, "door", True, key)  # fmt: skip
    (row,) = rows(library)
    assert (row.attempts, row.error) == (1, "")
    assert row.sent is not None


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """The example of its specification's reference libraries."""
    body, key = b'{"test": 2432232314}', "msg_p5jXN8AQM9LWM0D4loKWxJek"
    made = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", key, 1614265330, body)
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(302, Location="http://127.0.0.1:1/"), "it answered 302: redirects are not followed"),
        (status(500), "it answered 500"), (status(404), "it answered 404"), (status(410), "it answered 410"),
        (lambda h: h.wfile.write(b"\x00" * 4096), "it cannot be reached (RemoteProtocolError)"),
        (lambda h: None, "it cannot be reached (RemoteProtocolError)"),
        (lambda h: h.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000), "it cannot be reached (RemoteProtocolError)"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_a_receiver_answers_is_told_in_one_line_and_tried_again(library: Library, root: User, hook: Hook, answer: Any, words: str) -> None:  # fmt: skip
    hook.answer = answer
    to(library, root, f"http://127.0.0.1:{hook.port}/")
    alarm(library)
    carry(library)
    (row,) = rows(library)
    assert (row.error, row.sent, row.failed) == (words, None, "")
    assert 2 < row.next - time.time() <= 5
    hook.answer = status(200)
    carry(library, now=lambda: time.time() + 6)
    assert rows(library)[0].sent is not None
    assert len({h["webhook-id"] for h, _ in hook.got}) == 1


def test_a_receiver_may_ask_for_a_pause(library: Library, root: User, hook: Hook) -> None:
    hook.answer = status(429, Retry_After="120")
    to(library, root, f"http://127.0.0.1:{hook.port}/")
    alarm(library)
    carry(library)
    assert 100 < rows(library)[0].next - time.time() <= 121


@pytest.mark.slow
def test_a_receiver_that_drips_or_floods_is_cut_off(library: Library, root: User, hook: Hook) -> None:
    stop = threading.Event()

    def drip(handler: Any) -> None:
        while not stop.is_set():
            handler.wfile.write(b"x")
            time.sleep(0.02)

    def flood(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not stop.is_set():
            handler.wfile.write(b"x" * 65536)

    target = to(library, root, f"http://127.0.0.1:{hook.port}/")
    payload = {"key": "k", "type": "test"}
    hook.answer, begun = drip, time.monotonic()
    with pytest.raises(Exception, match=r".*") as error:
        post_webhook(target, Access(SECRET), payload, now=T, seconds=0.4)
    assert out._words(error.value) == "it did not answer in time"
    assert time.monotonic() - begun < 1.5
    hook.answer, begun = flood, time.monotonic()
    post_webhook(target, Access(SECRET), payload, now=T, seconds=5)
    assert time.monotonic() - begun < 2
    stop.set()


def test_no_private_address_unless_it_is_allowed_also_where_a_name_turns(library: Library, root: User, hook: Hook) -> None:  # fmt: skip
    """DNS rebinding: the name was fine when the target was made."""
    alarm(library)
    target = library.save_target(root, {"kind": "webhook", "name": "x", "address": f"https://hooks.example:{hook.port}/", "secret": SECRET})  # fmt: skip
    alarm(library, T + 100)
    for address in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1"):
        carry(library, lookup=leads_to(address))
        (row,) = rows(library)
        assert "allow it by name" in row.error
        with library.write() as session:
            session.merge(OutboxRow(id=row.id, next=0.0))
    assert hook.got == []
    for address, secret, settings in (
        ("http://hooks.example/", SECRET, {}), ("ftp://hooks.example/", SECRET, {}), ("https://hooks.example/", "short", {}),
        ("https://hooks.example/", SECRET, {"allow": ["all"]}), ("https://hooks.example/", SECRET, {"authorities": "x"}),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"target|allow|authorities"):
            check_target("webhook", address, secret, settings)
    target.address, target.settings = "http://hooks.example/", dict(HERE)
    with pytest.raises(InputError, match="without TLS only the private networks"):  # a public host over plain HTTP
        post_webhook(target, Access(SECRET), {"key": "k"}, now=T, lookup=leads_to("93.184.216.34"))


@pytest.mark.slow
def test_tls_wants_the_hosts_own_certificate(library: Library, root: User, tmp_path: Path) -> None:
    context, pem = certificate(tmp_path, "hooks.test")
    with webhook(context) as found:
        to(library, root, f"https://hooks.test:{found.port}/", authorities=pem)
        alarm(library)
        carry(library, lookup=leads_to("127.0.0.1"))
        assert rows(library)[0].error == ""
        library.save_target(root, {"settings": dict(HERE)}, library.targets()[0].id)  # nobody vouches for it
        alarm(library, T + 100)
        carry(library, lookup=leads_to("127.0.0.1"))
        assert "certificate" in rows(library)[1].error or "ConnectError" in rows(library)[1].error
        library.save_target(root, {"address": f"https://other.test:{found.port}/", "secret": SECRET, "settings": {**HERE, "authorities": pem}}, library.targets()[0].id)  # fmt: skip
        alarm(library, T + 200)
        carry(library, lookup=leads_to("127.0.0.1"))
        assert rows(library)[2].sent is None
        assert len(found.got) == 1


def test_one_that_hangs_holds_up_no_other(library: Library, root: User, hook: Hook) -> None:
    over = threading.Event()
    with webhook() as slow:
        slow.answer = lambda handler: over.wait(5)
        library.save_target(root, {"kind": "webhook", "name": "a slow one", "address": f"http://127.0.0.1:{slow.port}/", "secret": SECRET, "settings": HERE})  # fmt: skip
        to(library, root, f"http://127.0.0.1:{hook.port}/")
        for k in range(3):
            alarm(library, T + 100 * k)
        courier, begun = Courier(library), time.monotonic()
        while len(hook.got) < 3 and time.monotonic() - begun < 3:
            courier.turn()
            time.sleep(0.02)
        assert len(hook.got) == 3
        assert time.monotonic() - begun < 2
        over.set()
        courier.close()


def test_those_that_did_not_take_their_last_message_hold_up_no_other(library: Library, root: User, hook: Hook) -> None:
    """Somebody's browsers, say, which all lead to a server that hangs: more of them than senders."""
    over = threading.Event()
    with webhook() as slow:
        slow.answer = lambda handler: over.wait(10)
        hang = {"kind": "webhook", "address": f"http://127.0.0.1:{slow.port}/", "secret": SECRET, "settings": HERE}
        ill = {library.save_target(root, {**hang, "name": f"slow {n}"}).id for n in range(out.TOGETHER + 2)}
        to(library, root, f"http://127.0.0.1:{hook.port}/")
        alarm(library)
        courier, begun = Courier(library), time.monotonic()
        courier._ill = set(ill)
        for _ in range(5):
            courier.turn()
            time.sleep(0.1)
        assert len(hook.got) == 1
        assert sum(t in ill for t in courier._under_way.values()) == out.TOGETHER // 2
        alarm(library, T + 100)
        while len(hook.got) < 2 and time.monotonic() - begun < 5:
            courier.turn()
            time.sleep(0.02)
        assert len(hook.got) == 2
        over.set()
        courier.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize("said", [b"220", b"220-x\r\n", b"\x16\x03\x03"])
def test_a_mail_server_that_drips_is_cut_off(library: Library, root: User, scheme: str, said: bytes) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            line, _ = server.accept()
            with line, suppress(OSError):
                while not stop.wait(0.02):
                    line.sendall(said)

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        settings = {"sender": "vlad@example.org", "to": ["guard@example.org"]}
        target = to(library, root, f"{scheme}://127.0.0.1:{server.getsockname()[1]}", "mail", "", **settings)
        begun = time.monotonic()
        with pytest.raises((out.FailedError, OSError)):
            out.send_mail(target, "", {"type": "test", "key": "k", "at": T}, None, seconds=0.5)
        assert time.monotonic() - begun < 3
        stop.set()
        dripping.join()


class Sink:
    """Takes mails."""

    def __init__(self) -> None:
        self.got: list[tuple[Any, bytes]] = []
        self.answer = "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.got.append((envelope, envelope.content))
        return self.answer


@pytest.mark.slow
def test_mail_by_starttls_with_a_login_and_a_picture_only_where_nobody_is_covered(library: Library, root: User, tmp_path: Path) -> None:  # fmt: skip
    smtp = pytest.importorskip("aiosmtpd.smtp")
    from aiosmtpd.controller import Controller

    context, pem = certificate(tmp_path, "mail.test")
    sink, logins = Sink(), []

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        logins.append((data.login, data.password))
        return smtp.AuthResult(success=data.password == b"hush", handled=False)

    more: Any = {"authenticator": authenticate, "auth_required": True, "require_starttls": True, "tls_context": context}
    controller = Controller(sink, hostname="127.0.0.1", port=free(), **more)
    controller.start()
    try:
        settings = {"sender": "vlad@example.org", "to": ["guard@example.org"], "picture": True, "authorities": pem, "page": "https://vlad.example/"}  # fmt: skip
        target = to(library, root, f"smtp://mail.test:{controller.port}", "mail", "guard:hush", **settings)
        alarm(library, picture=b"\xff\xd8 a picture", camera="door\r\nBcc: all@example.org")
        carry(library, lookup=leads_to("127.0.0.1"))
        (row,) = rows(library)
        assert row.error == ""
        assert row.sent is not None
        library.set_privacy(root, "people", "mosaic")
        alarm(library, T + 100, picture=b"\xff\xd8 a picture")
        alarm(library, T + 100, kind="ended")  # which mail does not take
        carry(library, 2, lookup=leads_to("127.0.0.1"))
        library.save_target(root, {"secret": "guard:wrong"}, target.id)
        library.test_target(root, target.id)
        carry(library, lookup=leads_to("127.0.0.1"))
        assert rows(library)[-1].error == "its mail server answered 535"
    finally:
        controller.stop()
    first, second = (message_from_bytes(content) for _, content in sink.got)
    assert logins[0] == (b"guard", b"hush")
    assert [p.get_content_type() for p in first.walk()] == ["multipart/mixed", "text/plain", "image/jpeg"]
    assert second.get_content_type() == "text/plain"
    assert (first["Bcc"], first["To"]) == (None, "guard@example.org")
    assert first["Message-ID"] != second["Message-ID"]
    assert "highest score: 0.90" in str(second.get_payload())
    assert sink.got[0][0].rcpt_tos == ["guard@example.org"]


@pytest.mark.slow
def test_no_mail_goes_out_in_the_clear_and_none_to_what_is_no_mailbox(library: Library, root: User) -> None:
    pytest.importorskip("aiosmtpd")
    from aiosmtpd.controller import Controller

    settings = {"sender": "vlad@example.org", "to": ["guard@example.org"]}
    sink = Sink()
    controller = Controller(sink, hostname="127.0.0.1", port=free())
    controller.start()
    try:
        target = to(library, root, f"smtp://127.0.0.1:{controller.port}", "mail", "", **settings)
        library.test_target(root, target.id)
        carry(library)
        assert rows(library)[0].error == "it offers no STARTTLS"
        assert library.troubles() == {target.id: ("it offers no STARTTLS", rows(library)[0].next)}
        library.save_target(root, {"settings": {**HERE, **settings, "plain": True}}, target.id)
        carry(library, now=lambda: time.time() + 6)
        assert rows(library)[0].sent is not None
        assert library.troubles() == {}
        with pytest.raises(out.FailedError, match="it takes no user and password"):
            out.send_mail(library.target(target.id), "a:b", {"type": "test", "key": "k", "at": T}, None)
        sink.answer = "550 \x1b[31mno"
        library.test_target(root, target.id)
        carry(library)
        assert rows(library)[1].error == "its mail server answered 550"
    finally:
        controller.stop()
    for wrong in ({"to": ["guard@example.org"]}, {**settings, "to": []}, {**settings, "to": ["a@b, c@d"]}, {**settings, "sender": "x\r\n@y"}):  # fmt: skip
        with pytest.raises(InputError, match="mail needs"):
            check_target("mail", "smtps://mail.example", "a:b", wrong)
    with pytest.raises(InputError, match="user:password"):
        check_target("mail", "smtps://mail.example", "nothing", settings)
    with pytest.raises(InputError, match="without encryption"):
        check_target("mail", "smtp://mail.example", "a:b", {**settings, "plain": True})
    assert mail_of(target, {"type": "test", "key": "k", "at": T, "by": "ann"}, None)["Subject"] == "vlad: test of mail"


def browser() -> tuple[Any, dict[str, str]]:
    """A browser's private key, and what it gives when it subscribes, but for the endpoint."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = generate_private_key(SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    told = {"p256dh": point, "auth": bytes(range(16))}
    return key, {k: base64.urlsafe_b64encode(v).rstrip(b"=").decode() for k, v in told.items()}


@pytest.mark.slow
def test_web_push_is_read_by_the_browser_alone_and_ends_where_it_is_gone(library: Library, root: User, tmp_path: Path) -> None:  # fmt: skip
    """The receiver is a push service: it checks the signature, and what it got opens with the browser's key only."""
    http_ece = pytest.importorskip("http_ece")
    from py_vapid import Vapid02

    key, told = browser()
    context, pem = certificate(tmp_path, "push.test")
    ann = library.add_user("ann", "correct horse battery")
    library.set_group("root", "front", ["door"], ["ann"])
    with webhook(context) as service:
        service.answer = status(201)
        endpoint = f"https://push.test:{service.port}/send/abc"
        target = library.subscribe(ann, endpoint, json.dumps({"endpoint": endpoint, **told}))
        assert library.subscribe(ann, endpoint, json.dumps({"endpoint": endpoint, **told})).id == target.id
        assert "abc" not in target.address + target.name
        library.save_target(root, {"settings": {**target.settings, **HERE, "authorities": pem}}, target.id)
        alarm(library)
        alarm(library, camera="yard")  # which she does not see
        carry(library, 2, lookup=leads_to("127.0.0.1"), contact="mailto:root@example.net")
        ((headers, body),) = service.got
        assert [r.error for r in rows(library)] == [""]
        assert Vapid02.verify(headers["authorization"])
        claims = headers["authorization"].split(".")[1]
        assert json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"] == "mailto:root@example.net"
        assert (headers["content-encoding"], headers["urgency"]) == ("aes128gcm", "high")
        assert len(headers["topic"]) == 32
        assert b"door" not in body
        plain = http_ece.decrypt(body, private_key=key, auth_secret=bytes(range(16)), version="aes128gcm")
        assert json.loads(plain)["camera"] == "door"
        service.answer = status(410)
        alarm(library, T + 100)
        carry(library, lookup=leads_to("127.0.0.1"))
        assert library.targets() == []
        assert rows(library) == []
        library.subscribe(ann, endpoint, json.dumps({"endpoint": endpoint, **told}))
        library.close_user("root", "ann")
        alarm(library, T + 200)
        assert rows(library) == []
        assert library.unsubscribe(ann, endpoint) is True
        assert library.unsubscribe(ann, endpoint) is False


@pytest.mark.parametrize(
    "wrong",
    ["nothing", "[]", '{"endpoint": "https://x/"}', '{"endpoint": "http://x/", "p256dh": "BA", "auth": "AA"}', '{"endpoint": "https://x/", "p256dh": "\u00e9", "auth": "AA"}'],
)  # fmt: skip
def test_what_is_no_subscription_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="expected what a browser"):
        push.checked(wrong)


@pytest.mark.parametrize(
    "wrong", ["root@example.net", "mailto:", "mailto:a b@c", "https://", "mailto:a\r\nb@c", "javascript:alert(1)"]
)
def test_what_is_no_contact_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="expected mailto"):
        push.checked_contact(wrong)


class Listener:
    """Hears what a broker has."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.now: dict[str, str] = {}
        self.all: list[tuple[str, str]] = []
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.username_pw_set("guard", "hush")
        self.client.on_message = self._heard
        self.client.on_connect = lambda client, *more: client.subscribe("#", 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _heard(self, client: Any, data: Any, message: Any) -> None:
        self.now[message.topic] = message.payload.decode()
        self.all.append((message.topic, message.payload.decode()))

    def until(self, topic: str, told: str) -> None:
        end = time.monotonic() + 10
        while self.now.get(topic) != told:
            assert time.monotonic() < end, (topic, self.now.get(topic))
            time.sleep(0.02)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.slow
def test_mqtt_with_home_assistants_discovery(library: Library, root: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(broker_room, "PACE", 0.0)
    door = library.save_camera(root, {"name": "door", "url": "rtsp://10.0.0.5/"})
    with mosquitto(tmp_path) as broker:
        target = to(library, root, f"mqtts://broker.test:{broker.tls}", "mqtt", "guard:hush", authorities=broker.pem)
        heard = Listener(broker.port)
        courier = Courier(library, lookup=leads_to("127.0.0.1"))

        def turn() -> None:
            courier.turn()
            courier.wait()

        turn()
        heard.until("vlad/status", "online")
        heard.until(f"vlad/{door.id}/status", "offline")  # nobody watches it yet
        heard.until(f"vlad/{door.id}/alarm", "OFF")
        found = json.loads(heard.now[f"homeassistant/binary_sensor/vlad_{door.id}/alarm/config"])
        assert (found["state_topic"], found["device"]["name"]) == (f"vlad/{door.id}/alarm", "door")
        score = json.loads(heard.now[f"homeassistant/sensor/vlad_{door.id}/score/config"])
        assert score["state_topic"] == f"vlad/{door.id}/score"
        library.tell_cameras({"door": {"state": "on", "score": 0.123}})
        turn()
        heard.until(f"vlad/{door.id}/score", "0.12")
        heard.until(f"vlad/{door.id}/status", "online")
        alarm(library)
        turn()
        heard.until(f"vlad/{door.id}/alarm", "ON")
        onvif = f"vlad/onvif-ej/RuleEngine/vlad:Anomaly/&{door.id}/anomaly"
        event = json.loads(heard.now[onvif])
        assert (event["Source"], event["Data"]["State"]) == ({"VideoSource": door.id, "Rule": "anomaly"}, True)
        assert abs(datetime.fromisoformat(event["UtcTime"]).timestamp() - time.time()) < 30
        assert sum(topic == onvif for topic, _ in heard.all) == 2  # as it changed, and no more often
        assert json.loads(heard.now[f"vlad/{door.id}/event"])["type"] == "raised"
        alarm(library, kind="ended")
        broker.stop()
        turn()
        assert [r.sent is None for r in rows(library)] == [False, True]
        broker.restart()
        later = Courier(library, lookup=leads_to("127.0.0.1"), now=lambda: time.time() + LEASE + 10)
        heard.close()
        heard = Listener(broker.port)
        for _ in range(2):
            later.turn()
            later.wait()
        heard.until(f"vlad/{door.id}/alarm", "OFF")
        assert all(r.sent is not None for r in rows(library))
        library.remove_camera(root, door.id)
        later.turn()
        later.wait()
        heard.until(f"homeassistant/binary_sensor/vlad_{door.id}/alarm/config", "")
        heard.until(onvif, "")
        heard.until("vlad/status", "online")
        later.close()
        heard.until("vlad/status", "offline")
        library.save_target(root, {"secret": "guard:wrong"}, target.id)
        library.test_target(root, target.id)
        carry(library, lookup=leads_to("127.0.0.1"))
        assert "the broker refused" in rows(library)[-1].error
        assert "wrong" not in rows(library)[-1].error
        courier.close()
        heard.close()


@pytest.mark.slow
def test_of_two_servers_the_one_that_is_left_is_here(library: Library, root: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(broker_room, "PACE", 0.0)
    with mosquitto(tmp_path) as broker:
        to(library, root, f"mqtt://127.0.0.1:{broker.port}", "mqtt", "guard:hush")
        heard, one, two = Listener(broker.port), Courier(library), Courier(library)
        for courier in (one, two):
            courier.turn()
            courier.wait()
        heard.until("vlad/status", "online")
        one.close()
        heard.until("vlad/status", "offline")
        end = time.monotonic() + 10
        while heard.now["vlad/status"] != "online":
            assert time.monotonic() < end
            two.turn()
            two.wait()
        two.close()
        heard.until("vlad/status", "offline")
        heard.close()


@pytest.mark.slow
def test_whoever_dies_leaves_the_broker_told(library: Library, root: User, tmp_path: Path) -> None:
    """kill -9: the broker itself says that nobody is here."""
    with mosquitto(tmp_path) as broker:
        to(library, root, f"mqtt://127.0.0.1:{broker.port}", "mqtt", "guard:hush")
        heard = Listener(broker.port)
        process = sender(library)
        heard.until("vlad/status", "online")
        process.send_signal(signal.SIGKILL)
        process.wait()
        heard.until("vlad/status", "offline")
        heard.close()


SENDER = """
import sys, time
from vlad.library import Library
from vlad.live.out import Courier
courier = Courier(Library(sys.argv[1]), now=lambda: time.time() + float(sys.argv[2]))
while True:
    courier.turn()
    time.sleep(0.01)
"""


def sender(library: Library, ahead: float = 0.0) -> "subprocess.Popen[bytes]":
    """A process that does nothing but send. ahead: seconds by which its clock is."""
    return subprocess.Popen([sys.executable, "-c", SENDER, str(library.folder), str(ahead)], env=dict(os.environ))


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_nothing_and_the_receiver_knows_what_came_twice(library: Library, root: User, hook: Hook) -> None:  # fmt: skip
    """Senders are killed again and again while 60 messages go out, each answered after a moment; clocks run ahead so that what the dead had claimed is free again."""
    hook.answer = lambda handler: (time.sleep(0.02), status(204)(handler))
    to(library, root, f"http://127.0.0.1:{hook.port}/")
    for k in range(60):
        alarm(library, T + 100 * k)
    deaths, ahead, end = 0, 0.0, time.monotonic() + 120
    while any(r.sent is None for r in rows(library)) and time.monotonic() < end:
        before = len(hook.got)
        process = sender(library, ahead)
        while len(hook.got) - before < 12 and process.poll() is None and time.monotonic() < end:
            if all(r.sent is not None for r in rows(library)):
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        deaths, ahead = deaths + 1, ahead + LEASE + 10
    keys = [h["webhook-id"] for h, _ in hook.got]
    assert all(r.sent is not None for r in rows(library))
    assert len(set(keys)) == 60
    assert {r.key for r in rows(library)} == set(keys)
    assert deaths >= 4
    assert len(keys) - 60 <= deaths  # one at most of what each had in hand came twice
    print(f"{deaths} deaths, {len(keys) - 60} of 60 came twice")
