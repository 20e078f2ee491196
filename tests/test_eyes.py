"""What reviewers' eyes found at the server: times that can't be, verdicts over others' heads, words under a wrong name."""

import time
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from serving import Person, client, given
from sqlalchemy import update
from vlad.app.casebook import told
from vlad.app.evidence import said_by

from vlad.clock import iso, stamp
from vlad.errors import InputError
from vlad.library import Library
from vlad.library.database import called
from vlad.library.tables import SegmentRow, Video

NOBODY = "0" * 32


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


@pytest.fixture
def app(library: Library) -> TestClient:
    return client(library, local=False)


@pytest.fixture
def people(app: TestClient, library: Library) -> list[Person]:
    named = (("ann", "reviewer"), ("bob", "reviewer"), ("root", "admin"))
    return [Person(app, library, name, role) for name, role in named]


def test_a_time_at_which_nothing_was_recorded(library: Library, people: list[Person]) -> None:
    ann = people[0]
    video, _ = given(library, ann)
    begun = library.begin_upload(ann.user, "a.mp4", 1)
    library.append(ann.user, begun.id, 0, b"x")
    for local in ("9999-12-31T23:59:59", "0001-01-01", "0001-01-01T00:00:00+14:00", "1970-01-01T01:00"):
        for zone in ("", "-12:00", "Europe/Berlin"):
            assert "time" in ann.ask("PATCH", f"/videos/{video}", {"local": local, "zone": zone}, 422)["detail"]
    for recorded in (0, -1e10, 8e9, time.time() + 90_000):
        assert "time" in ann.ask("PATCH", f"/videos/{video}", {"recorded": recorded}, 422)["detail"]
        ann.ask("POST", f"/uploads/{begun.id}/finish", {"recorded": recorded}, 422)
    assert ann.ask("GET", f"/videos/{video}")["recorded"] is None


def test_a_bad_time_that_is_stored_already_takes_nothing_down(library: Library, people: list[Person]) -> None:
    ann = people[0]
    video, (one, _) = given(library, ann)
    for recorded in (253402300799.0, -62135596800.0, 1e300):
        with library.write() as session:
            session.execute(update(Video).where(Video.id == video).values(recorded=recorded, recorded_by="typed"))
        assert ann.ask("GET", f"/segments/{one}")["starts_at"] is None
        assert ann.ask("GET", "/segments")["total"] == 2
        (listed,) = ann.ask("GET", "/videos")["videos"]
        assert (listed["starts_at"], listed["recorded"]) == (None, None)
        assert ann.ask("GET", "/days") == []
        assert [v["id"] for v in ann.ask("GET", "/days/2026-11-25")["undated"]] == [video]


def test_a_clock_time_that_was_skipped_is_none_and_of_two_the_first_counts() -> None:
    with pytest.raises(InputError, match="put forward"):
        stamp("2024-03-31T02:30", "Europe/Berlin")
    assert iso(stamp("2024-10-27T02:30", "Europe/Berlin"), "Europe/Berlin") == "2024-10-27T02:30:00+02:00"


def test_many_verdicts_without_versions_override_nobody(library: Library, people: list[Person]) -> None:
    ann, bob, _ = people
    _, (one, two) = given(library, ann)
    bob.ask("POST", f"/segments/{one}/verdict", {"verdict": "dismissed"})
    made = ann.ask("POST", "/verdicts", {"segments": [{"id": one}, {"id": two}], "verdict": "confirmed"})
    assert [d["id"] for d in made["decided"]] == [two]
    assert made["refused"] == [{"id": one, "detail": "bob dismissed this 0 s ago"}]
    again = ann.ask("POST", "/verdicts", {"segments": [{"id": two}], "verdict": "dismissed"})
    assert len(again["decided"]) == 1  # one's own second thoughts
    seen = ann.ask("GET", f"/segments/{one}")["version"]
    made = ann.ask("POST", "/verdicts", {"segments": [{"id": one, "version": seen}], "verdict": "confirmed"})
    assert made["refused"] == []
    bob.ask("POST", f"/segments/{one}/verdict", {"verdict": "dismissed"}, 201)


def test_a_sentence_that_somebody_else_adopted_meanwhile(library: Library, people: list[Person]) -> None:
    ann, bob, _ = people
    _, (one, _) = given(library, ann)
    seen = ann.ask("GET", f"/segments/{one}")["version"]
    adopted = bob.ask("PUT", f"/segments/{one}/adopted", {"text": "They dance.", "version": seen})
    assert adopted["version"] == seen + 1
    said = ann.ask("PUT", f"/segments/{one}/adopted", {"text": "They fight.", "version": seen}, 409)
    assert (said["detail"], said["segment"]["adopted"]["text"]) == ("bob edited the sentence 0 s ago", "They dance.")
    ann.ask("POST", f"/segments/{one}/verdict", {"verdict": "confirmed", "version": seen})  # of another matter
    bob.ask("PUT", f"/segments/{one}/adopted", {"text": "They sing.", "version": seen})
    mine = ann.ask("PUT", f"/segments/{one}/adopted", {"text": "They fight."})
    assert ann.ask("PUT", f"/segments/{one}/adopted", {"text": "They fight."})["version"] == mine["version"]


def test_a_mark_is_made_once_and_filled_in(library: Library, people: list[Person]) -> None:
    ann, bob, _ = people
    _, (one, _) = given(library, ann)
    for text, rows in (("", [""]), ("", [""]), ("a dance", ["a dance"]), ("a dance", ["a dance"]), ("", ["a dance"])):
        found = ann.ask("POST", f"/segments/{one}/wrong", {"text": text}, 201)["wrong"]
        assert [w["text"] for w in found] == rows
    assert len(ann.ask("POST", f"/segments/{one}/wrong", {"text": "a fight"}, 201)["wrong"]) == 2
    assert len(bob.ask("POST", f"/segments/{one}/wrong", {"text": "a dance"}, 201)["wrong"]) == 3


def test_only_its_author_rewrites_a_note(library: Library, people: list[Person]) -> None:
    ann, bob, root = people
    _, (one, _) = given(library, ann)
    (note,) = ann.ask("POST", f"/segments/{one}/notes", {"text": "a dance"})["notes"]
    for other in (bob, root):
        assert "ann wrote it" in other.ask("PATCH", f"/notes/{note['id']}", {"text": "x"}, 403)["detail"]
    assert root.ask("DELETE", f"/notes/{note['id']}")["notes"] == []


def test_names_turn_no_direction_and_control_no_screen(library: Library, people: list[Person]) -> None:
    ann, _, root = people
    assert called("a\u202e\u2066\u200f\u061c\x1b\x07\x85\u2028b\tc \u0645\u200d") == "ab c \u0645\u200d"
    video, (one, _) = given(library, ann, name="gpj.\u202e4pm.mp4")
    assert ann.ask("GET", f"/videos/{video}")["name"] == "gpj.4pm.mp4"
    changed = ann.ask("PATCH", f"/videos/{video}", {"name": "\u2067lobby\x9b", "camera": "\u200edoor\n2"})
    assert (changed["name"], changed["camera"]) == ("lobby", "door 2")
    ann.ask("PATCH", f"/videos/{video}", {"name": "\u202e"}, 422)
    assert library.order(ann.user, [one], "the \u202ecase", {}).title == "the case"
    made = root.ask("POST", "/users", {"name": "ca\u202erl", "password": "correct horse battery"}, 201)
    assert made["name"] == "carl"


def test_whose_words_and_class_go_into_a_case() -> None:
    sure = {"verdict": "anomaly", "text": "Two people fight.", "fields": {"what": "two people fight"}}
    row = SegmentRow(origin="model", author="", label="riot", explanation=sure)
    assert said_by(row) == ""
    mine = {"text": "They dance.", "by": "ann", "at": 0.0}
    for said, edited, told_by in (
        (sure, False, "adopted"), (sure, True, "edited"), (None, True, "written"), ({"verdict": "unclear", "text": "?"}, True, "written"),
    ):  # fmt: skip
        row.explanation, row.adopted = said, {**mine, "edited": edited}
        assert said_by(row) == f"{told_by} by ann"
    fact = {
        **dict.fromkeys(("starts_at", "marked_by", "span", "camera", "unseen", "reason", "tags", "clip_note", "decided_by"), ""), "notes": [],
        "status": "open", "peak": 0.5, "peak_time": 1.0, "label": "dance", "label_by": "ann", "said": "They dance.", "said_by": "written by ann",
    }  # fmt: skip
    lines = told(cast(dict[str, Any], fact))
    assert lines[0].endswith("class by ann: dance")
    assert lines[1] == "They dance. (written by ann)"


@pytest.mark.slow
def test_the_log_counts_instead_of_listing_ids(library: Library, people: list[Person], app: TestClient) -> None:
    ann, _, root = people
    video, (one, two) = given(library, ann)
    library.order(ann.user, [one, two], "riots", {})
    ann.ask("POST", f"/segments/{one}/wrong", {}, 201)
    ann.ask("POST", "/verdicts", {"segments": [{"id": two}], "verdict": "confirmed", "reason": "seen"})
    log = {r["action"]: r for r in root.ask("GET", "/audit")["log"]}
    assert log["export ordered"]["detail"] == {"segments": 2}
    assert log["called wrong"]["detail"] == {} == log["confirmed"]["detail"]
    assert (log["confirmed"]["reason"], log["uploaded"]["detail"]) == ("seen", {"size": 4})
    assert video not in str([r["detail"] for r in log.values()])
    assert one in app.get("/api/audit.csv", headers=root.headers).text  # the record itself is whole


def test_what_is_no_id_and_no_day(library: Library, people: list[Person]) -> None:
    ann = people[0]
    video, _ = given(library, ann)
    assert ann.ask("GET", "/segments/nonsense", None, 404) == {"detail": "segment: no such id"}
    assert ann.ask("GET", "/videos/X/scores", None, 404) == {"detail": "video: no such id"}
    assert ann.ask("PATCH", "/notes/1", {"text": "x"}, 404) == {"detail": "note: no such id"}
    assert ann.ask("GET", "/days/nonsense", None, 422)["detail"].startswith("day: expected")
    assert ann.ask("GET", f"/videos/{video}/tracks") == []
    assert all(len(pair) == 2 for pair in ann.ask("GET", "/segments/ids")["ids"])


def test_who_looks_at_what_is_there(library: Library, people: list[Person], app: TestClient) -> None:
    ann, bob, _ = people
    video, (one, _) = given(library, ann)
    told = ann.ask("POST", "/presence", {"segment": one, "video": video})["people"]
    assert ann.ask("POST", "/presence", {"segment": NOBODY})["people"] == told
    assert bob.ask("POST", "/presence", {"video": NOBODY})["people"] == told
    reads = {"Authorization": f"Bearer {library.open_key(bob.user, 60, name='r', scopes=['read'])}"}
    assert app.post("/api/presence", json={}, headers=reads).status_code == 403
