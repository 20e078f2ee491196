"""Videos to features on disk, as researchers keep them.

    vlad features FOLDER_OR_LIST... -o DIR [--preset clip-b16] [--crops 1|5|10] [--sound] [--set KEY=VALUE]

In: folders, clips, lists of paths, or a CSV with a column path. Out: NAME.npy, or NAME__0.npy to NAME__9.npy, float32 [T, D],
with --sound NAME__logmel.npy [T, 128] where a clip has any, and manifest.jsonl with each clip's hash, length and fingerprint. What is there with the same fingerprint is not made again, so a run that
was killed goes on; a broken clip is told at the end. Knows no label.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vlad.config import Settings
from vlad.encoder import ClipEncoder, TubeEncoder, load_encoder
from vlad.errors import InputError, OutputError, VladError
from vlad.objects import Detector, Watch, load_detector
from vlad.pipeline import fingerprint
from vlad.video import open_video, sound_of

from .data import LOGMEL, read_list

VIDEOS = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}
PLACES = ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))  # of a crop: the centre and the corners
SHARE = 7 / 8  # of height and width that a crop shows, where there are several: 224 of 256 pixels
TOGETHER = 64  # snippets held while each crop of them is encoded
MANIFEST = "manifest.jsonl"
Floats = npt.NDArray[np.float32]


def crop(frames: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
    """Crop `index` of ten of uint8 [F, H, W, 3]: the centre, four corners, and the same mirrored."""
    height, width = frames.shape[1:3]
    h, w = max(1, round(height * SHARE)), max(1, round(width * SHARE))
    down, right = PLACES[index % 5]
    top, left = round((height - h) * down), round((width - w) * right)
    shown = frames[:, top : top + h, left : left + w]
    return shown[:, :, ::-1] if index >= 5 else shown


def find_videos(sources: Sequence[Path]) -> dict[str, Path]:
    """Name of a feature file -> clip. Raises InputError for missing files and for two clips of one name, all at once."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            found += sorted(p for p in source.rglob("*") if p.suffix.lower() in VIDEOS)
        elif source.suffix in (".txt", ".list", ".csv"):
            found += [Path(path) for path, _ in read_list(source)]
        else:
            found.append(source)
    missing = [str(p) for p in found if not p.is_file()]
    if missing or not found:
        raise InputError(
            f"{len(missing)} files are missing: {', '.join(missing[:20])}" if missing else "no video there"
        )
    videos: dict[str, Path] = {}
    double = []
    for path in found:
        if path != videos.setdefault(path.stem, path):
            double.append(f"{path} and {videos[path.stem]}")
    if double:
        raise InputError(f"two clips of one name: {'; '.join(double[:20])}")
    return videos


def _features(
    path: Path, encoder: ClipEncoder | TubeEncoder, settings: Settings, crops: int, detector: Detector | None
) -> tuple[list[Floats], npt.NDArray[np.float64], dict[str, Any]]:
    """float32 [T, D] for each crop, the edges [T + 1] (s), and what the manifest says. Memory does not grow with the clip's frames.

    detector: looks for people and things, as an analysis does, where features tell of them.
    """
    size = encoder.size if crops == 1 else round(encoder.size / SHARE)
    with open_video(path, settings, size=size) as clip:
        if crops == 1:
            whole = encoder(Watch(clip, detector, rate=settings.objects_rate) if detector else clip)
            made, edges = [whole.values], whole.edges
        else:
            parts: list[list[Floats]] = [[] for _ in range(crops)]
            snippets, ends = iter(clip), [0.0]
            while some := list(islice(snippets, TOGETHER)):
                for k, of_crop in enumerate(parts):
                    of_crop.append(
                        encoder(replace(s, frames=np.ascontiguousarray(crop(s.frames, k))) for s in some).values
                    )
                ends += [s.end for s in some]
            made, edges = [np.concatenate(of_crop) for of_crop in parts], np.array(ends)
        return made, edges, {"sha256": clip.sha256, "duration": clip.video.duration, "warnings": list(clip.warnings)}


def _write(path: Path, values: Floats) -> None:
    part = path.with_name(f".{path.name}.part")
    with open(part, "wb") as file:
        np.save(file, values, allow_pickle=False)
    os.replace(part, path)


def _done(folder: Path, key: str) -> set[str]:
    """Names that the manifest says are made with this fingerprint; a last line that was cut off counts for nothing."""
    names = set()
    path = folder / MANIFEST
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["fingerprint"] == key and all((folder / name).is_file() for name in row["files"]):
            names.add(row["name"])
    return names


def run(sources: Sequence[Path], folder: Path, settings: Settings, *, crops: int = 1, sound: bool = False) -> int:
    """Extract and say how it went; 1 where a clip could not be read. Raises VladError for what stops the whole run."""
    videos, encoder = find_videos(sources), load_encoder(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        failed, seconds, taken = extract(videos, encoder, settings, folder, crops, sound=sound)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); name another folder with -o") from None
    for line in failed:
        print(line, file=sys.stderr)
    speed = f", {seconds / taken:.1f} times real time" if seconds else ""
    print(f"{len(videos) - len(failed)} of {len(videos)} videos in {folder}{speed}")
    return 1 if failed else 0


def extract(
    videos: dict[str, Path],
    encoder: ClipEncoder | TubeEncoder,
    settings: Settings,
    folder: Path,
    crops: int,
    *,
    sound: bool = False,
) -> tuple[list[str], float, float]:
    """Make what is not there yet: one line for each clip that failed, and the seconds of video and of work."""
    key = f"{fingerprint(encoder.name, settings)}-crops{crops}" + "+sound" * sound
    if (folder / MANIFEST).is_file() and not (folder / MANIFEST).read_text().endswith("\n"):
        with open(folder / MANIFEST, "a") as manifest:
            manifest.write("\n")  # after a line that was cut off
    detector = load_detector(settings) if settings.objects and encoder.use_motion and crops == 1 else None
    left = {name: path for name, path in videos.items() if name not in _done(folder, key)}
    failed: list[str] = []
    video_seconds, begin = 0.0, time.monotonic()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("features", total=len(videos), completed=len(videos) - len(left))
        for name, path in left.items():
            try:
                made, edges, facts = _features(path, encoder, settings, crops, detector)
                heard = sound_of(path, edges, settings) if sound else None
            except VladError as error:
                failed.append(str(error))
            else:
                files = [f"{name}.npy"] if crops == 1 else [f"{name}__{k}.npy" for k in range(crops)]
                for file, values in zip(files, made, strict=True):
                    _write(folder / file, values)
                if heard is not None:
                    files.append(f"{name}{LOGMEL}.npy")
                    _write(folder / files[-1], heard)
                row = {
                    "name": name,
                    "path": str(path),
                    "files": files,
                    "snippets": len(made[0]),
                    **facts,
                    "fingerprint": key,
                }
                with open(folder / MANIFEST, "a") as manifest:
                    manifest.write(json.dumps(row) + "\n")
                video_seconds += facts["duration"]
            speed = video_seconds / (time.monotonic() - begin)
            bar.update(task, advance=1, description=f"features, {speed:.0f} times real time")
    return failed, video_seconds, time.monotonic() - begin
