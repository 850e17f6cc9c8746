"""The cells that one side of a comparison speaks of, and their runs. Refuses to guess: what differs must be named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from s1sweep.errors import UserError
from s1sweep.spec import COMPUTE
from s1sweep.spec.claim import Value

from .labels import axis_value
from .results import CellResult
from .study import Study

# Cells that differ in these alone are runs of one arm.
RUN = ("data.seed", "train.seed", "sampling.seed", "sampling.replicate")
TURNED = tuple(".".join(pair) for pair in COMPUTE)


class Lacking(Exception):
    """There is no number, for the reason given."""


@dataclass(frozen=True)
class Arm:
    """`runs`: the cells of each run; one cell, or those of a series in order of their compute."""

    runs: tuple[tuple[CellResult, ...], ...]

    @property
    def cells(self) -> list[CellResult]:
        return [cell for run in self.runs for cell in run]

    @property
    def checkpoints(self) -> set[str]:
        """What was decoded: trainings, or the model itself."""
        return {cell.stages.get("train", cell.spec["model"]["name"]) for cell in self.cells}

    @property
    def trainings(self) -> int:
        return len({cell.stages.get("train") for cell in self.cells} - {None})


def arm_of(study: Study, axes: Mapping[str, Value], name: str, series: bool) -> Arm:
    """The arm at some values of axes. A `series` may differ in how much compute it may use, and has two cells or more.

    Raises UserError if its cells differ in an axis that is not named, Lacking where there is no number.
    """
    found = {cell.stages["grade"]: cell for cell in matching(study, axes)}
    said = ", ".join(f"{key}={value}" for key, value in axes.items())
    if not found:
        raise Lacking(f"the sweep has no cell with {said}")
    cells = list(found.values())
    _told_apart(cells, name, series)
    groups: dict[str, list[CellResult]] = {}
    for cell in cells:
        flat = effective(cell)
        groups.setdefault(json.dumps([flat.get(axis) for axis in RUN]), []).append(cell)
    whole = [run for run in groups.values() if all(cell.missing is None for cell in run)]
    if not whole:
        raise Lacking(next(str(cell.missing) for cell in cells if cell.missing is not None))
    if series and min(map(len, whole)) < 2:
        raise Lacking(f"a curve needs two cells or more; the sweep has one with {said}")
    return Arm(tuple(tuple(sorted(run, key=_compute)) for run in whole))


def agreeing(ours: Arm, theirs: Arm, named: set[str], name: str, series: bool) -> None:
    """Raise UserError if the two sides differ in a group of fields that the claim does not name."""
    a, b = effective(ours.runs[0][0]), effective(theirs.runs[0][0])
    free = {*RUN, *(TURNED if series else ())}
    differ = {path for path in a.keys() & b.keys() if path not in free and a[path] != b[path]}
    groups = {key.split(".")[0] for key in named}
    unnamed = sorted(path for path in differ if path.split(".")[0] not in groups)
    if unnamed:
        path = unnamed[0]
        raise UserError(
            f"claims: the two sides of {name} differ in {', '.join(unnamed)} too ({a[path]} and {b[path]}), which the "
            f"claim does not name. Name {path.split('.')[0]} in its contrast and baseline, or in its points."
        )


def curves_of(study: Study, arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """(runs, points, questions) of shares of credit and of thinking tokens. Lacking unless runs have equal budgets."""
    if len({tuple(map(_compute, run)) for run in arm.runs}) > 1:
        raise Lacking(f"the runs of a curve differ in their budgets; they have {[len(run) for run in arm.runs]} cells")
    scores = [[study.scores(cell) for cell in run] for run in arm.runs]
    credit = np.stack([[one.credit.mean(axis=1) for one in run] for run in scores])
    thinking = np.stack([[one.thinking.mean(axis=1) for one in run] for run in scores])
    return credit, thinking


def effective(cell: CellResult) -> dict[str, Any]:
    """The fields of a cell's spec that make a difference to it, by their dotted names."""
    spec = dict(cell.spec)
    if spec["train"]["kind"] == "none":
        spec = {group: value for group, value in spec.items() if group not in ("pool", "curation", "data")}
    if spec["parallel"]["rule"] == "none":
        spec["parallel"] = {"rule": "none"}
    if not spec["extrapolation"]["num_ignore"]:
        spec["extrapolation"] = {"num_ignore": 0}
    if cell.spec["method"]["kind"] != "rebase" and not _scored(spec["parallel"]):
        spec.pop("scorer", None)
    return dict(_flat(spec))


def _scored(parallel: Mapping[str, Any]) -> bool:
    return parallel["rule"] == "best" or (parallel["rule"] == "weighted" and parallel["weight"] == "score")


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, one in value.items():
        path = f"{prefix}{key}"
        found += _flat(one, path + ".") if isinstance(one, dict) and one else [(path, one)]
    return found


def matching(study: Study, axes: Mapping[str, Value]) -> list[CellResult]:
    """The study's cells at some values of axes."""
    return [cell for cell in study.cells if all(_same(axis_value(cell, axis), v) for axis, v in axes.items())]


def _same(found: Any, wanted: Any) -> bool:
    """Whether an axis has a value; choices given on the command line are text."""
    return bool(found == wanted) or (isinstance(found, str) and found == str(wanted))


def _told_apart(cells: Sequence[CellResult], name: str, series: bool) -> None:
    specs = [effective(cell) for cell in cells]
    free = {*RUN, *(TURNED if series else ())}
    for path in dict.fromkeys(path for spec in specs for path in spec):
        values = {json.dumps(spec.get(path)) for spec in specs}
        if path not in free and len(values) > 1:
            group = path.split(".")[0]
            choices = {str(axis_value(cell, group)) for cell in cells}
            axis, shown = (group, choices) if len(choices) > 1 else (path, values)
            said = ", ".join(sorted(shown))
            raise UserError(f"claims: {name} has cells that differ in {axis} ({said}). Add {axis} to its points.")


def _compute(cell: CellResult) -> tuple[float, ...]:
    """In order of what was allowed: `auto` is most, `short` less than `long`."""
    order = []
    for group, field in COMPUTE:
        value = cell.spec.get(group, {}).get(field)
        order.append(
            float(value)
            if isinstance(value, int | float)
            else {None: 0.0, "short": 0.0, "long": 1.0}.get(value, float("inf"))
        )
    return tuple(order)
