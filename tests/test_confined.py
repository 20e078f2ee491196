"""The decoder gives up what it does not need, is believed nothing, and ends in time; what it takes from odd files all the same."""

import io
import json
import os
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from vlad import confine, video
from vlad.config import Settings, make_settings
from vlad.doctor import report
from vlad.errors import InputError, LimitError, VideoError
from vlad.readers import HEADER
from vlad.video import _Child, cut, frames_at, identify, open_video

SETTINGS = make_settings()
CANNOT = confine.state()
confined = pytest.mark.skipif(bool(CANNOT), reason=f"this machine cannot confine: {CANNOT}")


def encode(
    path: Path, width: int, height: int, count: int = 20, codec: str = "libx264", pix_fmt: str = "yuv420p"
) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10, options={"preset": "ultrafast"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for i in range(count):
            picture = np.full((height, width, 3), 10 * i % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@confined
def test_f18_a_confined_process_reaches_nothing_else() -> None:
    """Opening, writing, removing and listing files, TCP and UDP, a fork, another program, a signal: each is tried, and refused."""
    code = "from vlad.confine import confine, leaks; confine(); print(leaks())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
    code = "import os; from vlad.confine import leaks; os.execv = lambda *a: None; print(len(leaks()))"
    free = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert free.stdout == "9\n"  # the attempts are real


@confined
def test_threads_that_were_there_already_are_confined_too() -> None:
    code = (
        "import threading, socket, time\nfrom vlad.confine import confine\ngo = threading.Event()\n"
        "def late():\n    go.wait()\n    try:\n        socket.socket()\n        print('open')\n    except PermissionError:\n        print('refused')\n"
        "t = threading.Thread(target=late); t.start(); confine(); go.set(); t.join()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "refused\n"


@confined
def test_the_decoder_itself_is_confined_and_limited(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", 640, 480, 300)
    with open_video(path, SETTINGS, size=480) as clip:
        next(iter(clip))
        place = Path(f"/proc/{clip._child.process.pid}")
        status, limits = (place / "status").read_text(), (place / "limits").read_text()
        files = [os.readlink(f) for f in (place / "fd").iterdir()]
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert rows["Max file size"] == rows["Max core file size"] == "0"
    assert int(rows["Max cpu time"]) < 7200
    assert int(rows["Max address space"]) < 8 << 30
    assert {f for f in files if f.startswith("/") and not f.startswith("/dev/null")} == {str(path)}


@pytest.mark.parametrize(
    "read", [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.slow), 20_000]
)
def test_a_decoder_to_which_nobody_listens_any_more_ends(clip: Path, read: int) -> None:
    """Its worker was killed: Python, ending, waited for FFmpeg's threads, and these for Python, for good."""
    started = []
    settings = make_settings()
    names = ("max_pixels", "max_seconds", "max_frames", "memory_bytes", "snippet_frames", "frames_per_snippet")
    request = {"size": 64, "times": None, **{n: getattr(settings, n) for n in names}}
    for _ in range(6):
        file = os.open(clip, os.O_RDONLY)
        decoder = subprocess.Popen(
            [sys.executable, "-m", "vlad.readers"], pass_fds=(file,), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )  # fmt: skip
        os.close(file)
        assert decoder.stdin is not None
        assert decoder.stdout is not None
        decoder.stdin.write(json.dumps({**request, "file": file}).encode())
        decoder.stdin.close()
        decoder.stdout.read(read)
        decoder.stdout.close()
        started.append(decoder)
    try:
        assert [decoder.wait(20) for decoder in started] == [1] * 6
    finally:
        for decoder in started:
            decoder.kill()
            decoder.wait()
            assert decoder.stderr is not None
            decoder.stderr.close()


def test_doctor_says_whether_it_is() -> None:
    lines, _ = report()
    (line,) = [line for line in lines if line.startswith("decoder: ")]
    assert line == ("decoder: confined by seccomp: no other file, no network, no new process" if not CANNOT else line)
    assert any(line.startswith("ffmpeg ") for line in lines)


def test_an_old_ffmpeg_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlad import readers

    monkeypatch.setattr(av, "library_versions", {"libavcodec": (61, 3, 100)})
    with pytest.raises(readers.Refused, match="older than 8"):
        readers.load()


# --- it is believed nothing -------------------------------------------------------------------------------------------------


def message(kind: bytes, text: str = "{}", pixels: bytes = b"", size: int | None = None) -> bytes:
    return HEADER.pack(kind, len(text.encode()), len(pixels) if size is None else size) + text.encode() + pixels


PROBE = message(b"P", '{"duration": 2.0, "codec": "h264", "created": ""}')
SNIPPET = message(b"S", '{"start": 1.0, "end": 2.0, "shape": [4, 1, 1, 3]}', bytes(12))


@pytest.fixture
def taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Path]:
    """A decoder that somebody took over: it says just these bytes, and then waits."""

    def stand_in(said: bytes) -> Path:
        (tmp_path / "said").write_bytes(said)
        script = tmp_path / "decoder"
        script.write_text(f"#!/bin/sh\ncat > /dev/null; cat {tmp_path / 'said'}; sleep 0.2\n")
        script.chmod(0o755)
        monkeypatch.setattr(video.sys, "executable", str(script))
        clip = tmp_path / "clip.mp4"
        clip.write_bytes(b"x")
        return clip

    return stand_in


@pytest.mark.parametrize(
    "said",
    [
        b"Z" * 100, message(b"Q"), message(b"P", "[]"), message(b"P", "{" * 5000), message(b"P", '{"duration": NaN, "codec": "x"}'),
        message(b"P", '{"duration": 1, "codec": "x", "more": 1}'), message(b"P", '{"duration": "1", "codec": "x"}'), message(b"P", size=1 << 31),
        PROBE + message(b"S", '{"start": 0.0, "end": 1.0, "shape": [4, 1, 1, 3]}', bytes(11)),
        PROBE + message(b"S", '{"start": 0.0, "end": 1.0, "shape": [4, 1000000, 1000000, 3]}', bytes(12)),
        PROBE + message(b"S", '{"start": 1.0, "end": 1.0, "shape": [4, 1, 1, 3]}', bytes(12)),
        PROBE + message(b"S", '{"start": -1.0, "end": 1.0, "shape": [4, 1, 1, 3]}', bytes(12)),
        PROBE + message(b"S", '{"start": 0.0, "end": 1e300, "shape": [4, 1, 1, 3]}', bytes(12)), PROBE + SNIPPET + SNIPPET,
        PROBE + SNIPPET + message(b"E"), PROBE + message(b"E", '{"frames": 1, "width": 1, "height": 1}'),
        PROBE + message(b"T", '{"time": 1.0}'), PROBE + SNIPPET, b"", PROBE[:20], message(b"X", '{"kind": "root", "message": "a", "advice": "b"}'),
    ],
)  # fmt: skip
def test_nonsense_of_the_decoder_is_one_line(taken_over: Callable[[bytes], Path], said: bytes) -> None:
    with pytest.raises(VideoError) as caught, open_video(taken_over(said), SETTINGS, size=64) as clip:
        list(clip)
    assert "\n" not in str(caught.value)
    assert "nonsense" in str(caught.value) or "stopped" in str(caught.value)


def test_words_of_the_decoder_stay_on_one_line(taken_over: Callable[[bytes], Path]) -> None:
    said = message(b"X", '{"kind": "video", "message": "a\\nb\\u001b[31m", "advice": "c"}')
    with pytest.raises(VideoError, match=r"clip\.mp4: a\\nb\\x1b\[31m; c$"):
        open_video(taken_over(said), SETTINGS, size=64)


def test_a_decoder_that_only_talks_ends(taken_over: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "HEAD", 0.3)
    clip = taken_over(b"")
    Path(video.sys.executable).write_text(
        "#!/bin/sh\ncat > /dev/null; while :; do cat " + str(clip.parent / "one") + "; sleep 0.05; done\n"
    )
    (clip.parent / "one").write_bytes(message(b"T", '{"time": 0.01}'))
    began = time.monotonic()
    with pytest.raises(LimitError, match=r"longer than 20 s for each second of it"):
        list(_Child(str(clip), SETTINGS, size=1, times=[]).messages())
    assert time.monotonic() - began < 5


def test_f18_frames_and_time_of_a_clip_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", 64, 48, 60)
    with (
        pytest.raises(LimitError, match=r"more than 30 frames \(Settings.max_frames\)"),
        open_video(path, make_settings(max_frames=30), size=48) as clip,
    ):
        list(clip)
    monkeypatch.setattr(video, "HEAD", 0.001)
    with (
        pytest.raises(LimitError, match=r"raise Settings\.work"),
        open_video(path, make_settings(work=0.001), size=48) as clip,
    ):
        list(clip)


def test_processor_time_grows_with_the_clip(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", 64, 48, 20)
    child = _Child(str(path), SETTINGS, size=48, times=None)
    try:
        before = resource.prlimit(child.process.pid, resource.RLIMIT_CPU)[0]
        child.seen = 3600.0
        child._raise_cap()
        after = resource.prlimit(child.process.pid, resource.RLIMIT_CPU)[0]
    finally:
        child.stop()
    assert before < 2000 < 2 * 20 * 3600 < after


# --- large, odd and empty ---------------------------------------------------------------------------------------------------


def test_f20_what_is_no_video_is_not_read_through(tmp_path: Path) -> None:
    """A sparse file of 10 GB took 103 s to be refused."""
    path = tmp_path / "huge.mp4"
    with open(path, "wb") as file:
        file.truncate(10 << 30)
    began = time.monotonic()
    for attempt in (lambda: identify(path, SETTINGS), lambda: open_video(path, SETTINGS, size=64)):
        with pytest.raises(InputError, match=r"not a video|holds no"):
            attempt()
    with pytest.raises(LimitError, match=r"Settings.max_bytes"):
        identify(path, make_settings(max_bytes=1 << 30))
    assert time.monotonic() - began < 10


def test_reading_a_file_through_tells_how_far_it_is(tmp_path: Path) -> None:
    path, told = tmp_path / "x", []
    path.write_bytes(bytes(40 << 20))
    video.sha256_file(path, lambda done, size: told.append((done, size)))
    assert told == [(16 << 20, 40 << 20), (32 << 20, 40 << 20), (40 << 20, 40 << 20)]


@pytest.mark.slow
def test_f21_a_recording_with_zeros_behind_it_is_read(tmp_path: Path) -> None:
    """A DVR's preallocated file: 3 GB of zeros behind 2 s of AVI were 'the decoder said nothing for 20 s'."""
    path = encode(tmp_path / "dvr.avi", 64, 48, 20, "mpeg4")
    with open(path, "r+b") as file:
        file.truncate(3 << 30)
    with open_video(path, make_settings(open_seconds=2.0), size=48, sha256="0" * 64) as clip:
        last = list(clip)[-1]
    assert last.end == pytest.approx(2.0, abs=0.11)
    assert clip.video.duration == last.end


def gif(path: Path, width: int, height: int) -> Path:
    pictures = [Image.new("RGB", (width, height), (20 * i, 0, 255 - 20 * i)) for i in range(10)]
    pictures[0].save(path, "GIF", save_all=True, append_images=pictures[1:], duration=100, loop=0)
    return path


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (2, 1), (63, 48), (64, 49)])
def test_f22_parts_of_odd_sizes_are_cut(tmp_path: Path, width: int, height: int) -> None:
    made = cut(gif(tmp_path / "a.gif", width, height), 0.0, 0.5, SETTINGS)
    with av.open(io.BytesIO(made)) as found:
        frames = list(found.decode(video=0))
    assert {(f.width, f.height) for f in frames} == {(width + width % 2, height + height % 2)}
    assert len(frames) == 5


def test_a_turned_clip_is_cut_upright(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", 64, 48, 10)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 4 * 5 + 16  # the matrix, in a version 0 box
    data[place : place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    (frame,) = frames_at(path, [0.0], SETTINGS, size=64)
    with av.open(io.BytesIO(cut(path, 0.0, 0.5, SETTINGS))) as found:
        shown: Any = next(found.decode(video=0))
    assert (shown.height, shown.width) == frame.shape[:2] == (64, 48)


@pytest.mark.slow
def test_f22_the_largest_clip_that_is_analysed_is_cut_too(tmp_path: Path) -> None:
    settings = Settings()
    path = encode(tmp_path / "large.mp4", 8192, 4320, 12)
    made = cut(path, 0.0, 1.0, settings)
    with av.open(io.BytesIO(made)) as found:
        frames = [(f.width, f.height) for f in found.decode(video=0)]
    assert frames == [(8192, 4320)] * 10
