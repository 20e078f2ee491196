"""Workers: scores before words, a heartbeat, what is cancelled stops, what kills its worker is given up, and no clip is lost or taken twice."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from vlad.app import sheets
from vlad.app import worker as workers
from vlad.app.worker import Worker

from vlad.config import make_settings
from vlad.errors import VideoError
from vlad.explainers.explain import PromptedExplainer
from vlad.library import Library
from vlad.library.tables import Job, User
from vlad.prompting import load_prompt
from vlad.types import Analysis, Explanation, Features, ScoreTrack, Segment, Video
from vlad.video import cut

SEGMENTS = (Segment(1.0, 3.0, 0.7, 2.0, "fighting"), Segment(6.0, 8.0, 0.9, 7.0, "arson"))


class Line:
    """Stands in for an Analyzer: a step at a time, and what happens at each is up to the test."""

    class encoder:
        name, parts = "e@1", (4, 1)

    scorer = explainer = cache = None

    def __init__(self, on: Callable[[str], None] = lambda step: None, **changes: Any) -> None:
        self.on, self.settings = on, make_settings(**changes)

    def features(self, path: Path, *, on_progress: Any) -> Any:
        self.on("features")
        for done in (1.0, 2.0):
            on_progress("features", done, 2.0)
        return (
            Features(np.ones((10, 5), np.float32), np.arange(11.0), "e@1"),
            Video(str(path), "0" * 64, 10.0, 15.0, 8, 8, "h264"),
            ["1 gap"],
        )

    def flagged(self, features: Features, video: Video, warnings: Any) -> Analysis:
        self.on("flagged")
        return Analysis(
            video, ScoreTrack(np.full(10, 0.5, np.float32), features.edges), SEGMENTS, (), {"warnings": warnings}
        )

    def explain(self, video: Video, track: ScoreTrack, segments: Any, shown: str = "") -> Any:
        self.on(f"explain {segments[0].label}")
        return (
            Explanation(segments[0], "anomaly", f"It appears to be {segments[0].label}.", {}, (1.0,), "explain@1", "m"),
        )


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def user(library: Library) -> User:
    return library.local_user()


def queue(library: Library, user: User, name: str = "a.mp4", data: bytes = b"x", **settings: Any) -> str:
    upload = library.begin_upload(user, name, len(data))
    library.append(user, upload.id, 0, data)
    return library.finish_upload(user, upload.id, settings)[0].id


def job_of(library: Library, video: str) -> Job:
    with library.read() as session:
        return session.query(Job).filter(Job.video_id == video).order_by(Job.created.desc()).first()  # type: ignore[return-value]


def work(library: Library, line: Any) -> Worker:
    return Worker(library, line.settings, analyzer=line)


def test_scores_are_there_before_words_and_the_highest_peak_is_told_first(library: Library, user: User) -> None:
    seen: list[tuple[str, int, int]] = []

    def on(step: str) -> None:
        rows, total = library.segments(by="start")
        seen.append((step, total, sum(r.explanation is not None for r in rows)))

    video = queue(library, user)
    assert work(library, Line(on)).once()
    assert seen == [("features", 0, 0), ("flagged", 0, 0), ("explain arson", 2, 0), ("explain fighting", 2, 1)]
    rows, _ = library.segments(by="start")
    assert [r.explanation and r.explanation["text"] for r in rows] == [
        "It appears to be fighting.",
        "It appears to be arson.",
    ]
    assert job_of(library, video).status == "done"
    np.testing.assert_allclose(
        np.linalg.norm(np.load(library.folder / "embeddings" / f"{video}.npy").astype(float), axis=1), 1, atol=1e-3
    )
    assert not work(library, Line()).once()


def test_a_clip_that_cannot_be_read_fails_with_its_reason_and_without_our_folders(library: Library, user: User) -> None:
    video = queue(library, user)

    def on(step: str) -> None:
        raise VideoError(f"{library.clip(video)}: holds no picture")

    work(library, Line(on)).once()
    job = job_of(library, video)
    assert (job.status, job.error) == ("failed", "a.mp4: holds no picture")  # H16: by its own name


def test_a_bug_fails_the_job_and_not_the_worker(library: Library, user: User) -> None:
    video, other = queue(library, user), queue(library, user)

    def on(step: str) -> None:
        if job_of(library, video).status == "running":
            raise ZeroDivisionError("secret /etc/passwd")

    one = work(library, Line(on))
    assert one.once()
    assert one.once()
    assert job_of(library, video).error == "internal error (ZeroDivisionError); see the server's log"
    assert job_of(library, other).status == "done"


@pytest.mark.parametrize("when", ["features", "explain arson"])
def test_what_is_cancelled_stops(library: Library, user: User, when: str) -> None:
    video, steps = queue(library, user), []

    def on(step: str) -> None:
        steps.append(step)
        if step == when:
            library.cancel(user, job_of(library, video).id)

    work(library, Line(on)).once()
    assert job_of(library, video).status == "cancelled"
    assert steps[-1] == when


def test_a_long_step_still_beats(library: Library, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PULSE", 0.05)
    video = queue(library, user)
    beats: list[float | None] = []

    def on(step: str) -> None:
        if step == "flagged":
            for _ in range(4):
                time.sleep(0.12)
                beats.append(job_of(library, video).heartbeat)

    work(library, Line(on)).once()
    assert len(set(beats)) > 2  # a busy disk may delay one


def test_a_job_has_settings_of_its_own(library: Library, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def fake(settings: Any, **shared: Any) -> Line:
        made.append(settings)
        return Line(explain=settings.explain)

    monkeypatch.setattr(workers, "Analyzer", fake)
    queue(library, user, explain=False, enter=0.7)
    Worker(library, make_settings(), analyzer=Line()).once()  # type: ignore[arg-type]
    assert (made[0].enter, made[0].explain) == (0.7, False)
    assert all(r.explanation is None for r in library.segments()[0])


def test_a_job_with_the_usual_settings_shares_the_loaded_models(
    library: Library, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server sends with every upload loads nothing anew."""
    monkeypatch.setattr(workers, "Analyzer", None)
    video = queue(library, user, explain=True)
    Worker(library, make_settings(), analyzer=Line()).once()  # type: ignore[arg-type]
    assert job_of(library, video).status == "done"


def start(library: Library) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "vlad.app.worker"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    place = str(library.folder)
    told = {"library": str(library.engine.url), "place": place, "copies": place, "settings": {"explain": False}}
    process.stdin.write(json.dumps(told).encode())
    process.stdin.close()
    return process


@pytest.mark.slow
def test_a_hundred_clips_and_workers_killed_in_the_middle(
    library: Library, user: User, clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two real workers, each killed with -9 while it works, others started: every clip is analysed once, none is lost."""
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))
    data = clip.read_bytes()
    videos = [queue(library, user, f"{i}.mp4", data) for i in range(100)]

    def count() -> dict[str, int]:
        with library.read() as session:
            return {
                s: session.query(Job).filter(Job.status == s).count() for s in ("queued", "running", "done", "failed")
            }

    first = [start(library), start(library)]
    while count()["done"] < 10:
        assert all(process.poll() is None for process in first)  # else nobody would come to an end
        time.sleep(0.2)
    for process in first:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    running = count()["running"]
    assert library.revive(silence=-1) == running
    second = [start(library), start(library)]
    end = time.monotonic() + 400
    while count()["done"] < 100 and time.monotonic() < end:
        time.sleep(0.5)
    for process in second:
        process.terminate()
        assert process.wait(60) == 0
    assert count() == {"queued": 0, "running": 0, "done": 100, "failed": 0}
    assert {library.track(v).scores.size for v in videos} == {library.track(videos[0]).scores.size}
    rows, total = library.segments(count=1000)
    per_video = {v: sum(r.video_id == v for r in rows) for v in videos}
    assert len(set(per_video.values())) == 1
    assert total == sum(per_video.values())


@pytest.mark.slow
def test_a_hundred_clips_and_the_server_killed_in_the_middle(
    library: Library, user: User, clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The whole server is killed with -9; its workers end by themselves, and the next server's finish what is left, each clip once."""
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))
    data = cut(clip, 2.0, 5.0, make_settings())
    videos = [queue(library, user, f"{i}.mp4", data) for i in range(100)]

    def done() -> int:
        with library.read() as session:
            return session.query(Job).filter(Job.status == "done").count()

    def serve() -> subprocess.Popen[bytes]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command = [
            sys.executable,
            "-m",
            "vlad",
            "app",
            "--library",
            str(library.folder),
            "--port",
            port,
            "--workers",
            "2",
        ]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    first = serve()
    while done() < 10:
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert done() < 100
    second = serve()
    end = time.monotonic() + 500
    while done() < 100 and time.monotonic() < end:
        time.sleep(0.5)
    second.terminate()
    second.wait(60)
    with library.read() as session:
        jobs = session.query(Job).all()
        assert [j.status for j in jobs] == ["done"] * 100
        assert sorted(j.video_id for j in jobs) == sorted(videos)
    rows, total = library.segments(count=1000)
    assert {sum(r.video_id == v for r in rows) for v in videos} == {total // 100}  # none twice


def test_an_edited_template_counts_from_the_next_segment_on(library: Library, user: User, tmp_path: Path) -> None:
    template = tmp_path / "prompts" / "explain.md"
    template.parent.mkdir()
    template.write_text("---\nname: explain\nvariables: {}\n---\n## user\nWhat is it?\n")
    asked: list[str] = []

    class Templated(Line):
        def explain(self, video: Video, track: ScoreTrack, segments: Any, shown: str = "") -> Any:
            asked.append(self.explainer.prompt.hash)  # type: ignore[attr-defined]
            template.write_text(template.read_text() + f"Look {len(asked)} times.\n")
            return super().explain(video, track, segments)

    line = Templated(prompts=tmp_path / "prompts")
    line.explainer = PromptedExplainer(None, load_prompt("explain", tmp_path / "prompts"), line.settings)  # type: ignore[arg-type, assignment]
    queue(library, user)
    assert work(library, line).once()
    assert len(set(asked)) == 2


def test_a_worker_ends_when_told_to(library: Library) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=work(library, Line()).run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_pictures_and_the_time_of_recording_come_with_the_scores(library: Library, user: User, tmp_path: Path) -> None:
    """H6, H10, H18: a decoder a picture, one picture for 18 seconds, and a time that had to be typed."""
    path = tmp_path / "scene.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.metadata["creation_time"] = "2024-01-31T13:25:30Z"
        for i in range(100):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * i, np.uint8), format="rgb24")
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    video = queue(library, user, "plain.mp4", path.read_bytes())
    assert work(library, Line()).once()
    (row,) = (v for v in library.videos() if v.id == video)
    assert (row.recorded, row.recorded_by) == (1706707530.0, "metadata")
    sheet = sheets.read(library.sheet(video))
    assert sheet is not None
    for segment in SEGMENTS:
        assert sum(segment.start <= t <= segment.end for t in sheet.facts["times"]) >= 3
    library.remove(user, video)
    assert not any((library.folder / "sheets").iterdir())
