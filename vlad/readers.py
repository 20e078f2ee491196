"""The decoder: a child process that turns one file into frames with times, under limits.

In: one JSON request on stdin. Out: messages on stdout (see `send`), then the end. A clip is hostile until decoded, so this
program opens nothing but that file, speaks no network protocol, and its memory is capped by the system. It knows numpy and
PyAV (or decord, for trusted files) and nothing else of vlad; `vlad.video` is its only caller.
"""

from __future__ import annotations

import io
import json
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

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
NEAR = 5.0  # seconds; less costs less by decoding on than by seeking
JUMP_BACK = 0.5  # seconds; timestamps that fall further start a new run of time (a recorder was restarted)
Pixels = npt.NDArray[np.uint8]


class Refused(Exception):
    """The file is not a clip, or is over a limit; kind is 'video' or 'limit'."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class Clock:
    """Presentation timestamps to rising seconds from the first frame."""

    interval: float  # seconds to the next frame where nothing better is known
    last: float = -1.0
    shift: float | None = None

    def time(self, stamp: float | None) -> float | None:
        """Seconds of a frame stamped `stamp` (s); None for a frame that repeats a moment already seen."""
        following = self.last + self.interval if self.last >= 0 else 0.0
        if self.shift is None:
            self.shift = -(stamp or 0.0)
        now = following if stamp is None else stamp + self.shift
        if self.last >= 0 and now < self.last - JUMP_BACK:
            self.shift += following - now
            now = following
        if now <= self.last:
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
    gaps: list[tuple[float, float]] = field(default_factory=list)


def send(out: BinaryIO, kind: bytes, facts: dict[str, Any], pixels: npt.NDArray[Any] | None = None) -> None:
    """One message: P(robe), S(nippet), F(rame), A(udio), T(ime), C(ut), E(nd) or X (refused), each with JSON and perhaps pixels."""
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


class PyAvFile:
    """Frames of the best video stream of an untrusted file, packet by packet."""

    def __init__(self, path: str, *, size: int, max_pixels: int, max_seconds: float) -> None:
        import av
        import av.error
        import av.logging

        av.logging.set_level(av.logging.PANIC)
        self.av, self.size, self.max_seconds = av, size, max_seconds
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": str(max_pixels)}
        try:
            self.container = av.open("file:" + path, options=options, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError) as error:
            raise Refused("video", f"not a video that can be read ({reason(error)})") from None
        self.stream = self._choose(max_pixels)
        self.facts = Facts(self._codec())
        rate = float(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.clock = Clock(1 / min(max(rate, 0.01), 1000.0))
        self.target: tuple[int, int] | None = None

    def _codec(self) -> str:
        return str(self.stream.codec_context.codec.canonical_name)

    def _choose(self, max_pixels: int) -> Any:
        streams = [
            s
            for s in self.container.streams.video
            if s.codec_context is not None and not s.disposition & self.av.stream.Disposition.attached_pic
        ]
        if not streams:
            raise Refused("video", "it holds no video stream")
        best = max(streams, key=lambda s: (s.codec_context.width * s.codec_context.height, s.frames, -s.index))
        if best.codec_context.codec.canonical_name not in CODECS:
            raise Refused(
                "video", f"its codec {best.codec_context.codec.canonical_name} is not on the list of allowed ones"
            )
        if best.codec_context.width * best.codec_context.height > max_pixels:
            raise Refused("limit", f"its frames have more than {max_pixels} pixels (Settings.max_pixels)")
        best.codec_context.options = {"max_pixels": str(max_pixels)}
        best.thread_type = "AUTO"
        best.codec_context.thread_count = 2
        return best

    def probe(self) -> dict[str, Any]:
        duration = self.stream.duration and float(self.stream.duration * self.stream.time_base)
        if not duration and self.container.duration:
            duration = self.container.duration / 1e6
        return {"duration": duration if duration and duration > 0 else None, "codec": self.facts.codec}

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
        broken = False
        for packet in self.packets(self.stream):
            try:
                frames = packet.decode()
            except (self.av.error.FFmpegError, ValueError):
                self.facts.bad += 1
                broken = True
                continue
            for frame in frames:
                before = self.clock.last
                now = self.clock.time(frame.time)
                if now is None:
                    continue
                if now > self.max_seconds:
                    raise Refused("limit", f"it is longer than {self.max_seconds:g} s (Settings.max_seconds)")
                if broken and now > max(before, 0.0):
                    self.facts.gaps.append((max(before, 0.0), now))
                broken = False
                self.facts.frames += 1
                yield now, frame
        if broken and self.clock.last >= 0:
            self.facts.gaps.append((self.clock.last, self.clock.last + self.clock.interval))

    def pixels(self, frame: Any) -> Pixels:
        """uint8 RGB [H, W, 3], upright, all of one size."""
        turns = round(frame.rotation / 90) % 4
        if not self.facts.width:
            sides = (frame.width, frame.height) if turns % 2 == 0 else (frame.height, frame.width)
            self.facts.width, self.facts.height = sides
        if self.target is None:
            self.target = shrink(frame.width, frame.height, self.size)
        width, height = self.target
        image = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
        return np.ascontiguousarray(np.rot90(image, turns))

    def seek(self, seconds: float) -> None:
        """To the last key frame at or before `seconds`; the clock keeps the first frame as its zero."""
        stamp = max(seconds - (self.clock.shift or 0.0), 0.0)
        self.container.seek(int(stamp / self.stream.time_base), stream=self.stream, backward=True)
        self.clock.last = -1.0


class DecordFile:
    """Frames by decord: fast bulk reading of files that are trusted."""

    def __init__(self, path: str, *, size: int, max_pixels: int, max_seconds: float) -> None:
        try:
            import decord
        except ImportError:
            raise Refused("video", "Settings.reader is decord, which is not here: pip install 'vlad[bulk]'") from None
        try:
            height, width = decord.VideoReader(path, num_threads=1)[0].shape[:2]
            new_width, new_height = shrink(width, height, size)
            self.file = decord.VideoReader(path, num_threads=2, width=new_width, height=new_height)
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise Refused("video", f"decord cannot read it ({reason(error)})") from None
        self.facts = Facts("unknown", width, height)
        self.clock = Clock(1 / max(float(self.file.get_avg_fps()), 0.01))
        self.max_seconds = max_seconds

    def probe(self) -> dict[str, Any]:
        return {"duration": float(self.file.get_frame_timestamp(len(self.file) - 1)[1]), "codec": self.facts.codec}

    def __iter__(self) -> Iterator[tuple[float, Any]]:
        for index in range(len(self.file)):
            now = self.clock.time(float(self.file.get_frame_timestamp(index)[0]))
            if now is not None:
                if now > self.max_seconds:
                    raise Refused("limit", f"it is longer than {self.max_seconds:g} s (Settings.max_seconds)")
                self.facts.frames += 1
                yield now, index

    def pixels(self, frame: int) -> Pixels:
        image: Pixels = self.file[frame].asnumpy()
        return image


class Source(Protocol):
    """A file being decoded: iterate it for (seconds, frame), then ask for the frames' pixels."""

    facts: Facts
    clock: Clock

    def probe(self) -> dict[str, Any]: ...
    def __iter__(self) -> Iterator[tuple[float, Any]]: ...
    def pixels(self, frame: Any) -> Pixels: ...


READERS: dict[str, Callable[..., Source]] = {"pyav": PyAvFile, "decord": DecordFile}


def snippets(source: Source, length: int, count: int) -> Iterator[tuple[float, float, Pixels]]:
    """(start, end, uint8 [count, H, W, 3]): `count` evenly spaced frames of every `length`; the last one may be shorter."""
    wanted = {int((i + 0.5) * length / count) for i in range(count)}
    start, index, newest = 0.0, 0, None
    kept: list[Pixels] = []
    for now, frame in source:
        if index == length:
            yield start, now, stack(source, kept, newest, count)
            start, index, kept = now, 0, []
        if index in wanted:
            kept.append(source.pixels(frame))
        newest, index = frame, index + 1
    if newest is None:
        raise Refused("video", "no picture in it could be decoded")
    yield start, source.clock.last + source.clock.interval, stack(source, kept, newest, count)


def stack(source: Source, kept: list[Pixels], newest: Any, count: int) -> Pixels:
    """Exactly `count` frames: a short snippet repeats its last one."""
    kept = kept or [source.pixels(newest)]
    return np.stack([kept[min(i * len(kept) // count, len(kept) - 1)] for i in range(count)])


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


def cut(source: PyAvFile, start: float, end: float, tell: Callable[[float], None]) -> bytes:
    """The pictures from `start` to `end` (s) as a new h264 file, upright, with even sides; only decoded pictures get out of a hostile clip."""
    made, zero, last = io.BytesIO(), 0.0, -1
    writer: Any = None
    track: Any = None
    for number, (now, frame) in enumerate(shown_between(source, start, end)):
        if number % 50 == 0:
            tell(now)
        stamp = round((now - zero) / TICK) if writer is not None else 0
        if stamp <= last:  # two frames nearer to each other than the file can say
            continue
        last = stamp
        pixels = source.pixels(frame)
        pixels = np.ascontiguousarray(pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2])
        if writer is None:
            writer, zero = source.av.open(made, "w", format="mp4"), now
            track = writer.add_stream("libx264", rate=30, options={"crf": "18", "preset": "veryfast"})
            track.width, track.height, track.pix_fmt = pixels.shape[1], pixels.shape[0], "yuv420p"
            track.codec_context.time_base = TICK
        picture = source.av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts, picture.time_base = stamp, TICK
        writer.mux(track.encode(picture))
    if writer is None:
        raise Refused("video", f"no picture between {start:.1f} and {end:.1f} s could be decoded")
    writer.mux(track.encode())
    writer.close()
    return made.getvalue()


def shown_between(source: PyAvFile, start: float, end: float) -> Iterator[tuple[float, Any]]:
    """(seconds, frame): what is shown at `start`, as of then, and every frame after it before `end`."""
    walk = iter(source)
    held = next(walk, None)
    if held is not None and start - held[0] > NEAR:
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


def limit_memory(extra: int) -> None:
    """Cap the address space at what is in use now plus `extra` bytes, and write no file."""
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, used + extra))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def serve(request: dict[str, Any], out: BinaryIO) -> None:
    """Answer one request: every snippet of a file, its sound, single frames of it, or a part of it as a new file."""
    limits = {name: request[name] for name in ("size", "max_pixels", "max_seconds")}
    if request.get("sound"):
        file = PyAvFile(request["path"], **limits)
        send(out, b"P", file.probe())
        for start, bands in sound(file):
            send(out, b"A", {"start": start, "step": HOP / RATE, "shape": bands.shape}, bands)
        send(out, b"E", {})
    elif request.get("cut"):
        whole = PyAvFile(request["path"], **limits)
        send(out, b"P", whole.probe())
        start, end = request["cut"]
        try:
            made = cut(whole, start, end, lambda now: send(out, b"T", {"time": now}))
        except (whole.av.error.FFmpegError, ValueError) as error:
            raise Refused("video", f"its pictures cannot be encoded ({reason(error)})") from None
        send(out, b"C", {}, np.frombuffer(made, np.uint8))
        send(out, b"E", {})
    elif request["times"] is not None:
        single = PyAvFile(request["path"], **limits)
        send(out, b"P", single.probe())
        for time, pixels in frames_at(single, request["times"]):
            send(out, b"F", {"time": time, "shape": pixels.shape}, pixels)
        send(out, b"E", {})
    else:
        source = READERS[request["reader"]](request["path"], **limits)
        send(out, b"P", source.probe())
        for start, end, pixels in snippets(source, request["snippet_frames"], request["frames_per_snippet"]):
            send(out, b"S", {"start": start, "end": end, "shape": pixels.shape}, pixels)
        send(out, b"E", asdict(source.facts))


def main() -> None:
    """Read the request, set the limits, serve."""
    request = json.load(sys.stdin)
    out = sys.stdout.buffer
    try:
        if sys.platform == "linux":
            __import__("av" if request["reader"] == "pyav" else "numpy")  # its libraries are not the clip's memory
            limit_memory(request["memory_bytes"])
        serve(request, out)
    except Refused as refused:
        send(out, b"X", {"kind": refused.kind, "message": str(refused)})
    except MemoryError:
        send(out, b"X", {"kind": "limit", "message": "it needs more memory than Settings.memory_bytes allows"})


if __name__ == "__main__":
    main()
