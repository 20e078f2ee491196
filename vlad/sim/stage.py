"""What scripts are written with: the stage, its actors and how a thing changes in time.

In: a scene, a random generator, a start and a length. Out: actors with random looks, poses, and what to paint at which depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from vlad.sim import figures as fig
from vlad.sim.figures import COLOURS, SKINS, Look, Pose
from vlad.sim.scene import Picture, Scene

Items = list[tuple[float, Callable[[Picture], None]]]  # depth and what to paint there


@dataclass(frozen=True)
class Event:
    """One thing that happens: [start, end) seconds, its class, its truth in words."""

    label: str
    anomalous: bool
    start: float
    end: float
    attributes: Mapping[str, str]  # who, what, where
    items: Callable[[float], Items] = field(repr=False, compare=False)
    glow: Callable[[float], float] = field(default=lambda t: 0.0, repr=False, compare=False)


@dataclass(frozen=True)
class Stage:
    """What a script works with: the scene, its own generator, and seconds [start, start + span)."""

    scene: Scene
    rng: np.random.Generator
    start: float
    span: float

    def spot(self, margin: float = 0.22) -> tuple[float, float]:
        return float(self.rng.uniform(margin, 1 - margin)), float(self.rng.uniform(0.3, 0.9))

    def look(self, **fixed: float) -> Look:
        top, bottom = (str(c) for c in self.rng.choice(list(COLOURS), 2))
        skin = SKINS[int(self.rng.integers(len(SKINS)))]
        return Look(
            top,
            bottom,
            skin,
            fixed.get("height", float(self.rng.uniform(0.92, 1.08))),
            float(self.rng.uniform(0.85, 1.2)),
        )

    def sign(self) -> int:
        return 1 if self.rng.random() < 0.5 else -1

    def colour(self) -> str:
        return str(self.rng.choice(list(COLOURS)))

    def paint(self, x: float, d: float, look: Look, pose: Pose) -> tuple[float, Callable[[Picture], None]]:
        return d, lambda image: fig.person(image, self.scene.camera, x, d, look, pose)


Script = Callable[[Stage], tuple[str, str, Callable[[float], Items]]]  # who, what, painter of local time u in seconds


def clothed(look: Look, noun: str = "person") -> str:
    return f"a {noun} in a {look.top} top and {look.bottom} trousers"


def stroll(t: float, speed: float) -> Pose:
    """A walking pose; speed 1 is a walk, 2 a run."""
    return Pose(phase=t * 6.5 * speed, stride=min(1.4, 0.75 * speed), tilt=0.06 * speed * speed if speed > 1.2 else 0.0)


def ease(a: float, b: float, u: float) -> float:
    """0 before a, 1 after b, smooth between."""
    v = min(1.0, max(0.0, (u - a) / max(b - a, 1e-6)))
    return v * v * (3 - 2 * v)


def doorway(image: Picture, scene: Scene, x: float, *, open_: float) -> None:
    """A door at the back wall; `open_` in [0, 1]."""
    px, py = scene.camera.point(x, 0.0)
    tall, wide = scene.camera.scale(0.0) * 1.15, scene.camera.scale(0.0) * 0.5
    cv2.rectangle(image, (int(px - wide / 2), int(py - tall)), (int(px + wide / 2), int(py)), (12, 12, 14), -1)
    if open_ < 1:
        cv2.rectangle(
            image,
            (int(px - wide / 2), int(py - tall)),
            (int(px - wide / 2 + wide * (1 - 0.8 * open_)), int(py)),
            (105, 70, 45),
            -1,
        )
