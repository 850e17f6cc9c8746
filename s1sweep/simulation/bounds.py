"""What no schedule can beat, whatever its policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor

from s1sweep.policy import Node
from s1sweep.simulation.work import SimulatedWork, critical_paths


def lower_bound(work: Sequence[SimulatedWork], nodes: Node | Sequence[Node]) -> dict[str, float]:
    """Seconds that all of the work takes at least where nothing fails; `bound` is the greatest of the others.

    critical_path: the longest chain, from submission, start-up included. gpus, cpus: work by what there is, over all
    and for each kind of GPU by itself. bundles: what a node can hold at once (one bundle of 5 GPUs on a node of 8).
    gangs: how many gangs of such a size fit into the cluster at once.
    """
    listed = [nodes] if isinstance(nodes, Node) else list(nodes)
    path = critical_paths(work)
    found = {
        "critical_path": max((job.submitted + path[job.id] for job in work), default=0.0),
        "cpus": _over(work, sum(n.cpus for n in listed), lambda j: j.request.cpus),
        "gpus": 0.0,
        "bundles": 0.0,
        "gangs": 0.0,
    }
    for kind in {job.request.gpu_kind for job in work} | {None}:
        mine = [job for job in work if job.request.gpus and kind in (None, job.request.gpu_kind)]
        here = [node for node in listed if kind in (None, node.gpu_kind)]
        total = sum(node.gpus for node in here)
        found["gpus"] = max(found["gpus"], _over(mine, total, lambda j: j.request.gpus))
        for part in {job.request.gpus / job.request.bundles for job in mine}:
            wide = [job for job in mine if job.request.gpus / job.request.bundles >= part]
            slots = sum(floor(node.gpus / part + 1e-9) for node in here)
            found["bundles"] = max(found["bundles"], _over(wide, slots, lambda j: j.request.bundles))
        for gpus in {job.request.gpus for job in mine}:
            wide = [job for job in mine if job.request.gpus >= gpus]
            found["gangs"] = max(found["gangs"], _over(wide, floor(total / gpus + 1e-9), lambda j: 1.0))
    return {**found, "bound": max(found.values())}


def _over(work: Sequence[SimulatedWork], slots: float, width: Callable[[SimulatedWork], float]) -> float:
    seconds = sum((job.startup + job.seconds) * width(job) for job in work)
    if seconds and not slots:
        raise ValueError(f"{work[0].id!r} asks for {work[0].request}, which these nodes do not have")
    return seconds / slots if seconds else 0.0
