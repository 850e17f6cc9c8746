"""Figure 1 of the s1 paper: accuracy against thinking tokens as the cap on thinking is raised."""

from __future__ import annotations

from dataclasses import replace

from ..curves import accuracy_figure
from ..labels import arm, cap, extrapolation, method_label, task_label
from ..results import CellResult
from ..study import Study
from . import source
from .base import Exhibit
from .parts import claims_table, lacking, longest, points_table, setting


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """One panel per task, one line per arm that was run at two caps or more, without extrapolation."""
    groups: dict[str, list[CellResult]] = {}
    for cell in study.cells:
        if method_label(cell) is None and not extrapolation(cell)[0]:
            groups.setdefault(setting(cell, "method.max_thinking_tokens"), []).append(cell)
    ladders = [group for group in groups.values() if len({cap(cell) for cell in group}) > 1]
    if not ladders:
        raise lacking("fig1", "one arm at two or more caps on thinking tokens")
    cells = [cell for group in ladders for cell in sorted(group, key=cap)]
    tasks = list(dict.fromkeys(task_label(cell) for cell in study.cells))
    cells.sort(key=lambda cell: tasks.index(task_label(cell)))
    figure = accuracy_figure(cells)
    panels = figure.panels
    if published:
        panels += tuple(replace(source.panel("figure1", name), title=f"{name}, published") for name in source.FIGURE1)
    notes = ("Up to a model's own length the cap alone makes the curve: it is scaling down.",)
    return Exhibit(
        "fig1",
        "Accuracy against thinking tokens",
        "s1 paper, Figure 1",
        "Each point is one cap at the mean thinking tokens that it led to; lines that rise have not saturated.",
        (
            points_table(study, "The points of the figure", cells, notes),
            *claims_table(study, "accuracy", "scaling"),
            *([source.points("figure1")] if published else []),
        ),
        (replace(figure, panels=panels),) if panels else (),
    )


def ladder(cells: list[CellResult]) -> list[CellResult]:
    """Cells of one trained arm that differ only in the cap: the arm's with most caps."""
    groups: dict[str, list[CellResult]] = {}
    for cell in cells:
        if method_label(cell) is None and not extrapolation(cell)[0] and arm(cell) is not None:
            groups.setdefault(setting(cell, "method.max_thinking_tokens"), []).append(cell)
    return sorted(longest(groups.values()), key=cap)
