"""A camera's form as an admin meets it: hours, the zone of its clock, zones drawn over its picture by pointer and by keys; faults, and what is not saved yet. In a real browser."""

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsing import AXE, Open, add_clip, ask, faults_of, serving, spans
from PIL import Image

from vlad.library import Library

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
FORM = "dialog.camera[open]"
STAGE = f"{FORM} .sketch"
SAVE = f"{FORM} button.main"
CORNER = "[...document.querySelectorAll('dialog.camera .corner')].map((c) => c.ariaLabel.split(': ')[1].match(/\\d+/g).join())"


def sends_a_picture(library: Library, camera: str) -> None:
    """As a watcher keeps it; it is the newest one for some 20 seconds."""
    path = library.folder / "live" / camera / "picture.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((320, 240)).convert("RGB").save(path)
    os.utime(path, (time.time() + 9,) * 2)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[str, Library, str]]:
    """A server with a camera `door` that sent a picture a moment ago; its id."""
    library = Library(tmp_path / "library")
    door = library.save_camera(library.local_user(), {"name": "door", "url": "rtsp://192.0.2.1/x", "on": False})
    with serving(tmp_path / "library") as address:
        sends_a_picture(library, door.id)
        yield address, library, door.id


def opened(address: str, visit: Open, *, allowed: tuple[int, ...] = (404,), **more: Any) -> "Page":
    page = visit(f"{address}/#wall", allowed=allowed, **more)
    page.click("[aria-label='Change door']")
    page.wait_for_selector(FORM)
    return page


def field(name: str) -> str:
    return f"{FORM} label:has-text('{name}') input"


def draw(page: "Page", *points: tuple[float, float]) -> None:
    page.click(f"{FORM} button:has-text('New zone')")
    page.locator(STAGE).scroll_into_view_if_needed()
    box = page.locator(STAGE).bounding_box()
    assert box is not None
    for x, y in points:
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def settings(address: str, name: str = "door") -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in ask(address, "/cameras") if c["name"] == name)["settings"]
    return found


def at(page: "Page") -> str:
    """The name of what has the focus."""
    return str(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent"))


def test_hours_clock_and_a_zone_by_pointer(place: tuple[str, Library, str], visit: Open) -> None:
    address, _, _ = place
    page = opened(address, visit)
    page.wait_for_function(f"document.querySelector('{STAGE} img').naturalWidth === 320")
    page.wait_for_selector(f"{FORM} >> text=This is its newest picture.")
    assert page.input_value(field("Time zone of the camera")) == ""
    page.fill(field("Time zone of the camera"), "Europe/Berlin")
    page.fill(field("Seconds of a pause that ends none"), "4")
    page.wait_for_selector(f"{FORM} >> text=Always.")
    page.click(f"{FORM} button:has-text('Add hours')")
    for day in ("Sat", "Sun"):
        page.uncheck(f"{FORM} [aria-label='Hours 1'] >> label:has-text('{day}') >> input")
    page.fill(f"{FORM} [aria-label='Hours 1'] label:has-text('from') input", "20:30")
    page.wait_for_selector(f"{FORM} >> text=of the next day")
    page.click(f"{FORM} button:has-text('Add hours')")
    second = f"{FORM} [aria-label='Hours 2']"
    page.fill(f"{second} label:has-text('from') input", "00:00")
    page.fill(f"{second} label:has-text('until') input", "00:00")
    page.wait_for_selector(f"{second} >> text=for 24 hours")
    for day in ("Mon", "Tue", "Wed", "Thu", "Fri"):
        page.uncheck(f"{second} >> label:has-text('{day}') >> input")
    draw(page, (0.2, 0.4), (0.8, 0.4), (0.8, 0.9), (0.2, 0.9))
    assert page.is_visible(f"{FORM} .told >> text=Click the corners of the zone")
    page.click(f"{FORM} button:has-text('End drawing')")
    assert not page.is_visible(f"{FORM} .told >> text=Click the corners of the zone")
    handle, box = page.locator(f"{FORM} .corner").first.bounding_box(), page.locator(STAGE).bounding_box()
    assert handle is not None
    assert box is not None
    page.mouse.move(handle["x"] + 22, handle["y"] + 22)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.3 * box["height"], steps=4)
    page.mouse.up()
    page.fill("[aria-label='Name of zone 1']", "yard")
    page.keyboard.press("Tab")
    assert at(page) == "Threshold of yard"
    page.keyboard.type("0.7")
    page.keyboard.press("Tab")
    page.keyboard.type("3")
    page.click(SAVE)
    page.wait_for_selector("text=Saved.")
    found = settings(address)
    assert found["clock"] == "Europe/Berlin"
    assert found["merge"] == 4
    assert found["schedule"] == [
        {"days": ["mon", "tue", "wed", "thu", "fri"], "since": "20:30", "until": "06:00"},
        {"days": ["sat", "sun"]},
    ]
    (zone,) = found["zones"]
    assert (zone["name"], zone["threshold"], zone["hold"]) == ("yard", 0.7, 3)
    assert zone["points"][0] == pytest.approx([0.1, 0.3], abs=0.01)
    assert zone["points"][1:] == [pytest.approx(p, abs=0.01) for p in ([0.8, 0.4], [0.8, 0.9], [0.2, 0.9])]

    page.click("[aria-label='Change door']")  # as it was saved, and nothing is lost by saving it again
    page.wait_for_selector(f"{FORM} .name >> text=yard")
    assert page.input_value("[aria-label='Threshold of yard']") == "0.7"
    assert page.input_value(f"{FORM} [aria-label='Hours 2'] label:has-text('until') input") == "00:00"
    page.fill(field("for so many seconds"), "2")
    page.click(SAVE)
    page.wait_for_function(f"!document.querySelector('{FORM}')")
    assert settings(address) == found | {"hold": 2}
    page.click("[aria-label='Change door']")
    page.click("[aria-label='Remove yard']")
    page.click("[aria-label='Remove hours 1']")
    page.click("[aria-label='Remove hours 1']")
    page.wait_for_selector(f"{FORM} >> text=Always.")
    page.click(SAVE)
    page.wait_for_function(f"!document.querySelector('{FORM}')")
    assert settings(address) == {"clock": "Europe/Berlin", "merge": 4, "hold": 2}


def test_a_recorders_folder_with_hours_and_a_zone_by_keys_alone(place: tuple[str, Library, str], visit: Open) -> None:
    address, _, _ = place
    page = visit(f"{address}/#wall", allowed=(404,))
    press = page.keyboard.press

    def tab_to(name: str) -> None:
        for _ in range(80):
            if at(page) == name:
                return
            press("Tab")
        raise AssertionError(f"{name} is not reached: {at(page)}")

    page.wait_for_selector(".tile")
    page.focus("button:has-text('Add a camera')")
    press("Enter")
    page.keyboard.type("yard")
    press("Tab")
    hint = f"{FORM} >> text=A recorder's folder is read"
    for text in ("rtsp://192.0.2.1/x", "/dev/video0", "v4l2:/dev/video0"):
        page.keyboard.insert_text(text)
        assert not page.is_visible(hint), text
        press("Control+A")
    page.keyboard.type("/nowhere/recorder")
    assert page.is_visible(hint)
    page.wait_for_selector(f"{STAGE} >> text=There is no picture of it yet")
    tab_to("Add hours")
    press("Enter")
    assert page.evaluate("document.activeElement.value") == "mon"
    press("Space")
    press("Tab")
    press("Space")
    tab_to("New zone")
    press("Enter")
    page.wait_for_selector(f"{FORM} .told >> text=Click the corners of the zone")  # in the window, where it is heard
    for keys in (("Enter",), ("Shift+ArrowRight", "Enter"), ("Shift+ArrowDown", "ArrowDown", "Enter")):
        for key in keys:
            press(key)
    press("Escape")
    assert page.evaluate(CORNER) == ["50,50", "55,50", "55,56"]
    press("Tab")
    press("Shift+ArrowLeft")
    assert page.evaluate(CORNER)[0] == "45,50"
    press("Escape")
    assert page.is_visible(FORM)
    tab_to("Threshold of zone 1")
    page.keyboard.type("0.8")
    tab_to("Save")
    press("Enter")
    page.wait_for_selector("text=Saved.")
    page.wait_for_selector(".tile h3:has-text('yard')")
    found = settings(address, "yard")
    assert "clock" not in found  # that of the machine that watches
    assert found["schedule"] == [{"days": ["wed", "thu", "fri", "sat", "sun"], "since": "22:00", "until": "06:00"}]
    assert found["zones"][0]["points"] == [pytest.approx(p) for p in ([0.45, 0.5], [0.55, 0.5], [0.55, 0.555])]
    assert found["zones"][0]["threshold"] == 0.8


def test_faults_stand_beside_their_fields_and_nothing_typed_is_lost(
    place: tuple[str, Library, str], visit: Open
) -> None:
    address, _, _ = place
    page = opened(address, visit, allowed=(404, 422))
    page.fill(field("Time zone of the camera"), "Mars/Olympus")
    page.click(f"{FORM} button:has-text('Add hours')")
    for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"):
        page.uncheck(f"{FORM} label:has-text('{day}') >> input")
    page.click(SAVE)
    assert page.evaluate("document.activeElement.validationMessage") == "Choose a day, or remove these hours."
    page.check(f"{FORM} label:has-text('Mon') >> input")
    draw(page, (0.2, 0.4), (0.8, 0.4))
    page.click(SAVE)
    page.wait_for_selector(f"{FORM} .told >> text=This is no shape yet")
    page.keyboard.press("Escape")  # gives it up
    page.click(SAVE)
    page.wait_for_selector(f"{field('Time zone of the camera')} + .fault >> text=zone Mars/Olympus: unknown")
    assert page.evaluate("document.activeElement.value") == "Mars/Olympus"
    page.fill(field("Time zone of the camera"), "+01:00")
    draw(page, (0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8))
    page.click(SAVE)
    page.wait_for_selector("[aria-label='Name of zone 1'] + .fault >> text=its sides cross each other")
    page.click("[aria-label='Chosen: zone 1']")
    page.keyboard.press("Delete")
    draw(page, (0.1, 0.1), (0.9, 0.1), (0.9, 0.9))
    page.fill("[aria-label='Name of zone 2']", "zone 1")
    page.click(SAVE)
    page.wait_for_selector("[aria-label='Name of zone 2'] + .fault >> text=Another one is called so.")
    assert page.input_value("[aria-label='Name of zone 2']") == "zone 1"
    page.fill("[aria-label='Name of zone 2']", "gate")
    page.fill(field("Address"), "nonsense://x")
    page.click(SAVE)
    page.wait_for_selector(f"{field('Address')} + .fault")
    page.fill(field("Address"), "rtsp://192.0.2.1/x")
    assert "zones" not in settings(address)
    page.click(SAVE)
    page.wait_for_selector("text=Saved.")
    found = settings(address)
    assert [(z["name"], len(z["points"])) for z in found["zones"]] == [("zone 1", 3), ("gate", 3)]
    assert (found["clock"], found["schedule"][0]["days"]) == ("+01:00", ["mon"])


def test_what_is_not_saved_is_not_dropped_by_accident(place: tuple[str, Library, str], visit: Open) -> None:
    address, _, _ = place
    page = opened(address, visit)
    page.keyboard.press("Escape")
    page.wait_for_function(f"!document.querySelector('{FORM}')")  # nothing was changed: nobody is asked
    page.click("[aria-label='Change door']")
    draw(page, (0.1, 0.1), (0.9, 0.1), (0.9, 0.9))
    page.keyboard.press("Escape")  # ends the drawing
    assert page.locator("dialog[open]").count() == 1
    page.click(f"{FORM} h2")
    for _ in range(3):  # a browser lets a page hold a window once without asking
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog[open] >> text=Drop what you changed of this camera?")
        page.keyboard.press("Escape")
        page.wait_for_function("document.querySelectorAll('dialog[open]').length === 1")
        assert page.locator(f"{FORM} .corner").count() == 3
    page.evaluate("location.hash = '#alarms'")
    page.wait_for_selector("#room-alarms section > .vlad")
    page.click("#room-search-button")  # nothing covers the other rooms
    page.wait_for_selector("#room-search section > .vlad")
    page.go_back()
    page.go_back()
    page.wait_for_selector(FORM)
    assert page.locator(f"{FORM} .corner").count() == 3
    page.click(f"{FORM} button:has-text('Cancel')")
    page.click("dialog[open] button:has-text('Drop')")
    page.wait_for_function("!document.querySelector('dialog[open]')")
    page.click("[aria-label='Change door']")
    page.wait_for_selector(FORM)
    assert page.locator(f"{FORM} .shapelist li").count() == 0


def test_without_a_picture_zones_stand_on_a_plain_ground(
    place: tuple[str, Library, str], clip: Path, visit: Open
) -> None:
    address, library, door = place
    (library.folder / "live" / door / "picture.jpg").unlink()
    page = opened(address, visit, allowed=(404, 409))
    page.wait_for_selector(f"{STAGE} >> text=There is no picture of it yet; you can draw all the same.")
    page.keyboard.press("Escape")
    add_clip(library, clip, spans(1), name="door.mp4", camera="door")
    page.click("[aria-label='Change door']")
    page.wait_for_selector(f"{FORM} >> text=this one is of its newest clip")
    page.wait_for_function(f"document.querySelector('{STAGE} img').naturalWidth > 0")
    page.keyboard.press("Escape")
    ask(address, "/privacy", {"cover": "people", "how": "mosaic"}, "PUT")
    sends_a_picture(library, door)
    page.click("[aria-label='Change door']")
    page.wait_for_selector(f"{STAGE} >> text=People are covered here")
    assert not page.is_visible(f"{STAGE} img")
    assert page.get_attribute(f"{STAGE} img", "src") is None
    draw(page, (0.1, 0.1), (0.9, 0.1), (0.9, 0.9))
    page.click(SAVE)
    page.wait_for_selector("text=Saved.")
    assert len(settings(address)["zones"][0]["points"]) == 3


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core here (npm install axe-core): not run")
def test_axe_finds_nothing_in_the_open_form_and_it_fits(place: tuple[str, Library, str], visit: Open) -> None:
    address, library, door = place
    for width, scheme in itertools.product((390, 1400), ("light", "dark")):
        sends_a_picture(library, door)
        page = opened(address, visit, width=width, scheme=scheme)
        page.wait_for_function(f"document.querySelector('{STAGE} img').naturalWidth === 320")
        page.fill(field("Address"), "/srv/recorder")
        page.click(f"{FORM} button:has-text('Add hours')")
        draw(page, (0.2, 0.4), (0.8, 0.4), (0.8, 0.9), (0.2, 0.9))
        page.keyboard.press("Escape")
        page.fill("[aria-label='Name of zone 1']", "")
        page.click(SAVE)
        page.wait_for_selector("[aria-label='Name of zone 1'] + .fault")
        assert faults_of(page) == []
        assert page.evaluate(
            f"(({{ scrollWidth, clientWidth }}) => scrollWidth <= clientWidth)(document.querySelector('{FORM}'))"
        )
        low = page.evaluate(
            f"[...document.querySelectorAll('{FORM} :is(button, input:not([type=checkbox]), select)')]"
            f".filter((e) => e.getBoundingClientRect().height < {44 if width == 390 else 24}).map((e) => e.outerHTML.slice(0, 80))"
        )
        assert low == []
