"""Clips over HTTP: what was found in each, when it was recorded, days and lanes, small pictures, uploads that were left, a sample."""

import io
import itertools
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from PIL import Image
from serving import SEGMENTS, Person, client, given
from vlad.app import samples, sheets

from vlad.library import Library
from vlad.library.clips import SILENT
from vlad.library.tables import Upload, Video
from vlad.types import Segment

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("clips") / "library")


@pytest.fixture(scope="module")
def people(library: Library) -> Iterator[tuple[Person, Person]]:
    """ann and bob, who review."""
    with client(library, local=False) as app:
        yield Person(app, library, "ann"), Person(app, library, "bob")


People = tuple[Person, Person]


def sent(person: Person, name: str, data: bytes = b"clip", **more: object) -> dict[str, object]:
    """A clip that a person uploads and finishes with `more`."""
    begun = person.ask("POST", "/uploads", {"name": name, "size": len(data)})["id"]
    headers = person.headers
    assert person.app.put(f"/api/uploads/{begun}?offset=0", content=data, headers=headers).status_code == 200
    found: dict[str, object] = person.ask("POST", f"/uploads/{begun}/finish", more, 201)
    return found


def test_the_list_says_what_was_found(library: Library, people: People) -> None:
    """H4: seventeen clips were seventeen clicks."""
    ann, _ = people
    video, (one, two) = given(library, ann, name="found.mp4")
    ann.ask("POST", f"/segments/{two}/verdict", {"verdict": "dismissed"})
    (row,) = ann.ask("GET", "/videos", words="FOUND.mp4")["videos"]
    assert row["found"] == {
        "count": 2, "open": 1, "confirmed": 0, "dismissed": 1, "peak": 0.9, "label": "fighting", "first": one, "peak_time": 2.0,
    }  # fmt: skip
    assert ann.ask("GET", f"/videos/{video}")["found"]["count"] == 2
    waiting = sent(ann, "waits.mp4")
    assert (waiting["found"], waiting["starts_at"]) == (None, None)
    empty, _ = given(library, ann, (), name="empty.mp4")
    assert ann.ask("GET", f"/videos/{empty}")["found"]["count"] == 0


def test_pages_sorts_and_filters(library: Library, people: People) -> None:
    ann, _ = people
    spans = [SEGMENTS, SEGMENTS[1:], ()]
    names = [given(library, ann, s, name=f"page-{i}.mp4")[0] for i, s in enumerate(spans)]
    sent(ann, "page-3.mp4")

    def order(**query: object) -> list[str]:
        return [v["name"] for v in ann.ask("GET", "/videos", words="page-", **query)["videos"]]

    assert order() == [f"page-{i}.mp4" for i in (3, 2, 1, 0)]
    assert order(sort="name", down=False) == [f"page-{i}.mp4" for i in (0, 1, 2, 3)]
    assert order(sort="peak")[:2] == ["page-0.mp4", "page-1.mp4"]
    assert order(sort="found", down=False)[:2] == ["page-1.mp4", "page-0.mp4"]
    assert order(state="queued") == ["page-3.mp4"]
    assert order(sort="name", first=1, count=2) == ["page-2.mp4", "page-1.mp4"]
    page = ann.ask("GET", "/videos", words="page-", camera="door")
    assert (page["total"], page["busy"] >= 1, len(names)) == (3, True, 3)
    for wrong in ({"sort": "x"}, {"state": "x"}, {"count": 0}, {"first": -1}):
        ann.ask("GET", "/videos", None, 422, **wrong)


def test_the_name_tells_when_and_a_person_may_mend_it(library: Library, people: People) -> None:
    """H18: the time was typed before the drop, for all clips the same, and could not be mended."""
    ann, _ = people
    row = sent(ann, "ch01_20240131142530.mp4", zone="Europe/Berlin", camera="gate")
    assert (row["recorded_by"], row["starts_at"], row["camera"]) == ("name", "2024-01-31T14:25:30+01:00", "gate")
    video = row["id"]
    moved = ann.ask("PATCH", f"/videos/{video}", {"zone": "Asia/Tokyo"})
    assert moved["starts_at"] == "2024-01-31T14:25:30+09:00"  # the recorder's clock, read anew
    stamp = datetime(2024, 2, 1, 8, tzinfo=BERLIN).timestamp()
    typed = ann.ask(
        "PATCH", f"/videos/{video}", {"recorded": stamp, "zone": "+01:00", "camera": "yard", "name": "yard.mp4"}
    )
    assert (typed["recorded_by"], typed["starts_at"], typed["name"]) == (
        "typed",
        "2024-02-01T08:00:00+01:00",
        "yard.mp4",
    )
    forgot = ann.ask("PATCH", f"/videos/{video}", {"recorded": None})
    assert (forgot["recorded"], forgot["recorded_by"], forgot["camera"]) == (None, "", "yard")
    library.taken(str(video), stamp)
    assert ann.ask("GET", f"/videos/{video}")["recorded"] is None  # a person said that nobody knows
    for wrong in (
        {"zone": "Mars/Base"},
        {"recorded": -1},
        {"recorded": 1e18},
        {"name": ""},
        {"sha256": "x"},
        {"camera": "x" * 201},
    ):
        ann.ask("PATCH", f"/videos/{video}", wrong, 422)
    ann.ask("PATCH", f"/videos/{'0' * 32}", {"camera": "x"}, 404)


def test_a_plausible_creation_time_counts_where_nobody_told_better(library: Library, people: People) -> None:
    ann, _ = people
    video = str(sent(ann, "plain.mp4")["id"])
    library.taken(video, 0.0)  # a clock that was never set
    library.taken(video, time.time() + 3600)  # before it was uploaded, it was not recorded
    assert ann.ask("GET", f"/videos/{video}")["recorded"] is None
    library.taken(video, 1.7e9)
    assert ann.ask("GET", f"/videos/{video}")["recorded_by"] == "metadata"
    named = str(sent(ann, "20240131_142530.mp4")["id"])
    library.taken(named, 1.7e9)
    assert ann.ask("GET", f"/videos/{named}")["recorded_by"] == "name"


def test_segments_carry_clock_time(library: Library, people: People) -> None:
    ann, _ = people
    video, (one, _) = given(library, ann)
    ann.ask("PATCH", f"/videos/{video}", {"recorded": 1.7e9, "zone": "+00:00"})
    segment = ann.ask("GET", f"/segments/{one}")
    assert (segment["starts_at"], segment["ends_at"]) == ("2023-11-14T22:13:21+00:00", "2023-11-14T22:13:23+00:00")


def test_a_day_is_lanes_of_cameras(library: Library, people: People) -> None:
    ann, _ = people
    midnight = datetime(2021, 5, 4, tzinfo=BERLIN).timestamp()
    before, _ = given(library, ann, name="over midnight.mp4")
    noon, (one, two) = given(library, ann, name="noon.mp4")
    other, _ = given(library, ann, name="other.mp4")
    for video, recorded, camera in (
        (before, midnight - 4, "east"),
        (noon, midnight + 43_200, "west"),
        (other, midnight + 50_000, "west"),
    ):
        ann.ask("PATCH", f"/videos/{video}", {"recorded": recorded, "camera": camera})
    ann.ask("POST", f"/segments/{one}/verdict", {"verdict": "confirmed"})
    day = ann.ask("GET", "/days/2021-05-04", zone="Europe/Berlin")
    assert (day["start"], day["end"]) == (midnight, midnight + 86_400)
    assert [(lane["camera"], len(lane["clips"]), len(lane["segments"])) for lane in day["lanes"]] == [
        ("east", 1, 1),
        ("west", 2, 4),
    ]
    first = day["lanes"][1]["segments"][0]
    assert (first["id"], first["start"], first["status"]) == (one, midnight + 43_201, "confirmed")
    days = {d["day"]: d for d in ann.ask("GET", "/days", zone="Europe/Berlin")}
    assert days["2021-05-04"] == {"day": "2021-05-04", "clips": 3, "segments": 5, "open": 4}
    assert days["2021-05-03"] == {"day": "2021-05-03", "clips": 1, "segments": 1, "open": 1}
    assert two in [s["id"] for s in day["lanes"][1]["segments"]]
    undated, _ = given(library, ann)
    assert undated in [v["id"] for v in ann.ask("GET", "/days/1999-01-01")["undated"]]
    for path, query in (("/days/2021-02-30", {}), ("/days/x", {}), ("/days", {"zone": "Mars/Base"})):
        ann.ask("GET", path, None, 422, **query)


def test_what_nobody_saw_is_told(library: Library, people: People) -> None:
    ann, _ = people
    video, _ = given(library, ann)
    with library.write() as session:
        row = session.get(Video, video)
        assert row is not None
        row.facts = {**(row.facts or {}), "gaps": [[2.0, 4.0], [9.0, 9.5]]}
        row.recorded = 1.6e9
    assert ann.ask("GET", f"/videos/{video}")["unseen"] == pytest.approx(0.25)
    (lane,) = ann.ask("GET", "/days/2020-09-13", zone="+00:00")["lanes"]
    assert lane["clips"][0]["gaps"][0] == [1.6e9 + 2, 1.6e9 + 4]


def test_uploads_that_were_left_are_listed_and_dropped(library: Library, people: People) -> None:
    """F11: they held their place for a week, and nothing could be done about it."""
    ann, bob = people
    begun = ann.ask("POST", "/uploads", {"name": "half.mp4", "size": 100})["id"]
    assert [u["name"] for u in ann.ask("GET", "/uploads")] == ["half.mp4"]
    assert bob.ask("GET", "/uploads") == []
    bob.ask("DELETE", f"/uploads/{begun}", None, 404)
    ann.ask("DELETE", f"/uploads/{begun}")
    assert (ann.ask("GET", "/uploads"), library.part(begun).exists()) == ([], False)
    silent = ann.ask("POST", "/uploads", {"name": "silent.mp4", "size": 100})["id"]
    with library.write() as session:
        row = session.get(Upload, silent)
        assert row is not None
        row.created -= SILENT + 1
    library.forget_uploads(7)
    assert ann.ask("GET", "/uploads") == []


def test_errors_call_a_clip_by_its_own_name(library: Library, people: People) -> None:
    """H16: `4ad1...: not a video`, a path of the server."""
    ann, _ = people
    video, _ = given(library, ann, name="lobby \x1b.mp4")
    words = f"{library.clip(video)}: not a video; and {library.clip('0' * 32)}, {library.folder}/library.sqlite"
    assert library.by_name(words) == "lobby .mp4: not a video; and the clip, /library.sqlite"


@pytest.mark.slow
def test_a_sample_is_rendered_once(library: Library, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = people
    monkeypatch.setattr(samples, "SECONDS", 6.0)
    first = ann.ask("POST", "/sample", None, 201)
    assert (ann.ask("POST", "/sample", None, 201)["id"], first["job"]["status"]) == (first["id"], "queued")
    assert library.clip(first["id"]).read_bytes()[4:8] == b"ftyp"
    assert bob.ask("POST", "/sample", None, 201)["id"] != first["id"]


@pytest.mark.parametrize("spans", [[], [(3.0, 5.0)], [(float(i), i + 1.5) for i in range(0, 1700, 40)]])
def test_small_pictures_lie_close_in_and_near_segments(spans: list[tuple[float, float]]) -> None:
    """H10: in half an hour one picture stood for 18 seconds."""
    times = sheets.plan(1800.0, spans)
    assert times == sorted(set(times))
    assert len(times) <= sheets.MOST
    assert 0 <= times[0] <= times[-1] <= 1800
    for start, end in spans:
        inside = [t for t in times if start - sheets.AROUND <= t <= end + sheets.AROUND]
        assert len(inside) >= sheets.LEAST
        assert max(b - a for a, b in itertools.pairwise(inside)) <= sheets.APART
    assert max(b - a for a, b in itertools.pairwise(times)) < 18.1


def test_a_day_of_segments_still_fits_on_a_sheet() -> None:
    times = sheets.plan(86_400.0, [(i * 100.0, i * 100.0 + 20) for i in range(800)])
    assert 300 <= len(times) <= sheets.MOST


@pytest.mark.slow
def test_a_sheet_says_what_lies_where_and_follows_its_segments(library: Library, people: People, clip: Path) -> None:
    ann, _ = people
    video = str(sent(ann, "scene.mp4", clip.read_bytes())["id"])
    ann.ask("GET", f"/videos/{video}/sheet.json", None, 409)
    with library.write() as session:
        row = session.get(Video, video)
        assert row is not None
        row.duration = 20.0
    facts = ann.ask("GET", f"/videos/{video}/sheet.json")
    answer = ann.app.get(f"/api/videos/{video}/sheet", params={"v": facts["version"]}, headers=ann.headers)
    assert answer.headers["cache-control"] == "private, no-cache"
    image = Image.open(io.BytesIO(answer.content))
    rows = -(-len(facts["times"]) // facts["columns"])
    assert image.size == (facts["columns"] * facts["width"], rows * facts["height"])
    assert facts["ratio"] == pytest.approx(4 / 3, abs=0.02)
    library.keep(video, _of_twenty(Segment(3.0, 5.0, 0.9, 4.0, "fighting")))
    end = time.monotonic() + 20
    while ann.ask("GET", f"/videos/{video}/sheet.json")["version"] == facts["version"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    times = ann.ask("GET", f"/videos/{video}/sheet.json")["times"]
    assert sum(3 <= t <= 5 for t in times) >= 4


def _of_twenty(*segments: Segment) -> object:
    import numpy as np

    from vlad.types import Analysis, ScoreTrack
    from vlad.types import Video as Facts

    track = ScoreTrack(np.full(10, 0.5, np.float32), np.linspace(0, 20, 11))
    return Analysis(Facts("a", "0" * 64, 20.0, 15.0, 320, 240, "h264"), track, segments)
