"""The scheduler: runs the stages of a plan on a backend until nothing more can run.

A failed stage blocks only what needs it. What can be tried again by its class of failure is, as often as placement
allows.
Knows plans, the store, the policy and the three verbs; knows neither Ray nor what a stage does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from s1sweep.planning import Stage
from s1sweep.runtime.backend import Backend, Handle
from s1sweep.runtime.job import Job, Outcome, Request, Resources, Task
from s1sweep.runtime.policy import Waiting, decide
from s1sweep.spec import Placement
from s1sweep.store import Store

# What to change where even half the micro-batch, or a second try, was too much.
MEMORY = {
    "train": "Lower train.block_size or placement.micro_batch, set placement.gradient_checkpointing=true, or take more "
    "placement.train_workers with placement.train_strategy=fsdp2",
    "decode": "Lower placement.kv_cache_mb or model.max_model_len, or raise placement.gpus_per_engine",
}
# What has begun is finished first, so that results come early and the engine runs beside the training.
RANK = {"decode": 0, "pool": 1, "curate": 1, "select": 1, "train": 2, "grade": 3}
BATCH = {"grade": 32}  # small stages travel together


@dataclass
class Progress:
    """Where a run stands; the same object all the time, for a display to read."""

    waiting: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    failed: dict[str, Outcome] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)


Watcher = Callable[[Progress], None]


def resources(placement: Placement, root: Path) -> Resources:
    """What a stage may use under this placement, in the store at `root`."""
    return Resources(
        threads=placement.threads,
        train_workers=placement.train_workers,
        gpus_per_train_worker=placement.gpus_per_train_worker,
        micro_batch=placement.micro_batch,
        train_strategy=placement.train_strategy,
        gradient_checkpointing=placement.gradient_checkpointing,
        cpu_offload=placement.cpu_offload,
        checkpoint_every=placement.checkpoint_every,
        gpus_per_engine=placement.gpus_per_engine,
        kv_cache_mb=placement.kv_cache_mb,
        endpoint=placement.endpoint,
        traces=str(root / "traces"),
    )


def request(kind: str, placement: Placement) -> Request:
    """What a job of this kind occupies."""
    if kind == "train":
        workers = placement.train_workers
        return Request(placement.threads * workers, placement.gpus_per_train_worker * workers)
    if kind == "decode":
        return Request(placement.threads, placement.gpus_per_engine, 1)
    return Request(1)


class Scheduler:
    """Runs stages. One per store at a time: hold `store.scheduler_lock()`."""

    def __init__(self, store: Store, backend: Backend, placement: Placement, watch: Watcher = lambda _: None) -> None:
        self._store = store
        self._backend = backend
        self._placement = placement
        self._watch = watch
        self._running: dict[Handle, Job] = {}
        self._tries: Counter[str] = Counter()
        self._halved: set[str] = set()  # stages that ran out of memory once
        self._saved: dict[str, int] = {}  # the step that a preempted stage would go on from
        self._jobs = 0
        self._shards: dict[str, Job] = {}  # of engine sessions, not started yet
        self._shards_left: Counter[tuple[str, ...]] = Counter()  # by the stages of their session
        self._traced: set[str] = set()  # stages whose shards are through

    def run(self, stages: Mapping[str, Stage], standing: Mapping[str, Outcome]) -> Progress:
        """Run the stages, inputs first. `standing` are failures of earlier runs that are not to be tried again.

        On an interrupt the running jobs are cancelled and the interrupt goes on.
        """
        progress = Progress(waiting=set(stages))
        weight = _weights(stages)
        for outcome in standing.values():
            self._fail(outcome, stages, progress)
        try:
            while progress.waiting or self._running:
                self._start(stages, weight, progress)
                self._watch(progress)
                if not self._running:
                    if progress.waiting:
                        raise RuntimeError(f"nothing runs, yet these wait: {sorted(progress.waiting)[:5]}")
                    break
                for handle, outcomes in self._backend.wait_any(list(self._running), timeout=0.5):
                    self._collect(self._running.pop(handle), outcomes, stages, progress)
        except BaseException:
            for handle in self._running:
                self._backend.cancel(handle)
            self._running.clear()
            raise
        self._watch(progress)
        return progress

    def _start(self, stages: Mapping[str, Stage], weight: Mapping[str, int], progress: Progress) -> None:
        open_ids = progress.waiting | progress.running
        ready = [s for s in stages.values() if s.id in progress.waiting and open_ids.isdisjoint(s.inputs.values())]
        jobs = {job.id: job for job in self._group(ready, progress)} | self._shards
        waiting = [
            Waiting(job.id, job.request, RANK.get(job.kind, 2), sum(weight[t.id] for t in job.tasks))
            for job in jobs.values()
        ]
        for name in decide(waiting, [job.request for job in self._running.values()], self._backend.capacity):
            job = jobs[name]
            ids = {task.id for task in job.tasks}
            self._shards.pop(name, None)
            progress.waiting -= ids
            progress.running |= ids
            self._running[self._backend.submit(job)] = job

    def _group(self, ready: list[Stage], progress: Progress) -> list[Job]:
        """Stages that run together: those of one engine session, and small ones in batches.

        An engine session for which more than one engine is free goes into shards first.
        """
        groups: dict[tuple[str, str], list[Stage]] = {}
        for i, stage in enumerate(ready):
            batch = str(i // BATCH[stage.kind]) if stage.kind in BATCH else stage.id
            groups.setdefault((stage.kind, stage.session or batch), []).append(stage)
        jobs = []
        sessions = sum(kind == "decode" for kind, _ in groups) + len(self._shards)
        sessions += sum(job.kind == "decode" for job in self._running.values())
        for (kind, _), members in groups.items():
            tasks = tuple(Task(s.id, s.kind, s.spec, s.hashed, s.inputs) for s in members)
            shards = int(self._backend.capacity.engines) // sessions if kind == "decode" else 1
            ids = tuple(task.id for task in tasks)
            if shards < 2 or not self._traced.isdisjoint(ids):
                jobs.append(self._job(kind, tasks, None))
                continue
            progress.waiting.difference_update(ids)
            progress.running.update(ids)
            self._shards_left[ids] = shards
            for i in range(shards):
                job = self._job(kind, tasks, (i, shards))
                self._shards[job.id] = job
        return jobs

    def _job(self, kind: str, tasks: tuple[Task, ...], shard: tuple[int, int] | None) -> Job:
        first = f"{tasks[0].id}+{len(tasks) - 1}" if len(tasks) > 1 else tasks[0].id
        self._jobs += 1
        return Job(
            id=f"{first}#{self._jobs}",
            kind=kind,
            tasks=tasks,
            request=request(kind, self._placement),
            resources=replace(
                resources(self._placement, self._store.root),
                shard=shard,
                halve_batch=not self._halved.isdisjoint(task.id for task in tasks),
            ),
            root=str(self._store.root),
        )

    def _collect(self, job: Job, outcomes: list[Outcome], stages: Mapping[str, Stage], progress: Progress) -> None:
        if job.resources.shard is not None:
            self._collect_shard(job, progress)
            return
        for outcome in outcomes:
            name = outcome.stage_id
            progress.running.discard(name)
            if outcome.ok or self._store.record(name) is not None:
                # A lost worker may have published before it went.
                progress.done.append(name)
                continue
            if self._again(outcome):
                progress.waiting.add(name)
                continue
            if outcome.failure == "out_of_memory":
                what = MEMORY.get(job.kind, "Use a machine with more memory")
                outcome = replace(outcome, message=f"{outcome.message.rstrip('.')}. {what}.")
            log = Path(outcome.log) if outcome.log else None
            self._store.mark_failed(name, outcome.failure or "bug", outcome.message, log)
            self._fail(outcome, stages, progress)

    def _again(self, outcome: Outcome) -> bool:
        """Whether a failed stage is tried again, by its class of failure.

        preempted: free, as long as it gets further each time. worker_lost: `max_retries` times. out_of_memory: once, in
        half the micro-batch. A bug: never.
        """
        name = outcome.stage_id
        if outcome.failure == "out_of_memory":
            first = name not in self._halved
            self._halved.add(name)
            return first
        if outcome.failure == "preempted":
            before, now = self._saved.get(name, 0), self._store.saved_step(name)
            self._saved[name] = now
            if now > before:
                return True
        if outcome.failure in ("preempted", "worker_lost"):
            self._tries[name] += 1
            return self._tries[name] <= self._placement.max_retries
        return False

    def _collect_shard(self, job: Job, progress: Progress) -> None:
        """After the last shard the session itself runs, and decodes what a lost or failed shard left out."""
        ids = tuple(task.id for task in job.tasks)
        self._shards_left[ids] -= 1
        if not self._shards_left[ids]:
            self._traced.update(ids)
            progress.running.difference_update(ids)
            progress.waiting.update(ids)

    @staticmethod
    def _fail(outcome: Outcome, stages: Mapping[str, Stage], progress: Progress) -> None:
        progress.waiting.discard(outcome.stage_id)
        progress.failed[outcome.stage_id] = outcome
        stopped = {outcome.stage_id}
        for stage in stages.values():  # inputs come first, so one pass reaches all descendants
            if not stopped.isdisjoint(stage.inputs.values()):
                stopped.add(stage.id)
                if stage.id in progress.waiting:
                    progress.waiting.discard(stage.id)
                    progress.blocked.add(stage.id)


def _weights(stages: Mapping[str, Stage]) -> dict[str, int]:
    """How many stages hang on each, itself included (a stage reached by two ways counts twice: a heuristic)."""
    weight = dict.fromkeys(stages, 1)
    for stage in reversed(list(stages.values())):
        for name in stage.inputs.values():
            if name in weight:
                weight[name] += weight[stage.id]
    return weight
