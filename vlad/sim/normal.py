"""Scripts of ordinary life, some of which look like more than they are: who, what, and a painter of local time in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from vlad.sim import figures as fig
from vlad.sim.figures import COLOURS, Look, Pose
from vlad.sim.stage import Items, Stage, clothed, doorway, ease, stroll


def _crossing(s: Stage, speed: float, item: str = "") -> tuple[Look, Callable[[float], Items]]:
    look, face, d = s.look(), s.sign(), float(s.rng.uniform(0.2, 0.95))
    # far enough to enter and leave the picture, at a natural pace
    pace = 0.075 * speed * float(s.rng.uniform(0.85, 1.15))
    offset = float(s.rng.uniform(0, 1)) - pace * s.span * 0.5

    def items(u: float) -> Items:
        along = offset + pace * u
        x = along if face > 0 else 1 - along
        arms = (0.9, 1.6, 0.8, 1.5) if item == "box" else (0.05, 0.1, -0.2, 0.0)
        pose = replace(stroll(u, speed), face=face, item=item, arms=arms if item else None)
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
                    replace(stroll(u, 1.6), tilt=0.0, arms=arms, face=1 if math.sin(turn) < 0 else -1),
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
        d = 0.75 + (door - 0.75) * ease(0.0, 0.75, share)
        away = ease(0.8, 0.95, share)
        out: Items = [(0.0, lambda image: doorway(image, s.scene, x, open_=ease(0.7, 0.8, share)))]
        if away < 1:
            out.append(s.paint(x, d, look, replace(stroll(u, 1.0 if share < 0.75 else 0.2), face=face)))
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
