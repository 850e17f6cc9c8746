"""Names by which readers tell cells apart: axes that vary, arms, extrapolations. Reads specs; knows no number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s1sweep.spec import COMPUTE
from s1sweep.spec.control import forced_on_top

from .results import CellResult

TIMES = "×"


def axis_value(cell: CellResult, axis: str) -> Any:
    """A cell's value on an axis that it or another cell names; None if its spec has no such field."""
    if axis in cell.axes:
        return cell.axes[axis]
    found: Any = cell.spec
    for part in axis.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found.get("name") if isinstance(found, dict) else found


def varying_axes(cells: Sequence[CellResult]) -> list[str]:
    """Axes on which the cells differ, `task` first; `task` is always there."""
    names = dict.fromkeys(name for cell in cells for name in cell.axes)
    varying = [name for name in names if len({str(axis_value(cell, name)) for cell in cells}) > 1]
    return ["task", *(name for name in varying if name != "task")]


@dataclass(frozen=True)
class Column:
    """A heading and the text of each cell under it."""

    heading: str
    values: list[str]


def columns(cells: Sequence[CellResult]) -> list[Column]:
    """What tells the cells apart, `task` first. Task and extrapolation are one column each, whatever was given."""
    names = varying_axes(cells)
    texts = {"task": [task_label(cell) for cell in cells]}
    covered = {"task.name", "task.limit", "task.draw", "task.draw_seed"}
    if len({task_label(cell) for cell in cells}) == len({axis_value(cell, "task.path") for cell in cells}):
        covered.add("task.path")
    if any(name.startswith("extrapolation.") for name in names):
        texts["extrapolation"] = [extrapolation_label(extrapolation(cell)) for cell in cells]
        names = list(dict.fromkeys(name.split(".")[0] if name.startswith("extrapolation.") else name for name in names))
    texts["method"] = [shown(axis_value(cell, "method")) + _data_label(cell) for cell in cells]
    names = [name for name in names if name not in covered]
    short = [name.rsplit(".", 1)[-1] for name in names]
    clear = Counter(short)
    return [
        Column(s if clear[s] == 1 else name, texts.get(name) or [shown(axis_value(cell, name)) for cell in cells])
        for name, s in zip(names, short, strict=True)
    ]


def _data_label(cell: CellResult) -> str:
    """Whether a checkpoint of a method with a training format of its own was trained in that or in s1's."""
    origin = cell.spec["method"].get("trained_on")
    return f" ({origin}-data)" if origin and cell.spec["train"]["kind"] != "none" else ""


def shown(value: Any) -> str:
    """A value of an axis as text."""
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def extrapolation(cell: CellResult) -> tuple[int, str]:
    """(ignores, string) as far as they make a difference: without ignores the string does not."""
    spec = cell.spec["extrapolation"]
    string = spec["string"] if isinstance(spec["string"], str) else ", ".join(spec["string"])
    return (spec["num_ignore"], string) if spec["num_ignore"] else (0, "")


def extrapolation_label(setting: tuple[int, str]) -> str:
    """As in Table 4 of the s1 paper: `no extrapolation`, `2×, no string`, `2× "Wait"`."""
    ignores, string = setting
    if not ignores:
        return "no extrapolation"
    return f'{ignores}{TIMES} "{string}"' if string else f"{ignores}{TIMES}, no string"


def cap(cell: CellResult) -> int:
    """Most thinking tokens a round may use: the whole context where the cap is automatic or there is none."""
    given = cell.spec["method"].get("max_thinking_tokens")
    return given if isinstance(given, int) else int(cell.spec["model"]["max_model_len"])


METHODS = {
    "token_conditional": "token-conditional",
    "step_conditional": "step-conditional",
    "class_conditional": "class-conditional",
    "rejection": "rejection sampling",
    "no_thinking": "NoThinking",
    "nowait": "NoWait",
    "vllm_native": "vLLM's budget",
    "sets": "SETS",
    "rebase": "REBASE",
}


def method_label(cell: CellResult) -> str | None:
    """The control method and the way of parallel samples; None for plain budget forcing."""
    kind = cell.spec["method"]["kind"]
    rule = cell.spec.get("parallel", {}).get("rule", "none")
    parts = [METHODS.get(kind, kind)] if kind != "budget_forcing" else []
    parts = [part + _data_label(cell) for part in parts]
    parts += ["forced"] if forced_on_top(cell.spec["method"]) else []
    return ", ".join(parts + ([rule] if rule != "none" else [])) or None


def budget_label(cell: CellResult) -> str:
    """What the user turned to set the compute: `cap 256`, `think for 64`."""
    said = []
    for group, name in COMPUTE:
        value = cell.spec.get(group, {}).get(name)
        if value is not None and group != "extrapolation" and (group, name, value) != ("parallel", "n", 1):
            said.append(f"{BUDGETS.get(name, name)} {value:,}" if isinstance(value, int) else f"{name} {value}")
    return ", ".join(said)


BUDGETS = {"max_thinking_tokens": "cap", "think_for": "think for", "n": "samples"}


# rule, size, selection seed; None stands for the base model without training
Arm = tuple[str, int | None, int] | None


def arm(cell: CellResult) -> Arm:
    """What the cell was trained on."""
    if cell.spec["train"]["kind"] == "none":
        return None
    data = cell.spec["data"]
    return data["rule"], data["size"], data["seed"]


def arm_label(which: Arm, among: Sequence[Arm] = ()) -> str:
    """`random 256, seed 1`; size and seed only where they tell it from others, if `among` is given."""
    if which is None:
        return "no training"
    rule, size, seed = which
    others = [other for other in among if other and other[0] == rule]
    several_sizes = not among or len({other[1] for other in others}) > 1
    several_seeds = len({other[2] for other in others}) > 1 if among else seed != 0
    return rule + (f" {size:,}" if size and several_sizes else "") + (f", seed {seed}" if several_seeds else "")


def task_label(cell: CellResult) -> str:
    task = cell.spec["task"]
    parts = [f"first {task['limit']}"] if task["limit"] else []
    if task.get("draw"):  # other questions: as another task
        order = f" of order {task['draw_seed']}" if task["draw_seed"] else ""
        parts.append("draw {}-{}".format(*task["draw"]) + order)
    return f"{task['name']} ({', '.join(parts)})" if parts else str(task["name"])


def arm_order(which: Arm) -> tuple[Any, ...]:
    """No training first, then as in Table 2 of the s1 paper; draws of one rule side by side."""
    if which is None:
        return (0,)
    rule, size, seed = which
    known = ("random", "diverse", "longest", "full")
    place = len(known) + 1 if rule == "s1k" else known.index(rule) if rule in known else len(known)
    return (1, place, rule, size or 0, seed)


def model_label(cell: CellResult) -> str:
    """The model before any training of ours."""
    return str(cell.spec["model"]["name"])
