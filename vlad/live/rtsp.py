"""RTSP: what a camera sends, through a tunnel to its decoder, which can reach nothing itself.

In: an `Address`, which networks are allowed. Out: a port of this machine. The tunnel reads along: it signs in, so that the decoder never knows a password, and refuses whatever is
no RTSP, leads elsewhere or is too long. Knows no video.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import select
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Protocol
from urllib.parse import urlsplit

from vlad.errors import VladError
from vlad.live.address import Address, Secret
from vlad.live.hosts import Named
from vlad.live.network import ANSWER, CONNECT, PIECE, Budget, Denied, Rules, Unreachable

HEAD, BODY = 16 << 10, 64 << 10  # bytes of an answer's head, and of what it holds (SDP)
MESSAGES = 64  # before the stream plays
DATA = 20  # packets that cost no more than one answer does
ASKED = (
    b"OPTIONS ",
    b"GET_PARAMETER ",
    b"SET_PARAMETER ",
    b"ANNOUNCE ",
    b"REDIRECT ",
    b"PLAY_NOTIFY ",
    b"TEARDOWN ",
)  # what a camera may ask, and nobody answers


class Sealed(Protocol):
    """What the tunnel waits for before the first byte of a camera goes on."""

    def wait(self, timeout: float | None = None) -> bool: ...


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
                for kind, message, count in _answers(answered):
                    budget.spend(0, count if kind == "RTSP" else count // DATA)
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


def _answers(answered: bytearray) -> Iterator[tuple[str, bytes, int]]:
    """What a camera said, whole: ("data", packets, their number) or ("RTSP", an answer, 1); it is taken from `answered`. Raises Denied for what is no RTSP, or too long."""
    place = 0
    try:
        while place < len(answered):
            start, count = place, 0
            while place + 4 <= len(answered) and answered[place] == 0x24:
                end = place + 4 + int.from_bytes(answered[place + 2 : place + 4], "big")
                if end > len(answered):
                    break
                place, count = end, count + 1
            if place > start:
                yield "data", bytes(answered[start:place]), count
            if place >= len(answered) or answered[place] == 0x24:
                return
            over = _answer_end(answered, place)
            if over is None:
                return
            place, start = over, place
            yield "RTSP", bytes(answered[start:over]), 1
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
