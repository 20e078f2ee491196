"""What people do in a scene: normal activities and anomalous events, each a script that paints its actors at a time.

In: a random generator, a scene, when it starts and how long it lasts. Out: an `Event` with its truth and its painter. A painter is a
pure function of time, so any frame can be painted alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from vlad.sim import figures as fig
from vlad.sim.figures import COLOURS, SKINS, Look, Pose
from vlad.sim.scene import OUTDOORS, PLACES, ROADS, Picture, Scene

Painter = Callable[[Picture, float], None]
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


def _with(pose: Pose, **changes: Any) -> Pose:
    return replace(pose, **changes)


def _ease(a: float, b: float, u: float) -> float:
    """0 before a, 1 after b, smooth between."""
    v = min(1.0, max(0.0, (u - a) / max(b - a, 1e-6)))
    return v * v * (3 - 2 * v)


# --- normal ---------------------------------------------------------------------------------------------------------


def _crossing(s: Stage, speed: float, item: str = "") -> tuple[Look, Callable[[float], Items]]:
    look, face, d = s.look(), s.sign(), float(s.rng.uniform(0.2, 0.95))
    # far enough to enter and leave the picture, at a natural pace
    pace = 0.075 * speed * float(s.rng.uniform(0.85, 1.15))
    offset = float(s.rng.uniform(0, 1)) - pace * s.span * 0.5

    def items(u: float) -> Items:
        along = offset + pace * u
        x = along if face > 0 else 1 - along
        arms = (
            (0.9, 1.6, 0.8, 1.5)
            if item == "box"
            else (0.05, 0.1, *_with(stroll(u, speed), arms=None).__dict__.get("none", (-0.2, 0.0)))
        )
        pose = _with(stroll(u, speed), face=face, item=item, arms=arms if item else None)
        return [s.paint(x, d, look, pose)]

    return look, items


def walking(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    look, items = _crossing(s, 1.0)
    return clothed(look), "walks past", items


def carrying(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    item = "box" if s.rng.random() < 0.5 else "bag"
    look, items = _crossing(s, 0.85, item)
    return clothed(look), f"carries a {item}", items


def running_for_a_bus(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    look, items = _crossing(s, 2.1)
    return clothed(look), "runs to catch a bus", items


def talking(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), a, b, w = s.spot(), s.look(), s.look(), float(s.rng.uniform(1.2, 2.0))

    def items(u: float) -> Items:
        lift = 0.5 + 0.4 * math.sin(w * u) if math.sin(0.4 * u) > 0 else 0.0
        return [
            s.paint(x - 0.05, d, a, Pose(arms=(lift, lift + 0.8, 0.1, 0.2), face=1)),
            s.paint(x + 0.05, d, b, Pose(arms=(0.1, 0.3, 0.05, 0.1 + 0.1 * math.sin(u)), face=-1)),
        ]

    return f"{clothed(a)} and {clothed(b)}", "stand and talk", items


def cycling(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    look, face, d, offset = s.look(), s.sign(), float(s.rng.uniform(0.3, 0.85)), float(s.rng.uniform(-0.3, 0.2))

    def items(u: float) -> Items:
        along = (offset + 0.17 * u) % 1.8 - 0.3
        x = along if face > 0 else 1 - along
        return [(d, lambda image: fig.bicycle(image, s.scene.camera, x, d, look, u * 7, face))]

    return clothed(look, "cyclist"), "rides a bicycle", items


def driving(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    colour, face, d, van = s.colour(), s.sign(), float(s.rng.uniform(0.4, 0.68)), bool(s.rng.random() < 0.3)
    pace, offset = float(s.rng.uniform(0.2, 0.32)), float(s.rng.uniform(-0.4, 0.3))
    lights = s.scene.light in ("night", "dusk")

    def items(u: float) -> Items:
        along = (offset + pace * u) % 2.4 - 0.6
        x = along if face > 0 else 1 - along
        return [(d, lambda image: fig.car(image, s.scene.camera, x, d, COLOURS[colour], face, lights=lights, van=van))]

    return f"a {colour} {'van' if van else 'car'}", "drives past", items


def queueing(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    n, (x, d), face = int(s.rng.integers(4, 7)), s.spot(0.3), s.sign()
    looks = [s.look() for _ in range(n)]

    def items(u: float) -> Items:
        step = 0.02 * math.floor(u / 4)
        sway = [0.004 * math.sin(u + 1.3 * i) for i in range(n)]
        return [
            s.paint(
                x + face * ((i - n / 2) * 0.075 + step % 0.075) + sway[i],
                d,
                looks[i],
                Pose(face=face, arms=(0.1, 0.3, 0.0, 0.1)),
            )
            for i in range(n)
        ]

    return f"{n} people", "wait in a queue", items


def children_playing(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), n = s.spot(0.3), int(s.rng.integers(2, 4))
    looks = [s.look(height=0.62) for _ in range(n)]

    def items(u: float) -> Items:
        out: Items = []
        for i, look in enumerate(looks):
            turn = 1.1 * u + 2 * math.pi * i / n
            di = min(1.0, max(0.0, d + 0.1 * math.sin(turn)))
            arms = (2.4, 2.7, 2.3, 2.6) if math.sin(2 * u + i) > 0.3 else None
            out.append(
                s.paint(
                    x + 0.11 * math.cos(turn),
                    di,
                    look,
                    _with(stroll(u, 1.6), tilt=0.0, arms=arms, face=1 if math.sin(turn) < 0 else -1),
                )
            )
        bx, bd = x + 0.05 * math.cos(2.3 * u), d + 0.02
        out.append((bd, lambda image: fig.thing(image, s.scene.camera, bx, bd, 0.07, COLOURS["red"])))
        return out

    return f"{n} children", "play with a ball", items


def entering(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    look, (x, _), face = s.look(), s.spot(), s.sign()
    door = 0.02

    def items(u: float) -> Items:
        share = u / s.span
        d = 0.75 + (door - 0.75) * _ease(0.0, 0.75, share)
        away = _ease(0.8, 0.95, share)
        out: Items = [(0.0, lambda image: _doorway(image, s.scene, x, open_=_ease(0.7, 0.8, share)))]
        if away < 1:
            out.append(s.paint(x, d, look, _with(stroll(u, 1.0 if share < 0.75 else 0.2), face=face)))
        return out

    return clothed(look), "walks up to a door and goes in", items


def playful_shoving(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), a, b = s.spot(), s.look(height=0.85), s.look(height=0.85)

    def items(u: float) -> Items:
        push = max(0.0, math.sin(1.6 * u)) ** 3
        return [
            s.paint(x - 0.05, d, a, Pose(arms=(1.3 * push, 1.4 * push, 0.2, 0.3), face=1, tilt=0.08 * push)),
            s.paint(
                x + 0.05 + 0.02 * push,
                d,
                b,
                Pose(arms=(0.2, 0.5, 2.4 * (1 - push) * 0.2, 0.6), face=-1, tilt=-0.1 * push),
            ),
        ]

    return f"{clothed(a, 'teenager')} and {clothed(b, 'teenager')}", "shove each other in play and laugh", items


def parked_car_lights(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    colour, face, (x, _) = s.colour(), s.sign(), s.spot()
    d = float(s.rng.uniform(0.2, 0.4))

    def items(u: float) -> Items:
        lit = math.sin(3.5 * u) > 0
        return [(d, lambda image: fig.car(image, s.scene.camera, x, d, COLOURS[colour], face, lights=lit))]

    return f"a parked {colour} car", "stands with its lights flashing", items


# --- anomalous ------------------------------------------------------------------------------------------------------


def fighting(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), a, b, w = s.spot(), s.look(), s.look(), float(s.rng.uniform(9, 13))

    def fighter(u: float, look: Look, face: int, turn: float) -> tuple[float, Callable[[Picture], None]]:
        hit = max(0.0, math.sin(w * u + turn))
        gap = 0.16 - 0.11 * _ease(0.0, 0.8, u) + 0.02 * math.sin(2.3 * u + turn)
        arms = (0.5 + 1.2 * hit, 0.9 + 0.9 * hit, 1.4 - 0.9 * hit, 2.2 - 1.0 * hit)
        pose = Pose(phase=5 * u + turn, stride=0.7, arms=arms, tilt=0.28 * math.sin(0.6 * w * u + turn), face=face,
                    kick=max(0.0, math.sin(2.1 * u + turn)) ** 8)  # fmt: skip
        return s.paint(x - face * gap / 1.6 + 0.03 * math.sin(1.7 * u), d + 0.02 * math.sin(3 * u + turn), look, pose)

    return f"{clothed(a)} and {clothed(b)}", "fight, hitting and kicking each other", lambda u: [
        fighter(u, a, 1, 0.0), fighter(u, b, -1, 2.2),
    ]  # fmt: skip


def assault(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), a, b, face = s.spot(0.3), s.look(), s.look(), s.sign()

    def items(u: float) -> Items:
        near = _ease(0.0, 1.3, u)
        down = _ease(2.0, 2.8, u)
        hit = max(0.0, math.sin(9 * u)) if u > 1.2 else 0.0
        arms = (0.4 + 1.3 * hit, 0.7 + hit, 0.3, 0.8) if near > 0.9 and down < 0.8 else None
        attacker = Pose(phase=7 * u, stride=0.9 * (1 - near) + 0.2, arms=arms, face=face, tilt=0.2 * hit + 0.15 * down,
                        kick=down * max(0.0, math.sin(6 * u)))  # fmt: skip
        shield = (2.0, 2.8, 1.9, 2.7) if near > 0.6 and down < 0.5 else (0.4, 0.4, 0.3, 0.3)
        victim = Pose(arms=shield, face=-face, tilt=-0.15 * near - 1.4 * down, crouch=0.3 * near * (1 - down))
        return [
            s.paint(x, d, b, victim),
            s.paint(x - face * (0.35 - 0.27 * near), d + 0.01, a, attacker),
        ]

    return f"{clothed(a)} and {clothed(b)}", "one person attacks the other, who falls and is kicked", items


def road_accident(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, _), ca, cb, d = s.spot(0.35), s.colour(), s.colour(), float(s.rng.uniform(0.45, 0.65))
    crash, rider = 1.6, bool(s.rng.random() < 0.4)
    look, seed, face = s.look(), int(s.rng.integers(1 << 30)), s.sign()

    def items(u: float) -> Items:
        run, after = min(u, crash) - crash, max(0.0, u - crash)
        jolt = _ease(0.0, 0.5, after)
        xa = x - face * 0.13 + face * (0.42 * run + 0.04 * jolt)
        out: Items = [(d, lambda image: fig.car(image, s.scene.camera, xa, d, COLOURS[ca], face, tilt=-0.14 * jolt))]
        if rider:
            fly = _ease(0.0, 0.8, after)
            pose = Pose(
                phase=5 * u,
                stride=0.5 * (1 - fly),
                face=-face,
                tilt=-1.5 * fly,
                lift=0.5 * math.sin(math.pi * fly),
                arms=(2, 2.4, 1.5, 2) if after > 0 else None,
            )
            out.append(s.paint(x + face * (0.06 + 0.16 * fly), d + 0.03 - 0.03 * run, look, pose))
        else:
            xb = x + face * 0.13 - face * (0.42 * run - 0.05 * jolt)
            out.append(
                (
                    d + 0.02,
                    lambda image: fig.car(image, s.scene.camera, xb, d + 0.02, COLOURS[cb], -face, tilt=0.22 * jolt),
                )
            )
        if after > 0:
            px, py = s.scene.camera.point(x, d)
            h = s.scene.camera.scale(d)
            out.append((d + 0.05, lambda image: fig.debris(image, px, py - 0.3 * h, h * 0.8, after, seed)))
            out.append(
                (
                    d + 0.06,
                    lambda image: fig.smoke(image, px, py - 0.5 * h, h * 0.6, u, tone=150, age=min(1.0, after / 2)),
                )
            )
        return out

    who = f"a {ca} car and {clothed(look, 'pedestrian')}" if rider else f"a {ca} car and a {cb} car"
    return who, "the car knocks the pedestrian down" if rider else "the cars crash into each other", items


def explosion(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), seed, look, face = s.spot(), int(s.rng.integers(1 << 30)), s.look(), s.sign()

    def items(u: float) -> Items:
        out: Items = [(d, lambda image: fig.blast(image, s.scene.camera, x, d, u, seed))]
        flee = stroll(u, 2.2)
        out.append(
            s.paint(
                x + face * (0.14 + 0.17 * u),
                min(1.0, d + 0.05),
                look,
                _with(flee, face=face, arms=(2.6, 2.9, 2.2, 2.6)),
            )
        )
        return out

    return f"a fireball and {clothed(look)}", "something explodes and the person runs away", items


def arson(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), look, face = s.spot(0.3), s.look(), s.sign()

    def items(u: float) -> Items:
        lit, flee = _ease(1.5, 5.0, u), max(0.0, u - 3.0)
        px, py = s.scene.camera.point(x, d)
        h = s.scene.camera.scale(d)
        out: Items = []
        if u > 1.2:
            out.append(
                (d - 0.02, lambda image: fig.smoke(image, px, py - h * lit, h * 0.9 * lit + 2, u, tone=60, age=lit))
            )
            out.append((d - 0.01, lambda image: fig.fire(image, s.scene.camera, x, d, 0.25 + 0.95 * lit, u)))
        if flee < 0.2:
            pose = Pose(crouch=0.8, arms=(0.9, 1.3, 0.5, 0.9), item="torch", face=face)
        else:
            pose = _with(stroll(u, 1.9), face=-face)
        out.append(s.paint(x - face * (0.1 + 0.18 * flee), d + 0.03, look, pose))
        return out

    return clothed(look), "sets something on fire and runs away", items


def burglary(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, _), look, face = s.spot(0.25), s.look(), s.sign()
    look = Look("black", look.bottom, look.skin, look.height, look.width)

    def items(u: float) -> Items:
        share = u / s.span
        broken = _ease(0.45, 0.52, share)
        out: Items = [(0.0, lambda image: _doorway(image, s.scene, x, open_=broken))]
        if share < 0.5:
            pry = math.sin(8 * u)
            pose = Pose(
                crouch=0.5, arms=(1.0 + 0.4 * pry, 1.3 + 0.5 * pry, 0.9, 1.2), item="bat", face=face, tilt=0.1 * pry
            )
            out.append(s.paint(x - face * 0.06, 0.1, look, pose))
        elif share > 0.7:
            away = (share - 0.7) / 0.3
            pose = _with(stroll(u, 1.7), face=-face, item="box", arms=(0.9, 1.6, 0.8, 1.5))
            out.append(s.paint(x - face * 0.45 * away, 0.1 + 0.2 * away, look, pose))
        return out

    return clothed(look), "breaks a door open with a bar and comes out with a box", items


def robbery(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), a, b, face = s.spot(0.3), s.look(), s.look(), s.sign()
    weapon = "gun" if s.rng.random() < 0.6 else "knife"

    def items(u: float) -> Items:
        share = u / s.span
        flee = max(0.0, share - 0.7) / 0.3
        if flee > 0:
            thief = _with(stroll(u, 2.0), face=-face, item="bag")
        else:
            shake = 0.08 * math.sin(11 * u)
            thief = Pose(arms=(1.5 + shake, 1.55 + shake, 1.0, 1.4), item=weapon, face=face, tilt=0.1)
        hands = (2.9, 3.1, 2.8, 3.0)
        out = [
            s.paint(x - face * (0.09 + 0.5 * flee), d, a, thief),
            s.paint(x + face * 0.06, d, b, Pose(arms=hands, face=-face, tilt=-0.08, crouch=0.15)),
        ]
        return out

    return (
        f"{clothed(a, 'robber')} and {clothed(b)}",
        f"the robber threatens the other with a {weapon} and takes a bag",
        items,
    )


def shoplifting(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, _), look, face = s.spot(0.25), s.look(), s.sign()

    def items(u: float) -> Items:
        share = u / s.span
        if share < 0.75:
            grab = max(0.0, math.sin(2.2 * u))
            glance = face if math.sin(1.1 * u) > -0.4 else -face
            reach = (2.0 * grab + 0.2, 2.3 * grab - 0.3 * (1 - grab), 0.6, 1.8)
            pose = Pose(arms=reach, face=glance, crouch=0.25, item="box" if grab < 0.5 else "")
            return [s.paint(x, 0.08, look, pose)]
        away = (share - 0.75) / 0.25
        return [
            s.paint(
                x - face * 0.5 * away,
                0.08 + 0.5 * away,
                look,
                _with(stroll(u, 1.5), face=-face, arms=(0.7, 2.2, 0.6, 2.0), item="bag"),
            )
        ]

    return clothed(look), "takes goods from a shelf, hides them and hurries off", items


def shooting(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), a, face = s.spot(0.3), s.look(), s.sign()
    others = [s.look() for _ in range(2)]

    def items(u: float) -> Items:
        flash = (u * 2.2) % 1.0 < 0.3 and u > 0.5
        out = [
            s.paint(
                x - face * 0.22, d, a, Pose(arms=(1.55, 1.57, 1.3, 1.5), item="gun", face=face, stride=0.5, phase=1.2)
            )
        ]
        if flash:
            px, py = s.scene.camera.point(x - face * 0.22, d)
            h = s.scene.camera.scale(d)
            tip = (int(px + face * h * 0.55), int(py - h * 0.8))
            out.append((1.1, lambda image: _flash(image, tip, h)))
        fall = _ease(0.9, 1.6, u)
        out.append(
            s.paint(x + face * 0.18, d, others[0], Pose(face=-face, tilt=-1.5 * fall, arms=(2.5, 2.8, 2.2, 2.5)))
        )
        run = max(0.0, u - 0.6)
        out.append(
            s.paint(
                x + face * (0.26 + 0.16 * run),
                max(0.05, d - 0.15),
                others[1],
                _with(stroll(u, 2.1), face=face, crouch=0.3),
            )
        )
        return out

    return f"{clothed(a, 'gunman')}", "fires a gun, one person falls and another flees", items


def vandalism(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, _), look, face, colour, seed = s.spot(0.3), s.look(), s.sign(), s.colour(), int(s.rng.integers(1 << 30))
    d = float(s.rng.uniform(0.3, 0.6))
    vehicle = s.scene.place in ROADS

    def items(u: float) -> Items:
        blow = math.sin(5 * u)
        out: Items = []
        px, py = s.scene.camera.point(x, d)
        h = s.scene.camera.scale(d)
        if vehicle:
            out.append(
                (
                    d - 0.01,
                    lambda image: fig.car(image, s.scene.camera, x + face * 0.02, d - 0.01, COLOURS[colour], face),
                )
            )
        else:
            out.append(
                (
                    d - 0.01,
                    lambda image: fig.thing(image, s.scene.camera, x + face * 0.1, d - 0.01, 0.4, (120, 120, 130)),
                )
            )
        pose = Pose(
            arms=(1.9 + 1.1 * blow, 2.1 + 1.2 * blow, 1.7 + blow, 1.9 + blow),
            item="bat",
            face=face,
            tilt=0.15 - 0.2 * blow,
            stride=0.6,
            phase=1.0,
        )
        out.append(s.paint(x - face * (0.2 if vehicle else 0.06), d + 0.03, look, pose))
        since = (u - 0.9) % (2 * math.pi / 5)
        if u > 0.9 and since < 0.7:
            out.append((d + 0.05, lambda image: fig.debris(image, px, py - 0.5 * h, h * 0.5, since, seed + int(u))))
        return out

    what = f"a {colour} car" if vehicle else "a machine"
    return clothed(look), f"smashes {what} with a bat", items


def falling(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), look, face = s.spot(0.3), s.look(), s.sign()

    def items(u: float) -> Items:
        down = _ease(1.0, 1.7, u)
        along = min(u, 1.2)
        struggle = 0.3 * math.sin(2 * u) if down == 1 else 0.0
        pose = _with(
            stroll(along, 1.0),
            face=face,
            tilt=1.5 * down,
            arms=(2.2, 2.4 + struggle, 1.8, 2.0) if down > 0.1 else None,
            stride=0.75 * (1 - down) + 0.15,
        )
        return [s.paint(x + face * 0.08 * (along - 1.2), d, look, pose)]

    return clothed(look), "falls to the ground and stays there", items


def crowd_panic(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    n, (x, _) = int(s.rng.integers(7, 12)), s.spot(0.35)
    crowd = [
        (s.look(), float(s.rng.uniform(-0.25, 0.25)), float(s.rng.uniform(0.15, 0.95)), float(s.rng.uniform(0.8, 1.3)))
        for _ in range(n)
    ]

    def items(u: float) -> Items:
        out: Items = []
        for look, off, d, speed in crowd:
            face = 1 if off > 0 else -1
            flight = max(0.0, u - 0.3) * 0.2 * speed
            # those who leave the picture are followed by others as long as the panic lasts
            lap = (abs(off) + flight) % 0.85
            pose = _with(
                stroll(u * speed, 2.2), face=face, arms=(2.5 + 0.4 * math.sin(9 * u + off * 40), 2.8, 2.1, 2.6)
            )
            out.append(s.paint(x + face * lap, d, look, pose))
        return out

    return f"a crowd of {n} people", "run away in panic in all directions", items


def abandoned_object(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), look, face = s.spot(0.3), s.look(), s.sign()
    colour = COLOURS[s.colour()]

    def items(u: float) -> Items:
        walk, leave = min(u, 1.5), max(0.0, u - 2.5)
        out: Items = []
        if u < 2.2:
            pose = _with(
                stroll(walk, 1.0),
                face=face,
                item="bag",
                crouch=0.7 * _ease(1.4, 2.0, u),
                stride=0.75 if u < 1.5 else 0.0,
            )
        else:
            pose = _with(stroll(u, 1.2), face=face, stride=0.8 if leave else 0.0, crouch=0.7 * (1 - _ease(2.2, 2.6, u)))
            out.append((d, lambda image: fig.thing(image, s.scene.camera, x + face * 0.03, d, 0.17, colour)))
        out.append(s.paint(x + face * (0.12 * (walk - 1.5) + 0.11 * leave), d - 0.01, look, pose))
        return out

    return clothed(look), "puts a bag down and walks away from it", items


def _flash(image: Picture, tip: tuple[int, int], h: float) -> None:
    cv2.circle(image, tip, max(2, int(h * 0.14)), (255, 240, 170), -1, cv2.LINE_AA)
    cv2.circle(image, tip, max(1, int(h * 0.07)), (255, 255, 255), -1, cv2.LINE_AA)


def _doorway(image: Picture, scene: Scene, x: float, *, open_: float) -> None:
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


ANOMALOUS: dict[str, Script] = {
    "fighting": fighting, "assault": assault, "road accident": road_accident, "explosion": explosion, "arson": arson,
    "burglary": burglary, "robbery": robbery, "shoplifting": shoplifting, "shooting": shooting, "vandalism": vandalism,
    "falling": falling, "crowd panic": crowd_panic, "abandoned object": abandoned_object,
}  # fmt: skip
NORMAL: dict[str, Script] = {
    "walking": walking, "standing and talking": talking, "cycling": cycling, "driving": driving, "carrying": carrying,
    "queueing": queueing, "children playing": children_playing, "entering a door": entering,
    "running for a bus": running_for_a_bus, "playful shoving": playful_shoving, "parked car lights": parked_car_lights,
}  # fmt: skip
ANOMALIES, NORMALS = tuple(ANOMALOUS), tuple(NORMAL)
ONLY_AT: dict[str, frozenset[str]] = {
    "road accident": ROADS, "driving": ROADS, "parked car lights": ROADS, "cycling": OUTDOORS, "explosion": OUTDOORS,
    "arson": OUTDOORS, "running for a bus": OUTDOORS, "shoplifting": frozenset({"shop"}),
    "burglary": frozenset(PLACES) - {"shop"}, "entering a door": frozenset(PLACES) - {"shop"},
    "children playing": frozenset(PLACES) - {"shop"}, "queueing": frozenset({"shop", "lobby", "station platform"}),
}  # fmt: skip


def _uncoloured(text: str) -> str:
    names = "|".join(COLOURS)
    text = re.sub(rf" in a ({names}) top and ({names}) trousers", "", text)
    text = re.sub(rf"\b({names}) (car|van)", r"\2", text)
    return re.sub(
        r"^a (person|teenager) and a \1$", lambda m: "two people" if m[1] == "person" else "two teenagers", text
    )


def places_for(label: str) -> frozenset[str]:
    """Places where a thing can happen."""
    return ONLY_AT.get(label, frozenset(PLACES))


def make_event(label: str, scene: Scene, rng: np.random.Generator, start: float, span: float) -> Event:
    """The event `label` (one of ANOMALIES or NORMALS) in a scene, from `start` for `span` seconds."""
    script = ANOMALOUS.get(label) or NORMAL[label]
    who, what, local = script(Stage(scene, rng, start, span))
    bright = label in ("explosion", "arson", "shooting")

    def glow(t: float) -> float:
        u = t - start
        if not bright or not 0 <= u < span:
            return 0.0
        return max(0.0, 1 - u / 1.5) if label == "explosion" else 0.3 * _ease(1.5, 5.0, u) if label == "arson" else 0.0

    def worded(text: str) -> str:
        """Proper articles; and colours that an infrared picture cannot show are no truth."""
        text = _uncoloured(text) if scene.light == "infrared" else text
        return re.sub(r"\ba (?=[aeiou])", "an ", text)

    attributes = {
        "who": worded(who),
        "what": worded(what),
        "where": worded(f"in a {scene.place}") if scene.place != "station platform" else "on a station platform",
    }
    return Event(label, label in ANOMALOUS, start, start + span, attributes, lambda t: local(t - start), glow)
