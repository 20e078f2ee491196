"""Verbs of the reviewer's server: app, users, audit, verdicts."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import vlad
from vlad.errors import InputError, VladError

from .common import Changes, Preset, check_folder, printable, quiet, read_changes, verb

users = typer.Typer(no_args_is_help=True, help="Who may sign in to the reviewer's page.")
audit = typer.Typer(no_args_is_help=True, help="The log of who did what.")
verdicts = typer.Typer(no_args_is_help=True, help="What reviewers decided.")
Where = Annotated[
    str, typer.Option("--library", help="Folder, or URL of a database with --folder.", envvar="VLAD_LIBRARY")
]
Folder = Annotated[Path | None, typer.Option("--folder", help="For clips, where the library is a URL.")]
HERE = "vlad-library"


def app(
    host: Annotated[str, typer.Option(help="Others than this machine need users first.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    library: Where = HERE,
    folder: Folder = None,
    preset: Preset = "nano",
    workers: Annotated[int, typer.Option(min=0, max=64, help="Processes that analyse clips.")] = 1,
    prompts: Annotated[Path | None, typer.Option(help="Your templates; else LIBRARY/prompts.")] = None,
    set_: Changes = None,
) -> None:
    """Start the reviewer's page: upload, timeline, verdict, search, evidence."""
    settings = vlad.make_settings(preset, **({"prompts": prompts} if prompts else {}), **read_changes(set_ or []))
    _with_extra(lambda: verb("vlad.app.server", "serve"))(
        library, _folder(library, folder), settings, host=host, port=port, workers=workers
    )


def _with_extra(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except ModuleNotFoundError as error:
        raise VladError(f"{error.name} is not here, which the page needs: pip install 'vlad[app]'") from None


def _folder(library: str, folder: Path | None) -> Path:
    if "://" not in library:
        return folder or Path(library)
    if folder is None:
        raise InputError("a library by URL needs --folder for its clips too")
    return folder


def _open(library: str, folder: Path | None) -> Any:
    quiet()
    from vlad.library import Library

    return Library(library, _folder(library, folder))


@users.command("add")
def users_add(
    name: str,
    role: Annotated[str, typer.Option(help="reviewer or admin.")] = "reviewer",
    library: Where = HERE,
    folder: Folder = None,
) -> None:
    """Add somebody; the password is asked for, or read from standard input, or from VLAD_PASSWORD."""
    password = os.environ.get("VLAD_PASSWORD") or _password()
    user = _open(library, folder).add_user(name, password, role)
    print(printable(f"{user.name} may sign in as {user.role}"))


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("password: ")
    if getpass.getpass("again: ") != first:
        raise InputError("password: the two differ; try again")
    return first


@users.command("list")
def users_list(library: Where = HERE, folder: Folder = None) -> None:
    """Who may sign in."""
    for user in _open(library, folder).users():
        print(printable(f"{user.name}  {user.role}"))


@users.command("close")
def users_close(name: str, library: Where = HERE, folder: Folder = None) -> None:
    """Somebody may no longer sign in; their sessions end at once."""
    _open(library, folder).close_user("command line", name)
    print(printable(f"{name} may no longer sign in"))


@audit.command("verify")
def audit_verify(library: Where = HERE, folder: Folder = None) -> None:
    """Whether the log is one chain; exit status 1 where somebody changed it. Keep the digest elsewhere: a cut end leaves a whole chain."""
    from vlad.library import verify

    with _open(library, folder).read() as session:
        rows, digest, broken = verify(session)
    if broken is not None:
        raise VladError(f"row {broken} does not follow from those before it; {rows} rows before it are whole")
    print(f"{rows} rows, one chain, digest {digest}")


@verdicts.command("export")
def verdicts_export(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for clips and rows.")],
    library: Where = HERE,
    folder: Folder = None,
) -> None:
    """Few-shot clips for `vlad adapt` and rows for `vlad instruct`, from what reviewers confirmed and dismissed."""
    check_folder(out)
    for line in verb("vlad.app.verdicts", "export")(_open(library, folder), vlad.make_settings(), out):
        print(printable(line))
