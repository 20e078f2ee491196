"""Recipes: a YAML file to checked values. Every knob has its comment there and its range here; all faults are told at once.

Knows no model and starts no work.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

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


class MilRecipe(Recipe):
    """Stage mil."""

    videos: int = Field(ge=8)
    select: int = Field(ge=8)
    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    smooth: float = Field(ge=0)
    sparse: float = Field(ge=0)
    noise: float = Field(ge=0)
    drift: float = Field(ge=0)
    views: int = Field(ge=0)
    real: float = Field(ge=0, le=1)
    seed: int


class LlavaRecipe(Recipe):
    """Stages llava and adapter."""

    steps: int = Field(ge=1)
    tune_steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    tune_lr: float = Field(gt=0)
    frames: int = Field(ge=1, le=16)
    size: int = Field(ge=32, multiple_of=32)
    width: int = Field(ge=32)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    vocabulary: int = Field(ge=300)
    texts: int = Field(ge=1)
    rank: int = Field(ge=1)
    normal: float = Field(ge=0, le=1)
    honest: float = Field(ge=0, le=1)
    reports: float = Field(ge=0, le=1)
    workers: int = Field(ge=0)
    seed: int


class NanoRecipe(Recipe):
    """All of nano."""

    clip: ClipRecipe
    mil: MilRecipe
    llava: LlavaRecipe


def load_recipe(path: Path | None = None, changes: Sequence[str] = ()) -> NanoRecipe:
    """The recipe of a file, or the shipped nano.yaml, with changes such as `clip.minutes=5` on top.

    Raises SettingsError that names every fault at once.
    """
    try:
        source = path.read_text() if path else (files("vlad.finetune") / "nano.yaml").read_text()
        values: Any = yaml.safe_load(source)
    except OSError as error:
        raise SettingsError(f"{path}: no such recipe, or it cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path or 'nano.yaml'}: not YAML ({str(error).splitlines()[0]})") from None
    faults = []
    for change in changes:
        key, equals, value = change.partition("=")
        stage, dot, name = key.partition(".")
        if not (equals and dot and isinstance(values, dict) and isinstance(values.get(stage), dict)):
            faults.append(f"{change!r} is no change of the form clip.minutes=5")
        else:
            values[stage][name] = yaml.safe_load(value)
    try:
        recipe = NanoRecipe.model_validate(values)
    except ValidationError as error:
        faults += [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    if faults:
        raise SettingsError(f"{path or 'nano.yaml'}: {'; '.join(faults)}")
    return recipe
