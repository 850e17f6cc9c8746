"""Specs of training: the control arm without, and supervised fine-tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from s1sweep.spec.base import Spec


class NoTraining(Spec):
    """The control arm: the base model as it is."""

    kind: Literal["none"]


class SftSpec(Spec):
    """Supervised fine-tuning on thinking and answer only (s1 paper, appendix D). `steps` overrides `epochs`."""

    kind: Literal["sft"]
    epochs: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=1)] | None
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["cosine", "linear", "constant"]
    warmup_ratio: Annotated[float, Field(ge=0, le=1)]
    adam_betas: tuple[float, float]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(ge=0)]
    block_size: Annotated[int, Field(ge=8)]
    precision: Literal["float32", "bfloat16"]
    seed: Annotated[int, Field(ge=0)]
