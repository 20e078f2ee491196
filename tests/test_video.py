"""Real h264 in, snippets and frames out; and what must never get in."""

import os
import time
from pathlib import Path

import av
import numpy as np
import pytest

from vlad.config import Settings, make_settings
from vlad.errors import InputError, LimitError, VideoError
from vlad.readers import Clock
from vlad.types import Video
from vlad.video import frames_at, open_video, sha256_file

SETTINGS = make_settings()


def level(index: int) -> int:
    return 20 + (index * 5) % 200


def write(path: Path, frames: int = 40, fps: int = 10, size: tuple[int, int] = (96, 64), step: int = 1) -> Path:
    """Grey frames that tell their number by their level; `step` stretches every second interval (variable rate)."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"crf": "10", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stamp = 0
        for i in range(frames):
            image = np.full((size[1], size[0], 3), level(i), np.uint8)
            image[:, : size[0] // 4] = (200, 30, 30)  # a red left edge, to see rotation by
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, stamp = stamp, stamp + (step if i % 2 else 1)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("video") / "a clip.mp4")


def read(path: Path, settings: Settings = SETTINGS, size: int = 64) -> tuple[list, Video]:  # type: ignore[type-arg]
    with open_video(path, settings, size=size) as opened:
        found = list(opened)
        return found, opened.video


def test_snippets_tile_the_clip_and_hold_its_frames(clip: Path) -> None:
    found, video = read(clip)
    assert [(s.start, round(s.end, 6)) for s in found] == [(0, 1.6), (pytest.approx(1.6), 3.2), (pytest.approx(3.2), 4)]
    assert found[0].frames.shape == (4, 64, 96, 3)
    assert [int(f[32, 80, 0]) for f in found[1].frames] == pytest.approx(
        [level(18), level(22), level(26), level(30)], abs=3
    )
    assert (video.duration, video.fps, video.width, video.height) == (pytest.approx(4), pytest.approx(10), 96, 64)
    assert (video.codec, video.gaps, video.sha256) == ("h264", (), sha256_file(clip))


def test_the_short_side_shrinks_and_never_grows(clip: Path) -> None:
    assert read(clip, size=32)[0][0].frames.shape == (4, 32, 48, 3)
    assert read(clip, size=500)[0][0].frames.shape == (4, 64, 96, 3)


def test_seconds_come_from_timestamps(tmp_path: Path) -> None:
    found, video = read(write(tmp_path / "vfr.mp4", frames=20, step=3))
    assert found[0].end == pytest.approx(3.2)  # sixteen frames: eight of 0.1 s and eight of 0.3 s
    assert video.duration == pytest.approx(4.0, abs=0.25)


@pytest.mark.parametrize("times", [[0.0], [2.05, 0.31, 3.99], [99.0, 0.0]])
def test_frames_at_shows_what_is_on_screen(clip: Path, times: list[float]) -> None:
    found = frames_at(clip, times, SETTINGS, size=64)
    expected = [level(min(int(t * 10 + 1e-6), 39)) for t in times]
    assert [int(f[32, 80, 0]) for f in found] == pytest.approx(expected, abs=3)


def test_frames_at_seeks_in_a_long_clip(tmp_path: Path) -> None:
    path = write(tmp_path / "long.mp4", frames=300)
    found = frames_at(path, [0.5, 14.05, 29.0], SETTINGS, size=64)
    assert [int(f[32, 80, 0]) for f in found] == pytest.approx([level(5), level(140), level(290)], abs=3)


def test_decord_reads_the_same(clip: Path) -> None:
    ours, _ = read(clip)
    theirs, video = read(clip, make_settings(reader="decord"))
    assert [s.start for s in theirs] == pytest.approx([s.start for s in ours])
    assert np.abs(theirs[1].frames.astype(int) - ours[1].frames).mean() < 4
    assert video.duration == pytest.approx(4)


def test_a_damaged_middle_is_a_gap_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "long.mkv", frames=300)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = os.urandom(len(data) // 10)
    path.write_bytes(data)
    found, video = read(path)
    assert found[-1].end > 28
    assert video.duration == found[-1].end


@pytest.mark.parametrize("name", ["-rf.mp4", "two\nlines.mp4", "überwachung 録画.mp4", "file:x.mp4", "a;b|c.mp4"])
def test_names_are_only_names(clip: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(read(Path(name))[0]) == 3


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="a folder"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="not a regular file"):
        read(tmp_path / "pipe.mp4")
    (tmp_path / "empty\n.mp4").touch()
    with pytest.raises(VideoError, match=r"empty\\n\.mp4: the file is empty"):
        read(tmp_path / "empty\n.mp4")


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXTINF:1,\n{0}\n", "ffconcat version 1.0\nfile '{0}'\n", "<html>{0}</html>"]
)
def test_a_playlist_in_disguise_opens_no_other_file(clip: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "holiday.mp4"
    path.write_text(text.format(clip))
    with pytest.raises(VideoError, match=r"holiday\.mp4: not a video"):
        read(path)


def test_limits(clip: Path) -> None:
    with pytest.raises(LimitError, match="longer than 2 s"):
        read(clip, make_settings(max_seconds=2))
    with pytest.raises((LimitError, VideoError), match=r"pixels|not a video"):
        read(clip, make_settings(max_pixels=1000))


def test_a_silent_decoder_is_stopped(clip: Path) -> None:
    started = time.monotonic()
    with pytest.raises(LimitError, match=r"said nothing"):
        read(clip, make_settings(open_seconds=0.001))
    assert time.monotonic() - started < 5


def test_leaving_early_ends_the_child(clip: Path) -> None:
    with open_video(clip, SETTINGS, size=64) as opened:
        next(iter(opened))
        child = opened._child.process
        with pytest.raises(RuntimeError, match="after the last snippet"):
            _ = opened.video
    assert child.poll() is not None


def test_the_clock_rises_whatever_the_stamps_say() -> None:
    clock = Clock(0.1)
    assert [clock.time(s) for s in (5.0, 5.1, 5.1, None, 1.0, 1.5)] == pytest.approx([0, 0.1, None, 0.2, 0.3, 0.8])
