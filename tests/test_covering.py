"""Who is covered in what leaves: nothing of a clip is shown before its covered file is there, by no route; originals are open to who has the right, with a reason."""

import io
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from browsing import add_clip, spans
from PIL import Image
from serving import Person, client
from vlad.app import evidence, models, sheets, verdicts
from vlad.app import worker as workers
from vlad.app.worker import Worker

from vlad.anonymise import Done
from vlad.config import make_settings
from vlad.errors import ConflictError, InputError, MissingError
from vlad.library import Library
from vlad.library.covering import Privacy
from vlad.library.tables import Job
from vlad.types import Track
from vlad.video import Cover, covered, frames_at, sha256_file

PLACE = (0.25, 0.25, 0.5, 0.5)  # of what the detector of these tests finds, all along
UNSURE = Track(1, "person", np.array([2.0, 3.0]), np.array([PLACE, PLACE], np.float32), 0.3)


LENGTH = 6.0  # seconds of the clip


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of LENGTH seconds in which every place is full of detail."""
    path, random = tmp_path_factory.mktemp("noisy") / "noisy.mp4", np.random.default_rng(0)
    still = np.kron(random.integers(0, 255, (30, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i in range(round(10 * LENGTH)):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(still, i, axis=1), format="rgb24")))
        out.mux(stream.encode(None))
    return path


class House:
    """A clip of `door` with three segments; root is an admin, ann a reviewer."""

    def __init__(self, folder: Path, clip: Path) -> None:
        self.library = Library(folder)
        self.app = client(self.library, local=False)
        self.root, self.ann = Person(self.app, self.library, "root", "admin"), Person(self.app, self.library, "ann")
        self.clip = clip
        self.video, self.segments = add_clip(
            self.library, clip, spans(3, length=LENGTH), name="lobby.mp4", camera="door", user=self.root.user, duration=LENGTH,
        )  # fmt: skip
        self.looked = 0

    def get(self, path: str, who: Person | None = None, **headers: str) -> Any:
        """An answer to a GET."""
        return self.app.get(f"/api{path}", headers={**(who or self.ann).headers, **headers})

    def cover(self, what: str = "people", how: str = "mosaic") -> None:
        """Turned on, and not covered yet."""
        self.root.ask("PUT", "/privacy", {"cover": what, "how": how})

    def work(self) -> None:
        """All covers that wait."""
        worker = Worker(self.library, make_settings(), analyzer=object())  # type: ignore[arg-type]
        while worker.once():
            pass
        with self.library.read() as session:
            assert [j.error for j in session.query(Job) if j.error] == []

    def logged(self) -> list[tuple[str, str, str]]:
        """Who did what, with which reason, oldest first."""
        return [(r.user, r.action, str(r.detail.get("reason", ""))) for r in self.library.audit_rows(count=500)][::-1]


@pytest.fixture
def house(tmp_path: Path, noisy: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """The detector is a place that is always covered; what is encoded, cut and served is real."""
    found = House(tmp_path / "library", noisy)

    def anonymise(path: Path, settings: Any, *, what: str, how: str) -> Done:
        found.looked += 1
        places = (Cover(0.0, 60.0, PLACE),)
        return Done((UNSURE,), (UNSURE,), 0, places, covered(path, LENGTH, places, how, settings))

    monkeypatch.setattr(workers, "anonymise", anonymise)
    return found


def blind(frame: Any, box: tuple[float, ...] = PLACE) -> bool:
    """Whether next to nothing is left of the detail in a box of a picture."""
    tall, wide = frame.shape[:2]
    x, y, w, h = box
    rows, columns = (slice(int((a + 0.04) * n), int((a + b - 0.04) * n)) for a, b, n in ((y, h, tall), (x, w, wide)))
    return (
        float(np.abs(np.diff(frame[rows, columns].astype(int), axis=1)).mean()) < 5
    )  # 8 and more of what is not covered


def picture(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text[:200]
    return np.array(Image.open(io.BytesIO(answer.content)))


def test_nothing_is_shown_before_it_is_covered_and_then_only_covered(house: House, tmp_path: Path) -> None:
    video, original = house.video, house.library.clip(house.video)
    before = house.get(f"/videos/{video}/sheet")  # of the uncovered clip, made and kept before
    assert before.status_code == 200
    assert not blind(picture(house.get(f"/videos/{video}/frame?t=5")))
    house.cover()
    shown = [
        f"/videos/{video}/{path}"
        for path in (
            "media",
            "media?v=0",
            "frame?t=5",
            "strip?t=1&t=5",
            "sheet",
            "sheet?v=0",
            "sheet.json",
        )
    ]
    for path in shown:
        answer = house.get(path)
        assert answer.status_code == 409, path
        assert "covered" in answer.json()["detail"]
        assert house.get(path, house.root).status_code == 409, path  # an admin is no exception
        assert house.get(path, Range="bytes=0-99").status_code == 409, path
    assert house.ann.ask("GET", f"/videos/{video}")["covered"] == {
        "state": "waiting",
        "why": "",
        "version": 0,
        "doubtful": 0,
    }
    house.ann.ask("POST", "/exports", {"segments": house.segments[:1], "undecided": True}, 409)
    house.work()
    assert house.ann.ask("GET", f"/videos/{video}")["covered"]["state"] == "ready"
    data = house.get(f"/videos/{video}/media").content
    assert data != original.read_bytes()
    (tmp_path / "seen.mp4").write_bytes(data)
    for frame in frames_at(tmp_path / "seen.mp4", [0.0, 3.0, LENGTH - 0.1], make_settings(), size=240):
        assert blind(frame)
    assert len(house.get(f"/videos/{video}/media", Range="bytes=0-99").content) == 100
    assert blind(picture(house.get(f"/videos/{video}/frame?t=5")))
    strip = picture(house.get(f"/videos/{video}/strip?t=1&t=5"))
    assert blind(strip[:, :160])
    assert blind(strip[:, 160:])
    sheet = house.get(f"/videos/{video}/sheet.json").json()
    first = picture(house.get(f"/videos/{video}/sheet"))[: sheet["height"], : sheet["width"]]
    assert blind(first)
    assert original.read_bytes() != data  # stays as it was
    assert house.looked == 1


@pytest.mark.slow
def test_another_way_of_covering_looks_for_nobody_again(house: House) -> None:
    house.cover()
    house.work()
    old = house.library.shown(house.video)
    house.cover(how="silhouette")
    assert house.get(f"/videos/{house.video}/media").status_code == 409
    house.work()
    assert house.looked == 1
    assert not old.exists()
    frame = picture(house.get(f"/videos/{house.video}/frame?t=5"))
    assert np.abs(frame[frame.shape[0] // 2, frame.shape[1] // 2].astype(int) - 96).max() < 12
    house.cover("faces")
    house.work()
    assert house.looked == 2
    house.cover("none")
    assert house.get(f"/videos/{house.video}/media").content == house.library.clip(house.video).read_bytes()
    assert house.ann.ask("GET", f"/videos/{house.video}")["covered"] is None
    house.cover("faces")  # it is there already
    assert house.get(f"/videos/{house.video}/media").status_code == 200


def test_originals_take_a_right_and_a_reason_and_each_look_is_logged(house: House) -> None:
    house.cover()
    house.work()
    path = f"/videos/{house.video}/original"
    house.ann.ask("POST", path, {"reason": "the police asks"}, 403)
    house.root.ask(
        "POST", path, {"reason": "the police asks"}, 403
    )  # an admin gives the right, and has it no more than others
    house.ann.ask("PUT", "/users/originals", {"name": "ann", "on": True}, 403)
    house.root.ask("PUT", "/users/originals", {"name": "nobody", "on": True}, 404)
    house.root.ask("PUT", "/users/originals", {"name": "ann", "on": True})
    house.ann.ask("POST", path, {"reason": ""}, 422)
    look = house.ann.ask("POST", path, {"reason": "the police asks"})["look"]
    answer = house.get(f"/videos/{house.video}/media?look={look}", Range="bytes=0-99")
    assert answer.content == house.library.clip(house.video).read_bytes()[:100]
    assert answer.headers["cache-control"] == "no-store"
    assert not blind(picture(house.get(f"/videos/{house.video}/frame?t=5&look={look}")))
    assert ("ann", "original opened", "the police asks") in house.logged()
    # Another's, of another clip, made up, over, withdrawn.
    assert house.get(f"/videos/{house.video}/media?look={look}", house.root).status_code == 403
    other, _ = add_clip(house.library, house.library.clip(house.video), spans(1), user=house.root.user, camera="door")
    assert house.get(f"/videos/{other}/media?look={look}").status_code == 403
    assert house.get(f"/videos/{house.video}/media?look=x").status_code == 403
    looks = house.app.app.state.looks  # type: ignore[attr-defined]
    looks["old"] = (house.ann.user.id, house.video, 0.0)
    assert house.get(f"/videos/{house.video}/media?look=old").status_code == 403
    house.root.ask("PUT", "/users/originals", {"name": "ann", "on": False})
    assert house.get(f"/videos/{house.video}/media?look={look}").status_code == 403
    assert [a for _, a, _ in house.logged() if a.startswith("originals")] == [
        "originals granted",
        "originals withdrawn",
    ]


def made(house: House, who: Person, **more: Any) -> str:
    """A case of one segment, ordered and made."""
    order = who.ask("POST", "/exports", {"segments": house.segments[:1], "undecided": True, **more})["id"]
    while (row := next(e for e in house.library.exports() if e.id == order)).status not in ("done", "failed"):
        pass
    assert row.status == "done", row.error
    return str(order)


@pytest.mark.slow
def test_evidence_is_covered_unless_who_may_orders_it_otherwise(house: House, tmp_path: Path) -> None:
    old = made(house, house.ann)  # before anybody was covered
    house.cover()
    house.work()
    house.ann.ask("GET", f"/exports/{old}/file", expect=403)
    case = zipfile.ZipFile(io.BytesIO(house.get(f"/exports/{made(house, house.ann)}/file").content))
    (name,) = [n for n in case.namelist() if n.startswith("clips/")]
    (tmp_path / "cut.mp4").write_bytes(case.read(name))
    assert blind(frames_at(tmp_path / "cut.mp4", [1.0], make_settings(), size=240)[0])
    assert b'"covered": "people"' in case.read("case.json")
    for more in ({"uncovered": True}, {"originals": True}):
        house.ann.ask(
            "POST",
            "/exports",
            {"segments": house.segments[:1], "undecided": True, **more, "reason": "a judge asks"},
            403,
        )
    house.root.ask("PUT", "/users/originals", {"name": "ann", "on": True})
    house.ann.ask("POST", "/exports", {"segments": house.segments[:1], "undecided": True, "uncovered": True}, 422)
    order = made(house, house.ann, uncovered=True, reason="a judge asks")
    house.ann.ask("GET", f"/exports/{order}/file", expect=422)
    case = zipfile.ZipFile(io.BytesIO(house.get(f"/exports/{order}/file?reason=a+judge+asks").content))
    (tmp_path / "open.mp4").write_bytes(case.read(name))
    assert not blind(frames_at(tmp_path / "open.mp4", [1.0], make_settings(), size=240)[0])
    assert house.logged().count(("ann", "original opened", "a judge asks")) == 2
    assert {e["id"]: e["covered"] for e in house.ann.ask("GET", "/exports")}[order] is False


@pytest.mark.slow
def test_a_case_keeps_the_promise_it_was_ordered_under(house: House) -> None:
    house.cover()
    house.work()
    house.cover("none")
    wanted = evidence.Wanted(house.segments[:1], undecided=True, covered="people")
    with pytest.raises(ConflictError, match="changed since"):
        evidence.make_case(house.library, make_settings(), house.ann.user, wanted, lambda *_: None)


def test_what_goes_to_another_machine_is_covered(house: House) -> None:
    row = house.library.listed([house.video])[house.video].video
    house.cover()
    with pytest.raises(ConflictError, match="still being covered"):
        models.facts_of_video(house.library, row, leaves=True)
    assert models.facts_of_video(house.library, row).path == str(house.library.clip(house.video))
    house.work()
    facts = models.facts_of_video(house.library, row, leaves=True)
    assert facts.path == str(house.library.shown(house.video))
    assert facts.sha256 == sha256_file(facts.path)


@pytest.mark.slow
def test_a_worker_covers_before_another_machine_explains(house: House) -> None:
    from test_worker import Line

    seen: list[str] = []

    class Away(Line):
        def explain(self, video: Any, track: Any, segments: Any, shown: str = "") -> Any:
            seen.append(shown)
            return super().explain(video, track, segments)

    house.cover()
    house.work()
    user, data = house.root.user, house.clip.read_bytes()
    begun = house.library.begin_upload(user, "b.mp4", len(data), "door")
    house.library.append(user, begun.id, 0, data)
    video, _ = house.library.finish_upload(user, begun.id)
    line = Away()
    line.settings = make_settings(server="http://localhost:1/v1", explainer="x")
    worker = Worker(house.library, line.settings, analyzer=line)  # type: ignore[arg-type]
    assert worker.once()
    assert set(seen) == {str(house.library.shown(video.id))}


@pytest.mark.slow
def test_exported_verdicts_are_covered(house: House, tmp_path: Path) -> None:
    house.cover()
    house.work()
    house.ann.ask("POST", f"/segments/{house.segments[0]}/verdict", {"verdict": "confirmed"})
    verdicts.export(house.library, make_settings(), tmp_path / "out")
    (cut,) = (tmp_path / "out").rglob("*.mp4")
    assert blind(frames_at(cut, [1.0], make_settings(), size=240)[0])


@pytest.mark.slow
def test_people_draw_what_was_missed_and_settle_what_is_doubtful(house: House) -> None:
    house.cover()
    house.work()
    (row,) = house.ann.ask("GET", "/covers")
    assert (row["name"], row["doubtful"][0]["start"], row["doubtful"][0]["score"]) == ("lobby.mp4", 2.0, 0.3)
    corner = [0.0, 0.0, 0.25, 0.25]
    path = f"/videos/{house.video}/cover/marks"
    for wrong in (
        {"start": 3, "end": 2},
        {"start": 1, "end": 900},
        {"start": 1, "end": 2, "box": [0.9, 0, 0.5, 1]},
        {"start": 1, "end": 2, "box": [0, 0, 0, 1]},
    ):
        house.ann.ask("POST", path, wrong, 422)
    assert not blind(picture(house.get(f"/videos/{house.video}/frame?t=4.5")), tuple(corner))
    said = house.ann.ask("POST", path, {"start": 4, "end": 5, "box": corner})
    assert house.get(f"/videos/{house.video}/media").status_code == 409  # till the box is covered
    house.work()
    assert house.looked == 1
    assert blind(picture(house.get(f"/videos/{house.video}/frame?t=4.5")), tuple(corner))
    assert not blind(picture(house.get(f"/videos/{house.video}/frame?t=1")), tuple(corner))
    house.ann.ask("POST", path, {"start": 2, "end": 3})  # it is fine
    assert house.ann.ask("GET", "/covers") == []
    assert house.get(f"/videos/{house.video}/media").status_code == 200
    house.ann.ask("DELETE", f"{path}/{said['marks'][0]['id']}")
    house.ann.ask("DELETE", f"{path}/{said['marks'][0]['id']}", expect=404)
    house.work()
    assert not blind(picture(house.get(f"/videos/{house.video}/frame?t=4.5")), tuple(corner))
    assert [a for _, a, _ in house.logged() if a.startswith("cover ")] == [
        "cover drawn",
        "cover is fine",
        "cover taken back",
    ]
    house.ann.ask("POST", f"/videos/{house.video}/cover/again")
    house.work()
    assert house.looked == 2


def test_what_cannot_be_covered_stays_closed_and_says_why(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Done:
        raise InputError("longer than 30 minutes; cut it into parts first")

    monkeypatch.setattr(workers, "anonymise", fails)
    house.cover()
    assert Worker(house.library, make_settings(), analyzer=object()).once()  # type: ignore[arg-type]
    state = house.ann.ask("GET", f"/videos/{house.video}")
    assert (state["covered"]["state"], state["covered"]["why"]) == (
        "failed",
        "longer than 30 minutes; cut it into parts first",
    )
    assert state["job"]["status"] == "done"  # of its analysis
    assert house.get(f"/videos/{house.video}/media").status_code == 409


@pytest.mark.slow
def test_files_go_with_their_clip_and_come_again(house: House) -> None:
    house.cover()
    house.work()
    path = house.library.shown(house.video)
    path.unlink()
    assert house.get(f"/videos/{house.video}/media").status_code == 409
    house.work()
    assert house.get(f"/videos/{house.video}/media").status_code == 200
    path = house.library.shown(house.video)
    house.library.remove(house.root.user, house.video)
    assert not path.exists()
    with pytest.raises(MissingError):
        house.library.keep_cover(house.video, Privacy("people"), [], [], b"x", [])
    assert list(path.parent.iterdir()) == []


def test_covers_wait_for_all_other_work_and_the_newest_clip_comes_first(house: House) -> None:
    user = house.root.user
    later, _ = add_clip(house.library, house.clip, spans(1, length=LENGTH), duration=LENGTH, user=user)
    house.cover()
    begun = house.library.begin_upload(user, "b.mp4", 4, "door")
    house.library.append(user, begun.id, 0, b"clip")
    fresh, _ = house.library.finish_upload(user, begun.id)
    claimed = [house.library.claim("worker") for _ in range(4)]
    assert [(j.kind, j.video_id) for j in claimed if j] == [
        ("analysis", fresh.id),
        ("cover", later),
        ("cover", house.video),
    ]


def test_only_admins_say_who_is_covered(house: House) -> None:
    house.ann.ask("PUT", "/privacy", {"cover": "none"}, 403)
    house.root.ask("PUT", "/privacy", {"cover": "dogs"}, 422)
    assert house.ann.ask("GET", "/privacy") == {"cover": "none", "how": "mosaic", "originals": False}
    with pytest.raises(InputError, match="expected one of"):
        house.library.set_privacy(house.root.user, "people", "glitter")


def test_pictures_are_asked_of_no_other_file() -> None:
    """A route that forgets to ask what may be shown cannot be written unseen: who asks for a clip's own file is listed here, with what for."""
    own = {
        "privacy.py": 1, "evidence.py": 2, "models.py": 2, "worker.py": 6, "ground.py": 1,
    }  # a look; who may and orders it, with originals; what stays on this machine; what is analysed, covered, dated, compared with a background, and measured for colours; features of one  # fmt: skip
    folder = Path(sheets.__file__).parent
    found = {
        f.name: f.read_text().count("library.clip(") + f.read_text().count("library(request).clip(")
        for f in folder.glob("*.py")
    }
    assert {k: v for k, v in found.items() if v and k != "privacy.py"} == {
        k: v for k, v in own.items() if k != "privacy.py"
    }


@pytest.mark.slow
def test_the_real_detector_covers_a_rendered_scene(tmp_path: Path, clip: Path) -> None:
    library = Library(tmp_path / "library")
    video, _ = add_clip(library, clip, spans(1))
    library.set_privacy(library.local_user(), "people", "mosaic")
    worker = Worker(library, make_settings(), analyzer=object())  # type: ignore[arg-type]
    while worker.once():
        pass
    (before,), (after,) = (
        frames_at(p, [5.0], make_settings(), size=240) for p in (library.clip(video), library.shown(video))
    )
    assert np.abs(before.astype(int) - after.astype(int)).mean() > 0.5
    assert library.covered_of([video])[video].state == "ready"
