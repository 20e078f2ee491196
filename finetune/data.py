"""Features that a researcher already has, in the field's layouts, to named and labelled videos.

In: a folder of arrays, a list of their paths, or VadCLIP's CSV `path,label`. Out: `FeatureFile`s, whose arrays are read when asked for.
Layouts: NAME.npy [T, D]; NAME__0.npy to NAME__9.npy, one a crop (0 the centre); NAME_i3d.npy [T, crops, D]; audio NAME__vggish.npy
or NAME__logmel.npy [T, 128]. Knows no model.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlad.arrays import load_array
from vlad.errors import InputError

NORMAL = "normal"
XD_CODES = {"B1": "fighting", "B2": "shooting", "B4": "riot", "B5": "abuse", "B6": "car accident", "G": "explosion"}
CROP = re.compile(r"(?P<name>.{1,255})__(?P<crop>\d)")
SOUND = 128  # numbers of sound a snippet
VGGISH, LOGMEL = "__vggish", "__logmel"  # sound as others and as `vlad features --sound` write it
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureFile:
    """One video: its crops' files (one file may hold them all), classes (() for a normal one, None where nothing says), audio."""

    name: str
    crops: tuple[Path, ...]
    classes: tuple[str, ...] | None
    audio: Path | None = None

    @property
    def count(self) -> int:
        """Crops it holds. Raises InputError for what is no array."""
        if len(self.crops) > 1:
            return len(self.crops)
        shape = read_array(self.crops[0]).shape
        return shape[1] if len(shape) == 3 else 1

    def load(self, crop: int = 0) -> Floats:
        """Features float32 [T, D] of a crop. Raises InputError for what is no finite array of that shape."""
        stacked = len(self.crops) == 1
        found = read_array(self.crops[0 if stacked else crop % len(self.crops)])
        if found.ndim == 3 and stacked and found.shape[1]:
            found = found[:, crop % found.shape[1]]
        if found.ndim != 2 or not found.size:
            raise InputError(f"{self.crops[0]}: expected an array [T, D] or [T, crops, D], got {list(found.shape)}")
        return found


def read_array(path: Path) -> Floats:
    """A .npy file as float32. Raises InputError for objects (they are pickles), for NaN and infinity, and for what is no array."""
    found = load_array(path)
    if found.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected an array of numbers")
    numbers = found.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: holds NaN or infinity; compute these features again")
    return numbers


def with_audio(file: FeatureFile) -> Callable[[int], Floats]:
    """`load` of a video with its sound beside its sight: float32 [T, D + 128]. Raises InputError where there is none or it is not as long.

    Lengths may differ by two snippets, as published ones do; the shorter counts.
    """
    if file.audio is None:
        raise InputError(
            f"{file.name}: no {file.name}{VGGISH}.npy or {LOGMEL}.npy; name the folder of sound as data.audio"
        )
    sound = read_array(file.audio)

    def load(crop: int) -> Floats:
        sight = file.load(crop)
        if sound.ndim != 2 or abs(len(sound) - len(sight)) > 2:
            raise InputError(f"{file.audio}: sound {list(sound.shape)} does not fit {len(sight)} snippets")
        count = min(len(sight), len(sound))
        return np.concatenate([sight[:count], sound[:count]], axis=1)

    return load


def manifest_of(source: Path) -> Path:
    """Where `vlad features` says what made a folder's features, whether or not it is there."""
    return (source if source.is_dir() else source.parent) / "manifest.jsonl"


def manifest_encoder(source: Path) -> str:
    """`name@fingerprint` of the encoder that `vlad features` made a folder with. Raises InputError where no manifest tells, or two do."""
    manifest = manifest_of(source)
    try:
        rows = [json.loads(line) for line in manifest.read_text().splitlines() if line.strip()]
        found = {row["fingerprint"].rsplit("-", 2)[0] for row in rows}
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"{manifest}: no manifest of `vlad features`; say what made these features, such as data.encoder=vadclip-b16"
        ) from None
    if len(found) != 1:
        raise InputError(
            f"{manifest}: features of {len(found)} encoders: {', '.join(sorted(found))}; extract them again with one"
        )
    return str(found.pop())


def classes_of(name: str, label: str = "") -> tuple[str, ...] | None:
    """Classes by a label (UCF-Crime's class, XD-Violence's codes), else by the file's name as both data sets write it."""
    coded = label or (found[1] if (found := re.search(r"label_([A-Z0-9-]+)$", name)) else "")
    if coded in ("A", "0") or coded.lower() == NORMAL or (not coded and name.lower().startswith(NORMAL)):
        return ()
    parts = coded.split("-")
    if coded and all(p in XD_CODES or p == "0" for p in parts):
        return tuple(XD_CODES[p] for p in parts if p != "0")
    if label:
        return (label,)
    found = re.match(r"([A-Za-z]+)\d{3}", name)
    return (found[1],) if found else None


def find_features(source: Path, *, root: Path | None = None, audio: Path | None = None) -> list[FeatureFile]:
    """The videos of a folder, a list file or a CSV, by name.

    root: where the files of a list lie, whatever folder it names (published lists name their author's disk); the list may be of the videos themselves. audio: folder of
    NAME__vggish.npy or NAME__logmel.npy. Raises InputError that names every missing file at once.
    """
    rows = _listed(source, root)
    sounds = {
        p.stem.removesuffix(kind): p
        for kind in (LOGMEL, VGGISH)
        for p in (audio or (source if source.is_dir() else source.parent)).rglob(f"*{kind}.npy")
    }
    videos: dict[str, dict[int, Path]] = {}
    labels: dict[str, str] = {}
    for path, label in rows:
        if path.stem.endswith((VGGISH, LOGMEL)):
            continue
        crop = CROP.fullmatch(path.stem)
        name = crop["name"] if crop else path.stem.removesuffix("_i3d")
        videos.setdefault(name, {})[int(crop["crop"]) if crop else 0] = path
        labels[name] = label
    if not videos:
        raise InputError(f"{source}: holds no features (.npy)")
    return [
        FeatureFile(name, tuple(crops[k] for k in sorted(crops)), classes_of(name, labels[name]), sounds.get(name))
        for name, crops in sorted(videos.items())
    ]


def read_list(source: Path) -> list[tuple[str, str]]:
    """(path, label or '') of a list of paths, one a line, or of a CSV `path[,label]`. Raises InputError."""
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot be read ({error}); name a folder, a list of paths or a CSV") from None
    if source.suffix != ".csv":
        return [(line.strip(), "") for line in lines if line.strip()]
    rows = csv.DictReader(lines)
    if "path" not in (rows.fieldnames or ()):
        raise InputError(f"{source}: expected a CSV with the columns path[,label]")
    return [(row["path"] or "", row.get("label") or "") for row in rows]


def read_clicks(source: Path) -> dict[str, tuple[int, ...]]:
    """Frames in which somebody saw an anomaly, by video: a CSV `video-id,glance` as GlanceVAD publishes them and `vlad verdicts export` writes them.

    Raises InputError that names the first line that is none.
    """
    try:
        with open(source, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not {"video-id", "glance"} <= set(rows.fieldnames or ()):
                raise InputError(f"{source}: expected a CSV with the columns video-id,glance")
            found: dict[str, list[int]] = {}
            for row in rows:
                if not re.fullmatch(r"\d{1,9}", row["glance"] or "", re.ASCII):
                    raise InputError(f"{source}, line {rows.line_num}: expected a frame's number, from 0")
                found.setdefault(row["video-id"], []).append(int(row["glance"]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source}: cannot be read ({error})") from None
    return {name: tuple(frames) for name, frames in found.items()}


def _listed(source: Path, root: Path | None) -> list[tuple[Path, str]]:
    if source.is_dir():
        return [(p, "") for p in sorted(source.rglob("*.npy"))]
    found = read_list(source)
    there = {p.name: p for p in root.rglob("*.npy")} if root else {}
    paths = [
        (
            there.get(f"{Path(p).name.removesuffix('.npy')}.npy") or there.get(f"{Path(p).stem}.npy")
            if root
            else Path(p),
            p,
            label,
        )
        for p, label in found
    ]
    missing = [p for path, p, _ in paths if path is None or not path.is_file()]
    if missing:
        more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
        raise InputError(
            f"{source}: {len(missing)} of {len(paths)} files are missing: {', '.join(missing[:20])}{more}; name their folder as root"
        )
    return [(path, label) for path, _, label in paths if path is not None]


def known(files: Iterable[FeatureFile]) -> list[FeatureFile]:
    """The same. Raises InputError that names every video whose label nothing tells."""
    files = list(files)
    silent = [f.name for f in files if f.classes is None]
    if silent:
        raise InputError(
            f"no label for {len(silent)} videos: {', '.join(silent[:20])}; use a CSV with the columns path,label"
        )
    return files
