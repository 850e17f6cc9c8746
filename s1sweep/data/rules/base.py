"""What a subset rule is: a function that picks entries, and where in the chain of curation it draws from.

Knows no file and no model. A rule of your own is such a function with `@rule` in a file of yours (docs/data.md).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from s1sweep.spec.base import Spec
from s1sweep.stages.rows import Entry

# Rows, size, dice, the rule's own settings -> the chosen rows, in the order they were drawn.
Pick = Callable[[Sequence[Entry], int, random.Random, Any], list[Entry]]
Point = Literal["pool", "quality", "difficulty"]


class NoSettings(Spec):
    """Of a rule that has none."""


@dataclass(frozen=True)
class Rule:
    """A subset rule. It is offered the rows with a trace at the point it draws from: `pool` is before the quality
    filter. One that does not use `size` or `seed` gives equal subsets for all of them; one that uses `lengths` is not
    offered rows without `trace_tokens`.
    """

    name: str
    version: int
    draws_from: Point
    pick: Pick
    uses_size: bool
    uses_seed: bool
    uses_lengths: bool
    settings: type[Spec]


VERSION = 1  # of the helpers that several rules share


def rule(
    name: str,
    *,
    draws_from: Point,
    version: int = 1,
    size: bool = True,
    seed: bool = True,
    lengths: bool = False,
    settings: type[Spec] = NoSettings,
) -> Callable[[Pick], Rule]:
    """Make a rule of a picking function. Raise `version` when it would pick other rows."""
    return lambda pick: Rule(name, version, draws_from, pick, size, seed, lengths, settings)


def longest_first(rows: Sequence[Entry]) -> list[Entry]:
    """By trace length; ties go to the smaller id."""
    return sorted(rows, key=lambda r: (-(r.trace_tokens or 0), r.id))


def by_domain(rows: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Each domain's rows, the longest trace first."""
    pools: dict[str, list[Entry]] = defaultdict(list)
    for row in longest_first(rows):
        pools[row.domain or ""].append(row)
    return dict(pools)


def halving_rank(ranked: Sequence[Entry], rng: random.Random) -> int:
    """A rank r with p ~ 2^-r, 0 the longest (s1 paper, Algorithm 1)."""
    # Weights beyond rank 60 are below the resolution of a double, and would only cost time.
    weights = [2.0**-r for r in range(min(len(ranked), 60))]
    return rng.choices(range(len(weights)), weights)[0]


def uniform_domains(
    rows: Sequence[Entry], size: int, rng: random.Random, place: Callable[[Sequence[Entry], random.Random], int]
) -> list[Entry]:
    """A uniform domain, then the row at `place` of its rows, without replacement."""
    pools = by_domain(rows)
    domains = sorted(pools)
    chosen: list[Entry] = []
    while len(chosen) < size:
        domain = domains[rng.randrange(len(domains))]
        chosen.append(pools[domain].pop(place(pools[domain], rng)))
        if not pools[domain]:
            domains.remove(domain)
    return chosen
