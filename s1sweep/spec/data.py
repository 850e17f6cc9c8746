"""Specs of training data: pools, the steps that curate them, and the rules that choose from what is left."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from s1sweep import testbed
from s1sweep.spec.base import TESTBED, Excluded, Location, Name, Neutral, OnDisk, Spec
from s1sweep.spec.control import MethodSpec
from s1sweep.spec.model import ModelSpec, SamplingSpec

# What a row of a pool can hold; `pool.columns` maps these to the columns of a source.
ROW_FIELDS = (
    *("id", "question", "solution", "thinking", "answer", "domain", "source"),
    *("weak_correct", "strong_correct", "trace_correct", "trace_tokens"),
)
HubPart = Annotated[str | None, Excluded("hub@revision/subset/split is hashed as content instead")]


class PoolSpec(Spec):
    """Where training rows come from: `path` (JSONL, optionally .gz, or parquet), a `hub` data set, or, with neither,
    the packaged testbed pool.

    `columns` maps a field of a row to a column: dotted names reach into nested values, `=text` is that text in every
    row, null is absent. `max_rejects` is the share of rows that may fail to fit. It is not hashed: it decides whether
    the stage ends well, never what it writes. `rows` and `mean_trace_tokens` are what is expected of a pool that
    cannot be read while planning.
    """

    name: Annotated[Name, Excluded("a label; the content is hashed")]
    path: Location
    hub: HubPart
    subset: HubPart
    split: HubPart
    revision: HubPart
    columns: dict[str, str | None]
    max_rejects: Annotated[
        float, Excluded("decides whether the stage ends well, not what it writes"), Field(ge=0, le=1)
    ]
    rows: Annotated[int | None, Excluded("only used for estimates"), Field(ge=1)]
    mean_trace_tokens: Annotated[float | None, Excluded("only used for estimates"), Field(gt=0)]

    @field_validator("columns")
    @classmethod
    def _fields_of_a_row(cls, columns: dict[str, str | None]) -> dict[str, str | None]:
        unknown = sorted(set(columns) - set(ROW_FIELDS))
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is no field of a row; fields: {', '.join(ROW_FIELDS)}")
        return columns

    @model_validator(mode="after")
    def _one_origin(self) -> PoolSpec:
        if self.path is not None and self.hub is not None:
            raise ValueError("path and hub are both given; give one of them")
        if self.hub is not None and self.split is None:
            raise ValueError("split is missing beside hub; give one, say train")
        return self


# --- curation: steps in the order of CurationSpec, each a stage; null leaves one out --------------------------------


class DeduplicateSpec(Spec):
    """Keep the first row of each question, compared as exact text (the end of s1's data/collect_data.py)."""

    kind: Literal["deduplicate"]


class DecontaminateSpec(Spec):
    """Drop questions that share any `words`-gram with held-out ones (s1's data/decontaminate_util.py, 8 words).

    `against` is fixed here, whatever task a cell asks: packaged tasks by name, JSONL files by path, or hub data sets as
    `hub:owner/name[/subset]:split@commit`. `earlier_sources` also drops what shares one with a kept row of another
    source further up in the pool.
    """

    kind: Literal["decontaminate"]
    against: Annotated[
        tuple[str, ...], Excluded("the contents' digests are hashed instead"), OnDisk(packaged=testbed.TASKS)
    ]
    words: Annotated[int, Field(ge=1)]
    earlier_sources: bool


class LengthSpec(Spec):
    """Count `trace_tokens` anew. `tokenizer` is `testbed`, a directory, or a hub id with its `revision`."""

    kind: Literal["length"]
    tokenizer: Annotated[
        str,
        Excluded("the files' sha256 or the pinned revision is hashed instead"),
        OnDisk(packaged=(TESTBED,), folder=True),
    ]
    revision: HubPart


class QualitySpec(Spec):
    """Drop rows without one of `features`, and rows with broken format by s1's patterns, as `rule` applies them."""

    kind: Literal["quality"]
    rule: Literal["paper", "notebook"]
    features: tuple[str, ...]

    @field_validator("features")
    @classmethod
    def _fields_of_a_row(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(features) - set(ROW_FIELDS))
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is no field of a row; fields: {', '.join(ROW_FIELDS)}")
        return features


class DifficultySpec(Spec):
    """Drop what a weak or a strong model solves (s1 paper, section 2.2), by the pool's own labels."""

    kind: Literal["difficulty"]
    by: Literal["labels"]


# --- steps that ask a model


class AskSpec(Spec):
    """A model asked about every row, once. `prompt` holds {question}."""

    model: ModelSpec
    method: MethodSpec
    sampling: SamplingSpec
    prompt: str

    @field_validator("prompt")
    @classmethod
    def _has_question(cls, prompt: str) -> str:
        return _with_question(prompt)

    @field_validator("sampling")
    @classmethod
    def _is_one_answer(cls, sampling: SamplingSpec) -> SamplingSpec:
        if sampling.samples != 1:
            raise ValueError("samples must be 1: one answer a row is read")
        return sampling


class TracesSpec(Spec):
    """Let a teacher write thinking and answer of rows without a trace.

    `unfinished` is what becomes of a row whose thinking or answer was cut at a limit.
    """

    kind: Literal["traces"]
    teacher: AskSpec
    unfinished: Literal["drop", "keep"]


Codes = Annotated[dict[str, str], Field(min_length=1)]


class DomainsSpec(Spec):
    """Let a model classify rows: its answer ends in one of the `codes`, whose name becomes the row's domain.

    {domains} in the prompt is the list of codes.
    """

    kind: Literal["domains"]
    by: Literal["model"]
    classifier: AskSpec
    codes: Codes


class ServerDomainsSpec(Spec):
    """The same with an OpenAI-compatible server, at temperature 0. `key_env` names the environment variable that holds
    the key.
    """

    kind: Literal["domains"]
    by: Literal["server"]
    url: Annotated[str, Excluded("where the named model is served"), Field(pattern=r"^https?://")]
    model: Annotated[str, Field(min_length=1)]
    key_env: Annotated[str | None, Excluded("who pays makes no difference")]
    prompt: str
    codes: Codes
    max_tokens: Annotated[int, Field(ge=1)]
    at_once: Annotated[int, Excluded("how many requests are under way makes no difference"), Field(ge=1, le=1000)]
    max_tries: Annotated[int, Excluded("how often a failed request is sent makes no difference"), Field(ge=1)]
    timeout_s: Annotated[float, Excluded("how long one may take makes no difference"), Field(gt=0)]

    @field_validator("prompt")
    @classmethod
    def _has_question(cls, prompt: str) -> str:
        return _with_question(prompt)


class AttemptsSpec(Spec):
    """Drop what a weak or a strong model solves, by attempts of theirs, graded by each row's solution."""

    kind: Literal["difficulty"]
    by: Literal["attempts"]
    weak: AskSpec
    strong: AskSpec
    grader: Name


def _with_question(prompt: str) -> str:
    if "{question}" not in prompt:
        raise ValueError("prompt must contain {question}")
    return prompt


AnyDomains = Annotated[DomainsSpec | ServerDomainsSpec, Field(discriminator="by")]
AnyDifficulty = Annotated[DifficultySpec | AttemptsSpec, Field(discriminator="by")]
CurationStep = Annotated[
    DeduplicateSpec | DecontaminateSpec | TracesSpec | LengthSpec | AnyDomains | QualitySpec | AnyDifficulty,
    Field(discriminator="kind"),
]


def asks(step: Spec) -> dict[str, AskSpec]:
    """The models that a step asks, by the name of their field."""
    return {name: ask for name in type(step).model_fields if isinstance(ask := getattr(step, name), AskSpec)}


class CurationSpec(Spec):
    """The steps between a pool and a subset rule, in this order."""

    deduplicate: DeduplicateSpec | None
    decontaminate: DecontaminateSpec | None
    traces: Annotated[TracesSpec | None, Neutral(None)]
    length: LengthSpec | None
    domains: Annotated[AnyDomains | None, Neutral(None)]
    quality: QualitySpec | None
    difficulty: AnyDifficulty | None


# --- subsets --------------------------------------------------------------------------------------------------------


class DataSpec(Spec):
    """A subset rule with its size and selection seed (s1 paper, section 2, Table 2); `settings` are the rule's own.

    A rule of your own is `rule: path/to/file.py:name`.
    """

    rule: Name
    size: Annotated[int, Field(ge=1)] | None
    seed: Annotated[int, Field(ge=0)]
    settings: Annotated[dict[str, Any], Neutral({})] = Field(default_factory=dict)
    path: Location = None

    @model_validator(mode="before")
    @classmethod
    def _split_rule(cls, value: Any) -> Any:
        rule = value.get("rule") if isinstance(value, dict) else None
        if isinstance(rule, str) and ":" in rule:
            path, _, name = rule.rpartition(":")
            return {**value, "rule": name, "path": path}
        return value
