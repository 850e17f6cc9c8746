"""Figure 6 of the s1 paper: rejection sampling, whole traces drawn until one keeps to the limit."""

from __future__ import annotations

from ..labels import cap, extrapolation, method_label, task_label
from ..results import CellResult, record_of
from ..study import Study
from . import source
from .base import Exhibit, Figure, FigureLine, Number, Panel, Point, Slot, Table, TableRow
from .parts import PERCENT, accuracy, arm_name, claims_table, elsewhere, lacking, longest, setting, thinking


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """Accuracy, tries and answers without a try that fits, by limit; and budget forcing at the same limits."""
    groups: dict[str, list[CellResult]] = {}
    for cell in study.cells:
        if cell.spec["method"]["kind"] == "rejection" and cell.spec["parallel"]["rule"] == "none":
            groups.setdefault(setting(cell, "method.max_thinking_tokens"), []).append(cell)
    rejected = sorted(longest(groups.values()), key=cap)
    if len(rejected) < 2:
        raise lacking("fig6", "rejection sampling at two or more limits")
    forced = _forced(study, rejected)
    rows = [_row(study, "rejection sampling", cell) for cell in rejected]
    rows += [_row(study, "budget forcing", cell) for cell in forced]
    columns = ("method", "limit", "accuracy, %", "thinking tokens", "tries a sample", "none fits, %")
    where = f"{task_label(rejected[0])}, trained on {arm_name(study, rejected[0])}"
    notes = (
        f"On {where}. An answer without a try within the limit counts as wrong.",
        *elsewhere(study, [*rejected, *forced]),
    )
    panels = [
        Panel(
            where,
            tuple(
                line for line in (_line("rejection sampling", rejected), _line("budget forcing", forced)) if line.points
            ),
            x="limit on thinking tokens",
        ),
        Panel("tries", _tries(study, rejected), x="limit on thinking tokens", y="tries a sample"),
    ]
    return Exhibit(
        "fig6",
        "Rejection sampling",
        "s1 paper, Figure 6",
        "Where accuracy falls as the limit is raised, short traces are those of questions that went well at once.",
        (
            Table("Rejection sampling by limit", columns, tuple(rows), notes),
            *claims_table(study, "accuracy", "scaling"),
            *([source.table("figure6")] if published else []),
        ),
        (Figure("Rejection sampling", tuple(panel for panel in panels if panel.lines)),),
    )


def _forced(study: Study, rejected: list[CellResult]) -> list[CellResult]:
    """Budget forcing of the same arm on the same task."""
    same = setting(rejected[0], "method", "sampling")
    found = [c for c in study.cells if method_label(c) is None and not extrapolation(c)[0]]
    return sorted((c for c in found if setting(c, "method", "sampling") == same), key=cap)


def _row(study: Study, name: str, cell: CellResult) -> TableRow:
    slots: list[Slot] = [name, f"{cap(cell):,}", accuracy(cell), thinking(study, cell)]
    if cell.missing is not None:
        return TableRow((*slots, Number(None, why=cell.missing), Number(None, why=cell.missing)))
    tries, n = mean_tries(study, cell), f"{cell.readouts} samples"
    unmet = PERCENT * cell.endings.get("unmet", 0) / sum(cell.endings.values())
    if name != "rejection sampling":
        return TableRow((*slots, None, None))
    return TableRow((*slots, None if tries is None else Number(tries, "", n=n), Number(unmet, "%", n=n)))


def mean_tries(study: Study, cell: CellResult) -> float | None:
    """Mean tries of a sample; None for a cell without a number."""
    record = record_of(study.store, cell.stages["grade"])
    return None if record is None else record.summary.get("mean_tries")


def _line(name: str, cells: list[CellResult]) -> FigureLine:
    from ..curves import point

    points = [(cap(cell), point(cell)) for cell in cells if cell.missing is None]
    made = tuple(Point(float(x), p.y, p.low, p.high, p.label, p.cell) for x, p in points)
    return FigureLine(name, made, axes=(("method", name),))


def _tries(study: Study, cells: list[CellResult]) -> tuple[FigureLine, ...]:
    points = []
    for cell in cells:
        tries = mean_tries(study, cell)
        if tries is not None:
            points.append(Point(float(cap(cell)), tries, label=f"{tries:,.1f} tries a sample", cell=cell.key))
    name = "rejection sampling"
    return (FigureLine(name, tuple(points), axes=(("method", name),)),) if points else ()
