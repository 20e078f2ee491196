"""Per-camera rights: a reviewer sees the cameras of their groups, by whichever way they ask; and nobody adds what they could not see."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import PASSWORD, Person, analysed, client, given
from vlad.app import live

from vlad.errors import InputError, RightsError
from vlad.library import Library
from vlad.library.asking import Asking, asking
from vlad.library.tables import AlarmRow, CameraRow, Change, Job, SegmentRow, SoughtRow, TargetRow, Video
from vlad.live.alarms import Event


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def app(library: Library) -> TestClient:
    api = client(library, local=False)
    return TestClient(api.app, base_url="http://localhost", client=("127.0.0.1", 50000), raise_server_exceptions=False)


class House:
    """ann sees `door`, bob `yard`, root all; a clip of each camera is analysed, decided on and handed out."""

    def __init__(self, app: TestClient, library: Library) -> None:
        self.app, self.library = app, library
        self.root = Person(app, library, "root", "admin")
        self.ann, self.bob = Person(app, library, "ann"), Person(app, library, "bob")
        self.door, self.door_segments = given(library, self.root, name="at-the-door.mp4")
        self.yard, self.yard_segments = given(library, self.root, name="in-the-yard.mp4")
        library.edit(self.root.user, self.yard, {"camera": "yard"})
        self.root.ask("PUT", "/groups", {"name": "front", "cameras": ["door"], "members": ["ann"]})
        self.root.ask("PUT", "/groups", {"name": "back", "cameras": ["yard"], "members": ["bob"]})
        self.root.ask("POST", f"/segments/{self.door_segments[0]}/notes", {"text": "a secret note"})
        self.root.ask("PUT", f"/segments/{self.door_segments[0]}/tags/secret", None)
        self.root.ask("POST", f"/segments/{self.door_segments[0]}/wrong", {"text": "it was secret"})
        self.root.ask("POST", f"/segments/{self.door_segments[0]}/verdict", {"verdict": "confirmed"})
        with library.read() as session:
            self.job = session.query(Job).filter(Job.video_id == self.door).one().id
        self.case = library.order(self.root.user, [self.door_segments[0]], "secret case", {}).id
        library.case(self.case).write_bytes(b"secret zip")
        self.root.ask("PUT", "/rules", {"camera": "door", "text": "rules: {secret: {when: a person}}", "version": 0})
        self.root.ask("PUT", "/privacy", {"cover": "people"})
        marked = self.root.ask(
            "POST", f"/videos/{self.door}/cover/marks", {"start": 1, "end": 2, "box": [0, 0, 0.5, 0.5]}
        )
        self.mark = marked["marks"][0]["id"]
        self.root.ask("PUT", "/privacy", {"cover": "none"})
        found = self.root.ask("POST", "/cameras", {"name": "door", "url": "rtsp://secret:secret@10.0.0.5/secret"}, 201)
        self.camera = found["id"]
        self.alarm = library.record_alarm("door", Event("raised", 1.7e9, 1.7e9, 1.7e9 + 2, 0.9, "secret"), picture=b"secret").id  # fmt: skip
        hook = {"kind": "webhook", "name": "secret hook", "address": "https://secret.example/", "secret": "secret" * 4}
        self.target = self.root.ask("POST", "/targets", hook, 201)["id"]
        self.root.ask("PUT", "/options", {"seek_days": 1})
        self.root.ask("PUT", "/users/again", {"name": "bob", "on": True})
        self.sought = sought(library, self.root, self.door)
        self.note = self.root.ask("GET", f"/segments/{self.door_segments[0]}")["notes"][0]["id"]
        self.wrong = self.root.ask("GET", f"/segments/{self.door_segments[0]}")["wrong"][0]["id"]


def sought(library: Library, person: Person, video: str) -> str:
    """A look for an outfit that has found one."""
    with library.write() as session:
        hit = {
            "video": video,
            "track": 1,
            "start": 1.0,
            "end": 2.0,
            "sure": 0.5,
            "kind": "person",
            "colours": {"top": "secret"},
        }
        row = SoughtRow(user_id=person.user.id, video_id=video, job_id="", wanted={"track": 1}, hits=[hit])
        session.add(row)
        session.flush()
        return row.id


@pytest.fixture
def house(app: TestClient, library: Library) -> House:
    return House(app, library)


def test_no_route_tells_a_reviewer_of_another_group_of_a_clip(house: House) -> None:
    """Every route of the application, with the foreign clip's ids wherever one is asked for."""
    ids = {
        "video_id": house.door, "segment_id": house.door_segments[0], "job_id": house.job, "export_id": house.case, "note_id": house.note,
        "camera_id": house.camera, "alarm_id": house.alarm, "target_id": house.target, "wrong_id": house.wrong, "mark_id": house.mark, "upload_id": house.door, "sought_id": house.sought, "recording": "1700000000000", "part": "header.mp4", "token_id": "0" * 32, "name": "explain", "tag": "mine", "day": "2026-11-25", "picture": "0" * 32,
    }  # fmt: skip
    bodies: dict[str, Any] = {
        "verdict": {"verdict": "confirmed"}, "verdicts": {"segments": [{"id": house.door_segments[0]}], "verdict": "dismissed"},
        "exports": {"segments": [house.door_segments[0]], "undecided": True}, "chat": {"question": "what?"}, "stream": {"question": "what?"},
        "presence": {"segment": house.door_segments[0]}, "notes": {"text": "x"}, "adopted": {"text": "x"}, "segments": {"start": 1, "end": 2},
        "assigned": {"to": "bob"}, "preview": {"segment": house.door_segments[0]}, "uploads": {"name": "x", "size": 3, "camera": "yard"},
        "explain": {"prompt": "explain"}, "rules": {"camera": "door", "text": "rules: {}", "version": 1}, "apply": {"camera": "door"},
        "push": {"endpoint": "https://push.example/x", "p256dh": "x" * 87, "auth": "x" * 22}, "mute": {"minutes": 5}, "cameras": {"name": "mine", "url": "rtsp://10.0.0.5/"}, "targets": {"kind": "webhook", "name": "mine", "address": "https://x.example/", "secret": "x" * 20},
        "check": {"text": "rules: {}"}, "original": {"reason": "because"}, "marks": {"start": 1, "end": 2}, "privacy": {"cover": "none"},
        "again": {"vehicle": "red", "reason": "because"},
    }  # fmt: skip
    words = [
        house.camera, house.alarm, house.target, house.door, *house.door_segments, house.job, house.case, house.note, house.wrong, "at-the-door", "secret", '"door"',
    ]  # fmt: skip
    before = state(house.library)
    asked = 0
    for path, methods in house.app.app.openapi()["paths"].items():  # type: ignore[attr-defined]
        if path in (
            "/api/events",
            "/api/login",
            "/api/logout",
            "/api/me/password",
        ):  # see below; ends the session; no clip
            continue
        for method in methods:
            last = [p for p in path.split("/") if not p.startswith("{")][-1]
            body = bodies.get(
                "note_" if path == "/api/notes/{note_id}" else last, {"text": "x"} if "note" in path else {}
            )
            query = {"t": 1.0, "like": house.door_segments[0], "video": house.door, "camera": "door", "offset": 0}
            for given_query in ({}, query):
                answer = house.app.request(
                    method, path.format(**ids), headers=house.bob.headers, params={"t": 1.0, "since": 1.7e9, **given_query},
                    json=None if method == "get" else body,
                )  # fmt: skip
                asked += 1
                assert answer.status_code < 500, (method, path, answer.text[:300])
                told = answer.text
                if path == "/api/verdicts":  # says of what was asked that there is none
                    told = told.replace(house.door_segments[0], "")
                assert not [w for w in words if w in told], (method, path, told[:500])
                if (
                    "{camera_id}" in path
                    or "{alarm_id}" in path
                    or "{target_id}" in path
                    or "{video_id}" in path
                    or "{segment_id}" in path
                    or "{export_id}" in path
                    or "{note_id}" in path
                ):
                    assert answer.status_code in (403, 404, 422), (method, path, answer.status_code)
    assert asked > 100
    assert state(house.library) == before


def state(library: Library) -> Any:
    """All that could be changed of clips."""
    with library.read() as session:
        rows = [
            [(s.id, s.status, s.version, s.label, s.gone, s.assigned, str(s.adopted)) for s in session.query(SegmentRow).order_by(SegmentRow.id)],
            [(v.id, v.name, v.camera, v.removed) for v in session.query(Video).order_by(Video.id)],
            [(j.id, j.status) for j in session.query(Job).order_by(Job.id)],
            [(c.name, c.on, c.muted_until, c.closed) for c in session.query(CameraRow).order_by(CameraRow.id)],
            [(a.state, a.verdict, a.version) for a in session.query(AlarmRow)], [t.name for t in session.query(TargetRow)],
        ]  # fmt: skip
    return rows, [len(library.about(s[0])[1]) for s in rows[0]], [library.about(s[0])[2] for s in rows[0]]


def test_a_reviewer_sees_the_own_cameras_as_ever(house: House) -> None:
    for who, own, other in ((house.ann, "at-the-door.mp4", house.yard), (house.bob, "in-the-yard.mp4", house.door)):
        assert [v["name"] for v in who.ask("GET", "/videos")["videos"]] == [own]
        assert {s["name"] for s in who.ask("GET", "/segments")["segments"]} == {own}
        assert who.ask("GET", "/segments")["total"] == 2
        moments = who.ask("GET", "/search", words="a fight")["moments"]
        assert {m["name"] for m in moments} == {own}
        who.ask("GET", f"/videos/{other}", expect=404)
    assert house.bob.ask("GET", "/facets")["cameras"] == ["yard"]
    assert house.bob.ask("GET", "/me")["cameras"] == ["yard"]
    assert house.bob.ask("GET", "/health")["clips"] == 1
    assert house.root.ask("GET", "/me")["cameras"] is None
    assert {v["name"] for v in house.root.ask("GET", "/videos")["videos"]} == {"at-the-door.mp4", "in-the-yard.mp4"}
    assert (
        house.ann.ask("POST", f"/segments/{house.door_segments[1]}/verdict", {"verdict": "dismissed"})["status"]
        == "dismissed"
    )
    assert house.ann.ask("POST", f"/jobs/{house.job}/cancel") == {"cancelled": False}
    house.bob.ask("GET", "/groups", expect=403)


def test_a_case_is_its_orderers_as_long_as_they_see_all_of_it(house: House) -> None:
    made = house.ann.ask("POST", "/exports", {"segments": [house.door_segments[0]]}, 202)["id"]
    assert [e["id"] for e in house.ann.ask("GET", "/exports")] == [made]
    assert {e["id"] for e in house.root.ask("GET", "/exports")} == {made, house.case}
    house.root.ask("PUT", "/groups", {"name": "front", "cameras": ["yard"], "members": ["ann"]})
    assert house.ann.ask("GET", "/exports") == []
    house.ann.ask("GET", f"/exports/{made}/file", expect=404)


def test_nobody_adds_or_moves_a_clip_to_where_they_could_not_see_it(house: House) -> None:
    refused = house.bob.ask("POST", "/uploads", {"name": "x.mp4", "size": 3, "camera": "door"}, 403)
    assert "yours" in refused["detail"] or "your cameras" in refused["detail"]
    begun = house.bob.ask("POST", "/uploads", {"name": "x.mp4", "size": 3})["id"]
    house.app.put(f"/api/uploads/{begun}?offset=0", content=b"abc", headers=house.bob.headers)
    house.bob.ask("POST", f"/uploads/{begun}/finish", {}, 403)
    house.bob.ask("POST", f"/uploads/{begun}/finish", {"camera": "yard"}, 201)
    house.bob.ask("PATCH", f"/videos/{house.yard}", {"camera": "door"}, 403)
    house.bob.ask("POST", "/sample", expect=403)


def test_groups_begin_and_end(house: House, library: Library) -> None:
    """Nobody's member sees nothing; with the last group gone everybody sees all; the log has it."""
    carl = Person(house.app, library, "carl")
    assert carl.ask("GET", "/videos")["total"] == 0
    left = house.root.ask("DELETE", "/groups", name="front")
    assert [g["name"] for g in left] == ["back"]
    assert house.ann.ask("GET", "/videos")["total"] == 0
    house.root.ask("DELETE", "/groups", name="front", expect=404)
    house.root.ask("DELETE", "/groups", name="back")
    assert carl.ask("GET", "/videos")["total"] == 2
    assert [
        r["name"] or r["detail"]["name"] for r in house.root.ask("GET", "/audit", action="group removed")["log"]
    ] == ["back", "front"]
    house.root.ask("PUT", "/groups", {"name": "x", "cameras": [], "members": ["nobody"]}, 404)
    with pytest.raises(InputError, match="1 to 200 letters"):
        library.set_group("root", " ", [], [])


def test_clips_without_a_camera_belong_to_a_group_too(house: House, library: Library) -> None:
    bare, _ = given(library, house.root, name="bare.mp4")
    library.edit(house.root.user, bare, {"camera": ""})
    assert house.bob.ask("GET", "/videos")["total"] == 1
    house.root.ask("PUT", "/groups", {"name": "back", "cameras": ["yard", ""], "members": ["bob"]})
    assert {v["name"] for v in house.bob.ask("GET", "/videos")["videos"]} == {"in-the-yard.mp4", "bare.mp4"}


def test_what_changes_is_told_to_those_who_see_it(house: House, library: Library) -> None:
    """Server-sent events: changes of foreign clips and cases, and who looks at them."""
    heard: dict[str, list[str]] = {}

    async def run() -> None:
        following = live.Live(library)
        listeners = {}
        for name, who in (("ann", house.ann), ("bob", house.bob), ("root", house.root)):
            with asking(Asking(who.user.id, "", library.cameras_of(who.user))):
                listeners[name] = following.join(library.last_change())
        last = library.last_change()
        library.note(house.root.user, house.door_segments[0], "new")
        library.order(house.ann.user, [house.door_segments[0]], "", {})
        following._pass_on(last)
        following.look("ann", house.door_segments[0], house.door, "door")
        await asyncio.sleep(0)
        following.close()
        for name, listener in listeners.items():
            heard[name] = []
            while not listener.queue.empty():
                heard[name].append(str(listener.queue.get_nowait()))

    asyncio.run(run())
    kinds = {
        name: [json.loads(t.split("data: ")[1])["kind"] for t in said if "event: change" in t]
        for name, said in heard.items()
    }
    assert kinds["bob"] == []
    assert set(kinds["ann"]) == set(kinds["root"]) > {"export"}
    assert not [t for t in heard["bob"] if house.door in t or house.door_segments[0] in t]
    assert [t for t in heard["ann"] if house.door in t and "presence" in t]


def test_what_was_missed_is_told_to_those_who_see_it(house: House) -> None:
    following = house.app.app.state.live  # type: ignore[attr-defined]

    def missed(who: Person) -> list[Change]:
        with asking(Asking(who.user.id, "", house.library.cameras_of(who.user))):
            return live._missed(following, 0)

    assert {c.video for c in missed(house.bob)} == {house.yard}
    assert house.door in {c.video for c in missed(house.ann)}
    assert len(missed(house.root)) > len(missed(house.ann))


def test_the_library_itself_asks_for_nobody_and_sees_all(house: House, library: Library) -> None:
    assert len(library.videos()) == 2
    with asking(Asking("x", "", frozenset({"yard"}))):
        assert [v.id for v in library.videos()] == [house.yard]
        assert library.spans() == {house.yard: [(1.0, 3.0), (6.0, 8.0)]}
        with pytest.raises(InputError):
            library.track(house.door)
        with pytest.raises(InputError):
            library.decide(house.bob.user, house.door_segments[0], "confirmed")
        with pytest.raises(RightsError):
            library.begin_upload(house.bob.user, "x", 1, "door")
        assert not library.cancel(house.bob.user, house.job)
    analysed(library, house.door)  # as a worker does


def test_quotas_count_what_one_does_not_see(house: House, library: Library) -> None:
    library.set_option(house.root.user, "quota_gib", 0.001)
    with library.write() as session:
        row = session.get(Video, house.door)
        assert row is not None
        row.size = 2**21
    house.bob.ask("POST", "/uploads", {"name": "x", "size": 10, "camera": "yard"}, 413)


def test_signing_in_tells_the_same(house: House) -> None:
    """A session has the rights that a token has."""
    house.app.post("/api/login", json={"name": "bob", "password": PASSWORD})
    assert house.app.get("/api/videos").json()["total"] == 1
