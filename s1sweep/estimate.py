"""What a plan will cost, before it runs. Pure arithmetic on specs; every assumption is a named number here.

Floating-point work is 6 x parameters x tokens for training, and 6 x layers x width x length for each token's attention;
2 x parameters x tokens for decoding (forward only).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from s1sweep.planning import Plan, Stage
from s1sweep.spec import DecodeStage, Placement, PoolSpec, PoolStage, SelectStage, SftSpec, TaskSpec, TrainStage
from s1sweep.tasks import question_count
from s1sweep.training.memory import advice, memory, shape
from s1sweep.training.recipe import split_batch, total_steps

# Share of peak that a full fine-tune reaches. s1's two published runs of a 32B model on 16 H100 imply 0.20 and 0.16.
TRAIN_EFFICIENCY = 0.17
# H100 hours of five epochs of a 32B model on so many rows of s1's pool (s1 paper, sections 1 and 5.1).
PUBLISHED = {1_000: 7.0, 59_000: 394.0}
H100_TFLOPS = 989.0  # dense bf16
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
            flops += train_flops(stage.spec.model.parameters, tokens, _length(plan, stage, stage.spec.train))
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


def train_flops(parameters: float, tokens: float, length: float) -> float:
    """Floating-point work of a training at the stated efficiency; `length` is a row's mean tokens."""
    width, layers = shape(parameters)
    return tokens * (6 * parameters + 6 * layers * width * length) / TRAIN_EFFICIENCY


def train_notes(plan: Plan, stages: Mapping[str, Stage], placement: Placement) -> list[str]:
    """What to know before the trainings start: memory, truncation, and the published cost where it can be compared."""
    found: dict[str, int] = {}
    for stage in stages.values():
        if isinstance(stage.spec, TrainStage):
            for line in _notes_of(plan, stage, stage.spec, placement):
                found[line] = found.get(line, 0) + 1
    return [f"{line} ({n} trainings)" if n > 1 else line for line, n in found.items()]


def _notes_of(plan: Plan, stage: Stage, spec: TrainStage, here: Placement) -> Iterator[str]:
    train, lengths, pool = spec.train, _lengths(plan, stage), _pool_of(plan, stage)
    micro = split_batch(train.batch_size, here.train_workers, here.micro_batch).micro
    need = memory(spec.model.parameters, train, here, micro, round(lengths[0]) if lengths else train.block_size)
    parts = f"states {need.states:.3g}, activations {need.activations:.3g}, rest {need.rest:.3g}"
    if here.gpus_per_train_worker:
        yield f"training {spec.model.name} takes about {need.total:.0f} GB of each GPU ({parts})"
    if here.gpus_per_train_worker and here.gpu_memory_gb and need.total > here.gpu_memory_gb:
        yield (
            f"WARNING: that is more than placement.gpu_memory_gb={here.gpu_memory_gb:g}: it will not fit; "
            f"what helps: {advice(train, here, micro)}"
        )
    long = sum(length > train.block_size for length in lengths)
    if long:
        lost = sum(length - train.block_size for length in lengths if length > train.block_size)
        yield (
            f"train.block_size={train.block_size} would cut at least {long} of {len(lengths)} rows of the subset "
            f"({100 * long / len(lengths):.0f} %), and {100 * lost / sum(lengths):.0f} % of their tokens: the ends of "
            "traces and their answers"
        )
    rows = _row_count(plan, stage)
    near = min(PUBLISHED, key=lambda n: abs(n - rows))
    if pool.name.startswith("s1") and 0.9 < rows / near < 1.1 and 25e9 < spec.model.parameters < 40e9:
        length = _length(plan, stage, spec.train.model_copy(update={"block_size": 32768}))
        hours = train_flops(spec.model.parameters, 5 * rows * length, length) / (H100_TFLOPS * 1e12) / 3600
        yield (
            f"s1's own training, five epochs of {rows:,} such rows, takes {hours:.3g} H100 hours by this estimate; "
            f"the paper's took {PUBLISHED[near]:g}"
        )
    if train.learning_rate >= 1e-3 and spec.model.parameters > 1e8:
        yield (
            f"train.learning_rate={train.learning_rate:g} is of the testbed's recipe, far too high for "
            f"{spec.model.name}: give train=s1 or train=lora"
        )


def _lengths(plan: Plan, stage: Stage) -> list[float]:
    """About how many tokens each row of the training has, longest first; none where the rows are not known yet."""
    rows = plan.subsets.get(stage.inputs["data"], ())
    return sorted(((r.trace_tokens or 0) + r.question_chars / CHARS_PER_TOKEN for r in rows), reverse=True)


def _length(plan: Plan, stage: Stage, train: SftSpec) -> float:
    """Mean tokens of a training's rows, after truncation."""
    lengths = _lengths(plan, stage)
    if lengths:
        return fmean(min(length, train.block_size) for length in lengths)
    mean = (_pool_of(plan, stage).mean_trace_tokens or TRACE_TOKENS) + QUESTION_TOKENS
    return min(mean, train.block_size)


def _train_tokens(plan: Plan, stage: Stage, spec: TrainStage) -> int:
    train: SftSpec = spec.train
    size, mean = _row_count(plan, stage), _length(plan, stage, spec.train)
    return round(total_steps(train, size, size * mean) * min(train.batch_size, size) * mean)


def _row_count(plan: Plan, stage: Stage) -> int:
    select = plan.stages[stage.inputs["data"]].spec
    assert isinstance(select, SelectStage)
    return len(_lengths(plan, stage)) or select.data.size or _pool_of(plan, stage).rows or POOL_ROWS


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
