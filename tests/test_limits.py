"""One person cannot starve the rest: turns, bursts, and cases that wait; 429 says when to come back."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from postgres import either
from serving import Person, client, given
from sqlalchemy import text
from vlad.app import desk, guard, limits, media, models, samples, sheets
from vlad.app.limits import ORDERS, Limits, Share, one_of, refusal

from vlad import prompting, rendering
from vlad.errors import VideoError
from vlad.library import Library, logbook, people
from vlad.prompting import shipped as prompts_folder


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


def test_a_burst_is_followed_by_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    kept, share = Limits(), Share("things", 1, 3, 10.0)
    for _ in range(3):
        kept.take(share, "ann")
    with pytest.raises(HTTPException) as refused:
        kept.take(share, "ann")
    assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "10"})
    kept.take(share, "bob")
    now[0] += 10
    kept.take(share, "ann")
    with pytest.raises(HTTPException):
        kept.take(share, "ann")
    now[0] += 1000
    for _ in range(3):
        kept.take(share, "ann")


def test_turns_are_a_persons_own_and_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAIT", 0.3)
    kept, share, go = Limits(), Share("things", 2, 100, 1.0), threading.Event()
    results: list[Any] = []

    def one(user: str) -> None:
        began = time.monotonic()
        try:
            with kept.turn(share, user):
                go.wait(5)
                results.append((user, 200, time.monotonic() - began))
        except HTTPException as error:
            results.append((user, error.status_code, time.monotonic() - began))

    threads = [threading.Thread(target=one, args=("ann",)) for _ in range(20)]
    for t in threads:
        t.start()
    time.sleep(0.6)
    other = threading.Thread(target=one, args=("bob",))
    other.start()
    time.sleep(0.2)
    go.set()
    for t in [*threads, other]:
        t.join()
    assert sorted(r[:2] for r in results) == sorted([("ann", 200)] * 2 + [("ann", 429)] * 18 + [("bob", 200)])
    at_once = [r for r in results if r[1] == 429 and r[2] < 0.15]
    assert len(at_once) >= 10  # beyond those that may wait
    with kept.turn(share, "ann"):
        pass


def test_pictures_questions_uploads_and_cases_have_limits(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    app = client(library, local=False)
    ann, bob = Person(app, library, "ann"), Person(app, library, "bob")
    clip, segments = given(library, ann)
    maker = app.app.state.maker  # type: ignore[attr-defined]
    monkeypatch.setattr(maker, "wake", lambda: None)  # nothing is made
    monkeypatch.setattr("vlad.app.clips.PICTURES", Share("pictures", 2, 3, 60.0))
    monkeypatch.setattr("vlad.app.talk.QUESTIONS", Share("questions", 2, 3, 60.0))
    monkeypatch.setattr("vlad.app.clips.UPLOADS", Share("uploads", 2, 3, 60.0))
    monkeypatch.setattr(media, "frames_at", lambda *a, **k: (_ for _ in ()).throw(VideoError("none")))

    def codes(who: Person, method: str, path: str, body: Any = None, **query: Any) -> list[int]:
        ask = [app.request(method, f"/api{path}", headers=who.headers, json=body, params=query) for _ in range(5)]
        assert all(int(a.headers["retry-after"]) > 0 for a in ask if a.status_code == 429)
        return [a.status_code for a in ask]

    assert codes(ann, "GET", f"/videos/{clip}/frame", t=1.0) == [404] * 3 + [429] * 2
    assert codes(ann, "GET", "/search", words="a fight") == [200] * 3 + [429] * 2
    assert codes(ann, "POST", "/uploads", {"name": "x", "size": 3}) == [201] * 3 + [429] * 2
    assert codes(bob, "GET", "/search", words="a fight")[0] == 200
    order = {"segments": segments[:1], "undecided": True}
    for _ in range(ORDERS):
        ann.ask("POST", "/exports", order, 202)
    ann.ask("POST", "/exports", order, 429)
    bob.ask("POST", "/exports", order, 202)


def admin(library: Library) -> tuple[Person, str, str]:
    """An admin with a clip and a segment of it; the models are real ones."""
    app = client(library, local=False)
    app.app.state.models = models.Models(app.app.state.settings)  # type: ignore[attr-defined]
    root = Person(app, library, "root", "admin")
    clip, (segment, _) = given(library, root)
    return root, clip, segment


def holders(root: Person) -> dict[str, Any]:
    """What a request can wait for a turn of, by name."""
    state = root.app.app.state  # type: ignore[attr-defined]
    index = next(c.cell_contents for c in state.index_of.__closure__ if hasattr(c.cell_contents, "acquire"))
    return {
        "model": state.models._lock, "tokens": state.models._loading, "search": index, "sheet": sheets._TURN, "frame": media._TURNS,
        "sample": samples._LOCK, "template": desk._SAVING, "password": people._HASHING, "log": state.library.audit_state.__self__._lock,
        "render": prompting._RENDERER._lock,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("held", "method", "path", "body"),
    [
        ("model", "GET", "/search?words=a+fight", None), ("model", "POST", "/segments/SEGMENT/explain", {"prompt": "explain"}),
        ("model", "POST", "/segments/SEGMENT/chat", {"question": "how many?"}), ("model", "POST", "/prompts/explain/try", {"source": "EXPLAIN", "segment": "SEGMENT"}),
        ("tokens", "POST", "/prompts/explain/preview", {"segment": "SEGMENT"}), ("search", "GET", "/search?like=SEGMENT", None),
        ("sheet", "GET", "/videos/CLIP/sheet.json", None), ("frame", "GET", "/videos/CLIP/frame?t=1", None), ("frame", "GET", "/videos/CLIP/strip?t=1", None),
        ("sample", "POST", "/sample", None), ("template", "PUT", "/prompts/explain", {"source": "EXPLAIN"}),
        ("password", "POST", "/login", {"name": "root", "password": "x"}), ("password", "PUT", "/me/password", {"old": "x" * 10, "new": "y" * 10}),
        ("log", "GET", "/audit", None), ("render", "POST", "/prompts/explain/lint", {"source": "DRAFT"}),
    ],
    ids=lambda v: str(v)[:30],
)  # fmt: skip
def test_nobody_waits_longer_than_two_seconds_for_a_turn(
    library: Library, held: str, method: str, path: str, body: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room, name in ((limits, "WAIT"), (people, "PATIENCE"), (logbook, "PATIENCE"), (rendering, "TURN")):
        assert getattr(room, name) == 2.0
        monkeypatch.setattr(room, name, 0.3)
    root, clip, segment = admin(library)
    explain = (prompts_folder() / "explain.md").read_text()
    said = {
        "SEGMENT": segment,
        "CLIP": clip,
        "EXPLAIN": explain,
        "DRAFT": explain.replace("version", "# mine\nversion", 1),
    }
    for word in ("SEGMENT", "CLIP"):
        path = path.replace(word, said[word])
    turns = holders(root)[held]
    kept = 0
    while turns.acquire(blocking=False):
        kept += 1
    try:
        began = time.monotonic()
        answer = root.app.request(
            method, f"/api{path}", headers=root.headers, json=body and {k: said.get(v, v) for k, v in body.items()}
        )
        took = time.monotonic() - began
    finally:
        for _ in range(kept):
            turns.release()
    assert (answer.status_code, int(answer.headers.get("retry-after", 0)) > 0) == (503, True), answer.text
    assert "try again in a moment" in answer.text
    assert 0.25 < took < 6.0  # of a machine that is busy
    assert not holders(root)["model"].locked()


def test_all_waits_of_a_request_are_two_seconds_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAIT", 0.6)
    kept, share, model, busy = Limits(), Share("things", 1, 100, 1.0), threading.Lock(), refusal(503, "busy", 1)
    go, took = threading.Event(), []

    def first() -> None:
        with kept.turn(share, "ann"):
            go.wait(0.4)

    def second() -> None:
        began = time.monotonic()
        try:
            with kept.turn(share, "ann"), one_of(model, busy):
                took.append(-1.0)
        except HTTPException as error:
            took.append(time.monotonic() - began if error is busy else -1.0)

    with model:
        threads = [threading.Thread(target=f) for f in (first, second)]
        threads[0].start()
        time.sleep(0.1)
        threads[1].start()
        for t in threads:
            t.join()
    assert 0.4 < took[0] < 0.9


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    yield from either(request, tmp_path / "library")


def test_a_database_that_others_write_is_waited_for_two_seconds_by_people_and_longer_by_programs(
    both: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "WAIT", 0.3)
    root, _, segment = admin(both)
    done: list[float] = []
    with both.write() as session:
        session.execute(text("select 1"))
        began = time.monotonic()
        answer = root.app.post(f"/api/segments/{segment}/verdict", headers=root.headers, json={"verdict": "confirmed"})
        took = time.monotonic() - began
        program = threading.Thread(target=lambda: (both.log("w", "x"), done.append(time.monotonic() - began)))
        program.start()
        time.sleep(1.0)
    program.join()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert "try again in a moment" in answer.text
    assert 0.25 < took < 2.0
    assert done[0] > 1.0


def test_a_thread_is_waited_for_two_seconds(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """F4: what takes all threads stopped everything for a minute."""
    monkeypatch.setattr(guard, "WAIT", 0.5)
    app = client(library)
    go, here = threading.Event(), []

    def slow() -> str:
        here.append(1)
        go.wait(20)
        return ""

    app.app.add_api_route("/slow", slow)  # type: ignore[attr-defined]
    with app:
        threads = [threading.Thread(target=app.get, args=("/slow",)) for _ in range(40)]
        for t in threads:
            t.start()
        end = time.monotonic() + 10
        while len(here) < 40 and time.monotonic() < end:
            time.sleep(0.05)
        try:
            began = time.monotonic()
            answer = app.get("/api/me")
            took = time.monotonic() - began
            assert app.get("/healthz").status_code == 200
        finally:
            go.set()
            for t in threads:
                t.join()
        assert app.get("/api/me").status_code == 200
    assert (len(here), answer.status_code, answer.headers["retry-after"]) == (40, 503, "3")
    assert 0.4 < took < 2.0


def test_people_that_are_remembered_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEPT", 10)
    kept = Limits()
    for i in range(100):
        kept.take(limits.PICTURES, str(i))
    assert len(kept._left) <= 11
