"""How many thinking tokens a method promised: what Control holds a run's mean against (s1 paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from .arms import Lacking
from .labels import arm, axis_value, cap, method_label, task_label
from .results import CellResult
from .study import Study

Limit = tuple[float | None, float | None]
STEP = 100  # tokens that a step stands for in the s1 paper (appendix E.1)
TINY_STEP = 22  # and on the testbed: 7 of a step, and 15 of the mark that counts it down


def limits(study: Study, cells: Sequence[CellResult]) -> list[Limit]:
    """(low, high) of each cell, open ends None: the cap, the number that the prompt names, or for prompts that ask for
    short or long thinking the mean without such a prompt. Raises Lacking where the study does not have that one."""
    return [_limit(study, cell) for cell in cells]


def _limit(study: Study, cell: CellResult) -> Limit:
    method = cell.spec["method"]
    if method["kind"] == "class_conditional":
        default = unprompted(study, cell)
        return (None, default) if method["length"] == "short" else (default, None)
    if method["kind"] == "step_conditional":
        return None, method["think_for"] * (TINY_STEP if cell.spec["model"]["source"] == "testbed" else STEP)
    if "think_for" in method:
        return None, method["think_for"]
    return None, cap(cell)


def unprompted(study: Study, cell: CellResult) -> float:
    """Mean thinking tokens of the same arm under plain budget forcing at its highest cap. Raises Lacking."""
    found = [
        other
        for other in study.done
        if method_label(other) is None
        and not other.spec["extrapolation"]["num_ignore"]
        and (arm(other), task_label(other), axis_value(other, "model"))
        == (arm(cell), task_label(cell), axis_value(cell, "model"))
    ]
    if not found:
        raise Lacking("no cell without a prompt for length, which short and long are held against")
    return max(found, key=cap).mean_thinking_tokens or 0.0
