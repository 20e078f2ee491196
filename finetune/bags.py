"""Videos as a trainer sees them: bags of features with one label each, and batches of them, drawn as a recipe says.

In: feature files, or arrays in memory. Out: `Bag`s, a training part and a held-out one, and `Batch`es for the losses. Knows no head and no optimiser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.rnn import pad_sequence

from vlad.errors import InputError, SettingsError
from vlad.scorers.head import HeadConfig

from .data import FeatureFile, known, with_audio
from .losses import MIXED, Batch
from .recipe import ScorerRecipe

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bag:
    """One video: its classes, () for a normal one, and `load(k)`, the features float32 [T, width] of its crop `k`.

    clicks: snippets, from 0, in which somebody saw an anomaly.
    """

    name: str
    classes: tuple[str, ...]
    load: Callable[[int], Floats]
    crops: int = 1
    clicks: tuple[int, ...] = ()


Row = tuple[Bag, tuple[int, ...]]  # a video and which of its crops; () for one by chance


def held(values: Floats, classes: tuple[str, ...], name: str = "") -> Bag:
    """A bag whose features are in memory."""
    return Bag(name, classes, lambda crop: values)


def shortened(values: Floats, length: int, fill: str) -> Floats:
    """At most `length` snippets [<= length, width]: means of even pieces, as VadCLIP does; `fill` repeat stretches shorter ones to it, pick takes
    single snippets at even distances, as HL-Net does.
    """
    if not length or len(values) == length or (len(values) < length and fill != "repeat"):
        return values
    if fill == "pick":
        picked: Floats = values[np.linspace(0, len(values) - 1, length).astype(int)]
        return picked
    edges = np.linspace(0, len(values), length + 1).astype(int)
    starts = np.minimum(edges[:-1], len(values) - 1)
    return np.stack([values[a : max(b, a + 1)].mean(axis=0) for a, b in zip(starts, edges[1:], strict=True)])


def rows_of(bags: Sequence[Bag], rows: str) -> list[Row]:
    """What a pass goes over: `videos` (a crop by chance), `crops` (each by itself), or `whole` videos, all crops side by side.

    Raises InputError for `whole` where videos have not the same number of crops.
    """
    if rows == "crops":
        return [(b, (c,)) for b in bags for c in range(b.crops)]
    if rows == "whole":
        counts = sorted({b.crops for b in bags})
        if len(counts) > 1:
            raise InputError(
                f"scorer.rows=whole: videos have {counts} crops; it takes as many of each, or scorer.rows=crops"
            )
        return [(b, tuple(range(b.crops))) for b in bags]
    return [(b, ()) for b in bags]


def batch_of(
    rows: Sequence[Row], config: HeadConfig, recipe: ScorerRecipe, rng: np.random.Generator, device: torch.device
) -> Batch:
    """Bags side by side, crops of one video together, with the recipe's noise; none longer than what the head sees at once."""
    length = min((n for n in (recipe.length, config.window) if n), default=0)
    chosen = [(b, crop) for b, crops in rows for crop in crops or (int(rng.integers(b.crops)),)]
    whole = [b.load(crop) for b, crop in chosen]
    arrays = [shortened(a, length, recipe.fill) for a in whole]
    values = pad_sequence([torch.tensor(a) for a in arrays], batch_first=True).to(device)
    lengths = torch.tensor([len(a) for a in arrays], device=device)
    if recipe.drift or recipe.noise:
        shift = values.std(dim=(0, 1)) * torch.randn(len(chosen), 1, values.shape[2], device=device)
        values = values + recipe.drift * shift + recipe.noise * torch.randn_like(values)
    classes = torch.tensor([[float(label in b.classes) for label in config.labels] for b, _ in chosen], device=device)
    inside = torch.arange(values.shape[1], device=device)[None] < lengths[:, None]
    clicks = torch.zeros_like(inside)
    for row, ((bag, _), before, after) in enumerate(zip(chosen, whole, arrays, strict=True)):
        for click in bag.clicks:
            clicks[row, min(int((click + 0.5) * len(after) / len(before)), len(after) - 1)] = True
    return Batch(values, inside, classes, len(chosen) // len(rows), clicks)


class Draws:
    """Batches of rows, normal ones first, and how many optimiser steps there are.

    extra: bags of which each step takes a share, where rows are drawn by chance. Raises SettingsError for a loss that cannot take mixed batches.
    """

    def __init__(
        self, train: Sequence[Bag], recipe: ScorerRecipe, kind: str, *, extra: Sequence[Bag] = (), share: float = 0.0
    ) -> None:
        if recipe.bags == "mixed" and kind not in MIXED:
            raise SettingsError(f"scorer.bags=mixed: the loss of {kind} compares normal halves with anomalous ones")
        if extra and recipe.draw != "chance":
            raise SettingsError("scorer.draw=pass: other bags are drawn by chance only")
        self.recipe, self.share = recipe, share
        kinds = (False,) if kind == "normality" else (False, True)
        wanted = [kinds] if recipe.bags == "mixed" else [(k,) for k in kinds]
        self.rows, self.extra = (
            [rows_of([b for b in bags if bool(b.classes) in kind], recipe.rows) for kind in wanted]
            for bags in (train, extra)
        )
        counts = [len(rows) for rows in self.rows]
        if recipe.draw == "chance":
            self.each = max(1, max(counts) // recipe.batch)
        elif recipe.bags == "mixed":
            self.each = -(-counts[0] // recipe.batch)
        else:
            self.each = max(1, min(counts) // recipe.batch)
        self.steps = recipe.steps or recipe.epochs * self.each
        self.epochs = -(-self.steps // self.each)

    def batches(self, epoch: int, rng: np.random.Generator) -> Iterator[list[Row]]:
        """Those of one pass; the last one may be cut short by `steps`."""
        batch, count = self.recipe.batch, min(self.each, self.steps - epoch * self.each)
        if self.recipe.draw == "chance":
            for _ in range(count):
                yield [
                    r
                    for own, extra in zip(self.rows, self.extra, strict=True)
                    for r in _draw(own, extra, batch, self.share, rng)
                ]
            return
        orders = [rng.permutation(len(rows)) for rows in self.rows]
        for step in range(count):
            yield [
                rows[i]
                for rows, order in zip(self.rows, orders, strict=True)
                for i in order[step * batch : (step + 1) * batch]
            ]


def _draw(own: list[Row], extra: list[Row], count: int, share: float, rng: np.random.Generator) -> list[Row]:
    """`count` rows of one kind by chance, a share of them of the second sort where there are any."""
    others = round(count * share) if extra else 0
    return [own[int(i)] for i in rng.integers(0, len(own), count - others)] + [
        extra[int(i)] for i in rng.integers(0, max(len(extra), 1), others)
    ]


def split(bags: Sequence[Bag], share: float, seed: int) -> tuple[list[Bag], list[Bag]]:
    """Training bags and the held-out slice, `share` of each kind and at least one. Raises InputError where a kind has too few."""
    rng = np.random.default_rng([seed, 7])
    train: list[Bag] = []
    select: list[Bag] = []
    for wanted in (False, True):
        kind = [b for b in bags if bool(b.classes) == wanted]
        if len(kind) == 1:
            raise InputError(f"only one {'anomalous' if wanted else 'normal'} video; training and selection need two")
        order = rng.permutation(len(kind))
        count = max(1, round(len(kind) * share)) if kind else 0
        select += [kind[i] for i in order[:count]]
        train += [kind[i] for i in order[count:]]
    return train, select


def read_bags(
    files: Sequence[FeatureFile], classes: dict[str, str], audio: bool, *,
    clicks: Mapping[str, tuple[int, ...]] = MappingProxyType({}), snippet: int = 16,
) -> tuple[list[Bag], int, dict[str, str]]:  # fmt: skip
    """Bags of feature files, their width, and the hash of each. clicks: frames, by video; snippet: frames of one.

    Raises InputError that names every file, and every video of a click, that does not fit.
    """
    bags, hashes, faults = [], {}, []
    calm = {f.name for f in files if not f.classes}
    odd_clicks = sorted(clicks.keys() - {f.name for f in files}) + sorted(clicks.keys() & calm)
    if odd_clicks:
        faults.append(
            f"clicks in {len(odd_clicks)} videos that are no anomalous ones of these: {', '.join(odd_clicks[:20])}"
        )
    widths: dict[int, list[str]] = {}
    for file in known(files):
        try:
            load = with_audio(file) if audio else file.load
            first = load(0)
        except InputError as error:
            faults.append(str(error))
            continue
        widths.setdefault(first.shape[1], []).append(file.name)
        whole = hashlib.sha256()
        for path in (*file.crops, *([file.audio] if audio and file.audio else [])):
            whole.update(path.read_bytes())
        places = tuple(sorted({frame // snippet for frame in clicks.get(file.name, ())}))
        if places and places[-1] > len(first) + 1:  # annotations overrun their video by a frame or two
            faults.append(f"{file.name}: a click at snippet {places[-1]} of {len(first)}; see data.snippet")
        whole.update(str(places).encode() if places else b"")
        hashes[file.name] = whole.hexdigest()
        words = tuple(dict.fromkeys(classes.get(c, c) for c in file.classes or ()))
        bags.append(Bag(file.name, words, load, file.count, tuple(min(p, len(first) - 1) for p in places)))
    if len(widths) > 1:
        usual = max(widths, key=lambda w: len(widths[w]))
        odd = [f"{name} ({w})" for w, names in widths.items() if w != usual for name in names]
        faults.append(f"{len(odd)} files have not {usual} numbers a snippet: {', '.join(odd[:20])}")
    unknown = sorted({c for b in bags for c in b.classes} - set(classes.values())) if classes else []
    if unknown:
        faults.append(f"unknown classes {', '.join(unknown)}; name them in data.classes")
    if faults:
        raise InputError("; ".join(faults[:20]) + (f"; and {len(faults) - 20} more" if len(faults) > 20 else ""))
    return bags, next(iter(widths)), hashes
