"""Which cells form one line of the accuracy-against-thinking-tokens figure, and how the line looks. Draws nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s1sweep.spec import COMPUTE

from .labels import Arm, arm, arm_label, arm_order, cap, extrapolation, method_label
from .papertables import STRINGS
from .results import CellResult

# Okabe and Ito's colour-blind safe palette, less black and yellow, which vanish on one of the page's two grounds.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
PLAIN = "none"  # no extrapolation, as opposed to the empty string
METHOD = "method: "  # opens what stands in a string's place for other methods than plain budget forcing
MARKERS = {PLAIN: "o", "": "s", "Wait": "D", "Hmm": "^", "Alternatively": "v"}
OTHER_MARKERS = ("P", "X", "*", "<", ">", "p", "h", "d")


@dataclass(frozen=True)
class Curve:
    """Cells of one arm and string in order of the compute they may use. `anchored`: the first cell ignores nothing."""

    arm: Arm
    string: str
    cells: tuple[CellResult, ...]
    anchored: bool = False

    @property
    def own(self) -> tuple[CellResult, ...]:
        """Its cells less the one that belongs to the curve it starts from."""
        return self.cells[self.anchored :]


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


@dataclass(frozen=True)
class Styles:
    """One colour per arm and one marker per string, the same in every panel. A null arm is its sibling, hollow."""

    colours: dict[Arm, str]
    labels: dict[Arm, str]
    hollow: frozenset[Arm]
    strings: tuple[str, ...]

    def marker(self, string: str) -> str:
        """A matplotlib marker: a fixed one for each of the paper's strings, the others in order."""
        if string in MARKERS:
            return MARKERS[string]
        others = [other for other in self.strings if other not in MARKERS]
        return OTHER_MARKERS[others.index(string) % len(OTHER_MARKERS)]

    @staticmethod
    def string_label(string: str) -> str:
        if string.startswith(METHOD):
            return string.removeprefix(METHOD)
        return "no extrapolation" if string == PLAIN else f'"{string}"' if string else "no string"


def styles(cells: Sequence[CellResult]) -> Styles:
    arms = sorted({arm(cell) for cell in cells}, key=arm_order)
    first: dict[Any, Arm] = {}
    for which in arms:
        first.setdefault(which and which[:2], which)
    order = list(first)
    return Styles(
        {which: COLOURS[order.index(which and which[:2]) % len(COLOURS)] for which in arms},
        {which: arm_label(which, arms) for which in arms},
        frozenset(arms) - frozenset(first.values()),
        tuple(sorted({_string(cell) for cell in cells}, key=_string_order)),
    )


def _string(cell: CellResult) -> str:
    way = method_label(cell)
    if way is not None:
        return METHOD + way
    ignores, string = extrapolation(cell)
    return string if ignores else PLAIN


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
