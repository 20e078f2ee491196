"""The demo's scene: a seed to a clip on disk, and an analysis held against the scene's truth, as lines for a person."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import vlad
from vlad.segments import iou
from vlad.sim import World, simulate, write_video
from vlad.types import Analysis, Segment

SECONDS = 45.0


def scene(seed: int) -> World:
    """The first scene at or after `seed` with an anomaly in it, 45 s long."""
    world = simulate(seed, duration=SECONDS)
    while not world.anomalous:
        seed += 1
        world = simulate(seed, duration=SECONDS)
    return world


def render(world: World, path: Path) -> None:
    """Write the scene as h264; an interrupted run leaves no half clip under `path`."""
    part = path.with_name("." + path.name)
    write_video(world, part)
    os.replace(part, path)


def save_report(analysis: Analysis, folder: Path, settings: vlad.Settings, adopted: str = "") -> Sequence[Path]:
    """Write report.json, report.csv and report.html; adopted: who stands by the model's words."""
    written = []
    for path in vlad.save(analysis, folder, settings=settings, adopted=adopted):
        written.append(path.with_name("report" + path.suffix))
        os.replace(path, written[-1])
    return written


def compare(world: World, analysis: Analysis) -> list[str]:
    """One line an anomalous event of the scene and one a segment that meets none of them."""
    lines = ["compared with the scene's truth:"]
    met: set[Segment] = set()
    for event in (e for e in world.events if e.anomalous):
        span = (event.start, event.end)
        best = max(analysis.segments, key=lambda s: iou(span, (s.start, s.end)), default=None)
        head = f"  {event.label} {event.start:.1f}-{event.end:.1f} s: "
        if best is None or not iou(span, (best.start, best.end)):
            lines.append(head + "missed")
            continue
        met.add(best)
        overlap = iou(span, (best.start, best.end))
        lines.append(
            f"{head}flagged {best.start:.1f}-{best.end:.1f} s as {best.label or 'no class'}, IoU {overlap:.2f}"
        )
    for segment in analysis.segments:
        if segment not in met:
            lines.append(f"  false alarm or second part: {segment.start:.1f}-{segment.end:.1f} s {segment.label}")
    return lines
