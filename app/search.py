"""Words to moments, over all that was analysed: the nearest snippets by CLIP, exact up to 200,000 of them, FAISS above.

In: a unit vector. Out: moments with their likeness. Likeness is cosine, which has no natural zero. Whether words match a moment well is told
by how far they stand out of everyday sentences about that same moment; whether a picture does, by how far a moment stands out of all
others. Knows no page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlad.arrays import load_array
from vlad.errors import InputError, VladError
from vlad.explainers.examples import embedding
from vlad.library import Library
from vlad.library.findings import segment_of
from vlad.library.tables import SegmentRow
from vlad.types import Features

log = logging.getLogger("vlad.app")
EXACT = 200_000  # snippets up to which NumPy looks at all of them
SAMPLE = 20_000  # snippets that tell what likeness is usual
APART = 3.0  # seconds between two moments of one clip
STANDS_OUT = 3.0  # standard deviations above the mean likeness of all moments: less is no good match of a picture
SAYS_MORE = 2.5  # standard deviations above the mean likeness of everyday sentences: less is no good match of words
# What is said of a moment in which nothing is to be found; any list of plain sentences does.
EVERYDAY = (
    "an empty street", "a photo", "people walking", "nothing happens", "a car", "a person", "a room", "normal footage", "something",
    "a calm scene at night", "two people talking", "a person standing still",
)  # fmt: skip
Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]
Wanted = Callable[[str, Times, Times], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Moment:
    """A snippet of a clip: seconds, cosine likeness, and whether it matches well."""

    video: str
    start: float
    end: float
    likeness: float
    well: bool


class Index:
    """Embeddings of all clips. Rebuilt when clips come or go."""

    def __init__(self) -> None:
        self.vectors = np.zeros((0, 1), np.float32)
        self.owners: list[tuple[str, int, npt.NDArray[np.float64]]] = []  # video, first row, edges
        self.state: tuple[tuple[str, int], ...] = ()
        self.damaged: frozenset[str] = frozenset()  # clips whose embeddings or scores cannot be read
        self._faiss: Any = None

    def refresh(self, files: Mapping[str, Path], edges_of: Callable[[str], npt.NDArray[np.float64]]) -> None:
        """Take the embeddings of clips (id to file), where any changed; edges_of: a clip's edges [T + 1] (s)."""
        state = tuple((v, f.stat().st_mtime_ns) for v, f in sorted(files.items()) if f.is_file())
        if state == self.state:
            return
        parts: list[Floats] = []
        self.owners, rows, damaged = [], 0, set()
        for video, _ in state:
            try:
                found, edges = load_array(files[video]).astype(np.float32), edges_of(video)
                if found.ndim != 2 or not np.isfinite(found).all():
                    raise ValueError("no table of numbers")
            except (ValueError, VladError) as error:  # a damaged file costs its own clip, and no search
                log.warning("embeddings of %s: %s", video, error)
                damaged.add(video)
                continue
            if len(found) != len(edges) - 1 or (parts and found.shape[1] != parts[0].shape[1]):
                continue  # of an older analysis or another encoder
            self.owners.append((video, rows, edges))
            parts.append(found)
            rows += len(found)
        self.vectors = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
        self.state, self._faiss, self.damaged = state, None, frozenset(damaged)

    def nearest(
        self,
        vector: Floats,
        count: int,
        *,
        wanted: Wanted | None = None,
        everyday: Floats | None = None,
        least: float = 0.0,
    ) -> list[Moment]:
        """Up to `count` moments, most alike first, no two of one clip within APART seconds.

        wanted(clip, starts [N], ends [N]) (s): which of a clip's snippets, bool [N]; None for all. They are looked at before any is ranked.
        everyday: unit vectors [N, D] of EVERYDAY where `vector` is of words, None where it is of a picture.
        least: cosine below which words are no good match, where an encoder was calibrated on real clips and real distractors.
        """
        if not len(self.vectors) or vector.shape != self.vectors.shape[1:]:
            return []
        chosen = None if wanted is None else self._rows(wanted)
        if chosen is not None and not chosen.any():
            return []
        likeness = self._likeness(vector, count, chosen)
        among_moments = self.vectors[:: max(1, len(self.vectors) // SAMPLE)] @ vector
        found: list[Moment] = []
        starts = np.array([first for _, first, _ in self.owners])
        for row in np.argsort(-likeness, kind="stable"):
            if len(found) >= count or not np.isfinite(likeness[row]):
                break
            video, first, edges = self.owners[int(np.searchsorted(starts, row, side="right")) - 1]
            start, end = float(edges[row - first]), float(edges[row - first + 1])
            if any(m.video == video and abs(m.start - start) < APART for m in found):
                continue
            usual = among_moments if everyday is None else everyday @ self.vectors[row]
            apart = float(likeness[row]) - float(usual.mean())
            well = apart >= (STANDS_OUT if everyday is None else SAYS_MORE) * float(usual.std()) > 0
            well &= everyday is None or float(likeness[row]) >= least
            found.append(Moment(video, start, end, float(likeness[row]), well))
        return found

    def inside(self, video: str, span: tuple[float, float], vector: Floats) -> Moment | None:
        """The moment of a clip's span (s) that is most like `vector`, as a good match; None for a clip that is not here."""
        place = next((p for p in self.owners if p[0] == video), None)
        if place is None or vector.shape != self.vectors.shape[1:]:
            return None
        _, first, edges = place
        low = max(int(np.searchsorted(edges, span[0], side="right")) - 1, 0)
        high = min(max(int(np.searchsorted(edges, span[1], side="left")), low + 1), len(edges) - 1)
        if low >= high:
            return None
        likeness = self.vectors[first + low : first + high] @ vector
        best = low + int(likeness.argmax())
        return Moment(video, float(edges[best]), float(edges[best + 1]), float(likeness.max()), True)

    def _rows(self, wanted: Wanted) -> npt.NDArray[np.bool_] | None:
        """Which snippets are wanted; None for all."""
        chosen = np.zeros(len(self.vectors), bool)
        for video, first, edges in self.owners:
            chosen[first : first + len(edges) - 1] = wanted(video, edges[:-1], edges[1:])
        return None if chosen.all() else chosen

    def _likeness(self, vector: Floats, count: int, chosen: npt.NDArray[np.bool_] | None) -> Floats:
        """Cosine of every chosen snippet; above EXACT of them of the nearest that FAISS finds. Minus infinity elsewhere."""
        if chosen is not None and chosen.sum() <= EXACT:
            found = np.full(len(self.vectors), -np.inf, np.float32)
            found[chosen] = self.vectors[chosen] @ vector
            return found
        if len(self.vectors) <= EXACT:
            exact: Floats = self.vectors @ vector
            return exact
        import faiss

        if self._faiss is None:
            width = self.vectors.shape[1]
            index: Any = faiss.index_factory(
                width, f"IVF{int(4 * len(self.vectors) ** 0.5)},SQ8", faiss.METRIC_INNER_PRODUCT
            )
            index.train(self.vectors[:: max(1, len(self.vectors) // 100_000)])
            index.add(self.vectors)
            index.nprobe = 32
            self._faiss = index
        values, rows = self._faiss.search(vector[None], min(len(self.vectors), 2000 + 50 * count))
        likeness = np.full(len(self.vectors), -np.inf, np.float32)
        likeness[rows[0][rows[0] >= 0]] = values[0][rows[0] >= 0]
        if chosen is not None:
            likeness[~chosen] = -np.inf
        return likeness


def look_of(library: Library, row: SegmentRow) -> Floats:
    """How a segment looks: the mean of its snippets' embeddings, a unit vector [D]. Raises InputError for a clip without any."""
    track, kept = library.track(row.video_id), library.embeddings(row.video_id)
    if not kept.is_file():
        raise InputError("this segment's clip is not analysed for search; analyse it again")
    try:
        values = load_array(kept).astype(np.float32)
        if len(values) != len(track.edges) - 1:
            raise ValueError("of another analysis")
    except (ValueError, TypeError, InputError):
        raise InputError("what was kept of this segment's clip for search is damaged; analyse it again") from None
    return embedding(Features(values, track.edges, "kept@0"), segment_of(row), values.shape[1])
