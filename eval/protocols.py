"""Data sets as the field evaluates them: facts of their test videos to truth by the frame.

In: the shipped facts, or one CSV of a person's own. Out: labels for each frame that a convention counts. The rule is `y[start:end] = 1`
on frame numbers of the original video; conventions differ only in how many frames they count (see CONVENTIONS). Knows no scores.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlad.arrays import load_array
from vlad.errors import InputError, SettingsError

SNIPPET = 16  # frames under one score in every published protocol
LONG = 20_000  # frames above which VadCLIP's features hold the last, cut snippet too
NORMAL = "Normal"
OWN_RATE = 30.0  # frames a second at which a CSV in seconds is counted
DAYS = 30 * 24 * 3600.0  # longer than any clip: the end of an event without times
UCF_CLASSES = (
    "Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting", "RoadAccidents", "Robbery", "Shooting", "Shoplifting",
    "Stealing", "Vandalism",
)  # fmt: skip
XD_CLASSES = (
    "fighting",
    "shooting",
    "riot",
    "abuse",
    "car accident",
    "explosion",
)  # the order of its codes B1, B2, B4, B5, B6, G


@dataclass(frozen=True)
class Labelled:
    """One test video: frames of the original file, anomalous spans [start, end) in frames, and the same by class.

    events: (class, start, end), as published: they may overlap, and overrun the video by a frame or two.
    """

    name: str
    frames: int
    i3d_snippets: int
    spans: tuple[tuple[int, int], ...]
    events: tuple[tuple[str, int, int], ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """Test videos, their classes in the order of published class scores, and frames a second."""

    videos: tuple[Labelled, ...]
    classes: tuple[str, ...]
    rate: float


CONVENTIONS: dict[str, Callable[[Labelled], int]] = {
    "all": lambda v: v.frames,
    "ceil16": lambda v: -(-v.frames // SNIPPET) * SNIPPET,
    "floor16": lambda v: v.frames // SNIPPET * SNIPPET,
    "i3d": lambda v: v.i3d_snippets * SNIPPET,
    "vadclip": lambda v: (v.frames // SNIPPET if v.frames <= LONG else -(-v.frames // SNIPPET)) * SNIPPET,
}
ANOMALY = "anomaly"
DATASETS: Mapping[str, tuple[str, tuple[str, ...], float]] = {
    "ucf-crime": ("ucf_crime.csv", UCF_CLASSES, 30.0),
    "xd-violence": ("xd_violence.csv", XD_CLASSES, 24.0),
}


# Data sets whose truth is published as one mask of frames a video, and their frames a second. They have no classes.
MASKED = {"shanghaitech": 24.0, "ubnormal": 30.0, "msad": 30.0, "ped2": 10.0, "avenue": 25.0}


def truth(video: Labelled, convention: str) -> npt.NDArray[np.uint8]:
    """1 for each anomalous frame: uint8 [n], n by the convention. Spans that overrun the video are cut there."""
    labels = np.zeros(CONVENTIONS[convention](video), np.uint8)
    for start, end in video.spans:
        labels[start:end] = 1
    return labels


def load_dataset(name: str) -> Dataset:
    """A shipped data set by its name, or a person's own as a CSV `path,label[,start,end]` in seconds.

    Raises SettingsError for an unknown name, InputError for a CSV that cannot be used.
    """
    if name in DATASETS:
        file, classes, rate = DATASETS[name]
        return Dataset(tuple(_read((files("vlad.eval") / file).read_text().splitlines())), classes, rate)
    if name.endswith(".csv"):
        return _read_own(Path(name))
    if name in MASKED:
        raise SettingsError(
            f"{name}: name its published masks of frames (a folder of NAME.npy, 1 where anomalous) with --annotations"
        )
    known = ", ".join([*DATASETS, *MASKED])
    raise SettingsError(f"data set {name!r} is unknown; choose one of {known}, or name a CSV of your own")


def read_masks(name: str, folder: Path) -> Dataset:
    """A data set of MASKED from its published masks, a folder of NAME.npy [frames], 1 where anomalous.

    Raises InputError that lists every file that is no mask.
    """
    videos, faults = [], []
    for path in sorted(folder.glob("*.npy")):
        try:
            mask = load_array(path).ravel()
        except InputError as error:
            faults.append(f"{path.name} ({str(error).removeprefix(f'{path}: ')[:120]})")
            continue
        if not mask.size or not np.isin(mask, (0, 1)).all():
            faults.append(f"{path.name} (not zeros and ones)")
            continue
        edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
        spans = tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))
        events = tuple((ANOMALY, a, b) for a, b in spans)
        videos.append(Labelled(path.stem, len(mask), len(mask) // SNIPPET, spans, events, (ANOMALY,) if spans else ()))
    if faults or not videos:
        raise InputError(f"{folder}: not masks of frames: {', '.join(faults[:20]) or 'no .npy in it'}")
    return Dataset(tuple(videos), (ANOMALY,), MASKED[name])


def _read(lines: Iterable[str]) -> Iterable[Labelled]:
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        spans = tuple((int(a), int(b)) for a, b in (s.split("-") for s in row["spans"].split()))
        classes = () if row["label"] == NORMAL else tuple(row["label"].split("|"))
        events = tuple(_event(text) for text in (row.get("events") or "").split(";") if text)
        yield Labelled(
            row["name"], int(row["frames"]), int(row["i3d_snippets"]), spans,
            events or tuple((classes[0], a, b) for a, b in spans), classes,
        )  # fmt: skip


def _event(text: str) -> tuple[str, int, int]:
    label, _, span = text.rpartition(" ")
    start, end = span.split("-")
    return label, int(start), int(end)


def _read_own(path: Path) -> Dataset:
    """Videos of a CSV `path,label[,start,end]`: a row an event, in seconds; no times: all of the video. Length: as its scores say.

    Raises InputError that lists every row it cannot use, and clips of one name in two folders.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); name a CSV with the columns path,label[,start,end]"
        ) from None
    rows = csv.DictReader(lines)
    if not {"path", "label"} <= set(rows.fieldnames or ()):
        raise InputError(f"{path}: expected a CSV with the columns path,label[,start,end]")
    clips: dict[str, str] = {}
    events: dict[str, list[tuple[str, int, int]]] = {}
    faults = []
    for number, row in enumerate(rows, 2):
        event, name = _own_event(row), Path(row["path"] or "").stem
        if event is None or clips.setdefault(name, row["path"]) != row["path"]:
            faults.append(f"line {number}")
            continue
        events.setdefault(name, []).extend([] if event[0].lower() == NORMAL.lower() else [event])
    if faults or not events:
        raise InputError(
            f"{path}: not path,label[,start,end] in seconds, or two clips of one name: {', '.join(faults[:20]) or 'no row'}"
        )
    videos = tuple(
        Labelled(name, 0, 0, tuple((a, b) for _, a, b in of), tuple(of), tuple(sorted({c for c, _, _ in of})))
        for name, of in events.items()
    )
    return Dataset(videos, tuple(sorted({c for v in videos for c in v.classes})), OWN_RATE)


def _own_event(row: Mapping[str, str | None]) -> tuple[str, int, int] | None:
    """(class, start, end) in frames of OWN_RATE; None for a row that makes no sense."""
    try:
        start, end = float(row.get("start") or 0), float(row.get("end") or DAYS)
    except ValueError:
        return None
    if not (row["path"] and row["label"] and 0 <= start < end <= DAYS):
        return None
    return row["label"], round(start * OWN_RATE), round(end * OWN_RATE)


def with_length(video: Labelled, frames: int) -> Labelled:
    """A video whose length was not known; spans that overrun it are cut. Raises InputError for one that begins behind its end."""
    late = [a / OWN_RATE for _, a, _ in video.events if a >= frames]
    if late:
        raise InputError(
            f"{video.name}: an event begins at {late[0]:g} s, but its scores end at {frames / OWN_RATE:g} s"
        )
    cut = tuple((c, a, min(b, frames)) for c, a, b in video.events)
    spans = tuple((a, b) for _, a, b in cut)
    return replace(video, frames=frames, i3d_snippets=frames // SNIPPET, spans=spans, events=cut)


def _spans(words: list[str]) -> tuple[tuple[int, int], ...]:
    """`s1 e1 s2 e2`, `Class s1 e1 s2 e2` or `B1 s1 e1 B2 s2 e2`. Raises ValueError for anything else."""
    if words and not _whole(words[0]):
        each = len(words) % 3 == 0 and not any(map(_whole, words[::3]))
        words = [w for i, w in enumerate(words) if i % 3] if each else words[1:]
    numbers = [int(w) for w in words]
    return tuple((a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True) if a >= 0)


def _whole(word: str) -> bool:
    return word.removeprefix("-").isdecimal()


def read_annotations(path: Path, shipped: Dataset) -> Dataset:
    """The data set with the spans of its original annotation file; frame counts stay the shipped ones: the file has none.

    UCF-Crime: `Name[.mp4] Class s1 e1 s2 e2`, -1 for none. XD-Violence: `Name[.mp4] s1 e1 s2 e2 ...`, or with a class code before each
    pair; its normal videos are not in the file, and stay. Raises InputError that lists every line it cannot use.
    """
    facts, faults, found = {v.name: v for v in shipped.videos}, [], {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); name the annotation file") from None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            old = facts[words[0].removesuffix(".mp4")]
            spans = _spans(words[1:])
        except (ValueError, KeyError):
            faults.append(f"line {number} ({line[:60]!r})")
            continue
        same = spans == old.spans
        events = old.events if same else tuple((old.classes[0] if old.classes else words[1], a, b) for a, b in spans)
        found[old.name] = replace(old, spans=spans, events=events)
    if faults or not found:
        raise InputError(f"{path}: not annotations of this data set: {', '.join(faults[:20]) or 'no line'}")
    kept = (found.get(v.name, v) for v in shipped.videos if v.name in found or not v.spans)
    return replace(shipped, videos=tuple(kept))
