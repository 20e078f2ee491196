"""Whether a camera still looks where it looked: what stands still in its picture, as a few hundred features of a few kilobytes.

In: pictures. Out: a `Background`, as text that a rules file can hold; and of later pictures whether they are `same`, `moved` or `unlike` (nothing of it is found: turned
away, covered, or a light in which nothing is known again). ORB features (Rublee et al. 2011), matched both ways, and a similarity by RANSAC. Knows no tracks and no rules.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 480  # pixels of the longer side at which features are sought
MOST = 250  # features
LEAST = 12  # that agree on one movement, before anything is said
CLOSE = 64  # bits of 256 by which two features may differ
NEAR = 3.0  # pixels within which features agree
SHIFT = 0.02  # of the picture's longer side: how far its parts move in a camera that was moved
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Background:
    """points: float32 [N, 2], pixels of a picture whose longer side has SIDE; bits: uint8 [N, 32]; size: width and height of that picture."""

    points: npt.NDArray[np.float32]
    bits: npt.NDArray[np.uint8]
    size: tuple[int, int]

    def text(self) -> str:
        """As base64."""
        head = np.array([*self.size, len(self.points)], "<u2").tobytes()
        return base64.b64encode(
            head + (self.points * 16).round().astype("<u2").tobytes() + self.bits.tobytes()
        ).decode()


def parse(text: object) -> Background:
    """What `Background.text` wrote. Raises ValueError for anything else."""
    try:
        raw = base64.b64decode(text if isinstance(text, str) else "", validate=True)
        width, height, count = (int(v) for v in np.frombuffer(raw[:6], "<u2"))
        points = np.frombuffer(raw[6 : 6 + 4 * count], "<u2").reshape(count, 2).astype(np.float32) / np.float32(16)
        bits = np.frombuffer(raw[6 + 4 * count :], np.uint8).reshape(count, 32)
    except (binascii.Error, ValueError):
        raise ValueError("background: is not what `vlad place reference` writes; let it write one anew") from None
    if count < LEAST or not width or not height:
        raise ValueError("background: too little stands still in that picture; take one by day")
    return Background(np.asarray(points, np.float32), bits, (width, height))


def still(pictures: Sequence[Picture]) -> Picture:
    """What stands still in pictures uint8 RGB [H, W, 3]: their median."""
    found: Picture = np.median(np.stack(pictures), axis=0).astype(np.uint8)
    return found


def described(pictures: Sequence[Picture]) -> Background:
    """Features of what stands still in pictures of one size."""
    picture = still(pictures)
    scale = SIDE / max(picture.shape[:2])
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    grey = cv2.createCLAHE(2.0, (8, 8)).apply(grey)  # by day and by dusk alike
    found, bits = cv2.ORB.create(nfeatures=MOST, fastThreshold=10).detectAndCompute(grey, None)
    points = np.array([f.pt for f in found], np.float32).reshape(-1, 2)
    return Background(points, np.zeros((0, 32), np.uint8) if bits is None else bits, (grey.shape[1], grey.shape[0]))


def compared(before: Background, now: Background) -> tuple[str, float]:
    """`same`, `moved` or `unlike`, and how far the picture's corners moved on average, in shares of its longer side (0 for unlike)."""
    if len(now.points) < LEAST:
        return "unlike", 0.0
    pairs = [
        m for m in cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(before.bits, now.bits) if m.distance <= CLOSE
    ]
    if len(pairs) < LEAST:
        return "unlike", 0.0
    a = np.array([before.points[m.queryIdx] for m in pairs])
    b = np.array([now.points[m.trainIdx] for m in pairs])
    moved, agree = cv2.estimateAffinePartial2D(a, b, method=cv2.RANSAC, ransacReprojThreshold=NEAR)
    if moved is None or int(agree.sum()) < LEAST:
        return "unlike", 0.0
    width, height = before.size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    gone = corners @ moved[:, :2].T + moved[:, 2] - corners
    shift = float(np.hypot(*gone.T).mean()) / max(width, height)
    return ("moved" if shift > SHIFT else "same"), shift
