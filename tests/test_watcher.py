"""The process that watches a library's cameras: real RTSP servers, a real library; alarms, clips of them, states, and what happens when it dies."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import Person, client
from vlad.app.worker import Worker
from vlad.eval.cameras import camera_clip, has_rtsp, http, rtsp, sends_ts, ts_frames

from vlad.clock import FIRST
from vlad.config import make_settings
from vlad.library import Library
from vlad.library.tables import CameraRow
from vlad.live import ring as ring_room
from vlad.live.watcher import Watcher, place_of
from vlad.pipeline import Analyzer
from vlad.sim import simulate, write_video
from vlad.video import frames_at

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not has_rtsp(), reason="no GStreamer RTSP server here: not run")]
LOCAL = ("127.0.0.1/32",)
QUICK = {"threshold": 0.5, "hold": 0, "before": 3, "after": 2, "merge": 3, "cool": 3}


@pytest.fixture(scope="module")
def fight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calm scene with one fight in it, as a camera sends it."""
    folder = tmp_path_factory.mktemp("fight")
    write_video(simulate(150_001, duration=20.0, events=("fighting",)), folder / "scene.mp4")
    return camera_clip(folder / "scene.mp4", folder / "camera.mp4")


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(make_settings(explain=False, cache=None))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def running(library: Library, analyzer: Analyzer) -> Iterator[Callable[[str], Watcher]]:
    """Starts watchers in threads; all end with the test."""
    begun: list[tuple[threading.Event, threading.Thread]] = []

    def start(name: str) -> Watcher:
        watcher, stop = Watcher(library, analyzer, name=name, allow=LOCAL), threading.Event()
        thread = threading.Thread(target=watcher.run, args=(stop,))
        thread.start()
        begun.append((stop, thread))
        return watcher

    yield start
    for stop, thread in begun:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def until(look: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `look` gives, once it is something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "not within time"
        time.sleep(0.2)
    return found


def camera(library: Library, url: str, name: str = "door", **more: Any) -> str:
    return library.save_camera(library.local_user(), {"name": name, "url": url, "settings": QUICK, **more}).id


def state(library: Library, name: str = "door") -> dict[str, Any]:
    return library.camera_named(name).state or {}


def test_an_event_is_one_alarm_with_a_clip_that_is_analysed(library: Library, running: Callable[[str], Watcher], fight: Path) -> None:  # fmt: skip
    with rtsp({"/door": fight}, user="ann", password="s3cret pass") as port:
        camera_id = camera(library, f"rtsp://127.0.0.1:{port}/door", user="ann", password="s3cret pass")
        running("one")
        until(lambda: state(library).get("state") == "on")
        (alarm,) = until(lambda: library.alarms())
        assert alarm.peak >= 0.5
        assert alarm.latency["score"] < 3
        assert library.alarm_picture(alarm.id) is not None
        video = until(lambda: library.alarm(alarm.id).video_id)
    assert [a.id for a in library.alarms() if a.start < alarm.end] == [
        alarm.id
    ]  # one event; the camera shows it again after a while
    row = library.listed([video])[video].video
    assert (row.camera, row.name.startswith("door_20")) == ("door", True)
    kept = library.alarm(alarm.id)
    assert row.recorded is not None
    assert FIRST < row.recorded <= kept.start + 1
    assert (place_of(library, camera_id) / "picture.jpg").stat().st_size > 1000
    Worker(library, make_settings(explain=False)).once()
    listed = library.listed([video])[video]
    assert listed.found is not None
    assert listed.video.duration is not None
    assert listed.video.duration >= kept.end - kept.start + 3
    assert len(frames_at(library.clip(video), [0.0, 2.0], make_settings(), size=120)) == 2
    assert library.track(video).scores.max() > 0.5
    assert "s3cret" not in json.dumps([r.detail for r in library.audit_rows(count=100)])


def test_of_an_alarm_whose_connection_broke_every_recording_is_a_clip(library: Library, running: Callable[[str], Watcher], fight: Path) -> None:  # fmt: skip
    frames, asked, over = ts_frames(fight), [0], threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked[0] += 1
        if asked[0] > 2:
            over.wait(120)
        else:
            sends_ts(frames[: len(frames) // asked[0]])(request)

    with http(answer) as port:
        camera(library, f"http://127.0.0.1:{port}/", settings={**QUICK, "merge": 20, "cool": 60})
        running("one")
        (alarm,) = until(lambda: [a for a in library.alarms() if a.video_id], 180)
        clips = until(lambda: found if len(found := library.videos()) == 2 else None)
        over.set()
    assert alarm.video_id == max(clips, key=lambda c: c.size).id
    assert {c.camera for c in clips} == {"door"}


def test_while_nothing_can_be_written_it_is_told_and_recording_goes_on_afterwards(library: Library, running: Callable[[str], Watcher], fight: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    written, full = ring_room._write, threading.Event()

    def write(path: Path, data: bytes) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        written(path, data)

    monkeypatch.setattr(ring_room, "_write", write)
    full.set()
    with rtsp({"/door": fight}) as port:
        camera_id = camera(library, f"rtsp://127.0.0.1:{port}/door")
        running("one")
        until(
            lambda: (
                "not recorded: its ring: cannot be written (No space left on device)" in state(library).get("why", "")
            )
        )
        assert not list((place_of(library, camera_id) / "ring").rglob("*.m4s"))
        time.sleep(5)  # of fragments
        full.clear()
        until(lambda: list((place_of(library, camera_id) / "ring").rglob("*.m4s")))
        until(lambda: "not recorded" not in state(library)["why"])
        until(lambda: "not recorded" in [g[2] for g in state(library)["gaps"]])


def test_what_a_recorder_drops_becomes_clips_and_those_of_its_alarms(library: Library, running: Callable[[str], Watcher], fight: Path, tmp_path: Path) -> None:  # fmt: skip
    (drops := tmp_path / "drops").mkdir()
    camera(library, str(drops), settings={**QUICK, "clock": "+02:00"})
    running("one")
    until(lambda: state(library).get("state") == "on")
    (day := drops / "2024-05-06").mkdir()
    shutil.copyfile(fight, day / "07-08-09.mp4")
    (day / "07-10-00.mp4").write_bytes(b"no video" * 1000)
    (alarm,) = until(lambda: [a for a in library.alarms() if a.video_id and a.ended])
    began = datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC).timestamp()
    assert began <= alarm.start < alarm.end <= began + 25
    assert library.alarm_picture(alarm.id) is not None
    broken, clip = until(lambda: found if len(found := library.videos()) == 2 else None)
    assert (clip.id, clip.camera, clip.name, clip.recorded) == (
        alarm.video_id,
        "door",
        "2024-05-06_07-08-09.mp4",
        began,
    )
    assert library.clip(clip.id).read_bytes() == fight.read_bytes()
    assert state(library)["why"].startswith("2024-05-06_07-10-00.mp4: not a video")  # and not where on this machine
    assert broken.name == "2024-05-06_07-10-00.mp4"  # nobody is kept from seeing that it is broken
    assert state(library)["delay"] == 0


def test_what_is_dropped_while_nobody_watches_is_read_afterwards_and_nothing_comes_twice(library: Library, analyzer: Analyzer, fight: Path, tmp_path: Path) -> None:  # fmt: skip
    (drops := tmp_path / "drops").mkdir()
    camera(library, str(drops))

    def watched(done: Callable[[], Any]) -> None:
        watcher, stop = Watcher(library, analyzer, name="one", allow=LOCAL), threading.Event()
        thread = threading.Thread(target=watcher.run, args=(stop,))
        thread.start()
        try:
            until(done)
        finally:
            stop.set()
            thread.join(60)

    watched(lambda: state(library).get("state") == "on")
    shutil.copyfile(fight, drops / "door_20240506_070809.mp4")
    watched(lambda: [a for a in library.alarms() if a.video_id])
    (mark,) = (library.folder / "live").glob("*/read")
    mark.write_text("0.0")  # it was killed before it noted how far it was
    watched(lambda: float(mark.read_text()) > 1)
    assert len(library.alarms()) == len(library.videos()) == 1


def test_two_watchers_are_one_and_the_second_goes_on_when_the_first_ends(library: Library, running: Callable[[str], Watcher], fight: Path, tmp_path: Path) -> None:  # fmt: skip
    with rtsp({"/door": fight}) as port:
        camera(library, f"rtsp://127.0.0.1:{port}/door")
        told = {"library": str(tmp_path / "library"), "place": str(tmp_path / "library"), "copies": str(tmp_path / "library"),
                "settings": {}, "name": "first", "server": os.getpid(), "allow": list(LOCAL)}  # fmt: skip
        first = subprocess.Popen([sys.executable, "-m", "vlad.live.watcher"], stdin=subprocess.PIPE)
        assert first.stdin is not None
        first.stdin.write(json.dumps(told).encode())
        first.stdin.close()
        until(lambda: state(library).get("state") == "on")
        second = running("second")
        time.sleep(3)
        assert second.known == {}  # waits
        (alarm,) = until(lambda: library.alarms())
        first.kill()
        first.wait()
        until(lambda: second.known, 40)
        ((start, end, _),) = until(lambda: [g for g in state(library).get("gaps", []) if g[2] == "nobody watched"])
        assert 5 < end - start < 60
        until(lambda: library.alarm(alarm.id).ended, 60)
        video = until(lambda: library.alarm(alarm.id).video_id, 60)
    assert [a.id for a in library.alarms() if a.start <= library.alarm(alarm.id).end] == [alarm.id]
    assert library.listed([video])


def test_a_camera_that_is_away_wrong_or_gone_costs_itself(library: Library, running: Callable[[str], Watcher], fight: Path) -> None:  # fmt: skip
    with rtsp({"/door": fight}, user="ann", password="right") as port:
        camera(library, f"rtsp://127.0.0.1:{port}/door", user="ann", password="guessed")
        camera(library, "rtsp://169.254.169.254/latest/meta-data", "cloud")
        camera(library, f"rtsp://127.0.0.1:{port}/door", "yard", user="ann", password="right")
        watcher = running("one")
        until(lambda: state(library, "yard").get("state") == "on")
        until(lambda: state(library).get("state") == "refused")
        until(lambda: state(library, "cloud").get("state") == "refused")
        assert "guessed" not in str(state(library))
        row = library.camera_named("yard")
        folder = place_of(library, row.id)
        until(lambda: list((folder / "ring").rglob("*.m4s")))
        library.remove_camera(library.local_user(), row.id)
        until(lambda: "yard" not in watcher.known)
        watcher.swept = -1e9
        until(lambda: not folder.exists())
        library.save_camera(library.local_user(), {"user": "ann", "password": "right"}, library.camera_named("door").id)
        until(lambda: state(library).get("state") == "on")


def test_a_camera_whose_password_cannot_be_read_costs_itself_and_is_tried_again(library: Library, running: Callable[[str], Watcher], fight: Path) -> None:  # fmt: skip
    with rtsp({"/door": fight}, user="ann", password="right") as port:
        camera(
            library, f"rtsp://127.0.0.1:{port}/door", "a-first", user="ann", password="right"
        )  # before the other one in every list
        camera(library, f"rtsp://127.0.0.1:{port}/door", "yard", user="ann", password="right")
        with library.write() as session:  # behind the library's back, so that its secret is not for it
            row = session.query(CameraRow).filter(CameraRow.name == "a-first").one()
            url, row.url = row.url, "rtsp://127.0.0.2/door"
        running("one")
        until(lambda: state(library, "yard").get("state") == "on")
        until(lambda: state(library, "a-first").get("state") == "refused")
        with library.write() as session:
            session.query(CameraRow).filter(CameraRow.name == "a-first").one().url = url
        until(lambda: state(library, "a-first").get("state") == "on")


def test_live_view_is_for_who_sees_the_camera_and_closed_where_people_are_covered(library: Library, running: Callable[[str], Watcher], fight: Path) -> None:  # fmt: skip
    app = TestClient(client(library, local=False).app, base_url="http://localhost", client=("127.0.0.1", 50000))
    root, ann, bob = Person(app, library, "root", "admin"), Person(app, library, "ann"), Person(app, library, "bob")
    root.ask("PUT", "/groups", {"name": "front", "cameras": ["door"], "members": ["ann"]})
    with rtsp({"/door": fight}) as port:
        one = camera(library, f"rtsp://127.0.0.1:{port}/door")
        running("one")
        ring = place_of(library, one) / "ring"
        until(lambda: len(list(ring.rglob("*.m4s"))) > 2)

        def get(person: Person, path: str) -> Any:
            return app.get(f"/api/cameras/{one}/{path}", headers=person.headers)

        begun = time.time() - 60
        told = get(ann, f"live.m3u8?since={begun}")
        assert told.status_code == 200
        parts = [line for line in told.text.splitlines() if line.startswith("live/")]
        assert len(parts) > 2
        assert get(ann, parts[0]).content[4:8] in (b"moof", b"styp")
        head = next(line.split('"')[1] for line in told.text.splitlines() if "EXT-X-MAP" in line)
        assert get(ann, head).content[4:8] == b"ftyp"
        assert get(ann, "picture").headers["content-type"] == "image/jpeg"
        for path in (f"live.m3u8?since={begun}", parts[0], head, "picture", "scores"):
            assert get(bob, path).status_code in (403, 404), path
        for wrong in ("live/../library.sqlite", "live/0/header.mp4", "live/1/%2e%2e", f"live/{'9' * 17}/header.mp4"):
            assert get(ann, wrong).status_code in (404, 422), wrong
        library.set_privacy(root.user, "people", "mosaic")
        for path in (f"live.m3u8?since={begun}", parts[0], head, "picture"):
            assert get(root, path).status_code == 409, path
    viewed = [(r.user, r.target) for r in library.audit_rows(count=200) if r.action == "camera viewed"]
    assert viewed == [("ann", one)]
