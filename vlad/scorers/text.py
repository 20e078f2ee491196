"""Scores without training: is a snippet nearer to sentences of trouble or of calm?

In: features whose first part is a CLIP image embedding. Out: a ScoreTrack. The score is the softmax share of the anomalous sentences
(the zero-shot classifier of Radford et al. 2021), on the fixed scale of CLIP's own temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from vlad.types import Features, ScoreTrack

CALM = (
    "people walking normally", "an ordinary street with traffic", "an empty room", "people standing and talking",
    "nothing unusual happens", "people shopping",
)  # fmt: skip
TROUBLE = (
    "fighting", "assault", "a road accident", "an explosion", "arson, a fire", "a burglary", "a robbery", "shoplifting",
    "a shooting", "vandalism", "a person falling", "a crowd in panic", "an abandoned object",
)  # fmt: skip
SCALE = 100.0  # CLIP's logit scale after training


class TextScorer:
    """Normal against anomalous sentences; classes: names to choose from instead of TROUBLE."""

    name = "text"

    def __init__(self, embed_text: Callable[[list[str]], npt.NDArray[np.float32]], classes: Sequence[str] = ()) -> None:
        self.labels = tuple(classes) or TROUBLE
        self._texts = embed_text([f"surveillance footage of {t}" for t in (*CALM, *self.labels)])

    def __call__(self, features: Features) -> ScoreTrack:
        """Scores and class shares of each snippet."""
        clip = features.values[:, : self._texts.shape[1]]
        logits = SCALE * clip @ self._texts.T
        scores = softmax(logits, axis=1)[:, len(CALM) :].sum(axis=1).clip(0, 1).astype(np.float32)
        classes = softmax(logits[:, len(CALM) :], axis=1).astype(np.float32)
        return ScoreTrack(scores, features.edges, self.labels, classes)
