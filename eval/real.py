"""nano on real footage it was not fitted to: five folds over sources and scenes, the words it says there, photos by captions, people.

In: the data folder. Out: figures with intervals and controls. nano as it ships has seen these clips with their labels (its card names them),
so each fold fits the expert of real footage anew on the others, by `vlad finetune real`, and only what was left out is looked at.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vlad.colours import garments_of
from vlad.config import make_settings
from vlad.objects import load_detector
from vlad.pipeline import Analyzer
from vlad.tracks import overlaps
from vlad.types import Explanation, Segment
from vlad.weights import nano_part, sha256_of

from . import benchmarks
from .metrics import Figure, Scored, bootstrap, frame_auc
from .text import CiderD
from .verb import vlad

FOLDS = 5
HELD_OUT = 820  # photos that no training saw
CONSTANTS = 25  # of its commonest captions, of which the best one is the control
SPARSE = 4  # snippet_frames of ucf_stride16
KNOWN = ("fights", "street", "clips", "ucf_stride16", "ucf_full")  # real sets whose labels nano was fitted to
FAMILIES: dict[str, frozenset[str]] = {
    "fight": frozenset({"fighting", "assault"}), "assault": frozenset({"fighting", "assault", "robbery"}),
    "riot": frozenset({"fighting", "assault", "crowd panic", "vandalism"}), "fall": frozenset({"falling"}),
    "fire": frozenset({"arson", "explosion"}), "explosion": frozenset({"arson", "explosion"}), "disaster": frozenset({"explosion", "road accident", "crowd panic"}),
    "road_accident": frozenset({"road accident"}), "robbery": frozenset({"robbery", "shoplifting", "burglary", "shooting"}),
    "shoplifting": frozenset({"shoplifting", "robbery", "burglary"}), "stealing": frozenset({"shoplifting", "robbery", "burglary"}),
    "vandalism": frozenset({"vandalism", "arson"}), "abandoned_object": frozenset({"abandoned object"}),
}  # fmt: skip
NAMED = {
    "fight": "fighting", "assault": "assault", "road accident": "road accident", "explosion or fire": "explosion", "a fire": "arson",
    "burglary": "burglary", "robbery": "robbery", "theft": "shoplifting", "shooting": "shooting", "damage to property": "vandalism", "a fall": "falling",
    "crowd that flees": "crowd panic", "left behind": "abandoned object", "arson": "arson", "vandalism": "vandalism", "explosion": "explosion",
    "shoplifting": "shoplifting", "falling": "falling", "crowd panic": "crowd panic", "abandoned object": "abandoned object",
}  # fmt: skip
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Clip:
    """One clip of `street` or `clips` under a scorer that never saw it: its label, what was flagged, and what was said of the highest."""

    path: str
    label: str
    anomalous: bool
    segment: Segment | None
    said: Explanation | None


def fitted(data: Path, work: Path, fold: int) -> Path:
    """The scorer's folder of a fold, fitted once for these weights."""
    name = Analyzer(make_settings()).encoder.name.replace("@", "-")
    out = work / f"real-{name}-{fold}"
    if not (out / "left_out.json").is_file():
        vlad("finetune", "real", f"data={data}", f"fold={fold}", f"out={out}")
    return out


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def fold_clips(data: Path, work: Path, *, words: bool, on_progress: Progress) -> list[Clip]:
    """All of `street` and `clips`, each under the fold that left it out; words: with an explanation of the highest segment."""
    facts = {f"{name}/{r['file']}": r for name in ("street", "clips") for r in _rows(data / name / "manifest.csv")}
    found: list[Clip] = []
    explainer = Analyzer(make_settings()).explainer if words else None
    for fold in range(FOLDS):
        folder = fitted(data, work, fold)
        analyzer = Analyzer(make_settings(scorer_weights=str(folder)), explainer=explainer)
        for path in json.loads((folder / "left_out.json").read_text()):
            if path in facts:
                found.append(_clip(analyzer, data, path, facts[path], words=words))
                on_progress(len(found), len(facts))
    return found


def _clip(analyzer: Analyzer, data: Path, path: str, row: dict[str, str], *, words: bool) -> Clip:
    features, video, _ = analyzer.features(data / path)
    analysis = analyzer.flagged(features, video)
    top = max(analysis.segments, key=lambda s: s.peak, default=None)
    said = analyzer.explain(video, analysis.track, [top])[0] if words and top else None
    return Clip(path, row["label"], row["is_anomaly"] == "1", top, said)


def crime_of(said: Explanation) -> str:
    """The class that an explanation's words name, '' for none."""
    text = f"{said.text} {said.fields.get('what', '')}".lower() if said.verdict == "anomaly" else said.text.lower()
    places = {label: place for phrase, label in NAMED.items() if (place := text.find(phrase)) >= 0}
    return min(places, key=lambda label: places[label], default="")


def flagged_share(clips: Sequence[Clip]) -> float:
    """Share of clips with a flagged segment."""
    return float(np.mean([c.segment is not None for c in clips])) if clips else float("nan")


def family_share(clips: Sequence[Clip]) -> float:
    """Share of flagged anomalous clips whose label is of the right family."""
    own = [c for c in clips if c.segment and c.anomalous and c.label in FAMILIES]
    return float(np.mean([c.segment.label in FAMILIES[c.label] for c in own if c.segment])) if own else float("nan")


def wrong_share(clips: Sequence[Clip]) -> float:
    """Share of flagged clips, normal ones among them, whose words name a crime that it is not."""
    own = [c for c in clips if c.said]
    return (
        float(
            np.mean(
                [bool(crime_of(c.said)) and crime_of(c.said) not in FAMILIES.get(c.label, ()) for c in own if c.said]
            )
        )
        if own
        else float("nan")
    )


def contradicts(said: Explanation) -> bool:
    """Whether sentence, what and the segment's class tell different stories, or one is certain."""
    crime, what = crime_of(said), said.fields.get("what", "").lower()
    inside = {label for phrase, label in NAMED.items() if phrase in what}
    label = said.segment.label
    other = bool(crime) and said.sure and label in NAMED.values() and not ({crime} | inside) & {label, *_same(label)}
    unsure = not said.sure and bool(crime)
    calm = said.verdict == "normal" and bool(crime)
    return other or unsure or calm or said.probability == 1.0


def _same(label: str) -> frozenset[str]:
    return (
        frozenset().union(*(f for f in FAMILIES.values() if label in f and len(f) <= 3))
        if label in ("arson", "explosion")
        else frozenset({label})
    )


def fold_frames(data: Path, work: Path, *, on_progress: Progress) -> dict[str, list[tuple[Scored, Scored]]]:
    """The UCF-Crime subset by set, each video under the fold that left it out: (ours, movement energy)."""
    found: dict[str, list[tuple[Scored, Scored]]] = {}
    for name in ("ucf_stride16", "ucf_full"):
        rows = [r for r in _rows(data / "frames" / "manifest.csv") if r["set"] == name and r["split"] != "train"]
        changes: dict[str, Any] = {"snippet_frames": SPARSE} if name == "ucf_stride16" else {}
        for fold in range(FOLDS):
            folder = fitted(data, work, fold)
            left = set(json.loads((folder / "left_out.json").read_text()))
            places = [i for i, r in enumerate(rows) if f"frames/{r['file']}" in left]
            analyzer = Analyzer(make_settings(scorer_weights=str(folder), **changes))
            found.setdefault(name, []).extend(
                benchmarks.real_frames(analyzer, data, name, on_progress=on_progress, places=places)
            )
    return found


def auc_of(pairs: Sequence[tuple[Scored, Scored]], place: int) -> Figure:
    """Frame AUC with an interval over videos, of ours (0) or of the control (1)."""
    return bootstrap([p[place] for p in pairs], frame_auc, rounds=300)


def photo_ranks(data: Path) -> tuple[list[int], list[int]]:
    """Of every caption of the photos no training saw: how many photos come before its own, and before another's, the control."""
    from vlad.encoder import load_clip

    names, pictures, captions = held_out(data)
    encoder = load_clip(make_settings())
    seen = []
    for first in range(0, len(pictures), 16):
        some = [encoder.pixels(p[None]) for p in pictures[first : first + 16]]
        seen += [encoder.tower(x)[0].float().cpu().numpy() for x in some]
    images = np.concatenate(seen)
    texts = [c for five in captions for c in five]
    words = np.concatenate([encoder.embed_text(texts[i : i + 128]) for i in range(0, len(texts), 128)])
    likeness = words @ images.T
    own = np.repeat(np.arange(len(names)), [len(c) for c in captions])
    other = np.random.default_rng(0).permutation(len(names))[own]
    rows = np.arange(len(likeness))
    return tuple((likeness > likeness[rows, at][:, None]).sum(1).tolist() for at in (own, other))


def held_out(data: Path) -> tuple[list[str], list[npt.NDArray[np.uint8]], list[list[str]]]:
    """Names, pictures and captions of the 820 photos of Flickr8k whose names have the lowest SHA-256."""
    found: dict[str, tuple[bytes, bytes]] = {}
    for shard in sorted((data / "flickr8k").glob("*.tar")):
        with tarfile.open(shard) as tar:
            held = {m.name: file.read() for m in tar if (file := tar.extractfile(m)) is not None}
        found |= {n.removesuffix(".jpg"): (held[n], held[n[:-4] + ".txt"]) for n in held if n.endswith(".jpg")}
    names = sorted(found, key=lambda n: hashlib.sha256(n.encode()).hexdigest())[:HELD_OUT]
    pictures = [np.array(Image.open(io.BytesIO(found[n][0])).convert("RGB")) for n in names]
    return names, pictures, [found[n][1].decode().strip().splitlines() for n in names]


@dataclass(frozen=True)
class Told:
    """A caption of a photo that no training saw, and its CIDEr-D: its own, that of the best constant one, that of another photo's."""

    text: str
    own: float
    constant: float
    shuffled: float


def told_photos(data: Path, work: Path, *, on_progress: Progress) -> list[Told]:
    """nano's captions of the photos left out, against the five of people each. Captions are kept in `work` by the model's checksum."""
    from vlad.explainers.captioner import load_captioner, seen_words

    _, pictures, references = held_out(data)
    kept = work / f"captions-{sha256_of(nano_part('llava'))[:12]}.json"
    said: list[str] = json.loads(kept.read_text()) if kept.is_file() else []
    speak, detector = load_captioner(), load_detector(make_settings())
    for done in range(len(said), len(pictures)):
        picture = pictures[done]
        said.append(speak([picture], [seen_words(detector([picture])[0])])[0][0])
        on_progress(done + 1, len(pictures))
        if done % 20 == 19 or done + 1 == len(pictures):
            kept.write_text(json.dumps(said))
    cider = CiderD(references)
    own = cider(said)
    constants = sorted(set(said), key=lambda text: -said.count(text))[:CONSTANTS]
    best = max((cider([text] * len(said)) for text in constants), key=lambda scores: float(scores.mean()))
    moved = cider([*said[1:], *said[:1]])  # their order is that of hashes: a neighbour is any other
    return [Told(*row) for row in zip(said, own.tolist(), best.tolist(), moved.tolist(), strict=True)]


def people(data: Path) -> list[tuple[int, int, int]]:
    """Of each picture of `people`: marked people found at IoU .5 and score .3, all marked, boxes on nothing that is marked."""
    detector = load_detector(make_settings(object_classes=("person",), object_score=0.3))
    counts = []
    for path in sorted((data / "people").glob("*.jpg")):
        boxes = detector([np.array(Image.open(path).convert("RGB"))])[0]
        marked = [
            list(map(float, line.split()[1:5]))
            for line in path.with_suffix(".txt").read_text().splitlines()
            if line.strip()
        ]
        left = [np.array([x - w / 2, y - h / 2, w, h]) for x, y, w, h in marked]
        hit = 0
        for box in boxes:
            overlap = [float(overlaps(np.array([box.box]), m[None])[0, 0]) for m in left]
            if overlap and max(overlap) >= 0.5:
                left.pop(int(np.argmax(overlap)))
                hit += 1
        counts.append((hit, len(marked), len(boxes) - hit))
    return counts


@dataclass(frozen=True)
class Garment:
    """A top or trousers whose colour was named: whether rightly, and whether the commonest name would be right of it."""

    right: bool
    constant: bool


def garments(data: Path) -> list[Garment]:
    """Colours named on 40 boxes of `people`, against names that somebody gave by looking, before anything named them (garments.json)."""
    found = []
    for row in json.loads(Path(__file__).with_name("garments.json").read_text()):
        picture = np.array(Image.open(data / "people" / row["file"]).convert("RGB"))
        for name, (word, _) in garments_of([(picture, np.array(row["box"], np.float32))]).items():
            if word:
                found.append(Garment(word in row[name], "dark" in row[name]))
    return found
