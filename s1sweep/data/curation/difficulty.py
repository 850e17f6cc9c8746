"""Difficulty filter of s1 (paper, section 2.2): what a weak or a strong model solves is too easy.

By the pool's own labels. A row without both labels goes too: nobody knows that it is hard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from s1sweep.data.pool import Row
from s1sweep.spec.data import DifficultySpec

VERSION = 1
PLANNED = True


def judge(spec: DifficultySpec, rows: Iterable[Row]) -> Iterator[tuple[Row, str | None]]:
    """Drops what either attempt solved."""
    for row in rows:
        solved = [name for name, right in (("weak", row.weak_correct), ("strong", row.strong_correct)) if right]
        if solved:
            yield row, f"solved by {' and '.join(solved)}"
        else:
            yield row, "no label" if row.weak_correct is None or row.strong_correct is None else None
