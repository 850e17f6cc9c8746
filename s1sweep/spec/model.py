"""Specs of a model that decodes: its chat format, and how tokens are drawn from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from s1sweep.spec.base import TESTBED, Excluded, Name, Neutral, OnDisk, Spec


class DelimiterSpec(Spec):
    """How a model family marks thinking. Strings of the chat format; stops must each be one token, or its id.

    `think_end` is empty in models that do not mark the end of thinking (LIMO): their answer is the end of the thinking.
    """

    think_start: str
    think_end: str
    think_stop: tuple[str | int, ...]
    answer_stop: tuple[str | int, ...]


Weights = Annotated[
    str,
    Excluded("the weights' sha256 or the pinned revision is an input of the stage instead"),
    OnDisk(packaged=(TESTBED,), folder=True),
]


class ModelSpec(Spec):
    """A base model. `source` is `testbed`, a local directory, or a hub id (which then needs a pinned `revision`)."""

    name: Annotated[Name, Excluded("a label; the weights' sha256 or the pinned revision is hashed")]
    source: Weights
    revision: str | None
    parameters: Annotated[float, Excluded("only used for estimates"), Field(gt=0)]
    delimiters: DelimiterSpec
    system_prompt: Annotated[str | None, Neutral(None)]
    dtype: Literal["float32", "bfloat16", "float16"]
    max_model_len: Annotated[int, Field(ge=16)]
    trust_remote_code: bool
    engine_args: dict[str, str | int | float | bool | None]


# Sampling parameters of vLLM that would break decoding by blocks, or that other fields set.
OWN_PARAMS = {
    *("n", "seed", "temperature", "top_p", "max_tokens", "min_tokens", "stop", "stop_token_ids", "ignore_eos"),
    *("detokenize", "output_kind", "logprobs", "prompt_logprobs", "include_stop_str_in_output"),
    *("thinking_token_budget", "logit_bias"),
}


class SamplingSpec(Spec):
    """How tokens are drawn. `temperature: 0` is greedy; `replicate` asks for fresh, never reused, traces.

    `params` are further sampling parameters of vLLM, by name.
    """

    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    samples: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)]
    replicate: Annotated[int, Field(ge=0)]
    params: Annotated[dict[str, int | float | bool], Neutral({})]

    @model_validator(mode="after")
    def _params_are_not_ours(self) -> SamplingSpec:
        taken = sorted(OWN_PARAMS & set(self.params))
        if taken:
            raise ValueError(f"params must not hold {', '.join(taken)}: s1sweep sets them itself")
        return self

    @model_validator(mode="after")
    def _greedy_is_one_sample(self) -> SamplingSpec:
        if self.temperature == 0 and self.samples > 1:
            raise ValueError("samples must be 1 when temperature is 0: greedy copies are not samples")
        return self
