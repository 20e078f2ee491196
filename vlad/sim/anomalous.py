"""Scripts of anomalous events: who, what, and a painter of local time in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2

from vlad.sim import figures as fig
from vlad.sim.figures import COLOURS, Look, Pose
from vlad.sim.scene import ROADS, Picture
from vlad.sim.stage import Items, Stage, clothed, doorway, ease, stroll


def fighting(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), a, b, w = s.spot(), s.look(), s.look(), float(s.rng.uniform(9, 13))

    def fighter(u: float, look: Look, face: int, turn: float) -> tuple[float, Callable[[Picture], None]]:
        hit = max(0.0, math.sin(w * u + turn))
        gap = 0.16 - 0.11 * ease(0.0, 0.8, u) + 0.02 * math.sin(2.3 * u + turn)
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
        near = ease(0.0, 1.3, u)
        down = ease(2.0, 2.8, u)
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
        jolt = ease(0.0, 0.5, after)
        xa = x - face * 0.13 + face * (0.42 * run + 0.04 * jolt)
        out: Items = [(d, lambda image: fig.car(image, s.scene.camera, xa, d, COLOURS[ca], face, tilt=-0.14 * jolt))]
        if rider:
            fly = ease(0.0, 0.8, after)
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
                replace(flee, face=face, arms=(2.6, 2.9, 2.2, 2.6)),
            )
        )
        return out

    return f"a fireball and {clothed(look)}", "something explodes and the person runs away", items


def arson(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, d), look, face = s.spot(0.3), s.look(), s.sign()

    def items(u: float) -> Items:
        lit, flee = ease(1.5, 5.0, u), max(0.0, u - 3.0)
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
            pose = replace(stroll(u, 1.9), face=-face)
        out.append(s.paint(x - face * (0.1 + 0.18 * flee), d + 0.03, look, pose))
        return out

    return clothed(look), "sets something on fire and runs away", items


def burglary(s: Stage) -> tuple[str, str, Callable[[float], Items]]:
    (x, _), look, face = s.spot(0.25), s.look(), s.sign()
    look = Look("black", look.bottom, look.skin, look.height, look.width)

    def items(u: float) -> Items:
        share = u / s.span
        broken = ease(0.45, 0.52, share)
        out: Items = [(0.0, lambda image: doorway(image, s.scene, x, open_=broken))]
        if share < 0.5:
            pry = math.sin(8 * u)
            pose = Pose(
                crouch=0.5, arms=(1.0 + 0.4 * pry, 1.3 + 0.5 * pry, 0.9, 1.2), item="bat", face=face, tilt=0.1 * pry
            )
            out.append(s.paint(x - face * 0.06, 0.1, look, pose))
        elif share > 0.7:
            away = (share - 0.7) / 0.3
            pose = replace(stroll(u, 1.7), face=-face, item="box", arms=(0.9, 1.6, 0.8, 1.5))
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
            thief = replace(stroll(u, 2.0), face=-face, item="bag")
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
                replace(stroll(u, 1.5), face=-face, arms=(0.7, 2.2, 0.6, 2.0), item="bag"),
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
        fall = ease(0.9, 1.6, u)
        out.append(
            s.paint(x + face * 0.18, d, others[0], Pose(face=-face, tilt=-1.5 * fall, arms=(2.5, 2.8, 2.2, 2.5)))
        )
        run = max(0.0, u - 0.6)
        out.append(
            s.paint(
                x + face * (0.26 + 0.16 * run),
                max(0.05, d - 0.15),
                others[1],
                replace(stroll(u, 2.1), face=face, crouch=0.3),
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
        down = ease(1.0, 1.7, u)
        along = min(u, 1.2)
        struggle = 0.3 * math.sin(2 * u) if down == 1 else 0.0
        pose = replace(
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
            pose = replace(
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
            pose = replace(
                stroll(walk, 1.0),
                face=face,
                item="bag",
                crouch=0.7 * ease(1.4, 2.0, u),
                stride=0.75 if u < 1.5 else 0.0,
            )
        else:
            pose = replace(
                stroll(u, 1.2), face=face, stride=0.8 if leave else 0.0, crouch=0.7 * (1 - ease(2.2, 2.6, u))
            )
            out.append((d, lambda image: fig.thing(image, s.scene.camera, x + face * 0.03, d, 0.17, colour)))
        out.append(s.paint(x + face * (0.12 * (walk - 1.5) + 0.11 * leave), d - 0.01, look, pose))
        return out

    return clothed(look), "puts a bag down and walks away from it", items


def _flash(image: Picture, tip: tuple[int, int], h: float) -> None:
    cv2.circle(image, tip, max(2, int(h * 0.14)), (255, 240, 170), -1, cv2.LINE_AA)
    cv2.circle(image, tip, max(1, int(h * 0.07)), (255, 255, 255), -1, cv2.LINE_AA)
