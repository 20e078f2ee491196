"""What the tests share: one rendered clip, and a cache folder of their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlad.sim import World, simulate, write_video

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tests run side by side; two torches with two threads each wait for one another


def pytest_report_header(config: pytest.Config) -> str:
    """pytest-xdist does not count what was left out, so it is said here."""
    return f"chosen: -m {config.getoption('markexpr')!r}; every other test is not run"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def world() -> World:
    """A short scene with a fight in it."""
    return simulate(150_001, duration=20.0, events=("fighting",))


@pytest.fixture(scope="session")
def clip(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene as a real h264 file."""
    path = tmp_path_factory.mktemp("clip") / "scene.mp4"
    write_video(world, path)
    return path
