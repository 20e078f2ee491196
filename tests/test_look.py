"""How the page looks and reads: nothing axe finds, nothing that jumps or overflows, titles and icons of its own, its own policy. In a real browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import AXE, ROOMS, Open, add_clip, faults_of, room, serving, spans

from vlad.library import Library

pytestmark = pytest.mark.browser
WIDTHS = [(390, 800), (1400, 900), (2560, 1300)]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Iterator[str]:
    """A library in which every room has something to show."""
    folder = tmp_path_factory.mktemp("full") / "library"
    library = Library(folder)
    user = library.local_user()
    _, ids = add_clip(library, clip, spans(6), name="20261124_081500_gate.mp4", camera="gate")
    add_clip(library, clip, spans(3, label="road accident"), name="yard.mp4", camera="yard", explained=False)
    library.decide(user, ids[0], "confirmed")
    library.decide(user, ids[1], "dismissed", "light or shadow")
    library.note(user, ids[2], "a note")
    library.tag(user, ids[2], "night")
    with serving(folder) as address:
        yield address


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core here (npm install axe-core): not run")
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_room(full: str, visit: Open, width: int, scheme: str) -> None:
    page = visit(full, width=width, scheme=scheme)
    found = {}
    for name in ROOMS:
        room(page, name)
        page.wait_for_timeout(1200)
        found[name] = faults_of(page)
    room(page, "review")
    page.keyboard.press("?")
    found["keys"] = faults_of(page)
    assert {k: v for k, v in found.items() if v} == {}


@pytest.mark.parametrize(("width", "height"), WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_room_fits_and_every_control_has_a_name(
    full: str, visit: Open, width: int, height: int, scheme: str
) -> None:
    page = visit(full, width=width, height=height, scheme=scheme)
    for name in ROOMS:
        room(page, name)
        page.wait_for_timeout(900)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert page.title() == f"{name.capitalize()} · vlad"
        unnamed = page.evaluate(
            f"[...document.querySelectorAll('#room-{name} :is(button, input, select, textarea, canvas, video, a)')].filter(e => e.offsetParent && "
            "!(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML.slice(0, 80))"
        )
        assert unnamed == [], name
        if os.environ.get("VLAD_SHOTS"):
            page.screenshot(path=Path(os.environ["VLAD_SHOTS"]) / f"{name}-{width}-{scheme}.png")


def test_queue_player_and_words_are_on_screen_together(full: str, visit: Open) -> None:
    page = visit(f"{full}/#review")
    page.wait_for_selector(".segments button[aria-current=true]")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    for selector in (".segments li", "video", ".timeline canvas", ".acts .confirm", ".tools", ".said h3"):
        box = page.locator(selector).first.bounding_box()
        assert box is not None, selector
        assert box["y"] >= 0, selector
        assert box["y"] + box["height"] <= 900, selector


def test_nothing_jumps_when_it_loads(full: str, visit: Open) -> None:
    page = visit(f"{full}/#settings")
    page.wait_for_selector(".settings dd")
    page.evaluate(
        "window.moved = 0; new PerformanceObserver((l) => { for (const e of l.getEntries()) window.moved += e.value; }).observe({ type: 'layout-shift', buffered: false })"
    )
    room(page, "review")
    page.wait_for_selector(".segments button[aria-current=true]")
    page.wait_for_timeout(2000)
    assert page.evaluate("window.moved") < 0.1  # the web's own measure of "good"


def test_the_page_has_its_own_icon_and_policy_and_runs_nothing_inline(full: str, visit: Open) -> None:
    page = visit(full, policy=True)
    answer = page.request.get(full)
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert page.get_attribute("link[rel=icon]", "href") == "/page/favicon.svg"
    assert page.request.get(f"{full}/page/favicon.svg").headers["content-type"].startswith("image/svg+xml")
    for name in ROOMS:
        room(page, name)
        page.wait_for_timeout(700)
    used = page.evaluate(
        "[...new Set([...document.querySelectorAll('use')].map((u) => u.getAttribute('href').split('#')[1]))]"
    )
    there = page.request.get(f"{full}/page/icons.svg").text()
    assert [name for name in used if f'id="{name}"' not in there] == []


def test_a_drop_beside_the_zone_opens_nothing(full: str, visit: Open) -> None:
    page = visit(full)
    page.wait_for_selector(".drop")
    kept = page.evaluate(
        "(() => { const e = new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: new DataTransfer() }); document.body.dispatchEvent(e); return e.defaultPrevented; })()"
    )
    assert kept


def test_every_room_has_help(full: str, visit: Open) -> None:
    page = visit(full)
    for name in ROOMS:
        room(page, name)
        page.click(f"#room-{name} .help")
        assert len(page.locator("dialog[open]").inner_text()) > 80
        page.keyboard.press("Escape")
