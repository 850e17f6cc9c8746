"""The noise floor counts pairs of replicates and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from s1sweep.analysis.noise import noise_floors
from s1sweep.analysis.results import CellResult


def cell(accuracy: float | None, cap: int = 8, temperature: float = 0.0, **sampling: Any) -> CellResult:
    spec = {
        "method": {"max_thinking_tokens": cap},
        "sampling": {"temperature": temperature, "replicate": 0, **sampling},
    }
    return CellResult("k", {}, spec, {}, "s", accuracy=accuracy)


def test_only_replicates_of_one_cell_are_compared() -> None:
    cells = [cell(0.5), cell(0.9, cap=16), cell(0.7, seed=1), cell(None, replicate=1)]
    assert noise_floors(cells) == []


def test_every_pair_counts_and_greedy_stands_apart() -> None:
    sampled = [cell(a, temperature=1.0, replicate=i) for i, a in enumerate((0.5, 0.6, 0.9))]
    drawn, greedy = noise_floors([*sampled, cell(0.25), cell(0.25, replicate=1)])
    assert (drawn.pairs, drawn.median, drawn.largest, drawn.greedy) == pytest.approx((3, 0.3, 0.4, False))
    assert (greedy.pairs, greedy.largest, greedy.greedy) == (1, 0.0, True)
    assert str(drawn) == (
        "Noise floor: sampled replicates of one cell differ by 30.0 points at the median and 40.0 at most (3 pairs)."
    )
