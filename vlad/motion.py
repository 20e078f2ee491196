"""Frames of one snippet to movement descriptors: what single pictures cannot show.

In: F frames, uint8 RGB. Out: MOTION_DIM float32, each about in [0, 1], on fixed scales, so that a calm clip stays calm. Knows no model.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

VERSION = 2  # part of the encoder's fingerprint: raise it when what the encoder says of movement changes its meaning
WIDTH, HEIGHT = 64, 48
QUANTILES = (0.5, 0.75, 0.9, 0.97, 0.995)
DIRECTIONS = 8
MOTION_DIM = 29  # see `descriptors`
BANDS = 24  # of the picture's height: see `speeds`
TALL = 240  # pixels of the picture in which speeds are measured
CELL = 16  # of these, the square over which they are averaged
Floats = npt.NDArray[np.float32]


def _grey(frames: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    return [
        cv2.cvtColor(cv2.resize(f, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for f in frames
    ]


def _quantiles(values: Floats) -> Floats:
    """QUANTILES of all values, between neighbours in a straight line: what np.quantile gives, in a tenth of its time."""
    ordered = np.sort(values, axis=None)
    found: Floats = np.interp(np.array(QUANTILES) * (ordered.size - 1), np.arange(ordered.size), ordered)
    return found


def _pair(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> Floats:
    """Descriptors of two neighbouring pictures: float32 [26]."""
    signed = b.astype(np.float32) - a.astype(np.float32)
    bright = float(signed.mean())
    change = np.abs(signed - bright)  # a lamp that goes on is not movement
    flow = cv2.calcOpticalFlowFarneback(a, b, np.empty(0), 0.5, 2, 9, 2, 5, 1.1, 0)
    flow = flow - np.median(flow, axis=(0, 1))  # a camera that shakes is not movement either
    size = np.hypot(flow[..., 0], flow[..., 1])
    angle = np.arctan2(flow[..., 1], flow[..., 0])
    sector = ((angle + np.pi) * (DIRECTIONS / (2 * np.pi))).astype(np.int64) % DIRECTIONS
    directions = np.bincount(sector.ravel(), weights=size.ravel(), minlength=DIRECTIONS) / size.size
    dxx, dyy = np.gradient(flow[..., 0], axis=1), np.gradient(flow[..., 1], axis=0)
    dxy, dyx = np.gradient(flow[..., 0], axis=0), np.gradient(flow[..., 1], axis=1)
    return np.concatenate([
        np.log1p(_quantiles(change)) / 5, [np.log1p(change.mean()) / 4],
        np.log1p(_quantiles(size)) / 2, [(size > 0.5).mean(), (change > 15).mean()],
        np.log1p(directions * 10) / 3,
        [np.log1p(np.abs(dxx + dyy).mean() * 10) / 3, np.log1p(np.abs(dyx - dxy).mean() * 10) / 3],
        [np.tanh(bright / 20), np.tanh(abs(bright) / 20), np.log1p(size.std()) / 2],
    ]).astype(np.float32)  # fmt: skip


def descriptors(frames: npt.NDArray[np.uint8]) -> Floats:
    """Movement in a snippet.

    frames: uint8 RGB [F, H, W, 3] in order of time. Returns float32 [MOTION_DIM]: the mean over neighbouring pairs of quantiles of
    brightness change and of optical flow (Farneback 2003, at 64 x 48, the median removed), shares of the picture that move, a
    direction histogram weighted by speed, divergence and curl, and brightness; then how change, speed and brightness vary over the
    pairs. One frame alone gives zeros.
    """
    grey = _grey(frames)
    if len(grey) < 2:
        return np.zeros(MOTION_DIM, np.float32)
    pairs = np.stack([_pair(a, b) for a, b in pairwise(grey)])
    return np.concatenate([pairs.mean(axis=0), pairs[:, [5, 9, 23]].std(axis=0)])


def speeds(frames: npt.NDArray[np.uint8], seconds: float) -> Floats:
    """How fast the fastest thing is at each height of the picture.

    frames: uint8 RGB [F, H, W, 3], `seconds` from one to the next. Returns float32 [BANDS], heights of the picture a second: of optical
    flow (Kroeger et al. 2016, DIS), its median removed, averaged over the pairs and over cells of CELL pixels, the highest in each band.
    What walks far away is slower than what walks near: a camera that stands still sees like speeds in a band. One frame alone gives zeros.
    """
    if len(frames) < 2:
        return np.zeros(BANDS, np.float32)
    wide = max(2 * CELL, round(frames.shape[2] * TALL / frames.shape[1]))
    grey = [cv2.cvtColor(cv2.resize(f, (wide, TALL), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for f in frames]
    flows = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = [flows.calc(a, b, np.empty(0)) for a, b in pairwise(grey)]
    mean = np.mean([f - np.median(f, axis=(0, 1)) for f in pairs], axis=0)
    cells = cv2.blur(mean, (CELL, CELL))
    size = np.hypot(cells[..., 0], cells[..., 1])[:, CELL // 2 : -CELL // 2]
    bands = size.reshape(BANDS, TALL // BANDS, -1).max(axis=(1, 2)) / TALL / max(seconds, 1e-3)
    return bands.astype(np.float32)  # type: ignore[no-any-return]
