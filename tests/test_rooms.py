"""The rooms around Review as their users meet them: Analyse, Day, Search, Evidence, Settings. In a real browser, on libraries made without models."""

import itertools
import json
import time
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browsing import PASSWORD, Open, add_clip, ask, at_rest, room, serving, sign_in, spans, until

from vlad.library import Library
from vlad.types import Explanation, Segment, Track

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = pytest.mark.browser
CHOSEN = ".segments button[aria-current=true]"


@pytest.fixture
def place(tmp_path: Path, clip: Path) -> Iterator[tuple[str, Library, str, list[str]]]:
    """A server on a library with one clip of a camera at a known time, and three segments."""
    library = Library(tmp_path / "library")
    video, ids = add_clip(library, clip, spans(3), name="gate_20261124_081500.mp4", camera="gate")
    with serving(tmp_path / "library") as address:
        ask(address, f"/videos/{video}", {"local": "2026-11-24T08:15:00", "zone": "Europe/Berlin"}, "PATCH")
        yield address, library, video, ids


def test_h4_a_clips_row_says_what_was_found_and_leads_there(
    place: tuple[str, Library, str, list[str]], visit: Open
) -> None:
    address, _, _, ids = place
    page = visit(address)
    link = page.wait_for_selector(".clips tbody td[data-label=Found] a")
    assert link is not None
    assert link.inner_text().startswith("3 flagged, 0.95 fighting")
    assert "3 open" in page.inner_text(".clips tbody td[data-label=Found]")
    assert page.locator(".clips tbody tr").bounding_box()["height"] < 70  # type: ignore[index]
    link.click()
    page.wait_for_selector(CHOSEN)
    assert page.evaluate("location.hash") == f"#review?segment={ids[0]}"


def test_h4_clips_are_sorted_filtered_paged_and_selected(tmp_path: Path, clip: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    for n in range(55):
        add_clip(library, clip, spans(1) if n % 2 else (), name=f"clip{n:03d}.mp4", camera=f"cam{n % 3}")
    with serving(tmp_path / "library") as address:
        page = visit(address)
        page.wait_for_selector("text=1 to 50 of 55")
        page.click("[aria-label='Later page']")
        page.wait_for_selector("text=51 to 55 of 55")
        page.click("th[data-sort=name] button")
        page.wait_for_function(
            "document.querySelector('.clips tbody td[data-label=Clip]').textContent.includes('clip000')"
        )
        assert page.get_attribute("th[data-sort=name]", "aria-sort") == "ascending"
        page.fill("[aria-label='Clips by name or camera']", "cam1")
        page.wait_for_selector("text=1 to 18 of 18")
        page.check("[aria-label='Select all clips shown']")
        page.click("text=Change camera and time")
        page.fill("dialog[open] input[maxlength='200']", "north")
        page.click("dialog[open] button.main")
        page.wait_for_selector("text=none like that")
        page.fill("[aria-label='Clips by name or camera']", "north")
        page.wait_for_selector("text=1 to 18 of 18")


def test_h18_camera_and_time_are_mended_after_the_drop(place: tuple[str, Library, str, list[str]], visit: Open) -> None:
    address, _, video, _ = place
    page = visit(address, allowed=(422,))
    page.click("[aria-label^='Change camera and time of']")
    dialog = page.locator("dialog[open]")
    assert dialog.locator("input[type=datetime-local]").input_value() in ("2026-11-24T08:15", "2026-11-24T08:15:00")
    dialog.locator("input[placeholder='Europe/Berlin or +01:00']").fill("Mars/Olympus")
    dialog.locator("button.main").click()
    assert "zone" in page.locator("dialog[open] .fault").inner_text()
    dialog.locator("input[placeholder='Europe/Berlin or +01:00']").fill("+05:30")
    dialog.locator("input[placeholder='front door']").fill("back door")
    dialog.locator("button.main").click()
    page.wait_for_selector("dialog[open]", state="detached")
    found = ask(address, f"/videos/{video}")
    assert (found["camera"], found["starts_at"], found["recorded_by"]) == (
        "back door",
        "2026-11-24T08:15:00+05:30",
        "typed",
    )


def test_clock_time_is_everywhere(place: tuple[str, Library, str, list[str]], visit: Open) -> None:
    address, _, _, ids = place
    page = visit(f"{address}/#review?segment={ids[1]}")
    page.wait_for_selector(CHOSEN)
    assert "11-24 08:15:06" in page.inner_text(f".segments li[data-id='{ids[1]}'] .third")
    assert "08:15:06" in page.inner_text(".said h3")
    assert "08:15:0" in (page.get_attribute(".timeline canvas", "aria-valuetext") or "")
    room(page, "analyse")
    page.wait_for_selector(".clips tbody >> text=2026-11-24 08:15:00")
    room(page, "evidence")
    page.click("text=also what nobody confirmed")
    page.wait_for_selector(".evidence td[data-label=When] >> text=2026-11-24 08:15:06")


def test_the_day_shows_cameras_as_lanes_and_leads_to_review(
    place: tuple[str, Library, str, list[str]], visit: Open
) -> None:
    address, library, _, ids = place
    library.decide(library.local_user(), ids[0], "dismissed")
    page = visit(f"{address}/#day")
    page.wait_for_selector(".lane >> text=gate")
    assert page.locator(".track .clip").count() == 1
    assert page.locator(".track .mark").count() == 3
    assert page.locator(".track .mark.dismissed").inner_text() == "○"
    assert "1 of 3 done" in page.inner_text(".day")
    before = page.locator(".track .mark").nth(2).bounding_box()
    for _ in range(4):
        page.click("#room-day [aria-label='Zoom in']")
    page.click("#room-day [aria-label='Whole day']")
    assert page.locator(".track .mark").nth(2).bounding_box() == before
    page.locator(".track .mark.open").first.press("Enter")
    page.wait_for_selector(CHOSEN)
    assert page.evaluate("location.hash").startswith("#review?segment=")


def test_h10_a_hover_picture_says_its_own_time_where_it_is_another(
    place: tuple[str, Library, str, list[str]], visit: Open
) -> None:
    address, _, video, ids = place
    page = visit(f"{address}/#review?segment={ids[0]}")
    page.wait_for_selector(CHOSEN)
    sheet = ask(address, f"/videos/{video}/sheet.json")
    times = sheet["times"]
    assert times == sorted(times)
    for span in spans(3):
        inside = [t for t in times if span.start <= t <= span.end]
        assert len(inside) >= 6
        assert max(b - a for a, b in itertools.pairwise(inside)) <= 2.0
    box = page.locator(".timeline canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.wait_for_function("document.querySelector('.thumb .tile').style.backgroundImage !== ''")
    page.wait_for_function("document.querySelector('.segments .frame').style.backgroundImage !== ''")
    still = page.evaluate("document.querySelector('.segments .frame').style.backgroundPosition")
    page.hover(".segments button >> nth=0")
    page.wait_for_function(f"document.querySelector('.segments .frame').style.backgroundPosition !== '{still}'")


def test_h7_h5_what_the_model_cannot_do_is_said_before_somebody_tries(
    place: tuple[str, Library, str, list[str]], visit: Open
) -> None:
    address, _, _, ids = place
    cannot = ask(address, "/me")["cannot"]
    page = visit(f"{address}/#review?segment={ids[0]}")
    page.wait_for_selector(CHOSEN)
    assert cannot["chat"]
    assert cannot["search"]
    assert cannot["chat"] in page.inner_text(".said")
    room(page, "search")
    assert cannot["search"] in page.inner_text(".search")


def test_b3_words_that_contradict_one_another_name_no_crime(tmp_path: Path, clip: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    span = Segment(2.0, 6.0, 0.9, 3.0, "fighting")
    _, (own,) = add_clip(library, clip, (span,), explained=False)
    said = Explanation(
        span, "anomaly", "This appears to show robbery: a robber in a white top.",
        {"what": "road accident: the robber threatens the other with a knife", "why": "a vehicle hits something at speed"}, (3.0,), "explain@1", "nano", '{"x": "robbery"}', 1.0,
    )  # fmt: skip
    library.explain(own, said, "model")
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/#review?segment={own}")
        page.wait_for_selector(".said .text")
        words = page.inner_text(".said").lower()
        assert "not sure" in words
        for crime in ("robber", "knife", "road accident", "vehicle"):
            assert crime not in words, crime
        assert "1.00" not in page.inner_text(".said .explanation")
        assert "not sure" in page.inner_text(".segments")
        assert "fighting?" not in page.inner_text(".segments")


def test_h9_every_explanation_is_kept_with_its_template_side_by_side(
    place: tuple[str, Library, str, list[str]], visit: Open
) -> None:
    address, library, _, ids = place
    (span, *_) = spans(3)
    library.explain(
        ids[0],
        Explanation(span, "anomaly", "y", {"what": "fighting: it came second"}, (0.1,), "verify@2", "nano", "{}", 0.6),
        "ann",
    )
    page = visit(f"{address}/#review?segment={ids[0]}")
    page.wait_for_selector(".said .text >> text=it came second")
    page.click(".older summary")
    assert page.locator(".sides article").count() == 2
    made = " ".join(page.locator(".sides .made").all_inner_texts())
    assert "verify@2" in made
    assert "explain@1" in made
    assert "asked by ann" in made


def test_h13_a_case_is_made_while_one_is_elsewhere_and_has_its_title(
    place: tuple[str, Library, str, list[str]], visit: Open, tmp_path: Path
) -> None:
    address, library, _, ids = place
    user = library.local_user()
    for one in ids[:2]:
        library.decide(user, one, "confirmed")
    page = visit(f"{address}/#evidence")
    page.wait_for_selector(".evidence td[data-label=Segment]")
    page.check("[aria-label='Choose all']")
    page.fill("input[placeholder^='Case 2026']", "Gate, Tuesday")
    page.click(".evidence button.main")
    page.wait_for_selector(".told >> text=you may leave this room")
    room(page, "review")
    for _ in range(600):
        (case,) = ask(address, "/exports")
        if case["status"] in ("done", "failed"):
            break
        time.sleep(0.1)
    assert (case["status"], case["title"]) == ("done", "Gate, Tuesday")
    room(page, "evidence")
    with page.expect_download() as got:
        page.click("td[data-label=Case] a >> text=Gate, Tuesday")
    assert got.value.suggested_filename.startswith("vlad Gate Tuesday")
    got.value.save_as(tmp_path / "case.zip")
    with zipfile.ZipFile(tmp_path / "case.zip") as whole:
        clips = sorted(n for n in whole.namelist() if n.startswith("clips/"))
        assert [c.split()[0] for c in clips] == ["clips/001", "clips/002"]
        assert json.loads(whole.read("case.json"))["title"] == "Gate, Tuesday"


def test_an_upload_waits_where_the_server_is_busy_and_goes_on(tmp_path: Path, clip: Path, visit: Open) -> None:
    with serving(tmp_path / "library") as address:
        page = visit(address, allowed=(503,), words=("503",))
        refused: list[str] = []

        def turn_away(route: "Route") -> None:
            if route.request.method == "PUT" and len(refused) < 2:
                refused.append(route.request.url)
                route.fulfill(status=503, headers={"retry-after": "1"}, json={"detail": "the server is busy"})
            else:
                route.continue_()

        page.route("**/api/uploads/*", turn_away)
        page.set_input_files("input.picker", [clip])
        page.wait_for_selector(".uploads >> text=the server is busy; going on in a moment")
        page.wait_for_selector(".clips tbody tr")
        assert len(refused) == 2


def test_h14_the_log_names_clips_and_leads_there(place: tuple[str, Library, str, list[str]], visit: Open) -> None:
    address, library, _, ids = place
    library.decide(library.local_user(), ids[0], "dismissed", "light or shadow")
    page = visit(f"{address}/#settings")
    page.wait_for_selector("text=one chain")
    row = page.locator("td[data-label=What] >> text=dismissed").locator("xpath=ancestor::tr")
    assert "gate_20261124_081500.mp4" in row.inner_text()
    assert "light or shadow" in row.inner_text()
    library.change(library.local_user(), ids[1], end=9.5)
    page.reload()
    changed = page.locator("td[data-label=What] >> text=span changed").locator("xpath=ancestor::tr").inner_text()
    assert "9.5" in changed
    assert not set('[]{}"') & set(changed)
    with page.expect_download() as got:
        page.click("text=as CSV")
    assert "dismissed" in Path(got.value.path()).read_text()
    row.locator("a").click()
    page.wait_for_selector(CHOSEN)
    assert page.evaluate("location.hash") == f"#review?segment={ids[0]}"


def test_h12_tokens_are_listed_and_revoked_and_a_password_is_changed(tmp_path: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    library.add_user("root", PASSWORD, "admin")
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/#settings", allowed=(401, 422, 403, 409))
        sign_in(page, "root")
        page.wait_for_selector(".settings dd")
        page.get_by_label("Token for").fill("archive")
        page.click("text=Make token")
        page.wait_for_selector("td[data-label=Token] >> text=archive")
        page.click("[aria-label='Revoke archive']")
        page.click("dialog[open] button.main")
        page.wait_for_selector("td[data-label=Token] >> text=archive", state="detached")
        page.get_by_label("Old password").fill("wrong wrong wrong")
        page.get_by_label("New password, 10 letters or more").fill("another good one")
        page.click("text=Change password")
        page.wait_for_selector(".fault:not(:empty)")
        page.get_by_label("Old password").fill(PASSWORD)
        page.click("text=Change password")
        page.wait_for_selector(".told >> text=Your password is changed")
        other = visit(address, allowed=(401,))
        sign_in(other, "root", "another good one")
        other.wait_for_selector("text=root, admin")
        page.reload()
        page.wait_for_selector("[aria-label='Where you are signed in'] li >> nth=1")
        assert "127.0.0.1" in page.inner_text("[aria-label='Where you are signed in'] li >> nth=1")
        page.click("[aria-label='Where you are signed in'] button")
        page.wait_for_selector("text=You are signed in here only:")
        other.reload()
        other.wait_for_selector("[name=password]")


def test_a_group_of_cameras_is_made_in_settings_and_holds_everywhere(tmp_path: Path, clip: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    root, _ = library.add_user("root", PASSWORD, "admin"), library.add_user("ann", PASSWORD)
    add_clip(library, clip, spans(2), name="gate.mp4", camera="gate", user=root)
    add_clip(library, clip, spans(3), name="hall.mp4", camera="hall", user=root)
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/#settings", allowed=(401,))
        sign_in(page, "root")
        page.wait_for_selector(".picks >> text=hall")
        page.get_by_label("Group", exact=True).fill("front desk")
        page.check(".picks input[value=gate]")
        page.check(".picks input[value=ann]")
        page.click("text=Save group")
        page.wait_for_selector(".settings li >> text=front desk")
        assert ": gate; ann" in page.inner_text(".settings li:has-text('front desk')")
        other = visit(f"{address}/#review", allowed=(401,))
        sign_in(other, "ann")
        other.wait_for_selector(CHOSEN)
        assert other.locator(".segments li").count() == 2
        room(other, "analyse")
        other.wait_for_selector(".clips tbody tr")
        assert "hall" not in other.inner_text("#room-analyse")
        page.click("[aria-label='Remove the group front desk']")
        page.wait_for_selector("dialog[open] >> text=everybody sees every clip again")
        page.click("dialog[open] button.main")
        page.wait_for_selector(".settings li >> text=front desk", state="detached")
        other.reload()
        other.wait_for_selector(".clips tbody tr >> text=hall.mp4")


def test_h6_pictures_of_a_search_come_from_the_sheets(place: tuple[str, Library, str, list[str]], visit: Open) -> None:
    address, _, video, _ = place
    page = visit(f"{address}/#search")
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    moment = {
        "video": video, "start": 1.0, "end": 2.0, "likeness": 0.3, "well": True, "name": "gate", "camera": "gate",
        "starts_at": "2026-11-24T08:15:01+01:00",
    }  # fmt: skip
    page.route(
        "**/api/search?*",
        lambda route: route.fulfill(
            json={"well": True, "moments": [moment, {**moment, "start": 9.0, "end": 10.0, "well": False}]}
        ),
    )
    page.fill("#room-search input[type=datetime-local] >> nth=1", "2026-11-24T09:00")
    page.fill("#room-search input[type=search]", "a person")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.moments .frame')?.style.backgroundImage.includes('/sheet')")
    assert any("before=2026-11-24T09%3A00" in u for u in asked)  # the clock of the place, not of the reader
    assert "2026-11-24 08:15:01" in page.inner_text(".moments li >> nth=0")
    assert [u for u in asked if "/strip" in u or "/frame" in u] == []
    assert page.locator(".moments >> nth=0").locator("li").count() == 1  # no poor one between good ones
    assert not page.locator("details.rest").evaluate("(d) => d.open")


def test_h19_on_a_phone_every_cell_of_a_table_is_on_screen(
    place: tuple[str, Library, str, list[str]], visit: Open
) -> None:
    address, library, _, ids = place
    library.decide(library.local_user(), ids[0], "confirmed")
    page = visit(address, width=390, height=800)
    for name in ("analyse", "evidence"):
        room(page, name)
        page.wait_for_selector(f"#room-{name} tbody tr")
        page.wait_for_timeout(500)
        cut = page.evaluate(
            f"[...document.querySelectorAll('#room-{name} tbody :is(td, button, a)')].filter((e) => {{ const b = e.getBoundingClientRect(); return b.width && (b.left < 0 || b.right > innerWidth); }}).length"
        )
        assert cut == 0, name


def test_a_newcomer_learns_what_this_is_and_tries_a_sample(tmp_path: Path, visit: Open) -> None:
    with serving(tmp_path / "library") as address:
        page = visit(address)
        page.wait_for_selector("text=Which moments of your footage do not belong?")
        page.click("text=Try it with a sample clip")
        page.wait_for_selector(".clips tbody tr", timeout=60_000)
        assert len(ask(address, "/videos")["videos"]) == 1
        room(page, "review")
        page.wait_for_selector("text=Nothing is open. Drop clips under Analyse")
        page.wait_for_selector("text=No clip is open.")
        assert (
            not page.locator(".player, .timeline, .acts, .tools").filter(visible=True).count()
        )  # that would do nothing
        page.keyboard.press("u")
        page.click("text=To the clips")
        page.wait_for_selector(".clips tbody tr")


def test_what_leads_nowhere_and_what_is_empty_is_told(place: tuple[str, Library, str, list[str]], visit: Open) -> None:
    address, _, _, _ = place
    page = visit(f"{address}/#nowhere")
    page.wait_for_selector("text=There is no room called “nowhere”.")
    page.wait_for_selector("#room-analyse .clips tbody tr")
    page.wait_for_timeout(3100)
    room(page, "day")
    page.wait_for_selector(".told:not([data-shown=yes])", state="attached")  # it was about another place
    room(page, "analyse")
    page.set_input_files("input.picker", {"name": "none.mp4", "mimeType": "video/mp4", "buffer": b""})
    page.wait_for_selector(".uploads >> text=the file is empty")
    drop = page.locator(".uploads button").bounding_box()
    assert drop is not None
    assert drop["width"] < 60
    assert len(ask(address, "/videos")["videos"]) == 1


def test_a_frame_is_stepped_on_and_back_also_where_frames_are_uneven(tmp_path: Path, visit: Open) -> None:
    import av

    uneven = tmp_path / "uneven.mp4"
    stamps = [0, 40, 120, 140, 400, 440, 2500, 2540, 3000, 3100]  # ms; one lasts two seconds
    with av.open(str(uneven), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for n, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 20 * n, np.uint8))
            frame.pts, frame.time_base = stamp, stream.time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    library = Library(tmp_path / "library")
    video, _ = add_clip(library, uneven, (), duration=3.2)
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/#review?video={video}")
        page.wait_for_function("document.querySelector('video')?.readyState >= 2")
        page.evaluate(
            "(() => { const v = document.querySelector('video'); window.at = []; const see = (_, m) => { window.at.push(Math.round(m.mediaTime * 1000)); v.requestVideoFrameCallback(see); }; v.requestVideoFrameCallback(see); v.currentTime = 0.01; })()"
        )
        until(lambda: page.evaluate("window.at.at(-1)") == 0)
        for key, shown in zip("......,,,", (40, 120, 140, 400, 440, 2500, 440, 400, 140), strict=True):
            page.keyboard.press(key)
            until(lambda shown=shown: page.evaluate("window.at.at(-1)") == shown)  # type: ignore[misc]
            at_rest(page)
            assert page.evaluate("window.at.at(-1)") == shown  # and stays
        for _ in range(3):
            page.keyboard.press(".")  # faster than frames are found: none is lost
        until(lambda: page.evaluate("window.at.at(-1)") == 2500)


def test_speed_loop_and_two_seconds_before(place: tuple[str, Library, str, list[str]], visit: Open) -> None:
    address, _, _, ids = place
    page = visit(f"{address}/#review?segment={ids[1]}")
    page.wait_for_selector(CHOSEN)
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")
    page.keyboard.press(">")
    page.keyboard.press(">")
    assert page.evaluate("document.querySelector('video').playbackRate") == 2
    page.keyboard.press("<")
    assert page.evaluate("document.querySelector('video').playbackRate") == 1.5
    page.keyboard.press("f")
    start = spans(3)[1].start
    page.wait_for_function(f"Math.abs(document.querySelector('video').currentTime - {start - 2}) < 0.8")
    page.keyboard.press("r")
    page.evaluate(f"document.querySelector('video').currentTime = {spans(3)[1].end - 0.1}")
    until(lambda: start - 0.3 <= page.evaluate("document.querySelector('video').currentTime") <= spans(3)[1].end - 0.5)
    assert page.get_attribute("[aria-label='Repeat the segment']", "aria-pressed") == "true"


def test_boxes_follow_people_over_the_picture_and_are_counted(tmp_path: Path, clip: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    times = np.arange(0, 20, 0.5)
    walker = np.stack([times / 40, np.full(40, 0.2), np.full(40, 0.1), np.full(40, 0.5)], 1).astype(np.float32)
    tracks = (Track(1, "person", times, walker, 0.8), Track(2, "car", times[:5], walker[:5] + 0.3, 0.9))
    _, (own,) = add_clip(library, clip, (Segment(8.0, 12.0, 0.9, 10.0, "fighting"),), tracks=tracks)
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/#review?segment={own}")
        page.wait_for_selector(".boxes .box.person")
        until(lambda: page.locator(".boxes .box").count() == 1)  # the car is gone by then
        size = page.evaluate(
            "[document.querySelector('video').videoWidth, document.querySelector('video').videoHeight]"
        )
        stage, box = page.locator(".stage").bounding_box(), page.locator(".boxes .box").bounding_box()
        assert stage is not None
        assert box is not None
        scale = min(stage["width"] / size[0], stage["height"] / size[1])
        left = stage["x"] + (stage["width"] - size[0] * scale) / 2
        assert box["x"] == pytest.approx(left + 8 / 40 * size[0] * scale, abs=4)
        assert box["width"] == pytest.approx(0.1 * size[0] * scale, abs=4)
        page.keyboard.press("b")
        page.wait_for_selector(".boxes .box", state="detached")
        page.reload()
        page.wait_for_selector(CHOSEN)
        page.wait_for_timeout(500)
        assert page.locator(".boxes .box").count() == 0  # the choice is kept
        assert page.get_attribute("[aria-label='Boxes around people and things']", "aria-pressed") == "false"
        page.click("[aria-label='Boxes around people and things']")
        page.wait_for_selector(".boxes .box.person")
