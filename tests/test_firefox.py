"""The ten most important things of the page in a second engine: Debian's Firefox, over WebDriver BiDi."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bidi import Tab, firefox, opened
from browsing import add_clip, ask, segments, serving, spans

from vlad.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.skipif(firefox() is None, reason="no Firefox here: not run")]
CHOSEN = "document.querySelector('.segments button[aria-current=true]')"
DONE = "document.querySelector('.done').textContent"


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with opened() as found:
        yield found


@pytest.fixture
def queue(tmp_path: Path, clip: Path, tab: Tab) -> Iterator[tuple[Tab, str, list[str]]]:
    library = Library(tmp_path / "library")
    _, ids = add_clip(library, clip, spans(9))
    with serving(tmp_path / "library") as address:
        tab.errors.clear()
        tab.goto(f"{address}/#review?segment={ids[0]}")
        tab.wait(CHOSEN)
        tab.run("new Promise((done) => setTimeout(done, 400))")
        yield tab, address, ids
        assert tab.errors == []


def statuses(address: str) -> list[str]:
    return [s["status"] for s in segments(address)]


def test_c_confirms_and_goes_on(queue: tuple[Tab, str, list[str]]) -> None:
    tab, address, _ = queue
    tab.press("c")
    tab.wait(f"{DONE}.startsWith('1 of 9')")
    assert statuses(address).count("confirmed") == 1


def test_what_is_typed_is_no_key(queue: tuple[Tab, str, list[str]]) -> None:
    tab, address, _ = queue
    tab.press("t")
    tab.write("see c x u")
    assert tab.run("document.querySelector('[aria-label=Note]').value") == "see c x u"
    tab.press("Control", "Enter")
    tab.wait("[...document.querySelectorAll('.said li .text')].some((e) => e.textContent === 'see c x u')")
    assert set(statuses(address)) == {"open"}


def test_a_draft_outlives_a_reload(queue: tuple[Tab, str, list[str]]) -> None:
    tab, _, _ = queue
    tab.press("t")
    tab.write("half a")
    tab.run("(window.before = true, location.reload())")
    tab.wait("!window.before && document.querySelector('[aria-label=Note]')?.value === 'half a'")


def test_x_dismisses_with_a_reason(queue: tuple[Tab, str, list[str]]) -> None:
    tab, address, ids = queue
    tab.press("x")
    tab.wait("document.querySelector('dialog.reasons').open")
    tab.press("2")
    tab.wait(f"{DONE}.startsWith('1 of 9')")
    assert ask(address, f"/segments/{ids[0]}")["reason"] == "light or shadow"


def test_u_undoes_what_it_says(queue: tuple[Tab, str, list[str]]) -> None:
    tab, address, _ = queue
    tab.press("c")
    tab.wait(f"{DONE}.startsWith('1 of 9')")
    tab.run("new Promise((done) => setTimeout(done, 400))")
    tab.press("u")
    tab.wait("document.querySelector('.told').textContent.includes('Undone: confirmed')")
    assert set(statuses(address)) == {"open"}


def test_a_span_of_ones_own(queue: tuple[Tab, str, list[str]]) -> None:
    tab, address, _ = queue
    tab.wait("document.querySelector('video').readyState >= 2 || !document.querySelector('.player img').hidden")
    for at, key in ((5, "i"), (9, "o")):
        tab.click(".timeline canvas")
        tab.run(f"document.querySelector('video').currentTime = {at}")
        tab.run("new Promise((done) => setTimeout(done, 400))")
        tab.press(key)
    tab.press("m")
    tab.wait("document.querySelector('.told').textContent.includes('is a segment of yours now')")
    assert [s["origin"] for s in segments(address)].count("person") == 1


def test_several_are_decided_together(queue: tuple[Tab, str, list[str]]) -> None:
    tab, address, _ = queue
    tab.press("s")
    tab.press("Shift", "ArrowDown")
    tab.wait("document.querySelector('.bulk').textContent.includes('2 selected')")
    tab.run("new Promise((done) => setTimeout(done, 400))")
    tab.press("x")
    tab.wait("document.querySelector('dialog.reasons').open")
    tab.press("1")
    tab.wait(f"{DONE}.startsWith('2 of 9')")
    assert statuses(address).count("dismissed") == 2


def test_the_timeline_is_drawn_and_zooms(queue: tuple[Tab, str, list[str]]) -> None:
    tab, _, _ = queue
    picture = "document.querySelector('.timeline canvas').toDataURL()"
    before = tab.run(picture)
    tab.press("+")
    tab.run("new Promise((done) => setTimeout(done, 300))")
    assert tab.run(picture) != before


def test_words_of_another_reach_the_list(queue: tuple[Tab, str, list[str]]) -> None:
    tab, address, ids = queue
    ask(address, f"/segments/{ids[3]}/verdict", {"verdict": "confirmed", "reason": ""})
    tab.wait(f"{DONE}.startsWith('1 of 9')")


def test_every_room_opens_and_is_titled(queue: tuple[Tab, str, list[str]]) -> None:
    tab, _, _ = queue
    for name in ("analyse", "day", "search", "evidence", "prompts", "settings"):
        tab.click(f"#room-{name}-button")
        tab.wait(f"document.querySelector('#room-{name} section > .vlad')")
        assert tab.run("document.title") == f"{name.capitalize()} · vlad"
