"""What the verbs of `vlad eval` share: their options, how they show a table, and training, adapting and calibrating as a person would: by the command line, for this
room may not import the one that changes weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from vlad.errors import SettingsError

STDERR = 2  # stdout is for tables
SHOWN: list[Table] = []  # every table so far, for `vlad eval all`


def show_table(table: Table, *, width: int = 150) -> None:
    """Print a table: as wide as the terminal, else `width` letters."""
    SHOWN.append(table)
    Console(width=None if sys.stdout.isatty() else width).print(table)


def vlad(*arguments: str) -> None:
    """Run `vlad ARGUMENTS`; what it prints goes to standard error. Raises CalledProcessError where it fails."""
    subprocess.run([sys.executable, "-m", "vlad", *arguments], check=True, stdout=STDERR)  # noqa: S603 - this very program, by its full path


def options_of(verb: str, argv: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The options key=value of a verb over their defaults. Raises SettingsError that lists the keys."""
    given = dict(a.split("=", 1) for a in argv if "=" in a)
    if set(given) - set(defaults) or len(given) != len(argv):
        raise SettingsError(f"eval {verb}: expected key=value with keys {', '.join(defaults)}; got {list(argv)}")
    return {**defaults, **given}
