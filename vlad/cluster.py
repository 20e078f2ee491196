"""The same work on many machines, by Ray (Moritz et al. 2018).

In: what loads the models and gives a function of a job, the jobs, and the address of a Ray cluster that runs already. Out: each job with its result, or with
what went wrong, in the order in which they come. One worker (an actor of Ray's) a device holds the models and nothing else: who asks writes, so a machine
that is killed takes along what was under way, which goes to another. Knows no video.

Machines of a cluster run each other's code, and find files at the same places. Whoever reaches its ports can run code on it.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vlad.errors import ClusterError, SettingsError, VladError
from vlad.pipeline import versions

log = logging.getLogger("vlad")
J = TypeVar("J")
R = TypeVar("R")
Work = Callable[[J], R]

CORES = 2  # of a worker on a processor, on as many the line was measured
TRIES = 3  # workers that may die over one job, or at one place before they have the models
BEAT = 2.0  # seconds between two looks at who is there
LATE = 60.0  # seconds after which somebody wonders why nothing happens
REACHED = 30.0  # seconds that a cluster has to answer
ADDRESS = re.compile(r"auto|(?:[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:]{2,39}\]):[1-9][0-9]{0,4}")
SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/"}
HANDED = ("HF_", "OPENAI_", "TOKENIZERS_", "TRANSFORMERS_", "VLAD_")  # of the environment, to workers
ASK = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"
START = "start one with `ray start --head --include-dashboard=false` (docs/scale.md)"


@dataclass(frozen=True)
class _Place:
    """A share of a machine that one worker has. node: Ray's name of the machine; host: people's."""

    node: str
    host: str
    number: int
    cores: int
    gpus: int


class _Worker(Generic[J, R]):
    """Lives on a machine of the cluster, in the folder from which the command was given, so that paths mean there what they mean here."""

    def __init__(self, folder: str, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        self._folder = folder

    def load(self, make: Callable[[], Work[J, R]]) -> dict[str, str] | VladError:
        """Load the models. The versions of what decides a result, or what is missing on this machine."""
        try:
            os.chdir(self._folder)
            self._work = make()
        except OSError as error:
            return ClusterError(f"{self._folder}: {error.strerror}; mount the same folders on every machine")
        except VladError as error:
            return error
        return versions()

    def do(self, job: J) -> R | VladError:
        """The result of a job, or why there is none."""
        try:
            return self._work(job)
        except VladError as error:
            return error


def check(address: str, device: str = "auto") -> None:
    """Raise SettingsError for what is no address, and ClusterError where no cluster answers there.

    Another process asks, since Ray waits for minutes, and ends the process that it waits in.
    """
    if not ADDRESS.fullmatch(address):
        raise SettingsError(f"--ray {address[:80]}: expected auto, or HOST:PORT of a Ray cluster's head")
    if ":" in device:
        raise SettingsError(f"device={device} is one of this machine; with --ray each worker gets one, so say cuda")
    try:
        import ray  # noqa: F401
    except ImportError:
        raise ClusterError(
            "--ray needs Ray, which is not installed here: pip install '.[ray]' where vlad lies"
        ) from None
    try:
        asked = subprocess.run(  # noqa: S603 - this very Python
            [sys.executable, "-c", ASK, address], env={**os.environ, **SILENT}, capture_output=True, timeout=REACHED,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ClusterError(f"--ray {address}: no Ray cluster answers there; {START}") from None
    if asked.returncode:
        why = asked.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it ended without a word"]
        raise ClusterError(f"--ray {address}: cannot be used ({why[0][:200]}); {START}")


def each(
    make: Callable[[], Work[J, R]], jobs: Iterable[J], address: str, *, device: str = "auto"
) -> Generator[tuple[J, R | VladError]]:
    """Jobs (hashable) with their results, or what went wrong with them, as they come.

    make: called once by each worker; like jobs and results it travels by cloudpickle, so a function of an installed module or a partial of one. device: of the
    settings; cpu: no GPU is asked for.
    Raises SettingsError, and ClusterError where there is no cluster, or no machine of it can do the work.
    """
    check(address, device)
    os.environ.update(SILENT)
    import ray

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        yield from _Crew(make, jobs, gpus=device != "cpu")
    finally:
        ray.shutdown()


class _Crew(Generic[J, R]):
    """The workers of one run, and who does what."""

    def __init__(self, make: Callable[[], Work[J, R]], jobs: Iterable[J], *, gpus: bool) -> None:
        self._make, self._waiting, self._gpus = make, deque(jobs), gpus
        self._workers: dict[_Place, Any] = {}  # handles of Ray's actors
        self._running: dict[Any, tuple[_Place, J | None]] = {}  # what Ray will answer -> by whom; no job: it loads
        self._failed: Counter[_Place] = Counter()
        self._died: Counter[J] = Counter()
        self._late: float | None = time.monotonic() + LATE  # None: somebody has the models
        self._fault = ClusterError(f"no machine of the cluster has a core to spare; {START}")

    def __iter__(self) -> Iterator[tuple[J, R | VladError]]:
        import ray

        while self._waiting or any(job is not None for _, job in self._running.values()):
            self._hire()
            if self._late and time.monotonic() > self._late:
                self._late = None
                log.warning("no worker has the models after %g s; `ray status` says what keeps the cluster busy", LATE)
            for answer in ray.wait(list(self._running), timeout=BEAT)[0]:
                place, job = self._running.pop(answer)
                try:
                    found = ray.get(answer)
                except ray.exceptions.RayTaskError as error:  # a bug: it costs this job and no other
                    first = (str(error.cause).strip().splitlines() or [""])[0]
                    found = ClusterError(f"a bug of vlad's, {type(error.cause).__name__}: {first[:200]}")
                except ray.exceptions.RayError as error:
                    self._dismiss(place)
                    yield from self._again(place, job, error)
                    continue
                if job is None and (why := str(found) if isinstance(found, Exception) else _unlike(found)):
                    self._fault, self._failed[place] = ClusterError(f"{place.host}: {why}"), TRIES
                    self._dismiss(place)
                    continue
                self._late = None
                self._give(place)  # before the result is handed on: the worker is not to wait until it is written
                if job is not None:
                    yield job, found

    def _hire(self) -> None:
        """A worker for each place that has none, as long as there are jobs for it. Raises where nobody is left to do them."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        free = [p for p in _places(gpus=self._gpus) if p not in self._workers and self._failed[p] < TRIES]
        idle = sum(job is None for _, job in self._running.values())
        for place in free[: max(0, len(self._waiting) - idle)]:
            where = NodeAffinitySchedulingStrategy(place.node, soft=False)
            actor = ray.remote(_Worker).options(num_cpus=place.cores, num_gpus=place.gpus, scheduling_strategy=where)
            handed = {k: v for k, v in os.environ.items() if k.startswith(HANDED)}
            self._workers[place] = worker = actor.remote(os.getcwd(), handed)
            self._running[worker.load.remote(self._make)] = place, None
        if not self._workers:
            raise self._fault

    def _give(self, place: _Place) -> None:
        """The next job to who is free; where there is none the place goes back to the cluster."""
        if self._waiting:
            job = self._waiting.popleft()
            self._running[self._workers[place].do.remote(job)] = place, job
        else:
            self._dismiss(place)

    def _dismiss(self, place: _Place) -> None:
        import ray

        ray.kill(self._workers.pop(place))

    def _again(self, place: _Place, job: J | None, error: Exception) -> Iterator[tuple[J, VladError]]:
        """Of a worker that died, by itself or with its machine: the job goes to another, unless it killed too many."""
        if job is None:
            self._failed[place] += 1
            self._fault = ClusterError(f"{place.host}: the worker ended while it loaded ({type(error).__name__})")
            return
        self._died[job] += 1
        if self._died[job] < TRIES:
            self._waiting.appendleft(job)
        else:
            yield job, ClusterError(f"{TRIES} workers ended while they were at it, the last one on {place.host}")


def _unlike(found: dict[str, str]) -> str:
    """What a machine has in another version than this one, so that its numbers would be others; '' for nothing."""
    here = versions()
    other = [f"{name} {found.get(name)} instead of {here[name]}" for name in here if found.get(name) != here[name]]
    return f"has {', '.join(other)}; install the same on every machine" if other else ""


def _places(*, gpus: bool) -> list[_Place]:
    """One for each GPU of the cluster's machines, else one for each CORES cores."""
    import ray

    found = []
    for node in ray.nodes():
        cores, devices = (int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
        if not node["Alive"] or not cores:
            continue
        devices = devices if gpus else 0
        own = max(1, min(cores // max(devices, 1), CORES))
        name = node["NodeManagerHostname"]
        found += [_Place(node["NodeID"], name, i, own, int(devices > 0)) for i in range(devices or cores // own)]
    return found
