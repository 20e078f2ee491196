"""Wall and Alarms as their users meet them: a camera of a real RTSP server is added, watched and played; alarms are answered by keys, each for what is on screen. In a real browser."""

import itertools
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browsing import PASSWORD, Open, add_clip, room, serving, sign_in, spans, until
from vlad.eval.cameras import camera_clip, has_rtsp, rtsp

from vlad.library import Library
from vlad.live.alarms import Event
from vlad.sim import simulate, write_video

pytestmark = pytest.mark.browser


@pytest.mark.skipif(not has_rtsp(), reason="no GStreamer RTSP server here: not run")
def test_a_camera_is_added_seen_and_played(tmp_path: Path, visit: Open) -> None:
    write_video(simulate(150_001, duration=20.0, events=("fighting",)), tmp_path / "scene.mp4")
    clip = camera_clip(tmp_path / "scene.mp4", tmp_path / "camera.mp4", seconds=120)
    Library(tmp_path / "library").add_user("root", PASSWORD, "admin")
    with (
        rtsp({"/door": clip}, user="ann", password="a secret") as port,
        serving(tmp_path / "library", more=("--allow", "127.0.0.1/32")) as address,
    ):
        page = visit(f"{address}/login#wall", allowed=(401, 404))
        sign_in(page, "root")
        page.wait_for_selector("text=No camera is watched yet. Add one below.")
        page.click("button:has-text('Add a camera')")
        page.fill("dialog[open] label:has-text('Name') input", "door")
        page.fill("dialog[open] label:has-text('Address') input", f"rtsp://ann:a%20secret@127.0.0.1:{port}/door")
        page.fill("dialog[open] label:has-text('for so many seconds') input", "0")
        page.click("dialog[open] button:has-text('Save')")
        page.wait_for_selector(".tile h3:has-text('door')")
        page.wait_for_selector(".tile .state.on", timeout=60_000)
        page.wait_for_selector(".tile .shown img:visible", timeout=20_000)
        page.wait_for_function("document.querySelector('.tile img').naturalWidth > 100")
        page.wait_for_selector(".tile .going:visible", timeout=60_000)
        page.wait_for_selector(".tile [aria-label*='threshold 0.50']", timeout=90_000)  # which nobody set
        page.click(".tile button:has-text('Live')")
        page.wait_for_function("document.querySelector('dialog.live video').currentTime > 1", timeout=30_000)
        page.wait_for_timeout(8000)
        before = page.evaluate("document.querySelector('dialog.live video').currentTime")
        page.wait_for_selector("dialog.live :text-matches('As it was at .*, [0-9]+ s ago')")
        page.click("dialog.live button:has-text('Back 30 s')")
        page.wait_for_function(f"document.querySelector('dialog.live video').currentTime < {before}")
        page.click("dialog.live button:has-text('Now')")
        page.wait_for_function(f"document.querySelector('dialog.live video').currentTime > {before}")
        page.click("dialog.live button:has-text('Close')")
        page.click("[aria-label='Change door']")
        assert page.input_value("dialog[open] label:has-text('Address') input") == f"rtsp://127.0.0.1:{port}/door"
        assert page.input_value("dialog[open] label:has-text('Password') input") == ""
        assert "secret" not in page.content()
        page.keyboard.press("Escape")
        page.click("[aria-label='Mute door for 30 minutes']")
        page.wait_for_selector("text=door raises no alarm for 30 minutes.")
        page.click(".tile .going")
        page.wait_for_selector("#room-alarms h2:has-text('door:')")
        page.wait_for_function("document.querySelector('#room-alarms .shown img')?.naturalWidth > 100")


def test_alarms_are_answered_by_keys_for_what_is_on_screen(tmp_path: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    root = library.add_user("root", PASSWORD, "admin")
    library.add_user("ann", PASSWORD)
    now = time.time()
    for k, name in enumerate(("door", "yard")):
        library.save_camera(root, {"name": name, "url": "rtsp://192.0.2.1/x", "on": False})
        library.record_alarm(name, Event("raised", now - 60 * k, now - 60 * k, now - 60 * k + 5, 0.9, "fighting"))
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/login#alarms", allowed=(401, 404, 409))
        sign_in(page, "ann")
        page.wait_for_selector("#room-alarms h2:has-text('door: fighting?')")
        library.record_alarm("yard", Event("raised", now + 5, now + 5, now + 9, 0.8))  # comes in: the chosen one stays
        page.wait_for_selector("text=3 open, 0 acknowledged, 0 escalated; 3 going on.")
        assert page.inner_text("#room-alarms h2") == "door: fighting?"
        page.keyboard.press("a")
        page.wait_for_selector("text=It is yours.")
        page.wait_for_selector("text=acknowledged by ann")
        assert page.inner_text("#room-alarms h2") == "door: fighting?"  # nothing goes on by itself
        page.keyboard.press("j")
        page.wait_for_selector("#room-alarms h2:has-text('yard: fighting?')")
        page.keyboard.press("x")
        page.wait_for_selector("text=Noted: a false alarm.")
        page.keyboard.press("u")
        page.wait_for_selector("text=Taken back.")

        other = visit(f"{address}/login#alarms", allowed=(401, 404))
        sign_in(other, "root")
        yard = next(a for a in library.alarms() if a.camera == "yard" and a.start < now)
        for path in ("alarms?state=&count=100", f"alarms/{yard.id}"):  # ann's page does not hear of it
            stale = page.request.get(f"{address}/api/{path}").text()
            page.route(
                f"**/api/{path}".replace("?", "[?]"),
                lambda route, _, old=stale: route.fulfill(body=old, content_type="application/json"),
            )
        library.answer_alarm(root, yard.id, "escalated")
        page.keyboard.press("a")
        page.wait_for_selector("text=root changed this alarm meanwhile")
        assert library.alarm(yard.id).state == "escalated"
        assert [a.verdict for a in library.alarms()] == ["", "", ""]
        assert {r.action for r in library.audit_rows(count=100)} >= {"alarm acknowledged", "alarm escalated"}
        room(other, "wall")
        other.wait_for_selector(".tile .state.off")
        until(lambda: other.locator(".tile").count() == 2)


def test_help_lies_over_nothing_on_a_phone(tmp_path: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    library.save_camera(library.local_user(), {"name": "door", "url": "rtsp://192.0.2.1/x", "on": False})
    with serving(tmp_path / "library") as address:
        for width, (name, first) in itertools.product(
            (390, 1400), {"wall": ".tile", "alarms": "select >> nth=1"}.items()
        ):
            page = visit(f"{address}/#{name}", allowed=(404,), width=width)
            help_, below = (page.locator(f"#room-{name} {one}").bounding_box() for one in (".help", first))
            assert help_ is not None
            assert below is not None
            apart = help_["y"] + help_["height"] <= below["y"] or below["x"] + below["width"] <= help_["x"]
            assert apart, (name, width)


def test_an_alarms_clip_opens_where_it_happened(tmp_path: Path, visit: Open, clip: Path) -> None:
    """A recorder's file is long, and holds more than one."""
    library, began = Library(tmp_path / "library"), time.time() - 600
    segments = spans(2)
    video, _ = add_clip(library, clip, segments, camera="door")
    library.edit(library.local_user(), video, {"recorded": began})
    for segment in segments:
        start, end = began + segment.start - 0.5, began + segment.end
        row = library.record_alarm("door", Event("raised", start, start, end, 0.9, "fighting"))
        library.alarm_kept(row.id, video)
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/#alarms", allowed=(404,))
        page.click("text=The clip, in Review")  # of the newest, which is the second in the clip
        page.wait_for_selector("#room-review .segments button[aria-current=true]")
        page.wait_for_function(
            f"Math.abs(document.querySelector('#room-review video').currentTime - {segments[1].start}) < .5"
        )


def test_where_alarms_are_told_is_said_in_settings(tmp_path: Path, visit: Open) -> None:
    library = Library(tmp_path / "library")
    library.add_user("root", PASSWORD, "admin")
    got: list[bytes] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    with serving(tmp_path / "library") as address:
        page = visit(f"{address}/login#settings", allowed=(401, 422))
        sign_in(page, "root")
        page.wait_for_selector("text=Nowhere but on this page.")
        form = "form:has(label:has-text('Private networks'))"
        page.fill(f"{form} label:has-text('Name') input", "control room")
        page.fill(f"{form} label:has-text('Address') input", f"http://127.0.0.1:{hook.server_port}/a-secret-path")
        key, allow = (
            f"{form} label:has-text('{words}') input" for words in ("Key it is signed with", "Private networks")
        )
        page.fill(key, "short")
        page.fill(allow, "127.0.0.1/32")
        page.click(f"{form} button")
        page.wait_for_selector(f"{key} + .fault:text-matches('^a webhook is signed with a key')")
        page.fill(key, "k" * 20)
        page.fill(allow, "")
        page.click(f"{form} button")  # this machine is no receiver unless it is named
        page.wait_for_selector(f"{allow} + .fault >> text=name the private networks that it may be in")
        page.fill(allow, "here")
        page.click(f"{form} button")
        page.wait_for_selector(f"{allow} + .fault:text-matches('^.here.: expected a network')")
        page.fill(allow, "127.0.0.1/32")
        page.click(f"{form} button")
        page.wait_for_selector("[aria-label='Where alarms are told'] li:has-text('control room')")
        assert "a-secret-path" not in page.content()
        page.click("[aria-label='Send a test to control room']")
        page.wait_for_selector("[aria-label='Where alarms are told'] li:has-text('sent')")
        assert b'"type":"test"' in got[0].replace(b" ", b"")
        page.wait_for_function("navigator.serviceWorker.getRegistration('/page/').then((r) => Boolean(r?.active))")
        page.click("[aria-label='Switch off control room']")
        page.wait_for_selector("[aria-label='Where alarms are told'] li:has-text(', off')")
        page.click("[aria-label='Remove control room']")
        page.click("dialog[open] button.main")
        page.wait_for_selector("text=Nowhere but on this page.")

        page.fill(key, "k" * 20)
        page.select_option(f"{form} label:has-text('Kind') select", "mail")
        secret = f"{form} label:has-text('user:password') input"
        assert page.input_value(secret) == ""  # a webhook's key is no password of a mail server's
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
        page.fill(f"{form} label:has-text('Name') input", "guard")
        page.fill(f"{form} label:has-text('Address') input", f"smtp://127.0.0.1:{port}")
        page.fill(f"{form} label:has-text('From') input", "vlad@example.org")
        page.fill(f"{form} label:has-text('To') input", "guard@example.org")
        page.select_option(f"{form} label:has-text('Encrypted') select", "plain")
        page.fill(secret, "nobody")
        page.click(f"{form} button")
        page.wait_for_selector(f"{allow} + .fault >> text=name the private networks that it may be in")
        page.fill(allow, "127.0.0.1/32")
        page.click(f"{form} button")
        page.wait_for_selector(f"{secret} + .fault:text-matches('^expected a user and a password')")
        page.fill(secret, "")
        page.click(f"{form} button")
        page.wait_for_selector("[aria-label='Where alarms are told'] li:has-text('guard')")
        (made,) = library.targets()
        assert (made.settings["plain"], made.settings["to"]) == (True, ["guard@example.org"])
        page.click("[aria-label='Send a test to guard']")
        page.wait_for_selector("[aria-label='Where alarms are told'] li:has-text('not yet: it cannot be reached')")
        page.reload()
        page.wait_for_selector(
            "[aria-label='Where alarms are told'] li:text-matches('1 waiting: it cannot be reached .*; (next try at|tried now)')"
        )
    hook.shutdown()
    hook.server_close()
