"""Table 4 of the s1 paper: what is appended when the end of thinking is ignored twice."""

from __future__ import annotations

from ..labels import arm_order, extrapolation
from ..papertables import STRINGS, PaperTable, extrapolation_table
from ..study import Study
from . import source
from .base import Exhibit, Table
from .parts import TableEntry, lacking, task_table

PRINTED = ("2x without string", "2x Alternatively", "2x Hmm", "2x Wait")  # in the order of STRINGS


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """Rows are extrapolations of one arm at one cap; differences are to no extrapolation. A table for each arm, the one
    with most of them first.
    """
    # Twice, as in the paper; other counts are Table 5's, unless there are no others.
    twice = [cell for cell in study.cells if extrapolation(cell)[0] in (0, 2)]
    cells = twice if extrapolation_table(twice) else study.cells
    first = extrapolation_table(cells)
    if first is None:
        raise lacking("table4", "one arm without extrapolation and with a string appended")
    grids = {first.setting: first}
    for which in sorted(study.arms, key=arm_order):
        grid = extrapolation_table(cells, which)
        if grid is not None:
            grids.setdefault(grid.setting, grid)
    tables = [_table(study, grid, published) for grid in grids.values()]
    return Exhibit(
        "table4",
        "What was appended to make it think on",
        "s1 paper, Table 4",
        "Ignoring the end helps where a difference is above 0; a string matters where it differs from no string.",
        (*tables, *([source.table("table4")] if published else [])),
    )


def _table(study: Study, grid: PaperTable, published: bool) -> Table:
    entries: list[TableEntry] = []
    for line in grid.lines:
        cells = {task: cell for task, cell in zip(grid.columns, line.cells, strict=True) if cell}
        ignores, string = extrapolation(next(iter(cells.values())))
        known = ignores == 2 and string in STRINGS
        row = "no extrapolation" if not ignores else PRINTED[STRINGS.index(string)] if known else ""
        printed = {task: source.printed("table4", row, task) for task in cells} if published else {}
        entries.append(
            TableEntry(
                line.label,
                cells,
                entries[0] if line.against else None,
                "" if line.kind == "arm" else line.kind,
                {task: text for task, text in printed.items() if text is not None},
            )
        )
    notes = [
        "Δ: difference to no extrapolation in points, paired bootstrap over questions (10,000 resamples).",
    ]
    if grid.elsewhere:
        notes.append("Other cells of the sweep are at other settings: s1sweep results.")
    return task_table(study, f"Accuracy by what is appended, %: {grid.setting}", "extrapolation", entries, notes)
