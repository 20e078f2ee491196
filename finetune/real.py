"""Real footage into nano's head: the plain expert, the gate before it, and the threshold, from one label a clip.

    vlad finetune real data=FOLDER [head=nano] [fold=0] [out=runs/real]

In: the clips of `data` that may be trained on (`fights` train, `street`, `clips`, the UCF-Crime subset, falls), and a `mil` head with an
expert for the rendered world. Out: a scorer's folder, and left_out.json: what was not seen where `fold` (0 to 4, over sources and scenes)
names what to leave out. `fights` val is never read. The expert is a ridge logistic regression (few clips, many numbers), held to the mean
change by a penalty that spares it; of an anomalous clip its highest third counts (multiple instances, Andrews et al. 2003).
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from vlad.config import make_settings
from vlad.encoder import DRAWN_SPACE, DRAWN_WIDTH, load_clip
from vlad.errors import InputError, SettingsError
from vlad.motion import MOTION_DIM
from vlad.pipeline import Analyzer
from vlad.scorers import load_head
from vlad.scorers.head import EmbedText, TrainedScorer, save_head, sentences
from vlad.scorers.mil import MilHead
from vlad.seen import NAMES, SEEN_DIM
from vlad.segments import smooth
from vlad.sim import ANOMALIES
from vlad.types import Features, ScoreTrack
from vlad.weights import nano_part

FOLDS = 5
WINDOW = 3.0  # seconds over which features are averaged in training; scores are, in use
MOST = 6  # windows of one clip, so that a long one says no more than a short one
WEIGHTS = {
    "fights": 1.0,
    "street": 2.0,
    "clips": 2.0,
    "ucf_stride16": 1.5,
    "ucf_full": 1.5,
    "urfall": 0.5,
    "gmdcsa24": 1.0,
}
SPARSE = 4  # snippet_frames of ucf_stride16, which shows two frames a second
LABELS = {
    "fight": "fighting", "assault": "fighting", "riot": "fighting", "fall": "falling", "fire": "arson", "explosion": "explosion",
    "road_accident": "road accident", "robbery": "robbery", "shoplifting": "shoplifting", "stealing": "shoplifting", "vandalism": "vandalism",
    "abandoned_object": "abandoned object", "abuse": "fighting", "arrest": "fighting", "fighting": "fighting", "arson": "arson",
    "burglary": "burglary", "roadaccidents": "road accident", "shooting": "shooting", "disaster": "explosion",
}  # fmt: skip
SAME_SCENE = {f"c{k}.mp4": "le2i" for k in range(30, 41)}  # clips of one staged set of falls
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RealClip:
    """path: from the data folder. source: set. group: what must stay on one side of a split. anomalous; label: '' for a normal clip."""

    path: str
    source: str
    group: str
    anomalous: bool
    label: str

    @property
    def snippet_frames(self) -> int:
        """Frames of a snippet at this set's rate."""
        return SPARSE if self.source == "ucf_stride16" else 16


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read_clips(data: Path) -> list[RealClip]:
    """Every clip that may be trained on; what its manifest calls unknown is left out. Raises InputError where the data are not there."""
    try:
        found = [
            RealClip(f"fights/{r['path']}", "fights", r["source_video"], r["label"] == "fight", LABELS.get(r["label"], ""))
            for r in _rows(data / "fights" / "manifest.csv") if r["split"] == "train"
        ]  # fmt: skip
        for name in ("street", "clips"):
            for r in _rows(data / name / "manifest.csv"):
                group = r.get("scene") or SAME_SCENE.get(r["file"], r["file"])
                found.append(
                    RealClip(f"{name}/{r['file']}", name, group, r["is_anomaly"] == "1", LABELS.get(r["label"], ""))
                )
        for r in _rows(data / "frames" / "manifest.csv"):
            if r["set"] in WEIGHTS:
                group = Path(r["file"]).stem.split("_x264")[0]
                found.append(
                    RealClip(
                        f"frames/{r['file']}",
                        r["set"],
                        group,
                        r["cls"].lower() != "normal",
                        LABELS.get(r["cls"].lower(), ""),
                    )
                )
    except (OSError, KeyError) as error:
        raise InputError(f"{data}: not the data that nano is made from ({error})") from None
    return [c for c in found if c.label or not c.anomalous]


def fold_of(clips: Sequence[RealClip]) -> npt.NDArray[np.int64]:
    """The fold of each clip, int64 [N]: groups in the order of their hashes, dealt out in turn."""
    groups = sorted({c.group for c in clips}, key=lambda g: hashlib.sha256(g.encode()).hexdigest())
    place = {group: i % FOLDS for i, group in enumerate(groups)}
    return np.array([place[c.group] for c in clips])


@dataclass(frozen=True)
class Bag:
    """A clip as windows: values [T, width] averaged over WINDOW, raw ones, and where they lie."""

    clip: RealClip
    windows: Floats
    features: Features


def averaged(features: Features, seconds: float = WINDOW) -> Floats:
    """Features [T, width] averaged over a window around each snippet, as `vlad.segments.smooth` does scores."""
    edges, values = features.edges, features.values.astype(np.float64)
    length = np.diff(edges)
    area = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values * length[:, None], axis=0)])
    centre, half = (edges[:-1] + edges[1:]) / 2, np.maximum(seconds, length) / 2
    low, high = np.maximum(centre - half, edges[0]), np.minimum(centre + half, edges[-1])

    def at(times: Floats) -> Floats:
        place = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(length) - 1)
        share = ((times - edges[place]) / length[place])[:, None]
        return np.asarray(area[place] * (1 - share) + area[place + 1] * share)

    return np.asarray((at(high) - at(low)) / (high - low)[:, None])


def bags_of(clips: Sequence[RealClip], data: Path) -> list[Bag]:
    """Features of the clips, from the cache where they are there."""
    analyzers = {n: Analyzer(make_settings(snippet_frames=n)) for n in {c.snippet_frames for c in clips}}
    found = []
    for clip in track(clips, "features of real clips"):
        features = analyzers[clip.snippet_frames].features(data / clip.path)[0]
        found.append(Bag(clip, averaged(features), features))
    return found


@dataclass(frozen=True)
class Parts:
    """Where the parts of a feature lie."""

    clip: int
    width: int

    @property
    def change(self) -> tuple[int, int]:
        """Of the inner features."""
        return self.clip, self.width - MOTION_DIM - SEEN_DIM - DRAWN_WIDTH

    @property
    def drawn(self) -> tuple[int, int, int]:
        """Of the eye for rendered scenes, and the width of its embedding."""
        return self.change[1], self.change[1] + DRAWN_WIDTH, DRAWN_SPACE

    @property
    def seen(self) -> tuple[int, int]:
        """Of what was seen."""
        return self.width - MOTION_DIM - SEEN_DIM, self.width - MOTION_DIM

    @property
    def felled(self) -> int:
        """Of a fall."""
        return self.seen[0] + NAMES.index("felled")


def amount(values: Floats, parts: Parts) -> Floats:
    """The log of the mean change [T, 1] of features [T, width]."""
    return np.asarray(np.log(values[:, slice(*parts.change)].mean(1, keepdims=True) + 0.02))


def inputs(values: Floats, parts: Parts) -> Floats:
    """What the expert is linear in: change, what was seen, and the amount of change."""
    return np.concatenate(
        [values[:, slice(*parts.change)], values[:, slice(*parts.seen)], amount(values, parts)], axis=1
    )


def ridge(x: Floats, y: Floats, weight: Floats, penalty: Floats, start: Floats) -> Floats:
    """Logistic regression with a penalty a number: weights and the bias last, [D + 1]."""
    weight = weight / weight.sum()

    def loss(p: Floats) -> tuple[float, Floats]:
        logit = x @ p[:-1] + p[-1]
        error = weight * (1 / (1 + np.exp(-logit)) - y)
        value = (weight * np.logaddexp(0, -logit * (2 * y - 1))).sum() + 0.5 * (penalty * p[:-1] ** 2).sum()
        return float(value), np.append(x.T @ error + penalty * p[:-1], error.sum())

    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x)


def _some(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return rows[:: max(1, len(rows) // MOST)][:MOST]


def fit_score(bags: Sequence[Bag], parts: Parts, *, strength: float, rounds: int = 3) -> tuple[Floats, Floats, Floats]:
    """Weights [D + 1] over `inputs` standardised by (mean, scale) [D] each."""
    windows = [inputs(b.windows, parts) for b in bags]
    some = np.concatenate([w[_some(np.arange(len(w)))] for w in windows])
    mean, scale = some.mean(0), some.std(0) + 1e-3
    windows = [(w - mean) / scale for w in windows]
    penalty = strength * np.concatenate([np.ones(some.shape[1] - SEEN_DIM - 1), np.full(SEEN_DIM, 0.2), [0.01]])
    weights = np.zeros(some.shape[1] + 1)
    chosen = [np.arange(len(w)) for w in windows]
    for _ in range(rounds):
        picked = [_some(c) for c in chosen]
        x = np.concatenate([w[p] for w, p in zip(windows, picked, strict=True)])
        y = np.concatenate([np.full(len(p), float(b.clip.anomalous)) for b, p in zip(bags, picked, strict=True)])
        weight = np.concatenate(
            [np.full(len(p), WEIGHTS[b.clip.source] / len(p)) for b, p in zip(bags, picked, strict=True)]
        )
        for kind in (0.0, 1.0):
            weight[y == kind] *= 0.5 / weight[y == kind].sum()
        weights = ridge(x, y, weight, penalty, weights)
        chosen = [_highest(w @ weights[:-1], b.clip.anomalous) for w, b in zip(windows, bags, strict=True)]
    return weights, mean, scale


def _highest(scores: Floats, anomalous: bool) -> npt.NDArray[np.int64]:
    """Windows that count: the highest third of an anomalous clip; of a normal one the highest sixth, and some of all."""
    count = max(1, int(np.ceil(len(scores) * 0.3)))
    order = np.argsort(-scores)
    if anomalous or len(scores) <= 2:
        return order[:count]
    return np.unique(np.concatenate([order[: max(1, count // 2)], np.arange(0, len(scores), max(1, len(scores) // 4))]))


def put_score(head: MilHead, parts: Parts, found: tuple[Floats, Floats, Floats], shift: float, unit: float) -> None:
    """The regression into the head, on raw features; its logit is (score - shift) / unit."""
    weights, mean, scale = found
    plain = head.plain
    assert plain is not None
    own = weights[:-1] / scale
    bias = weights[-1] - (own * mean).sum()
    with torch.no_grad():
        plain.score.weight.zero_()
        plain.score.weight[0, slice(*parts.change)] = torch.tensor(
            own[: parts.change[1] - parts.change[0]] / unit
        ).float()
        plain.score.weight[0, slice(*parts.seen)] = torch.tensor(own[-1 - SEEN_DIM : -1] / unit).float()
        plain.score.bias.fill_((bias - shift) / unit)
        plain.amount.fill_(own[-1] / unit)


def fit_classes(head: MilHead, bags: Sequence[Bag], parts: Parts, names: torch.Tensor, *, strength: float) -> None:
    """Which class, from what changes and what was seen, into the head's direction: a multinomial ridge whose logits are carried by the
    embedded names [C, clip]."""
    plain = head.plain
    assert plain is not None
    rows, labels, weight = [], [], []
    for bag in bags:
        if bag.clip.anomalous:
            score = plain.logits(torch.tensor(bag.windows).float()).detach().numpy()
            some = np.argsort(-score)[:4]
            rows.append(inputs(bag.windows, parts)[some])
            labels += [bag.clip.label] * len(some)
            weight += [1 / len(some)] * len(some)
    x, y, w = np.concatenate(rows), np.array(labels), np.array(weight)
    mean, scale = x.mean(0), x.std(0) + 1e-3
    scale[: parts.change[1] - parts.change[0]] *= 5  # a thousand numbers of change must not drown what was seen
    w = w / np.sqrt(np.array([w[y == label].sum() for label in y]))
    model = LogisticRegression(C=strength, max_iter=300).fit((x - mean) / scale, y, sample_weight=w / w.mean())
    logits = np.zeros((len(ANOMALIES), x.shape[1] + 1))
    logits[:, -1] = model.intercept_.min() - 1.0  # classes that no real clip showed
    for row, label in enumerate(model.classes_):
        own = model.coef_[row] / scale
        logits[ANOMALIES.index(label)] = np.append(own, model.intercept_[row] - (own * mean).sum())
    carry = np.linalg.pinv(names[:, : parts.clip].numpy().astype(np.float64), rcond=1e-2)  # [clip, C]
    direction = carry @ logits * GAIN
    with torch.no_grad():
        plain.direction.weight.zero_()
        plain.direction.weight[:, slice(*parts.change)] = torch.tensor(
            direction[:, : parts.change[1] - parts.change[0]]
        ).float()
        plain.direction.weight[:, slice(*parts.seen)] = torch.tensor(direction[:, -2 - SEEN_DIM : -2]).float()
        plain.direction.bias.copy_(torch.tensor(direction[:, -1]).float())


FIRE = ("a fire with flames", "flames and thick smoke", "an explosion", "a building on fire")
EVERYDAY = (
    "people walking on a street", "an empty room", "people standing and talking", "cars driving on a road", "a person sitting in a room",
    "a shop with customers",
)  # fmt: skip
SLOPE = 1.0  # of the logit; flatter ones leave calm footage near the score at which a segment ends
GAIN = 2.0  # how much the classes learnt from clips outweigh what a picture alone says


def fit_gate(
    head: MilHead, real: Sequence[npt.NDArray[np.float32]], rendered: Sequence[npt.NDArray[np.float32]]
) -> None:
    """Tell embeddings [T, clip] of the rendered world from those of real footage."""
    plain = head.plain
    assert plain is not None
    x = np.concatenate([*real, *rendered])
    y = np.concatenate([np.zeros(sum(map(len, real))), np.ones(sum(map(len, rendered)))])
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=500).fit(x, y)
    with torch.no_grad():
        plain.gate.weight.copy_(torch.tensor(model.coef_).float())
        plain.gate.bias.copy_(torch.tensor(model.intercept_).float())


def level(scorer: TrainedScorer, bag: Bag, seconds: float = 2.0) -> float:
    """What decides whether a clip is flagged: its highest score, smoothed as segments are."""
    found: ScoreTrack = scorer(bag.features)
    return float(smooth(found, seconds).max())


def put_fire(head: MilHead, embed_text: EmbedText) -> None:
    """What fire looks like by words alone: no clip is needed to know it."""
    assert head.plain is not None
    hot, usual = (embed_text(list(words)).mean(0) for words in (FIRE, EVERYDAY))
    with torch.no_grad():
        head.plain.blaze.copy_(torch.tensor(hot - usual))


def fit(head: MilHead, bags: Sequence[Bag], names: torch.Tensor, rendered: Sequence[npt.NDArray[np.float32]], *, strength: float = 2.0,
        flagged: float = 0.16) -> None:  # fmt: skip
    """The plain expert into `head`, and its logit placed so that at most `flagged` of real normal clips reach .5 in cross-validation."""
    parts = Parts(head.config.clip, head.config.width)
    fit_gate(head, [b.features.values[:: max(1, len(b.features.values) // 20), : parts.clip] for b in bags], rendered)
    folds = fold_of([b.clip for b in bags])
    found = fit_score(bags, parts, strength=strength)
    unit = _spread(bags, parts, found)
    put_score(head, parts, found, 0.0, unit)
    with torch.no_grad():
        assert head.plain is not None
        head.plain.fall.fill_(8.0)
    tops: list[tuple[float, str]] = []
    inner = replace(head.config)
    for fold in range(FOLDS):
        twin = MilHead(inner)
        twin.load_state_dict(head.state_dict())
        others = [b for b, f in zip(bags, folds, strict=True) if f != fold]
        own = fit_score(others, parts, strength=strength)
        put_score(twin, parts, own, _centre(others, parts, own), _spread(others, parts, own))
        twin.eval()
        tops += [
            (_top(twin, b), b.clip.source)
            for b, f in zip(bags, folds, strict=True)
            if f == fold and not b.clip.anomalous
        ]
    place = placed(tops, flagged)
    put_score(head, parts, found, _centre(bags, parts, found) + place * unit, unit / SLOPE)
    fit_classes(head, bags, parts, names, strength=0.01)
    head.eval()


SHORT = frozenset(
    {"street", "clips"}
)  # sets of clips of seconds to minutes, as people hand them in; others are shorter, or hours


def placed(tops: Sequence[tuple[float, str]], flagged: float) -> float:
    """The logit that a share `flagged` of normal clips (highest logit, set) should reach: a normal distribution's quantile, since of two dozen
    clips the empirical one jumps from fold to fold."""
    own = [top for top, source in tops if source in SHORT] or [top for top, _ in tops]
    return float(np.mean(own) + np.std(own) * NormalDist().inv_cdf(1 - flagged))


def _scores(bags: Sequence[Bag], parts: Parts, found: tuple[Floats, Floats, Floats]) -> Floats:
    weights, mean, scale = found
    normal = [
        ((inputs(b.windows, parts) - mean) / scale) @ weights[:-1] + weights[-1] for b in bags if not b.clip.anomalous
    ]
    return np.concatenate([s[_some(np.arange(len(s)))] for s in normal])


def _centre(bags: Sequence[Bag], parts: Parts, found: tuple[Floats, Floats, Floats]) -> float:
    return float(np.median(_scores(bags, parts, found)))


def _spread(bags: Sequence[Bag], parts: Parts, found: tuple[Floats, Floats, Floats]) -> float:
    return float(_scores(bags, parts, found).std())


def _top(head: MilHead, bag: Bag) -> float:
    """The highest logit of a clip, averaged over a window."""
    assert head.plain is not None
    with torch.inference_mode():
        logits = head.plain.logits(torch.tensor(bag.windows).float())
    return float(logits.max())


def main(arguments: Sequence[str]) -> int:
    """Fit and write a folder. Raises SettingsError for wrong options, InputError for data that are not there."""
    options = {"data": "", "head": "nano", "fold": "", "out": "runs/real", "rendered": ""}
    given = dict(a.split("=", 1) for a in arguments if "=" in a)
    if set(given) - set(options) or len(given) != len(arguments) or not given.get("data"):
        raise SettingsError(
            f"finetune real: expected data=FOLDER and key=value of {', '.join(options)}; got {list(arguments)}"
        )
    options |= given
    data, out = Path(options["data"]), Path(options["out"])
    folder = nano_part("mil") if options["head"] == "nano" else Path(options["head"])
    head: Any = load_head(folder)
    if not isinstance(head, MilHead) or head.plain is None:
        raise SettingsError(f"{folder}: its head has no place for a second expert; train one with `vlad finetune nano`")
    clips = read_clips(data)
    folds = fold_of(clips)
    left = [c for c, f in zip(clips, folds, strict=True) if options["fold"] and f == int(options["fold"])]
    bags = bags_of([c for c in clips if c not in left], data)
    encoder = load_clip(make_settings())
    names = head.names(sentences(ANOMALIES), encoder.embed_text)
    put_fire(head, encoder.embed_text)
    gate = {k: v.clone() for k, v in head.plain.gate.state_dict().items()}
    rendered = (
        [np.load(p)[:, : head.config.clip] for p in sorted(Path(options["rendered"]).glob("*.npy"))]
        if options["rendered"]
        else []
    )
    fit(head, bags, names, rendered) if rendered else _refit(head, bags, names, gate)
    save_head(head, out)
    (out / "calibration.json").write_text(json.dumps({"enter": 0.5}) + "\n")
    (out / "left_out.json").write_text(json.dumps([c.path for c in left], indent=1) + "\n")
    return 0


def _refit(head: MilHead, bags: Sequence[Bag], names: torch.Tensor, gate: dict[str, torch.Tensor]) -> None:
    """As `fit`, with the gate that the head has: it tells worlds apart and knows no label."""
    some = [np.zeros((1, head.config.clip), np.float32)]
    fit(head, bags, names, some)
    assert head.plain is not None
    head.plain.gate.load_state_dict(gate)
