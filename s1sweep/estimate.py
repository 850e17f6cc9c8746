"""What a plan will cost, before it runs. Pure arithmetic on specs; every assumption is a named number here.

Floating-point work is 6 x parameters x tokens for training and 2 x parameters x tokens for decoding (forward only).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from s1sweep.plan import Plan, Stage
from s1sweep.sources import questions
from s1sweep.spec import DecodeStage, Placement, PoolSpec, PoolStage, SelectStage, SftSpec, TaskSpec, TrainStage
from s1sweep.training.sft import total_steps

TRAIN_EFFICIENCY = 0.35  # share of peak that a full fine-tune reaches
DECODE_EFFICIENCY = 0.05  # decoding is bound by memory bandwidth, not by arithmetic
EXTENSION_SHARE = 0.3  # an ignored end adds about this share of the natural length
CHARS_PER_TOKEN = 4
# Of a pool that cannot be read while planning and does not say: those of s1.
POOL_ROWS = 59_000
TRACE_TOKENS = 3_600.0
QUESTION_TOKENS = 100


@dataclass(frozen=True)
class Estimate:
    decode_tokens: int
    train_tokens: int
    gpu_hours: float


def estimate(plan: Plan, stages: Mapping[str, Stage], placement: Placement) -> Estimate:
    """Tokens and GPU hours of the stages that would run; 0 GPU hours where no GPU is placed."""
    train_tokens = decode_tokens = 0
    flops = 0.0
    for stage in stages.values():
        if isinstance(stage.spec, TrainStage):
            tokens = _train_tokens(plan, stage, stage.spec)
            train_tokens += tokens
            flops += 6 * stage.spec.model.parameters * tokens / TRAIN_EFFICIENCY
    sessions: dict[tuple[str, str], list[Stage]] = defaultdict(list)
    for stage in stages.values():
        if isinstance(stage.spec, DecodeStage):
            asked = stage.hashed["content"].get("task") or f"{stage.inputs['rows']} {stage.spec.task.prompt}"
            sessions[stage.session or "", asked].append(stage)
    natural = _natural_length(plan)
    for members in sessions.values():
        specs = [stage.spec for stage in members if isinstance(stage.spec, DecodeStage)]
        tokens = _decode_tokens(specs, _questions(plan, members[0]), natural)
        decode_tokens += tokens
        flops += 2 * specs[0].model.parameters * tokens / DECODE_EFFICIENCY
    gpus = placement.gpus or placement.gpus_per_engine or placement.gpus_per_train_worker
    hours = flops / (placement.gpu_tflops * 1e12) / 3600 if gpus else 0.0
    return Estimate(decode_tokens, train_tokens, round(hours, 4))


def _train_tokens(plan: Plan, stage: Stage, spec: TrainStage) -> int:
    train: SftSpec = spec.train
    rows = plan.subsets.get(stage.inputs["data"])
    if rows is not None:
        size, mean = len(rows), fmean((r.trace_tokens or 0) + r.question_chars / CHARS_PER_TOKEN for r in rows)
    else:
        select = plan.stages[stage.inputs["data"]].spec
        assert isinstance(select, SelectStage)
        pool = _pool_of(plan, stage)
        size = select.data.size or pool.rows or POOL_ROWS
        mean = (pool.mean_trace_tokens or TRACE_TOKENS) + QUESTION_TOKENS
    return round(total_steps(train, size) * min(train.batch_size, size) * min(mean, train.block_size))


def _pool_of(plan: Plan, stage: Stage) -> PoolSpec:
    """The pool at the end of a stage's inputs."""
    while not isinstance(stage.spec, PoolStage):
        stage = plan.stages[next(iter(stage.inputs.values()))]
    return stage.spec.pool


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
    return len(questions(task)) if isinstance(task, TaskSpec) else plan.asked.get(stage.id, POOL_ROWS)


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
