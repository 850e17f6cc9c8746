"""What defines a result (specs) and where it is made (placement, tracking). Two types that never mix.

A `Spec` is frozen and typed, and identity hashes all of it. Three annotations change how a field enters the hash, and
nothing else does:
`Excluded(reason)` keeps it out (say, a path whose sha256 is hashed instead); `Neutral(value)` leaves the hash of older
results alone while the field equals `value`, so a field can be added later.
A `Where` is never hashed; the hash function refuses it.

This module knows no file, no framework and no default: defaults live in conf/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from s1sweep.spec.base import Excluded, Neutral, Spec, Where
from s1sweep.spec.claim import Claim
from s1sweep.spec.control import (
    COMPUTE,
    BudgetForcingSpec,
    Cap,
    ExtrapolationSpec,
    ForcedSpec,
    MethodSpec,
    ParallelSpec,
    RebaseSpec,
    ScorerSpec,
    TrainingFormat,
)
from s1sweep.spec.data import (
    AskSpec,
    AttemptsSpec,
    CurationSpec,
    CurationStep,
    DataSpec,
    DecontaminateSpec,
    DomainsSpec,
    LengthSpec,
    PoolSpec,
    ServerDomainsSpec,
    TracesSpec,
)
from s1sweep.spec.model import DelimiterSpec, ModelSpec, SamplingSpec
from s1sweep.spec.task import RowsSpec, TaskSpec
from s1sweep.spec.training import GrpoSpec, LoraSpec, NoTraining, SftSpec


class CellSpec(Spec):
    """One point of a grid: the full definition of one number in a table."""

    pool: PoolSpec
    curation: CurationSpec
    data: DataSpec
    extrapolation: ExtrapolationSpec
    method: MethodSpec
    parallel: ParallelSpec
    scorer: ScorerSpec
    model: ModelSpec
    train: Annotated[NoTraining | SftSpec | GrpoSpec, Field(discriminator="kind")]
    task: TaskSpec
    sampling: SamplingSpec


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


class CellConfig(Where):
    """A composed config: one cell, where to run it, and the sweep it belongs to."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")] | None
    notes: str
    tags: tuple[str, ...]
    claims: tuple[Claim, ...]
    objective: Literal["accuracy", "mean_thinking_tokens"]
    cell: CellSpec
    placement: Placement
    tracking: Tracking
    choices: dict[str, str]
    overrides: tuple[str, ...]


# --- stages: what one unit of work is defined by ---------------------------------------------------------------------


class PoolStage(Spec):
    """Read a pool's source into checked rows."""

    pool: PoolSpec


class CurateStage(Spec):
    """One step of curation over the rows of the `rows` input."""

    step: CurationStep


class SelectStage(Spec):
    """Choose training rows among those of the `rows` input."""

    data: DataSpec


class TrainStage(Spec):
    """Fine-tune `model` on the rows of the `data` input, written in s1's format or in another."""

    model: ModelSpec
    train: SftSpec
    format: Annotated[TrainingFormat | None, Neutral(None)] = None


class GrpoStage(Spec):
    """Train `model`, or the `checkpoint` input if there is one, on the questions of the `data` input."""

    model: ModelSpec
    train: GrpoSpec


class DecodeStage(Spec):
    """Decode one task with one checkpoint under one method; `sampling.samples` counts those of every parallel vote."""

    model: ModelSpec
    task: TaskSpec | RowsSpec
    method: MethodSpec
    extrapolation: ExtrapolationSpec
    sampling: SamplingSpec
    scorer: Annotated[ScorerSpec | None, Neutral(None)] = None


class GradeStage(Spec):
    """Grade the readouts of the `decode` input, each or as parallel samples of one answer."""

    task: TaskSpec | RowsSpec
    parallel: Annotated[ParallelSpec | None, Neutral(None)] = None


StageSpec = PoolStage | CurateStage | SelectStage | TrainStage | GrpoStage | DecodeStage | GradeStage
STAGE_TYPES: dict[str, type[StageSpec]] = {
    "pool": PoolStage,
    "curate": CurateStage,
    "select": SelectStage,
    "train": TrainStage,
    "decode": DecodeStage,
    "grade": GradeStage,
}

__all__ = [
    "COMPUTE", "STAGE_TYPES", "AskSpec", "AttemptsSpec", "BudgetForcingSpec", "Cap", "CellConfig", "CellSpec", "Claim",
    "CurateStage", "CurationSpec", "CurationStep", "DataSpec", "DecodeStage", "DecontaminateSpec", "DelimiterSpec",
    "DomainsSpec", "Endpoint", "Excluded", "ExtrapolationSpec", "ForcedSpec", "GradeStage", "GrpoSpec", "GrpoStage",
    "LengthSpec", "LoraSpec", "MethodSpec", "ModelSpec", "Neutral", "NoTraining", "ParallelSpec", "Placement",
    "PoolSpec", "PoolStage", "RebaseSpec", "RowsSpec", "SamplingSpec", "ScorerSpec", "SelectStage",
    "ServerDomainsSpec", "SftSpec", "Spec", "StageSpec", "TaskSpec", "TracesSpec", "Tracking", "TrainStage",
    "TrainingFormat", "Where",
]  # fmt: skip
