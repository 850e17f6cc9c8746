"""Large grids: `s1sweep plan` of 10,000 and 100,000 cells each in a process of its own, and composition beside
stock Hydra's.

Stock Hydra composes what its launchers compose for each job of a multirun (`load_sweep_config`), on a sample of the
same cells; ours ends in checked, typed configs, and counts the expansion of the grid.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.common import interleaved, main, ratios

# One rule, seed, string, task and cap to a cell: 5 x seeds x 5 x 4 x caps.
GRID = (
    "data=random,diverse,longest,full,s1k",
    "data.size=256",
    "extrapolation=none,empty,wait,hmm,alternatively",
    "task=tiny_calc,tiny_hard,tiny_choice,tiny_dev",
)
BAR = {"seconds_10k": 15.0, "seconds_100k": 180.0, "peak_mib": 2048.0, "ratio_to_hydra": 50.0}


def grid(seeds: int, caps: int) -> list[str]:
    return [*GRID, f"data.seed=range({seeds})", f"method.max_thinking_tokens=range(8,{8 * (caps + 1)},8)"]


def planned(overrides: list[str]) -> dict[str, Any]:
    """Wall seconds and peak memory of the command, as a user would give it, and what it says."""
    with tempfile.TemporaryDirectory(prefix="s1sweep-bench-") as root, tempfile.TemporaryFile("w+") as out:
        command = [sys.executable, "-m", "s1sweep.cli", "plan", "--json", "-m", *overrides]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, env={**os.environ, "S1SWEEP_ROOT": root})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"plan ended with {process.returncode}")
        out.seek(0)
        said = json.load(out)
    return {
        **{"cells": said["cells"], "stages": sum(said["stages"].values()), "seconds": round(seconds, 2)},
        "peak_mib": round(usage.ru_maxrss / 1024),
    }


class Compositions:
    """The same grid, composed by Hydra for some of its cells and by us for all."""

    def __init__(self, overrides: list[str], sample: int) -> None:
        from hydra._internal.hydra import Hydra
        from hydra._internal.utils import create_config_search_path
        from hydra.types import RunMode
        from hydra.version import setbase

        from s1sweep.compose import expand
        from s1sweep.project import PACKAGED

        setbase("1.3")
        hydra = Hydra.create_main_hydra2("s1sweep", create_config_search_path(str(PACKAGED.resolve())))
        self.loader = hydra.config_loader
        self.master = hydra.compose_config("config", [], RunMode.MULTIRUN, with_log_configuration=False)
        self.overrides = overrides
        self.cells = len(cells := expand(overrides, self.loader, self.master))
        self.sample = cells[:: max(1, self.cells // sample)][:sample]

    def hydra(self) -> float:
        """Seconds a cell."""
        started = time.perf_counter()
        for cell in self.sample:
            self.loader.load_sweep_config(self.master, cell)
        return (time.perf_counter() - started) / len(self.sample)

    def ours(self) -> float:
        """Seconds a cell, nothing known beforehand."""
        from s1sweep.compose import expand
        from s1sweep.compose.composer import Composer

        started = time.perf_counter()
        composer = Composer(self.loader, self.master)
        for cell in expand(self.overrides, self.loader, self.master):
            composer.cell(cell)
        return (time.perf_counter() - started) / self.cells


def measure(pairs: int, sample: int) -> Mapping[str, Any]:
    compositions = Compositions(grid(5, 20), sample)
    compositions.hydra()  # imports, and files in the page cache
    theirs, ours = interleaved(compositions.hydra, compositions.ours, pairs)
    small, large = planned(grid(5, 20)), planned(grid(10, 100))
    ratio = ratios(theirs, ours)
    return {
        **{"seconds_10k": small["seconds"], "seconds_100k": large["seconds"], "ratio_to_hydra": ratio["median"]},
        **{"peak_mib": max(small["peak_mib"], large["peak_mib"]), "plans": [small, large]},
        "composition": {
            **{"cells": compositions.cells, "cells_by_hydra": len(compositions.sample), "pairs": pairs},
            "hydra_ms_per_cell": [round(1000 * seconds, 3) for seconds in theirs],
            "ours_ms_per_cell": [round(1000 * seconds, 4) for seconds in ours],
            "ratios": ratio,
        },
        **{"cpus": os.cpu_count(), "bar": BAR},
    }


if __name__ == "__main__":
    main("plan_scale", measure, pairs=3, sample=40)
