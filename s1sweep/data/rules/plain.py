"""Rules without domains: all, at random, by length (s1 paper, section 5.1)."""

from __future__ import annotations

import random as dice
from collections.abc import Sequence
from typing import Any

from s1sweep.data.rules.base import longest_first, rule
from s1sweep.stages.rows import Entry


@rule("full", draws_from="pool", size=False, seed=False)
def full(rows: Sequence[Entry], size: int, rng: dice.Random, settings: Any) -> list[Entry]:
    """Every row with a trace (59K-full)."""
    return list(rows)


@rule("random", draws_from="quality")
def random(rows: Sequence[Entry], size: int, rng: dice.Random, settings: Any) -> list[Entry]:
    """Uniformly at random (1K-random)."""
    return rng.sample(rows, size)


@rule("random_difficult", draws_from="difficulty")
def random_difficult(rows: Sequence[Entry], size: int, rng: dice.Random, settings: Any) -> list[Entry]:
    """Uniformly at random among the difficult: what s1k adds beyond difficulty is the rest of it."""
    return rng.sample(rows, size)


@rule("longest", draws_from="quality", seed=False, lengths=True)
def longest(rows: Sequence[Entry], size: int, rng: dice.Random, settings: Any) -> list[Entry]:
    """The longest traces (1K-longest); ties go to the smaller id."""
    return longest_first(rows)[:size]


@rule("shortest", draws_from="quality", seed=False, lengths=True)
def shortest(rows: Sequence[Entry], size: int, rng: dice.Random, settings: Any) -> list[Entry]:
    """The shortest traces; ties go to the smaller id."""
    return sorted(rows, key=lambda r: (r.trace_tokens, r.id))[:size]
