"""What stands before every route: sizes, deadlines, who may ask, headers and counts of every answer. Over real sockets."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import Person, client
from vlad.app import guard
from vlad.app.guard import EACH, HEADERS, Guard
from vlad.app.server import make_app

from vlad.config import make_settings
from vlad.errors import InputError
from vlad.library import Library

PASSWORD = "correct horse battery"


@pytest.fixture
def api(tmp_path: Path) -> TestClient:
    library = Library(tmp_path / "library")
    library.add_user("ann", PASSWORD, "admin")
    return TestClient(
        make_app(library, make_settings(), local=False),
        base_url="http://localhost",
        client=("127.0.0.1", 50000),
        raise_server_exceptions=False,
    )


@pytest.mark.parametrize("path", ["/api/login", "/api/uploads", "/api/segments/" + "0" * 32 + "/notes"])
def test_a_huge_body_is_refused_and_not_read(api: TestClient, path: str) -> None:
    answer = api.post(path, content=(b" " * (1 << 20) for _ in range(20)))
    assert answer.status_code == (401 if path != "/api/login" else 413)
    assert api.post(path, content=b"", headers={"Content-Length": str(300 << 20)}).status_code == 413
    assert {k.lower() for k in HEADERS} <= {k.lower() for k in answer.headers}


def test_errors_carry_the_headers_are_counted_and_say_nothing_of_the_inside(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    library.add_user("ann", PASSWORD, "admin")
    app = make_app(library, make_settings(), local=False)

    @app.get("/api/broken")
    def broken() -> None:
        raise RuntimeError("secret path /srv/x")

    app.router.routes.insert(0, app.router.routes.pop())
    api = TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000), raise_server_exceptions=False)
    api.post("/api/login", json={"name": "ann", "password": PASSWORD})
    answer = api.get("/api/broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert {k: answer.headers[k] for k in HEADERS} == HEADERS
    assert re.search(r'vlad_requests_total\{method="GET",status="500"\} 1\.0', api.get("/metrics").text)


def asked(app: Any, messages: list[dict[str, Any]], **scope: Any) -> list[int]:
    """Statuses that a guarded application gives for messages of a client, which then says nothing more."""
    statuses: list[int] = []

    async def run() -> None:
        left = list(messages)

        async def receive() -> dict[str, Any]:
            if left:
                return left.pop(0)
            await asyncio.sleep(60)
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        whole = {"type": "http", "method": "POST", "path": "/login", "headers": [], "query_string": b"", **scope}
        await Guard(app, count=lambda method, status: None, patience=0.2)(whole, receive, send)

    asyncio.run(run())
    return statuses


def test_a_body_that_does_not_come_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "admitted", lambda request: None)

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    began = time.monotonic()
    assert asked(reads, [{"type": "http.request", "body": b"{", "more_body": True}]) == [408]
    assert time.monotonic() - began < 5
    many = [{"type": "http.request", "body": b" " * 300_000, "more_body": True}] * 9
    assert asked(reads, many) == [413]
    assert asked(reads, many, method="PUT", path="/api/uploads/x") == [408]  # a piece may be larger


def test_a_request_of_two_lengths_is_refused_and_ends_the_line(tmp_path: Path) -> None:
    """What a proxy takes for a body may be a request of somebody else's to us."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def never(*of: Any) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/login", "headers": [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]}  # fmt: skip
    asyncio.run(Guard(never, count=lambda method, status: None)(scope, never, send))
    assert sent[0]["status"] == 400
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.fixture
def line() -> Iterator[tuple[Callable[[], socket.socket], list[tuple[str, int]]]]:
    """Opens connections to a server that says ok; and what was counted without a request."""
    import uvicorn

    async def hello(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})

    told: list[tuple[str, int]] = []
    http = guard.counted(lambda method, status: told.append((method, status)))
    server = uvicorn.Server(uvicorn.Config(hello, port=0, log_level="critical", http=http, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    with ExitStack() as lines:
        while not server.started:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield lambda: lines.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)), told
        server.should_exit = True
    thread.join()


Line = tuple[Callable[[], socket.socket], list[tuple[str, int]]]
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_half_a_head_is_not_waited_for(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.5)
    slow, well = line[0](), line[0]()
    slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ")
    well.sendall(ASK)
    assert well.recv(1000).startswith(b"HTTP/1.1 200")
    began = time.monotonic()
    assert slow.recv(1000) == b""  # the server hung up
    assert time.monotonic() - began < 3


def test_lines_that_are_only_held_open_keep_nobody_out(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four hundred of them, and everybody got 503 until they were let go, as often as somebody liked."""
    monkeypatch.setattr(guard, "TOGETHER", 10)
    held = [line[0]() for _ in range(30)]
    for one in held[:5]:
        one.sendall(b"GET / HT")
    for _ in range(3):
        well = line[0]()
        well.sendall(ASK)
        assert well.recv(1000).startswith(b"HTTP/1.1 200")
    held[0].settimeout(2)
    with suppress(ConnectionResetError):
        assert held[0].recv(10) == b""  # whoever said nothing for longest made room


def test_what_is_no_request_gets_the_headers_too_and_is_counted(line: Line) -> None:
    odd = line[0]()
    odd.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
    said = odd.recv(4000).decode().lower()
    assert said.startswith("http/1.1 400")
    assert all(f"{k}: {v}".lower() in said for k, v in HEADERS.items())
    assert line[1] == [("", 400)]


def test_one_person_cannot_keep_all_lines_busy(tmp_path: Path) -> None:
    """Downloads that are read slowly, pages that follow along, whatever it is: a share of the server's threads and lines."""
    library = Library(tmp_path / "library")
    app = client(library, local=False)
    ann, bob = Person(app, library, "ann"), Person(app, library, "bob")
    go, here = threading.Event(), []

    def slow() -> str:
        here.append(1)
        go.wait(20)
        return ""

    app.app.add_api_route("/api/slow", slow)  # type: ignore[attr-defined]
    app.app.router.routes.insert(0, app.app.router.routes.pop())  # type: ignore[attr-defined]
    with app:
        codes: list[int] = []
        threads = [
            threading.Thread(target=lambda: codes.append(app.get("/api/slow", headers=ann.headers).status_code))
            for _ in range(EACH)
        ]
        for t in threads:
            t.start()
        end = time.monotonic() + 10
        while len(here) < EACH and time.monotonic() < end:
            time.sleep(0.02)
        try:
            late = app.get("/api/me", headers=ann.headers)
            assert (late.status_code, late.headers["retry-after"]) == (429, "1")
            assert {k: late.headers[k] for k in HEADERS} == HEADERS
            assert app.get("/api/me", headers=bob.headers).status_code == 200
        finally:
            go.set()
            for t in threads:
                t.join()
        assert codes == [200] * EACH
        assert app.get("/api/me", headers=ann.headers).status_code == 200


@pytest.fixture
def alone(tmp_path: Path) -> tuple[TestClient, Library]:
    """Local mode: nobody signs in, on this machine."""
    library = Library(tmp_path / "library")
    app = make_app(library, make_settings(), local=True)
    return TestClient(app, base_url="http://127.0.0.1:7860", client=("127.0.0.1", 50000)), library


@pytest.mark.parametrize(
    "headers",
    [{"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-Host": "cctv.example.com"}, {"Forwarded": "for=203.0.113.9"}, {"X-Real-IP": "203.0.113.9"}, {"Via": "1.1 proxy"}],
    ids=lambda h: next(iter(h)),
)  # fmt: skip
def test_f1_a_proxy_on_this_machine_opens_no_library(
    alone: tuple[TestClient, Library], headers: dict[str, str]
) -> None:
    api, _ = alone
    assert api.get("/api/me").json()["role"] == "admin"
    for method, path, body in (
        ("get", "/api/me", None),
        ("post", "/api/tokens", {"name": "x", "scopes": ["admin"]}),
        ("get", "/", None),
    ):
        answer = api.request(method, path, json=body, headers=headers)
        assert answer.status_code == 403, path
        assert "this machine" in answer.json()["detail"]


def test_f1_another_peer_and_another_site_are_refused(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    app = make_app(library, make_settings(), local=True)
    far = TestClient(app, base_url="http://127.0.0.1:7860", client=("10.0.0.7", 50000))
    assert far.get("/api/me").status_code == 403
    near = TestClient(app, base_url="http://127.0.0.1:7860", client=("::1", 50000))
    assert near.get("/api/me").status_code == 200
    assert (
        near.post(
            "/api/tokens", json={"name": "x", "scopes": ["read"]}, headers={"Sec-Fetch-Site": "cross-site"}
        ).status_code
        == 403
    )


def test_f1_the_first_user_ends_local_mode_at_once(alone: tuple[TestClient, Library]) -> None:
    api, library = alone
    assert api.get("/api/users").status_code == 200
    assert api.post("/api/users", json={"name": "ann", "password": PASSWORD, "role": "admin"}).status_code == 201
    assert api.get("/api/users").status_code == 401
    assert library.has_users()


def test_errors_echo_nothing_that_was_sent(api: TestClient) -> None:
    answer = api.post("/api/login", json={"name": ["secret word"], "password": 5, "more": "x" * 1000})
    assert answer.status_code == 422
    assert "secret word" not in answer.text
    assert "xxxx" not in answer.text
    assert {e["loc"][-1] for e in answer.json()["detail"]} == {"name", "password", "more"}


def test_turns_of_a_talk_have_a_length(alone: tuple[TestClient, Library]) -> None:
    api, _ = alone
    body = {"question": "what", "turns": [[" " * 8000, "x"]]}
    assert api.post(f"/api/segments/{'0' * 32}/chat", json=body).status_code == 422


@pytest.mark.slow
def test_f4_who_asks_for_sixty_pictures_stops_nobody_and_health_answers(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from browsing import add_clip
    from vlad.app import limits, media

    library = Library(tmp_path / "library")
    video, _ = add_clip(library, clip, ())
    over = threading.Event()

    def stuck(*of: Any, **more: Any) -> None:  # a decoder that takes for ever
        over.wait(30)
        raise InputError("no frame")

    monkeypatch.setattr(media, "frames_at", stuck)
    monkeypatch.setattr(limits, "WAIT", 0.5)
    app = make_app(library, make_settings(), local=True)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as api:
        found: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: found.append(api.get(f"/api/videos/{video}/strip?t=1").status_code), daemon=True
            )
            for _ in range(60)
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        state = api.get("/healthz").json()
        assert time.monotonic() - began < 2
        assert (state["status"], state["oldest_job"]) == ("ok", 0.0)
        time.sleep(3)
        over.set()
        for thread in threads:
            thread.join(20)
        assert sum(status in (429, 503) for status in found) >= 40  # one person's share, or nobody's turn
        assert len(found) == 60
