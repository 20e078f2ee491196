"""Finding again as its users meet it: an admin opens it, a reviewer looks for who is in the picture, and goes to where they were found. In a real browser."""

from pathlib import Path

import pytest
from browsing import Open, room, serving, sign_in
from test_seeking import House

pytestmark = pytest.mark.browser


def test_somebody_is_found_again_by_who_may(tmp_path: Path, visit: Open) -> None:
    house = House(tmp_path)
    first = house.clips[0]
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/login#review?video={first}", allowed=(401,))
        sign_in(page, "ann")
        page.wait_for_selector("h2:has-text('gate_2026-03-01_08-00-00.mp4')")
        assert page.locator("text=Find again on this camera").is_hidden()

        root = visit(f"{address}/login", allowed=(401,))
        sign_in(root, "root")
        root.wait_for_selector("#room-settings-button")
        room(root, "settings")
        root.fill("label:has-text('Days of finding again') input", "1")
        root.click("form:has-text('Days of finding again') button")
        root.click("dialog[open] button.main")
        root.wait_for_selector("text=Saved.")
        root.check("[aria-label='ann may look for outfits again']")
        root.wait_for_selector("text=ann may look for outfits again, with a reason each time")

        page.reload()
        page.click("summary:has-text('Find again on this camera')")
        page.wait_for_selector("option:has-text('car 1')", state="attached")
        page.select_option("label:has-text('Like') select", "1")
        page.click("button:has-text('Find them again')")
        page.fill("dialog[open] input", "it left the scene")
        page.click("dialog[open] button.main")
        page.wait_for_selector("text=Waiting for a worker.")
        house.work()
        page.wait_for_selector("text=1 alike, the likest first.")
        page.click("[aria-label='Found again'] a")
        page.wait_for_selector("h2:has-text('gate_2026-03-01_17-00-00.mp4')")

        page.wait_for_function("document.querySelector('[aria-label=\"Found again\"]') === null")
        page.click("button:has-text('Find these colours')")
        page.wait_for_selector("text=Choose a colour first.")
        page.select_option("label:has-text('Top') select", "purple")
        page.click("button:has-text('Find these colours')")
        page.fill("dialog[open] input", "somebody in purple")
        page.press("dialog[open] input", "Enter")
        page.wait_for_selector("text=Waiting for a worker.")
        house.work()
        page.wait_for_selector("text=Nobody alike was found.")
