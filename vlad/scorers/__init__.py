"""Features to scores: one head a file, all of them in SCORERS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.errors import SettingsError
from vlad.scorers.mil import MilScorer, load_head
from vlad.scorers.text import TextScorer
from vlad.types import Scorer
from vlad.weights import nano_part


class TextTower(Protocol):
    """What a scorer needs of an encoder: sentences to unit vectors float32 [N, D]."""

    def embed_text(self, texts: list[str]) -> npt.NDArray[np.float32]: ...


def _mil(settings: Settings, encoder: TextTower) -> Scorer:
    head = load_head(Path(settings.scorer_weights) if settings.scorer_weights else nano_part("mil"))
    return MilScorer(head, settings.classes or head.config.labels, encoder.embed_text)


def _text(settings: Settings, encoder: TextTower) -> Scorer:
    return TextScorer(encoder.embed_text, settings.classes)


SCORERS: dict[str, Callable[[Settings, TextTower], Scorer]] = {"mil": _mil, "text": _text}


def load_scorer(settings: Settings, encoder: TextTower) -> Scorer:
    """The scorer that the settings name. Raises SettingsError for an unknown name, WeightsError for weights that do not load."""
    if settings.scorer not in SCORERS:
        raise SettingsError(f"scorer {settings.scorer!r} is unknown; choose one of {', '.join(SCORERS)}")
    return SCORERS[settings.scorer](settings, encoder)
