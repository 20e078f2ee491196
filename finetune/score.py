"""Scores of features on disk, for `vlad eval detection`.

    vlad score SCORER FEATURES -o DIR [--fps 30]

In: a trained scorer's folder, and features as `vlad.finetune.data` reads them, all crops of a video averaged. Out: NAME.npy a video,
float32 [T], or [T, 1 + C] where the scorer names classes: normal first, then each class's share of the score.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.encoder import ClipEncoder, TubeEncoder, load_encoder
from vlad.errors import InputError, MismatchError
from vlad.scorers import classes_of, folder_of, load_folder
from vlad.scorers.head import TrainedScorer
from vlad.types import Features, ScoreTrack

from .data import FeatureFile, find_features, manifest_encoder, manifest_of, with_audio

SNIPPET = 16  # frames
Floats = npt.NDArray[np.float32]


def load(folder: str, settings: Settings) -> TrainedScorer:
    """A scorer's folder, or nano, as a scorer; the settings' encoder reads the class names of those that have some. Raises WeightsError."""
    encoder: list[ClipEncoder | TubeEncoder] = []

    def embed_text(texts: list[str]) -> Floats:
        if not encoder:
            encoder.append(load_encoder(settings))
        return encoder[0].embed_text(texts)

    return load_folder(folder, classes_of(settings), embed_text)


def copy_scorer(name: str, out: Path, *, without: str) -> None:
    """A scorer's files into `out`, but for the file `without`, which no longer holds; `out` may be the scorer's own folder."""
    source = folder_of(name)
    if source.resolve() != out.resolve():
        for file in source.iterdir():
            if file.suffix in (".json", ".safetensors"):
                shutil.copy(file, out / file.name)
    (out / without).unlink(missing_ok=True)


def rows(track: ScoreTrack) -> Floats:
    """A track as the evaluator wants it: float32 [T], or [T, 1 + C] with normal first."""
    if track.classes is None:
        return track.scores
    shares = track.classes[:, 1:] if track.labels[0] == "normal" else track.classes
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    return np.concatenate([1 - track.scores[:, None], track.scores[:, None] * shares], axis=1).astype(np.float32)


def score_file(scorer: TrainedScorer, file: FeatureFile, *, fps: float) -> Floats:
    """Scores of one video, the mean over its crops. Raises InputError for features that do not fit."""
    config = scorer.head.config
    read = with_audio(file) if config.audio else file.load
    found = []
    for crop in range(file.count):
        values = read(crop)
        if values.shape[1] != config.width:
            raise InputError(f"{file.crops[0]}: {values.shape[1]} numbers a snippet, this scorer takes {config.width}")
        edges = np.arange(len(values) + 1) * SNIPPET / fps
        found.append(rows(scorer(Features(values, edges, config.encoder))))
    return np.asarray(np.mean(found, axis=0), np.float32)


def check_encoder(scorer: TrainedScorer, source: Path) -> None:
    """Raises MismatchError for features that say they are of another encoder than the scorer's; those of others say nothing."""
    if not manifest_of(source).is_file():
        return
    made, wanted = manifest_encoder(source), scorer.head.config.encoder
    if made != wanted:
        raise MismatchError(
            f"{source}: features of {made}, {scorer.name} was trained on {wanted}; compute them again with that encoder, or train a scorer for this one"
        )


def run(scorer: str, sources: Sequence[Path], out: Path, settings: Settings, *, audio: Path | None, fps: float) -> str:
    """Score every video; what to do next. Raises InputError that names every file that does not fit."""
    loaded, faults, count = load(scorer, settings), [], 0
    for source in sources:
        check_encoder(loaded, source)
        for file in find_features(source, audio=audio):
            try:
                found = score_file(loaded, file, fps=fps)
            except InputError as error:
                faults.append(str(error))
                continue
            np.save(out / f"{file.name}.npy", found, allow_pickle=False)
            count += 1
    if faults:
        raise InputError("; ".join(faults[:20]) + (f"; and {len(faults) - 20} more" if len(faults) > 20 else ""))
    return f"{count} videos in {out}; measure them with vlad eval detection --dataset ... --scores {out}"
