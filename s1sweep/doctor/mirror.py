"""Whether W&B gets what it is to get. It is a mirror: nothing here keeps a sweep from running."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from s1sweep import tracking
from s1sweep.doctor.base import Asked, CheckResult


def wandb_mode(asked: Asked) -> Iterator[CheckResult]:
    mode = tracking.mode_of(asked.tracking)
    if mode == "none":
        yield CheckResult("wandb", "ok", "no mirror (tracking=none or WANDB_MODE=disabled)")
        return
    if mode == "offline":
        yield CheckResult("wandb", "ok", "offline: files beside the sweep, and the command that uploads them")
        return
    try:
        from s1sweep.tracking import live
    except ImportError as error:
        yield CheckResult("wandb", "warning", f"{error.name} is not installed", "pip install wandb, or tracking=none.")
        return
    with tempfile.TemporaryDirectory() as folder, live.session(Path(folder)):
        why = live.obstacle()
    if why:
        todo = "Runs would be written offline instead: wandb login, or WANDB_API_KEY, or tracking=wandb_offline."
        yield CheckResult("wandb", "warning", f"online: {why}", todo)
    else:
        yield CheckResult("wandb", "ok", "online: there is a key, and the server answers")
