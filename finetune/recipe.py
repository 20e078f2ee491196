"""Recipes: a YAML file to checked values. Every knob has its comment there and its range here; all faults are told at once.

Knows no model and starts no work.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlad.errors import SettingsError


class Recipe(BaseModel):
    """A part of a recipe file: frozen, nothing unknown, nothing left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClipRecipe(Recipe):
    """Stage clip."""

    minutes: float = Field(gt=0)
    size: int = Field(ge=32, multiple_of=32)
    frames: int = Field(ge=1, le=16)
    batch: int = Field(ge=2)
    real: int = Field(ge=0)
    keep: float = Field(ge=0)
    backbone_lr: float = Field(gt=0)
    head_lr: float = Field(gt=0)
    anchor: float = Field(ge=0, le=1)
    frozen: int = Field(ge=0, le=7)
    width: int = Field(ge=32)
    embed: int = Field(ge=16)
    workers: int = Field(ge=0)
    seed: int


class SightRecipe(Recipe):
    """Stage sight: the heads that join nano's towers."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=2)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    noise: float = Field(ge=0)
    word_noise: float = Field(ge=0)
    sim_frames: int = Field(ge=1)
    simulated: int = Field(ge=0)
    seed: int


class ScorerRecipe(Recipe):
    """How a head is trained; heads.yaml says what each means. What only some losses want is 0 for the others."""

    epochs: int = Field(ge=1)
    steps: int = Field(0, ge=0)
    optimiser: Literal["adamw", "adam", "adagrad"] = "adamw"
    decay: Literal["cosine", "none"] = "cosine"
    horizon: int = Field(0, ge=0)
    milestones: tuple[int, ...] = ()
    halved: tuple[str, ...] = ()
    clip: float = Field(1.0, ge=0)
    rows: Literal["videos", "crops", "whole"] = "videos"
    draw: Literal["chance", "pass"] = "chance"
    bags: Literal["halves", "mixed"] = "halves"
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    length: int = Field(0, ge=0)
    fill: Literal["mask", "repeat", "pick"] = "mask"
    patience: int = Field(0, ge=0)
    noise: float = Field(0.0, ge=0)
    drift: float = Field(0.0, ge=0)
    smooth: float = Field(0.0, ge=0)
    sparse: float = Field(0.0, ge=0)
    named: float = Field(0.0, ge=0)
    apart: float = Field(0.1, ge=0)
    margin: float = Field(0.0, ge=0)
    magnitude: float = Field(0.0, ge=0)
    distil: float = Field(0.0, ge=0)
    guidance: float = Field(0.0, ge=0, le=1)
    least: float = Field(0.0, ge=0, le=1)
    glance: float = Field(1.0, ge=0)
    sigma: float = Field(0.1, gt=0)
    alpha: float = Field(0.9, gt=0, le=1)
    mining: int = Field(50, ge=0)
    seed: int


class MilRecipe(ScorerRecipe):
    """Stage mil of nano: its head, and the videos it is trained on."""

    videos: int = Field(ge=8)
    select: int = Field(ge=8)
    strength: float = Field(gt=0)
    flagged: float = Field(gt=0, lt=1)


class LlavaRecipe(Recipe):
    """Stages llava and adapter."""

    steps: int = Field(ge=1)
    photos: int = Field(ge=0)
    mixed: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    noise: float = Field(ge=0, lt=1)
    watched: int = Field(ge=0)
    spans: int = Field(ge=1)
    kept: int = Field(ge=0)
    frames: int = Field(ge=1, le=16)
    size: int = Field(ge=32, multiple_of=32)
    normal: float = Field(ge=0, le=1)
    honest: float = Field(ge=0, le=1)
    reports: float = Field(ge=0, le=1)
    vocabulary: int = Field(ge=300)
    width: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    tune_spans: int = Field(ge=1)
    tune_steps: int = Field(ge=1)
    tune_lr: float = Field(gt=0)
    told: float = Field(ge=0, le=1)
    rank: int = Field(ge=1)
    seed: int


class NanoRecipe(Recipe):
    """All of nano."""

    sight: SightRecipe
    clip: ClipRecipe
    mil: MilRecipe
    llava: LlavaRecipe


class CubesRecipe(Recipe):
    """Shape of the model of stage masked."""

    frames: int = Field(ge=2)
    size: int = Field(ge=8)
    tube: int = Field(ge=1)
    patch: int = Field(ge=1)
    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)


class MaskedRecipe(Recipe):
    """Descriptors of video that are learnt without labels."""

    data: str = Field(min_length=1)
    out: str = Field(min_length=1)
    device: str
    minutes: float = Field(gt=0)
    snippet: int = Field(ge=1, le=1024)
    cubes: CubesRecipe
    hidden: float = Field(gt=0, lt=1)
    stride: int = Field(ge=1)
    decoder_width: int = Field(ge=8)
    decoder_depth: int = Field(ge=1)
    decoder_heads: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    seed: int


class DataRecipe(Recipe):
    """Which features a head learns from."""

    features: str = Field(min_length=1)
    root: str
    audio: str
    encoder: str = Field(min_length=1)
    clip: int = Field(ge=0)
    text: str
    classes: dict[str, str]
    select: float = Field(gt=0, lt=1)
    clicks: str = ""
    snippet: int = Field(16, ge=1)


class HeadRecipe(Recipe):
    """A head trained on a data set. schedule: as its authors train it, where they say, or vlad's own, which is shorter."""

    head: str
    schedule: Literal["published", "short"]
    out: str = Field(min_length=1)
    device: str
    tensorboard: bool
    data: DataRecipe
    window: int = Field(ge=0)
    average: float = Field(ge=0)
    options: dict[str, Any]
    scorer: ScorerRecipe


def load_recipe(path: Path | None = None, changes: Sequence[str] = ()) -> NanoRecipe:
    """The recipe of a file, or the shipped nano.yaml, with changes such as `clip.minutes=5` on top.

    Raises SettingsError that names every fault at once.
    """
    name, values = _read(str(path) if path else "nano")
    return checked(NanoRecipe, name, values, _change(values, changes))


def load_head_recipe(source: str, changes: Sequence[str] = ()) -> HeadRecipe:
    """The recipe of a file or of a shipped name (ucf-crime), over its head's own of heads.yaml, with changes such as `scorer.lr=1e-4` on top.

    Raises SettingsError that names every fault at once.
    """
    name, values = _read(source)
    faults = _change(values, changes)
    heads = yaml.safe_load(shipped("heads").read_text())
    if not isinstance(values, dict) or values.get("head") not in heads:
        raise SettingsError(
            f"{name}: head is {values.get('head') if isinstance(values, dict) else None!r}; choose one of {', '.join(heads)}"
        )
    # From the general to the particular: the head's, its published schedule, this data set's for the head, the recipe's own.
    here = values.pop("heads", {}).get(values["head"], {})
    layers = [heads[values["head"]], here]
    for part in ("scorer", "options"):
        given = values.get(part, {})
        if not isinstance(given, dict):
            continue
        published = [
            x.get("published", {}) for x in layers if part == "scorer" and values.get("schedule") == "published"
        ]
        merged: dict[str, Any] = {}
        for layer in (*(x.get(part, {}) for x in layers), *published, given):
            merged |= layer
        values[part] = merged
    for part in ("window", "average"):
        values.setdefault(part, here.get(part, layers[0].get(part, 0)))
    return checked(HeadRecipe, name, values, faults)


def shipped(name: str) -> Path:
    """The file of a recipe that comes with vlad, whether or not there is one of that name."""
    return Path(str(files("vlad.finetune"))) / f"{name}.yaml"


def read_recipe(source: str, changes: Sequence[str]) -> tuple[str, Any, list[str]]:
    """Name and values of a recipe file or of a shipped one, with changes on top, and what is wrong with these. Raises SettingsError."""
    name, values = _read(source)
    return name, values, _change(values, changes)


def _read(source: str) -> tuple[str, Any]:
    """Name and values of a recipe file, or of a shipped one by its name."""
    own = Path(source)
    try:
        return source, yaml.safe_load(
            (own if own.is_file() or not shipped(source).is_file() else shipped(source)).read_text()
        )
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{source}: no such recipe, or it cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{source}: not YAML ({str(error).splitlines()[0]})") from None


def _change(values: Any, changes: Sequence[str]) -> list[str]:
    """Put changes of the form a.b=value into `values`; what is none comes back."""
    faults = []
    for change in changes:
        key, equals, value = change.partition("=")
        *parts, name = key.split(".")
        place = values
        for part in parts:
            place = place.get(part) if isinstance(place, dict) else None
        if equals and name and isinstance(place, dict):
            try:
                place[name] = yaml.safe_load(value) if value else ""
                continue
            except yaml.YAMLError:
                pass
        faults.append(f"{change!r} is no change of the form clip.minutes=5")
    return faults


R = TypeVar("R", bound=Recipe)


def checked(kind: type[R], name: str, values: Any, faults: list[str]) -> R:
    """Values as a recipe. Raises SettingsError that names every fault at once."""
    try:
        recipe = kind.model_validate(values)
    except ValidationError as error:
        faults += [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    if faults:
        raise SettingsError(f"{name}: {'; '.join(faults)}")
    return recipe
