"""What can be seen in a scene: people, vehicles, fire, smoke, things. Each painter draws one of them on a picture.

In: a picture (uint8 RGB, changed in place), a Camera, a place on the ground and a pose. Knows no time and no events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from vlad.sim.scene import SHIFT, Camera, Colour, Picture, shade

COLOURS: dict[str, Colour] = {
    "red": (200, 40, 40), "blue": (45, 75, 190), "green": (45, 140, 60), "yellow": (225, 200, 50), "white": (235, 235, 235),
    "black": (28, 28, 32), "orange": (230, 125, 35), "purple": (125, 55, 155),
}  # fmt: skip
SKINS: tuple[Colour, ...] = ((235, 195, 165), (200, 150, 115), (140, 95, 65), (95, 65, 45))


@dataclass(frozen=True)
class Look:
    """How a person is built and dressed; height against a grown-up's."""

    top: str
    bottom: str
    skin: Colour
    height: float = 1.0
    width: float = 1.0


@dataclass(frozen=True)
class Pose:
    """Angles in radians from hanging straight down, positive forward; shares in [0, 1]."""

    phase: float = 0.0  # of the step
    stride: float = 0.0
    arms: tuple[float, float, float, float] | None = None  # near upper, near lower, far upper, far lower; None: swing
    tilt: float = 0.0  # of the whole body about the feet; pi / 2 lies on the front
    crouch: float = 0.0
    face: int = 1  # 1 looks right, -1 left
    item: str = ""  # in the near hand: gun, bat, bag, box, torch, knife
    kick: float = 0.0
    lift: float = 0.0  # of the feet above the ground, in body heights


def _fixed(x: float, y: float) -> tuple[int, int]:
    return int(round(x * (1 << SHIFT))), int(round(y * (1 << SHIFT)))


def _limb(image: Picture, a: tuple[float, float], b: tuple[float, float], colour: Colour, thick: float) -> None:
    cv2.line(image, _fixed(*a), _fixed(*b), colour, max(1, round(thick)), cv2.LINE_AA, SHIFT)


def _disc(image: Picture, centre: tuple[float, float], radius: float, colour: Colour) -> None:
    cv2.circle(image, _fixed(*centre), max(1, int(radius * (1 << SHIFT))), colour, -1, cv2.LINE_AA, SHIFT)


def shadow(image: Picture, camera: Camera, x: float, d: float, radius: float) -> None:
    """A dark patch on the ground, `radius` in body heights."""
    px, py = camera.point(x, d)
    r = camera.scale(d) * radius
    x0, x1 = max(0, int(px - r)), min(image.shape[1], int(px + r))
    y0, y1 = max(0, int(py - r * 0.25)), min(image.shape[0], int(py + r * 0.25) + 1)
    if x1 > x0 and y1 > y0:
        image[y0:y1, x0:x1] -= image[y0:y1, x0:x1] >> 2


def person(image: Picture, camera: Camera, x: float, d: float, look: Look, pose: Pose) -> None:
    """A walking, striking, falling figure whose feet are at (x, d)."""
    s = camera.scale(d) * look.height
    px, py = camera.point(x, d)
    py -= pose.lift * s
    shadow(image, camera, x, d, 0.16 + 0.3 * min(1.0, abs(pose.tilt)))
    cos, sin = math.cos(pose.tilt), math.sin(pose.tilt)

    def at(u: float, v: float) -> tuple[float, float]:
        return px + pose.face * s * (u * cos + v * sin), py - s * (v * cos - u * sin)

    top, bottom = COLOURS[look.top], COLOURS[look.bottom]
    dark = shade(top, 0.75), shade(bottom, 0.75)
    hip_v = 0.48 * (1 - 0.5 * pose.crouch)
    hip, neck = at(-0.05 * pose.crouch, hip_v), at(0.1 * pose.crouch, hip_v + 0.34)
    thick = s * 0.085 * look.width

    def leg(turn: float, colour: Colour, kick: float) -> None:
        swing = pose.stride * math.sin(pose.phase + turn)
        foot = at(0.28 * swing + 0.45 * kick, max(0.0, 0.1 * pose.stride * math.cos(pose.phase + turn)) + 0.25 * kick)
        knee = at(0.16 * swing + 0.05 + 0.2 * pose.crouch + 0.2 * kick, hip_v * 0.52 + 0.1 * kick)
        _limb(image, hip, knee, colour, thick * 1.1)
        _limb(image, knee, foot, colour, thick)

    def arm(upper: float, lower: float, colour: Colour, item: str) -> None:
        u0, v0 = 0.1 * pose.crouch, hip_v + 0.31
        u1, v1 = u0 + 0.17 * math.sin(upper), v0 - 0.17 * math.cos(upper)
        u2, v2 = u1 + 0.17 * math.sin(lower), v1 - 0.17 * math.cos(lower)
        _limb(image, at(u0, v0), at(u1, v1), colour, thick * 0.8)
        _limb(image, at(u1, v1), at(u2, v2), look.skin, thick * 0.7)
        _held(image, at, u2, v2, lower, item, s)

    swing = 0.6 * pose.stride * math.sin(pose.phase)
    arms = pose.arms or (-swing, -swing + 0.2, swing, swing + 0.2)
    arm(arms[2], arms[3], dark[0], "")
    leg(math.pi, dark[1], 0.0)
    _limb(image, hip, neck, top, s * 0.17 * look.width)
    leg(0.0, bottom, pose.kick)
    arm(arms[0], arms[1], top, pose.item)
    head = at(0.12 * pose.crouch + 0.01, hip_v + 0.44)
    _disc(image, head, s * 0.075, look.skin)
    _disc(image, at(0.12 * pose.crouch - 0.01, hip_v + 0.475), s * 0.06, (40, 30, 25))


def _held(image: Picture, at, u: float, v: float, angle: float, item: str, s: float) -> None:  # type: ignore[no-untyped-def]
    """The thing in a hand at body coordinates (u, v)."""
    if item in ("gun", "knife", "bat", "torch"):
        long = {"gun": 0.12, "knife": 0.12, "bat": 0.36, "torch": 0.2}[item]
        colour = {"gun": (15, 15, 15), "knife": (225, 225, 235), "bat": (150, 105, 60), "torch": (110, 75, 45)}[item]
        bend = angle if item == "gun" else angle + 0.6
        tip = at(u + long * math.sin(bend), v - long * math.cos(bend))
        _limb(image, at(u, v), tip, colour, max(2.0, s * 0.04))
        if item == "torch":
            _disc(image, tip, s * 0.06, (255, 170, 40))
    elif item in ("bag", "box"):
        side = s * (0.12 if item == "bag" else 0.15)
        a = at(u, v)
        colour = (95, 60, 35) if item == "bag" else (190, 150, 95)
        cv2.rectangle(
            image, (int(a[0] - side), int(a[1] - side * 0.4)), (int(a[0] + side), int(a[1] + side * 1.2)), colour, -1
        )


def car(image: Picture, camera: Camera, x: float, d: float, colour: Colour, face: int, *, tilt: float = 0.0,
        lights: bool = False, van: bool = False) -> None:  # fmt: skip
    """A car seen from its side, about two and a half body heights long; tilt in radians turns it in the picture."""
    s = camera.scale(d)
    px, py = camera.point(x, d)
    shadow(image, camera, x, d, 1.2)
    cos, sin = math.cos(tilt), math.sin(tilt)

    def at(u: float, v: float) -> tuple[int, int]:
        u *= face
        return _fixed(px + s * (u * cos + v * sin), py - s * (v * cos - u * sin))

    roof = 0.95 if van else 0.8
    body = np.array([at(u, v) for u, v in ((-1.15, 0.15), (1.15, 0.15), (1.15, 0.42), (0.75, 0.5), (-1.15, 0.5))])
    cabin = np.array(
        [
            at(u, v)
            for u, v in ((-0.95 if van else -0.75, 0.48), (0.7, 0.48), (0.4, roof), (-0.9 if van else -0.5, roof))
        ]
    )
    glass = np.array([at(u, v) for u, v in ((-0.6, 0.52), (0.58, 0.52), (0.36, roof - 0.05), (-0.45, roof - 0.05))])
    cv2.fillPoly(image, [body], colour, cv2.LINE_AA, SHIFT)
    cv2.fillPoly(image, [cabin], colour, cv2.LINE_AA, SHIFT)
    cv2.fillPoly(image, [glass], (60, 75, 90), cv2.LINE_AA, SHIFT)
    for u in (-0.7, 0.7):
        cv2.circle(image, at(u, 0.15), int(s * 0.16 * (1 << SHIFT)), (20, 20, 20), -1, cv2.LINE_AA, SHIFT)
    if lights:
        cv2.circle(image, at(1.15, 0.38), int(s * 0.1 * (1 << SHIFT)), (255, 250, 200), -1, cv2.LINE_AA, SHIFT)
        cv2.circle(image, at(-1.15, 0.38), int(s * 0.07 * (1 << SHIFT)), (230, 40, 30), -1, cv2.LINE_AA, SHIFT)


def bicycle(image: Picture, camera: Camera, x: float, d: float, look: Look, phase: float, face: int) -> None:
    """A rider on a bicycle."""
    s = camera.scale(d)
    px, py = camera.point(x, d)
    for u in (-0.28, 0.28):
        cv2.circle(image, _fixed(px + face * u * s, py - 0.17 * s), int(s * 0.17 * (1 << SHIFT)), (25, 25, 25),
                   max(1, int(s * 0.03)), cv2.LINE_AA, SHIFT)  # fmt: skip
    _limb(image, (px - face * 0.28 * s, py - 0.17 * s), (px + face * 0.2 * s, py - 0.42 * s), (150, 40, 40), s * 0.03)
    _limb(image, (px + face * 0.28 * s, py - 0.17 * s), (px + face * 0.2 * s, py - 0.45 * s), (150, 40, 40), s * 0.03)
    rider = Pose(phase=phase, stride=0.7, arms=(0.9, 1.2, 0.8, 1.1), tilt=0.25, face=face, lift=0.17)
    person(image, camera, x - face * 0.02, d, look, rider)


def thing(image: Picture, camera: Camera, x: float, d: float, size: float, colour: Colour) -> None:
    """A box or bag on the ground, `size` in body heights."""
    px, py = camera.point(x, d)
    s = camera.scale(d) * size
    shadow(image, camera, x, d, size)
    cv2.rectangle(image, (int(px - s), int(py - s * 1.1)), (int(px + s), int(py)), colour, -1)
    cv2.ellipse(
        image, (int(px), int(py - s * 1.1)), (max(1, int(s * 0.5)), max(1, int(s * 0.35))), 0, 180, 360, colour, 2
    )


def fire(image: Picture, camera: Camera, x: float, d: float, size: float, t: float) -> None:
    """Flames `size` body heights tall, flickering with t."""
    px, py = camera.point(x, d)
    s = camera.scale(d) * size
    for colour, share in (((220, 70, 15), 1.0), ((250, 150, 25), 0.7), ((255, 235, 130), 0.4)):
        for k in range(5):
            wave = math.sin(t * (9 + 2 * k) + 1.7 * k)
            tall = s * share * (0.65 + 0.25 * wave) * (1 - 0.13 * abs(k - 2))
            base = px + (k - 2) * s * 0.2 * share
            points = [(base - s * 0.17 * share, py), (base + s * 0.17 * share, py), (base + s * 0.06 * wave, py - tall)]
            cv2.fillPoly(image, [np.array([_fixed(*p) for p in points])], colour, cv2.LINE_AA, SHIFT)


def smoke(image: Picture, px: float, py: float, s: float, t: float, *, tone: int, age: float) -> None:
    """A rising plume from pixel (px, py); s pixels wide at its top; age in [0, 1] says how far it has grown."""
    layer, y0, x0 = _window(image, px, py - s, 1.6 * s, 2.2 * s)
    if layer.size == 0:
        return
    paint = layer.copy()
    for k in range(9):
        rise = ((t * 0.25 + k / 9) % 1.0) * age
        centre = (px - x0 + s * 0.35 * math.sin(3 * rise + k), py - y0 - 2.4 * s * rise)
        _disc(paint, centre, s * (0.12 + 0.4 * rise), (tone + k, tone + k, tone + k))
    cv2.addWeighted(paint, 0.6, layer, 0.4, 0, dst=layer)


def blast(image: Picture, camera: Camera, x: float, d: float, age: float, seed: int) -> None:
    """An explosion `age` seconds old: a ball of fire, flying pieces, then smoke."""
    px, py = camera.point(x, d)
    s = camera.scale(d)
    if age < 1.6:
        radius = s * (0.4 + 1.5 * min(1.0, age / 0.5)) * (1.0 if age < 0.7 else (1.6 - age) / 0.9 + 0.1)
        for colour, share in (((215, 80, 20), 1.0), ((252, 165, 40), 0.75), ((255, 245, 190), 0.45)):
            _disc(image, (px, py - s * 0.5 - age * s * 0.3), max(1.0, radius * share), colour)
    if age > 0.3:
        smoke(image, px, py, s * 1.3, age, tone=55, age=min(1.0, (age - 0.3) / 1.5))
    debris(image, px, py - s * 0.4, s, age, seed)


def debris(image: Picture, px: float, py: float, s: float, age: float, seed: int) -> None:
    """Pieces thrown from a pixel `age` seconds ago; they come to rest."""
    rng = np.random.default_rng([seed, 99])
    flight = min(age, 1.2)
    for angle, speed in zip(rng.uniform(0.2, math.pi - 0.2, 16), rng.uniform(0.6, 2.2, 16), strict=True):
        x = px + math.cos(angle) * speed * s * flight
        y = py - math.sin(angle) * speed * s * flight + 1.6 * s * flight * flight
        _disc(image, (x, min(y, py + s * 0.4)), max(1.0, s * 0.035), (45, 42, 40))


def _window(image: Picture, cx: float, cy: float, half_w: float, half_h: float) -> tuple[Picture, int, int]:
    """The part of the picture around a pixel, with its first row and column."""
    y0, x0 = max(0, int(cy - half_h)), max(0, int(cx - half_w))
    return image[y0 : max(y0, int(cy + half_h)), x0 : max(x0, int(cx + half_w))], y0, x0
