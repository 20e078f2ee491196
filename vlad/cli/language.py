"""Verbs around words: explain again, summarise, ask, and the templates behind them."""

from __future__ import annotations

import difflib
import os
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import vlad
from vlad.errors import InputError, TemplateError, VladError

from .common import (
    Adopt,
    Changes,
    Preset,
    check_folder,
    complain,
    pass_on,
    printable,
    progress_bar,
    quiet,
    read_changes,
    show,
)

prompts = typer.Typer(no_args_is_help=True, help="Templates: look at them, check them, compare two.")
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
POLL = 0.2  # seconds between two looks at the files

File = Annotated[Path, typer.Argument(metavar="NAME.json", help="An analysis, as `vlad analyze` writes it.")]
Clip = Annotated[Path | None, typer.Option(help="Where the clip is now, if it was moved.")]
Own = Annotated[Path | None, typer.Option("--prompts", help="Folder of templates that override the shipped ones.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder for the results; that of NAME.json otherwise.")]


def read(file: Path, clip: Path | None = None) -> vlad.Analysis:
    """An analysis of a file, its clip elsewhere if said so. Raises InputError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); name a NAME.json of `vlad analyze`") from None
    analysis: vlad.Analysis = import_module("vlad.report").from_json(text)
    return analysis if clip is None else replace(analysis, video=replace(analysis.video, path=str(clip)))


def segment_of(analysis: vlad.Analysis, number: int) -> vlad.Segment:
    """Segment `number`, from 1. Raises InputError."""
    if not 1 <= number <= len(analysis.segments):
        count = len(analysis.segments)
        raise InputError(f"segment {number}: this analysis has {f'segments 1 to {count}' if count else 'no segment'}")
    return analysis.segments[number - 1]


def settings_of(preset: str, set_: list[str] | None, own: Path | None, **more: Any) -> vlad.Settings:
    """Settings of a preset, with a folder of templates and single changes."""
    return vlad.make_settings(preset, **({"prompts": own} if own else {}), **more, **read_changes(set_ or []))


def explain(
    file: File,
    prompt: Annotated[str, typer.Option(help="Name of the template.")] = "explain",
    segment: Annotated[list[int] | None, typer.Option(help="Only this one, from 1; may be repeated.")] = None,
    clip: Clip = None,
    prompts: Own = None,
    out: Out = None,
    preset: Preset = "nano",
    adopt: Adopt = "",
    set_: Changes = None,
) -> None:
    """Explain an analysed clip again, with another template or model; its scores stay as they are."""
    analysis = read(file, clip)
    settings = settings_of(preset, set_, prompts, prompt=prompt)
    chosen = [segment_of(analysis, n) for n in segment] if segment else None
    check_folder(out or file.parent)
    quiet()
    with progress_bar(file.name) as tell:
        analysis = vlad.Analyzer(settings).explain_again(analysis, segments=chosen, on_progress=tell)
    show(analysis, vlad.save(analysis, out or file.parent, settings=settings, adopted=adopt))


def summarise(
    file: File,
    prompts: Own = None,
    out: Out = None,
    preset: Preset = "nano",
    adopt: Adopt = "",
    set_: Changes = None,
) -> None:
    """Sum up an analysed clip from what was said of its segments."""
    analysis = read(file)
    settings = settings_of(preset, set_, prompts)
    check_folder(out or file.parent)
    quiet()
    analysis = vlad.Analyzer(settings).summarise(analysis)
    vlad.save(analysis, out or file.parent, settings=settings, adopted=adopt)
    assert analysis.summary is not None
    print(printable(analysis.summary.text))


def chat(
    file: File,
    segment: Annotated[int, typer.Option(help="Which one, from 1.")] = 1,
    clip: Clip = None,
    prompts: Own = None,
    preset: Preset = "nano",
    set_: Changes = None,
) -> None:
    """Ask about a segment, question after question; an empty line or the end of input ends it."""
    analysis = read(file, clip)
    about = segment_of(analysis, segment)
    quiet()
    talk = vlad.Analyzer(settings_of(preset, set_, prompts)).chat(analysis, about)
    if sys.stdin.isatty():
        print(f"{about.start:.1f}-{about.end:.1f} s {printable(about.label)}: {printable(talk.said)}", file=sys.stderr)
    while True:
        if sys.stdin.isatty():
            print("? ", end="", file=sys.stderr, flush=True)
        question = sys.stdin.readline().strip()
        if not question:
            return
        talk.ask(question, on_piece=lambda piece: print(printable(piece), end="", flush=True))
        print()


@prompts.command("list")
def list_(prompts: Own = None) -> None:
    """Every template: name, version, hash, where it comes from, what it is for."""
    prompting = import_module("vlad.prompting")
    own = prompting.user_folder(prompts)
    table = Table("name", "version", "hash", "from", "what it is for", box=None)
    for name, path in sorted(prompting.names(own).items()):
        try:
            found = prompting.read_prompt(path)
            cells = (str(found.version), found.hash, found.description)
        except TemplateError as error:
            cells = ("", "", f"broken: {error}")
        table.add_row(name, *cells[:2], "yours" if own and path.parent == own else "vlad", printable(cells[2]))
    Console(width=140).print(table)


@prompts.command("show")
def show_prompt(
    name: Annotated[str, typer.Argument(help="Of the template.")],
    analysis: Annotated[Path | None, typer.Option(help="NAME.json; else the template's own sample.")] = None,
    segment: Annotated[int, typer.Option(help="Which one, from 1.")] = 1,
    clip: Clip = None,
    prompts: Own = None,
    frames: Annotated[Path | None, typer.Option(help="Folder for the frames that would be shown.")] = None,
    preset: Preset = "nano",
    set_: Changes = None,
) -> None:
    """What the model would get: the rendered messages, the frames' times, the number of tokens."""
    settings = settings_of(preset, set_, prompts, prompt=name)
    quiet()
    preview = import_module("vlad.explainers.preview")
    given = read(analysis, clip) if analysis else None
    seen = preview.preview(settings, given, segment_of(given, segment) if given else None)
    print(printable_lines(seen.text))
    if frames and seen.pictures:
        check_folder(frames)
        for path in preview.write_frames(seen, frames):
            print(path)


def printable_lines(text: str) -> str:
    """`printable`, line by line."""
    return "\n".join(printable(line) for line in text.splitlines())


@prompts.command()
def lint(
    folder: Annotated[Path | None, typer.Argument(help="Of templates; the shipped ones otherwise.")] = None,
    preset: Preset = "nano",
    set_: Changes = None,
) -> None:
    """Every fault of every template with its file and line; exit status 1 if there is one."""
    prompting = import_module("vlad.prompting")
    where = prompting.user_folder(folder) or prompting.shipped()
    quiet()
    limits = import_module("vlad.explainers.preview").limits(settings_of(preset, set_, None))
    faults = prompting.lint(where, **limits)
    for fault in faults:
        print(printable(f"{fault}" + ("" if fault.grave else " (warning)")))
    count = len(list(where.rglob("*.md")))
    print(f"{count} templates, {len(faults)} faults", file=sys.stderr)
    raise typer.Exit(int(bool(faults) or not count))


def _source(name: str, own: Path | None) -> tuple[str, list[str]]:
    """A template's title and lines, by its name or its file."""
    prompting = import_module("vlad.prompting")
    path = Path(name) if name.endswith(".md") else prompting.names(prompting.user_folder(own)).get(name)
    if path is None or not path.is_file():
        raise TemplateError(f"{name}: no template; see `vlad prompts list`, or name a file")
    found = prompting.read_prompt(path)
    return f"{path}  {found.id} version {found.version}", found.source.splitlines()


@prompts.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A template's name or file.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    prompts: Own = None,
) -> None:
    """What changed from A to B; exit status 1 if anything did."""
    (first, old), (second, new) = _source(a, prompts), _source(b, prompts)
    lines = list(difflib.unified_diff(old, new, first, second, lineterm=""))
    print("\n".join(printable(line) for line in lines) or "no difference")
    raise typer.Exit(int(bool(lines)))


@prompts.command("test")
def recorded(
    name: Annotated[str | None, typer.Argument(help="Of the template; all otherwise.")] = None,
    prompts: Own = None,
) -> None:
    """Read recorded replies (NAME.replies.jsonl beside the template) without a model; exit status 1 where one is read wrongly."""
    prompting = import_module("vlad.prompting")
    check = import_module("vlad.explainers.preview").check_replies
    own = prompting.user_folder(prompts)
    failed = 0
    for template in [name] if name else sorted(prompting.names(own)):
        lines, count = check(prompting.load_prompt(template, own), own)
        failed += len(lines)
        print(f"{template}: {count} replies, {len(lines)} read wrongly")
        for line in lines:
            print(f"  {printable(line)}")
    raise typer.Exit(int(bool(failed)))


@prompts.command(context_settings=PASS_ON)
def compare(context: typer.Context) -> None:
    """Two templates on the same segments: `vlad prompts compare A B --cases FILE`."""
    pass_on("vlad.eval.compare", context.args)


@prompts.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="Of templates.")],
    seconds: Annotated[float, typer.Option(help="Stop after this long; 0: never.")] = 0.0,
) -> None:
    """Check templates as they are saved: what is in use, or what is wrong and which version stays in use."""
    prompting = import_module("vlad.prompting")
    templates, told = prompting.Templates(folder), {}  # type: tuple[Any, dict[str, str]]
    end = time.monotonic() + seconds if seconds else float("inf")
    while time.monotonic() < end:
        for name in sorted(p.stem for p in folder.glob("*.md")):
            try:
                line = f"{templates(name).id} is in use"
                if name in templates.broken:
                    line = f"{templates.broken[name]}; {line} still"
            except VladError as error:
                line = str(error)
            if told.get(name) != line:
                told[name] = line
                print(printable(line), flush=True)
        time.sleep(POLL)


@prompts.command()
def copy(
    name: Annotated[str, typer.Argument(help="Of the template.")],
    folder: Annotated[Path, typer.Argument(help="Yours, where it will override the shipped one.")],
) -> None:
    """Begin a template of your own from the one in use."""
    found = import_module("vlad.prompting").load_prompt(name)
    check_folder(folder)
    try:
        with open(folder / f"{name}.md", "x", encoding="utf-8") as file:
            file.write(found.source)
    except FileExistsError:
        raise InputError(f"{folder / name}.md is there already; edit it, or name another folder") from None
    complain(f"edit {folder / name}.md, and use it with --prompts {os.fspath(folder)}")
