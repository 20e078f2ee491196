"""Simulated spans for nano's LLaVA: a few frames of each, what was measured, the truth, and questions with answers.

In: seeds. Out: `Span`s with their frames, which are drawn once and lie in a folder, a file for each CHUNK of them. Knows no test data.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.progress import track

from vlad.config import make_settings
from vlad.explainers.grounded import told
from vlad.explainers.tower import SIDE
from vlad.facts import facts_of
from vlad.objects import Detector, load_detector
from vlad.sim import ANOMALIES, World, simulate
from vlad.sim.captions import answer_of
from vlad.tracks import follow
from vlad.types import Sighting

from .recipe import LlavaRecipe

CHUNK = 100
LOOKS = 3.0  # of the detector a second; vlad looks 2 to 6 times


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
    """Spans with their frames, uint8 RGB [F, SIDE, SIDE, 3] each."""

    spans: tuple[Span, ...]
    pictures: tuple[npt.NDArray[np.uint8], ...]


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


def draw_span(seed: int, recipe: LlavaRecipe, detector: Detector | None) -> tuple[list[npt.NDArray[np.uint8]], Span]:  # fmt: skip
    """Frames uint8 RGB [H, W, 3] of the span of a seed, and what is known of it; without a detector nothing is measured."""
    rng = np.random.default_rng([recipe.seed, seed, 23])
    world, (start, end), label = draw_world(seed, recipe, rng)
    times = start + (np.arange(recipe.frames) + rng.uniform(0.2, 0.8, recipe.frames)) / recipe.frames * (end - start)
    pictures = [world.frame(float(t)) for t in times]
    middle = float(times[recipe.frames // 2])
    event = next((e for e in world.events if e.anomalous), world.event_at(middle))
    truth, seen = answer_of(event, world.scene.place), event.start if event else middle
    asked = [("Describe these frames.", world.caption(seen, rng)) for _ in range(2)]
    asked += [("Who can be seen?", truth["who"]), ("What happens, and to whom?", f"{truth['what']}; {truth['who']}"),
              ("Name the activity.", truth["what"]), ("Describe it fully.", truth["text"])]  # fmt: skip
    asked += world.questions(seen, rng)
    facts = facts_in(world, (start, end), detector) if detector else ""
    return pictures, Span(seed, label, tuple(float(t) for t in times), facts, truth, tuple(asked))


def spans_drawn(seeds: range, recipe: LlavaRecipe, folder: Path, *, measured: float) -> Spans:
    """Spans of `seeds` with their frames, kept in `folder`, drawn by as many processes as there are cores. measured: share of them whose facts
    are known."""
    folder.mkdir(parents=True, exist_ok=True)
    spans: list[Span] = []
    pictures: list[npt.NDArray[np.uint8]] = []
    chunks = [range(first, min(first + CHUNK, seeds.stop)) for first in range(seeds.start, seeds.stop, CHUNK)]
    missing = [chunk for chunk in chunks if not (folder / f"{_name(chunk)}.json").is_file()]
    if missing:
        with ProcessPoolExecutor(
            mp_context=get_context("spawn")
        ) as pool:  # a fork of a process that ran torch can wait for ever
            jobs = [pool.submit(_chunk, chunk, recipe, folder, measured) for chunk in missing]
            for job in track(as_completed(jobs), "spans", total=len(jobs)):
                job.result()
    for chunk in chunks:
        spans += [_read(row) for row in json.loads((folder / f"{_name(chunk)}.json").read_text())]
        pictures += list(np.load(folder / f"{_name(chunk)}.npy", allow_pickle=False, mmap_mode="r"))
    return Spans(tuple(spans), tuple(pictures))


def _chunk(seeds: range, recipe: LlavaRecipe, folder: Path, measured: float) -> None:
    cv2.setNumThreads(1)
    detector = load_detector(make_settings())
    spans, pictures = [], []
    for seed in seeds:
        looked = np.random.default_rng([recipe.seed, seed, 29]).random() < measured
        frames, span = draw_span(seed, recipe, detector if looked else None)
        pictures.append(np.stack([cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in frames]))
        spans.append(asdict(span))
    part = folder / f".{_name(seeds)}.npy"
    np.save(part, np.stack(pictures), allow_pickle=False)
    part.replace(folder / f"{_name(seeds)}.npy")
    part = folder / f".{_name(seeds)}.json"
    part.write_text(json.dumps(spans))
    part.replace(folder / f"{_name(seeds)}.json")


def _name(seeds: range) -> str:
    return f"{seeds.start}-{seeds.stop}"


def _read(row: dict[str, Any]) -> Span:
    row |= {"times": tuple(row["times"]), "asked": tuple((q, a) for q, a in row["asked"])}
    return Span(**row)
