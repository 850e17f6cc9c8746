"""The table of a sweep on a terminal and as CSV. Hides no cell: a missing one is a row with its reason.

Knows cell results; not where they came from.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from s1sweep.store import Store

from . import trainings
from .clean import Clean
from .labels import Column, axis_value, columns, task_label
from .noise import noise_floors
from .results import CellResult

MANY = 40  # cells; above it the table is pivoted where that makes it shorter
FIELDS = (
    "accuracy", "ci_low", "ci_high", "n", "readouts", "interval", "mean_thinking_tokens", "mean_answer_tokens",
    "mean_total_tokens",
    "forced_share", "missing", "series", "key",
)  # fmt: skip


def percent(share: float | None) -> str:
    """A share as percent with one decimal; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f}"


def with_interval(cell: CellResult) -> str:
    """`62.5 [51.5, 72.3]`, in percent."""
    return f"{percent(cell.accuracy)} [{percent(cell.ci_low)}, {percent(cell.ci_high)}]"


def csv_text(cells: Sequence[CellResult], clean: Sequence[Clean | None] | None = None) -> str:
    """One line per cell: every axis, then the numbers (shares in [0, 1]; empty where missing)."""
    axes = list(dict.fromkeys(name for cell in cells for name in cell.axes))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*axes, *FIELDS, *(("clean_accuracy", "clean_n") if clean else ())])
    for i, cell in enumerate(cells):
        values = [*(axis_value(cell, axis) for axis in axes), *(getattr(cell, name) for name in FIELDS)]
        if clean:
            one = clean[i]
            values += [one.accuracy, one.n] if one else [None, None]
        writer.writerow(["" if value is None else value for value in values])
    return out.getvalue()


def show(
    cells: Sequence[CellResult],
    console: Console | None = None,
    clean: Sequence[Clean | None] | None = None,
    store: Store | None = None,
) -> None:
    """Print the table of some cells: the axes that vary, accuracy in percent with its 95 % interval, and its cost.

    `clean` gives each cell's accuracy on the questions that no arm has seen, in the cells' order. Given their store,
    the trainings behind them too.
    """
    console = console or Console(highlight=False)
    if not cells:
        console.print("No cells.")
        return
    if len(cells) > MANY:  # a reader compares within a task
        tasks = list(dict.fromkeys(task_label(cell) for cell in cells))
        order = sorted(range(len(cells)), key=lambda i: tasks.index(task_label(cells[i])))
        cells, clean = [cells[i] for i in order], [clean[i] for i in order] if clean else None
    axes = columns(cells)
    table = _pivot(cells, axes, console) if len(cells) > MANY and console.is_terminal and not clean else None
    notes = _notes(cells, pivoted=table is not None)
    if clean:
        notes.append("clean: questions that share no run of 8 words with any row that any of these arms trained on.")
    table = table or _list(cells, axes, clean)
    if _width(table, console) > console.width:
        if console.is_terminal:
            table = _list(cells, [_joined(axes)], clean)
        else:
            console.width = _width(table, console)  # a pipe has no edge; its reader wants whole numbers
    console.print(table)
    for line in notes:
        console.print(line, style="dim", markup=False, soft_wrap=not console.is_terminal)
    if store is not None and (made := trainings.table(trainings.trainings(store, cells))) is not None:
        console.print()
        console.print(made)


def _list(cells: Sequence[CellResult], axes: Sequence[Column], clean: Sequence[Clean | None] | None = None) -> Table:
    """One row per cell."""
    table = _empty(axes)
    for name in ("accuracy %", "n", "think", "total", "forced %", *(("clean %", "clean n") if clean else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for i, cell in enumerate(cells):
        if cell.missing is None:
            tokens = [f"{cell.mean_thinking_tokens:,.0f}", f"{cell.mean_total_tokens:,.0f}"]
            numbers = [with_interval(cell), str(cell.n), *tokens, percent(cell.forced_share)]
        else:
            numbers = [_short(cell.missing), "–", "–", "–", "–"]
        if clean:
            one = clean[i]
            numbers += [percent(one.accuracy), f"{one.n} of {one.of}"] if one else ["–", "–"]
        table.add_row(*(axis.values[i] for axis in axes), *numbers)
    return table


def _pivot(cells: Sequence[CellResult], axes: Sequence[Column], console: Console) -> Table | None:
    """One axis across, the others down: if it fits, leaves few holes and gives every cell a place of its own."""
    found: list[tuple[int, Table]] = []
    for across in axes[1:]:
        down = [axis for axis in axes if axis is not across]
        names = list(dict.fromkeys(across.values))
        rows: dict[tuple[str, ...], dict[str, CellResult]] = {}
        for i, cell in enumerate(cells):
            rows.setdefault(tuple(axis.values[i] for axis in down), {})[across.values[i]] = cell
        if sum(map(len, rows.values())) < len(cells) or len(rows) * len(names) > 1.25 * len(cells):
            continue
        table = _empty(down)
        table.title = f"accuracy % by {across.heading}"
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        for values, row in rows.items():
            table.add_row(*values, *(_slot(row.get(name)) for name in names))
        if _width(table, console) <= console.width:
            found.append((len(rows), table))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _slot(cell: CellResult | None) -> str:
    if cell is None:
        return ""
    if cell.missing is not None:
        return _short(cell.missing)
    return f"{percent(cell.accuracy)}\n[{percent(cell.ci_low)}, {percent(cell.ci_high)}]"


def _short(reason: str) -> str:
    """`train failed`; the whole reason is in the notes."""
    return reason.split(":", 1)[0]


def _notes(cells: Sequence[CellResult], pivoted: bool) -> list[str]:
    how = sorted({cell.interval for cell in cells if cell.interval})
    lines = ["Accuracy in % with its 95 % interval: " + "; ".join(how) + "."] if how else []
    if how and pivoted:
        lines.append(f"{len(cells)} cells. Thinking tokens and forced shares: --csv, --json or the page.")
    elif how:
        lines.append(
            "think, total: mean thinking tokens, and all tokens, of an answer. "
            "forced: share of readouts whose thinking did not end by itself."
        )
    lines += [str(floor) for floor in noise_floors(cells)]
    unmet = sum(cell.endings.get("unmet", 0) for cell in cells)
    if unmet:
        lines.append(f"{unmet} samples had no try within the limit of rejection sampling; they count as wrong.")
    reasons = Counter(cell.missing for cell in cells if cell.missing is not None)
    return lines + [f"{count} missing: {reason}" for reason, count in reasons.items()]


def _empty(axes: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for axis in axes:
        table.add_column(axis.heading, no_wrap=len(axes) > 1, overflow="fold")
    return table


def _joined(axes: Sequence[Column]) -> Column:
    values = [" / ".join(parts) for parts in zip(*(axis.values for axis in axes), strict=True)]
    return Column(" / ".join(axis.heading for axis in axes), values)


def _width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(width=10_000), table).maximum
