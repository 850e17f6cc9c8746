"""Table 1 of the s1 paper: models side by side on every task."""

from __future__ import annotations

from ..labels import arm, arm_label, arm_order, extrapolation, extrapolation_label, method_label, model_label
from ..results import CellResult
from ..study import Study
from . import source
from .base import Exhibit
from .parts import TableEntry, by_task, elsewhere, lacking, largest, setting, task_table

Who = tuple[str, str, tuple[int, str]]


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """Rows are models: as they come, and trained by us, without and with an appended string."""
    plain = [cell for cell in study.cells if method_label(cell) is None and _arm_seed(cell) == 0]
    # The setting that most rows share; a model's own fields are its own.
    chosen = largest(
        plain, lambda cell: setting(cell, "model", "train", "pool", "curation", "data", "extrapolation", "task"), _who
    )
    rows: dict[Who, list[CellResult]] = {}
    for cell in sorted(chosen, key=lambda c: (model_label(c), arm_order(arm(c)), extrapolation(c))):
        rows.setdefault(_who(cell), []).append(cell)
    if len(rows) < 2:
        raise lacking("table1", "two or more models or arms on shared tasks")
    arms = [arm(cell) for cell in chosen]
    entries = []
    for cells in rows.values():
        name = model_label(cells[0])
        trained = arm(cells[0])
        label = name if trained is None else f"{name} trained on {arm_label(trained, arms)}"
        if extrapolation(cells[0])[0]:
            label += f", {extrapolation_label(extrapolation(cells[0]))}"
        entries.append(TableEntry(label, by_task(cells), kind="reference" if trained is None else ""))
    tables = [
        task_table(study, "Accuracy of models, %", "model", entries, elsewhere(study, chosen), compared=False),
        *([source.table("table1")] if published else []),
    ]
    return Exhibit(
        "table1",
        "Models side by side",
        "s1 paper, Table 1",
        "Each row is a model: as it comes, or trained by us, with and without an appended string.",
        tuple(tables),
    )


def _who(cell: CellResult) -> Who:
    return model_label(cell), str(arm(cell)), extrapolation(cell)


def _arm_seed(cell: CellResult) -> int:
    which = arm(cell)
    return which[2] if which else 0
