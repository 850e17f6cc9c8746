"""The cluster as the policy sees it: kept up to date with the nodes that are there, without those that lose jobs."""

from __future__ import annotations

from s1sweep.runtime.backend import Backend
from s1sweep.runtime.policy import Cluster, Node, Running

FLAKY = 3  # different stages lost in a row on one node


class Fleet:
    """Nodes and what runs on them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._there = {node.name: node for node in backend.nodes()}
        self._lost: dict[str, list[str]] = {}
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
            excluded = {*self.flaky, *(node.name for node in gone)}
            self.cluster = Cluster([*there.values(), *gone], self.cluster.running.values(), excluded)

    def ended(self, run: Running, stage: str, lost: bool) -> None:
        """A job ended, or its worker was lost. Several of different stages in a row, and the node is excluded, unless
        it is the last one: a stage that kills its worker anywhere says nothing about nodes.
        """
        if len(set(run.nodes)) != 1:
            return
        node = run.nodes[0]
        if not lost:
            self._lost.pop(node, None)
            return
        stages = self._lost.setdefault(node, [])
        if stage not in stages:
            stages.append(stage)
        usable = self.cluster.nodes.keys() - self.cluster.excluded
        if len(stages) >= FLAKY and node in usable and len(usable) > 1:
            self.cluster.exclude(node)
            self.flaky.add(node)
