"""What was made in a folder, a line of JSON for each: a run that was stopped goes on by it.

In and out: manifest.jsonl, to which lines are added and nothing else. A row holds `name`, `files` (in the folder), `fingerprint` (of what made them) and
whatever else its writer has to say. A last line that was cut off counts for nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MANIFEST = "manifest.jsonl"


class Manifest:
    """The manifest of a folder, for what is made with one fingerprint. One process writes to it at a time."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._path = folder / MANIFEST
        self._cut = self._path.is_file() and not self._path.read_bytes().endswith(b"\n")

    def done(self) -> dict[str, dict[str, Any]]:
        """Name -> the last row of what was made with this fingerprint and still has all of its files."""
        found = {}
        for line in self._path.read_text().splitlines() if self._path.is_file() else []:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row["fingerprint"] == self.fingerprint and all((self.folder / name).is_file() for name in row["files"]):
                found[row["name"]] = row
        return found

    def add(self, row: dict[str, Any]) -> None:
        """Say that the files of a row are written."""
        with open(self._path, "a") as file:
            file.write("\n" * self._cut + json.dumps({**row, "fingerprint": self.fingerprint}) + "\n")
        self._cut = False
