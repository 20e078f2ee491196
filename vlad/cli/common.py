"""What the verbs share: options, progress, tables, and words that a terminal cannot be steered by."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

import vlad
from vlad.errors import OutputError, SettingsError, VladError
from vlad.wording import reading

Preset = Annotated[str, typer.Option(help="nano, clip-b16 or clip-l14.")]
Adopt = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Put the model's words into the HTML report, as adopted by NAME; without it there are none.",
    ),
]
Ray = Annotated[
    str,
    typer.Option(metavar="ADDRESS|auto", help="On the machines of this Ray cluster; goes on where it was stopped."),
]
Together = Annotated[
    int, typer.Option(min=1, max=64, metavar="N", help="Clips at once, which share the models: for a GPU, or cores to spare.")
]  # fmt: skip
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated.")]


def printable(text: str) -> str:
    """One line that a terminal cannot be steered by: control characters stand as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def complain(message: str) -> None:
    print(printable(message), file=sys.stderr)


def read_changes(pairs: Sequence[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set {pair}: expected KEY=VALUE, such as --set enter=0.6")
        try:
            changes[key.strip()] = yaml.safe_load(value) if value else ""
        except yaml.YAMLError:
            raise SettingsError(f"--set {pair}: the value cannot be read; put quotes around it") from None
    return changes


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written before hours are spent on what should go there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); name another folder with -o") from None


@contextmanager
def progress_bar(name: str) -> Iterator[Any]:
    """A progress bar on stderr, gone when done; yields an on_progress callback."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: float, total: float | None) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(f"{printable(name)}: {stage}", total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield tell


def table_of(analysis: vlad.Analysis) -> Table:
    clip = printable(Path(analysis.video.path).name)
    title = f"{clip}  {analysis.video.duration:.1f} s, {len(analysis.segments)} flagged"
    table = Table(title=Text(title), title_justify="left")
    for column in ("start", "end", "score"):
        table.add_column(column, justify="right")
    for column in ("class", "verdict", "explanation"):
        table.add_column(column)
    said = {explanation.segment: explanation for explanation in analysis.explanations}
    for segment in analysis.segments:
        explanation = said.get(segment)
        read = reading(explanation, segment.label) if explanation else None
        verdict = explanation.verdict if explanation and read and read.sure else "not sure"
        words = (segment.label if read.sure else "", verdict, read.text) if read else (segment.label, "", "")
        cells = (f"{segment.start:.1f}", f"{segment.end:.1f}", f"{segment.peak:.2f}", *words)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def show(analysis: vlad.Analysis, written: Sequence[Path]) -> None:
    console = Console()
    if analysis.segments:
        console.print(table_of(analysis))
    else:
        clip = printable(Path(analysis.video.path).name)
        words = f"{clip}  {analysis.video.duration:.1f} s: nothing reached the threshold. That is no proof that nothing happened."
        console.print(Text(words), soft_wrap=True)
    for warning in analysis.made_by.get("warnings", ()):
        complain(f"{analysis.video.path}: warning: {warning}")
    console.print(Text(printable("  ".join(map(str, written)))), soft_wrap=True)


def verb(module: str, name: str) -> Any:
    """A function of app, eval or finetune, which an installation may lack."""
    quiet()
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise VladError(f"{module} is not part of this installation; install vlad from its repository") from None


def pass_on(module: str, arguments: list[str]) -> None:
    raise typer.Exit(verb(module, "main")(arguments) or 0)


def quiet() -> None:
    """Keep the libraries' bars and hints off a person's terminal, and them off the network."""
    for name, value in {
        "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
    }.items():  # fmt: skip
        os.environ.setdefault(name, value)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of a kernel that it lacks, at every start
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
