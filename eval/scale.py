"""Machines of a Ray cluster on this one, and what it costs to hand work out to them, for `vlad eval speed ray` and the tests.

In: a number of nodes, or a folder of clips. Out: a cluster that runs while it is needed, of which nothing reports to Ray's makers; or seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from vlad.cluster import SILENT

# A head asks the clouds' own addresses which of them it is in, reports or not; it asks by this, where nobody is.
NOWHERE = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}

PLAIN = {
    "RAY_worker_niceness": "0"
}  # else its workers give way to whatever runs beside them, and a comparison with other processes says nothing


@dataclass(frozen=True)
class Nodes:
    """A cluster: a head without cores, and nodes."""

    address: str
    cluster: Any
    own: list[Any]

    def kill(self, number: int) -> None:
        """End a node at once, as a power cut does."""
        self.cluster.remove_node(self.own[number], allow_graceful=False)


@contextmanager
def nodes(count: int, *, cores: int = 1) -> Iterator[Nodes]:
    """A cluster of `count` nodes with `cores` each, all on this machine."""
    from ray.cluster_utils import Cluster

    with patch.dict(os.environ, SILENT | NOWHERE | PLAIN):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            yield Nodes(cluster.address, cluster, [cluster.add_node(num_cpus=cores) for _ in range(count)])
        finally:
            cluster.shutdown()


@dataclass(frozen=True)
class Cost:
    """What some work took. wall: seconds; used: processor seconds of all that this process started."""

    wall: float
    used: float


class Meter:
    """Processor seconds of all descendants of this process, while it runs: what each has used itself and by those that it waited for."""

    def __init__(self) -> None:
        self._used: dict[int, float] = {}
        self._before: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _look(self) -> None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if "vlad.readers" not in process.cmdline():  # whoever started a decoder waits for it
                    self._used[process.pid] = sum(process.cpu_times()[:4])

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self._look()

    def __enter__(self) -> Meter:
        self._look()
        self._before = dict(self._used)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def used(self) -> float:
        """Seconds so far."""
        return sum(seconds - self._before.get(pid, 0.0) for pid, seconds in self._used.items())


def features_cost(lists: Sequence[Sequence[Path]], out: Path, *more: str, threads: str = "") -> Cost:
    """What `vlad features` takes of each list of clips, all lists at once. threads: OMP_NUM_THREADS of each, where it is said."""
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, **({"OMP_NUM_THREADS": threads} if threads else {})}
    start = time.perf_counter()
    with Meter() as meter:
        running = [
            subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-m", "vlad", "features", *map(str, clips), "-o", str(out / str(i)), *more],
                env=environment, stdout=subprocess.DEVNULL,
            ) for i, clips in enumerate(lists)
        ]  # fmt: skip
        codes = [process.wait() for process in running]
    if any(codes):
        raise RuntimeError(f"vlad features ended with {codes}")
    return Cost(time.perf_counter() - start, meter.used)
