"""Which cells stand where in two tables of the s1 paper (arXiv:2501.19393): data arms (2) and extrapolations (4).

Each takes the one setting that covers most of its slots and says which; cells at other settings stay in the table of
all cells. Knows cell results; computes no statistic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .labels import (
    Arm,
    arm,
    arm_label,
    arm_order,
    axis_value,
    cap,
    extrapolation,
    extrapolation_label,
    method_label,
    shown,
    task_label,
    varying_axes,
)
from .results import CellResult

STRINGS = ("", "Alternatively", "Hmm", "Wait")  # Table 4's order


@dataclass(frozen=True)
class PaperRow:
    """One row, to be compared with that called `against`. `kind` is `reference`, `null` (same rule, other selection
    seed) or `arm`. A cell that is not in the sweep is None.
    """

    label: str
    kind: str
    against: str | None
    cells: tuple[CellResult | None, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table with the setting all its cells share, as text, and how many cells of the sweep are elsewhere."""

    setting: str
    columns: tuple[str, ...]
    lines: tuple[PaperRow, ...]
    elsewhere: int


def subset_table(cells: Sequence[CellResult]) -> PaperTable | None:
    """Rows are data arms, columns tasks, at the extrapolation and cap that most arms and tasks share.

    Comparison is with s1k, or to the first trained arm where the sweep has no s1k; a null arm, the same rule with
    another selection seed, is compared with its sibling instead: that is the noise of drawing. None if there is only
    one arm.
    """

    def setting(cell: CellResult) -> Hashable:
        return extrapolation(cell), _spec(cell, "method", "parallel", "model", "sampling")

    def recipe(cell: CellResult) -> Hashable:
        return setting(cell), _spec(cell, "pool", "train")

    trained = [cell for cell in cells if arm(cell) is not None]
    chosen = _largest(trained, recipe, arm)
    if not chosen:
        return None
    # The base model has no recipe, so it stands beside any.
    chosen += [cell for cell in cells if arm(cell) is None and setting(cell) == setting(chosen[0])]
    arms = sorted({arm(cell) for cell in chosen}, key=arm_order)
    if len(arms) < 2:
        return None
    reference = next((a for a in arms if a and a[0] == "s1k"), next(a for a in arms if a))
    siblings: dict[Arm, Arm] = {}
    first: dict[Any, Arm] = {}
    for a in arms:
        if a and first.setdefault(a[:2], a) != a:
            siblings[a] = first[a[:2]]
    against: dict[Hashable, Hashable] = {a: siblings.get(a, reference) for a in arms if a != reference}
    kinds = {a: "reference" if a == reference else "null" if a in siblings else "arm" for a in arms}
    names = {a: arm_label(a, arms) for a in arms}
    where = _setting(extrapolation_label(extrapolation(chosen[0])), chosen, cells)
    return _grid(where, chosen, arm, arms, names, kinds, against, len(cells))


def extrapolation_table(cells: Sequence[CellResult], of: Arm | str = "best") -> PaperTable | None:
    """Rows are extrapolations, columns tasks, for one arm (by default the one with most of them, s1k first) at one cap.

    Comparison is with no extrapolation. None if the arm has only one extrapolation.
    """

    def setting(cell: CellResult) -> Hashable:
        recipe = _spec(cell, "pool", "train") if arm(cell) else None
        return arm(cell), recipe, _spec(cell, "method", "parallel", "model", "sampling")

    if of == "best":
        s1k = [cell for cell in cells if (arm(cell) or ("",))[0] == "s1k"]
        chosen = _largest(s1k, setting, extrapolation)
        if len({extrapolation(cell) for cell in chosen}) < 2:
            chosen = _largest(cells, setting, extrapolation)
    else:
        chosen = _largest([cell for cell in cells if arm(cell) == of], setting, extrapolation)
    found = sorted({extrapolation(cell) for cell in chosen}, key=_extrapolation_order)
    if len(found) < 2:
        return None
    plain = (0, "")
    kinds = {e: "reference" if e == plain else "arm" for e in found}
    against: dict[Hashable, Hashable] = {e: plain for e in found if e != plain and plain in found}
    names = {e: extrapolation_label(e) for e in found}
    where = _setting(arm_label(arm(chosen[0])), chosen, cells)
    return _grid(where, chosen, extrapolation, found, names, kinds, against, len(cells))


def _grid(
    setting: str,
    chosen: Sequence[CellResult],
    row_of: Callable[[CellResult], Hashable],
    rows: Sequence[Hashable],
    names: dict[Any, str],
    kinds: dict[Any, str],
    against: dict[Hashable, Hashable],
    total: int,
) -> PaperTable:
    slots: dict[tuple[Hashable, str], CellResult] = {}
    for cell in chosen:
        slots.setdefault((row_of(cell), task_label(cell)), cell)
    columns = tuple(dict.fromkeys(task_label(cell) for cell in chosen))

    lines = tuple(
        PaperRow(
            names[row],
            kinds[row],
            names[against[row]] if row in against else None,
            tuple(slots.get((row, column)) for column in columns),
        )
        for row in rows
    )
    return PaperTable(setting, columns, lines, total - len(slots))


def _setting(first: str, chosen: Sequence[CellResult], cells: Sequence[CellResult]) -> str:
    """What the chosen cells share, as far as other cells of the sweep differ from it."""
    way = method_label(chosen[0])
    parts = [first, way or f"at most {cap(chosen[0]):,} thinking tokens a round"]
    shown_above = ("task", "data", "extrapolation")
    for axis in varying_axes(cells):
        if axis.split(".")[0] not in shown_above and axis != "method.max_thinking_tokens":
            values = {shown(axis_value(cell, axis)) for cell in chosen if arm(cell)}
            parts += [f"{axis}={value}" for value in values] if len(values) == 1 else []
    return ", ".join(parts)


def _largest(
    cells: Iterable[CellResult], setting: Callable[[CellResult], Hashable], row: Callable[[CellResult], Hashable]
) -> list[CellResult]:
    """The cells of the setting with most distinct (row, task) slots; of equals the highest cap, then fewest ignores."""
    groups: dict[Hashable, list[CellResult]] = {}
    for cell in cells:
        groups.setdefault(setting(cell), []).append(cell)

    def rank(group: list[CellResult]) -> tuple[int, int, int]:
        return len({(row(c), task_label(c)) for c in group}), cap(group[0]), -extrapolation(group[0])[0]

    return max(groups.values(), key=rank, default=[])


def _spec(cell: CellResult, *parts: str) -> str:
    return json.dumps([cell.spec.get(part) for part in parts], sort_keys=True)


def _extrapolation_order(setting: tuple[int, str]) -> tuple[int, int, str]:
    ignores, string = setting
    return ignores, STRINGS.index(string) if string in STRINGS else len(STRINGS), string
