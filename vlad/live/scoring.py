"""Scores as they happen, at a constant cost and in constant memory.

In: one stream's snippets, in order, and loaded models. Out: a feature and a score each as soon as the snippet is over. A feature is what the batch line gives for the
last snippet of a clip that ends there: nobody knows yet what comes next. Knows no camera and no clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vlad.encoder import put_seen
from vlad.objects import Watch
from vlad.scorers.causal import CausalHead, Stream
from vlad.seen import GRID
from vlad.types import Box, Features, Scorer, Sighting, Snippet

WINDOW = 64  # snippets that a head which looks both ways sees: a minute at 15 frames a second
HORIZON = 30.0  # seconds for which it is remembered who was seen where
Row = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """A snippet's score. start, end: seconds since 1970. label: the likeliest class, '' where none is known. looked: whether models looked, or there was no time to and
    the score is the one before. boxes: what was seen last."""

    camera: str
    start: float
    end: float
    score: float
    label: str = ""
    looked: bool = True
    boxes: tuple[Box, ...] = ()


class RowEncoder(Protocol):
    """What `Rows` needs of an encoder, see `vlad.encoder`."""

    name: str
    use_motion: bool

    def rows(self, batch: list[Snippet], before: Any) -> tuple[list[Row], Any]: ...


class Rows:
    """Features of one stream, one after another. detector: sees people and things `rate` times a second; None: nobody looks for them."""

    def __init__(self, encoder: RowEncoder, detector: Any = None, *, rate: float = 2.0) -> None:
        self.encoder, self.detector = encoder, detector
        self._watch = Watch((), detector, rate=rate) if detector is not None else None
        self._before: Any = None
        self._bare: Row | None = None  # the last one, without what was seen

    @property
    def boxes(self) -> tuple[Box, ...]:
        """What was seen last."""
        return self._watch.sightings[-1].boxes if self._watch is not None and self._watch.sightings else ()

    def push(self, snippet: Snippet) -> Row:
        """The feature of the next snippet, float32 [width]; times in seconds of the stream, which rise. A quiet one has that of the one before, but for what was seen."""
        if self._bare is None or not snippet.quiet:
            found, self._before = self.encoder.rows([snippet], self._before)
            self._bare = found[0]
        if self._watch is not None:
            self._watch.look(snippet)
            seen = self._watch.sightings
            while seen and seen[0].time < snippet.end - HORIZON:
                del seen[0]
        return self._with_seen(self._bare, snippet.start, snippet.end)

    def repeat(self, start: float, end: float) -> Row | None:
        """The feature of a snippet that nobody looked at; None where none came before it."""
        return None if self._bare is None else self._with_seen(self._bare, start, end)

    def _with_seen(self, bare: Row, start: float, end: float) -> Row:
        if not self.encoder.use_motion:
            return bare
        row = bare[None].copy()
        zero = max(0.0, (end - HORIZON) // GRID * GRID)  # a multiple, so that moments are where the whole clip has them
        seen = self._watch.sightings if self._watch is not None else []
        later = [Sighting(s.time - zero, s.boxes) for s in seen if s.time >= zero]
        put_seen(
            row, np.array([start - zero, end - zero]), later, self._watch.aspect if self._watch is not None else 1.0
        )
        found: Row = row[0]
        return found


class Scores:
    """Scores of one stream. A causal head goes on from where it was; any other scores the last WINDOW snippets anew, and the newest counts.

    Such a head looks both ways, so its newest score lacks what comes after; `vlad eval live` tells how much that matters.
    """

    def __init__(self, scorer: Scorer, encoder: str) -> None:
        self.scorer, self.encoder = scorer, encoder
        head = getattr(scorer, "head", None)
        plain = isinstance(head, CausalHead) and getattr(scorer, "scene", None) is None and not head.config.smooth
        self._stream = Stream(head) if plain and isinstance(head, CausalHead) else None
        self._rows: deque[tuple[Row, float, float]] = deque(maxlen=WINDOW)
        self.last: tuple[float, str] = (0.0, "")

    def push(self, row: Row, start: float, end: float) -> tuple[float, str]:
        """Score in [0, 1] and label ('' where it has none) of the next snippet, from `start` to `end` (s)."""
        if self._stream is not None:
            score = self._stream.push(row)
            calibration = getattr(self.scorer, "calibration", None)
            if calibration is not None and calibration.x:
                score = float(np.interp(score, calibration.x, calibration.y).clip(0, 1))
            self.last = score, ""
            return self.last
        self._rows.append((row, start, end))
        edges = np.array([self._rows[0][1], *(r[2] for r in self._rows)])
        track = self.scorer(Features(np.stack([r[0] for r in self._rows]), edges, self.encoder))
        label = ""
        if track.classes is not None:
            shares = {n: float(s) for n, s in zip(track.labels, track.classes[-1], strict=True) if n != "normal"}
            label = max(shares, key=lambda n: shares[n]) if shares else ""
        self.last = float(track.scores[-1]), label
        return self.last

    def repeat(self, row: Row, start: float, end: float) -> tuple[float, str]:
        """A snippet that nobody looked at: it is there, and its score is the one before."""
        if self._stream is not None:
            self._stream.push(row)
        else:
            self._rows.append((row, start, end))
        return self.last
