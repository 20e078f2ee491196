"""Who is covered is changed in the middle of things: nothing uncovered is ever taken for covered, and no browser shows what it kept from before."""

from pathlib import Path
from typing import Any

import pytest
from test_covering import House, blind, house, made, noisy, picture
from vlad.app import evidence, sheets, verdicts
from vlad.app.worker import Worker

from vlad.config import make_settings
from vlad.errors import ConflictError
from vlad.library.tables import Job
from vlad.video import frames_at

assert house  # fixtures
assert noisy


@pytest.mark.slow
def test_no_picture_is_shown_from_a_browsers_own_store_without_asking(house: House) -> None:
    """What was looked at before people were covered, or by somebody else at this browser, is asked for again; it costs no decoder where nothing changed."""
    video = house.video
    version = house.get(f"/videos/{video}/sheet.json").json()["version"]
    for path in ("media", "media?v=1", "frame?t=5", "strip?t=1&t=5", "sheet", f"sheet?v={version}"):
        answer = house.get(f"/videos/{video}/{path}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "private, no-cache", path
        again = house.get(f"/videos/{video}/{path}", **{"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path
    same = house.get(f"/videos/{video}/media", **{"If-None-Match": '"other"'})
    assert same.status_code == 200
    tag = same.headers["etag"]
    part = house.get(f"/videos/{video}/media", Range="bytes=0-9", **{"If-Range": tag})
    assert (part.status_code, len(part.content)) == (206, 10)
    frames = [house.get(f"/videos/{video}/frame?t={t}").headers["etag"] for t in (1, 5)]
    assert frames[0] != frames[1]
    house.cover()
    assert house.get(f"/videos/{video}/media", **{"If-None-Match": tag}).status_code == 409
    house.work()
    whole = house.get(f"/videos/{video}/media", Range="bytes=0-9", **{"If-Range": tag})  # the rest of another file
    assert whole.status_code == 200
    assert len(whole.content) > 10
    assert house.get(f"/videos/{video}/frame?t=5", **{"If-None-Match": frames[1]}).status_code == 200


@pytest.mark.slow
def test_pictures_of_an_original_are_never_taken_for_those_of_its_covered_clip(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covering is switched off while a sheet waits for its turn, and on again: the sheet is of what its name says."""
    house.cover()
    house.work()
    library, row = house.library, house.library.listed([house.video])[house.video].video
    kept = library.sheet(house.video)
    for path in (kept, kept.with_suffix(".json")):
        path.unlink()
    turn = sheets.one_of

    def late(*given: Any) -> Any:
        library.set_privacy(house.root.user, "none", "mosaic")
        return turn(*given)

    with monkeypatch.context() as patch:
        patch.setattr(sheets, "one_of", late)
        sheets.current(library, house.video, row.duration or 0.0, [], make_settings())
    house.cover()
    facts = house.get(f"/videos/{house.video}/sheet.json").json()
    assert blind(picture(house.get(f"/videos/{house.video}/sheet"))[: facts["height"], : facts["width"]])


@pytest.mark.slow
def test_a_case_whose_covers_are_switched_off_while_it_is_made_is_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.cover()
    house.work()

    def tell(done: int, _: int) -> None:
        if done == 1:
            house.library.set_privacy(house.root.user, "none", "mosaic")

    wanted = evidence.Wanted(house.segments[:2], undecided=True, covered="people")
    with pytest.raises(ConflictError, match="changed since"):
        evidence.make_case(house.library, make_settings(), house.ann.user, wanted, tell)
    assert not list((house.library.folder / "exports").glob("*"))


@pytest.mark.slow
def test_verdicts_exported_again_hold_nothing_from_before_people_were_covered(house: House, tmp_path: Path) -> None:
    house.ann.ask("POST", f"/segments/{house.segments[0]}/verdict", {"verdict": "confirmed"})
    verdicts.export(house.library, make_settings(), tmp_path / "out")
    (cut,) = (tmp_path / "out").rglob("*.mp4")
    assert not blind(frames_at(cut, [1.0], make_settings(), size=240)[0])
    house.cover()
    lines = verdicts.export(house.library, make_settings(), tmp_path / "out")
    assert any("left out" in line for line in lines)
    assert not list((tmp_path / "out").rglob("*.mp4"))  # nothing of the clip goes out
    house.work()
    verdicts.export(house.library, make_settings(), tmp_path / "out")
    (cut,) = (tmp_path / "out").rglob("*.mp4")
    assert blind(frames_at(cut, [1.0], make_settings(), size=240)[0])


@pytest.mark.slow
def test_an_explanation_by_another_machine_heeds_covers_that_began_after_its_job(house: House) -> None:
    from test_worker import Line

    seen: list[str] = []

    class Away(Line):
        def explain(self, video: Any, track: Any, segments: Any, shown: str = "") -> Any:
            if not seen:
                house.library.set_privacy(house.root.user, "people", "mosaic")
            seen.append(shown)
            return super().explain(video, track, segments)

    user, data = house.root.user, house.clip.read_bytes()
    begun = house.library.begin_upload(user, "b.mp4", len(data), "door")
    house.library.append(user, begun.id, 0, data)
    video, _ = house.library.finish_upload(user, begun.id)
    line = Away()
    line.settings = make_settings(server="http://localhost:1/v1", explainer="x")
    worker = Worker(house.library, line.settings, analyzer=line)  # type: ignore[arg-type]
    assert worker.once()
    assert len(seen) > 1
    assert set(seen[1:]) == {str(house.library.shown(video.id))}


@pytest.mark.slow
def test_looking_anew_is_not_forgotten_where_a_cover_was_under_way(house: House) -> None:
    """A job that had begun encodes what was found before; who asked for another look gets one."""
    house.cover()
    house.work()
    house.ann.ask("POST", f"/videos/{house.video}/cover/marks", {"start": 4, "end": 5, "box": [0, 0, 0.2, 0.2]})
    keep, asked = house.library.keep_cover, []

    def late(*given: Any, **more: Any) -> None:
        if not asked:
            asked.append(house.library.cover_again(house.ann.user, house.video))
        keep(*given, **more)

    house.library.keep_cover = late  # type: ignore[method-assign]
    house.work()
    assert house.looked == 2


@pytest.mark.slow
def test_a_token_that_may_only_read_takes_no_originals_out(house: House) -> None:
    old = made(house, house.ann)  # before anybody was covered
    house.cover()
    house.work()
    house.root.ask("PUT", "/users/originals", {"name": "ann", "on": True})
    reads = house.library.open_key(house.ann.user, 600, name="reads", scopes=("read",))
    path = f"/api/exports/{old}/file?reason=a+judge+asks"
    assert house.app.get(path, headers={"Authorization": f"Bearer {reads}"}).status_code == 403
    assert house.app.get(path, headers=house.ann.headers).status_code == 200


def test_what_is_refused_is_not_told_as_a_look(house: House) -> None:
    house.cover()
    for path in ("media", "frame?t=5", "strip?t=1", "sheet"):
        assert house.get(f"/videos/{house.video}/{path}").status_code == 409
    assert [a for _, a, _ in house.logged() if a == "viewed"] == []
    house.work()
    house.get(f"/videos/{house.video}/media")
    assert [(u, a) for u, a, _ in house.logged() if a == "viewed"] == [("ann", "viewed")]


@pytest.mark.slow
def test_covers_of_another_groups_cameras_are_nobodys_business(house: House) -> None:
    from serving import Person

    bob = Person(house.app, house.library, "bob")
    house.root.ask("PUT", "/groups", {"name": "doors", "cameras": ["door"], "members": ["ann"]})
    house.root.ask("PUT", "/users/originals", {"name": "bob", "on": True})
    house.cover()
    with house.library.read() as session:
        job = session.query(Job).filter(Job.kind == "cover").one().id
    own, box = f"/videos/{house.video}", {"start": 1, "end": 2, "box": [0, 0, 0.2, 0.2]}
    bob.ask("POST", f"{own}/original", {"reason": "no reason"}, 404)
    bob.ask("POST", f"{own}/cover/marks", box, 404)
    bob.ask("POST", f"{own}/cover/again", None, 404)
    bob.ask("GET", f"{own}/cover", None, 404)
    assert house.app.post(f"/api/jobs/{job}/cancel", headers=bob.headers).json().get("cancelled") is not True
    house.work()
    look = "x"
    for path in ("media", "frame?t=1", "strip?t=1", "sheet", "sheet.json", f"media?look={look}"):
        assert house.get(f"{own}/{path}", bob).status_code == 404
    assert bob.ask("GET", "/covers") == []
    assert len(house.ann.ask("GET", "/covers")) == 1
