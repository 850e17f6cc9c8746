"""The recipe as arithmetic: steps, how a batch is split, and the trainer's arguments. Pure: no trainer, no row.

The global batch, the steps and the seed are the spec's. How a batch is split over workers and passes is placement, and
cannot change it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1sweep.errors import UserError
from s1sweep.spec import SftSpec


@dataclass(frozen=True)
class Split:
    """Rows per worker and pass, and gradient accumulation; over all workers their product is the global batch."""

    workers: int
    micro: int
    accumulation: int

    def filler(self, rows: int) -> int:
        """Rows without labels that an epoch needs at its end, so that all workers make the same number of passes.

        Without them the last batch would be filled up with rows trained on twice, more of them on more workers.
        """
        return -rows % (self.workers * self.micro) if self.workers > 1 else 0


def total_steps(train: SftSpec, rows: int, supervised: float) -> int:
    """Optimizer steps of a training on rows (or packed blocks) that hold `supervised` tokens with loss in all.

    For epochs it is that many times the batches of one, the last of which may be short; for tokens the fewest steps
    that are expected to reach them.
    """
    batches = math.ceil(rows / train.batch_size)
    if train.match == "tokens":
        assert train.tokens is not None
        return max(1, math.ceil(train.tokens / (supervised / batches)))
    if train.steps is not None and train.match != "epochs":
        return train.steps
    return math.ceil(train.epochs * batches)


def split_batch(batch_size: int, workers: int, micro_batch: int | None, halve: bool = False) -> Split:
    """How a batch is split. `halve` is the answer to running out of memory: passes of half as many rows.

    Raises UserError if it does not divide.
    """
    per_worker, rest = divmod(batch_size, workers)
    if rest:
        raise UserError(
            f"train.batch_size={batch_size} does not divide over placement.train_workers={workers}. "
            f"Give a number of workers that divides it: {', '.join(map(str, _divisors(batch_size)))}."
        )
    micro = min(micro_batch or per_worker, per_worker)
    if per_worker % micro:
        raise UserError(
            f"placement.micro_batch={micro} does not divide the {per_worker} rows that each of "
            f"placement.train_workers={workers} has of train.batch_size={batch_size}. "
            f"Give one of: {', '.join(map(str, _divisors(per_worker)))}."
        )
    if halve:
        micro = max(d for d in _divisors(per_worker) if d <= max(1, micro // 2))
    return Split(workers, micro, per_worker // micro)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def trainer_arguments(train: SftSpec, steps: int, split: Split, here: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Keyword arguments of TRL's SFTConfig for this recipe, on a placement's `strategy`, `gradient_checkpointing`,
    `cpu_offload` and `checkpoint_every`.
    """
    every = here.get("checkpoint_every")
    return {
        "output_dir": str(out / "trainer"),
        "per_device_train_batch_size": split.micro,
        "gradient_accumulation_steps": split.accumulation,
        "num_train_epochs": train.epochs,
        "max_steps": steps,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": train.schedule,
        "warmup_steps": math.ceil(train.warmup_ratio * steps),
        "adam_beta1": train.adam_betas[0],
        "adam_beta2": train.adam_betas[1],
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "bf16": train.precision == "bfloat16",
        "seed": train.seed,
        "data_seed": train.seed,
        "max_length": None,  # rows are cut before, where it is counted
        "packing": False,  # done before too, so that the steps are known
        "padding_free": train.packing or train.padding_free,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "ddp_find_unused_parameters": False,
        "logging_steps": 1,
        "save_strategy": "steps" if every else "no",
        "save_steps": every or 500,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        **_strategy(here),
    }


def _strategy(here: Mapping[str, Any]) -> dict[str, Any]:
    checkpointing = bool(here.get("gradient_checkpointing"))
    if here.get("strategy") != "fsdp2":
        return {"gradient_checkpointing": checkpointing}
    return {
        "gradient_checkpointing": False,  # FSDP's own; with both the trainer refuses
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",  # the layer class is the model's own
            "reshard_after_forward": True,
            "activation_checkpointing": checkpointing,
            "cpu_offload": bool(here.get("cpu_offload")),
            "cpu_ram_efficient_loading": True,
            "state_dict_type": "FULL_STATE_DICT",
        },
    }
