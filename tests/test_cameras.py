"""Live streams by real servers of this machine: GStreamer's RTSP, ffmpeg's HLS, MJPEG and TS over HTTP, a file that grows, and cameras that mean ill beside them."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import psutil
import pytest
from vlad.eval import cameras

from vlad import confine
from vlad.config import make_settings
from vlad.errors import VideoError
from vlad.live.address import parse
from vlad.live.child import plain
from vlad.live.hosts import networks
from vlad.live.network import Rules
from vlad.live.ring import Ring
from vlad.live.scoring import Scored
from vlad.live.watch import Camera, Clock, Gap, State, Watch
from vlad.types import ScoreTrack, Snippet

pytestmark = pytest.mark.slow
gstreamer = pytest.mark.usefixtures("rtsp_server")
ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg here")
HERE = Rules(networks(["127.0.0.0/8"]))


@pytest.fixture(scope="module")
def rtsp_server() -> None:
    """Asked when a test needs it: it takes a process."""
    if not cameras.has_rtsp():
        pytest.skip("no GstRtspServer here: gir1.2-gst-rtsp-server-1.0, python3-gi, gstreamer1.0-plugins-good and -bad")


@pytest.fixture(scope="module")
def film(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds as a camera encodes them, a group of pictures a second, 320 x 240."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg here")
    return cameras.camera_clip(clip, tmp_path_factory.mktemp("film") / "film.mp4", size=(320, 240), group=15)


class Light:
    """An encoder that costs nothing: how bright pictures are."""

    name, size, use_motion, threads = "light@1", 64, False, 0

    def rows(self, batch: list[Snippet], before: Any) -> tuple[list[Any], Any]:
        return [np.full(2, s.frames.mean() / 255, np.float32) for s in batch], None


def models() -> Any:
    settings = make_settings(explain=False, cache=None, objects=False)
    return SimpleNamespace(
        encoder=Light(), scorer=lambda f: ScoreTrack(f.values[:, 0], f.edges), detector=None, settings=settings, gated=False
    )  # fmt: skip


@dataclass
class Seen:
    """What a Watch told."""

    scores: list[Scored] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    pictures: list[tuple[str, float, bytes]] = field(default_factory=list)

    def of(self, camera: str) -> list[Scored]:
        return [s for s in self.scores if s.camera == camera]

    def words(self, camera: str) -> list[str]:
        """States and reasons, those that differ."""
        told = [f"{s.state}: {s.why}" for s in self.states if s.camera == camera]
        return [w for i, w in enumerate(told) if i == 0 or told[i - 1] != w]


@contextmanager
def watching() -> Iterator[tuple[Watch, Seen]]:
    seen = Seen()
    running = Watch(
        models(), on_score=seen.scores.append, on_state=seen.states.append, on_gap=seen.gaps.append,
        on_picture=lambda *p: seen.pictures.append(p), rules=HERE, seed=1,
    )  # fmt: skip
    with running:
        yield running, seen
    assert running.failed is None


def wait_for(what: Callable[[], Any], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def decodes(path: Path) -> tuple[int, float]:
    """Frames of a file, and its first time."""
    with av.open(str(path)) as file:
        times = [float(f.time or 0) for f in file.decode(video=0)]
    return len(times), times[0]


@gstreamer
@pytest.mark.parametrize("basic", [False, True])
def test_rtsp_with_a_password_is_scored_kept_and_told_by_the_senders_clock(
    film: Path, tmp_path: Path, basic: bool
) -> None:
    ring = Ring(tmp_path / "ring")
    with cameras.rtsp({"/a": film}, user="me", password="se:cr/et", basic=basic) as port, watching() as (running, seen):
        began = time.time()
        running.add(Camera("gate", parse(f"rtsp://me:se%3Acr%2Fet@127.0.0.1:{port}/a"), ring=ring))
        wait_for(lambda: len(seen.of("gate")) >= 7)
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            if "vlad.live.reader" in " ".join(process.cmdline()):
                assert "se:cr" not in " ".join(process.cmdline()) + str(process.environ())
                if not confine.state():
                    assert "Seccomp:\t2" in Path(f"/proc/{process.pid}/status").read_text()
                    assert not [
                        c for c in process.net_connections() if c.raddr and c.raddr.port == port
                    ]  # it reaches the tunnel alone
        wait_for(lambda: any(s.ahead is not None for s in seen.states))
    assert [s.state for s in seen.states][:2] == ["connecting", "on"]
    assert {s.what for s in seen.states if s.state == "on"} == {"h264 320 x 240, 15/s"}
    assert abs(next(s.ahead for s in seen.states if s.ahead is not None)) < 1.0  # one machine, one clock
    own = seen.of("gate")
    assert all(a.end == pytest.approx(b.start, abs=0.05) for a, b in pairwise(own))
    assert own[0].start - began < 4
    assert own[-1].end == pytest.approx(own[0].start + len(own) * 16 / 15, abs=0.1)
    (piece, start, end) = ring.piece(own[0].start, own[-1].end, tmp_path / "out")[0]
    frames, _ = decodes(piece)
    assert frames == pytest.approx((end - start) * 15, abs=1)
    plain(piece, tmp_path / "plain.mp4", make_settings())
    assert decodes(tmp_path / "plain.mp4") == (frames, 0.0)
    with pytest.raises(VideoError, match="cannot be read"):
        plain(Path(__file__), tmp_path / "no.mp4", make_settings())
    assert "se:cr" not in repr(seen.states)


@ffmpeg
@pytest.mark.parametrize("kind", ["ts", "mjpeg", "hls", "fmp4"])
def test_http_is_scored_and_kept(film: Path, tmp_path: Path, kind: str) -> None:
    ring = Ring(tmp_path / "ring")
    with ExitStack() as stack:
        if kind == "ts":
            url = (
                f"http://127.0.0.1:{stack.enter_context(cameras.http(cameras.sends_ts(cameras.ts_frames(film))))}/live"
            )
        elif kind == "mjpeg":
            pictures = []
            with av.open(str(film)) as file:
                for frame in file.decode(video=0):
                    frame.to_image().save(made := io.BytesIO(), "JPEG")
                    pictures.append(made.getvalue())
            url = f"http://127.0.0.1:{stack.enter_context(cameras.http(cameras.sends_mjpeg(pictures)))}/live"
        else:
            url = f"http://127.0.0.1:{stack.enter_context(cameras.hls(film, tmp_path / 'hls', fragmented=kind == 'fmp4'))}/live.m3u8"
        running, seen = stack.enter_context(watching())
        running.add(Camera("gate", parse(url), ring=ring))
        wait_for(lambda: len(seen.of("gate")) >= 6)
    own = seen.of("gate")
    assert all(s.looked for s in own)
    assert own[-1].end - own[0].start == pytest.approx(len(own) * 16 / 15, rel=0.1)
    (piece, start, end) = ring.piece(own[0].start, own[-1].end, tmp_path / "out")[0]
    frames, _ = decodes(piece)
    assert frames == pytest.approx((end - start) * 15, rel=0.15)
    assert seen.pictures[0][2].startswith(b"\xff\xd8")


@ffmpeg
def test_a_stream_gives_the_snippets_that_the_file_gives(film: Path) -> None:
    """The very frames: what a stream is scored by is what the batch line sees of the same packets."""
    from vlad.video import open_video

    settings = make_settings()
    with open_video(film, settings, size=64) as clip:
        expected = [float(s.frames.mean() / 255) for s in clip][:6]
    with cameras.http(cameras.sends_ts(cameras.ts_frames(film))) as port, watching() as (running, seen):
        running.add(Camera("gate", parse(f"http://127.0.0.1:{port}/live")))
        wait_for(lambda: len(seen.of("gate")) >= 6)
    assert [s.score for s in seen.of("gate")[:6]] == pytest.approx(expected, abs=1e-6)


@ffmpeg
def test_a_small_stream_is_looked_at_and_the_large_one_kept_without_decoding(film: Path, tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring")
    frames = cameras.ts_frames(film)
    with cameras.http(cameras.sends_ts(frames)) as port, watching() as (running, seen):
        running.add(
            Camera(
                "gate", parse(f"http://127.0.0.1:{port}/large"), sub=parse(f"http://127.0.0.1:{port}/small"), ring=ring
            )
        )
        wait_for(lambda: len(seen.of("gate")) >= 6)
    own = seen.of("gate")
    (piece, start, end) = ring.piece(own[0].start, own[-1].end, tmp_path / "out")[0]
    assert decodes(piece)[0] == pytest.approx((end - start) * 15, abs=1)
    assert start == pytest.approx(own[0].start, abs=0.5)
    assert {(s.state, s.kept) for s in seen.states} == {
        ("connecting", True),
        ("connecting", False),
        ("on", True),
        ("on", False),
    }


@ffmpeg
def test_a_clock_of_tests_makes_minutes_of_seconds(film: Path) -> None:
    """Twelve times as fast: what stands for time is the clock's, the gap between two connections too."""
    began, real = time.time(), time.monotonic()
    clock = Clock(lambda: began + 12 * (time.monotonic() - real), lambda: 12 * (time.monotonic() - real), 12.0)
    frames = cameras.ts_frames(film)
    seen = Seen()
    with cameras.http(cameras.sends_ts(frames, speed=12)) as port:
        running = Watch(
            models(),
            on_score=seen.scores.append,
            on_state=seen.states.append,
            on_gap=seen.gaps.append,
            rules=HERE,
            clock=clock,
            seed=1,
        )
        with running:
            running.add(Camera("gate", parse(f"http://127.0.0.1:{port}/live")))
            wait_for(lambda: len(seen.gaps) >= 2, 40)
    own = seen.of("gate")
    assert np.median([s.end - s.start for s in own]) == pytest.approx(16 / 15, abs=0.05)
    assert all(1.0 < g.end - g.start < 60 for g in seen.gaps)
    assert {g.why for g in seen.gaps} == {"the stream ended"}


def hostile(answer: Callable[[socket.socket], None]) -> tuple[socket.socket, int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with connection:
            try:
                answer(connection)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return listener, listener.getsockname()[1]


def answers(first: bytes, then: bytes = b"", forever: bool = False) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(first)
        while forever:
            connection.sendall(then)
        time.sleep(30)

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"
ILL = {  # address, what the server does, what is said of it
    "malformed": ("rtsp", answers(b"\xff\x00RTSP what\r\n\r\n"), "no RTSP"),
    "huge description": ("rtsp", answers(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 10000000\r\n\r\n", b"v=0\r\n" * 1000, True), "description is longer"),
    "zeros": ("rtsp", answers(b"", bytes(65536), True), "no RTSP"),
    "moved": ("rtsp", answers(b"RTSP/1.0 301 Moved\r\nCSeq: 1\r\nLocation: rtsp://10.0.0.1/\r\n\r\n"), "leads elsewhere"),
    "bad description": ("rtsp", answers(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\nRTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: 4\r\n\r\nv=\x00\xff"), "cannot be read|ended|broke|nothing"),
    "web zeros": ("http", answers(OK, bytes(65536), True), "cannot be read"),
    "web noise": ("http", answers(OK, os.urandom(65536), True), "cannot be read"),
    "round": ("http", answers(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), "more than 3 times"),
    "cloud": ("http", answers(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data\r\nContent-Length: 0\r\n\r\n"), "secrets"),
    "page": ("http", answers(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>"), "no video"),
    "secret": ("http", answers(b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="x"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'), "user or the password is wrong"),
}  # fmt: skip


@ffmpeg
def test_cameras_that_mean_ill_are_refused_in_a_line_each_and_the_others_go_on(film: Path) -> None:
    servers = {name: hostile(answer) for name, (_, answer, _) in ILL.items()}
    with cameras.http(cameras.sends_ts(cameras.ts_frames(film))) as port, watching() as (running, seen):
        running.add(Camera("good", parse(f"http://127.0.0.1:{port}/live")))
        wait_for(lambda: len(seen.of("good")) >= 1)
        for name, (scheme, _, _) in ILL.items():
            running.add(Camera(name, parse(f"{scheme}://me:geheim@127.0.0.1:{servers[name][1]}/")))
        wait_for(
            lambda: all(any(s.camera == n and s.state in ("refused", "lost") for s in seen.states) for n in ILL), 60
        )
        before = len(seen.of("good"))
        wait_for(lambda: len(seen.of("good")) >= before + 2)
    for listener, _ in servers.values():
        listener.close()
    for name, (_, _, expected) in ILL.items():
        told = next(s for s in seen.states if s.camera == name and s.state in ("refused", "lost"))
        assert re.search(expected, told.why), (name, told.why)
        assert "\n" not in told.why
        assert "geheim" not in told.why
        assert not seen.of(name)
    own = seen.of("good")
    assert all(s.looked for s in own)
    assert not [s for s in seen.states if s.camera == "good" and s.state not in ("connecting", "on")]


@gstreamer
def test_a_camera_that_restarts_and_one_whose_cable_is_pulled_are_gaps_and_go_on(film: Path) -> None:
    port = free_port()
    with watching() as (running, seen):
        with cameras.rtsp({"/a": film}, port=port):
            running.add(Camera("gate", parse(f"rtsp://127.0.0.1:{port}/a")))
            wait_for(lambda: len(seen.of("gate")) >= 2)
        wait_for(lambda: seen.states[-1].state == "lost")
        with cameras.rtsp({"/a": film}, port=port):
            wait_for(lambda: len(seen.of("gate")) >= 5)
    assert [w.partition(":")[0] for w in seen.words("gate")][:5] == [
        "connecting",
        "on",
        "lost",
        "connecting",
        "on",
    ] or "lost" in str(seen.words("gate"))
    assert len(seen.gaps) == 1
    gap, own = seen.gaps[0], seen.of("gate")
    before = [s for s in own if s.end <= gap.start + 0.1]
    after = [s for s in own if s.start >= gap.end - 0.1]
    assert len(before) + len(after) == len(own)
    assert gap.end - gap.start > 0.5
    assert after[0].start == pytest.approx(gap.end, abs=0.1)


@gstreamer
def test_a_server_that_stands_still_is_a_gap_told_while_the_connection_stays(film: Path) -> None:
    """SIGSTOP: the cable is out for five seconds, shorter than anybody gives up."""
    with cameras.rtsp({"/a": film}) as port, watching() as (running, seen):
        running.add(Camera("gate", parse(f"rtsp://127.0.0.1:{port}/a")))
        wait_for(lambda: len(seen.of("gate")) >= 2)
        server = next(p for p in psutil.Process().children() if "GstRtspServer" in " ".join(p.cmdline()))
        server.send_signal(signal.SIGSTOP)
        time.sleep(5)
        server.send_signal(signal.SIGCONT)
        count = len(seen.of("gate"))
        wait_for(lambda: len(seen.of("gate")) >= count + 3)
    own = seen.of("gate")
    assert all(a.end <= b.start + 1e-6 for a, b in pairwise(own))


@ffmpeg
def test_a_growing_file_and_a_folder_of_dropped_ones(film: Path, tmp_path: Path) -> None:
    frames = cameras.ts_frames(film)
    grows, folder = tmp_path / "grows.ts", tmp_path / "folder"
    folder.mkdir()
    grows.write_bytes(b"".join(d for _, d in frames[:60]))
    stop = threading.Event()

    def write() -> None:
        began = time.monotonic()
        with grows.open("ab") as file:
            for moment, data in frames[60:]:
                stop.wait(max(0.0, began + moment - frames[60][0] - time.monotonic()))
                file.write(data)
                file.flush()

    with watching() as (running, seen):
        running.add(Camera("file", parse(str(grows))))
        running.add(Camera("folder", parse(str(folder))))
        time.sleep(0.5)
        writer = threading.Thread(target=write)
        writer.start()
        shutil.copyfile(film, folder / "cam_20240102_030405.mp4")
        wait_for(lambda: len(seen.of("file")) >= 4)
        wait_for(lambda: len(seen.of("folder")) >= 18)
        stop.set()
        writer.join()
    own = seen.of("folder")
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(own[0].start)) == "2024-01-02 03:04:05"
    assert all(s.looked for s in own)
    assert all(s.start > time.time() - 60 for s in seen.of("file"))


@gstreamer
def test_the_command_prints_lines_keeps_a_ring_and_tells_no_secret(film: Path, tmp_path: Path) -> None:
    (secrets := tmp_path / "secrets").write_text("gate me:geheim\n")
    with cameras.rtsp({"/a": film}, user="me", password="geheim") as port:
        command = [
            sys.executable, "-m", "vlad", "watch", f"rtsp://127.0.0.1:{port}/a", f"rtsp://me:falsch@127.0.0.1:{port}/a", "http://169.254.169.254/latest",
            "--name", "gate", "--name", "wrong", "--name", "cloud", "--allow", "127.0.0.0/8", "--password-file", str(secrets), "--keep", str(tmp_path / "kept"),
            "--json", "--set", "enter=0.0",
        ]  # fmt: skip
        running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        lines: list[dict[str, Any]] = []
        assert running.stdout is not None
        arguments = ""
        for line in running.stdout:
            lines.append(json.loads(line))
            arguments = Path(f"/proc/{running.pid}/cmdline").read_text() if sys.platform == "linux" else ""
            if {("state", "gate"), ("begun", "gate"), ("state", "wrong"), ("state", "cloud")} <= {
                (x["event"], x["camera"]) for x in lines
            } and any(x.get("state") == "refused" and x["camera"] == "wrong" for x in lines):
                break
        time.sleep(4)
        decoders = psutil.Process(running.pid).children(recursive=True)
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=90)  # a thread that scores ends after its snippet
    assert running.returncode in (0, 130)
    whole = json.dumps(lines) + out + errors + arguments
    assert "geheim" not in whole
    assert "falsch" not in whole
    why = {x["camera"]: x["why"] for x in lines if x["event"] == "state" and x["state"] == "refused"}
    assert why == {"wrong": "the user or the password is wrong", "cloud": why["cloud"]}
    assert "169.254.169.254" in why["cloud"]
    assert list((tmp_path / "kept" / "gate").glob("*/*.m4s"))
    assert decoders
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in decoders)


@ffmpeg
def test_memory_and_descriptors_stay_flat_over_many_connections(film: Path) -> None:
    """A camera that ends its connection again and again."""
    short = cameras.ts_frames(film)[:20]
    with cameras.http(cameras.sends_ts(short, speed=20)) as port, watching() as (running, seen):
        running.random = SimpleNamespace(uniform=lambda a, b: 0.01)  # type: ignore[assignment]
        running.add(Camera("gate", parse(f"http://127.0.0.1:{port}/live")))
        wait_for(lambda: sum(s.state == "lost" for s in seen.states) >= 3, 60)
        files, threads = psutil.Process().num_fds(), threading.active_count()
        wait_for(lambda: sum(s.state == "lost" for s in seen.states) >= 8, 60)
        assert psutil.Process().num_fds() <= files + 6
        assert threading.active_count() <= threads + 3
    assert not [p for p in psutil.Process().children() if "vlad.live.reader" in " ".join(p.cmdline())]


SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:t0\r\n"


def noisy(connection: socket.socket) -> None:
    """A camera that grants a stream, and then sends noise in packets of the right form."""
    held = b""
    while b"PLAY " not in held:
        held = b""
        while b"\r\n\r\n" not in held:
            held += connection.recv(65536) or b"\r\n\r\nPLAY "
        number = re.search(rb"(?i)cseq: *(\d+)", held)
        head = b"RTSP/1.0 200 OK\r\nCSeq: %s\r\nSession: 1\r\n" % (number[1] if number else b"0")
        if held.startswith(b"DESCRIBE"):
            head += b"Content-Type: application/sdp\r\nContent-Length: %d\r\n" % len(SDP)
        elif held.startswith(b"SETUP"):
            head += b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        connection.sendall(head + b"\r\n" + (SDP if held.startswith(b"DESCRIBE") else b""))
    while True:
        body = os.urandom(700)
        connection.sendall(b"$" + os.urandom(1) + len(body).to_bytes(2, "big") + body)
        time.sleep(0.002)


@ffmpeg
def test_packets_that_are_noise_cost_their_own_stream_alone(film: Path) -> None:
    listener, bad = hostile(noisy)
    with cameras.http(cameras.sends_ts(cameras.ts_frames(film))) as port, watching() as (running, seen):
        running.add(Camera("good", parse(f"http://127.0.0.1:{port}/live")))
        running.add(Camera("bad", parse(f"rtsp://127.0.0.1:{bad}/")))
        wait_for(lambda: any(s.camera == "bad" and s.state in ("lost", "refused") for s in seen.states), 60)
        wait_for(lambda: len(seen.of("good")) >= 3)
    listener.close()
    assert not [s for s in seen.states if s.camera == "good" and s.state not in ("connecting", "on")]
    assert all("\n" not in s.why for s in seen.states)
