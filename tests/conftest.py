"""What the tests share: one rendered clip, and a cache folder of their own."""

import os
import re
import runpy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from vlad.sim import World, simulate, write_video

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tests run side by side; two torches with two threads each wait for one another


GUARD = pytest.StashKey[Path]()
GUARDED = Path(__file__).parent / "guarded"


def pytest_configure(config: pytest.Config) -> None:
    """Nothing but this machine is reached, by tests and what they start; those of `weights` fetch some."""
    if "weights" in (config.getoption("markexpr") or "").replace("not weights", "") or "VLAD_GUARD" in os.environ:
        return  # the second: a worker of pytest-xdist
    os.environ["VLAD_GUARD"] = str(Path(tempfile.mkdtemp(prefix="vlad-guard-")) / "tried")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(GUARDED), os.environ.get("PYTHONPATH", "")]))
    config.stash[GUARD] = Path(os.environ["VLAD_GUARD"])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What was tried fails the run, also where whoever tried it lived with the refusal."""
    tried = session.config.stash.get(GUARD, None)
    if tried is not None and tried.exists():
        print(f"\nconnections to elsewhere were tried:\n{tried.read_text()}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if tried is not None:
        shutil.rmtree(tried.parent, ignore_errors=True)


def pytest_report_header(config: pytest.Config) -> str:
    """pytest-xdist does not count what was left out, so it is said here."""
    return f"chosen: -m {config.getoption('markexpr')!r}; every other test is not run"


@pytest.fixture(scope="session", autouse=True)
def guard() -> None:
    """In this very process too."""
    if os.environ.get("VLAD_GUARD"):
        runpy.run_path(str(GUARDED / "sitecustomize.py"))


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """A password costs a tenth of a second and 64 MiB on purpose; tests add many people. Servers that tests start are as they are."""
    from argon2 import PasswordHasher

    from vlad.library import people

    with pytest.MonkeyPatch.context() as patch:
        cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        patch.setattr(people, "PasswordHasher", lambda: cheap)
        patch.setattr(people, "_NOBODY", cheap.hash("nobody has this password"))
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hundreds of tests begin with an empty library: its tables are made once, by every migration, and copied. Servers that tests start make their own."""
    from vlad.library import Library
    from vlad.library.database import Database

    empty = tmp_path_factory.mktemp("empty") / "library"
    Library(empty).engine.dispose()
    migrate = Database._migrate

    def copied(self: Database) -> None:
        path = Path(self.engine.url.database or "")
        if self.engine.dialect.name == "sqlite" and path.name and not path.exists():
            shutil.copyfile(empty / "library.sqlite", path)
        migrate(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "_migrate", copied)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("VLAD_SEAL", str(tmp_path_factory.mktemp("seal")))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL, see postgres.py."""
    import postgres

    if os.environ.get("VLAD_POSTGRES"):
        yield os.environ["VLAD_POSTGRES"]
        return
    with postgres.running() as server:
        yield server.url


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
def stuck_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds at 10 frames a second of which every frame lasts no time."""
    path = tmp_path_factory.mktemp("stuck") / "stuck.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"preset": "ultrafast", "bf": "0", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    durations = data.index(b"stts") + 16
    data[durations : durations + 4] = bytes(4)  # every frame lasts no time
    path.write_bytes(data)
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


@pytest.fixture
def visit(browser: "Browser", request: pytest.FixtureRequest) -> Iterator[Callable[..., "Page"]]:
    """Opens a page; any console error, page error, request to elsewhere or 5xx fails the test. allowed, words: statuses and errors that belong to it.

    policy: under the page's own content security policy, under which Playwright cannot wait for an expression."""
    faults: list[str] = []
    contexts: list[Any] = []
    pages: list[Page] = []

    def visit(
        url: str, *, width: int = 1400, height: int = 900, scheme: str = "light", allowed: tuple[int, ...] = (), words: tuple[str, ...] = (),
        policy: bool = False,
    ) -> "Page":  # fmt: skip
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            accept_downloads=True,
            bypass_csp=not policy,
        )
        page = context.new_page()
        # A server that was stopped at the end of a test is no fault of the page, which follows it along.
        gone = (
            "net::ERR_CONNECTION_REFUSED",
            "net::ERR_INCOMPLETE_CHUNKED_ENCODING",
            "net::ERR_CONNECTION_RESET",
            "net::ERR_EMPTY_RESPONSE",
        )
        said = [*(f"status of {code}" for code in allowed), *gone, *words]
        own = url.split("/#")[0].split("/login")[0]
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda m: faults.append(m.text) if m.type == "error" and not any(s in m.text for s in said) else None,
        )
        page.on(
            "response",
            lambda r: faults.append(f"{r.status} {r.url}") if r.status >= 400 and r.status not in allowed else None,
        )
        page.on(
            "request", lambda r: None if r.url.startswith((own, "data:", "blob:")) else faults.append(f"asked {r.url}")
        )
        page.goto(url)
        contexts.append(context)
        pages.append(page)
        return page

    yield visit
    if os.environ.get("VLAD_SHOTS"):
        for i, page in enumerate(pages):
            name = re.sub("[^a-z0-9_]", "-", request.node.name)
            page.screenshot(path=Path(os.environ["VLAD_SHOTS"]) / f"{name}-{i}.png", full_page=True)
    for context in contexts:
        context.close()
    assert faults == []
