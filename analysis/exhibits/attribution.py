"""Gains of training and of forcing told apart: base, fine-tuned and reinforced arms, each with and without forcing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..critics.attribution import EFFECTS, effects
from ..critics.resample import Estimates, jointly, means
from ..labels import cap, extrapolation, extrapolation_label
from ..ladders import Ladder, ladders, samples
from ..results import CellResult
from ..study import Study
from .base import Exhibit, Figure, FigureLine, Number, Panel, Slot, Table, TableRow
from .estimates import RESAMPLED, absent, axes, missing, number, point

Way = tuple[int, int, str]  # cap, ignored ends, string
GAINS = ("task", "arm", "forced by", *EFFECTS, "both")


def exhibit(study: Study, published: bool = False) -> Exhibit:
    found = sorted(ladders(study, "attribution"), key=lambda one: _order(one.cells[0]))
    tasks = {task: [one for one in found if one.task == task] for task in dict.fromkeys(one.task for one in found)}
    ways = sorted({_way(cell) for one in found for cell in one.cells}, key=lambda way: (way[1] > 0, -way[0], way[1:]))
    notes = (RESAMPLED, *(note for one in found for note in absent(one)))
    columns = ("task", "arm", *(_said(way) for way in ways))
    levels = [_level_row(study, one, ways, one is tasks[one.task][0]) for one in found]
    gains = [row for ladder in tasks.values() for row in _gain_rows(study, ladder, ways)]
    panels = [
        Panel(
            task,
            tuple(_line(study, one, ways) for one in arms),
            x="forcing",
            log_x=False,
            ticks=tuple(map(_said, ways)),
        )
        for task, arms in tasks.items()
    ]
    return Exhibit(
        "attribution",
        "What training and what forcing gains",
        "the control arms that critics of simple test-time scaling ask for (arXiv 2507.14419)",
        "training and forcing are main effects and add up to the gain of both; the interaction is what forcing gains "
        "in the trained arm beyond what it gains in the first.",
        (
            Table("Accuracy with and without forcing", columns, tuple(levels), notes),
            Table(f"Gains over {found[0].label}, {_said(ways[0])}", GAINS, tuple(gains), notes[:1]),
        ),
        (Figure("Accuracy with and without forcing", tuple(panels)),),
    )


def _order(cell: CellResult) -> int:
    """The base first: what another arm began from."""
    return ("none", "sft", "grpo").index(cell.spec["train"]["kind"])


def _way(cell: CellResult) -> Way:
    return cap(cell), *extrapolation(cell)


def _said(way: Way) -> str:
    return f"cap {way[0]:,}, {extrapolation_label(way[1:])}"


def _cells(ladder: Ladder) -> dict[Way, CellResult]:
    return {_way(cell): cell for cell in ladder.cells}


def _level_row(study: Study, ladder: Ladder, ways: list[Way], first: bool) -> TableRow:
    cells = _cells(ladder)
    levels = _levels(study, cells)
    slots: list[Slot] = [ladder.task, ladder.label]
    for way in ways:
        cell = cells.get(way)
        if cell is None or cell.missing is not None:
            slots.append(missing(cell) if cell else None)
            continue
        slots.append(number(levels[way], n=samples(study, cell).n, cell=cell))
    return TableRow(tuple(slots), "reference" if first else "")


def _levels(study: Study, cells: dict[Way, CellResult]) -> dict[Way, Estimates]:
    """Accuracy of the finished cells of an arm."""
    done = [way for way, cell in cells.items() if cell.missing is None]
    if not done:
        return {}
    found = means(np.stack([samples(study, cells[way]).credit.mean(axis=1) for way in done]))
    return {way: found[i] for i, way in enumerate(done)}


def _gain_rows(study: Study, arms: list[Ladder], ways: list[Way]) -> list[TableRow]:
    rows = []
    for arm in arms[1:]:
        sides = _cells(arms[0]), _cells(arm)
        done = [way for way in ways if all(way in cells and cells[way].missing is None for cells in sides)]
        gains, both = _gains(study, sides, done) if len(done) > 1 and done[0] == ways[0] else (None, None)
        for way in ways[1:]:
            start: tuple[Slot, ...] = (arm.task, arm.label, _said(way))
            four = [cells.get(at) for cells in sides for at in (ways[0], way)]
            lacking = [cell.missing or "" if cell else "not in this sweep" for cell in four if not cell or cell.missing]
            if lacking or gains is None or both is None:
                rows.append(TableRow((*start, Number(None, "points", why=lacking[0]), *(None,) * len(EFFECTS))))
                continue
            at, n = done.index(way) - 1, samples(study, sides[0][ways[0]]).n
            said = [number(gains[at, i], "points", n=n, exploratory=True) for i in range(len(EFFECTS))]
            rows.append(TableRow((*start, *said, number(both[at], "points", exploratory=True))))
    return rows


def _gains(study: Study, sides: Sequence[dict[Way, CellResult]], ways: list[Way]) -> tuple[Estimates, Estimates]:
    """(ways - 1, EFFECTS), and (ways - 1,): what the other ways of the second arm gain over the first of the first."""
    values = np.stack([[samples(study, cells[way]).credit.mean(axis=1) for way in ways] for cells in sides])
    found = jointly(partial(effects, values=values), values.shape[-1])
    return found[0], means(values[1, 1:] - values[0, 0])


def _line(study: Study, ladder: Ladder, ways: list[Way]) -> FigureLine:
    points = []
    cells = _cells(ladder)
    levels = _levels(study, cells)
    for x, way in enumerate(ways):
        if way in levels:
            points.append(point(x, levels[way], _said(way), cells[way]))
    return FigureLine(ladder.label, tuple(points), ladder.label, axes=axes(ladder))
