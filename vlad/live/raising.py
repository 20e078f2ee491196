"""Scores of a library's cameras to its alarms: what stands between whoever watches and the library.

In: scored snippets of any camera, from any thread; a turn every second or so. Out: alarms and scores in the library. What the library cannot take just now waits here and is
told again, in order: the same event told twice is one. After a death the last alarm is taken up again, so that one event stays one alarm.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

import numpy as np

from vlad.errors import VladError
from vlad.library import Library
from vlad.library.adapting import threshold_of
from vlad.library.tables import CameraRow

from .alarms import BACK, HOUR, AlarmRule, Alarms, Event, Scored, rule_of

log = logging.getLogger("vlad.live")
GROWN = 2.0  # seconds between two writes of an alarm that does nothing but grow
KEPT = 60.0  # seconds of scores that are written at once
WAITING = 10_000  # events that wait for the library, of all cameras


class OfCamera(Scored, Protocol):
    """A scored snippet, and the name of its camera."""

    @property
    def camera(self) -> str: ...


@dataclass
class _Camera:
    alarms: Alarms
    on: bool = True
    shown: float = 0.0  # the end of its newest score, and when that came
    came: float = 0.0
    watched: float = 0.0  # seconds looked at since the last alarm
    written: float = 0.0  # when its alarm last was
    grown: Event | None = None  # that was not
    edges: list[tuple[float, float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


class Raising:
    """scorer: the name of whose scores these are. picture: the newest one of a camera as JPEG, None where there is none. now: seconds since 1970."""

    def __init__(
        self, library: Library, scorer: str = "", *, picture: Callable[[str], bytes | None] = lambda camera: None, now: Callable[[], float] = time.time
    ) -> None:  # fmt: skip
        self.library, self.scorer, self.picture, self.now = library, scorer, picture, now
        self._cameras: dict[str, _Camera] = {}
        self._waiting: deque[tuple[str, Event, dict[str, Any]]] = deque()
        self._lock, self._writing = Lock(), Lock()
        self.dropped = 0  # events beyond WAITING, which a library that is away for hours costs
        self._renew()

    def on_score(self, scored: OfCamera) -> None:
        """One more snippet; of a camera that the library does not have, nothing."""
        with self._lock:
            camera = self._cameras.get(scored.camera)
            if camera is None or not camera.on:
                return
            events = camera.alarms.push(scored)
            back = scored.end < camera.shown - BACK
            camera.shown, camera.came = scored.end if back else max(camera.shown, scored.end), self.now()
            if scored.looked:
                camera.edges.append((scored.start, scored.end))
                camera.scores.append(scored.score)
                if not camera.alarms.rule.closed(scored.end):
                    camera.watched += scored.end - scored.start
            self._take(scored.camera, camera, events, scored.end)
        if events:
            self._write()

    def turn(self) -> None:
        """What is due: settings anew, alarms of cameras that fell silent, scores and events that wait. Raises VladError where the library is away."""
        self._renew()
        now = self.now()
        kept = []
        with self._lock:
            for name, camera in self._cameras.items():
                there = (
                    camera.shown + now - camera.came if camera.came else now
                )  # what is read later has a time of its own
                self._take(name, camera, camera.alarms.tick(there), now)
                if camera.grown is not None and abs(now - camera.written) > GROWN:
                    self._queue(name, camera.grown, {})
                    camera.grown, camera.written = None, now
                if camera.edges and abs(camera.edges[-1][1] - camera.edges[0][0]) > KEPT:
                    kept.append((name, np.array(camera.edges), np.array(camera.scores, np.float32)))
                    camera.edges, camera.scores = [], []
        self._write(quiet=False)
        for name, edges, scores in kept:
            self.library.keep_scores(name, edges, scores, self.scorer)

    def close(self) -> None:
        """Whoever watches ends: what waits is written. Alarms that go on are left open, for the next to go on with."""
        with self._lock:
            for name, camera in self._cameras.items():
                if camera.grown is not None:
                    self._queue(name, camera.grown, {})
                    camera.grown = None
        self._write()

    def seen(self, name: str) -> float:
        """The end of a camera's newest snippet (s since 1970), 0 where there was none."""
        with self._lock:
            camera = self._cameras.get(name)
            return camera.shown if camera else 0.0

    def passed(self, name: str) -> dict[str, int]:
        """Why a camera's snippets at or above its threshold were no alarm, and how many; see `Alarms`."""
        with self._lock:
            camera = self._cameras.get(name)
            return dict(camera.alarms.passed) if camera else {}

    def _take(self, name: str, camera: _Camera, events: list[Event], end: float) -> None:
        """Events into the line of what is to be written."""
        now = self.now()
        for event in events:
            if event.kind == "grown" and abs(now - camera.written) <= GROWN:
                camera.grown = event
                continue
            more: dict[str, Any] = {}
            if event.kind == "raised":
                more = {
                    "threshold": camera.alarms.rule.threshold, "hours": camera.watched / HOUR,
                    "latency": {"score": round(now - end, 3)}, "picture": self.picture(name),
                }  # fmt: skip
                camera.watched = 0.0
            self._queue(name, event, more)
            camera.grown, camera.written = None, now

    def _queue(self, name: str, event: Event, more: dict[str, Any]) -> None:
        self._waiting.append((name, event, more))
        if len(self._waiting) > WAITING:
            self._waiting.popleft()
            self.dropped += 1

    def _write(self, *, quiet: bool = True) -> None:
        """Events into the library, one after another; what it does not take waits for the next turn."""
        with self._writing:
            while self._waiting:
                name, event, more = self._waiting[0]
                try:
                    self.library.record_alarm(name, event, **more)
                except VladError as error:
                    if not quiet:
                        raise
                    log.warning("alarm of %s: %s", name, error)
                    return
                self._waiting.popleft()

    def _renew(self) -> None:
        """Cameras and rules as the library has them by now."""
        rows = {row.name: row for row in self.library.cameras()}
        known = set(self._cameras)
        begun = {name: self._begun(row) for name, row in rows.items() if name not in known}
        with self._lock:
            for name in known - set(rows):
                gone = self._cameras.pop(name)
                self._take(name, gone, gone.alarms.close(), self.now())
            self._cameras.update(begun)
            for name, row in rows.items():
                camera, rule = self._cameras[name], rule_for(row)
                camera.on = row.on
                if camera.alarms.rule != rule:
                    camera.alarms.change(rule)

    def _begun(self, row: CameraRow) -> _Camera:
        """A camera, going on with the alarm that was the last."""
        rule = rule_for(row)
        last, raised = self.library.last_alarm(row.name, self.now() - max(HOUR, rule.cool))
        before = None
        if last is not None:
            facts = (last.start, last.end, last.peak, last.label, last.zone, last.counted, last.summary)
            before = Event("grown" if last.ended is None else "ended", last.key, *facts)
        return _Camera(Alarms(rule, before, raised))


def rule_for(row: CameraRow) -> AlarmRule:
    """The rule of a camera: as typed, else with the threshold that it was calibrated to."""
    threshold = threshold_of(row.settings, row.calibration)
    try:
        return rule_of({**row.settings, "threshold": threshold}, muted_until=row.muted_until)
    except VladError as error:  # written by something else than this library's routes
        log.warning("camera %s: %s", row.name, error)
        return rule_of({"threshold": threshold}, muted_until=row.muted_until)
