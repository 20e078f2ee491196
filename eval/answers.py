"""Explanations of every shape to one: what was said of which clip.

In: HIVAU-70k rows (.jsonl), UCA (.json), VAU-Bench (.csv), vlad's analyses (a .json or a folder of them), or vlad's own rows (.jsonl with
any of id, task, text, category, who, what, where, start, end, normal, verdict, probability). Out: `Item`s by key. A prediction is a file of
the same shape as its reference, or own rows with the same ids. Knows no metric.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlad.errors import InputError
from vlad.report import from_json
from vlad.types import Analysis

ELEMENTS = ("who", "what", "where")
REFUSAL = re.compile(
    r"\bno (anomal|abnormal|unusual|suspicious|crime)|\bnot? (contain|show|depict|exhibit)\w* any|nothing (unusual|abnormal)|"
    r"\b(is|are|appears?|seems?)( to be)? (completely |entirely )?normal\b|\bnone can be seen",
    re.I,
)
NAMED = re.compile(
    r"(?:identified as|named?(?: is| of the anomaly is)?|specifically),? (?:an? |the )?\"?(?!identified|named)([A-Za-z][A-Za-z ]{0,100}?)\"?(?: anomaly| event|,|\.| in | on |$)"
)
STATED = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?)\s{0,9}(?:s|sec|seconds)?\s{0,9}(?:-|–|to|and|until)\s{0,9}(\d{1,9}(?:\.\d{1,9})?)\s{0,9}(?:s\b|sec|seconds)",
    re.I,
)  # bounded: what a model writes may be thousands of digits or spaces


@dataclass(frozen=True)
class Item:
    """One thing that was said, or that is true. Spans in seconds; normal: nothing is out of place; None is not known."""

    key: str
    task: str
    text: str
    category: str = ""
    elements: dict[str, str] = field(default_factory=dict)
    span: tuple[float, float] | None = None
    normal: bool | None = None
    probability: float | None = None


def refuses(text: str) -> bool:
    """Whether a text says that nothing is out of place."""
    return REFUSAL.search(text) is not None


def stated(text: str) -> tuple[float, float] | None:
    """The first span of seconds that a text states."""
    found = STATED.search(text)
    return (float(found[1]), float(found[2])) if found and float(found[1]) < float(found[2]) else None


def read(path: Path) -> dict[str, Item]:
    """The items of a file or folder by key. Raises InputError with the row."""
    if path.is_dir():
        return _keyed(path, (i for p in sorted(path.glob("*.json")) for i in _analysis(from_json(p.read_text()), p)))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if path.suffix == ".jsonl":
        return _keyed(path, _lines(path, text))
    if path.suffix == ".csv":
        return _keyed(path, _vau(path, text))
    try:
        facts = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if isinstance(facts, dict) and {"track", "segments"} <= set(facts):
        return _keyed(path, _analysis(from_json(text), path))
    if isinstance(facts, dict) and facts and all(isinstance(v, dict) and "timestamps" in v for v in facts.values()):
        return _keyed(path, _uca(facts))
    raise InputError(f"{path}: expected an analysis of vlad or UCA's {{video: {{timestamps, sentences}}}}")


def _keyed(path: Path, items: Iterator[Item]) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for item in items:
        key = item.key
        while key in found:  # the same question asked twice of one clip
            key += "+"
        found[key] = item
    if not found:
        raise InputError(f"{path}: no explanation in it")
    return found


def _lines(path: Path, text: str) -> Iterator[Item]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield _hivau(row) if "anwser" in row or ("task" in row and "video" in row and "type" in row) else _own(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: line {number}: {type(error).__name__} {error}") from None


def _hivau(row: dict[str, Any]) -> Item:
    text = str(row["prediction"] if "prediction" in row else row["anwser"])
    normal = refuses(text) if row["task"] == "judgement" else None
    span = stated(text)
    key = f"{row['video']} {row['type']} {row['task']} {row.get('id', '')}"
    named = NAMED.search(text) if row["task"] == "judgement" and not normal else None
    category = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", named[1]).lower() if named else ""  # RoadAccident
    return Item(key, f"{row['type']} {row['task']}", text, category, span=span, normal=normal)


def _own(row: dict[str, Any]) -> Item:
    said = row.get("verdict")
    normal = row.get("normal", {"normal": True, "anomaly": False}.get(str(said)))
    text = str(row.get("text", row.get("prediction", "")))
    span = (float(row["start"]), float(row["end"])) if "start" in row and "end" in row else stated(text)
    return Item(
        str(row["id"]), str(row.get("task", "explanation")), text, str(row.get("category", "")).lower(),
        {k: str(row[k]) for k in ELEMENTS if row.get(k)}, span, None if normal is None else bool(normal), row.get("probability"),
    )  # fmt: skip


def _uca(facts: dict[str, Any]) -> Iterator[Item]:
    for name, own in facts.items():
        for k, ((start, end), sentence) in enumerate(zip(own["timestamps"], own["sentences"], strict=False)):
            yield Item(f"{name} {k}", "caption", str(sentence).strip(), span=(float(start), float(end)))


def _vau(path: Path, text: str) -> Iterator[Item]:
    for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
        try:
            name = next(row[k] for k in ("Video Name", "Video", "video", "video_name", "Name") if row.get(k))
            label = str(row.get("Anomaly Class") or "").lower()
            reasoning = ast.literal_eval(row["Reasoning"]) if row.get("Reasoning") else {}
            times = [row.get(k) for k in ("Start Time", "End Time")]
            start, end = (float(t) if t not in (None, "") else 0.0 for t in times)
            span = (start, end) if 0 <= start < end else None  # -1 to -1 or 0 to 0: of the whole clip
        except (StopIteration, ValueError, SyntaxError, TypeError) as error:
            raise InputError(f"{path}: line {number}: {type(error).__name__} {error}") from None
        normal = label == "normal" if label else None
        places = {"where": str(reasoning.get("Location", ""))} if reasoning else {}
        yield Item(f"{name} description", "description", str(row.get("Description", "")), label, places, span, normal)
        parts = (reasoning.get(k) for k in ("Key Evidence", "Detailed Explanation", "Cause and Effect", "Conclusion"))
        told = " ".join(str(p) for p in parts if p)
        yield Item(f"{name} analysis", "analysis", told, label, places, span, normal)


def _analysis(analysis: Analysis, path: Path) -> Iterator[Item]:
    for k, e in enumerate(analysis.explanations, 1):
        what = e.fields.get("what", "")
        yield Item(
            f"{path.stem} {k}", "explanation", e.text, what.split(":")[0].lower(), {n: e.fields[n] for n in ELEMENTS if n in e.fields},
            (e.segment.start, e.segment.end), {"normal": True, "anomaly": False}.get(e.verdict), e.probability,
        )  # fmt: skip
