"""One rank of a training: TRL's SFTTrainer on encoded rows, under Ray Train or alone.

Knows the trainer; not who launches ranks, nor what the rows say. Rank 0 writes the checkpoint, the history and the
summary.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from s1sweep.sources import model_path
from s1sweep.spec import SftSpec, TrainStage
from s1sweep.stages.preemption import Preempted, stop_requested
from s1sweep.store import TIMING, write_progress
from s1sweep.training import checkpoints, encode
from s1sweep.training.format import IGNORE
from s1sweep.training.recipe import Split, trainer_arguments

HISTORY = "history.jsonl"
SUMMARY = "summary.json"
CHECKPOINT = "checkpoint"
ADAPTER = "adapter"
KEPT = ("loss", "learning_rate", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens", "supervised_tokens")


def train_rank(config: dict[str, Any]) -> None:
    """`config` holds plain values: see `sft.run`."""
    import torch
    from transformers import set_seed

    spec = TrainStage.model_validate(config["spec"])
    out, here = Path(config["out"]), config["here"]
    if here["strategy"] == "fsdp2" and not torch.cuda.is_available():
        raise RuntimeError("placement.train_strategy=fsdp2 found no GPU: the trainer would ignore it without a word")
    torch.set_num_threads(config["threads"])
    set_seed(spec.train.seed)
    trainer = build_trainer(spec, config)
    watch = _watch(trainer, config)
    trainer.add_callback(watch)
    resumed = config["resume"]
    if resumed:
        last = [log for log in _state(resumed)["log_history"] if "num_tokens" in log][-1]
        trainer._total_train_tokens, trainer.supervised = int(last["num_tokens"]), int(last["supervised_tokens"])
    started = time.time()
    trainer.train(resume_from_checkpoint=resumed)
    seconds = time.time() - started
    done = trainer.state.global_step
    if done < config["steps"]:
        raise Preempted(f"asked to stop after step {done} of {config['steps']}; it is saved")
    save(trainer, spec.train, out)
    if trainer.is_world_process_zero():
        history = [_kept(log) for log in trainer.state.log_history if "loss" in log]
        with (out / HISTORY).open("w") as f:
            f.writelines(json.dumps(step) + "\n" for step in history)
        found = {
            "steps": done,
            "tokens": int(history[-1]["num_tokens"]),
            "supervised_tokens": int(history[-1]["supervised_tokens"]),
            "first_loss": history[0]["loss"],
            "final_loss": history[-1]["loss"],
        }
        device = torch.cuda.get_device_name() if trainer.args.device.type == "cuda" else "cpu"
        tokens = found["tokens"] - watch.tokens_before
        cost = {"train_seconds": round(seconds, 3), "tokens": tokens, "device": device}
        (out / SUMMARY).write_text(json.dumps({"summary": found, "cost": cost}))
        shutil.rmtree(out / "trainer", ignore_errors=True)


def build_trainer(spec: TrainStage, config: dict[str, Any]) -> Any:
    """A ready SFTTrainer whose batches do not depend on how many ranks there are."""
    import torch
    from datasets import Dataset, concatenate_datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq
    from trl import SFTConfig, SFTTrainer

    train, split = spec.train, Split(**config["split"])
    stop_requested = {"revision": spec.model.revision, "trust_remote_code": spec.model.trust_remote_code}
    source = model_path(spec.model)
    tokenizer = AutoTokenizer.from_pretrained(source, **stop_requested)
    # fp32 master weights: precision is that of the passes (bf16 autocast), as in s1. A frozen base needs none.
    dtype = torch.bfloat16 if train.lora and train.precision == "bfloat16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(source, **stop_requested, use_safetensors=True, dtype=dtype)
    rows = encode.read(config["data"])
    real, filler = len(rows), split.filler(len(rows))
    if filler:
        blank = {"input_ids": [0, 0], "labels": [IGNORE, IGNORE], "seq_lengths": [2]}
        blanks = [{name: blank[name] for name in rows.column_names}] * filler
        rows = concatenate_datasets([rows, Dataset.from_list(blanks, features=rows.features)])

    class Trainer(SFTTrainer):
        """Counts supervised tokens, and draws the rows in an order of its own."""

        supervised = 0

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            self.order = _order(real, filler, train.seed)
            return self.order

        def get_batch_samples(self, *args: Any) -> Any:
            samples, items = super().get_batch_samples(*args)
            self.supervised += int(items)
            return samples, items

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log({**logs, "supervised_tokens": self.supervised}, start_time)

    arguments = trainer_arguments(train, config["steps"], split, config["here"], Path(config["out"]))
    joined = arguments["padding_free"]  # TRL's own collator then, and no other
    return Trainer(
        model=model,
        args=on_one_device(SFTConfig, config["gpus"], arguments),
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=None if joined else DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORE),
        peft_config=_peft(train),
    )


def on_one_device(kind: type, gpus: bool, arguments: dict[str, Any]) -> Any:
    """A trainer's arguments of this kind, for a rank: it has one GPU at most, and none unless it was given one. With
    several in sight the trainer would spread, and so multiply, the batch.
    """
    import torch

    made = kind(**arguments, use_cpu=not (gpus and torch.cuda.is_available()))
    if made.n_gpu > 1:
        made._n_gpu = 1
    return made


def _peft(train: SftSpec) -> Any:
    if train.lora is None:
        return None
    from peft import LoraConfig

    lora, named = train.lora, train.lora.target_modules
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=named if isinstance(named, str) else list(named),
        task_type="CAUSAL_LM",
    )


def _order(rows: int, filler: int, seed: int) -> Any:
    """An epoch's order of rows, the same on any number of ranks and after any resume; the filler rows come last."""
    import torch

    class Order(torch.utils.data.Sampler):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __len__(self) -> int:
            return rows + filler

        def __iter__(self) -> Iterator[int]:
            drawn = torch.randperm(rows, generator=torch.Generator().manual_seed(seed + self.epoch))
            yield from drawn.tolist()
            yield from range(rows, rows + filler)

    return Order()


def _watch(trainer: Any, config: dict[str, Any]) -> Any:
    """A callback that says how far it is, publishes step checkpoints, and heeds a request to stop."""
    import torch
    import torch.distributed as dist
    from transformers import TrainerCallback

    out, stage = Path(config["out"]), Path(config["checkpoints"])
    timing = out / TIMING
    many = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1

    class Watch(TrainerCallback):
        tokens_before = 0
        began = 0  # the step that this attempt goes on from
        _last = (0.0, 0)

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.tokens_before = trainer._total_train_tokens
            self.began = state.global_step
            self._last = (time.time(), self.tokens_before)

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            trainer.order.set_epoch(int(state.epoch or 0))  # accelerate does not reach every sampler after a resume

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            stop = stop_requested()
            if many:  # all ranks or none, or saving would wait for ever
                flag = torch.tensor([int(stop)], device=args.device)
                dist.all_reduce(flag, op=dist.ReduceOp.MAX)
                stop = bool(flag.item())
            if stop:
                control.should_save = control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if not state.is_world_process_zero or not logs or "loss" not in logs:
                return
            now, tokens = time.time(), int(logs.get("num_tokens", 0))
            pace = (tokens - self._last[1]) / max(now - self._last[0], 1e-9)
            self._last = (now, tokens)
            line = {"step": state.global_step, "tokens_per_second": round(pace, 1), "memory_gb": _memory_gb()}
            with timing.open("a") as f:
                f.write(json.dumps(line) + "\n")
            own = tokens - self.tokens_before
            write_progress(out, done=state.global_step, total=config["steps"], began=self.began, tokens=own)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if many:
                dist.barrier()  # the trainer does not wait for the other ranks' files
            if state.is_world_process_zero:
                made = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                checkpoints.publish(made, stage, state.global_step, config["key"])

    return Watch()


def _memory_gb() -> float:
    """The most that this process has held: on its GPU, or in memory."""
    import torch

    if torch.cuda.is_initialized():
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3)


def save(trainer: Any, train: SftSpec, out: Path) -> None:
    """Write what decoding loads: whole weights and the tokenizer; a LoRA adapter is merged into its base."""
    if train.lora is None:
        trainer.save_model(str(out / CHECKPOINT))
    elif trainer.is_world_process_zero():
        adapted = trainer.accelerator.unwrap_model(trainer.model)
        if train.lora.keep_adapter:
            adapted.save_pretrained(str(out / ADAPTER))
        adapted.merge_and_unload().save_pretrained(str(out / CHECKPOINT))
        trainer.processing_class.save_pretrained(str(out / CHECKPOINT))
    (out / CHECKPOINT / "training_args.bin").unlink(missing_ok=True)  # a pickle; nobody may need to load one


def _state(checkpoint: str) -> dict[str, Any]:
    return json.loads((Path(checkpoint) / "trainer_state.json").read_text())


def _kept(log: dict[str, Any]) -> dict[str, Any]:
    """What is the same in every run of the same work."""
    return {"step": log["step"], **{name: log[name] for name in KEPT if name in log}}
