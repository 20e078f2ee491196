"""Several clips at once: to each what it alone would have got, and one that fails costs the others nothing."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from vlad.cli import main as command
from vlad.config import make_settings
from vlad.errors import VideoError
from vlad.together import Batched, side_by_side
from vlad.video import cut


def main(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        command([str(a) for a in arguments])
    return int(ended.value.code or 0)


class Tower:
    """Twice each number, and its square; slowly, so that calls wait for each other. Counts what came in at once."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.seen.append(len(pictures))
        time.sleep(0.02)
        if (pictures < 0).any():
            raise ValueError("no such picture")
        return 2 * pictures, pictures**2


def test_calls_that_wait_go_through_together_and_each_gets_its_own() -> None:
    tower = Tower()
    batched = Batched(tower, 8)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda i: batched(torch.full((2, 3), float(i))), range(12)))
    for i, (twice, square) in enumerate(found):
        assert twice.shape == (2, 3)
        assert (twice == 2 * i).all()
        assert (square == i * i).all()
    assert sum(tower.seen) == 24
    assert max(tower.seen) == 8  # never more than it takes
    assert len(tower.seen) < 12


def test_pictures_of_other_sizes_and_more_than_it_takes_go_through_alone() -> None:
    batched = Batched(Tower(), 4)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(batched, torch.ones(n, side)) for n, side in ((2, 3), (9, 3), (1, 5))]
        assert [tuple(c.result(10)[0].shape) for c in calls] == [(2, 3), (9, 3), (1, 5)]


def test_what_a_batch_raises_each_of_its_calls_raises_and_the_next_goes_on() -> None:
    batched = Batched(Tower(), 8)
    with pytest.raises(ValueError, match="no such picture"):
        batched(-torch.ones(1, 1))
    assert batched(torch.ones(1, 1))[0].item() == 2


def test_so_many_at_a_time_and_an_error_is_a_result() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def work(job: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        if job == 3:
            raise VideoError("three")
        return job * job

    found = dict(side_by_side(work, list(range(10)), 4))
    assert most == 4
    assert str(found.pop(3)) == "three"
    assert found == {i: i * i for i in range(10) if i != 3}
    with pytest.raises(ZeroDivisionError):  # a bug is no result
        list(side_by_side(lambda job: 1 // job, [1, 0], 1))


def test_jobs_under_way_end_soon_once_nobody_waits_for_them() -> None:
    """Ctrl-C, or a bug in one of them: the clips of the others may take hours."""
    batched, seen = Batched(Tower(), 8), []

    def work(job: int) -> int:
        for _ in range(job):
            batched(torch.ones(1, 1))
            seen.append(job)
        return job

    begin = time.monotonic()
    each = side_by_side(work, [3000, 1, 3000, 3000], 4)
    assert next(each) == (1, 1)
    each.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 5
    assert len(seen) < 1000
    assert list(side_by_side(work, [1], 1)) == [(1, 1)]


@pytest.mark.slow
def test_two_clips_at_once_are_analysed_as_one_after_the_other(tmp_path: Path, clip: Path) -> None:
    names = ["a", "b", "c"]
    for i, name in enumerate(names):
        (tmp_path / f"{name}.mp4").write_bytes(cut(clip, 0.5 * i, 6.0 + i, make_settings()))
    clips = [tmp_path / f"{n}.mp4" for n in names]
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    for out, more in (("one", []), ("three", ["--together", "3"])):
        assert main("analyze", *clips, tmp_path / "broken.mp4", "-o", tmp_path / out, "--set", "cache=null", *more) == 1
        assert main("features", *clips, "-o", tmp_path / f"features-{out}", *more) == 0
    for name in names:
        one, three = (json.loads((tmp_path / out / f"{name}.json").read_text()) for out in ("one", "three"))
        np.testing.assert_allclose(three["track"]["scores"], one["track"]["scores"], atol=1e-4)
        assert [s["label"] for s in three["segments"]] == [s["label"] for s in one["segments"]]
        assert [e["text"] for e in three["explanations"]] == [e["text"] for e in one["explanations"]]
        one, three = (np.load(tmp_path / f"features-{out}" / f"{name}.npy") for out in ("one", "three"))
        np.testing.assert_allclose(three, one, atol=1e-4)
    assert main("analyze", clips[0], clips[0], "-o", tmp_path / "x", "--together", "2") == 1
