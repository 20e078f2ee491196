"""Watches the cameras of a library: scores, alarms, what was recorded, and a clip of each alarm.

    python -m vlad.live.watcher     (JSON on standard input: library, place, copies, settings, name, server, allow)

In: cameras of the library. Out: their scores, states and alarms in the library; beside it on this machine, below `live/`, a camera's newest picture and its ring of fragments. One process
a library: another waits until this one is silent. Ends with its server. Knows no page.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from vlad.clock import Steady, at, zone_of
from vlad.config import make_settings
from vlad.errors import VladError
from vlad.library import Library
from vlad.library.cameras import Access
from vlad.library.tables import AlarmRow, CameraRow
from vlad.live.address import Address, Secret, parse
from vlad.live.child import plain
from vlad.live.dropped import Recording
from vlad.live.hosts import networks
from vlad.live.network import Rules
from vlad.live.raising import Raising
from vlad.live.ring import Ring
from vlad.live.watch import Camera, Clock, Gap, State, Watch
from vlad.pipeline import Analyzer

TURN = 1.0  # seconds between two looks at what is to be done
AFTER = 10.0  # seconds of an alarm's clip before and after it, unless the camera says otherwise
PIECES = 4  # clips of one alarm whose connection broke; the longest is the alarm's own
LONGEST = 600.0  # seconds of an alarm's clip
TRIES = 3  # clips of one alarm that are begun
PATIENCE = 30.0  # seconds that a fragment takes to be there, at most
LATE = 86_400.0  # seconds for which a clip is still made of an alarm, such as after a restart
HOURS, GIB = 24.0, 10.0  # of a ring, unless the camera says otherwise
GAPS = 20  # of a camera that are told
SWEEP = 60.0  # seconds between two looks for what is to be forgotten
PART = "piece-"  # of the name of a folder in which a clip is made
ENDED = 10.0  # seconds that a clip under way is waited for; it is made again by whoever watches next
PIECE = 8 << 20  # bytes of a clip that are handed over at once
log = logging.getLogger("vlad.watcher")


def place_of(library: Library, camera_id: str) -> Path:
    """The folder on this machine of what a camera showed lately: picture.jpg, ring/."""
    return library.folder / "live" / camera_id


def settings_of(row: CameraRow, name: str, usual: float) -> float:
    """One of a camera's numbers, or what is usual."""
    value = row.settings.get(name)
    return float(usual if value is None else value)


def address_of(url: str, access: Access, query: str) -> Address:
    """Where a stream is, with what opens it. Raises InputError."""
    joined = f"{url}{'&' if '?' in url else '?'}{query}" if query else url
    secret = Secret(access.user, access.password) if access.user or access.password else None
    return parse(joined, secret)


class Watcher:
    """All cameras of a library. name: of this process; analyzer: loaded models; allow: networks of cameras beyond the usual ones."""

    def __init__(
        self, library: Library, analyzer: Analyzer, *, name: str, allow: tuple[str, ...] = (), clock: Clock | None = None
    ) -> None:  # fmt: skip
        self.library, self.analyzer, self.name, self.clock = library, analyzer, name, clock or Clock()
        self.pictures: dict[str, bytes] = {}
        self.states: dict[str, State] = {}
        self.known: dict[str, tuple[Any, ...]] = {}  # by name, what a camera was begun with
        self.rings: dict[str, Ring] = {}
        self.places: dict[str, Path] = {}
        self.tried: Counter[str] = Counter()  # by alarm, how often a clip of it was begun
        self.gaps: dict[str, deque[Gap]] = {}  # by name, what is missing of late
        self.unseen: dict[str, float] = {}  # by name, since when nobody watched it, until somebody does
        self.swept, self.steady = -SWEEP, Steady()
        self.rows: list[CameraRow] = []  # as the last turn found them
        self.faults: dict[str, str] = {}  # by name, why a camera cannot be begun
        self.raising = self._raising()
        self.watch = Watch(
            analyzer, on_score=lambda scored: self.raising.on_score(scored), on_state=self._state, on_picture=self._picture,
            on_gap=self._gap, on_file=self._file,
            rules=Rules(networks(allow)), clock=self.clock,
        )  # fmt: skip

    def run(self, stop: threading.Event) -> None:
        """Until it is stopped, while this is the process that watches. Raises what ended the scoring."""
        while not stop.is_set() and not self._ours():
            self.clock.wait(stop, TURN)
        if stop.is_set():
            return
        self.raising = self._raising()  # with the alarms that whoever watched before left open
        for stray in (self.library.folder / "live").glob(f"*/{PART}*"):  # whoever watched before was killed
            shutil.rmtree(stray, ignore_errors=True)
        with self._keeping(), self.watch:
            while not stop.is_set():
                if self.watch.failed is not None:
                    raise self.watch.failed
                try:
                    self.turn()
                    if not self.library.watching(self.name):  # this machine slept, and another took over
                        break
                except VladError as error:  # the library is away for a moment: cameras are watched on
                    log.warning("%s", error)
                self.clock.wait(stop, TURN)
            for name in list(self.known):
                self._end(name)
        self.raising.close()
        with suppress(VladError):
            self.library.watched_no_more(self.name)

    def _raising(self) -> Raising:
        s = self.analyzer.settings
        return Raising(
            self.library,
            f"{s.encoder} {s.scorer} {s.scorer_weights}".strip(),
            picture=self.pictures.get,
            now=self.clock.now,
        )

    def _ours(self) -> bool:
        try:
            return self.library.watching(self.name)
        except VladError as error:
            log.warning("%s", error)
            return False

    def turn(self) -> None:
        """What is due: cameras that came, changed and went, alarms, states. Raises VladError where the library is away."""
        rows = {row.name: row for row in self.library.cameras() if row.on}
        before = max((row.told or 0.0 for row in rows.values()), default=0.0) or None
        self._steady(before)
        for name in set(self.known) - set(rows):
            self._end(name)
        for name, row in rows.items():
            self._begin(name, row)
        if self.clock.ticks() - self.swept > SWEEP:
            self.swept = self.clock.ticks()
            self._sweep()
        self.raising.turn()
        self.library.tell_cameras({name: self._told(name) for name in rows})
        self.rows = list(rows.values())

    def _steady(self, before: float | None = None) -> bool:
        """Whether the clock can be believed, see `Steady`."""
        return self.steady.look(self.clock.now(), self.clock.ticks(), before)

    def _sweep(self) -> None:
        """What cameras that were removed showed is forgotten; of those that are off what is over their hours."""
        rows = {row.id: row for row in self.library.cameras()}
        folder = self.library.folder / "live"
        for own in folder.iterdir() if folder.is_dir() else ():
            row = rows.get(own.name)
            with suppress(OSError, VladError):
                if row is None:
                    shutil.rmtree(own)
                elif not row.on:
                    Ring(
                        own / "ring",
                        hours=settings_of(row, "hours", HOURS),
                        most=int(settings_of(row, "gib", GIB) * (1 << 30)),
                        now=self.clock.now,
                        steady=self._steady,
                    ).forget()

    def _begin(self, name: str, row: CameraRow) -> None:
        """Watch a camera, anew where it is another than before. What keeps it from that is told as its state, and tried again; the others go on."""
        try:
            access = self.library.camera_access(row.id)
            hours, gib = settings_of(row, "hours", HOURS), settings_of(row, "gib", GIB)
            zone = str(row.settings.get("clock", ""))
            wanted = (row.id, row.url, row.sub_url, access, hours, gib, zone)
            if self.known.get(name) == wanted:
                return
            self._end(name)
            self._remember(row)
            self.known[name] = wanted
            folder = place_of(self.library, row.id)
            folder.mkdir(parents=True, exist_ok=True)
            main = address_of(row.url, access, access.query)
            sub = address_of(row.sub_url, access, access.sub_query) if row.sub_url else None
            ring = (
                Ring(
                    folder / "ring",
                    hours=hours,
                    most=int(gib * (1 << 30)),
                    now=self.clock.now,
                    steady=self._steady,
                )
                if hours and gib
                else None
            )
            self.places[name] = folder
            if ring is not None:
                self.rings[name] = ring
            self.watch.add(Camera(name, main, sub, ring, zone, folder / "read"))
        except (VladError, OSError) as error:
            self._end(name)
            self.faults[name] = str(error)

    def _remember(self, row: CameraRow) -> None:
        """What whoever watched before told of a camera."""
        told = row.state or {}
        self.gaps[row.name] = deque((Gap(row.name, *gap) for gap in told.get("gaps", ())), maxlen=GAPS)
        if told.get("seen") and not Path(row.url).is_dir():  # a recorder's files are read afterwards
            self.unseen[row.name] = told["seen"]

    def _end(self, name: str) -> None:
        if self.known.pop(name, None) is not None:
            self.watch.remove(name)
        for kept in (self.rings, self.places, self.pictures, self.states, self.faults, self.gaps, self.unseen):
            kept.pop(name, None)

    def _state(self, state: State) -> None:
        # the stream that is only recorded speaks up where something is wrong with it
        if not state.kept or state.state in ("lost", "refused") or state.why:
            self.states[state.camera] = state
            if state.state in ("on", "slow") and state.camera in self.unseen:
                self._gap(Gap(state.camera, self.unseen.pop(state.camera), self.clock.now(), "nobody watched"))

    def _gap(self, gap: Gap) -> None:
        self.gaps.setdefault(gap.camera, deque(maxlen=GAPS)).append(gap)

    def _told(self, name: str) -> dict[str, Any]:
        """A camera's state, as the library keeps it."""
        gaps = [[round(g.start, 3), round(g.end, 3), g.why] for g in self.gaps.get(name, ())]
        kept = {"gaps": gaps, "seen": self.unseen.get(name) or round(self.raising.seen(name), 3)}
        if name in self.faults:
            return {"state": "refused", "why": self.faults[name], **kept}
        state = self.states.get(name)
        if state is None:
            return {"state": "connecting", "why": "", **kept}
        told = {k: v for k, v in asdict(state).items() if k != "camera"}
        plain = {k: round(v, 3) if isinstance(v, float) else v for k, v in told.items()}
        return {**plain, "passed": self.raising.passed(name), **kept}

    def _picture(self, name: str, moment: float, data: bytes) -> None:
        self.pictures[name] = data
        folder = self.places.get(name)
        if folder is not None:
            part = folder / "picture.part"
            with suppress(OSError):  # of a full disk: the next one may fit
                part.write_bytes(data)
                os.replace(part, folder / "picture.jpg")

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Clips by a thread of their own: a long one takes its time, and cameras and alarms are looked after meanwhile."""
        over = threading.Event()
        thread = threading.Thread(target=self._keep_all, args=(over,), daemon=True, name="clips")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=ENDED)

    def _keep_all(self, over: threading.Event) -> None:
        while not self.clock.wait(over, TURN):
            for row in self.rows:
                try:
                    self._keep(row)
                except VladError as error:  # the library is away for a moment
                    log.warning("%s", error)
                except Exception:  # a bug costs one camera's clips
                    log.exception("clips of %s", row.name)
                if over.is_set():
                    return

    def _keep(self, row: CameraRow) -> None:
        """A clip of each alarm that ended, once what comes after it is there, or was waited for long enough."""
        ring = self.rings.get(row.name)
        if ring is None:
            return
        before, after = settings_of(row, "before", AFTER), settings_of(row, "after", AFTER)
        now = self.clock.now()
        for alarm in self.library.alarms_to_keep(row.name, now - LATE, now - after):
            if self.tried[alarm.id] >= TRIES:
                continue
            start = alarm.start - before
            end = min(alarm.end + after, start + LONGEST)
            if now < end + PATIENCE and not ring.fragments(end, now):
                continue
            self.tried[alarm.id] += 1
            with self._taken(ring, start, end) as pieces:
                for path in pieces[:PIECES]:
                    self._clip(row, alarm, path, start)

    @contextmanager
    def _taken(self, ring: Ring, start: float, end: float) -> Iterator[list[Path]]:
        """Files of a span: what is whole of it, the longest recording first."""
        folder = Path(tempfile.mkdtemp(dir=ring.folder.parent, prefix=PART))
        try:
            pieces = ring.piece(start, end, folder)
            yield [path for path, a, b in sorted(pieces, key=lambda p: p[1] - p[2])]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _clip(self, row: CameraRow, alarm: AlarmRow, path: Path, start: float) -> None:
        """Into the library, to be analysed and explained as any other clip is; what cannot be read costs itself."""
        zone = str(row.settings.get("clock", ""))
        began = max(start, int(path.stem) / 1000)
        try:
            made = path.with_name("plain.mp4")
            plain(path, made, self.analyzer.settings)
            name = f"{row.name}_{at(began, zone_of(zone) or datetime.now().astimezone().tzinfo):%Y-%m-%d_%H-%M-%S}.mp4"
            with open(made, "rb") as file:
                video = self._upload(row, name, file, began)
            if not self.library.alarm(alarm.id).video_id:
                self.library.alarm_kept(alarm.id, video)
        except (VladError, OSError) as error:
            log.warning("clip of an alarm of %s: %s", row.name, error)

    def _file(self, name: str, dropped: Recording, start: float, end: float) -> None:
        """A recorder's file becomes a clip as it is, and that of the alarms within it, unless the camera is told to keep nothing. Raises VladError, OSError."""
        row = self.library.camera_named(name)
        if not settings_of(row, "hours", HOURS):
            return
        with dropped.opened() as file:
            size = os.fstat(file.fileno()).st_size
            video = self.library.clip_named(row.name, dropped.name, size)  # of before a stop
            if not video:
                video = self._upload(row, dropped.name, file, None if dropped.began is not None else start)
        for alarm in self.library.alarms_within(row.name, start, end):
            self.library.alarm_kept(alarm.id, video)

    def _upload(self, row: CameraRow, name: str, file: BinaryIO, began: float | None) -> str:
        """A clip of a camera, to be analysed and explained as any other is; its id. began: None where its name tells. Raises VladError, OSError."""
        user, size = self.library.watcher(), os.fstat(file.fileno()).st_size
        begun, place = self.library.begin_upload(user, name, size, row.name), 0
        try:
            while piece := file.read(min(PIECE, size - place)):  # what is added meanwhile is none of it
                self.library.append(user, begun.id, place, piece)
                place += len(piece)
            zone = str(row.settings.get("clock", ""))
            recorded = None if began is None else round(began, 3)
            video, _ = self.library.finish_upload(user, begun.id, recorded=recorded, zone=zone)
        except (VladError, OSError):  # nobody goes on with it, and there may be so many only
            with suppress(VladError, OSError):
                self.library.drop_upload(user, begun.id)
            raise
        return video.id


def main() -> int:
    """One process; ends on SIGTERM, and when the process that started it is gone."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    told = json.load(sys.stdin)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's own Ctrl-C tells it
    threading.Thread(target=_outlive, args=(told["server"], stop), daemon=True).start()
    library = Library(told["library"], told["place"], Path(told["copies"]))
    settings = make_settings(**{**told.get("settings", {}), "explain": False, "cache": None})
    Watcher(library, Analyzer(settings), name=told["name"], allow=tuple(told.get("allow", ()))).run(stop)
    return 0


def _outlive(server: int, stop: threading.Event) -> None:
    """End where the server is gone."""
    while os.getppid() == server:
        time.sleep(1.0)
    stop.set()
    time.sleep(20.0)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
