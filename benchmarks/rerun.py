"""A finished sweep of 1,000 cells given again: nothing to execute, so seconds until the prompt is back.

The store is fabricated as the stages would leave it. The first run mirrors it to W&B (offline) and writes its page; the
reruns are measured, in processes of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import main

GRID = (
    "data=random,diverse,longest,full,s1k",
    "data.size=256",
    "data.seed=0,1",
    "extrapolation=none,empty,wait,hmm,alternatively",
    "task=tiny_calc,tiny_hard,tiny_choice,tiny_dev",
    "method.max_thinking_tokens=16,32,64,128,256",
    "name=rerun",
)
BAR = {"seconds_rerun": 10.0}


def run(root: Path) -> tuple[float, int]:
    """Seconds, and how many stages it says it ran."""
    command = [sys.executable, "-m", "s1sweep.cli", "run", "-m", *GRID]
    started = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "S1SWEEP_ROOT": str(root)}
    )
    seconds = time.perf_counter() - started
    found = re.search(r"(\d+) cells, (\d+) stages run", done.stdout)
    assert found, done.stdout[-2000:]
    assert int(found[1]) == 1000
    return seconds, int(found[2])


def measure(repeats: int) -> Mapping[str, Any]:
    from tests.test_analysis import fabricate

    with tempfile.TemporaryDirectory(prefix="s1sweep-bench-") as temp:
        root = Path(temp) / "store"
        fabricate(root, *GRID, name="rerun")
        first, _ = run(root)
        again = [run(root) for _ in range(repeats)]
    return {
        **{"seconds_rerun": round(sorted(s for s, _ in again)[len(again) // 2], 2), "cells": 1000},
        **{"stages_run": max(n for _, n in again), "seconds": [round(s, 2) for s, _ in again]},
        **{"seconds_first": round(first, 2), "cpus": os.cpu_count(), "bar": BAR},
    }


if __name__ == "__main__":
    main("rerun", measure, pairs=3)
