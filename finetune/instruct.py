"""Instruction data of every shape to one: rows that templates are filled and models are tuned with.

    vlad instruct SOURCE -o FILE.jsonl [--kind hivau|hivau-database|captions|uca|cuva|vau-bench|llava|verdicts] [--media FOLDER] [--tests]
    vlad instruct sim -o FILE.jsonl [--count 2000]

In: HIVAU-70k (.jsonl of prompt and anwser), UCA (.json of timestamps and sentences), CUVA (.json of instruction and output), VAU-Bench
(.csv), LLaVA conversations (.json), reviewers' verdicts (.jsonl of `vlad verdicts export`), or the simulated world. Out: one row a question.
Videos of UCF-Crime's test set are left out by name, wherever they come from (UCA's training split holds 214 of them), and counted; --tests keeps them, for
who cross-validates on them. Every row that cannot be used is named, all of them at once.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.errors import InputError
from vlad.sim import ANOMALIES
from vlad.sim.captions import answer_of

from .extract import VIDEOS
from .recipe import LlavaRecipe, load_recipe
from .rows import SHOWN, Found, Row, bare, fault_of, is_test, read_rows, ucf_test, xd_test
from .sources import (
    BY_VIDEO,
    READERS,
    captions,
    chat,
    cuva,
    database,
    hivau,
    kind_of,
    llava,
    read_source,
    uca,
    vau_bench,
    verdicts,
)
from .spans import Span, draw_span, draw_world, suggested

__all__ = [
    "READERS", "Found", "Row", "bare", "captions", "convert", "cuva", "database", "fault_of", "hivau", "is_test", "kind_of", "llava", "read_rows",
    "read_source", "run", "simulated", "uca", "ucf_test", "vau_bench", "verdicts", "xd_test",
]  # fmt: skip

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
NONE = "There appears to be no anomaly in this clip."
LOADED = (
    "Describe the anomaly.",
    "What crime is being committed?",
    "Point out the abnormal actions.",
)  # of a normal clip


def convert(source: Path, kind: str = "", media: Path | None = None, *, tests: bool = False) -> Found:
    """Rows of a file of one of the kinds. media: where its videos and images lie; with it, missing ones are faults. tests: test videos are kept. Raises InputError."""
    kind, rows = read_source(source, kind)
    if kind not in READERS:
        raise InputError(f"--kind {kind}: unknown; choose one of {', '.join(READERS)}")
    made = READERS[kind]
    found = Found()
    # of two files of one name the first by its path; features and labels may lie beside a clip under its name
    paths = sorted(p for p in media.rglob("*") if p.suffix.lower() in VIDEOS | PICTURES) if media else []
    there = {bare(p.name): p for p in reversed(paths) if p.is_file()}
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
            if not tests and any(map(is_test, shown)):
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


def _loaded(rows: Sequence[Row]) -> list[Row]:
    """For each normal clip that no loaded question is asked of, one, whose answer is that there is no anomaly: what teaches refusal."""
    asked = {(r.video, *r.images) for r in rows if r.loaded}
    normal = {(r.video, *r.images): r for r in rows if r.normal and (r.video, *r.images) not in asked}
    return [
        r.model_copy(update={
            "id": f"{r.id}-loaded", "prompt": "chat", "values": chat(LOADED[i % len(LOADED)]), "answer": NONE, "loaded": True, "turns": [],
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


def run(
    source: str, out: Path, *, kind: str, media: Path | None, count: int, first: int, tests: bool = False
) -> list[str]:
    """Write the rows; what was found, a line each. Raises InputError where there is nothing to write."""
    if source == "sim":
        found = Found(simulated(count, out.with_suffix(""), first))
    else:
        found = convert(Path(source), kind, media, tests=tests)
    rows = found.rows
    lines = [f"{found.left_out} rows of test videos of UCF-Crime and XD-Violence left out"] if found.left_out else []
    if found.doubtful:
        lines.append(f"warning: the paths of {found.doubtful} rows say test; measure nothing on what was trained on")
    kept = sum(any(map(is_test, [*r.images, *([r.video] if r.video else [])])) for r in rows)
    if kept:
        lines.append(f"warning: {kept} rows are of test videos; what is tuned on them is measured on none of them")
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
