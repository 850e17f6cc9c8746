"""A job while it runs, and when it has ended until all that follows from it is in the store. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from s1sweep.runtime.backend import Handle
from s1sweep.runtime.job import StageOutcome
from s1sweep.runtime.pending import Group


@dataclass
class LiveJob:
    """A job that runs, and the work that it counts for. `stopping`: it was asked to make way. `saved_step` is the last
    training step that it has saved.
    """

    group: Group
    handle: Handle
    work: str
    saved_step: int
    stopping: bool = False

    @property
    def first(self) -> str:
        return next(iter(self.group.stages))


@dataclass
class EndedJob:
    """A job that ended, and the stages that became ready by it: kept until all of it is in the store, so that a store
    which cannot be written for a while loses nothing.
    """

    live: LiveJob
    outcomes: list[StageOutcome]
    ready: list[str] = field(default_factory=list)
    lost: bool = field(init=False)
    failed: bool = field(init=False)

    def __post_init__(self) -> None:
        kinds = {one.failure.kind for one in self.outcomes if one.failure is not None}
        self.lost = not kinds.isdisjoint(("worker_lost", "hung"))
        self.failed = bool(kinds)
