"""A seed to a simulated CCTV video with its truth.

In: a seed. Out: a `World`, whose frames are a pure function of seed and time, and `write_video`, which encodes it as h264.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlad.sim import figures as fig
from vlad.sim.captions import caption_event, questions
from vlad.sim.events import ANOMALIES, NORMALS, make_event, places_for
from vlad.sim.scene import PLACES, Picture, Scene, make_scene
from vlad.sim.stage import Event

QUIET = 3.0  # seconds before, between and after anomalous events


@dataclass(frozen=True)
class World:
    """A simulated video of `duration` seconds at `fps` frames a second."""

    seed: int
    scene: Scene
    duration: float
    fps: float
    events: tuple[Event, ...]

    @property
    def anomalous(self) -> bool:
        """The video's weak label."""
        return any(e.anomalous for e in self.events)

    def frame(self, t: float) -> Picture:
        """What the camera sees at t seconds: uint8 RGB [H, W, 3]."""
        image = self.scene.background.copy()
        glow = 0.0
        items = []
        for event in self.events:
            if event.start <= t < event.end:
                items += event.items(t)
                glow = max(glow, event.glow(t))
        if self.scene.chimney:
            x, y = self.scene.chimney
            fig.smoke(image, x, y, self.scene.camera.height * 0.12, t, tone=190, age=1.0)
        for _, paint in sorted(items, key=lambda item: item[0]):
            paint(image)
        return self.scene.finish(image, t, glow)

    def times(self) -> npt.NDArray[np.float64]:
        """Seconds of every frame."""
        return np.arange(int(round(self.duration * self.fps))) / self.fps

    def frames(self) -> Iterator[Picture]:
        """Every frame in order."""
        return (self.frame(float(t)) for t in self.times())

    def labels(self, times: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """1 where an anomalous event is on at each of `times` (seconds), else 0."""
        at = np.asarray(times, dtype=np.float64)
        found = np.zeros(at.shape, np.uint8)
        for event in self.events:
            if event.anomalous:
                found |= ((at >= event.start) & (at < event.end)).astype(np.uint8)
        return found

    def event_at(self, t: float) -> Event | None:
        """The most telling event at t: an anomalous one, else the one that began last, else None."""
        on = [e for e in self.events if e.start <= t < e.end]
        return max(on, key=lambda e: (e.anomalous, e.start), default=None)

    def caption(self, t: float, rng: np.random.Generator) -> str:
        """One wording of what happens at t."""
        return caption_event(self.event_at(t), self.scene.place, rng)

    def questions(self, t: float, rng: np.random.Generator) -> list[tuple[str, str]]:
        """Questions about time t with their answers; on a normal moment loaded ones too."""
        return questions(self.event_at(t), self.scene.place, rng)


def _plan_anomalies(rng: np.random.Generator, labels: Sequence[str], duration: float) -> list[tuple[str, float, float]]:
    """(label, start, span): one after another, QUIET seconds apart."""
    room = duration / len(labels)
    plan = []
    for i, label in enumerate(labels):
        span = float(rng.uniform(5, min(15.0, max(5.5, room - 2 * QUIET))))
        latest = max(i * room, (i + 1) * room - span - QUIET)
        plan.append((label, float(rng.uniform(min(i * room + QUIET, latest), latest)), span))
    return plan


def _plan_normals(
    rng: np.random.Generator, place: str, duration: float, busy: list[tuple[str, float, float]]
) -> list[tuple[str, float, float]]:
    """Everyday activity over the whole video, thinner while something anomalous is on."""
    allowed = [n for n in NORMALS if place in places_for(n)]
    weights = np.array([3.0 if n == "walking" else 1.0 for n in allowed])
    plan = []
    for _ in range(int(rng.integers(1, 3))):
        t = float(rng.uniform(-6, 2))
        while t < duration:
            span = float(rng.uniform(8, 18))
            overlaps = any(t < start + long and start < t + span for _, start, long in busy)
            if not overlaps or rng.random() < 0.35:
                plan.append((str(rng.choice(allowed, p=weights / weights.sum())), t, span))
            t += span * float(rng.uniform(0.6, 1.3))
    return plan


def simulate(
    seed: int, *, duration: float | None = None, size: tuple[int, int] = (320, 240), fps: float = 15.0,
    events: Sequence[str] | None = None,
) -> World:  # fmt: skip
    """The world of a seed.

    duration: seconds, drawn from 30 to 180 if None. size: (width, height) in pixels. fps: frames a second. events: the anomalous
    classes that happen, in order; () for a normal video; None draws: half of all seeds are normal, the others hold one or two.
    """
    rng = np.random.default_rng([seed, 1])
    duration = float(rng.integers(30, 181)) if duration is None else duration
    if events is None:
        count = 0 if rng.random() < 0.5 else 1 if duration < 60 or rng.random() < 0.6 else 2
        first = str(rng.choice(ANOMALIES))
        alike = [a for a in ANOMALIES if places_for(a) & places_for(first)]
        events = [first, str(rng.choice(alike))][:count]
    unknown = set(events) - set(ANOMALIES)
    if unknown:
        raise ValueError(f"events holds {sorted(unknown)}, expected names of {ANOMALIES}")
    places = sorted(frozenset(PLACES).intersection(*(places_for(e) for e in events)))
    if not places:
        raise ValueError(f"no place where all of {list(events)} can happen")
    scene = make_scene(seed, rng, size=size, place=str(rng.choice(places)))
    busy = _plan_anomalies(rng, events, duration) if events else []
    plan = busy + _plan_normals(rng, scene.place, duration, busy)
    made = [
        make_event(
            label,
            scene,
            np.random.default_rng([seed, 2, i]),
            max(0.0, start),
            min(duration, start + span) - max(0.0, start),
        )
        for i, (label, start, span) in enumerate(plan)
        if min(duration, start + span) - max(0.0, start) > 1.0
    ]
    return World(seed, scene, duration, fps, tuple(sorted(made, key=lambda e: e.start)))


def training_world(seed: int) -> World:
    """The simulated video of 30 to 80 s that scorers are trained on; seeds below 100,000, held-out ones from there to 1,000,000."""
    return simulate(seed, duration=float(np.random.default_rng([seed, 41]).integers(30, 81)))


def simulate_site(site: int, seed: int, *, anomalous: bool, duration: float = 40.0) -> World:
    """A video of one fixed camera, where something is part of daily life that elsewhere would be an anomaly.

    site: decides camera, light, place and what is usual there (rehearsed falls in a gym, say): its events are labelled normal, and nearly
    every video has one. seed: decides what happens in this video. anomalous: whether one thing more happens, which is out of place.
    """
    rng = np.random.default_rng([site, 61])
    scene = make_scene(site, rng, size=(320, 240))
    possible = [a for a in ANOMALIES if scene.place in places_for(a)]
    usual = str(rng.choice(possible))
    rng = np.random.default_rng([site, seed, 62])
    labels = [usual] if rng.random() < 0.8 else []
    if anomalous:
        labels.append(str(rng.choice([a for a in possible if a != usual])))
    rng.shuffle(labels)
    busy = _plan_anomalies(rng, labels, duration) if labels else []
    events = []
    for i, (label, start, span) in enumerate(busy + _plan_normals(rng, scene.place, duration, busy)):
        start, end = max(0.0, start), min(duration, start + span)
        if end - start > 1.0:
            event = make_event(label, scene, np.random.default_rng([site, seed, 63, i]), start, end - start)
            events.append(replace(event, anomalous=event.anomalous and label != usual))
    return World(seed, scene, duration, 15.0, tuple(sorted(events, key=lambda e: e.start)))


def simulate_clip(seed: int, label: str, *, seconds: float = 3.0, size: tuple[int, int] = (160, 120)) -> World:
    """A short view into one thing that happens: `seconds` from the middle of an event of class `label`, starting at a random phase."""
    rng = np.random.default_rng([seed, 3])
    scene = make_scene(seed, rng, size=size, place=str(rng.choice(sorted(places_for(label)))))
    span = float(rng.uniform(6, 14))
    offset = float(rng.uniform(0.0, max(0.1, span - seconds)))
    main = make_event(label, scene, rng, -offset, span)
    others = []
    if rng.random() < 0.5:
        allowed = [n for n in NORMALS if scene.place in places_for(n)]
        others.append(make_event(str(rng.choice(allowed)), scene, rng, -float(rng.uniform(0, 5)), 20.0))
    return World(seed, scene, seconds, 15.0, (*others, main))


def write_video(world: World, path: Path, *, crf: int = 23, frames: Iterable[Picture] | None = None) -> None:
    """Encode every frame of a world, or others of its size instead, as h264 in the container that the path's suffix names."""
    import av

    height, width = world.scene.background.shape[:2]
    rate = Fraction(world.fps).limit_denominator(1000)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in world.frames() if frames is None else frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
