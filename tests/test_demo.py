"""The demo's comparison with the truth, on a scene whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from vlad import demo
from vlad.sim import World
from vlad.types import Analysis, ScoreTrack, Segment, Video


def analysis(world: World, *segments: Segment) -> Analysis:
    track = ScoreTrack(np.zeros(1, np.float32), np.array([0.0, world.duration]))
    return Analysis(Video("scene.mp4", "0" * 64, world.duration, 15.0, 320, 240, "h264"), track, segments)


def test_scene_has_an_anomaly_and_is_the_same_twice() -> None:
    first, second = demo.scene(150_000), demo.scene(150_000)
    assert first.anomalous
    assert (first.seed, first.events) == (second.seed, second.events)


def test_found_missed_and_false(world: World) -> None:
    event = next(e for e in world.events if e.anomalous)
    right = Segment(event.start, event.end, 0.9, event.start, event.label)
    assert any("IoU 1.00" in line for line in demo.compare(world, analysis(world, right)))
    assert any("missed" in line for line in demo.compare(world, analysis(world)))
    far = Segment(world.duration + 1, world.duration + 2, 0.9, world.duration + 1)
    assert any("false alarm" in line for line in demo.compare(world, analysis(world, far)))


@pytest.mark.slow
def test_render_leaves_only_the_whole_clip(world: World, tmp_path: Path) -> None:
    demo.render(world, tmp_path / "scene.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["scene.mp4"]
