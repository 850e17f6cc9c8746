"""How test-time compute is controlled: extrapolation, control methods, parallel samples, reward models.

A class per choice of `conf/method`, with its source. Knows nothing of how a method works: `s1sweep/decoding/methods/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from s1sweep.spec.base import Excluded, Name, Neutral, Spec
from s1sweep.spec.model import Weights


class ExtrapolationSpec(Spec):
    """What is appended, and how often, when the model tries to end its thinking (s1 paper, section 3.1).

    Several strings take turns. `temperature` and `frequency_penalty` change how the rounds after an ignored end are
    drawn.
    """

    string: str | tuple[str, ...]
    num_ignore: Annotated[int, Field(ge=0)]
    temperature: Annotated[float | None, Field(ge=0), Neutral(None)]
    frequency_penalty: Annotated[float, Field(ge=-2, le=2), Neutral(0.0)]

    @property
    def strings(self) -> tuple[str, ...]:
        return (self.string,) if isinstance(self.string, str) else self.string

    @model_validator(mode="after")
    def _has_a_string(self) -> ExtrapolationSpec:
        if not self.strings:
            raise ValueError("string must be a string or a list of at least one")
        return self


Tokens = Annotated[int, Field(ge=1)]
# auto: what the question's own prompt leaves of the context; auto_harness: what the task's longest prompt leaves.
Cap = Tokens | Literal["auto", "auto_harness"]
DataOrigin = Literal["own", "s1"]


class ForcedSpec(Spec):
    """What all methods that force budgets have in common. Units: tokens.

    Probes read the answer the model would give: after `probe_cuts` thinking tokens, and where an end is ignored.
    """

    dialect: Literal["s1_harness", "s1_readme", "exact_length"]
    max_thinking_tokens: Cap
    max_answer_tokens: Tokens
    forced_answer_prefix: str
    probe_cuts: Annotated[tuple[Tokens, ...], Neutral(())]
    probe_ends: Annotated[bool, Neutral(False)]


class BudgetForcingSpec(ForcedSpec):
    """Budget forcing (s1 paper, section 3.1)."""

    kind: Literal["budget_forcing"]


class TokenConditionalSpec(ForcedSpec):
    """Token-conditional control (s1 paper, appendix E.1): the prompt names a budget of `think_for` tokens."""

    kind: Literal["token_conditional"]
    think_for: Tokens
    prompt: str
    trained_on: DataOrigin


class StepConditionalSpec(ForcedSpec):
    """Step-conditional control (s1 paper, appendix E.1): the prompt names a number of steps, and each step counts down.

    `force_steps` ends the thinking where the countdown reaches 0. `separator` splits a training trace into steps.
    """

    kind: Literal["step_conditional"]
    think_for: Tokens
    prompt: str
    step_mark: Annotated[str, Field(min_length=1)]
    separator: Annotated[str, Field(min_length=1)]
    force_steps: bool
    trained_on: DataOrigin


class ClassConditionalSpec(ForcedSpec):
    """Class-conditional control (s1 paper, appendix E.2): the prompt asks for short or long thinking."""

    kind: Literal["class_conditional"]
    length: Literal["short", "long"]
    short: str
    long: str


class NoWaitSpec(ForcedSpec):
    """NoWait (arXiv 2506.08343): words of reflection are never drawn while thinking."""

    kind: Literal["nowait"]
    banned_words: Annotated[tuple[str, ...], Field(min_length=1)]


class RejectionSpec(Spec):
    """Rejection sampling (s1 paper, section 4.2): draw whole traces until one ends within the limit."""

    kind: Literal["rejection"]
    max_thinking_tokens: Tokens
    max_answer_tokens: Tokens
    max_tries: Annotated[int, Field(ge=1)]


class NoThinkingSpec(Spec):
    """NoThinking (arXiv 2504.09858): the thinking is filled in, so that the model answers at once."""

    kind: Literal["no_thinking"]
    thinking: str
    max_answer_tokens: Tokens


class NativeBudgetSpec(Spec):
    """vLLM's own thinking budget, for comparison: the engine forces the end of thinking within one request."""

    kind: Literal["vllm_native"]
    max_thinking_tokens: Tokens
    max_answer_tokens: Tokens


class SetsSpec(ForcedSpec):
    """SETS (arXiv 2501.19306): the model checks its answer, and corrects it, for at most `rounds` rounds."""

    kind: Literal["sets"]
    rounds: Annotated[int, Field(ge=0)]
    verify: str
    correct: str
    accept: str
    reject: str


class RebaseSpec(Spec):
    """REBASE (arXiv 2408.00724): a tree of steps, widened where a reward model scores high."""

    kind: Literal["rebase"]
    width: Annotated[int, Field(ge=1)]
    balance: Annotated[float, Field(gt=0)]
    step_stop: Annotated[tuple[str | int, ...], Field(min_length=1)]
    max_step_tokens: Tokens
    max_thinking_tokens: Tokens
    max_answer_tokens: Tokens
    forced_answer_prefix: str


MethodSpec = Annotated[
    BudgetForcingSpec
    | TokenConditionalSpec
    | StepConditionalSpec
    | ClassConditionalSpec
    | NoWaitSpec
    | RejectionSpec
    | NoThinkingSpec
    | NativeBudgetSpec
    | SetsSpec
    | RebaseSpec,
    Field(discriminator="kind"),
]
# What a user turns to spend more or less compute: cells that differ in these alone are one curve.
COMPUTE = (
    ("method", "max_thinking_tokens"),
    ("method", "think_for"),
    ("method", "length"),
    ("method", "rounds"),
    ("method", "width"),
    ("extrapolation", "num_ignore"),
    ("parallel", "n"),
)


def forced_on_top(method: Mapping[str, Any]) -> bool:
    """Whether conditional control, given as plain values, has budget forcing on top: TCC + BF, SCC + BF."""
    conditional = method["kind"] in ("token_conditional", "step_conditional", "class_conditional")
    return conditional and (isinstance(method["max_thinking_tokens"], int) or method.get("force_steps", False))


class ParallelSpec(Spec):
    """How `n` samples become one answer (parallel scaling). Each result is over `n` samples of its own.

    majority: most votes. weighted: most weight: the reward model's score, or `length`, which is votes / ln(mean
    thinking tokens) (arXiv 2502.12215). shortest: majority of the `m` that thought least (short-m@k, arXiv 2505.17813).
    best: the highest score. Ties share the credit.
    """

    rule: Literal["none", "majority", "weighted", "shortest", "best"]
    n: Annotated[int, Field(ge=1)]
    weight: Literal["score", "length"]
    m: Annotated[int, Field(ge=1)]

    @property
    def scored(self) -> bool:
        return self.rule == "best" or (self.rule == "weighted" and self.weight == "score")


class TrainingFormat(Spec):
    """A training format of its own that a method needs (s1 paper, appendix E.1)."""

    kind: Literal["token_conditional", "step_conditional"]
    prompt: str
    step_mark: str
    separator: str


class ScorerSpec(Spec):
    """A process reward model: a causal LM that reads `prompt`, then each step followed by `tag`, and says after each
    tag whether the step is `good` or `bad` (as in Math-Shepherd, arXiv 2312.08935).

    A step ends after any of the `separators`. `aggregate` makes one score of the steps'.
    """

    name: Annotated[Name, Excluded("a label; the weights' sha256 or the pinned revision is hashed")]
    source: Weights
    revision: str | None
    parameters: Annotated[float, Excluded("only used for estimates"), Field(gt=0)]
    prompt: Annotated[str, Field(min_length=1)]
    separators: Annotated[tuple[str, ...], Field(min_length=1)]
    tag: Annotated[str, Field(min_length=1)]
    good: Annotated[str, Field(min_length=1)]
    bad: Annotated[str, Field(min_length=1)]
    aggregate: Literal["last", "min", "mean", "prod"]
    dtype: Literal["float32", "bfloat16", "float16"]
    max_model_len: Annotated[int, Field(ge=16)]
    trust_remote_code: bool
    engine_args: dict[str, str | int | float | bool | None]
