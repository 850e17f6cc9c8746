"""One process's work on one sweep: plans the cells a sweeper hands over, runs what is missing, publishes, answers.

Opens at the first batch and stays open, so that a sequential sweeper's later batches add cells to the same plan, the
same Ray and the same engines.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from s1sweep import servers as server
from s1sweep.compose import CellReturn
from s1sweep.errors import UserError
from s1sweep.estimating.costmodel import CostModel, finished
from s1sweep.estimating.estimate import PlanEstimate, estimate, expected
from s1sweep.estimating.remarks import refuse_too_large, remarks
from s1sweep.identity import digest
from s1sweep.planning import Cell, KnownIds, Plan, Stage, pins
from s1sweep.planning.axes import axes_of
from s1sweep.policy import Capacity
from s1sweep.queue.submission import Submissions
from s1sweep.runtime.backend import Backend, InProcessBackend, check_capacity
from s1sweep.runtime.job import StageOutcome
from s1sweep.runtime.scheduler import Scheduler
from s1sweep.runtime.work import Watcher
from s1sweep.sources.tasks import questions
from s1sweep.spec import CellConfig, CurateStage, GrpoSpec, Placement, ServerDomainsSpec, SftSpec
from s1sweep.stages.resources import request
from s1sweep.store import Store, Sweep
from s1sweep.training.recipe import split_batch

# Shows how a run goes on, given its plan and the stages to run; it is told of the run's progress in every step.
Show = Callable[[Plan, Mapping[str, Stage]], AbstractContextManager[Watcher]]


def show_nothing(*_: Any) -> AbstractContextManager[Watcher]:
    """What a run shows where nobody looks: the Python API."""
    return contextlib.nullcontext(lambda _: None)


@dataclass
class Session:
    """Call it with batches of cells; leave the context to give everything back."""

    command: Sequence[str]
    run: bool
    retry_failed: bool = False
    force: str | None = None
    show: Show = show_nothing
    plan: Plan = field(default_factory=Plan)
    config: CellConfig | None = None
    failed: dict[str, StageOutcome] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    executed: int = 0

    def __post_init__(self) -> None:
        self._exit = contextlib.ExitStack()
        self._backend: Backend | None = None
        self._opened = False
        self._missing: dict[str, Stage] | None = None  # since cells were added or stages run

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._exit.__exit__(*exc)

    @property
    def placement(self) -> Placement:
        assert self.config is not None
        return self.config.placement

    @property
    def store(self) -> Store:
        return Store(self.placement.root)

    @property
    def sweep(self) -> Sweep:
        """The sweep of this command: its given name, or one made from the command."""
        assert self.config is not None
        return Sweep(self.store, self.config.name or f"sweep-{digest(sorted(self.command))[:8]}")

    def __call__(self, configs: Sequence[CellConfig]) -> list[CellReturn]:
        """Plan a batch, and run it unless only a plan is wanted."""
        for config in configs:
            self._check_agreement(config)
            _check_training(config)
        if not self.plan.cells:
            self.plan.known = KnownIds.of(self.store)
        commits, once = pins.read(self.store), self.plan.once
        cells = [self.plan.add(pins.pinned(config.cell, commits, once), axes_of(config)) for config in configs]
        self._missing = None
        if not self.run:
            return [CellReturn(None, None, cell) for cell in cells]
        self.check()
        self._refuse_training_on_endpoint()
        self._check_keys()
        self._open()
        self.sweep.add(cell.as_json() for cell in cells)
        self._execute()
        return [self._answer(cell, config.objective) for cell, config in zip(cells, configs, strict=True)]

    def missing(self) -> dict[str, Stage]:
        """The stages that have to run."""
        if self._missing is None:
            self._missing = self.plan.needed(self.plan.reused(self.store))
        return self._missing

    def estimate(self) -> PlanEstimate:
        return estimate(self.plan, self.missing(), self.placement, self.cost_model())

    def cost_model(self) -> CostModel:
        """What the store's finished runs say about how long work takes."""
        return CostModel(finished(self.store))

    def expected(self) -> dict[str, float]:
        """Seconds that stages which have to run will take, as far as is known."""
        return expected(self.plan, self.missing(), self.placement, self.cost_model())

    def remarks(self) -> list[str]:
        return remarks(self.plan, self.missing(), self.placement)

    def unpinned(self) -> list[pins.Use]:
        """What the sweep reads from the hub at no fixed commit: `run` will refuse it."""
        return pins.unpinned_of((cell.spec for cell in self.plan.cells), self.plan.once)

    def check(self) -> None:
        """Refuse what could be planned and cannot be run: hub names without a commit, tasks that cannot be read,
        trainings that no GPU holds.
        """
        pins.refuse_unpinned((cell.spec for cell in self.plan.cells), self.plan.once)
        for cell in self.plan.cells:
            self.plan.once(questions, cell.spec.task)
        refuse_too_large(self.missing(), self.placement)

    # --- running

    def _check_agreement(self, config: CellConfig) -> None:
        """One session has one placement, one tracker and one sweep."""
        first = self.config = self.config or config
        for name in ("name", "notes", "tags", "claims", "placement", "tracking"):
            given, agreed = getattr(config, name), getattr(first, name)
            if given is not agreed and given != agreed:
                raise UserError(
                    f"{name} differs between cells of one command: {agreed!r} and {given!r}. "
                    f"{name} is not an axis: run one command for each."
                )

    def feasible(self) -> None:
        """Refuse what this machine cannot do, before anything is written."""
        here = self.placement
        if here.backend == "inprocess" and here.train_workers > 1:
            raise UserError(
                f"placement.train_workers={here.train_workers} needs placement.backend=ray (inprocess has 1)."
            )
        if here.ray_address is None and here.gpus:
            from s1sweep.runtime.machine import gpu_count

            if here.gpus > gpu_count():
                raise UserError(
                    f"placement.gpus={here.gpus}, but this machine has {gpu_count()}. "
                    "Lower placement.gpus, use placement=laptop for the CPU, "
                    "or give placement.ray_address of a cluster."
                )
        if here.train_strategy == "fsdp2" and not here.gpus_per_train_worker:
            raise UserError(
                "placement.train_strategy=fsdp2 needs GPUs, and placement.gpus_per_train_worker=0: on CPUs the trainer "
                "would ignore it. Give placement.train_strategy=ddp, or a placement with GPUs."
            )
        needs = {kind: request(kind, here) for kind in ("train", "decode")}
        for kind, need in needs.items():
            if here.ray_address is None and need.gpus > here.gpus:
                raise UserError(
                    f"one {kind} job asks for {need.gpus:g} GPUs, but placement.gpus={here.gpus}. "
                    "Raise placement.gpus or lower placement.gpus_per_engine / gpus_per_train_worker."
                )
            if here.ray_address is None and need.cpus > (here.cpus or os.cpu_count() or 1):
                raise UserError(
                    f"one {kind} job asks for {need.cpus:g} CPUs, but this machine has {here.cpus or os.cpu_count()}. "
                    "Lower placement.threads or placement.train_workers."
                )

    def _refuse_training_on_endpoint(self) -> None:
        """Refuse to train where a server decodes: it has the weights that it was started with, and no others."""
        if self.placement.endpoint is None:
            return
        training = [stage.id for stage in self.missing().values() if stage.kind == "train"]
        if training:
            raise UserError(
                f"placement.endpoint serves the weights it was started with, and {len(training)} trainings of this "
                f"grid would make others ({training[0]}, ...). Give train=none, or another placement."
            )

    def _check_keys(self) -> None:
        """Refuse to start without the keys of servers that will be asked from this machine."""
        if self.placement.ray_address is not None:
            return
        if self.placement.endpoint is not None:
            server.key(self.placement.endpoint)
        for stage in self.plan.stages.values():
            step = stage.spec.step if isinstance(stage.spec, CurateStage) else None
            if isinstance(step, ServerDomainsSpec) and stage.id in self.missing():
                server.key(step)

    def _open(self) -> None:
        """At the first batch: see that it can run, become the store's scheduler, take back what is to be redone."""
        assert self.config is not None
        if self._opened:
            return
        self.feasible()
        self._lock()
        self._leases = self._exit.enter_context(self.store.leases(self.placement.cluster))
        if self.force:
            self._withdraw(self.force)
        claims = [claim.model_dump(mode="json") for claim in self.config.claims]
        self.sweep.open(self.config.notes, self.config.tags, claims)
        self._opened = True

    def _lock(self) -> None:
        try:
            self._exit.enter_context(self.store.scheduler_lock(self.placement.cluster))
        except UserError as error:
            if (said := Submissions(self.store).service(self.placement.cluster)) is None:
                raise
            raise UserError(
                f"placement.root={self.store.url!r} is served by a queue service (pid {said['pid']} on "
                f"{said['host']}). Give it this work with `s1sweep submit` and the same overrides, or run it on "
                "another placement.root, or as another placement.cluster."
            ) from error

    def _withdraw(self, prefix: str) -> None:
        """Take back a stage's record and those of all that hangs on it."""
        found = [name for name in self.plan.stages if name == prefix] or [
            name for name in self.plan.stages if name.startswith(prefix)
        ]
        if len(found) != 1:
            shown = ", ".join(sorted(found or self.plan.stages)[:8])
            raise UserError(f"--force {prefix}: {len(found)} stages of this plan match. Give one of: {shown}, ...")
        gone = {found[0]}
        for stage in self.plan.stages.values():
            if not gone.isdisjoint(stage.inputs.values()):
                gone.add(stage.id)
        for name in gone:
            self.store.withdraw(name)
        self._missing = None

    def _execute(self) -> None:
        stages = self.missing()
        standing = {}
        for name in stages:
            failure = self.store.failure(name)
            if failure is not None and self.retry_failed and name not in self.failed:
                self.store.clear_failure(name)
            elif failure is not None:
                standing[name] = StageOutcome(name, failure)
        if stages:
            took = self.expected()
            with self.show(self.plan, stages) as watch:
                scheduler = Scheduler(self.store, self._start_backend(), self.placement, watch, self._leases)
                progress = scheduler.run(stages, standing, took)
            self.failed |= progress.failed
            self.blocked |= progress.blocked
            self.executed += len(progress.done)
            self._missing = None

    def _start_backend(self) -> Backend:
        if self._backend is None:
            self._backend = start_backend(self.placement)
            self._exit.callback(self._backend.close)
            for kind in ("train", "decode"):
                need = request(kind, self.placement)
                check_capacity(self._backend.capacity, need.cpus, need.gpus)
        return self._backend

    def _answer(self, cell: Cell, objective: str) -> CellReturn:
        record = self.store.record(cell.stages["grade"])
        if record is None:
            stopped = [name for name in cell.stages.values() if name in self.failed]
            why = f"{stopped[0]} failed: {self.failed[stopped[0]].failure}" if stopped else "not run"
            return CellReturn(None, why, cell)
        return CellReturn(float(record.summary[objective]), None, cell)


def _check_training(config: CellConfig) -> None:
    """Raise UserError if this placement cannot split the batch."""
    here, train = config.placement, config.cell.train
    if isinstance(train, GrpoSpec):
        split_batch(train.prompts_per_step * train.num_generations, here.train_workers, here.micro_batch)
        train = train.sft or train
    if isinstance(train, SftSpec):
        split_batch(train.batch_size, here.train_workers, here.micro_batch)


def start_backend(placement: Placement) -> Backend:
    """This process, a Ray of its own, or the cluster at `placement.ray_address`."""
    if placement.backend == "inprocess":
        return InProcessBackend(Capacity(cpus=placement.threads, gpus=placement.gpus, engines=1))
    from s1sweep.runtime.ray_backend import RayBackend

    return RayBackend(placement, placement.cpus or os.cpu_count() or 1)
