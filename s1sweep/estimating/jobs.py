"""What jobs took, by the records of their stages: stages that one job worked on at the same time count once.

The decode stages of an engine session overlap in time, and the tokens that each says are those of the session up to its
own end; their records name the session. In s1sweep 0.1 no session had a name, and the times of any stage were those of
its job up to the stage's end: records of one host, one beginning and one checkpoint are of one job. Other stages of
today begin at times of their own, and so count each. Knows records; not what a job costs in money.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from s1sweep.store import Record


@dataclass(frozen=True)
class FinishedJob:
    """The records of stages that one job made together, in the order in which they ended."""

    records: tuple[Record, ...]

    @property
    def last(self) -> Record:
        """The record that ended last: its tokens are those of the whole session."""
        return self.records[-1]

    @property
    def seconds(self) -> float:
        """Wall time in seconds, to the millisecond as records say, from the earliest beginning to the latest end."""
        first = min(record.provenance.started for record in self.records)
        ends = (one.started - first + one.seconds for one in (record.provenance for record in self.records))
        return round(max(ends), 3)


def finished_jobs(records: Iterable[Record]) -> list[FinishedJob]:
    """The jobs that made some records of one kind of stage."""
    found: dict[Hashable, list[Record]] = {}
    for record in records:
        found.setdefault(job_of(record), []).append(record)
    return [FinishedJob(tuple(sorted(several, key=_end))) for several in found.values()]


def job_of(record: Record) -> Hashable:
    """Equal for the records that one job made together."""
    made = record.provenance
    return record.cost.get("session") or (made.host, made.started, record.inputs.get("checkpoint"))


def _end(record: Record) -> tuple[float, int]:
    made = record.provenance
    return made.started + made.seconds, record.cost.get("requested_tokens", 0)
