"""When a clip was recorded: from its file name, and as clock time in a zone.

In: names, seconds since 1970, names of zones. Out: seconds since 1970, ISO 8601 with an offset. Knows no file and no database.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from vlad.errors import InputError

log = logging.getLogger("vlad")
EARLIEST = datetime(
    1995, 1, 1, tzinfo=UTC
).timestamp()  # no digital recorder is older; 1904 and 1970 are clocks never set
FIRST, LAST = 86_400.0, 2.0**33  # 1970-01-02, and the last second that every zone can show as a day
SINCE = datetime(2010, 1, 1, tzinfo=UTC).timestamp()  # earlier plain numbers are rather serial numbers
JUMP, AWAY, GRACE = 600.0, 7 * 86_400.0, 86_400.0  # seconds: of a clock's jump, without a look, and then of grace
BOUNDS = "expected one between 1970-01-02 and tomorrow"
_YEAR_FIRST = r"(?P<y>20\d\d|199\d)(?P<s>[-_.]?)(?P<m>\d\d)(?P=s)(?P<d>\d\d)"
_DAY_FIRST = r"(?P<d>\d\d)(?P<s>[-_.])(?P<m>\d\d)(?P=s)(?P<y>20\d\d|199\d)"
_BETWEEN = r"(?:\s+at\s+|[ _T@.,-]{0,3})"
_TIME = r"(?P<H>\d\d)[-_.:h]?(?P<M>\d\d)[-_.:m]?(?P<S>\d\d)(?:[.,]?\d{3})?(?!\d)"
_AFTER = r"(?:\s?(?P<half>[AP]M)\b)?(?:[ _]?(?P<zone>Z(?![A-Za-z])|\+\d\d:?\d\d(?!\d)|(?:UTC|GMT)(?:[+-]\d{1,2})?(?![\d:])))?"
STAMPS = tuple(re.compile(rf"(?<!\d){d}{_BETWEEN}{_TIME}{_AFTER}", re.I) for d in (_YEAR_FIRST, _DAY_FIRST))
EPOCH = re.compile(r"(?<![\d.])(1\d{9})(?:\d{3}|\.\d+)?(?!\d)")


def zone_of(name: str) -> tzinfo | None:
    """A zone: an IANA name such as Europe/Berlin, an offset such as +01:00, None for '' (this machine's own). Raises InputError."""
    if not name:
        return None
    offset = re.fullmatch(r"([+-])(\d\d):?([0-5]\d)", name)
    if offset is not None:
        span = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        if span > timedelta(hours=14):
            raise InputError(f"zone {name}: no place on earth is that far off; expected -14:00 to +14:00")
        return timezone(span if offset[1] == "+" else -span)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a name may also hold a path, or none at all
        shown = "".join(c for c in name[:60] if c.isprintable())
        raise InputError(
            f"zone {shown}: unknown; expected a name such as Europe/Berlin, or an offset such as +01:00"
        ) from None


def iso(stamp: float, zone: str = "") -> str:
    """Seconds since 1970 as ISO 8601 with the offset of a zone, to the millisecond where there are any."""
    moment = at(stamp, zone_of(zone))
    return moment.isoformat(timespec="milliseconds" if round(stamp % 1, 3) % 1 else "seconds")


def at(stamp: float, zone: tzinfo | None) -> datetime:
    """Seconds since 1970 as an aware time; zone: None for this machine's own."""
    return datetime.fromtimestamp(round(stamp, 3), UTC).astimezone(zone)


def stamp(local: str, zone: str) -> float:
    """Seconds since 1970 of clock time in a zone, such as 2026-11-25T14:03:11; the first where clocks were put back. Raises InputError.

    A time that clocks skipped, and one that nothing was recorded at, is none.
    """
    try:
        moment = datetime.fromisoformat(local)
    except ValueError:
        raise InputError(f"time {local[:40]!r}: expected a day and a time such as 2026-11-25T14:03:11") from None
    where = zone_of(zone)
    try:
        found = (moment if moment.tzinfo else _within(moment, where)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InputError(f"time: {BOUNDS}") from None
    checked(found)
    if not moment.tzinfo and abs(at(found, where).replace(tzinfo=None) - moment) > timedelta(seconds=1):
        raise InputError(f"time {local[:40]}: there was none in {zone or 'this zone'}, clocks were put forward over it")
    return found


def checked(stamp: float, now: float | None = None) -> float:
    """A time (seconds since 1970) at which something may have been recorded. Raises InputError for any other."""
    if not FIRST <= stamp <= (time.time() if now is None else now) + 86_400:
        raise InputError(f"time: {BOUNDS}")
    return stamp


def known(stamp: float | None) -> bool:
    """Whether a stored time is there and can be shown; what is not was written before times were checked."""
    return stamp is not None and FIRST <= stamp <= LAST


def _within(moment: datetime, zone: tzinfo | None) -> datetime:
    return moment.astimezone() if zone is None else moment.replace(tzinfo=zone)


def day_of(day: str, zone: tzinfo | None) -> tuple[float, float]:
    """When a day (2026-11-25) begins and ends in a zone, in seconds since 1970; 23 or 25 hours where clocks change. Raises InputError."""
    try:
        first = date.fromisoformat(day)
        ends = (datetime(d.year, d.month, d.day) for d in (first, first + timedelta(days=1)))
        begin, end = (e.replace(tzinfo=zone).timestamp() if zone else e.timestamp() for e in ends)
    except (ValueError, OverflowError):
        raise InputError("day: expected one such as 2026-11-25") from None
    return begin, end


def plausible(stamp: float | None, now: float | None = None) -> bool:
    """Whether a recorder may have taken something then: its clock was set, and it is not the future (a day is allowed for zones)."""
    return stamp is not None and EARLIEST <= stamp <= (time.time() if now is None else now) + 86_400


def from_name(name: str, zone: str = "", now: float | None = None) -> float | None:
    """When a clip began, by a date and time in its name; None where there is none that is plausible and can be read in one way only.

    Recorders write their own clock time, so it is taken as of `zone` unless the name says otherwise. Two times in a name are begin and end.
    """
    for moment in _moments(name):
        local = moment if moment.tzinfo else moment.replace(tzinfo=zone_of(zone))
        stamp = local.timestamp()
        if plausible(stamp, now):
            return stamp
    for found in EPOCH.finditer(name):
        if float(found[1]) >= SINCE and plausible(float(found[1]), now):
            return float(found[1])
    return None


def _moments(name: str) -> Iterator[datetime]:
    for pattern in STAMPS:
        for found in pattern.finditer(name):
            part = found.groupdict()
            year, month, day, hour = (int(part[k]) for k in "ymdH")
            if pattern is STAMPS[1] and day <= 12 and month <= 12 and day != month:
                continue  # 03-04-2024 is two days
            if part["half"]:
                hour = hour % 12 + (12 if part["half"].upper() == "PM" else 0)
            try:
                yield datetime(year, month, day, hour, int(part["M"]), int(part["S"]), tzinfo=_named(part["zone"]))
            except ValueError:
                continue


def _named(zone: str | None) -> tzinfo | None:
    if not zone:
        return None
    digits = re.findall(r"[+-]?\d+", zone.replace(":", ""))
    if not digits:
        return UTC
    number = digits[0].lstrip("+-")
    hours, rest = (int(number[:2]), int(number[2:])) if len(number) == 4 else (int(number), 0)
    span = timedelta(hours=hours, minutes=rest)
    return timezone(-span if digits[0].startswith("-") else span)


class Steady:
    """Whether this machine's clock can be believed by whoever is about to forget what is old."""

    def __init__(self) -> None:
        self.calm, self._seen, self._lock = 0.0, (0.0, 0.0), threading.Lock()

    def look(self, now: float, ticks: float, before: float | None = None) -> bool:
        """Whether it went on as time did, and no more than a week passed while nobody looked; else a day of grace begins. now: s since 1970; ticks: s of a clock that nobody sets; before: when somebody
        looked before the first time, s since 1970."""
        with self._lock:
            wall, tick = self._seen
            self._seen = (now, ticks)
            if wall:
                jumped = abs((now - wall) - (ticks - tick)) > JUMP
            else:
                jumped = before is not None and not -JUMP < now - before < AWAY
            if jumped:
                self.calm = ticks + GRACE
                log.warning("the clock jumped, or nobody looked for long: nothing is forgotten for a day")
            return ticks >= self.calm
