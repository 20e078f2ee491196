"""Machines of a Ray cluster on this one: what handing work out costs beside doing it here, for `vlad eval speed ray` and the tests.

In: a number of nodes. Out: a cluster that runs while it is needed. Nothing of it reports to Ray's makers, and it has no page.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from vlad.cluster import SILENT

# A head asks the clouds' own addresses which of them it is in, reports or not; it asks by this, where nobody is.
NOWHERE = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}


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

    with patch.dict(os.environ, SILENT | NOWHERE):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            yield Nodes(cluster.address, cluster, [cluster.add_node(num_cpus=cores) for _ in range(count)])
        finally:
            cluster.shutdown()
