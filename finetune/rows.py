"""Rows of instruction data: a question with its answer, what is wrong with one, and which videos are a test set's.

In: rows as JSON. Out: checked rows. Knows no public set's shape (`sources.py`) and no model.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from vlad.errors import InputError, TemplateError
from vlad.prompting import load_prompt

SHOWN = 50  # faults that are named


class Row(BaseModel):
    """One question with its answer.

    prompt and values: a template and what fills it. turns: questions and answers before this one's. images, or video with start and end
    (s): what is shown. normal: nothing is out of place, None where the source does not say. loaded: the question presumes what is not so.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    source: str
    prompt: str
    values: dict[str, str]
    answer: str
    turns: list[tuple[str, str]] = []
    images: list[str] = []
    video: str | None = None
    start: float | None = None
    end: float | None = None
    normal: bool | None = None
    loaded: bool = False
    task: str = ""


@dataclass
class Found:
    """What came of a source: rows, faults, and how many rows of UCF-Crime's test videos were left out."""

    rows: list[Row] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    left_out: int = 0
    doubtful: int = 0  # rows whose paths say test, though no list of test videos names them


@cache
def ucf_test() -> frozenset[str]:
    """UCF-Crime's 290 test videos, as `bare` names them."""
    return frozenset((files("vlad.finetune") / "ucf_test.txt").read_text().split())


@cache
def xd_test() -> frozenset[str]:
    """XD-Violence's 800 test videos, as `bare` names them."""
    table = (files("vlad.eval") / "xd_violence.csv").read_text().splitlines()
    return frozenset(row["name"] for row in csv.DictReader(line for line in table if not line.startswith("#")))


def bare(name: str) -> str:
    """A video's name without folder and ending; of the data sets', whatever number of an event or clip follows, the name alone."""
    stem = re.sub(r"\.(mp4|avi|mkv|mov|webm|npy)$", "", re.split(r"[/\\]", name)[-1], flags=re.I)
    ucf = re.match(r"(Normal_Videos_?\d{3}|[A-Za-z]+\d{3})(?!\d)", stem)
    xd = re.match(r".+_label_[A-Z0-9]+(?:-[A-Z0-9]+)*", stem)
    return ucf[1] if ucf else xd[0] if xd else stem


def is_test(name: str) -> bool:
    """Whether a path or name is of one of the test videos of UCF-Crime or XD-Violence."""
    return bare(name) in ucf_test() | xd_test()


MARKS = re.compile(
    r"<(?:image|video)>|\[/?INST\]|<\|?(?:im_start|im_end|eot_id|user|assistant|system)\|?>|</?s>"
)  # of layouts


def fault_of(row: Row) -> str:
    """Why a row cannot be trained on; '' where it can."""
    try:
        prompt = load_prompt(row.prompt)
        prompt.tell(row.values, images=0)
    except TemplateError as error:
        return str(error)
    if not row.answer.strip():
        return "no answer"
    marked = MARKS.search(row.answer)
    if marked:
        return f"the answer holds {marked[0]}, which a model reads as a picture or a turn"
    if row.start is not None and row.end is not None and not 0 <= row.start < row.end:
        return f"times {row.start} to {row.end}"
    if prompt.schema is not None:
        try:
            faults = prompt.faults(json.loads(row.answer))
        except ValueError:
            return "the answer is no JSON, which this template asks for"
        return "; ".join(faults)
    return ""


def read_rows(path: Path) -> list[Row]:
    """The rows of a file of `vlad instruct`. Raises InputError that lists the bad ones, missing images among them."""
    faults, rows = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); make it with vlad instruct") from None
    for number, line in enumerate(lines, 1):
        try:
            row = Row.model_validate(json.loads(line))
        except (ValueError, ValidationError) as error:
            faults.append(f"line {number}: {str(error).splitlines()[0][:160]}")
            continue
        missing = [p for p in [*row.images, *([row.video] if row.video else [])] if not Path(p).is_file()]
        fault = f"missing: {', '.join(missing[:3])}" if missing else fault_of(row)
        if fault:
            faults.append(f"line {number} ({row.id}): {fault}")
        rows.append(row)
    if faults or not rows:
        raise InputError(f"{path}: {listed(faults) or 'no row'}")
    return rows


def listed(faults: Sequence[str]) -> str:
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return f"{len(faults)} bad rows: {'; '.join(faults[:SHOWN])}{more}" if faults else ""
