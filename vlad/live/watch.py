"""Many cameras at once, with one set of models: what they show is scored as it comes, and what becomes of them is told.

In: cameras, an Analyzer, and whom to tell. Out: a `Scored` each snippet, a `State` whenever one changes and every few seconds, pictures; and, where a camera has a
ring, what it sends on disk. A thread a stream drains its decoder, a thread a core scores: each stream has one place, and what comes while that is taken replaces what waits in
it. So under load all streams lose evenly, nobody falls behind, and the share that was looked at is told. Knows no library, no alarm and no terminal.
"""

from __future__ import annotations

import io
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlad.device import cores
from vlad.errors import InputError, LimitError, OutputError, VideoError, VladError
from vlad.live.address import Address
from vlad.live.child import Child
from vlad.live.dropped import Dropped, Recording
from vlad.live.feed import Feed, growing
from vlad.live.network import Denied, Rules, Unreachable
from vlad.live.reader import CAUGHT_UP, GAP, LEAK, SEAL
from vlad.live.ring import Ring
from vlad.live.rtsp import Tunnel
from vlad.live.scoring import Rows, Scored, Scores
from vlad.live.web import web
from vlad.pipeline import Analyzer
from vlad.types import Snippet
from vlad.video import open_video, shown

log = logging.getLogger("vlad.live")
SILENCE = 15.0  # seconds without a picture after which a stream is lost
SET = 5.0  # seconds by which somebody set the clock, at least: less is followed as it comes
OPENED = 30.0  # seconds within which one begins
FIRST, LONGEST, GOOD = (
    1.0,
    60.0,
    60.0,
)  # seconds of waiting before the first next try, at most, and of a stream after which waiting begins anew
REFUSED = 60.0  # seconds before what was refused is tried again
TELL = 5.0  # seconds from one word of a stream's state to the next, at least
LATELY = 60.0  # seconds over which the share that was looked at is counted
SLOW = 0.95  # of it, below which a stream is slow
SKIPPED = 600  # snippets in a row that are told one by one
PICTURE = 1.0  # seconds from one picture to the next


@dataclass(frozen=True)
class Clock:
    """now: seconds since 1970. ticks: seconds that only rise. speed: how many of them pass in a second, for tests."""

    now: Callable[[], float] = time.time
    ticks: Callable[[], float] = time.monotonic
    speed: float = 1.0

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Until it is stopped, or so many seconds are over; whether it was stopped."""
        return stop.wait(max(seconds, 0.0) / self.speed)


@dataclass(frozen=True)
class Camera:
    """name: its own. address: what is kept, and what is looked at where no `sub` is named. ring: where what it sends is kept, None for nowhere. zone, mark: of a folder, see `Dropped`."""

    name: str
    address: Address
    sub: Address | None = None
    ring: Ring | None = None
    zone: str = ""
    mark: Path | None = None


@dataclass(frozen=True)
class State:
    """How a stream is. state: connecting, on, slow (models do not look at all of it), lost (tried again soon) or refused (tried again every minute). why: a line without secrets. since: seconds
    since 1970. share: of the last minute that models looked at, in [0, 1]. delay: seconds from a snippet's last frame to its score, lately. drift: milliseconds an hour
    by which the camera's clock runs fast, None while it is not known. ahead: seconds by which the camera says that it is later than here, None where it does not. bytes: that came. what: codec, size, rate.
    kept: of the stream that is only recorded, beside one that is looked at."""

    camera: str
    state: str
    why: str = ""
    since: float = 0.0
    share: float = 1.0
    delay: float = 0.0
    drift: float | None = None
    ahead: float | None = None
    bytes: int = 0
    what: str = ""
    kept: bool = False


@dataclass(frozen=True)
class Gap:
    """Time of which a camera's pictures are missing. start, end: seconds since 1970."""

    camera: str
    start: float
    end: float
    why: str


class Wall:
    """Seconds of a stream to seconds since 1970: by a line through the quickest arrivals, which follows the camera's clock. drift: see `State`."""

    def __init__(self) -> None:
        self.offset: float | None = None
        self.at, self.last = 0.0, 0.0
        self._minutes: deque[tuple[float, float]] = deque(maxlen=120)  # a minute's arrival and smallest offset

    def came(self, seconds: float, arrived: float) -> None:
        """A frame of `seconds` arrived at `arrived` (s since 1970)."""
        offset = arrived - seconds
        if self.offset is None:
            self.offset = offset
        self.offset = min(offset, self.offset + LEAK * max(arrived - self.at, 0.0)) if self.at else offset
        self.at = arrived
        if not self._minutes or arrived - self._minutes[-1][0] >= 60:
            self._minutes.append((arrived, offset))
        else:
            self._minutes[-1] = (self._minutes[-1][0], min(self._minutes[-1][1], offset))

    def of(self, seconds: float) -> float:
        """Rising."""
        self.last = max(self.last, seconds + (self.offset or 0.0))
        return self.last

    @property
    def drift(self) -> float | None:
        """By least squares over the minutes, once there are ten."""
        if len(self._minutes) < 11:
            return None
        times, offsets = np.array(self._minutes)[1:-1].T
        return float(-np.polyfit(times - times[0], offsets, 1)[0] * 3.6e6)


@dataclass
class _Waiting:
    """What waits in a stream's place."""

    snippet: Snippet
    start: float  # since 1970
    end: float
    fresh: bool  # of a new connection


class _Place:
    """One stream's place among those that are scored."""

    def __init__(self, camera: str, make: Callable[[], tuple[Rows, Scores]]) -> None:
        self.camera, self.make = camera, make
        self.rows, self.scores = make()
        self.lock = threading.Lock()
        self.waiting: _Waiting | None = None
        self.busy = False  # a thread scores it
        self.skipped: deque[_Waiting] = deque(maxlen=SKIPPED)
        self.looks: deque[tuple[float, bool]] = deque()  # end, and whether it was looked at, of the last minute
        self.delays: deque[float] = deque(maxlen=32)

    def put(self, new: _Waiting) -> None:
        """What comes; what waited is not looked at."""
        with self.lock:
            old = self.waiting
            if old is not None:
                self.skipped.append(old)
                if new.snippet.quiet and not old.snippet.quiet:  # it shows what nobody saw
                    new.snippet = replace(new.snippet, quiet=False)
                new.fresh = new.fresh or old.fresh
            self.waiting = new

    def take(self) -> tuple[_Waiting | None, list[_Waiting]]:
        with self.lock:
            new, self.waiting = self.waiting, None
            skipped = list(self.skipped) if new is not None else []
            if new is not None:
                self.skipped.clear()
            return new, skipped

    def share(self, now: float) -> float:
        """Of the last minute."""
        with self.lock:
            while self.looks and abs(now - self.looks[0][0]) > LATELY:
                self.looks.popleft()
            return sum(looked for _, looked in self.looks) / len(self.looks) if self.looks else 1.0


class Watch:
    """Runs cameras until it is stopped. Use it as a context manager, or call `start` and `stop`; `add` and `remove` cameras at any time.

    on_score, on_state, on_gap and on_picture (camera, seconds since 1970, JPEG) are called from its threads and should be quick. on_file (camera, a dropped file, its start and end
    in s since 1970) comes after the file's scores, may take its time, and raises OutputError to be asked again. rules: where streams may lead.
    failed: an error that ended the scoring, to be raised by whoever runs it.
    """

    def __init__(
        self, analyzer: Analyzer, *, on_score: Callable[[Scored], None], on_state: Callable[[State], None] = lambda s: None,
        on_gap: Callable[[Gap], None] = lambda g: None, on_picture: Callable[[str, float, bytes], None] | None = None,
        on_file: Callable[[str, Recording, float, float], None] = lambda c, f, start, end: None,
        rules: Rules | None = None, clock: Clock | None = None, seed: int | None = None,
    ) -> None:  # fmt: skip
        self.analyzer, self.rules, self.clock = analyzer, rules or Rules(), clock or Clock()
        self.on_score, self.on_state, self.on_gap, self.on_picture, self.on_file = on_score, on_state, on_gap, on_picture, on_file  # fmt: skip
        self.failed: BaseException | None = None
        self.random = random.Random(seed)  # noqa: S311 - of waiting times
        self._stop, self._news = threading.Event(), threading.Condition()
        self._places: dict[str, _Place] = {}
        self._lines: dict[str, list[_Line]] = {}
        self._turn, self._went = 0, -np.inf  # whose turn it is; when something was last scored
        self._scorers = [threading.Thread(target=self._run, daemon=True, name="scores") for _ in range(cores())]

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Load the models and score from now on. Raises WeightsError, SettingsError."""
        settings = self.analyzer.settings
        _ = self.analyzer.encoder, self.analyzer.scorer, settings.objects and self.analyzer.detector
        for thread in self._scorers:
            thread.start()

    def stop(self) -> None:
        """End everything; returns when all decoders are gone."""
        self._stop.set()
        for line in [line for lines in list(self._lines.values()) for line in lines]:
            line.end()
        for name in list(self._lines):
            self.remove(name)
        with self._news:
            self._news.notify_all()
        for thread in self._scorers:
            if thread.ident is not None:
                thread.join(timeout=30)

    def add(self, camera: Camera) -> None:
        """Another camera. Raises InputError where there is one of that name."""
        if camera.name in self._places:
            raise InputError(f"camera {camera.name}: there is one of that name already")
        place = self._places[camera.name] = _Place(camera.name, self._make)
        if camera.sub is None:
            lines = [_Line(self, camera, camera.address, place, camera.ring)]
        else:
            lines = [_Line(self, camera, camera.sub, place, None)]
            lines += [_Line(self, camera, camera.address, None, camera.ring)] if camera.ring is not None else []
        self._lines[camera.name] = lines
        for line in lines:
            line.thread.start()

    def remove(self, name: str) -> None:
        """No longer."""
        lines = self._lines.pop(name, [])
        for line in lines:
            line.end()
        for line in lines:
            line.thread.join(timeout=30)
        self._places.pop(name, None)

    def _make(self) -> tuple[Rows, Scores]:
        analyzer: Any = self.analyzer
        settings = analyzer.settings
        detector = analyzer.detector if settings.objects else None
        return Rows(analyzer.encoder, detector, rate=settings.objects_rate), Scores(
            analyzer.scorer, analyzer.encoder.name
        )

    def came(self) -> None:
        """Something waits."""
        with self._news:
            self._news.notify()

    def _run(self) -> None:
        try:
            threads = int(getattr(self.analyzer.encoder, "threads", 0))
            if threads:
                torch.set_num_threads(threads)
            while not self._stop.is_set():
                with self._news:
                    place = self._next()
                    if place is None:
                        self._news.wait(0.5)
                        continue
                try:
                    new, skipped = place.take()
                    if new is not None:
                        self._score(place, new, skipped)
                        self._went = self.clock.ticks()
                except Exception:
                    if self.clock.ticks() - self._went > LATELY:  # not what one camera shows, but the models
                        raise
                    log.exception("camera %s", shown(place.camera))
                    place.rows, place.scores = place.make()
                finally:
                    with self._news:
                        place.busy = False
        except BaseException as error:  # raised by whoever runs it
            self.failed = error
            self._stop.set()

    def _next(self) -> _Place | None:
        """A place where something waits, in turn, which is then this thread's."""
        places = list(self._places.values())
        for step in range(len(places)):
            place = places[(self._turn + step) % len(places)]
            if place.waiting is not None and not place.busy:
                self._turn, place.busy = (self._turn + step + 1) % len(places), True
                return place
        return None

    def _score(self, place: _Place, new: _Waiting, skipped: list[_Waiting]) -> None:
        if new.fresh:
            place.rows, place.scores = place.make()
        for old in skipped:
            row = place.rows.repeat(old.snippet.start, old.snippet.end)
            score, label = (
                place.scores.last if row is None else place.scores.repeat(row, old.snippet.start, old.snippet.end)
            )
            self._told(place, old, score, label, looked=False)
        row = place.rows.push(new.snippet)
        score, label = place.scores.push(row, new.snippet.start, new.snippet.end)
        with place.lock:
            place.delays.append(self.clock.now() - new.end)
        self._told(place, new, score, label, looked=True)

    def _told(self, place: _Place, one: _Waiting, score: float, label: str, *, looked: bool) -> None:
        with place.lock:
            place.looks.append((one.end, looked))
            while len(place.looks) > 10_000:
                place.looks.popleft()
        self.on_score(Scored(place.camera, one.start, one.end, score, label, looked, place.rows.boxes))


class _Line:
    """One stream of a camera: connects, drains, connects again. place: where its snippets are scored, None where it is only kept."""

    def __init__(self, watch: Watch, camera: Camera, address: Address, place: _Place | None, ring: Ring | None) -> None:
        self.watch, self.camera, self.address, self.place, self.ring = watch, camera, address, place, ring
        self.clock, self.stop = watch.clock, threading.Event()
        self.state = State(camera.name, "connecting", since=self.clock.now(), kept=place is None)
        self.wall = Wall()
        self.counted = 0  # bytes of connections before this one
        self.lost_at: float | None = None  # since when nothing came
        self.fresh, self.good = True, 0.0
        self.recorded = False  # what comes are files, which were recorded before
        self.told, self.pictured = -1e9, -1e9
        self.frames: Any = None
        self.apart: float | None = None  # of the clock from one that nobody sets
        self.head: bytes | None = None  # of the recording, where it has to begin anew
        self.split = False
        self.unkept: float | None = None  # since when nothing of it could be written, and why
        self.why, self.why_unkept = "", ""
        self.until = 0.0  # the end of the newest snippet of this connection
        self._source: Tunnel | Feed | None = None
        self._child: Child | None = None
        name = f"camera {camera.name}"
        self.thread = threading.Thread(target=self._run, daemon=True, name=name)

    def end(self) -> None:
        """Whatever it waits for is over; its thread ends soon."""
        self.stop.set()
        child = self._child
        if child is not None:
            child.kill()

    def _run(self) -> None:
        try:
            self._again_and_again()
        except BaseException as error:  # raised by whoever runs it
            self.watch.failed = error

    def _again_and_again(self) -> None:
        waited = FIRST
        while not self.stop.is_set():
            self._tell("connecting", self.why if self.state.state in ("lost", "refused") else "")
            began = self.clock.ticks()
            self.good = 0.0
            try:
                self._once()
                raise Unreachable("the stream ended")
            except VladError as error:
                if self.stop.is_set():
                    return
                refused = isinstance(error, Denied | VideoError | InputError) and not isinstance(error, LimitError)
                self._tell("refused" if refused else "lost", shown(str(error)))
            except OSError as error:  # of this machine: no process, no descriptor, no memory
                self._tell("lost", f"it cannot be watched here ({error.strerror})")
            except Exception as error:  # a bug that one camera finds costs the others nothing
                log.exception("camera %s", shown(self.camera.name))
                self._tell("lost", f"it cannot be watched here ({type(error).__name__})")
            if self.good and self.clock.ticks() - began > GOOD:
                waited = 0.0
            pause = REFUSED if self.state.state == "refused" else waited * self.watch.random.uniform(0.8, 1.2)
            waited = min(max(2 * waited, FIRST), LONGEST)
            self.clock.wait(self.stop, pause)

    def _once(self) -> None:
        """One connection, until it ends. Raises why."""
        if self.address.kind == "file" and Path(self.address.path).is_dir():
            self._folder(Path(self.address.path))
            return
        child, source = self._open()
        self._child, self._source = child, source
        try:
            if self.stop.is_set():  # meanwhile
                return
            pictured = self.clock.ticks()
            for kind, facts, data in child.messages():
                if self.stop.is_set():
                    return
                self._take(kind, facts, data)
                if kind in (b"S", b"Q", b"T"):
                    pictured = self.clock.ticks()
                elif self.clock.ticks() - pictured > 2 * SILENCE:  # it goes on saying something else
                    raise Unreachable("what it sends is hardly ever a picture")
        except VladError as error:
            raise self._why(source, error) from None
        finally:
            child.stop()
            if source is not None:
                source.close()
                self.counted += source.counted
            self._child = self._source = None
            if self.lost_at is None and self.wall.last:
                self.lost_at = self.wall.last
            self.fresh = True
        raise self._why(source, Unreachable("the stream ended"))

    @staticmethod
    def _why(source: Tunnel | Feed | None, said: VladError) -> VladError:
        """The better of two reasons: the network's, unless it only saw that the decoder had ended."""
        if source is None:
            return said
        source.close()
        told = source.error
        if told is None or str(told) in ("its decoder ended", "it was stopped", "the stream ended"):
            return said
        return told

    def _open(self) -> tuple[Child, Tunnel | Feed | None]:
        """A decoder with what feeds it. Raises Denied, Unreachable."""
        analyzer: Any = self.watch.analyzer
        looked = self.place is not None
        more: dict[str, Any] = {
            "size": analyzer.encoder.size if looked else 240, "silence": SILENCE, "speed": self.clock.speed, "snippets": looked,
            "packets": self.ring is not None, "gated": looked and analyzer.gated,
        }  # fmt: skip
        settings, address = analyzer.settings, self.address
        if address.kind == "device":
            if not Path(address.path).exists():
                raise Unreachable("there is no such device")
            return Child(settings, {"device": address.path}, **more), None
        if address.kind == "rtsp":
            sealed = threading.Event()
            children: list[Child] = []
            ready = threading.Event()

            def opened() -> None:
                ready.wait(5)
                children[0].tell(SEAL)

            tunnel = Tunnel(address, self.watch.rules, sealed, opened)
            try:
                children.append(Child(settings, {"url": tunnel.url}, on_sealed=sealed.set, **more))
            except OSError:  # of this machine
                tunnel.close()
                raise
            ready.set()
            return children[0], tunnel
        grows = address.kind == "file"
        feed = Feed(growing(Path(address.path)) if grows else web(address, self.watch.rules))
        until = time.monotonic() + OPENED
        while not feed.ready.wait(0.2):
            if self.stop.is_set() or time.monotonic() > until:
                feed.close()
                raise Unreachable("it was stopped" if self.stop.is_set() else f"no stream began within {OPENED:.0f} s")
        if feed.error is not None and not feed.counted:
            feed.close()
            raise feed.error
        try:
            child = Child(settings, {"fd": feed.read}, form=feed.form, paced=feed.paced, backlog=grows, **more)
        except OSError:  # of this machine
            feed.close()
            raise
        feed.given()
        feed.caught_up(lambda: child.tell(CAUGHT_UP))
        return child, feed

    def _take(self, kind: bytes, facts: dict[str, Any], data: bytearray) -> None:
        """A message of the decoder."""
        if kind == b"P":
            rate = f", {facts['rate']:.3g}/s" if facts["timed"] and facts["rate"] else ""
            self.state = replace(self.state, what=f"{shown(facts['codec'])} {facts['width']} x {facts['height']}{rate}")
            self.wall = Wall()
            self.frames, self.until = None, 0.0
            if self.place is None:
                self._tell("on", "")
        elif kind in (b"S", b"Q"):
            self._snippet(kind, facts, data)
        elif kind == b"L" and facts["end"] > facts["start"]:
            why = "the camera sent nothing" if facts["why"] == "silent" else "decoding was behind"
            self._gap(self.wall.of(facts["start"]), self.wall.of(facts["end"]), why)
        elif kind == b"L":
            self._tell(self.state.state, shown(facts["why"]))
        elif kind == b"T":
            self._arrived(facts["time"], facts["arrived"])
        elif kind == b"N":
            self.state = replace(self.state, ahead=facts["ahead"])
        elif self.ring is not None:
            self._keep(kind, facts, data)
        if self.clock.ticks() - self.told > TELL:
            self._tell(self.state.state, self.why)

    def _keep(self, kind: bytes, facts: dict[str, Any], data: bytearray) -> None:
        assert self.ring is not None
        offset = self.wall.offset if self.wall.offset is not None else self.clock.now() - facts["start"]
        try:
            if kind == b"H":
                self.head = bytes(data)
            elif self.split and self.head is not None:
                self.ring.begin(self.head, facts["start"] + offset)
            self.split = False
            if kind == b"H":
                self.ring.begin(bytes(data), facts["start"] + offset)
            else:
                self.ring.add(bytes(data), facts["start"] + offset, facts["end"] + offset)
        except OutputError as error:
            self.split = True  # once it can be written again, it is another recording
            if self.unkept is None:
                self.unkept = facts["start"] + offset
            self.why_unkept = f"not recorded: {str(error).replace(str(self.ring.folder), 'its ring')}"
            self._tell(self.state.state, self.why)
        else:
            if self.unkept is not None:
                since, self.unkept, self.why_unkept = self.unkept, None, ""
                self._gap(since, facts["start"] + offset, "not recorded")

    def _snippet(self, kind: bytes, facts: dict[str, Any], data: bytearray) -> None:
        assert self.place is not None
        start, end = facts["start"], facts["end"]
        if end <= self.until:
            raise VideoError("its decoder answers nonsense")
        self.until = end
        if kind == b"S":
            self.frames = np.frombuffer(data, np.uint8).reshape(facts["shape"])
        if self.frames is None:
            raise VideoError("its decoder answers nonsense")
        self._arrived(end, facts["arrived"])
        since = max(self.wall.of(start), self.wall.last)
        if self.lost_at is not None:
            self._gap(self.lost_at, since, self.why or "the connection broke")
            self.lost_at = None
        snippet = Snippet(self.frames, start, end, quiet=kind == b"Q" and not self.fresh)
        self.place.put(_Waiting(snippet, since, max(self.wall.of(end), since + 1e-3), self.fresh))
        self.fresh = False
        self.watch.came()
        share = self.place.share(self.clock.now())
        slow = share < SLOW and len(self.place.looks) > 10
        self._tell("slow" if slow else "on", f"looked at {share:.0%} of the last minute" if slow else "", quietly=True)
        self._picture(self.wall.of(end))

    def _arrived(self, seconds: float, arrived: float) -> None:
        """What is shown at some seconds of the stream arrived then, by the clock that only rises."""
        waited = min(max(time.monotonic() - arrived, -GAP), 60.0) * self.clock.speed
        before, self.apart = self.apart, self.clock.now() - self.clock.ticks()
        if (
            before is not None and abs(self.apart - before) > SET
        ):  # time goes on from where it was set to, back or forth
            self.wall, self.split = Wall(), True
        self.wall.came(seconds, self.clock.now() - waited)
        self.good = self.good or self.clock.ticks()

    def _picture(self, moment: float) -> None:
        if self.watch.on_picture is None or self.clock.ticks() - self.pictured < PICTURE:
            return
        self.pictured = self.clock.ticks()
        made = io.BytesIO()
        Image.fromarray(self.frames[-1]).save(made, "JPEG", quality=80)
        self.watch.on_picture(self.camera.name, moment, made.getvalue())

    def _gap(self, start: float, end: float, why: str) -> None:
        if end > start:
            self.watch.on_gap(Gap(self.camera.name, start, end, why))

    def _tell(self, state: str, why: str, *, quietly: bool = False) -> None:
        """Tell a state that is new, or what it was if it was not told lately. quietly: other words alone are no news."""
        self.why = why
        why = "; ".join(filter(None, (why, self.why_unkept)))
        changed = state != self.state.state or (why != self.state.why and not quietly)
        now = self.clock.now()
        if not changed and self.clock.ticks() - self.told < TELL:
            return
        self.told = self.clock.ticks()
        place, source = self.place, self._source
        delays = list(place.delays) if place is not None and not self.recorded else []
        self.state = replace(
            self.state, state=state, why=why, since=now if state != self.state.state else self.state.since,
            share=place.share(now) if place is not None else 1.0, delay=float(np.median(delays)) if delays else 0.0, drift=self.wall.drift,
            bytes=self.counted + (source.counted if source is not None else 0),
        )  # fmt: skip
        self.watch.on_state(self.state)

    def _folder(self, folder: Path) -> None:
        """Files that a recorder drops: each is read to its end at whatever pace the models keep. Their times are those of their names, else of their last change."""
        self.recorded = True
        dropped = Dropped(folder, zone=self.camera.zone, mark=self.camera.mark)
        self._tell("on", "waits for files")
        took = 0.0
        while not self.clock.wait(self.stop, max(1.0, 20 * took)):  # a folder of many thousands is listed less often
            began = self.clock.ticks()
            found = dropped.whole()
            took = self.clock.ticks() - began
            for one in found:
                self._dropped(one)
                if self.stop.is_set():
                    return
                dropped.read(one)

    def _dropped(self, one: Recording) -> None:
        """A file to its end; what cannot be read of it is told, and it is handed over all the same."""
        start = end = one.changed if one.began is None else one.began
        called = shown(one.name)
        why = f"read {called}"
        analyzer: Any = self.watch.analyzer
        place = ""
        try:
            with (
                one.opened() as file,
                open_video(place := f"/dev/fd/{file.fileno()}", analyzer.settings, size=analyzer.encoder.size, gated=analyzer.gated) as clip,
            ):  # fmt: skip
                if one.began is None:
                    start -= clip.duration_hint or 0.0
                for snippet in clip:
                    end = start + snippet.end
                    if not self._scored(snippet, start):
                        return
        except VladError as error:
            why = f"{called}: {shown(str(error)).removeprefix(f'{place}: ')}"
        except OSError as error:
            why = f"{called}: cannot be read ({error.strerror})"
        while self.place is not None and (self.place.waiting is not None or self.place.busy):
            if self.clock.wait(self.stop, 0.01):
                return
        while not self.stop.is_set():
            try:
                self.watch.on_file(self.camera.name, one, start, end)
                break
            except OutputError as error:  # the library is away for a moment, or busy
                self._tell("on", str(error))
                self.clock.wait(self.stop, TELL)
            except VladError as error:
                why = f"{called}: {shown(str(error))}"
                break
            except OSError as error:
                why = f"{called}: cannot be read ({error.strerror})"
                break
        self._tell("on", why)

    def _scored(self, snippet: Snippet, zero: float) -> bool:
        """Into its place once that is free; False where it was stopped."""
        place = self.place
        while place is not None and place.waiting is not None and not self.clock.wait(self.stop, 0.01):
            pass
        if self.stop.is_set() or place is None:
            return False
        place.put(_Waiting(snippet, zero + snippet.start, zero + snippet.end, snippet.start == 0.0))
        self.frames = snippet.frames
        self.watch.came()
        self._picture(zero + snippet.end)
        return True
