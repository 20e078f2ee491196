"""How far a judge can be trusted: its marks beside those that a person gave to the same sixty answers.

    vlad eval judge server=URL model=NAME data=FOLDER [work=runs/judge]

In: a model behind an OpenAI-compatible server, as `vlad eval explanations --judge` asks it; judgements.json, and the sentences that it names from DATA. Out: a
table and WORK/judge-MODEL.json: of each mark how often the judge gives the person's, Cohen's kappa with squared weights (Cohen 1968; 0: no better than
chance), and what the commonest mark alone would agree, with 95 % intervals over answers. An answer that cannot be read counts as no mark.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import numpy as np
from rich.table import Table
from sklearn.metrics import cohen_kappa_score

from vlad.errors import InputError, SettingsError

from .metrics import bootstrap
from .verb import options_of, show_table
from .words import MARKS, marks_of

OPTIONS = {"server": "", "model": "", "data": os.environ.get("VLAD_DATA", ""), "work": "runs/judge"}
Pair = tuple[int, int]


def items(data: Path) -> tuple[list[tuple[str, str]], list[dict[str, int]]]:
    """Pairs (reference, answer), and the person's marks of each. Raises InputError where the sentences are not there."""
    source = data / "frames" / "ucf_captions.json"
    try:
        told = json.loads(source.read_text())
        rows = json.loads((files("vlad.eval") / "judgements.json").read_text())["items"]

        def sentence(key: str) -> str:
            video, number = key.rsplit(" ", 1)
            return str(told[video]["uca"]["sentences"][int(number)]).strip()

        pairs = [(sentence(r["reference"]), r.get("answer") or sentence(r["answer_of"])) for r in rows]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{source}: does not hold the sentences that were judged ({error})") from None
    return pairs, [{name: int(r[name]) for name in MARKS} for r in rows]


def agreed(pairs: Sequence[Pair]) -> float:
    """Share of answers with the same mark."""
    return float(np.mean([a == b for a, b in pairs])) if pairs else float("nan")


def kappa(pairs: Sequence[Pair]) -> float:
    """Cohen's kappa with squared weights; 0 where the judge gives one mark only."""
    if len(set(pairs)) < 2 or len({b for _, b in pairs}) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of draws in which a mark is missing
        return float(np.nan_to_num(cohen_kappa_score(*zip(*pairs, strict=True), labels=[0, 1, 2], weights="quadratic")))


def main(argv: Sequence[str]) -> int:
    """`vlad eval judge`. Raises SettingsError for wrong options, ModelError where the server is away."""
    options = options_of("judge", argv, OPTIONS)
    if not (options["server"] and options["model"] and options["data"]):
        raise SettingsError("eval judge: name server=URL, model=NAME and data=FOLDER")
    work, model = Path(options["work"]), options["model"]
    work.mkdir(parents=True, exist_ok=True)
    pairs, ours = items(Path(options["data"]))
    theirs = marks_of(pairs, options["server"], model, work / "cache.json")
    read = [(a, b) for a, b in zip(ours, theirs, strict=True) if b is not None]
    short = Path(model).name
    table = Table(
        "mark",
        "agree",
        "kappa",
        "the commonest mark agrees",
        "means: person, judge",
        title=f"{short}: {len(read)} of {len(pairs)} answers could be read",
    )
    facts: dict[str, object] = {"model": short, "read": len(read), "of": len(pairs)}
    for name in MARKS:
        of = [(a[name], b[name]) for a, b in read]
        common = Counter(a[name] for a in ours).most_common(1)[0]
        told = [bootstrap(of, agreed), bootstrap(of, kappa)] if of else []
        means = [float(np.mean([pair[k] for pair in of])) for k in (0, 1)] if of else []
        table.add_row(
            name,
            *(map(str, told) if told else ("", "")),
            f"{common[1] / len(ours):.3f} ({common[0]})",
            ", ".join(f"{m:.2f}" for m in means),
        )
        facts[name] = (
            {"agree": asdict(told[0]), "kappa": asdict(told[1]), "constant": common[1] / len(ours)} if told else None
        )
    show_table(table)
    (work / f"judge-{re.sub(r'[^A-Za-z0-9.-]', '-', short)}.json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0
