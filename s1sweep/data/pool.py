"""A row of a pool: its fields, how a source's columns become one, and what does not fit. Knows no rule and no stage."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from s1sweep.errors import UserError
from s1sweep.sources.raw import Raw, read_jsonl, read_lines
from s1sweep.spec import PoolSpec

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


@dataclass(frozen=True)
class Reject:
    """A row that does not fit: its number in the source, why, and enough of it to find it."""

    row: int
    reason: str
    raw: str


class Checked:
    """The rows of a source that fit, streamed; `rejects` are the others, `absent` the fields that no row had.

    A row without an id is named by its question: the first 16 hex digits of its sha256, as in s1. Raises UserError at
    the end if there are no rows or too many rejects, naming the first of them.
    """

    def __init__(self, raws: Iterable[tuple[int, Raw]], pool: PoolSpec, name: str) -> None:
        self._raws, self._pool, self._name = raws, pool, name
        self._had: set[str] = set()
        self._ids: dict[str, int] = {}
        self.rejects: list[Reject] = []
        self.count = 0

    @property
    def absent(self) -> list[str]:
        return [field for field in Row.model_fields if field not in self._had]

    def __iter__(self) -> Iterator[Row]:
        for number, raw in self._raws:
            self.count += 1
            try:
                yield self._fit(raw)
            except ValueError as e:
                self.rejects.append(Reject(number, _reason(e), _shown(raw)))
        self._judge()

    def _fit(self, raw: Raw) -> Row:
        if isinstance(raw, str):
            raise ValueError("malformed: not a JSON object")
        found = {field: value for field in Row.model_fields if (value := self._value(raw, field)) is not None}
        self._had |= found.keys()
        if not found.get("question"):
            raise ValueError(f"has no question: column {self._pool.columns.get('question', 'question')!r} is not there")
        if "id" not in found:
            name = hashlib.sha256(found["question"].encode()).hexdigest()[:16]
            self._ids[name] = again = self._ids.get(name, 0) + 1
            return Row.model_validate({**found, "id": name if again == 1 else f"{name}-{again}"})
        row = Row.model_validate(found)
        if row.id in self._ids:
            raise ValueError(f"repeats id {row.id!r}: ids must be unique")
        self._ids[row.id] = 1
        return row

    def _value(self, raw: Mapping[str, Any], field: str) -> Any:
        column = self._pool.columns.get(field, field)
        if column is None or column.startswith("="):
            return column and column[1:]
        value = raw[column] if column in raw else _reach(raw, column.split("."))
        if Row.model_fields[field].annotation in (str, str | None) and value is not None:
            return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        return value

    def _judge(self) -> None:
        if not self.count:
            raise UserError(f"{self._name} holds no rows. Give a pool with at least one.")
        if len(self.rejects) <= self._pool.max_rejects * self.count and len(self.rejects) < self.count:
            return
        first = "; ".join(f"row {reject.row} {reject.reason}" for reject in self.rejects[:3])
        raise UserError(
            f"{self._name}: {len(self.rejects)} of {self.count} rows do not fit "
            f"(pool.max_rejects={self._pool.max_rejects:g}): {first}. "
            "Mend or remove them, map their columns with pool.columns.FIELD=COLUMN, or raise pool.max_rejects."
        )


def _reach(value: Any, path: list[str]) -> Any:
    """A nested value; text on the way is read as JSON or, as s1's pools have it, as a Python literal."""
    for part in path:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                try:
                    value = ast.literal_eval(value)
                except (ValueError, SyntaxError):
                    return None
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return f"is malformed: {field + ': ' if field else ''}{first['msg'].removeprefix('Value error, ')}"


def _shown(raw: Raw) -> str:
    if isinstance(raw, str):
        return raw[:200].rstrip("\n")
    return str(raw["id"]) if raw.get("id") else json.dumps(raw, default=str, ensure_ascii=False)[:200]


__all__ = ["ROWS", "Checked", "Entry", "Reject", "Row", "entries", "entry", "read_jsonl", "read_lines", "rows_of"]
