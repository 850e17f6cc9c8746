"""Table 8 of the s1 paper: training on short sequences makes a model think longer and answer worse."""

from __future__ import annotations

from ..labels import arm, extrapolation, method_label, task_label
from ..results import CellResult, record_of
from ..study import Study
from . import source
from .base import Exhibit, Number, Slot, Table, TableRow
from .parts import PERCENT, accuracy, by_task, claims_table, difference, elsewhere, lacking, largest, setting, thinking


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """Rows are block sizes, smallest first; differences are to the largest."""
    trained = [c for c in study.cells if arm(c) and method_label(c) is None and not extrapolation(c)[0]]
    chosen = largest(trained, lambda cell: setting(cell, "train.block_size", "task"), _block)
    sizes = sorted({_block(cell) for cell in chosen})
    if len(sizes) < 2:
        raise lacking("table8", "one arm trained in blocks of two sizes")
    cells = {size: by_task(cell for cell in chosen if _block(cell) == size) for size in sizes}
    tasks = list(dict.fromkeys(task_label(cell) for cell in chosen))
    columns = ["block size", "truncated, %"]
    for task in tasks:
        columns += [task, f"Δ {task}", f"{task}, thinking tokens", f"Δ {task}, tokens"]
    rows = []
    for size in sizes:
        slots: list[Slot] = [f"{size:,}", _truncated(study, next(iter(cells[size].values())))]
        last = size == sizes[-1]
        for task in tasks:
            cell = cells[size].get(task)
            other = None if last else cells[sizes[-1]].get(task)
            said = _said(size, task) if published else (None, None)
            slots += [accuracy(cell, said[0]), difference(study, cell, other)]
            slots += [thinking(study, cell, said[1]), difference(study, cell, other, "thinking_tokens")]
        rows.append(TableRow(tuple(slots), "reference" if last else ""))
    notes = (f"Δ: difference to blocks of {sizes[-1]:,}, paired by question.", *elsewhere(study, chosen))
    table = Table("Accuracy and mean thinking tokens by training sequence length", tuple(columns), tuple(rows), notes)
    return Exhibit(
        "table8",
        "Training in short blocks",
        "s1 paper, Table 8",
        "Rows cut short teach no end of thinking: short blocks show as more tokens and no more accuracy.",
        (table, *claims_table(study, "thinking_tokens"), *([source.table("table8")] if published else [])),
    )


def _block(cell: CellResult) -> int:
    return int((cell.spec["train"].get("sft") or cell.spec["train"]).get("block_size", 0))


def _truncated(study: Study, cell: CellResult) -> Number:
    record = record_of(study.store, cell.stages["train"])
    if record is None:
        return Number(None, why=cell.missing or "the training's record is gone")
    summary = record.summary
    return Number(PERCENT * summary["truncated_share"], n=f"{summary['rows']} rows")


def _said(size: int, task: str) -> tuple[str | None, str | None]:
    found = source.published("table8").rows.get(str(size), {})
    name = source.TASKS.get(task, "")
    ours = found.get(name), found.get(f"{name} tokens")
    return tuple(None if one is None else f"{one.value:,g}" for one in ours)  # type: ignore[return-value]
