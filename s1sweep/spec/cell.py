"""A cell: the full definition of one number, and the composed config around it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from s1sweep.spec.base import Spec, Where
from s1sweep.spec.claim import Claim
from s1sweep.spec.control import ExtrapolationSpec, MethodSpec, ParallelSpec, ScorerSpec
from s1sweep.spec.data import CurationSpec, DataSpec, PoolSpec
from s1sweep.spec.model import ModelSpec, SamplingSpec
from s1sweep.spec.placement import Placement, Tracking
from s1sweep.spec.task import TaskSpec
from s1sweep.spec.training import GrpoSpec, NoTraining, SftSpec


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
