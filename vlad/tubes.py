"""A small transformer over cubes of a few frames and pixels, for descriptors of video that are learnt without labels.

In: a folder of tubes.json and model.safetensors. Out: a model from frames to tokens, a cube each (a plain ViT, as in Tong et al. 2022, VideoMAE);
`vlad.finetune.masked` trains it, `vlad.encoder` makes features of it. Knows no files of video, no words, no scores and no labels.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from vlad.errors import WeightsError

CONFIG, WEIGHTS = "tubes.json", "model.safetensors"


@dataclass(frozen=True)
class Shape:
    """Of the model. frames x size x size pixels, cut into cubes of tube x patch x patch; width, depth and heads of the transformer."""

    frames: int = 16
    size: int = 112
    tube: int = 2
    patch: int = 8
    width: int = 256
    depth: int = 8
    heads: int = 4

    def __post_init__(self) -> None:
        faults = [
            f"{name} {value} is no multiple of {other} {part}"
            for name, value, other, part in (
                ("frames", self.frames, "tube", self.tube),
                ("size", self.size, "patch", self.patch),
                ("width", self.width, "heads", self.heads),
            )
            if min(value, part) < 1 or value % part
        ]
        faults += [f"depth is {self.depth}, expected at least 1"] * (self.depth < 1)
        faults += ["frames make one step, expected two or more"] * (self.frames <= self.tube)
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def steps(self) -> int:
        """Cubes one after another."""
        return self.frames // self.tube

    @property
    def side(self) -> int:
        """Cubes of a row, and of a column."""
        return self.size // self.patch

    @property
    def pixels(self) -> int:
        """Numbers of a cube."""
        return self.tube * self.patch**2 * 3


def cubes(frames: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Frames [N, frames, size, size, 3] to cubes [N, steps x side x side, pixels], by time, row and column."""
    n, t, s = len(frames), shape.steps, shape.side
    parts = frames.reshape(n, t, shape.tube, s, shape.patch, s, shape.patch, 3)
    return parts.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(n, t * s * s, shape.pixels)


def positions(shape: Shape, width: int) -> torch.Tensor:
    """Where each cube is, in sines and cosines of its time, row and column: [steps x side x side, width]."""
    axes = torch.meshgrid(
        *(torch.arange(k, dtype=torch.float32) for k in (shape.steps, shape.side, shape.side)), indexing="ij"
    )
    part = width // 6
    speed = 1000 ** -(torch.arange(part) / max(part, 1))
    told = [f(axis.reshape(-1, 1) * speed) for axis in axes for f in (torch.sin, torch.cos)]
    return functional.pad(torch.cat(told, 1), (0, width - 6 * part))


def blocks(width: int, depth: int, heads: int) -> nn.TransformerEncoder:
    """A pre-norm transformer over [N, L, width], each layer with weights of its own."""
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
    made = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
    for own in made.parameters():
        if own.ndim == 2:
            nn.init.xavier_uniform_(own)  # the layers are made as copies of one
    return made


class Tubes(nn.Module):
    """A ViT over cubes."""

    places: torch.Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Linear(shape.pixels, shape.width)
        self.blocks = blocks(shape.width, shape.depth, shape.heads)
        self.register_buffer("places", positions(shape, shape.width), persistent=False)

    def forward(self, parts: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Cubes [N, L, pixels] in -1..1 to tokens [N, L, width]; of `seen` int64 [N, K], the cubes that are shown, to [N, K, width]."""
        places = self.places.expand(len(parts), -1, -1)
        if seen is not None:
            parts, places = picked(parts, seen), picked(places, seen)
        found: torch.Tensor = self.blocks(self.embed(parts) + places)
        return found


def picked(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Of values [N, L, D] those at index int64 [N, K]: [N, K, D]."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def scaled(frames: torch.Tensor) -> torch.Tensor:
    """Pixels 0..255 to -1..1."""
    return frames.float() / 127.5 - 1


def save_tubes(model: Tubes, folder: Path) -> None:
    """tubes.json and model.safetensors in float16."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.detach().half().cpu().contiguous() for k, v in model.state_dict().items()},
        folder / WEIGHTS,
        metadata={"format": "pt"},
    )
    (folder / CONFIG).write_text(json.dumps(asdict(model.shape), indent=1) + "\n")


def is_tubes(folder: Path | None) -> bool:
    """Whether a folder holds such a model."""
    return folder is not None and (folder / CONFIG).is_file()


def load_tubes(folder: Path) -> Tubes:
    """The model of a folder, in float32. Raises WeightsError for one that cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model = Tubes(Shape(**json.loads((folder / CONFIG).read_text())))
        model.load_state_dict({k: v.float() for k, v in load_file(folder / WEIGHTS).items()})
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"encoder {folder}: {line}; train it again with `vlad finetune masked`") from None
    return model.eval()
