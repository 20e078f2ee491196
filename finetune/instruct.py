"""Instruction data of every shape to one: rows that templates are filled and models are tuned with.

    vlad instruct SOURCE -o FILE.jsonl [--kind hivau|hivau-database|captions|uca|cuva|vau-bench|llava|verdicts] [--media FOLDER]
    vlad instruct sim -o FILE.jsonl [--count 2000]

In: HIVAU-70k (.jsonl of prompt and anwser), UCA (.json of timestamps and sentences), CUVA (.json of instruction and output), VAU-Bench
(.csv), LLaVA conversations (.json), reviewers' verdicts (.jsonl of `vlad verdicts export`), or the simulated world. Out: one row a question.
Videos of UCF-Crime's test set are left out by name, wherever they come from (UCA's training split holds 214 of them), and counted. Every
row that cannot be used is named, all of them at once.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from vlad.errors import InputError, TemplateError
from vlad.prompting import load_prompt
from vlad.sim import ANOMALIES
from vlad.sim.captions import ORDINARY, REASONS, answer_of

from .recipe import LlavaRecipe, load_recipe
from .spans import Span, draw_span, draw_world, suggested

SHOWN = 50  # faults that are named
NONE = "There appears to be no anomaly in this clip."
LOADED = (
    "Describe the anomaly.",
    "What crime is being committed?",
    "Point out the abnormal actions.",
)  # of a normal clip


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


def _chat(question: str) -> dict[str, str]:
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
            id=f"hivau-{row.get('id', video)}", source="hivau", prompt="chat", values=_chat(asked), answer=answer, video=video,
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
        yield from uca({name: {"timestamps": clips, "sentences": told}})
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
                id=f"hivau-{name}-{key}", source="hivau", prompt="chat", values=_chat(asked), answer=str(text).strip(), video=video,
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
            id=f"cuva-{row.get('ID')}-{row.get('task')}", source="cuva", prompt="chat", values=_chat(_text(row, "instruction")),
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
        timed = all(row.get(k) not in (None, "", "-1") for k in ("Start Time", "End Time"))
        start, end = (float(row[k]) if timed else None for k in ("Start Time", "End Time"))
        normal = label.lower() == "normal"
        asked = {"description": "Describe this clip.", "analysis": "Is something out of place here, and why?"}
        told = {"description": _text(row, "Description"), "analysis": " ".join(p for p in parts if p)}
        for task in asked:
            yield Row(
                id=f"vau-{number}-{task}", source="vau-bench", prompt="chat", values=_chat(asked[task]), answer=told[task],
                video=video, start=start, end=end, normal=normal, task=task,
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
            id=f"llava-{row.get('id')}", source="llava", prompt="chat", values=_chat(pairs[-1][0]), answer=pairs[-1][1],
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


def convert(source: Path, kind: str = "", media: Path | None = None) -> Found:
    """Rows of a file of one of the kinds. media: where its videos and images lie; with it, missing ones are faults. Raises InputError."""
    kind, rows = read_source(source, kind)
    if kind not in READERS:
        raise InputError(f"--kind {kind}: unknown; choose one of {', '.join(READERS)}")
    made = READERS[kind]
    found = Found()
    there = {bare(p.name): p for p in media.rglob("*") if p.is_file()} if media else {}
    for number, row in enumerate(rows, 1):
        try:
            new = list(made(row if kind in BY_VIDEO else [row]))
        except (KeyError, ValueError, TypeError, SyntaxError, AttributeError, MemoryError, RecursionError) as error:
            found.faults.append(
                f"row {number}: {type(error).__name__} {str(error).splitlines()[0][:160] if str(error) else ''}"
            )
            continue
        for one in new:
            shown = [*one.images, *([one.video] if one.video else [])]
            if any(map(is_test, shown)):
                found.left_out += 1
                continue
            found.doubtful += any(re.search(r"(^|[/\\])test(ing)?[/\\]", name, re.I) is not None for name in shown)
            fault = _placed(one, media, there) or fault_of(one)
            if fault:
                found.faults.append(f"row {number} ({one.id}): {fault}")
            else:
                found.rows.append(one)
    found.rows += _loaded(found.rows)
    return found


def _placed(row: Row, media: Path | None, there: dict[str, Path]) -> str:
    """Turn a row's file names to paths under `media`; what is missing, '' for nothing."""
    if media is None:
        return ""

    def place(name: str) -> Path | None:
        straight = media / name
        inside = straight.resolve().is_relative_to(media.resolve())
        return straight if inside and straight.is_file() else there.get(bare(name))

    missing = [n for n in [*row.images, *([row.video] if row.video else [])] if place(n) is None]
    if missing:
        return f"missing in {media}: {', '.join(missing[:3])}"
    row.images = [str(place(n)) for n in row.images]
    row.video = str(place(row.video)) if row.video else None
    return ""


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


def _loaded(rows: Sequence[Row]) -> list[Row]:
    """For each normal clip that no loaded question is asked of, one, whose answer is that there is no anomaly: what teaches refusal."""
    asked = {(r.video, *r.images) for r in rows if r.loaded}
    normal = {(r.video, *r.images): r for r in rows if r.normal and (r.video, *r.images) not in asked}
    return [
        r.model_copy(update={
            "id": f"{r.id}-loaded", "prompt": "chat", "values": _chat(LOADED[i % len(LOADED)]), "answer": NONE, "loaded": True, "turns": [],
            "task": "loaded",
        })
        for i, r in enumerate(normal.values())
    ]  # fmt: skip


def simulated(count: int, folder: Path, first: int = 0, recipe: LlavaRecipe | None = None) -> list[Row]:
    """`count` questions about rendered scenes of training seeds from `first` on, their frames as JPEGs in `folder`."""
    recipe = recipe or load_recipe().llava
    folder.mkdir(parents=True, exist_ok=True)
    return [_drawn(seed, recipe, folder) for seed in range(first, first + count)]


TASKS = {"explain": 0.45, "verify": 0.15, "caption": 0.1, "chat": 0.2, "summarise": 0.1}


def task_of(rng: np.random.Generator) -> str:
    """One of TASKS, as often as it says."""
    return str(rng.choice(list(TASKS), p=list(TASKS.values())))


def _drawn(seed: int, recipe: LlavaRecipe, folder: Path) -> Row:
    rng = np.random.default_rng([recipe.seed, seed, 41])
    task = task_of(rng)
    if task == "summarise":
        values, answer = noted(seed, recipe, rng)
        return Row(id=f"sim-{seed}", source="sim", prompt=task, values=values, answer=answer, task=task)
    pictures, span = draw_span(seed, recipe, None)
    images = []
    for k, picture in enumerate(pictures):
        path = folder / f"{seed}-{k}.jpg"
        Image.fromarray(picture).save(path, quality=92)
        images.append(str(path))
    values, answer, turns, loaded = asked_of(span, task, suggested(span.label, recipe, rng), rng)
    normal = span.truth["verdict"] == "normal"
    return Row(
        id=f"sim-{seed}", source="sim", prompt=task, values=values, answer=answer, turns=turns, images=images, normal=normal,
        loaded=loaded and normal, task=task,
    )  # fmt: skip


Asked = tuple[dict[str, str], str, list[tuple[str, str]], bool]


def asked_of(span: Span, task: str, hint: str, rng: np.random.Generator) -> Asked:
    """(values, answer, turns before, whether a suggestion or question may be loaded) of one question about a span by a template. hint: the
    class that a detector suggests, '' for none."""
    truth, shown = span.truth, ", ".join(f"{t:.1f} s" for t in span.times)
    if task == "explain":
        return {"label": hint, "times": shown}, json.dumps(truth), [], bool(hint)
    if task == "caption":
        return {"times": shown}, json.dumps({"text": truth["text"]}), [], False
    if task == "verify":
        right = rng.random() < 0.5 and span.label != ""
        other = str(rng.choice([a for a in ANOMALIES if a != span.label]))
        said = truth["text"] if right else f"This appears to show {other}."
        verdict = "anomaly" if right else "normal" if truth["verdict"] == "normal" else "unclear"
        why = truth["why"] if verdict != "unclear" else "the frames show something else"
        return (
            {"said": said, "times": shown, "label": hint},
            json.dumps({"verdict": verdict, "why": why, "text": truth["text"]}),
            [],
            True,
        )
    order = rng.permutation(len(span.asked))[: int(rng.integers(1, 4))]
    *before, (question, answer) = [span.asked[int(i)] for i in order]
    values = {"question": question, "times": shown, "said": truth["text"] if rng.random() < 0.5 else ""}
    return values, answer, before, question in LOADED


def noted(seed: int, recipe: LlavaRecipe, rng: np.random.Generator) -> tuple[dict[str, str], str]:
    """Notes on up to three spans as the template summarise takes them, and their summary."""
    duration, notes, told = int(rng.integers(20, 180)), [], []
    starts = sorted(rng.uniform(0, duration - 8, int(rng.integers(0, 4))).tolist())
    for k, start in enumerate(starts):
        world, _, _ = draw_world(50_000 + (3 * seed + k) % 40_000, recipe, rng)
        truth = answer_of(next((e for e in world.events if e.anomalous), None), world.scene.place)
        end = start + float(rng.uniform(2, 8))
        notes.append(f"{start:.1f}-{end:.1f} s, {truth['verdict']}: {truth['text']}")
        told.append(f"At {start:.1f} s: {truth['text']}")
    answer = " ".join(told) or "Nothing was flagged."
    values = {"segments": "\n".join(notes) or "none", "duration": str(duration)}
    return values, json.dumps({"text": answer[:600]})


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
        raise InputError(f"{path}: {_listed(faults) or 'no row'}")
    return rows


def _listed(faults: Sequence[str]) -> str:
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return f"{len(faults)} bad rows: {'; '.join(faults[:SHOWN])}{more}" if faults else ""


def run(source: str, out: Path, *, kind: str, media: Path | None, count: int, first: int) -> list[str]:
    """Write the rows; what was found, a line each. Raises InputError where there is nothing to write."""
    if source == "sim":
        found = Found(simulated(count, out.with_suffix(""), first))
    else:
        found = convert(Path(source), kind, media)
    rows = found.rows
    lines = [f"{found.left_out} rows of test videos of UCF-Crime and XD-Violence left out"] if found.left_out else []
    if found.doubtful:
        lines.append(f"warning: the paths of {found.doubtful} rows say test; measure nothing on what was trained on")
    lines += [f"bad: {fault}" for fault in found.faults[:SHOWN]]
    lines += [f"and {len(found.faults) - SHOWN} more bad rows"] if len(found.faults) > SHOWN else []
    if not rows:
        raise InputError(f"{source}: no usable row; {'; '.join(lines) or 'it is empty'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    part.write_text("".join(r.model_dump_json(exclude_defaults=True) + "\n" for r in rows), encoding="utf-8")
    part.replace(out)
    judged = [r for r in rows if r.normal is not None]
    normal = sum(bool(r.normal) for r in judged) / len(judged) if judged else 0.0
    tasks = ", ".join(f"{t or 'other'} {n}" for t, n in Counter(r.task for r in rows).most_common())
    lines.append(f"{len(rows)} rows in {out}: {tasks}")
    lines.append(f"{normal:.0%} of those that say so are normal, {sum(r.loaded for r in rows)} questions are loaded")
    if normal < 1 / 3:
        lines.append(
            "warning: less than a third is normal; a model tuned on this sees anomalies everywhere: add normal clips"
        )
    return lines
