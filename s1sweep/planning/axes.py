"""How a user tells cells apart: the axes of a table, and the curve that a cell belongs to. Plans nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s1sweep.identity import digest, encode
from s1sweep.spec import (
    COMPUTE,
    CellConfig,
    CellSpec,
)
from s1sweep.spec.control import forced_on_top

# Groups that define results; placement, tracking and experiment are not axes of a table.
AXIS_GROUPS = (
    *("pool", "curation", "data", "extrapolation", "method", "parallel", "scorer", "model", "train", "task"),
    "sampling",
)


def axes_of(config: CellConfig) -> dict[str, Any]:
    """How a user tells this cell from others: the choice of each group, and each value given by hand."""
    axes: dict[str, Any] = {group: config.choices[group] for group in AXIS_GROUPS if group in config.choices}
    for override in config.overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group, at, package = key.partition("@")
        if at or "/" in group:  # a choice within a group: model@curation.difficulty.weak.model, curation/domains
            key = package or group.replace("/", ".")
            if key.split(".")[0] in AXIS_GROUPS:
                axes[key] = value
        elif "." in key and key.split(".")[0] in AXIS_GROUPS:
            axes[key] = _value(config.cell, key, value)
    return axes


def _value(cell: CellSpec, key: str, text: str) -> Any:
    found: Any = cell
    for part in key.split("."):
        found = found.get(part, text) if isinstance(found, dict) else getattr(found, part, text)
    return found


def series_key(cell: CellSpec, stages: Mapping[str, str]) -> str:
    """The same for cells that differ only in how much compute they may use: one curve."""
    spec = encode(cell)
    spec["forced_on_top"] = forced_on_top(spec["method"])
    for group, name in COMPUTE:
        spec[group].pop(name, None)
    if "train" not in stages:
        del spec["pool"], spec["curation"], spec["data"]  # of no effect without training
    arm = {kind: stages[kind] for kind in ("select", "train") if kind in stages}
    return digest([spec, arm])[:12]
