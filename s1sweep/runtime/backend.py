"""The three verbs of a backend, and the backend that is this process."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, Protocol

from s1sweep.errors import SweepFailed, UserError
from s1sweep.policy import Capacity, Node
from s1sweep.runtime.job import Job, StageOutcome
from s1sweep.runtime.worker import execute
from s1sweep.stages.contract import RankFunction
from s1sweep.stages.preemption import on_sigterm, watching_stop_file
from s1sweep.stages.resources import Resources
from s1sweep.store import Failure, FailureKind

Handle = str


class ClusterLost(SweepFailed):
    """The node through which this process reached its cluster is gone. What finished is kept; only a new process can
    reach the cluster again.
    """


class Backend(Protocol):
    """Carries jobs to workers. Knows nothing of plans and records."""

    capacity: Capacity  # of all nodes together

    def nodes(self) -> list[Node]:
        """The nodes that are there now."""
        ...

    def submit(self, job: Job, nodes: Sequence[str] = ()) -> Handle:
        """Start a job, a bundle on each of these nodes; with none named, where there is room."""
        ...

    def wait_any(self, handles: Sequence[Handle], timeout: float) -> list[tuple[Handle, list[StageOutcome]]]:
        """Jobs that ended, at least one unless `timeout` seconds pass. A lost worker is an outcome of its stages."""
        ...

    def cancel(self, handle: Handle) -> None:
        """Stop a job at once; it never comes back from `wait_any`."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def lost(job: Job, message: str, kind: FailureKind = "worker_lost") -> list[StageOutcome]:
    """Outcomes of a job whose worker went away without a word."""
    return [StageOutcome(task.id, Failure(kind=kind, message=message)) for task in job.tasks]


def check_capacity(capacity: Capacity, cpus: float, gpus: float) -> None:
    """Raise UserError if one job asks for more than the whole cluster has."""
    if gpus > capacity.gpus:
        raise UserError(
            f"placement asks for {gpus:g} GPUs for one job, the cluster has {capacity.gpus:g}. Lower "
            "placement.gpus_per_engine or gpus_per_train_worker x train_workers, or use another cluster."
        )
    if cpus > capacity.cpus:
        raise UserError(
            f"placement asks for {cpus:g} CPUs for one job, the cluster has {capacity.cpus:g}. "
            "Lower placement.threads or placement.train_workers."
        )


def launch_here(fn: RankFunction, config: dict[str, Any], resources: Resources) -> None:
    """Run a per-rank function as the only rank, in this process."""
    if resources.train_workers != 1:
        raise ValueError("placement.train_workers > 1 needs placement.backend=ray")
    before = on_sigterm()
    try:
        with watching_stop_file(config):
            fn(config)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


class InProcessBackend:
    """Runs one job at a time in this process, when someone waits for it."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self._jobs: dict[Handle, Job] = {}

    def nodes(self) -> list[Node]:
        return [self.capacity]

    def submit(self, job: Job, nodes: Sequence[str] = ()) -> Handle:
        self._jobs[job.id] = job
        return job.id

    def wait_any(self, handles: Sequence[Handle], timeout: float) -> list[tuple[Handle, list[StageOutcome]]]:
        for handle in handles:
            if handle in self._jobs:
                return [(handle, execute(self._jobs.pop(handle), launch_here, own_process=False))]
        return []

    def cancel(self, handle: Handle) -> None:
        self._jobs.pop(handle, None)

    def close(self) -> None:
        self._jobs.clear()
