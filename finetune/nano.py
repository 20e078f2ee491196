"""Rebuild nano: its CLIP, its MIL head, stage by stage, resumable.

    vlad finetune nano [data=FOLDER] [minutes=20] [videos=240] [work=runs/nano]

In: the ImageNet file and `fights` of `data` (VLAD_DATA), where they are; else timm's own weights. Out: vlad/nano.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track
from vlad.finetune.clip import SELECT_SEEDS, ClipRecipe, train_clip
from vlad.finetune.scorer import Bag, MilRecipe, train_mil

from vlad.config import Settings, make_settings
from vlad.encoder import ClipEncoder, load_encoder
from vlad.errors import SettingsError
from vlad.motion import MOTION_DIM
from vlad.scorers.mil import MilConfig, save_head
from vlad.sim import ANOMALIES, simulate
from vlad.types import Snippet
from vlad.weights import nano_folder, write_checksums

DEFAULTS = {"data": os.environ.get("VLAD_DATA", ""), "minutes": "20", "videos": "240", "work": "runs/nano"}


def world_snippets(seed: int, settings: Settings, *, size: int) -> list[Snippet]:
    """Snippets of a simulated video as a camera's encoder would leave them: JPEG stands in for h264."""
    world = simulate(seed)
    rng = np.random.default_rng([seed, 17])
    step, count = settings.snippet_frames / world.fps, settings.frames_per_snippet
    snippets = []
    for start in np.arange(0.0, world.duration - step / 2, step):
        times = start + (np.arange(count) + 0.5) / count * step
        frames = [world.frame(float(t)) for t in times]
        snippets.append(Snippet(squeeze(frames, size, rng), float(start), float(min(start + step, world.duration))))
    return snippets


def squeeze(frames: list[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:  # type: ignore[type-arg]
    """Frames shrunk to a short side of `size` and compressed: uint8 [F, H, W, 3]."""
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 90))]
    scale = size / min(frames[0].shape[:2])
    small = [cv2.resize(f, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for f in frames]
    return np.stack([cv2.imdecode(cv2.imencode(".jpg", f, quality)[1], cv2.IMREAD_COLOR) for f in small])


def sim_bag(encoder: ClipEncoder, seed: int, settings: Settings) -> Bag:
    """A simulated video's features with its one label."""
    label = next((e.label for e in simulate(seed).events if e.anomalous), "")
    return Bag(np.array(encoder(world_snippets(seed, settings, size=encoder.size)).values), label)


def main(arguments: Sequence[str] = ()) -> int:
    """Run every stage that has not been run; `arguments` are key=value."""
    given = dict(a.split("=", 1) for a in arguments if "=" in a)
    if set(given) - set(DEFAULTS) or len(given) != len(arguments):
        raise SettingsError(
            f"finetune nano: expected key=value with keys {', '.join(DEFAULTS)}; got {' '.join(arguments)}"
        )
    options = {**DEFAULTS, **given}
    data, work = Path(options["data"]) if options["data"] else None, Path(options["work"])
    work.mkdir(parents=True, exist_ok=True)
    log, nano = work / "log.jsonl", nano_folder()
    backbone = data / "models" / "mobilenet_v2_imagenet_int8.tflite" if data else None
    if not (work / "clip" / "model.safetensors").exists():
        train_clip(ClipRecipe(minutes=float(options["minutes"])), work / "clip", backbone=backbone, data=data, log=log)
    shutil.copytree(work / "clip", nano / "clip", dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoint*"))
    train_head(work, log, videos=int(options["videos"]))
    write_checksums()
    return 0


def train_head(work: Path, log: Path, *, videos: int) -> None:
    """Features of simulated videos, then the MIL head, into nano."""
    settings = make_settings()
    encoder = load_encoder(settings)
    train = [sim_bag(encoder, seed, settings) for seed in track(range(videos), "features of training videos")]
    select = [
        sim_bag(encoder, SELECT_SEEDS + i, settings) for i in track(range(max(40, videos // 4)), "held-out videos")
    ]
    width = train[0].values.shape[1]
    config = MilConfig(width - MOTION_DIM, MOTION_DIM, encoder.name, ANOMALIES)
    head, lines = train_mil(train, select, config=config, embed_text=encoder.embed_text, recipe=MilRecipe())
    with open(log, "a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    save_head(head, nano_folder() / "mil")
