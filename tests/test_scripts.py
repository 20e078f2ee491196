"""What the page's scripts compute, asked of the scripts themselves in a browser: times, keys, pictures, curves, drafts, addresses."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
APP = Path(__file__).parent.parent / "app"


@pytest.fixture(scope="module")
def scripts(browser: "Browser") -> Iterator["Page"]:
    """A page of no server that can import the scripts."""
    page = browser.new_page()

    def answer(route: Any) -> None:
        name = route.request.url.rsplit("/", 1)[-1]
        kind = "text/html" if name == "empty" else "text/javascript"
        route.fulfill(body="<!doctype html>" if name == "empty" else (APP / name).read_text(), content_type=kind)

    page.route("http://scripts.test/page/*", answer)
    page.goto("http://scripts.test/page/empty")
    yield page
    page.close()


def call(page: "Page", script: str, expression: str) -> Any:
    return page.evaluate(f"async () => {{ const m = await import('/page/{script}.js'); return {expression}; }}")


@pytest.mark.parametrize(
    ("seconds", "digits", "words"),
    [(0, 1, "0:00.0"), (59.96, 1, "1:00.0"), (59.94, 1, "0:59.9"), (3599.99, 0, "1:00:00"), (3723.45, 1, "1:02:03.5"), (-4, 0, "0:00"), (86400, 0, "24:00:00")],
)  # fmt: skip
def test_seconds_as_people_read_them(scripts: "Page", seconds: float, digits: int, words: str) -> None:
    assert call(scripts, "times", f"m.clock({seconds}, {digits})") == words


@pytest.mark.parametrize(("words", "seconds"), [("1:02:03.5", 3723.5), ("62.5", 62.5), ("2:03", 123), ("", None), ("x", None), ("1:2:3:4", None), ("-3", None), ("1e9", None)])  # fmt: skip
def test_what_people_type_as_seconds(scripts: "Page", words: str, seconds: float | None) -> None:
    assert call(scripts, "times", f"m.seconds('{words}')") == seconds


@pytest.mark.parametrize(
    ("iso", "later", "day", "time"),
    [
        ("2026-11-25T14:03:11+01:00", 0, "2026-11-25", "14:03:11"),
        ("2026-11-25T23:59:50+01:00", 20, "2026-11-26", "00:00:10"),
        ("2026-11-25T00:10:00-03:30", -900, "2026-11-24", "23:55:00"),
        ("2026-11-25T14:03:11Z", 60, "2026-11-25", "14:04:11"),
    ],
)  # fmt: skip
def test_the_clock_of_the_place_whatever_the_readers_zone(
    scripts: "Page", iso: str, later: float, day: str, time: str
) -> None:
    assert call(scripts, "times", f"m.wall('{iso}', {later})") == {"day": day, "time": time}
    assert call(scripts, "times", "[m.wall(null), m.wall('yesterday')]") == [None, None]


@pytest.mark.parametrize(("at", "number"), [(-1, 0), (0.4, 0), (0.6, 1), (2.6, 3), (99, 4)])
def test_the_nearest_picture_stands_for_a_time(scripts: "Page", at: float, number: int) -> None:
    assert call(scripts, "sprites", f"m.nearest([0, 1, 2, 3, 4], {at})") == number


def test_a_pyramid_of_maxima_loses_no_peak(scripts: "Page") -> None:
    tops = call(
        scripts, "curve",
        "(() => { const s = new Float32Array(5001); s[777] = .9; s[5000] = .8; const l = m.pyramid(s); return l.map(v => [v.length, Math.max(...v), v.at(-1)]) })()",
    )  # fmt: skip
    assert [n for n, _, _ in tops] == [5001, 2501, 1251, 626, 313]
    assert all(math.isclose(top, 0.9, rel_tol=1e-6) and math.isclose(last, 0.8, rel_tol=1e-6) for _, top, last in tops)
    assert call(scripts, "curve", "[-1, 0, .99, 1, 2.5, 99].map(t => m.indexAt([0, 1, 2, 3], t))") == [0, 0, 0, 1, 2, 2]


def test_drafts_are_kept_apart_forgotten_when_sent_and_swept_when_old(scripts: "Page") -> None:
    found = call(
        scripts, "drafts",
        """(() => {
          const input = document.createElement('textarea'), draft = new m.Draft(input, 'note');
          const type = (words) => { input.value = words; input.dispatchEvent(new Event('input')); };
          draft.show('a'); type('of a'); draft.show('b'); const empty = input.value; type('of b'); draft.show('a'); const back = input.value;
          draft.sent('a', 'of a'); const sent = input.value; draft.show('b'); type('of b, and more'); draft.sent('b', 'of b');
          const kept = input.value; m.sweep(Date.now() + 31 * 86400000); return [empty, back, sent, kept, m.drafts.get('b', 'note')];
        })()""",
    )  # fmt: skip
    assert found == ["", "of a", "", "of b, and more", ""]


def test_an_address_names_a_room_or_the_first_one(scripts: "Page") -> None:
    assert call(scripts, "rooms", "m.place('#review?segment=1&at=2.5')") == {
        "name": "review",
        "params": {"segment": "1", "at": "2.5"},
        "unknown": "",
    }
    assert call(scripts, "rooms", "m.place('#nowhere?a=1').unknown") == "nowhere"
    assert call(
        scripts, "rooms", "[m.place('#../../x').name, m.place('').name, m.to('day', { day: '2026-11-25' })]"
    ) == ["analyse", "analyse", "#day?day=2026-11-25"]


def test_only_meant_keys_are_shortcuts(scripts: "Page") -> None:
    found = call(
        scripts, "keys",
        """(() => {
          const heard = [], box = document.createElement('input'), tick = Object.assign(document.createElement('input'), { type: 'checkbox' });
          document.body.append(box, tick);
          const keys = new m.Keys({ c: () => heard.push('c'), j: { act: () => heard.push('j'), held: true }, ' ': () => heard.push('space') }, () => true);
          const press = (at, key, more = {}) => at.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }));
          press(document.body, 'c'); press(document.body, 'C'); press(document.body, 'c', { repeat: true }); press(document.body, 'j', { repeat: true });
          press(box, 'c'); press(document.body, 'c', { ctrlKey: true }); press(tick, 'c'); press(tick, ' ');
          box.focus(); box.blur(); press(document.body, 'c');
          keys.lost = -Infinity; press(document.body, 'c', { isComposing: true });
          return heard;
        })()""",
    )  # fmt: skip
    assert found == ["c", "c", "j", "c"]


def test_a_box_lies_between_its_sightings_and_counts_are_of_what_is_in_sight(scripts: "Page") -> None:
    track = "{ label: 'person', times: [1, 2, 4], boxes: [[0, 0, .1, .1], [.2, 0, .1, .1], [.2, .4, .1, .1]] }"
    found = call(
        scripts,
        "boxes",
        f"[0.1, 0.6, 1.5, 3, 4.5, 4.7].map((t) => m.boxAt({track}, t)?.map((v) => Math.round(v * 100) / 100) ?? null)",
    )
    assert found == [None, [0, 0, 0.1, 0.1], [0.1, 0, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1], [0.2, 0.4, 0.1, 0.1], None]
    many = call(
        scripts,
        "boxes",
        f"(() => {{ const c = m.counts([{track}, {track}, {{ ...{track}, label: 'car' }}, {{ ...{track}, label: 'chair' }}], 8); return [Math.max(...c.people), Math.max(...c.vehicles), c.people[0], c.people[150], c.people[599]]; }})()",
    )
    assert many == [2, 1, 0, 2, 0]
