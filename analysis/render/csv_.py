"""A table as CSV: raw numbers, unrounded; a column of numbers becomes value, low, high, n, p, whether it is
exploratory, published and why."""

from __future__ import annotations

import csv
import io
from typing import Any

from ..exhibits.base import Number, Slot, Table

FIELDS = ("low", "high", "n", "p", "exploratory", "published", "why")


def table(table: Table) -> str:
    """One line per row. `kind` says what is special about it. Percent and points are in [0, 100]."""
    numeric = [any(isinstance(row.slots[i], Number) for row in table.rows) for i in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = ["kind"]
    for column, numbers in zip(table.columns, numeric, strict=True):
        header += [column, *(f"{column} {field}" for field in FIELDS)] if numbers else [column]
    writer.writerow(header)
    for row in table.rows:
        line: list[Any] = [row.kind]
        for slot, numbers in zip(row.slots, numeric, strict=True):
            line += _values(slot) if numbers else [slot]
        writer.writerow(["" if value is None or value is False else value for value in line])
    return out.getvalue()


def _values(slot: Slot) -> list[Any]:
    if isinstance(slot, Number):
        return [slot.value, *(getattr(slot, field) for field in FIELDS)]
    return [slot, *(None for _ in FIELDS)]
