"""Zones, lines and rules of cameras: kept in versions, told with every fault, checked on clips without decoding them, and never on what a person decided."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving import SEGMENTS, Person, analysed, client, given
from vlad.app.worker import Worker

from vlad.config import make_settings
from vlad.errors import ConflictError, InputError, RightsError
from vlad.library import Library
from vlad.library.asking import Asking, asking
from vlad.rules import LONGEST, Fault, look
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Track, Video

YARD = "zones:\n  yard: [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]\nlines:\n  gate: [[0.5, 0], [0.5, 1]]\n"
TEXT = YARD + 'rules:\n  entered: {when: a person in "yard" for 1 s, raises: 0.9}\n'


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def app(library: Library) -> TestClient:
    return client(library, local=False)


def walker(number: int = 1, times: tuple[float, float] = (0.0, 10.0)) -> Track:
    """From the left to the right of the picture."""
    when = np.linspace(*times, 21)
    x = np.linspace(0.0, 0.9, 21)
    boxes = np.stack([x, np.full(21, 0.3), np.full(21, 0.1), np.full(21, 0.4)], 1)
    return Track(number, "person", when, boxes.astype(np.float32), 0.9)


def walked(library: Library, person: Person, name: str = "lobby.mp4", scores: float = 0.1) -> str:
    """A clip of the camera `door` in which somebody walks into the yard at 5.3 s, and which the scorer finds calm, but for SEGMENTS."""
    video, _ = given(library, person, name=name)
    facts = Video("a", "0" * 64, 10.0, 15.0, 320, 240, "h264")
    track = ScoreTrack(np.full(20, scores, np.float32), np.linspace(0, 10, 21))
    found = Analysis(facts, track, SEGMENTS, (), {"settings": {"enter": 0.5, "leave": 0.2, "smooth_seconds": 0.0, "merge_gap": 1.0, "min_length": 0.5}}, tracks=(walker(),))  # fmt: skip
    library.keep(video, found)
    return video


def work(library: Library) -> None:
    """Everything that waits, by a worker that may decode nothing and load no model."""

    class Nothing:
        settings = make_settings()

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    worker = Worker(library, make_settings(), analyzer=Nothing())  # type: ignore[arg-type]
    while worker.once():
        pass
    with library.read() as session:
        from vlad.library.tables import Job

        assert [j.error for j in session.query(Job) if j.error] == []


def test_versions_are_kept_and_nobody_overwrites_anothers(library: Library, app: TestClient) -> None:
    ann, bob = Person(app, library, "ann"), Person(app, library, "bob")
    assert ann.ask("GET", "/rules", camera="door")["version"] == 0
    first = ann.ask("PUT", "/rules", {"camera": "door", "text": TEXT, "version": 0})
    assert (first["version"], first["by"], first["text"]) == (1, "ann", TEXT)
    assert first["zones"] == {"yard": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}
    assert first["rules"] == {"entered": {"when": 'a person in "yard" for 1 s', "raises": 0.9}}
    other = TEXT.replace("0.9", "0.8")
    refused = bob.ask("PUT", "/rules", {"camera": "door", "text": other, "version": 0}, 409)
    assert refused["detail"].startswith("ann saved version 1")
    assert bob.ask("PUT", "/rules", {"camera": "door", "text": other, "version": 1})["version"] == 2
    bob.ask("PUT", "/rules", {"camera": "door", "text": other, "version": 7}, 409)
    assert [(v["version"], v["by"], v["text"]) for v in ann.ask("GET", "/rules/versions", camera="door")] == [
        (2, "bob", other), (1, "ann", TEXT),
    ]  # fmt: skip
    assert ann.ask("PUT", "/rules", {"camera": "door", "text": TEXT, "version": 2})["version"] == 3  # back to the first
    assert ann.ask("GET", "/rules", camera="yard")["version"] == 0
    assert [r.action for r in library.audit_rows(count=100)].count("rules saved") == 3


def test_rules_of_another_camera_are_not_there(library: Library, app: TestClient) -> None:
    ann, root = Person(app, library, "ann"), Person(app, library, "root", "admin")
    root.ask("PUT", "/rules", {"camera": "yard", "text": TEXT, "version": 0})
    root.ask("PUT", "/groups", {"name": "front", "cameras": ["door"], "members": ["ann"]})
    for path in ("/rules", "/rules/versions"):
        ann.ask("GET", path, expect=403, camera="yard")
    ann.ask("PUT", "/rules", {"camera": "yard", "text": TEXT, "version": 1}, 403)
    ann.ask("POST", "/rules/apply", {"camera": "yard"}, 403)
    with asking(Asking(user="x", cameras=frozenset({"door"}))):
        with pytest.raises(RightsError, match="not one of your cameras"):
            library.rules("yard")
        with library.read() as session:
            from vlad.library.tables import RulesRow

            assert session.query(RulesRow).all() == []


def test_every_fault_is_told_at_once_beside_its_entry(library: Library, app: TestClient) -> None:
    ann = Person(app, library, "ann")
    wrong = (
        "zones:\n  out: [[0, 0], [2, 0], [1, 1]]\n  bow: [[0, 0], [1, 1], [1, 0], [0, 1]]\n  flat: [[0, 0], [0.5, 0.5], [1, 1]]\n"
        "  twice: [[0, 0], [0, 0], [1, 1], [1, 0]]\nlines:\n  dot: [[0.1, 0.1], [0.1, 0.1]]\n"
        "rules:\n  odd: {when: a persn in the yard}\n  gone: {when: 'a person in \"cellar\"'}\n  both: {when: a person, raises: 1, lowers: 0}\n"
    )
    faults = ann.ask("POST", "/rules/check", {"text": wrong})["faults"]
    said = {(f["part"], f["name"]): f["text"] for f in faults}
    assert said["zones", "out"].startswith("a point lies outside the picture")
    assert said["zones", "bow"] == "its sides cross each other"
    assert said["zones", "flat"] == "it has no area"
    assert said["zones", "twice"].startswith("two of its corners")
    assert said["lines", "dot"] == "its two points are one"
    assert "is no sentence of the form" in said["rules", "odd"]
    assert said["rules", "gone"].startswith("no zone 'cellar'")
    assert said["rules", "both"] == "raises and lowers: one of them"
    refused = ann.ask("PUT", "/rules", {"camera": "door", "text": wrong, "version": 0}, 422)
    assert "zone bow: its sides cross each other" in refused["detail"]
    assert ann.ask("GET", "/rules", camera="door")["version"] == 0
    assert ann.ask("POST", "/rules/check", {"text": TEXT})["faults"] == []


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "rules: 3", "{", "rules: {}\n" + "#" * LONGEST, "a: &a [*a]\nrules: {}", "rules: {x: {when: !!python/object:os.system x}}",
        "rules: {x: !!bool z}", "rules: {x: !!timestamp z}", "rules: {}\nzones: {z: [[" + "9" * 400 + ", 0], [0, 0], [1, 1]]}",
        "rules: {}\nzones: {z: [[.nan, 0], [0, 1], [1, 1]]}", "rules: {}\nzones: {z: [[0, 0], [1]]}", "rules: {}\nzones: {z: {a: 1}}",
        "rules: {}\nzones: {1: [[0, 0], [1, 0], [1, 1]]}", "rules: {}\nlines: [1]", "[" * 5000, "rules: {x: {when: [a]}}", "rules: {}\nx: 1", "\x00",
        "rules: {}\nzones: {z: [[0, 0], [1, 0], [1, 2026-99-99]]}",
    ],
)  # fmt: skip
def test_hostile_texts_are_refused_with_a_line(text: str) -> None:
    found, faults = look(text)
    assert found is None
    assert faults
    assert all(isinstance(f, Fault) and f.text and "\n" not in str(f) for f in faults)


def test_newer_rules_are_checked_without_decoding_and_spare_what_a_person_decided(
    library: Library, app: TestClient
) -> None:
    ann = Person(app, library, "ann")
    video = walked(library, ann)
    before = library.track(video).scores.tobytes()
    first, second = sorted(ann.ask("GET", "/segments", video=video)["segments"], key=lambda s: s["start"])
    ann.ask("POST", f"/segments/{first['id']}/verdict", {"verdict": "confirmed"})
    decided = ann.ask("GET", f"/segments/{first['id']}")
    assert ann.ask("PUT", "/rules", {"camera": "door", "text": TEXT, "version": 0})["unchecked"] == 1
    assert ann.ask("POST", "/rules/apply", {"camera": "door"}) == {"clips": 1}
    work(library)
    assert ann.ask("GET", "/rules", camera="door")["unchecked"] == 0
    now = {s["id"]: s for s in ann.ask("GET", "/segments", video=video)["segments"]}
    assert {k: v for k, v in now[first["id"]].items()} == {k: decided[k] for k in now[first["id"]]}
    assert second["id"] not in now  # the scores alone do not reach the threshold, and nobody touched it
    (raised,) = [s for s in now.values() if s["id"] != first["id"]]
    assert raised["rules"] == ["entered"]
    assert raised["peak"] == pytest.approx(0.9)
    assert (raised["start"], raised["end"]) == (pytest.approx(5, abs=0.6), pytest.approx(10))
    assert library.track(video).scores.tobytes() == before
    held = ann.ask("GET", f"/videos/{video}/rules")
    assert (held["version"], [h["rule"] for h in held["held"]], held["held"][0]["tracks"]) == (1, ["entered"], [1])
    # The rule is taken away: so is what it alone raised; what was noted meanwhile stays.
    ann.ask("PUT", "/rules", {"camera": "door", "text": YARD + "rules: {}", "version": 1})
    ann.ask("POST", f"/segments/{raised['id']}/notes", {"text": "look here"})
    ann.ask("POST", "/rules/apply", {"camera": "door"})
    work(library)
    now = {s["id"]: s for s in ann.ask("GET", "/segments", video=video)["segments"]}
    assert set(now) == {first["id"], raised["id"]}
    assert now[raised["id"]]["rules"] == []
    assert ann.ask("POST", "/rules/apply", {"camera": "door"}) == {"clips": 0}


def test_a_newer_analysis_is_not_overruled_by_an_older_check(library: Library, app: TestClient) -> None:
    ann = Person(app, library, "ann")
    video = walked(library, ann)
    assert library.checked(video, (), None, seen=1.0) is False
    assert len(library.segments_of([s["id"] for s in ann.ask("GET", "/segments", video=video)["segments"]])) == 2


def test_a_time_of_day_is_the_clips_own_clock(library: Library, app: TestClient) -> None:
    ann = Person(app, library, "ann")
    video = walked(library, ann)
    text = YARD + 'rules:\n  night: {when: a person in "yard" between 22:00 and 06:00 for 1 s, raises: 0.9}\n'
    ann.ask("PUT", "/rules", {"camera": "door", "text": text, "version": 0})
    for local, zone, holds in (("2026-11-24T23:15:00", "+05:30", True), ("2026-11-24T12:15:00", "+05:30", False)):
        ann.ask("PATCH", f"/videos/{video}", {"local": local, "zone": zone})  # asks for a check by itself
        work(library)
        assert bool(ann.ask("GET", f"/videos/{video}/rules")["held"]) is holds, local
    ann.ask("PATCH", f"/videos/{video}", {"camera": "yard"})  # which has no rules
    work(library)
    assert ann.ask("GET", f"/videos/{video}/rules") == {"version": 0, "held": []}


def test_counts_as_rows_curve_and_table(library: Library, app: TestClient) -> None:
    ann = Person(app, library, "ann")
    video = walked(library, ann, name="=1+1.mp4")
    assert ann.ask("GET", f"/videos/{video}/counts")["rows"] == []
    ann.ask("PUT", "/rules", {"camera": "door", "text": TEXT, "version": 0})
    found = ann.ask("GET", f"/videos/{video}/counts")
    rows = {(r.get("zone") or r["line"], r["kind"]): r for r in found["rows"]}
    assert (rows["yard", "people"]["entered"], rows["yard", "people"]["most"]) == (1, 1)
    assert rows["gate", "people"]["inwards"] + rows["gate", "people"]["outwards"] == 1
    (curve,) = found["curves"]
    assert (curve["zone"], curve["kind"], max(curve["values"])) == ("yard", "people", 1)
    assert len(curve["values"]) == len(found["times"])
    table = app.get(f"/api/videos/{video}/counts.csv", headers=ann.headers)
    lines = list(csv.DictReader(io.StringIO(table.text)))
    assert lines[0]["clip"] == "'=1+1.mp4"
    assert {(r["name"], r["of"], r["kind"], r["entered"]) for r in lines} >= {("yard", "zone", "people", "1")}


def test_the_worker_heeds_a_cameras_rules_when_it_analyses(library: Library, app: TestClient) -> None:
    """With the analysis' own line, as of a plain encoder: scores stay the scorer's, segments heed rules."""
    from test_worker import Line

    ann = Person(app, library, "ann")
    ann.ask("PUT", "/rules", {"camera": "door", "text": TEXT, "version": 0})

    class Ruled(Line):
        def flagged(self, features: Any, video: Video, warnings: Any) -> Analysis:
            track = ScoreTrack(np.full(10, 0.1, np.float32), features.edges)
            return Analysis(video, track, (), (), {"warnings": warnings}, tracks=(walker(),))

        def segments(self, track: ScoreTrack) -> tuple[Segment, ...]:
            raised = np.flatnonzero(track.scores > 0.5)
            return (Segment(float(raised[0]), 10.0, 0.9, 9.0, "fighting"),)

        def explain(self, video: Video, track: ScoreTrack, segments: Any, shown: str = "") -> Any:
            return (Explanation(segments[0], "anomaly", "Somebody walks."),)

    begun = library.begin_upload(ann.user, "a.mp4", 4, "door")
    library.append(ann.user, begun.id, 0, b"clip")
    video, _ = library.finish_upload(ann.user, begun.id)
    assert Worker(library, make_settings(), analyzer=Ruled()).once()  # type: ignore[arg-type]
    (segment,) = ann.ask("GET", "/segments", video=video.id)["segments"]
    assert segment["rules"] == ["entered"]
    assert segment["start"] == 5
    assert float(library.track(video.id).scores.max()) == pytest.approx(0.1)
    assert (library.analysis(video.id).rules or {})["version"] == 1


def test_what_makes_no_sense_is_refused(library: Library, app: TestClient) -> None:
    ann = Person(app, library, "ann")
    ann.ask("POST", "/rules/apply", {"camera": "door"}, 422)
    ann.ask("PUT", "/rules", {"camera": "door", "text": "x" * (5 * LONGEST), "version": 0}, 422)
    ann.ask("PUT", "/rules", {"camera": "door", "text": TEXT, "version": -1}, 422)
    ann.ask("GET", f"/videos/{'0' * 32}/counts", expect=404)
    begun = library.begin_upload(ann.user, "a.mp4", 4, "door")
    library.append(ann.user, begun.id, 0, b"clip")
    video, _ = library.finish_upload(ann.user, begun.id)
    ann.ask("GET", f"/videos/{video.id}/counts", expect=409)
    ann.ask("GET", f"/videos/{video.id}/rules", expect=409)
    with pytest.raises(InputError, match="no sentence"):
        library.save_rules(ann.user, "door", "rules: {x: {when: hm}}", 0)
    with pytest.raises(ConflictError, match="not analysed"):
        library.analysis(video.id)
    assert json.loads(json.dumps(analysed(library, video.id)))


def test_what_a_rule_hides_everybody_hears_of(library: Library, app: TestClient) -> None:
    ann, bob = Person(app, library, "ann"), Person(app, library, "bob")
    video = walked(library, ann, scores=0.9)
    hides = YARD + "rules:\n  calm: {when: a person, lowers: 0}\n"
    ann.ask("PUT", "/rules", {"camera": "door", "text": hides, "version": 0})
    ann.ask("POST", "/rules/apply", {"camera": "door"})
    work(library)
    assert bob.ask("GET", "/segments", video=video)["segments"] == []
    (warning,) = bob.ask("GET", f"/videos/{video}")["warnings"]
    assert warning == "1 x flagged by the scorer and held below by rules (calm): at 0:00"
    assert bob.ask("GET", "/videos")["videos"][0]["warnings"] == [warning]
    (row,) = [r for r in library.audit_rows(count=50) if r.action == "rules saved"]
    assert (row.user, row.detail["lowers"]) == ("ann", ["calm"])
    bob.ask("PUT", "/rules", {"camera": "door", "text": TEXT, "version": 1})
    bob.ask("POST", "/rules/apply", {"camera": "door"})
    work(library)
    assert bob.ask("GET", f"/videos/{video}")["warnings"] == []
    assert len(bob.ask("GET", "/segments", video=video)["segments"]) == 1
