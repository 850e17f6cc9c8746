"""Estimates as numbers, rows and points of exhibits."""

from __future__ import annotations

import math
from typing import Any

from ..critics.resample import Estimates
from ..intervals import wilson
from ..labels import cap, extrapolation, extrapolation_label
from ..ladders import Ladder
from ..results import CellResult
from .base import Number, Point, Unit

SCALES: dict[Unit, float] = {"%": 100.0, "points": 100.0}
RESAMPLED = "Intervals: 95 %, percentile bootstrap over questions, the same resamples for all numbers of a table."


def number(
    found: Estimates,
    unit: Unit = "%",
    n: str | None = None,
    cell: CellResult | None = None,
    exploratory: bool = False,
    of: int = 0,
) -> Number:
    """One estimate, shares to percent or points where those are the unit; without a value where it is undefined.

    Where resampling leaves a share without width, because all questions agree, it has Wilson's interval; `of` says
    over how many questions if not over all.
    """
    value, low, high = (float(x) for x in (found.value, found.low, found.high))
    if not math.isfinite(value):
        return Number(None, unit, n=n, why="undefined: nothing to average")
    of = of or found.questions
    if unit == "%" and of and low == high and 0 <= value <= 1:
        low, high = wilson(value * of, of)
    inside, scale = math.isfinite(low) and math.isfinite(high), SCALES.get(unit, 1.0)
    ends = (low * scale, high * scale) if inside else (None, None)
    return Number(value * scale, unit, ends[0], ends[1], n, None, exploratory, None, cell.key if cell else None)


def point(x: float, found: Estimates, label: str, cell: CellResult | None = None, scale: float = 100.0) -> Point:
    """A point of a figure; y in percent unless scaled otherwise."""
    low, high = float(found.low) * scale, float(found.high) * scale
    inside = math.isfinite(low) and math.isfinite(high)
    ends = (low, high) if inside else (None, None)
    return Point(x, float(found.value) * scale, ends[0], ends[1], label, cell.key if cell else None)


def missing(cell: CellResult, unit: Unit = "%") -> Number:
    return Number(None, unit, why=cell.missing)


def absent(ladder: Ladder) -> list[str]:
    """A note for each cell without a number."""
    return [
        f"{ladder.task}, {ladder.label}: cap {cap(cell):,}, {extrapolation_label(extrapolation(cell))} is missing: "
        f"{cell.missing}."
        for cell in ladder.cells
        if cell.missing is not None
    ]


def axes(ladder: Ladder) -> tuple[tuple[str, str], ...]:
    return (("task", ladder.task), ("arm", ladder.label))


def finite(values: Any) -> bool:
    return bool(math.isfinite(float(values)))
