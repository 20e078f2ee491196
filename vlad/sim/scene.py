"""Where a simulated camera looks: a place, its light and weather, and how the ground maps to the picture.

In: a random generator and a size. Out: a `Scene` with a painted background and `finish`, which adds what the camera and the sky do
to a frame. Knows nothing of people or events. Pictures are uint8 RGB [H, W, 3].
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
PLACES = ("street", "parking lot", "alley", "shop", "lobby", "station platform")
OUTDOORS = frozenset({"street", "parking lot", "alley", "station platform"})
ROADS = frozenset({"street", "parking lot"})
LIGHTS = ("day", "day", "day", "dusk", "night", "infrared")
SHIFT = 3  # sub-pixel bits of OpenCV's drawing calls


@dataclass(frozen=True)
class Camera:
    """Ground coordinates x in [0, 1] (left to right) and depth d in [0, 1] (far to near) to pixels."""

    width: int
    height: int
    horizon: float  # share of the height
    far: float  # size of things at d = 0 against d = 1
    person: float  # height of a person at d = 1, share of the picture's
    spread: float  # how much the ground widens towards the camera

    def scale(self, d: float) -> float:
        """Pixels of a person's height at depth d."""
        return self.height * self.person * (self.far + (1 - self.far) * d)

    def point(self, x: float, d: float) -> tuple[float, float]:
        """Pixel (column, row) of a spot on the ground."""
        widen = 1 + self.spread * (d - 0.5)
        return self.width * (0.5 + (x - 0.5) * widen), self.height * (self.horizon + (0.97 - self.horizon) * d)


@dataclass(frozen=True)
class Scene:
    """One camera's view without anybody in it."""

    place: str
    light: str
    camera: Camera
    background: Picture
    noise: npt.NDArray[np.int16]  # [2H, 2W, 1], sampled at a random offset a frame
    rain: bool
    shake: float  # pixels
    glare: tuple[int, int, float] | None  # column, row, strength in [0, 1]
    clock: int  # seconds since midnight at t = 0, or -1 for no burnt-in clock
    chimney: tuple[int, int] | None
    seed: int

    def finish(self, frame: Picture, t: float, glow: float = 0.0) -> Picture:
        """What light, weather and camera make of a painted frame; `glow` in [0, 1] is light cast by a fire or a flash."""
        rng = np.random.default_rng([self.seed, int(round(t * 1000)), 7])
        level = {"day": 256, "dusk": 170, "night": 92, "infrared": 190}[self.light]
        level = min(256, level + int(glow * (256 - level) * 0.8))
        if level < 256:
            frame = cv2.convertScaleAbs(frame, alpha=level / 256, beta=4)
        if self.light == "infrared":
            frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.glare:
            frame = self._glare(frame, t)
        if self.rain:
            self._rain(frame, rng)
        height, width = frame.shape[:2]
        row, column = int(rng.integers(height)), int(rng.integers(width))
        grain = self.noise[row : row + height, column : column + width]
        frame = np.clip(frame.astype(np.int16) + grain, 0, 255).astype(np.uint8)
        if self.shake:
            dx, dy = (int(round(v)) for v in rng.normal(0, self.shake, 2))
            frame = cv2.warpAffine(frame, np.array([[1, 0, dx], [0, 1, dy]], np.float32), (width, height),
                                   flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        if self.clock >= 0:
            now = self.clock + int(t)
            text = f"CAM {self.seed % 16 + 1:02d}  {now // 3600 % 24:02d}:{now // 60 % 60:02d}:{now % 60:02d}"
            cv2.putText(
                frame, text, (6, 14), cv2.FONT_HERSHEY_PLAIN, 0.8 * width / 320, (235, 235, 235), 1, cv2.LINE_AA
            )
        return frame

    def _glare(self, frame: Picture, t: float) -> Picture:
        assert self.glare is not None
        column, row, strength = self.glare
        spot = np.zeros((frame.shape[0] // 4, frame.shape[1] // 4), np.uint8)
        radius = int(spot.shape[0] * (0.3 + 0.05 * np.sin(t / 3)))
        cv2.circle(spot, (column // 4, row // 4), radius, int(150 * strength), -1)
        spot = cv2.resize(cv2.blur(spot, (21, 21)), (frame.shape[1], frame.shape[0]))
        lit: Picture = cv2.add(frame, cv2.cvtColor(spot, cv2.COLOR_GRAY2RGB))
        return lit

    def _rain(self, frame: Picture, rng: np.random.Generator) -> None:
        height, width = frame.shape[:2]
        for x, y in rng.integers(0, [width, height], (45, 2)).tolist():
            cv2.line(frame, (x, y), (x - 2, y + 9), (170, 175, 185), 1)


def _texture(rng: np.random.Generator, height: int, width: int, amount: float) -> npt.NDArray[np.float32]:
    coarse = rng.normal(0, amount, (max(height // 8, 2), max(width // 8, 2))).astype(np.float32)
    fine = rng.normal(0, amount * 0.6, (height, width)).astype(np.float32)
    smooth: npt.NDArray[np.float32] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return smooth + fine


def shade(colour: Colour, factor: float) -> Colour:
    return tuple(int(min(255, max(0, c * factor))) for c in colour)  # type: ignore[return-value]


def _paint_walls(image: Picture, rng: np.random.Generator, place: str, line: int) -> None:
    """What stands behind the ground: houses with windows and doors, or an inner wall with shelves or doors."""
    width = image.shape[1]
    tone = int(rng.integers(90, 200))
    wall: Colour = (tone, int(tone * rng.uniform(0.85, 1.0)), int(tone * rng.uniform(0.75, 1.05)))
    if place in ("street", "parking lot", "station platform"):
        image[:line] = np.array([150, 180, 215], np.uint8)
    else:
        image[:line] = np.array(wall, np.uint8)
    x = -int(rng.integers(0, width // 4))
    while x < width and place != "shop":
        span = int(rng.integers(width // 6, width // 3))
        top = int(line * rng.uniform(0.05, 0.5)) if place in OUTDOORS else 0
        front = shade(wall, rng.uniform(0.65, 1.15))
        cv2.rectangle(image, (x, top), (x + span, line), front, -1)
        for wx in range(x + 8, x + span - 14, 26):
            for wy in range(top + 8, line - 30, 28):
                cv2.rectangle(image, (wx, wy), (wx + 12, wy + 15), shade(front, rng.uniform(0.4, 0.8)), -1)
        if rng.random() < 0.8:
            dx = x + span // 3
            cv2.rectangle(image, (dx, line - 42), (dx + 20, line), shade(front, 0.45), -1)
            cv2.rectangle(image, (dx, line - 42), (dx + 20, line), shade(front, 0.3), 1)
        x += span + int(rng.integers(0, 12))
    if place == "shop":
        for sx in range(6, width - 40, 62):
            cv2.rectangle(image, (sx, 10), (sx + 54, line), shade(wall, 0.55), -1)
            for sy in range(14, line - 8, 16):
                for gx in range(sx + 3, sx + 50, 7):
                    goods = tuple(int(c) for c in rng.integers(40, 235, 3))
                    cv2.rectangle(image, (gx, sy), (gx + 5, sy + 11), goods, -1)


def _paint_ground(image: Picture, rng: np.random.Generator, camera: Camera, place: str, line: int) -> None:
    width = image.shape[1]
    tone = int(rng.integers(85, 150))
    tint = {"shop": (1.15, 1.1, 1.0), "lobby": (1.1, 1.05, 0.95)}.get(place, (1.0, 1.0, 1.0))
    image[line:] = np.array([min(255, int(tone * f)) for f in tint], np.uint8)
    if place == "street":
        near, far = int(camera.point(0, 0.72)[1]), int(camera.point(0, 0.3)[1])
        cv2.rectangle(image, (0, far), (width, near), (tone // 2, tone // 2, tone // 2 + 4), -1)
        middle = (near + far) // 2
        for x in range(0, width, 40):
            cv2.rectangle(image, (x, middle), (x + 20, middle + 2), (215, 215, 205), -1)
    elif place == "parking lot":
        for i in range(9):
            a, b = camera.point(i / 8, 0.02), camera.point(i / 8, 0.25)
            cv2.line(image, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), (220, 220, 210), 2, cv2.LINE_AA)
    elif place == "station platform":
        y = int(camera.point(0, 0.12)[1])
        cv2.rectangle(image, (0, y), (width, y + 4), (225, 200, 60), -1)
    else:
        for i in range(1, 9):
            y = int(camera.point(0, (i / 8) ** 1.5)[1])
            cv2.line(image, (0, y), (width, y), (tone - 18,) * 3, 1)
    if place in ("shop", "lobby"):
        a = camera.point(rng.uniform(0.7, 0.8), 0.45)
        h = int(camera.scale(0.45) * 0.55)
        cv2.rectangle(image, (int(a[0]), int(a[1]) - h), (int(a[0]) + 70, int(a[1])), (120, 85, 55), -1)
        cv2.rectangle(image, (int(a[0]), int(a[1]) - h - 4), (int(a[0]) + 70, int(a[1]) - h), (160, 125, 90), -1)


def _clutter(image: Picture, rng: np.random.Generator, camera: Camera) -> None:
    for _ in range(int(rng.integers(0, 5))):
        x, y = camera.point(rng.uniform(0, 1), rng.uniform(0.0, 0.25))
        size = int(camera.scale(0.1) * rng.uniform(0.2, 0.5))
        colour = tuple(int(c) for c in rng.integers(40, 180, 3))
        cv2.rectangle(image, (int(x), int(y) - size), (int(x) + size, int(y)), colour, -1)


def make_scene(seed: int, rng: np.random.Generator, *, size: tuple[int, int], place: str | None = None) -> Scene:
    """A scene drawn from `rng`; size is (width, height) in pixels, place one of PLACES or None for any."""
    width, height = size
    place = place or str(rng.choice(PLACES))
    camera = Camera(width, height, float(rng.uniform(0.3, 0.45)), float(rng.uniform(0.4, 0.65)),
                    float(rng.uniform(0.32, 0.5)), float(rng.uniform(0.0, 0.5)))  # fmt: skip
    image: Picture = np.zeros((height, width, 3), np.uint8)
    line = int(height * camera.horizon)
    _paint_walls(image, rng, place, line)
    _paint_ground(image, rng, camera, place, line)
    _clutter(image, rng, camera)
    grain = _texture(rng, height, width, 5.0)
    image = np.clip(image.astype(np.float32) + grain[..., None], 0, 255).astype(np.uint8)
    light = str(rng.choice(LIGHTS)) if place in OUTDOORS else str(rng.choice(("day", "day", "dusk", "infrared")))
    grainy = rng.uniform(1.5, 4.0) * (2.0 if light in ("night", "infrared") else 1.0)
    outdoors = place in OUTDOORS
    return Scene(
        place, light, camera, image, rng.normal(0, grainy, (2 * height, 2 * width, 1)).astype(np.int16),
        rain=bool(outdoors and rng.random() < 0.15),
        shake=float(rng.uniform(0.4, 1.2)) if rng.random() < 0.15 else 0.0,
        glare=(int(rng.integers(width)), int(rng.integers(height // 2)), float(rng.uniform(0.4, 1)))
        if light == "day" and rng.random() < 0.15 else None,
        clock=int(rng.integers(86400)) if rng.random() < 0.5 else -1,
        chimney=(int(rng.integers(width)), int(line * 0.25)) if outdoors and rng.random() < 0.12 else None,
        seed=seed,
    )  # fmt: skip
