"""Real clips and odd files through the page, with the real worker and the embedded models: what is said of them harms nobody. Frames go nowhere."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Open, ask, room, segments, serving

DATA = Path(os.environ.get("VLAD_DATA", "/nowhere"))
pytestmark = [
    pytest.mark.browser, pytest.mark.data, pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "clips").is_dir(), reason="VLAD_DATA names no footage: not run"),
]  # fmt: skip
CALM, CRASH, BRAWL = "c36.mp4", "c06.mp4", "c01.mp4"
CRIMES = ("fire", "explosion", "robber", "knife", "shoot", "gun", "theft", "steal", "arson")


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory, browser: object) -> Iterator[str]:
    """A server on which real clips and a file that was cut off were dropped, and analysed."""
    with serving(tmp_path_factory.mktemp("real") / "library", workers=1) as address:
        page = browser.new_page(bypass_csp=True)  # type: ignore[attr-defined]
        page.goto(address)
        cut = DATA / "badvideos" / "synthetic" / "truncated_no_moov.mp4"
        page.set_input_files("input.picker", [DATA / "clips" / name for name in (CALM, CRASH, BRAWL)] + [cut])
        page.wait_for_function("document.querySelectorAll('.clips tbody tr').length === 4", timeout=120_000)
        page.wait_for_function(
            "document.querySelectorAll('.clips .state.done').length === 3 && document.querySelectorAll('.clips .state.failed').length === 1",
            timeout=500_000,
        )
        page.close()
        yield address


def test_b3_a_panel_names_one_story_or_none(looked: str, visit: Open) -> None:
    for found in segments(looked):
        page = visit(f"{looked}/#review?segment={found['id']}")
        page.wait_for_selector(".said .text")
        words = page.inner_text(".said").lower()
        named = [crime for crime in CRIMES if crime in words]
        assert named == [], (found["name"], words)
        assert "1.00" not in page.inner_text(".said .explanation")
        assert "appears" in words or "not sure" in words or "not clear" in words


def test_b4_a_brawl_that_was_missed_or_not_can_be_marked(looked: str, visit: Open) -> None:
    clips = {v["name"]: v["id"] for v in ask(looked, "/videos")["videos"]}
    page = visit(f"{looked}/#review?video={clips[BRAWL]}")
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")
    for at, key in ((1, "i"), (3, "o")):
        page.evaluate(f"document.querySelector('video').currentTime = {at}")
        page.wait_for_function("!document.querySelector('video').seeking")
        page.keyboard.press(key)
    page.keyboard.press("m")
    page.wait_for_selector(".told >> text=is a segment of yours now")
    (own,) = [s for s in segments(looked, video=clips[BRAWL]) if s["origin"] == "person"]
    assert (own["start"], own["end"]) == pytest.approx((1, 3), abs=0.2)


def test_h16_a_file_that_is_cut_off_is_told_by_its_own_name(looked: str, visit: Open) -> None:
    page = visit(looked)
    room(page, "analyse")
    page.wait_for_selector(".state.failed .why")
    why = page.inner_text(".state.failed .why")
    assert "truncated_no_moov.mp4" in why
    assert "cut off" in why
    assert "ffmpeg" not in why
    clips = {v["name"]: v["id"] for v in ask(looked, "/videos")["videos"]}
    other = visit(f"{looked}/#review?video={clips['truncated_no_moov.mp4']}")
    other.wait_for_selector("text=was not analysed")
