"""The server over HTTP: who may do what, clips in pieces, segments in pages, media in ranges, and nothing that a hostile request can break."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from serving import PASSWORD, Told, analysed, client, upload
from vlad.app import auth, media, server
from vlad.app.search import Index
from vlad.app.server import make_app

from vlad.config import make_settings
from vlad.errors import SettingsError
from vlad.library import Library, guesses


@pytest.fixture
def library(tmp_path: Path) -> Library:
    (tmp_path / "library" / "prompts").mkdir(parents=True)
    return Library(tmp_path / "library")


@pytest.fixture
def api(library: Library) -> Iterator[TestClient]:
    with client(library) as found:
        yield found


@pytest.fixture
def signed(library: Library) -> Iterator[TestClient]:
    library.add_user("ann", PASSWORD)
    library.add_user("root", PASSWORD, "admin")
    with client(library, local=False) as found:
        yield found


def test_a_clip_from_upload_to_verdict(api: TestClient, library: Library, clip: Path) -> None:
    data = clip.read_bytes()
    video = upload(api, data, "<img src=x onerror=alert(1)>.mp4")
    (row,) = api.get("/api/videos").json()["videos"]
    assert (row["name"], row["job"]["status"]) == ("<img src=x onerror=alert(1)>.mp4", "queued")
    assert api.get(f"/api/videos/{video}/scores").status_code == 409
    one, two = analysed(library, video)
    raw = np.frombuffer(api.get(f"/api/videos/{video}/scores").content, "<f4")
    np.testing.assert_allclose(raw[:10], np.linspace(0, 1, 10), atol=1e-6)
    np.testing.assert_allclose(raw[10:], np.arange(11))
    page = api.get("/api/segments", params={"count": 1}).json()
    assert (page["total"], page["segments"][0]["id"]) == (2, one)
    decided = api.post(f"/api/segments/{two}/verdict", json={"verdict": "dismissed", "reason": "a bonfire"}).json()
    assert (decided["status"], decided["verdicts"][0]["by"]) == ("dismissed", "local")
    assert [s["id"] for s in api.post("/api/undo").json()["segments"]] == [two]
    assert api.get(f"/api/segments/{two}").json()["status"] == "open"
    noted = api.post(f"/api/segments/{one}/notes", json={"text": "see <b>this</b>"}).json()
    assert noted["notes"][0]["text"] == "see <b>this</b>"
    assert api.put(f"/api/segments/{one}/tags/night").json()["tags"] == ["night"]
    assert api.delete(f"/api/segments/{one}/tags/night").json()["tags"] == []
    assert (
        api.post(f"/api/segments/{one}/explain", json={"prompt": "verify"}).json()["explanation"]["text"] == "by verify"
    )
    assert api.post(f"/api/segments/{one}/chat", json={"question": "why?", "turns": [["a", "b"]]}).json() == {
        "answer": "1 before why?"
    }
    log = api.get("/api/audit").json()
    assert log["broken"] is None
    assert {"uploaded", "dismissed", "undone", "noted", "explained again", "asked"} <= {r["action"] for r in log["log"]}


def test_a_clip_is_served_in_ranges_and_tells_nothing_back(api: TestClient, clip: Path) -> None:
    data = clip.read_bytes()
    video = upload(api, data)
    whole = api.get(f"/api/videos/{video}/media", headers={"Cookie": "secret=1", "X-Evil": "1"})
    assert whole.content == data
    assert whole.headers["content-type"] == "video/mp4"
    part = api.get(f"/api/videos/{video}/media", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (
        206,
        data[10:20],
        f"bytes 10-19/{len(data)}",
    )
    assert api.get(f"/api/videos/{video}/media", headers={"Range": "bytes=-5"}).content == data[-5:]
    for wrong in ("bytes=999999999-", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=-"):
        assert api.get(f"/api/videos/{video}/media", headers={"Range": wrong}).status_code == 416
    assert not {"secret", "x-evil"} & {k.lower() for k in whole.headers}
    frame = api.get(f"/api/videos/{video}/frame", params={"t": 2.0})
    assert frame.headers["content-type"] == "image/jpeg"
    assert api.get(f"/api/videos/{video}/frame", params={"t": "nan"}).status_code == 422


def test_what_a_disguised_file_is_served_as(tmp_path: Path) -> None:
    page = tmp_path / "a.mp4"
    page.write_text("<html><script>alert(1)</script>")
    assert media.kind_of(page) == "application/octet-stream"


def test_no_route_but_two_answers_without_a_session(signed: TestClient) -> None:
    app: Any = signed.app
    paths = app.openapi()["paths"]
    tried = 0
    for path, methods in paths.items():
        for method in methods:
            address = path.replace("{tag}", "x").replace("{name}", "explain")
            for name in ("video_id", "segment_id", "upload_id", "job_id", "export_id"):
                address = address.replace("{" + name + "}", "0" * 32)
            answer = signed.request(
                method, address, params={"offset": 0, "t": 0}, json={} if method in ("post", "put") else None
            )
            assert answer.status_code in ((422, 401) if path == "/api/login" else (401,)), (
                method,
                path,
                answer.status_code,
            )
            tried += 1
    assert tried > 45
    for path in ("/api/nothing", "/api/predict", "/apix"):
        assert signed.get(path).status_code in (401, 404)
        assert signed.post(path).status_code in (401, 404)
    for path in ("/metrics", "/api/openapi.json", "/page/review.js", "/config", "/gradio_api/info", "/nothing"):
        assert signed.get(path).status_code == 401
    assert signed.get("/", follow_redirects=False).headers["location"] == "/login"
    assert "Sign in" in signed.get("/login").text
    assert signed.get("/healthz").json()["status"] == "ok"
    assert signed.get("/docs").status_code == 401


def test_signing_in_and_out(signed: TestClient, library: Library) -> None:
    assert signed.post("/api/login", json={"name": "ann", "password": "wrong"}).status_code == 401
    done = signed.post("/api/login", json={"name": "ann", "password": PASSWORD})
    cookie = done.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert signed.get("/api/me").json()["scopes"] == ["read", "write"]
    for method, path in (
        ("get", "/api/audit"),
        ("post", "/api/users"),
        ("post", "/api/tokens"),
        ("delete", "/api/videos/" + "0" * 32),
    ):
        assert signed.request(method, path, json={} if method == "post" else None).status_code == 403
    secret = signed.cookies[auth.COOKIE]
    assert signed.post("/api/logout").json() == {"signed_out": True}
    assert library.audit_rows(count=1)[0].action == "signed out"
    assert signed.get("/api/me", headers={"Cookie": f"{auth.COOKIE}={secret}"}).status_code == 401


def test_five_tries_and_then_a_wait(signed: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "FIRST", 30.0)
    for _ in range(5):
        assert signed.post("/api/login", json={"name": "ann", "password": "wrong"}).status_code == 401
    late = signed.post("/api/login", json={"name": "ann", "password": PASSWORD})
    assert late.status_code == 429
    assert 0 < int(late.headers["retry-after"]) <= 60
    now = guesses.time.time()
    monkeypatch.setattr(guesses, "time", SimpleNamespace(time=lambda: now + 61))
    assert signed.post("/api/login", json={"name": "ann", "password": PASSWORD}).status_code == 200


def test_a_page_of_another_site_cannot_write(api: TestClient) -> None:
    body = {"name": "a", "size": 4}
    assert api.post("/api/uploads", json=body, headers={"Origin": "https://evil.example"}).status_code == 403
    assert api.post("/api/uploads", json=body, headers={"Origin": "http://localhost"}).status_code == 201
    assert api.get("/api/videos", headers={"Host": "evil.example"}).status_code == 403  # a name bent to this machine


def test_a_page_of_another_site_cannot_sign_in(signed: TestClient) -> None:
    body = {"name": "ann", "password": PASSWORD}
    assert signed.post("/api/login", json=body, headers={"Origin": "https://evil.example"}).status_code == 403


def test_tokens_do_what_their_scopes_say(signed: TestClient, library: Library) -> None:
    signed.post("/api/login", json={"name": "root", "password": PASSWORD})
    token = signed.post("/api/tokens", json={"name": "ci", "scopes": ["read"]}).json()["token"]
    signed.cookies.clear()
    held = {"Authorization": f"Bearer {token}"}
    assert signed.get("/api/videos", headers=held).status_code == 200
    assert signed.post("/api/undo", headers=held).status_code == 403
    assert signed.get("/api/videos", headers={"Authorization": "Bearer x"}).status_code == 401
    assert (
        signed.get("/api/videos", headers={"Cookie": f"{auth.COOKIE}={token}"}).status_code == 401
    )  # a token is no session
    library.close_key(token)
    assert signed.get("/api/videos", headers=held).status_code == 401


def test_search_by_words_and_by_likeness(api: TestClient, library: Library) -> None:
    video = upload(api, b"clip")
    one, _ = analysed(library, video)
    found = api.get("/api/search", params={"words": "abc"}).json()
    assert found["moments"][0]["start"] == 3.0
    assert found["moments"][0]["name"] == "a.mp4"
    like = api.get("/api/search", params={"like": one}).json()
    assert like["moments"][0]["start"] in (1.0, 2.0)
    assert (found["well"], found["moments"][-1]["well"]) == (True, False)
    assert api.get("/api/search", params={"words": "abc", "camera": "gate"}).json()["moments"] == []
    (arson,) = api.get("/api/search", params={"words": "abc", "label": "<b>arson</b>"}).json()["moments"][:1]
    assert 5.0 < arson["start"] < 8.0
    assert api.get("/api/search", params={"words": "abc", "status": "confirmed"}).json()["moments"] == []
    assert api.get("/api/search", params={"words": "abc", "before": "1999-12-31T23:59"}).json()["moments"] == []
    assert api.get("/api/search", params={"words": "abc", "after": "1999-12-31T23:59"}).json()["moments"] != []
    assert api.get("/api/search").status_code == 422
    assert api.get("/api/search", params={"words": "abc", "after": "2026-13-41T25:00"}).status_code == 422
    api.patch(f"/api/videos/{video}", json={"local": "2026-03-01T23:30:00", "zone": "Asia/Tokyo"}).raise_for_status()
    clock = {"words": "abc", "after": "2026-03-01T23:30", "before": "2026-03-01T23:31"}  # as it hung on the wall there
    there = api.get("/api/search", params=clock).json()["moments"]
    assert there[0]["starts_at"] == "2026-03-01T23:30:03+09:00"
    assert api.get("/api/search", params={**clock, "after": "2026-03-01T23:30:10"}).json()["moments"] == []


def test_an_index_says_when_nothing_stands_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(tmp_path / "v.npy", vectors)
    index = Index()
    index.refresh({v: tmp_path / f"{v}.npy" for v in ("v", "gone")}, lambda v: np.arange(3001.0))
    own = index.nearest(vectors[700], 5)
    assert (own[0].start, own[0].well) == (700.0, True)
    (tmp_path / "bad.npy").write_bytes(b"damaged")
    index.refresh({v: tmp_path / f"{v}.npy" for v in ("v", "bad")}, lambda v: np.arange(3001.0))
    assert [m.start for m in index.nearest(vectors[700], 1)] == [700.0]  # F17: one damaged file costs its own clip
    assert all(abs(a.start - b.start) >= 3 for i, a in enumerate(own) for b in own[:i])
    assert (
        not index.nearest(np.full(64, 0.125, np.float32) * np.sign(rng.normal(size=64)).astype(np.float32), 1)[
            0
        ].likeness
        > 0.6
    )
    exact = [m.start for m in index.nearest(vectors[5], 10)]
    monkeypatch.setattr("vlad.app.search.EXACT", 10)
    assert index.nearest(vectors[5], 1)[0].start == exact[0]
    assert len(set(exact) & {m.start for m in index.nearest(vectors[5], 10)}) >= 8


NONSENSE: list[tuple[str, str, Any, int]] = [
    ("get", "/api/videos/" + "0" * 32, None, 404), ("get", "/api/videos/..%2f..%2fetc", None, 404), ("get", "/api/videos/xyz", None, 404),
    ("get", "/api/segments?first=-1", None, 422), ("get", "/api/segments?count=100000", None, 422), ("get", "/api/segments?by=x", None, 422),
    ("post", "/api/uploads", {"name": "a", "size": 10**15}, 413), ("post", "/api/uploads", {"name": "a", "size": 1, "x": 1}, 422),
    ("post", "/api/uploads", {"name": "a", "size": "NaN"}, 422), ("post", "/api/jobs/" + "0" * 32 + "/cancel", None, 200),
    ("post", "/api/segments/" + "0" * 32 + "/verdict", {"verdict": "confirmed"}, 404), ("put", "/api/uploads/" + "0" * 32 + "?offset=0", None, 404),
    ("get", "/api/nothing", None, 404), ("get", "/api/exports/" + "0" * 32 + "/file", None, 404), ("post", "/api/exports", {"segments": []}, 422),
    ("post", "/api/exports", {"segments": ["0" * 32]}, 404),
]  # fmt: skip


def test_what_makes_no_sense_is_one_line(api: TestClient) -> None:
    for method, path, body, status in NONSENSE:
        answer = api.request(method, path, json=body)
        assert answer.status_code == status, (path, answer.text)
        assert "Traceback" not in answer.text


def test_a_piece_is_at_most_eight_mebibytes_and_stays_in_order(api: TestClient) -> None:
    begun = api.post("/api/uploads", json={"name": "a", "size": 100}).json()["id"]
    assert api.put(f"/api/uploads/{begun}?offset=0", content=b"x" * ((8 << 20) + 1)).status_code == 413
    assert api.put(f"/api/uploads/{begun}?offset=50", content=b"x").status_code == 409
    assert api.get(f"/api/uploads/{begun}").json()["received"] == 0
    assert api.post(f"/api/uploads/{begun}/finish", json={}).status_code == 409


def test_the_api_is_described_without_a_script(api: TestClient) -> None:
    """Polish: there was no /api/docs."""
    page = api.get("/api/docs").text
    assert "<code>POST /api/segments/{segment_id}/verdict</code>" in page
    assert "one of &#x27;confirmed&#x27;, &#x27;dismissed&#x27;" in page
    assert "<script" not in page
    assert "//" not in page.replace("/page/base.css", "")
    assert page.count("<h2>") > 60


def test_an_upload_that_is_broken_off_leaves_no_traceback(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    """A reload in the middle of a piece left one (ClientDisconnect)."""
    app: Any = make_app(library, make_settings(), local=True, models=Told())  # type: ignore[arg-type]
    begun = library.begin_upload(library.local_user(), "a.mp4", 100).id
    sent: list[dict[str, Any]] = []
    coming = [{"type": "http.request", "body": b"x" * 10, "more_body": True}, {"type": "http.disconnect"}]
    scope = {
        "type": "http", "method": "PUT", "path": f"/api/uploads/{begun}", "query_string": b"offset=0", "http_version": "1.1", "scheme": "http",
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("localhost", 80), "root_path": "", "raw_path": b"/",
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert "Traceback" not in caplog.text
    assert library.uploads(library.local_user())[0].received == 0


def test_metrics_count_what_there_is(api: TestClient, library: Library) -> None:
    analysed(library, upload(api, b"clip"))
    text = api.get("/metrics").text
    for line in ("vlad_videos 1.0", "vlad_segments_open 2.0", "vlad_jobs_queued 1.0", "vlad_bytes 4.0"):
        assert line in text


def test_every_answer_has_safe_headers(api: TestClient) -> None:
    for path in ("/healthz", "/api/videos", "/nothing"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_others_cannot_reach_a_server_without_users(library: Library, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="vlad users add NAME"):
        server.serve(str(tmp_path / "other"), tmp_path / "other", make_settings(), host="0.0.0.0", port=0, workers=0)


def test_prompts_and_a_broken_one(library: Library, tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "mine.md").write_text("nothing")
    told: Any = Told(tmp_path / "prompts")
    app = make_app(library, make_settings(prompts=tmp_path / "prompts"), local=True, models=told)
    found = {
        p["name"]: p
        for p in TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000)).get("/api/prompts").json()
    }
    assert "begin it with front matter" in found["mine"]["error"]
    assert found["explain"]["error"] == ""


def test_an_answer_comes_in_pieces(api: TestClient, library: Library) -> None:
    one, _ = analysed(library, upload(api, b"clip"))
    told = api.post(f"/api/segments/{one}/chat/stream", json={"question": "who?"}).text.splitlines()
    assert [json.loads(line) for line in told] == [{"piece": "1 "}, {"answer": "0 before who?"}]
    broken = api.post(f"/api/segments/{one}/chat/stream", json={"question": "break"}).text
    assert json.loads(broken) == {"error": "the model is away"}


def test_gradio_takes_nothing_and_hands_out_no_file(api: TestClient, library: Library) -> None:
    assert api.get("/").status_code == 200
    assert api.get("/page/review.js").headers["content-type"].startswith("text/javascript")
    assert "frame-ancestors 'none'" in api.get("/").headers["content-security-policy"]
    for method, path in (
        ("post", "/gradio_api/upload"), ("post", "/gradio_api/queue/join"), ("post", "/login"), ("get", "/gradio_api/file=/etc/passwd"),
        ("get", f"/gradio_api/file={library.folder}/library.sqlite"), ("get", "/gradio_api/proxy=http://example.com"), ("get", "/page/../auth.py"),
        ("get", "/page/login.html"), ("get", "/page/%2e%2e%2fauth.js"), ("post", "/gradio_api/run/predict"),
    ):  # fmt: skip
        assert api.request(method, path).status_code in (404, 405), path


@pytest.mark.slow
def test_frames_side_by_side(api: TestClient, clip: Path) -> None:
    video = upload(api, clip.read_bytes())
    seen = Image.open(io.BytesIO(api.get(f"/api/videos/{video}/strip", params={"t": [1.0, 9.0, 2.0]}).content))
    assert seen.size == (480, 120)
    assert api.get(f"/api/videos/{video}/strip").status_code == 422
    assert api.get(f"/api/videos/{video}/strip", params={"t": "nan"}).status_code == 422


def test_who_looks_is_logged_once_in_a_while(api: TestClient, library: Library) -> None:
    video = upload(api, b"clip")
    for _ in range(3):
        api.get(f"/api/videos/{video}/media")
        api.get(f"/api/videos/{video}")
    assert [r["action"] for r in api.get("/api/audit").json()["log"]].count("viewed") == 1


def test_thresholds_say_what_they_gave(api: TestClient, library: Library) -> None:
    one, two = analysed(library, upload(api, b"clip"))
    assert api.get("/api/thresholds").json()["segments"] == 0
    api.post(f"/api/segments/{one}/verdict", json={"verdict": "confirmed"})
    api.post(f"/api/segments/{two}/verdict", json={"verdict": "dismissed", "reason": "a bonfire"})
    found = api.get("/api/thresholds").json()
    rows = {r["threshold"]: r for r in found["thresholds"]}
    assert (found["segments"], found["hours"]) == (2, pytest.approx(10 / 3600))
    assert (rows[0.5]["confirmed"], rows[0.5]["dismissed"]) == (1, 1)
    assert rows[0.5]["false_alarms_per_hour"] == pytest.approx(360)
    assert (rows[0.75]["confirmed"], rows[0.75]["dismissed"]) == (1, 0)


def test_options_are_kept_and_checked(api: TestClient, library: Library) -> None:
    assert api.put("/api/options", json={"enter": 0.7, "retention_days": 30}).json() == {
        "enter": 0.7,
        "retention_days": 30,
    }
    assert api.put("/api/options", json={"enter": None}).json() == {"retention_days": 30}
    for wrong in ({"enter": 2}, {"retention_days": 0}, {"x": 1}):
        assert api.put("/api/options", json=wrong).status_code == 422
    told = api.get("/api/health").json()
    assert (told["preset"], told["options"], told["clips"]) == ("nano", {"retention_days": 30}, 0)


def test_people_come_and_go(signed: TestClient, library: Library) -> None:
    signed.post("/api/login", json={"name": "root", "password": PASSWORD})
    assert signed.post("/api/users", json={"name": "bob", "password": "short"}).status_code == 422
    assert signed.post("/api/users", json={"name": "bob", "password": PASSWORD}).json()["role"] == "reviewer"
    assert signed.post("/api/users", json={"name": "bob", "password": PASSWORD}).status_code == 409
    assert [u["name"] for u in signed.get("/api/users").json()] == ["ann", "bob", "root"]
    assert signed.delete("/api/users", params={"name": "bob"}).json() == {"closed": True}
    assert library.sign_in("bob", PASSWORD) is None
    assert signed.delete("/api/users", params={"name": "bob"}).status_code == 404
    assert signed.delete("/api/users", params={"name": "root"}).status_code == 422  # the last admin


def test_a_template_is_checked_tried_and_saved_as_a_version(api: TestClient, library: Library) -> None:
    one, _ = analysed(library, upload(api, b"clip"))
    (mine,) = [p for p in api.get("/api/prompts").json() if p["name"] == "verify"]
    edit = mine["source"].replace("## user\n", "## user\nLook twice.\n")
    broken = edit + "\n{{ nothing_known }}"
    assert api.post("/api/prompts/verify/lint", json={"source": edit}).json()["usable"]
    told = api.post("/api/prompts/verify/lint", json={"source": broken}).json()
    assert (told["usable"], told["findings"][0]["line"]) == (False, broken.count("\n") + 1)
    seen = api.post("/api/prompts/verify/preview", json={"segment": one}).json()
    assert (seen["text"], seen["times"]) == (f"what verify@{mine['hash']} asks", [1.5])
    drafted = api.post("/api/prompts/verify/preview-draft", json={"segment": one, "source": edit}).json()
    assert drafted["prompt"] != f"verify@{mine['hash']}"
    assert api.post("/api/prompts/verify/try", json={"segment": one, "source": edit}).json()["text"] == "by verify"
    assert (
        api.get(f"/api/segments/{one}").json()["explanation"]["text"] == "<script>alert(1)</script>"
    )  # nothing is kept
    assert api.post("/api/prompts/verify/try", json={"segment": one, "source": broken}).status_code == 422
    assert api.put("/api/prompts/verify", json={"source": broken, "base": mine["hash"]}).status_code == 422
    kept = api.put("/api/prompts/verify", json={"source": edit, "base": mine["hash"]}).json()
    assert kept["version"] == mine["version"] + 1
    assert "Look twice." in (library.folder / "prompts" / "verify.md").read_text()
    (now,) = [p for p in api.get("/api/prompts").json() if p["name"] == "verify"]
    assert (now["hash"], now["version"]) == (kept["hash"], kept["version"])  # in use at once
    assert (
        api.put("/api/prompts/verify", json={"source": edit, "base": mine["hash"]}).status_code == 409
    )  # somebody saved
    (old,) = api.get("/api/prompts/verify/history").json()
    assert (old["source"], old["hash"]) == (mine["source"], mine["hash"])
    for name in ("..%2fx", "A", "x" * 80):
        assert api.put(f"/api/prompts/{name}", json={"source": edit}).status_code in (404, 422)


def test_drafts_are_for_admins(signed: TestClient) -> None:
    signed.post("/api/login", json={"name": "ann", "password": PASSWORD})
    body = {"segment": "0" * 32, "source": "x"}
    assert signed.post("/api/prompts/verify/try", json=body).status_code == 403
    assert signed.post("/api/prompts/verify/preview-draft", json=body).status_code == 403
    assert signed.put("/api/prompts/verify", json={"source": "x"}).status_code == 403
