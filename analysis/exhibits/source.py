"""The source's own numbers beside ours: a table or panel of what was published. Knows no result of ours."""

from __future__ import annotations

from ..published import Published, published
from .base import FigureLine, Number, Panel, Point, Table, TableRow, Unit

TASKS = {"aime24": "AIME24", "aime25": "AIME25", "math500": "MATH500", "gpqa_diamond": "GPQA"}  # ours -> the paper's
FIGURE1 = ("AIME24", "MATH500", "GPQA")
UNITS: dict[str, Unit] = {"scaling": "points", "runs": "count", "tries": "count"}


def table(name: str) -> Table:
    """All that is published under a name, with its status as a note. For those that have rows."""
    found = published(name)
    columns = list(dict.fromkeys(column for cells in found.rows.values() for column in cells))
    rows = []
    for label, cells in found.rows.items():
        numbers = []
        for column in columns:
            one = cells.get(column)
            unit = "tokens" if column.endswith("tokens") else UNITS.get(column, "%")
            known = one is not None and one.value is not None
            numbers.append(Number(one.value, unit, one.low, one.high) if one is not None and known else None)
        rows.append(TableRow((label, *numbers), "published"))
    return Table(f"Published: {found.title}", ("", *columns), tuple(rows), notes(found))


def points(name: str) -> Table:
    """The points of what is published as curves."""
    found = published(name)
    rows = []
    for label, curve in found.curves.items():
        for i, value in enumerate(curve.accuracy):
            limit = f"{curve.limits[i]:g}" if curve.limits else None
            tokens = Number(curve.thinking_tokens[i], "tokens") if curve.thinking_tokens else None
            rows.append(TableRow((label, limit, tokens, Number(value)), "published"))
    columns = ("", "limit", "thinking tokens", "accuracy, %")
    return Table(f"Published: {found.title}", columns, tuple(rows), notes(found))


def panel(name: str, *labels: str) -> Panel:
    """A panel of published curves that have thinking tokens, all or some."""
    found = published(name)
    lines = [
        FigureLine(
            f"{label}, published",
            tuple(Point(x, y, label=f"{label}, published: {y:g} % at {x:,.0f} tokens") for x, y in curve.points),
            colour="published" if labels else label,
            marker="published",
        )
        for label, curve in found.curves.items()
        if curve.points and (not labels or label in labels)
    ]
    return Panel(f"published ({found.source.rsplit(', ', 1)[-1]})", tuple(lines))


def printed(name: str, row: str, task: str) -> str | None:
    """What the source prints for one of its rows on a task of ours; None where it has no such number."""
    one = published(name).rows.get(row, {}).get(TASKS.get(task, ""))
    return None if one is None or one.value is None else f"{one.value:g}"


def printed_interval(name: str, row: str, task: str) -> str | None:
    """The interval printed beside it."""
    one = published(name).rows.get(row, {}).get(TASKS.get(task, ""))
    return None if one is None or one.low is None else f"[{one.low:g}, {one.high:g}]".replace("-", "−")


def notes(found: Published) -> tuple[str, ...]:
    return f"{found.source}; {found.status}.", *(f"{note[:1].upper()}{note[1:]}." for note in found.notes)
