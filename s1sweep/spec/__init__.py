"""What defines a result (specs) and where it is made (placement, tracking). Two types that never mix.

A `Spec` is frozen and typed, and identity hashes all of it. Three annotations change how a field enters the hash, and
nothing else does:
`Excluded(reason)` keeps it out (say, a path whose sha256 is hashed instead); `Neutral(value)` leaves the hash of older
results alone while the field equals `value`, so a field can be added later.
A `Where` is never hashed; the hash function refuses it.

This module knows no file, no framework and no default: defaults live in conf/.
"""

from __future__ import annotations

# fmt: off
# ruff: noqa: I001
from s1sweep.spec.base import Excluded, Neutral, Spec, Where
from s1sweep.spec.cell import CellConfig, CellSpec
from s1sweep.spec.claim import Claim
from s1sweep.spec.control import (
    COMPUTE, BudgetForcingSpec, Cap, ExtrapolationSpec, ForcedSpec, MethodSpec, ParallelSpec, RebaseSpec,
    ScorerSpec, TrainingFormat,
)
from s1sweep.spec.data import (
    AskSpec, AttemptsSpec, CurationSpec, CurationStep, DataSpec, DecontaminateSpec, DomainsSpec, LengthSpec,
    PoolSpec, ServerDomainsSpec, TracesSpec,
)
from s1sweep.spec.model import DelimiterSpec, ModelSpec, SamplingSpec
from s1sweep.spec.placement import Endpoint, Placement, Tracking
from s1sweep.spec.stages import (
    CurateStage, DecodeStage, GradeStage, GrpoStage, PoolStage, SelectStage, StageSpec, TrainStage,
)
from s1sweep.spec.task import RowsSpec, TaskSpec
from s1sweep.spec.training import GrpoSpec, LoraSpec, NoTraining, SftSpec

__all__ = [
    "COMPUTE", "AskSpec", "AttemptsSpec", "BudgetForcingSpec", "Cap", "CellConfig", "CellSpec", "Claim",
    "CurateStage", "CurationSpec", "CurationStep", "DataSpec", "DecodeStage", "DecontaminateSpec", "DelimiterSpec",
    "DomainsSpec", "Endpoint", "Excluded", "ExtrapolationSpec", "ForcedSpec", "GradeStage", "GrpoSpec", "GrpoStage",
    "LengthSpec", "LoraSpec", "MethodSpec", "ModelSpec", "Neutral", "NoTraining", "ParallelSpec", "Placement",
    "PoolSpec", "PoolStage", "RebaseSpec", "RowsSpec", "SamplingSpec", "ScorerSpec", "SelectStage",
    "ServerDomainsSpec", "SftSpec", "Spec", "StageSpec", "TaskSpec", "TracesSpec", "Tracking", "TrainStage",
    "TrainingFormat", "Where",
]
# fmt: on
