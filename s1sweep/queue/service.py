"""The queue's service: the one scheduler of a cluster on a store, fed by submissions and orders.

All that it knows is in the store: killed and started again, it reads the queue and the records and goes on. Knows no
backend but by its verbs, and no sweep but by its stages.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from s1sweep.errors import StoreUnavailable, UserError
from s1sweep.planning import Stage
from s1sweep.policy import Ledger
from s1sweep.queue.code import place
from s1sweep.queue.feasible import credentials
from s1sweep.queue.submission import Standing, State, Submission, Submissions
from s1sweep.runtime.backend import Backend
from s1sweep.runtime.job import StageOutcome
from s1sweep.runtime.scheduler import Scheduler, Work
from s1sweep.spec import Placement
from s1sweep.store import Store
from s1sweep.store.leases import Leases

POLL = 1.0  # seconds between looks at the queue
BEAT = 2.0  # seconds between signs of life
USAGE = 10.0  # seconds between notes of who used what
HALF_LIFE = 7 * 86_400.0  # use is forgotten by half in a week
UNREACHABLE = 5.0  # seconds until a store that does not answer is asked again

log = logging.getLogger(__name__)


class Service:
    """Runs what is submitted to `store` for `placement.cluster`, on `backend`. Hold the scheduler's lock."""

    def __init__(
        self,
        store: Store,
        placement: Placement,
        backend: Backend,
        leases: Leases | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store, self._cluster, self._say = store, placement.cluster, say
        self._queue, self._shares = Submissions(store), placement.shares or {}
        self._scheduler = Scheduler(store, backend, placement, leases=leases, ledger=self._ledger())
        self._active: dict[str, Submission] = {}
        self._standing: dict[str, Standing] = {}
        self._before: dict[str, State] = {}  # as they were when this service took them up
        self._over: set[str] = set()
        self._said: dict[str, State] = {}
        self._mirrors: dict[str, subprocess.Popen[bytes]] = {}
        self._due: dict[str, float] = {}
        self._tokens = (time.monotonic(), 0.0, 0.0)  # when, how many, how many a second
        # What a service that was killed held at its last beat: its jobs went with it.
        last = self._queue.last_heartbeat(self._cluster) or {}
        self._held_by_dead_service: dict[str, list[float]] = last.get("held", {})

    def run(self, once: bool = False, stop: Callable[[], bool] = lambda: False) -> None:
        """Until `stop` says so; with `once`, until the queue is empty."""
        try:
            while not stop():
                try:
                    if self._round() or not once:
                        continue
                    break
                except StoreUnavailable as error:  # nothing is half-written: it goes on when the store answers
                    self._say(f"waiting for the store: {error}")
                    time.sleep(UNREACHABLE)
        finally:
            self._scheduler.close()
            self._close()

    def _round(self) -> bool:
        """Take orders, run a step, say how things are. False if there is nothing left to do."""
        if self._is_due("poll", POLL):
            self._poll()
        self._scheduler.step(0.5)
        for name in list(self._active):
            if self._scheduler.progress(name).over:
                self._finish(name)
        if self._is_due("beat", BEAT):
            self._heartbeat()
            for name in self._active:
                self._write_state(name)
        if self._is_due("usage", USAGE):
            self._queue.write_usage(self._scheduler.usage(), self._cluster)
        self._mirrored()
        if not self._active:
            self._poll()
        return bool(self._active or self._mirrors)

    def _is_due(self, what: str, every: float) -> bool:
        due = time.monotonic() >= self._due.get(what, 0.0)
        if due:
            self._due[what] = time.monotonic() + every
        return due

    # --- submissions and orders

    def _poll(self) -> None:
        for name in self._queue.ids():
            if name in self._active:
                self._apply_orders(self._active[name], self._queue.standing(self._active[name]))
            elif name not in self._over:
                self._take_up(name)

    def _take_up(self, name: str) -> None:
        """Take up a submission that is new to this service."""
        try:
            submission = self._queue.get(name)
            if submission is None:
                return  # its folder is there before it is
            state = self._queue.state(submission)
            if submission.placement.cluster != self._cluster or state.over:
                self._over.add(name)
                if submission.placement.cluster == self._cluster:
                    self._mirror(submission)
                return
            standing = self._queue.standing(submission)
            if standing.cancelled:
                self._end(submission, State(phase="cancelled", by=standing.cancelled))
                return
            self._accept(submission, standing, state)
        except UserError as error:
            if isinstance(error, StoreUnavailable):
                raise
            self._over.add(name)
            self._say(f"{name}: {error}")
            self._queue.refuse(name, str(error))

    def _accept(self, submission: Submission, standing: Standing, state: State) -> None:
        stages = needed(submission.stages, lambda stage: self._store.reusable(stage.id, stage.hashed))
        failures = {name: said for name in stages if (said := self._store.failure(name)) is not None}
        work = Work(
            id=submission.id,
            stages=stages,
            placement=submission.placement,
            standing={name: StageOutcome(name, failure) for name, failure in failures.items()},
            user=submission.user,
            priority=standing.priority,
            submitted=submission.submitted,
            code=place(self._store, submission.code) if submission.code else None,
            expected=submission.expected,
            paused=standing.paused,
        )
        self._scheduler.add(work)
        self._active[submission.id], self._standing[submission.id] = submission, standing
        used, lost = self._held_by_dead_service.pop(submission.id, (0.0, 0.0))
        used, lost = state.gpu_seconds + used, state.lost_seconds + lost
        self._before[submission.id] = replace(state, gpu_seconds=used, lost_seconds=lost)
        self._say(f"{submission.id}: {len(stages)} of {len(submission.stages)} stages to run, for {submission.user}")
        self._write_state(submission.id)

    def _apply_orders(self, submission: Submission, standing: Standing) -> None:
        before = self._standing[submission.id]
        if standing == before:
            return
        self._standing[submission.id] = standing
        if standing.cancelled:
            state = replace(self._state(submission), phase="cancelled", by=standing.cancelled, why={}, running=())
            self._scheduler.remove(submission.id)
            self._end(submission, state)
            return
        self._scheduler.update(submission.id, standing.priority, standing.paused)
        self._say(f"{submission.id}: priority {standing.priority}{', paused' if standing.paused else ''}")
        self._write_state(submission.id)

    def _finish(self, name: str) -> None:
        submission = self._active[name]
        state = self._state(submission)
        self._end(submission, replace(state, phase="failed" if state.failed else "done"))
        self._scheduler.remove(name)

    def _end(self, submission: Submission, state: State) -> None:
        self._queue.write_state(submission, replace(state, at=time.time()))
        self._active.pop(submission.id, None)
        self._over.add(submission.id)
        self._say(f"{submission.id}: {state.phase}{f' by {state.by}' if state.by else ''}")
        if state.phase != "cancelled":
            self._mirror(submission)

    # --- what is said

    def _state(self, submission: Submission) -> State:
        progress, name = self._scheduler.progress(submission.id), submission.id
        open_ = len(progress.waiting) + len(progress.running) + len(progress.failed) + len(progress.blocked)
        paused, before = self._standing[name].paused, self._before[name]
        left = progress.seconds_left(time.monotonic()) if progress.running else None
        return State(
            phase="paused" if paused and not progress.running else "running" if progress.running else "queued",
            waiting=len(progress.waiting),
            running=tuple(sorted(progress.running)),
            done=len(submission.stages) - open_,
            failed={stage: str(outcome.failure) for stage, outcome in sorted(progress.failed.items())},
            blocked=len(progress.blocked),
            gpu_seconds=round(before.gpu_seconds + self._scheduler.spent[name], 3),
            lost_seconds=round(before.lost_seconds + self._scheduler.lost[name], 3),
            why=self._scheduler.why(name),
            seconds_left=None if left is None else round(left),
        )

    def _write_state(self, name: str) -> None:
        """Say how a submission stands, if that is news."""
        state = self._state(self._active[name])
        if state != self._said.get(name):
            self._said[name] = state
            self._queue.write_state(self._active[name], replace(state, at=time.time()))

    def _heartbeat(self, up: bool = True) -> None:
        cluster = self._scheduler.fleet.cluster
        nodes = [asdict(node) for node in self._scheduler.fleet.nodes]
        free = {name: amount[:2] for name, amount in cluster.free.of.items()}
        self._queue.write_heartbeat(
            self._cluster,
            up=up,
            pid=os.getpid(),
            nodes=nodes,
            free=free,
            excluded=sorted(self._scheduler.fleet.flaky),
            usage=self._scheduler.usage(),
            shares=dict(self._shares),
            held=self._scheduler.held(),
            tokens_per_second=round(self._rate(), 1),
            credentials=credentials(os.environ),
        )

    def _rate(self) -> float:
        """Tokens a second over the last few."""
        then, before, rate = self._tokens
        total, now = self._scheduler.made, time.monotonic()
        if now - then >= 3:
            rate = max(0.0, total - before) / (now - then)
            self._tokens = (now, total, rate)
        return rate

    # --- the mirror

    def _mirror(self, submission: Submission) -> None:
        """Bring W&B up to date, beside the queue: it may take long, and may not stop anything."""
        name = submission.id
        if self._queue.published(name) is not None:
            return
        if submission.tracking.mode == "none":
            self._queue.publish(name, [])
            return
        command = [sys.executable, "-m", "s1sweep.queue.mirror", self._store.url, name]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._mirrors[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, **quiet)  # type: ignore[call-overload]

    def _mirrored(self) -> None:
        for name, process in list(self._mirrors.items()):
            if process.poll() is not None:
                del self._mirrors[name]
                for line in self._queue.published(name) or [f"W&B: not published, exit code {process.returncode}"]:
                    self._say(f"{name}: {line}")

    def _close(self) -> None:
        for process in self._mirrors.values():
            process.terminate()
        try:
            self._queue.write_usage(self._scheduler.usage(), self._cluster)
            for name in self._active:
                self._write_state(name)
            self._heartbeat(up=False)
        except StoreUnavailable as error:
            log.warning("the last state was not written: %s", error)

    def _ledger(self) -> Ledger:
        ledger = Ledger(HALF_LIFE)
        used, at = self._queue.usage(self._cluster)
        for user, seconds in used.items():
            ledger.charge(user, seconds, at)
        return ledger


def needed(stages: Mapping[str, Stage], done: Callable[[Stage], bool]) -> dict[str, Stage]:
    """Of stages (inputs first) those that must run for the last ones to be done."""
    inputs = {name for stage in stages.values() for name in stage.inputs.values()}
    todo: list[str] = [name for name in stages if name not in inputs]
    want: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in want and name in stages and not done(stages[name]):
            want.add(name)
            todo.extend(stages[name].inputs.values())
    return {name: stage for name, stage in stages.items() if name in want}
