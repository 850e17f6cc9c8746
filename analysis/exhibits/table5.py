"""Table 5 of the s1 paper: one, two and four Waits, for our arm and for other checkpoints."""

from __future__ import annotations

from ..labels import arm, arm_label, extrapolation, extrapolation_label, method_label, model_label
from ..results import CellResult
from ..study import Study
from . import source
from .base import Exhibit
from .parts import TableEntry, by_task, elsewhere, lacking, setting, task_table

PRINTED_MODELS = {"s1_32b": "s1", "s1_1_32b": "s1.1"}
PRINTED_PLAIN = {"limo_32b": "LIMO", "qwq_32b": "QwQ", "r1_distill_qwen_32b": "r1-distill-Qwen-32B"}


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """Rows are models without and with Waits; differences are to the same model without."""
    groups: dict[str, list[CellResult]] = {}
    for cell in study.cells:
        if method_label(cell) is None and extrapolation(cell)[1] in ("", "Wait") and (arm(cell) or ("",))[0] in _ARMS:
            groups.setdefault(setting(cell, "extrapolation", "task"), []).append(cell)
    # Of several caps or seeds of one model, the one with most of the rows.
    best: dict[tuple[str, str], list[CellResult]] = {}
    for group in groups.values():
        who = model_label(group[0]), arm_label(arm(group[0]))
        best[who] = max(best.get(who, []), group, key=_settings)
    if max(map(_settings, best.values()), default=0) < 2:
        raise lacking("table5", "one model without extrapolation and with Wait")
    entries: list[TableEntry] = []
    for (model, trained), group in best.items():
        plain: TableEntry | None = None
        for ignores in sorted({extrapolation(c)[0] for c in group if extrapolation(c) == (0, "") or _wait(c)}):
            cells = by_task(c for c in group if extrapolation(c)[0] == ignores and (not ignores or _wait(c)))
            name = model if arm(group[0]) is None else f"{model} trained on {trained}"
            printed = {task: source.printed("table5", _printed_row(group[0], ignores), task) for task in cells}
            label = f"{name}, {extrapolation_label((ignores, 'Wait' if ignores else ''))}"
            known = {task: text for task, text in printed.items() if text is not None} if published else {}
            entry = TableEntry(label, cells, plain if ignores else None, "" if ignores else "reference", known)
            plain = plain if ignores else entry
            entries.append(entry)
    shown = [cell for entry in entries for cell in entry.cells.values()]
    notes = [
        "Δ: difference to the same model without extrapolation in points, paired bootstrap over questions.",
        *elsewhere(study, shown),
    ]
    tables = [task_table(study, "Accuracy by number of Waits, %", "model", entries, notes)]
    return Exhibit(
        "table5",
        "More Waits, other models",
        "s1 paper, Table 5",
        "Thinking on pays where a difference is above 0; it is scaling up only where more Waits gain more.",
        (*tables, *([source.table("table5")] if published else [])),
    )


_ARMS = ("", "s1k")


def _wait(cell: CellResult) -> bool:
    return extrapolation(cell)[1] == "Wait"


def _settings(group: list[CellResult]) -> int:
    return len({extrapolation(cell) for cell in group})


def _printed_row(cell: CellResult, ignores: int) -> str:
    model = model_label(cell)
    name = "s1" if arm(cell) else PRINTED_MODELS.get(model)
    if name is None:
        return PRINTED_PLAIN.get(model, "") if not ignores else ""
    return f"{name} Wait x{ignores}" if ignores else f"{name} w/o BF"
