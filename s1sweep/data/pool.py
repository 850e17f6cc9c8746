"""Rows of a pool, read and checked. A pool is JSON lines, optionally gzipped; knows no subset rule."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s1sweep.errors import UserError


class Row(BaseModel):
    """One question with a worked solution, as in the s1 pool. `trace_tokens` counts `thinking` by the pool's
    tokenizer.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    solution: str | None
    thinking: str
    answer: str = Field(min_length=1)
    domain: str | None
    source: str
    weak_correct: bool | None
    strong_correct: bool | None
    trace_tokens: int = Field(ge=0)


def read_pool(path: Path) -> Iterator[Row]:
    """Rows in file order. Raises UserError naming file, row number and reason on a malformed row or an empty pool."""
    count, seen = 0, set()
    for number, line in read_lines(path, "pool.path"):
        try:
            row = Row.model_validate_json(line)
        except ValidationError as e:
            first = e.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the row"
            raise UserError(
                f"pool.path={str(path)!r}: row {number} is malformed: {field}: {first['msg']}. "
                f"A row needs {', '.join(Row.model_fields)}. Mend or remove the row."
            ) from e
        if row.id in seen:
            raise UserError(f"pool.path={str(path)!r}: row {number} repeats id {row.id!r}. Ids must be unique.")
        seen.add(row.id)
        count += 1
        yield row
    if not count:
        raise UserError(f"pool.path={str(path)!r} holds no rows. Give a pool with at least one.")


def read_lines(path: Path, field: str) -> Iterator[tuple[int, str]]:
    """Numbered non-blank lines of a text file, gzipped or not. Raises UserError naming `field` if it cannot be read."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"{field}={str(path)!r} cannot be read ({e}). Give a readable UTF-8 JSONL file.") from e


def read_jsonl(path: Path) -> list[dict]:
    """All objects of a JSONL file that s1sweep wrote itself."""
    return [json.loads(line) for _, line in read_lines(path, "file")]
