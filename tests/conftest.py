"""What the tests share: one rendered clip, and a cache folder of their own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vlad.sim import World, simulate, write_video

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """The system's own Chromium, which plays h264; Playwright's does not."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
