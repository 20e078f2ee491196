"""What explanations are worth, beside what needs no sight: a constant answer, and true answers given to the wrong clip.

    vlad eval explanations --predictions FILE --references FILE [--against FILE] [--judge URL --judge-model NAME] [--json]

In: files as `answers.py` reads them; `--predictions none` shows the controls alone. Out: a table a task: each metric with its 95 %
bootstrap interval over items, beside both controls, and with --against the paired difference. A metric that does not beat the shuffled
control is marked: what it measures is wording. Tasks are never pooled. Works offline, but for the judge.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from vlad.config import make_settings
from vlad.errors import InputError
from vlad.explainers.engine import read_json
from vlad.explainers.explain import make_request
from vlad.explainers.server import load_server
from vlad.prompting import load_prompt
from vlad.segments import iou

from .answers import ELEMENTS, Item, read, refuses, stated
from .explanations import recall
from .metrics import calibration_error
from .text import Bleu, CiderD, rouge_l
from .verb import show_table

Floats = npt.NDArray[np.float64]
ROUNDS = 1000
TOGETHER = 8  # answers a judge is asked before its marks are kept
MARKS = ("event", "who", "where", "invented")  # of the template judge


@dataclass(frozen=True)
class Metric:
    """rows: one of statistics an item, [N, S], nan where it has none. score: rows to a figure. least: smaller is better."""

    rows: Floats
    score: Callable[[Floats], float]
    least: bool = False


def mean(rows: Floats) -> float:
    """Of the items that have the figure; nan for none."""
    kept = rows[~np.isnan(rows[:, 0]), 0]
    return float(kept.mean()) if len(kept) else float("nan")


def said_normal(item: Item) -> bool:
    """By its verdict, else by its words."""
    return item.normal if item.normal is not None else refuses(item.text)


def all_words(item: Item) -> str:
    """The text with what the fields add."""
    return " ".join([item.text, *item.elements.values()])


def verdict_error(rows: Floats) -> float:
    """Calibration error of rows [N, 2]: probability of anomaly, truth."""
    rows = rows[~np.isnan(rows).any(axis=1)]
    return calibration_error(rows[:, 0], rows[:, 1])


def metrics(said: Sequence[Item], truth: Sequence[Item], cider: CiderD, bleu: Bleu) -> dict[str, Metric]:
    """Every figure that the references allow, on items that belong together."""
    texts, references = [s.text for s in said], [t.text for t in truth]
    nan = float("nan")

    def column(values: Sequence[float]) -> Floats:
        return np.array(values, np.float64).reshape(-1, 1)

    found = {
        "BLEU": Metric(bleu.statistics(texts, references), bleu.score),
        "ROUGE-L": Metric(column(rouge_l(texts, references).tolist()), mean),
        "CIDEr-D": Metric(column(cider(texts).tolist()), mean),
    }
    for name in ELEMENTS:
        values = [recall(t.elements.get(name, ""), all_words(s)) for s, t in zip(said, truth, strict=True)]
        found[f"{name} recalled"] = Metric(column(values), mean)
    right = [float(_named(s, t)) if t.category and not t.normal else nan for s, t in zip(said, truth, strict=True)]
    found["category"] = Metric(column(right), mean)
    overlap = [
        nan if t.span is None else iou(s.span or stated(s.text) or (0.0, 1e-9), t.span) for s, t in zip(said, truth, strict=True)
    ]  # fmt: skip
    found["temporal IoU"] = Metric(column(overlap), mean)
    normal = [float(said_normal(s)) if t.normal else nan for s, t in zip(said, truth, strict=True)]
    found["refusal on normal clips"] = Metric(column(normal), mean)
    found["invented events"] = Metric(column([1 - n for n in normal]), mean, least=True)
    judged = [nan if t.normal is None else float(said_normal(s) == t.normal) for s, t in zip(said, truth, strict=True)]
    found["verdict right"] = Metric(column(judged), mean)
    pairs = [
        (nan, nan) if s.probability is None or t.normal is None else (s.probability, float(not t.normal))
        for s, t in zip(said, truth, strict=True)
    ]
    found["calibration error of the verdict"] = Metric(
        np.array(pairs, np.float64).reshape(-1, 2), verdict_error, least=True
    )
    return {k: m for k, m in found.items() if not np.isnan(m.rows).all()}


def _named(said: Item, truth: Item) -> bool:
    return truth.category == said.category if said.category else truth.category in said.text.lower()


def constant(truth: Sequence[Item]) -> list[Item]:
    """The commonest reference of the task, given to every clip."""
    common = Counter((t.text, t.category, t.normal) for t in truth).most_common(1)[0][0]
    chosen = next(t for t in truth if (t.text, t.category, t.normal) == common)
    return [replace(chosen, key=t.key, probability=None) for t in truth]


def shuffled(truth: Sequence[Item]) -> list[Item]:
    """Every reference given to another clip: what right wording earns without sight."""
    order = np.random.default_rng(0).permutation(len(truth))
    moved: list[Item] = [truth[0]] * len(truth)
    for place, source in zip(order, np.roll(order, 1), strict=True):
        moved[int(place)] = replace(truth[int(source)], key=truth[int(place)].key, probability=None)
    return moved


@dataclass(frozen=True)
class Line:
    """One metric of a task: figures with intervals, the controls', the paired differences. None where there is none."""

    metric: str
    items: int
    ours: tuple[float, float, float] | None
    constant: tuple[float, float, float] | None
    shuffled: tuple[float, float, float] | None
    over_shuffled: tuple[float, float, float] | None
    over_other: tuple[float, float, float] | None

    @property
    def blind(self) -> bool:
        """Whether the figure does not beat the shuffled control by its interval."""
        return self.over_shuffled is not None and self.over_shuffled[1] <= 0


def compare(
    truth: Sequence[Item],
    said: Sequence[Item] | None,
    other: Sequence[Item] | None = None,
    *,
    rounds: int = ROUNDS,
    groups: Sequence[str] | None = None,
) -> list[Line]:
    """Every metric of one task. said, other: in the order of `truth`. groups: what each is of (a video), drawn together; None: each is drawn alone."""
    cider, bleu = CiderD([t.text for t in truth]), Bleu()
    answers = {"constant": constant(truth), "shuffled": shuffled(truth)}
    answers |= {k: list(v) for k, v in (("ours", said), ("other", other)) if v is not None}
    found = {k: metrics(v, truth, cider, bleu) for k, v in answers.items()}
    rng = np.random.default_rng(0)
    places: dict[str, list[int]] = {}
    for i in range(len(truth)):
        places.setdefault(groups[i] if groups else str(i), []).append(i)
    of = list(places.values())
    draws = [np.array([i for k in rng.integers(0, len(of), len(of)) for i in of[k]]) for _ in range(rounds)]
    names = list(dict.fromkeys(n for of in ("ours", "constant") if of in found for n in found[of]))
    return [_line(name, {k: m[name] for k, m in found.items() if name in m}, draws) for name in names]


def _line(name: str, of: Mapping[str, Metric], draws: Sequence[npt.NDArray[np.int64]]) -> Line:
    some = next(iter(of.values()))
    values = {k: np.array([m.score(m.rows[d]) for d in draws]) for k, m in of.items()}
    whole = {k: m.score(m.rows) for k, m in of.items()}
    sign = -1.0 if some.least else 1.0

    def interval(value: float, drawn: Floats) -> tuple[float, float, float]:
        kept = drawn[~np.isnan(drawn)]
        low, high = np.percentile(kept, [2.5, 97.5]) if len(kept) else (float("nan"), float("nan"))
        return value, float(low), float(high)

    def over(other: str) -> tuple[float, float, float] | None:
        if "ours" not in of or other not in of:
            return None
        return interval(sign * (whole["ours"] - whole[other]), sign * (values["ours"] - values[other]))

    figures = {k: interval(whole[k], values[k]) for k in of}
    counted = of.get("ours", some).rows
    return Line(
        name, int((~np.isnan(counted).any(axis=1)).sum()), figures.get("ours"), figures.get("constant"), figures.get("shuffled"),
        over("shuffled"), over("other"),
    )  # fmt: skip


def paired(truth: Mapping[str, Item], said: Mapping[str, Item], name: str) -> dict[str, Item]:
    """Predictions for every reference. Raises InputError that names those without one."""
    missing = [k for k in truth if k not in said]
    if missing:
        raise InputError(
            f"{name}: no answer for {len(missing)} of {len(truth)} references, such as {missing[0]!r}; keys are id, or video, type and task"
        )
    return {k: said[k] for k in truth}


def marks_of(pairs: Sequence[tuple[str, str]], url: str, model: str, cache: Path) -> list[dict[str, int] | None]:
    """The marks that a model behind a server gives to pairs (reference, answer) by the template `judge`, None for what cannot be read; kept in `cache`, asked once."""
    settings = make_settings(server=url, explainer=model, server_seconds=600)
    engine, prompt = load_server(settings), load_prompt("judge")
    kept: dict[str, Any] = json.loads(cache.read_text()) if cache.is_file() else {}
    keys = [hashlib.sha256(json.dumps([prompt.hash, model, *p]).encode()).hexdigest() for p in pairs]
    asked = [i for i, k in enumerate(keys) if k not in kept]
    for some in (asked[at : at + TOGETHER] for at in range(0, len(asked), TOGETHER)):
        told = [prompt.tell({"reference": pairs[i][0], "answer": pairs[i][1]}, images=0) for i in some]
        for i, reply in zip(some, engine([make_request(prompt, t, (), settings) for t in told]), strict=True):
            answer = read_json(reply.text)
            kept[keys[i]] = answer if isinstance(answer, dict) and not prompt.faults(answer) else None
        cache.write_text(json.dumps(kept))
    return [kept[k] for k in keys]


def judged(truth: Sequence[Item], said: Sequence[Item], url: str, model: str, cache: Path) -> dict[str, float]:
    """Means of a judge's marks."""
    pairs = [(t.text, all_words(s)) for t, s in zip(truth, said, strict=True)]
    given = marks_of(pairs, url, model, cache)
    marks = [m for m in given if m is not None]
    found = {f"judge: {name}": float(np.mean([m[name] for m in marks])) for name in MARKS if marks}
    return {**found, "judge: answers that could be read": len(marks) / len(given) if given else float("nan")}


def shown(figure: tuple[float, float, float] | None, sign: bool = False) -> str:
    """A figure with its interval."""
    if figure is None or np.isnan(figure[0]):
        return ""
    form = "{:+.3f} [{:+.3f}, {:+.3f}]" if sign else "{:.3f} [{:.3f}, {:.3f}]"
    return form.format(*figure)


def main(argv: Sequence[str]) -> int:
    """`vlad eval explanations`. Raises InputError."""
    parser = argparse.ArgumentParser(prog="vlad eval explanations")
    parser.add_argument("--predictions", required=True, help="file or folder; none shows the controls alone")
    parser.add_argument("--references", type=Path, required=True)
    parser.add_argument("--against", type=Path, help="other predictions, compared item by item")
    parser.add_argument(
        "--judge", default="", metavar="URL", help="an OpenAI-compatible server that marks answers by a rubric"
    )
    parser.add_argument("--judge-model", default="")
    parser.add_argument("--cache", type=Path, default=Path("judge-cache.json"), help="marks that were given before")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(list(argv))
    truth = read(given.references)
    said = None if given.predictions == "none" else paired(truth, read(Path(given.predictions)), given.predictions)
    other = paired(truth, read(given.against), str(given.against)) if given.against else None
    told: dict[str, Any] = {}
    for task in dict.fromkeys(i.task for i in truth.values()):
        keys = [k for k, i in truth.items() if i.task == task]
        own = [truth[k] for k in keys]
        if len(own) < 2:
            continue
        ours = [said[k] for k in keys] if said else None
        lines = compare(own, ours, [other[k] for k in keys] if other else None, rounds=given.rounds)
        marks = judged(own, ours, given.judge, given.judge_model, given.cache) if given.judge and ours else {}
        told[task] = {"items": len(own), "metrics": [vars(line) | {"blind": line.blind} for line in lines], **marks}
        if not given.json:
            show_lines(task, lines, marks, others=other is not None)
    facts = {"bleu": Bleu().signature, "tokenizer": "lower case, runs of a-z and 0-9", "tasks": told}
    if given.json:
        json.dump(facts, sys.stdout, indent=1)
        print()
    else:
        print(f"BLEU: {facts['bleu']}; CIDEr-D's tokenizer: {facts['tokenizer']}; tasks are not pooled")
    return 0


def show_lines(task: str, lines: Sequence[Line], marks: Mapping[str, float], *, others: bool) -> None:
    """Print a task's metrics and a judge's marks; others: with what is over other answers."""
    table = Table(
        "metric",
        "items",
        "figure",
        "constant",
        "shuffled",
        "over shuffled",
        *(["over --against"] if others else []),
        "",
        title=task,
    )
    for line in lines:
        cells = [shown(line.ours), shown(line.constant), shown(line.shuffled), shown(line.over_shuffled, sign=True)]
        cells += [shown(line.over_other, sign=True)] if others else []
        table.add_row(line.metric, str(line.items), *cells, "blind: not above shuffled" if line.blind else "")
    for name, value in marks.items():
        table.add_row(name, "", f"{value:.3f}", *[""] * (len(table.columns) - 3))
    show_table(table, width=170)
