"""`vlad calibrate --camera`: a threshold by a camera's own normal scores, as its alarms hold them; and what verdicts do to it as hours go by."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlad.cli import main
from vlad.errors import InputError
from vlad.library import Library
from vlad.library.adapting import Judged, adapted
from vlad.live.alarms import AlarmRule, held_levels
from vlad.live.normal import camera_threshold, highest_of, raised_in, rate_interval

Floats = npt.NDArray[np.float64]
T = 1_795_608_000.0


def stream(seed: int, hours: float, level: float = 0.0) -> tuple[Floats, Floats]:
    """Made-up scores of a camera, one a second: a slow wander, and bumps of some seconds now and then. level: added to their logit."""
    draws, count = np.random.default_rng(seed), int(hours * 3600)
    wander = np.zeros(count)
    noise = draws.normal(0, 0.15, count)
    for k in range(1, count):
        wander[k] = 0.97 * wander[k - 1] + noise[k]
    for at in draws.integers(0, count, int(hours * 20)):
        wander[at : at + draws.integers(2, 9)] += draws.exponential(1.3)
    times = T + np.arange(count, dtype=np.float64)
    return np.stack([times, times + 1], 1), 1 / (1 + np.exp(3 - level - wander))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.2, 3), st.sampled_from([0.0, 0.0, 0.0, 5.0, 20.0])), min_size=1, max_size=40),
    st.sampled_from([0.0, 1.0, 4.0]),
)  # fmt: skip
def test_a_level_is_the_highest_threshold_that_still_raises_an_alarm(told: list[tuple[float, float, float]], hold: float) -> None:  # fmt: skip
    lengths, pauses = np.array([t[1] for t in told]), np.array([t[2] for t in told])
    ends = np.cumsum(lengths + pauses)
    edges, scores = np.stack([ends - lengths, ends], 1), np.array([t[0] for t in told])
    rule = AlarmRule(hold=hold, merge=10.0)
    highest = float(held_levels(edges, scores, rule).max())
    if highest > 1e-3:
        assert raised_in([(edges, scores)], replace(rule, threshold=highest * (1 - 1e-9))) >= 1
    if highest < 0.999:
        assert raised_in([(edges, scores)], replace(rule, threshold=max(highest, 1e-6) * (1 + 1e-9))) == 0


def test_minutes_are_of_parts_put_one_behind_the_other() -> None:
    values, lengths = [np.arange(4.0), np.arange(10.0, 13.0)], [np.full(4, 20.0), np.full(3, 20.0)]
    assert highest_of(values, lengths).tolist() == [2.0, 12.0]
    assert highest_of([np.ones(2)], [np.ones(2)]).tolist() == []
    low, high = rate_interval(3, 2.0)
    assert low < 1.5 < high
    assert rate_interval(0, 2.0)[0] == 0.0


@pytest.mark.slow
def test_a_camera_is_held_to_its_own_hours_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    library = Library(tmp_path / "library")
    root = library.local_user()
    camera = library.save_camera(root, {"name": "door", "url": "rtsp://10.0.0.5/"})
    edges, scores = stream(1, 2)
    library.keep_scores("door", edges, scores.astype(np.float32))

    def run(*more: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["calibrate", "--library", str(library.folder), *more])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    code, out, _ = run("--camera", "door", "--false-alarms-per-hour", "2")
    assert code == 0
    assert "threshold 0." in out
    assert "2.00 h of normal scores" in out
    kept = library.camera(camera.id).calibration or {}
    expected = camera_threshold([(edges, scores.astype(np.float32).astype(np.float64))], 2.0, AlarmRule())
    assert kept["enter"] == pytest.approx(expected["enter"])
    assert expected["interval"][0] <= kept["enter"] <= expected["interval"][1]
    assert expected["alarms"] / 2 <= 2
    assert library.audit_rows(count=1)[0].action == "camera calibrated"
    for more, words in (
        (("--camera", "yard"), "no such id or name"), (("--camera", "door", "nano"), "no scorer"), ((), "expected a SCORER"),
        (("--camera", "door", "--false-alarms-per-hour", "0.05"), "cannot promise 0.05"),
    ):  # fmt: skip
        code, _, err = run("--false-alarms-per-hour", "2", *more)
        assert (code, words in err) == (1, True), err
    with pytest.raises(InputError, match="no normal scores"):
        camera_threshold([], 1.0, AlarmRule())


@pytest.mark.slow
def test_alarms_an_hour_as_calibrated_and_verdicts_bring_a_camera_back_that_changed() -> None:
    """Made-up streams: the promise on hours like those that calibrated, over many cameras; then a camera whose scores rise for good, with and without verdicts."""
    rate, rule = 2.0, AlarmRule(most_an_hour=3600)
    found = []
    for seed in range(8):
        enter = camera_threshold([stream(seed, 8)], rate, rule)["enter"]
        found.append(raised_in([stream(1000 + seed, 8)], replace(rule, threshold=enter)) / 8)
    assert np.mean(found) < rate
    assert np.mean(found) > 0.3 * rate
    enter = camera_threshold([stream(4, 8)], rate, rule)["enter"]
    told: list[Judged] = []
    before = after = 0
    for hour in range(48):
        changed = stream(5000 + hour, 1, level=1.0)
        before += raised_in([changed], replace(rule, threshold=enter)) if hour >= 24 else 0
        count = raised_in([changed], replace(rule, threshold=adapted(enter, rate, told)))
        after += count if hour >= 24 else 0
        told += [Judged(True, 0.9, 1 / max(count, 1))] * count
    assert after / 24 < 1.5 * rate < before / 24
