"""The simulation: events in order of time, and the policy asked after each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import NamedTuple

from s1sweep.policy import Cluster, Ledger, Node, Queue, Rules, Running, Waiting, decide
from s1sweep.simulation.work import SimulatedWork, critical_paths, in_order


@dataclass(frozen=True)
class Faults:
    """Nodes fail at random, on average once in `mtbf` seconds each, and are back after `repair` seconds."""

    mtbf: float = inf
    repair: float = 1800.0
    seed: int = 0


@dataclass(frozen=True)
class Policy:
    """How to choose. `by_arrival` knows no users, no priorities, and not what hangs on a job: first ready, first."""

    rules: Rules = field(default_factory=Rules)
    by_arrival: bool = False


NO_FAULTS = Faults()
OURS = Policy()
FCFS = Policy(Rules(fair=False, backfill="none"), by_arrival=True)
# As Ray places tasks and placement groups: whatever fits, in order of submission; nothing is kept for what does not.
RAY = Policy(Rules(fair=False, backfill="greedy"), by_arrival=True)


class Attempt(NamedTuple):
    """A stretch of time in which a job ran; `kept` are the seconds of work that it did not lose."""

    job: str
    user: str
    width: float
    start: float
    end: float
    kept: float
    ended: str  # done, failed or preempted


@dataclass
class SimulatedRun:
    """What happened. `reserved` is the earliest promise that each waiting job was given, `decisions` counts calls of
    the policy, and `seconds` is their cost in time of this process.
    """

    ready: dict[str, float] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    reserved: dict[str, float] = field(default_factory=dict)
    contended: list[tuple[float, float]] = field(default_factory=list)  # when every user had work waiting
    decisions: int = 0
    seconds: float = 0.0

    @property
    def makespan(self) -> float:
        return max((a.end for a in self.attempts), default=0.0)

    def started(self) -> dict[str, float]:
        """When each job started first."""
        first: dict[str, float] = {}
        for attempt in self.attempts:
            first[attempt.job] = min(attempt.start, first.get(attempt.job, inf))
        return first


def simulate(
    work: Iterable[SimulatedWork],
    nodes: Node | Sequence[Node],
    policy: Policy = OURS,
    faults: Faults = NO_FAULTS,
    usage: Ledger | None = None,
) -> SimulatedRun:
    """Run all work to its end. ValueError if some of it can never run on these nodes."""
    return _Simulation(in_order(work), nodes, policy, faults, usage or Ledger()).run()


class _Simulation:
    def __init__(
        self,
        work: Sequence[SimulatedWork],
        nodes: Node | Sequence[Node],
        policy: Policy,
        faults: Faults,
        ledger: Ledger,
    ) -> None:
        self._work = {job.id: job for job in work}
        self._policy, self._faults, self._ledger = policy, faults, ledger
        self._cluster, self._queue = Cluster(nodes), Queue()
        self._weight = critical_paths(work, told=True)
        self._left = {job.id: job.seconds for job in work}
        self._blocked = {job.id: len(job.after) for job in work}
        self._then: dict[str, list[str]] = {}
        for job in work:
            for name in job.after:
                self._then.setdefault(name, []).append(job.id)
        self._events: list[tuple[float, int, str, str]] = []
        self._order, self._arrivals = count(), count()
        self._ends: dict[str, int] = {}  # the event that ends a running job, if nothing else does
        self._users = {job.user for job in work}
        self._waiting: dict[str, int] = dict.fromkeys(self._users, 0)
        self._saves = any(job.preemptible for job in work)
        self._out = SimulatedRun()

    def run(self) -> SimulatedRun:
        for job in self._work.values():
            if not self._cluster.possible(job.request):
                raise ValueError(f"{job.id!r} can never run here: {job.request}")
            if not job.after:
                self._at(job.submitted, "ready", job.id)
        failures = self._failures()
        self._at(*next(failures))
        now, todo = 0.0, len(self._work)
        while todo:
            before, now = now, self._events[0][0]
            if before < now and all(self._waiting.values()):
                spans = self._out.contended
                since = spans.pop()[0] if spans and spans[-1][1] == before else before
                spans.append((since, now))
            while self._events and self._events[0][0] <= now:
                _, number, what, name = heappop(self._events)
                if what == "ready":
                    self._enter(self._work[name], now)
                elif what == "repaired":
                    self._cluster.include(name)
                elif what == "fail":
                    self._at(*next(failures))
                    self._fail(name, now)
                elif self._ends.get(name) == number:
                    todo -= 1
                    self._done(name, now)
            if len(self._queue):
                self._decide(now)
        return self._out

    def _decide(self, now: float) -> None:
        if self._saves:
            self._note_saves(now)
        started = time.process_time()
        actions = decide(self._queue, self._cluster, self._ledger.usage(now), now, self._policy.rules)
        self._out.seconds += time.process_time() - started
        self._out.decisions += 1
        for kept in actions.reservations:
            name = kept.job.id
            self._out.reserved[name] = min(kept.at, self._out.reserved.get(name, inf))
        for name, nodes in actions.start:
            waiting, job = self._queue.remove(name), self._work[name]
            self._waiting[job.user] -= 1
            self._cluster.start(Running(waiting, nodes, now))
            self._ends[name] = self._at(now + job.startup + self._left[name], "end", name)
        for name, _ in actions.preempt:
            self._stop(name, now, "preempted")
        if actions.preempt:
            self._decide(now)

    def _enter(self, job: SimulatedWork, now: float) -> None:
        self._out.ready.setdefault(job.id, now)
        self._waiting[job.user] += 1
        left = self._left[job.id]
        told = left if job.expected is None or not job.seconds else job.expected * left / job.seconds
        waiting = Waiting(
            job.id,
            job.request,
            job.rank,
            self._weight[job.id],
            job.user,
            job.priority,
            job.submitted,
            job.startup + told,
            job.preemptible,
        )
        if self._policy.by_arrival:
            waiting = replace(waiting, rank=0, weight=-next(self._arrivals), user="", priority=0, submitted=0.0)
        self._queue.add(waiting)

    def _done(self, name: str, now: float) -> None:
        self._leave(name, now, self._left[name], "done")
        for other in self._then.get(name, ()):
            self._blocked[other] -= 1
            if not self._blocked[other]:
                job = self._work[other]
                if job.submitted > now:
                    self._at(job.submitted, "ready", other)
                else:
                    self._enter(job, now)

    def _stop(self, name: str, now: float, why: str) -> None:
        """An attempt ends early; the job waits again, with what it saved."""
        kept = self._kept(name, now)
        self._leave(name, now, kept, why)
        self._left[name] -= kept
        self._enter(self._work[name], now)

    def _leave(self, name: str, now: float, kept: float, why: str) -> None:
        del self._ends[name]
        job, run = self._work[name], self._cluster.end(name)
        width = self._cluster.width_of(job.request)
        self._ledger.charge(run.job.user, width * (now - run.started), now)
        self._out.attempts.append(Attempt(name, job.user, width, run.started, now, kept, why))

    def _kept(self, name: str, now: float) -> float:
        job = self._work[name]
        worked = now - self._cluster.running[name].started - job.startup
        return max(0.0, worked // job.checkpoint * job.checkpoint) if job.checkpoint else 0.0

    def _note_saves(self, now: float) -> None:
        for name, run in self._cluster.running.items():
            kept = self._kept(name, now)
            if run.job.preemptible and kept:
                self._cluster.running[name] = replace(run, saved=run.started + self._work[name].startup + kept)

    def _fail(self, node: str, now: float) -> None:
        if node in self._cluster.excluded:
            return
        for name in [name for name, run in self._cluster.running.items() if node in run.nodes]:
            self._stop(name, now, "failed")
        self._cluster.exclude(node)
        self._at(now + self._faults.repair, "repaired", node)

    def _failures(self) -> Iterator[tuple[float, str, str]]:
        """When which node fails; the same under every policy."""
        random, names, at = Random(self._faults.seed), list(self._cluster.nodes), 0.0
        while True:
            at += random.expovariate(len(names) / self._faults.mtbf) if self._faults.mtbf < inf else inf
            yield at, "fail", random.choice(names)

    def _at(self, when: float, what: str, name: str) -> int:
        number = next(self._order)
        heappush(self._events, (when, number, what, name))
        return number
