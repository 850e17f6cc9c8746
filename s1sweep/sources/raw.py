"""Rows as a source holds them: JSON lines (optionally gzipped), parquet, or a hub data set; streamed, never whole.

Knows no column: `s1sweep/data/pool.py` makes rows of them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from s1sweep.errors import UserError
from s1sweep.sources import hub

Raw = dict[str, Any] | str  # a string is a line that is no JSON object


def read_raw(path: Path, field: str) -> Iterator[tuple[int, Raw]]:
    """Numbered rows of a JSONL or parquet file. Raises UserError naming `field` if it cannot be read."""
    if path.suffix == ".parquet":
        yield from enumerate(_parquet(path, field), 1)
        return
    for number, line in read_lines(path, field):
        try:
            row = json.loads(line)
        except ValueError:
            row = line
        yield number, row if isinstance(row, dict) else line


def read_lines(path: Path, field: str) -> Iterator[tuple[int, str]]:
    """Numbered non-blank lines of a text file, gzipped or not. Raises UserError naming `field` if it cannot be read."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, UnicodeDecodeError) as e:
        raise UserError(f"{field}={str(path)!r} cannot be read ({e}). Give a readable UTF-8 JSONL file.") from e


def read_jsonl(path: Path) -> list[dict]:
    """All objects of a JSONL file that s1sweep wrote itself."""
    return [json.loads(line) for _, line in read_lines(path, "file")]


def _parquet(path: Path, field: str) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as e:
        raise UserError(f"{field}={str(path)!r} needs pyarrow (pip install 's1sweep[analysis]').") from e
    try:
        # Small batches: a row group of long traces may take gigabytes as Python objects.
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
            yield from batch.to_pylist()
    except (OSError, ArrowException) as e:
        raise UserError(f"{field}={str(path)!r} cannot be read ({e}). Give a readable parquet file.") from e


def read_hub(name: str, subset: str | None, split: str, revision: str | None) -> Iterator[tuple[int, Raw]]:
    """Numbered rows of a hub data set, streamed. Raises UserError if it cannot be had."""
    yield from enumerate(hub.dataset_rows(name, revision, subset, split), 1)
