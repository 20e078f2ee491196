"""The simulated world: the same on every machine, true to its labels, fast, and real h264 once written."""

import hashlib
import time
from pathlib import Path

import av
import numpy as np
import pytest

from vlad.sim import ANOMALIES, NORMALS, simulate, simulate_clip, write_video


def test_the_classes_the_field_knows() -> None:
    assert len(NORMALS) >= 8
    assert len(ANOMALIES) == 13
    assert {"fighting", "road accident", "abandoned object"} <= set(ANOMALIES)


def test_a_frame_is_a_pure_function_of_seed_and_time() -> None:
    world, again = simulate(4), simulate(4)
    late = world.frame(20.0)
    world.frame(3.0)
    assert np.array_equal(late, world.frame(20.0))
    assert np.array_equal(late, again.frame(20.0))
    assert not np.array_equal(late, simulate(5).frame(20.0))


def test_a_seed_gives_the_same_plan_on_every_machine() -> None:
    plan = [
        (e.label, round(e.start, 6), round(e.end, 6), e.attributes["who"]) for s in range(6) for e in simulate(s).events
    ]
    assert hashlib.sha256(repr(plan).encode()).hexdigest()[:12] == "50d6c1dd072c"


def test_labels_are_the_anomalous_events_and_nothing_else() -> None:
    world = simulate(11, duration=60, events=("fighting", "falling"))
    times = world.times()
    truth = [any(e.anomalous and e.start <= t < e.end for e in world.events) for t in times]
    assert world.labels(times).tolist() == truth
    assert [e.label for e in world.events if e.anomalous] == ["fighting", "falling"]
    assert world.anomalous
    assert not simulate(11, events=()).anomalous
    assert simulate(11, events=()).labels(times).sum() == 0


@pytest.mark.slow
def test_about_half_of_the_seeds_are_normal_and_all_last_30_to_180_seconds() -> None:
    worlds = [simulate(s) for s in range(120)]
    assert 40 <= sum(w.anomalous for w in worlds) <= 80
    assert all(30 <= w.duration <= 180 for w in worlds)
    assert all(0 <= e.start < e.end <= w.duration for w in worlds for e in w.events)
    lengths = [e.end - e.start for w in worlds for e in w.events if e.anomalous]
    assert min(lengths) >= 5
    assert max(lengths) <= 15


@pytest.mark.parametrize("label", ANOMALIES + NORMALS)
def test_every_class_moves_has_words_and_is_not_just_background(label: str) -> None:
    world = simulate_clip(3, label)
    rng = np.random.default_rng(0)
    assert world.anomalous == (label in ANOMALIES)
    assert len({world.caption(1.0, rng) for _ in range(60)}) >= 5
    assert set(world.events[0].attributes) == {"who", "what", "where"}
    pictures = [world.frame(t).astype(int) for t in (0.2, 1.4, 2.6)]
    empty = world.scene.finish(world.scene.background.copy(), 0.2).astype(int)
    assert max(np.abs(p - empty).max() for p in pictures) > 40
    assert pictures[0].shape == (120, 160, 3)


def test_a_loaded_question_about_a_normal_moment_is_answered_with_no() -> None:
    asked = dict(simulate_clip(1, "playful shoving").questions(1.0, np.random.default_rng(0)))
    assert "no anomaly" in asked["Describe the anomaly."]
    asked = dict(simulate_clip(1, "arson").questions(1.0, np.random.default_rng(0)))
    assert "arson" in asked["Is there anything unusual?"]


def test_impossible_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="jaywalking"):
        simulate(1, events=("jaywalking",))
    with pytest.raises(ValueError, match="no place where"):
        simulate(1, events=("shoplifting", "road accident"))


def test_it_renders_fast_enough_for_training() -> None:
    world = simulate(2)
    world.frame(0.0)
    started = time.process_time()
    for t in world.times()[:60]:
        world.frame(float(t))
    assert 60 / (time.process_time() - started) > 100


def test_h264_round_trip(tmp_path: Path) -> None:
    world = simulate(9, duration=3, events=("fighting",))
    write_video(world, tmp_path / "scene.mp4")
    with av.open(str(tmp_path / "scene.mp4")) as file:
        frames = list(file.decode(video=0))
        assert file.streams.video[0].codec_context.name == "h264"
    assert len(frames) == len(world.times()) == 45
    assert np.abs(frames[20].to_ndarray(format="rgb24").astype(int) - world.frame(20 / 15)).mean() < 8
