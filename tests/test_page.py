"""The page in a real browser, on a real server with real workers and models. Pictures go to VLAD_SHOTS where it is set."""

import json
import os
import re
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browsing import (
    NOW,
    PASSWORD,
    ROOMS,
    Open,
    add_clip,
    ask,
    at_rest,
    many_segments,
    room,
    segments,
    serving,
    sign_in,
    until,
)

from vlad.library import Library
from vlad.types import Analysis, Explanation, ScoreTrack, Segment, Video

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror='window.owned=1'>${window.owned=2}{{7*7}}</script><script>window.owned=3</script>"


def drop(page: "Page", *files: Path) -> None:
    room(page, "analyse")
    page.set_input_files("input.picker", files)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("page") / "library", workers=1) as found:
        yield found


@pytest.fixture(scope="module")
def analysed(address: str, browser: "Browser", clip: Path) -> str:
    """The server with one clip that was dropped on the page and analysed."""
    page = browser.new_page()
    page.goto(address)
    page.set_input_files("input.picker", [clip])
    page.wait_for_selector("td.state.running progress", timeout=60_000)  # progress shows
    page.wait_for_selector("td.state.done", timeout=180_000)
    page.close()
    return address


CHOSEN = ".segments button[aria-current=true]"


def test_a_reviewer_decides_by_keyboard_alone(analysed: str, visit: Open) -> None:
    page = visit(analysed)
    room(page, "review")
    page.wait_for_selector(CHOSEN)
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    (own,) = segments(analysed)
    assert page.evaluate(NOW) == pytest.approx(own["start"], abs=0.2)
    assert re.search("appears|not sure", page.inner_text(".said .text >> nth=0"))
    assert page.locator(".said .frames button").count() >= 3
    page.locator(".said .frames button").nth(1).click()
    assert page.evaluate(NOW) > own["start"]
    page.keyboard.press("l")
    page.keyboard.press("j")
    before = page.evaluate(NOW)
    page.keyboard.press(".")
    until(lambda: page.evaluate(NOW) != before)
    assert 0 < at_rest(page) - before < 0.2
    page.keyboard.press("k")
    page.wait_for_function("!document.querySelector('video').paused")
    page.keyboard.press("k")
    page.wait_for_function("document.querySelector('video').paused")
    page.keyboard.press("?")
    assert page.locator("dialog[open]").inner_text().count("\n") > 10
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.wait_for_selector(".said h3 .status.confirmed")
    assert "confirmed by local" in page.inner_text(".said")
    page.keyboard.press("u")
    page.wait_for_selector(".said h3 .status.open")
    page.wait_for_timeout(300)
    page.keyboard.press("x")
    page.keyboard.press("2")
    page.wait_for_selector(".said h3 .status.dismissed")
    assert "light or shadow" in page.inner_text(".said")
    page.keyboard.press("u")
    page.wait_for_selector(".segments .status.open")
    page.keyboard.press("t")
    page.keyboard.type("two people, see c and x")  # keys in a field are letters
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".said li >> text=two people, see c and x")
    assert segments(analysed)[0]["status"] == "open"
    page.fill("[aria-label=Tag]", "night/shift")
    page.keyboard.press("Enter")
    page.wait_for_selector(".tag >> text=night/shift")
    page.click("[aria-label='Take off the tag night/shift']")
    page.wait_for_selector(".tag", state="detached")


def test_a_frame_step_stays_where_it_is_in_a_browser_that_paints_late(analysed: str, visit: Open) -> None:
    page = visit(analysed)
    page.evaluate(
        """() => {
          const kind = HTMLVideoElement.prototype, real = kind.requestVideoFrameCallback;
          kind.requestVideoFrameCallback = function (act) {
            const player = this;
            const seen = (...told) => {
              real.call(player, seen);
              setTimeout(() => player.act(...told), 700);
            };
            if (!player.act) real.call(player, seen);
            player.act = act;
          };
        }"""
    )
    room(page, "review")
    page.wait_for_selector(CHOSEN)
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    page.wait_for_timeout(1500)  # the first frame is told
    page.locator(".said .frames button").nth(1).click()
    for key in "lj":
        page.keyboard.press(key)
    for key, way in ((".", 1), (",", -1)):
        before = page.evaluate(NOW)
        page.keyboard.press(key)
        until(lambda was=before: page.evaluate(NOW) != was)
        assert 0 < way * (at_rest(page) - before) < 0.5, key


def test_a_reviewer_decides_on_a_phone(analysed: str, visit: Open) -> None:
    page = visit(analysed, width=390, height=800, scheme="dark")
    room(page, "review")
    page.wait_for_selector(CHOSEN)
    page.wait_for_timeout(400)
    page.click("button.confirm")
    page.wait_for_selector(".said h3 .status.confirmed")
    page.click(".told button >> text=Undo")
    page.wait_for_selector(".segments .status.open")
    page.wait_for_timeout(400)
    page.click("button.dismiss")
    page.click("dialog[open] >> text=animal or weather")
    page.wait_for_selector(".said h3 .status.dismissed")
    page.click(".acts >> text=Undo")
    page.wait_for_selector(".segments .status.open")
    page.click("[aria-label='Zoom in']")
    page.select_option("[aria-label=Status]", "dismissed")
    page.wait_for_selector("text=No segments here")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_timeline_zooms_seeks_and_has_a_threshold(analysed: str, visit: Open) -> None:
    page = visit(analysed)
    room(page, "review")
    page.wait_for_selector(".segments button[aria-current=true]")
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")
    box = page.locator(".timeline canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.wait_for_function(
        "!document.querySelector('.thumb').hidden && document.querySelector('.tile').style.backgroundImage !== ''",
        timeout=30_000,
    )
    assert "score" in page.inner_text(".thumb")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 100)
    length = page.evaluate("document.querySelector('video').duration")
    until(lambda: page.evaluate(NOW) == pytest.approx(length / 2, abs=0.4))
    seen = page.evaluate("document.querySelector('.timeline canvas').toDataURL()")
    page.mouse.wheel(0, -400)
    until(lambda: page.evaluate("document.querySelector('.timeline canvas').toDataURL()") != seen)
    line = box["y"] + 20 + 0.5 * (box["height"] - 38)
    page.mouse.move(box["x"] + 30, line)
    page.mouse.down()
    page.mouse.move(box["x"] + 30, box["y"] + 21, steps=4)
    page.mouse.up()
    assert float(page.input_value("[aria-label=Threshold]")) > 0.9
    page.focus(".timeline canvas")
    at = page.evaluate(NOW)
    page.keyboard.press("ArrowRight")
    until(lambda: page.evaluate(NOW) == pytest.approx(at + 1, abs=0.1))
    assert page.get_attribute(".timeline canvas", "role") == "slider"
    assert "score" in (page.get_attribute(".timeline canvas", "aria-valuetext") or "")


def test_h15_h16_what_was_not_looked_at_is_told_in_the_clips_own_name(
    analysed: str, visit: Open, clip: Path, stuck_clip: Path, tmp_path: Path
) -> None:
    """H15: 150 frames with one timestamp were "done 0:00"; H16: a cut-off file was named by its place on the server, and to be converted."""
    cut = tmp_path / "cut off.mp4"
    cut.write_bytes(clip.read_bytes()[:9000])
    page = visit(analysed)
    drop(page, stuck_clip, cut)
    stuck = page.locator(".clips tbody tr", has_text="stuck.mp4")
    stuck.locator("td.state.done").wait_for(timeout=180_000)
    assert "0:06" in stuck.inner_text()
    assert "carry one and the same timestamp" in stuck.inner_text()
    failed = page.locator(".clips tbody tr", has_text="cut off.mp4")
    failed.locator("td.state.failed").wait_for(timeout=180_000)
    assert "cut off.mp4: the file is cut off; copy it again from its source" in failed.inner_text()
    assert "convert" not in failed.inner_text()
    stuck.get_by_role("button", name="Review stuck.mp4").click()
    page.wait_for_selector("#room-review >> text=carry one and the same timestamp")


def test_explain_again_and_a_question_with_its_answer_in_pieces(analysed: str, visit: Open) -> None:
    page = visit(f"{analysed}/#review")
    page.wait_for_selector(".said .made")
    page.select_option("[aria-label=Template]", "verify")
    page.click("text=Explain again")
    page.wait_for_function("document.querySelector('.said .made').textContent.includes('verify@')", timeout=90_000)
    for question, answer in (
        ("Should I call the police?", "This model cannot tell."),  # H7: it was "Yes, it appears to be explosion."
        ("How many people are there?", "At most "),
    ):
        page.fill("[aria-label='Question about this segment']", question)
        page.keyboard.press("Enter")
        page.wait_for_selector(f".talk .a >> text={answer}", timeout=90_000)
        page.wait_for_function("!document.querySelector('.talk').hasAttribute('aria-busy')")
    assert page.locator(".talk .q").all_inner_texts() == ["Should I call the police?", "How many people are there?"]


def test_words_find_moments_and_say_when_nothing_matches(analysed: str, visit: Open) -> None:
    page = visit(analysed)
    room(page, "search")
    page.fill(".search input[type=search]", "two people fighting")
    page.keyboard.press("Enter")
    page.wait_for_selector(".moments li", timeout=60_000)
    assert "well" in page.inner_text(".search [role=status]")
    (own,) = segments(analysed)
    page.click(".moments button >> nth=0")
    page.wait_for_function("location.hash.startsWith('#review?video=')")
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")
    until(lambda: own["start"] - 2 < page.evaluate(NOW) < own["end"] + 2)
    room(page, "search")
    page.fill(".search input[type=search]", "a submarine")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Nothing matches well", timeout=60_000)


def test_a_clip_is_analysed_again_with_the_threshold_that_was_dragged(analysed: str, visit: Open) -> None:
    page = visit(analysed, allowed=(404,))  # the segment on screen may be another after it
    room(page, "review")
    page.wait_for_selector(".segments button[aria-current=true]")
    page.click(".more summary")
    page.fill("[aria-label=Threshold]", "0.7")
    page.keyboard.press("Enter")
    page.click("text=Analyse again with it")
    page.wait_for_selector("text=is in the queue again, with the threshold 0.70")
    (own,) = segments(analysed)
    for _ in range(240):
        found = json.load(urllib.request.urlopen(f"{analysed}/api/videos/{own['video']}"))
        if found["job"]["status"] == "done":
            break
        time.sleep(0.5)
    assert (found["job"]["status"], found["threshold"]) == ("done", 0.7)
    page.wait_for_function(
        "!document.querySelector('.segments .model')?.textContent.startsWith('not explained')", timeout=30_000
    )
    assert page.input_value("[aria-label=Threshold]") == "0.70"


def test_confirmed_segments_leave_as_a_case(analysed: str, visit: Open, tmp_path: Path) -> None:
    page = visit(analysed)
    room(page, "review")
    page.wait_for_selector(CHOSEN)
    page.wait_for_timeout(400)
    page.keyboard.press("c")
    page.wait_for_selector(".said h3 .status.confirmed")
    room(page, "evidence")
    page.wait_for_selector(".evidence tbody tr")
    assert page.is_disabled(".evidence button.main")
    page.check("[aria-label='Choose all']")
    page.fill(".evidence input[maxlength='300']", HOSTILE)
    with page.expect_download(timeout=90_000) as got:
        page.click(".evidence button.main")
    path = tmp_path / "case.zip"
    got.value.save_as(path)
    with zipfile.ZipFile(path) as case:
        assert {"report.pdf", "case.json", "segments.csv", "MANIFEST.sha256"} <= set(case.namelist())
        assert [n for n in case.namelist() if re.fullmatch(r"clips/001 .*\.mp4", n)]
        assert json.loads(case.read("case.json"))["title"] == HOSTILE
    page.wait_for_selector("text=files and their SHA-256")
    page.wait_for_selector("td[data-label=Exported] >> text=✓")
    room(page, "review")
    page.wait_for_selector("text=Nothing open is left here.")
    page.keyboard.press("u")
    page.wait_for_selector(".segments .status.open")


def test_a_template_is_edited_tried_and_saved(analysed: str, visit: Open) -> None:
    page = visit(analysed)
    room(page, "prompts")
    page.wait_for_function("document.querySelector('textarea.code').value.includes('## user')")
    whole = page.input_value("textarea.code")
    page.fill("textarea.code", whole + "\n{{ nobody_knows }}")
    page.wait_for_selector(".faults .grave >> text=undeclared")
    assert page.is_disabled("text=Save as a new version")
    page.click(".faults .grave button")
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    page.fill("textarea.code", whole + "\n{{ label")
    page.wait_for_selector(".faults .grave")
    assert "not used" not in page.inner_text(".faults")  # what could not be read tells nothing of what it uses
    page.fill("textarea.code", whole + "\nBe brief.\n")
    page.wait_for_selector("text=No faults.")
    page.click(".templates >> text=verify")
    page.wait_for_function("document.querySelector('.prompts h2').textContent === 'verify'")
    page.reload()
    page.wait_for_function(
        "document.querySelector('textarea.code')?.value.includes('Be brief.')"
    )  # no word of an edit is lost
    page.wait_for_selector("text=No faults.")
    page.click("text=Preview")
    page.wait_for_selector(".sides pre >> text=Be brief.", timeout=60_000)
    assert "tokens:" in page.inner_text(".sides pre")
    assert page.locator(".sides .frame").count() >= 1
    page.click("text=Run both side by side")
    page.wait_for_function("document.querySelectorAll('.sides article .fields').length === 2", timeout=120_000)
    assert page.locator(".sides h3").all_inner_texts() == ["In use", "Your edit"]
    page.click("text=Explain again with the one in use")
    page.wait_for_selector(".sides h3 >> text=Kept: explain@", timeout=60_000)
    page.click("text=Save as a new version")
    page.wait_for_selector("text=explain version 3 is in use.")
    page.wait_for_function("document.querySelector('.prompts select').options.length === 2")
    assert "version 3" in page.inner_text(".prompts .templates [aria-current=true]")


def test_two_who_edit_one_template_see_each_others_version_and_lose_no_word(analysed: str, visit: Open) -> None:
    page = visit(f"{analysed}/#prompts", allowed=(409,))
    page.click(".templates >> text=caption")
    page.wait_for_function("document.querySelector('.prompts h2').textContent === 'caption'")
    whole = page.input_value("textarea.code")
    page.fill("textarea.code", whole + "\nMine.\n")
    page.wait_for_selector("text=No faults.")
    (own,) = [t for t in ask(analysed, "/prompts") if t["name"] == "caption"]
    ask(analysed, "/prompts/caption", {"source": whole + "\nTheirs.\n", "base": own["hash"]}, "PUT")
    page.click("text=Save as a new version")
    page.wait_for_selector(".sides h3 >> text=In use now: version 2")
    assert "Theirs." in page.inner_text(".sides pre")
    assert "version 2" in page.inner_text(".prompts .facts, .prompts p.small >> nth=0")
    assert page.input_value("textarea.code").endswith("Mine.\n")
    page.click("text=Save as a new version")
    page.wait_for_selector("text=caption version 3 is in use.")


def test_options_are_kept_from_the_settings_room(analysed: str, visit: Open) -> None:
    page = visit(f"{analysed}/#settings")
    page.wait_for_selector(".settings dd")
    for words, value in (
        ("Threshold of new analyses", "0.6"),
        ("Remove clips after days", "30"),
        ("Hold at most GiB of clips", "5"),
    ):
        page.get_by_label(words).fill(value)
        page.keyboard.press("Enter")
        if "days" in words:
            page.click("dialog[open] button.main")  # what is hard to take back is asked about
        page.wait_for_selector(".told[data-shown=yes] >> text=Saved.")
        page.wait_for_timeout(500)

    def kept() -> object:
        return json.load(urllib.request.urlopen(f"{analysed}/api/health"))["options"]

    until(lambda: kept() == {"enter": 0.6, "retention_days": 30, "quota_gib": 5})
    page.get_by_label("Threshold of new analyses").fill("")
    page.keyboard.press("Enter")
    until(lambda: kept() == {"retention_days": 30, "quota_gib": 5})


def test_the_way_back_and_a_bookmark_work(analysed: str, visit: Open) -> None:
    page = visit(f"{analysed}/#settings")
    page.wait_for_selector("#room-settings .settings dd")
    room(page, "evidence")
    page.go_back()
    page.wait_for_function("document.querySelector('#room-settings-button').getAttribute('aria-current') === 'page'")
    assert page.evaluate("location.hash") == "#settings"


def test_hostile_words_are_only_words(tmp_path: Path, clip: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    user, data = library.local_user(), clip.read_bytes()
    upload = library.begin_upload(user, HOSTILE, len(data), HOSTILE[:200])
    library.append(user, upload.id, 0, data)
    video, job = library.finish_upload(user, upload.id)
    library.claim("nobody")
    span = Segment(2.0, 5.0, 0.9, 3.0, HOSTILE)
    said = Explanation(
        span,
        "anomaly",
        HOSTILE,
        {"who": HOSTILE, "why": HOSTILE},
        (3.0,),
        "explain@1",
        HOSTILE,
        HOSTILE,
        0.5,
        (HOSTILE,),
    )
    facts = Video("a", "0" * 64, 20.0, 15.0, 320, 240, "h264")
    track = ScoreTrack(np.full(10, 0.5, np.float32), np.linspace(0, 20, 11))
    (one,) = library.keep(
        video.id,
        Analysis(facts, track, (span,), (said,), {"settings": {"enter": 0.5}, "warnings": [HOSTILE]}),
        np.eye(10, 8, dtype=np.float32),
    )
    library.fail(job.id, "nobody", HOSTILE)
    library.decide(user, one, "confirmed", HOSTILE)
    library.note(user, one, HOSTILE)
    library.tag(user, one, HOSTILE[:60])
    (tmp_path / "library" / "prompts").mkdir(exist_ok=True)
    (tmp_path / "library" / "prompts" / "mine.md").write_text(
        f'---\nname: mine\nvariables: {{}}\ndescription: "{HOSTILE}"\n---\n## user\n{HOSTILE}'
    )
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/#review?segment={one}")
        page.wait_for_selector(".said .tag")
        text = page.inner_text("#room-review")
        assert text.count(HOSTILE) >= 7
        for name in ROOMS:
            room(page, name)
            page.wait_for_timeout(1000)
        room(page, "prompts")
        page.click(".templates >> text=mine")
        page.wait_for_function("document.querySelector('textarea.code').value.includes('onerror')")
        assert page.evaluate("[window.owned, document.querySelectorAll('img[src=x]').length, document.title]") == [
            None,
            0,
            "Prompts · vlad",
        ]


def test_two_people_sign_in_and_stay_apart(tmp_path: Path, clip: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    ann, _ = library.add_user("ann", PASSWORD), library.add_user("root", PASSWORD, "admin")
    data = clip.read_bytes()
    upload = library.begin_upload(ann, "clip.mp4", len(data))
    library.append(ann, upload.id, 0, data)
    video, job = library.finish_upload(ann, upload.id)
    library.claim("nobody")
    spans = tuple(Segment(float(a), a + 1.5, 0.9 - a / 100, a + 1.0, "fighting") for a in (2, 6))
    facts = Video("a", "0" * 64, 20.0, 15.0, 320, 240, "h264")
    track = ScoreTrack(np.full(10, 0.5, np.float32), np.linspace(0, 20, 11))
    library.keep(video.id, Analysis(facts, track, spans, (), {"settings": {"enter": 0.5}}))
    library.finish(job.id, "nobody")
    with serving(tmp_path / "library") as address:
        page = visit(address, allowed=(401,))
        assert page.url == f"{address}/login"
        sign_in(page, "ann", "wrong password")
        page.wait_for_selector("[role=alert] >> text=name or password is wrong")
        sign_in(page, "ann")
        page.wait_for_selector("text=ann, reviewer")
        room(page, "review")
        page.wait_for_selector(CHOSEN)
        page.wait_for_timeout(400)
        page.keyboard.press("c")
        page.wait_for_selector(".told >> text=confirmed")
        other = visit(address, allowed=(401,))
        sign_in(other, "root")
        other.wait_for_selector("text=root, admin")
        room(other, "review")
        other.wait_for_selector(".segments button[aria-current=true]")
        other.keyboard.press("u")
        other.wait_for_selector("text=There is no verdict of yours to undo.")
        other.select_option("[aria-label=Status]", "confirmed")
        other.wait_for_selector(".segments .by >> text=by ann")
        room(page, "settings")
        page.wait_for_selector(".settings dd")
        assert page.locator("text=Tokens for programs").count() == 0  # of admins
        room(other, "settings")
        other.wait_for_selector("text=one chain")
        page.click("text=Sign out")
        page.wait_for_selector("[name=password]")
        page.goto(address)
        assert page.url == f"{address}/login"


def test_an_upload_that_stopped_goes_on(tmp_path: Path, visit: Open) -> None:
    """The connection breaks in the middle: the bytes that are here are not sent again."""
    big = tmp_path / "big.mp4"
    big.write_bytes(os.urandom(20 << 20))
    (tmp_path / "library").mkdir()
    with serving(tmp_path / "library") as address:
        page = visit(address, words=("net::ERR_FAILED",))
        page.wait_for_selector(".drop")
        sent: list[int] = []
        page.on("request", lambda r: sent.append(int(r.url.split("offset=")[1])) if "offset=" in r.url else None)
        broken: list[str] = []

        def breaks(route: "Route") -> None:
            if "offset=8388608" in route.request.url and not broken:
                broken.append(route.request.url)
                route.abort()
            else:
                route.continue_()

        page.route("**/api/uploads/*", breaks)
        drop(page, big)
        page.wait_for_selector(".clips tbody tr >> text=big.mp4", timeout=60_000)
        assert sorted(sent) == [0, 8 << 20, 8 << 20, 16 << 20]
        (found,) = Library(tmp_path / "library").videos()
        assert Library(tmp_path / "library").clip(found.id).read_bytes() == big.read_bytes()


def test_a_stopped_upload_goes_on_when_the_file_is_chosen_again(tmp_path: Path, visit: Open) -> None:
    big = tmp_path / "big.mp4"
    big.write_bytes(os.urandom(20 << 20))
    with serving(tmp_path / "library") as address:
        page = visit(address)
        page.wait_for_selector(".drop")
        page.route("**/api/uploads/*offset=8388608", lambda route: None)  # hangs
        drop(page, big)
        page.wait_for_selector(".uploads >> text=8.0 MiB of 20.0 MiB")
        page.click(".uploads button")
        page.wait_for_selector(".uploads >> text=stopped")
        page.unroute_all()
        page.reload()  # as after a closed tab
        page.wait_for_selector(".drop")
        sent: list[int] = []
        page.on("request", lambda r: sent.append(int(r.url.split("offset=")[1])) if "offset=" in r.url else None)
        drop(page, big)
        page.wait_for_selector(".clips tbody tr >> text=big.mp4", timeout=60_000)
        assert sent == [8 << 20, 16 << 20]
        library = Library(tmp_path / "library")
        assert library.clip(library.videos()[0].id).read_bytes() == big.read_bytes()


def test_a_day_is_on_screen_in_two_seconds_and_zooms_smoothly(tmp_path: Path, clip: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    user, data = library.local_user(), clip.read_bytes()
    upload = library.begin_upload(user, "day.mp4", len(data))
    library.append(user, upload.id, 0, data)
    video, job = library.finish_upload(user, upload.id)
    library.claim("nobody")
    count, day = 135_000, 86_400.0
    rng = np.random.default_rng(0)
    scores = np.clip(rng.normal(0.2, 0.1, count), 0, 1).astype(np.float32)
    spans = tuple(
        Segment(i * 108.0, i * 108.0 + 20, 0.6 + 0.3 * (i % 7) / 7, i * 108.0 + 9, "fighting") for i in range(800)
    )
    said = tuple(
        Explanation(s, "anomaly", "This appears to show fighting.", {"who": "two people"}, (s.start,)) for s in spans
    )
    facts = Video("a", "0" * 64, day, 15.0, 320, 240, "h264")
    library.keep(
        video.id,
        Analysis(facts, ScoreTrack(scores, np.linspace(0, day, count + 1)), spans, said, {"settings": {"enter": 0.5}}),
    )
    library.finish(job.id, "nobody")
    with serving(tmp_path / "library") as address:
        page = visit(address)
        page.wait_for_selector(".clips tbody tr")
        page.wait_for_timeout(1000)
        seconds = page.evaluate("""async () => {
          const began = performance.now();
          document.querySelector("[aria-label='Review day.mp4']").click();
          const drawn = () => { const c = document.querySelector('.timeline canvas'); if (!c || document.querySelectorAll('.segments li').length < 800) return false;
            const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n > 5000; };
          while (!drawn()) await new Promise(requestAnimationFrame);
          return (performance.now() - began) / 1000; }""")
        rate = page.evaluate("""async () => {
          const canvas = document.querySelector('.timeline canvas'), box = canvas.getBoundingClientRect(), began = performance.now(); let frames = 0;
          while (performance.now() - began < 3000) {
            canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: frames % 120 < 60 ? -60 : 60, clientX: box.left + 300, clientY: box.top + 60, cancelable: true }));
            await new Promise(requestAnimationFrame); frames++; }
          return frames / ((performance.now() - began) / 1000); }""")
        print(
            f"a day of 135,000 scores and 800 segments: on screen after {seconds:.2f} s, zooms at {rate:.0f} frames a second"
        )
        assert seconds <= 2.0
        assert rate >= 30


def test_a_queue_of_a_hundred_thousand_segments_opens_in_a_second(tmp_path: Path, clip: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    many_segments(library, [add_clip(library, clip, (), name=f"{i}.mp4")[0] for i in range(50)])
    with serving(tmp_path / "library") as address:
        page = visit(address)
        page.wait_for_selector(".clips tbody tr")
        spent = []
        for _ in range(3):  # other programs may be at work
            room(page, "day")
            spent.append(
                page.evaluate("""async () => {
                  const began = performance.now();
                  document.querySelector("#room-review-button").click();
                  const there = () => document.querySelector("#room-review:not([hidden]) .segments li button[aria-current=true]")
                    && document.querySelector(".queue .done").textContent.includes("60000 open") && document.querySelector("video").src;
                  while (!there()) await new Promise(requestAnimationFrame);
                  return (performance.now() - began) / 1000; }""")
            )
            room(page, "analyse")
            page.reload()
            page.wait_for_selector(".clips tbody tr")
        print(f"a queue of 100,000 segments: on screen after {', '.join(f'{s:.2f}' for s in spent)} s")
        assert min(spent) <= 1.0
