"""What a cluster has and what runs on it, kept up to date as jobs start and end."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace

from s1sweep.policy.gangs import Free, part_of
from s1sweep.policy.values import Node, Request, Running


class Cluster:
    """Nodes and running jobs. What runs on an excluded node goes on, and nothing new starts there."""

    def __init__(
        self, nodes: Node | Iterable[Node], running: Iterable[Running] = (), excluded: Collection[str] = ()
    ) -> None:
        listed = [nodes] if isinstance(nodes, Node) else list(nodes)
        self.nodes = {node.name: node for node in sorted(listed, key=lambda n: n.name)}
        if len(self.nodes) < len(listed):
            raise ValueError(f"{len(listed)} nodes have {len(self.nodes)} names")
        self.running: dict[str, Running] = {}
        self.free = Free(self.nodes.values())
        self.excluded: set[str] = set()
        self.ends: list[tuple[float, str]] = []
        self.counts_gpus = any(node.gpus for node in self.nodes.values())
        # By user: how wide what runs is, and the sum of width x start, of which time used follows at any moment.
        self.width: defaultdict[str, float] = defaultdict(float)
        self.width_started: defaultdict[str, float] = defaultdict(float)
        self.preemptible: Counter[int] = Counter()  # running jobs that may be asked to stop, by priority
        self._possible: dict[Request, bool] = {}
        for job in running:
            self.start(job)
        for name in excluded:
            self.exclude(name)

    def width_of(self, request: Request) -> float:
        """What fair shares count: GPUs, and cores where there are none."""
        return request.gpus if self.counts_gpus else request.cpus

    def start(self, run: Running) -> None:
        """Add a running job. ValueError unless it names a node for each bundle, or there is only one."""
        job = run.job
        nodes = run.nodes or tuple(self.nodes) * job.request.bundles
        if len(nodes) != job.request.bundles or job.id in self.running:
            raise ValueError(f"job {job.id!r} runs already, or {len(nodes)} nodes for {job.request.bundles} bundles")
        self._change(job.request, nodes, -1)
        self.running[job.id] = run = replace(run, nodes=nodes)
        insort(self.ends, (run.end, job.id))
        self.preemptible[job.priority] += job.preemptible
        width = self.width_of(job.request)
        self.width[job.user] += width
        self.width_started[job.user] += width * run.started

    def end(self, name: str) -> Running:
        """Take a job out, however it ended."""
        run = self.running.pop(name)
        self._change(run.job.request, run.nodes, 1)
        del self.ends[bisect_left(self.ends, (run.end, name))]
        self.preemptible[run.job.priority] -= run.job.preemptible
        width = self.width_of(run.job.request)
        self.width[run.job.user] -= width
        self.width_started[run.job.user] -= width * run.started
        return run

    def update(self, run: Running) -> None:
        """Replace what is known of a running job: when it was saved, or that it was asked to stop."""
        self.end(run.job.id)
        self.start(run)

    def exclude(self, name: str) -> None:
        """Start nothing more on a node."""
        if name not in self.excluded:
            self.excluded.add(name)
            self.free.drop(name)
            self._possible.clear()

    def include(self, name: str) -> None:
        """Take a node back."""
        self.excluded.remove(name)
        node = self.nodes[name]
        self.free.add(node, (node.cpus, node.gpus, node.engines))
        for run in self.running.values():
            here = sum(n == name for n in run.nodes)
            if here:
                self.free.change(name, part_of(run.job.request), -here)
        self._possible.clear()

    def possible(self, request: Request) -> bool:
        """Whether it would fit if nothing ran."""
        if request not in self._possible:
            usable = Free(node for node in self.nodes.values() if node.name not in self.excluded)
            self._possible[request] = usable.place(request) is not None
        return self._possible[request]

    def gpus(self, kind: str | None = None, with_excluded: bool = False) -> float:
        """All GPUs of a kind, busy or not."""
        return sum(
            node.gpus
            for node in self.nodes.values()
            if (kind is None or node.gpu_kind == kind) and (with_excluded or node.name not in self.excluded)
        )

    def _change(self, request: Request, nodes: tuple[str, ...], sign: int) -> None:
        part = part_of(request)
        for name, n in Counter(nodes).items():
            if name in self.free.of:
                self.free.change(name, part, sign * n)
            elif name not in self.nodes:
                raise ValueError(f"there is no node {name!r}")
