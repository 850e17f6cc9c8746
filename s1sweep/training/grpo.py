"""Reinforcement learning after fine-tuning: TRL's GRPOTrainer with a verifiable reward (GRPO, arXiv 2402.03300).

The reward of a completion is 1 if our grader finds what follows the end of its thinking correct, else 0. Prompts are
the rows' questions as decoding asks them. Generates with transformers; knows no engine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from s1sweep.answers.graders import GRADERS
from s1sweep.data.select import ROWS
from s1sweep.sources import model_path
from s1sweep.sources.raw import read_jsonl
from s1sweep.spec import DelimiterSpec, GrpoStage
from s1sweep.stages.contract import Done, LaunchRanks
from s1sweep.stages.resources import Resources
from s1sweep.stages.rows import Row
from s1sweep.store import write_progress
from s1sweep.training.rank import CHECKPOINT, HISTORY, SUMMARY, on_one_device
from s1sweep.training.recipe import Split, split_batch

VERSION = 1
LOGGED = ("loss", "reward", "reward_std", "kl", "entropy", "learning_rate", "grad_norm", "num_tokens")
KEPT = (*LOGGED, "completions/mean_length", "completions/clipped_ratio")


def reward(completion: str, gold: str, grader: str, marks: DelimiterSpec) -> float:
    """1 for a correct answer after the end of thinking, 0 for a wrong one or none (as where thinking never ends)."""
    _, ended, answer = completion.partition(marks.think_end) if marks.think_end else ("", "yes", completion)
    for stop in marks.answer_stop:
        answer = answer.split(stop)[0] if isinstance(stop, str) else answer
    judge = GRADERS[grader]
    return float(bool(ended) and judge.judge(answer, gold).verdict == "correct")


def gold(row: Row, grader: str) -> str:
    """The right answer: that of the reference solution if it can be read, else that of the row's own answer."""
    extract = GRADERS[grader].extract
    return extract(row.solution or "") or extract(row.answer) or row.answer


def run(
    spec: GrpoStage, inputs: Mapping[str, Path], out: Path, resources: Resources, launch_ranks: LaunchRanks
) -> Done:
    """Train; write `checkpoint/` and `history.jsonl`, as fine-tuning does."""
    train = spec.train
    workers, batch = resources.train_workers, train.prompts_per_step * train.num_generations
    split = split_batch(batch, workers, resources.micro_batch, resources.halve_batch)
    config = {
        "spec": spec.model_dump(mode="json"),
        "rows": str(inputs["data"] / ROWS),
        "base": str(inputs["checkpoint"] / CHECKPOINT) if "checkpoint" in inputs else None,
        "out": str(out),
        "threads": resources.threads,
        "gpus": resources.gpus_per_train_worker > 0,
        "split": asdict(split),
        "gradient_checkpointing": resources.gradient_checkpointing,
    }
    launch_ranks(grpo_rank, config, resources)
    found = json.loads((out / SUMMARY).read_text())
    (out / SUMMARY).unlink()
    return Done(found["summary"], found["cost"] | {"workers": workers, "micro_batch": split.micro})


def grpo_rank(config: dict[str, Any]) -> None:
    """One rank. Rank 0 writes the checkpoint, the history and the summary."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
    from trl import GRPOConfig, GRPOTrainer

    spec = GrpoStage.model_validate(config["spec"])
    train, out, split = spec.train, Path(config["out"]), Split(**config["split"])
    torch.set_num_threads(config["threads"])
    set_seed(train.seed)
    asked = {"revision": spec.model.revision, "trust_remote_code": spec.model.trust_remote_code}
    source = config["base"] or model_path(spec.model)
    asked = {"trust_remote_code": spec.model.trust_remote_code} if config["base"] else asked
    tokenizer = AutoTokenizer.from_pretrained(source, **asked)
    model = AutoModelForCausalLM.from_pretrained(source, **asked, use_safetensors=True, dtype=torch.float32)
    rows = [Row.model_validate(row) for row in read_jsonl(Path(config["rows"]))]

    def graded(completion_ids: list[list[int]], gold: list[str], **_: Any) -> list[float]:
        texts = tokenizer.batch_decode(completion_ids, skip_special_tokens=False)  # delimiters may be special tokens
        pairs = zip(texts, gold, strict=True)
        return [reward(text, answer, train.grader, spec.model.delimiters) for text, answer in pairs]

    arguments = dict(
        output_dir=str(out / "trainer"),
        per_device_train_batch_size=split.micro,
        gradient_accumulation_steps=split.accumulation,
        num_generations=train.num_generations,
        max_completion_length=train.max_completion_length,
        max_steps=train.steps,
        learning_rate=train.learning_rate,
        beta=train.beta,
        temperature=train.temperature,
        bf16=train.precision == "bfloat16",
        gradient_checkpointing=config["gradient_checkpointing"],
        seed=train.seed,
        data_seed=train.seed,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=graded,
        args=on_one_device(GRPOConfig, config["gpus"], arguments),
        train_dataset=Dataset.from_list(
            [{"prompt": _prompt(row, spec, tokenizer), "gold": gold(row, train.grader)} for row in rows]
        ),
        processing_class=tokenizer,
    )

    class Progress(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if state.is_world_process_zero and logs and "loss" in logs:
                write_progress(out, done=state.global_step, total=train.steps)

    trainer.add_callback(Progress())
    started = time.time()
    trainer.train()
    if trainer.is_world_process_zero():
        trainer.save_model(str(out / CHECKPOINT))
        (out / CHECKPOINT / "training_args.bin").unlink(missing_ok=True)
        logs = [log for log in trainer.state.log_history if "loss" in log]
        history = [{"step": log["step"], **{name: log[name] for name in KEPT if name in log}} for log in logs]
        with (out / HISTORY).open("w") as f:
            f.writelines(json.dumps(step) + "\n" for step in history)
        summary = {
            "rows": len(rows),
            "steps": trainer.state.global_step,
            "tokens": int(history[-1]["num_tokens"]),
            "truncated_share": 0.0,
            **{
                f"{when}_{what}": history[i][what]
                for when, i in (("first", 0), ("final", -1))
                for what in ("loss", "reward")
            },
        }
        cost = {"train_seconds": round(time.time() - started, 3), "tokens": summary["tokens"]}
        (out / SUMMARY).write_text(json.dumps({"summary": summary, "cost": cost}))


def _prompt(row: Row, spec: GrpoStage, tokenizer: Any) -> str:
    """The question as decoding asks it, with thinking begun."""
    system = spec.model.system_prompt
    messages = [{"role": "user", "content": row.question}]
    messages = messages if system is None else [{"role": "system", "content": system}, *messages]
    asked = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return asked + spec.model.delimiters.think_start
