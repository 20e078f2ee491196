"""Scores without training: is a snippet nearer to sentences of trouble or of calm?

In: features whose first part is a CLIP image embedding. Out: a ScoreTrack. The score is the softmax share of the anomalous sentences
(the zero-shot classifier of Radford et al. 2021), on the fixed scale of CLIP's own temperature.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from vlad.types import Features, ScoreTrack

from .head import Classes, EmbedText, embedded

CALM = (
    "people walking normally", "an ordinary street with traffic", "an empty room", "people standing and talking",
    "nothing unusual happens", "people shopping",
)  # fmt: skip
TROUBLE = (
    "fighting", "assault", "a road accident", "an explosion", "arson, a fire", "a burglary", "a robbery", "shoplifting",
    "a shooting", "vandalism", "a person falling", "a crowd in panic", "an abandoned object",
)  # fmt: skip
NORMAL = "normal"
SCALE = 100.0  # CLIP's logit scale after training


class TextScorer:
    """Normal against anomalous sentences; classes: those to choose from instead of TROUBLE, and `normal` with sentences instead of CALM."""

    name = "text"

    def __init__(self, embed_text: EmbedText, classes: Classes | None = None) -> None:
        classes = dict(classes or {name: (f"surveillance footage of {name}",) for name in TROUBLE})
        calm = classes.pop(NORMAL, None) or [f"surveillance footage of {t}" for t in CALM]
        self.labels, self._calm = tuple(classes), len(calm)
        self._texts = np.concatenate([embed_text(list(calm)), embedded(classes, embed_text).numpy()])

    def __call__(self, features: Features) -> ScoreTrack:
        """Scores and class shares of each snippet."""
        clip = features.values[:, : self._texts.shape[1]]
        logits = SCALE * clip @ self._texts.T
        scores = softmax(logits, axis=1)[:, self._calm :].sum(axis=1).clip(0, 1).astype(np.float32)
        classes = softmax(logits[:, self._calm :], axis=1).astype(np.float32)
        return ScoreTrack(scores, features.edges, self.labels, classes)
