"""Step checkpoints: what an interrupted training goes on from. Knows folders, not trainers.

    <stage>/checkpoints/step-<n>/     the trainer's files and `meta.json`; there whole or not at all

Each attempt of a stage takes the newest that was made by the same work on the same layout; the store removes them all
when the stage is published. Optimizer, schedule and random state in them are PyTorch pickles: s1sweep writes them,
reads nobody else's, and the trainer loads them with `weights_only`, which runs no code.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

META = "meta.json"


def newest(folder: Path, key: Mapping[str, Any]) -> Path | None:
    """The latest step that was made under the same `key`."""
    for path in sorted(folder.glob("step-*"), key=_step, reverse=True):
        try:
            if json.loads((path / META).read_text()) == key:
                return path
        except (OSError, ValueError):
            continue
    return None


def publish(made: Path, folder: Path, step: int, key: Mapping[str, Any]) -> None:
    """Move a finished checkpoint to its place, and remove the older ones."""
    (made / "training_args.bin").unlink(missing_ok=True)
    (made / META).write_text(json.dumps(key))
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"step-{step}"
    shutil.rmtree(place, ignore_errors=True)
    os.replace(made, place)
    for path in folder.glob("step-*"):
        if _step(path) < step:
            shutil.rmtree(path, ignore_errors=True)


def _step(path: Path) -> int:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
