"""Verbs of the reviewer's server: app, users, groups, audit, verdicts."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

import typer

import vlad
from vlad.errors import InputError, SettingsError, VladError

from .common import Changes, Preset, check_folder, printable, quiet, read_changes, verb

users = typer.Typer(no_args_is_help=True, help="Who may sign in to the reviewer's page.")
groups = typer.Typer(no_args_is_help=True, help="Which reviewers see which cameras.")
audit = typer.Typer(no_args_is_help=True, help="The log of who did what.")
verdicts = typer.Typer(no_args_is_help=True, help="What reviewers decided.")
Where = Annotated[
    str, typer.Option("--library", help="Folder, or URL of a database with --folder.", envvar="VLAD_LIBRARY")
]
Folder = Annotated[
    str | None,
    typer.Option("--folder", help="For files, where the library is a URL: a folder, or a storage that machines share (s3://BUCKET/PLACE).", envvar="VLAD_FOLDER"),
]  # fmt: skip
Workers = Annotated[int, typer.Option(min=1, max=64, help="Processes that analyse clips.")]
HERE = "vlad-library"


def app(
    host: Annotated[str, typer.Option(help="Others than this machine need users first.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    library: Where = HERE,
    folder: Folder = None,
    preset: Preset = "nano",
    workers: Annotated[int, typer.Option(min=0, max=64, help="Processes that analyse clips.")] = 1,
    prompts: Annotated[Path | None, typer.Option(help="Your templates; else LIBRARY/prompts.")] = None,
    trusted_proxy: Annotated[
        str, typer.Option(metavar="CIDR", help="The network of your TLS proxy: only its X-Forwarded-* headers count.")
    ] = "",
    syslog: Annotated[
        str, typer.Option(metavar="WHERE", help="Also send the log's signed heads there: /dev/log, or HOST:PORT (UDP).")
    ] = "",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            help="A network of cameras that is refused otherwise, such as 127.0.0.1/32; may be repeated.",
        ),
    ] = None,
    contact: Annotated[
        str,
        typer.Option(
            metavar="MAILTO",
            help="Whom a browser's push service may write to, such as mailto:you@example.org: some deliver no alarm without.",
        ),
    ] = "",
    set_: Changes = None,
) -> None:
    """Start the reviewer's page: upload, timeline, verdict, search, evidence."""
    settings = vlad.make_settings(preset, **({"prompts": prompts} if prompts else {}), **read_changes(set_ or []))
    proxy, place = _network(trusted_proxy), _place(library, folder)
    if syslog:
        verb("vlad.library.seal", "place_of")(syslog)  # what is wrong with it is said at once
    if allow:
        _with_extra(lambda: verb("vlad.live.hosts", "networks"))(allow)
    if contact:
        verb("vlad.live.push", "checked_contact")(contact)
    verb("vlad.app.address", "check")(host, port, proxy, lambda: _there(library) and _open(library, folder).has_users())
    print("vlad: loading ...", file=sys.stderr, flush=True)
    _with_extra(lambda: verb("vlad.app.server", "serve"))(
        library,
        place,
        settings,
        host=host,
        port=port,
        workers=workers,
        trusted_proxy=proxy,
        syslog=syslog,
        allow=allow or [],
        contact=contact,
    )


def work(
    library: Where = HERE, folder: Folder = None, workers: Workers = 1, preset: Preset = "nano",
    prompts: Annotated[Path | None, typer.Option(help="Templates, the same as where the page runs.")] = None, set_: Changes = None,
) -> None:  # fmt: skip
    """Analyse clips of a library whose page runs on another machine: the same --library and --folder as there."""
    settings = vlad.make_settings(preset, **({"prompts": prompts} if prompts else {}), **read_changes(set_ or []))
    if not _there(library):
        raise InputError(f"{library}: there is no library; start vlad app, and name the same one here")
    _with_extra(lambda: verb("vlad.app.background", "work"))(_open(library, folder), library, settings, workers)


def _there(library: str) -> bool:
    """Whether there is a library to ask; a question makes none."""
    return "://" in library or (Path(library) / "library.sqlite").is_file()


def _network(named: str) -> str:
    try:
        return str(ip_network(named, strict=False)) if named else ""
    except ValueError:
        raise SettingsError(f"--trusted-proxy {named}: expected a network such as 10.0.0.5/32") from None


def _with_extra(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except ModuleNotFoundError as error:
        raise VladError(
            f"{error.name} is not here, which the page needs: pip install '.[app]' where vlad lies"
        ) from None


def _place(library: str, folder: str | None) -> str:
    if re.match(r"[^/]+://[^/@]*:[^/@]+@", library) and any(library in argument for argument in sys.argv):
        print(
            "vlad: everybody on this machine sees the password in --library among its processes; put it into VLAD_LIBRARY instead", file=sys.stderr
        )  # fmt: skip
    if "://" not in library:
        return folder or library
    if folder is None:
        raise InputError("a library by URL needs --folder for its clips too")
    return folder


def _open(library: str, folder: str | None) -> Any:
    quiet()
    from vlad.library import Library

    return Library(library, _place(library, folder))


def opened(library: str, folder: str | None) -> Any:
    """A library that is there. Raises InputError where there is none."""
    if not _there(library):
        raise InputError(f"{library}: there is no library")
    return _open(library, folder)


def backup(out: Path, library: Where = HERE, folder: Folder = None) -> None:
    """A whole library, database and files, into a new folder; also while it is in use."""
    from vlad.library.backup import backup as make

    done = make(_open(library, folder), out)
    print(f"{done['rows']} rows and {done['files']} files in {out}; vlad restore {out} --library NEW reads it back")


def restore(source: Path, library: Where = HERE, folder: Folder = None) -> None:
    """Fill a new library from a backup, after every file was compared with its hash."""
    from vlad.library.backup import check
    from vlad.library.backup import restore as read

    check(source)  # before a new library is made for it
    done = read(source, _open(library, folder))
    print(f"{done['rows']} rows and {done['files']} files are back")


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


@groups.command("list")
def groups_list(library: Where = HERE, folder: Folder = None) -> None:
    """Which reviewers see which cameras; without any group everybody sees all."""
    for group, names in _open(library, folder).groups():
        cameras = ", ".join(c or "(no camera)" for c in group.cameras)
        print(printable(f"{group.name}  cameras: {cameras or 'none'}  members: {', '.join(names) or 'nobody'}"))


@groups.command("set")
def groups_set(
    name: str,
    camera: Annotated[list[str] | None, typer.Option(help="Of this group; '' for clips without one.")] = None,
    member: Annotated[list[str] | None, typer.Option(help="Who sees their clips, by name.")] = None,
    library: Where = HERE,
    folder: Folder = None,
) -> None:
    """Make a group, or change it. From the first one on a reviewer sees the cameras of theirs only; admins see all."""
    group = _open(library, folder).set_group("command line", name, camera or [], member or [])
    print(printable(f"{group.name}: {len(group.cameras)} cameras, {len(group.members)} members"))


@groups.command("remove")
def groups_remove(name: str, library: Where = HERE, folder: Folder = None) -> None:
    """Remove a group."""
    left = _open(library, folder).remove_group("command line", name)
    print(
        printable(
            f"{name} is gone; " + (f"{left} groups are left" if left else "there is no group left: everybody sees all")
        )
    )


@audit.command("verify")
def audit_verify(
    library: Where = HERE,
    seals: Annotated[
        Path | None, typer.Option(help="A file of the syslog that vlad app --syslog sent to, to compare with too.")
    ] = None,
) -> None:
    """Whether the log is one chain and is what was sealed; exit status 1 where somebody changed, cut, emptied or rewrote it. Creates nothing."""
    from vlad.library import verify
    from vlad.library.audit import unlogged
    from vlad.library.database import looked_at
    from vlad.library.seal import Seal

    seal = Seal(library)
    with looked_at(library) as session:
        rows, digest, broken = verify(session)
        faults = seal.faults(session, seals) + unlogged(session)
    if broken is not None:
        raise VladError(f"row {broken} does not follow from those before it; {rows} rows before it are whole")
    if faults:
        raise VladError("; ".join(faults))
    compared = f"and as {seals} has it" if seals else f"compare with a syslog's lines of {seal.name}: --seals FILE"
    print(printable(f"{rows} rows, one chain, digest {digest}; {seal.newest}; {compared}"))


@verdicts.command("export")
def verdicts_export(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for clips and rows.")],
    clicks: Annotated[
        bool,
        typer.Option("--clicks", help="A frame a confirmed segment, and a list of the clips, for `vlad finetune`."),
    ] = False,
    library: Where = HERE,
    folder: Folder = None,
) -> None:
    """Few-shot clips for `vlad adapt` and rows for `vlad instruct`, from what reviewers confirmed and dismissed."""
    check_folder(out)
    place = _open(library, folder)
    told = verb("vlad.app.verdicts", "export_clicks")(place, out) if clicks else verb("vlad.app.verdicts", "export")(place, vlad.make_settings(), out)  # fmt: skip
    for line in told:
        print(printable(line))
