"""Videos to features on disk, as researchers keep them.

    vlad features FOLDER_OR_LIST... -o DIR [--preset clip-b16] [--crops 1|5|10] [--sound] [--together N] [--ray ADDRESS|auto] [--set KEY=VALUE]

In: folders, clips, lists of paths, or a CSV with a column path. Out: NAME.npy, or NAME__0.npy to NAME__9.npy, float32 [T, D],
with --sound NAME__logmel.npy [T, 128] where a clip has any, and manifest.jsonl with each clip's hash, length and fingerprint. What is there with the same fingerprint is not made again, so a run that
was killed goes on; a broken clip is told at the end. Knows no label.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vlad.cluster import each
from vlad.config import Settings
from vlad.encoder import load_encoder
from vlad.errors import ClusterError, InputError, OutputError, VladError
from vlad.manifest import Manifest
from vlad.objects import Watch, load_detector
from vlad.pipeline import fingerprint
from vlad.together import side_by_side
from vlad.video import open_video, sound_of

from .data import LOGMEL, read_list

VIDEOS = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}
PLACES = ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))  # of a crop: the centre and the corners
SHARE = 7 / 8  # of height and width that a crop shows, where there are several: 224 of 256 pixels
TOGETHER = 64  # snippets held while each crop of them is encoded
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


@dataclass(frozen=True)
class Made:
    """What becomes of a clip: arrays [T, ...] by the name of their file, how many snippets, and what the manifest says of it."""

    arrays: dict[str, npt.NDArray[np.float32]]
    snippets: int
    facts: dict[str, Any]


class Extraction:
    """Turns a clip (its name, its path) into features: holds the models."""

    def __init__(self, settings: Settings, crops: int, sound: bool) -> None:
        self.settings, self.crops, self.sound = settings, crops, sound
        self.encoder = load_encoder(settings)
        looks = settings.objects and self.encoder.use_motion and crops == 1
        self.detector = load_detector(settings) if looks else None  # as an analysis does, where features tell of it

    @property
    def key(self) -> str:
        """Whatever decides the features besides the clip."""
        return f"{fingerprint(self.encoder.name, self.settings)}-crops{self.crops}" + "+sound" * self.sound

    def __call__(self, job: tuple[str, Path]) -> Made:
        """Raises VideoError and its like for a clip that cannot be read."""
        name, path = job
        made, edges, facts = self._features(path)
        files = [f"{name}.npy"] if self.crops == 1 else [f"{name}__{k}.npy" for k in range(self.crops)]
        heard = sound_of(path, edges, self.settings) if self.sound else None
        more = {} if heard is None else {f"{name}{LOGMEL}.npy": heard}
        return Made(dict(zip(files, made, strict=True)) | more, len(made[0]), facts)

    def _features(self, path: Path) -> tuple[list[Floats], npt.NDArray[np.float64], dict[str, Any]]:
        """float32 [T, D] for each crop, the edges [T + 1] (s), and what the manifest says. Memory does not grow with the clip's frames."""
        encoder, settings, crops = self.encoder, self.settings, self.crops
        size = encoder.size if crops == 1 else round(encoder.size / SHARE)
        with open_video(path, settings, size=size) as clip:
            if crops == 1:
                whole = encoder(Watch(clip, self.detector, rate=settings.objects_rate) if self.detector else clip)
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
            return (
                made,
                edges,
                {"sha256": clip.sha256, "duration": clip.video.duration, "warnings": list(clip.warnings)},
            )


def _write(path: Path, values: Floats) -> None:
    part = path.with_name(f".{path.name}.part")
    with open(part, "wb") as file:
        np.save(file, values, allow_pickle=False)
    os.replace(part, path)


def _here(
    work: Extraction, jobs: Sequence[tuple[str, Path]], together: int
) -> Generator[tuple[tuple[str, Path], Made | VladError]]:
    """Each job with what becomes of it, in this process."""
    if together > 1:
        work.encoder.share()
        yield from side_by_side(work, jobs, together)
        return
    for job in jobs:
        try:
            yield job, work(job)
        except VladError as error:
            yield job, error


def run(
    sources: Sequence[Path], folder: Path, settings: Settings, *, crops: int = 1, sound: bool = False, ray: str = "",
    together: int = 1,
) -> int:  # fmt: skip
    """Extract and say how it went; 1 where a clip could not be read. ray: the address of a cluster that does it; together: clips at once where this process does. Raises VladError for what stops the whole run."""
    videos = find_videos(sources)
    extraction = Extraction(settings, crops, sound)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        failed, seconds, taken = extract(videos, extraction, folder, ray=ray, together=together)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); name another folder with -o") from None
    for line in failed:
        print(line, file=sys.stderr)
    speed = f", {seconds / taken:.1f} times real time" if seconds else ""
    print(f"{len(videos) - len(failed)} of {len(videos)} videos in {folder}{speed}")
    return 1 if failed else 0


def extract(
    videos: dict[str, Path], extraction: Extraction, folder: Path, *, ray: str = "", together: int = 1
) -> tuple[list[str], float, float]:
    """Make what is not there yet: one line for each clip that failed, and the seconds of video and of work."""
    manifest = Manifest(folder, extraction.key)
    done = manifest.done()
    left = [(name, path) for name, path in videos.items() if name not in done]
    failed: list[str] = []
    video_seconds, begin = 0.0, time.monotonic()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("features", total=len(videos), completed=len(videos) - len(left))

        make = partial(Extraction, extraction.settings, extraction.crops, extraction.sound)
        device = extraction.settings.device
        with closing(
            each(make, left, ray, device=device) if ray and left else _here(extraction, left, together)
        ) as results:
            for (name, path), made in results:
                if isinstance(made, VladError):
                    failed.append(f"{path}: {made}" if isinstance(made, ClusterError) else str(made))
                else:
                    for file, values in made.arrays.items():
                        _write(folder / file, values)
                    row = {"name": name, "path": str(path), "files": list(made.arrays), "snippets": made.snippets}
                    manifest.add({**row, **made.facts})
                    video_seconds += made.facts["duration"]
                speed = video_seconds / (time.monotonic() - begin)
                bar.update(task, advance=1, description=f"features, {speed:.0f} times real time")
    return failed, video_seconds, time.monotonic() - begin
