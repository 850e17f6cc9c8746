"""Specs of training: the control arm without, supervised fine-tuning, and GRPO after it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from s1sweep.spec.base import Name, Neutral, Spec


class NoTraining(Spec):
    """The control arm: the base model as it is."""

    kind: Literal["none"]


class LoraSpec(Spec):
    """Low-rank adapters (arXiv 2106.09685) on the modules named, or on every linear layer.

    They are merged into the checkpoint that decoding loads; `keep_adapter` also keeps them apart, in `adapter/`.
    """

    r: Annotated[int, Field(ge=1)]
    alpha: Annotated[int, Field(ge=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: tuple[str, ...] | Literal["all-linear"]
    keep_adapter: bool


class SftSpec(Spec):
    """Supervised fine-tuning on thinking and answer only (s1 paper, appendix D).

    `match` says what arms of different size have in common: passes over the rows, optimizer steps, or supervised
    tokens (those with loss). Left null, `steps` counts if given, else `epochs`. With `packing` a row of the batch is a
    block of whole examples; with `padding_free` rows are joined instead of padded.
    """

    kind: Literal["sft"]
    match: Annotated[Literal["epochs", "steps", "tokens"] | None, Neutral(None)]
    epochs: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=1)] | None
    tokens: Annotated[int | None, Field(ge=1), Neutral(None)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["cosine", "linear", "constant"]
    warmup_ratio: Annotated[float, Field(ge=0, le=1)]
    adam_betas: tuple[float, float]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(ge=0)]
    block_size: Annotated[int, Field(ge=8)]
    packing: Annotated[bool, Neutral(False)]
    padding_free: Annotated[bool, Neutral(False)]
    lora: Annotated[LoraSpec | None, Neutral(None)]
    precision: Literal["float32", "bfloat16"]
    seed: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _match_has_its_number(self) -> SftSpec:
        if self.match and getattr(self, self.match) is None:
            raise ValueError(f"match={self.match} needs {self.match}: give train.{self.match}=NUMBER")
        return self

    def canonical(self) -> SftSpec:
        """Without what the chosen match does not use, so that equal trainings are one stage.

        What `match: null` leaves unused stays, as the ids of old trainings hold it.
        """
        if self.match is None:
            return self
        unused = {"match": None, "epochs": 1.0, "steps": None, "tokens": None}
        used: dict[str, object] = {self.match: getattr(self, self.match)}
        if self.match == "tokens":
            used["match"] = "tokens"
        return self.model_copy(update=unused | used)


class GrpoSpec(Spec):
    """GRPO with a verifiable reward (arXiv 2402.03300), after fine-tuning as `sft` says or on the base model itself.

    A step draws `num_generations` completions, of at most `max_completion_length` tokens, to each of
    `prompts_per_step` questions of the subset; `beta` weighs the divergence from where it began.
    """

    kind: Literal["grpo"]
    sft: SftSpec | None
    grader: Name
    steps: Annotated[int, Field(ge=1)]
    prompts_per_step: Annotated[int, Field(ge=1)]
    num_generations: Annotated[int, Field(ge=2)]
    max_completion_length: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    beta: Annotated[float, Field(ge=0)]
    temperature: Annotated[float, Field(gt=0)]
    precision: Literal["float32", "bfloat16"]
    seed: Annotated[int, Field(ge=0)]
