"""The values that travel down the line, checked when made.

In: plain numbers and arrays. Out: immutable values. Knows nothing of files, models or settings.
Times are float seconds from the first frame, spans are half open [start, end), and T snippets tile a video
through T + 1 rising edges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Verdict = Literal["anomaly", "normal", "unclear"]
VERDICTS: tuple[Verdict, ...] = ("anomaly", "normal", "unclear")
FIELDS = ("what", "who", "where", "when", "why")
NOT_SURE = "the model is not sure"  # a note of an explanation that names no crime
Span = tuple[float, float]


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _freeze(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = np.ascontiguousarray(array).view()
    array.flags.writeable = False
    return array


def _check_edges(edges: npt.NDArray[Any], count: int) -> None:
    _check(edges.shape == (count + 1,), f"edges has shape {edges.shape}, expected ({count + 1},) for {count} snippets")
    _check(bool(np.isfinite(edges).all() and (np.diff(edges) > 0).all()), "edges must be finite and rise strictly")


def _check_span(start: float, end: float) -> None:
    _check(
        np.isfinite(start) and np.isfinite(end) and 0 <= start < end, f"span [{start}, {end}) must be 0 <= start < end"
    )


@dataclass(frozen=True)
class Video:
    """Facts of one clip.

    path: the file as given. sha256: 64 hex digits of its bytes. duration: seconds by counted timestamps, > 0.
    fps: for display only, >= 0. width, height: pixels after rotation. codec: FFmpeg's name.
    gaps: spans in seconds that could not be decoded.
    """

    path: str
    sha256: str
    duration: float
    fps: float
    width: int
    height: int
    codec: str
    gaps: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        _check(
            re.fullmatch(r"[0-9a-f]{64}", self.sha256) is not None, f"sha256 is {self.sha256!r}, expected 64 hex digits"
        )
        _check(np.isfinite(self.duration) and self.duration > 0, f"duration is {self.duration}, expected seconds > 0")
        _check(np.isfinite(self.fps) and self.fps >= 0, f"fps is {self.fps}, expected >= 0")
        _check(self.width > 0 and self.height > 0, f"size is {self.width} x {self.height}, expected > 0")
        for start, end in self.gaps:
            _check_span(start, end)


@dataclass(frozen=True, eq=False)
class Snippet:
    """F frames of one snippet: uint8 RGB [F, H, W, 3], F >= 1, covering [start, end) seconds. quiet: nothing moved in it, its frames are those of the one before."""

    frames: npt.NDArray[np.uint8]
    start: float
    end: float
    quiet: bool = False

    def __post_init__(self) -> None:
        f = self.frames
        _check(
            f.dtype == np.uint8 and f.ndim == 4 and f.shape[-1] == 3 and f.size > 0,
            f"frames is {f.dtype} {f.shape}, expected uint8 [F, H, W, 3]",
        )
        _check_span(self.start, self.end)

    def __repr__(self) -> str:
        return f"Snippet(frames={list(self.frames.shape)}, start={self.start:.2f}, end={self.end:.2f})"


@dataclass(frozen=True)
class Box:
    """A thing in a picture. label: its class. score: in [0, 1]. box: x, y, width, height as shares of the picture, (0, 0) left and top."""

    label: str
    score: float
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        _check(0 <= self.score <= 1, f"score is {self.score}, expected [0, 1]")
        x, y, w, h = self.box
        _check(
            bool(np.isfinite(self.box).all()) and w > 0 and h > 0,
            f"box is {self.box}, expected x, y, width > 0, height > 0",
        )
        _check(
            x >= 0 and y >= 0 and x + w <= 1 + 1e-6 and y + h <= 1 + 1e-6,
            f"box is {self.box}, expected shares of the picture",
        )


@dataclass(frozen=True)
class Sighting:
    """What was seen in the picture at `time` (s); no boxes where nothing was."""

    time: float
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, eq=False)
class Track:
    """One person or thing, followed. id: > 0, its own in a clip. label: its class. times float64 [N] s, rising; boxes float32 [N, 4]: x, y,
    width, height as shares of the picture; score: the mean of its boxes' in [0, 1]."""

    id: int
    label: str
    times: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float32]
    score: float

    def __post_init__(self) -> None:
        _check(self.id > 0, f"id is {self.id}, expected > 0")
        _check(self.times.ndim == 1 and len(self.times) > 0, f"times has shape {self.times.shape}, expected [N]")
        _check(
            bool(np.isfinite(self.times).all() and (np.diff(self.times) > 0).all()),
            "times must be finite and rise strictly",
        )
        _check(
            self.boxes.shape == (len(self.times), 4),
            f"boxes has shape {self.boxes.shape}, expected ({len(self.times)}, 4)",
        )
        _check(
            bool(np.isfinite(self.boxes).all() and (self.boxes[:, 2:] > 0).all()),
            "boxes must be finite, of width and height > 0",
        )
        _check(0 <= self.score <= 1, f"score is {self.score}, expected [0, 1]")
        object.__setattr__(self, "times", _freeze(self.times.astype(np.float64)))
        object.__setattr__(self, "boxes", _freeze(self.boxes.astype(np.float32)))

    @property
    def span(self) -> Span:
        """First and last time (s) it was seen."""
        return float(self.times[0]), float(self.times[-1])

    def at(self, times: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Its box at each time, in a straight line between sightings; before the first and after the last as there: float32 [..., 4]."""
        wanted = np.asarray(times, np.float64)
        columns = [np.interp(wanted, self.times, self.boxes[:, k]) for k in range(4)]
        return np.stack(columns, axis=-1).astype(np.float32)

    def __repr__(self) -> str:
        return f"Track({self.id}, {self.label!r}, {len(self.times)} boxes, {self.times[0]:.1f} to {self.times[-1]:.1f} s, {self.score:.2f})"


@dataclass(frozen=True)
class Fact:
    """One thing that was measured of a span. kind: such as people, close, fall. text: in words. value: the number behind them, in the
    unit of its kind. sure: in [0, 1]. time: when (s), None where it is of the whole span."""

    kind: str
    text: str
    value: float
    sure: float
    time: float | None = None

    def __post_init__(self) -> None:
        _check(0 <= self.sure <= 1, f"sure is {self.sure}, expected [0, 1]")
        _check(bool(np.isfinite(self.value)), f"value is {self.value}, expected a finite number")


@dataclass(frozen=True, eq=False)
class Features:
    """Snippet features: values float32 [T, D] finite, edges float64 [T + 1] s, encoder name and fingerprint `name@hash`."""

    values: npt.NDArray[np.float32]
    edges: npt.NDArray[np.float64]
    encoder: str

    def __post_init__(self) -> None:
        v = self.values
        _check(
            v.dtype == np.float32 and v.ndim == 2 and len(v) > 0,
            f"values is {v.dtype} {v.shape}, expected float32 [T, D]",
        )
        _check(bool(np.isfinite(v).all()), "values holds NaN or infinity")
        _check_edges(self.edges, len(v))
        object.__setattr__(self, "values", _freeze(v))
        object.__setattr__(self, "edges", _freeze(self.edges.astype(np.float64)))

    def __repr__(self) -> str:
        return f"Features(values={list(self.values.shape)}, end={self.edges[-1]:.2f}, encoder={self.encoder!r})"


@dataclass(frozen=True, eq=False)
class ScoreTrack:
    """The timeline: scores float32 [T] in [0, 1], edges float64 [T + 1] s, labels C names, classes float32 [T, C] or None."""

    scores: npt.NDArray[np.float32]
    edges: npt.NDArray[np.float64]
    labels: tuple[str, ...] = ()
    classes: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        s = self.scores
        _check(
            s.dtype == np.float32 and s.ndim == 1 and len(s) > 0, f"scores is {s.dtype} {s.shape}, expected float32 [T]"
        )
        _check(bool(((s >= 0) & (s <= 1)).all()), "scores must lie in [0, 1]")
        _check_edges(self.edges, len(s))
        object.__setattr__(self, "scores", _freeze(s))
        object.__setattr__(self, "edges", _freeze(self.edges.astype(np.float64)))
        if self.classes is not None:
            _check(
                self.classes.shape == (len(s), len(self.labels)),
                f"classes has shape {self.classes.shape}, expected ({len(s)}, {len(self.labels)})",
            )
            object.__setattr__(self, "classes", _freeze(self.classes.astype(np.float32)))

    def at(self, times: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Score at each time (seconds); times before or after the clip get its first or last score. float32, shape of times."""
        index = np.searchsorted(self.edges, np.asarray(times, dtype=np.float64), side="right") - 1
        found: npt.NDArray[np.float32] = self.scores[np.clip(index, 0, len(self.scores) - 1)]
        return found

    def __repr__(self) -> str:
        return f"ScoreTrack(scores=[{len(self.scores)}], end={self.edges[-1]:.2f}, peak={self.scores.max():.3f}, labels={self.labels})"


@dataclass(frozen=True)
class Segment:
    """A flagged span in seconds, its highest score in [0, 1], when that was, and the class name ('' if there is none)."""

    start: float
    end: float
    peak: float
    peak_time: float
    label: str = ""

    def __post_init__(self) -> None:
        _check_span(self.start, self.end)
        _check(0 <= self.peak <= 1, f"peak is {self.peak}, expected [0, 1]")
        _check(
            self.start <= self.peak_time <= self.end,
            f"peak_time {self.peak_time} lies outside [{self.start}, {self.end}]",
        )


@dataclass(frozen=True)
class Explanation:
    """What a language model says of a segment; it annotates, it never drops.

    verdict: 'unclear' also where the answer could not be read. text: one or two sentences for a person.
    fields: some of what, who, where, when, why. times: seconds of the frames the model was shown.
    prompt: `name@hash`. model: base and adapter. raw: the model's own words, unaltered. probability: of the verdict anomaly, by the
    model's own token scores, None where it gave none. notes: what went on, such as an answer that was cut off.
    """

    segment: Segment
    verdict: Verdict
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)
    times: tuple[float, ...] = ()
    prompt: str = ""
    model: str = ""
    raw: str = ""
    probability: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(
            self.probability is None or 0 <= self.probability <= 1,
            f"probability is {self.probability}, expected [0, 1] or None",
        )
        _check(self.verdict in VERDICTS, f"verdict is {self.verdict!r}, expected one of {VERDICTS}")
        unknown = set(self.fields) - set(FIELDS)
        _check(not unknown, f"fields holds {sorted(unknown)}, expected only {FIELDS}")

    @property
    def sure(self) -> bool:
        """False where scorer, words and facts disagree, or the footage is unlike any the model knows: no crime is named then."""
        return NOT_SURE not in self.notes


@dataclass(frozen=True)
class Summary:
    """A clip in a few sentences, by a language model. prompt, model, raw: as in an Explanation."""

    text: str
    prompt: str = ""
    model: str = ""
    raw: str = ""


@dataclass(frozen=True)
class Analysis:
    """Everything that came out of one clip. made_by: JSON-able facts (versions, weights, settings, warnings). summary: None where none was asked for.

    tracks: people and things that were followed, in order of their first time.
    """

    video: Video
    track: ScoreTrack
    segments: tuple[Segment, ...]
    explanations: tuple[Explanation, ...] = ()
    made_by: Mapping[str, Any] = field(default_factory=dict)
    summary: Summary | None = None
    tracks: tuple[Track, ...] = ()

    def __post_init__(self) -> None:
        _check(isinstance(self.made_by, Mapping), f"made_by is {type(self.made_by).__name__}, expected a mapping")
        for e in self.explanations:
            _check(e.segment in self.segments, f"an explanation names {e.segment}, which is not one of the segments")


class Encoder(Protocol):
    """Snippets to features; `name` is `name@fingerprint`."""

    @property
    def name(self) -> str: ...
    def __call__(self, snippets: Iterable[Snippet]) -> Features: ...


class Scorer(Protocol):
    """Features to a score track."""

    def __call__(self, features: Features) -> ScoreTrack: ...


class Explainer(Protocol):
    """Segments of a clip to one explanation each, in order; on_text(index, piece) receives words as they come.

    values: more that a template may ask for, a mapping a segment.
    """

    def __call__(
        self,
        video: Video,
        track: ScoreTrack,
        segments: Sequence[Segment],
        *,
        on_text: Callable[[int, str], None] | None = None,
        values: Sequence[Mapping[str, str]] | None = None,
    ) -> list[Explanation]: ...
