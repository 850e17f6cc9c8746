"""How a source's columns become the rows of a pool, and what does not fit. Knows no rule and no stage."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from s1sweep.errors import UserError
from s1sweep.sources.raw import Raw
from s1sweep.spec import PoolSpec
from s1sweep.stages.rows import Entry, Row

__all__ = ["Checked", "Entry", "Reject", "Row"]  # rules that users wrote import Entry and Row from here


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
