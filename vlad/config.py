"""Every setting with its unit and default, and the presets. Knows no models and reads no files."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vlad.errors import SettingsError


def default_cache() -> Path:
    """Folder for cached features: VLAD_CACHE, else the user's cache folder."""
    return Path(os.environ.get("VLAD_CACHE") or platformdirs.user_cache_dir("vlad"))


class Settings(BaseModel):
    """All settings of the line. Unknown names and values out of range are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = "nano"
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compiled: bool = False  # open_clip's tower by torch.compile: a minute once, then faster on a GPU

    # video
    snippet_frames: int = Field(16, ge=1, le=1024)  # frames of the source that one score covers
    max_seconds: float = Field(26 * 3600.0, gt=0)  # longest clip by counted timestamps
    max_frames: int = Field(6_000_000, gt=0)  # of a clip: 26 hours at 64 a second
    max_pixels: int = Field(8192 * 4320, gt=0)  # of one frame
    max_bytes: int = Field(1 << 38, gt=0)  # of a file
    work: float = Field(20.0, gt=0)  # seconds of decoding that a second of a clip may cost
    open_seconds: float = Field(20.0, gt=0)  # wait for the next frame at most
    # FFmpeg's hwaccel that decodes (cuda, vaapi, videotoolbox, ... or auto), "": none. For footage that is trusted: a driver needs devices and memory, so
    # its decoder is not confined. Checked against software by the first picture; goes on in software where the driver fails.
    hardware: str = Field("", max_length=20)
    memory_bytes: int = Field(3 << 29, gt=0)  # address space of the decoder above what it starts with

    # Models look only where something moves (`vlad.activity`): a snippet without movement has the features and the boxes of the one before, for at most 8 s.
    # Never with speeds or a normality head, and `vlad features` looks everywhere.
    gating: bool = True

    # encoder
    encoder: str = "nano"  # an open_clip model name, nano, or a folder that `vlad finetune masked` or open_clip wrote
    encoder_weights: str = ""  # an open_clip pretrained tag or a local file; "" with nano
    frames_per_snippet: int = Field(4, ge=1, le=64)  # F
    motion: bool = True  # append movement descriptors
    speeds: bool = (
        False  # and the highest speed at each height of the picture: for head=normality and a camera that stands still
    )
    cache: Path | None = Field(default_factory=default_cache)  # None: no cache

    # objects and tracks
    objects: bool = True  # look for people and things
    objects_rate: float = Field(2.0, gt=0, le=30)  # looks a second
    objects_closer: float = Field(6.0, ge=0, le=30)  # looks a second inside what is flagged; 0: no closer look
    object_score: float = Field(0.3, ge=0.1, le=1)  # from which a box counts
    object_classes: tuple[str, ...] = (
        "person",
        "bicycle",
        "car",
        "motorcycle",
        "bus",
        "truck",
        "backpack",
        "handbag",
        "suitcase",
        "dog",
        "knife",
    )  # of COCO's 80

    # scorer
    scorer: str = "mil"
    scorer_weights: str = ""  # folder with head.json and head.safetensors; "": nano's
    classes: tuple[str, ...] = ()  # class names the class branch chooses from; (): the scorer's own
    classes_file: Path | None = None  # YAML, name: [sentences]: the same, with what is put to the text tower

    rules: Path | None = (
        None  # YAML of zones, lines and rules (vlad/rules.py): what holds there raises or lowers scores, and is named; times of day by the clip's own name
    )

    depth: str = ""  # a DPT or Depth Anything model (a hub name in the local cache, or a folder): who is near and far, relative to the scene; "": none

    # segments, seconds and scores in [0, 1]
    smooth_seconds: float = Field(2.0, ge=0)
    enter: float | None = Field(None, ge=0, le=1)  # None: the scorer's calibrated threshold, else .5
    leave: float | None = Field(None, ge=0, le=1)  # None: .4 of enter
    merge_gap: float = Field(3.0, ge=0)
    min_length: float = Field(1.0, ge=0)

    # explainer
    explain: bool = True
    explainer: str = "nano"  # a LLaVA-family hub name or folder, or nano
    adapter: str = ""  # a PEFT adapter's folder; "" with nano: nano's own; none: the bare base
    explainer_bits: Literal[4, 8, 16] = 16  # 4: NF4, 8: LLM.int8; by bitsandbytes, for large models
    server: str = ""  # base URL of an OpenAI-compatible server, such as http://localhost:8000/v1; explainer: the model's name there
    server_key: str = Field("", repr=False, exclude=True)  # else OPENAI_API_KEY
    server_seconds: float = Field(120.0, gt=0)  # wait for an answer at most
    server_together: int = Field(4, ge=1, le=64)  # requests at once
    prompt: str = "explain"
    prompts: Path | None = None  # a folder whose templates override the shipped ones; else VLAD_PROMPTS
    explain_frames: int = Field(4, ge=1, le=64)  # at most; fewer where the model's context holds fewer
    explain_together: int = Field(4, ge=1, le=64)  # segments in one batch
    examples: Path | None = None  # a bank of confirmed descriptions, of which the nearest are shown to the model
    contrast: bool = False  # show the clip's calmest moment first
    constrain: bool = True  # to answers of the template's schema, by xgrammar
    max_new_tokens: int | None = Field(None, ge=1, le=4096)  # of an answer; None: what the template says, else 160
    max_explanations: int = Field(50, ge=0)  # the highest peaks first
    grounded: bool | None = (
        None  # words rest on measured facts alone where the model is not sure; None: with nano's explainer only
    )

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if None not in (self.leave, self.enter) and self.leave > self.enter:  # type: ignore[operator]
            raise ValueError(f"leave ({self.leave}) must not exceed enter ({self.enter})")
        if self.rules and not self.objects:
            raise ValueError("rules hold on what is followed: they need objects")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "nano": {},
    "clip-b16": {
        "encoder": "ViT-B-16",
        "encoder_weights": "openai",
        "motion": False,
        "scorer": "text",
        "explainer": "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        "explain_frames": 16,
    },
    "clip-l14": {
        "encoder": "ViT-L-14",
        "encoder_weights": "openai",
        "motion": False,
        "scorer": "text",
        "explainer": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
        "explainer_bits": 4,
        "explain_frames": 32,
    },
    "tubes": {  # what `vlad finetune masked` made, and a head of one's own on it
        "encoder": "runs/masked",
        "snippet_frames": 32,
        "frames_per_snippet": 16,
        "motion": False,
        "scorer_weights": "runs/scorer",
    },
}


def make_settings(preset: str = "nano", **changes: Any) -> Settings:
    """Settings of a preset with changes on top. Raises SettingsError that names every fault at once."""
    if preset not in PRESETS:
        raise SettingsError(f"preset {preset!r} is unknown; choose one of {', '.join(PRESETS)}")
    try:
        return Settings(**{"preset": preset, **PRESETS[preset], **changes})
    except ValidationError as error:
        faults = "; ".join(
            _fault(".".join(map(str, e["loc"])) or "settings", e["type"], e["msg"]) for e in error.errors()
        )
        raise SettingsError(f"settings: {faults}") from None


def _fault(name: str, kind: str, message: str) -> str:
    if kind != "extra_forbidden":
        return f"{name}: {message}"
    near = get_close_matches(name, Settings.model_fields, 1)
    return f"{name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
