"""The verb that watches live streams: lines of what changes, and of what is flagged."""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import vlad
from vlad.clock import Steady
from vlad.errors import InputError, VladError

from .common import Changes, Preset, check_folder, printable, quiet, read_changes

USER, PASSWORD = "VLAD_CAMERA_USER", "VLAD_CAMERA_PASSWORD"  # of the environment
Names = Annotated[list[str] | None, typer.Option("--name", help="Of a camera, in the order of the URLs; may be repeated.")]  # fmt: skip


def hide_arguments() -> None:
    """Overwrite user and password of URLs among this process's arguments, where others would read them (Linux: /proc/self/cmdline, and so `ps`)."""
    if sys.platform != "linux":
        return
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        first, last = int(fields[45]), int(fields[46])  # arg_start, arg_end: proc(5)
        held = ctypes.string_at(first, last - first) if 0 < last - first < 1 << 21 else b""
    except (OSError, ValueError, IndexError):
        return
    for found in re.finditer(rb"(?i)\b[a-z0-9]{2,10}://([^\0]+@)", held):
        ctypes.memset(first + found.start(1), ord("*"), len(found[1]) - 1)


class Flags:
    """Spans of scores that stay high. A span begins at `enter`, lasts while scores are at `leave` or above, and is over when they were below for `gap` seconds."""

    def __init__(self, enter: float, leave: float, gap: float) -> None:
        self.enter, self.leave, self.gap = enter, leave, gap
        self.open: dict[str, dict[str, Any]] = {}

    def push(self, scored: Any) -> tuple[str, dict[str, Any]] | None:
        """("begun" or "over", the span) of a snippet that changes something."""
        span = self.open.get(scored.camera)
        if span is None:
            if scored.score < self.enter:
                return None
            span = {"start": scored.start, "end": scored.end, "peak": scored.score, "label": scored.label}
            self.open[scored.camera] = span
            return "begun", span
        if scored.score >= self.leave:
            span["end"] = scored.end
            if scored.score > span["peak"]:
                span |= {"peak": scored.score, "label": scored.label}
            return None
        return ("over", self.open.pop(scored.camera)) if scored.end - span["end"] >= self.gap else None

    def close(self, camera: str) -> dict[str, Any] | None:
        """No more of it comes for now: the span that goes on, if one does, is over."""
        return self.open.pop(camera, None)


class Lines:
    """What is printed, one line each: words, or JSON."""

    def __init__(self, flags: Flags, as_json: bool) -> None:
        self.flags, self.as_json = flags, as_json
        self.lock = threading.Lock()
        self.states: dict[tuple[str, bool], tuple[str, str]] = {}

    def say(self, event: str, camera: str, moment: float, words: str, **facts: Any) -> None:
        """One line."""
        with self.lock:
            if self.as_json:
                print(json.dumps({"event": event, "camera": camera, "time": round(moment, 3), **facts}), flush=True)
            else:
                print(printable(f"{time.strftime('%H:%M:%S', time.localtime(moment))} {camera}: {words}"), flush=True)

    def state(self, state: Any) -> None:
        """Where it is another than before."""
        key, new = (state.camera, state.kept), (state.state, state.why)
        if self.states.get(key) == new:
            return
        self.states[key] = new
        what = f" ({state.what})" if state.state == "on" and state.what else ""
        words = ("recording " if state.kept else "") + state.state + what + (f": {state.why}" if state.why else "")
        drift = None if state.drift is None else round(state.drift, 1)
        self.say("state", state.camera, state.since, words, state=state.state, why=state.why, what=state.what, share=round(state.share, 3),
                 delay=round(state.delay, 3), drift=drift, ahead=state.ahead, bytes=state.bytes, kept=state.kept)  # fmt: skip

    def score(self, scored: Any) -> None:
        """Where a flagged span begins or ends."""
        changed = self.flags.push(scored)
        if changed is not None:
            self._span(*changed, scored.camera, scored.end)

    def file(self, camera: str, _: Any, start: float, end: float) -> None:
        """A dropped file is read to its end, and so is what was flagged in it."""
        span = self.flags.close(camera)
        if span is not None:
            self._span("over", span, camera, end)

    def _span(self, kind: str, span: dict[str, Any], camera: str, moment: float) -> None:
        name = f" {span['label']}" if span["label"] else ""
        words = (
            f"flagged, {span['peak']:.2f}{name}"
            if kind == "begun"
            else f"over after {span['end'] - span['start']:.1f} s, highest {span['peak']:.2f}{name}"
        )
        facts = {k: round(v, 3) if isinstance(v, float) else v for k, v in span.items()}
        self.say(kind, camera, moment, words, **facts)

    def gap(self, gap: Any) -> None:
        """Lost time."""
        words = f"{gap.end - gap.start:.1f} s are missing ({gap.why})"
        self.say("gap", gap.camera, gap.end, words, start=round(gap.start, 3), end=round(gap.end, 3), why=gap.why)


def passwords(file: Path | None) -> dict[str, Any]:
    """Secrets by camera, '' for all others: of a file of lines `user:password`, or `NAME user:password`; else of the environment. Raises InputError."""
    from vlad.live.address import Secret

    if file is None:
        user = os.environ.pop(USER, "")
        return {"": Secret(user, os.environ.pop(PASSWORD, ""))} if user else {}
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'no text'})") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        head, colon, password = line.partition(":")
        name, _, user = head.rpartition(" ")
        if not colon or not user:
            raise InputError(f"{file}: line {number}: expected user:password, or NAME user:password")
        found[name.strip()] = Secret(user, password)
    return found


def watch(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="rtsp(s)://, http(s):// (MJPEG, TS, MP4, HLS), v4l2:/dev/video0, a file that grows, or a folder into which files are dropped.")],
    name: Names = None,
    sub: Annotated[list[str] | None, typer.Option("--sub", metavar="NAME=URL", help="A camera's smaller stream, to look at; the other one is kept.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Keep what cameras send, as they send it, in a ring a camera.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, help="Of a ring at most.")] = 24.0,
    size: Annotated[int, typer.Option("--bytes", min=1_000_000, help="Of a ring at most.")] = 10_000_000_000,
    allow: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="A network that streams may be in besides public and private ones, such as 127.0.0.0/8; may be repeated.")] = None,
    password_file: Annotated[Path | None, typer.Option(help=f"Lines user:password, or NAME user:password. Else {USER} and {PASSWORD}, or the URL.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    preset: Preset = "nano",
    set_: Changes = None,
) -> None:  # fmt: skip
    """Watch live streams: a line a change of state, a lost span, and a flagged span as it begins and ends. Ctrl-C ends it."""
    hide_arguments()
    quiet()
    settings = vlad.make_settings(preset, **{"explain": False, "cache": None, **read_changes(set_ or [])})
    if keep is not None:
        check_folder(keep)
    try:
        from vlad.live import watch as live
        from vlad.live.hosts import networks
        from vlad.live.network import Rules
    except ModuleNotFoundError as error:
        if error.name not in ("httpx", "m3u8"):
            raise
        raise VladError(f"{error.name} is not here; pip install '.[live]' where vlad lies") from None
    cameras = _cameras(urls, name or [], sub or [], keep, hours, size, passwords(password_file))
    rules = Rules(networks(allow or []))
    analyzer = vlad.Analyzer(settings)
    running = live.Watch(
        analyzer,
        on_score=lambda s: lines.score(s),
        on_state=lambda s: lines.state(s),
        on_gap=lambda g: lines.gap(g),
        on_file=lambda camera, file, start, end: lines.file(camera, file, start, end),
        rules=rules,
    )
    running.start()
    lines = Lines(Flags(*analyzer.thresholds, settings.merge_gap), as_json)
    try:
        for camera in cameras:
            running.add(camera)
        while running.failed is None:
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    finally:
        running.stop()
    if running.failed is not None:
        raise running.failed


def _cameras(
    urls: Sequence[str], names: Sequence[str], subs: Sequence[str], keep: Path | None, hours: float, size: int, secrets: dict[str, Any]
) -> list[Any]:  # fmt: skip
    """Cameras of the command line. Raises InputError."""
    from vlad.live.address import parse
    from vlad.live.ring import Ring
    from vlad.live.watch import Camera

    if len(names) > len(urls):
        raise InputError(f"{len(names)} names for {len(urls)} streams")
    called = [*names, *(f"camera {i + 1}" for i in range(len(names), len(urls)))]
    for one in called:
        if not re.fullmatch(r"[\w .-]{1,60}", one) or one.startswith("."):
            raise InputError("--name: expected at most 60 letters, digits, spaces, dots and dashes, and no dot first")
    if len(set(called)) < len(called):
        raise InputError("two cameras have one name")
    others = dict(s.partition("=")[::2] for s in subs)
    if set(others) - set(called):
        raise InputError("--sub: expected NAME=URL with the name of a camera")

    for url in urls:
        if "://" not in url and not url.startswith("v4l2:") and not Path(url).exists():
            raise InputError(f"{url}: there is no such file or folder; a stream begins with rtsp://, http:// or v4l2:")
    clock = Steady()

    def steady() -> bool:
        return clock.look(time.time(), time.monotonic())

    def secret(one: str) -> Any:
        return secrets.get(one, secrets.get(""))

    return [
        Camera(
            one, parse(url, secret(one)), parse(others[one], secret(one)) if one in others else None,
            None if keep is None else Ring(keep / one, hours=hours, most=size, steady=steady),
        )
        for one, url in zip(called, urls, strict=True)
    ]  # fmt: skip
