"""Figure 7 of the s1 paper: one long sequence against a majority of samples and against REBASE (arXiv 2408.00724)."""

from __future__ import annotations

from ..labels import arm, task_label
from ..results import CellResult
from ..study import Study
from . import source
from .base import Exhibit, Figure, FigureLine, Panel
from .fig1 import ladder
from .fig4 import line, over_waits, voters
from .parts import arm_name, claims_table, lacking, longest, points_table, setting


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """One arm on one task; the x axis is every token that was decoded or scored for an answer."""
    trees: dict[str, list[CellResult]] = {}
    for cell in study.cells:
        if cell.spec["method"]["kind"] == "rebase":
            trees.setdefault(setting(cell, "method.width", "parallel"), []).append(cell)
    tree = sorted(longest(trees.values()), key=lambda cell: int(cell.spec["method"]["width"]))
    if not tree:
        raise lacking("fig7", "REBASE, majority votes and a ladder of caps of one arm on one task")

    def alike(cell: CellResult) -> bool:
        return (task_label(cell), arm(cell)) == (task_label(tree[0]), arm(tree[0]))

    caps = ladder([cell for cell in study.cells if alike(cell)])
    votes = next((group for group in voters([cell for cell in study.cells if alike(cell)])), [])
    if len(caps) < 2 or not votes:
        raise lacking("fig7", "majority votes and a ladder of caps beside REBASE")
    waits = over_waits(study.cells, caps)
    name = arm_name(study, tree[0])
    lines: list[FigureLine] = [
        line(f"{name}, caps", caps, "sequential", "cap", total=True),
        line(f"{name}, Wait", [caps[-1], *waits], "sequential", "Wait", dashed=True, total=True),
        line(f"{name}, majority", votes, "majority", "majority", total=True),
        line(f"{name}, REBASE", tree, "REBASE", "REBASE", total=True),
    ]
    where = f"{task_label(tree[0])}, trained on {name}"
    panels = [Panel(where, tuple(one for one in lines if one.points), x="mean tokens of an answer, all samples")]
    if published:
        panels.append(source.panel("figure7"))
    notes = (
        f"On {where}. The figure's x axis has all tokens, those that the reward model read too; the paper's has not.",
    )
    return Exhibit(
        "fig7",
        "Sequential against parallel: majority and REBASE",
        "s1 paper, Figure 7",
        "A way of spending is better where its line lies above the others at the same tokens.",
        (
            points_table(study, "The points of the figure", [*caps, *waits, *votes, *tree], notes),
            *claims_table(study, "accuracy"),
            *([source.points("figure7")] if published else []),
        ),
        (Figure("Sequential against parallel: majority and REBASE", tuple(p for p in panels if p.lines)),),
    )
