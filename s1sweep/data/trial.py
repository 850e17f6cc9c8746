"""What curation would leave of a small local pool, found while planning, so that a size that is too large stops early.

The same readers and steps as the stages', without files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from s1sweep.data import ingest
from s1sweep.data.curation import STEPS
from s1sweep.sources import pool_file
from s1sweep.spec import CurationStep, PoolSpec
from s1sweep.spec.data import asks
from s1sweep.stages.rows import Entry, Row, entry

LARGEST = 64 << 20  # bytes of a pool that is still read while planning
PACKED = 4  # times that a compressed file is smaller than its rows


def rows_after_steps(pool: PoolSpec, steps: Sequence[CurationStep], key: str) -> list[Entry] | None:
    """Entries of the rows that the steps leave; None where finding them costs more than a plan may.

    `key` is equal for equal content and steps: each is read once per process.
    """
    if pool.hub is not None or not all(STEPS[step.kind].PLANNED and not asks(step) for step in steps):
        return None
    if any(name.startswith("hub:") for step in steps for name in getattr(step, "against", ())):
        return None
    path = pool_file(pool)
    if path.stat().st_size * (1 if path.suffix == ".jsonl" else PACKED) > LARGEST:
        return None
    return _tried(_Arguments(key, pool, tuple(steps)))


class _Arguments:
    """Hashed by the key alone: specs hold dicts, and where a file lies makes no difference."""

    def __init__(self, key: str, pool: PoolSpec, steps: tuple[CurationStep, ...]) -> None:
        self.key, self.pool, self.steps = key, pool, steps

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Arguments) and self.key == other.key


@lru_cache(maxsize=16)
def _tried(asked: _Arguments) -> list[Entry]:
    rows: Iterator[Row] = iter(ingest.checked(asked.pool))
    for step in asked.steps:
        rows = _kept(step, rows)
    return [entry(vars(row), lambda row=row: row) for row in rows]  # type: ignore[misc]


def _kept(step: CurationStep, rows: Iterator[Row]) -> Iterator[Row]:
    return (row for row, reason in STEPS[step.kind].judge(step, rows) if reason is None)
