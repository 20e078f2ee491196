"""The ground as its user meets it: pins on a picture and on a plan, the map of a clip, the usual paths of a camera. In a real browser."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import AXE, Open, add_clip, faults_of, room, serving, spans
from PIL import Image, ImageDraw
from test_drawing import opened, walker
from test_ground import crossing

from vlad.library import Library
from vlad.rules import parse

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
METRES = ((0, 0), (8, 0), (8, 6), (0, 6))


@pytest.fixture
def place(tmp_path: Path, clip: Path) -> Iterator[tuple[str, Library, str]]:
    library = Library(tmp_path / "library")
    video, _ = add_clip(library, clip, (), name="gate.mp4", camera="gate", tracks=[walker()])
    with serving(tmp_path / "library") as address:
        yield address, library, video


def plan(tmp_path: Path) -> Path:
    image = Image.new("RGB", (800, 600), "white")
    ImageDraw.Draw(image).rectangle((40, 40, 760, 560), outline="black", width=6)
    image.save(tmp_path / "plan.png")
    return tmp_path / "plan.png"


def fits(page: "Page") -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_four_points_by_keys_and_typed_metres_then_a_map(place: tuple[str, Library, str], visit: Open) -> None:
    address, library, video = place
    page = opened(address, visit)
    for i, (x, y) in enumerate(METRES):
        page.focus(".ground button:has-text('New point')")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.dataset.at") == str(i)
        page.keyboard.press("ArrowLeft")
        page.fill(f"[aria-label='Point {i + 1}, metres to the right']", str(x))
        page.fill(f"[aria-label='Point {i + 1}, metres up']", str(y))
        page.keyboard.press("Tab")
        if i < 3:
            page.wait_for_selector(f".ground .grave >> text={i + 1} pairs; expected four or more")
    page.wait_for_selector(".ground >> text=four points always fit, so this says nothing")
    page.click(".places button.main")
    page.wait_for_selector("text=Version 1 is in use.")
    row = library.rules("gate")
    assert row is not None
    found = parse(row.text).place
    assert found is not None
    assert found.plan.tolist() == [list(map(float, m)) for m in METRES]
    assert found.picture[0].tolist() == [0.295, 0.85]
    page.click("text=New rule")
    page.keyboard.type("a person with speed over 3 m/s")
    page.wait_for_function("!document.querySelector('.places button.main').disabled")
    page.click(".places button.main")
    page.wait_for_selector("text=Version 2 is in use.")
    kept = library.rules("gate")
    assert kept is not None
    assert parse(kept.text).place is not None  # other edits leave it as it is
    page.goto(f"{address}/#review?video={video}")
    page.click("text=Map in metres")
    page.wait_for_selector(".floor polyline", state="attached")
    page.wait_for_selector(".floor td >> text=person 1")
    page.wait_for_selector(".floor circle", state="attached")
    with page.expect_download() as downloaded:
        page.click("text=As GeoJSON")
    assert json.loads(Path(downloaded.value.path()).read_text())["features"][0]["properties"]["track"] == 1


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_pins_on_a_plan_by_pointer(place: tuple[str, Library, str], visit: Open, tmp_path: Path, width: int, scheme: str) -> None:  # fmt: skip
    address, library, video = place
    page = opened(address, visit, width=width, scheme=scheme, allowed=(422,))
    (tmp_path / "not.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    page.set_input_files(".ground input[type=file]", tmp_path / "not.png")
    page.wait_for_selector(".ground .fault >> text=plan: not a PNG, JPEG or WebP picture")
    page.set_input_files(".ground input[type=file]", plan(tmp_path))
    page.wait_for_function("document.querySelectorAll('.ground .sketch img')[1].naturalWidth == 800")
    page.fill(".ground >> label:has-text('The plan is wide') >> input", "8")
    page.keyboard.press("Tab")
    stages = page.locator(".ground .sketch")
    for i, (sx, sy, px, py) in enumerate(((0.1, 0.9, 0.05, 0.95), (0.9, 0.9, 0.95, 0.95), (0.7, 0.4, 0.95, 0.05), (0.3, 0.4, 0.05, 0.05), (0.5, 0.6, 0.5, 0.6))):  # fmt: skip
        page.click(".ground button:has-text('New point')")
        for stage, x, y in ((stages.nth(0), sx, sy), (stages.nth(1), px, py)):
            stage.scroll_into_view_if_needed()
            box = stage.bounding_box()
            pin = stage.locator(f"[data-at='{i}']").bounding_box()
            assert box is not None
            assert pin is not None
            assert min(pin["width"], pin["height"]) >= 44
            page.mouse.move(pin["x"] + 22, pin["y"] + 22)
            page.mouse.down()
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
            page.mouse.up()
    page.wait_for_selector(".ground >> text=each foretold by the others")
    assert fits(page)
    assert not AXE.is_file() or faults_of(page) == []
    page.click(".places button.main")
    page.wait_for_selector("text=Version 1 is in use.")
    row = library.rules("gate")
    assert row is not None
    found = parse(row.text).place
    assert found is not None
    assert found.drawing is not None
    assert (found.drawing.width, found.drawing.height) == (8, 6)
    assert found.plan[0].tolist() == pytest.approx([0.4, 0.3], abs=0.1)
    assert found.picture[2].tolist() == pytest.approx([0.7, 0.4], abs=0.02)
    page.reload()
    page.wait_for_function("document.querySelectorAll('.ground .sketch img')[1]?.naturalWidth == 800")
    assert page.locator(".ground .sketch >> nth=1 >> .pin").count() == 5
    page.goto(f"{address}/#review?video={video}")
    page.click("text=Map in metres")
    page.wait_for_selector(".floor polyline", state="attached")
    page.locator(".floor").scroll_into_view_if_needed()
    assert fits(page)
    assert not AXE.is_file() or faults_of(page) == []


def test_the_camera_looks_as_in_this_clip(place: tuple[str, Library, str], visit: Open) -> None:
    address, library, _ = place
    page = opened(address, visit)
    page.click("text=The camera looks as in this clip")
    page.wait_for_selector("text=Every clip is compared with where the camera looked")
    page.click(".places button.main")
    page.wait_for_selector("text=Version 1 is in use.")
    row = library.rules("gate")
    assert row is not None
    assert parse(row.text).background is not None
    page.click("text=Forget that")
    page.wait_for_selector("text=Nobody would notice")
    room(page, "day")


@pytest.mark.parametrize(("width", "scheme"), [(1400, "dark"), (390, "light")])
def test_usual_paths_are_learnt_and_departures_shown(tmp_path: Path, clip: Path, visit: Open, width: int, scheme: str) -> None:  # fmt: skip
    library = Library(tmp_path / "library")
    for i in range(3):
        add_clip(library, clip, (), name=f"{i}.mp4", camera="gate", tracks=[crossing(n, 0.5 + 0.01 * n) for n in (1, 2, 3)])  # fmt: skip
    odd, (span,) = add_clip(library, clip, spans(1), name="odd.mp4", camera="gate", tracks=[crossing(1, 0.5), crossing(7, 0.1, back=True)])  # fmt: skip
    library.decide(library.local_user(), span, "confirmed")
    with serving(tmp_path / "library", workers=1) as address:
        page = visit(f"{address}/#review?video={odd}", width=width, scheme=scheme)
        page.wait_for_selector(".said")
        assert not page.is_visible("text=Departures from usual paths")
        page.goto(f"{address}/#places?camera=gate")
        page.wait_for_selector("text=Not learnt. 3 clips could be learnt from.")
        page.click("text=Learn usual paths")
        page.wait_for_selector("text=Learnt of 3 clips", timeout=60_000)
        page.wait_for_function("document.querySelector('.pathmap').naturalWidth > 0")
        assert fits(page)
        assert not AXE.is_file() or faults_of(page) == []
        if os.environ.get("VLAD_SHOTS"):
            page.screenshot(path=Path(os.environ["VLAD_SHOTS"]) / f"places-learnt-{width}.png", full_page=True)
        page.goto(f"{address}/#review?video={odd}")
        page.click("text=Departures from usual paths")
        page.wait_for_selector(".departures >> text=person 7, the wrong way")
        page.wait_for_function("document.querySelector('.departures img').naturalWidth > 0")
        page.wait_for_timeout(400)
        assert fits(page)
        assert not AXE.is_file() or faults_of(page) == []
