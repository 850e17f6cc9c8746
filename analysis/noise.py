"""The noise floor: how far replicates of one cell lie apart. Knows cell results; not where they came from.

A replicate decodes afresh and shares nothing (`sampling.replicate`), so what differs between two is noise: of drawing,
or under greedy decoding of batches and caches. An effect that is not larger than this is none.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from .results import CellResult


@dataclass(frozen=True)
class NoiseFloor:
    """Differences of accuracy, as shares, over all pairs of replicates. `greedy` if no replicate was sampled."""

    pairs: int
    median: float
    largest: float
    greedy: bool

    def __str__(self) -> str:
        how = "greedy" if self.greedy else "sampled"
        return (
            f"Noise floor: {how} replicates of one cell differ by {100 * self.median:.1f} points at the median and "
            f"{100 * self.largest:.1f} at most ({self.pairs} pair{'' if self.pairs == 1 else 's'})."
        )


def noise_floors(cells: Sequence[CellResult]) -> list[NoiseFloor]:
    """One for greedy replicates and one for sampled ones, as far as the sweep holds any."""
    groups: dict[str, list[CellResult]] = defaultdict(list)
    for cell in cells:
        if cell.accuracy is not None:
            sampling = {k: v for k, v in cell.spec["sampling"].items() if k != "replicate"}
            groups[json.dumps([{**cell.spec, "sampling": sampling}], sort_keys=True)].append(cell)
    found: dict[bool, list[float]] = defaultdict(list)
    for group in groups.values():
        for a, b in combinations(group, 2):
            if a.spec["sampling"]["replicate"] != b.spec["sampling"]["replicate"]:
                greedy = a.spec["sampling"]["temperature"] == 0
                found[greedy].append(abs((a.accuracy or 0) - (b.accuracy or 0)))
    return [NoiseFloor(len(d), median(d), max(d), greedy) for greedy, d in sorted(found.items())]
