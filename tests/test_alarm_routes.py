"""The server's routes of cameras, alarms and targets: what admins set, what people do, and what nobody is told."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from receivers import status, webhook
from serving import Person, client
from vlad.app.background import Retention

from vlad.library import Library
from vlad.live.alarms import Event
from vlad.live.out import Courier

T = 1_795_608_000.0
CAMERA = {"name": "door", "url": "rtsp://guard:s3cret@10.0.0.5/stream", "settings": {"hold": 2, "threshold": 0.7}}
HOOK = {"kind": "webhook", "name": "desk", "address": "https://hooks.example/vlad", "secret": "a secret of the hook"}


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def api(library: Library) -> TestClient:
    return client(library)


def ask(api: TestClient, method: str, path: str, body: Any = None, expect: int = 200, **query: Any) -> Any:
    found = api.request(method, f"/api{path}", json=body, params=query)
    assert found.status_code == expect, found.text[:300]
    assert "s3cret" not in found.text
    assert str(HOOK["secret"]) not in found.text
    return found.json()


def raised(library: Library, at: float = T, **more: Any) -> str:
    found: str = library.record_alarm("door", Event("raised", at, at, at + 2, 0.9, "fighting"), **more).id
    return found


def test_a_camera_is_added_changed_muted_and_removed_and_its_password_is_told_nobody(api: TestClient, library: Library) -> None:  # fmt: skip
    door = ask(api, "POST", "/cameras", CAMERA, 201)
    assert (door["url"], door["opened"], door["threshold"], door["settings"]) == ("rtsp://10.0.0.5/stream", True, 0.7, {"hold": 2.0, "threshold": 0.7})  # fmt: skip
    ask(api, "POST", "/cameras", CAMERA, 409)
    path = f"/cameras/{door['id']}"
    changed = ask(api, "PATCH", path, {"password": "other s3cret"})
    assert changed["opened"] is True
    assert library.camera_access(door["id"]).password == "other s3cret"
    assert ask(api, "PATCH", path, {"user": "", "password": ""})["opened"] is False
    zones = [{"name": "gate", "points": [[0, 0], [1, 0], [1, 1]], "threshold": 0.9}]
    night = [{"days": ["sat"], "since": "22:00", "until": "06:00"}]
    ask(api, "PATCH", path, {"settings": {"zones": zones, "schedule": night, "clock": "Europe/Berlin"}})
    now = ask(api, "GET", path)
    assert now["settings"]["zones"][0]["name"] == "gate"
    ask(api, "PATCH", path, {"settings": {}, "version": changed["version"]}, 409)  # who opened its form before that
    assert ask(api, "PATCH", path, {"on": True, "version": now["version"]})["version"] == now["version"]
    muted = ask(api, "POST", f"{path}/mute", {"minutes": 5, "reason": "painters"})["muted_until"]
    assert 290 < muted - time.time() < 310
    assert ask(api, "POST", f"{path}/mute", {"minutes": 0})["muted_until"] is None
    now = time.time()
    library.keep_scores("door", np.array([[now - 9, now - 8], [now - 5, now - 4]]), np.array([0.25, 0.5], np.float32))
    assert ask(api, "GET", f"{path}/scores", minutes=1)["scores"] == [0.25, 0.5]
    assert [c["name"] for c in ask(api, "GET", "/cameras")] == ["door"]
    assert ask(api, "DELETE", path) == {"removed": True}
    ask(api, "DELETE", path, expect=404)
    log = json.dumps(ask(api, "GET", "/audit")["log"])
    assert "painters" in log


def test_a_camera_that_makes_no_sense_is_refused(api: TestClient) -> None:
    for wrong in (
        {"url": "file:///etc/passwd"}, {"url": "rtsp://"}, {"name": ""}, {"settings": {"threshold": 0}}, {"settings": {"hold": 1e9}},
        {"settings": {"zones": [{"name": "x", "points": [[0, 0], [2, 0], [1, 1]]}]}}, {"settings": {"schedule": [{"since": "29:00"}]}},
        {"settings": {"clock": "Mars/Olympus"}}, {"settings": {"unknown": 1}}, {"id": "x"},
    ):  # fmt: skip
        ask(api, "POST", "/cameras", {**CAMERA, **wrong}, 422)


def test_alarms_come_in_pages_and_people_answer_them(api: TestClient, library: Library) -> None:
    for k in range(5):
        raised(library, T + 100 * k, latency={"score": 0.4})
    first = ask(api, "GET", "/alarms", count=2)
    second = ask(api, "GET", "/alarms", count=2, before=first["next"])
    third = ask(api, "GET", "/alarms", count=2, before=second["next"])
    found = [a for page in (first, second, third) for a in page["alarms"]]
    assert [a["start"] for a in found] == [T + 100 * k for k in (4, 3, 2, 1, 0)]
    assert third["next"] is None
    assert first["counts"] == {"open": 5, "acknowledged": 0, "escalated": 0, "going": 5}
    newest = found[0]
    path = f"/alarms/{newest['id']}"
    done = ask(api, "POST", f"{path}/acknowledge", {"reason": "on my way", "version": newest["version"]})
    assert (done["state"], done["by"]) == ("acknowledged", "local")
    ask(api, "POST", f"{path}/acknowledge", {}, 409)
    assert ask(api, "POST", f"{path}/escalate", {})["state"] == "escalated"
    assert ask(api, "POST", f"{path}/verdict", {"verdict": "dismissed"})["verdict"] == "dismissed"
    assert ask(api, "GET", path)["verdict"] == "dismissed"
    assert [a["id"] for a in ask(api, "GET", "/alarms", state="escalated")["alarms"]] == [newest["id"]]
    assert ask(api, "GET", "/alarms", camera="yard")["alarms"] == []
    for before in ("x", "1-2", "1e999-" + "0" * 32, "-1-" + "0" * 32):
        ask(api, "GET", "/alarms", expect=422, before=before)
    ask(api, "POST", f"/alarms/{'0' * 32}/escalate", {}, 404)
    ask(api, "POST", f"{path}/verdict", {"verdict": "perhaps"}, 422)


def test_a_picture_goes_out_only_where_nobody_is_covered(api: TestClient, library: Library) -> None:
    found = raised(library, picture=b"\xff\xd8 a picture")
    answer = api.get(f"/api/alarms/{found}/picture")
    assert (answer.content, answer.headers["content-type"]) == (b"\xff\xd8 a picture", "image/jpeg")
    ask(api, "PUT", "/privacy", {"cover": "people"})
    assert api.get(f"/api/alarms/{found}/picture").status_code == 409
    assert api.get(f"/api/alarms/{raised(library, T + 1)}/picture").status_code == 404
    assert "alarm viewed" in {r.action for r in library.audit_rows()}


def test_a_target_is_made_tested_changed_and_removed(api: TestClient, library: Library) -> None:
    with webhook() as hook:
        desk = ask(api, "POST", "/targets", {**HOOK, "address": f"http://127.0.0.1:{hook.port}/", "settings": {"allow": ["127.0.0.1"]}}, 201)  # fmt: skip
        path = f"/targets/{desk['id']}"
        assert (desk["opened"], desk["waiting"]) == (True, 0)
        ask(api, "POST", f"{path}/test", expect=202)
        courier = Courier(library)
        courier.turn()
        courier.close()
        assert len(hook.got) == 1
        (told,) = ask(api, "GET", f"{path}/messages")
        assert (told["type"], told["error"], told["attempts"]) == ("test", "", 1)
        assert told["sent"] is not None
        for _ in range(3):
            ask(api, "POST", f"{path}/test", expect=202)
        ask(api, "POST", f"{path}/test", expect=409)
        (told,) = ask(api, "GET", "/targets")
        assert (told["waiting"], told["error"], told["next"] <= time.time()) == (3, "", True)
        hook.answer = status(503)
        courier = Courier(library)
        courier.turn()
        courier.close()
        (told,) = ask(api, "GET", "/targets")
        assert (told["waiting"], told["error"], told["next"] > time.time()) == (3, "it answered 503", True)
    ask(api, "PATCH", path, {"address": "https://other.example/"})
    assert library.target_access(desk["id"]).secret == ""
    ask(api, "PATCH", path, {"secret": "short"}, 422)
    ask(api, "PATCH", path, {"address": "http://other.example/", "settings": {}}, 422)
    ask(api, "POST", "/targets", {**HOOK, "name": "b", "address": "https://u:p@x.example/"}, 422)
    ask(api, "POST", "/targets", {**HOOK, "name": "b", "kind": "mail", "address": "smtps://mail.example", "secret": "a:b"}, 422)  # fmt: skip
    ask(api, "POST", "/targets", {**HOOK, "name": "b", "kind": "push"}, 422)
    assert ask(api, "DELETE", path) == {"removed": True}
    ask(api, "GET", f"{path}/messages", expect=404)


@pytest.mark.slow
def test_reviewers_see_no_address_and_change_nothing(library: Library) -> None:
    app = TestClient(client(library, local=False).app, base_url="http://localhost", client=("127.0.0.1", 50000))
    root, ann = Person(app, library, "root", "admin"), Person(app, library, "ann")
    door = root.ask("POST", "/cameras", CAMERA, 201)["id"]
    (seen,) = ann.ask("GET", "/cameras")
    assert (seen["url"], seen["name"]) == ("", "door")
    assert ann.ask("GET", f"/cameras/{door}")["url"] == ""
    assert ann.ask("POST", f"/cameras/{door}/mute", {"minutes": 5})["url"] == ""
    for method, path in (("POST", "/cameras"), ("PATCH", f"/cameras/{door}"), ("DELETE", f"/cameras/{door}"), ("GET", "/targets"), ("POST", "/targets")):  # fmt: skip
        ann.ask(method, path, CAMERA if path == "/cameras" else {}, 403)
    found = raised(library, time.time())
    assert ann.ask("POST", f"/alarms/{found}/acknowledge", {})["by"] == "ann"
    library.set_option(root.user, "retention_days", 1.0)
    library.record_alarm("door", Event("raised", T - 10**7, T - 10**7, T - 10**7, 0.9))
    Retention(library).look(time.time(), 5.0)
    assert [a["id"] for a in ann.ask("GET", "/alarms")["alarms"]] == [found]


@pytest.mark.slow
def test_a_browser_is_subscribed_by_its_owner(api: TestClient, library: Library) -> None:
    pytest.importorskip("py_vapid")
    assert len(ask(api, "GET", "/push")["key"]) == 87
    own = {"endpoint": "https://push.example/send/abc", "p256dh": "B" + "A" * 86, "auth": "A" * 22}
    assert ask(api, "PUT", "/push", own) == {"subscribed": True}
    assert ask(api, "PUT", "/push", own) == {"subscribed": True}
    (target,) = ask(api, "GET", "/targets")
    assert (target["address"], target["opened"]) == ("https://push.example", True)
    changed = ask(api, "PATCH", f"/targets/{target['id']}", {"settings": {"events": ["escalated"]}})
    assert changed["settings"] == {"events": ["escalated"], **target["settings"]}  # it stays its owner's
    for wrong in ({"endpoint": "http://x.example/"}, {"p256dh": "x" * 90}, {"auth": "\u00e9" * 22}):
        ask(api, "PUT", "/push", {**own, **wrong}, 422)
    assert api.request("DELETE", "/api/push", json={"endpoint": own["endpoint"]}).json()["was"] is True
    assert ask(api, "GET", "/targets") == []
