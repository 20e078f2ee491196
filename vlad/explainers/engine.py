"""What a language model is asked, and what it says, wherever it runs. Knows no model and no segment."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vlad.types import VERDICTS

Picture = npt.NDArray[np.uint8]  # RGB [H, W, 3]
OnText = Callable[[int, str], None]
OPENING = re.compile(r'"verdict":\s*"$')  # where in an answer the verdict's word begins


@dataclass(frozen=True)
class Request:
    """Chat messages with a place for each picture, in order; schema: of the answer, or None for free text; what else generation takes."""

    messages: Sequence[Mapping[str, Any]]
    pictures: Sequence[Picture] = ()
    schema: Mapping[str, Any] | None = None
    max_new_tokens: int = 160
    sampling: Mapping[str, Any] | None = None  # do_sample, temperature, top_p


@dataclass(frozen=True)
class Reply:
    """The model's words. probability: of the verdict anomaly among the three. shown: places of the pictures it saw. notes: what went on."""

    text: str
    probability: float | None = None
    shown: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """A language model that sees. name stands in explanations."""

    @property
    def name(self) -> str: ...
    def room(self, request: Request) -> int:
        """How many of the request's pictures its context holds beside the answer. Raises SettingsError for none."""
        ...

    def __call__(self, requests: Sequence[Request], on_text: OnText | None = None) -> list[Reply]:
        """A reply each, in order; on_text(index, piece) gets words as they come. Raises ModelError."""
        ...


def fewer(request: Request, kept: Sequence[int]) -> Request:
    """The request with only the pictures at the places `kept`, and as many places for them."""
    messages, seen = [], -1
    for message in request.messages:
        content = []
        for item in message["content"]:
            if item["type"] == "image":
                seen += 1
                if seen not in kept:
                    continue
            content.append(item)
        messages.append({**message, "content": content})
    return Request(
        messages, [request.pictures[i] for i in kept], request.schema, request.max_new_tokens, request.sampling
    )


def shares(scores: Mapping[str, float]) -> float | None:
    """P(anomaly) among the verdicts whose log-probabilities are known; None unless all are."""
    if set(scores) != set(VERDICTS):
        return None
    values = np.array([scores[v] for v in VERDICTS])
    weights = np.exp(values - values.max())
    return float(weights[VERDICTS.index("anomaly")] / weights.sum())


def read_json(raw: str) -> Any:
    """The first JSON object in `raw`, None where there is none."""
    place = raw.find("{")
    if place < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(raw[place:])[0]
    except (ValueError, RecursionError):  # RecursionError: thousands of open brackets
        return None
