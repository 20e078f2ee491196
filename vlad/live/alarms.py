"""Scores of one camera to alarms, so that one event is one alarm.

In: what was scored, snippet by snippet, late, twice or with gaps as it may come; a rule. Out: events: an alarm was raised, grew, ended. No file, no clock of its own and
no thread: time is what the snippets say, or an argument. Of every snippet that reaches a threshold it is known what became of it: an alarm, or counted, by why it is none.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vlad.clock import zone_of
from vlad.errors import InputError
from vlad.rules import EDGE, inside, points_of
from vlad.types import Box

LEAVE = 0.8  # of the threshold: what has reached it goes on as long as it stays at or above this
LATE = 10.0  # seconds by which a snippet may come after a later one
BACK = 60.0  # seconds by which time goes back where a clock was set, or an older file comes: it begins anew there
SILENCE = 30.0  # seconds without any snippet that end an alarm; and that are bridged where nothing was seen
HOUR, DAY = 3600.0, 1440  # seconds; minutes
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST = 50  # zones, and windows of a schedule


class Scored(Protocol):
    """A snippet with its score. start, end: seconds since 1970; score in [0, 1]; looked: False where it was not looked at, and the score repeats the one before."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def score(self) -> float: ...
    @property
    def label(self) -> str: ...
    @property
    def looked(self) -> bool: ...
    @property
    def boxes(self) -> Sequence[Box]: ...


@dataclass(frozen=True)
class Hours:
    """A span of each of some days (0: Monday), from and until a minute of the day in the camera's zone; over midnight where `until` is not after `since`."""

    days: frozenset[int]
    since: int = 0
    until: int = 0

    def hold(self, moment: datetime) -> bool:
        """Whether a moment is within."""
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.since < self.until:
            return day in self.days and self.since <= minute < self.until
        return (day in self.days and minute >= self.since) or ((day - 1) % 7 in self.days and minute < self.until)


@dataclass(frozen=True)
class Zone:
    """A polygon, in shares of the picture, of which somebody's feet have to be in it; threshold, hold: None for the camera's own."""

    name: str
    points: tuple[tuple[float, float], ...]
    threshold: float | None = None
    hold: float | None = None


@dataclass(frozen=True)
class AlarmRule:
    """When a camera's scores are an alarm. threshold in (0, 1]; times in seconds.

    hold: for how long a score has to stay, by snippets that were seen. merge: a pause that ends nothing. cool: after the end, in which nothing new is raised but the old one grows.
    most_an_hour: what is more goes into one summary. schedule: (): always. clock: the zone of its times, '' for this machine's. zones: (): anywhere in the picture.
    """

    threshold: float = 0.5
    hold: float = 1.0
    cool: float = 60.0
    merge: float = 10.0
    most_an_hour: int = 12
    schedule: tuple[Hours, ...] = ()
    clock: str = ""
    zones: tuple[Zone, ...] = ()
    muted_until: float = 0.0

    def __post_init__(self) -> None:
        for name, value, most in (("hold", self.hold, 120), ("merge", self.merge, 300), ("cool", self.cool, 86_400)):
            _check(0 <= value <= most, f"{name}: expected 0 to {most} s")
        _check(1 <= self.most_an_hour <= 3600, "most_an_hour: expected 1 to 3600")
        _check(len(self.zones) <= MOST and len(self.schedule) <= MOST, f"expected at most {MOST} zones and hours")
        for zone in self.zones:
            try:
                points_of(zone.points)
            except ValueError as error:
                raise InputError(f"alarm: zone {zone.name!r}: {error}") from None
        for gate in self.gates:
            _check(0 < (gate.threshold or 0) <= 1, "threshold: expected above 0, up to 1")
            _check(0 <= (gate.hold or 0) <= 120, "hold: expected 0 to 120 s")
        zone_of(self.clock)

    @property
    def gates(self) -> tuple[Zone, ...]:
        """Its zones with every number told; one without points for the whole picture."""
        named = self.zones or (Zone("", ()),)
        return tuple(
            Zone(
                z.name,
                z.points,
                self.threshold if z.threshold is None else z.threshold,
                self.hold if z.hold is None else z.hold,
            )
            for z in named
        )

    def closed(self, at: float) -> str:
        """Why nothing is raised at a time (s since 1970): muted or schedule, '' where it is."""
        if at < self.muted_until:
            return "muted"
        if not self.schedule:
            return ""
        moment = datetime.fromtimestamp(at, UTC).astimezone(zone_of(self.clock))
        return "" if any(h.hold(moment) for h in self.schedule) else "schedule"


def _check(fits: bool, words: str) -> None:
    if not fits:
        raise InputError(f"alarm: {words}")


def rule_of(settings: Mapping[str, Any], *, muted_until: float = 0.0) -> AlarmRule:
    """A rule of plain JSON, as a camera's settings hold it: the fields of AlarmRule that differ, `schedule` as [{days: [mon], since: 22:00, until: 06:00}], `zones` as
    [{name, points, threshold, hold}]. What else is in it is passed over. Raises InputError."""
    try:
        plain = {k: settings[k] for k in ("threshold", "hold", "cool", "merge", "most_an_hour", "clock") if settings.get(k) is not None}  # fmt: skip
        hours = tuple(
            Hours(frozenset(DAYS.index(d) for d in h.get("days") or DAYS), _minute(h.get("since", "00:00")), _minute(h.get("until", "00:00")))
            for h in settings.get("schedule") or ()
        )  # fmt: skip
        zones = tuple(
            Zone(str(z["name"])[:80], tuple((float(x), float(y)) for x, y in z["points"]), z.get("threshold"), z.get("hold"))
            for z in settings.get("zones") or ()
        )  # fmt: skip
        return AlarmRule(**plain, schedule=hours, zones=zones, muted_until=muted_until)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            "alarm: expected numbers, hours as {days, since, until}, and zones as {name, points}"
        ) from None


def _minute(named: str) -> int:
    hour, _, minute = named.partition(":")
    found = int(hour) * 60 + int(minute)
    _check(0 <= found <= DAY and 0 <= int(minute) < 60, f"time {named[:10]!r}: expected 00:00 to 24:00")
    return found % DAY


@dataclass(frozen=True)
class Event:
    """kind: raised, grown or ended. key: of the alarm, the same in all of its events: when it began as it was raised (s since 1970). start, end: as far as it goes by now;
    peak: its highest score; label, zone: where it was highest, '' for none. counted: how many events it stands for, above 1 for a summary."""

    kind: str
    key: float
    start: float
    end: float
    peak: float
    label: str = ""
    zone: str = ""
    counted: int = 1
    summary: bool = False


@dataclass
class _Alarm:
    """One that goes on, or has ended and may grow. summary: it stands for those beyond the limit."""

    key: float
    start: float
    end: float
    peak: float
    label: str
    zone: str
    counted: int = 1
    summary: bool = False
    ended: bool = False

    def told(self, kind: str) -> Event:
        """As it is by now."""
        return Event(kind, self.key, self.start, self.end, self.peak, self.label, self.zone, self.counted, self.summary)


@dataclass(order=True)
class _Piece:
    """A snippet that was seen. levels: of each gate, the score as a share of its threshold, 0 where nobody is in it or nothing may be raised."""

    start: float
    end: float
    score: float = field(compare=False)
    label: str = field(compare=False)
    levels: tuple[float, ...] = field(compare=False)
    alarmed: bool = field(default=False, compare=False)

    @property
    def highest(self) -> float:
        """Of its levels."""
        return max(self.levels)


def held_levels(edges: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], rule: AlarmRule) -> npt.NDArray[np.float64]:  # fmt: skip
    """Of each snippet the highest threshold at which it would raise an alarm: what it has itself, and holds for as long as the rule asks; 0 where what follows is too short.

    edges: float64 [T, 2], start and end (s) in order; scores: float64 [T] in [0, 1]. Out: float64 [T]. An alarm is raised somewhere, at a threshold for the whole picture, just where one reaches it.
    """
    count, lengths = len(scores), edges[:, 1] - edges[:, 0]
    levels, covered = scores.copy(), lengths.copy()
    waiting = np.flatnonzero(covered < rule.hold - 1e-6)
    step = 1
    while len(waiting):
        after = waiting + step
        over = after >= count
        levels[waiting[over]] = 0.0
        waiting, after = waiting[~over], after[~over]
        apart = edges[after, 0] - edges[after - 1, 1] > rule.merge
        levels[waiting[apart]] = 0.0
        waiting, after = waiting[~apart], after[~apart]
        levels[waiting] = np.minimum(levels[waiting], scores[after] / LEAVE)
        covered[waiting] += lengths[after]
        waiting = waiting[covered[waiting] < rule.hold - 1e-6]
        step += 1
    return levels


class Alarms:
    """The alarms of one camera. passed: snippets at or above a threshold that are in no alarm, by why: twice, late, not looked, muted, schedule, zones, short.
    alarmed: those that are in one.

    before: the last alarm that is known of, as its newest event, and whether it ended; raised: when others began within the last hour: for who goes on where another stopped.
    """

    def __init__(self, rule: AlarmRule, before: Event | None = None, raised: Iterable[float] = ()) -> None:
        self.rule, self.gates = rule, rule.gates
        self.passed: Counter[str] = Counter()
        self.alarmed = 0
        self.newest = -np.inf
        self._pieces: list[_Piece] = []
        self._raised = sorted(raised)
        self._keys = list(self._raised)  # summaries' too
        self._last: _Alarm | None = None
        if before is not None:
            told = (before.key, before.start, before.end, before.peak, before.label, before.zone)
            self._last = _Alarm(*told, before.counted, before.summary, before.kind == "ended")
            self.newest = before.end

    @property
    def going(self) -> Event | None:
        """The alarm that goes on, None where none does."""
        return self._last.told("grown") if self._last and not self._last.ended else None

    def change(self, rule: AlarmRule) -> None:
        """Another rule from now on; an alarm that goes on goes on."""
        if rule.gates != self.gates:
            self._forget(np.inf)  # was measured by other thresholds
        self.rule, self.gates = rule, rule.gates

    def push(self, scored: Scored) -> list[Event]:
        """One more snippet; what came of it."""
        events = self._back() if scored.looked and scored.end < self.newest - BACK else []
        piece, why = self._read(scored)
        if why and scored.score >= min(g.threshold or 0 for g in self.gates):
            self.passed[why] += 1
        if piece is None:
            return [*events, *(self.tick(scored.end) if why == "not looked" else [])]
        insort(self._pieces, piece)
        self.newest = max(self.newest, piece.end)
        events += self._grown(piece)
        if self._last is None or self._last.ended:
            events += self._begun()
        longest = max(g.hold or 0 for g in self.gates)
        self._forget(self.newest - LATE - 2 * longest - self.rule.merge)
        return events

    def tick(self, now: float) -> list[Event]:
        """Time has gone on to `now` (s since 1970), perhaps without any snippet: what goes on ends after a long silence."""
        last = self._last
        if last is None or last.ended or now - max(self.newest, last.end) <= max(self.rule.merge, SILENCE):
            return []
        return [self._ended(last)]

    def close(self) -> list[Event]:
        """The stream is over: what goes on ends, and what is still in hand is counted."""
        self._forget(np.inf)
        return [self._ended(self._last)] if self._last and not self._last.ended else []

    def _back(self) -> list[Event]:
        """Time went back: what was later is no measure of it any more."""
        events = self.close()
        self.newest, self._last = -np.inf, None
        return events

    def _read(self, scored: Scored) -> tuple[_Piece | None, str]:
        """A snippet with its levels, None for one that says nothing; and why it may raise nothing, ''."""
        if not scored.looked:
            return None, "not looked"
        if scored.end < self.newest - LATE:
            return None, "late"
        if any(p.start == scored.start and p.end == scored.end for p in self._pieces):
            return None, "twice"
        why = self.rule.closed(scored.end)
        levels = tuple(0.0 for _ in self.gates) if why else self._levels(scored)
        piece = _Piece(scored.start, scored.end, scored.score, scored.label, levels)
        return piece, why or ("" if piece.highest >= 1 else "zones")

    def _levels(self, scored: Scored) -> tuple[float, ...]:
        if not self.rule.zones:
            return (scored.score / (self.gates[0].threshold or 1),)
        boxes = np.array([b.box for b in scored.boxes], np.float64).reshape(-1, 4)
        feet = np.stack([boxes[:, 0] + boxes[:, 2] / 2, boxes[:, 1] + boxes[:, 3]], axis=1).clip(EDGE, 1 - EDGE)
        return tuple(
            scored.score / (g.threshold or 1) if inside(feet, np.array(g.points)).any() else 0.0 for g in self.gates
        )

    def _grown(self, piece: _Piece) -> list[Event]:
        """What a new snippet does to an alarm that goes on."""
        last = self._last
        if last is None or last.ended:
            return []
        near = last.start - self.rule.merge <= piece.end and piece.start <= last.end + self.rule.merge
        if piece.highest >= LEAVE and (near or self._unseen(last.end, piece.start)):
            return self._take(last, piece.start, piece.end, [piece])
        if any(p.start >= last.end for p in self._pieces) and self.newest - last.end > self.rule.merge:
            return [self._ended(last)]
        return []

    def _unseen(self, since: float, until: float) -> bool:
        """Whether nothing was seen between two times that are not far apart."""
        return until - since <= SILENCE and not any(since <= p.start and p.end <= until for p in self._pieces)

    def _begun(self) -> list[Event]:
        """An alarm that begins, or one that grows since its pause was short."""
        last = self._last
        for gate in range(len(self.gates)):
            for run in self._held(gate):
                if all(p.alarmed for p in run):
                    continue  # it is what raised this alarm, or one before
                if last is not None and last.start <= run[0].start and run[-1].end <= last.end:
                    self._mark(run)
                    continue
                if last is not None and run[0].start <= last.end + max(self.rule.cool, self.rule.merge):
                    last.ended = False
                    return self._take(last, run[0].start, run[-1].end, run)
                return self._raise(run, self.gates[gate].name)
        return []

    def _held(self, gate: int) -> Iterable[list[_Piece]]:
        """Snippets one after another that reached a gate's threshold, and stayed for as long as it asks."""
        run: list[_Piece] = []
        for piece in [*self._pieces, None]:
            goes_on = piece is not None and piece.levels[gate] >= LEAVE
            if run and piece is not None and goes_on and piece.start - run[-1].end <= self.rule.merge:
                run.append(piece)
                continue
            if run and sum(p.end - p.start for p in run) >= (self.gates[gate].hold or 0) - 1e-6:
                yield run
            run = [piece] if piece is not None and piece.levels[gate] >= 1 else []

    def _raise(self, run: list[_Piece], zone: str) -> list[Event]:
        start, end = run[0].start, run[-1].end
        self._raised = [t for t in self._raised if abs(t - start) < HOUR]
        over, last = len(self._raised) >= self.rule.most_an_hour, self._last
        if over and last is not None and last.summary:
            last.counted, last.ended = last.counted + 1, False
            return self._take(last, start, end, run, anew=True)
        if not over:
            self._raised.append(start)
        best, again = (
            max(run, key=lambda p: p.score),
            start in self._keys,
        )  # where time went back, the same is seen again
        self._keys = [t for t in self._keys if abs(t - start) < HOUR] + [start]
        self._last = _Alarm(start, start, end, best.score, best.label, zone, summary=over)
        self._mark(run)
        return [self._last.told("grown" if again else "raised")]

    def _take(
        self, last: _Alarm, start: float, end: float, pieces: Sequence[_Piece], *, anew: bool = False
    ) -> list[Event]:
        """An alarm grows by a span; [] where it was in it already."""
        self._mark(pieces)
        before = (last.start, last.end, last.peak)
        best = max(pieces, key=lambda p: p.score)
        if best.score > last.peak:
            last.peak, last.label = best.score, best.label
            last.zone = self.gates[int(np.argmax(best.levels))].name
        last.start, last.end = min(last.start, start), max(last.end, end)
        return [last.told("grown")] if anew or before != (last.start, last.end, last.peak) else []

    def _ended(self, last: _Alarm) -> Event:
        last.ended = True
        return last.told("ended")

    def _mark(self, pieces: Sequence[_Piece]) -> None:
        for piece in pieces:
            self.alarmed += piece.highest >= 1 and not piece.alarmed
            piece.alarmed = True

    def _forget(self, before: float) -> None:
        """Let go of what ended before a time; what reached a threshold and was not held is counted."""
        gone = [p for p in self._pieces if p.end <= before]
        self._pieces = [p for p in self._pieces if p.end > before]
        self.passed["short"] += sum(p.highest >= 1 and not p.alarmed for p in gone)
