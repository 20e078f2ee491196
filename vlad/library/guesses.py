"""Wrong passwords, by what they were tried at and from where, for all servers of a library. Nobody is locked out: each further one waits longer, up to a minute.

For a name from one address: TRIES are free, then FIRST seconds, twice that, and so on. From one address for whatever names: SPRAY are free, and for a name that
signed in from there before all are. A browser in which the password was right before is a place of its own (People.device_of), so that guesses of somebody behind
the same address hold up nobody. Forgotten after FORGOTTEN seconds without any. What is typed as a name may be a password, so only hashes are kept.
"""

from __future__ import annotations

import hashlib
import time
from ipaddress import ip_address, ip_network

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from .database import Database
from .names import same
from .tables import Guess

TRIES, SPRAY, FIRST, SLOWEST, FORGOTTEN = 5, 20, 1.0, 60.0, 900.0  # see above
KEPT = 10_000  # names and addresses that are remembered


class Guesses:
    """Who guessed how often."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin_guess(self, name: str, address: str, *, known: bool) -> float:
        """A try, counted as a wrong one until `right_guess`, so that many at once are many: 0; or seconds to wait, and none is counted.

        known: whether somebody of this name signed in from there before.
        """
        keys, now = _keys(name, address), time.time()
        with self.database.read() as session:  # whoever has to wait makes no writer wait
            wait = _wait(session, keys, now, known)
        if wait > 0:
            return wait
        with self.database.write() as session:
            wait = _wait(session, keys, now, known)
            if wait > 0:
                return wait
            for key in keys:
                session.merge(Guess(key=key, count=_count(session, key, now)[0] + 1, at=now))
            session.flush()
            session.execute(delete(Guess).where((Guess.at < now - FORGOTTEN) | (Guess.at > now + SLOWEST)))
            if (session.scalar(select(func.count()).select_from(Guess)) or 0) > KEPT:  # the oldest go
                middle = select(Guess.at).order_by(Guess.at.desc()).offset(KEPT // 2).limit(1).scalar_subquery()
                session.execute(delete(Guess).where(Guess.at <= middle, Guess.key.not_in(keys)))
        return 0.0

    def right_guess(self, name: str, address: str) -> None:
        """It was the password: what was tried at this name from there is forgotten."""
        own, everybody = _keys(name, address)
        with self.database.write() as session:
            session.execute(delete(Guess).where(Guess.key == own))
            _less(session, everybody)

    def no_guess(self, name: str, address: str) -> None:
        """Nobody looked at the password that was tried: it does not count."""
        with self.database.write() as session:
            for key in _keys(name, address):
                _less(session, key)


def _wait(session: Session, keys: tuple[str, str], now: float, known: bool) -> float:
    """Seconds that a try has to wait."""
    found = 0.0
    for key, free in zip(keys, (TRIES, SPRAY), strict=True):
        count, ago = _count(session, key, now)
        if count >= free and not (known and free == SPRAY):
            found = max(found, min(SLOWEST, FIRST * 2.0 ** min(count - free, 10)) - ago)
    return found


def _count(session: Session, key: str, now: float) -> tuple[int, float]:
    """(how many, seconds since the last one). What lies ahead is of a clock that was put back, and holds nobody up."""
    found = session.get(Guess, key, populate_existing=True)
    if found is None or not -SLOWEST <= now - found.at <= FORGOTTEN:
        return 0, 0.0
    return found.count, max(0.0, now - found.at)


def _less(session: Session, key: str) -> None:
    found = session.get(Guess, key, populate_existing=True)
    if found is not None:
        found.count = max(0, found.count - 1)


def _keys(name: str, address: str) -> tuple[str, str]:
    """Of a name from an address, and of the address."""
    try:
        found = ip_address(address)
        if found.version == 6:  # one household has many of them
            address = str(ip_network((found, 64), strict=False))
    except ValueError:
        pass
    own, everybody = (hashlib.sha256(words.encode("utf-8", "replace")).hexdigest() for words in (f"{same(name)[:200]}\n{address}", f"\n{address}"))  # fmt: skip
    return own, everybody
