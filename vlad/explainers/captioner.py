"""A picture to a sentence: nano's LLaVA without its adapter, which speaks as people do who say what is in a photo.

In: pictures, and what the detector saw in each. Out: a sentence each, with how sure its words are. A sentence is a guess from one picture:
nothing here is measured.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from vlad.config import make_settings
from vlad.types import Box
from vlad.weights import nano_part
from vlad.wording import COLOURS, STEMS

from .engine import Picture, Request
from .llava import LlavaEngine, load_llava

WORDS = 24  # tokens of a sentence at most
BEAMS = 3


def asked(seen: str) -> list[dict[str, Any]]:
    """What the model is asked of a picture in which `seen` was detected."""
    words = f"Describe the picture. {seen}".strip()
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}]


def tidy(caption: str) -> str:
    """A caption in lower case, without a stop and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"[^a-z0-9' -]+", " ", caption.lower())).strip()


def seen_words(boxes: Sequence[Box]) -> str:
    """What a detector saw in a picture, such as '2 people, 1 dog', the most first; '' for nothing."""
    found = Counter("people" if b.label == "person" else b.label for b in boxes)
    return ", ".join(f"{count} {label}" for label, count in found.most_common(4))


def guess(caption: str) -> str:
    """What of a caption may be told of footage: without its colours, which are measured or left out; '' where it names an event."""
    if any(stem.search(caption) for stem in STEMS.values()):
        return ""
    words = [w for w in caption.split() if w not in COLOURS]
    spaced = " ".join(words)
    return re.sub(r"\b(a|an) (?=(\w))", lambda m: "an " if m.group(2) in "aeiou" else "a ", spaced)


class Captioner:
    """A loaded model: pictures to sentences."""

    def __init__(self, engine: LlavaEngine) -> None:
        self.engine = engine

    def __call__(self, pictures: Sequence[Picture], seen: Sequence[str] = ()) -> list[tuple[str, float]]:
        """A sentence a picture, in lower case, and the mean probability of its words in (0, 1]. seen: of each, by `seen_words`."""
        told = seen or [""] * len(pictures)
        return [self._one(*pair) for pair in zip(pictures, told, strict=True)]

    def _one(self, picture: Picture, seen: str) -> tuple[str, float]:
        model, inputs = self.engine.model, self.engine.layout([Request(asked(seen), [picture])])
        with torch.inference_mode():
            out = model.generate(
                **inputs, max_new_tokens=WORDS, num_beams=BEAMS, do_sample=False, return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
        tokens = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        sure = float(out.sequences_scores[0].exp()) if out.sequences_scores is not None else 0.0
        return self.engine.tokenizer.decode(tokens, skip_special_tokens=True).strip(), min(sure, 1.0)


@cache
def load_captioner() -> Captioner:
    """nano's LLaVA as it speaks of photos, one for all who ask. Raises WeightsError for what does not fit."""
    settings = make_settings(device="cpu", precision="float32")
    return Captioner(load_llava(str(nano_part("llava")), "", settings, name="nano"))
