"""The decoder of one live stream: a child process that turns what a camera sends into snippets, and its packets into fragments, under limits.

In: one line of JSON on stdin, then single bytes that say what happened; what the camera sends, by a pipe or by one connection to this machine. Out: messages on
stdout (`vlad.readers.send`). A camera is hostile: this program is confined before it reads the first byte of one (`vlad.confine`), and its memory is capped;
it may live for months, so its pace is capped instead of its time. One thread decodes, and nothing is held back to look ahead: a group of pictures would come
seconds late. It knows numpy and PyAV; `vlad.live.child` is its only caller.

Messages: K, it is confined; P, what the stream is; S, a snippet; Q, one without movement; T, a stream that is only recorded goes on; L, time that was lost; N, the sender's clock; H, the head of a
recording; G, a fragment of it; M, a part of a file; E, the stream ended; X, it is refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from vlad.activity import Calm
from vlad.confine import DEVICE, TALK, confine
from vlad.readers import (
    ADVICE,
    FORMATS,
    Clock,
    Gate,
    Pixels,
    Refused,
    choose,
    grey,
    limit,
    load,
    reason,
    run,
    send,
    shrink,
    upright,
)

SEAL, CAUGHT_UP = b"s", b"c"  # bytes on stdin: give up sockets now; what was recorded before is over
PROBE, ANALYSE = 1 << 20, 1_000_000  # bytes and microseconds in which a stream has to say what it is
HOLD = 10.0  # seconds by which stamps may part from arrival; of this machine, whatever pace a test's clock has
LEAK = 0.0005  # seconds a second by which clocks differ at most
LATE, SOON, PATIENCE = (
    2.0,
    0.5,
    4.0,
)  # seconds, of this machine too: behind, no longer behind, and how long it may last before pictures are left out
GAP = 2.0  # seconds between two frames from which they are lost time
BAD = 500  # packets in a row that cannot be decoded
PIECE = 2.0  # seconds of a fragment at least
HEAVY = 16 << 20  # bytes of a fragment, after which it is cut where no picture stands alone
NTP_EVERY = 60.0  # seconds
UNTIMED = ("mpjpeg", "mjpeg", "mjpeg_2000", "h264", "hevc", "m4v")  # formats whose stamps are made up


class Held:
    """Stamps of a stream to rising seconds from its first frame, held to their arrival. behind: seconds by which the last frame came later than the quickest ones."""

    def __init__(self, interval: float, hold: float = HOLD) -> None:
        self.clock, self.hold = Clock(interval), hold
        self.first: float | None = None
        self.last, self.lead, self.behind = (
            0.0,
            0.0,
            0.0,
        )  # seconds after `first`; by which the quickest frames are ahead of their arrival

    def time(self, stamp: float | None, arrival: float) -> float | None:
        """Seconds of a frame stamped `stamp` (s) that arrived at `arrival` (s); None for one whose moment was seen already."""
        if self.first is None:
            self.first = arrival
        passed, before = arrival - self.first, self.clock.last
        now = self.clock.time(passed if stamp is None else stamp)
        if now is None:
            return None
        self.lead -= LEAK * (passed - self.last)
        self.last = passed
        ahead = now - passed
        if abs(ahead - self.lead) > self.hold and before >= 0:  # a new run of time, or one that stood still
            now = max(passed + self.lead, before + 1e-3)
            self.clock.shift = (self.clock.shift or 0.0) + now - self.clock.last
            self.clock.last, ahead = now, now - passed
        self.lead = min(max(self.lead, ahead), self.hold + LEAK * passed)
        self.behind = max(self.lead - ahead, 0.0)
        return now

    def guessed(self, stamp: float | None, arrival: float) -> float:
        """How far behind a frame is that is not decoded yet."""
        if stamp is None or self.clock.shift is None or self.first is None:
            return 0.0
        return max(self.lead - (stamp + self.clock.shift - (arrival - self.first)), 0.0)


class Fragments:
    """Packets to fragments of MP4, as they are. Each begins with a picture that stands alone, but for one that would grow too large."""

    def __init__(self, av: Any, source: Any) -> None:
        self.av, self.source = av, source
        self.written, self.container, self.track = bytearray(), None, None  # type: bytearray, Any, Any
        self.base, self.last, self.since = 0, -1, 0.0
        self.failed = ""

    def write(self, piece: Any) -> int:
        """As a file that PyAV writes into."""
        self.written += bytes(piece)
        return len(piece)

    def push(self, packet: Any, now: float) -> Iterator[tuple[bytes, float, float]]:
        """(bytes, start, end) of what is complete: the head of a new recording with equal times, or a fragment. The packet is no packet of its source any more.

        now: seconds of the packet's picture.
        """
        if packet.pts is None or self.failed:
            return
        if self.container is None:
            if not packet.is_keyframe:
                return
            self._begin(packet)
            self.since = now
        packet.pts -= self.base
        order = packet.pts if packet.dts is None else packet.dts - self.base
        if order <= self.last or packet.pts < order:
            order = max(self.last + 1, min(order, packet.pts))
        packet.dts, packet.pts = order, max(packet.pts, order)
        self.last = order
        packet.stream = self.track
        try:
            self.container.mux_one(packet)
        except (self.av.error.FFmpegError, ValueError) as error:
            self.container = None
            self.failed = reason(error)
            return
        for kind, piece in self._complete():
            yield piece, self.since, (now if kind == "G" else self.since)
            self.since = now if kind == "G" else self.since

    def again(self) -> None:
        """The next packet that stands alone begins a new recording."""
        self.container, self.written = None, bytearray()

    def _begin(self, packet: Any) -> None:
        self.written = bytearray()
        options = {
            "movflags": "frag_keyframe+empty_moov+default_base_moof+skip_trailer", "min_frag_duration": str(int(PIECE * 1e6)), "frag_size": str(HEAVY),
        }  # fmt: skip
        try:
            self.container = self.av.open(self, "w", format="mp4", options=options)
            self.container.flags |= self.av.container.Flags.flush_packets.value
            self.track = self.container.add_stream_from_template(self.source)
            self.container.start_encoding()
        except (self.av.error.FFmpegError, ValueError) as error:
            self.container, self.failed = None, reason(error)
            self.track = self.source
        self.base, self.last = packet.pts if packet.dts is None else packet.dts, -1

    def _complete(self) -> Iterator[tuple[str, bytes]]:
        """Kind (H or G) and bytes of the boxes that are whole: ftyp and moov, or moof and mdat."""
        place = start = 0
        while place + 8 <= len(self.written):
            size, kind = (
                int.from_bytes(self.written[place : place + 4], "big"),
                bytes(self.written[place + 4 : place + 8]),
            )
            if size < 8 or place + size > len(self.written):
                break
            place += size
            if kind in (b"moov", b"mdat"):
                yield ("H" if kind == b"moov" else "G"), bytes(self.written[start:place])
                start = place
        del self.written[:start]


class Stream:
    """Frames with times of the best video stream of a camera, as they come. source: fd, url or device, see `vlad.live.child`."""

    def __init__(self, request: dict[str, Any], out: BinaryIO) -> None:
        import av

        av.logging.set_level(av.logging.PANIC)
        self.av, self.out, self.request, self.speed = av, out, request, float(request["speed"])
        self.caught_up = not request["backlog"]
        self.container = self._open()
        self.stream = choose(av, self.container, request["max_pixels"])
        self.stream.thread_type = "SLICE"
        self.stream.codec_context.thread_count = 1
        self.timed = self.container.format.name not in UNTIMED
        rates = (float(r) for r in (self.stream.average_rate, self.stream.guessed_rate) if r)
        self.held = Held(1 / next((r for r in rates if 0.1 <= r <= 240), 25.0), HOLD * self.speed)
        self.target: tuple[int, int] | None = None
        self.fragments = Fragments(av, self.stream) if request["packets"] else None
        self.base: float | None = None  # of what is shown at its own pace
        self.late_since: float | None = None
        self.told_ntp = -NTP_EVERY
        self.sent: tuple[float, float] | None = None

    def _open(self) -> Any:
        options = {
            "format_whitelist": FORMATS + ",mpjpeg", "max_pixels": str(self.request["max_pixels"]), "probesize": str(PROBE),
            "analyzeduration": str(ANALYSE), "fpsprobesize": "2",
        }  # fmt: skip
        name, form = "fd:", self.request["format"] or None
        if "url" in self.request:
            options |= {
                "protocol_whitelist": "tcp", "format_whitelist": "rtsp", "rtsp_transport": "tcp", "allowed_media_types": "video",
            }  # fmt: skip
            name, form = self.request["url"], "rtsp"
        elif "device" in self.request:
            options = {"max_pixels": str(self.request["max_pixels"])}
            name, form = self.request["device"], "v4l2"
        else:
            options |= {"protocol_whitelist": "fd", "fd": str(self.request["fd"])}
        try:
            return self.av.open(name, format=form, options=options, metadata_errors="replace")
        except (self.av.error.FFmpegError, ValueError) as error:
            raise Refused(
                "video", f"what it sends cannot be read as video ({reason(error)})", "look at what it sends"
            ) from None

    def facts(self) -> dict[str, Any]:
        """What the stream is."""
        context = self.stream.codec_context
        rate = float(self.stream.average_rate or self.stream.guessed_rate or 0)
        return {
            "codec": str(context.codec.canonical_name), "width": int(context.width), "height": int(context.height),
            "rate": rate if 0 <= rate <= 1000 else 0.0, "timed": self.timed,
        }  # fmt: skip

    def ticks(self) -> float:
        """Seconds of a clock that only rises, in the test's pace."""
        return time.monotonic() * self.speed

    def frames(self) -> Iterator[tuple[float, Any]]:
        """(seconds, frame) in rising order; what is lost is told on the way."""
        bad, key, lost = 0, False, None  # type: int, bool, float | None
        for packet in self._packets():
            arrival = self.ticks()
            stamp = float(packet.pts * packet.time_base) if self.timed and packet.pts is not None else None
            if not self.caught_up:
                key = False
                continue
            if not key:
                key = bool(packet.is_keyframe)
                if not key:
                    continue
            if self._too_late(stamp, arrival):
                lost = self.held.clock.last if lost is None else lost
            if lost is not None:
                if not packet.is_keyframe or self.held.guessed(stamp, arrival) > SOON * self.speed:
                    self._record(packet, arrival, stamp)
                    continue
                self.stream.codec_context.flush_buffers()
                self.late_since = None
            try:
                frames = packet.decode()
                bad = 0 if frames else bad + 1
            except (self.av.error.FFmpegError, ValueError):
                bad, frames = bad + 1, []
            if bad > BAD:
                raise Refused("video", f"none of {BAD} packets can be decoded", "look at what it sends")
            for frame in frames:
                before = self.held.clock.last
                now = self.held.time(frame.time if self.timed else None, arrival)
                if now is None:
                    continue
                if self.request["paced"]:
                    self._wait(now)
                if lost is not None and now > max(lost, 0.0):
                    self._lost(max(lost, 0.0), now, "behind")
                elif 0 <= before < now - GAP:
                    self._lost(before, now, "silent")
                lost = None
                yield now, frame
            self._clock(packet, arrival)
            self._record(packet, arrival, stamp)

    def keep(self) -> None:
        """Record the stream, and decode none of it; T messages tell that it goes on."""
        told, before = -1.0, -1.0
        for packet in self._packets():
            arrival = self.ticks()
            stamp = float(packet.pts * packet.time_base) if self.timed and packet.pts is not None else None
            now = self.held.time(stamp, arrival)
            if now is not None and 0 <= before < now - GAP:
                self._lost(before, now, "silent")
            before = before if now is None else now
            self._clock(packet, arrival)
            self._record(packet, arrival, stamp)
            if before - told >= 1.0:
                told = before
                send(self.out, b"T", {"time": before, "arrived": arrival / self.speed})
        send(self.out, b"E", {})

    def _packets(self) -> Iterator[Any]:
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    yield packet
        except (self.av.error.FFmpegError, ValueError):
            return  # a connection that broke: what comes next is another one

    def _too_late(self, stamp: float | None, arrival: float) -> bool:
        """Whether decoding has been behind for so long that pictures are left out."""
        if self.request["paced"] or self.held.guessed(stamp, arrival) < LATE * self.speed:
            self.late_since = None
            return False
        self.late_since = arrival if self.late_since is None else self.late_since
        return arrival - self.late_since > PATIENCE * self.speed

    def _wait(self, now: float) -> None:
        """Until it is time for a picture, where they come many at once."""
        ticks = self.ticks()
        if self.base is None or self.base + now < ticks - GAP:
            self.base = ticks - now
        time.sleep(min(max(self.base + now - ticks, 0.0), GAP) / self.speed)

    def _lost(self, start: float, end: float, why: str) -> None:
        send(self.out, b"L", {"start": start, "end": end, "why": why})
        if self.fragments is not None and why == "silent":
            self.fragments.again()

    def _clock(self, packet: Any, arrival: float) -> None:
        """The sender's clock, where it tells it: RTCP's, as FFmpeg hands it on (AVProducerReferenceTime)."""
        if arrival - self.told_ntp < NTP_EVERY or not packet.has_sidedata("prft"):
            return
        self.told_ntp = arrival
        micros = int.from_bytes(bytes(packet.get_sidedata("prft"))[:8], sys.byteorder, signed=True)
        send(self.out, b"N", {"ahead": max(min(micros / 1e6 - time.time(), 1e10), -1e10)})

    def _record(self, packet: Any, arrival: float, stamp: float | None) -> None:
        if self.fragments is None:
            return
        first, shift = self.held.first, self.held.clock.shift
        now = 0.0 if first is None else arrival - first if stamp is None or shift is None else stamp + shift
        if not self.timed:
            packet.pts = packet.dts = round(max(now, 0.0) / packet.time_base)
        for piece, start, end in self.fragments.push(packet, max(now, 0.0)):
            kind = b"G" if end > start else b"H"
            facts = {"start": start, "end": end} if kind == b"G" else {"start": start}
            send(self.out, kind, facts, np.frombuffer(piece, np.uint8))
        if self.fragments.failed:
            send(self.out, b"L", {"start": 0.0, "end": 0.0, "why": f"not recorded: {self.fragments.failed[:200]}"})
            self.fragments = None

    def pixels(self, frame: Any) -> Pixels:
        """As `vlad.readers.PyAvFile` makes them."""
        if self.target is None:
            self.target = shrink(frame.width, frame.height, self.request["size"])
        return upright(frame, self.target)

    def small(self, frame: Any) -> npt.NDArray[np.float32]:
        """As `vlad.readers.PyAvFile` makes them."""
        return grey(frame)


def watch(stream: Stream, out: BinaryIO) -> None:
    """Snippet after snippet, as `vlad.readers.snippets` cuts a file, but each is told with its last frame, and ends where the next one should come. One that lost time is
    begun anew."""
    request = stream.request
    length, count = request["snippet_frames"], request["frames_per_snippet"]
    wanted = {int((i + 0.5) * length / count) for i in range(count)}
    gate = Gate(stream, count, Calm() if request["gated"] else None)
    start, before, index, newest = None, 0.0, 0, None  # type: float | None, float, int, Any
    size: tuple[int, int] | None = None
    for now, frame in stream.frames():
        if (frame.width, frame.height) != size:
            size, stream.target = (frame.width, frame.height), None
            gate = Gate(stream, count, Calm() if request["gated"] else None)
            start = None
        if start is not None and now - before > GAP:
            gate.frames, gate.moved, start = [], False, None
        if start is None:
            start, index = now, 0
        if index in wanted:
            gate.add(frame)
        before, newest, index = now, frame, index + 1
        if index == length:
            shown = gate.close(start, newest)
            rest = min(stream.held.clock.interval, GAP)
            facts = {"start": start, "end": now + rest, "arrived": (stream.ticks() + rest) / stream.speed}
            if shown is None:
                send(out, b"Q", facts)
            else:
                send(out, b"S", {**facts, "shape": shown.shape}, shown)
            start = None
    send(out, b"E", {})


def remux(request: dict[str, Any], out: BinaryIO) -> None:
    """A piece of a recording as a plain MP4 that begins at 0 s, its packets as they are: M messages."""
    import av

    av.logging.set_level(av.logging.PANIC)
    made = io.BytesIO()
    options = {"format_whitelist": "mov", "protocol_whitelist": "fd", "fd": str(request["fd"])}
    try:
        with (
            av.open("fd:", options=options, metadata_errors="replace") as source,
            av.open(made, "w", format="mp4") as file,
        ):
            stream = choose(av, source, request["max_pixels"])
            track, zero = file.add_stream_from_template(stream), None
            for packet in source.demux(stream):
                if packet.pts is None or packet.dts is None:
                    continue
                zero = min(packet.pts, packet.dts) if zero is None else zero
                packet.pts, packet.dts, packet.stream = packet.pts - zero, packet.dts - zero, track
                file.mux_one(packet)
    except (av.error.FFmpegError, ValueError) as error:
        raise Refused(
            "video", f"its recording cannot be read ({reason(error)})", "play the pieces one by one"
        ) from None
    whole = made.getbuffer()
    for place in range(0, len(whole), 1 << 20):
        send(out, b"M", {}, np.frombuffer(whole[place : place + (1 << 20)], np.uint8))
    send(out, b"E", {})


def listen(stream: dict[str, Any], out: BinaryIO) -> None:
    """What happened, byte by byte on stdin. stream: holds the Stream as soon as there is one."""
    while said := os.read(0, 1):
        if said == SEAL:
            with contextlib.suppress(OSError):  # `vlad doctor` says so
                confine(TALK)
            send(out, b"K", {})
        elif said == CAUGHT_UP:
            stream["caught up"] = True
            if "it" in stream:
                stream["it"].caught_up = True


def main() -> None:
    """Read the request, give up what it does not need, go on until the stream ends or nobody listens."""
    out = sys.stdout.buffer
    line = bytearray()
    while not line.endswith(b"\n"):
        line += os.read(0, 1) or b"\n"
    request = json.loads(line)
    found: dict[str, Any] = {}
    try:
        load()
        if sys.platform == "linux":
            limit(request["memory_bytes"])
        if sys.platform == "linux" and "fd" in request:
            with contextlib.suppress(OSError):
                confine()
        if "fd" in request:
            send(out, b"K", {})
        if request["remux"]:
            remux(request, out)
            return
        threading.Thread(target=listen, args=(found, out), daemon=True).start()
        stream = found["it"] = Stream(request, out)
        stream.caught_up = stream.caught_up or "caught up" in found
        if sys.platform == "linux" and "device" in request:
            with contextlib.suppress(OSError):
                confine(DEVICE)
        send(out, b"P", stream.facts())
        if request["snippets"]:
            watch(stream, out)
        else:
            stream.keep()
    except Refused as refused:
        send(out, b"X", {"kind": refused.kind, "message": str(refused), "advice": refused.advice})
    except MemoryError:
        send(
            out,
            b"X",
            {"kind": "limit", "message": "it needs more memory than Settings.memory_bytes allows", "advice": ADVICE},
        )


if __name__ == "__main__":
    run(main)
