"""Data sets as the field evaluates them: facts of their test videos to truth by the frame.

In: the shipped facts, or one CSV of a person's own. Out: labels for each frame that a convention counts. The rule is `y[start:end] = 1`
on frame numbers of the original video; conventions differ only in how many frames they count (see CONVENTIONS). Knows no scores.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlad.errors import InputError, SettingsError

SNIPPET = 16  # frames under one score in every published protocol
LONG = 20_000  # frames above which VadCLIP's features hold the last, cut snippet too


@dataclass(frozen=True)
class Labelled:
    """One test video: frames of the original file, anomalous spans [start, end) in frames, class name ('Normal' for a normal one)."""

    name: str
    label: str
    frames: int
    i3d_snippets: int
    spans: tuple[tuple[int, int], ...]


CONVENTIONS: dict[str, Callable[[Labelled], int]] = {
    "all": lambda v: v.frames,
    "ceil16": lambda v: -(-v.frames // SNIPPET) * SNIPPET,
    "floor16": lambda v: v.frames // SNIPPET * SNIPPET,
    "i3d": lambda v: v.i3d_snippets * SNIPPET,
    "vadclip": lambda v: (v.frames // SNIPPET if v.frames <= LONG else -(-v.frames // SNIPPET)) * SNIPPET,
}
DATASETS = {"ucf-crime": "ucf_crime.csv"}


def truth(video: Labelled, convention: str) -> npt.NDArray[np.uint8]:
    """1 for each anomalous frame: uint8 [n], n by the convention. Spans that overrun the video are cut there."""
    labels = np.zeros(CONVENTIONS[convention](video), np.uint8)
    for start, end in video.spans:
        labels[start:end] = 1
    return labels


def load_dataset(name: str) -> list[Labelled]:
    """The test videos of a shipped data set. Raises SettingsError for another name."""
    if name not in DATASETS:
        raise SettingsError(f"data set {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    return list(_read((files("vlad.eval") / DATASETS[name]).read_text().splitlines()))


def _read(lines: Iterable[str]) -> Iterable[Labelled]:
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        spans = tuple((int(a), int(b)) for a, b in (s.split("-") for s in row["spans"].split()))
        yield Labelled(row["name"], row["label"], int(row["frames"]), int(row["i3d_snippets"]), spans)


def read_annotations(path: Path, shipped: list[Labelled]) -> list[Labelled]:
    """The videos with the spans of an original annotation file (`Name[.mp4] Class s1 e1 s2 e2`, -1 for none).

    Frame counts stay the shipped ones: the file has none. Raises InputError that lists every line it cannot use.
    """
    facts, faults, found = {v.name: v for v in shipped}, [], {}
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name the annotation file") from None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        name = words[0].removesuffix(".mp4")
        try:
            numbers = [int(w) for w in words[2:]]
            spans = tuple((a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True) if a >= 0)
            old = facts[name]
        except (ValueError, KeyError):
            faults.append(f"line {number} ({line[:60]!r})")
            continue
        found[name] = Labelled(name, words[1], old.frames, old.i3d_snippets, spans)
    if faults or not found:
        raise InputError(f"{path}: not annotations of this data set: {', '.join(faults[:20]) or 'no line'}")
    return [found[v.name] for v in shipped if v.name in found]
