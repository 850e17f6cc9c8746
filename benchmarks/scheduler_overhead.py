"""Cost of a stage that does nothing, through Ray, with its record written: what s1sweep adds to real work."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import main

STAGES = 1000


def measure(pairs: int, long: int = 0) -> dict[str, Any]:
    """Milliseconds per stage for `STAGES` independent no-op stages, beside bare Ray tasks that do nothing. `long`: one
    more run, of that many stages, with the scheduler's memory when all are queued and at each tenth of them.
    """
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
    found: dict[str, Any] = {}
    if long:
        found["long"] = _long(long, backend, placement)
    backend.close()
    return {
        "stages": STAGES,
        "ms_per_stage": round(sorted(mine)[len(mine) // 2], 3),
        "ms_per_stage_runs": [round(v, 3) for v in mine],
        "baseline": "bare Ray tasks that do nothing and write nothing",
        "baseline_ms_per_task": round(sorted(theirs)[len(theirs) // 2], 3),
        "bar_ms": 10,
        **found,
    }


def _long(n: int, backend: Any, placement: Any) -> dict[str, Any]:
    import psutil

    from s1sweep.runtime.scheduler import Scheduler, Work
    from s1sweep.store import Store
    from tests.noop_stage import stage

    def mib() -> float:
        return round(psutil.Process().memory_info().rss / 2**20, 1)

    with tempfile.TemporaryDirectory() as temp:
        stages = {s.id: s for s in (stage(f"long-{i}") for i in range(n))}
        scheduler = Scheduler(Store(temp), backend, placement)
        started = time.perf_counter()
        progress = scheduler.add(Work("long", stages, placement))
        memory, tenth = [mib()], 1
        while not progress.over:
            scheduler.step(0.5)
            if len(progress.done) >= tenth * n // 10:
                memory.append(mib())
                tenth += 1
        seconds = time.perf_counter() - started
        assert len(progress.done) == n and not progress.failed
    return {"stages": n, "ms_per_stage": round(1000 * seconds / n, 3), "mib": memory}


def _nothing() -> None:
    return None


if __name__ == "__main__":
    main("scheduler_overhead", measure, long=0)
