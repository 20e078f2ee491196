"""Places as their user meets them: zones and lines drawn by pointer and by keys, rules with their faults beside them, versions. In a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browsing import Open, add_clip, ask, room, serving, spans

from vlad.library import Library
from vlad.rules import parse
from vlad.types import Segment, Track

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def place(tmp_path: Path, clip: Path) -> Iterator[tuple[str, Library]]:
    """A server on a library with a clip of the camera `gate`."""
    library = Library(tmp_path / "library")
    add_clip(library, clip, spans(2), name="gate.mp4", camera="gate")
    with serving(tmp_path / "library") as address:
        yield address, library


def opened(address: str, visit: Open, **more: Any) -> "Page":
    page = visit(f"{address}/#places?camera=gate", **more)
    page.wait_for_function("document.querySelector('.sketch img')?.naturalWidth > 0")
    return page


def corners(page: "Page") -> list[str]:
    return [c.get_attribute("aria-label") or "" for c in page.locator(".corner").all()]


def test_a_zone_a_line_and_a_rule_by_pointer(place: tuple[str, Library], visit: Open) -> None:
    address, library = place
    page = opened(address, visit)
    page.click("text=New zone")
    box = page.locator(".sketch[role=application]").bounding_box()
    assert box is not None
    for x, y in ((0.2, 0.4), (0.8, 0.4), (0.8, 0.9), (0.2, 0.9)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.click("text=End drawing")
    assert len(corners(page)) == 4
    handle = page.locator(".corner").first.bounding_box()
    assert handle is not None
    assert min(handle["width"], handle["height"]) >= 44
    page.mouse.move(handle["x"] + 22, handle["y"] + 22)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.3 * box["height"], steps=4)
    page.mouse.up()
    assert corners(page)[0] == "zone 1, point 1 of 4: 10 % from the left, 30 % from the top"
    page.fill("[aria-label='Name of zone 1']", "yard")
    page.keyboard.press("Tab")
    page.click("text=New line")
    for x, y in ((0.5, 0.2), (0.5, 0.8)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.click("text=New rule")
    page.keyboard.type('a persn in "yard"')
    page.wait_for_selector(".rulelist .fault >> text=a persn: expected a number")
    assert page.is_disabled("text=Save >> visible=true")
    page.fill(".sentence", 'a person in "yard" for 2 s')
    page.wait_for_function("!document.querySelector('.places button.main').disabled")
    page.select_option(".rulelist select", "raises")
    page.click(".places button.main")
    page.wait_for_selector("text=Version 1 is in use.")
    row = library.rules("gate")
    assert row is not None
    rules = parse(row.text)
    assert rules.zones["yard"][0].tolist() == pytest.approx([0.1, 0.3], abs=0.01)
    assert rules.lines["line 1"].tolist()[1] == pytest.approx([0.5, 0.8], abs=0.01)
    assert (rules.rules[0].zone, rules.rules[0].raises) == ("yard", 0.9)
    page.click("text=Check 1 clip with them")
    page.wait_for_selector("text=1 clip will be checked")


def test_the_same_by_keys_alone(place: tuple[str, Library], visit: Open) -> None:
    address, library = place
    page = opened(address, visit)
    page.focus("button:has-text('New zone')")
    page.keyboard.press("Enter")
    for keys in (
        ("Enter",),
        ("Shift+ArrowRight", "Enter"),
        ("Shift+ArrowDown", "Enter"),
        ("ArrowLeft", "Enter", "Delete"),
    ):
        for key in keys:
            page.keyboard.press(key)
    page.keyboard.press("Escape")
    assert len(corners(page)) == 3
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowUp")
    assert corners(page)[0].endswith("50 % from the left, 45 % from the top")
    page.keyboard.press("Enter")
    assert len(corners(page)) == 4
    assert page.evaluate("document.activeElement.dataset.at") == "1"
    page.keyboard.press("Delete")
    page.keyboard.press("Delete")
    page.wait_for_selector("text=three corners or more")
    assert len(corners(page)) == 3
    page.keyboard.press("Escape")
    assert corners(page) == []
    assert page.evaluate("document.activeElement.className").startswith("sketch")
    page.focus("button:has-text('New line')")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    page.focus("[aria-label='Turn line 1 round']")
    before = corners(page)
    page.keyboard.press("Enter")
    assert [c.split(": ")[1] for c in corners(page)] == [c.split(": ")[1] for c in before][::-1]
    page.wait_for_function("!document.querySelector('.places button.main').disabled")
    page.focus(".places button.main")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Version 1 is in use.")
    row = library.rules("gate")
    assert row is not None
    assert list(parse(row.text).zones) == ["zone 1"]
    page.focus("[aria-label='Remove zone 1']")
    page.keyboard.press("Enter")
    assert page.locator(".shapelist li").count() == 1


def test_versions_conflicts_drafts_and_faults(place: tuple[str, Library], visit: Open) -> None:
    address, library = place
    user = library.local_user()
    first = 'zones: {yard: [[0, 0], [1, 0], [1, 1]]}\nrules: {old: {when: a person in "yard", lowers: 0.2}}'
    library.save_rules(user, "gate", first, 0)
    page = opened(address, visit, allowed=(409,))
    page.wait_for_selector("text=Version 1 is in use.")
    page.fill("[aria-label='Name of yard']", "court")
    page.keyboard.press("Tab")
    assert page.input_value(".sentence") == 'a person in "court"'
    page.reload()
    page.wait_for_selector("text=What you drew here and did not save is still there.")
    library.save_rules(user, "gate", first.replace("0.2", "0.3"), 1)
    page.wait_for_function("!document.querySelector('.places button.main').disabled")
    page.click(".places button.main")
    page.wait_for_selector("text=saved version 2 of these rules meanwhile")
    page.click(".places button.main")
    page.wait_for_selector("text=Version 3 is in use.")
    assert [v["version"] for v in ask(address, "/rules/versions?camera=gate")] == [3, 2, 1]
    page.click("[aria-label='Return to version 1']")
    assert page.input_value(".sentence") == 'a person in "yard"'
    assert page.input_value(".rulelist input[type=number]") == "0.2"
    page.click("text=Discard")
    page.wait_for_function("document.querySelector('.sentence').value.includes('court')")
    page.click("text=As text")
    page.fill("textarea.yaml", "zones: {bow: [[0, 0], [1, 1], [1, 0], [0, 1]]}\nrules: {}")
    page.click("text=Take this text")
    page.wait_for_selector(".places .fault >> text=its sides cross each other")
    page.fill("textarea.yaml", "zones: {'<b>x</b>': [[0, 0], [1, 0], [1, 1]]}\nrules: {}")
    page.click("text=Take this text")
    page.wait_for_selector(".sketch .name >> text=<b>x</b>")


def walker(times: tuple[float, float] = (0.0, 20.0)) -> Track:
    """From the left to the right of the picture."""
    when = np.linspace(*times, 41)
    x = np.linspace(0.0, 0.9, 41)
    boxes = np.stack([x, np.full(41, 0.3), np.full(41, 0.1), np.full(41, 0.4)], 1)
    return Track(1, "person", when, boxes.astype(np.float32), 0.9)


def test_zones_tails_counts_and_the_rules_name_in_review(tmp_path: Path, clip: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    text = 'zones: {yard: [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}\nlines: {door: [[0.3, 0.2], [0.3, 0.9]]}\nrules: {entered: {when: a person in "yard", raises: 0.9}}'
    video, _ = add_clip(library, clip, spans(1), name="gate.mp4", camera="gate", tracks=[walker()])
    library.save_rules(library.local_user(), "gate", text, 0)
    ruled = {"camera": "gate", "version": 1, "held": [{"rule": "entered", "start": 10.0, "end": 20.0, "tracks": [1]}]}
    assert library.checked(video, [Segment(10.0, 20.0, 0.9, 15.0, "loitering")], ruled, library.analysis(video).created)
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/#review?video={video}")
        page.wait_for_selector(".said >> text=A rule of the camera held: entered")
        page.wait_for_selector(".boxes .box")
        assert page.locator(".boxes .zones").count() == 0
        page.keyboard.press("z")
        page.keyboard.press("v")
        page.wait_for_selector(".boxes .name >> text=yard")
        page.wait_for_selector(".boxes .tail", state="attached")
        page.keyboard.press("b")
        assert page.locator(".boxes .box").count() == 0
        page.click("text=Counts by zone and line")
        page.wait_for_selector(".counted td >> text=yard")
        assert page.locator(".counted polyline").count() == 1
        with page.expect_download() as downloaded:
            page.click("text=As a table (CSV)")
        assert "yard,zone,people,1" in Path(downloaded.value.path()).read_text()
        page.reload()
        page.wait_for_selector(".boxes .name >> text=yard")  # remembered
        assert page.get_attribute("[data-layer=tails]", "aria-pressed") == "true"
        assert page.locator(".boxes .box").count() == 0
        room(page, "places")
        page.wait_for_selector(".sketch .name >> text=door")
