"""Specs of training data: pools, the steps that curate them, and the rules that choose from what is left."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from s1sweep.spec.base import Excluded, Location, Name, Neutral, Spec

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
    against: Annotated[tuple[str, ...], Excluded("the contents' digests are hashed instead")]
    words: Annotated[int, Field(ge=1)]
    earlier_sources: bool


class LengthSpec(Spec):
    """Count `trace_tokens` anew. `tokenizer` is `testbed`, a directory, or a hub id with its `revision`."""

    kind: Literal["length"]
    tokenizer: Annotated[str, Excluded("the files' sha256 or the pinned revision is hashed instead")]
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


CurationStep = Annotated[
    DeduplicateSpec | DecontaminateSpec | LengthSpec | QualitySpec | DifficultySpec, Field(discriminator="kind")
]


class CurationSpec(Spec):
    """The steps between a pool and a subset rule, in this order."""

    deduplicate: DeduplicateSpec | None
    decontaminate: DecontaminateSpec | None
    length: LengthSpec | None
    quality: QualitySpec | None
    difficulty: DifficultySpec | None


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
