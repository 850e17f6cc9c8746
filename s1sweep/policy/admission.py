"""The decision itself: priority, fair share, then each user's own order; who does not fit reserves, or preempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heapreplace, merge
from math import inf
from typing import NamedTuple

from s1sweep.policy.backfill import Holds, Reservation, until_it_fits
from s1sweep.policy.cluster import Cluster
from s1sweep.policy.fairshare import Shares
from s1sweep.policy.gangs import part_of
from s1sweep.policy.queue import Entry, Group, Groups, Queue
from s1sweep.policy.reasons import reason
from s1sweep.policy.values import USUAL, Request, Rules, Running, Waiting
from s1sweep.policy.victims import victims


class Start(NamedTuple):
    """Start this job now, a bundle on each of these nodes."""

    id: str
    nodes: tuple[str, ...]


class Preempt(NamedTuple):
    """Ask this running job to save and stop, so that another can start."""

    id: str
    why: str


@dataclass
class Actions:
    """What to do now. Jobs that appear nowhere go on waiting, or running."""

    start: list[Start] = field(default_factory=list)
    preempt: list[Preempt] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    _now: float = 0.0
    _cluster: Cluster | None = None
    _stuck: dict[Request, float] = field(default_factory=dict)

    def why(self, job: Waiting) -> str:
        """Why a job was not started, in one line. To be asked before the cluster changes."""
        assert self._cluster is not None
        return reason(job, self._cluster, self.reservations, self._stuck.get(job.request, inf), self._now)


def decide(
    queue: Queue,
    cluster: Cluster,
    usage: Mapping[str, float] | None = None,
    now: float = 0.0,
    rules: Rules = USUAL,
) -> Actions:
    """What to start and what to preempt. Changes nothing it is given; the same whatever order that was given in.

    `usage` is each user's GPU-seconds so far (of ended work; what runs is counted here), decayed or not. Work grows
    with what starts and with the number of groups in the queue, not with the number of jobs that wait.
    """
    return _Decision(queue, cluster, usage or {}, now, rules).made()


class _Decision:
    def __init__(self, queue: Queue, cluster: Cluster, usage: Mapping[str, float], now: float, rules: Rules) -> None:
        self._queue, self._cluster, self._now, self._rules = queue, cluster, now, rules
        self._shares = Shares(cluster, usage, now, rules)
        self._free = cluster.free.copy()
        self._holds = Holds()
        # Jobs of a request that take so long or longer do not fit any more; 0: none does. Places only get fewer.
        self._stuck: dict[Request, float] = {}
        self._fits: dict[Request, bool] = {}  # beside all holds; until the next start
        self._started: list[Running] = []
        self._reserved: set[object] = set()
        self._asked: dict[str, Running] = {}
        self._users = {user for level in queue.levels.values() for user in level}
        self._users |= {user for user, width in cluster.width.items() if width > 1e-9}
        self.actions = Actions(_now=now, _cluster=cluster, _stuck=self._stuck)

    def made(self) -> Actions:
        for priority in sorted(self._queue.levels, reverse=True):
            lines = {user: _Line(groups, self._stuck) for user, groups in self._queue.levels[priority].items()}
            while lines:
                user = min(lines, key=lambda u: (self._shares.of(u), u))
                job = lines[user].next()
                if job is None:
                    del lines[user]
                elif not self._start(job) and not self._wait(job):
                    return self.actions
        return self.actions

    def _start(self, job: Waiting) -> bool:
        request, end = job.request, self._now + job.expected
        nodes = self._free.place(request, end, self._holds.on)
        if nodes is None:
            return False
        part = part_of(request)
        for name, n in Counter(nodes).items():
            self._free.change(name, part, -n)
            self._holds.use(name, part, n, end)
        self._fits.clear()
        self._shares.start(job)
        self._started.append(Running(job, nodes, self._now))
        self.actions.start.append(Start(job.id, nodes))
        return True

    def _wait(self, job: Waiting) -> bool:
        """Note that a job does not fit; reserve for it if it is the first such. False if none behind it may start."""
        request = job.request
        if request not in self._fits:
            self._fits[request] = bool(self._holds.on) and self._free.place(request) is not None
        self._stuck[request] = job.expected if self._fits[request] else 0.0
        if not self._cluster.possible(request):
            return True
        if self._rules.backfill == "easy":
            short = request.gpu_kind, self._short(request)
            if short not in self._reserved:
                self._preempt(job)
                kept = self._holds.reserve(job, self._free, self._running(), self._now)
                if kept:
                    self._reserved.add(short)
                    self.actions.reservations.append(kept)
        return self._rules.backfill != "none"

    def _short(self, request: Request) -> str:
        """The scarce thing a job waits for: a busy engine must not let gangs of GPUs starve, nor the reverse."""
        if request.engines and sum(amount[2] for amount in self._free.of.values()) < request.engines - 1e-9:
            return "engines"
        return "gpus" if request.gpus else "cpus"

    def _running(self) -> Iterator[Running]:
        """By their ends; what is asked to stop and what starts now are among them."""
        yield from self._asked.values()
        old = (self._cluster.running[name] for _, name in self._cluster.ends if name not in self._asked)
        yield from merge(old, sorted(self._started, key=_by_end), key=_by_end) if self._started else old

    def _preempt(self, job: Waiting) -> None:
        """Ask others to make way, unless those already asked are enough."""
        cluster, rules, now = self._cluster, self._rules, self._now
        below = rules.preempt and any(n and p < job.priority for p, n in cluster.preemptible.items())
        beside = rules.preempt_for_share and cluster.preemptible[job.priority] > 0
        if not (below or beside):
            return
        going = [*self._asked.values(), *(run for run in cluster.running.values() if run.stopping)]
        later = until_it_fits(job.request, self._holds.left(self._free), going)[2]
        if later.place(job.request) is not None:
            return

        def loss(run: Running) -> float:
            return run.lost(now, cluster.width_of(run.job.request))

        stopping = {run.job.id for run in going}
        may = [run for run in cluster.running.values() if run.job.preemptible and run.job.id not in stopping]
        may.sort(key=lambda run: (loss(run), run.job.id))
        candidates = [run for run in may if below and run.job.priority < job.priority]
        if beside:
            same = [run for run in may if run.job.priority == job.priority]
            candidates += self._shares.above(job, self._users, same)

        for run in victims(job, later, candidates, loss):
            self._asked[run.job.id] = replace(run, stopping=True)
            how = f"priority {job.priority} over {run.job.priority}"
            if run.job.priority == job.priority:
                how = f"{run.job.user!r} has more than is due, {job.user!r} less"
            unit = "GPU" if cluster.counts_gpus else "core"
            why = f"makes way for {job.id} ({how}); loses {loss(run) / 60:.1f} {unit} minutes since it was last saved"
            self.actions.preempt.append(Preempt(run.job.id, why))


class _Line:
    """A user's jobs of one priority in order, without those known not to fit."""

    def __init__(self, groups: Groups, stuck: Mapping[Request, float]) -> None:
        self._stuck = stuck
        self._heads: list[tuple[Entry, int, Group]] = [
            (group[0], 0, group)
            for request, lengths in groups.items()
            if stuck.get(request) != 0
            for group in lengths.values()
        ]
        heapify(self._heads)

    def next(self) -> Waiting | None:
        while self._heads:
            entry, i, group = self._heads[0]
            job = entry[-1]
            if job.request in self._stuck and job.expected >= self._stuck[job.request]:
                heappop(self._heads)  # nor do those behind it, or they are about as long
            else:
                if i + 1 < len(group):
                    heapreplace(self._heads, (group[i + 1], i + 1, group))
                else:
                    heappop(self._heads)
                return job
        return None


def _by_end(run: Running) -> float:
    return run.end
