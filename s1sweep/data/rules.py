"""Subset rules: which rows of a pool are trained on (s1 paper, sections 2.2 and 5.1).

A rule says which rows it may take and picks among them. It sees rows only: no files, no models. A new rule is one
function
with `@rule`; bump its version when it would pick other rows.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from s1sweep.data.pool import Row

Eligible = Callable[[Row], bool]
Pick = Callable[[Sequence[Row], int, random.Random], list[Row]]


@dataclass(frozen=True)
class Rule:
    """A subset rule. A rule that does not use `size` or `seed` gives equal subsets for all of them."""

    name: str
    version: int
    eligible: Eligible
    pick: Pick
    uses_size: bool
    uses_seed: bool


VERSION = 1  # of the helpers below that several rules share
RULES: dict[str, Rule] = {}


def rule(
    name: str, *, version: int, eligible: Eligible, size: bool = True, seed: bool = True
) -> Callable[[Pick], Pick]:
    """Register a picking function as the rule `name`."""

    def register(pick: Pick) -> Pick:
        RULES[name] = Rule(name, version, eligible, pick, size, seed)
        return pick

    return register


_FAULTS = re.compile(r"!\[Image\]|\bp[1-9]\d{0,2}\.|\*\*(?=.*\d)[^\s\]]*\*\*")


def trainable(row: Row) -> bool:
    """Has a trace to learn from."""
    return bool(row.thinking.strip())


def clean(row: Row) -> bool:
    """Passes the quality filter of s1's data/filter.ipynb: no missing feature, figure, image reference or broken
    format.
    """
    if not trainable(row) or row.solution is None or row.domain is None:
        return False
    text = f"{row.question}\n{row.thinking}"
    figure = "[asy]" in text and "AIME" not in row.source
    return not figure and not _FAULTS.search(text)


def difficult(row: Row) -> bool:
    """Clean, and solved by neither the weak nor the strong model (s1 paper, section 2.2, difficulty)."""
    return clean(row) and not row.weak_correct and not row.strong_correct


@rule("full", version=1, eligible=trainable, size=False, seed=False)
def pick_full(rows: Sequence[Row], size: int, rng: random.Random) -> list[Row]:
    """Every row with a trace (59K-full)."""
    return list(rows)


@rule("random", version=1, eligible=clean)
def pick_random(rows: Sequence[Row], size: int, rng: random.Random) -> list[Row]:
    """Uniformly at random (1K-random)."""
    return rng.sample(rows, size)


@rule("longest", version=1, eligible=clean, seed=False)
def pick_longest(rows: Sequence[Row], size: int, rng: random.Random) -> list[Row]:
    """The longest traces (1K-longest); ties go to the smaller id."""
    return sorted(rows, key=lambda r: (-r.trace_tokens, r.id))[:size]


@rule("diverse", version=1, eligible=clean)
def pick_diverse(rows: Sequence[Row], size: int, rng: random.Random) -> list[Row]:
    """A uniform domain, then a uniform row of it, without replacement (1K-diverse)."""
    return _by_domain(rows, size, rng, lambda ranked: rng.randrange(len(ranked)))


@rule("s1k", version=1, eligible=difficult)
def pick_s1k(rows: Sequence[Row], size: int, rng: random.Random) -> list[Row]:
    """Difficult rows: a uniform domain, then the row of length rank r with p ~ 2^-r, 0 the longest (Algorithm 1)."""

    def pick(ranked: list[Row]) -> int:
        # Weights beyond rank 60 are below the resolution of a double, and would only cost time.
        weights = [2.0**-r for r in range(min(len(ranked), 60))]
        return rng.choices(range(len(weights)), weights)[0]

    return _by_domain(rows, size, rng, pick)


def _by_domain(rows: Sequence[Row], size: int, rng: random.Random, pick: Callable[[list[Row]], int]) -> list[Row]:
    pools: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: (-r.trace_tokens, r.id)):
        pools[row.domain or ""].append(row)
    domains = sorted(pools)
    chosen: list[Row] = []
    while len(chosen) < size:
        domain = domains[rng.randrange(len(domains))]
        chosen.append(pools[domain].pop(pick(pools[domain])))
        if not pools[domain]:
            domains.remove(domain)
    return chosen
