"""Frames to boxes of faces.

In: frames uint8 RGB [H, W, 3]. Out: boxes as shares of the picture. YuNet (Wu et al. 2023) by OpenCV; it names nobody. Faces below some ten pixels are beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vlad.errors import WeightsError
from vlad.objects import inside
from vlad.types import Box
from vlad.weights import nano_part

SCORE = 0.4  # from which a box counts: a face that is missed is worse than a wall that is blurred
OVERLAP = 0.3
MOST = 500  # boxes a frame


@contextmanager
def quiet() -> Iterator[None]:
    """OpenCV 5 warns on standard error that a network runs where it always does."""
    logging = getattr(getattr(cv2, "utils", None), "logging", None)
    if logging is None:  # OpenCV 4 says nothing
        yield
        return
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        logging.setLogLevel(before)


class FaceDetector:
    """YuNet. score: in [0, 1], from which a box counts. Raises WeightsError where the file does not load."""

    def __init__(self, path: Path, *, score: float = SCORE) -> None:
        with quiet():
            try:
                self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score, OVERLAP, MOST)
            except cv2.error as error:
                words = str(error).splitlines()[0][:120]
                raise WeightsError(f"faces {path.name}: cannot be loaded ({words}); reinstall vlad") from None

    def __call__(self, frames: Sequence[npt.NDArray[np.uint8]]) -> list[tuple[Box, ...]]:
        """Boxes of each frame, best first."""
        return [self._boxes(frame) for frame in frames]

    def _boxes(self, frame: npt.NDArray[np.uint8]) -> tuple[Box, ...]:
        height, width = frame.shape[:2]
        self._net.setInputSize((width, height))
        _, rows = self._net.detect(np.ascontiguousarray(frame[:, :, ::-1]))
        size, found = np.array([width, height] * 2, np.float32), []
        for row in rows if rows is not None else ():
            box = inside(row[:4] / size)
            if box is not None:
                found.append(Box("face", min(max(float(row[-1]), 0.0), 1.0), box))
        return tuple(sorted(found, key=lambda b: -b.score))


def load_faces() -> FaceDetector:
    """nano's detector of faces. Raises WeightsError where it was altered."""
    return FaceDetector(nano_part("objects") / "yunet_face.onnx")
