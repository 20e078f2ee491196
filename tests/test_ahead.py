"""Decoding less: what is handed out is what decoding everything hands out; a device that fails costs a word."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import av.error
import numpy as np
import pytest

from vlad import readers
from vlad.ahead import Ahead
from vlad.readers import PyAvFile, snippets

LIMITS = {"size": 64, "max_pixels": 1 << 24, "max_seconds": 1e4, "max_frames": 10**6}
Handed = tuple[list[tuple[float, float, bytes]], dict[str, Any], int]


def write(path: Path, frames: int = 200, *, vary: bool = False, options: dict[str, str] | None = None) -> Path:
    """A grey square that wanders over noise: every frame is another."""
    rng = np.random.default_rng(7)
    back = rng.integers(60, 120, (64, 96, 3), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=20, options={"g": "24", "bf": "3", "crf": "20", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stamp = 0
        for i in range(frames):
            image = back.copy()
            image[20:36, i % 80 : i % 80 + 16] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, stamp = stamp, stamp + (3 if vary and i % 3 else 1)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def handed(path: Path, monkeypatch: pytest.MonkeyPatch, *, spare: bool) -> Handed:
    """What the decoder hands out of a clip, its facts, and how many pictures were decoded."""
    monkeypatch.setattr(readers, "CODECS_AHEAD", frozenset({"h264"} if spare else ()))
    file = os.open(path, os.O_RDONLY)
    try:
        source, made, every = PyAvFile(file, **LIMITS), [0], PyAvFile.frames

        def counted(wanted: Callable[[int], bool] | None) -> Iterator[tuple[float, Any]]:
            for now, frame in every(source, wanted):
                made[0] += frame is not None
                yield now, frame

        source.frames = counted  # type: ignore[method-assign]
        return [(a, b, p.tobytes()) for a, b, p in snippets(source, 16, 4)], asdict(source.facts), made[0]
    finally:
        os.close(file)


@pytest.mark.parametrize(
    ("suffix", "vary", "options"),
    [
        (".mp4", False, {}),
        (".mkv", True, {}),
        (".ts", False, {}),
        (".mp4", True, {"x264-params": "open-gop=1:b-pyramid=2"}),
        (".mp4", False, {"bf": "0"}),
    ],
)
def test_pictures_that_are_passed_over_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, vary: bool, options: dict[str, str]
) -> None:
    path = write(tmp_path / f"clip{suffix}", vary=vary, options=options)
    whole, spared = (handed(path, monkeypatch, spare=spare) for spare in (False, True))
    assert spared[:2] == whole[:2]
    assert whole[2] == 200
    assert (spared[2] < 150) is (not options), "where groups are closed and it has such pictures"


def test_a_damaged_clip_is_decoded_whole_from_there_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "clip.mkv", 400)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 12] = np.random.default_rng(3).bytes(len(data) // 12)
    path.write_bytes(data)
    whole, spared = (handed(path, monkeypatch, spare=spare) for spare in (False, True))
    assert whole[1]["frames"] < 400
    assert whole[1]["frames"] == spared[1]["frames"]
    assert abs(spared[0][-1][1] - whole[0][-1][1]) < 1e-6
    assert abs(len(spared[0]) - len(whole[0])) <= 1


def packet(pts: int | None, *, key: bool = False, dts: int | None = 0) -> SimpleNamespace:
    size = 0 if dts is None else 9
    return SimpleNamespace(pts=pts, dts=dts, is_keyframe=key, is_discard=False, is_corrupt=False, size=size)


@pytest.mark.parametrize("stamps", [[4, 6, 6, 7], [4, None, 6, 7], [4, 3, 5, 6], [2, 5, 6, 7]])
def test_at_an_irregularity_nothing_more_is_passed_over(stamps: list[int | None]) -> None:
    groups = [list(range(4)), stamps, [8, 9, 10, 11], [12, 13, 14, 15]]
    packets = [packet(p, key=i == 0, dts=4 * n + i) for n, own in enumerate(groups) for i, p in enumerate(own)]
    ahead = Ahead(lambda number: False)
    assert all(needed for _, needed in ahead.packets([*packets, packet(None, dts=None)]))
    assert not ahead.sure


def test_the_first_and_the_last_group_are_needed() -> None:
    packets = [packet(i, key=i % 4 == 0, dts=i) for i in range(16)]
    ahead = Ahead(lambda number: number == 6)
    needed = []
    for one, need in ahead.packets([*packets, packet(None, dts=None)]):
        needed.append(need)
        if need and one.pts is not None:
            ahead.came(one.pts)
    assert needed == [True] * 4 + [False, False, True, False] + [False] * 4 + [True] * 5


class Failing(PyAvFile):
    """A device that decodes as the software does, and whose driver fails at its 30th packet."""

    def _by(self, name: str) -> Any:
        self._open()
        return self._first()

    def _decoded(self, packet: Any) -> list[Any]:
        if self.hardware:
            self.count = getattr(self, "count", 0) + 1
            if self.count == 30:
                raise av.error.ExternalError(1, "the driver is gone")
        return super()._decoded(packet)


def test_a_driver_that_fails_in_the_middle_costs_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "clip.mp4")
    whole = handed(path, monkeypatch, spare=True)
    monkeypatch.setattr("av.codec.hwaccel.HWAccel", lambda name: None)
    file = os.open(path, os.O_RDONLY)
    try:
        source = Failing(file, **LIMITS, hardware="cuda")
        assert source.hardware == "cuda"
        found = [(a, b, p.tobytes()) for a, b, p in snippets(source, 16, 4)]
    finally:
        os.close(file)
    assert found == whole[0]
    assert "cuda failed at" in source.facts.software
    assert "went on in software" in source.facts.software
    assert source.facts.frames == 200


def test_a_device_that_shows_other_pictures_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("av.codec.hwaccel.HWAccel", lambda name: None)
    monkeypatch.setattr(PyAvFile, "_by", lambda self, name: np.zeros((48, 64), np.float32))
    file = os.open(write(tmp_path / "clip.mp4"), os.O_RDONLY)
    try:
        source = PyAvFile(file, **LIMITS, hardware="cuda")
    finally:
        os.close(file)
    assert (source.hardware, "others than the software's" in source.facts.software) == ("", True)


def test_without_a_device_software_decodes_and_says_so(tmp_path: Path) -> None:
    from vlad.config import make_settings
    from vlad.video import open_video

    with open_video(write(tmp_path / "clip.mp4"), make_settings(hardware="nonsense"), size=64) as opened:
        assert len(list(opened)) == 13
        assert any("no hardware decodes it (nonsense" in w for w in opened.warnings)
