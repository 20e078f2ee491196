"""A linear probe on descriptors of clips: learnt without labels (`vlad finetune masked`), beside those of nano's ImageNet tower.

    vlad eval descriptors tubes=FOLDER data=FOLDER [work=runs/descriptors]

In: fights and street of DATA. Out: a table and WORK/descriptors.json: clip AUC of a logistic regression on the mean of a clip's descriptors, its
penalty chosen inside the training part by folds over sources: fights train to val, fights train and street in five folds over sources and scenes. Intervals
and paired differences are over sources. Controls: how much moves, which learns nothing, and the same transformer with the weights it began with.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vlad.config import Settings, make_settings
from vlad.encoder import ClipEncoder, TubeEncoder, change_of, load_clip, load_encoder, seen_frames
from vlad.errors import SettingsError
from vlad.tubes import Tubes
from vlad.video import open_video

from .metrics import Figure, bootstrap, clip_auc
from .verb import options_of, show_table

OPTIONS = {"tubes": "runs/masked", "data": os.environ.get("VLAD_DATA", ""), "work": "runs/descriptors"}
WINDOW = {"fights": 32, "street": 16}  # frames of the source that the transformer sees 16 of: about 15 a second
PENALTIES = tuple(10.0**k for k in range(-5, 2))
FOLDS = 5
IMAGENET, MASKED, MOVES = "ImageNet, mean and change", "masked, mean and change", "how much moves"
PARTS = (
    "ImageNet, mean",
    "ImageNet, change",
    "masked, mean",
    "masked, change",
    "never trained, mean",
    "never trained, change",
)
WAYS: dict[str, tuple[str, ...]] = {
    IMAGENET: PARTS[:2], PARTS[0]: PARTS[:1], PARTS[1]: PARTS[1:2], MASKED: PARTS[2:4], PARTS[2]: PARTS[2:3], PARTS[3]: PARTS[3:4],
    "never trained, mean and change": PARTS[4:], "ImageNet and masked": PARTS[:4],
}  # fmt: skip
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """path: from the data folder. source: set. group: what must stay on one side of a split. held: of fights val."""

    path: str
    source: str
    group: str
    anomalous: bool
    held: bool = False


def labelled(data: Path) -> list[Labelled]:
    """The clips of fights and street; what the manifest calls unknown is left out."""
    with open(data / "fights" / "manifest.csv", newline="") as file:
        found = [
            Labelled(f"fights/{r['path']}", "fights", r["source_video"], r["label"] == "fight", r["split"] == "val")
            for r in csv.DictReader(file)
        ]
    with open(data / "street" / "manifest.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["label"] != "unknown"]
    return found + [Labelled(f"street/{r['file']}", "street", r["scene"], r["is_anomaly"] == "1") for r in rows]


def of_pictures(path: Path, encoder: ClipEncoder, settings: Settings) -> dict[str, Floats]:
    """Of a clip the mean of the tower's inner features, their mean absolute change, and how much pixels change."""
    inner, moved, before = [], [], None
    with open_video(path, settings, size=encoder.size) as clip:
        for snippet in clip:
            frames = seen_frames(snippet)
            found = encoder.tower(encoder.pixels(frames))[1].float().cpu().numpy()
            inner.append(found)
            moved.append(change_of(found, before))
            before = found[-1]
            still = snippet.frames.astype(np.float32)
            moved[-1] = np.append(moved[-1], np.abs(np.diff(still, axis=0)).mean())
    change = np.mean(moved, axis=0)
    return {PARTS[0]: np.concatenate(inner).mean(0), PARTS[1]: change[:-1], MOVES: change[-1:]}


def of_tubes(path: Path, encoder: TubeEncoder, settings: Settings, names: Sequence[str]) -> dict[str, Floats]:
    """Of a clip the mean feature, its two halves by `names`."""
    with open_video(path, settings, size=encoder.size) as clip:
        found: Floats = encoder(clip).values.astype(np.float64).mean(0)
    return dict(zip(names, np.split(found, 2), strict=True))


def described(clips: Sequence[Labelled], data: Path, folder: Path, work: Path) -> list[dict[str, Floats]]:
    """Every part of every clip, kept in `work`."""
    plain = make_settings()
    pictures, tubes = load_clip(plain), load_encoder(make_settings("tubes", encoder=str(folder)))
    if not isinstance(tubes, TubeEncoder):
        raise SettingsError(f"tubes={folder}: expected a folder that `vlad finetune masked` wrote")
    torch.manual_seed(0)
    unlearnt = TubeEncoder(
        Tubes(tubes.model.shape), name="unlearnt", weights="0", device=tubes.device, dtype=tubes.dtype
    )
    makers: dict[str, Callable[[Labelled], dict[str, Floats]]] = {
        pictures.name: lambda c: of_pictures(data / c.path, pictures, plain),
        tubes.name: lambda c: of_tubes(data / c.path, tubes, _settings(c, tubes), PARTS[2:4]),
        f"{unlearnt.name}-{tubes.model.shape.width}": lambda c: of_tubes(
            data / c.path, unlearnt, _settings(c, tubes), PARTS[4:]
        ),
    }
    found = []
    for clip in track(clips, "descriptors"):
        parts: dict[str, Floats] = {}
        for name, make in makers.items():
            kept = work / name.replace("@", "-") / f"{clip.path.replace('/', '-')}.npz"
            if not kept.is_file():
                kept.parent.mkdir(parents=True, exist_ok=True)
                made: dict[str, npt.ArrayLike] = dict(make(clip))
                np.savez(kept, allow_pickle=False, **made)
            with np.load(kept, allow_pickle=False) as stored:
                parts |= {k: stored[k] for k in stored.files}
        found.append(parts)
    return found


def _settings(clip: Labelled, encoder: TubeEncoder) -> Settings:
    return make_settings(snippet_frames=WINDOW[clip.source], frames_per_snippet=encoder.model.shape.frames)


def fitted(x: Floats, y: npt.NDArray[np.int64], groups: Sequence[str]) -> Callable[[Floats], Floats]:
    """A logistic regression under the penalty that is best in folds over `groups`: values [N, D] to logits [N]."""

    def fit(strength: float, values: Floats, truth: npt.NDArray[np.int64]) -> Callable[[Floats], Floats]:
        plain = LogisticRegression(C=strength, max_iter=2000, class_weight="balanced")
        found: Callable[[Floats], Floats] = make_pipeline(StandardScaler(), plain).fit(values, truth).decision_function
        return found

    def held_out(strength: float) -> float:
        return clip_auc(out_of_fold(x, y, groups, lambda a, b, _: fit(strength, a, b)).tolist(), y.tolist())

    return fit(max(PENALTIES, key=held_out), x, y)


def out_of_fold(
    x: Floats, y: npt.NDArray[np.int64], groups: Sequence[str],
    fit: Callable[[Floats, npt.NDArray[np.int64], list[str]], Callable[[Floats], Floats]],
) -> Floats:  # fmt: skip
    """Scores [N] of what each was not fitted on, in folds over groups."""
    scores = np.zeros(len(y))
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(x, y, groups):
        scores[test] = fit(x[train], y[train], [groups[i] for i in train])(x[test])
    return scores


def probed(
    clips: Sequence[Labelled], parts: Sequence[dict[str, Floats]], names: Sequence[str]
) -> dict[str, tuple[list[int], Floats]]:
    """Of each measurement the clips it is on, and their scores, with the descriptors `names`."""
    x = np.stack([np.concatenate([p[n] for n in names]) for p in parts])
    y, groups = np.array([int(c.anomalous) for c in clips]), [c.group for c in clips]
    train, val, street = (
        [i for i, c in enumerate(clips) if (c.source, c.held) == kind]
        for kind in (("fights", False), ("fights", True), ("street", False))
    )

    def pick(rows: list[int]) -> tuple[Floats, npt.NDArray[np.int64], list[str]]:
        return x[rows], y[rows], [groups[i] for i in rows]

    return {
        "fights, train to val": (val, fitted(*pick(train))(x[val])),
        "fights train, five folds": (train, out_of_fold(*pick(train), fitted)),
        "street, five folds": (street, out_of_fold(*pick(street), fitted)),
    }


def figure(clips: Sequence[Labelled], rows: Sequence[int], scores: Floats, less: Floats | None = None) -> Figure:
    """Clip AUC, or how much it is above that of `less`, with its interval over groups."""
    other = scores if less is None else less
    by_group: dict[str, list[tuple[float, float, int]]] = {}
    for i, ours, theirs in zip(rows, scores, other, strict=True):
        by_group.setdefault(clips[i].group, []).append((float(ours), float(theirs), int(clips[i].anomalous)))

    def auc(some: list[list[tuple[float, float, int]]]) -> float:
        flat = [row for group in some for row in group]
        values = [clip_auc([row[k] for row in flat], [row[2] for row in flat]) for k in (0, 1)]
        return values[0] if less is None else values[0] - values[1]

    return bootstrap(list(by_group.values()), auc)


def main(argv: Sequence[str]) -> int:
    """`vlad eval descriptors`. Raises SettingsError for options that are not known."""
    options = options_of("descriptors", argv, OPTIONS)
    if not options["data"]:
        raise SettingsError("eval descriptors: name the data with data=FOLDER")
    data, work = Path(options["data"]), Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    clips = labelled(data)
    parts = described(clips, data, Path(options["tubes"]), work)
    scores = {way: probed(clips, parts, names) for way, names in WAYS.items()}
    moves = np.array([float(p[MOVES][0]) for p in parts])
    scores[MOVES] = {on: (rows, moves[rows]) for on, (rows, _) in scores[MASKED].items()}
    told = []
    table = Table("descriptors", *scores[MASKED], caption=f"clip AUC; below it, paired: less {IMAGENET}")
    for way, found in scores.items():
        cells = []
        for on, (rows, values) in found.items():
            own, over = figure(clips, rows, values), figure(clips, rows, values, scores[IMAGENET][on][1])
            cells.append(
                f"{own}" + ("" if way == IMAGENET else f"\n{over.value:+.3f} [{over.low:+.3f}, {over.high:+.3f}]")
            )
            told.append(
                {"descriptors": way, "on": on, "clips": len(rows), "auc": asdict(own), f"over {IMAGENET}": asdict(over)}
            )
        table.add_row(way, *cells)
    show_table(table)
    (work / "descriptors.json").write_text(json.dumps(told, indent=1) + "\n")
    return 0
