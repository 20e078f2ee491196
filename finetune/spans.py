"""Simulated spans as nano's LLaVA sees them: the tower's tokens of a few frames, what was measured, the truth, and questions with answers.

In: seeds. Out: `Span`s, whose tokens are computed once and lie in a folder, a file for each CHUNK of them. Knows no test data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch.nn import functional

from vlad.config import make_settings
from vlad.explainers.grounded import told
from vlad.explainers.tower import SIDE, EyesTower
from vlad.facts import facts_of
from vlad.objects import Detector, load_detector
from vlad.sim import ANOMALIES, World, simulate
from vlad.sim.captions import answer_of
from vlad.tracks import follow
from vlad.types import Sighting

from .clip import augment
from .recipe import LlavaRecipe

CHUNK = 250
LOOKS = 3.0  # of the detector a second; vlad looks 2 to 6 times


def pixels_of(pictures: Sequence[npt.NDArray[np.uint8]]) -> torch.Tensor:
    """Pictures of any size, the whole of each fitted into the square, as the shipped image processor does: float [N, 3, SIDE, SIDE] in -1..1."""
    found = []
    for picture in pictures:
        x = torch.from_numpy(np.ascontiguousarray(picture))[None].permute(0, 3, 1, 2).float()
        found.append(functional.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 255))
    return torch.cat(found) / 127.5 - 1


@dataclass(frozen=True)
class Span:
    """What is known of a span. label: the anomalous class that is on, '' for none; times: s, of its frames; facts: measured, in words, '' where
    nobody looked; truth: as the template explain wants it; asked: questions with answers."""

    seed: int
    label: str
    times: tuple[float, ...]
    facts: str
    truth: dict[str, str]
    asked: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Spans:
    """Spans with the tower's tokens of their frames, float16 [frames, TOKENS, E] each."""

    spans: tuple[Span, ...]
    views: tuple[npt.NDArray[np.float16], ...]


def draw_world(seed: int, recipe: LlavaRecipe, rng: np.random.Generator) -> tuple[World, tuple[float, float], str]:
    """A simulated video, a span of it, and the anomalous class that is on in it ('' for none)."""
    if rng.random() < recipe.normal:
        start = float(rng.uniform(0, 9))
        return simulate(seed, duration=16.0, events=()), (start, start + float(rng.uniform(2, 7))), ""
    label = ANOMALIES[int(rng.integers(len(ANOMALIES)))]
    world = simulate(seed, duration=16.0, events=(label,))
    event = next(e for e in world.events if e.anomalous)
    slack = rng.uniform(-1.0, 1.5, 2)
    start, end = max(0.0, event.start + slack[0]), min(world.duration, event.end - slack[1])
    return world, (start, max(end, start + 2)), label


def suggested(label: str, recipe: LlavaRecipe, rng: np.random.Generator) -> str:
    """The class that a detector might suggest for a span in which `label` is on; '' for none."""
    if not label and rng.random() < 0.8:
        return str(rng.choice(ANOMALIES))  # a detector that flags a calm span always names something
    return label if rng.random() < recipe.honest else str(rng.choice(["", *ANOMALIES]))


def facts_in(world: World, span: tuple[float, float], detector: Detector) -> str:
    """What is measured of a span, in the words that the model is told."""
    times = np.arange(span[0], min(span[1], world.duration), 1 / LOOKS)
    frames = [world.frame(float(t)) for t in times]
    seen = [Sighting(float(t), boxes) for t, boxes in zip(times, detector(frames), strict=True)]
    height, width = frames[0].shape[:2]
    return told(facts_of(follow(seen), span, aspect=width / height))


def draw_span(seed: int, recipe: LlavaRecipe, detector: Detector | None) -> tuple[npt.NDArray[np.uint8], Span]:  # fmt: skip
    """Frames uint8 RGB [F, S, S, 3] of the span of a seed, and what is known of it; without a detector nothing is measured."""
    rng = np.random.default_rng([recipe.seed, seed, 23])
    world, (start, end), label = draw_world(seed, recipe, rng)
    times = start + (np.arange(recipe.frames) + rng.uniform(0.2, 0.8, recipe.frames)) / recipe.frames * (end - start)
    pictures = augment([world.frame(float(t)) for t in times], recipe.size, rng, strength=0.3)
    middle = float(times[recipe.frames // 2])
    event = next((e for e in world.events if e.anomalous), world.event_at(middle))
    truth, seen = answer_of(event, world.scene.place), event.start if event else middle
    asked = [("Describe these frames.", world.caption(seen, rng)) for _ in range(2)]
    asked += [("Who can be seen?", truth["who"]), ("What happens, and to whom?", f"{truth['what']}; {truth['who']}"),
              ("Name the activity.", truth["what"]), ("Describe it fully.", truth["text"])]  # fmt: skip
    asked += world.questions(seen, rng)
    facts = facts_in(world, (start, end), detector) if detector else ""
    return pictures, Span(seed, label, tuple(float(t) for t in times), facts, truth, tuple(asked))


def spans_seen(tower: EyesTower, seeds: range, recipe: LlavaRecipe, folder: Path, *, measured: float) -> Spans:
    """Spans of `seeds` with their tokens, kept in `folder`. measured: share of them whose facts are known."""
    folder.mkdir(parents=True, exist_ok=True)
    detector = load_detector(make_settings())
    spans: list[Span] = []
    views: list[npt.NDArray[np.float16]] = []
    for first in track(range(seeds.start, seeds.stop, CHUNK), "spans"):
        told, kept = folder / f"{first}.json", folder / f"{first}.npy"
        if not told.is_file():
            _chunk(tower, range(first, min(first + CHUNK, seeds.stop)), recipe, detector, folder, measured)
        spans += [_read(row) for row in json.loads(told.read_text())]
        views += list(np.load(kept, allow_pickle=False, mmap_mode="r"))
    return Spans(tuple(spans), tuple(views))


def _chunk(tower: EyesTower, seeds: range, recipe: LlavaRecipe, detector: Detector, folder: Path, measured: float) -> None:  # fmt: skip
    spans, views = [], []
    for seed in seeds:
        looked = np.random.default_rng([recipe.seed, seed, 29]).random() < measured
        pictures, span = draw_span(seed, recipe, detector if looked else None)
        with torch.inference_mode():
            views.append(tower(pixels_of(list(pictures))).last_hidden_state.half().numpy())
        spans.append(asdict(span))
    part = folder / f".{seeds.start}.npy"
    np.save(part, np.stack(views), allow_pickle=False)
    part.replace(folder / f"{seeds.start}.npy")
    part = folder / f".{seeds.start}.json"
    part.write_text(json.dumps(spans))
    part.replace(folder / f"{seeds.start}.json")


def _read(row: dict[str, Any]) -> Span:
    row |= {"times": tuple(row["times"]), "asked": tuple((q, a) for q, a in row["asked"])}
    return Span(**row)
