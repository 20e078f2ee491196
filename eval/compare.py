"""Two templates on the same segments: which one answers better, by how much, and what both said.

    vlad prompts compare A B --cases FILE [--repeat K] [--prompts DIR] [--html FILE] [--require not-worse|better] [--set KEY=VALUE]

In: templates by name or file; cases, a JSONL of {"analysis": NAME.json, "segment": 1, "clip": PATH, "truth": {"verdict", "category",
"who", "what", "where"}} (clip and truth may be missing), or a folder of analyses. Out: a table and a page with both answers side by side.
Exit status 1 where B is worse by its interval, or is not better by it with --require better: for CI.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader
from rich.progress import track as bar
from rich.table import Table

from vlad.config import Settings, make_settings
from vlad.errors import InputError, SettingsError, TemplateError
from vlad.explainers import load_engine
from vlad.explainers.engine import Engine
from vlad.explainers.explain import PromptedExplainer
from vlad.pipeline import check_clip
from vlad.prompting import Prompt, load_prompt, read_prompt
from vlad.report import from_json, picture
from vlad.types import Analysis, Explanation, Segment
from vlad.video import frames_at

from .answers import ELEMENTS
from .explanations import recall
from .metrics import Figure, bootstrap
from .verb import show_table

UNREADABLE = "answer: "  # how a note on an answer that breaks its schema begins
SHOWN = 240  # pixels


@dataclass(frozen=True)
class Case:
    """A segment to be explained, and what is true of it: some of verdict, category, who, what, where."""

    analysis: Analysis
    segment: Segment
    truth: Mapping[str, str]


def read_cases(path: Path) -> list[Case]:
    """The cases of a file or folder. Raises InputError that names the line."""
    if path.is_dir():
        found = [from_json(p.read_text(encoding="utf-8")) for p in sorted(path.glob("*.json"))]
        return _there([Case(a, s, {}) for a in found for s in a.segments], path)
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    cases = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            analysis = from_json((path.parent / row["analysis"]).read_text(encoding="utf-8"))
            segment = analysis.segments[int(row.get("segment", 1)) - 1]
            truth = {str(k): str(v) for k, v in dict(row.get("truth", {})).items()}
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"{path}: line {number}: {type(error).__name__} {error}") from None
        unknown = sorted(set(truth) - {"verdict", "category", *ELEMENTS})
        if unknown:
            raise InputError(f"{path}: line {number}: truth: unknown {unknown}")
        clip = row.get("clip")
        analysis = replace(analysis, video=replace(analysis.video, path=str(path.parent / clip))) if clip else analysis
        cases.append(Case(analysis, segment, truth))
    return _there(cases, path)


def _there(cases: list[Case], path: Path) -> list[Case]:
    if not cases:
        raise InputError(f"{path}: no case in it")
    for case in cases:
        check_clip(case.analysis)
    return cases


def readable(said: Explanation) -> bool:
    """Whether the answer kept to the template's schema."""
    return not any(n.startswith(UNREADABLE) for n in said.notes)


def mark(said: Explanation, truth: Mapping[str, str]) -> float:
    """How right an answer is, 0 to 1: the mean of verdict, category and elements, as far as the truth tells them; else its readability."""
    parts = [float(said.verdict == truth["verdict"])] if "verdict" in truth else []
    words = " ".join([said.text, *said.fields.values()])
    if "category" in truth:
        parts.append(float(truth["category"].lower() in words.lower()))
    for name in ELEMENTS:
        share = recall(truth.get(name, ""), words)
        parts += [] if np.isnan(share) else [share]
    return float(np.mean(parts)) if parts else float(readable(said))


def answers(
    engine: Engine, prompt: Prompt, cases: Sequence[Case], repeat: int, settings: Settings
) -> list[list[Explanation]]:
    """`repeat` answers to each case."""
    explainer = PromptedExplainer(engine, prompt, settings)
    found = []
    for case in bar(cases, prompt.id, transient=True):
        said = next((e.text for e in case.analysis.explanations if e.segment == case.segment), "")
        given = [case.segment], [{"said": said}]
        found.append([
            explainer(case.analysis.video, case.analysis.track, given[0], values=given[1])[0] for _ in range(repeat)
        ])  # fmt: skip
    return found


def marks(told: Sequence[Sequence[Explanation]], cases: Sequence[Case]) -> list[float]:
    """The mean mark of each case's answers."""
    return [float(np.mean([mark(e, c.truth) for e in own])) for own, c in zip(told, cases, strict=True)]


def find_prompt(name: str, folder: Path | None) -> Prompt:
    """A template by name, or by a file that ends in .md. Raises TemplateError."""
    return read_prompt(Path(name)) if name.endswith(".md") else load_prompt(name, folder)


def page(
    cases: Sequence[Case], a: Prompt, b: Prompt, told: Sequence[Any], lines: Sequence[str], settings: Settings
) -> str:
    """Both answers of every case side by side, one page that needs no network."""
    environment = Environment(
        loader=PackageLoader("vlad.eval", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    rows = []
    for case, first, second in zip(cases, *told, strict=True):
        times = list(first[0].times)
        frames = frames_at(case.analysis.video.path, times, settings, size=SHOWN) if times else []
        rows.append({
            "name": Path(case.analysis.video.path).name, "segment": case.segment, "truth": case.truth,
            "frames": [picture(f) for f in frames],
            "sides": [{"said": e[0], "mark": float(np.mean([mark(x, case.truth) for x in e]))} for e in (first, second)],
        })  # fmt: skip
    return environment.get_template("compare.html").render(rows=rows, prompts=(a, b), lines=lines)


def summary(a: Sequence[float], b: Sequence[float], control: Sequence[float]) -> dict[str, Figure]:
    """Marks of A, of B, of B's answers given to other segments, and B less A, case by case."""

    def of(values: Sequence[float]) -> Figure:
        return bootstrap(list(values), lambda some: float(np.mean(some)))

    pairs = list(zip(a, b, strict=True))
    return {
        "A": of(a), "B": of(b), "B on other segments": of(control),
        "B less A": bootstrap(pairs, lambda some: float(np.mean([y - x for x, y in some]))),
    }  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """`vlad prompts compare`; 1 where B is worse. Raises VladError."""
    parser = argparse.ArgumentParser(prog="vlad prompts compare")
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument(
        "--repeat", type=int, default=1, help="answers to each case; more than one where templates sample"
    )
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--html", type=Path, default=Path("compare.html"))
    parser.add_argument("--require", choices=("not-worse", "better"), default="not-worse")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(list(argv))
    try:
        changes = {k: yaml.safe_load(v) for k, v in (pair.split("=", 1) for pair in given.set)}
    except (ValueError, yaml.YAMLError):
        raise SettingsError(f"--set {' '.join(given.set)}: expected KEY=VALUE") from None
    if given.repeat < 1:
        raise SettingsError(f"--repeat {given.repeat}: expected 1 or more")
    settings = make_settings(given.preset, **changes)
    a, b = find_prompt(given.a, given.prompts), find_prompt(given.b, given.prompts)
    for prompt in (a, b):
        if "times" not in prompt.defaults:
            raise TemplateError(f"{prompt.path}: is shown no frames of a segment, so there is nothing to compare")
    cases = read_cases(given.cases)
    engine = load_engine(settings)
    told = [answers(engine, p, cases, given.repeat, settings) for p in (a, b)]
    moved = [told[1][i - 1] for i in range(len(cases))]
    figures = summary(marks(told[0], cases), marks(told[1], cases), marks(moved, cases))
    shares = [float(np.mean([readable(e) for own in side for e in own])) for side in told]
    difference = figures["B less A"]
    worse = difference.high < 0 or (given.require == "better" and difference.low <= 0)
    table = Table("", "mark, 0 to 1", title=f"A {a.id}, B {b.id}: {len(cases)} segments, {given.repeat} answers each")
    for name, figure in figures.items():
        table.add_row(name, str(figure))
    table.add_row("readable answers, A and B", f"{shares[0]:.3f}, {shares[1]:.3f}")
    show_table(table, width=110)
    verdict = (
        "B is worse"
        if difference.high < 0
        else "B is better"
        if difference.low > 0
        else "no difference that the interval shows"
    )
    lines = [f"{k}: {f}" for k, f in figures.items()] + [f"readable answers: {shares[0]:.3f}, {shares[1]:.3f}", verdict]
    given.html.write_text(page(cases, a, b, told, lines, settings), encoding="utf-8")
    print(f"{verdict}; {given.html}")
    return int(worse)
