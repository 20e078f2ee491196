"""Descriptors of video without labels: a small transformer learns to foretell the cubes of a clip that are hidden from it.

    vlad finetune masked data=FOLDER_OR_LIST [out=runs/masked] [minutes=10] [cubes.width=256 ...]

In: clips, without a label; a recipe (masked.yaml). Out: a folder for Settings.encoder. Tong et al. 2022 (VideoMAE): the same places are hidden in
every frame (tubes), nine in ten; the encoder reads what is shown, a narrow decoder foretells the pixels of the rest, each cube in its own
standard deviations. A run that was stopped goes on from its last minute. Knows no label and no test.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from vlad.device import choose_device, choose_dtype
from vlad.errors import SettingsError
from vlad.tubes import Shape, Tubes, blocks, cubes, picked, positions, save_tubes, scaled

if TYPE_CHECKING:
    from .recipe import MaskedRecipe

CHECKPOINT, EVERY = "checkpoint.safetensors", 60.0  # seconds
ROOM = 8 / 7  # side of the frames that are kept, in sides of the model's: room to cut from
SMALLEST = 0.6  # side of a cut, in sides of the frame
WARM = 0.05  # share of the time in which the rate rises


class Masked(nn.Module):
    """The encoder, and the decoder that is left behind after training. hidden: share of places that it has to foretell."""

    places: torch.Tensor

    def __init__(self, shape: Shape, *, hidden: float, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.encoder = Tubes(shape)
        self.shown = max(1, round(shape.side**2 * (1 - hidden)))
        self.narrow = nn.Linear(shape.width, width)
        self.unknown = nn.Parameter(torch.zeros(width))
        self.decoder = blocks(width, depth, heads)
        self.pixels = nn.Linear(width, shape.pixels)
        self.register_buffer("places", positions(shape, width), persistent=False)

    def forward(self, frames: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        """The mean squared error of hidden cubes of frames [N, frames, size, size, 3] in -1..1. order: a permutation of places int64 [N, side x side], the shown first."""
        shape, n = self.encoder.shape, len(frames)
        each = order[:, None] + torch.arange(shape.steps, device=order.device)[:, None] * shape.side**2
        seen, hidden = each[..., : self.shown].flatten(1), each[..., self.shown :].flatten(1)
        parts, places = cubes(frames, shape), self.places.expand(n, -1, -1)
        told = self.narrow(self.encoder(parts, seen)) + picked(places, seen)
        asked = self.unknown + picked(places, hidden)
        found = self.pixels(self.decoder(torch.cat([told, asked.to(told.dtype)], 1))[:, seen.shape[1] :])
        truth = picked(parts, hidden)
        deviation, mean = torch.std_mean(truth, -1, keepdim=True)
        return functional.mse_loss(found.float(), (truth - mean) / (deviation + 1e-3))


@dataclass(frozen=True)
class Footage:
    """frames uint8 [T, S, S, 3] of all clips one after another; ends int64 [T]: where the clip of each frame ends."""

    frames: torch.Tensor
    ends: torch.Tensor

    @classmethod
    def of(cls, clips: Sequence[torch.Tensor], device: torch.device) -> Footage:
        """Clips uint8 [T, S, S, 3] each, of one size."""
        lengths = torch.tensor([len(c) for c in clips])
        return cls(torch.cat(list(clips)).to(device), lengths.cumsum(0).repeat_interleave(lengths).to(device))

    def draw(self, batch: int, shape: Shape, stride: int, at: torch.Generator) -> torch.Tensor:
        """[batch, frames, size, size, 3] in -1..1: spans of 1 to `stride` frames a step, cut out and mirrored by chance."""
        device = self.frames.device
        place = torch.arange(len(self.frames), device=device)
        able = place[self.ends - place >= shape.frames]
        first = able[torch.randint(len(able), (batch,), generator=at, device=device)]
        longest = (self.ends[first] - first - 1) // (shape.frames - 1)
        step = 1 + (torch.rand(batch, generator=at, device=device) * longest.clamp(max=stride)).long()
        index = first[:, None] + step[:, None] * torch.arange(shape.frames, device=device)
        pictures = self.frames[index].permute(0, 1, 4, 2, 3).flatten(1, 2)
        side, flip, x, y = torch.rand(4, batch, generator=at, device=device)
        side = SMALLEST + (1 - SMALLEST) * side
        zero, sign = torch.zeros_like(side), (flip < 0.5) * 2.0 - 1
        rows = (
            torch.stack([side * sign, zero, (1 - side) * (2 * x - 1)], 1),
            torch.stack([zero, side, (1 - side) * (2 * y - 1)], 1),
        )
        grid = functional.affine_grid(torch.stack(rows, 1), [batch, 1, shape.size, shape.size], align_corners=False)
        cut: torch.Tensor = functional.grid_sample(
            scaled(pictures), grid, padding_mode="reflection", align_corners=False
        )
        return cut.reshape(batch, shape.frames, 3, shape.size, shape.size).permute(0, 1, 3, 4, 2)


def read_footage(data: Path, shape: Shape, snippet: int) -> list[torch.Tensor]:
    """Frames of the clips that `vlad features` would find in `data`, as the encoder will see them, whole and square. Raises InputError for a clip that cannot be read or none that is long enough."""
    from rich.progress import track

    from vlad.config import make_settings
    from vlad.errors import InputError
    from vlad.video import open_video

    from .extract import find_videos

    side, found = round(shape.size * ROOM), []
    settings = make_settings(snippet_frames=snippet, frames_per_snippet=shape.frames)
    for path in track(find_videos([data]).values(), "reading"):
        with open_video(path, settings, size=side) as clip:
            frames = torch.cat([_square(torch.from_numpy(s.frames.copy()), side) for s in clip])
        if len(frames) >= shape.frames:
            found.append(frames)
    if not found:
        raise InputError(f"{data}: no clip of {shape.frames} frames")
    return found


def _square(frames: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 [T, H, W, 3] to [T, side, side, 3]."""
    scaled_to = functional.interpolate(
        frames.permute(0, 3, 1, 2).float(), (side, side), mode="bilinear", antialias=True
    )
    return scaled_to.round().clamp(0, 255).byte().permute(0, 2, 3, 1)


def train(
    clips: Sequence[torch.Tensor], recipe: MaskedRecipe, shape: Shape, out: Path, tell: Callable[[dict[str, Any]], None]
) -> Tubes:
    """Train for the recipe's minutes of this run's and earlier ones' time, into `out`. clips: uint8 [T, S, S, 3] each. tell: step, loss and minutes of every hundredth step.

    Raises SettingsError for a checkpoint of another recipe.
    """
    device = choose_device(recipe.device)
    dtype = choose_dtype(device, "auto")
    torch.manual_seed(recipe.seed)
    model = Masked(
        shape, hidden=recipe.hidden, width=recipe.decoder_width, depth=recipe.decoder_depth, heads=recipe.decoder_heads
    )
    model.to(device).train()
    plain = [p for p in model.parameters() if p.ndim < 2]
    wide = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": wide, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95))
    footage, kept = Footage.of(clips, device), out / CHECKPOINT
    of = json.dumps([recipe.model_dump(exclude={"out", "device", "data"}), [len(c) for c in clips]])
    step, spent = _resume(kept, model, optimiser, of) if kept.is_file() else (0, 0.0)
    losses: list[torch.Tensor] = []
    out.mkdir(parents=True, exist_ok=True)
    begin, saved, whole = time.monotonic() - spent, time.monotonic(), recipe.minutes * 60
    while (now := time.monotonic() - begin) < whole:
        share = now / whole
        rate = recipe.lr * min(1.0, share / WARM) * (1 + math.cos(math.pi * share)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate
        at = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step)
        frames = footage.draw(recipe.batch, shape, recipe.stride, at)
        order = torch.rand(recipe.batch, shape.side**2, generator=at, device=device).argsort(1)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = model(frames, order)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        losses.append(loss.detach())
        if step % 100 == 0:
            tell({"step": step, "loss": round(float(torch.stack(losses).mean()), 4), "minutes": round(now / 60, 2)})
            losses.clear()
        if time.monotonic() - saved > EVERY:
            _keep(kept, model, optimiser, of, step, time.monotonic() - begin)
            saved = time.monotonic()
    save_tubes(model.encoder, out)
    kept.unlink(missing_ok=True)
    return model.encoder.eval()


def _keep(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, of: str, step: int, spent: float) -> None:
    """All that a run needs to go on."""
    state = {f"model.{k}": v for k, v in model.state_dict().items()}
    for number, (_, moments) in enumerate(sorted(optimiser.state_dict()["state"].items())):
        state |= {f"optimiser.{number}.{k}": v for k, v in moments.items()}
    part = path.with_name(f".{path.name}.part")
    save_file(
        {k: v.contiguous() for k, v in state.items()}, part, metadata={"of": of, "step": str(step), "spent": str(spent)}
    )
    os.replace(part, path)


def _resume(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, of: str) -> tuple[int, float]:
    """Step and seconds of a checkpoint that was put into the model and its optimiser. Raises SettingsError for another recipe's."""
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    if facts["of"] != of:
        raise SettingsError(f"{path}: of another recipe or other footage; name another folder with out=, or remove it")
    state = load_file(path)
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    whole = optimiser.state_dict()
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        if key.startswith("optimiser."):
            _, number, name = key.split(".")
            moments.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({**whole, "state": moments})
    return int(facts["step"]), float(facts["spent"])


def main(arguments: Sequence[str]) -> int:
    """`vlad finetune masked key=value...`. Raises SettingsError or InputError, with every fault at once."""
    from .recipe import MaskedRecipe, checked, read_recipe

    recipe = checked(MaskedRecipe, *read_recipe(arguments[0], arguments[1:]))
    try:
        shape = Shape(**recipe.cubes.model_dump())
    except ValueError as error:
        raise SettingsError(f"{arguments[0]}: cubes: {error}") from None
    out = Path(recipe.out)
    clips = read_footage(Path(recipe.data), shape, recipe.snippet)

    def tell(row: dict[str, Any]) -> None:
        print(", ".join(f"{k} {v}" for k, v in row.items()), flush=True)

    train(clips, recipe, shape, out, tell)
    print(f"{len(clips)} clips; in {out}; use it with --preset tubes --set encoder={out}")
    return 0
