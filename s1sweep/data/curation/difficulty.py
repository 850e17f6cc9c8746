"""Difficulty filter of s1 (paper, section 2.2): what a weak or a strong model solves is too easy.

By the pool's own labels, or by attempts, whose grades become the labels. A row without both labels goes too: nobody
knows that it is hard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from s1sweep.data.curation.replies import Said, labels
from s1sweep.spec.data import AttemptsSpec, DifficultySpec
from s1sweep.stages.rows import Row

VERSION = 1
PLANNED = True
TELLS: tuple[str, ...] = ("weak_correct", "strong_correct")


def tell(spec: AttemptsSpec, rows: Iterable[Row], said: Said) -> Iterator[Row]:
    """Rows with the attempts' grades as their labels, whatever labels they had."""
    weak, strong = (labels(said.by[who]) for who in ("weak", "strong"))
    for row in rows:
        yield row.model_copy(update={"weak_correct": weak.get(row.id), "strong_correct": strong.get(row.id)})


def judge(spec: DifficultySpec | AttemptsSpec, rows: Iterable[Row]) -> Iterator[tuple[Row, str | None]]:
    """Drops what either attempt solved."""
    unknown = "no label" if isinstance(spec, DifficultySpec) else "no solution to grade by"
    for row in rows:
        solved = [name for name, right in (("weak", row.weak_correct), ("strong", row.strong_correct)) if right]
        if solved:
            yield row, f"solved by {' and '.join(solved)}"
        else:
            yield row, unknown if row.weak_correct is None or row.strong_correct is None else None
