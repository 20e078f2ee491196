"""A name to files on disk: where weights are, where they come from, and whether they are unaltered.

Knows no models. safetensors only; nothing is fetched unless a person asks for it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vlad.errors import WeightsError


@dataclass(frozen=True)
class Source:
    """One set of published weights. size: gigabytes to download."""

    repo: str
    revision: str
    size: float
    licence: str


SOURCES: dict[str, tuple[Source, ...]] = {
    "nano": (),
    "clip-b16": (
        Source("timm/vit_base_patch16_clip_224.openai", "main", 0.6, "MIT"),
        Source("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "main", 1.8, "Apache-2.0"),
    ),
    "clip-l14": (
        Source("timm/vit_large_patch14_clip_224.openai", "main", 1.7, "MIT"),
        Source("llava-hf/llava-onevision-qwen2-7b-ov-hf", "main", 16.1, "Apache-2.0"),
    ),
}


def nano_folder() -> Path:
    """The folder of the embedded default's weights."""
    return Path(str(files("vlad.nano")))


def sha256_of(folder: Path) -> str:
    """64 hex digits over every file of a folder of weights: names and bytes. Raises WeightsError where there are none."""
    paths = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.suffix in {".json", ".safetensors", ".txt", ".jinja"}
    )
    if not any(p.suffix == ".safetensors" for p in paths):
        raise WeightsError(
            f"{folder.name}: no safetensors file in it; build nano with `vlad finetune nano` or reinstall vlad"
        )
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            whole.update(f"{path.relative_to(folder)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def verify_nano() -> None:
    """Compare nano's files with the checksums shipped beside them. Raises WeightsError that names what differs."""
    folder = nano_folder()
    listed = folder / "checksums.json"
    if not listed.is_file():
        raise WeightsError("nano: checksums.json is missing; reinstall vlad")
    for name, expected in json.loads(listed.read_text()).items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"nano: {name} is missing; reinstall vlad")
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                raise WeightsError(f"nano: {name} is not the file that was shipped; reinstall vlad")


def write_checksums() -> None:
    """List every file of nano with its hash, for `verify_nano`."""
    folder = nano_folder()
    found = {}
    for path in sorted(folder.rglob("*")):
        if (
            path.is_file()
            and path.suffix in {".json", ".safetensors", ".txt", ".jinja"}
            and path.name != "checksums.json"
        ):
            with open(path, "rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    (folder / "checksums.json").write_text(json.dumps(found, indent=1) + "\n")
