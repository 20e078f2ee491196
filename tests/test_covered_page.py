"""Covered clips as their users meet them: nothing to see before, covered afterwards, originals with a reason, what is doubtful looked at. In a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import PASSWORD, Open, add_clip, room, serving, sign_in, spans, until
from test_covering import LENGTH, PLACE, UNSURE, blind, noisy
from vlad.app import worker as workers
from vlad.app.worker import Worker

from vlad.anonymise import Done
from vlad.config import make_settings
from vlad.library import Library
from vlad.video import Cover, covered, frames_at

pytestmark = pytest.mark.browser
assert noisy  # a fixture


@pytest.fixture
def house(tmp_path: Path, noisy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Library, str]]:
    """A server whose people sign in, and one clip. Covering is done by this process."""

    def anonymise(path: Path, settings: object, *, what: str, how: str) -> Done:
        places = (Cover(0.0, 60.0, PLACE),)
        return Done((UNSURE,), (UNSURE,), 0, places, covered(path, LENGTH, places, how, make_settings()))

    monkeypatch.setattr(workers, "anonymise", anonymise)
    library = Library(tmp_path / "library")
    root = library.add_user("root", PASSWORD, "admin")
    library.add_user("ann", PASSWORD)
    video, _ = add_clip(library, noisy, spans(2, length=LENGTH), camera="door", duration=LENGTH, user=root)
    with serving(tmp_path / "library") as address:
        yield address, library, video


def work(library: Library) -> None:
    worker = Worker(library, make_settings(), analyzer=object())  # type: ignore[arg-type]
    while worker.once():
        pass


def seen(page: object, video: str, path: Path) -> bool:
    """Whether the picture that the player's own address gives is covered."""
    url = page.evaluate("document.querySelector('#room-review video').src")  # type: ignore[attr-defined]
    path.write_bytes(page.request.get(url).body())  # type: ignore[attr-defined]
    return blind(frames_at(path, [1.0], make_settings(), size=240)[0])


def test_an_admin_covers_people_and_a_reviewer_sees_them_covered(
    house: tuple[str, Library, str], visit: Open, tmp_path: Path
) -> None:
    address, library, video = house
    root = visit(f"{address}/login", allowed=(401,))
    sign_in(root, "root")
    root.wait_for_selector("#room-settings-button")
    room(root, "settings")
    root.select_option("select:has(option[value=faces])", "people")
    root.click("form:has(option[value=faces]) button")
    root.wait_for_selector("text=Nothing of a clip is shown until it is covered")
    root.click("dialog[open] button.main")
    root.wait_for_selector("text=1 clip will be covered first")
    root.check("[aria-label='ann may see originals']")
    root.wait_for_selector("text=ann may see originals, with a reason each time")

    page = visit(f"{address}/login#review?video={video}", allowed=(401, 409))
    sign_in(page, "ann")
    page.wait_for_selector("text=The people in this clip are being covered; it is shown once they are.")
    assert page.evaluate("document.querySelector('#room-review video').getAttribute('src')") is None
    work(library)
    page.wait_for_selector("text=The people that were found are covered.")
    page.wait_for_function("document.querySelector('#room-review video').readyState > 1")
    assert seen(page, video, tmp_path / "covered.mp4")
    page.click("button:has-text('Original')")
    page.fill("dialog[open] input", "the police asks")
    page.click("dialog[open] button.main")
    page.wait_for_selector("text=This is the original.")
    assert not seen(page, video, tmp_path / "original.mp4")
    page.click("button:has-text('Covered again')")
    page.wait_for_selector("text=The people that were found are covered.")
    assert seen(page, video, tmp_path / "again.mp4")
    (row,) = [r for r in library.audit_rows(count=100) if r.action == "original opened"]
    assert (row.user, row.target, row.detail["reason"]) == ("ann", video, "the police asks")


def test_what_is_doubtful_is_looked_at(house: tuple[str, Library, str], visit: Open) -> None:
    address, library, video = house
    library.set_privacy(library.users()[0], "people", "mosaic")
    work(library)
    page = visit(f"{address}/login#covers", allowed=(401, 409))
    sign_in(page, "ann")
    page.wait_for_selector("text=1 moment in 1 clip are doubtful")
    page.wait_for_function("document.querySelector('#room-covers video').readyState > 1")
    page.focus(".rect")
    before = page.get_attribute(".rect", "aria-label") or ""
    assert before.startswith("Box to be covered: 25 % from the left, 25 % from the top")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowRight")
    assert (page.get_attribute(".rect", "aria-label") or "").startswith(
        "Box to be covered: 24 % from the left, 25 % from the top, 51 % wide"
    )
    box = page.locator("#room-covers .over").bounding_box()
    assert box is not None
    middle, top = box["x"] + box["width"] / 2, box["y"]
    page.mouse.move(middle - 100, top + 10)
    page.mouse.down()
    page.mouse.move(middle - 40, top + 60, steps=3)
    page.mouse.up()
    page.fill("[aria-label=From]", "4")
    page.fill("[aria-label=To]", "5")
    page.click("text=Cover the box")
    page.wait_for_selector("text=It will be covered; the clip is shown again once it is.")
    page.wait_for_selector("text=are being covered")
    work(library)
    page.wait_for_function("!document.querySelector('.covers h3').textContent.includes('being covered')")
    page.fill("[aria-label=From]", "2")
    page.fill("[aria-label=To]", "3")
    page.click("text=It is fine")
    page.wait_for_selector("text=Nothing is doubtful.")
    assert page.locator(".covers li:has-text('a box is covered')").count() == 1
    page.click("[aria-label^='Take back: 0:04']")
    until(lambda: [bool(m.box) for m in library.cover(video)[2]] == [False])
