"""Features to scores: one head a file, all of them in SCORERS."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from vlad.config import Settings
from vlad.errors import SettingsError, WeightsError
from vlad.types import Scorer
from vlad.weights import nano_part

from .bn_wvad import BnWvadHead
from .causal import CausalHead
from .head import Calibration, Classes, EmbedText, Head, HeadConfig, TrainedScorer, sentences
from .hl_net import HlNetHead
from .mil import MilHead
from .normality import NormalityHead
from .pel4vad import PelHead
from .rtfm import RtfmHead
from .scene import load_scene
from .sultani import SultaniHead
from .text import TextScorer
from .ur_dmu import UrDmuHead

CALIBRATION = "calibration.json"


def _vadclip(config: HeadConfig) -> Any:
    from .vadclip import VadClipHead  # imports open_clip, which takes seconds

    return VadClipHead(config)


def _tpwng(config: HeadConfig) -> Any:
    from .tpwng import TpwngHead  # so does this

    return TpwngHead(config)


HEADS: dict[str, Callable[[HeadConfig], Any]] = {
    "mil": MilHead,
    "sultani": SultaniHead,
    "rtfm": RtfmHead,
    "ur-dmu": UrDmuHead,
    "vadclip": _vadclip,
    "tpwng": _tpwng,
    "hl-net": HlNetHead,
    "pel4vad": PelHead,
    "bn-wvad": BnWvadHead,
    "causal": CausalHead,
    "normality": NormalityHead,
}


class TextTower(Protocol):
    """What a scorer needs of an encoder: sentences to unit vectors float32 [N, D]."""

    def embed_text(self, texts: list[str]) -> npt.NDArray[np.float32]: ...


def _trained(settings: Settings, encoder: TextTower) -> Scorer:
    if not settings.scorer_weights and settings.scorer != "mil":
        raise WeightsError(
            f"scorer {settings.scorer} needs its trained folder: --set scorer_weights=DIR; train one with `vlad finetune`"
        )
    scorer = load_folder(settings.scorer_weights or "nano", classes_of(settings), encoder.embed_text)
    if settings.scorer not in (scorer.name, "mil"):
        raise SettingsError(
            f"{settings.scorer_weights} holds a {scorer.name} head, not {settings.scorer}; leave the setting scorer out"
        )
    return scorer


def _text(settings: Settings, encoder: TextTower) -> Scorer:
    return TextScorer(encoder.embed_text, classes_of(settings))


SCORERS: dict[str, Callable[[Settings, TextTower], Scorer]] = {**dict.fromkeys(HEADS, _trained), "text": _text}


def classes_of(settings: Settings) -> Classes | None:
    """The classes a user names, in a file or as words; None where the scorer's own stand. Raises SettingsError that names every fault."""
    if settings.classes_file is None:
        return sentences(settings.classes) if settings.classes else None
    path = settings.classes_file
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: classes_file cannot be read ({str(error).splitlines()[0]})") from None
    if not isinstance(found, dict) or not found:
        raise SettingsError(f"{path}: expected lines such as `fighting: [two people fight, a fist fight]`")
    told = {
        str(k): (v,) if isinstance(v, str) else tuple(v or (str(k),)) if isinstance(v, list) else ()
        for k, v in found.items()
    }
    faults = [k for k, v in told.items() if not v or not all(isinstance(text, str) for text in v)]
    if faults:
        raise SettingsError(f"{path}: expected a sentence or a list of sentences for {', '.join(faults)}")
    return told


def load_scorer(settings: Settings, encoder: TextTower) -> Scorer:
    """The scorer that the settings name. Raises SettingsError for an unknown name, WeightsError for weights that do not load."""
    if settings.scorer not in SCORERS:
        raise SettingsError(f"scorer {settings.scorer!r} is unknown; choose one of {', '.join(SCORERS)}")
    return SCORERS[settings.scorer](settings, encoder)


def folder_of(name: str) -> Path:
    """The folder of a scorer, nano's by that name. Raises WeightsError where nano's was altered."""
    return nano_part("mil") if name == "nano" else Path(name)


def load_folder(name: str, classes: Classes | None, embed_text: EmbedText) -> TrainedScorer:
    """A scorer from a folder, or nano's: its head, what it was calibrated and adapted to. classes: None for its own.

    Raises WeightsError for what does not load, SettingsError for other classes than those a scene was learnt under.
    """
    folder = folder_of(name)
    head = load_head(folder)
    try:
        facts = json.loads((folder / CALIBRATION).read_text()) if (folder / CALIBRATION).is_file() else {}
        calibration = Calibration(facts.get("enter"), tuple(facts.get("x", ())), tuple(facts.get("y", ())))
        scene = load_scene(folder)
    except (OSError, ValueError, AttributeError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"scorer {folder}: its calibration or scene cannot be read ({error}); make it again"
        ) from None
    if scene is not None and classes is not None and tuple(classes) != tuple(head.config.labels):
        raise SettingsError(
            f"scorer {folder}: it was adapted under its own classes; leave classes and classes_file out"
        )
    return TrainedScorer(
        head, classes or sentences(head.config.labels), embed_text, calibration=calibration, scene=scene
    )


def load_head(folder: Path) -> Head:
    """A head from a folder. Raises WeightsError where it is missing or does not fit."""
    if folder.suffix in (".pth", ".pt", ".pkl", ".pickle", ".ckpt"):
        raise WeightsError(
            f"{folder} is a pickle, which can run code; turn it into a scorer with: vlad import vadclip {folder} -o DIR"
        )
    try:
        facts = json.loads((folder / "head.json").read_text())
        config = HeadConfig(**{**facts, "labels": tuple(facts["labels"])})
        head: Head = HEADS[config.kind](config)
        head.load_state_dict(load_file(folder / "head.safetensors"))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        line = str(error).splitlines()[0][:160]
        raise WeightsError(f"scorer {folder}: cannot be loaded ({line}); train one, or use --preset nano") from None
    return head
