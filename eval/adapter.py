"""What tuning and what retrieval add to a language model's answers, on simulated segments of seeds that nothing was trained on.

    vlad eval adapter [base=nano] [adapter=nano] [videos=120] [first=5000000] [bank=300] [constrain=true] [work=runs/adapter]

In: a base and an adapter. Out: a table: the base, the base with confirmed examples of like moments (CLIP neighbours, from training seeds),
the adapter, and the adapter with examples, on the same segments: category, who and what recalled, calm spans called normal, answers that
can be read; with paired differences to the base. constrain=false lets models write what they like: the grammar of the schema alone gives
the base its braces. Controls: a constant answer, and the adapter's answers given to other segments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track as bar
from rich.table import Table

from vlad.config import make_settings
from vlad.explainers import load_explainer
from vlad.explainers.examples import Bank, embedding, told
from vlad.pipeline import Analyzer
from vlad.sim import Event, World, training_world, write_video
from vlad.sim.captions import answer_of
from vlad.types import Explanation, Features, ScoreTrack, Segment, Video

from .benchmarks import calm_span, rendered
from .compare import readable
from .explanations import Told, category, constant, recall, said, truth_of
from .metrics import Figure, bootstrap
from .verb import options_of, show_table

OPTIONS = {"base": "nano", "adapter": "nano", "videos": "120", "first": "5000000", "bank": "300", "constrain": "true", "work": "runs/adapter"}  # fmt: skip
MEASURES = ("category", "who and what recalled", "calm spans called normal", "readable")


@dataclass(frozen=True)
class Span:
    """A span to be explained, of a video; event: what happens there, None where all is calm."""

    video: Video
    track: ScoreTrack
    features: Features
    segment: Segment
    event: Event | None


def spans(analyzer: Analyzer, videos: int, first: int, folder: Path) -> list[Span]:
    """One span a video: its first anomalous event, labelled by the scorer, or a calm one dressed as flagged."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in bar(range(first, first + videos), "videos"):
        world, path = rendered(seed, folder)
        features, video, _ = analyzer.features(path)
        track = analyzer.score(features)
        event = next((e for e in world.events if e.anomalous), None)
        found.append(Span(video, track, features, first_span(world, track), event))
    return found


def first_span(world: World, track: ScoreTrack) -> Segment:
    """A video's first anomalous event under the scorer's label for it, or a calm span dressed as flagged."""
    event = next((e for e in world.events if e.anomalous), None)
    if event is None:
        return calm_span(world, track)
    start, end = event.start, min(event.end, world.duration)
    inside = (track.edges[1:] > start) & (track.edges[:-1] < end)
    assert track.classes is not None
    label = track.labels[int(track.classes[inside].mean(axis=0).argmax())]
    return Segment(start, end, float(track.scores[inside].max()), (start + end) / 2, label)


def make_bank(analyzer: Analyzer, count: int, folder: Path) -> Bank:
    """Confirmed moments of `count` training worlds, as reviewers would leave them: anomalies described, calm spans called normal."""
    folder.mkdir(parents=True, exist_ok=True)
    vectors, texts = [], []
    for seed in bar(range(30_000, 30_000 + count), "examples"):
        world, path = training_world(seed), folder / f"{seed}.mp4"
        if not path.exists():
            write_video(world, path)
        features, _, _ = analyzer.features(path)
        event = next((e for e in world.events if e.anomalous), None)
        start, end = (event.start, min(event.end, world.duration)) if event else (2.0, 8.0)
        segment = Segment(start, end, 1.0, (start + end) / 2)
        vectors.append(embedding(features, segment, _clip_width(analyzer)))
        texts.append(answer_of(event or world.event_at(5.0), world.scene.place)["text"])
    return Bank(np.stack(vectors), tuple(texts), analyzer.encoder.name)


def _clip_width(analyzer: Analyzer) -> int:
    return int(getattr(analyzer.encoder, "parts")[0])  # noqa: B009  # only CLIP encoders have it


def explained(
    base: str, adapter: str, items: Sequence[Span], bank: Bank | None, width: int, name: str, *, constrain: bool
) -> list[Explanation]:
    """One explanation a span."""
    explainer = load_explainer(make_settings(explainer=base, adapter="none" if adapter == "none" else "" if adapter == "nano" else adapter, constrain=constrain))  # fmt: skip
    found = []
    for item in bar(items, name):
        values = told(bank, item.features, [item.segment], width)[item.segment] if bank else {}
        found += explainer(item.video, item.track, [item.segment], values=[values])
    return found


def figures(told_of: Sequence[Explanation], items: Sequence[Span]) -> list[list[float]]:
    """[measure][span]: MEASURES of each span, nan where one has none."""
    nan = float("nan")
    rows = []
    for e, item in zip(told_of, items, strict=True):
        rows.append([
            nan if item.event is None else float(category(e) == item.event.label),
            nan if item.event is None else recall(truth_of(item.event), said(e)),
            nan if item.event is not None else float(e.verdict == "normal"),
            float(readable(e)),
        ])  # fmt: skip
    found: list[list[float]] = np.array(rows).T.tolist()
    return found


def over(values: Sequence[float], base: Sequence[float] | None = None) -> Figure:
    """The mean, or the mean difference to `base`, span by span."""
    pairs = [v - (base[i] if base else 0.0) for i, v in enumerate(values) if not np.isnan(v)]
    mean: Callable[[list[float]], float] = lambda some: float(np.mean(some))  # noqa: E731
    return bootstrap(pairs, mean)


def main(argv: Sequence[str]) -> int:
    """`vlad eval adapter`; 1 where the adapter does not beat its base on category, elements and refusal. Raises SettingsError."""
    options = options_of("adapter", argv, OPTIONS)
    work, base, adapter = Path(options["work"]), options["base"], options["adapter"]
    analyzer = Analyzer(make_settings())
    items = spans(analyzer, int(options["videos"]), int(options["first"]), work / "videos")
    bank = make_bank(analyzer, int(options["bank"]), work / "examples") if int(options["bank"]) else None
    arms: dict[str, list[Explanation]] = {}
    for name, tuned, shown in (("base", "none", None), ("base and examples", "none", bank), ("adapter", adapter, None), ("adapter and examples", adapter, bank)):  # fmt: skip
        if shown is not None or "examples" not in name:
            arms[name] = explained(
                base, tuned, items, shown, _clip_width(analyzer), name, constrain=options["constrain"] == "true"
            )
    arms["control: the adapter's answers elsewhere"] = [arms["adapter"][i - 1] for i in range(len(items))]
    events = [Told(e, i.event) for e, i in zip(arms["adapter"], items, strict=True) if i.event is not None]
    fixed = constant(events)[0].explanation
    arms["control: one constant answer"] = [fixed for _ in items]
    measured = {name: figures(e, items) for name, e in arms.items()}
    table = Table(
        "",
        *MEASURES,
        title=f"{len(items)} spans, {len(events)} of them anomalous; below: paired difference to the base",
    )
    facts = {}
    for name, rows in measured.items():
        table.add_row(name, *(str(over(r)) for r in rows))
        if not name.startswith("control"):
            gains = [over(r, b) for r, b in zip(rows, measured["base"], strict=True)]
            table.add_row(
                "", *(f"{g.value:+.3f} [{g.low:+.3f}, {g.high:+.3f}]" if name != "base" else "" for g in gains)
            )
            facts[name] = {m: [vars(over(r)), vars(g)] for m, r, g in zip(MEASURES, rows, gains, strict=True)}
    show_table(table)
    (work / "adapter.json").write_text(json.dumps(facts, indent=1) + "\n")
    return int(any(facts["adapter"][m][1]["low"] <= 0 for m in MEASURES[:3]))
