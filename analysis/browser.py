"""What the page's scripts know of a sweep, as one JSON value: its axes, its cells with their numbers, and samples.

Knows names and numbers; not how they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .labels import Column, budget_label, extrapolation, extrapolation_label, method_label
from .results import CellResult
from .samples import Samples
from .tables import percent


def browser(cells: Sequence[CellResult], axes: Sequence[Column], shown: Samples) -> dict[str, Any]:
    """`axes`: name and distinct values, in the sweep's order. A cell's `at` has one place in `values` per axis.

    `series` is the same for cells of one question answered at other budgets; `budget` is what tells them apart.
    `accuracy` is a share in [0, 1]; `percent` and `interval` are texts.
    """
    values = [distinct(axis) for axis in axes]
    places = [{value: i for i, value in enumerate(found)} for found in values]
    series = {key: i for i, key in enumerate(dict.fromkeys(cell.series for cell in cells))}
    return {
        "axes": [{"name": axis.heading, "values": found} for axis, found in zip(axes, values, strict=True)],
        "cells": [
            {
                "key": cell.key,
                "at": [place[axis.values[i]] for axis, place in zip(axes, places, strict=True)],
                "series": series[cell.series],
                "budget": _budget(cell),
                **(_numbers(cell) if cell.missing is None else {"missing": cell.missing}),
                **({"group": shown.cells[cell.key]} if cell.key in shown.cells else {}),
            }
            for i, cell in enumerate(cells)
        ],
        "questions": shown.questions,
        "groups": shown.groups,
    }


def distinct(axis: Column) -> list[str]:
    """The values of an axis: numbers in their order, then others in the sweep's."""
    found = list(dict.fromkeys(axis.values))
    numbers = {value: number for value in found if (number := _number(value)) is not None}
    return sorted(numbers, key=lambda value: numbers[value]) + [value for value in found if value not in numbers]


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _numbers(cell: CellResult) -> dict[str, Any]:
    """With the texts of the tables: JavaScript rounds ties another way."""
    return {
        "accuracy": round(cell.accuracy or 0.0, 5),
        "percent": percent(cell.accuracy),
        "interval": f"[{percent(cell.ci_low)}, {percent(cell.ci_high)}]",
        "n": cell.n,
        "think": round(cell.mean_thinking_tokens or 0.0, 1),
    }


def _budget(cell: CellResult) -> str:
    """`cap 256, 2× "Wait"`."""
    parts = [budget_label(cell)]
    if method_label(cell) is None and extrapolation(cell)[0]:
        parts.append(extrapolation_label(extrapolation(cell)))
    return ", ".join(part for part in parts if part)
