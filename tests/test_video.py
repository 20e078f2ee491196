"""Real h264 in, snippets and frames out; and what must never get in."""

import os
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vlad.config import Settings, make_settings
from vlad.errors import InputError, LimitError, VideoError
from vlad.readers import Clock
from vlad.types import Video
from vlad.video import frames_at, open_video, sha256_file, sound_of

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


def with_tone(path: Path, *, tone_from: float, seconds: float, delay: float = 0.0) -> Path:
    """A grey clip with AAC sound: silence, then a tone of 1 kHz; `delay` seconds of sound are missing at the start."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        voice = out.add_stream("aac", rate=44100)
        for i in range(int(seconds * 10)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        times = np.arange(int(seconds * 44100)) / 44100
        wave = (np.sin(2 * np.pi * 1000 * times) * (times >= tone_from) * 0.5).astype(np.float32)
        for first in range(int(delay * 44100), len(wave) - 1024, 1024):
            sound = av.AudioFrame.from_ndarray(wave[None, first : first + 1024], format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 44100, first, Fraction(1, 44100)
            out.mux(voice.encode(sound))
        out.mux(voice.encode(None))
    return path


def test_sound_lies_on_the_pictures_clock(tmp_path: Path) -> None:
    edges = np.arange(0, 9.0)
    heard = sound_of(with_tone(tmp_path / "tone.mp4", tone_from=5.0, seconds=8), edges, make_settings())
    assert heard is not None
    assert heard.shape == (8, 128)
    loud = heard[:, :64].max(axis=1)
    assert loud[:4].max() < np.log(0.1)
    assert loud[5:7].min() > np.log(1.0)
    band = int(heard[6, :64].argmax())
    assert 18 <= band <= 24  # 1 kHz of 64 bands that are even in mel from 125 to 7,500 Hz


def test_late_sound_and_no_sound(tmp_path: Path, clip: Path) -> None:
    edges = np.arange(0, 7.0)
    heard = sound_of(with_tone(tmp_path / "late.mp4", tone_from=0.0, seconds=6, delay=3.0), edges, make_settings())
    assert heard is not None
    np.testing.assert_allclose(heard[:2, :64], np.log(0.01), atol=1e-6)
    assert heard[4, :64].max() > np.log(1.0)
    assert sound_of(clip, edges, make_settings()) is None
    with pytest.raises(InputError, match="no such file"):
        sound_of(tmp_path / "absent.mp4", edges, make_settings())


def test_timestamps_that_stand_still_are_told_by_the_frame_rate(stuck_clip: Path) -> None:
    """H15: 150 frames all at 0 s were one frame long, and nobody was told that nobody had looked."""
    with open_video(stuck_clip, SETTINGS, size=48) as opened:
        found = list(opened)
        assert opened.video.duration == pytest.approx(5.8, abs=0.2)
        assert "56 of 57 frames carry one and the same timestamp" in opened.warnings[0]
    late = found[-1].frames[0].mean()
    (seen,) = frames_at(stuck_clip, [found[-1].start], SETTINGS, size=48)
    assert seen.mean() == pytest.approx(late, abs=8)  # a seek by such stamps would land anywhere


def test_a_clock_that_stands_still_now_and_then_is_no_broken_one() -> None:
    clock = Clock(0.1)
    assert [clock.time(s) for s in (0.0, 0.1, 0.1, 0.1, 0.2)] == pytest.approx([0, 0.1, None, None, 0.2])
    assert (clock.retimed, clock.passed) == (0, 2)
    stuck = [clock.time(0.2) for _ in range(6)]
    assert [s for s in stuck if s is not None] == pytest.approx([0.3, 0.4, 0.5])


@pytest.mark.parametrize("keep", [0.2, 0.5])
def test_a_file_that_is_cut_off_is_to_be_copied_again(clip: Path, tmp_path: Path, keep: float) -> None:
    """H16: its advice was to convert it, which cannot help."""
    data = clip.read_bytes()
    part = tmp_path / "part.mp4"
    part.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(VideoError, match="the file is cut off; copy it again from its source"):
        read(part)


def test_a_tail_that_cannot_be_decoded_is_a_gap(tmp_path: Path) -> None:
    """F10: its end was reported as that of a short, healthy clip."""
    path = write(tmp_path / "tail.mkv", frames=100)
    with av.open(str(path)) as source:
        places = [(p.pos, p.size) for p in source.demux(video=0) if p.pts is not None]
    data = bytearray(path.read_bytes())
    for place, size in places[60:]:
        data[place + 8 : place + size] = bytes(max(0, size - 8))
    path.write_bytes(data)
    with open_video(path, SETTINGS, size=64) as opened:
        list(opened)
        assert opened.video.duration == pytest.approx(10.0, abs=0.3)
        assert opened.video.gaps[-1][1] == pytest.approx(10.0, abs=0.3)
        assert "nobody saw" in opened.warnings[0]


def test_a_clip_that_ends_before_its_header_says_so_is_told(tmp_path: Path) -> None:
    """Half of a clip looked like all of it."""
    whole = tmp_path / "whole.mp4"
    with av.open(str(whole), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=10, options={"preset": "ultrafast", "g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        rng = np.random.default_rng(0)
        for i in range(100):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8), format="rgb24")
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    half = tmp_path / "half.mp4"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with open_video(half, SETTINGS, size=64) as opened:
        list(opened)
        assert opened.video.duration < 6
        assert any("the file says that it lasts 10.0 s" in w for w in opened.warnings)
    with open_video(whole, SETTINGS, size=64) as opened:
        list(opened)
        assert opened.warnings == ()
