"""Instruction data of the public sets to rows, a reader for each.

In: HIVAU-70k (.jsonl of prompt and anwser; its database), UCA (.json of timestamps and sentences), CUVA (.json of instruction and output), VAU-Bench
(.csv), LLaVA conversations (.json), reviewers' verdicts (.jsonl of `vlad verdicts export`). Out: rows; a bad one raises, and costs only itself.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from vlad.errors import InputError
from vlad.sim.captions import ORDINARY, REASONS

from .rows import Row


def chat(question: str) -> dict[str, str]:
    return {"question": question, "said": "", "times": "several moments"}


def _text(row: Any, *names: str) -> str:
    """The first of some fields that holds text. Raises KeyError for none."""
    for name in names:
        if isinstance(row.get(name), str) and row[name].strip():
            return str(row[name]).strip()
    raise KeyError(" or ".join(names))


def _is_normal(answer: str) -> bool:
    return (
        re.search(r"\bno (anomal|abnormal|unusual)|\bnormal\b(?!.*\banomal)|not? contain any anomal", answer, re.I)
        is not None
    )


def hivau(rows: Iterable[Any]) -> Iterator[Row]:
    """Rows {id, type, task, video, prompt, anwser}."""
    for row in rows:
        video, question, answer = _text(row, "video"), _text(row, "prompt"), _text(row, "anwser", "answer")
        normal = _is_normal(answer) if row["task"] == "judgement" else "Normal" in video or "label_A" in video
        asked = re.sub(r"\s*<(video|image)>\s*", " ", question).strip()
        loaded = normal and re.search(r"\b(anomal|abnormal|unusual)", asked, re.I) is not None
        yield Row(
            id=f"hivau-{row.get('id', video)}", source="hivau", prompt="chat", values=chat(asked), answer=answer, video=video,
            normal=normal, loaded=loaded, task=f"{row['type']} {row['task']}",
        )  # fmt: skip


def uca(videos: dict[str, Any]) -> Iterator[Row]:
    """{video: {duration, timestamps, sentences}}, seconds."""
    for name, facts in videos.items():
        spans, sentences = facts["timestamps"], facts["sentences"]
        if len(spans) != len(sentences):
            raise ValueError(f"{name}: {len(spans)} times for {len(sentences)} sentences")
        for k, ((start, end), sentence) in enumerate(zip(spans, sentences, strict=True)):
            answer = json.dumps({"text": str(sentence).strip()[:300]}, ensure_ascii=False)
            video = name if "." in name else f"{name}.mp4"
            yield Row(
                id=f"uca-{name}-{k}", source="uca", prompt="caption", values={"times": f"{start} s to {end} s"}, answer=answer, video=video,
                start=float(start), end=float(end), normal=True if "Normal" in name else None, task="caption",
            )  # fmt: skip


def database(videos: dict[str, Any]) -> Iterator[Row]:
    """HIVAU-70k's database {video: {events, clips, clips_caption, events_summary, video_summary}}, seconds: clips by event, and what is judged of it."""
    for name, facts in videos.items():
        video, normal = name if "." in name else f"{name}.mp4", not facts["events"]
        clips = [c for event in facts["clips"] for c in event]
        told = [t for event in facts["clips_caption"] for t in event]
        if len(clips) != len(told) or len(facts["events"]) != len(facts["events_summary"]):
            raise ValueError(f"{name}: {len(clips)} clips for {len(told)} captions, or events without a summary")
        for k, row in enumerate(uca({name: {"timestamps": clips, "sentences": told}})):
            yield row.model_copy(update={"id": f"hivau-{name}-c{k}", "source": "hivau"})
        spans: list[tuple[str, Any, Any]] = [
            (f"e{k}", span, text)
            for k, (span, text) in enumerate(zip(facts["events"], facts["events_summary"], strict=True))
        ]
        for key, span, text in [
            *spans,
            *([("whole", None, facts["video_summary"])] if facts.get("video_summary") else []),
        ]:
            asked = (
                "Is something out of place here, and why?"
                if key != "whole"
                else "What happens in this video, and is it out of place?"
            )
            yield Row(
                id=f"hivau-{name}-{key}", source="hivau", prompt="chat", values=chat(asked), answer=str(text).strip(), video=video,
                start=float(span[0]) if span else None, end=float(span[1]) if span else None, normal=normal, task="judgement",
            )  # fmt: skip


def captions(videos: dict[str, Any]) -> Iterator[Row]:
    """{video: {uca, hivau, vaur1}}: what several sets say of a video, each as that set does."""
    for name, sets in videos.items():
        if unknown := sets.keys() - {"uca", "hivau", "vaur1"}:
            raise ValueError(f"{name}: unknown sets {', '.join(sorted(unknown))}")
        if "uca" in sets:
            yield from uca({name: sets["uca"]})
        if "hivau" in sets:
            yield from database({name: sets["hivau"]})
        if "vaur1" in sets:
            yield from (
                r.model_copy(update={"id": f"{r.id}-{name}"})
                for r in vau_bench([{"Video Name": f"{name}.mp4", **sets["vaur1"]}])
            )


def cuva(rows: Iterable[Any]) -> Iterator[Row]:
    """Rows {instruction, visual_input, output, task, ID}; times are written mmss."""
    for row in rows:
        answer = re.sub(r"\b(\d{2})(\d{2})\b", lambda m: f"{60 * int(m[1]) + int(m[2])} s", _text(row, "output"))
        yield Row(
            id=f"cuva-{row.get('ID')}-{row.get('task')}", source="cuva", prompt="chat", values=chat(_text(row, "instruction")),
            answer=answer, video=_text(row, "visual_input"), task=str(row.get("task", "")),
        )  # fmt: skip


def vau_bench(rows: Iterable[Any]) -> Iterator[Row]:
    """CSV rows; Reasoning is a Python dict as text, read as a literal and never run."""
    for number, row in enumerate(rows):
        video = _text(row, "Video Name", "Video", "video", "video_name", "Name")
        reasoning = ast.literal_eval(_text(row, "Reasoning"))
        if not isinstance(reasoning, dict):
            raise ValueError("Reasoning is no dict")
        label = _text(row, "Anomaly Class", "Class")
        parts = [
            str(reasoning.get(k, ""))
            for k in ("Key Evidence", "Detailed Explanation", "Cause and Effect", "Conclusion")
        ]
        times = [row.get(k) for k in ("Start Time", "End Time")]
        start, end = (float(t) if t not in (None, "") else 0.0 for t in times)
        timed = 0 <= start < end  # -1 to -1 or 0 to 0: of the whole clip
        normal = label.lower() == "normal"
        asked = {"description": "Describe this clip.", "analysis": "Is something out of place here, and why?"}
        told = {"description": _text(row, "Description"), "analysis": " ".join(p for p in parts if p)}
        for task in asked:
            yield Row(
                id=f"vau-{number}-{task}", source="vau-bench", prompt="chat", values=chat(asked[task]), answer=told[task],
                video=video, start=start if timed else None, end=end if timed else None, normal=normal, task=task,
            )  # fmt: skip


def llava(rows: Iterable[Any]) -> Iterator[Row]:
    """Rows {id, image or video, conversations: [{from, value}]}, one `<image>` or `<video>` tag a file."""
    for row in rows:
        turns = [(str(t["from"]), str(t["value"])) for t in row["conversations"]]
        turns = turns[1:] if turns and turns[0][0] == "system" else turns
        if len(turns) < 2 or len(turns) % 2 or [w for w, _ in turns] != ["human", "gpt"] * (len(turns) // 2):
            raise ValueError("conversations are not human and gpt in turn")
        images = row.get("image", [])
        images = [images] if isinstance(images, str) else list(images)
        tags = len(re.findall(r"<(image|video)>", " ".join(v for w, v in turns if w == "human")))
        shown = len(images) + ("video" in row)
        if tags != shown:
            raise ValueError(f"{tags} <image> or <video> tags for {shown} files")
        said = [re.sub(r"\s*<(video|image)>\s*", " ", value).strip() for _, value in turns]
        pairs = list(zip(said[::2], said[1::2], strict=True))
        yield Row(
            id=f"llava-{row.get('id')}", source="llava", prompt="chat", values=chat(pairs[-1][0]), answer=pairs[-1][1],
            turns=pairs[:-1], images=images, video=row.get("video"), task="conversation",
        )  # fmt: skip


def verdicts(rows: Iterable[Any]) -> Iterator[Row]:
    """Rows of `vlad verdicts export`: {video, start, end, label, verdict (confirmed or dismissed), note, text, what, who, where}.

    verdict corrected: somebody called an explanation wrong and said what is right, which becomes a caption.
    """
    for row in rows:
        if row["verdict"] == "corrected":
            yield _corrected(row)
            continue
        normal = {"confirmed": False, "dismissed": True}[row["verdict"]]
        note, label = str(row.get("note") or ""), str(row.get("label") or "something unusual")
        if normal:
            answer = {"verdict": "normal", "what": note or "everyday activity", "who": str(row.get("who") or ""),
                      "where": str(row.get("where") or ""), "why": ORDINARY, "text": note or "This appears to be normal."}  # fmt: skip
        else:
            answer = {"verdict": "anomaly", "what": str(row.get("what") or label), "who": str(row.get("who") or ""),
                      "where": str(row.get("where") or ""), "why": note or REASONS.get(label, "a reviewer confirmed it"),
                      "text": str(row.get("text") or f"This appears to show {label}.")}  # fmt: skip
        answer = {k: v[: 300 if k == "text" else 200] for k, v in answer.items()}
        start, end = float(row["start"]), float(row["end"])
        yield Row(
            id=f"verdict-{row['video']}-{start:.2f}", source="verdicts", prompt="explain",
            values={"label": label, "times": f"{start:.1f} s to {end:.1f} s"}, answer=json.dumps(answer, ensure_ascii=False),
            video=str(row["video"]), start=start, end=end, normal=normal, loaded=normal, task="judgement",
        )  # fmt: skip


def _corrected(row: Any) -> Row:
    start, end = float(row["start"]), float(row["end"])
    return Row(
        id=f"corrected-{row['video']}-{start:.2f}", source="verdicts", prompt="caption", values={"times": f"{start:.1f} s to {end:.1f} s"},
        answer=json.dumps({"text": str(row["right"])[:300]}, ensure_ascii=False), video=str(row["video"]), start=start, end=end, task="caption",
    )  # fmt: skip


READERS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "hivau": hivau, "hivau-database": database, "captions": captions, "uca": uca, "cuva": cuva, "vau-bench": vau_bench, "llava": llava, "verdicts": verdicts,
}  # fmt: skip


BY_VIDEO = ("uca", "hivau-database", "captions")  # {video: facts} in place of a list


def kind_of(source: Path, first: Any) -> str:
    """What a file holds, by its first row. Raises InputError that lists the kinds."""
    keys = set(first) if isinstance(first, dict) else set()
    signs = {
        "hivau": {"anwser"}, "llava": {"conversations"}, "cuva": {"visual_input"}, "vau-bench": {"Reasoning"}, "uca": {"timestamps"},
        "verdicts": {"verdict", "video"}, "hivau-database": {"clips_caption", "events_summary"},
    }  # fmt: skip
    for kind, wanted in signs.items():
        if wanted <= keys:
            return kind
    if keys and keys <= {"uca", "hivau", "vaur1"}:
        return "captions"
    raise InputError(f"{source}: what kind of data is this? say --kind, one of {', '.join(READERS)}")


def read_source(source: Path, kind: str) -> tuple[str, list[Any]]:
    """The kind of a file, and its rows each alone, so that a bad one costs only itself. Raises InputError."""
    try:
        text = source.read_text(encoding="utf-8-sig")
        if source.suffix == ".csv":
            rows: list[Any] = list(csv.DictReader(text.splitlines()))
        elif source.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            whole = json.loads(text)
            rows = whole if isinstance(whole, list) else [{k: v} for k, v in whole.items()]
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise InputError(f"{source}: cannot be read ({error})") from None
    if not rows:
        raise InputError(f"{source}: holds no row")
    first = rows[0]
    inner = next(iter(first.values())) if isinstance(first, dict) and len(first) == 1 else first
    return kind or kind_of(source, inner), rows
