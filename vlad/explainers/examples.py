"""What people confirmed of like moments, found by CLIP neighbours, to be shown to a model as examples.

In: a segment's mean image embedding. Out: the nearest confirmed descriptions. A bank is a folder of embeddings.npy, float32 [N, D] unit
vectors, and examples.json: the encoder they are of and N texts. The texts are people's and models': untrusted like all words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlad.arrays import load_array
from vlad.errors import InputError, MismatchError
from vlad.types import Features, Segment

SHOWN = 3
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bank:
    """N confirmed moments. embeddings: unit vectors float32 [N, D] of `encoder`; texts: what was confirmed of each."""

    embeddings: Floats
    texts: tuple[str, ...]
    encoder: str

    def nearest(self, vector: Floats, count: int = SHOWN) -> list[str]:
        """The texts whose moments look most like a unit vector [D], nearest first; each text once."""
        order = np.argsort(-(self.embeddings @ vector), kind="stable")
        return list(dict.fromkeys(self.texts[int(i)] for i in order))[:count]


def embedding(features: Features, segment: Segment, width: int) -> Floats:
    """The mean image embedding of a segment, a unit vector float32 [width]; width: how many of the features are CLIP's."""
    inside = (features.edges[1:] > segment.start) & (features.edges[:-1] < segment.end)
    mean = features.values[inside, :width].mean(axis=0)
    unit: Floats = (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)
    return unit


def save_bank(bank: Bank, folder: Path) -> None:
    """Write a bank."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "embeddings.npy", bank.embeddings, allow_pickle=False)
    (folder / "examples.json").write_text(json.dumps({"encoder": bank.encoder, "texts": list(bank.texts)}))


def load_bank(folder: Path, encoder: str) -> Bank:
    """A bank of an encoder. Raises InputError for what is none, MismatchError for another encoder's."""
    try:
        facts = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
        found = load_array(folder / "embeddings.npy")
        bank = Bank(found.astype(np.float32), tuple(map(str, facts["texts"])), str(facts["encoder"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError) as error:
        raise InputError(f"{folder}: no examples that can be read ({error}); leave the setting examples out") from None
    if bank.embeddings.ndim != 2 or len(bank.embeddings) != len(bank.texts) or not len(bank.texts):
        raise InputError(f"{folder}: {list(bank.embeddings.shape)} embeddings for {len(bank.texts)} texts")
    if bank.encoder != encoder:
        raise MismatchError(
            f"{folder}: examples of {bank.encoder}, the encoder is {encoder}; export them again with it"
        )
    return bank


def told(bank: Bank, features: Features, segments: Sequence[Segment], width: int) -> dict[Segment, dict[str, str]]:
    """The value `examples` of each segment: a line a description."""
    return {
        s: {"examples": "\n".join(f"- {t}" for t in bank.nearest(embedding(features, s, width)))} for s in segments
    }  # fmt: skip
