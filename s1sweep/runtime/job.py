"""What the scheduler hands to a backend, and what comes back. Plain data; knows no backend and no stage."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from s1sweep.runtime.preemption import heeding, mind
from s1sweep.spec import Endpoint, Spec

FailureKind = Literal["bug", "out_of_memory", "worker_lost", "hung", "preempted", "cancelled", "store"]


@dataclass(frozen=True)
class Task:
    """One stage to run. `inputs` maps names to the ids of finished stages."""

    id: str
    kind: str
    spec: Spec
    hashed: Mapping[str, Any]
    inputs: Mapping[str, str]


class Request(NamedTuple):
    """What a job occupies while it runs, in all: `bundles` equal parts, each of which must lie on one node.

    A job starts with all its bundles or not at all. `gpu_kind` names the GPUs it needs; None takes any.
    """

    cpus: float
    gpus: float = 0.0
    engines: float = 0.0
    bundles: int = 1
    gpu_kind: str | None = None


@dataclass(frozen=True)
class Resources:
    """What a stage may use. Never part of an identity."""

    threads: int = 1
    train_workers: int = 1
    gpus_per_train_worker: float = 0.0
    micro_batch: int | None = None
    halve_batch: bool = False  # an attempt ran out of memory: half the rows a pass, the same batch
    train_strategy: str = "ddp"
    gradient_checkpointing: bool = False
    cpu_offload: bool = False
    checkpoint_every: int | None = None
    gpus_per_engine: int = 0
    kv_cache_mb: int | None = None
    traces: str | None = None  # where decoded blocks are kept; None keeps none
    endpoint: Endpoint | None = None  # a server that decodes in place of an engine
    shard: tuple[int, int] | None = None  # decode this share of the questions: (number, of how many)
    nodes: tuple[str, ...] = ()  # where each rank of a training goes, as its backend calls nodes; empty: anywhere


@dataclass(frozen=True)
class Job:
    """Stages that run together in one worker: one training, one grading, or all that one engine session serves.

    `code` is a folder that comes first on the worker's path, or the URL of one that is to be brought first. `store` is
    the name of the store that the scheduler has at `root`.
    """

    id: str
    kind: str
    tasks: tuple[Task, ...]
    request: Request
    resources: Resources
    root: str
    store: str
    code: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How one stage of a job ended. A failure names its kind, a message and the log."""

    stage_id: str
    ok: bool
    failure: FailureKind | None = None
    message: str = ""
    log: str | None = None


RankFunction = Callable[[dict[str, Any]], None]
LaunchRanks = Callable[[RankFunction, dict[str, Any], Resources], None]


def launch_here(fn: RankFunction, config: dict[str, Any], resources: Resources) -> None:
    """Run a per-rank function as the only rank, in this process."""
    if resources.train_workers != 1:
        raise ValueError("placement.train_workers > 1 needs placement.backend=ray")
    before = mind()
    try:
        with heeding(config):
            fn(config)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class Item:
    """One stage as its own code sees it: a spec, finished inputs as directories, a directory to write."""

    spec: Any
    inputs: Mapping[str, Path]
    out: Path


@dataclass(frozen=True)
class Done:
    """What a stage says at its end: a summary that is part of the result, and what it cost, which is not."""

    summary: Mapping[str, Any]
    cost: Mapping[str, Any] = field(default_factory=dict)
