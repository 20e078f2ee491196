"""Live streams without a camera: addresses and secrets, the tunnel against hostile ones, the ring, clocks, rows and scores, and who loses under load."""

import contextlib
import errno
import os
import pickle
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vlad.eval.cameras import http

from vlad import confine
from vlad.cli.live import Flags, hide_arguments, passwords
from vlad.clock import Steady
from vlad.config import make_settings
from vlad.errors import InputError, OutputError, VideoError, VladError
from vlad.live import ring as ring_room
from vlad.live import rtsp, watch
from vlad.live.address import Secret, parse
from vlad.live.child import checked
from vlad.live.dropped import AGAIN, Dropped, Recording
from vlad.live.feed import Feed, growing
from vlad.live.hosts import networks
from vlad.live.network import Budget, Denied, Rules, Unreachable
from vlad.live.reader import HOLD, Held
from vlad.live.ring import HEAD, Ring
from vlad.live.rtsp import Tunnel
from vlad.live.scoring import WINDOW, Rows, Scored, Scores
from vlad.live.watch import Wall, _Place, _Waiting
from vlad.live.web import Web, web
from vlad.objects import Watch as Looks
from vlad.pipeline import Analyzer
from vlad.scorers.causal import CausalHead, Stream
from vlad.scorers.head import HeadConfig, TrainedScorer
from vlad.types import Box, Features, ScoreTrack, Snippet
from vlad.video import open_video

HERE = Rules(networks(["127.0.0.0/8"]))
YEAR = 365 * 86_400.0
T = 1_795_608_000.0


# ---- addresses


def test_a_secret_leaves_its_address_at_once_and_is_shown_nowhere() -> None:
    address = parse("rtsp://admin:p%40ss%3Aword@cam.example:8554/live?key=abc")
    assert address.secret is not None
    assert (address.secret.user, address.secret.password) == ("admin", "p@ss:word")
    assert (address.host, address.port, address.target) == ("cam.example", 8554, "/live?key=abc")
    for text in (str(address), repr(address), repr(address.secret), str(address.secret), f"{address.__dict__}"):
        assert "p@ss" not in text
        assert "admin" not in text
    assert "abc" not in str(address)
    with pytest.raises(TypeError, match="not written down"):
        pickle.dumps(address)
    assert parse("rtsp://cam/a", Secret("u", "p")).secret == Secret("u", "p")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "printable"), ("rtsp://a\nb/", "printable"), ("ftp://u:secret@a/", "expected one of"), ("rtsp://u:sec/ret@a/", "%2F"),
        ("rtsp://u:secret@a:99999/", "host or port"), ("rtsp://u:secret@/x", "host"), ("rtsp://u:secret@a/#x", "behind #"), ("rtsp://a b/", "URL cannot hold"),
        ("v4l2:/etc/passwd", "v4l2"), ("x" * 3000, "printable"), ("rtsp://u:secret@[::1/", "host or port"), ("rtsp://a_:secret@b%00/", "host"),
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_a_line_that_repeats_none_of_it(text: str, match: str) -> None:
    with pytest.raises(InputError, match=match) as found:
        parse(text)
    assert "secret" not in str(found.value)
    assert "\n" not in str(found.value)


def test_devices_and_files() -> None:
    assert parse("/dev/video3").kind == parse("v4l2:/dev/v4l/by-id/usb-Cam_1-video-index0").kind == "device"
    assert parse("recordings/today.ts").kind == "file"
    assert parse("https://[2001:db8::1]/a").place == "[2001:db8::1]"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "[::1]", "[fe80::1]", "0.0.0.0", "224.0.0.1", "[::ffff:127.0.0.1]", "[fd00:ec2::254]"]
)  # fmt: skip
def test_no_stream_leads_to_this_machine_or_its_cloud(host: str) -> None:
    address = parse(f"http://{host}/")
    feed = Feed(web(address, Rules()))
    feed.ready.wait(5)
    feed.close()
    assert isinstance(feed.error, Denied)


def test_passwords_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "secrets").write_text("# mine\nus er gate one:pa:ss word\nadmin:x\n")
    found = passwords(file)
    assert found["us er gate"] == Secret("one", "pa:ss word")
    assert found[""] == Secret("admin", "x")
    (tmp_path / "bad").write_text("nothing\n")
    with pytest.raises(InputError, match=r"line 1: expected user:password") as error:
        passwords(tmp_path / "bad")
    assert "nothing" not in str(error.value)
    monkeypatch.setenv("VLAD_CAMERA_USER", "me")
    monkeypatch.setenv("VLAD_CAMERA_PASSWORD", "pw")
    assert passwords(None) == {"": Secret("me", "pw")}
    assert "VLAD_CAMERA_PASSWORD" not in os.environ  # children inherit none


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_arguments_with_a_password_are_overwritten() -> None:
    code = "from vlad.cli.live import hide_arguments; hide_arguments(); print(open('/proc/self/cmdline').read())"
    said = subprocess.run(
        [sys.executable, "-c", code, "rtsp://me:geheim@cam/a", "x@y"], capture_output=True, text=True, check=True
    ).stdout
    assert "geheim" not in said
    assert "rtsp://*********@cam/a" in said
    assert "x@y" in said
    assert hide_arguments.__doc__


# ---- the tunnel, against cameras that mean ill


@contextlib.contextmanager
def camera(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does as told with its connections; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def said(connection: socket.socket) -> bytes:
    """One request."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(4096)
        if not piece:
            raise OSError("gone")
        data += piece
    return data


def tunnelled(port: int, url: str = "rtsp://127.0.0.1:{}/a", *requests: bytes) -> tuple[Tunnel, bytes]:
    """What a decoder hears that asks an RTSP camera for its description through a tunnel."""
    sealed = threading.Event()
    tunnel = Tunnel(parse(url.format(port)), HERE, sealed, sealed.set, patience=0.3)
    with socket.create_connection(("127.0.0.1", tunnel.port)) as decoder:
        decoder.settimeout(5)
        for request in requests or (b"DESCRIBE %s RTSP/1.0\r\nCSeq: 1\r\n\r\n" % tunnel.url.encode(),):
            decoder.sendall(request)
        heard = b""
        with contextlib.suppress(OSError):
            while piece := decoder.recv(65536):
                heard += piece
                if b"$" in heard[-8:] or heard.endswith(b"v=0\r\n"):
                    break
    if not heard:
        tunnel._thread.join(5)
    tunnel.close()
    return tunnel, heard


def answers(*messages: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        for message in messages:
            said(connection)
            connection.sendall(message)
        time.sleep(3)

    return answer


def endless(piece: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        said(connection)
        while True:
            connection.sendall(piece)

    return answer


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (endless(bytes(65536)), "no RTSP"),
        (endless(b"HTTP/1.1 200 OK\r\n\r\n"), "no RTSP"),
        (endless(b"RTSP/1.0 200 OK\r\nX: " + b"a" * 60_000), "head is longer"),
        (answers(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 10000000\r\n\r\nv=0"), "description is longer"),
        (answers(b"RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: rtsp://169.254.169.254/\r\n\r\n"), "leads elsewhere"),
        (answers(b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n"), r"no stream of that path \(404\)"),
        (answers(b"RTSP/1.0 4\xff4 Odd\r\nCSeq: 1\r\n\r\n"), "not speak RTSP"),
        (answers(b'RTSP/1.0 401 No\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'), "asks for a user"),
        (endless(b"RTSP/1.0 200 OK\r\nCSeq: 9\r\n\r\n"), "without end"),
        (lambda connection: time.sleep(3), "said nothing"),
        (lambda connection: None, "ended the connection|connection broke"),
    ],
)  # fmt: skip
def test_a_hostile_camera_is_refused_in_one_line(answer: Callable[[socket.socket], None], match: str) -> None:
    with camera(answer) as port:
        tunnel, _ = tunnelled(port)
    assert tunnel.error is not None
    assert "\n" not in str(tunnel.error)
    with pytest.raises(VladError, match=match):
        raise tunnel.error


def test_the_tunnel_signs_in_and_the_decoder_knows_no_password() -> None:
    """By Digest, as RFC 7616 computes it; a wrong password is tried once."""
    heard: list[bytes] = []

    def right(connection: socket.socket) -> None:
        heard.append(said(connection))
        connection.sendall(b'RTSP/1.0 401 No\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\n\r\n')
        heard.append(said(connection))
        connection.sendall(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n")
        time.sleep(1)

    with camera(right) as port:
        tunnel, decoder = tunnelled(port, "rtsp://me:geheim@127.0.0.1:{}/a?b=1")
        uri = f"rtsp://127.0.0.1:{port}/a?b=1"
    assert decoder == b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    assert heard[0].startswith(f"DESCRIBE {uri} RTSP/1.0".encode())
    expected = rtsp._digest(Secret("me", "geheim"), 'Digest realm="r", nonce="n"', "DESCRIBE", uri)
    assert expected.encode() in heard[1]
    assert b"geheim" not in heard[1]
    assert tunnel.word.encode() not in heard[1]
    refusal = b'RTSP/1.0 401 No\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\n\r\n'
    with camera(answers(refusal, refusal, refusal)) as port:
        tunnel, decoder = tunnelled(port, "rtsp://me:falsch@127.0.0.1:{}/a")
    assert str(tunnel.error) == "the user or the password is wrong"
    assert decoder == b""


def test_digest_is_that_of_the_standards() -> None:
    """RFC 2617, 3.5, without quality of protection as RFC 2069 has it; and RFC 7616, 3.9.1 by its own hashes."""
    import hashlib

    challenge = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
    line = rtsp._digest(Secret("Mufasa", "Circle Of Life"), challenge, "GET", "/dir/index.html")
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in line
    line = rtsp._digest(Secret("u", "p"), 'Digest realm="r", qop="auth", algorithm=SHA-256, nonce="n"', "PLAY", "/")
    own = line.partition('cnonce="')[2].partition('"')[0]
    one, two = (hashlib.sha256(t).hexdigest() for t in (b"u:r:p", b"PLAY:/"))
    assert hashlib.sha256(f"{one}:n:00000001:{own}:auth:{two}".encode()).hexdigest() in line
    with pytest.raises(Denied, match="not known here"):
        rtsp._digest(Secret("u", "p"), 'Digest realm="r", algorithm=SHA-512-256, nonce="n"', "PLAY", "/")


@pytest.mark.skipif(bool(confine.state()), reason="this machine cannot confine")
def test_a_decoder_that_talks_on_its_one_connection_can_do_nothing_else() -> None:
    code = (
        "import socket\nfrom vlad.confine import TALK, confine, leaks\na, b = socket.socketpair()\nc = socket.socket()\nconfine(TALK)\na.sendall(b'x')\nprint(leaks(), b.recv(1))\n"
        "try:\n    c.connect(('127.0.0.1', 9))\nexcept PermissionError:\n    print('refused')\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[] b'x'\nrefused\n"
    )


def test_another_program_of_this_machine_gets_nothing_of_the_tunnel() -> None:
    with camera(answers(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n")) as port:
        sealed = threading.Event()
        tunnel = Tunnel(parse(f"rtsp://127.0.0.1:{port}/a"), HERE, sealed, sealed.set)
        with socket.create_connection(("127.0.0.1", tunnel.port)) as other:
            other.sendall(b"DESCRIBE rtsp://127.0.0.1/a RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            other.settimeout(5)
            assert other.recv(10) == b""
        assert not sealed.is_set()
        tunnel.close()


def test_answers_are_cut_whatever_pieces_they_come_in() -> None:
    packets = b"$\x00\x00\x05hello" + b"$\x01\x00\x02ab"
    whole = (
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 3\r\n\r\nabc"
        + packets
        + b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n"
        + packets
    )
    rng = random.Random(7)
    for _ in range(50):
        held, found = bytearray(), []
        rest = whole
        while rest:
            count = rng.randint(1, 20)
            held += rest[:count]
            rest = rest[count:]
            found += list(rtsp._answers(held))
        assert b"".join(m for _, m, _ in found) == whole
        assert sum(n for _, _, n in found) == 6
        assert [m for k, m, _ in found if k == "RTSP"] == [whole[:50], b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n"]


# ---- HTTP


def fed(answer: Callable[[BaseHTTPRequestHandler], None], path: str = "/a", user: str = "") -> tuple[Feed, bytes]:
    """What a feed brought of a server, and why it ended."""
    with http(answer) as port:
        feed = Feed(web(parse(f"http://{user}127.0.0.1:{port}{path}"), HERE))
        data = b""
        while piece := os.read(feed.read, 65536):
            data += piece
            if len(data) > 1 << 20:
                break
        feed.close()
    return feed, data


def replies(code: int, body: bytes = b"", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


LIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n"


@pytest.mark.parametrize(
    ("answer", "path", "match"),
    [
        (replies(302, Location="/a"), "/a", "more than 3 times"),
        (replies(302, Location="http://169.254.169.254/latest"), "/a", "cloud"),
        (replies(302, Location="file:///etc/passwd"), "/a", "no HTTP|cannot be read"),
        (replies(302, Location="rtsp://127.0.0.1/"), "/a", "no HTTP"),
        (replies(401, WWW_Authenticate='Basic realm="x"'), "/a", "asks for a user"),
        (replies(404), "/a", "no stream of that path"),
        (replies(200, b"<html>", Content_Type="text/html"), "/a", "no video"),
        (replies(200, b"nothing"), "/a.m3u8", "no HLS playlist"),
        (replies(200, LIST + b"x" * (2 << 20)), "/a.m3u8", "playlist is longer"),
        (replies(200, LIST + b"#EXTINF:1,\nhttp://169.254.169.254/a.ts\n"), "/a.m3u8", "cloud"),
        (replies(200, LIST + b'#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:1,\na.ts\n'), "/a.m3u8", "encrypted"),
        (replies(200, LIST + b"#EXT-X-STREAM-INF:BANDWIDTH=1\n/a.m3u8\n"), "/a.m3u8", "playlists of playlists"),
        (replies(200, LIST + b"#EXT-X-STREAM-INF:BANDWIDTH=1\n"), "/a.m3u8", "lists no stream"),
        (replies(200, LIST + b"".join(b'#EXT-X-KEY:METHOD=NONE,URI="%d"\n#EXTINF:1,\na\n' % i for i in range(5000))), "/a.m3u8", "200 keys"),
        (replies(200, LIST + b"#EXTINF:one,\na.ts\n"), "/a.m3u8", "cannot be read"),
    ],
)  # fmt: skip
def test_a_hostile_web_server_is_refused_in_one_line(
    answer: Callable[[BaseHTTPRequestHandler], None], path: str, match: str
) -> None:
    feed, _ = fed(answer, path)
    assert isinstance(feed.error, Denied)
    with pytest.raises(Denied, match=match):
        raise feed.error


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "drop", "path"),
    [
        (OK + b"X: ", b"a", "/a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "/a"),
        (OK + b"Content-Type: video/mp4\r\n\r\n", b"a", "/a"),
        (OK + b"\r\n#EXTM3U\n", b"#\n", "/a.m3u8"),
        (OK + b"Content-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", "/a"),
    ],
)
def test_a_web_server_that_drips_is_let_go_at_once(head: bytes, drop: bytes, path: str) -> None:
    """Each byte comes within the time of a byte, so that nothing would ever end by itself."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            line, _ = server.accept()
            with line, contextlib.suppress(OSError):
                line.recv(65536)
                line.sendall(head)
                while not stop.wait(0.05):
                    line.sendall(drop)

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        feed = Feed(web(parse(f"http://127.0.0.1:{server.getsockname()[1]}{path}"), HERE))
        time.sleep(0.3)
        begun = time.monotonic()
        feed.close()
        assert time.monotonic() - begun < 2
        assert not feed._thread.is_alive()
        stop.set()
        dripping.join()


def test_a_stream_that_never_begins_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "OPENED", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = parse(f"http://127.0.0.1:{server.getsockname()[1]}/a")
        running: Any = watch.Watch(SimpleNamespace(settings=make_settings()), on_score=print, rules=HERE)  # type: ignore[arg-type]
        with pytest.raises(Unreachable, match="no stream began"):
            watch._Line(running, watch.Camera("door", address), address, None, None)._open()


def test_a_thousand_tiny_pieces_cost_what_is_in_a_large_one() -> None:
    begun, budget = time.monotonic(), Budget(1 << 20)
    for _ in range(1000):
        budget.spend(1)
    assert time.monotonic() - begun > 0.5


def test_a_public_camera_leads_into_no_local_network() -> None:
    with http(replies(302, Location="http://10.255.255.1:9/")) as port:
        asked = Web(parse(f"http://127.0.0.1:{port}/"), HERE)
        with contextlib.closing(asked.client):
            assert asked.rules.near("10.255.255.1")
            assert not asked.rules.near("8.8.8.8")
            asked.near = False  # as if its own address were of the public network
            with pytest.raises(Denied, match="private network"), asked.get(asked.address.url):
                pass


def test_a_password_goes_to_its_own_host_alone() -> None:
    heard: list[tuple[str, str | None]] = []

    def other(request: BaseHTTPRequestHandler) -> None:
        heard.append(("other", request.headers["Authorization"]))
        replies(200, b"video", Content_Type="video/mp2t")(request)

    with http(other) as port:

        def own(request: BaseHTTPRequestHandler) -> None:
            heard.append(("own", request.headers["Authorization"]))
            if request.headers["Authorization"] is None:
                replies(401, WWW_Authenticate='Basic realm="x"')(request)
            else:
                replies(302, Location=f"http://127.0.0.1:{port}/there")(request)

        _, data = fed(own, user="me:pw@")
    assert data == b"video"
    assert heard == [("own", None), ("own", "Basic bWU6cHc="), ("other", None)]
    feed, _ = fed(replies(401, WWW_Authenticate='Basic realm="x"'), user="me:pw@")
    assert str(feed.error) == "the user or the password is wrong"


@pytest.mark.slow
def test_hls_segments_come_in_order_from_near_the_newest_on() -> None:
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        if request.path == "/a.m3u8":
            first = 7 + asked.count("/a.m3u8")
            lines = [f"#EXT-X-MEDIA-SEQUENCE:{first}"] + [f"#EXTINF:0.1,\n/{n}.ts" for n in range(first, first + 5)]
            end = ["#EXT-X-ENDLIST"] if first == 10 else []
            replies(200, "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:1", *lines, *end]).encode() + b"\n")(request)
        else:
            replies(200, request.path.encode())(request)

    feed, data = fed(answer, "/a.m3u8")
    assert data == b"/10.ts/11.ts/12.ts/13.ts/14.ts"
    assert feed.paced


# ---- files


def test_a_growing_file_is_followed_from_its_end_or_told_when_the_old_part_is_over(tmp_path: Path) -> None:
    for head, expected in ((b"\x47" + bytes(187), b""), (b"\x1aE\xdf\xa3", b"\x1aE\xdf\xa3")):
        (path := tmp_path / "a").write_bytes(head)
        feed, told = Feed(growing(path)), threading.Event()
        feed.caught_up(told.set)
        assert told.wait(5)
        with path.open("ab") as file:
            file.write(b"new")
        data = b""
        while len(data) < len(expected) + 3:
            data += os.read(feed.read, 100)
        assert data == expected + b"new"
        path.write_bytes(b"")
        feed._thread.join(5)
        assert "begun anew" in str(feed.error)
        feed.close()


@pytest.mark.parametrize("kind", ["pipe", "zeros", "gone"])
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "zeros" else tmp_path / "camera"
    if kind == "pipe":
        os.mkfifo(path)
    feed = Feed(growing(path))
    assert feed.ready.wait(5)
    feed.close()
    assert isinstance(feed.error, Unreachable if kind == "gone" else Denied)


def test_dropped_files_come_once_when_they_are_whole(tmp_path: Path) -> None:
    now = [0.0]
    (tmp_path / "old.mp4").write_bytes(b"x")
    dropped = Dropped(tmp_path, ticks=lambda: now[0])
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to("/etc/passwd")
    assert dropped.whole() == []
    now[0] = 2.0
    (tmp_path / "a.mp4").write_bytes(b"xx")
    assert dropped.whole() == []
    now[0] = 4.0
    assert dropped.whole() == []
    now[0] = 6.0
    assert [f.within for f in dropped.whole()] == ["a.mp4"]
    now[0] = 60.0
    assert dropped.whole() == []


def test_a_clock_that_is_set_hides_no_dropped_file(tmp_path: Path) -> None:
    """Neither while a file settles, nor from whoever begins again after a year that was none."""
    (folder := tmp_path / "drops").mkdir()
    now, ticks, mark = [time.time()], [0.0], tmp_path / "read"

    def begun() -> Dropped:
        return Dropped(folder, mark=mark, now=lambda: now[0], ticks=lambda: ticks[0])

    dropped = begun()
    (folder / "a.mp4").write_bytes(b"x")
    assert dropped.whole() == []
    now[0] -= YEAR
    ticks[0] += 4
    (found,) = dropped.whole()
    assert found.within == "a.mp4"
    now[0] += 2 * YEAR
    dropped.read(replace(found, arrived=found.arrived + YEAR))
    now[0] -= YEAR
    (folder / "b.mp4").write_bytes(b"x")
    after = begun()
    assert after.whole() == []
    ticks[0] += 4
    assert "b.mp4" in [f.within for f in after.whole()]


@pytest.mark.parametrize("changed", [2**33 + 5.0, -1e9, 0.0])
def test_a_dropped_file_is_of_no_time_that_cannot_be(tmp_path: Path, changed: float) -> None:
    ticks = [0.0]
    dropped = Dropped(tmp_path, ticks=lambda: ticks[0])
    (tmp_path / "a.mp4").write_bytes(b"x")
    os.utime(tmp_path / "a.mp4", (changed, changed))
    dropped.whole()
    ticks[0] += 4
    assert abs(dropped.whole()[0].changed - time.time()) < 60


def test_no_link_leads_out_of_a_dropped_folder_whatever_took_whose_place(tmp_path: Path) -> None:
    (folder := tmp_path / "drops").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "a.mp4").write_bytes(b"of others")
    ticks = [0.0]
    dropped = Dropped(folder, ticks=lambda: ticks[0])
    (folder / "day").mkdir()
    for name in ("day/a.mp4", "link.mp4", "pipe.mp4"):
        (folder / name).write_bytes(b"x")
    dropped.whole()
    ticks[0] += 4
    found = {f.within: f for f in dropped.whole()}
    with found["day/a.mp4"].opened() as file:
        assert file.read() == b"x"
    shutil.rmtree(folder / "day")
    (folder / "day").symlink_to(elsewhere)
    (folder / "link.mp4").unlink()
    (folder / "link.mp4").symlink_to(elsewhere / "a.mp4")
    (folder / "pipe.mp4").unlink()
    os.mkfifo(folder / "pipe.mp4")
    for one in found.values():
        with pytest.raises((OSError, Denied)), one.opened():
            pass


def test_of_many_dropped_files_those_that_are_done_with_are_not_read_again(tmp_path: Path) -> None:
    """Whoever is stopped in the middle of a thousand goes on there; and a share that is away for a while has no new files when it is back."""
    (folder := tmp_path / "drops").mkdir()
    now, mark = [time.time() + 60], tmp_path / "read"

    def begun() -> Dropped:
        return Dropped(folder, mark=mark, now=lambda: now[0], ticks=lambda: now[0])

    def whole(dropped: Dropped) -> list[Recording]:
        dropped.whole()
        now[0] += 4
        return dropped.whole()

    dropped = begun()
    for name in "abc":
        (folder / f"{name}.mp4").write_bytes(b"x")
    found = [replace(f, arrived=f.arrived - 10 * AGAIN * (2 - i)) for i, f in enumerate(whole(dropped))]
    dropped._left = {f.within: f.arrived for f in found}
    dropped.read(found[0])
    assert float(mark.read_text()) == found[0].arrived - AGAIN
    dropped.read(found[2])  # b is still to be read
    assert float(mark.read_text()) == found[1].arrived - AGAIN
    folder.rename(tmp_path / "share")
    folder.mkdir()
    with pytest.raises(Unreachable, match="another folder"):
        dropped.whole()


def test_a_file_that_grew_after_all_comes_once_more_and_so_does_a_name_that_is_used_anew(tmp_path: Path) -> None:
    ticks = [0.0]
    dropped = Dropped(tmp_path, ticks=lambda: ticks[0])

    def whole() -> list[str]:
        dropped.whole()
        ticks[0] += 4
        return [f.name for f in dropped.whole()]

    (tmp_path / "a.mp4").write_bytes(b"half")
    assert whole() == ["a.mp4"]
    assert whole() == []
    (tmp_path / "a.mp4").write_bytes(b"half and half")
    assert whole() == ["a.mp4"]
    (tmp_path / "a.mp4").unlink()
    assert whole() == []
    (tmp_path / "a.mp4").write_bytes(b"half and half")
    assert whole() == ["a.mp4"]


def test_folders_of_days_are_looked_into_and_their_names_tell_the_time(tmp_path: Path) -> None:
    now = [time.time()]
    dropped = Dropped(tmp_path, zone="+02:00", ticks=lambda: now[0])
    (day := tmp_path / "2024-01-02").mkdir()
    (day / ".hidden").mkdir()
    (day / ".hidden" / "c.mp4").write_bytes(b"x")
    (day / "04-05-06.mp4").write_bytes(b"x")
    (day / "03-04-05.mp4").write_bytes(b"x")
    (tmp_path / "deep").symlink_to("/")
    assert dropped.whole() == []
    now[0] += 4
    first, second = dropped.whole()
    assert (first.name, second.name) == ("2024-01-02_03-04-05.mp4", "2024-01-02_04-05-06.mp4")
    assert first.began == datetime(2024, 1, 2, 1, 4, 5, tzinfo=UTC).timestamp()


def test_whoever_goes_on_reads_what_was_dropped_meanwhile(tmp_path: Path) -> None:
    """Also where the first stopped in the middle; what lay there before the very first start is left alone."""
    (folder := tmp_path / "drops").mkdir()
    now, mark = [time.time()], tmp_path / "read"

    def begun() -> Dropped:
        return Dropped(folder, mark=mark, now=lambda: now[0], ticks=lambda: now[0])

    def whole(dropped: Dropped) -> list[str]:
        dropped.whole()
        now[0] += 4
        return [f.name for f in dropped.whole()]

    (folder / "old.mp4").write_bytes(b"x")
    assert whole(begun()) == []
    time.sleep(0.02)
    (folder / "a.mp4").write_bytes(b"x")
    assert whole(begun()) == ["a.mp4"]
    dropped = begun()
    dropped.whole()
    now[0] += 4
    found = dropped.whole()
    assert [f.name for f in found] == ["a.mp4"]  # nobody said that it was done with
    now[0] += 2 * AGAIN
    dropped.read(replace(found[0], arrived=found[0].arrived + 2 * AGAIN))
    assert whole(begun()) == []
    mark.write_text("nonsense")
    assert whole(begun()) == []
    assert not list(tmp_path.glob("*.part"))


# ---- the ring


def test_a_ring_forgets_by_hours_and_bytes_but_never_what_is_held(tmp_path: Path) -> None:
    now = [1000.0]
    ring = Ring(tmp_path / "ring", hours=1.0, most=350, now=lambda: now[0])
    assert ring.add(b"early", 1.0, 2.0) is None
    ring.begin(b"head", 1000.0)
    for i in range(3):
        ring.add(bytes(100), 1000.0 + 2 * i, 1002.0 + 2 * i)
    assert [f.start for f in sorted(ring.fragments())] == [1000.0, 1002.0, 1004.0]
    ring.held(1000.0, 1001.0)
    ring.add(bytes(100), 1006.0, 1008.0)
    ring.forget()
    assert [f.start for f in sorted(ring.fragments())] == [1000.0, 1004.0, 1006.0]  # bytes: the oldest that is not held
    now[0] = 1000.0 + 3605.5
    ring.forget()
    assert [f.start for f in sorted(ring.fragments())] == [1000.0, 1004.0, 1006.0]
    now[0] = 1000.0 + 3606.5
    ring.forget()
    assert [f.start for f in sorted(ring.fragments())] == [1000.0, 1006.0]
    ring.released(1000.0, 1001.0)
    ring.forget()
    assert [f.start for f in sorted(ring.fragments())] == [1006.0]
    ring.begin(b"head2", 1006.0)
    now[0] += 7200
    ring.forget()
    assert [p.name for p in (tmp_path / "ring").iterdir()] == ["1006000"]


def test_a_clock_that_is_corrected_mixes_no_fragments(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", now=lambda: 1000.0)
    ring.begin(b"head", 990.0)
    for number, start in enumerate((990.0, 992.0, 991.2, 993.2, 995.2)):
        ring.add(b"%d" % number, start, start + 2)
    ((path, _, _),) = ring.piece(980.0, 1000.0, tmp_path / "out")
    assert path.read_bytes() == b"head01234"


def test_a_clock_that_jumps_a_year_takes_nothing_from_a_ring(tmp_path: Path) -> None:
    """Neither forth nor back; and what a clock that was ahead wrote goes first where there is no room, and by hours once the clock is believed again."""
    now, steady = [T], [False]
    ring = Ring(tmp_path / "ring", hours=1.0, most=100, now=lambda: now[0], steady=lambda: steady[0])

    def kept() -> list[float]:
        return sorted(round(f.start - T) for f in ring.fragments())

    ring.begin(b"h", T)
    ring.add(b"x" * 30, T, T + 1)
    now[0] += YEAR
    ring.begin(b"h", T + YEAR)
    ring.add(b"x" * 30, T + YEAR, T + YEAR + 1)
    ring.forget()
    assert kept() == [0, YEAR]
    now[0] -= YEAR - 10
    ring.begin(b"h", T + 10)
    ring.add(b"x" * 30, T + 10, T + 11)
    ring.forget()
    assert kept() == [0, 10, YEAR]
    ring.add(b"x" * 30, T + 12, T + 13)
    ring.forget()
    assert kept() == [0, 10, 12]
    ring.begin(b"h", T + YEAR)
    ring.add(b"x", T + YEAR, T + YEAR + 1)
    steady[0] = True
    ring.forget()
    assert kept() == [0, 10, 12]
    now[0] += 3596
    ring.forget()
    assert kept() == [10, 12]


@pytest.mark.parametrize("by", [YEAR, 3600.0, -3600.0, -YEAR])
def test_time_goes_on_from_where_a_clock_was_set_to_and_a_recording_begins_anew(tmp_path: Path, by: float) -> None:
    now, ticks = [T], [0.0]
    running: Any = watch.Watch(
        SimpleNamespace(settings=make_settings()), on_score=print, clock=watch.Clock(lambda: now[0], lambda: ticks[0])  # type: ignore[arg-type]
    )  # fmt: skip
    clock = Steady()
    ring = Ring(tmp_path / "ring", now=lambda: now[0], steady=lambda: clock.look(now[0], ticks[0]))
    ring.forget()
    address = parse("rtsp://10.0.0.5/")
    line = watch._Line(running, watch.Camera("door", address, None, ring), address, None, ring)
    line._keep(b"H", {"start": 0.0}, bytearray(b"head"))
    for second in range(20):
        if second == 10:
            now[0] += by
        now[0] += 1
        ticks[0] += 1
        line._arrived(float(second), time.monotonic())
        if second % 2:
            line._keep(b"G", {"start": second - 2.0, "end": float(second)}, bytearray(b"x"))
    assert line.wall.of(19.0) == pytest.approx(now[0], abs=0.1)
    before, after = sorted(ring.pieces(0, 2**33), key=lambda own: (own[0].start < T + 15) != (by > 0))[
        :: 1 if by > 0 else -1
    ]
    assert [len(before), len(after)] == [5, 5]
    assert after[0].start - before[-1].end == pytest.approx(by, abs=1)
    assert (after[0].path.parent / HEAD).read_bytes() == b"head"


def test_on_a_full_disk_the_oldest_makes_room_and_nothing_else_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    written, room = ring_room._write, [450]

    def write(path: Path, data: bytes) -> None:
        if sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) + len(data) > room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(path, data)

    monkeypatch.setattr(ring_room, "_write", write)
    ring = Ring(tmp_path / "ring", hours=1.0, most=10**6, now=lambda: 1000.0)
    ring.begin(b"head", 1000.0)
    for i in range(8):
        ring.add(bytes(100), 1000.0 + 2 * i, 1002.0 + 2 * i)
    kept = [f.start for f in sorted(ring.fragments())]
    assert (kept[-1], len(kept) > 2) == (1014.0, True)
    room[0] = 0
    with pytest.raises(OutputError, match="No space"):
        ring.begin(b"head", 1020.0)
    room[0] = 450
    ring.begin(b"head", 1020.0)
    assert ring.add(bytes(100), 1020.0, 1022.0) is not None


def test_a_piece_is_a_file_a_recording_and_a_playlist_names_both(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring")
    for start in (1_700_000_000.0, 1_700_000_100.0):
        ring.begin(b"<head>", start)
        for i in range(5):
            ring.add(b"<%d>" % i, start + 2 * i, start + 2 * i + 2)
    made = ring.piece(1_700_000_005.0, 1_700_000_101.0, tmp_path / "out")
    assert [(p.read_bytes(), a, b) for p, a, b in made] == [
        (b"<head><2><3><4>", 1_700_000_004.0, 1_700_000_010.0), (b"<head><0>", 1_700_000_100.0, 1_700_000_102.0),
    ]  # fmt: skip
    text = ring.playlist(1_700_000_005.0, 1_700_000_101.0, address=lambda p: p.name)
    assert text.count("#EXTINF:2.000,") == 4
    assert text.count("EXT-X-MAP") == 2
    assert text.count("EXT-X-DISCONTINUITY") == 1
    assert text.endswith("#EXT-X-ENDLIST\n")
    assert ring.piece(5.0, 6.0, tmp_path / "out") == []


def test_what_was_half_written_when_somebody_was_killed_is_swept(tmp_path: Path) -> None:
    """A process that writes without end is killed; what is left is whole."""
    code = (
        "import sys, pathlib\nfrom vlad.live.ring import Ring\nring = Ring(pathlib.Path(sys.argv[1]))\nring.begin(b'h' * 1000, 0.0)\nprint('on', flush=True)\n"
        "i = 0\nwhile True:\n    ring.add(bytes(100_000), i, i + 1)\n    i += 1\n"
    )
    folder = tmp_path / "ring"
    writer = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"on\n"
    time.sleep(0.1)
    writer.kill()
    writer.wait()
    writer.stdout.close()
    (folder / "0" / "5-6.m4s.part").write_bytes(b"half")
    (folder / "7").mkdir()
    ring = Ring(folder)
    assert not list(folder.rglob("*.part"))
    assert not (folder / "7").exists()
    assert {f.size for f in ring.fragments()} == {100_000}
    assert (folder / "0" / HEAD).stat().st_size == 1000
    with pytest.raises(OutputError, match="cannot be written"):
        Ring(Path("/proc/nothing"))


# ---- clocks


def test_stamps_are_held_to_their_arrival_and_rise_whatever_comes() -> None:
    held, rng = Held(1 / 15), random.Random(3)
    for i in range(150):
        assert held.time(100 + i / 15, 50 + i / 15 + rng.random() * 0.2) == pytest.approx(i / 15)
    assert held.time(100 + 10 + 4e9, 60.0) == pytest.approx(10.0, abs=0.3)  # a leap of a century
    before = held.clock.last
    for i in range(2000):
        arrival = 60 + i / 15
        now = held.time(rng.choice([rng.random() * 1e6, 5.0, -3.0, None]), arrival)
        if now is not None:
            assert before < now < arrival - 50 + 2 * HOLD + 1
            before = now


def test_a_stream_that_decodes_too_slowly_is_known_to_be_behind() -> None:
    held = Held(1 / 15)
    for i in range(300):
        held.time(i / 15, i / 15)
    assert held.guessed(300 / 15, 300 / 15) < 0.1
    for i in range(300, 400):
        held.time(i / 15, 20 + (i - 300) / 15 * 1.5)
    assert held.guessed(400 / 15, 20 + 100 / 15 * 1.5) == pytest.approx(100 / 15 * 0.5, abs=0.2)


def test_wall_time_follows_the_quickest_arrivals_and_shows_drift() -> None:
    wall, rng = Wall(), random.Random(5)
    for i in range(3 * 3600):  # a camera that runs 20 ppm fast
        wall.came(i * 1.00002, 1000 + i + rng.expovariate(10))
    assert wall.of(3 * 3600 * 1.00002) == pytest.approx(1000 + 3 * 3600, abs=0.1)
    assert wall.drift == pytest.approx(72.0, abs=8.0)  # ms an hour
    assert wall.of(5.0) >= 1000 + 3 * 3600 - 0.1  # rises


@pytest.mark.parametrize(
    ("kind", "text", "size"),
    [
        (b"Z", b"{}", 0), (b"S", b'{"start": 0.0, "end": 1.0, "arrived": 0.0, "shape": [1, 2, 2, 3]}', 11), (b"S", b'{"start": 1.0, "end": 1.0, "arrived": 0.0, "shape": [1, 2, 2, 3]}', 12),
        (b"Q", b'{"start": 0.0, "end": NaN, "arrived": 0.0}', 0), (b"G", b'{"start": 0.0, "end": 1.0}', 100 << 20), (b"E", b'{"x": 1}', 0), (b"N", b'{"ahead": 1e300}', 0),
    ],
)  # fmt: skip
def test_a_decoder_that_was_taken_over_is_not_believed(kind: bytes, text: bytes, size: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        checked(kind, text, size)


# ---- rows and scores


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(make_settings(explain=False, cache=None))


@pytest.fixture(scope="module")
def snippets(analyzer: Analyzer, clip: Path) -> list[Snippet]:
    with open_video(clip, analyzer.settings, size=analyzer.encoder.size, gated=True) as opened:
        return list(opened)[:9]


@pytest.mark.slow
def test_streaming_rows_are_what_the_batch_line_gives_for_a_clip_that_ends_there(
    analyzer: Analyzer, snippets: list[Snippet]
) -> None:
    rate = analyzer.settings.objects_rate
    rows = Rows(analyzer.encoder, analyzer.detector, rate=rate)  # type: ignore[arg-type]
    found = np.stack([rows.push(s) for s in snippets])
    for count in (4, len(snippets)):
        whole = analyzer.encoder(Looks(snippets[:count], analyzer.detector, rate=rate)).values
        np.testing.assert_allclose(found[count - 1], whole[-1], rtol=1e-3, atol=1e-4)
    bare = np.ones(found.shape[1], bool)
    bare[-47:-29] = False  # what was seen, of which the whole clip knows what comes after
    np.testing.assert_allclose(found[:, bare], whole[:, bare], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_newest_score_is_that_of_a_clip_which_ends_there(analyzer: Analyzer, snippets: list[Snippet]) -> None:
    rows = Rows(analyzer.encoder, analyzer.detector)  # type: ignore[arg-type]
    scores = Scores(analyzer.scorer, analyzer.encoder.name)  # type: ignore[attr-defined]
    values = [rows.push(s) for s in snippets]
    found = [scores.push(v, s.start, s.end)[0] for v, s in zip(values, snippets, strict=True)]
    for count in (1, 5, len(snippets)):
        edges = np.array([0.0, *(s.end for s in snippets[:count])])
        whole = analyzer.score(Features(np.stack(values[:count]), edges, analyzer.encoder.name))  # type: ignore[attr-defined]
        assert found[count - 1] == pytest.approx(float(whole.scores[-1]), abs=1e-5)


def test_a_causal_head_streams_the_batch_scores_and_memory_is_constant() -> None:
    config = HeadConfig("causal", "fake@1", 12, 4, ("x",), options={"width": 16})
    head = CausalHead(config)
    scorer = TrainedScorer(head, {"x": ("x",)}, lambda texts: np.ones((len(texts), 4), np.float32))
    values = np.random.default_rng(1).random((150, 12), np.float32)
    track = scorer(Features(values, np.arange(151.0), "fake@1"))
    scores = Scores(scorer, "fake@1")
    assert isinstance(scores._stream, Stream)
    found = [scores.push(v, float(i), i + 1.0)[0] for i, v in enumerate(values)]
    np.testing.assert_allclose(found, track.scores, atol=1e-5)

    def plain(features: Features) -> ScoreTrack:
        return ScoreTrack(features.values[:, 0].clip(0, 1), features.edges)

    windowed = Scores(plain, "fake@1")
    for i, v in enumerate(values):
        assert windowed.push(v, float(i), i + 1.0)[0] == pytest.approx(float(v[0]))
    assert len(windowed._rows) == WINDOW


# ---- many streams


class Slow:
    """An encoder that takes its time, and a scorer of what it saw."""

    name, size, use_motion, threads = "slow@1", 16, False, 0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def rows(self, batch: list[Snippet], before: Any) -> tuple[list[Any], Any]:
        time.sleep(self.seconds)
        return [np.full(2, s.frames.mean() / 255, np.float32) for s in batch], None


def fake_analyzer(seconds: float = 0.0, **changes: Any) -> Any:
    def scorer(features: Features) -> ScoreTrack:
        return ScoreTrack(features.values[:, 0], features.edges)

    settings = make_settings(explain=False, cache=None, objects=False, **changes)
    return SimpleNamespace(encoder=Slow(seconds), scorer=scorer, detector=None, settings=settings, gated=False)


@pytest.mark.slow
def test_under_load_all_streams_lose_evenly_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four streams of a snippet every 20 ms, and models that keep up with half of them."""
    monkeypatch.setattr(watch, "cores", lambda: 1)
    scored: list[Scored] = []
    running = watch.Watch(fake_analyzer(0.01), on_score=scored.append)
    places = [running._places.setdefault(str(i), _Place(str(i), running._make)) for i in range(4)]
    running.start()
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    began = time.time()
    for i in range(25):
        for place in places:
            start = began + i * 0.02
            place.put(_Waiting(Snippet(frames, i * 0.02, i * 0.02 + 0.02), start, start + 0.02, i == 0))
        running.came()
        time.sleep(0.02)
    time.sleep(0.2)
    running.stop()
    assert running.failed is None
    shares = [p.share(time.time()) for p in places]
    assert all(0.2 < s < 0.8 for s in shares)
    assert max(shares) - min(shares) < 0.15
    for i in range(4):
        own = [s for s in scored if s.camera == str(i)]
        assert len(own) == 25  # each snippet is told, looked at or not
        assert all(a.end <= b.start + 1e-6 for a, b in pairwise(own))


def test_a_quiet_snippet_whose_pictures_nobody_saw_is_looked_at() -> None:
    place = _Place("a", lambda: (None, None))  # type: ignore[arg-type, return-value]
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    place.put(_Waiting(Snippet(frames, 0.0, 1.0), 0.0, 1.0, True))
    place.put(_Waiting(Snippet(frames, 1.0, 2.0, quiet=True), 1.0, 2.0, False))
    new, skipped = place.take()
    assert new is not None
    assert not new.snippet.quiet
    assert new.fresh
    assert [w.start for w in skipped] == [0.0]


def test_a_flagged_span_begins_and_ends_once() -> None:
    flags = Flags(0.5, 0.2, 3.0)
    told = []
    for i, score in enumerate([0.1, 0.6, 0.9, 0.3, 0.1, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7]):
        found = flags.push(Scored("a", float(i), i + 1.0, score, "x"))
        if found:
            told.append((found[0], i, round(found[1]["peak"], 1), found[1]["start"], found[1]["end"]))
    assert told == [("begun", 1, 0.6, 1.0, 2.0), ("over", 8, 0.9, 1.0, 6.0), ("begun", 11, 0.7, 11.0, 12.0)]


def boxes_of(_: Sequence[Any]) -> list[tuple[Box, ...]]:
    return [()]


def test_what_is_remembered_of_who_was_seen_is_bounded() -> None:
    class Plain:
        name, use_motion = "x@1", True

        def rows(self, batch: list[Snippet], before: Any) -> tuple[list[Any], Any]:
            return [np.zeros(60, np.float32)], before

    rows = Rows(Plain(), boxes_of)
    frames = np.zeros((4, 4, 4, 3), np.uint8)
    for i in range(200):
        rows.push(Snippet(frames, float(i), i + 1.0))
    assert rows._watch is not None
    assert len(rows._watch.sightings) <= 61


def test_reasons_are_lines_without_secrets() -> None:
    """Whatever httpx says of an address with a key in it."""
    feed = Feed(web(parse("http://me:geheim@127.0.0.1:1/a?key=geheim"), HERE))
    feed.ready.wait(10)
    feed.close()
    assert isinstance(feed.error, Unreachable)
    assert "geheim" not in str(feed.error)


def test_a_decoder_whose_time_stands_still_is_not_believed() -> None:
    running: Any = watch.Watch(SimpleNamespace(settings=make_settings()), on_score=print)  # type: ignore[arg-type]
    address = parse("rtsp://10.0.0.5/")
    place: Any = _Place("door", lambda: (None, None))  # type: ignore[arg-type,return-value]
    line = watch._Line(running, watch.Camera("door", address), address, place, None)
    facts = {"start": 0.0, "end": 1.0, "arrived": time.monotonic(), "shape": (1, 2, 2, 3)}
    line._snippet(b"S", facts, bytearray(12))
    with pytest.raises(VideoError, match="nonsense"):
        line._snippet(b"S", {**facts, "start": 0.5}, bytearray(12))


def test_what_cannot_be_scored_of_one_camera_ends_no_other_unless_nothing_can(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = [0.0]
    clock = watch.Clock(ticks=lambda: ticks[0])
    running: Any = watch.Watch(SimpleNamespace(settings=make_settings(), encoder=None), on_score=print, clock=clock)  # type: ignore[arg-type]
    places = {name: _Place(name, lambda: (None, None)) for name in ("good", "bad")}  # type: ignore[arg-type,return-value]
    running._places, scored = places, []

    def score(place: Any, new: Any, skipped: Any) -> None:
        if place.camera == "bad":
            raise ValueError("edges must rise")
        scored.append(place.camera)

    monkeypatch.setattr(running, "_score", score)
    thread = threading.Thread(target=running._run, daemon=True)
    thread.start()
    snippet = Snippet(np.zeros((1, 2, 2, 3), np.uint8), 0.0, 1.0)

    def put(name: str) -> None:
        places[name].put(_Waiting(snippet, 0.0, 1.0, False))
        running.came()
        until = time.monotonic() + 5
        while (places[name].waiting or places[name].busy) and time.monotonic() < until and thread.is_alive():
            time.sleep(0.01)

    for name in ("good", "bad", "bad", "good"):
        put(name)
    assert (scored, running.failed) == (["good", "good"], None)
    ticks[0] += watch.LATELY + 1
    put("bad")
    thread.join(5)
    assert isinstance(running.failed, ValueError)
