"""The decoder: a child process that turns one file into frames with times, under limits.

In: one JSON request on stdin, and the open file. Out: messages on stdout (see `send`), then the end. A clip is hostile until decoded, so this
program has nothing but that file: it can open no other, reach no network and start no program (`confine`, where the system has it), and its memory,
frames and time are capped. It knows numpy and PyAV and nothing else of vlad; `vlad.video` is its only caller.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import math
import os
import pkgutil
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from vlad.activity import Calm, averaged, size_of
from vlad.ahead import CODECS as CODECS_AHEAD
from vlad.ahead import Ahead
from vlad.confine import confine

HEADER = struct.Struct("<cII")  # kind, bytes of JSON, bytes of pixels
# Containers only: playlists, concatenations and image sequences name other files.
FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,m4v,mxf,ivf,mjpeg,wtv,dv"
CODECS = frozenset(
    [
        "h264",
        "hevc",
        "av1",
        "vp8",
        "vp9",
        "mpeg4",
        "msmpeg4v1",
        "msmpeg4v2",
        "msmpeg4",
        "msmpeg4v3",
        "mpeg1video",
        "mpeg2video",
        "mjpeg",
        "h261",
        "h263",
        "h263p",
        "h263i",
        "wmv1",
        "wmv2",
        "wmv3",
        "vc1",
        "theora",
        "flv",
        "flv1",
        "prores",
        "dnxhd",
        "gif",
        "svq3",
        "vp6",
        "vp6f",
        "cinepak",
        "ffv1",
        "dvvideo",
        "rawvideo",
        "vvc",
    ]
)
SOUNDS = (
    "aac",
    "mp3",
    "mp2",
    "ac3",
    "eac3",
    "opus",
    "vorbis",
    "flac",
    "alac",
    "amrnb",
    "amrwb",
    "wmav1",
    "wmav2",
    "pcm_",
)
# Log-mel pictures as VGGish takes them (Hershey et al. 2017): 16 kHz, 25 ms every 10 ms, 64 bands from 125 to 7,500 Hz
RATE, WINDOW, HOP, BANDS, LOW, HIGH, FLOOR = 16000, 400, 160, 64, 125.0, 7500.0, 0.01
MAX_DEMUX_ERRORS = 200  # in a row, before the rest of the file counts as unreadable
TICK = Fraction(1, 90_000)  # seconds; of clips that are cut out
USUAL = {"crf": "18", "preset": "veryfast"}
LEAN = {
    "crf": "18",
    "preset": "ultrafast",
    "tune": "zerolatency",
}  # keeps no frames waiting: of the largest, each takes 50 MB
LARGE = 4096 * 2304  # pixels from which it is
DEVICES = ("cuda", "videotoolbox", "vaapi", "qsv", "d3d11va")  # in which order `auto` tries them
ALIKE = 2.0  # grey levels, on average, by which a device's picture may differ from the software's
LUMA = frozenset(
    {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21"}
)  # begin with a plane of bytes that is the brightness
WHOLE_RANGE = 2  # FFmpeg's name of brightness in 0..255, else it is in 16..235
REST, AGE = 2, 8.0  # snippets without movement that are shown before one is not; seconds after which one is again
NEAR = 5.0  # seconds; less costs less by decoding on than by seeking
JUMP_BACK = 0.5  # seconds; timestamps that fall further start a new run of time (a recorder was restarted)
Pixels = npt.NDArray[np.uint8]


FFMPEG = (62, "8.0")  # libavcodec's least version, and FFmpeg's that has it: older ones are no longer mended
STUCK = 3  # frames in a row of one and the same timestamp, after which the frame rate tells the time
ADVICE = "if it plays elsewhere, convert it to h264 with ffmpeg and try again"
AGAIN = "copy it again from its source"


class Refused(Exception):
    """The file is not a clip, or is over a limit; kind is 'video' or 'limit'. advice: what a person can do about it."""

    def __init__(self, kind: str, message: str, advice: str = ADVICE) -> None:
        super().__init__(message)
        self.kind, self.advice = kind, advice


@dataclass
class Clock:
    """Presentation timestamps to rising seconds from the first frame."""

    interval: float  # seconds to the next frame where nothing better is known
    last: float = -1.0
    shift: float | None = None
    stamp: float | None = None  # of the frame before
    same: int = 0  # frames before this one in a row that carry its very timestamp
    retimed: int = 0  # frames whose time the frame rate told, since their timestamps stood still
    passed: int = 0  # frames that were passed over, since they repeat a moment already seen

    def time(self, stamp: float | None) -> float | None:
        """Seconds of a frame stamped `stamp` (s); None for a frame that repeats a moment already seen."""
        following = self.last + self.interval if self.last >= 0 else 0.0
        if self.shift is None:
            self.shift = -(stamp or 0.0)
        now = following if stamp is None else stamp + self.shift
        self.same = self.same + 1 if stamp is not None and stamp == self.stamp else 0
        self.stamp = stamp
        stands = self.same > STUCK and now <= self.last
        if self.last >= 0 and (now < self.last - JUMP_BACK or stands):
            self.retimed += stands
            self.shift += following - now
            now = following
        if now <= self.last:
            self.passed += 1
            return None
        if self.last >= 0:
            self.interval = min(now - self.last, 60.0)
        self.last = now
        return now


@dataclass
class Facts:
    """What is known of the clip; complete after the last frame."""

    codec: str
    width: int = 0
    height: int = 0
    frames: int = 0
    bad: int = 0  # packets that could not be decoded
    retimed: int = 0  # frames whose timestamps stood still
    passed: int = 0  # frames that repeat a moment already seen
    gaps: list[tuple[float, float]] = field(default_factory=list)
    software: str = ""  # why hardware that was asked for does not decode, or no longer


def send(out: BinaryIO, kind: bytes, facts: dict[str, Any], pixels: npt.NDArray[Any] | None = None) -> None:
    """One message: P(robe), S(nippet), Q(uiet snippet), F(rame), A(udio), T(ime), C(ut), E(nd) or X (refused), each with JSON and perhaps pixels."""
    text = json.dumps(facts).encode()
    raw = b"" if pixels is None else pixels.tobytes()
    out.write(HEADER.pack(kind, len(text), len(raw)))
    out.write(text)
    out.write(raw)
    out.flush()


def shrink(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height with the short side at most `size` pixels, the shape kept."""
    scale = min(1.0, size / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def choose(av: Any, container: Any, max_pixels: int) -> Any:
    """The largest video stream of a container. Raises Refused where there is none, for a codec that is not allowed, or too many pixels."""
    streams = [
        s
        for s in container.streams.video
        if s.codec_context is not None and not s.disposition & av.stream.Disposition.attached_pic
    ]
    if not streams:
        raise Refused("video", "it holds no video stream", "choose a clip with pictures")
    best = max(streams, key=lambda s: (s.codec_context.width * s.codec_context.height, s.frames, -s.index))
    if best.codec_context.codec.canonical_name not in CODECS:
        raise Refused(
            "video", f"its codec {best.codec_context.codec.canonical_name} is not on the list of allowed ones"
        )
    if best.codec_context.width * best.codec_context.height > max_pixels:
        raise Refused("limit", f"its frames have more than {max_pixels} pixels (Settings.max_pixels)")
    best.codec_context.options = {"max_pixels": str(max_pixels)}
    return best


def upright(frame: Any, target: tuple[int, int]) -> Pixels:
    """A decoded frame as uint8 RGB [H, W, 3], turned as it asks to be. target: width and height before that."""
    width, height = target
    image = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))


def grey(frame: Any) -> npt.NDArray[np.float32]:
    """A decoded frame in 0..255, for a first look: float32 [H, W], not turned."""
    width, height = size_of(frame.width, frame.height)
    if frame.format.name not in LUMA or width > frame.width or height > frame.height:
        made = frame.reformat(width=width, height=height, format="gray", interpolation="AREA")
        return made.to_ndarray().astype(np.float32)  # type: ignore[no-any-return]
    plane = frame.planes[0]
    bright = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    whole = frame.format.name.startswith("yuvj") or frame.color_range == WHOLE_RANGE
    found = averaged(bright, width, height)
    return found if whole else (found - 16) * np.float32(255 / 219)


class PyAvFile:
    """Frames of the best video stream of an untrusted file, packet by packet. file: open, its descriptor. hardware: FFmpeg's hwaccel, '' for none."""

    def __init__(
        self, file: int, *, size: int, max_pixels: int, max_seconds: float, max_frames: int, hardware: str = ""
    ) -> None:
        import av
        import av.codec.hwaccel
        import av.error
        import av.logging

        av.logging.set_level(av.logging.PANIC)
        self.av, self.file, self.size, self.max_pixels = av, file, size, max_pixels
        self.max_seconds, self.max_frames = max_seconds, max_frames
        self.hardware, self.seen = "", None  # type: tuple[str, float | None]
        self._open()
        self.facts = Facts(self._codec())
        if hardware:
            self._harden(hardware)
        rates = (float(r) for r in (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate) if r)
        self.clock = Clock(1 / next((r for r in rates if 0.01 <= r <= 1000), 25.0))
        self.ends = 0.0  # seconds of the last packet that could not be decoded
        self.target: tuple[int, int] | None = None

    def _open(self, accelerator: Any = None) -> None:
        """The file from its start. accelerator: PyAV's HWAccel."""
        options = {
            "protocol_whitelist": "fd",
            "format_whitelist": FORMATS,
            "max_pixels": str(self.max_pixels),
            "fd": str(self.file),
        }
        os.lseek(self.file, 0, os.SEEK_SET)
        try:
            self.container = self.av.open("fd:", options=options, metadata_errors="replace", hwaccel=accelerator)
        except (self.av.error.FFmpegError, ValueError) as error:
            if accelerator is not None:
                raise
            if cut_off(self.file):
                raise Refused("video", "the file is cut off", AGAIN) from None
            raise Refused("video", f"not a video that can be read ({reason(error)})") from None
        self.stream = self._choose(self.max_pixels)

    def _harden(self, wanted: str) -> None:
        """Decode by a device from here on, if its first picture is that of the software; else say why not."""
        told = []
        software = self._first()
        for name in DEVICES if wanted == "auto" else (wanted,):
            try:
                first = self._by(name)
            except (
                self.av.error.FFmpegError,
                Refused,
                ValueError,
                RuntimeError,
                NotImplementedError,
                OSError,
            ) as error:
                told.append(f"{name}: {reason(error)}")
                continue
            if software is not None and first is not None and np.abs(software - first).mean() <= ALIKE:
                self.hardware = name
                self._open(self.av.codec.hwaccel.HWAccel(name))
                return
            told.append(f"{name}: its pictures are others than the software's")
        self.facts.software = f"no hardware decodes it ({'; '.join(told)[:300]})"
        self._open()

    def _by(self, name: str) -> npt.NDArray[np.float32] | None:
        """The first picture by a device. Raises what PyAV does where there is none, ValueError where it is not for this codec."""
        self._open(self.av.codec.hwaccel.HWAccel(name))
        if not self.stream.codec_context.is_hwaccel:
            raise ValueError(f"not for {self.facts.codec}")
        return self._first()

    def _first(self) -> npt.NDArray[np.float32] | None:
        """The first picture, grey and small."""
        for packet in self.packets(self.stream):
            for frame in self._decoded(packet):
                small = frame.reformat(width=64, height=48, format="gray", interpolation="AREA")
                return small.to_ndarray().astype(np.float32)  # type: ignore[no-any-return]
        return None

    def _decoded(self, packet: Any) -> list[Any]:
        return packet.decode()  # type: ignore[no-any-return]

    def _in_software(self, error: BaseException) -> Iterator[tuple[float, Any]]:
        """The frames after the last one that was told, where the device's driver failed."""
        self.facts.software = f"{self.hardware} failed at {max(self.clock.last, 0.0):.1f} s ({reason(error)}); decoding went on in software"
        self.hardware, self.seen = "", self.clock.stamp
        self._open()
        if self.seen is not None:
            self.container.seek(int(self.seen / self.stream.time_base), stream=self.stream, backward=True)
        return self.frames(None)

    def _codec(self) -> str:
        return str(self.stream.codec_context.codec.canonical_name)

    def _choose(self, max_pixels: int) -> Any:
        best = choose(self.av, self.container, max_pixels)
        best.thread_type = "AUTO"
        best.codec_context.thread_count = 2
        return best

    def probe(self) -> dict[str, Any]:
        duration = self.stream.duration and float(self.stream.duration * self.stream.time_base)
        if not duration and self.container.duration:
            duration = self.container.duration / 1e6
        created = {**self.stream.metadata, **self.container.metadata}.get("creation_time", "")
        return {
            "duration": duration if duration and duration > 0 else None,
            "codec": self.facts.codec,
            "created": created[:40],
        }

    def packets(self, stream: Any) -> Iterator[Any]:
        """Packets of one of its streams; what cannot be read is counted and passed over."""
        failures = 0
        while failures < MAX_DEMUX_ERRORS:
            try:
                for packet in self.container.demux(stream):
                    failures = 0
                    yield packet
                return
            except (self.av.error.FFmpegError, ValueError):
                failures += 1
                self.facts.bad += 1

    def __iter__(self) -> Iterator[tuple[float, Any]]:
        """(seconds, frame) in rising order. A run of bad packets leaves a gap and the rest goes on."""
        return self.frames(None)

    def frames(self, wanted: Callable[[int], bool] | None) -> Iterator[tuple[float, Any]]:
        """As iterating does, but a frame that is not `wanted`, by its number, may be None: it was not decoded."""
        ahead = Ahead(wanted) if wanted is not None and self.facts.codec in CODECS_AHEAD else None
        every = self.packets(self.stream)
        broken = False
        for packet, needed in ((p, True) for p in every) if ahead is None else ahead.packets(every):
            self.stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            try:
                frames = self._decoded(packet)
            except (self.av.error.FFmpegError, ValueError) as error:
                if self.hardware:
                    yield from self._in_software(error)
                    return
                self.facts.bad += 1
                broken = True
                self._lost(packet)
                if ahead is not None:
                    ahead.lost(packet.pts)
                continue
            for frame in frames:
                if self.seen is not None and frame.time is not None and frame.time <= self.seen:
                    continue
                self.seen = None
                passed = [] if ahead is None else ahead.came(frame.pts)
                for stamp, picture in [*((self._seconds(p), None) for p in passed), (frame.time, frame)]:
                    before = self.clock.last
                    now = self._told(stamp)
                    if now is None:
                        continue
                    if broken and now > max(before, 0.0):
                        self.facts.gaps.append((max(before, 0.0), now))
                    broken = False
                    yield now, picture
        for late in [] if ahead is None else ahead.left():
            now = self._told(self._seconds(late))
            if now is not None:
                yield now, None
        self.facts.retimed, self.facts.passed = self.clock.retimed, self.clock.passed
        if broken and self.clock.last >= 0:
            self.facts.gaps.append((self.clock.last, self.end()))

    def _seconds(self, stamp: int) -> float:
        """As PyAV tells a frame's."""
        base: Fraction = self.stream.time_base
        return float(stamp) * base.numerator / base.denominator

    def _told(self, stamp: float | None) -> float | None:
        """The time of a frame stamped `stamp` (s), counted; None for one that is passed over. Raises Refused over a limit."""
        now = self.clock.time(stamp)
        if self.facts.frames + self.clock.passed >= self.max_frames:
            raise Refused("limit", f"it has more than {self.max_frames} frames (Settings.max_frames)")
        if now is None:
            return None
        if now > self.max_seconds:
            raise Refused("limit", f"it is longer than {self.max_seconds:g} s (Settings.max_seconds)")
        self.facts.frames += 1
        return now

    def _lost(self, packet: Any) -> None:
        """A packet that cannot be decoded still says how long the clip is, as far as its header agrees."""
        if packet.pts is None or self.clock.shift is None:
            return
        time, hint = float(packet.pts * packet.time_base) + self.clock.shift, self.probe()["duration"]
        if hint is not None and time <= min(hint, self.max_seconds):
            self.ends = max(self.ends, time)

    def end(self) -> float:
        """Seconds at which the clip is over, known after its last frame."""
        return max(self.clock.last, self.ends) + self.clock.interval

    def pixels(self, frame: Any) -> Pixels:
        """uint8 RGB [H, W, 3], upright, all of one size."""
        turns = round(frame.rotation / 90) % 4
        if not self.facts.width:
            sides = (frame.width, frame.height) if turns % 2 == 0 else (frame.height, frame.width)
            self.facts.width, self.facts.height = sides
        if self.target is None:
            self.target = shrink(frame.width, frame.height, self.size)
        return upright(frame, self.target)

    def small(self, frame: Any) -> npt.NDArray[np.float32]:
        """Grey in 0..255, for a first look: float32 [H, W], not turned."""
        return grey(frame)

    def seek(self, seconds: float) -> None:
        """To the last key frame at or before `seconds`; the clock keeps the first frame as its zero."""
        stamp = max(seconds - (self.clock.shift or 0.0), 0.0)
        self.container.seek(int(stamp / self.stream.time_base), stream=self.stream, backward=True)
        self.clock.last = -1.0


class Pictured(Protocol):
    """What makes pictures of decoded frames, see `PyAvFile`."""

    def pixels(self, frame: Any) -> Pixels: ...
    def small(self, frame: Any) -> npt.NDArray[np.float32]: ...


class Gate:
    """The frames of one snippet after another, and whether it is worth showing. calm: the first look, None where everything is shown.

    A snippet in which nothing moved says nothing new once REST such were shown; after AGE seconds one is shown all the same.
    """

    def __init__(self, source: Pictured, count: int, calm: Calm | None) -> None:
        self.source, self.count, self.calm = source, count, calm
        self.frames: list[Any] = []  # of this snippet: pixels, or decoded ones that nobody may need as pixels
        self.moved, self.still, self.shown = False, 0, 0.0
        self.small: npt.NDArray[np.float32] | None = None

    def add(self, frame: Any) -> None:
        """Another of its frames."""
        if self.calm is not None:
            self.small = self.source.small(frame)
            self.moved = self.calm.moved(self.small) or self.moved
        sure = self.calm is None or self.moved or frame.width * frame.height > LARGE
        self.frames = [
            f if isinstance(f, np.ndarray) or not sure else self.source.pixels(f) for f in (*self.frames, frame)
        ]

    def close(self, start: float, newest: Any) -> Pixels | None:
        """The snippet's frames, uint8 [count, H, W, 3], a short one's last repeated; None where they say nothing new."""
        kept, moved = self.frames, self.moved or not self.frames
        self.frames, self.moved = [], False
        if self.calm is not None:
            if not moved and self.still >= REST and start - self.shown < AGE:
                return None
            self.still, self.shown = (0 if moved else self.still + 1), start
            if self.small is not None:
                self.calm.remember(self.small)
        made = [f if isinstance(f, np.ndarray) else self.source.pixels(f) for f in kept or [newest]]
        return np.stack([made[min(i * len(made) // self.count, len(made) - 1)] for i in range(self.count)])


def snippets(
    source: PyAvFile, length: int, count: int, calm: Calm | None = None
) -> Iterator[tuple[float, float, Pixels | None]]:
    """(start, end, uint8 [count, H, W, 3]): `count` evenly spaced frames of every `length`; the last one may be shorter. None: see `Gate`."""
    wanted = {int((i + 0.5) * length / count) for i in range(count)}
    start, index, newest = 0.0, 0, None
    gate = Gate(source, count, calm)
    for now, frame in source.frames(lambda number: number % length in wanted):
        if index == length:
            yield start, now, gate.close(start, newest)
            start, index = now, 0
        if index in wanted and frame is not None:
            gate.add(frame)
        newest, index = frame or newest, index + 1
    if newest is None:
        raise Refused("video", "no picture in it could be decoded")
    yield start, source.end(), gate.close(start, newest)


def frames_at(source: PyAvFile, times: list[float]) -> Iterator[tuple[float, Pixels]]:
    """(seconds, uint8 [H, W, 3]): the frame shown at each of the rising `times`."""
    walk = iter(source)
    held = next(walk, None)
    if held is None:
        raise Refused("video", "no picture in it could be decoded")
    coming = next(walk, None)
    for time in times:
        found = jump(source, time) if time - held[0] > NEAR else None
        if found is not None:
            held, walk = found[0] or held, found[1]
            coming = next(walk, None)
        while coming is not None and coming[0] <= time:
            held, coming = coming, next(walk, None)
        yield held[0], source.pixels(held[1])


def cut(
    source: PyAvFile, start: float, end: float, tell: Callable[[float], None], cover: Covering | None = None
) -> bytes:
    """The pictures from `start` to `end` (s) as a new h264 file, upright, with even sides; only decoded pictures get out of a hostile clip."""
    made, zero, last = io.BytesIO(), 0.0, -1
    writer: Any = None
    track: Any = None
    for number, (now, frame) in enumerate(shown_between(source, start, end)):
        if number % (5 if cover else 50) == 0:
            tell(now)
        stamp = round((now - zero) / TICK) if writer is not None else 0
        if stamp <= last:  # two frames nearer to each other than the file can say
            continue
        last = stamp
        picture = planes(source, frame, cover.of(now) if cover else None)
        if writer is None:
            writer, zero = source.av.open(made, "w", format="mp4"), now
            large = picture.width * picture.height > LARGE
            track = writer.add_stream("libx264", rate=30, options=(LEAN if large else USUAL))
            track.width, track.height, track.pix_fmt = picture.width, picture.height, "yuv420p"
            track.codec_context.time_base = TICK
            if large:
                track.codec_context.thread_count = 1
        picture.pts, picture.time_base = stamp, TICK
        writer.mux(track.encode(picture))
    if writer is None:
        raise Refused("video", f"no picture between {start:.1f} and {end:.1f} s could be decoded")
    writer.mux(track.encode())
    writer.close()
    return made.getvalue()


class Covering:
    """Places that nobody may see. how: mosaic, blur or silhouette; places: rows of start, end (s), x, y, width, height (shares), by start."""

    CELLS = 6  # of the longer side of what is covered: too few to know a face by
    GREY = 96

    def __init__(self, how: str, places: list[list[float]]) -> None:
        self.how, self.places, self.next = how, places, 0
        self.open: list[list[float]] = []

    def of(self, now: float) -> Callable[[Pixels], Pixels]:
        """What covers the picture of a time (s), which rises."""
        while self.next < len(self.places) and self.places[self.next][0] <= now:
            self.open.append(self.places[self.next])
            self.next += 1
        self.open = [p for p in self.open if p[1] >= now]
        boxes = _joined([p[2:] for p in self.open])

        def over(shown: Pixels) -> Pixels:
            pixels: Pixels = shown.copy()
            for x, y, width, height in boxes:
                tall, wide = pixels.shape[:2]
                rows = slice(max(int(y * tall), 0), math.ceil((y + height) * tall))
                columns = slice(max(int(x * wide), 0), math.ceil((x + width) * wide))
                if pixels[rows, columns].size:
                    pixels[rows, columns] = self._hidden(pixels[rows, columns])
            return pixels

        return over

    def _hidden(self, piece: Pixels) -> Pixels:
        """A piece of a picture uint8 [h, w, 3] of which a few means are left."""
        side = max(piece.shape[:2])
        up, across = (
            _spread(n, min(n, max(1, round(n / side * self.CELLS))), even=self.how == "blur") for n in piece.shape[:2]
        )
        means = _along(_along(piece.astype(np.float32), _shares(*up.shape).T, 0), _shares(*across.shape).T, 1)
        hidden = _along(_along(means, up, 0), across, 1)
        if self.how == "silhouette":
            y, x = (np.linspace(-1, 1, n) for n in piece.shape[:2])
            hidden[(y[:, None] ** 2 + x[None] ** 2) <= 1] = self.GREY
        found: Pixels = hidden.clip(0, 255).astype(np.uint8)
        return found


def _joined(boxes: list[list[float]]) -> list[list[float]]:
    """Boxes x, y, width, height, those that are one for the most part as one that holds them all: the looks before and after at one person."""
    found: list[list[float]] = []
    for x, y, width, height in boxes:
        for k, (a, b, w, h) in enumerate(found):
            shared = max(min(x + width, a + w) - max(x, a), 0.0) * max(min(y + height, b + h) - max(y, b), 0.0)
            if shared > 0.6 * min(width * height, w * h):
                left, top = min(x, a), min(y, b)
                found[k] = [left, top, max(x + width, a + w) - left, max(y + height, b + h) - top]
                break
        else:
            found.append([x, y, width, height])
    return found


def _along(picture: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """weights [n, m] times an axis of m values of a picture, which then has n."""
    return np.moveaxis(np.tensordot(weights, picture, (1, axis)), 0, axis)


def _shares(count: int, cells: int) -> npt.NDArray[np.float32]:
    """Of which cell each of `count` pixels is, as weights that make a mean of a cell: float32 [count, cells]."""
    found = np.zeros((count, cells), np.float32)
    found[np.arange(count), np.arange(count) * cells // count] = 1
    return found / found.sum(0)  # type: ignore[no-any-return]


def _spread(count: int, cells: int, *, even: bool) -> npt.NDArray[np.float32]:
    """From cells back to pixels, float32 [count, cells]: each its own cell's, or `even`, in a straight line between the middles of two."""
    found = np.zeros((count, cells), np.float32)
    place = (np.arange(count) + 0.5) * cells / count - 0.5
    if not even:
        found[np.arange(count), np.arange(count) * cells // count] = 1
        return found
    low = np.floor(place).astype(int)
    for cell, weight in ((low, 1 - (place - low)), (low + 1, place - low)):
        np.add.at(found, (np.arange(count), cell.clip(0, cells - 1)), weight)
    return found


def planes(source: PyAvFile, frame: Any, cover: Callable[[Pixels], Pixels] | None = None) -> Any:
    """A frame as the encoder takes it: yuv420p, upright, all of one size, odd sides one wider by their edge. cover: what is done to its pixels before."""
    source.target = source.target or (frame.width, frame.height)
    width, height = source.target
    if (
        cover is None and not round(frame.rotation / 90) % 4 and not width % 2 and not height % 2
    ):  # never as RGB, which takes four times as much
        picture = frame.reformat(width=width, height=height, format="yuv420p")
        picture.pict_type = 0  # the encoder's choice
        return picture
    pixels = source.pixels(frame)
    pixels = cover(pixels) if cover else pixels
    tall, wide = pixels.shape[:2]
    pixels = np.pad(pixels, ((0, tall % 2), (0, wide % 2), (0, 0)), mode="edge")
    return source.av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format="yuv420p")


def shown_between(source: PyAvFile, start: float, end: float) -> Iterator[tuple[float, Any]]:
    """(seconds, frame): what is shown at `start`, as of then, and every frame after it before `end`."""
    walk = iter(source)
    held = next(walk, None)
    if held is not None and start - held[0] > NEAR:
        walk = itertools.chain(
            [found for found in (next(walk, None),) if found is not None], walk
        )  # tells whether time stands still
        held, walk = jump(source, start) or (held, walk)
    for now, frame in walk:
        if held is not None and now > start:
            yield max(held[0], start), held[1]
        if now >= end:
            return
        held = (now, frame)
    if held is not None and held[0] < end:
        yield max(held[0], start), held[1]


def jump(source: PyAvFile, time: float) -> tuple[tuple[float, Any] | None, Iterator[tuple[float, Any]]] | None:
    """A frame at or before `time` (s) and the frames after it; None where the file cannot be sought: decoding on gets there too."""
    if source.clock.retimed:  # its timestamps stand still, so they lead nowhere
        return None
    try:
        source.seek(time)
    except (source.av.error.FFmpegError, ValueError):
        return None
    walk = iter(source)
    landed = next(walk, None)
    if landed is None or landed[0] > time:  # the index lies: start over
        source.seek(0.0)
        walk = iter(source)
        landed = next(walk, None)
    return landed, walk


def mel_filters() -> npt.NDArray[np.float32]:
    """Triangles over the frequencies of a window's spectrum, even on the mel scale (HTK's): float32 [WINDOW // 2 + 1, BANDS]."""

    def mel(hertz: Any) -> Any:
        return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

    edges = np.linspace(mel(LOW), mel(HIGH), BANDS + 2)
    place = mel(np.arange(WINDOW // 2 + 1) * RATE / WINDOW)[:, None]
    rise = (place - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - place) / (edges[2:] - edges[1:-1])
    return np.minimum(rise, fall).clip(0).astype(np.float32)  # type: ignore[no-any-return]


def sound(source: PyAvFile) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """(seconds from the first picture, log-mel float32 [N, BANDS] every HOP) of the first sound track, about a second at a time; nothing without one."""
    tracks = [s for s in source.container.streams.audio if s.codec_context is not None]
    tracks = [s for s in tracks if s.codec_context.codec.canonical_name.startswith(SOUNDS)]
    if not tracks:
        return
    track, filters, shape = tracks[0], mel_filters(), np.hanning(WINDOW).astype(np.float32)
    zero = float((source.stream.start_time or 0) * source.stream.time_base)
    resampler = source.av.AudioResampler(format="flt", layout="mono", rate=RATE)
    kept, start = np.zeros(0, np.float32), None
    for packet in source.packets(track):
        try:
            frames = [new for frame in packet.decode() for new in resampler.resample(frame)]
        except (source.av.error.FFmpegError, ValueError):
            continue  # a damaged packet costs its own sound
        for frame in frames:
            if frame.time is not None and (
                start is None or abs(frame.time - zero - start - len(kept) / RATE) > JUMP_BACK
            ):
                kept, start = kept[:0], frame.time - zero
            kept = np.concatenate([kept, frame.to_ndarray().ravel()])
        count = (len(kept) - WINDOW) // HOP + 1
        if start is not None and (count >= RATE // HOP or (packet.dts is None and count > 0)):
            pieces = np.lib.stride_tricks.sliding_window_view(kept, WINDOW)[: count * HOP : HOP]
            power = np.abs(np.fft.rfft(pieces * shape, axis=1)).astype(np.float32)
            yield start, np.log(power @ filters + FLOOR)
            kept, start = kept[count * HOP :], start + count * HOP / RATE
            if start > source.max_seconds:
                raise Refused("limit", f"it is longer than {source.max_seconds:g} s (Settings.max_seconds)")


def reason(error: BaseException) -> str:
    """The first line of an error, without the path that FFmpeg repeats."""
    text = str(getattr(error, "strerror", None) or error).strip()
    return (text.splitlines() or [type(error).__name__])[0][:120]


def cut_off(file: int) -> bool:
    """Whether an MP4 or MOV ends before its boxes do, or lacks the one that says where its pictures are: its copy was not finished."""
    kinds: set[bytes] = set()
    place, size = 0, os.fstat(file).st_size
    while place + 8 <= size and len(kinds) < 1000:
        head = os.pread(file, 16, place)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if not kinds and kind not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return False
        kinds.add(kind)
        length = int.from_bytes(head[8:16], "big") if length == 1 else length or size - place
        if length < 8:
            return False
        place += length
    return place > size or b"moov" not in kinds


def limit(extra: int) -> None:
    """Cap the address space at what is in use now plus `extra` bytes; write no file, and open few. Processor time is capped by the caller, as the clip goes on."""
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    for kind, most in (("AS", used + extra), ("FSIZE", 0), ("CORE", 0), ("NOFILE", 64)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (most, most))


def serve(request: dict[str, Any], out: BinaryIO) -> None:
    """Answer one request: every snippet of a file, its sound, single frames of it, or a part of it as a new file."""
    limits = {name: request[name] for name in ("size", "max_pixels", "max_seconds", "max_frames")}
    device = request.get("hardware", "")
    clip = request["file"]
    if request.get("sound"):
        file = PyAvFile(clip, **limits)
        send(out, b"P", file.probe())
        for start, bands in sound(file):
            send(out, b"A", {"start": start, "step": HOP / RATE, "shape": bands.shape}, bands)
        send(out, b"E", {})
    elif request.get("cut"):
        whole = PyAvFile(clip, **limits)
        send(out, b"P", whole.probe())
        start, end = request["cut"]
        try:
            cover = Covering(**request["cover"]) if request.get("cover") else None
            made = cut(whole, start, end, lambda now: send(out, b"T", {"time": now}), cover)
        except (whole.av.error.FFmpegError, ValueError) as error:
            raise Refused("video", f"its pictures cannot be encoded ({reason(error)})") from None
        send(out, b"C", {}, np.frombuffer(made, np.uint8))
        send(out, b"E", {})
    elif request["times"] is not None:
        single = PyAvFile(clip, **limits)
        send(out, b"P", single.probe())
        for time, pixels in frames_at(single, request["times"]):
            send(out, b"F", {"time": time, "shape": pixels.shape}, pixels)
        send(out, b"E", {})
    else:
        source = PyAvFile(clip, **limits, hardware=device)
        send(out, b"P", source.probe())
        calm = Calm() if request.get("gated") else None
        for start, end, shown in snippets(source, request["snippet_frames"], request["frames_per_snippet"], calm):
            if shown is None:
                send(out, b"Q", {"start": start, "end": end})
            else:
                send(out, b"S", {"start": start, "end": end, "shape": shown.shape}, shown)
        send(out, b"E", asdict(source.facts))


def main() -> None:
    """Read the request, give up what it does not need, serve."""
    request = json.load(sys.stdin)
    out = sys.stdout.buffer
    try:
        load()
        if sys.platform == "linux" and not request.get("hardware"):  # a driver opens devices and maps what it likes
            limit(request["memory_bytes"])
            with contextlib.suppress(OSError):  # `vlad doctor` says so
                confine()
        serve(request, out)
    except Refused as refused:
        send(out, b"X", {"kind": refused.kind, "message": str(refused), "advice": refused.advice})
    except MemoryError:
        message = "it needs more memory than Settings.memory_bytes allows"
        send(out, b"X", {"kind": "limit", "message": message, "advice": ADVICE})


def load() -> None:
    """All that is needed later, since no file can be opened then: its libraries are not the clip's memory either. Raises Refused for an old FFmpeg."""
    import av

    for name in (
        "numpy.fft",
        "numpy.lib.stride_tricks",
        "numpy.ma",
    ):  # of these, numpy loads a median's when it is asked for
        importlib.import_module(name)
    for found in pkgutil.walk_packages(av.__path__, "av."):
        if found.name.split(".")[1] not in ("__main__", "datasets"):
            importlib.import_module(found.name)
    if av.library_versions["libavcodec"][0] < FFMPEG[0]:
        advice = "pip install --upgrade av"
        raise Refused("video", f"PyAV here is built with an FFmpeg older than {FFMPEG[1]}", advice)


def run(work: Callable[[], None]) -> None:
    """A decoder's whole life: work, and an end at once, since Python's own waits for FFmpeg's threads, which wait for Python, where a picture is still being decoded."""
    code = 1
    try:
        work()
        code = 0
    except BrokenPipeError:
        pass  # nobody listens any more
    finally:
        os._exit(code)


if __name__ == "__main__":
    run(main)
