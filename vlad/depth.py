"""Near and far in one picture, by a monocular depth model of the DPT family (Ranftl et al. 2021): relative alone, never metres.

In: RGB pictures. Out: of each a map of nearness in [0, 1], 1 for the nearest place of that picture; the maps of two pictures can't be compared. Any DPT or Depth Anything model by its usual name
in transformers or a folder, from safetensors, nothing fetched. Metres come from `vlad.place`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.device import choose_device
from vlad.errors import WeightsError
from vlad.types import Fact, Track
from vlad.weights import missing, offline

RELATIVE = frozenset({"dpt", "depth_anything"})  # whose output grows with nearness
NEAR, FAR = 2 / 3, 1 / 3  # share of the scene that somebody is nearer than
Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Depth:
    """A depth model, ready for pictures. name: a hub name that is in the local cache, or a folder. Raises WeightsError."""

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        try:
            with offline():
                processors: Any = AutoImageProcessor
                models: Any = AutoModelForDepthEstimation
                self._processor = processors.from_pretrained(name, local_files_only=True)
                model = models.from_pretrained(name, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, KeyError) as error:
            reason = (str(error).splitlines() or [""])[0][:120]
            raise WeightsError(f"depth {name}: {missing(name)} ({reason})") from None
        kind = str(model.config.model_type)
        if kind not in RELATIVE or getattr(model.config, "depth_estimation_type", "relative") != "relative":
            raise WeightsError(
                f"depth {name}: is a {kind} whose output is not relative nearness; choose a model of {', '.join(sorted(RELATIVE))}"
            )
        self._model, self._device = model.to(device).eval(), device

    def __call__(self, pictures: Sequence[Picture]) -> list[Floats]:
        """Nearness float32 [H, W] in [0, 1] of each picture, uint8 RGB [H, W, 3]."""
        import torch

        found = []
        for picture in pictures:
            given = self._processor(images=picture, return_tensors="pt").to(self._device)
            with torch.inference_mode():
                raw = self._model(**given).predicted_depth[None].float()
            large = torch.nn.functional.interpolate(raw, size=picture.shape[:2], mode="bilinear", align_corners=False)
            near = large[0, 0].cpu().numpy()
            low, high = float(near.min()), float(near.max())
            found.append(np.asarray((near - low) / max(high - low, 1e-9), np.float32))
        return found


def load_depth(settings: Settings) -> Depth:
    """The settings' model. Raises WeightsError."""
    return Depth(settings.depth, device=str(choose_device(settings.device)))


def near_and_far(tracks: Sequence[Track], time: float, nearness: Floats) -> list[Fact]:
    """Who is near and who is far at a time (s), by the share of the scene that the middle of their box is nearer than; said to be relative."""
    found = []
    height, width = nearness.shape
    for track in tracks:
        if not track.times[0] <= time <= track.times[-1]:
            continue
        x, y, w, h = (float(v) for v in track.at(time))
        rows = slice(int((y + 0.25 * h) * height), int(np.ceil((y + 0.75 * h) * height)))
        columns = slice(int((x + 0.25 * w) * width), int(np.ceil((x + 0.75 * w) * width)))
        own = nearness[rows, columns]
        if not own.size:
            continue
        share = float((nearness < np.median(own)).mean())
        where = "near the camera" if share >= NEAR else "far from the camera" if share <= FAR else ""
        if where:
            found.append(
                Fact("depth", f"a {track.label} {where}, as this scene goes (relative depth)", share, 0.5, time)
            )
    return sorted(found, key=lambda f: -abs(f.value - 0.5))
