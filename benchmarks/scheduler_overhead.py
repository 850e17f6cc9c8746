"""Cost of a stage that does nothing, through Ray, with its record written: what s1sweep adds to real work."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import main

STAGES = 1000


def measure(pairs: int) -> dict[str, Any]:
    """Milliseconds per stage for `STAGES` independent no-op stages, beside bare Ray tasks that do nothing."""
    root = Path(__file__).parent.parent
    os.environ["PYTHONPATH"] = str(root)
    import ray

    from s1sweep.runtime.ray_backend import RayBackend
    from s1sweep.runtime.scheduler import Scheduler
    from s1sweep.store import Store
    from tests.helpers import compose
    from tests.noop_stage import stage

    placement = compose("train=none")[0].placement
    backend = RayBackend(placement, cpus=os.cpu_count() or 1)
    bare = ray.remote(_nothing)
    ray.get([bare.remote() for _ in range(50)])

    def ours(run: int) -> float:
        stages = {s.id: s for s in (stage(f"n{run}-{i}") for i in range(STAGES))}
        with tempfile.TemporaryDirectory() as temp:
            started = time.perf_counter()
            progress = Scheduler(Store(temp), backend, placement).run(stages, {})
            seconds = time.perf_counter() - started
            assert len(progress.done) == STAGES and not progress.failed
        return seconds / STAGES * 1000

    def baseline() -> float:
        started = time.perf_counter()
        ray.get([bare.remote() for _ in range(STAGES)])
        return (time.perf_counter() - started) / STAGES * 1000

    ours(-1)  # workers start and import
    mine, theirs = [], []
    for i in range(pairs):
        mine.append(ours(i))
        theirs.append(baseline())
    backend.close()
    return {
        "stages": STAGES,
        "ms_per_stage": round(sorted(mine)[len(mine) // 2], 3),
        "ms_per_stage_runs": [round(v, 3) for v in mine],
        "baseline": "bare Ray tasks that do nothing and write nothing",
        "baseline_ms_per_task": round(sorted(theirs)[len(theirs) // 2], 3),
        "bar_ms": 10,
    }


def _nothing() -> None:
    return None


if __name__ == "__main__":
    main("scheduler_overhead", measure)
