"""Frames to boxes of people and things: YOLOX-nano (Ge et al. 2021) by onnxruntime, on the processor.

In: RGB frames. Out: a `Box` each for what scores high enough, of the classes that were asked for. Knows no video and no model of ours.
The network takes any size and number (`vlad.finetune.objects` frees the published file of its square); a frame costs 10 to 50 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vlad.config import Settings
from vlad.device import cores
from vlad.errors import SettingsError, WeightsError
from vlad.types import Box, Sighting, Snippet
from vlad.weights import nano_part

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light", "fire hydrant", "stop sign",
    "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard",
    "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv",
    "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
SIDE = 416  # pixels of the longer side of the network's input
GREY = 114  # of what a picture does not fill
STRIDES = (8, 16, 32)
OVERLAP = 0.5  # IoU from which two boxes of a class are one thing (people stand close)
TOGETHER = 8  # frames a call at most
LEAST = 0.1  # score below which a box is not looked at
Floats = npt.NDArray[np.float32]


@cache
def cells(height: int, width: int) -> tuple[Floats, Floats]:
    """Place [N, 2] and stride [N, 1] of every cell of the network's output for an input of this size (multiples of 32)."""
    places, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        places.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(strides).astype(np.float32)


def letterboxed(frame: npt.NDArray[np.uint8]) -> tuple[Floats, float]:
    """A frame uint8 RGB [H, W, 3] as the network wants it, BGR float32 [3, h, w] in 0..255, and by what it was scaled.

    The longer side has SIDE pixels; the shorter is filled up to a multiple of 32 alone, since the network takes any: a wide picture costs
    two thirds of a square.
    """
    height, width = frame.shape[:2]
    scale = min(SIDE / height, SIDE / width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    whole = np.full((-(-h // STRIDES[-1]) * STRIDES[-1], -(-w // STRIDES[-1]) * STRIDES[-1], 3), GREY, np.uint8)
    whole[:h, :w] = cv2.resize(frame, (w, h), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(whole[:, :, ::-1].transpose(2, 0, 1), np.float32), scale


def decoded(raw: Floats, height: int, width: int) -> tuple[Floats, Floats]:
    """The network's output [N, 85] for an input of this size as boxes [N, 4] (x, y, width, height in its pixels) and scores [N, 80]."""
    places, strides = cells(height, width)
    centre, size = (raw[:, :2] + places) * strides, np.exp(np.clip(raw[:, 2:4], -10, 10)) * strides
    return np.concatenate([centre - size / 2, size], axis=1), raw[:, 4:5] * raw[:, 5:]


class Detector:
    """YOLOX-nano. classes: names of COCO that are kept; score: from which a box counts. threads: 0 for half of the cores."""

    def __init__(self, path: Path, *, classes: Sequence[str], score: float, threads: int = 0) -> None:
        unknown = [c for c in classes if c not in COCO]
        if unknown:
            raise SettingsError(
                f"object_classes: {', '.join(unknown)} is none of YOLOX's classes; choose of {', '.join(COCO)}"
            )
        self.classes, self.score = tuple(COCO.index(c) for c in dict.fromkeys(classes)), max(score, LEAST)
        self._session = _session(path, threads or max(1, cores() // 2))
        self._input = self._session.get_inputs()[0].name

    def __call__(self, frames: npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8]]) -> list[tuple[Box, ...]]:
        """Boxes of each frame, uint8 RGB [H, W, 3], best first. Frames of one size go through together, at most TOGETHER."""
        found: list[tuple[Box, ...]] = []
        for _, own in groupby(frames, key=lambda f: f.shape):
            same = list(own)
            for low in range(0, len(same), TOGETHER):
                found += self._some(same[low : low + TOGETHER])
        return found

    def _some(self, frames: Sequence[npt.NDArray[np.uint8]]) -> list[tuple[Box, ...]]:
        made = [letterboxed(frame) for frame in frames]
        raw = self._session.run(None, {self._input: np.stack([picture for picture, _ in made])})[0]
        return [self._boxes(r, f, *m) for r, f, m in zip(raw, frames, made, strict=True)]

    def _boxes(self, raw: Floats, frame: npt.NDArray[np.uint8], picture: Floats, scale: float) -> tuple[Box, ...]:
        boxes, scores = decoded(raw, *picture.shape[1:])
        size = np.array([frame.shape[1], frame.shape[0]] * 2, np.float32) * scale
        found = []
        for index in self.classes:
            some = np.flatnonzero(scores[:, index] >= self.score)
            if not len(some):
                continue
            own, values = boxes[some], scores[some, index]
            for i in np.array(cv2.dnn.NMSBoxes(own.tolist(), values.tolist(), self.score, OVERLAP)).ravel():
                box = inside(own[i] / size)
                if box is not None:
                    found.append(Box(COCO[index], min(float(values[i]), 1.0), box))
        return tuple(sorted(found, key=lambda b: -b.score))


def inside(box: Floats) -> tuple[float, float, float, float] | None:
    """The part of a box (shares of the picture) that lies in the picture; None for nothing."""
    x0, y0 = (min(max(float(v), 0.0), 1.0) for v in box[:2])
    x1, y1 = (min(max(float(v), 0.0), 1.0) for v in box[:2] + box[2:])
    return (x0, y0, x1 - x0, y1 - y0) if x1 - x0 > 1e-4 and y1 - y0 > 1e-4 else None


def _session(path: Path, threads: int) -> Any:
    """An onnxruntime session of a file. Raises WeightsError where it does not load."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no exception of its own for a file that is none
        raise WeightsError(
            f"objects {path.name}: cannot be loaded ({str(error).splitlines()[0][:160]}); reinstall vlad"
        ) from None


def load_detector(settings: Settings) -> Detector:
    """nano's detector with the settings' classes and score. Raises WeightsError where it was altered, SettingsError for unknown classes."""
    return Detector(
        nano_part("objects") / "yolox_nano.onnx", classes=settings.object_classes, score=settings.object_score
    )


class Watch:
    """Snippets as they pass, with a look at them `rate` times a second: iterate it, then read `sightings` and `aspect`, width over height of the picture.

    In a quiet snippet everything is where it was seen last.
    """

    def __init__(self, snippets: Iterable[Snippet], detector: Detector, *, rate: float) -> None:
        self.snippets, self.detector, self.gap = snippets, detector, 1 / rate
        self.sightings: list[Sighting] = []
        self.aspect, self.due = 1.0, 0.0  # seconds of the next look

    def __iter__(self) -> Iterator[Snippet]:
        for snippet in self.snippets:
            self.look(snippet)
            yield snippet

    def look(self, snippet: Snippet) -> None:
        """At the frames of the next snippet whose time has come."""
        step = (snippet.end - snippet.start) / len(snippet.frames)
        self.aspect = snippet.frames.shape[2] / snippet.frames.shape[1]
        for index, frame in enumerate(snippet.frames):
            time = snippet.start + (index + 0.5) * step
            if time >= self.due - step / 2:
                self.due = time + self.gap
                known = snippet.quiet and self.sightings
                self.sightings.append(Sighting(time, self.sightings[-1].boxes if known else self.detector([frame])[0]))
