"""The scheduling policy: which waiting jobs start now. A pure function of plain values.

Knows no Ray, no time and no files, so that the scheduler and a simulator can use the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from s1sweep.runtime.job import Request

Capacity = Request  # what a cluster has, in the units of what a job asks for


@dataclass(frozen=True)
class Waiting:
    """A job that could start. Lower `rank` first; within a rank, the most work that hangs on it."""

    id: str
    request: Request
    rank: int
    weight: float


def decide(ready: Sequence[Waiting], running: Iterable[Request], capacity: Capacity) -> list[str]:
    """Ids of the jobs to start now, as many as fit; ties in order of id, so that the order is reproducible.

    A job that does not fit reserves what it asks for: those behind it get only what it leaves, so large jobs do not
    starve.
    """
    names = [f.name for f in fields(Request)]
    free = {n: getattr(capacity, n) - sum(getattr(r, n) for r in running) for n in names}
    start: list[str] = []
    for job in sorted(ready, key=lambda j: (j.rank, -j.weight, j.id)):
        asked = {n: getattr(job.request, n) for n in names}
        short = [n for n in names if asked[n] and asked[n] > free[n] + 1e-9]
        if not short:
            start.append(job.id)
        # A job held up by one thing alone (say, its engine is busy) must not idle the others.
        for n in short or names:
            free[n] -= asked[n]
    return start
