"""Where stages run and on what, and where results are shown: no field here changes what a result is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from s1sweep.spec.base import Where


class Endpoint(Where):
    """An OpenAI-compatible server that decodes in place of an engine of ours.

    `url` ends in /v1; `model` is its name of the weights, where it is not their own; `key_env` names the environment
    variable that holds its key. `device` is what it runs on: tokens may differ by it, so traces are kept apart by it.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^@?#\s]+$")]
    model: str | None
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None
    device: str | None
    at_once: Annotated[int, Field(ge=1, le=512)]
    timeout_s: Annotated[float, Field(gt=0)]
    max_tries: Annotated[int, Field(ge=1)]


class Placement(Where):
    """Where stages run and on what. Changing any of it changes no result's identity."""

    name: str
    root: str
    cluster: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
    backend: Literal["ray", "inprocess"]
    ray_address: str | None
    cpus: Annotated[int, Field(ge=1)] | None
    gpus: Annotated[int, Field(ge=0)]
    gpu_kind: str | None
    gpu_tflops: Annotated[float, Field(gt=0)]
    price_per_gpu_hour: Annotated[float, Field(ge=0)] | None
    train_workers: Annotated[int, Field(ge=1)]
    gpus_per_train_worker: Annotated[float, Field(ge=0)]
    gpus_per_engine: Annotated[int, Field(ge=0)]
    engines: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]
    gpu_memory_gb: Annotated[float, Field(gt=0)] | None
    train_strategy: Literal["ddp", "fsdp2"]
    gradient_checkpointing: bool
    cpu_offload: bool
    checkpoint_every: Annotated[int, Field(ge=1)] | None
    micro_batch: Annotated[int, Field(ge=1)] | None
    kv_cache_mb: Annotated[int, Field(ge=16)] | None
    max_retries: Annotated[int, Field(ge=0)]
    hang_after: Annotated[float, Field(gt=0)]
    shares: Mapping[str, Annotated[float, Field(gt=0)]] | None
    preempt_for_share: bool
    endpoint: Endpoint | None


class Tracking(Where):
    """The W&B mirror. `offline` writes local files and prints the sync command.

    A checkpoint that is not uploaded is still an artifact: a reference to where it lies.
    """

    mode: Literal["offline", "online", "none"]
    project: str
    entity: str | None
    samples_per_series: Annotated[int, Field(ge=0)]
    upload_checkpoints: bool
