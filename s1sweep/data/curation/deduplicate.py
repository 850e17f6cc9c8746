"""Exact deduplication on the question's text: the first row of each stays (the end of s1's data/collect_data.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from s1sweep.spec.data import DeduplicateSpec
from s1sweep.stages.rows import Row

VERSION = 1
PLANNED = True


def judge(spec: DeduplicateSpec, rows: Iterable[Row]) -> Iterator[tuple[Row, str | None]]:
    """Drops every later row of a question."""
    seen: set[bytes] = set()
    for row in rows:
        name = hashlib.sha256(row.question.encode()).digest()
        yield row, "repeats a question" if name in seen else None
        seen.add(name)
