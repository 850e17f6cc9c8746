"""The W&B mirror of a sweep: one run per training, one per series, one for the table of cells.

Everything comes from records and results, and is published against a receipt, so nothing is shown twice; a crash
between the two means writing the same run, under the same id, once more. A mirror may fail; the sweep may not.
Knows nothing of how stages work or where they ran.

    <sweep>/wandb.json     the receipt: run id -> what of it was published, and where
    <sweep>/wandb/         offline runs, and W&B's own staging and cache
"""

from __future__ import annotations

import os

from s1sweep.spec import Tracking
from s1sweep.store import Sweep
from s1sweep.tracking.receipt import Receipt
from s1sweep.tracking.views import WandbRun, runs


def publish(sweep: Sweep, tracking: Tracking) -> list[str]:
    """Bring W&B up to date with a sweep's records. Returns lines for the terminal; never raises for W&B's sake."""
    mode = mode_of(tracking)
    if mode == "none":
        return []
    entity = os.environ.get("WANDB_ENTITY") or tracking.entity
    project = os.environ.get("WANDB_PROJECT") or tracking.project
    receipt = Receipt(sweep.dir, f"{entity or ''}/{project}")
    due = [run for run in runs(sweep, tracking) if not receipt.covers(run.id, run.fingerprint, mode)]
    lines: list[str] = []
    if due:
        try:
            _publish(due, receipt, mode, {"entity": entity, "project": project, "group": sweep.name}, lines)
        except Exception as error:  # a mirror that breaks must not fail a sweep that did not
            lines.append(f"W&B: not all was published ({_first_line(error)}). The next run tries again.")
        receipt.tidy({run.id for run in due})
    if waiting := receipt.waiting():
        lines.append(f"W&B: {waiting} offline runs to upload: {receipt.sync_command()}")
    return lines


def _publish(due: list[WandbRun], receipt: Receipt, mode: str, place: dict[str, str | None], lines: list[str]) -> None:
    try:
        from s1sweep.tracking import live
    except ImportError as error:
        lines.append(f"W&B: nothing published, {error.name} is not installed (pip install wandb, or tracking=none).")
        return
    if mode == "online":
        urls: list[str] = []
        with live.session(receipt.folder):
            try:
                if not (why := live.obstacle()):
                    _write(due, receipt, mode, place, urls)
            except Exception as error:  # whatever wandb raises: files can still be written
                why = _first_line(error)
        lines += [f"W&B: {len(urls)} runs published, the last one {urls[-1]}"] if urls else []
        if why is None:
            return
        lines.append(f"W&B: {why}; written offline instead.")
    with live.session(receipt.folder):  # a fresh one: the old one keeps the id of a run that failed to start
        _write(due, receipt, "offline", place, [])


def _write(due: list[WandbRun], receipt: Receipt, mode: str, place: dict[str, str | None], urls: list[str]) -> None:
    from s1sweep.tracking import live

    for run in due:
        if receipt.covers(run.id, run.fingerprint, mode):
            continue  # written offline in an earlier try, or online just before the server went away
        known = receipt.known(run.id)
        done = live.write(run, run.view(), known, receipt.folder, mode, place)
        receipt.add(run.id, run.fingerprint, done.folder, known, done.blocks)
        urls += [done.url] if done.url else []


def mode_of(tracking: Tracking) -> str:
    """WANDB_MODE wins over the config, except that no mirror stays no mirror."""
    asked = os.environ.get("WANDB_MODE", "").lower()
    if tracking.mode == "none" or asked == "disabled":
        return "none"
    return {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline"}.get(asked, tracking.mode)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
