"""What a stage may use, and what a job of its kind occupies while it runs. Never part of an identity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from s1sweep.policy import Request
from s1sweep.spec import Endpoint, Placement


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


def resources(placement: Placement, root: Path) -> Resources:
    """What a stage may use under this placement, in the store at `root`."""
    return Resources(
        threads=placement.threads,
        train_workers=placement.train_workers,
        gpus_per_train_worker=placement.gpus_per_train_worker,
        micro_batch=placement.micro_batch,
        train_strategy=placement.train_strategy,
        gradient_checkpointing=placement.gradient_checkpointing,
        cpu_offload=placement.cpu_offload,
        checkpoint_every=placement.checkpoint_every,
        gpus_per_engine=placement.gpus_per_engine,
        kv_cache_mb=placement.kv_cache_mb,
        traces=str(root / "traces"),
        endpoint=placement.endpoint,
    )


def _train(here: Placement) -> Request:
    n = here.train_workers
    gpus = here.gpus_per_train_worker * n
    return Request(here.threads * n, gpus, bundles=n, gpu_kind=here.gpu_kind if gpus else None)


def _decode(here: Placement) -> Request:
    return Request(here.threads, here.gpus_per_engine, 1, gpu_kind=here.gpu_kind if here.gpus_per_engine else None)


REQUESTS: dict[str, Callable[[Placement], Request]] = {"train": _train, "decode": _decode}


def request(kind: str, placement: Placement) -> Request:
    """What a job of this kind occupies: one core, unless it is known to take more."""
    return REQUESTS[kind](placement) if kind in REQUESTS else Request(1)
