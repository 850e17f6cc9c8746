"""The `train` stage: encode the rows, launch the ranks, and say what came of it.

The recipe (global batch, steps, seed) is the spec's; how it is split over workers and passes is placement. Hands the
ranks plain values; knows no trainer.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from s1sweep.data.select import ROWS
from s1sweep.identity import digest
from s1sweep.identity import encode as plain
from s1sweep.spec import GrpoStage, TrainStage
from s1sweep.stages.contract import Done, LaunchRanks
from s1sweep.stages.resources import Resources
from s1sweep.store import CHECKPOINTS
from s1sweep.training import checkpoints, grpo
from s1sweep.training.encode import encode
from s1sweep.training.rank import CHECKPOINT, HISTORY, SUMMARY, train_rank
from s1sweep.training.recipe import split_batch, total_steps

__all__ = ["CHECKPOINT", "HISTORY", "VERSION", "run"]

VERSION = 1


def run(
    spec: TrainStage | GrpoStage,
    inputs: Mapping[str, Path],
    out: Path,
    resources: Resources,
    launch_ranks: LaunchRanks,
    **_: Any,
) -> Done:
    """Train; write `checkpoint/` (safetensors and tokenizer) and `history.jsonl` (one logged step a line).

    Goes on from the newest step checkpoint of an earlier attempt.
    """
    if isinstance(spec, GrpoStage):
        return grpo.run(spec, inputs, out, resources, launch_ranks)
    split = split_batch(spec.train.batch_size, resources.train_workers, resources.micro_batch, resources.halve_batch)
    scratch = out / "encoded"
    scratch.mkdir()
    made = encode(spec, inputs["data"] / ROWS, scratch)
    warning = made.warning(spec.train.block_size)
    if warning:
        logging.getLogger(__name__).warning(warning)
    stage = out.parent / CHECKPOINTS
    strategy = {"strategy": resources.train_strategy, "cpu_offload": resources.cpu_offload}
    key = {"work": digest([plain(spec), made.rows, made.tokens]), "workers": split.workers, **strategy}
    resume = checkpoints.newest(stage, key)
    config = {
        "spec": spec.model_dump(mode="json"),
        "data": made.path,
        "steps": total_steps(spec.train, made.rows, made.supervised),
        "out": str(out),
        "threads": resources.threads,
        "gpus": resources.gpus_per_train_worker > 0,
        "split": asdict(split),
        "here": {
            **strategy,
            "gradient_checkpointing": resources.gradient_checkpointing,
            "checkpoint_every": resources.checkpoint_every,
        },
        "checkpoints": str(stage),
        "key": key,
        "resume": str(resume) if resume else None,
    }
    launch_ranks(train_rank, config, resources)
    shutil.rmtree(scratch)
    found = json.loads((out / SUMMARY).read_text())
    (out / SUMMARY).unlink()  # how a rank answers; holds times, which must not be among the outputs
    rows = {
        "rows": made.examples - made.dropped,
        **({"blocks": made.rows} if spec.train.packing else {}),
        "supervised_tokens_per_epoch": made.supervised,
        "truncated_share": made.truncated / made.examples,
        "lost_label_tokens": made.lost_labels,
        "dropped_rows": made.dropped,
        **({"warning": warning} if warning else {}),
    }
    how: dict[str, Any] = {"workers": split.workers, "micro_batch": split.micro}
    how |= {"halved_after_out_of_memory": True} if resources.halve_batch else {}
    how |= {"resumed_from": resume.name} if resume else {}
    return Done(rows | found["summary"], found["cost"] | how)
