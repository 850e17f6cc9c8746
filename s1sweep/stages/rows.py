"""The rows of a pool as stages hand them on: one JSON object a line, checked when it was written.

Knows no source, no rule and no step of curation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

ROWS = "rows.jsonl"


class Row(BaseModel):
    """One question with a worked solution, as in the s1 pool.

    `solution` is the reference, `answer` what is trained on after `thinking`; `trace_tokens` is the length of
    `thinking` by some tokenizer; `trace_correct` says whether `answer` is right, the other two whether a weak and a
    strong model solved the question.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    solution: str | None = None
    thinking: str = ""
    answer: str = ""
    domain: str | None = None
    source: str = "unknown"
    weak_correct: bool | None = None
    strong_correct: bool | None = None
    trace_correct: bool | None = None
    trace_tokens: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _answered(self) -> Row:
        if self.thinking.strip() and not self.answer.strip():
            raise ValueError("answer is missing beside a trace")
        return self


@dataclass(frozen=True, slots=True)
class Entry:
    """What rules see of a row; `read` brings the whole row, which may be long."""

    id: str
    source: str
    domain: str | None
    trace_tokens: int | None
    weak_correct: bool | None
    strong_correct: bool | None
    trace_correct: bool | None
    traced: bool
    question_chars: int
    read: Callable[[], Row]


LIGHT = ("id", "source", "domain", "trace_tokens", "weak_correct", "strong_correct", "trace_correct")


def entry(row: Mapping[str, Any], read: Callable[[], Row]) -> Entry:
    """The light part of a row given as plain values."""
    traced, chars = bool(row["thinking"].strip()), len(row["question"])
    return Entry(**{name: row[name] for name in LIGHT}, traced=traced, question_chars=chars, read=read)


def entries(path: Path) -> Iterator[Entry]:
    """The rows of a file that s1sweep wrote, in order, each to be read again from where it stands in the file."""
    offset = 0
    with path.open("rb") as f:
        for line in f:
            yield entry(json.loads(line), partial(_read_at, path, offset))
            offset += len(line)


def _read_at(path: Path, offset: int) -> Row:
    with path.open("rb") as f:
        f.seek(offset)
        return Row.model_validate_json(f.readline())


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a file that s1sweep wrote, in order."""
    with path.open("rb") as f:
        yield from map(Row.model_validate_json, f)
