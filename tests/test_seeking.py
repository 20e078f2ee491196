"""Finding again in a library: off by default, by right and with a reason, one camera's days, to who asked alone, forgotten in time."""

import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import Person, client
from test_again import filmed
from vlad.app.background import Retention
from vlad.app.worker import Worker

from vlad.config import make_settings
from vlad.library import Library
from vlad.library.tables import Job, SoughtRow

RED = {"vehicle": "red", "reason": "a red car left the scene"}


def added(library: Library, person: Person, path: Path, colours: list[str], camera: str = "gate") -> str:
    """A clip of coloured cars, analysed with their tracks."""
    found = filmed(path, colours)
    begun = library.begin_upload(person.user, path.name, path.stat().st_size, camera)
    library.append(person.user, begun.id, 0, path.read_bytes())
    video, job = library.finish_upload(person.user, begun.id)
    library.keep(video.id, found)
    with library.write() as session:
        row = session.get(Job, job.id)
        assert row is not None
        row.status, row.worker = "running", "w"
    library.finish(job.id, "w")
    return video.id


class House:
    """root may all, ann has the right, bob has not. Two clips of the gate on one day, one three days later, one of the yard."""

    def __init__(self, folder: Path) -> None:
        self.library = Library(folder / "library")
        api = client(self.library, local=False)
        app = TestClient(api.app, base_url="http://localhost", client=("127.0.0.1", 50000))
        self.root = Person(app, self.library, "root", "admin")
        self.ann, self.bob = Person(app, self.library, "ann"), Person(app, self.library, "bob")
        clips = {"2026-03-01_08-00-00": ["red", "white"], "2026-03-01_17-00-00": ["blue", "red", "white"], "2026-03-04_09-00-00": ["red"]}  # fmt: skip
        self.clips = [added(self.library, self.root, folder / f"gate_{k}.mp4", v) for k, v in clips.items()]
        self.yard = added(self.library, self.root, folder / "yard_2026-03-01_09-00-00.mp4", ["red"], "yard")

    def open(self) -> None:
        """Switch it on, for a day, and give ann the right."""
        self.root.ask("PUT", "/options", {"seek_days": 1})
        self.root.ask("PUT", "/users/again", {"name": "ann", "on": True})

    def work(self) -> None:
        worker = Worker(self.library, make_settings(), analyzer=object())  # type: ignore[arg-type]
        while worker.once():
            pass

    def look(self, video: str, body: dict[str, Any]) -> Any:
        """What ann finds."""
        found = self.ann.ask("POST", f"/videos/{video}/again", body, 202)
        self.work()
        return self.ann.ask("GET", f"/again/{found['id']}")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.slow
def test_off_until_an_admin_says_so_and_gives_the_right(house: House) -> None:
    first = house.clips[0]
    assert house.ann.ask("GET", "/again")["may"] is False
    house.ann.ask("POST", f"/videos/{first}/again", RED, 403)
    house.ann.ask("PUT", "/users/again", {"name": "ann", "on": True}, 403)
    house.root.ask("PUT", "/users/again", {"name": "ann", "on": True})
    house.ann.ask("POST", f"/videos/{first}/again", RED, 409)
    house.root.ask("PUT", "/options", {"seek_days": 8}, 422)
    house.open()
    assert house.ann.ask("GET", "/again")["may"] is True
    house.bob.ask("POST", f"/videos/{first}/again", RED, 403)
    for wrong in (
        {"vehicle": "red"}, {"reason": "because"}, {**RED, "top": "red"}, {**RED, "vehicle": "a face"}, {**RED, "reason": "x"},
    ):  # fmt: skip
        house.ann.ask("POST", f"/videos/{first}/again", wrong, 422)
    house.root.ask("PUT", "/users/again", {"name": "ann", "on": False})
    house.ann.ask("POST", f"/videos/{first}/again", RED, 403)


@pytest.mark.slow
def test_a_colour_and_a_track_within_one_cameras_day(house: House) -> None:
    house.open()
    told = house.look(house.clips[0], RED)
    assert {(h["video"], h["track"]) for h in told["hits"]} == {(house.clips[0], 1), (house.clips[1], 2)}
    assert told["hits"][0]["starts_at"].startswith("2026-03-01T")
    like = house.look(house.clips[0], {"track": 1, "reason": "it left the scene"})
    assert [(h["video"], h["track"]) for h in like["hits"]] == [(house.clips[1], 2)]
    (row, *_) = [r for r in house.library.audit_rows(count=100) if r.action == "looked for again"]
    assert (row.user, row.target, row.detail["reason"]) == ("ann", house.clips[0], "it left the scene")
    house.library.remove(house.root.user, house.clips[1])
    assert house.ann.ask("GET", "/again/" + last(house.library))["hits"] == []


@pytest.mark.slow
def test_what_was_found_is_ones_own_and_is_forgotten(house: House) -> None:
    house.open()
    house.look(house.clips[0], RED)
    own = last(house.library)
    house.root.ask("PUT", "/users/again", {"name": "bob", "on": True})
    house.bob.ask("GET", f"/again/{own}", None, 404)
    sweeps = Retention(house.library)
    house.library.forget_sought()
    assert house.ann.ask("GET", f"/again/{own}")["hits"]
    with house.library.write() as session:
        row = session.get(SoughtRow, own)
        assert row is not None
        row.created = time.time() - 90_000
    sweeps.turn()
    house.ann.ask("GET", f"/again/{own}", None, 404)
    house.look(house.clips[0], RED)
    house.root.ask("PUT", "/options", {"seek_days": None})
    sweeps.turn()
    with house.library.read() as session:
        assert session.query(SoughtRow).count() == 0


@pytest.mark.slow
def test_a_clip_of_no_camera_or_time_and_a_track_without_colours_are_told(house: House) -> None:
    house.open()
    first = house.clips[0]
    house.library.edit(house.root.user, first, {"camera": ""})
    assert "of which camera" in house.ann.ask("POST", f"/videos/{first}/again", RED, 422)["detail"]
    house.library.edit(house.root.user, first, {"camera": "gate", "recorded": None})
    house.ann.ask("POST", f"/videos/{first}/again", RED, 422)
    told = house.look(house.clips[1], {"track": 99, "reason": "nobody is that"})
    assert told["hits"] is None
    assert "name colours instead" in told["job"]["error"]
    house.ann.ask("POST", f"/videos/{house.clips[1]}/again", RED, 202)
    house.ann.ask("POST", f"/videos/{house.clips[1]}/again", RED, 409)  # one look at a time


def last(library: Library) -> str:
    with library.read() as session:
        row = session.query(SoughtRow).order_by(SoughtRow.created.desc()).first()
        assert row is not None
        return row.id
