"""What the tests of the page share: a server of a library, a page that reports every fault, and libraries made without models."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import insert

from vlad.library import Library
from vlad.library.tables import SegmentRow, new_id
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Track, Video

if TYPE_CHECKING:
    from playwright.sync_api import Page

PASSWORD = "correct horse battery"
ROOMS = ("analyse", "wall", "alarms", "review", "day", "places", "covers", "search", "evidence", "prompts", "settings")
Open = Callable[..., "Page"]
AXE = Path(__file__).parent.parent / "node_modules" / "axe-core" / "axe.min.js"
NOW = "document.querySelector('video').currentTime"


@contextmanager
def serving(folder: Path, *, workers: int = 0, host: str = "127.0.0.1", more: Sequence[str] = ()) -> Iterator[str]:
    """A server on a library folder; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vlad", "app", "--library", str(folder), "--host", host, "--port", str(port), "--workers", str(workers), *more,
    ]  # fmt: skip
    with open(folder.with_suffix(".log"), "wb") as told, subprocess.Popen(command, stdout=told, stderr=told) as process:
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).read()
                    break
                except OSError:
                    assert process.poll() is None, folder.with_suffix(".log").read_text()
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def room(page: "Page", name: str) -> None:
    """To a room, by its link."""
    page.click(f"#room-{name}-button")
    page.wait_for_selector(f"#room-{name} section > .vlad")


def faults_of(page: "Page") -> list[str]:
    """What axe finds in the page as it is."""
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [f"{v['id']}: {n['target']} {n['failureSummary'][:200]}" for v in found["violations"] for n in v["nodes"]]


def until(check: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for what comes in its own time; a busy machine takes longer, and is not wrong for it."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.05)


def at_rest(page: "Page") -> float:
    """Where the clip is once no seek has moved it for two seconds."""
    last, since = -1.0, time.monotonic()

    def still() -> bool:
        nonlocal last, since
        now = page.evaluate(NOW)
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 2

    until(still)
    return last


def ask(address: str, path: str, body: Any = None, method: str = "") -> Any:
    """JSON of /api, as the local user."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{address}/api{path}", data, {"Content-Type": "application/json"}, method=method or ("POST" if data else "GET")
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def segments(address: str, **query: str) -> list[dict[str, Any]]:
    """The queue, highest peaks first."""
    wanted = "&".join(f"{k}={v}" for k, v in query.items())
    found: list[dict[str, Any]] = ask(address, f"/segments?count=500&{wanted}")["segments"]
    return found


def said_of(span: Segment) -> Explanation:
    """An explanation in which everything agrees."""
    return Explanation(
        span, "anomaly", f"This appears to show {span.label}.", {"what": f"{span.label}: two people", "who": "two people"},
        (span.start,), "explain@1", "nano", "{}", 0.9,
    )  # fmt: skip


def add_clip(
    library: Library, clip: Path, spans: Sequence[Segment], *, name: str = "clip.mp4", camera: str = "", explained: bool = True,
    duration: float = 20.0, user: Any = None, tracks: Sequence[Track] = (),
) -> tuple[str, list[str]]:  # fmt: skip
    """A real clip with an analysis as a worker would have kept it, made without models; its id and those of its segments."""
    user, data = user or library.local_user(), clip.read_bytes()
    upload = library.begin_upload(user, name, len(data), camera)
    library.append(user, upload.id, 0, data)
    video, job = library.finish_upload(user, upload.id)
    library.claim("nobody")
    facts = Video("a", "0" * 64, duration, 15.0, 320, 240, "h264")
    track = ScoreTrack(np.full(40, 0.3, np.float32), np.linspace(0, duration, 41))
    told = tuple(said_of(s) for s in spans) if explained else ()
    ids = library.keep(
        video.id, Analysis(facts, track, tuple(spans), told, {"settings": {"enter": 0.5}}, tracks=tuple(tracks))
    )
    library.finish(job.id, "nobody")
    return video.id, ids


def many_segments(library: Library, videos: Sequence[str], count: int = 100_000) -> None:
    """So many explained segments over some clips: three in five open, one confirmed, one dismissed."""
    said = {"text": "x" * 300, "raw": "y" * 500, "verdict": "anomaly", "fields": {}}
    rows = [
        {"id": new_id(), "video_id": videos[i % len(videos)], "start": 1.0, "end": 2.0, "peak": float(p), "peak_time": 1.5, "said": "z" * 80,
         "explanation": said, "status": ("open", "open", "open", "confirmed", "dismissed")[i % 5], "label": "fighting"}
        for i, p in enumerate(np.random.default_rng(0).random(count))
    ]  # fmt: skip
    with library.write() as session:
        session.execute(insert(SegmentRow), rows)


def spans(count: int, *, length: float = 20.0, label: str = "fighting") -> tuple[Segment, ...]:
    """So many segments side by side, with falling peaks."""
    each = length / count
    return tuple(
        Segment(i * each, i * each + each * 0.8, 0.95 - 0.3 * i / count, i * each + each * 0.4, label)
        for i in range(count)
    )


def sign_in(page: "Page", name: str, password: str = PASSWORD) -> None:
    """On the page to sign in."""
    page.fill("[name=name]", name)
    page.fill("[name=password]", password)
    page.click("form button")
