"""What a scorer has learnt of one camera since it was trained: a light change of its scores, no new network.

In: features and the head's logits. Out: other logits. `vlad.finetune.adapt` makes it from a few clips.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FILE = "scene.safetensors"


@dataclass(frozen=True)
class Scene:
    """Logits plus a linear function of how alike a snippet is to prototypes of the scene, of the logit, and of its classes' shares.

    mean, scale [width], basis [width, K]: features to K numbers. prototypes [P, K]: snippets of the scene; reach: the distance at which
    likeness has fallen to exp(-.5). weights [P + 1 + C], bias: of the change; C is 0 for a head without classes.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    basis: torch.Tensor
    prototypes: torch.Tensor
    reach: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor

    def place(self, values: torch.Tensor) -> torch.Tensor:
        """Features [T, width] to [T, K]."""
        return ((values - self.mean) / self.scale) @ self.basis

    def described(self, places: torch.Tensor, logits: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
        """What the change is a linear function of: float32 [T, P + 1 + C] of places [T, K], logits [T] and class shares [T, C].

        Shares count as far as the logit is high: what a calm snippet would be called tells nothing.
        """
        alike = (-0.5 * (torch.cdist(places[None], self.prototypes[None])[0] / self.reach).square()).exp()
        named = [] if classes is None else [classes * logits.sigmoid()[:, None]]
        return torch.cat([alike, (logits / 10).clamp(-1, 1)[:, None], *named], dim=1)

    def __call__(self, values: torch.Tensor, logits: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
        """Changed logits [T]."""
        with torch.inference_mode():
            return logits + self.described(self.place(values), logits, classes) @ self.weights + self.bias


def save_scene(scene: Scene, folder: Path) -> None:
    """Write scene.safetensors."""
    save_file({k: v.contiguous() for k, v in asdict(scene).items()}, folder / FILE)


def load_scene(folder: Path) -> Scene | None:
    """The scene of a folder, None where it has none."""
    return Scene(**load_file(folder / FILE)) if (folder / FILE).is_file() else None
