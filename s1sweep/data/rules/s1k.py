"""The two versions of s1K: `s1k` is the paper's Algorithm 1, `s1k_notebook` what data/filter.ipynb does.

Both draw difficult rows: a domain, then within it the row of length rank r with p ~ 2^-r. The authors drew without a
seed, so neither can give s1K itself.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from s1sweep.data.rules.base import by_domain, halving_rank, rule, uniform_domains
from s1sweep.errors import UserError
from s1sweep.spec.base import Spec
from s1sweep.stages.rows import Entry


@rule("s1k", draws_from="difficulty", lengths=True)
def s1k(rows: Sequence[Entry], size: int, rng: random.Random, settings: Any) -> list[Entry]:
    """Uniform domains throughout (s1 paper, Algorithm 1)."""
    return uniform_domains(rows, size, rng, halving_rank)


class NotebookSettings(Spec):
    """A source matches a name it contains. The defaults are s1's.

    Rows with a correct trace are taken at once if their source matches `fixed`, or one of `fixed_beyond` and the trace
    is longer than so many tokens. Domains are uniform until `uniform_share` of the subset is there. After that they go
    by `weights`, or where these are empty by how often `benchmarks` have them: rows of the first in full, the others
    scaled to `second_share` of its total.
    """

    fixed: tuple[str, ...] = ("GPQA", "AIME")
    fixed_beyond: dict[str, int] = Field(default_factory=lambda: {"openaimath": 5600})
    uniform_share: Annotated[float, Field(ge=0, le=1)] = 0.7
    benchmarks: tuple[str, str] = ("AIME", "GPQA")
    second_share: Annotated[float, Field(ge=0)] = 0.5
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)


@rule("s1k_notebook", draws_from="difficulty", lengths=True, settings=NotebookSettings)
def s1k_notebook(rows: Sequence[Entry], size: int, rng: random.Random, settings: NotebookSettings) -> list[Entry]:
    """First the fixed picks, then uniform domains, then the benchmarks' domains.

    As in the notebook, fixed picks stay in the domains they may be drawn from again, to no effect. Where every domain
    with a weight is used up, the rest is uniform.
    """
    chosen = {row.id: row for row in rows if _fixed(row, settings)}
    if len(chosen) > size:
        raise UserError(
            f"data.size={size} is smaller than the {len(chosen)} rows that data=s1k_notebook always takes. "
            f"Give data.size>={len(chosen)}, or fewer data.settings.fixed."
        )
    pools = by_domain(rows)
    domains = sorted(pools)
    weights = settings.weights or benchmark_weights(rows, settings)
    while len(chosen) < size:
        known = [weights.get(domain, 0) for domain in domains]
        uniform = len(chosen) < settings.uniform_share * size or not any(known)
        domain = domains[rng.randrange(len(domains))] if uniform else rng.choices(domains, known)[0]
        row = pools[domain].pop(halving_rank(pools[domain], rng))
        chosen[row.id] = row
        if not pools[domain]:
            domains.remove(domain)
    return list(chosen.values())


def _fixed(row: Entry, settings: NotebookSettings) -> bool:
    long = any(name in row.source and (row.trace_tokens or 0) > n for name, n in settings.fixed_beyond.items())
    return bool(row.trace_correct) and (long or any(name in row.source for name in settings.fixed))


def benchmark_weights(rows: Sequence[Entry], settings: NotebookSettings) -> dict[str, float]:
    """Domain -> weight: counts of the first benchmark, plus the whole part of the second's, scaled."""
    first, second = (Counter(row.domain or "" for row in rows if name in row.source) for name in settings.benchmarks)
    scale = settings.second_share * first.total() / second.total() if second else 0
    return {domain: first[domain] + int(second[domain] * scale) for domain in sorted(first | second)}
