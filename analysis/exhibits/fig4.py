"""Figure 4 of the s1 paper: sequential scaling by caps and Waits, against majority votes over parallel samples.

The paper votes over the base model only, so its two panels compare two models; here the trained arm votes as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..labels import arm, cap, extrapolation, method_label, model_label, task_label
from ..results import CellResult
from ..study import Study
from . import source
from .base import Exhibit, Figure, FigureLine, Panel, Point
from .fig1 import ladder
from .parts import arm_name, claims_table, lacking, points_table, setting


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """Panel (a): one arm over caps, and over Waits at its highest cap. Panel (b): votes of arms on the same task."""
    votes = voters(study.cells)
    tasks = {task_label(group[0]) for group in votes}
    caps = ladder([cell for cell in study.cells if task_label(cell) in tasks])
    if not votes or len(caps) < 2:
        raise lacking("fig4", "one arm at two or more caps, and majority votes of two or more sizes on that task")
    task = task_label(caps[0])
    votes = [group for group in votes if task_label(group[0]) == task]
    waits = over_waits(study.cells, caps)
    name = arm_name(study, caps[0])
    sequential = [
        line(f"{name}, caps", caps, name, "cap"),
        line(f"{name}, Wait", [caps[-1], *waits], name, "Wait", dashed=True),
    ]
    parallel = [line(f"{_who(study, group[0])}, majority", group, _who(study, group[0]), "majority") for group in votes]
    panels = [_panel(f"(a) sequential, {task}", sequential), _panel(f"(b) parallel, {task}", parallel)]
    if published:
        panels.append(source.panel("figure1", "AIME24"))
    cells = [*caps, *waits, *(cell for group in votes for cell in group)]
    return Exhibit(
        "fig4",
        "Sequential against parallel scaling",
        "s1 paper, Figure 4",
        "Thinking tokens of all samples of a vote are counted, so both panels are in the same currency.",
        (
            points_table(study, "The points of the figure", cells),
            *claims_table(study, "accuracy"),
            *([source.points("figure4")] if published else []),
        ),
        (Figure("Sequential against parallel scaling", tuple(panel for panel in panels if panel.lines)),),
    )


def voters(cells: Sequence[CellResult]) -> list[list[CellResult]]:
    """Majority votes that differ only in their size, two sizes or more, in that order."""
    groups: dict[str, list[CellResult]] = {}
    for cell in cells:
        parallel = cell.spec["parallel"]
        if parallel["rule"] == "majority" and cell.spec["method"]["kind"] == "budget_forcing":
            groups.setdefault(setting(cell, "parallel.n"), []).append(cell)
    found = [sorted(group, key=_votes) for group in groups.values()]
    return [group for group in found if len({_votes(cell) for cell in group}) > 1]


def over_waits(cells: Sequence[CellResult], caps: Sequence[CellResult]) -> list[CellResult]:
    """The cells that go on with Wait from the highest of some caps."""
    same = setting(caps[-1], "extrapolation")
    found = [c for c in cells if method_label(c) is None and extrapolation(c)[1] == "Wait"]
    found = [c for c in found if cap(c) == cap(caps[-1]) and setting(c, "extrapolation") == same]
    return sorted(found, key=lambda cell: extrapolation(cell)[0])


def line(
    label: str,
    cells: Sequence[CellResult],
    colour: str,
    marker: str,
    dashed: bool = False,
    total: bool = False,
    joined: bool = True,
) -> FigureLine:
    """The cells that have numbers, at their thinking tokens or their `total` tokens. The first of a dashed line is the
    last of another."""
    from ..curves import point

    points: list[Point] = []
    for cell in (cell for cell in cells if cell.missing is None):
        made = point(cell, marked=not (dashed and cell is cells[0]))
        points.append(_at(made, cell.mean_total_tokens or 0) if total else made)
    if dashed and len(points) < 2:
        points = []
    axes = (("arm", colour), ("task", task_label(cells[0])), ("method", marker))
    return FigureLine(label, tuple(points), colour, marker, joined=joined, dashed=dashed, axes=axes)


def _at(point: Point, x: float) -> Point:
    return Point(x, point.y, point.low, point.high, f"{point.label}, {x:,.0f} tokens in all", point.cell, point.marked)


def _panel(title: str, lines: Sequence[FigureLine]) -> Panel:
    return Panel(title, tuple(line for line in lines if line.points))


def _who(study: Study, cell: CellResult) -> str:
    return model_label(cell) if arm(cell) is None else arm_name(study, cell)


def _votes(cell: CellResult) -> int:
    return int(cell.spec["parallel"]["n"])
