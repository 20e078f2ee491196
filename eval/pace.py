"""How fast a head is trained at its authors' own sizes, beside their own loop on the same features, in one run.

In: how many steps, and where their code lies. Out: seconds of a step by `vlad finetune ucf-crime`, and by `vlad.eval.published`. Features are random, as long as videos are:
snippets by a log-normal of median 160 (at most 3,000), since nobody's lengths were at hand. Knows no scores.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.factory import get_model_config
from safetensors.torch import save_file

from .verb import vlad

WIDTHS = {"vadclip": 512, "ur-dmu": 1024}
REPOSITORIES = {"vadclip": "VadCLIP", "ur-dmu": "UR-DMU"}
BATCH, HELD_OUT = 64, 0.1
SEED = 1_900_001


def write_features(folder: Path, width: int, steps: int) -> tuple[list[Path], list[Path]]:
    """Files of random features [T, width] for so many steps: anomalous and normal ones; a tenth more of each is there to be held out."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    count = round(BATCH * steps / (1 - HELD_OUT)) + 1
    found: tuple[list[Path], list[Path]] = ([], [])
    for kind, paths in zip(("Abuse", "Normal_Videos"), found, strict=True):
        for i in range(count):
            path = folder / f"{kind}{i:03}_x264.npy"
            length = int(np.clip(rng.lognormal(np.log(160), 1.0), 16, 3000))
            if not path.exists():
                np.save(path, rng.standard_normal((length, width), np.float32))
            paths.append(path)
    return found


def write_tower(folder: Path) -> Path:
    """A folder of open_clip's ViT-B-16 with random weights, for its text tower."""
    if not (folder / "open_clip_config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-16")
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
        facts = {"model_cfg": get_model_config("ViT-B-16"), "preprocess_cfg": open_clip.get_model_preprocess_cfg(model)}
        (folder / "open_clip_config.json").write_text(json.dumps(facts))
    return folder


def ours(kind: str, features: tuple[Sequence[Path], Sequence[Path]], steps: int, work: Path) -> float:
    """Seconds of the steps of `vlad finetune ucf-crime`, by its log."""
    rows = [
        f"{path.resolve()},{label}"
        for label, paths in zip(("Abuse", "Normal"), features, strict=True)
        for path in paths
    ]
    (table := work / f"{kind}.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    out = work / f"trained-{kind}"
    text = (
        [f"data.text={write_tower(work / 'tower')}", "data.clip=512"]
        if kind == "vadclip"
        else ["data.text=", "data.clip=0"]
    )
    vlad("finetune", "ucf-crime", f"head={kind}", f"data.features={table}", *text, "data.encoder=random", f"data.select={HELD_OUT}",
         f"scorer.steps={steps}", f"out={out}", "device=cpu", "--anew")  # fmt: skip
    return float(sum(json.loads(line)["seconds"] for line in (out / "log.jsonl").read_text().splitlines()))


def theirs(
    kind: str, features: tuple[Sequence[Path], Sequence[Path]], steps: int, work: Path, published: Path
) -> float:
    """Seconds of the same number of steps by the published loop."""
    chosen = [str(path.resolve()) for paths in features for path in paths[: BATCH * steps]]
    (table := work / f"{kind}.txt").write_text("\n".join(chosen) + "\n")
    command = [
        sys.executable,
        "-m",
        "vlad.eval.published",
        kind,
        str(published / REPOSITORIES[kind]),
        str(table),
        str(steps),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very Python
    return float(done.stdout.splitlines()[-1])


def paces(kind: str, steps: int, work: Path, published: Path | None) -> tuple[list[float], list[float]]:
    """Seconds a step, ours and theirs in turns, two of each after one another the other way round; none of theirs where no code is named."""
    features = write_features(work / f"bags-{kind}", WIDTHS[kind], steps)
    mine = [ours(kind, features, steps, work) / steps]
    other = [theirs(kind, features, steps, work, published) / steps for _ in range(2)] if published else []
    return [*mine, ours(kind, features, steps, work) / steps], other
