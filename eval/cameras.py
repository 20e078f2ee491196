"""Cameras that are none: servers of this machine that send clips as cameras would, for `vlad eval live` and the tests.

In: clips. Out: addresses. RTSP by GStreamer's GstRtspServer, in a process of the system's Python, which alone knows it; HTTP by Python's own server: an endless
stream of TS whose frames leave at their times, MJPEG, and the folder of a running ffmpeg (HLS). Knows nothing of what watches them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PYTHON = "/usr/bin/python3"  # of the system: gi is not on the index
NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
# argv: JSON {"mounts": {"/a": "a.mp4"}, "user": "", "password": "", "port": "0"}. Prints its port.
SERVER = """
import json, sys, threading
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
Gst.init(None)
told = json.loads(sys.argv[1])
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(str(told["port"]))
if told["user"]:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if told["basic"]:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(told["user"], told["password"]), token)
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
    else:
        auth.add_digest(told["user"], told["password"], token)
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    server.set_auth(auth)
mounts = server.get_mount_points()
for path, clip in told["mounts"].items():
    factory = GstRtspServer.RTSPMediaFactory()
    if told["user"]:
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        factory.set_permissions(permissions)
    factory.set_launch("( filesrc location=%s ! qtdemux ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 )" % clip)
    mounts.add_factory(path, factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
loop = GLib.MainLoop()
threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
loop.run()
"""


def has_rtsp() -> bool:
    """Whether GStreamer's RTSP server is here."""
    if not Path(PYTHON).exists():
        return False
    return subprocess.run([PYTHON, "-c", NEEDS], capture_output=True, check=False).returncode == 0  # noqa: S603 - its arguments are above


def camera_clip(
    source: Path,
    out: Path,
    *,
    size: tuple[int, int] = (640, 360),
    rate: int = 15,
    seconds: float = 0.0,
    group: int = 30,
    lead: float = 0.0,
    still: float = 0.0,
) -> Path:
    """A clip as a camera encodes it: h264 without B-frames, a picture that stands alone every `group` frames; looped to `seconds`, 0 for once; its first picture stays for `lead`
    seconds before, its last for `still` seconds after, with a sensor's noise."""
    held = f"start_mode=clone:start_duration={lead:g}:stop_mode=clone:stop_duration={still:g}"
    rest = f",tpad={held},noise=alls=4:allf=t" if lead or still else ""
    loop = ["-stream_loop", "-1"] if seconds else []
    ends = ["-t", str(seconds)] if seconds else []
    how = [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-tune",
        "zerolatency",
        "-g",
        str(group),
        "-bf",
        "0",
        "-crf",
        "23",
        "-pix_fmt",
        "yuv420p",
    ]
    picture = ["-an", "-vf", f"scale={size[0]}:{size[1]},fps={rate}{rest}"]
    _run(ffmpeg(), "-v", "error", "-y", *loop, "-i", str(source), *ends, *picture, *how, str(out))
    return out


def ffmpeg() -> str:
    """The system's."""
    return shutil.which("ffmpeg") or "ffmpeg"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - a program that was named by its path


@contextmanager
def rtsp(
    mounts: dict[str, Path], *, user: str = "", password: str = "", basic: bool = False, port: int = 0
) -> Iterator[int]:
    """An RTSP server of MP4 files of h264; its port."""
    told = {
        "mounts": {k: str(v) for k, v in mounts.items()},
        "user": user,
        "password": password,
        "basic": basic,
        "port": port,
    }
    server = subprocess.Popen(  # noqa: S603 - its arguments are above
        [PYTHON, "-c", SERVER, json.dumps(told)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
        for end in (server.stdin, server.stdout):
            assert end is not None
            end.close()


class Quiet(BaseHTTPRequestHandler):
    """A handler that logs nothing and answers every GET by `answer`."""

    protocol_version = "HTTP/1.1"

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None], *arguments: Any) -> None:
        self.answer = answer
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.close_connection = True
        self.answer(self)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def http(answer: Callable[[BaseHTTPRequestHandler], None], *, port: int = 0) -> Iterator[int]:
    """A server whose every GET is answered by a function; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, answer))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # whoever watched went away
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ts_frames(clip: Path) -> list[tuple[float, bytes]]:
    """(seconds, bytes) of every frame of a clip, muxed as MPEG-TS."""
    import av

    class Sink:
        """What was written since the last look."""

        def __init__(self) -> None:
            self.data = bytearray()

        def write(self, piece: bytes) -> int:
            self.data += bytes(piece)
            return len(piece)

    sink, found = Sink(), []
    with av.open(str(clip)) as source, av.open(sink, "w", format="mpegts", options={"pat_period": "0.5"}) as out:
        out.flags |= av.container.Flags.flush_packets.value  # type: ignore[operator]
        track = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is None:
                continue
            time_ = float(packet.pts * packet.time_base)
            packet.stream = track
            out.mux(packet)
            found.append((time_, bytes(sink.data)))
            sink.data.clear()
    return found


def sends_ts(
    frames: Sequence[tuple[float, bytes]], sent: list[float] | None = None, *, speed: float = 1.0
) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that sends frames at their times. sent: gets when each left, seconds since 1970."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "video/mp2t")
        request.end_headers()
        began = time.monotonic()
        for moment, data in frames:
            time.sleep(max(0.0, began + moment / speed - time.monotonic()))
            if sent is not None:
                sent.append(time.time())
            request.wfile.write(data)
            request.wfile.flush()

    return answer


def sends_mjpeg(pictures: Sequence[bytes], *, rate: float = 15.0) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that sends JPEGs one after another, for as long as somebody reads."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        number = 0
        while True:
            data = pictures[number % len(pictures)]
            request.wfile.write(
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"
            )
            number += 1
            time.sleep(1 / rate)

    return answer


class _Folder(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def hls(clip: Path, folder: Path, *, fragmented: bool = False) -> Iterator[int]:
    """ffmpeg's HLS of a looped clip, live, over HTTP at /live.m3u8; its port."""
    kind = ["-hls_segment_type", "fmp4"] if fragmented else []
    folder.mkdir(parents=True, exist_ok=True)
    maker = subprocess.Popen(  # noqa: S603 - the system's ffmpeg
        [ffmpeg(), "-v", "quiet", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-f", "hls", "-hls_time", "1",
         "-hls_list_size", "5", "-hls_flags", "delete_segments", *kind, str(folder / "live.m3u8")],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Folder, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 20
        while not (folder / "live.m3u8").exists() and time.monotonic() < until:
            time.sleep(0.1)
        yield server.server_address[1]
    finally:
        maker.kill()
        maker.wait()
        server.shutdown()
        server.server_close()
        thread.join()


class Relay:
    """A process between an RTSP server and who watches it, that notes when each frame was on the wire: by the last packet of each, which RTP marks.

    port: where it listens. `times` ends it.
    """

    def __init__(self, target: int) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-m", "vlad.eval.cameras", str(target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def times(self) -> dict[str, list[float]]:
        """Seconds since 1970 of every frame, by the path that was asked for."""
        told, _ = self.process.communicate("")
        found: dict[str, list[float]] = json.loads(told)
        return found


async def _relay(target: int) -> None:
    """The process of a Relay."""
    found: dict[str, list[float]] = {}

    async def one(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", target)
        own: list[float] = []

        async def there() -> None:
            while piece := await near.read(65536):
                if b"DESCRIBE rtsp://" in piece:
                    path = piece.partition(b"DESCRIBE rtsp://")[2].partition(b" ")[0].partition(b"/")[2].decode()
                    found.setdefault(path, own)
                forth.write(piece.replace(b":%d/" % port, b":%d/" % target))

        async def here() -> None:
            held = bytearray()
            while piece := await far.read(65536):
                back.write(piece)
                held += piece
                while held:
                    if held[0] == 0x24:
                        if len(held) < 4 or len(held) < (end := 4 + int.from_bytes(held[2:4], "big")):
                            break
                        if held[1] == 0 and end > 5 and held[5] & 0x80:
                            own.append(time.time())
                        del held[:end]
                    else:
                        end = held.find(b"$", 1) if b"\r\n\r\n" in held else -1
                        if end < 0:
                            break
                        del held[:end]

        tasks = [asyncio.create_task(there()), asyncio.create_task(here())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        back.close()
        forth.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_relay(int(sys.argv[1])))
