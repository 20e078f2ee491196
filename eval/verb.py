"""Training, adapting and calibrating as a person would: by the command line, for this room may not import the one that changes weights."""

from __future__ import annotations

import subprocess
import sys

STDERR = 2  # stdout is for tables


def vlad(*arguments: str) -> None:
    """Run `vlad ARGUMENTS`; what it prints goes to standard error. Raises CalledProcessError where it fails."""
    subprocess.run([sys.executable, "-m", "vlad", *arguments], check=True, stdout=STDERR)
