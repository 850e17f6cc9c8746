"""Works and their union: whose each stage is, what it waits for, and where each work stands.

A stage that several works need is one stage; it counts for its best claimant. Kept up to date by counters, so that what
an event costs does not grow with what waits. Knows no backend, no jobs and no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from s1sweep.planning import Stage
from s1sweep.runtime.job import StageOutcome
from s1sweep.spec import Placement
from s1sweep.store import HowFar

TELLS = 0.02  # a share of the work that tells how long the rest will take
UNKNOWN = 3600.0  # seconds that a stage of unknown length weighs: it may be long, so it is begun early

Where = Literal["waiting", "running", "done", "failed", "blocked"]


@dataclass
class Work:
    """Stages to run, inputs first, for a user. Inputs that are not among them are finished.

    `standing` are failures that are not to be tried again. `code` is what workers run with (`Job.code`).
    `expected` is how many seconds stages will take, those of which that is known. `priority` and `paused` may change.
    """

    id: str
    stages: Mapping[str, Stage]
    placement: Placement
    standing: Mapping[str, StageOutcome] = field(default_factory=dict)
    user: str = ""
    priority: int = 0
    submitted: float = 0.0
    code: str | None = None
    expected: Mapping[str, float] = field(default_factory=dict)
    paused: bool = False

    @property
    def claim(self) -> tuple[bool, int, float, str]:
        """The least is the best claimant: not paused, highest priority, oldest."""
        return self.paused, -self.priority, self.submitted, self.id


@dataclass
class Pace:
    """How fast work gets done, from the first that was: what comes before it is start-up, and says nothing."""

    _first: tuple[float, float] | None = None  # when something was first done, and how much

    def seconds_left(self, now: float, gained: float, left: float) -> float | None:
        """Seconds that `left` will take if it goes as `gained` went, both in expected seconds; None where too little is
        done to tell.
        """
        if gained <= 0:
            return None
        if self._first is None:
            self._first = now, gained
        since, at_first = self._first
        new = gained - at_first
        if new <= 0 or new < TELLS * (new + left):
            return None
        return left * (now - since) / new


@dataclass
class Progress:
    """Where a work stands; the same object all the time, for a display to read.

    `expected` is how many seconds stages will take, a second where it is not known. `how_far` is what begun stages last
    said of themselves, `resumed` the share of a stage that was done before this work was taken up, and `made` the
    tokens that its attempts have decoded or trained on since.
    """

    expected: Mapping[str, float] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    failed: dict[str, StageOutcome] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    how_far: dict[str, HowFar] = field(default_factory=dict)
    made: float = 0.0
    resumed: dict[str, float] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

    @property
    def over(self) -> bool:
        return not self.waiting and not self.running

    def seconds_left(self, now: float) -> float | None:
        """Seconds until all is done, if it goes on as it went; None where too little is done to tell. `now` is a clock
        that never goes back, in seconds.
        """
        gained = left = 0.0
        for name in self.done:
            gained += self._seconds(name) * (1 - self.resumed.get(name, 0.0))
        for name in (*self.waiting, *self.running):
            far = self.how_far.get(name)
            share = far.share if far else 0.0
            gained += self._seconds(name) * max(0.0, share - self.resumed.get(name, 0.0))
            left += self._seconds(name) * (1 - share)
        return self.pace.seconds_left(now, gained, left)

    def _seconds(self, name: str) -> float:
        return self.expected.get(name, 1.0)


Watcher = Callable[[Progress], None]


@dataclass
class Claimed:
    """One stage of the union. `open` counts its inputs that are not done, `weight` the seconds of what hangs on it."""

    stage: Stage
    where: Where = "waiting"
    open: int = 0
    weight: float = 0.0
    works: dict[str, None] = field(default_factory=dict)
    dependents: dict[str, None] = field(default_factory=dict)
    outcome: StageOutcome | None = None

    @property
    def ready(self) -> bool:
        return self.where == "waiting" and not self.open


class Union:
    """All that is to be done. Methods that change it return the stages that are ready now, or that nobody needs."""

    def __init__(self) -> None:
        self.works: dict[str, Work] = {}
        self.progress: dict[str, Progress] = {}
        self._stages: dict[str, Claimed] = {}

    def __getitem__(self, name: str) -> Claimed:
        return self._stages[name]

    def __contains__(self, name: object) -> bool:
        return name in self._stages

    def add(self, work: Work) -> list[str]:
        """Claim a work's stages. A failure that no longer stands is forgotten, for all who need the stage."""
        if work.id in self.works:
            raise ValueError(f"work {work.id!r} is there already")
        self.works[work.id] = work
        progress = self.progress[work.id] = Progress(work.expected)
        weights = _weights(work.stages, work.expected)
        for name, stage in work.stages.items():
            one = self._stages.get(name) or self._new(stage)
            one.weight = max(one.weight, weights[name])
            one.works[work.id] = None
            _enter(progress, one)
            if one.where == "failed" and name not in work.standing:
                self._revive(one)
        for outcome in work.standing.values():
            self.fail(outcome)
        for name in work.stages:  # those that are new below ones that have failed
            if self._stages[name].where in ("failed", "blocked"):
                self._block(self._stages[name])
        return [name for name in work.stages if self._stages[name].ready]

    def remove(self, work_id: str) -> list[str]:
        """Give up a work. Returns the stages that no other work needs."""
        gone = []
        for name in self.works.pop(work_id).stages:
            one = self._stages[name]
            del one.works[work_id]
            if not one.works:
                del self._stages[name]
                gone.append(name)
        del self.progress[work_id]
        return gone

    def claimant(self, name: str) -> Work:
        """Whom a stage counts for: the best of those who need it."""
        works = self._stages[name].works
        if len(works) == 1:
            return self.works[next(iter(works))]
        return min((self.works[w] for w in works), key=lambda work: work.claim)

    def move(self, names: Iterable[str], where: Literal["waiting", "running"]) -> None:
        """Stages start, or go back to wait. Those that nobody needs any more are passed over."""
        for name in names:
            one = self._stages.get(name)
            if one is not None:
                self._note(one, where)

    def reset_progress(self, name: str) -> None:
        """What a stage's last attempt had done is gone, or the next one will say how much of it is not."""
        for work in self._stages[name].works if name in self._stages else ():
            self.progress[work].how_far.pop(name, None)

    def note_progress(self, name: str, far: HowFar) -> None:
        """How far a running stage is, for all who need it."""
        one = self._stages.get(name)
        for work in one.works if one is not None and one.where == "running" else ():
            progress = self.progress[work]
            progress.resumed.setdefault(name, far.share_before)  # what this work's own attempts did is not
            progress.how_far[name] = far

    def done(self, name: str) -> list[str]:
        """A stage is done. Returns those that became ready."""
        one = self._stages.get(name)
        if one is None or one.where == "done":
            return []
        self._note(one, "done")
        ready = []
        for below in self._dependents(one):
            below.open -= 1
            if below.ready:
                ready.append(below.stage.id)
        return ready

    def fail(self, outcome: StageOutcome) -> None:
        """A stage failed for good: what hangs on it is blocked."""
        one = self._stages.get(outcome.stage_id)
        if one is None:
            return
        one.outcome = outcome
        self._note(one, "failed")
        self._block(one)

    def _block(self, one: Claimed) -> None:
        todo = list(self._dependents(one))
        while todo:
            below = todo.pop()
            if below.where == "waiting":
                self._note(below, "blocked")
                todo += self._dependents(below)

    def _revive(self, one: Claimed) -> None:
        """A failed stage waits again, and so does what it alone blocked."""
        todo = [one]
        while todo:
            one = todo.pop(0)
            above = {self._stages[n].where for n in one.stage.inputs.values() if n in self._stages}
            if one.where in ("failed", "blocked"):
                held = not above.isdisjoint(("failed", "blocked"))
                self._note(one, "blocked" if held else "waiting")
                todo += [] if held else self._dependents(one)

    def _dependents(self, one: Claimed) -> Iterator[Claimed]:
        return (self._stages[name] for name in one.dependents if name in self._stages)

    def _new(self, stage: Stage) -> Claimed:
        one = self._stages[stage.id] = Claimed(stage)
        for name in set(stage.inputs.values()):
            above = self._stages.get(name)
            if above is not None and above.where != "done":
                one.open += 1
                above.dependents[stage.id] = None
        return one

    def _note(self, one: Claimed, where: Where) -> None:
        """Where a stage is now, for all who need it."""
        before, one.where = one.where, where
        for work in one.works:
            _leave(self.progress[work], one.stage.id, before)
            _enter(self.progress[work], one)


def _enter(progress: Progress, one: Claimed) -> None:
    if one.where == "done":
        progress.done.append(one.stage.id)
    elif one.where == "failed":
        assert one.outcome is not None
        progress.failed[one.stage.id] = one.outcome
    else:
        getattr(progress, one.where).add(one.stage.id)


def _leave(progress: Progress, name: str, before: Where) -> None:
    if before == "failed":
        progress.failed.pop(name, None)
    elif before != "done":
        getattr(progress, before).discard(name)


def _weights(stages: Mapping[str, Stage], expected: Mapping[str, float]) -> dict[str, float]:
    """Seconds of all that hangs on each stage, itself included: where one engine session follows a training, that is
    the path (a stage reached by two ways counts twice: a heuristic).
    """
    weight = {name: expected.get(name, UNKNOWN) for name in stages}
    for stage in reversed(list(stages.values())):
        for name in stage.inputs.values():
            if name in weight:
                weight[name] += weight[stage.id]
    return weight
