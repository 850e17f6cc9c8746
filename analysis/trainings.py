"""The trainings behind a sweep's cells: how far each went, on how many tokens, and what truncation cost it.

Arms trained for equal epochs get unequal updates; this is where a reader sees it. Knows records; not how they are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from s1sweep.sources.raw import read_jsonl
from s1sweep.store import Store

from .labels import arm, arm_label, arm_order, axis_value, shown, varying_axes
from .results import CellResult, record_of

HISTORY = "history.jsonl"
GROUPS = ("pool", "curation", "model", "train")


def trainings(store: Store, cells: Sequence[CellResult]) -> list[dict[str, Any]]:
    """One row per distinct training: its arm, summary and losses by logged step; a reason where it has no record."""
    found: dict[str, CellResult] = {cell.stages["train"]: cell for cell in cells if "train" in cell.stages}
    arms = [arm(cell) for cell in found.values()]
    recipes = [axis for axis in varying_axes(list(found.values())) if axis.split(".")[0] in GROUPS]
    rows = []
    for stage, cell in sorted(found.items(), key=lambda item: arm_order(arm(item[1]))):
        form = cell.spec["method"]["kind"] if cell.spec["method"].get("trained_on") == "own" else ""
        names = [
            arm_label(arm(cell), arms),
            *([f"in the format of {form}"] if form else []),
            *(f"{axis}={shown(axis_value(cell, axis))}" for axis in recipes),
        ]
        row: dict[str, Any] = {"arm": ", ".join(names), "stage": stage, "losses": []}
        record = record_of(store, stage)
        if record:
            row |= record.summary
            row["seconds"] = record.cost.get("train_seconds")
            history = store.outputs(stage, HISTORY) / HISTORY
            row["losses"] = [step["loss"] for step in read_jsonl(history)] if history.exists() else []
        else:
            failure = store.failure(stage)
            row["missing"] = f"failed: {failure}" if failure else "not run yet"
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> Table | None:
    """Updates, supervised tokens and truncated rows of each finished training; None if there is none."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    found.add_column("trained on")
    for name in ("rows", "steps", "supervised tokens", "truncated %", "last loss"):
        found.add_column(name, justify="right", no_wrap=True)
    done = [row for row in rows if "steps" in row]
    for row in done:
        tokens = row.get("supervised_tokens")
        found.add_row(
            row["arm"],
            f"{row['rows']:,}",
            f"{row['steps']:,}",
            "–" if tokens is None else f"{tokens:,}",
            f"{100 * row['truncated_share']:.1f}",
            f"{row['final_loss']:.3f}",
        )
    return found if done else None
