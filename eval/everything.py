"""One page of all that is measured: every head, every set at hand, controls, intervals, curves, what was trained on what.

    vlad eval all [data=FOLDER] [work=runs/all] [only=nano,scorers,clicks,fewshot,normality,calibration,adapter,injection] [quick=false]

In: nothing; real footage from DATA. Out: WORK/all.html, a page that needs no network, and whatever each verb keeps in WORK/VERB; what is there is not made
again where the verb says so. quick: a few videos of each, to see that it runs; its figures mean nothing, and the page says so. A verb that fails costs its
own part of the page.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from jinja2 import Environment, PackageLoader
from rich.table import Table
from rich.text import Text

from vlad.config import make_settings
from vlad.encoder import load_encoder
from vlad.errors import SettingsError, VladError
from vlad.pipeline import versions
from vlad.weights import nano_folder

from .verb import SHOWN, options_of

FEW: Mapping[str, tuple[str, ...]] = {  # what `quick` asks of each verb
    "nano": ("videos=4",),
    "scorers": ("heads=sultani,mil", "seeds=1", "train=12", "select=6", "test=6"),
    "clicks": ("heads=mil", "seeds=1", "train=12", "select=6", "test=6"),
    "fewshot": ("sites=1", "shots=1"),
    "normality": ("sites=1", "models=fill"),
    "calibration": ("normal=6", "validation=6", "rounds=2"),
    "adapter": ("videos=4", "bank=0"),
    "injection": ("videos=2",),
}
SETS = ("nano", "scorers", "clicks", "normality", "calibration")  # verbs that measure on real footage too
OPTIONS = {"data": os.environ.get("VLAD_DATA", ""), "work": "runs/all", "only": ",".join(FEW), "quick": "false"}


@dataclass
class Part:
    """A verb on the page: its command, its tables, its curves by title (PNG), how long it took (s) and what went wrong."""

    name: str
    command: str
    tables: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""


def told(table: Table) -> dict[str, Any]:
    """A table of the terminal as plain words: title, caption, head, rows."""

    def words(value: Any) -> str:
        return Text.from_markup(value).plain if isinstance(value, str) else str(value or "")

    rows = zip(*(list(column.cells) for column in table.columns), strict=True)
    return {
        "title": words(table.title), "caption": words(table.caption), "head": [words(c.header) for c in table.columns],
        "rows": [[words(cell) for cell in row] for row in rows],
    }  # fmt: skip


def run(name: str, verb: Callable[[Sequence[str]], int], options: Mapping[str, str], work: Path) -> Part:
    """One verb, its tables as it shows them; a bar that it misses is no fault of the run."""
    argv = [*(FEW[name] if options["quick"] == "true" else ()), f"work={work / name}"]
    if name in SETS and not (name == "calibration" and not options["data"]):
        argv.append(f"data={options['data']}")
    if name == "clicks":
        argv[-2] = f"work={work / 'scorers'}"  # the same features and heads
    if name in ("clicks", "scorers"):
        argv.append(f"videos={work / 'nano' / 'sim'}")
    part, begin = Part(name, f"vlad eval {name} {' '.join(argv)}"), time.perf_counter()
    SHOWN.clear()
    try:
        verb(argv)
    except (VladError, OSError, ValueError, RuntimeError, SubprocessError) as error:
        part.error = f"{type(error).__name__}: {error}"
    part.tables, part.seconds = [told(table) for table in SHOWN], time.perf_counter() - begin
    return part


def curves(folder: Path) -> dict[str, str]:
    """ROC and PR curves that heads left there, as data URIs by `head, curve`."""
    return {
        f"{path.parent.name}, {path.stem.upper()}": f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        for path in sorted(folder.glob("*-0/*.png"))
        if path.stem in ("roc", "pr")
    }


def trained(folder: Path) -> list[dict[str, Any]]:
    """Of each head in a folder what it was trained on: videos, selection, parameters, and a hash of the features."""
    found = []
    for path in sorted(folder.glob("*/result.json")):
        facts = json.loads(path.read_text())
        recipe = facts["recipe"]
        found.append(
            {"head": path.parent.name, "train": facts["train"], "select": len(facts["select"]), "parameters": facts["parameters"],
             "clicks": bool(recipe["data"].get("clicks")), "features": recipe["data"]["encoder"], "schedule": recipe["schedule"]}
        )  # fmt: skip
    return found


def card() -> list[list[str]]:
    """The table of nano's card: part, what it is, what it was trained on."""
    lines = (nano_folder() / "CARD.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip().replace("`", "").replace("**", "") for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]  # fmt: skip


def main(argv: Sequence[str], verbs: Mapping[str, Callable[[Sequence[str]], int]]) -> int:
    """`vlad eval all`; 1 where a verb failed. Raises SettingsError for options that are not known."""
    options = options_of("all", argv, OPTIONS)
    names = options["only"].split(",")
    unknown = [n for n in names if n not in FEW]
    if unknown:
        raise SettingsError(f"eval all: no part {', '.join(unknown)}; parts are {', '.join(FEW)}")
    work = Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    encoder, heads = load_encoder(make_settings()).name, work / "scorers"
    parts: list[Part] = []
    for name in names:
        part = run(name, verbs[name], options, work)
        part.curves = curves(work / name)
        parts.append(part)
        page = Environment(
            loader=PackageLoader("vlad.eval", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        text = page.get_template("all.html").render(
            parts=parts, left=names[len(parts) :], options=options, versions=versions(), encoder=encoder,
            heads=trained(heads), card=card(), day=time.strftime("%Y-%m-%d"),
        )  # fmt: skip
        (work / "all.html").write_text(text, encoding="utf-8")  # after each: what is there stays, whatever comes
    print(work / "all.html")
    return int(any(part.error for part in parts))
