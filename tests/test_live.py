"""Events as they happen, over a real server: what another process changes comes too, nothing is lost over a break, and the server ends at once."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from serving import Person, Told, given
from vlad.app import live
from vlad.app.server import make_app

from vlad.config import make_settings
from vlad.library import Library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("live") / "library")


class Running:
    """A server in a thread."""

    def __init__(self, library: Library) -> None:
        told: Any = Told()
        self.app = make_app(library, make_settings(), local=False, models=told)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.server = uvicorn.Server(uvicorn.Config(self.app, port=self.port, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)

    def stop(self) -> float:
        """Ends it as Ctrl-C does; how long that took (s)."""
        begin = time.monotonic()
        self.app.state.live.close()
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()
        return time.monotonic() - begin


@pytest.fixture(scope="module")
def running(library: Library) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "PACE", 0.05)
        found = Running(library)
        yield found
        found.stop()


@pytest.fixture(scope="module")
def ann(library: Library, running: Running) -> Iterator[Person]:
    with httpx.Client(base_url=f"http://127.0.0.1:{running.port}", timeout=20) as app:
        made: Any = app
        yield Person(made, library, "ann")


class Follower:
    """A page that follows along."""

    def __init__(self, ann: Person, last: int | None = None) -> None:
        headers = {**ann.headers, **({"Last-Event-ID": str(last)} if last is not None else {})}
        self.context = ann.app.stream("GET", "/api/events", headers=headers)
        self.answer = self.context.__enter__()
        assert self.answer.headers["content-type"].startswith("text/event-stream")
        self.lines = self.answer.iter_lines()
        self.next("presence")  # it is on

    def next(self, event: str, **wanted: object) -> dict[str, Any]:
        """The next event of a kind whose data holds what is wanted."""
        for line in self.lines:
            if line == f"event: {event}":
                found: dict[str, Any] = json.loads(next(self.lines).removeprefix("data: "))
                if wanted.items() <= found.items():
                    return found
        raise AssertionError("the stream ended")

    def close(self) -> None:
        self.context.__exit__(None, None, None)


def test_what_another_process_changes_comes_at_once(library: Library, ann: Person, tmp_path: Path) -> None:
    """H3: a list never showed what others did."""
    page = Follower(ann)
    other = Library(library.folder)  # as a worker has it
    video, (one, _) = given(other, ann)
    assert page.next("change", kind="segment", id=one)["video"] == video
    assert page.next("change", kind="job", video=video)["by"] == ""
    begin = time.monotonic()
    other.decide(ann.user, one, "confirmed")
    assert page.next("change", kind="segment", id=one, by="ann")["n"] > 0
    assert time.monotonic() - begin < 2
    other.note(ann.user, one, "look")
    page.next("change", kind="note", id=one)
    page.close()


@pytest.mark.slow
def test_what_came_during_a_break_is_told_afterwards(library: Library, ann: Person) -> None:
    page = Follower(ann)
    _, (one, two) = given(library, ann)
    last = page.next("change", id=one)["n"]
    page.close()
    library.decide(ann.user, two, "dismissed")
    headers = {**ann.headers, "Last-Event-ID": str(last)}
    with ann.app.stream("GET", "/api/events", headers=headers) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and json.loads(line[6:]).get("by") == "ann":
                assert json.loads(line[6:])["id"] == two
                break


def test_who_looks_at_what_is_told_and_forgotten(
    library: Library, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, (one, _) = given(library, ann)
    page = Follower(ann)
    told = ann.ask("POST", "/presence", {"segment": one, "video": video})["people"]
    assert [(p["name"], p["segment"], p["video"]) for p in told] == [("ann", one, video)]
    assert page.next("presence")["people"][0]["segment"] == one
    monkeypatch.setattr(live, "GONE", 0.1)
    assert page.next("presence")["people"] == []
    page.close()
    ann.ask("POST", "/presence", {"segment": "x"}, 422)


def test_a_page_that_left_is_forgotten(running: Running, ann: Person) -> None:
    pages = [Follower(ann) for _ in range(3)]
    assert len(running.app.state.live._listeners) == 3
    for page in pages:
        page.close()
    end = time.monotonic() + 10
    while running.app.state.live._listeners:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_too_many_pages_are_refused(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 1)
    page = Follower(ann)
    answer = ann.app.get("/api/events", headers=ann.headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    page.close()


def test_a_page_that_does_not_keep_up_is_let_go() -> None:
    import asyncio

    async def run() -> list[str | None]:
        listener = live.Listener(asyncio.get_running_loop(), asyncio.Queue(3))
        for i in range(5):
            listener.offer(str(i))
        await asyncio.sleep(0)
        return [listener.queue.get_nowait() for _ in range(listener.queue.qsize())]

    assert None in asyncio.run(run())


def test_a_server_with_followers_ends_at_once(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    running = Running(library)
    with httpx.Client(base_url=f"http://127.0.0.1:{running.port}", timeout=20) as app:
        made: Any = app
        page = Follower(Person(made, library, "bob"))
        assert running.stop() < 5
        page.close()


def test_old_changes_are_forgotten_and_numbers_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(tmp_path / "library")
    for _ in range(3):
        library.announce("video", "0" * 32)
    monkeypatch.setattr("vlad.library.changes.KEPT", -1.0)
    library.forget_changes()
    assert [c.n for c in library.changes(0)] == [3]
    library.announce("video", "0" * 32)
    assert library.last_change() == 4
