"""Training as s1sweep runs it (under Ray Train) against bare TRL in a process of its own, same rows, batch and steps.

Both count from the start of `trainer.train()` to its end: start-up is not in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import interleaved, main, ratios

STEPS = 48
ROWS = 256

BARE = """
import json, sys, time, torch
torch.set_num_threads(1)
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer
base, rows, out, steps = sys.argv[1:5]
rows = [json.loads(l) for l in open(rows)]
data = [{
    "prompt": [{"role": "user", "content": r["question"]}],
    "completion": [{"role": "assistant", "content":
        f"<|im_start|>think\\n{r['thinking'].strip()}\\n<|im_start|>answer\\nAnswer: {r['answer']}"}],
} for r in rows]
from datasets import Dataset
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
    args=SFTConfig(output_dir=out, per_device_train_batch_size=16, max_steps=int(steps), learning_rate=1.5e-3,
        lr_scheduler_type="cosine", bf16=False, use_cpu=True, gradient_checkpointing=False, max_length=None,
        save_strategy="no", report_to="none", logging_steps=10, disable_tqdm=True, seed=0),
    train_dataset=Dataset.from_list(data), processing_class=AutoTokenizer.from_pretrained(base))
started = time.time()
trainer.train()
seconds = time.time() - started
logs = [l for l in trainer.state.log_history if "num_tokens" in l]
print("RESULT", json.dumps({"seconds": seconds, "tokens": logs[-1]["num_tokens"] if logs else 0}))
"""


def measure(pairs: int) -> dict[str, Any]:
    """Tokens per second of each, and their ratio pair by pair."""
    root = Path(__file__).parent.parent
    os.environ["PYTHONPATH"] = str(root)
    import ray

    from s1sweep import testbed
    from s1sweep.data import ingest, select
    from s1sweep.runtime.ray_backend import RayBackend, launch_ranks
    from s1sweep.spec import PoolStage, SelectStage, TrainStage
    from s1sweep.stages.resources import Resources
    from s1sweep.training import sft
    from tests.helpers import compose

    config = compose("data=random", f"data.size={ROWS}", f"train.steps={STEPS}")[0]
    temp = Path(tempfile.mkdtemp(prefix="s1sweep-bench-"))
    pool = Path(tempfile.mkdtemp(dir=temp))
    ingest.run(PoolStage(pool=config.cell.pool), {}, pool)
    select.run(SelectStage(data=config.cell.data), {"rows": pool}, temp)
    spec = TrainStage.model_validate({"model": config.cell.model.model_dump(), "train": config.cell.train.model_dump()})
    backend = RayBackend(config.placement, cpus=os.cpu_count() or 1)

    def remote() -> dict[str, Any]:
        out = Path(tempfile.mkdtemp(dir=temp))
        return dict(sft.run(spec, {"data": temp}, out, Resources(threads=1), launch_ranks).cost)

    task = ray.remote(num_cpus=0)(remote)

    def ours() -> float:
        cost = ray.get(task.remote())
        return cost["tokens"] / cost["train_seconds"]

    def bare() -> float:
        command = [
            sys.executable,
            "-c",
            BARE,
            str(testbed.BASE),
            str(temp / select.ROWS),
            str(temp / "bare"),
            str(STEPS),
        ]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))[7:])
        return found["tokens"] / found["seconds"]

    mine, theirs = interleaved(ours, bare, pairs)
    backend.close()
    return {
        "steps": STEPS,
        "throughput_ratio": ratios(mine, theirs),
        "tokens_per_second": [round(v) for v in mine],
        "baseline": "bare TRL SFTTrainer, one thread, prompt-completion rows",
        "baseline_tokens_per_second": [round(v) for v in theirs],
        "bar": 0.97,
    }


if __name__ == "__main__":
    main("train_throughput", measure)
