"""The ground of a camera: plans that are pictures and nothing else, maps of paths in metres, and rules that pause where the camera was moved."""

import csv
import io
import os
import struct
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import add_clip
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin
from serving import Person, client, given
from test_places import walked, walker, work
from vlad.app.ground import plan_of
from vlad.app.worker import Worker

from vlad.config import make_settings
from vlad.errors import InputError
from vlad.library import Library
from vlad.library.backup import backup, restore
from vlad.library.places import YOUNG
from vlad.rules import parse
from vlad.sim import simulate, write_video
from vlad.types import Analysis, ScoreTrack, Segment, Track, Video

PLACE = "place: {points: [[[0, 0.9], [0, 0]], [[1, 0.9], [10, 0]], [[0.9, 0.5], [10, 10]], [[0.1, 0.5], [0, 10]]]%s}\nrules: {}\n"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def app(library: Library) -> TestClient:
    return client(library, local=False)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """The same hall for four seconds, as a camera sees it that stays, and after somebody pushed it."""
    world = simulate(7, duration=4.0, events=(), size=(480, 360))
    small = replace(world, scene=replace(world.scene, background=world.scene.background[40:320, 60:420]))
    paths = tmp_path / "stays.mp4", tmp_path / "moved.mp4"
    for path, left in zip(paths, (60, 100), strict=True):
        write_video(small, path, frames=(frame[40:320, left : left + 360] for frame in world.frames()))
    return paths


def picture(kind: str = "PNG", size: tuple[int, int] = (200, 100), mode: str = "RGB", **more: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, "white").save(out, kind, **more)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says that it is large, and is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 2) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def put(app: TestClient, person: Person, data: bytes, camera: str = "door", expect: int = 201) -> Any:
    found = app.put("/api/plans", params={"camera": camera}, content=data, headers=person.headers)
    assert found.status_code == expect, (found.status_code, found.text[:300])
    return found.json()


def test_what_is_kept_of_a_plan_is_what_it_shows() -> None:
    secret = PngImagePlugin.PngInfo()
    secret.add_text("Comment", "secret" * 20)
    made, width, height = plan_of(picture("PNG", (4000, 2000), pnginfo=secret) + b"<script>")
    assert (width, height) == (2000, 1000)
    assert made.startswith(b"\xff\xd8")
    assert b"secret" not in made
    assert b"script" not in made
    clear = io.BytesIO()
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(clear, "PNG")
    assert np.asarray(Image.open(io.BytesIO(plan_of(clear.getvalue())[0]))).min() == 255  # what is clear is white
    turned = Image.Exif()
    turned[0x0112] = 6
    assert plan_of(picture("JPEG", (200, 100), exif=turned))[1:] == (100, 200)
    assert plan_of(picture("WEBP"))[1:] == (200, 100)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"clip", b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        bomb(60_000, 60_000), bomb(6000, 6000), picture("PNG", (5000, 20)), picture("GIF"), picture("TIFF"), picture()[:60], picture("PNG", (4, 4)),
        bomb(100, 100)[:40] + bytes(2000),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused_before_it_is_decoded(data: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"^plan: "):
        plan_of(data)
    assert time.monotonic() - began < 2


def test_a_plan_is_its_cameras_and_goes_when_no_version_names_it(library: Library, app: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    ann, bob, root = (
        Person(app, library, "ann"),
        Person(app, library, "bob"),
        Person(app, library, "root", "admin"),
    )
    root.ask("PUT", "/groups", {"name": "front", "cameras": ["door"], "members": ["ann"]})
    root.ask("PUT", "/groups", {"name": "back", "cameras": ["yard"], "members": ["bob"]})
    made = put(app, ann, picture())
    assert (made["width"], made["height"]) == (200, 100)
    name = made["picture"]
    put(app, ann, picture(), "yard", 403)
    put(app, ann, b"clip", "door", 422)
    put(app, ann, bytes(9 << 20), "door", 413)
    got = app.get(f"/api/plans/{name}", params={"camera": "door"}, headers=ann.headers)
    assert got.headers["content-type"] == "image/jpeg"
    assert got.headers["x-content-type-options"] == "nosniff"
    for who, camera, status in ((bob, "door", 403), (bob, "yard", 404), (ann, "yard", 403), (root, "yard", 404)):
        assert app.get(f"/api/plans/{name}", params={"camera": camera}, headers=who.headers).status_code == status
    assert app.get(f"/api/plans/{name}", params={"camera": "door"}).status_code == 401
    assert app.get("/api/plans/..%2flibrary.sqlite", params={"camera": "door"}, headers=ann.headers).status_code == 404
    ann.ask("PUT", "/rules", {"camera": "door", "text": PLACE % f", plan: {{picture: {name}, width: 20, height: 10}}", "version": 0})  # fmt: skip
    told = ann.ask("GET", "/rules", camera="door")["place"]
    assert told["plan"] == {"picture": name, "width": 20, "height": 10}
    assert "this says nothing" in told["told"][0]
    other = put(app, ann, picture(size=(300, 100)))["picture"]
    with monkeypatch.context() as patch:
        patch.setattr("vlad.library.places.WAITING", 1)
        put(app, ann, picture(size=(400, 100)), expect=409)
    library.sweep_plans()
    assert library.plan("door", other).is_file()  # young
    for one in (name, other):
        path = library.folder / "plans" / one
        os.utime(path, (time.time() - 2 * YOUNG,) * 2)
    assert library.sweep_plans() == 1
    assert library.plan("door", name).is_file()
    assert not (library.folder / "plans" / other).exists()
    backup(library, tmp_path / "backup")
    again = Library(tmp_path / "again")
    restore(tmp_path / "backup", again)
    assert again.plan("door", name).read_bytes() == library.plan("door", name).read_bytes()
    assert [r.action for r in library.audit_rows(count=100)].count("plan uploaded") == 2


@pytest.mark.slow
def test_a_plan_lies_in_a_shared_storage_too(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    one, two = (
        Library(f"sqlite:///{tmp_path}/library.sqlite", f"file://{tmp_path}/bucket", tmp_path / n) for n in "ab"
    )
    name = one.put_plan(one.local_user(), "door", plan_of(picture())[0])
    assert two.plan("door", name).read_bytes() == one.plan("door", name).read_bytes()


def test_every_fault_of_a_place_is_told(library: Library, app: TestClient) -> None:
    ann = Person(app, library, "ann")
    for more, words in (
        ("points: [[[0, 0], [0, 0]]]", "1 pairs; expected four or more"),
        (PLACE.split("{", 1)[1].split("%s")[0].replace("0.9]", "1.9]", 1), "point 1 lies outside the picture"),
        ("points: [[[0, 0], [0, 0]], [[0.1, 0.1], [1, 1]], [[0.2, 0.2], [2, 2]], [[0.3, 0.3], [3, 3]]]", "lie in a line"),
        (PLACE.split("{", 1)[1].split("%s")[0] + ", plan: {picture: ../../etc, width: 1, height: 1}", "plan: expected"),
        (PLACE.split("{", 1)[1].split("%s")[0] + f", plan: {{picture: {'a' * 32}, width: .inf, height: 1}}", "plan: expected"),
    ):  # fmt: skip
        (fault,) = ann.ask("POST", "/rules/check", {"text": f"place: {{{more}}}\nrules: {{}}"})["faults"]
        assert (fault["part"], words in fault["text"]) == ("place", True), (more, fault)


def test_a_map_in_metres_and_as_geojson(library: Library, app: TestClient) -> None:
    ann, root = Person(app, library, "ann"), Person(app, library, "root", "admin")
    video = walked(library, ann, name="<b>x</b>.mp4")
    assert ann.ask("GET", f"/videos/{video}/map")["map"] is None
    ann.ask("GET", f"/videos/{video}/map.geojson", expect=409)
    ann.ask("PUT", "/rules", {"camera": "door", "text": PLACE % ", origin: [52, 13]", "version": 0})
    found = ann.ask("GET", f"/videos/{video}/map")
    (path,) = found["map"]["features"]
    assert found["map"]["unit"] == "metres on the plan"
    assert "this says nothing" in found["told"][0]
    assert path["properties"]["track"] == 1
    first, last = path["geometry"]["coordinates"][0], path["geometry"]["coordinates"][-1]
    assert 0 <= first[0] < last[0] <= 10
    got = app.get(f"/api/videos/{video}/map.geojson", headers=ann.headers)
    assert got.headers["content-type"] == "application/geo+json"
    assert got.json()["unit"] == "degrees"
    assert got.json()["features"][0]["geometry"]["coordinates"][0] == pytest.approx([13, 52], abs=1e-3)
    assert "<" not in got.headers["content-disposition"]
    root.ask("PUT", "/groups", {"name": "back", "cameras": ["yard"], "members": ["ann"]})
    for path in ("map", "map.geojson"):
        ann.ask("GET", f"/videos/{video}/{path}", expect=404)
    ann.ask("POST", f"/videos/{video}/background", expect=404)


@pytest.mark.slow
def test_rules_pause_where_the_camera_was_moved_and_the_clip_says_so(library: Library, app: TestClient, two: tuple[Path, Path]) -> None:  # fmt: skip
    ann = Person(app, library, "ann")
    same, other = (
        add_clip(library, path, (), name=f"{path.stem}.mp4", camera="door", user=ann.user, tracks=[walker()], duration=4.0)[0]
        for path in two
    )  # fmt: skip
    background = ann.ask("POST", f"/videos/{same}/background")["background"]
    text = f"rules: {{somebody: {{when: a person for 1 s, raises: 0.9}}}}\nbackground: {background}\n"
    saved = ann.ask("PUT", "/rules", {"camera": "door", "text": text + PLACE.split("\n")[0] % "" + "\n", "version": 0})
    assert saved["background"] == background == parse(saved["text"]).background.text()  # type: ignore[union-attr]
    assert ann.ask("POST", "/rules/apply", {"camera": "door"}) == {"clips": 2}
    worker = Worker(library, make_settings(), analyzer=object())  # type: ignore[arg-type]  # which loads no model
    while worker.once():
        pass
    assert [s["start"] for s in ann.ask("GET", "/segments", video=same)["segments"]] == [0]
    assert ann.ask("GET", f"/videos/{same}")["warnings"] == []
    assert ann.ask("GET", "/segments", video=other)["segments"] == []
    (warning,) = ann.ask("GET", f"/videos/{other}")["warnings"]
    assert warning.startswith("the camera was moved (0 to 4 s): rules, zones and metres pause")
    assert ann.ask("GET", f"/videos/{other}/rules")["held"] == []
    assert len(ann.ask("GET", f"/videos/{same}/map")["map"]["features"]) == 1
    assert (
        ann.ask("GET", f"/videos/{other}/map")["left_out"],
        ann.ask("GET", f"/videos/{other}/map")["map"]["features"],
    ) == (1, [])
    ann.ask("PUT", "/rules", {"camera": "door", "text": text.split("background")[0], "version": 1})
    ann.ask("POST", "/rules/apply", {"camera": "door"})
    while worker.once():
        pass
    assert ann.ask("GET", f"/videos/{other}")["warnings"] == []


def crossing(number: int, y: float, *, back: bool = False, fast: float = 1.0) -> Track:
    """Somebody who walks through the picture at a height of it."""
    when = np.linspace(0, 8 / fast, 33)
    x = np.linspace(0.0, 0.9, 33)[:: -1 if back else 1]
    boxes = np.stack([x, np.full(33, y), np.full(33, 0.05), np.full(33, 0.2)], 1)
    return Track(number, "person", when, boxes.astype(np.float32), 0.9)


def hall(library: Library, person: Person, tracks: tuple[Track, ...], name: str) -> str:
    """A clip of the camera `door` that a worker analysed."""
    video, _ = given(library, person, segments=(), name=name)
    facts = Video("a", "0" * 64, 10.0, 15.0, 320, 240, "h264")
    track = ScoreTrack(np.full(20, 0.1, np.float32), np.linspace(0, 10, 21))
    library.keep(video, Analysis(facts, track, (), (), {"settings": {"enter": 0.5}}, tracks=tracks))
    return video


@pytest.mark.slow
def test_usual_paths_are_off_until_learnt_of_clips_in_which_nobody_confirmed_anything(library: Library, app: TestClient, tmp_path: Path) -> None:  # fmt: skip
    ann, bob, root = Person(app, library, "ann"), Person(app, library, "bob"), Person(app, library, "root", "admin")
    calm = [
        hall(library, ann, tuple(crossing(n, 0.5 + 0.01 * n, fast=0.8 + 0.1 * n) for n in range(1, 5)), f"{i}.mp4")
        for i in range(5)
    ]
    odd = hall(library, ann, (crossing(1, 0.52), crossing(7, 0.1, back=True)), "odd.mp4")
    assert library.checked(odd, [Segment(2.0, 4.0, 0.9, 3.0, "loitering")], None, library.analysis(odd).created)
    (segment,) = ann.ask("GET", "/segments", video=odd)["segments"]
    library.decide(ann.user, segment["id"], "confirmed")
    assert ann.ask("GET", "/movement", camera="door") == {"learnt": None, "normal": 5, "job": None}
    assert ann.ask("GET", f"/videos/{odd}/movement") == {"learnt": False, "departures": []}
    ann.ask("GET", f"/videos/{odd}/movement/map", expect=404)
    ann.ask("POST", "/movement", {"camera": "yard"}, 422)
    assert ann.ask("POST", "/movement", {"camera": "door", "clips": 4}) == {"clips": 4}
    assert ann.ask("POST", "/movement", {"camera": "door", "clips": 50}) == {"clips": 5}  # in place of the first
    work(library)
    told = ann.ask("GET", "/movement", camera="door")
    assert (told["learnt"]["clips"], told["learnt"]["seconds"], told["job"]["status"]) == (5, 50, "done")

    def strays(video: str) -> set[int]:
        found = ann.ask("GET", f"/videos/{video}/movement")
        assert found["learnt"]
        return {d["track"] for d in found["departures"] if d["why"] == "the wrong way"}

    assert (strays(calm[0]), strays(odd)) == (set(), {7})
    for path in (f"/videos/{odd}/movement/map", "/movement/map"):
        got = app.get(f"/api{path}", params={"camera": "door"}, headers=ann.headers)
        assert got.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(got.content)).size == (640, 480)
    root.ask("PUT", "/groups", {"name": "back", "cameras": ["yard"], "members": ["bob"]})
    for method, path, body in (("GET", "/movement", None), ("GET", "/movement/map", None), ("DELETE", "/movement", None), ("POST", "/movement", {"camera": "door"})):  # fmt: skip
        bob.ask(method, path, body, 403, **({} if body else {"camera": "door"}))
    bob.ask("GET", f"/videos/{odd}/movement", expect=404)
    backup(library, tmp_path / "backup")
    again = Library(tmp_path / "again")
    restore(tmp_path / "backup", again)
    assert again.paths("door") is not None
    file = library.paths("door")
    assert file is not None
    file.write_bytes(b"no paths")
    root.ask("GET", "/movement", expect=422, camera="door")
    root.ask("DELETE", "/movement", camera="door")
    assert root.ask("GET", f"/videos/{odd}/movement")["learnt"] is False


def test_paths_that_cannot_be_learnt_are_told(library: Library, app: TestClient) -> None:
    ann = Person(app, library, "ann")
    for i in range(2):
        hall(library, ann, (), f"{i}.mp4")
    ann.ask("POST", "/movement", {"camera": "door"})
    worker = Worker(library, make_settings(), analyzer=object())  # type: ignore[arg-type]
    assert worker.once()
    job = ann.ask("GET", "/movement", camera="door")["job"]
    assert job["status"] == "failed"
    assert "nobody and no vehicle was followed" in job["error"]


def test_counts_of_a_day_and_camera_are_one_table(library: Library, app: TestClient) -> None:
    ann, root = Person(app, library, "ann"), Person(app, library, "root", "admin")
    for hour in (8, 9):
        hall(library, ann, (crossing(1, 0.5), crossing(2, 0.6, back=True)), f"door_20260301_{hour:02}0000.mp4")
    hall(library, ann, (crossing(1, 0.5),), "door_20260302_080000.mp4")
    ann.ask("PUT", "/rules", {"camera": "door", "text": "zones: {'=yard': [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}\nlines: {gate: [[0.4, 0], [0.4, 1]]}\nrules: {}", "version": 0})  # fmt: skip

    def table(day: str, camera: str = "door") -> list[dict[str, str]]:
        got = app.get(f"/api/days/{day}/counts.csv", params={"camera": camera}, headers=ann.headers)
        assert got.status_code == 200, got.text
        return list(csv.DictReader(io.StringIO(got.text)))

    rows = table("2026-03-01")
    assert {r["clip"] for r in rows} == {"door_20260301_080000.mp4", "door_20260301_090000.mp4", "all of 2026-03-01"}
    whole = {r["name"]: r for r in rows if r["clip"].startswith("all") and r["kind"] == "people"}
    assert (whole["gate"]["inwards"], whole["gate"]["outwards"]) == ("2", "2")
    (yard,) = (r for n, r in whole.items() if n.endswith("=yard"))
    assert yard["name"] != "=yard"  # no spreadsheet runs it
    assert (yard["entered"], yard["most"]) == ("2", "1")
    assert {r["clip"] for r in table("2026-03-02")} == {"door_20260302_080000.mp4", "all of 2026-03-02"}
    assert table("2026-03-05") == table("2026-03-01", "yard") == []
    root.ask("PUT", "/groups", {"name": "back", "cameras": ["yard"], "members": ["ann"]})
    assert app.get("/api/days/2026-03-01/counts.csv", params={"camera": "door"}, headers=ann.headers).status_code == 403
    assert app.get("/api/days/yesterday/counts.csv", params={"camera": "yard"}, headers=ann.headers).status_code == 422
