"""Accuracy against thinking tokens as a figure: which cells form one line, and by what names it is told apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s1sweep.spec import COMPUTE

from .exhibits.base import Figure, FigureLine, Panel, Point
from .labels import (
    Arm,
    arm,
    arm_label,
    arm_order,
    budget_label,
    cap,
    extrapolation,
    extrapolation_label,
    method_label,
    model_label,
    task_label,
)
from .papertables import STRINGS
from .results import CellResult

PLAIN = "none"  # no extrapolation, as opposed to the empty string
METHOD = "method: "  # opens what stands in a string's place for other methods than plain budget forcing


@dataclass(frozen=True)
class Curve:
    """Cells of one arm and string in order of the compute they may use. `anchored`: the first cell ignores nothing."""

    arm: Arm
    string: str
    cells: tuple[CellResult, ...]
    anchored: bool = False


def curves(cells: Sequence[CellResult]) -> list[Curve]:
    """The lines through one task's cells that have numbers.

    Without extrapolation a line runs over caps. With a string it runs over caps too, one line per number of ignores, or
    where there is one cap over ignores, starting from the cell that ignores nothing.
    """
    done = [cell for cell in cells if cell.missing is None]
    groups: dict[tuple[Any, ...], list[CellResult]] = {}
    for cell in done:
        groups.setdefault((arm(cell), _rest(cell), _string(cell)), []).append(cell)
    found = []
    for (which, rest, string), group in groups.items():
        caps = {cap(cell) for cell in group}
        if string == PLAIN or string.startswith(METHOD):
            found.append(Curve(which, string, _ordered(group)))
        elif len(caps) > 1:
            for ignores in sorted({extrapolation(cell)[0] for cell in group}):
                found.append(Curve(which, string, _ordered([c for c in group if extrapolation(c)[0] == ignores])))
        else:
            start = [cell for cell in groups.get((which, rest, PLAIN), []) if cap(cell) in caps][:1]
            found.append(Curve(which, string, (*start, *_ordered(group)), anchored=bool(start)))
    return sorted(found, key=lambda curve: (arm_order(curve.arm), *_string_order(curve.string)))


def accuracy_figure(cells: Sequence[CellResult], title: str = "Accuracy against thinking tokens") -> Figure:
    """One panel per task, in the cells' order; one colour per arm and one marker per string.

    A null arm has its sibling's colour and is hollow. Scale-up, which starts where nothing is ignored, is dashed.
    """
    done = [cell for cell in cells if cell.missing is None]
    tasks: dict[str, list[CellResult]] = {}
    for cell in done:
        tasks.setdefault(task_label(cell), []).append(cell)
    arms = sorted({arm(cell) for cell in done}, key=arm_order)
    first: dict[Any, Arm] = {}
    for which in arms:
        first.setdefault(which and which[:2], which)
    several = len({cell.spec["model"]["name"] for cell in done}) > 1

    def line(curve: Curve) -> FigureLine:
        model = model_label(curve.cells[-1]) + ", " if several else ""
        name, string = model + arm_label(curve.arm, arms), _string_label(curve.string)
        sibling = first[curve.arm and curve.arm[:2]]
        return FigureLine(
            label=f"{name}, {string}",
            points=tuple(point(cell, marked=i > 0 or not curve.anchored) for i, cell in enumerate(curve.cells)),
            colour=model + arm_label(sibling, arms),
            marker=string,
            dashed=curve.anchored,
            hollow=curve.arm != sibling,
            axes=(("arm", name), ("extrapolation", string), ("task", task_label(curve.cells[-1]))),
        )

    panels = [Panel(task, tuple(line(curve) for curve in curves(group))) for task, group in tasks.items()]
    return Figure(title, tuple(panels), ("Each point is a cell at its mean thinking tokens, with its 95 % interval.",))


def point(cell: CellResult, marked: bool = True) -> Point:
    """A finished cell at its mean thinking tokens and its accuracy in percent."""
    way = method_label(cell) or extrapolation_label(extrapolation(cell))
    interval = f"[{100 * (cell.ci_low or 0):.1f}, {100 * (cell.ci_high or 0):.1f}]"
    label = (
        f"{arm_label(arm(cell))}, {way}, {budget_label(cell)}\n"
        f"accuracy {100 * (cell.accuracy or 0):.1f} {interval} %, "
        f"{cell.mean_thinking_tokens:,.0f} thinking tokens, {cell.n} questions"
    )
    return Point(
        x=cell.mean_thinking_tokens or 0,
        y=100 * (cell.accuracy or 0),
        low=100 * (cell.ci_low or 0),
        high=100 * (cell.ci_high or 0),
        label=label,
        cell=cell.key,
        marked=marked,
    )


def _string(cell: CellResult) -> str:
    way = method_label(cell)
    if way is not None:
        return METHOD + way
    ignores, string = extrapolation(cell)
    return string if ignores else PLAIN


def _string_label(string: str) -> str:
    if string.startswith(METHOD):
        return string.removeprefix(METHOD)
    return "no extrapolation" if string == PLAIN else f'"{string}"' if string else "no string"


def _string_order(string: str) -> tuple[int, str]:
    known = (PLAIN, *STRINGS)
    return known.index(string) if string in known else len(known), string


def _ordered(cells: Sequence[CellResult]) -> tuple[CellResult, ...]:
    return tuple(sorted(cells, key=lambda c: (cap(c), extrapolation(c)[0], c.mean_thinking_tokens or 0)))


def _rest(cell: CellResult) -> str:
    """Everything else that may differ between curves of an arm."""
    turned = {name for group, name in COMPUTE if group == "method"}
    method = {k: v for k, v in cell.spec["method"].items() if k not in turned}
    recipe = [cell.spec["pool"], cell.spec["train"]] if arm(cell) else []
    return json.dumps([method, cell.spec["model"], cell.spec["task"], cell.spec["sampling"], recipe], sort_keys=True)
