"""Rebuild nano: its CLIP, its MIL head, its LLaVA and the adapter, stage by stage; each goes on where it was stopped.

    vlad finetune nano [data=FOLDER] [backbone=FILE.tflite|nano|timm] [work=runs/nano] [recipe=FILE.yaml] [clip.minutes=5 ...]

In: a recipe; the ImageNet file and `fights` of `data` (VLAD_DATA) where they are, else the shipped tower is the start. Out: vlad/nano.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from safetensors.torch import load_file, save_file

from vlad.config import make_settings
from vlad.encoder import load_encoder
from vlad.pipeline import Analyzer
from vlad.scorers.head import HeadConfig, save_head, sentences
from vlad.sim import ANOMALIES, training_world, write_video
from vlad.types import Snippet
from vlad.video import open_video
from vlad.weights import nano_folder, write_checksums

from . import instruct, sft
from .adapt import remember
from .clip import SELECT_SEEDS, augment, train_clip
from .llava import train_adapter, train_llava
from .recipe import LlavaRecipe, MilRecipe, NanoRecipe, checked, load_recipe, read_recipe
from .scorer import Bag, held, new_head, train_head

AVERAGE = 3.0  # seconds; an event lasts longer than a snippet


@cache
def _analyzer() -> Analyzer:
    """One for each process, on one core."""
    import torch

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


def fight_bags(data: Path | None, views: int) -> list[Bag]:
    """Real clips of `fights` train as bags, each as it is and in `views` augmented forms; [] without the data."""
    if data is None or not (data / "fights" / "manifest.csv").is_file():
        return []
    with open(data / "fights" / "manifest.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == "train"]
    settings, bags = make_settings(), []
    encoder = load_encoder(settings)
    for index, row in enumerate(track(rows, "features of fights train")):
        classes, path = ("fighting",) if row["label"] == "fight" else (), data / "fights" / row["path"]
        with open_video(path, settings, size=encoder.size) as clip:
            bags.append(held(np.array(encoder(clip).values), classes))
        with open_video(path, settings, size=encoder.size * 5 // 4) as clip:
            snippets = list(clip)
        for view in range(views):
            rng = np.random.default_rng([index, view, 77])
            bags.append(held(np.array(encoder(_augmented(snippets, encoder.size, rng)).values), classes))
    return bags


def _augmented(snippets: list[Snippet], size: int, rng: np.random.Generator) -> Iterator[Snippet]:
    """A clip under one random change of all its frames."""
    frames = augment([f for s in snippets for f in s.frames], size, rng)
    ends = np.cumsum([len(s.frames) for s in snippets])
    for snippet, shown in zip(snippets, np.split(frames, ends[:-1]), strict=True):
        yield replace(snippet, frames=np.ascontiguousarray(shown))


def train_mil(work: Path, log: Path, data: Path | None, recipe: MilRecipe) -> None:
    """Features of simulated and real videos, then the MIL head, into nano."""
    encoder = load_encoder(make_settings())
    folder = work / "bags" / encoder.name.replace("@", "-")
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [*range(recipe.videos), *range(SELECT_SEEDS, SELECT_SEEDS + recipe.select)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        waiting = pool.map(sim_bag, seeds, [folder] * len(seeds))
        bags = list(track(waiting, "features of simulated videos", total=len(seeds)))
    space, change = encoder.parts
    head = new_head(HeadConfig("mil", encoder.name, space + change, space, ANOMALIES, smooth=AVERAGE), encoder, "nano")

    def tell(row: dict[str, Any]) -> None:
        with open(log, "a") as file:
            file.write(json.dumps(row) + "\n")

    train_head(
        head, bags[: recipe.videos], bags[recipe.videos :], names=head.names(sentences(ANOMALIES), encoder.embed_text),
        recipe=recipe, extra=fight_bags(data, recipe.views), share=recipe.real, work=work, tell=tell,
    )  # fmt: skip
    save_head(head, nano_folder() / "mil")
    known, select = bags[: recipe.videos], bags[recipe.videos :]
    remember(
        head,
        encoder.embed_text,
        [b.load(0) for b in known],
        [(b.load(0), bool(b.classes)) for b in select],
        nano_folder() / "mil",
    )


def build(recipe: NanoRecipe, data: Path | None, work: Path, backbone: str) -> None:
    """Every stage whose result is not in `work` yet."""
    log, nano = work / "log.jsonl", nano_folder()
    if not (work / "clip" / "model.safetensors").exists():
        train_clip(recipe.clip, work / "clip", backbone=backbone, data=data, log=log)
    shutil.copytree(work / "clip", nano / "clip", dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoint*"))
    write_checksums()
    train_mil(work, log, data, recipe.mil)
    write_checksums()
    if not (work / "llava" / "model.safetensors").exists():
        train_llava(recipe.llava, work / "clip", work / "llava", work=work / "llava_steps", log=log)
    if not (work / "adapter" / "adapter_model.safetensors").exists():
        train_adapter(recipe.llava, work / "llava", work / "adapter", work=work / "adapter_steps", log=log)
    shutil.copytree(work / "llava", nano / "llava", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.md", "*.bin"))
    write_checksums()
    if not (work / "tasks" / "result.json").exists():
        train_tasks(recipe.llava, work)
    keep_adapter(work / "tasks")


def train_tasks(recipe: LlavaRecipe, work: Path) -> None:
    """The adapter goes on from the template `explain` to all of them, as `vlad finetune llava-lora` tunes any model."""
    rows = work / "rows.jsonl"
    if not rows.exists():
        instruct.run("sim", rows, kind="", media=None, count=recipe.rows, first=20_000)
    changes = [
        "base=nano", f"adapter={work / 'adapter'}", f"data={rows}", f"out={work / 'tasks'}", f"batch={recipe.batch}", "accumulate=1",
        f"lr={recipe.rows_lr}", "checkpointing=false", f"seed={recipe.seed}",
    ]  # fmt: skip
    sft.run(checked(sft.SftRecipe, *read_recipe("llava-lora", changes)))


def keep_adapter(folder: Path) -> None:
    """An adapter of `train_tasks` into nano, float16."""
    target = nano_folder() / "adapter"
    state = {k: v.half().contiguous() for k, v in load_file(folder / "adapter_model.safetensors").items()}
    save_file(state, target / "adapter_model.safetensors", metadata={"format": "pt"})
    shutil.copy(folder / "adapter_config.json", target / "adapter_config.json")
    write_checksums()


def main(arguments: Sequence[str] = ()) -> int:
    """Run what has not been run; `arguments` are key=value. Raises SettingsError for what is no recipe."""
    places = {"data": os.environ.get("VLAD_DATA", ""), "work": "runs/nano", "recipe": "", "backbone": ""}
    given = dict(a.split("=", 1) for a in arguments if a.split("=", 1)[0] in places and "=" in a)
    places |= given
    changes = [a for a in arguments if a.split("=", 1)[0] not in given]
    recipe = load_recipe(Path(places["recipe"]) if places["recipe"] else None, changes)
    work = Path(places["work"])
    work.mkdir(parents=True, exist_ok=True)
    data = Path(places["data"]) if places["data"] else None
    imagenet = data / "models" / "mobilenet_v2_imagenet_int8.tflite" if data else None
    build(recipe, data, work, places["backbone"] or (str(imagenet) if imagenet and imagenet.is_file() else "nano"))
    return 0
