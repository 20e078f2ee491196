"""What the tests share: one rendered clip, and a cache folder of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vlad.sim import World, simulate, write_video


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
