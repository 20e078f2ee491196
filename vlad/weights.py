"""A name to files on disk: where weights are, where they come from, and whether they are unaltered.

Knows no models. safetensors only; nothing is fetched unless a person asks for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
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
    "tubes": (),
    "clip-b16": (
        Source("timm/vit_base_patch16_clip_224.openai", "977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d", 0.6, "MIT"),
        Source(
            "llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "74dd0bf867a4cda7950c17663794267c60cf4b40", 1.8, "Apache-2.0"
        ),
    ),
    "clip-l14": (
        Source("timm/vit_large_patch14_clip_224.openai", "18d0535469bb561bf468d76c1d73aa35156c922b", 1.7, "MIT"),
        Source(
            "llava-hf/llava-onevision-qwen2-7b-ov-hf", "0d50680527681998e456c7b78950205bedd8a068", 16.1, "Apache-2.0"
        ),
    ),
}


KINDS = {".json", ".safetensors", ".txt", ".jinja", ".onnx"}  # of files that are weights or tell how to read them
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]  # never a pickle


def describe() -> str:
    """One line a preset and set of weights: size, licence, source, and whether it is here."""
    lines = []
    for preset, sources in SOURCES.items():
        if not sources:
            whose = "part of the package" if preset == "nano" else "your own, of `vlad finetune masked`"
            lines.append(f"{preset}: {whose}, nothing to fetch")
        for s in sources:
            state = "here" if local_copy(s.repo) else f"fetch with: vlad models pull {preset}"
            lines.append(f"{preset}: {s.repo}@{s.revision[:12]}  {s.size:.1f} GB  {s.licence}  {state}")
    return "\n".join(lines)


def pinned(repo: str) -> str | None:
    """The revision that is used of a repository, None for one that no preset names."""
    return next((s.revision for sources in SOURCES.values() for s in sources if s.repo == repo), None)


def local_copy(repo: str) -> Path | None:
    """The folder of a pinned repository, if it was pulled."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    revision = pinned(repo)
    if revision is None:
        return None
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=PATTERNS, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def missing(repo: str) -> str:
    """What to say of weights that are not here: of a preset's, how to fetch them."""
    preset = next((name for name, sources in SOURCES.items() if any(s.repo == repo for s in sources)), None)
    way = f"vlad models pull {preset}" if preset else "copy them to a folder, and name that"
    return f"weights are not here: {way}"


@contextmanager
def offline() -> Iterator[None]:
    """Within this no library asks the hub for anything, and none complains in its own words about what is not here."""
    from huggingface_hub import constants

    before, root = constants.HF_HUB_OFFLINE, logging.getLogger()
    shut = logging.Filter("vlad")  # lets only our own records through
    constants.HF_HUB_OFFLINE = True
    root.addFilter(shut)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        root.removeFilter(shut)


def pull(preset: str) -> list[Path]:
    """Fetch the weights of a preset and return their folders; the only function that uses the network.

    Raises WeightsError for an unknown preset or a hub that cannot be reached.
    """
    from huggingface_hub import snapshot_download

    if preset not in SOURCES:
        raise WeightsError(f"preset {preset!r} is unknown; choose one of {', '.join(SOURCES)}")
    found = []
    for s in SOURCES[preset]:
        try:
            found.append(Path(snapshot_download(s.repo, revision=s.revision, allow_patterns=PATTERNS)))
        except OSError as error:  # the hub's errors are all of this class
            reason = str(error).splitlines()[0]
            raise WeightsError(
                f"{s.repo}: cannot be fetched ({reason}); "
                "copy it to a folder and name that in the settings encoder_weights and explainer, or use --preset nano"
            ) from None
    return found


def nano_folder() -> Path:
    """The folder of the embedded default's weights."""
    return Path(str(files("vlad.nano")))


def sha256_of(folder: Path) -> str:
    """64 hex digits over every file of a folder of weights: names and bytes. Raises WeightsError where there are none."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in KINDS)
    if not any(p.suffix == ".safetensors" for p in paths):
        raise WeightsError(
            f"{folder.name}: no safetensors file in it; build nano with `vlad finetune nano` or reinstall vlad"
        )
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            whole.update(f"{path.relative_to(folder)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def nano_part(part: str) -> Path:
    """The folder of one of nano's parts (clip, drawn, mil, llava, adapter, objects), unaltered. Raises WeightsError."""
    verify_nano(part)
    return nano_folder() / part


def verify_nano(part: str = "") -> None:
    """Compare the files of a part of nano, or of all, with the checksums shipped beside them.

    Raises WeightsError that names what is missing or differs.
    """
    folder = nano_folder()
    listed = folder / "checksums.json"
    if not listed.is_file():
        raise WeightsError("nano: checksums.json is missing; reinstall vlad")
    expected_of = {k: v for k, v in json.loads(listed.read_text()).items() if k.startswith(part)}
    if not expected_of:
        raise WeightsError(f"nano: no {part or 'file'} is listed; build it with `vlad finetune nano` or reinstall vlad")
    for name, expected in expected_of.items():
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
        if path.is_file() and path.suffix in KINDS and path.name != "checksums.json":
            with open(path, "rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    (folder / "checksums.json").write_text(json.dumps(found, indent=1) + "\n")
