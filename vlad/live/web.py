"""Streams over HTTP, by httpx: MJPEG, one of TS or MP4, or HLS, whose playlists m3u8 reads.

In: an `Address`, which networks are allowed. Out: the work of a `Feed`. Every host is checked, also of a redirect, and the address that was checked is the one that is connected
to. Knows no video.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import m3u8

from vlad.errors import InputError, VladError
from vlad.live.address import Address, Secret, parse
from vlad.live.feed import Feed
from vlad.live.network import ANSWER, CONNECT, PIECE, Denied, Rules, Unreachable

REDIRECTS = 3
PLAYLIST, SEGMENT = 256 << 10, 64 << 20  # bytes of an HLS playlist, and of a segment
SEGMENTS, TAGS = (
    5000,
    200,
)  # segments, and keys and renditions, that a playlist lists; m3u8 compares each of the latter with all others
BEHIND = 3  # segments before the newest at which HLS begins


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
        self.near: bool | None = (
            None  # whether its own address is of a local network: one of the public network leads into none
        )
        self.line: socket.socket | None = None  # of the newest connection

    def cut(self) -> None:
        """End whatever is waited for, from another thread: each step has a time of its own, and whoever drips has no end of steps."""
        with contextlib.suppress(OSError):
            if self.line is not None:
                socket.socket.shutdown(self.line, socket.SHUT_RDWR)

    def _connected(self, step: str, facts: dict[str, Any]) -> None:
        if step in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self.line = facts["return_value"].get_extra_info("socket")

    @contextlib.contextmanager
    def get(self, url: str) -> Iterator[tuple[httpx.Response, str]]:
        """The answer to a GET, and the address it came from. Raises Denied, Unreachable, httpx's own."""
        for _ in range(REDIRECTS + 1):
            there = self._checked(url)
            ip = self.rules.checked(there.host, there.port, private=self.near is not False)
            self.near = self.rules.near(ip) if self.near is None else self.near
            host = f"[{ip}]" if ":" in ip else ip
            request = self.client.build_request(
                "GET",
                f"{there.scheme}://{host}:{there.port}{there.target}",
                headers={"Host": there.place},
                extensions={"sni_hostname": there.host, "trace": self._connected},
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
        feed.cut = asked.cut
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
