"""The scheduler: runs the union of works on a backend. Equal stages of several works run once and all get the result.

A failed stage blocks only what needs it; what can be tried again by its class of failure is, as often as placement
allows. What starts where, and what gives way, the policy says. Knows works, the store, the policy and the backend's
verbs; knows neither Ray nor what a stage does.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from s1sweep.errors import StoreUnavailable
from s1sweep.planning import Stage
from s1sweep.policy import Actions, Ledger, Rules, Running, decide
from s1sweep.runtime.backend import Backend, Handle
from s1sweep.runtime.faults import MEMORY, Retries
from s1sweep.runtime.fleet import Fleet
from s1sweep.runtime.job import StageOutcome
from s1sweep.runtime.live import EndedJob, LiveJob
from s1sweep.runtime.pending import Group, Pending, preemptible
from s1sweep.runtime.watch import Watch
from s1sweep.runtime.work import Progress, Union, Watcher, Work
from s1sweep.spec import Placement
from s1sweep.stages.preemption import STOP
from s1sweep.store import Failure, Store
from s1sweep.store.leases import Leases

__all__ = ["Progress", "Scheduler", "Work"]

ELSEWHERE = 2.0  # seconds between looks at what other clusters do, and at which nodes there are
LOOK = 2.0  # seconds between looks at how far running jobs are
LOOK_EACH = 0.002  # and for each stage that runs, as there is a file to read of each
STUCK = 30.0  # seconds in which nothing of a local run can start, until it is given up


class Scheduler:
    """Runs works. One per store and cluster at a time: hold `store.scheduler_lock()`.

    With `leases`, what another cluster is at work on is left to it; it may be done, failed or free when it lets go.
    `ledger` is what users have used before. `watch` sees the progress of each work in every step.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        placement: Placement,
        watch: Watcher = lambda _: None,
        leases: Leases | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._store, self._backend, self._placement = store, backend, placement
        self._watch, self._leases, self._ledger = watch, leases, ledger or Ledger()
        self._rules = Rules(weights=placement.shares or {}, preempt_for_share=placement.preempt_for_share)
        self._union = Union()
        self._retries = Retries(store.saved_step)
        self._pending = Pending(self._union, store.root, self._retries.halved)
        self._live: dict[Handle, LiveJob] = {}
        self._ended_jobs: list[EndedJob] = []
        self._elsewhere: set[str] = set()  # stages that another cluster is at work on
        self._jobs = Watch(self._pending, visible="://" not in store.url)
        now = time.monotonic()
        self._looks: list[tuple[Callable[[], None], float]] = [
            (self._look_elsewhere, ELSEWHERE),
            (self._look_at_nodes, ELSEWHERE),
            (self._look_at_jobs, min(LOOK, placement.hang_after / 4)),
        ]
        self._looked = [now - ELSEWHERE, now, now]
        self._actions: Actions | None = None
        self.fleet = Fleet(backend)
        self.spent: defaultdict[str, float] = defaultdict(float)  # GPU-seconds of ended jobs by work
        self.lost: defaultdict[str, float] = defaultdict(float)  # those of them that came to nothing
        self.made = 0.0  # tokens that its jobs have made
        self._made: defaultdict[str, float] = defaultdict(float)  # tokens of ended jobs, by work

    # --- works

    def add(self, work: Work) -> Progress:
        """Take up a work. ValueError if there is one of that id."""
        self._enqueue_ready(self._union.add(work))
        self._update_priorities()
        return self._union.progress[work.id]

    def update(self, work_id: str, priority: int | None = None, paused: bool | None = None) -> None:
        """Change a work's priority, or pause it: nothing new of it starts, and what runs finishes."""
        work = self._union.works[work_id]
        work.priority = work.priority if priority is None else priority
        work.paused = work.paused if paused is None else paused
        self._pending.refresh(work.stages)
        self._update_priorities()

    def remove(self, work_id: str) -> None:
        """Give up a work at once: what runs for nobody else is cancelled."""
        stages = self._union.works[work_id].stages
        gone = self._union.remove(work_id)
        self._pending.forget(gone)
        self._pending.refresh(name for name in stages if name in self._union)
        for live in list(self._live.values()):
            if not any(name in self._union for name in live.group.stages):
                self._cancel(live)
        for name in gone:
            self._retries.forget(name)
        self._elsewhere.difference_update(gone)
        if self._leases:
            self._leases.drop(gone)
        self._update_priorities()

    def progress(self, work_id: str) -> Progress:
        return self._union.progress[work_id]

    def why(self, work_id: str, most: int = 20) -> dict[str, str]:
        """What a work's waiting jobs wait for, each by the name of its first stage."""
        found: dict[str, str] = {}
        for group in self._pending.of(work_id):
            if len(found) == most:
                break
            why = self._actions.why(self._pending.waiting(group)) if self._actions else "has just come"
            found[group.id] = why if group.id in self._pending.queue else "paused"
        return found

    def usage(self) -> dict[str, float]:
        """GPU-seconds (core-seconds where there are no GPUs) by user, of ended jobs and of those that run."""
        now = time.time()
        used = self._ledger.usage(now)
        for run in self.fleet.cluster.running.values():
            used[run.job.user] = used.get(run.job.user, 0.0) + self._width(run) * (now - run.started)
        return used

    def held(self) -> dict[str, tuple[float, float]]:
        """By work, of its jobs that run: GPU-seconds so far, and those that would be lost if all stopped now."""
        now, found = time.time(), dict[str, tuple[float, float]]()
        for live in self._live.values():
            run = self.fleet.cluster.running[live.group.id]
            used, lost = found.get(live.work, (0.0, 0.0))
            width = self._width(run)
            found[live.work] = used + width * (now - run.started), lost + run.lost(now, width)
        return found

    def run(
        self,
        stages: Mapping[str, Stage],
        standing: Mapping[str, StageOutcome],
        expected: Mapping[str, float] | None = None,
    ) -> Progress:
        """Run the stages of one work (as of `Work`), inputs first, until nothing more can run. On an interrupt the
        running jobs are cancelled and the interrupt goes on.
        """
        progress = self.add(Work("run", stages, self._placement, standing, expected=expected or {}))
        moved = time.monotonic()
        try:
            while not progress.over:
                if self.step(0.5) or self._live or self._elsewhere:
                    moved = time.monotonic()
                elif time.monotonic() - moved > STUCK:
                    raise RuntimeError(f"nothing runs, yet these wait: {self.why('run', 5)}")
        except BaseException:
            self.close()
            raise
        self._watch(progress)
        return progress

    def close(self) -> None:
        """Cancel all that runs."""
        for live in list(self._live.values()):
            self._cancel(live)
            if self._leases:
                self._leases.drop(live.group.stages)

    # --- one step

    def step(self, timeout: float) -> bool:
        """Start what can start, then wait up to `timeout` seconds for something to end. False if nothing moved.

        After StoreUnavailable it may be called again: nothing is lost.
        """
        self._collect()
        for i, (look, every) in enumerate(self._looks):
            if time.monotonic() - self._looked[i] >= max(every, LOOK_EACH * len(self._jobs)):
                self._looked[i] = time.monotonic()
                look()
        started = self._start()
        for progress in self._union.progress.values():
            self._watch(progress)
        if not self._live:
            if not started:
                time.sleep(min(timeout, ELSEWHERE / 4))
            return started
        ended = self._backend.wait_any(list(self._live), timeout)
        self._ended_jobs += [EndedJob(self._live[handle], outcomes) for handle, outcomes in ended]
        self._collect()
        return started or bool(ended)

    def _start(self) -> bool:
        """Start what the policy says, and ask to stop what has to make way. False if nothing started."""
        cluster, decoding = self.fleet.cluster, sum(live.group.kind == "decode" for live in self._live.values())
        engines = sum(node.engines for node in cluster.nodes.values())
        self._union.move(self._pending.split(engines, decoding), "running")
        if not len(self._pending.queue):
            return False
        now, identity = time.time(), self._store.identity()
        self._actions = decide(self._pending.queue, cluster, self._ledger.usage(now), now, self._rules)
        for name, nodes in self._actions.start:
            waiting, group = self._pending.waiting(self._pending.groups[name]), self._pending.take(name)
            try:
                claimed = self._claim(group)
            except StoreUnavailable:
                if group.shard is None:
                    self._enqueue_ready(group.stages)
                else:
                    self._pending.back(group)
                raise
            if claimed:
                self._union.move(group.stages, "running")
                self._clear(group)
                saved = self._store.saved_step(next(iter(group.stages))) if waiting.preemptible else 0
                job = group.job(self._store.url, identity)
                attempts = {task.id: self._store.stage_dir(task.id) / task.attempt for task in job.tasks}
                handle = self._backend.submit(job, nodes if len(cluster.nodes) > 1 else ())
                self._live[handle] = LiveJob(group, handle, self._pending.best(group).id, saved)
                self._jobs.started(group, attempts, time.monotonic())
                cluster.start(Running(waiting, nodes, now))
        for name, _ in self._actions.preempt:
            self._ask_to_stop(next(live for live in self._live.values() if live.group.id == name))
        return bool(self._actions.start)

    def _ask_to_stop(self, live: LiveJob) -> None:
        """A training stops at a checkpoint that it saves now; a decoding at once, since its traces are kept."""
        if live.group.kind == "decode" or "://" in self._store.url:  # no worker would see a file in our cache
            self._cancel(live)
            return
        live.stopping = True
        cluster = self.fleet.cluster
        cluster.update(replace(cluster.running[live.group.id], stopping=True))
        for name in live.group.stages:
            (self._store.stage_dir(name) / STOP).touch()

    def _clear(self, group: Group) -> None:
        if all(map(preemptible, group.stages.values())):
            for name in group.stages:
                (self._store.stage_dir(name) / STOP).unlink(missing_ok=True)

    def _cancel(self, live: LiveJob) -> None:
        """Stop a job at once. What somebody needs of it waits again."""
        self._backend.cancel(live.handle)
        self._ended(live, lost=True)
        if live.group.shard is None:
            self._wait_again(live.group.stages)
        elif any(name in self._union for name in live.group.stages):
            self._pending.back(live.group)

    def _wait_again(self, names: Iterable[str]) -> None:
        needed = [name for name in names if name in self._union]
        self._union.move(needed, "waiting")
        self._enqueue_ready(needed)

    def _enqueue_ready(self, names: Iterable[str]) -> None:
        """Ready stages wait for a place; what another cluster has waits for that."""
        self._pending.put(name for name in names if name not in self._elsewhere)

    def _update_priorities(self) -> None:
        """What runs has the priority of those who need it now."""
        cluster = self.fleet.cluster
        for live in self._live.values():
            run, priority = cluster.running[live.group.id], self._pending.best(live.group).priority
            if run.job.priority != priority:
                cluster.update(replace(run, job=replace(run.job, priority=priority)))

    def _width(self, run: Running) -> float:
        return self.fleet.cluster.width_of(run.job.request)

    # --- how jobs end

    def _ended(self, live: LiveJob, lost: bool) -> Running:
        """A job holds nothing any more. If `lost`, what it did since it last saved is gone. The leases of a shard are
        those of its session, which goes on.
        """
        del self._live[live.handle]
        self._made[live.work] += self._jobs.ended(live.group.id)
        run, now = self.fleet.cluster.end(live.group.id), time.time()
        used = self._width(run) * (now - run.started)
        self._ledger.charge(run.job.user, used, now)
        self.spent[live.work] += used
        self.lost[live.work] += run.lost(now, self._width(run)) if lost else 0.0
        self._clear(live.group)
        if self._leases and live.group.shard is None:
            self._leases.drop(live.group.stages)
        return run

    def _collect(self) -> None:
        while self._ended_jobs:
            ended = self._ended_jobs[0]
            while ended.outcomes and ended.live.group.shard is None:
                ended.ready += self._conclude(ended.live, ended.outcomes[0])
                del ended.outcomes[0]
            if ended.live.handle in self._live:
                self.fleet.ended(self._ended(ended.live, ended.failed), ended.lost)
            if ended.live.group.shard is not None:
                self._wait_again(self._pending.shard_ended(ended.live.group))
            del self._ended_jobs[0]
            self._enqueue_ready(ended.ready)

    def _conclude(self, live: LiveJob, outcome: StageOutcome) -> list[str]:
        """What follows from a stage's end. Returns the stages that are ready by it."""
        name, failure = outcome.stage_id, outcome.failure
        if name not in self._union:
            return []
        if failure is None or self._store.record(name) is not None:
            # A lost worker may have published before it went.
            return self._union.done(name)
        if failure.kind == "store":
            self._store.files.replace("schedulers/probe", bytes(1 << 16))  # no try is spent on a disk that is full
        asked = live.stopping and failure.kind == "preempted"
        if asked or self._retries.should_retry(name, failure.kind, self._union.claimant(name).placement.max_retries):
            self._union.move([name], "waiting")
            self._union.reset_progress(name)
            return [name]
        if failure.kind == "out_of_memory":
            remedy = MEMORY.get(live.group.kind, "Use a machine with more memory")
            failure = failure.model_copy(update={"remedy": remedy})
        self._store.mark_failed(name, failure)
        self._union.fail(StageOutcome(name, failure))
        return []

    # --- looking around

    def _claim(self, group: Group) -> bool:
        """Take the leases of a job. False, with none taken, where another cluster has some of it or has done some."""
        if self._leases is None:
            return True
        taken = [name for name in group.stages if self._leases.take(name)]
        done = [name for name in taken if self._store.record(name) is not None]
        if len(taken) == len(group.stages) and not done:
            return True
        self._leases.drop(taken)
        self._elsewhere.update(group.stages.keys() - taken)
        if group.shard is not None:
            self._wait_again(self._pending.shard_ended(group))
            return False
        ready = [name for name in group.stages if name not in done]
        for name in done:
            ready += self._union.done(name)
        self._enqueue_ready(ready)
        return False

    def _look_elsewhere(self) -> None:
        """What became of stages that another cluster had: done, failed, or free."""
        if not self._elsewhere or self._leases is None:
            return
        for name in self._elsewhere - self._leases.others():
            self._elsewhere.discard(name)
            failure = self._store.failure(name)
            if self._store.record(name) is not None:
                self._enqueue_ready(self._union.done(name))
            elif self._union[name].ready and failure is not None:
                self._union.fail(StageOutcome(name, failure))
            elif self._union[name].ready:
                self._enqueue_ready([name])

    def _share_progress(self) -> None:
        """How far stages are, and what was made so far, for all who look at a work's progress."""
        for name, far in self._jobs.how_far().items():
            self._union.note_progress(name, far)
        made = self._made.copy()
        for live in self._live.values():
            made[live.work] += self._jobs.tokens(live.group.id)
        for work, progress in self._union.progress.items():
            progress.made = made[work]
        self.made = sum(made.values())

    def _look_at_nodes(self) -> None:
        """See which nodes are there, and give up what runs on one that is not."""
        self.fleet.look()
        stranded = {run.job.id for run in self.fleet.stranded()}
        for live in [live for live in self._live.values() if live.group.id in stranded]:
            self._cancel_as_failed(live, Failure(kind="worker_lost", message="its node is gone"))
        self._collect()

    def _look_at_jobs(self) -> None:
        """Note how far jobs are and what was saved, and cancel what has not got further for too long."""
        cluster, now = self.fleet.cluster, time.time()
        silent = self._jobs.look(time.monotonic())
        self._share_progress()
        for live in list(self._live.values()):
            run = cluster.running[live.group.id]
            step = self._store.saved_step(live.first) if run.job.preemptible else 0
            if live.group.kind == "decode" or step > live.saved_step:
                live.saved_step = step
                cluster.update(replace(run, saved=now))
            patience = self._pending.best(live.group).placement.hang_after
            if silent.get(live.group.id, 0.0) >= patience:
                message = f"no progress for {patience:g} s (placement.hang_after); it was cancelled"
                self._cancel_as_failed(live, Failure(kind="hung", message=message))
        self._collect()

    def _cancel_as_failed(self, live: LiveJob, failure: Failure) -> None:
        self._backend.cancel(live.handle)
        self._ended_jobs.append(EndedJob(live, [StageOutcome(name, failure) for name in live.group.stages]))
