"""The log to be read, keys and passwords, cases in the background, what the models at hand cannot do, and metrics."""

import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from serving import PASSWORD, Person, client, given
from sqlalchemy import update
from vlad.app.models import cannot

from vlad.config import make_settings
from vlad.errors import InputError
from vlad.library import Library, guesses
from vlad.library.tables import AuditRow


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("log") / "library")


@pytest.fixture(scope="module")
def app(library: Library) -> Iterator[TestClient]:
    with client(library, local=False) as found:
        yield found


@pytest.fixture(scope="module")
def people(app: TestClient, library: Library) -> tuple[Person, Person]:
    """ann, who reviews, and root, an admin."""
    return Person(app, library, "ann"), Person(app, library, "root", "admin")


People = tuple[Person, Person]


def test_the_log_names_what_it_is_about(library: Library, people: People) -> None:
    """H14: a row said `confirmed e34f7a41f0b5`."""
    ann, root = people
    video, (one, two) = given(library, ann, name="lobby.mp4")
    other, (three, _) = given(library, ann, name="yard.mp4")
    ann.ask("POST", f"/segments/{one}/verdict", {"verdict": "dismissed", "reason": "a drill"})
    ann.ask("POST", f"/segments/{three}/verdict", {"verdict": "confirmed"})
    root.ask("POST", f"/segments/{two}/notes", {"text": "look"})
    found = root.ask("GET", "/audit", video=video)
    assert [r["action"] for r in found["log"]] == ["noted", "dismissed", "uploaded"]
    assert found["total"] == 3
    row = found["log"][1]
    assert (row["name"], row["video"], row["segment"], row["start"], row["reason"]) == (
        "lobby.mp4",
        video,
        one,
        1.0,
        "a drill",
    )
    assert root.ask("GET", "/audit", action="confirmed", user="ann")["log"][0]["name"] == "yard.mp4"
    assert root.ask("GET", "/audit", user="nobody")["total"] == 0
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert root.ask("GET", "/audit", day=today, zone="+00:00", video=other)["total"] == 2
    assert root.ask("GET", "/audit", day="2001-01-01")["total"] == 0
    for wrong in ({"day": "x"}, {"day": today, "zone": "Mars"}, {"count": 0}):
        root.ask("GET", "/audit", None, 422, **wrong)
    ann.ask("GET", "/audit", None, 403)


def test_the_log_as_a_table(library: Library, people: People) -> None:
    ann, root = people
    _, (one, _) = given(library, ann, name="=cmd()")
    ann.ask("POST", f"/segments/{one}/verdict", {"verdict": "dismissed", "reason": "@x"})
    answer = root.app.get("/api/audit.csv", headers=root.headers, params={"action": "dismissed", "zone": "+00:00"})
    assert answer.headers["content-type"].startswith("text/csv")
    row = next(csv.DictReader(io.StringIO(answer.text)))
    assert (row["name"], row["reason"], row["user"]) == ("'=cmd()", "'@x", "ann")
    assert row["at"].endswith("+00:00")
    assert ann.app.get("/api/audit.csv", headers=ann.headers).status_code == 403
    assert root.app.get("/api/audit.csv", headers=root.headers, params={"day": "x"}).status_code == 422


def test_one_search_is_one_row(library: Library, people: People) -> None:
    """H14: one search was eleven rows `viewed`."""
    ann, root = people
    given(library, ann)
    before = root.ask("GET", "/audit")["total"]
    moments = ann.ask("GET", "/search", words="abcd")["moments"]
    assert moments
    for moment in moments[:1]:
        ann.app.get(f"/api/videos/{moment['video']}/sheet", headers=ann.headers)
    after = root.ask("GET", "/audit")
    assert after["total"] - before == 1
    assert (after["log"][0]["action"], after["log"][0]["detail"]["words"]) == ("searched", "abcd")


def test_the_chain_is_not_read_on_every_look(library: Library, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """F24."""
    _, root = people
    looked: list[int] = []
    from vlad.library import logbook

    real = logbook.verify
    monkeypatch.setattr(
        logbook, "verify", lambda session, *known: (looked.append(len(known)), real(session, *known))[1]
    )
    for _ in range(3):
        assert root.ask("GET", "/audit")["broken"] is None
    assert len(looked) <= 1
    looked.clear()
    library.log("root", "viewed")
    assert root.ask("GET", "/audit")["rows"] == library.audit_rows(count=1)[0].number
    assert looked == [1]  # from the last known row on
    with library.write() as session:
        row = session.get(AuditRow, 2)
        assert row is not None
        before, row.user = row.user, "nobody"
    monkeypatch.setattr(logbook, "FRESH", -1.0)
    assert root.ask("GET", "/audit")["broken"] == 2
    with library.write() as session:
        session.execute(update(AuditRow).where(AuditRow.number == 2).values(user=before))
    assert root.ask("GET", "/audit")["broken"] is None


def test_tokens_are_listed_and_revoked(library: Library, people: People) -> None:
    """H12: they were shown once and could not be ended."""
    ann, root = people
    secret = root.ask("POST", "/tokens", {"name": "ci", "scopes": ["read"]}, 201)["token"]
    held = {"Authorization": f"Bearer {secret}"}
    assert root.app.get("/api/me", headers=held).status_code == 200
    found = next(t for t in root.ask("GET", "/tokens") if t["name"] == "ci")
    assert (found["user"], found["scopes"], found["used"] is not None) == ("root", ["read"], True)
    assert {t["user"] for t in ann.ask("GET", "/tokens")} == {"ann"}
    ann.ask("DELETE", f"/tokens/{found['id']}", None, 404)
    root.ask("DELETE", f"/tokens/{found['id']}")
    assert root.app.get("/api/me", headers=held).status_code == 401
    root.ask("DELETE", f"/tokens/{found['id']}", None, 404)
    assert secret not in str(root.ask("GET", "/tokens"))
    weak = root.ask("POST", "/tokens", {"name": "weak", "scopes": ["read", "write"]}, 201)["token"]
    anns = ann.ask("GET", "/tokens")[0]["id"]
    refused = root.app.delete(f"/api/tokens/{anns}", headers={"Authorization": f"Bearer {weak}"})
    assert refused.status_code == 404  # an admin's token can do no more than its scopes say


def test_a_password_is_changed_and_other_sessions_end(app: TestClient, library: Library) -> None:
    """H12: nobody could."""
    library.add_user("carl", PASSWORD)
    for _ in range(2):  # an older session, and this one
        app.cookies.clear()
        assert app.post("/api/login", json={"name": "carl", "password": PASSWORD}).status_code == 200
    mine = app.get("/api/me/sessions").json()
    assert [s["current"] for s in mine] == [True, False]
    wrong = {"old": "not the old one", "new": "a longer passphrase"}
    assert app.put("/api/me/password", json=wrong).status_code == 409
    assert app.put("/api/me/password", json={"old": PASSWORD, "new": "short"}).status_code == 422
    assert app.put("/api/me/password", json={"old": PASSWORD, "new": "a longer passphrase"}).json() == {"changed": True}
    assert [s["current"] for s in app.get("/api/me/sessions").json()] == [True]
    assert library.sign_in("carl", PASSWORD) is None
    assert library.sign_in("carl", "a longer passphrase") is not None
    app.cookies.clear()


def test_guesses_at_a_password_are_limited(app: TestClient, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, _ = people
    monkeypatch.setattr(guesses, "TRIES", 2)
    monkeypatch.setattr(guesses, "FIRST", 30.0)
    body = {"old": "x", "new": "a longer passphrase"}
    for expected in (409, 409, 429):
        ann.ask("PUT", "/me/password", body, expected)


@pytest.mark.parametrize("name", ["retention", "Command line", "local"])
def test_a_name_of_the_log_itself_is_taken(library: Library, name: str) -> None:
    """F14."""
    with pytest.raises(InputError, match="the log uses this name"):
        library.add_user(name, PASSWORD)


def test_the_log_says_who_added_somebody(library: Library, people: People) -> None:
    """F14: it named the new user as the doer."""
    _, root = people
    root.ask("POST", "/users", {"name": "dora", "password": PASSWORD}, 201)
    row = root.ask("GET", "/audit", action="user added")["log"][0]
    assert (row["user"], row["name"]) == ("root", "dora")


@pytest.mark.slow
def test_a_case_is_made_though_nobody_waits(library: Library, people: People) -> None:
    """H13: leaving the room hid a running export, and the list had no titles."""
    ann, _ = people
    _, (one, two) = given(library, ann, name="lobby.mp4")
    ann.ask("POST", "/exports", {"segments": [one, two]}, 422)
    for i in (one, two):
        ann.ask("POST", f"/segments/{i}/verdict", {"verdict": "confirmed"})
    made = ann.ask("POST", "/exports", {"segments": [one, two], "title": "The riot / \u4e2d"}, 202)
    assert made["status"] == "queued"
    end = time.monotonic() + 30
    while (row := ann.ask("GET", "/exports")[0])["status"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (row["id"], row["title"], row["status"], row["by"]) == (made["id"], "The riot / \u4e2d", "done", "ann")
    assert (row["done"], row["total"], "report.pdf" in row["manifest"]) == (2, 2, True)
    answer = ann.app.get(f"/api/exports/{made['id']}/file", headers=ann.headers)
    assert answer.content[:2] == b"PK"
    named = answer.headers["content-disposition"]
    assert "vlad%20The%20riot%20%E4%B8%AD%2020" in named
    assert named.endswith(".zip")


def test_a_case_that_cannot_be_made_says_why(library: Library, people: People) -> None:
    ann, _ = people
    _, (one, _) = given(library, ann)
    ann.ask("POST", f"/segments/{one}/verdict", {"verdict": "confirmed"})
    video = ann.ask("GET", f"/segments/{one}")["video"]
    library.clip(video).unlink()
    ann.ask("POST", "/exports", {"segments": [one], "originals": True}, 202)
    end = time.monotonic() + 30
    while (row := ann.ask("GET", "/exports")[0])["status"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert row["status"] == "failed"
    assert "a clip of it not read" in row["error"]
    assert str(library.folder) not in row["error"]


def test_cases_of_a_server_that_ended_wait_again(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    user = library.local_user()
    library.order(user, ["0" * 32], "x", {})
    taken = library.next_case()
    assert taken is not None
    assert library.next_case() is None
    library.revive_cases()
    again = library.next_case()
    assert again is not None
    assert again.id == taken.id


def test_what_the_models_at_hand_cannot_do_is_told_first(people: People) -> None:
    """H5, H7: five questions, no answer; nonsense that matches well."""
    ann, _ = people
    told = ann.ask("GET", "/me")["cannot"]
    assert set(told) == {"chat", "search", "explain"}
    assert "built-in model" in told["chat"]
    larger = cannot(make_settings("clip-b16"))
    assert larger == {"chat": "", "search": "", "explain": ""}


def test_metrics_tell_of_jobs_verdicts_and_searches(app: TestClient, people: People, library: Library) -> None:
    ann, _ = people
    given(library, ann)
    text = app.get("/metrics", headers=ann.headers).text
    for name in (
        "vlad_job_seconds_count",
        "vlad_job_seconds_sum",
        'vlad_verdicts{verdict="confirmed"}',
        "vlad_searches_total",
        "vlad_job_oldest",
    ):
        assert name in text
