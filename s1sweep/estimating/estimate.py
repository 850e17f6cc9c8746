"""What a plan will cost, before it runs: tokens from specs, time from finished runs of the same kind.

Where there are none, time is floating-point work at a stated efficiency, and every assumption is a named number here:
6 x parameters x tokens for training, and 6 x layers x width x length for each token's attention; 2 x parameters x
tokens for decoding (forward only).
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from s1sweep.estimating.costmodel import CostModel, Fit
from s1sweep.estimating.lengths import POOL_ROWS, TRACE_TOKENS, mean_length, step_count, train_tokens
from s1sweep.planning import Plan, Stage
from s1sweep.policy import Node
from s1sweep.simulation import SimulatedWork, simulate, work_of
from s1sweep.sources.tasks import question_count
from s1sweep.spec import (
    DecodeStage,
    Placement,
    PoolStage,
    TaskSpec,
    TrainStage,
)
from s1sweep.stages.resources import request
from s1sweep.training.memory import shape

# Share of peak that a full fine-tune reaches. s1's two published runs of a 32B model on 16 H100 imply 0.20 and 0.16.
TRAIN_EFFICIENCY = 0.17
DECODE_EFFICIENCY = 0.05  # decoding is bound by memory bandwidth, not by arithmetic
THREAD_TFLOPS = 0.2  # "peak" of a CPU thread, at which these efficiencies give the testbed's own speeds
STARTUP = {"cpu": 10.0, "gpu": 120.0}  # seconds of a worker with its model, where no run tells
STATED = (1 / 3, 3.0)  # the range of a stated efficiency
CORE_SECONDS = 0.5  # of a stage that needs cores alone
SHORT = ("select", "grade")  # take about so long whatever they read; a pool or a step of curation may take hours
SAVED_SECONDS = 60.0  # a decode job saves its blocks about so often
EXTENSION_SHARE = 0.3  # an ignored end adds about this share of the natural length


@dataclass(frozen=True)
class PlanEstimate:
    """Hours and money are for these tokens; the range says how far runs differ from what is predicted of them.

    `wall_hours` is how long the stages take on the placement's machines alone. `basis` says what times come from.
    """

    decode_tokens: int
    train_tokens: int
    gpu_hours: float
    wall_hours: float
    cost: float | None  # None without a price
    low: float = 1.0  # factors on hours and money
    high: float = 1.0
    basis: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        ranges = {
            f"{name}_range": None if value is None else [round(value * self.low, 4), round(value * self.high, 4)]
            for name, value in (("gpu_hours", self.gpu_hours), ("wall_hours", self.wall_hours), ("cost", self.cost))
        }
        tokens = {"decode_tokens": self.decode_tokens, "train_tokens": self.train_tokens}
        hours = {"gpu_hours": self.gpu_hours, "wall_hours": self.wall_hours, "cost": self.cost}
        return {**tokens, **hours, **ranges, "basis": list(self.basis)}


@dataclass(frozen=True)
class Load:
    """One training, or what an engine session decodes of one task, as the work of `stages` together; `flops` of a
    device that reaches the efficiency.
    """

    stages: tuple[str, ...]
    kind: str
    parameters: float
    tokens: int
    flops: float
    steps: int = 0


@dataclass
class Times:
    """Seconds of each stage's work (what some do together is shared out), start-up by kind, seconds between savings."""

    seconds: dict[str, float] = field(default_factory=dict)
    startup: dict[str, float] = field(default_factory=dict)
    saved: dict[str, float] = field(default_factory=dict)
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    basis: dict[str, None] = field(default_factory=dict)

    def work(
        self, stages: Mapping[str, Stage], placement: Placement, core_seconds: float = CORE_SECONDS
    ) -> list[SimulatedWork]:
        """The stages as work to simulate."""

        def seconds(stage: Stage) -> float:
            return self.seconds.get(stage.id, 0.0 if stage.kind in ("train", "decode") else core_seconds)

        def saved(stage: Stage) -> float | None:
            return SAVED_SECONDS if stage.kind == "decode" else self.saved.get(stage.id)

        return work_of(stages, placement, seconds, lambda kind: self.startup.get(kind, 0.0), checkpoint=saved)


def estimate(
    plan: Plan, stages: Mapping[str, Stage], placement: Placement, model: CostModel | None = None
) -> PlanEstimate:
    """Tokens, GPU hours, wall time and money of the stages that would run; 0 GPU hours where no GPU is placed."""
    loads = loads_of(plan, stages)
    found = times(loads, placement, model or CostModel())
    # Grading is seconds of one core, beside the rest; a large grid has most of its stages there.
    work = found.work({name: s for name, s in stages.items() if s.kind != "grade"}, placement)
    wall = simulate(work, node_of(placement, work)).makespan / 3600
    hours = sum((job.startup + job.seconds) * job.request.gpus for job in work) / 3600
    low, high = range_of(loads, found)
    return PlanEstimate(
        sum(load.tokens for load in loads if load.kind == "decode"),
        sum(load.tokens for load in loads if load.kind == "train"),
        round(hours, 4),
        round(wall, 4),
        None if placement.price_per_gpu_hour is None else round(hours * placement.price_per_gpu_hour, 2),
        low,
        high,
        tuple(found.basis),
    )


def times(loads: list[Load], placement: Placement, model: CostModel) -> Times:
    """How long each takes here: by finished runs of its kind, else by the stated efficiency."""
    found = Times()
    for load in loads:
        needs = request(load.kind, placement)
        device = (placement.gpu_kind or "gpu") if needs.gpus else "cpu"
        fit = model.fit(load.kind, device, load.parameters) or _stated(load, placement, device)
        width = placement.train_workers if load.kind == "train" else max(1, placement.gpus_per_engine)
        seconds = load.parameters * load.tokens / width / fit.rate
        found.seconds |= dict.fromkeys(load.stages, seconds / len(load.stages))
        found.startup[load.kind] = max(fit.startup, found.startup.get(load.kind, 0.0))
        low, high = found.spread.get(load.kind, (1.0, 1.0))
        found.spread[load.kind] = min(low, fit.low), max(high, fit.high)
        if load.steps and placement.checkpoint_every:
            found.saved[load.stages[0]] = seconds / load.steps * placement.checkpoint_every
        found.basis[_basis(load, device, fit)] = None
    return found


def expected(plan: Plan, stages: Mapping[str, Stage], placement: Placement, model: CostModel) -> dict[str, float]:
    """Seconds that each stage will take, for the policy: its share of what its job does, start-up included. A stage of
    which nothing is known is left out.
    """
    found = times(loads_of(plan, stages), placement, model)
    together = Counter(stage.session for stage in stages.values())
    known = {name: CORE_SECONDS for name, stage in stages.items() if stage.kind in SHORT}
    for name, seconds in found.seconds.items():
        stage = stages[name]
        known[name] = seconds + found.startup[stage.kind] / (together[stage.session] if stage.session else 1)
    return known


def range_of(loads: list[Load], found: Times) -> tuple[float, float]:
    """Factors on all hours: each kind's range, by its share of the time."""
    parts = [
        (sum(found.seconds[name] for name in load.stages) + found.startup[load.kind], found.spread[load.kind])
        for load in loads
    ]
    total = sum(seconds for seconds, _ in parts)
    if not total:
        return 1.0, 1.0
    low, high = (sum(seconds * spread[i] for seconds, spread in parts) / total for i in (0, 1))
    return round(low, 3), round(high, 3)


def _stated(load: Load, placement: Placement, device: str) -> Fit:
    peak = THREAD_TFLOPS * placement.threads if device == "cpu" else placement.gpu_tflops
    rate = load.parameters * load.tokens / load.flops * peak * 1e12 if load.flops else 1.0
    return Fit(STARTUP["cpu" if device == "cpu" else "gpu"], rate, 0, None, *STATED)


def _basis(load: Load, device: str, fit: Fit) -> str:
    what = f"{load.kind} of {load.parameters / 1e9:.3g}B parameters on {device}"
    if not fit.runs:
        efficiency = TRAIN_EFFICIENCY if load.kind == "train" else DECODE_EFFICIENCY
        return (
            f"{what}: no finished run of this kind; a stated efficiency of {efficiency:g}, right to a factor of three"
        )
    if fit.error is None:
        return f"{what}: 1 finished run, so its error is not known"
    return f"{what}: {fit.runs} finished runs, median error {100 * fit.error:.0f} % (each predicted from the others)"


def node_of(placement: Placement, work: list[SimulatedWork]) -> Node:
    """The placement's machines as one pool; what asks for more than there is is let in, since `run` refuses it."""
    cpus = placement.cpus or (os.cpu_count() or 1 if placement.ray_address is None else 1e6)
    largest = [max((getattr(job.request, name) for job in work), default=0.0) for name in ("cpus", "gpus")]
    return Node(max(cpus, largest[0]), max(placement.gpus, largest[1]), placement.engines, gpu_kind=placement.gpu_kind)


def loads_of(plan: Plan, stages: Mapping[str, Stage]) -> list[Load]:
    """What the stages train and decode."""
    found = []
    for stage in stages.values():
        if isinstance(stage.spec, TrainStage):
            parameters, train = stage.spec.model.parameters, stage.spec.train
            tokens, steps = train_tokens(plan, stage, train), step_count(plan, stage, train)
            flops = train_flops(parameters, tokens, mean_length(plan, stage, train))
            found.append(Load((stage.id,), "train", parameters, tokens, flops, steps))
    sessions: dict[tuple[str, str], list[Stage]] = defaultdict(list)
    for stage in stages.values():
        if isinstance(stage.spec, DecodeStage):
            asked = stage.hashed["content"].get("task") or f"{stage.inputs['rows']} {stage.spec.task.prompt}"
            sessions[stage.session or "", asked].append(stage)
    natural = _natural_length(plan)
    for members in sessions.values():
        specs = [stage.spec for stage in members if isinstance(stage.spec, DecodeStage)]
        tokens = _decode_tokens(specs, _questions(plan, members[0]), natural)
        parameters = specs[0].model.parameters
        flops = 2 * parameters * tokens / DECODE_EFFICIENCY
        found.append(Load(tuple(stage.id for stage in members), "decode", parameters, tokens, flops))
    return found


def train_flops(parameters: float, tokens: float, length: float) -> float:
    """Floating-point work of a training at the stated efficiency; `length` is a row's mean tokens."""
    width, layers = shape(parameters)
    return tokens * (6 * parameters + 6 * layers * width * length) / TRAIN_EFFICIENCY


def _natural_length(plan: Plan) -> float:
    """How long the pool's traces are: what a model trained on them is expected to think."""
    for rows in plan.subsets.values():
        return fmean(row.trace_tokens or 0 for row in rows)
    pools = [s.spec.pool for s in plan.stages.values() if isinstance(s.spec, PoolStage)]
    return (pools[0].mean_trace_tokens or TRACE_TOKENS) if pools else 256.0


def _questions(plan: Plan, stage: Stage) -> int:
    """How many a decode stage asks; of a pool's rows as many as there may be."""
    assert isinstance(stage.spec, DecodeStage)
    task = stage.spec.task
    return question_count(task) if isinstance(task, TaskSpec) else plan.asked.get(stage.id, POOL_ROWS)


def _decode_tokens(specs: list[DecodeStage], count: int, natural: float) -> int:
    """Distinct tokens of one checkpoint and task: one trunk, an extension for each string and ignore, an answer a
    cell.
    """
    asked = count * max(s.sampling.samples for s in specs)
    ignores: dict[str, int] = defaultdict(int)
    trunks: dict[Any, float] = defaultdict(float)
    for s in specs:
        strings = "/".join(s.extrapolation.strings)
        ignores[strings] = max(ignores[strings], s.extrapolation.num_ignore)
        # Caps of one prompt are one trunk; another prompt, a ban or a tree is another.
        root = s.method.kind, getattr(s.method, "think_for", None), getattr(s.method, "length", None)
        cap = getattr(s.method, "max_thinking_tokens", 0)
        length = min(cap, natural) if isinstance(cap, int) else natural
        trunks[root] = max(trunks[root], length * _draws(s))
    trunk = sum(trunks.values())
    extensions = sum(ignores.values()) * EXTENSION_SHARE * trunk
    answers = sum(min(s.method.max_answer_tokens, 8) for s in specs)
    return round(asked * (trunk + extensions + answers))


def _draws(spec: DecodeStage) -> int:
    """Traces a method draws for one sample, at most."""
    return max(getattr(spec.method, name, 1) for name in ("width", "max_tries"))
