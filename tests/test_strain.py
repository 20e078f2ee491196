"""The figures of the README under strain: damaged clips, huge requests, many reviewers, killed processes, full disks, databases that go away, long runs.

pytest -m slow -s tests/test_strain.py     (each test prints what it measured; quiet cores)
"""

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from browsing import PASSWORD
from mutants import SECONDS, mutants
from postgres import fresh, running
from serving import SEGMENTS, analysed
from sqlalchemy import insert
from vlad.app.worker import Worker

from vlad.config import make_settings
from vlad.errors import InputError
from vlad.library import Library, verify
from vlad.library.backup import backup, restore
from vlad.library.tables import AnalysisRow, Job, SegmentRow, User, Video, new_id
from vlad.video import cut, frames_at, open_video

pytestmark = pytest.mark.slow
MUTANTS, SEED = int(os.environ.get("VLAD_MUTANTS", "200")), int(os.environ.get("VLAD_SEED", "16"))


class Server:
    """`vlad app` as a process of its own, on a free port. log: what it said."""

    def __init__(self, library: str, folder: Path, *, workers: int = 0, env: dict[str, str] | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = folder.with_suffix(".log")
        command = [
            sys.executable,
            "-m",
            "vlad",
            "app",
            "--library",
            library,
            "--folder",
            str(folder),
            "--port",
            str(self.port),
        ]
        with open(self.log, "ab") as told:
            self.process = subprocess.Popen(
                [*command, "--workers", str(workers)], stdout=told, stderr=told, env={**os.environ, **(env or {})}
            )
        wait(lambda: self.health() is not None, 120)

    def health(self) -> dict[str, Any] | None:
        """What /healthz tells, None where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            with error:
                return {"status": error.code}
        except OSError:
            return None

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 120
    ) -> tuple[int, bytes]:
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def workers(self) -> list[int]:
        """Ids of its workers."""
        try:
            return [
                c.pid for c in psutil.Process(self.process.pid).children() if "vlad.app.worker" in " ".join(c.cmdline())
            ]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """-9."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """As Ctrl-C does."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def serving(library: str, folder: Path, **how: Any) -> Iterator[Server]:
    server = Server(library, folder, **how)
    try:
        yield server
    finally:
        server.end()


def wait(until: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


def queue(library: Library, user: User, data: bytes, name: str = "a.mp4") -> str:
    upload = library.begin_upload(user, name, len(data))
    library.append(user, upload.id, 0, data)
    return library.finish_upload(user, upload.id)[0].id


def statuses(library: Library) -> Counter[str]:
    with library.read() as session:
        return Counter(j.status for j in session.query(Job))


# --- damaged clips ----------------------------------------------------------------------------------------------------------


def test_damaged_clips_of_six_codecs(tmp_path: Path) -> None:
    """No hang, crash, traceback or leftover; and no clip that is told as shorter without a word."""
    here, settings = psutil.Process(), make_settings()
    before, temporary = {c.pid for c in here.children(recursive=True)}, set(os.listdir(tempfile.gettempdir()))
    told: Counter[str] = Counter()
    faults, slowest = [], 0.0
    for path in mutants(tmp_path, MUTANTS, SEED):
        began = time.monotonic()
        try:
            with open_video(path, settings, size=64) as clip:
                for _ in clip:
                    pass
                video, warnings = clip.video, clip.warnings
            frames_at(path, [0.0, video.duration / 2], settings, size=64)
            told["read"] += 1
            ends = path.name.endswith("-cut.ts")  # nothing in a transport stream says what came after
            if video.duration < SECONDS - 0.5 and not warnings and not video.gaps and not ends:
                faults.append(f"{path.name}: {video.duration:.2f} s without a word")
        except InputError as error:
            told["refused"] += 1
            if (
                "\n" in str(error)
                or "decoder stopped" in str(error)
                or "nonsense" in str(error)
                or "said nothing" in str(error)
            ):
                faults.append(f"{path.name}: {error}")
        slowest = max(slowest, time.monotonic() - began)
    left = {c.pid for c in here.children(recursive=True)} - before
    new = {name for name in set(os.listdir(tempfile.gettempdir())) - temporary if name.startswith(("vlad", "tmp"))}
    print(
        f"\n{MUTANTS} damaged clips, seed {SEED}: {dict(told)}; slowest {slowest:.1f} s; faults {faults}; processes left {len(left)}"
    )
    assert not faults
    assert not left
    assert not [n for n in new if n.startswith("vlad-nothing")]
    assert slowest < 30
    assert told["read"] > MUTANTS / 4


# --- requests ---------------------------------------------------------------------------------------------------------------


def test_300_mb_before_anybody_signed_in(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    library.add_user("ann", PASSWORD, "admin")
    with serving(str(library.folder), library.folder) as server:
        process, growth, piece = psutil.Process(server.process.pid), [], b"x" * (1 << 20)
        base = process.memory_info().rss
        for path in ("/api/login", "/api/uploads"):
            began, status = time.monotonic(), 0
            with socket.create_connection(("127.0.0.1", server.port), 30) as line:
                line.sendall(
                    f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                )
                try:
                    for _ in range(300):
                        line.sendall(b"100000\r\n" + piece + b"\r\n")
                        growth.append(process.memory_info().rss - base)
                except OSError:
                    pass  # it hung up
                line.settimeout(5)
                try:
                    status = int(line.recv(4096).split()[1])
                except (OSError, IndexError):
                    status = 0  # the answer was lost with the connection
            took = time.monotonic() - began
            print(f"\n{path}: {status or 'hung up'} after {took:.2f} s, {max(growth) / 1e6:.0f} MB more")
            assert status in ((413, 0) if path == "/api/login" else (401, 0))
            assert took < 1.0
        assert server.ask("POST", "/api/login", headers={"Content-Length": str(300 << 20)})[0] == 413
        assert max(growth) < 50e6
        assert (server.health() or {})["status"] == "ok"


def test_spaces_to_lint(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    library.local_user()
    with serving(str(library.folder), library.folder) as server:
        for text in ("<" + " " * 20_000, "---\nname: explain\nvariables: {}\n---\n## user\n<" + " " * 20_000):
            began = time.monotonic()
            status, _ = server.ask("POST", "/api/prompts/explain/lint", {"source": text})
            took = time.monotonic() - began
            print(f"\n20,000 spaces to lint: {status} in {took:.2f} s")
            assert (status, took < 1.0) == (200, True)


def test_sixty_strips_at_once(tmp_path: Path, clip: Path) -> None:
    """Of one reviewer; meanwhile another one looks at a page, and the server at its health."""
    library = Library(tmp_path / "library")
    user, other = library.add_user("ann", PASSWORD, "admin"), library.add_user("bob", PASSWORD)
    video = queue(library, user, clip.read_bytes())
    analysed(library, video)
    keys = [{"Authorization": f"Bearer {library.open_key(u, 600, name='t', scopes=['read'])}"} for u in (user, other)]
    times = "&".join(f"t={t / 4}" for t in range(40))
    with serving(str(library.folder), library.folder) as server:
        server.ask("GET", "/api/videos", headers=keys[1])
        codes: list[int] = []
        threads = [
            threading.Thread(target=lambda: codes.append(server.ask("GET", f"/api/videos/{video}/strip?{times}", headers=keys[0])[0]))
            for _ in range(60)
        ]  # fmt: skip
        for t in threads:
            t.start()
        health, pages = [], []
        while any(t.is_alive() for t in threads):
            began = time.monotonic()
            assert (server.health() or {})["status"] == "ok"
            health.append(time.monotonic() - began)
            began = time.monotonic()
            assert server.ask("GET", "/api/videos", headers=keys[1])[0] == 200
            pages.append(time.monotonic() - began)
        print(
            f"\n60 strips: {dict(Counter(codes))}; health at most {max(health):.2f} s, another's page {max(pages):.2f} s"
        )
    assert set(codes) <= {200, 429, 503}
    assert codes.count(200) >= 2
    assert max(health) < 1.0


def test_fifty_reviewers(tmp_path: Path) -> None:
    """2,000 clips, 100,000 segments, a minute: pages of the queue, ranges of clips, verdicts, about one request a second each."""
    library = Library(tmp_path / "library")
    root = library.add_user("root", PASSWORD, "admin")
    rng, peaks = np.random.default_rng(0), []
    with library.write() as session:
        videos = [new_id() for _ in range(2000)]
        session.execute(insert(Video), [{"id": v, "user_id": root.id, "name": f"{i}.mp4", "camera": f"cam {i % 20}", "size": 100_000, "sha256": "0" * 64,
                                         "duration": 600.0, "facts": {}, "created": time.time() - i} for i, v in enumerate(videos)])  # fmt: skip
        blob = np.zeros(4, "<f4").tobytes()
        session.execute(insert(AnalysisRow), [{"video_id": v, "scores": blob, "edges": np.arange(5.0).tobytes(), "labels": [], "made_by": {}}
                                              for v in videos])  # fmt: skip
        for first in range(0, 100_000, 10_000):
            peaks = rng.random(10_000)
            session.execute(insert(SegmentRow), [{"id": new_id(), "video_id": videos[(first + i) % 2000], "start": float(i % 50) * 10,
                                                  "end": float(i % 50) * 10 + 5, "peak": float(p), "peak_time": float(i % 50) * 10 + 1,
                                                  "label": "fighting", "status": "open"} for i, p in enumerate(peaks)])  # fmt: skip
    for v in videos[:200]:
        library.clip(v).write_bytes(os.urandom(100_000))
    people = []
    for i in range(50):
        user = library.add_user(f"reviewer {i}", PASSWORD)
        people.append({"Authorization": f"Bearer {library.open_key(user, 3600, name='t', scopes=['read', 'write'])}"})
    took: list[float] = []
    codes: Counter[int] = Counter()
    lock, decided = threading.Lock(), []
    with serving(str(library.folder), library.folder) as server:
        end = time.monotonic() + 60

        def review(number: int) -> None:
            mine, rounds = np.random.default_rng(number), 0
            time.sleep(mine.random())
            line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

            def ask(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
                began = time.monotonic()
                line.request(
                    method,
                    path,
                    None if body is None else json.dumps(body),
                    {"Content-Type": "application/json", **people[number], **(headers or {})},
                )
                answer = line.getresponse()
                data = answer.read()
                with lock:
                    took.append(time.monotonic() - began)
                    codes[answer.status] += 1
                return data

            while time.monotonic() < end:
                page = json.loads(
                    ask("GET", f"/api/segments?status=open&count=50&first={int(mine.integers(0, 2000))}")
                )["segments"]
                time.sleep(0.7)
                ask("GET", f"/api/videos/{videos[int(mine.integers(200))]}/media", headers={"Range": "bytes=0-65535"})
                time.sleep(0.7)
                one = page[int(mine.integers(len(page)))]
                ask(
                    "POST",
                    f"/api/segments/{one['id']}/verdict",
                    {"verdict": "confirmed", "reason": f"{number} {rounds}"},
                )
                with lock:
                    decided.append(one["id"])
                time.sleep(0.7)
                rounds += 1
            line.close()

        threads = [threading.Thread(target=review, args=(i,)) for i in range(50)]
        began = time.monotonic()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        lasted = time.monotonic() - began
    p50, p99 = np.percentile(took, [50, 99])
    print(f"\n50 reviewers: {len(took) / lasted:.1f} requests/s, p50 {p50:.2f} s, p99 {p99:.2f} s, {dict(codes)}")
    with library.read() as session:
        assert verify(session)[2] is None
        kept = {s.id for s in session.query(SegmentRow).filter(SegmentRow.status == "confirmed")}
    assert kept == set(decided)
    assert not [c for c in codes if c >= 400]
    if (os.cpu_count() or 1) >= 2 and os.getloadavg()[0] < 4 * (os.cpu_count() or 1):
        assert p99 < 3.0
        assert len(took) / lasted >= 30


# --- it comes back ----------------------------------------------------------------------------------------------------------


def test_150_clips_and_everything_killed(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers; kill -9 of a worker, of the server, of both: none lost, none twice, none failed, all by itself."""
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))
    library = Library(tmp_path / "library")
    user, data = library.local_user(), cut(clip, 2.0, 4.0, make_settings())
    videos = [queue(library, user, data, f"{i}.mp4") for i in range(150)]

    def done() -> int:
        return statuses(library)["done"]

    server = Server(str(library.folder), library.folder, workers=2)
    try:
        for i, (until, what) in enumerate(
            [(8, "worker"), (25, "server"), (45, "both"), (70, "worker"), (90, "server"), (110, "both")]
        ):
            wait(lambda until=until: done() >= until, 400)  # type: ignore[misc]
            pids = server.workers()
            if what != "server":
                os.kill(pids[i % len(pids)], signal.SIGKILL)
            if what == "both":
                for pid in pids:
                    if psutil.pid_exists(pid):
                        os.kill(pid, signal.SIGKILL)
            if what != "worker":
                server.kill()
                server = Server(str(library.folder), library.folder, workers=2)
        wait(lambda: done() == 150, 600)
        state = server.health() or {}
    finally:
        server.end()
    with library.read() as session:
        jobs = session.query(Job).all()
        rows = Counter(s.video_id for s in session.query(SegmentRow))
        told = Counter(j.attempts for j in jobs)
    print(f"\n150 clips, six kills: {dict(statuses(library))}, tries counted {dict(told)}, status {state['status']}")
    assert statuses(library) == Counter(done=150)
    assert sorted(j.video_id for j in jobs) == sorted(videos)
    assert len(set(rows.values())) <= 1
    wait(lambda: not left_of(library.folder), 30)


def left_of(folder: Path) -> list[int]:
    """Processes that know of a folder: by their command line, or by a file of it that they have open, as decoders do."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            if str(folder) in " ".join(process.info["cmdline"] or ()) or any(
                f.path.startswith(str(folder)) for f in process.open_files()
            ):
                found.append(process.pid)
    return [pid for pid in found if pid != os.getpid()]


def test_a_database_that_is_locked_for_40_seconds(tmp_path: Path, clip: Path) -> None:
    """F8: a worker was killed meanwhile, and none was ever started again."""
    library = Library(tmp_path / "library")
    user, data = library.local_user(), cut(clip, 2.0, 4.0, make_settings())
    with serving(str(library.folder), library.folder, workers=1) as server:
        queue(library, user, data)
        wait(lambda: statuses(library)["done"] == 1, 200)
        with sqlite3.connect(library.folder / "library.sqlite", isolation_level=None) as held:
            held.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
            seen = set()
            while time.monotonic() - began < 40:
                seen.add((server.health() or {})["status"])
                time.sleep(2)
            held.execute("ROLLBACK")
        queue(library, user, data, "after.mp4")
        wait(lambda: statuses(library)["done"] == 2, 200)
        wait(lambda: (server.health() or {})["status"] == "ok", 60)
        assert seen - {"ok"}, "nobody was told"
        print(f"\nlocked for 40 s: meanwhile {sorted(map(str, seen))}, afterwards {server.health()}")


def test_a_disk_that_is_full(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of 40 MB: uploads and verdicts are refused in words, nothing is lost, and all goes on once there is room."""
    monkeypatch.setattr("vlad.library.clips.FREE", 0)
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        library = Library(place / "library")
        user = library.add_user("ann", PASSWORD, "admin")
        key = {"Authorization": f"Bearer {library.open_key(user, 3600, name='t', scopes=['read', 'write', 'admin'])}"}
        video = queue(library, user, clip.read_bytes())
        (segment, _) = analysed(library, video, SEGMENTS)
        code = "import vlad.library.clips as c; c.FREE = 0\nfrom vlad.cli import main; main()"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with open(tmp_path / "log", "wb") as told:
            process = subprocess.Popen(
                [sys.executable, "-c", code, "app", "--library", str(library.folder), "--port", str(port), "--workers", "0"], stdout=told, stderr=told,
            )  # fmt: skip
        server = Server.__new__(Server)
        server.port, server.process = port, process
        try:
            wait(lambda: server.health() is not None, 120)
            begun = json.loads(server.ask("POST", "/api/uploads", {"name": "b.mp4", "size": 3_000_000}, key)[1])["id"]
            filler = place / "filler"
            with open(filler, "wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 4096):
                        pass
                except OSError:
                    pass
            put = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/uploads/{begun}?offset=0", b"y" * 3_000_000, key, method="PUT"
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(put, timeout=60)
            refused.value.close()
            status, words = server.ask("POST", f"/api/segments/{segment}/verdict", {"verdict": "confirmed"}, key)
            looks = [
                server.ask("GET", path, headers=key)[0]
                for path in ("/api/videos", "/api/segments", f"/api/videos/{video}/media")
            ]
            print(
                f"\nfull disk: upload {refused.value.code}, verdict {status} {words[:100]!r}, looks {looks}, {server.health()}"
            )
            assert refused.value.code == 503
            assert (server.health() or {})["status"] == "failing: no disk"
            assert status in (201, 503)
            assert all(c in (200, 503) for c in looks)
            filler.unlink()
            assert server.ask("POST", f"/api/segments/{segment}/verdict", {"verdict": "dismissed"}, key)[0] == 201
            with urllib.request.urlopen(put, timeout=60) as answer:
                assert json.load(answer) == {"received": 3_000_000}
            assert server.ask("POST", f"/api/uploads/{begun}/finish", {}, key)[0] == 201
            with library.read() as session:
                assert verify(session)[2] is None
        finally:
            server.end()
        assert b"Traceback" not in (tmp_path / "log").read_bytes()
        library.engine.dispose()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_postgresql_goes_away_and_comes_back(tmp_path: Path, clip: Path) -> None:
    """Stopped in the middle of ten clips: 503 meanwhile, and all by itself afterwards."""
    with running("-strain") as database:
        library = Library(database.url, tmp_path / "library")
        user, data = library.add_user("ann", PASSWORD, "admin"), cut(clip, 2.0, 4.0, make_settings())
        key = {"Authorization": f"Bearer {library.open_key(user, 3600, name='t', scopes=['read'])}"}
        for i in range(10):
            queue(library, user, data, f"{i}.mp4")
        with serving(database.url, library.folder, workers=1) as server:
            wait(lambda: statuses(library)["done"] >= 2, 200)
            database.stop()
            time.sleep(3)
            meanwhile = [
                server.health(),
                server.ask("GET", "/api/me", headers=key)[0],
                server.ask("POST", "/api/login", {"name": "x", "password": "y"})[0],
            ]
            time.sleep(5)
            database.start()
            wait(lambda: (server.health() or {})["status"] == "ok", 60)
            wait(lambda: statuses(library)["done"] == 10, 300)
            print(f"\nPostgreSQL stopped: meanwhile {meanwhile}, afterwards {dict(statuses(library))}")
        assert meanwhile == [{"status": 503}, 503, 503]
        with library.read() as session:
            assert verify(session)[2] is None
        library.engine.dispose()


def test_backup_and_restore_on_postgresql(tmp_path: Path, postgres: str, clip: Path) -> None:
    """Out of PostgreSQL into SQLite and back: the same rows, the same log, the same files, numbers that go on."""
    with fresh(postgres, tmp_path / "one") as library:
        user = library.add_user("ann", PASSWORD, "admin")
        video = queue(library, user, clip.read_bytes())
        (segment, _) = analysed(library, video)
        library.decide(user, segment, "confirmed", "a reason: ä 中")
        library.set_group("ann", "front", ["door"], ["ann"])
        with library.read() as session:
            before = verify(session)
        made = backup(library, tmp_path / "out")
    middle = Library(tmp_path / "middle")
    assert restore(tmp_path / "out", middle) == made
    backup(middle, tmp_path / "again")
    with fresh(postgres, tmp_path / "two") as library:
        assert restore(tmp_path / "again", library) == made
        with library.read() as session:
            assert verify(session) == before
        assert library.clip(video).read_bytes() == clip.read_bytes()
        assert library.sign_in("ann", PASSWORD) is not None
        assert [names for _, names in library.groups()] == [["ann"]]
        last = library.last_change()
        library.note(user, segment, "goes on")
        assert library.last_change() > last


def test_three_hundred_clips_take_no_more_than_fifty(tmp_path: Path, clip: Path) -> None:
    """One worker, 300 clips that it has not seen: memory and open files stay where they were after the first fifty."""
    library = Library(tmp_path / "library")
    user, data = library.local_user(), cut(clip, 2.0, 3.0, make_settings())
    worker = Worker(library, make_settings(explain=False, cache=tmp_path / "cache"))
    here, seen = psutil.Process(), []
    for i in range(300):
        queue(library, user, data + i.to_bytes(4, "big"), f"{i}.mp4")
        assert worker.once()
        if i % 50 == 49:
            seen.append((here.memory_info().rss / 1e6, here.num_fds(), len(here.children()), here.num_threads()))
    print("\nafter each 50 clips, (MB, descriptors, children, threads):", [tuple(round(v) for v in s) for s in seen])
    assert statuses(library) == Counter(done=300)
    assert seen[-1][0] - seen[0][0] < 40
    assert seen[-1][1] <= seen[0][1] + 3
    assert seen[-1][2] <= seen[0][2]
    assert seen[-1][3] <= seen[0][3] + 2
