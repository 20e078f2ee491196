"""Hours of a camera in minutes: the whole way from stream to receiver by a fake clock, while cables are pulled, the camera restarts and the watcher is killed.

    vlad eval soak [hours=12] [speed=20] [kills=6] [cuts=8] [work=runs/soak]

In: nothing; a still street, a rendered fight after a minute of it, and the street again, five minutes together, sent again and again over HTTP at `speed` times its pace; each end of it is a camera that restarts. Out: a table: events that were sent
while somebody watched and the alarms of them, messages that reached a webhook, gaps told, memory and descriptors of the watcher in its first and its last third. 1 where an alarm is lost
or comes twice. The clock of the watcher and of all that it starts runs `speed` times as fast as the machine's; the outbox sends by the machine's.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.table import Table

from vlad.config import make_settings
from vlad.library import Library
from vlad.live.out import Courier
from vlad.live.watch import Clock
from vlad.live.watcher import Watcher
from vlad.pipeline import Analyzer
from vlad.sim import simulate, write_video

from .cameras import camera_clip, http, ts_frames
from .verb import options_of, show_table

OPTIONS = {"hours": "12", "speed": "20", "kills": "6", "cuts": "8", "work": "runs/soak"}
SCENE, ACTION, LENGTH = 150_001, 20.0, 300.0  # seed; seconds in which something happens, and of all
RATE = 5  # frames a second: a lively scene at 15 costs more than two cores have for 20 of it
LEAD = 60.0  # seconds before it: to connect takes a second of the machine's, which is `speed` of the clock's
BEGAN = 1.79e9  # when the fake clock begins (s since 1970)
HELD = {
    "most_an_hour": 60,
    "threshold": 0.5,
    "hold": 1,
    "cool": 30,
    "merge": 10,
    "before": 5,
    "after": 5,
    "hours": 1,
    "gib": 1,
}
DOWN = 90.0  # seconds for which a cable is out


def clock_of(told: dict[str, float]) -> Clock:
    """The fake clock that runs `speed` times as fast since `zero` of the machine's own (monotonic, so of all its processes)."""
    speed, zero = told["speed"], told["zero"]

    def ticks() -> float:
        return (time.monotonic() - zero) * speed

    return Clock(lambda: BEGAN + ticks(), ticks, speed)


@dataclass
class Sender:
    """A camera that sends the scene to whoever asks, from its beginning. plays: when each began and how much of it was sent, by the fake clock."""

    frames: Sequence[tuple[float, bytes]]
    clock: Clock
    down: threading.Event = field(default_factory=threading.Event)
    plays: list[list[float]] = field(default_factory=list)

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        if self.down.is_set():
            request.close_connection = True
            return
        request.send_response(200)
        request.send_header("Content-Type", "video/mp2t")
        request.end_headers()
        began = self.clock.ticks()
        play = [self.clock.now(), 0.0]
        self.plays.append(play)
        for moment, data in self.frames:
            time.sleep(max(0.0, (began + moment - self.clock.ticks()) / self.clock.speed))
            if self.down.is_set():
                return
            request.wfile.write(data)
            request.wfile.flush()
            play[1] = moment


@contextmanager
def receiver(messages: list[dict[str, Any]]) -> Iterator[int]:
    """A webhook that notes what reaches it; its port."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def watched(told: dict[str, Any]) -> None:
    """The process that is killed: a watcher and the outbox's courier."""
    library = Library(told["library"])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    courier = Courier(library)

    def send() -> None:
        while not stop.wait(0.5):
            courier.turn()

    threading.Thread(target=send, daemon=True).start()
    settings = make_settings(explain=False, cache=None)
    Watcher(library, Analyzer(settings), name="soak", allow=("127.0.0.1/32",), clock=clock_of(told)).run(stop)


def started(told: dict[str, Any]) -> subprocess.Popen[bytes]:
    """It, as a process."""
    return subprocess.Popen([sys.executable, "-m", "vlad.eval.soak", json.dumps(told)])  # noqa: S603 - this very program


@dataclass
class Used:
    """What the watcher held, by the fake clock: resident bytes of it and of its decoders, and open descriptors of it."""

    at: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def look(self, pid: int, now: float) -> None:
        """Once more; a process that is just gone is passed over."""
        try:
            process = psutil.Process(pid)
            memory = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
            files = process.num_fds()
        except psutil.Error:
            return
        self.at.append(now)
        self.memory.append(memory)
        self.files.append(files)

    def growth(self, values: Sequence[int], born: Sequence[float]) -> float:
        """By how much the median is higher at the end of a process's life than at its beginning, as a share, of the longest life."""
        edges = [*born, float("inf")]
        longest = max(range(len(born)), key=lambda i: min(edges[i + 1], self.at[-1]) - edges[i])
        own = [v for v, t in zip(values, self.at, strict=True) if edges[longest] + 300 < t < edges[longest + 1]]
        third = max(1, len(own) // 3)
        return float(np.median(own[-third:]) / np.median(own[:third]) - 1) if own else 0.0


@dataclass
class Went:
    """What happened. born: ticks at which each process began; absent: spans (s since 1970) in which none watched; messages: what reached the webhook; gaps: that were told."""

    used: Used = field(default_factory=Used)
    born: list[float] = field(default_factory=lambda: [0.0])
    absent: list[tuple[float, float]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    gaps: set[tuple[float, float]] = field(default_factory=set)


def lived(library: Library, told: dict[str, Any], sender: Sender, end: float, cuts: list[float], kills: list[float]) -> Went:  # fmt: skip
    """The hours themselves. end, cuts, kills: by the clock's ticks."""
    clock, went, died = sender.clock, Went(), 0.0
    with http(sender) as port, receiver(went.messages) as hook:
        user = library.local_user()
        library.save_camera(user, {"name": "door", "url": f"http://127.0.0.1:{port}/door", "settings": HELD})
        settings = {"allow": ["127.0.0.1/32"], "events": ["raised"]}
        target = {"kind": "webhook", "name": "hook", "address": f"http://127.0.0.1:{hook}/alarms", "secret": "k" * 20}
        library.save_target(user, {**target, "settings": settings})
        process = started(told)
        try:
            while (now := clock.ticks()) < end:
                time.sleep(0.5)
                went.used.look(process.pid, now)
                row = library.camera_named("door")
                went.gaps |= {(a, b) for a, b, _ in (row.state or {}).get("gaps", [])}
                if cuts and now > cuts[0]:
                    cuts.pop(0)
                    sender.down.set()
                    threading.Timer(DOWN / clock.speed, sender.down.clear).start()
                if (kills and now > kills[0]) or process.poll() is not None:
                    kills = kills[1:]
                    process.kill()
                    process.wait()
                    died, process = time.time(), started(told)
                    went.born.append(clock.ticks())
                    went.absent.append((clock.now(), float("inf")))
                back = (row.told or 0) > died and (row.state or {}).get("state") == "on"
                if went.absent and went.absent[-1][1] == float("inf") and back:
                    went.absent[-1] = (went.absent[-1][0], clock.now())
            sender.down.set()
            time.sleep(60 / clock.speed + 5)
        finally:
            process.terminate()
            process.wait(60)
    return went


def main(argv: Sequence[str]) -> int:
    """`vlad eval soak`. Raises SettingsError for options that are not known."""
    options = options_of("soak", argv, OPTIONS)
    work, speed, hours = Path(options["work"]), float(options["speed"]), float(options["hours"])
    work.mkdir(parents=True, exist_ok=True)
    scene, clip = work / "scene.mp4", work / "camera.mp4"
    world = simulate(SCENE, duration=ACTION, events=("fighting",))
    write_video(world, scene)
    camera_clip(scene, clip, rate=RATE, lead=LEAD, still=LENGTH - LEAD - ACTION)
    (fight,) = (e for e in world.events if e.anomalous)
    start, over = LEAD + fight.start, LEAD + fight.end
    shutil.rmtree(work / "library", ignore_errors=True)
    library, rng, end = Library(work / "library"), random.Random(SCENE), hours * 3600  # noqa: S311 - of when things go wrong
    frames = ts_frames(clip)
    told: dict[str, Any] = {"library": str(work / "library"), "speed": speed, "zero": time.monotonic()}
    sender = Sender(frames, clock_of(told))
    cuts, kills = (sorted(rng.uniform(600, end - 600) for _ in range(int(options[name]))) for name in ("cuts", "kills"))
    went = lived(library, told, sender, end, cuts, kills)

    whole = [began for began, sent in sender.plays if sent >= over + 5]
    seen = [b + start for b in whole if not any(a - over - 30 < b + start < z + 30 for a, z in went.absent)]
    alarms = library.alarms(count=1000)
    hits = [sum(s - 15 < a.start < s + over - start + 15 for a in alarms) for s in seen]
    keys = [m["key"] for m in went.messages]
    untold = len({a.id for a in alarms} - {m["alarm"] for m in went.messages})
    twice, kept = len(keys) - len(set(keys)), sum(bool(a.video_id) for a in alarms if a.ended)
    caption = f"{hours:g} h at {speed:g} times; {len(went.born) - 1} kills, {options['cuts']} cut cables, {len(sender.plays)} connections"
    table = Table("measure", "figure", "bar", caption=caption)
    rows = [
        ("events sent while somebody watched, from beginning to end", str(len(seen)), ""),
        ("of these without an alarm; with two", f"{hits.count(0)}; {sum(h > 1 for h in hits)}", "0; 0"),
        ("alarms; of them never told to the receiver; told twice", f"{len(alarms)}; {untold}; {twice}", "0; at most one a kill"),
        ("clips kept of those that ended", f"{kept} of {sum(bool(a.ended) for a in alarms)}", ""),
        ("gaps told", str(len(went.gaps)), f"{len(sender.plays) - 1} reconnections"),
        ("memory at the end of the longest life over its beginning", f"{went.used.growth(went.used.memory, went.born):+.1%}", "flat"),
        ("descriptors likewise", f"{went.used.growth(went.used.files, went.born):+.1%} of {np.median(went.used.files):.0f}", "flat"),
    ]  # fmt: skip
    for line in rows:
        table.add_row(*line)
    known = {
        "rows": rows,
        "hits": hits,
        "plays": sender.plays,
        "alarms": [(a.start, a.end, a.peak) for a in alarms],
        "used": asdict(went.used),
    }
    (work / "soak.json").write_text(json.dumps(known, indent=1) + "\n")
    show_table(table)
    return int(not seen or 0 in hits or any(h > 1 for h in hits) or untold > 0 or twice >= len(went.born))


if __name__ == "__main__":
    watched(json.loads(sys.argv[1]))
    os._exit(0)
