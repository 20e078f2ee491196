"""The network of live streams: what a camera sends, brought to its decoder, which can reach nothing itself.

In: an `Address`, which networks are allowed, and where to put what comes: a pipe, or a port of this machine. Out: bytes, at a capped pace, or one line that says why
not. RTSP goes through a tunnel that reads along: it signs in, so that the decoder never knows a password, and refuses whatever is no RTSP, leads elsewhere or is too
long. HTTP is fetched by httpx: MJPEG, a stream of TS or MP4, or HLS, whose playlists m3u8 reads. Every host is checked, also of a redirect, and the address that was
checked is the one that is connected to (`vlad.live.hosts`). Knows no video.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import select
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import httpx
import m3u8

from vlad.errors import InputError, VladError
from vlad.live.address import Address, Secret, parse
from vlad.live.hosts import Named, Network, connected, resolved

CONNECT, ANSWER = 5.0, 10.0  # seconds for a connection, and for an answer
HEAD, BODY = 16 << 10, 64 << 10  # bytes of an RTSP answer's head, and of what it holds (SDP)
MESSAGES = 64  # of RTSP, before the stream plays
PACE = 16 << 20  # bytes a second from one camera at most
PIECE = 64 << 10
REDIRECTS = 3
PLAYLIST, SEGMENT = 256 << 10, 64 << 20  # bytes of an HLS playlist, and of a segment
SEGMENTS, TAGS = 5000, 200  # segments, and keys and renditions, that a playlist lists; m3u8 compares each of the latter with all others
BEHIND = 3  # segments before the newest at which HLS begins
ASKED = (
    b"OPTIONS ",
    b"GET_PARAMETER ",
    b"SET_PARAMETER ",
    b"ANNOUNCE ",
    b"REDIRECT ",
    b"PLAY_NOTIFY ",
    b"TEARDOWN ",
)  # what a camera may ask, and nobody answers


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
            raise (Unreachable if "no host of that name" in str(error) else Denied)(str(error)) from None
        except OSError as error:
            raise Unreachable(f"no connection ({error.strerror or error})") from None

    def checked(self, host: str, port: int) -> str:
        """An address of a host. Raises Denied, Unreachable."""
        try:
            return resolved(host, port, private=True, allow=self.allow)[0]
        except InputError as error:
            raise (Unreachable if "no host of that name" in str(error) else Denied)(str(error)) from None


class Sealed(Protocol):
    """What the tunnel waits for before the first byte of a camera goes on."""

    def wait(self, timeout: float | None = None) -> bool: ...


# ---- RTSP


def _digest(secret: Secret, challenge: str, method: str, uri: str) -> str:
    """The line that signs in, by RFC 7616 (MD5 and SHA-256, with `auth` or without) or RFC 7617. Raises Denied for a scheme that nobody knows."""
    scheme, _, rest = challenge.strip().partition(" ")
    if scheme.lower() == "basic":
        return "Basic " + b64encode(f"{secret.user}:{secret.password}".encode()).decode()
    told = {k.lower(): v.strip('"') for k, v in re.findall(r'(\w+)\s*=\s*("[^"]*"|[^\s,]+)', rest)}
    names = {"md5": "md5", "sha-256": "sha256", "": "md5"}
    name = names.get(told.get("algorithm", "").lower())
    if scheme.lower() != "digest" or name is None or "nonce" not in told or any("\\" in v for v in told.values()):
        raise Denied("it asks for a way of signing in that is not known here")

    def hashed(text: str) -> str:
        return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()

    one, two = hashed(f"{secret.user}:{told.get('realm', '')}:{secret.password}"), hashed(f"{method}:{uri}")
    parts = {"username": secret.user, "realm": told.get("realm", ""), "nonce": told["nonce"], "uri": uri}
    if "auth" in [q.strip() for q in told.get("qop", "").split(",")]:
        own, count = secrets.token_hex(8), "00000001"
        parts["response"] = hashed(f"{one}:{told['nonce']}:{count}:{own}:auth:{two}")
        more = f', qop=auth, nc={count}, cnonce="{own}"'
    elif "qop" in told:
        raise Denied("it asks for a way of signing in that is not known here")
    else:
        parts["response"], more = hashed(f"{one}:{told['nonce']}:{two}"), ""
    more += "".join(f', {k}="{told[k]}"' for k in ("opaque",) if k in told)
    more += f", algorithm={told['algorithm']}" if "algorithm" in told else ""
    return "Digest " + ", ".join(f'{k}="{v}"' for k, v in parts.items()) + more


class Tunnel:
    """One RTSP connection of a camera, offered to its decoder as a port of this machine.

    It waits for the decoder, whose first request must carry a word that only it knows, until that can reach nothing more (`sealed`), then connects. Passwords are put in
    here. `error` is why it ended, None while it runs. counted: bytes that came.
    """

    def __init__(
        self, address: Address, rules: Rules, sealed: Sealed, on_open: Callable[[], None], *, patience: float = ANSWER
    ) -> None:
        self.address, self.rules, self.sealed, self.on_open, self.patience = address, rules, sealed, on_open, patience
        self.word, self.counted = secrets.token_hex(16), 0
        self.error: VladError | None = None
        self.playing, self.signed = False, False
        self._challenge = ""
        self._asked: dict[str, tuple[str, str, bytes]] = {}  # by CSeq: method, uri, and the request
        self._stop = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4)
        self.port = self.listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True, name="rtsp tunnel")
        self._thread.start()

    @property
    def url(self) -> str:
        """What the decoder opens."""
        return f"rtsp://127.0.0.1:{self.port}/{self.word}{self.address.target}"

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(timeout=CONNECT + 1)
        self.listener.close()

    def _run(self) -> None:
        try:
            near, first = self._decoder()
        except VladError as error:
            self.error = error
            return
        with near:  # why it ended is known before the decoder sees that it did
            try:
                self._serve(near, first)
            except VladError as error:
                self.error = error
            except (OSError, ssl.SSLError, ValueError) as error:
                self.error = Unreachable(
                    f"the connection broke ({getattr(error, 'strerror', None) or type(error).__name__})"
                )

    def _serve(self, near: socket.socket, first: bytearray) -> None:
        self.on_open()
        if not self.sealed.wait(CONNECT * 4):
            raise Unreachable("its decoder did not start")
        with self._camera() as far:
            self._both(near, far, first)

    def _decoder(self) -> tuple[socket.socket, bytearray]:
        """The connection that knows the word, and what it said first."""
        self.listener.settimeout(0.2)
        until = time.monotonic() + CONNECT * 6
        while not self._stop.is_set() and time.monotonic() < until:
            try:
                near, _ = self.listener.accept()
            except TimeoutError:
                continue
            near.settimeout(CONNECT)
            first = bytearray()
            with contextlib.suppress(OSError):
                while b"\r\n\r\n" not in first and len(first) < HEAD:
                    piece = near.recv(4096)
                    if not piece:
                        break
                    first += piece
            if self.word.encode() in first.partition(b"\r\n")[0]:
                return near, first
            near.close()  # another program of this machine
        raise Unreachable("its decoder did not start")

    def _camera(self) -> socket.socket:
        far = self.rules.connect(self.address.host, self.address.port)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.address.scheme != "rtsps":
            return far
        try:
            return Named.of(self.address.host, self.rules.tls).wrap_socket(far)
        except (ssl.SSLError, OSError) as error:
            far.close()
            raise Denied(
                f"its certificate or TLS is not accepted ({getattr(error, 'verify_message', '') or type(error).__name__})"
            ) from None

    def _both(self, near: socket.socket, far: socket.socket, first: bytearray) -> None:
        """Both ways until one ends."""
        asked, answered, messages = first, bytearray(), 0
        last = time.monotonic()
        budget = Budget()
        near.settimeout(CONNECT)
        far.settimeout(CONNECT)
        while not self._stop.is_set():
            for request in _requests(asked):
                self._ask(far, request)
            ready = [far] if getattr(far, "pending", int)() else select.select([near, far], [], [], 0.5)[0]
            now = time.monotonic()
            if near in ready:
                piece = _from(near)
                asked += piece
                if len(asked) > BODY:
                    raise Unreachable("its decoder answers nonsense")
            if far in ready:
                piece = far.recv(PIECE)
                if not piece:
                    raise Unreachable("the camera ended the connection")
                self.counted, last = self.counted + len(piece), now
                budget.spend(len(piece))
                answered += piece
                for kind, message in _answers(answered):
                    messages += kind == "RTSP" and not self.playing
                    if messages > MESSAGES:
                        raise Denied("it answers without end")
                    if kind == "data":
                        _to(near, message)
                    else:
                        self._answer(near, far, message)
            if now - last > self.patience:
                raise Unreachable(f"it said nothing for {self.patience:.0f} s")

    def _ask(self, far: socket.socket, request: bytes) -> None:
        """A request of the decoder, as the camera knows it."""
        if request[:1] == b"$":
            far.sendall(request)
            return
        lines = request.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        target = urlsplit(rest.partition(" ")[0])
        path = target.path.replace(f"/{self.word}", "", 1) + (f"?{target.query}" if target.query else "")
        uri = f"{self.address.scheme}://{self.address.place}{path or '/'}"
        kept = [line for line in lines[1:] if not line.lower().startswith("authorization:")]
        number = next((line.partition(":")[2].strip() for line in kept if line.lower().startswith("cseq:")), "")
        plain = "\r\n".join([f"{method} {uri} RTSP/1.0", *kept])
        if len(self._asked) > MESSAGES:
            self._asked.clear()
        self._asked[number] = (method, uri, plain.encode("latin-1"))
        self._send(far, number)

    def _send(self, far: socket.socket, number: str) -> None:
        method, uri, plain = self._asked[number]
        secret = self.address.secret
        signed = (
            f"\r\nAuthorization: {_digest(secret, self._challenge, method, uri)}" if self._challenge and secret else ""
        )
        far.sendall(plain + signed.encode() + b"\r\n\r\n")

    def _answer(self, near: socket.socket, far: socket.socket, message: bytes) -> None:
        """An answer of the camera: to the decoder, or why not."""
        head = message.partition(b"\r\n\r\n")[0].decode("latin-1")
        if not head.startswith("RTSP/1."):
            return  # a request of the camera's, such as ANNOUNCE: nobody answers it
        code = head[9:12]
        fields = [line.partition(":")[::2] for line in head.split("\r\n")[1:]]
        number = next((v.strip() for k, v in fields if k.strip().lower() == "cseq"), "")
        method = self._asked.get(number, ("", "", b""))[0]
        if code == "401":
            challenges = [v.strip() for k, v in fields if k.strip().lower() == "www-authenticate"]
            stale = any("stale=true" in c.lower().replace(" ", "") for c in challenges)
            if self.address.secret is None:
                raise Denied("it asks for a user and a password")
            if not challenges or number not in self._asked or (self._challenge and not stale) or self.signed:
                raise Denied("the user or the password is wrong")
            self.signed = stale
            self._challenge = min(challenges, key=lambda c: ("digest" not in c.lower(), "sha-256" not in c.lower()))
            self._send(far, number)
            return
        if code == "200":
            self.signed = False
        elif method and not self.playing:
            raise _refusal(code)
        self.playing = self.playing or (method == "PLAY" and code == "200")
        self._asked.pop(number, None)
        _to(near, message)


def _from(near: socket.socket) -> bytes:
    """What a decoder asks. Raises Unreachable where it ended."""
    try:
        piece = near.recv(PIECE)
    except OSError:
        piece = b""
    if not piece:
        raise Unreachable("its decoder ended")
    return piece


def _to(near: socket.socket, message: bytes) -> None:
    """Something for a decoder. Raises Unreachable where it ended."""
    try:
        near.sendall(message)
    except OSError:
        raise Unreachable("its decoder ended") from None


def _refusal(code: str) -> VladError:
    """Why a camera did not grant a stream."""
    if not code.isdecimal() or not code.isascii():
        return Denied("it does not speak RTSP")
    if code[0] == "3":
        return Denied(f"it leads elsewhere ({code}), which is not followed; name that address")
    words = {
        "403": "it forbids that stream",
        "404": "it has no stream of that path",
        "461": "it does not send over TCP",
        "453": "its line is full",
    }
    why = f"{words.get(code, 'it refuses the stream')} ({code})"
    return Denied(why) if code[0] == "4" and code != "453" else Unreachable(why)


def _requests(asked: bytearray) -> Iterator[bytes]:
    """What a decoder asked, whole; it is taken from `asked`."""
    while asked:
        if asked[:1] == b"$":
            end = 4 + int.from_bytes(asked[2:4], "big") if len(asked) >= 4 else len(asked) + 1
        else:
            end = asked.find(b"\r\n\r\n") + 4
            end = end if end >= 4 else len(asked) + 1
        if end > len(asked):
            return
        message = bytes(asked[:end])
        del asked[:end]
        yield message


def _answers(answered: bytearray) -> Iterator[tuple[str, bytes]]:
    """What a camera said, whole: ("data", packets) or ("RTSP", an answer); it is taken from `answered`. Raises Denied for what is no RTSP, or too long."""
    place = 0
    try:
        while place < len(answered):
            start = place
            while place + 4 <= len(answered) and answered[place] == 0x24:
                end = place + 4 + int.from_bytes(answered[place + 2 : place + 4], "big")
                if end > len(answered):
                    break
                place = end
            if place > start:
                yield "data", bytes(answered[start:place])
            if place >= len(answered) or answered[place] == 0x24:
                return
            over = _answer_end(answered, place)
            if over is None:
                return
            place, start = over, place
            yield "RTSP", bytes(answered[start:over])
    finally:
        del answered[:place]


def _answer_end(answered: bytearray, place: int) -> int | None:
    """Where the answer that begins at `place` ends; None where it is not whole yet."""
    some = bytes(answered[place : place + 14])
    if not any(some.startswith(known[: len(some)]) for known in (b"RTSP/1.", *ASKED)):
        raise Denied("what it sends is no RTSP")
    close = answered.find(b"\r\n\r\n", place, place + HEAD)
    if close < 0:
        if len(answered) - place > HEAD:
            raise Denied(f"its answer's head is longer than {HEAD} bytes")
        return None
    length = re.search(rb"(?im)^content-length:[ \t]*(\d{1,20})[ \t]*\r?$", bytes(answered[place : close + 2]))
    more = int(length[1]) if length else 0
    if more > BODY:
        raise Denied(f"its description is longer than {BODY} bytes")
    return close + 4 + more if close + 4 + more <= len(answered) else None


class Budget:
    """A pace of bytes: whoever is too fast is read more slowly."""

    def __init__(self, pace: int = PACE) -> None:
        self.pace, self.left, self.at = pace, float(pace), time.monotonic()

    def spend(self, count: int) -> None:
        """Wait until so many bytes are allowed."""
        now = time.monotonic()
        self.left, self.at = min(self.left + (now - self.at) * self.pace, float(self.pace)) - count, now
        if self.left < 0:
            time.sleep(min(-self.left / self.pace, 1.0))


# ---- HTTP


class Feed:
    """What a source sends, written into a pipe by a thread. `error` is why it ended, None while it runs; `read` is the pipe's end for the decoder.

    form: FFmpeg's name of the format where the bytes do not tell it; known after `ready`. paced: they come many at once.
    """

    def __init__(self, work: Callable[[Feed], None]) -> None:
        self.read, self._write = os.pipe()
        self.form, self.paced, self.counted = "", False, 0
        self.error: VladError | None = None
        self.ready, self.stop = threading.Event(), threading.Event()
        self._caught_up, self._on_caught_up = threading.Event(), None  # type: threading.Event, Callable[[], None] | None
        self._budget, self._work = Budget(), work
        os.set_blocking(self._write, False)
        self._thread = threading.Thread(target=self._run, daemon=True, name="feed")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work(self)
            self.error = Unreachable("the stream ended")
        except VladError as error:
            self.error = error
        except BrokenPipeError:
            self.error = Unreachable("its decoder ended")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError, ValueError) as error:
            self.error = Unreachable(_told(error))
        finally:
            os.close(self._write)
            self.ready.set()

    def put(self, piece: bytes) -> None:
        """Some bytes, as fast as they are taken."""
        self.counted += len(piece)
        self._budget.spend(len(piece))
        view = memoryview(piece)
        while view and not self.stop.is_set():
            if select.select([], [self._write], [], 0.2)[1]:
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._write, view) :]
        if self.stop.is_set():
            raise Unreachable("it was stopped")

    def reached(self) -> None:
        """What a file held before is over."""
        self._caught_up.set()
        if self._on_caught_up is not None:
            self._on_caught_up()

    def caught_up(self, tell: Callable[[], None]) -> None:
        """Have it told when what a file held before is over; at once where it is."""
        self._on_caught_up = tell
        if self._caught_up.is_set():
            tell()

    def given(self) -> None:
        """The decoder has the pipe's end: whoever writes learns when it is gone."""
        os.close(self.read)
        self.read = -1

    def begin(self, *, form: str = "", paced: bool = False) -> None:
        """What it is is known."""
        self.form, self.paced = form, paced
        self.ready.set()

    def close(self) -> None:
        """End it."""
        self.stop.set()
        if self.read >= 0:
            self.given()
        self._thread.join(timeout=CONNECT * 2)


def _told(error: BaseException) -> str:
    """A line about an error of the network, without the address that httpx repeats."""
    names = {
        "ConnectTimeout": "no connection", "ReadTimeout": f"it said nothing for {ANSWER:.0f} s", "ConnectError": "no connection",
        "RemoteProtocolError": "what it sends is no HTTP, or it broke off", "LocalProtocolError": "its address cannot be asked for",
    }  # fmt: skip
    return names.get(type(error).__name__, f"the connection broke ({type(error).__name__})")


class Web:
    """HTTP requests of one stream, each to an address that was checked. The secret goes to the host that it was given for, and never from https to http."""

    def __init__(self, address: Address, rules: Rules) -> None:
        self.address, self.rules = address, rules
        context: Any = True
        if rules.tls:
            context = ssl.create_default_context()
            context.load_verify_locations(cadata=rules.tls)
        self.client = httpx.Client(
            trust_env=False, follow_redirects=False, verify=context, timeout=httpx.Timeout(ANSWER, connect=CONNECT),
            headers={"User-Agent": "vlad", "Accept-Encoding": "identity"},
        )  # fmt: skip
        self.sign: httpx.Auth | None = None

    @contextlib.contextmanager
    def get(self, url: str) -> Iterator[tuple[httpx.Response, str]]:
        """The answer to a GET, and the address it came from. Raises Denied, Unreachable, httpx's own."""
        for _ in range(REDIRECTS + 1):
            there = self._checked(url)
            ip = self.rules.checked(there.host, there.port)
            host = f"[{ip}]" if ":" in ip else ip
            request = self.client.build_request(
                "GET",
                f"{there.scheme}://{host}:{there.port}{there.target}",
                headers={"Host": there.place},
                extensions={"sni_hostname": there.host},
            )
            answer = self.client.send(request, stream=True, auth=self._auth(there))
            with contextlib.closing(answer):
                if answer.is_redirect:
                    url = urljoin(there.url, answer.headers["location"])
                    continue
                if answer.status_code != 200:
                    raise self._refusal(answer.status_code)
                yield answer, there.url
                return
        raise Denied(f"it leads elsewhere more than {REDIRECTS} times")

    def _checked(self, url: str) -> Address:
        try:
            there = parse(url)
        except InputError:
            raise Denied("it leads to an address that cannot be read") from None
        if there.kind != "http":
            raise Denied("it leads to what is no HTTP")
        if self.address.scheme == "https" and there.scheme == "http":
            raise Denied("it leads from https to http")
        return there

    def _own(self, there: Address) -> bool:
        return (there.scheme, there.host, there.port) == (self.address.scheme, self.address.host, self.address.port)

    def _auth(self, there: Address) -> httpx.Auth | None:
        secret = self.address.secret
        if secret is None or not self._own(there):
            return None
        if self.sign is None:
            self.sign = _Either(secret)
        return self.sign

    def _refusal(self, code: int) -> VladError:
        if code == 401:
            return Denied(
                "it asks for a user and a password"
                if self.address.secret is None
                else "the user or the password is wrong"
            )
        words = {403: "it forbids that stream", 404: "it has no stream of that path"}
        why = f"{words.get(code, 'it refuses the stream')} ({code})"
        return Denied(why) if 400 <= code < 500 and code not in (408, 425, 429) else Unreachable(why)


class _Either(httpx.Auth):
    """Basic or Digest, as the answer to a first request asks."""

    def __init__(self, secret: Secret) -> None:
        self._basic = httpx.BasicAuth(secret.user, secret.password)
        self._digest = httpx.DigestAuth(secret.user, secret.password)

    def auth_flow(self, request: httpx.Request) -> Any:
        flow = self._digest.auth_flow(request)
        answer = yield next(flow)
        if answer.status_code == 401 and "digest" not in answer.headers.get("www-authenticate", "").lower():
            yield from self._basic.auth_flow(request)
            return
        with contextlib.suppress(StopIteration):
            yield flow.send(answer)


def web(address: Address, rules: Rules) -> Callable[[Feed], None]:
    """The work of a Feed: MJPEG, a plain stream, or HLS, by what the server says it is."""

    def work(feed: Feed) -> None:
        asked = Web(address, rules)
        with contextlib.closing(asked.client):
            with asked.get(address.url) as (answer, url):
                kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                if "mpegurl" not in kind and not urlsplit(url).path.lower().endswith((".m3u8", ".m3u")):
                    _plain(feed, answer, kind)
                    return
                text = _body(answer, PLAYLIST, "its playlist").decode("utf-8", "replace")
            _hls(feed, asked, text, url)

    return work


def _plain(feed: Feed, answer: httpx.Response, kind: str) -> None:
    if kind.startswith(("text/", "application/json", "application/xml")):
        raise Denied(f"it answers with {kind[:40]}, which is no video")
    feed.begin(form="mpjpeg" if kind.startswith("multipart/") else "")
    for piece in answer.iter_raw(PIECE if kind == "video/mp4" else None):
        feed.put(piece)


def _body(answer: httpx.Response, most: int, what: str) -> bytes:
    data = bytearray()
    for piece in answer.iter_raw():
        data += piece
        if len(data) > most:
            raise Denied(f"{what} is longer than {most} bytes")
    return bytes(data)


def _hls(feed: Feed, asked: Web, text: str, url: str) -> None:
    """Segments one after another, from a few before the newest on. A new head, or a break in time, ends it: the decoder begins anew."""
    playlist = _playlist(text)
    if playlist.is_variant:
        url = urljoin(url, _variant(playlist))
        playlist = _playlist(_ask_for(asked, url))
        if playlist.is_variant:
            raise Denied("its playlist lists playlists of playlists")
    feed.begin(paced=True)
    last, head = None, None  # type: int | None, str | None
    while not feed.stop.is_set():
        first = playlist.media_sequence or 0
        if len(playlist.segments) > SEGMENTS:
            raise Denied(f"its playlist lists more than {SEGMENTS} segments")
        numbered = list(enumerate(playlist.segments, first))
        fresh = (
            numbered[-BEHIND:]
            if last is None and not playlist.is_endlist
            else [s for s in numbered if last is None or s[0] > last]
        )
        for number, segment in fresh:
            if segment.key is not None and (segment.key.method or "NONE") != "NONE":
                raise Denied("its segments are encrypted")
            if segment.byterange or (segment.init_section and segment.init_section.byterange):
                raise Denied("its segments are parts of files, which is not read")
            if last is not None and segment.discontinuity:
                raise Unreachable("the stream begins anew")
            wanted = segment.init_section.uri if segment.init_section else None
            if wanted != head:
                if last is not None:
                    raise Unreachable("the stream begins anew")
                head = wanted
                feed.put(_segment(asked, urljoin(url, wanted or "")))
            feed.put(_segment(asked, urljoin(url, segment.uri)))
            last = number
        if playlist.is_endlist:
            return
        feed.stop.wait(min(max((playlist.target_duration or 2) / 2, 0.3), 10.0))
        playlist = _playlist(_ask_for(asked, url))


def _variant(playlist: Any) -> str:
    """Of several the smallest with 360 lines or more, else the largest: a model sees no more."""
    rows = sorted(
        (tuple(reversed(p.stream_info.resolution or (0, 0))), p.stream_info.bandwidth or 0, p.uri)
        for p in playlist.playlists
    )
    if not rows:
        raise Denied("its playlist lists no stream")
    return str(next((uri for size, _, uri in rows if size[0] >= 360), rows[-1][2]))


def _playlist(text: str) -> Any:
    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise Denied("what it sends is no HLS playlist")
    if len(re.findall(r"(?i)#EXT-X-(?:SESSION-)?(?:KEY|MEDIA):", text)) > TAGS:
        raise Denied(f"its playlist lists more than {TAGS} keys and renditions")
    try:
        return m3u8.loads(text)
    except Exception as error:  # it raises whatever a malformed line makes of it
        raise Denied(f"its playlist cannot be read ({type(error).__name__})") from None


def _ask_for(asked: Web, url: str) -> str:
    with asked.get(url) as (answer, _):
        return _body(answer, PLAYLIST, "its playlist").decode("utf-8", "replace")


def _segment(asked: Web, url: str) -> bytes:
    with asked.get(url) as (answer, _):
        return _body(answer, SEGMENT, "a segment")


# ---- files


JOINED_ANYWHERE = (
    b"\x47",
    b"\x00\x00\x01\xba",
    b"\x00\x00\x00\x01",
    b"\x00\x00\x01",
    b"\xff\xd8",
)  # TS, PS, raw H.264 and HEVC, JPEGs
LOOK = 0.05  # seconds from one look at a file to the next
GONE = 30.0  # seconds for which a file may not grow


def growing(path: Path) -> Callable[[Feed], None]:
    """The work of a Feed: what is added to a file from now on; of a kind that cannot be joined in its middle all of it, with a word when the old part is over."""

    def work(feed: Feed) -> None:
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise Unreachable(f"the file cannot be opened ({error.strerror})") from None
        with file:
            old = os.fstat(file.fileno()).st_size
            if file.read(4).startswith(JOINED_ANYWHERE):
                file.seek(old - old % 188 if old else 0)
                old = 0
            else:
                file.seek(0)
            feed.begin(paced=True)
            told, grew = False, time.monotonic()
            while not feed.stop.is_set():
                if not told and file.tell() >= old:
                    told = True
                    feed.reached()
                piece = file.read(PIECE)
                if piece:
                    grew = time.monotonic()
                    feed.put(piece)
                    continue
                if os.fstat(file.fileno()).st_size < file.tell():
                    raise Unreachable("the file was begun anew")
                if time.monotonic() - grew > GONE:
                    raise Unreachable(f"the file did not grow for {GONE:.0f} s")
                feed.stop.wait(LOOK)

    return work
