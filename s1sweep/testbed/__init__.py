"""A small real world: a base model, a judge of steps, a pool of traces and four tasks, so that no download is needed.

Its figures are synthetic, not evidence about LLMs. This file knows where the committed assets lie and nothing else.
"""

from __future__ import annotations

from pathlib import Path

ASSETS: Path = Path(__file__).parent / "assets"
BASE: Path = ASSETS / "base"
PRM: Path = ASSETS / "prm"
POOL: Path = ASSETS / "pool.jsonl.gz"
TASKS: tuple[str, ...] = ("tiny_calc", "tiny_hard", "tiny_choice", "tiny_dev")


def task_path(name: str) -> Path:
    """The JSONL file of one committed task."""
    if name not in TASKS:
        raise KeyError(f"no testbed task {name!r}; there are {', '.join(TASKS)}")
    return ASSETS / "tasks" / f"{name}.jsonl"


__all__ = ["ASSETS", "BASE", "POOL", "PRM", "TASKS", "task_path"]
