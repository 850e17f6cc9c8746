"""The cluster as the policy sees it: kept up to date with the nodes that are there, without those that lose jobs."""

from __future__ import annotations

import time
from collections import Counter

from s1sweep.policy import Cluster, Node, Running
from s1sweep.runtime.backend import Backend

FLAKY = 3  # jobs in a row that were lost on a node
AWAY = 10.0  # seconds a node is gone until its jobs are given up: the backend, which would say more, may never say it
REST = 10.0  # seconds without jobs for a node that lost one, so that it is tried elsewhere; twice that the next time


class Fleet:
    """Nodes and what runs on them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._there = {node.name: node for node in backend.nodes()}
        self._lost: Counter[str] = Counter()
        self._rests: dict[str, float] = {}  # until when
        self._gone: dict[str, float] = {}  # since when
        self.cluster = Cluster(self._there.values())
        self.flaky: set[str] = set()

    @property
    def nodes(self) -> list[Node]:
        """Those that are there, excluded ones among them."""
        return list(self._there.values())

    def look(self) -> None:
        """See which nodes are there now. One that is gone stays, excluded, until the end of its last job is known."""
        there = {node.name: node for node in self._backend.nodes()}
        busy = {name for run in self.cluster.running.values() for name in run.nodes}
        gone = [node for name, node in self.cluster.nodes.items() if name not in there and name in busy]
        if there != self._there or len(there) + len(gone) != len(self.cluster.nodes):
            self._there = there
            self.flaky &= there.keys()
            self._rests = {name: until for name, until in self._rests.items() if name in there}
            excluded = {*self.flaky, *self._rests, *(node.name for node in gone)}
            self.cluster = Cluster([*there.values(), *gone], self.cluster.running.values(), excluded)
        now = time.monotonic()
        self._gone = {node.name: self._gone.get(node.name, now) for node in gone}
        for name in [name for name, until in self._rests.items() if now >= until]:
            self._take_back(name)
        for name in sorted({*self._rests, *self.flaky}, key=lambda name: (self._lost[name], name)):
            if not self._replaceable(name):
                self._take_back(name)

    def stranded(self) -> list[Running]:
        """Jobs with a part on a node that has long been gone."""
        since = time.monotonic() - AWAY
        away = {name for name, when in self._gone.items() if when <= since}
        return [run for run in self.cluster.running.values() if not away.isdisjoint(run.nodes)]

    def ended(self, run: Running, lost: bool) -> None:
        """A job ended or was lost. A node that loses several in a row is excluded, if another can do its work."""
        if len(set(run.nodes)) != 1:
            return  # a gang does not say which of its nodes it was
        node = run.nodes[0]
        if not lost:
            del self._lost[node]
            return
        self._lost[node] += 1
        if node in self.cluster.nodes.keys() - self.cluster.excluded and self._replaceable(node):
            self.cluster.exclude(node)
            if self._lost[node] >= FLAKY:
                self.flaky.add(node)
            else:
                self._rests[node] = time.monotonic() + REST * self._lost[node]

    def _take_back(self, name: str) -> None:
        self._rests.pop(name, None)
        self.flaky.discard(name)
        self.cluster.include(name)

    def _replaceable(self, name: str) -> bool:
        """Whether another node that is in use has as much of what jobs cannot do without: engines, GPUs of a kind."""
        node = self.cluster.nodes[name]
        return any(
            other.gpus >= node.gpus
            and other.engines >= node.engines
            and (not node.gpus or other.gpu_kind == node.gpu_kind)
            for other in self.cluster.nodes.values()
            if other.name != name and other.name not in self.cluster.excluded
        )
