"""The report in a real browser: what a reviewer sees and presses. Pictures go to VLAD_SHOTS where it is set."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vlad.config import make_settings
from vlad.pipeline import save
from vlad.types import Analysis, Explanation, ScoreTrack, Segment
from vlad.video import open_video

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror='document.title=`owned`'>"


@pytest.fixture(scope="module")
def report(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report beside its clip, with two moments, one of them in hostile words."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copy(clip, folder / "lobby & door #1.mp4")
    settings = make_settings(cache=None)
    with open_video(folder / "lobby & door #1.mp4", settings, size=64) as opened:
        list(opened)
        video = opened.video
    edges = np.linspace(0, video.duration, 21)
    scores = np.full(20, 0.1, np.float32)
    scores[4:8], scores[14:17] = 0.9, 0.7
    first = Segment(edges[4], edges[8], 0.9, edges[5], "fighting")
    second = Segment(edges[14], edges[17], 0.7, edges[15], HOSTILE)
    told = (
        Explanation(first, "anomaly", "This appears to show two people fighting.", {"what": "fighting", "who": "two people"},
                    (float(edges[4]) + 0.2, float(edges[5]), float(edges[6]), float(edges[7])), "explain@0", "nano"),
        Explanation(second, "anomaly", HOSTILE, {"what": "</script><script>document.title='owned'</script>"}),
    )  # fmt: skip
    analysis = Analysis(
        video, ScoreTrack(scores, edges), (first, second), told, {"warnings": [HOSTILE], "settings": {"enter": 0.5}}
    )
    return save(analysis, folder, settings=settings, adopted="ann")[2]


@pytest.fixture(params=[(1400, "light"), (1400, "dark"), (390, "light"), (390, "dark")], ids=lambda p: f"{p[0]}-{p[1]}")
def page(request: pytest.FixtureRequest, browser: "Browser", report: Path) -> Iterator["Page"]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    faults: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto(report.as_uri())
    page.wait_for_function("document.querySelector('video').readyState > 0")
    yield page
    if os.environ.get("VLAD_SHOTS"):
        page.screenshot(path=Path(os.environ["VLAD_SHOTS"]) / f"report-{width}-{scheme}.png", full_page=True)
    assert faults == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    context.close()


def test_it_fits_and_says_what_was_found(page: "Page") -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("article").count() == 2
    assert page.locator("figure img").count() == 5
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
    assert "2 moments worth a look" in page.inner_text("body")


def test_the_clip_is_seen_under_the_boxes(page: "Page") -> None:
    """A style of all drawings gave the boxes' layer a background, and the clip was grey."""
    assert page.evaluate("getComputedStyle(document.querySelector('#boxes')).backgroundColor") == "rgba(0, 0, 0, 0)"
    clip, layer = page.locator("video").bounding_box(), page.locator("#boxes").bounding_box()
    assert clip == layer  # a box lies where its share of the picture is
    assert clip is not None
    shape = page.evaluate("document.querySelector('video').videoWidth / document.querySelector('video').videoHeight")
    assert clip["width"] / clip["height"] == pytest.approx(shape, abs=0.02)
    assert clip["height"] > 150


def test_words_are_only_words(page: "Page") -> None:
    assert page.title() == "lobby & door #1.mp4 · vlad"
    assert HOSTILE in page.inner_text("article >> nth=1")  # its class
    assert "</script>" in page.inner_text("article >> nth=1")  # a field
    assert page.locator("article img[src=x]").count() == 0


def test_curve_list_and_keys_move_the_player(page: "Page") -> None:
    at = "document.querySelector('video').currentTime"
    length = page.evaluate("document.querySelector('video').duration")
    page.locator("article button").nth(1).click()
    assert page.evaluate(at) == pytest.approx(0.7 * length, abs=0.1)
    page.locator("#curve").click(
        position={"x": page.evaluate("document.querySelector('#curve').clientWidth") / 2, "y": 20}
    )
    assert page.evaluate(at) == pytest.approx(length / 2, abs=0.3)
    assert "score 0.10" in page.inner_text("#at")
    page.keyboard.press("p")
    assert page.evaluate(at) == pytest.approx(0.2 * length, abs=0.1)
    page.keyboard.press("n")
    assert page.evaluate(at) == pytest.approx(0.7 * length, abs=0.1)
    page.keyboard.press("j")
    assert page.evaluate(at) == pytest.approx(0.7 * length - 10, abs=0.1)
