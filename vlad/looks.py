"""`vlad objects`: a clip or a picture to boxes as JSON-able facts.

In: a path that nobody trusts. Out: `{"path", "frames": [{"time", "boxes": [{"label", "score", "box": [x, y, width, height]}]}]}`, boxes as
shares of the picture, left and top first; a picture is one frame at 0 s. Knows no model of ours but the detector.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from vlad.config import Settings
from vlad.errors import InputError
from vlad.objects import Detector, Watch, load_detector
from vlad.types import Sighting
from vlad.video import open_video

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
SIDE = 416  # pixels of the short side of frames that are looked at


@lru_cache(maxsize=1)
def _detector(settings: Settings) -> Detector:
    return load_detector(settings)


def _picture(path: Path, settings: Settings) -> list[Sighting]:
    """One frame at 0 s. Raises InputError for what is no picture, or one over the limit."""
    try:
        with Image.open(path, formats=("JPEG", "PNG", "BMP", "WEBP")) as image:
            if image.width * image.height > settings.max_pixels:
                raise InputError(f"{path}: {image.width} x {image.height}, more than max_pixels allows")
            frame = np.array(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a picture that can be read ({type(error).__name__})") from None
    return [Sighting(0.0, _detector(settings)([frame])[0])]


def _clip(path: Path, settings: Settings) -> Iterable[Sighting]:
    with open_video(path, settings, size=SIDE) as clip:
        watch = Watch(clip, _detector(settings), rate=settings.objects_rate)
        for _ in watch:
            pass
    return watch.sightings


def look(path: str | os.PathLike[str], settings: Settings) -> dict[str, Any]:
    """What is seen in a clip or a picture. Raises InputError, VideoError, LimitError as `open_video` does."""
    own = Path(path)
    seen = _picture(own, settings) if own.suffix.lower() in PICTURES and own.is_file() else _clip(own, settings)
    return {
        "path": os.fspath(path),
        "frames": [
            {"time": s.time, "boxes": [{"label": b.label, "score": b.score, "box": list(b.box)} for b in s.boxes]} for s in seen
        ],
    }  # fmt: skip
