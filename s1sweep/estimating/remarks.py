"""What is to be said of a plan before it starts, and what no GPU holds: memory, truncation, the published cost.

Knows specs, placements and estimates; not what has run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from s1sweep.errors import UserError
from s1sweep.estimating.estimate import train_flops
from s1sweep.estimating.lengths import mean_length, pool_of, row_count, row_lengths
from s1sweep.planning import Plan, Stage
from s1sweep.spec import DecodeStage, ModelSpec, Placement, TrainStage
from s1sweep.training.memory import advice, memory, smaller_states
from s1sweep.training.recipe import split_batch

# H100 hours of five epochs of a 32B model on so many rows of s1's pool (s1 paper, sections 1 and 5.1).
PUBLISHED = {1_000: 7.0, 59_000: 394.0}
H100_TFLOPS = 989.0  # dense bf16
ENGINE_SHARE = 0.92  # of a GPU's memory that vLLM takes unless told otherwise


def remarks(plan: Plan, stages: Mapping[str, Stage], placement: Placement) -> list[str]:
    """What to know before it starts: memory, truncation, and the published cost where it can be compared."""
    found: dict[str, int] = {}
    engines: dict[str, None] = {}
    for stage in stages.values():
        if isinstance(stage.spec, TrainStage):
            for line in _of_training(plan, stage, stage.spec, placement):
                found[line] = found.get(line, 0) + 1
        elif isinstance(stage.spec, DecodeStage):
            engines |= dict.fromkeys(_of_engine(stage.spec.model, placement))
    return [f"{line} ({n} trainings)" if n > 1 else line for line, n in found.items()] + list(engines)


def refuse_too_large(stages: Mapping[str, Stage], here: Placement) -> None:
    """Raise UserError where the weights, gradients and optimizer of a training are alone more than its GPUs have: that
    is arithmetic; what else it takes is an estimate, and a remark.
    """
    for stage in stages.values():
        if isinstance(stage.spec, TrainStage) and here.gpus_per_train_worker and here.gpu_memory_gb:
            model, train = stage.spec.model, stage.spec.train
            micro = split_batch(train.batch_size, here.train_workers, here.micro_batch).micro
            states = memory(model.parameters, train, here, micro).states
            if states > here.gpu_memory_gb:
                raise UserError(
                    f"training {model.name} keeps {states:.3g} GB of weights, gradients and optimizer on each GPU, and "
                    f"placement.gpu_memory_gb={here.gpu_memory_gb:g}: it never fits. What helps: "
                    f"{', '.join(smaller_states(train, here))}. If the GPUs have more, say so in that field."
                )


def _of_engine(model: ModelSpec, here: Placement) -> Iterator[str]:
    """A warning where the weights do not fit; quantized ones may."""
    if here.gpus_per_engine and here.gpu_memory_gb and here.endpoint is None:
        weights = model.parameters * (4 if model.dtype == "float32" else 2) / here.gpus_per_engine / 1e9
        if weights > ENGINE_SHARE * here.gpu_memory_gb:
            yield (
                f"WARNING: {model.name} has {weights:.3g} GB of weights in {model.dtype} for each GPU of an engine, "
                f"which takes {100 * ENGINE_SHARE:.0f} % of placement.gpu_memory_gb={here.gpu_memory_gb:g}; what "
                "helps: more placement.gpus_per_engine, or model.dtype=bfloat16"
            )


def _of_training(plan: Plan, stage: Stage, spec: TrainStage, here: Placement) -> Iterator[str]:
    train, pool = spec.train, pool_of(plan, stage)
    lengths = [length.total for length in row_lengths(plan, stage)]
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
    rows = row_count(plan, stage)
    near = min(PUBLISHED, key=lambda n: abs(n - rows))
    if pool.name.startswith("s1") and 0.9 < rows / near < 1.1 and 25e9 < spec.model.parameters < 40e9:
        length = mean_length(plan, stage, spec.train.model_copy(update={"block_size": 32768}))
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
