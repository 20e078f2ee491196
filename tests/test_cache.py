"""Features on disk: whole or absent, whoever writes."""

from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from vlad.cache import FeatureCache
from vlad.types import Features, Video

KEY = "ab" * 32


def video() -> Video:
    return Video("a.mp4", KEY, 2.0, 15.0, 320, 240, "h264", ((0.5, 1.0),))


def features(value: float = 1.0) -> Features:
    return Features(np.full((2, 3), value, np.float32), np.array([0.0, 1.0, 2.0]), "nano@0123456789ab")


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    assert cache.get(KEY, "f") is None
    cache.put(KEY, "f", features(), video())
    found = cache.get(KEY, "f")
    assert found is not None
    assert found[0].values.tolist() == features().values.tolist()
    assert found[1] == video()
    assert cache.get(KEY, "other") is None


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_entry_is_computed_again_with_a_warning(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FeatureCache(tmp_path)
    cache.put(KEY, "f", features(), video())
    (entry,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    entry.write_bytes(entry.read_bytes()[:-5] if damage is None else damage)
    assert cache.get(KEY, "f") is None
    assert "damaged" in caplog.text


def _put(folder: Path, value: float) -> None:
    for _ in range(30):
        FeatureCache(folder).put(KEY, "f", features(value), video())


def test_two_processes_leave_one_whole_entry(tmp_path: Path) -> None:
    runs = [get_context("fork").Process(target=_put, args=(tmp_path, v)) for v in (1.0, 2.0)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    found = FeatureCache(tmp_path).get(KEY, "f")
    assert found is not None
    assert len(set(found[0].values.ravel().tolist())) == 1
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1
