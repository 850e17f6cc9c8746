"""Table 2 of the s1 paper: the same recipe on different subsets."""

from __future__ import annotations

from ..labels import arm
from ..papertables import subset_table
from ..study import Study
from . import source
from .base import Exhibit
from .parts import TableEntry, lacking, task_table

PRINTED = {"random": "1K-random", "diverse": "1K-diverse", "longest": "1K-longest", "full": "59K-full", "s1k": "s1K"}


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """Rows are data arms at the setting that most arms share; differences are to s1k, a null arm's to its sibling."""
    grid = subset_table(study.cells)
    if grid is None:
        raise lacking("table2", "two or more subsets at one setting")
    entries: dict[str, TableEntry] = {}
    # A reference stands below what is compared with it.
    for line in sorted(grid.lines, key=lambda line: ("reference", "arm", "null").index(line.kind)):
        cells = {task: cell for task, cell in zip(grid.columns, line.cells, strict=True) if cell}
        rule = (arm(next(iter(cells.values()))) or ("",))[0] if cells else ""
        row = PRINTED.get(rule, "") if published and line.kind != "null" else ""
        entries[line.label] = TableEntry(
            line.label + (f" (null arm, against {line.against})" if line.kind == "null" else ""),
            cells,
            entries.get(line.against or ""),
            "" if line.kind == "arm" else line.kind,
            _known({task: source.printed("table2", row, task) for task in cells}),
            _known({task: source.printed_interval("table2", row, task) for task in cells}),
        )
    ordered = [entries[line.label] for line in grid.lines]
    reference = next(line.label for line in grid.lines if line.kind == "reference")
    notes = [
        f"Δ: difference to {reference} in points, paired bootstrap over questions (10,000 resamples).",
        f"Setting: {grid.setting}.",
    ]
    if any(line.kind == "null" for line in grid.lines):
        notes.append("A null arm is the same rule with another selection seed: what it differs by is noise of drawing.")
    if grid.elsewhere:
        notes.append(f"{grid.elsewhere} other cells of the sweep are at other settings: s1sweep results.")
    tables = [task_table(study, "Accuracy by training subset, %", "trained on", ordered, notes)]
    return Exhibit(
        "table2",
        "What it was trained on",
        "s1 paper, Table 2",
        "A subset matters where its difference is larger than the null arm's and its corrected p is small.",
        (*tables, *([source.table("table2")] if published else [])),
    )


def _known(texts: dict[str, str | None]) -> dict[str, str]:
    return {task: text for task, text in texts.items() if text is not None}
