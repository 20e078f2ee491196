"""What one person may have at once and in a minute, so that nobody starves the rest.

In: who asks, for what. Out: their turn, or 429 with when to come back; 503 where all turns are taken by others. Per server, forgotten when it ends.
Nothing waits longer than WAIT for a turn; what is done in it may take longer.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock

from fastapi import HTTPException

WAIT = 2.0  # seconds that a request waits for its turns, all of them together
WAITING = 4  # requests that wait for each turn of a person, at most: a waiting one keeps a thread
KEPT = 10_000  # people that are remembered


@dataclass(frozen=True)
class Share:
    """What a person may have. together: at once, and WAITING times that wait for them. burst: one after another without a pause. pace: seconds after which there is one more."""

    words: str
    together: int
    burst: int
    pace: float


PICTURES = Share("pictures", 2, 240, 0.1)
QUESTIONS = Share("questions", 2, 60, 1.0)
UPLOADS = Share("uploads", 4, 600, 0.5)
DRAFTS = Share("drafts", 2, 240, 0.2)  # looked at while somebody types
DAYS = Share("tables of a day", 1, 20, 5.0)
ORDERS = 5  # cases of one person that are not made yet


class Limits:
    """Who has what just now."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._left: dict[tuple[str, str], tuple[float, float]] = {}  # how many more, as of when
        self._turns: dict[tuple[str, str], BoundedSemaphore] = {}
        self._here: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def turn(self, share: Share, user: str) -> Iterator[None]:
        """One of a person's turns. user: an id. Raises HTTPException 429 where they have had too many, or those of theirs that go on take long."""
        self.take(share, user)
        key = (share.words, user)
        busy = f"{share.together} of your {share.words} are under way; try again in a moment"
        with self._lock:
            turns = self._turns.setdefault(key, BoundedSemaphore(share.together))
            if self._here[key] >= share.together * (1 + WAITING):
                raise refusal(429, busy, 3)
            self._here[key] += 1
        try:
            with one_of(turns, refusal(429, busy, 3)):
                yield
        finally:
            with self._lock:
                self._here[key] -= 1

    def take(self, share: Share, user: str) -> None:
        """One more of a person's. Raises HTTPException 429 with when there is another."""
        with self._lock:
            if len(self._left) > KEPT:
                self._left.clear()
            key, now = (share.words, user), time.monotonic()
            left, at = self._left.get(key, (float(share.burst), now))
            left = min(float(share.burst), left + (now - at) / share.pace)
            if left < 1:
                raise refusal(
                    429, f"too many {share.words} one after another; try again in a moment", (1 - left) * share.pace
                )
            self._left[key] = (left - 1, now)


_WAITED: ContextVar[float] = ContextVar("waited", default=0.0)  # seconds, by the request that is answered


@contextmanager
def one_of(turns: BoundedSemaphore | Lock, otherwise: HTTPException) -> Iterator[None]:
    """A turn or a lock, or `otherwise` where the request has waited WAIT seconds for this one and those before it."""
    began = time.monotonic()
    if not turns.acquire(timeout=max(0.0, WAIT - _WAITED.get())):
        raise otherwise
    waited = _WAITED.set(_WAITED.get() + time.monotonic() - began)
    try:
        yield
    finally:
        turns.release()
        _WAITED.reset(waited)


def refusal(status: int, words: str, seconds: float) -> HTTPException:
    """An answer that says when to come back."""
    return HTTPException(status, words, headers={"Retry-After": str(max(1, math.ceil(seconds)))})
