"""The `train` stage: TRL's SFTTrainer on the rows of a subset, as a per-rank function.

`run` prepares nothing but a config of plain values; `train_rank` is what each worker executes, under Ray Train or
alone. The
recipe (global batch, steps, seed) is the spec's; how it is split over workers and micro-batches is placement.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s1sweep.data.pool import Row, read_jsonl
from s1sweep.data.select import ROWS
from s1sweep.runtime.job import Done, LaunchRanks, Resources
from s1sweep.sources import model_path
from s1sweep.spec import SftSpec, TrainStage
from s1sweep.store import write_progress
from s1sweep.training.format import IGNORE, Example, example

VERSION = 1
HISTORY = "history.jsonl"
SUMMARY = "summary.json"
CHECKPOINT = "checkpoint"


def run(
    spec: TrainStage, inputs: Mapping[str, Path], out: Path, resources: Resources, launch_ranks: LaunchRanks, **_: Any
) -> Done:
    """Train; write `checkpoint/` (safetensors and tokenizer) and `history.jsonl` (one logged step a line)."""
    config = {
        "spec": spec.model_dump(mode="json"),
        "rows": str(inputs["data"] / ROWS),
        "out": str(out),
        "threads": resources.threads,
        "micro_batch": resources.micro_batch,
    }
    launch_ranks(train_rank, config, resources)
    found = json.loads((out / SUMMARY).read_text())
    (out / SUMMARY).unlink()  # how a rank answers; holds times, which must not be among the outputs
    return Done(found["summary"], found["cost"])


def total_steps(train: SftSpec, rows: int) -> int:
    """Optimizer steps of a training: `steps` if given, else epochs of whole batches, the last one short."""
    return train.steps or math.ceil(train.epochs * math.ceil(rows / train.batch_size))


def split_batch(batch_size: int, workers: int, micro_batch: int | None) -> tuple[int, int]:
    """Rows per worker and forward pass, and gradient accumulation, so that their product over workers is the batch.

    Raises ValueError if it does not divide.
    """
    per_worker, rest = divmod(batch_size, workers)
    if rest:
        raise ValueError(f"train.batch_size={batch_size} does not divide over placement.train_workers={workers}")
    micro = min(micro_batch or per_worker, per_worker)
    accumulation, rest = divmod(per_worker, micro)
    if rest:
        raise ValueError(f"{per_worker} rows per worker do not divide into placement.micro_batch={micro}")
    return micro, accumulation


def trainer_arguments(train: SftSpec, rows: int, workers: int, micro_batch: int | None, out: Path) -> dict[str, Any]:
    """Keyword arguments of TRL's SFTConfig for this recipe; pure, so that a test can hold it."""
    micro, accumulation = split_batch(train.batch_size, workers, micro_batch)
    return {
        "output_dir": str(out / "trainer"),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": train.epochs,
        "max_steps": train.steps or -1,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": train.schedule,
        "warmup_steps": math.ceil(train.warmup_ratio * total_steps(train, rows)),
        "adam_beta1": train.adam_betas[0],
        "adam_beta2": train.adam_betas[1],
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "bf16": train.precision == "bfloat16",
        "seed": train.seed,
        "data_seed": train.seed,
        "max_length": None,  # rows are cut before, where it is counted
        "packing": False,
        "gradient_checkpointing": False,
        "ddp_find_unused_parameters": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
    }


def build_trainer(spec: TrainStage, rows: list[Row], workers: int, micro_batch: int | None, out: Path) -> Any:
    """A ready SFTTrainer and the examples it was given."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq
    from trl import SFTConfig, SFTTrainer

    source = model_path(spec.model)
    tokenizer = AutoTokenizer.from_pretrained(
        source, revision=spec.model.revision, trust_remote_code=spec.model.trust_remote_code
    )
    model = AutoModelForCausalLM.from_pretrained(
        source,
        revision=spec.model.revision,
        trust_remote_code=spec.model.trust_remote_code,
        use_safetensors=True,
        dtype=torch.float32,
    )
    examples = [example(row, spec.model, tokenizer, spec.train.block_size, spec.format) for row in rows]
    examples = [e for e in examples if any(label != IGNORE for label in e.labels)]
    if not examples:
        raise ValueError(f"train.block_size={spec.train.block_size} cuts away every label of every row")
    arguments = trainer_arguments(spec.train, len(examples), workers, micro_batch, out)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**arguments, use_cpu=not torch.cuda.is_available()),
        train_dataset=Dataset.from_list([{"input_ids": e.input_ids, "labels": e.labels} for e in examples]),
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORE),
    )
    return trainer, examples


def train_rank(config: dict[str, Any]) -> None:
    """One rank of a training. Rank 0 writes the checkpoint, the history and the summary."""
    import time

    import torch
    import torch.distributed as dist
    from transformers import TrainerCallback, set_seed

    spec = TrainStage.model_validate(config["spec"])
    out = Path(config["out"])
    torch.set_num_threads(config["threads"])
    workers = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    rows = [Row.model_validate(row) for row in read_jsonl(Path(config["rows"]))]
    set_seed(spec.train.seed)
    trainer, examples = build_trainer(spec, rows, workers, config["micro_batch"], out)
    history: list[dict[str, Any]] = []
    steps = total_steps(spec.train, len(examples))

    class Record(TrainerCallback):
        """Keeps what is the same in every run of the same work, and says how far it is."""

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if not state.is_world_process_zero or not logs or "loss" not in logs:
                return
            kept = ("loss", "learning_rate", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens")
            history.append({"step": state.global_step, **{k: logs[k] for k in kept if k in logs}})
            write_progress(out, done=state.global_step, total=steps, tokens=int(logs.get("num_tokens", 0)))

    trainer.add_callback(Record())
    started = time.time()
    trainer.train()
    seconds = time.time() - started
    if trainer.is_world_process_zero():
        trainer.save_model(str(out / CHECKPOINT))
        (out / CHECKPOINT / "training_args.bin").unlink(missing_ok=True)  # a pickle; nobody may need to load one
        with (out / HISTORY).open("w") as f:
            f.writelines(json.dumps(step) + "\n" for step in history)
        summary = _summary(spec.train, examples, history)
        cost = {"train_seconds": round(seconds, 3), "tokens": summary["tokens"], "workers": workers}
        (out / SUMMARY).write_text(json.dumps({"summary": summary, "cost": cost}))


def _summary(train: SftSpec, examples: list[Example], history: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "rows": len(examples),
        "steps": history[-1]["step"],
        "tokens": int(history[-1].get("num_tokens", 0)),
        "supervised_tokens_per_epoch": sum(label != IGNORE for e in examples for label in e.labels),
        "truncated_share": sum(e.lost > 0 for e in examples) / len(examples),
        "first_loss": history[0]["loss"],
        "final_loss": history[-1]["loss"],
    }
