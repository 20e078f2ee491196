"""Many clips to analyses in a folder: one after another here, or side by side on the machines of a Ray cluster.

In: paths and settings. Out: the number of each path with its analysis and the files that were written, or with what went wrong. Whoever runs the command writes,
and alone: workers on a cluster hand back what they found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import vlad
from vlad.errors import InputError, VladError

from .common import progress_bar

Found = tuple[int, tuple[vlad.Analysis, Sequence[Path]] | VladError]
Job = tuple[int, str, str]  # number, path, and the hash of the clip that was analysed there before


def here(paths: Sequence[Path], settings: vlad.Settings, out: Path, adopted: str, together: int) -> Iterator[Found]:
    """In this process, one after another, or several at once, in the order in which they are ready."""
    analyzer = vlad.Analyzer(settings)
    if together > 1:
        yield from _together(analyzer, paths, out, adopted, together)
        return
    for number, path in enumerate(paths):
        try:
            with progress_bar(path.name) as tell:
                analysis = analyzer(path, on_progress=tell)
            yield number, (analysis, vlad.save(analysis, out, settings=settings, adopted=adopted))
        except VladError as error:
            yield number, error


def _together(analyzer: vlad.Analyzer, paths: Sequence[Path], out: Path, adopted: str, count: int) -> Iterator[Found]:
    check_names(paths)
    analyzer.share()
    threads = import_module("vlad.together")

    def work(job: tuple[int, Path]) -> tuple[vlad.Analysis, Sequence[Path]]:
        analysis = analyzer.twin()(job[1], on_progress=lambda *_: threads.going())
        return analysis, vlad.save(analysis, out, settings=analyzer.settings, adopted=adopted)

    each = threads.side_by_side(work, list(enumerate(paths)), count)
    with closing(each) as results, progress_bar("clips") as tell:
        for done, ((number, _), found) in enumerate(results, 1):
            tell("analysed", done, len(paths))
            yield number, found


def check_names(paths: Sequence[Path]) -> None:
    """Raises InputError for two clips whose results would have one name."""
    stems = [path.stem for path in paths]
    double = sorted({stem for stem in stems if stems.count(stem) > 1})
    if double:
        raise InputError(f"two clips would be written as {double[0]}.json; name another folder for one of them")


class Illustrated:
    """On a worker: a clip to its analysis and the frames of its report, or None where it is the clip that was analysed before."""

    def __init__(self, settings: vlad.Settings) -> None:
        self.analyzer = vlad.Analyzer(settings)

    def __call__(self, job: Job) -> tuple[vlad.Analysis, Any] | None:
        _, path, before = job
        if before and import_module("vlad.video").identify(path, self.analyzer.settings) == before:
            return None
        found: tuple[vlad.Analysis, Any] = import_module("vlad.pipeline").illustrated(self.analyzer, path)
        return found


def there(paths: Sequence[Path], settings: vlad.Settings, out: Path, adopted: str, address: str) -> Iterator[Found]:
    """Side by side on a cluster, in the order in which they are ready. What the folder's manifest says was made of the same clip in the same way is read again.

    Raises InputError for two clips whose results would have one name, and as `vlad.cluster.each` does.
    """
    check_names(paths)
    cluster, report = import_module("vlad.cluster"), import_module("vlad.report")
    manifest = import_module("vlad.manifest").Manifest(out, _made_with(settings, adopted))
    done = manifest.done()
    jobs = [(n, str(path), done.get(str(path), {}).get("sha256", "")) for n, path in enumerate(paths)]
    with closing(cluster.each(partial(Illustrated, settings), jobs, address, device=settings.device)) as results, \
         progress_bar("clips") as tell:  # fmt: skip
        for count, ((number, path, _), found) in enumerate(results, 1):
            tell("analysed", count, len(paths))
            if isinstance(found, VladError):
                yield number, found
                continue
            try:
                if found is None:
                    written = [out / name for name in done[path]["files"]]
                    analysis = report.from_json(written[0].read_text(encoding="utf-8"))
                else:
                    analysis, frames = found
                    written = report.save(analysis, out, frames=frames, adopted=adopted)
                    files = [file.name for file in written]
                    manifest.add({"name": path, "sha256": analysis.video.sha256, "files": files})
            except VladError as error:
                yield number, error
            else:
                yield number, (analysis, written)


def _made_with(settings: vlad.Settings, adopted: str) -> str:
    """Whatever decides an analysis besides the clip: settings, versions, and size and time of the files that settings name."""
    told = settings.model_dump(mode="json", exclude={"cache"})
    named = [Path(value) for value in told.values() if isinstance(value, str) and value and Path(value).exists()]
    files = [Path(vlad.__file__).parent / "nano", *named]
    every = [file for place in files for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    stamps = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in every if file.is_file()]
    facts = json.dumps([told, import_module("vlad.pipeline").versions(), stamps, adopted], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]
