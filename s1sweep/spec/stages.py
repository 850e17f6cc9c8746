"""What each kind of stage is defined by: exactly what its output depends on, beside its inputs."""

from __future__ import annotations

from typing import Annotated

from s1sweep.spec.base import Neutral, Spec
from s1sweep.spec.control import ExtrapolationSpec, MethodSpec, ParallelSpec, ScorerSpec, TrainingFormat
from s1sweep.spec.data import CurationStep, DataSpec, PoolSpec
from s1sweep.spec.model import ModelSpec, SamplingSpec
from s1sweep.spec.task import RowsSpec, TaskSpec
from s1sweep.spec.training import GrpoSpec, SftSpec


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
