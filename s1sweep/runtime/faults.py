"""What follows from a failure, by its class. Plain counts; knows no backend and no stage's content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from s1sweep.store import FailureKind

# What to change where even half the micro-batch, or a second try, was too much.
MEMORY = {
    "train": "Lower train.block_size or placement.micro_batch, set placement.gradient_checkpointing=true, or take more "
    "placement.train_workers with placement.train_strategy=fsdp2",
    "decode": "Lower placement.kv_cache_mb or model.max_model_len, or raise placement.gpus_per_engine",
}


class Retries:
    """Whether a failed stage is tried again.

    preempted: free, as long as it gets further each time. worker_lost, hung, store: `max_retries` times. out_of_memory:
    once, in half the micro-batch. A bug: never.
    """

    def __init__(self, saved_step: Callable[[str], int]) -> None:
        self._saved_step = saved_step
        self._tries: Counter[str] = Counter()
        self._saved: dict[str, int] = {}  # the step that a preempted stage would go on from
        self.halved: set[str] = set()  # stages that ran out of memory once

    def should_retry(self, name: str, failure: FailureKind, max_retries: int) -> bool:
        """Whether a stage that failed so is tried again."""
        if failure == "out_of_memory":
            first = name not in self.halved
            self.halved.add(name)
            return first
        if failure == "preempted":
            before, now = self._saved.get(name, 0), self._saved_step(name)
            self._saved[name] = now
            if now > before:
                return True
        if failure in ("preempted", "worker_lost", "hung", "store"):
            self._tries[name] += 1
            return self._tries[name] <= max_retries
        return False

    def forget(self, name: str) -> None:
        self._tries.pop(name, None)
        self._saved.pop(name, None)
        self.halved.discard(name)
