"""Whether anything in a picture moved since another: a first look, hundreds of times cheaper than a model's.

In: grey pictures of SIDE pixels, averaged from the frame. Out: whether something moved, other than light, the camera's trembling, its noise and the
clock that is written into its picture. Something moved where one small pixel differs from before by more than noise does: a pixel stands for a
hundredth to a sixtieth of the picture's width, so its noise is averaged away, and a person far off still moves one. Knows numpy alone: it runs in
the decoder.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VERSION = 2  # part of the features' fingerprint
SIDE = 64  # pixels of the longer side
LEAST, MOST = 4.0, 12.0  # grey levels from which a pixel differs where there is no noise, and where there is any
SURE = 5.0  # standard deviations of the picture's noise,
RESTLESS = 4.0  # and mean differences of that very pixel: leaves, water
MEMORY = 1 / 64  # weight of a new look among those that tell how restless a pixel is
FIRM = 30.0  # grey levels beyond which a difference tells nothing of the camera's trembling
WIDE = 7  # pixels to each side over which a difference is light: a cloud's shadow, a lamp
DRIFT = 6.0  # grey levels of light, on average, after which the picture is another one
EDGE, CLOCK = (
    1 / 8,
    0.1,
)  # share of the height, above and below, where a clock may be; share of looks, when all else is still, in which its seconds differ
DIGITS = 8  # pixels to each side of these seconds in which its other digits are
Floats = npt.NDArray[np.float32]


def size_of(width: int, height: int) -> tuple[int, int]:
    """Width and height of the small picture of one of `width` x `height` pixels."""
    scale = SIDE / max(width, height)
    return max(8, round(width * scale)), max(8, round(height * scale))


def averaged(picture: npt.NDArray[np.uint8], width: int, height: int) -> Floats:
    """Means over a grid of `width` x `height` parts of a picture [H, W] that has as many pixels or more: float32 [height, width]. Row by row, which takes a third of what FFmpeg's scaler does."""
    tall, wide = picture.shape
    rows, columns = np.arange(height + 1) * tall // height, np.arange(width + 1) * wide // width
    sums = np.empty((height, wide), np.uint16 if tall // height < 256 else np.uint32)
    for i in range(height):
        np.add.reduce(picture[rows[i] : rows[i + 1]], axis=0, dtype=sums.dtype, out=sums[i])
    found = np.add.reduceat(sums, columns[:-1], axis=1, dtype=np.uint32)
    means: Floats = (found / (np.diff(rows)[:, None] * np.diff(columns))).astype(np.float32)
    return means


def blurred(values: Floats, reach: int) -> Floats:
    """Means over squares of `reach` pixels to each side, cut off at the picture's edge: [H, W]."""
    for axis in (0, 1):
        count = values.shape[axis]
        sums = np.insert(np.cumsum(values, axis=axis), 0, 0, axis=axis)
        high, low = np.minimum(np.arange(count) + reach + 1, count), np.maximum(np.arange(count) - reach, 0)
        wide = (high - low).reshape(-1, *(1,) * (1 - axis))
        values = (sums.take(high, axis) - sums.take(low, axis)) / wide
    return values


def around(values: Floats, high: int, wide: int) -> Floats:
    """The greatest of `high` pixels above and below and `wide` to each side: [H, W]."""
    for axis, reach in ((0, high), (1, wide)):
        padded = np.pad(values, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        values = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis).max(-1)
    return values


class Calm:
    """Small pictures one after another, all of one size, against one that is remembered.

    A difference is explained by a shift of less than a pixel, contrast and brightness, by least squares over what is no outlier; what changes over a wide
    area is light. What is left is compared with the picture's own noise (its median), with what the shift leaves at edges, and with how restless each pixel
    has been lately.
    """

    def __init__(self) -> None:
        self.before: Floats | None = None
        self.noise: Floats | None = None  # mean difference of each pixel lately
        self.hits: Floats | None = None  # share of looks lately in which it differed, and nothing but the edges did
        self.shift = 0.0  # the greatest lately, pixels
        self._parts = self._range = np.zeros(
            (0, 4), np.float32
        )  # what explains a difference [N, 4]; contrast around each pixel [H, W]

    def remember(self, picture: Floats) -> None:
        """Compare with this one, float32 [H, W], from now on."""
        self.before = picture
        steps = np.gradient(picture)
        self._parts = np.stack([*steps, picture - picture.mean(), np.ones_like(picture)], -1).reshape(-1, 4)
        self._range = around(picture, 1, 1) + around(-picture, 1, 1)

    def residue(self, picture: Floats) -> tuple[Floats, Floats, float]:
        """What neither trembling nor light explains of the difference to the picture remembered, and what of it trembling may be: grey levels [H, W].
        Then by how much light changed, on average."""
        assert self.before is not None
        change = picture - self.before
        rest = change - np.median(change)
        weights = self._explained(change, np.abs(rest) <= FIRM)
        rest = change - (self._parts @ weights).reshape(change.shape)
        bound = 3 * float(np.median(np.abs(rest))) + LEAST
        weights = self._explained(change, np.abs(rest) <= bound)
        rest = change - (self._parts @ weights).reshape(change.shape)
        rest = rest - blurred(np.clip(rest, -bound, bound), WIDE)
        self.shift = max(float(np.hypot(weights[0], weights[1])), (1 - MEMORY) * self.shift)
        return rest, self.shift * self._range, float(np.abs(change - rest).mean())

    def _explained(self, change: Floats, some: npt.NDArray[np.bool_]) -> Floats:
        """Weights of what explains a difference, from `some` of its pixels: float32 [4]."""
        parts = self._parts[some.ravel()]
        found = np.linalg.solve(parts.T @ parts + np.eye(4, dtype=np.float32), parts.T @ change[some])
        return found.astype(np.float32)

    def moved(self, picture: Floats) -> bool:
        """Whether something moved, float32 [H, W], or light changed much, since the picture remembered; True where there is none of this size."""
        if self.before is None or self.before.shape != picture.shape:
            self.noise = self.hits = None
            return True
        if self.noise is None or self.hits is None:
            self.noise, self.hits = np.zeros_like(picture), np.zeros_like(picture)
        change = picture - self.before
        lamp = float(change.mean())
        size = np.abs(change - lamp)
        if size.max() < LEAST and abs(lamp) < DRIFT:  # nothing is left to explain
            self.noise += MEMORY * (size - self.noise)
            self.hits *= 1 - MEMORY
            return False
        rest, trembling, light = self.residue(picture)
        size = np.abs(rest)
        bound = np.clip(np.maximum(SURE * 1.4826 * np.median(size), RESTLESS * self.noise), LEAST, MOST) + trembling
        found = size > bound
        self.noise += MEMORY * (np.minimum(size, MOST) - self.noise)
        rows = round(len(size) * EDGE)
        if not found[rows:-rows].any():
            self.hits += MEMORY * (found - self.hits)
            found &= ~self._clock(self.hits, rows)
        return bool(found.any()) or light > DRIFT

    @staticmethod
    def _clock(hits: Floats, rows: int) -> npt.NDArray[np.bool_]:
        """Where the digits of a clock are: beside what differs again and again in the upper or the lower `rows`."""
        found = np.zeros(hits.shape, bool)
        for some in (slice(None, rows), slice(len(hits) - rows, None)):
            found[some] = around((hits[some] > CLOCK).astype(np.float32), 1, DIGITS) > 0
        return found
