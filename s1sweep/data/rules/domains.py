"""Rules by domain alone: uniform (s1 paper, section 5.1), and by quota."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from s1sweep.data.rules.base import by_domain, rule, uniform_domains
from s1sweep.errors import UserError
from s1sweep.spec.base import Spec
from s1sweep.stages.rows import Entry


@rule("diverse", draws_from="quality")
def diverse(rows: Sequence[Entry], size: int, rng: random.Random, settings: Any) -> list[Entry]:
    """A uniform domain, then a uniform row of it, without replacement (1K-diverse)."""
    return uniform_domains(rows, size, rng, lambda ranked, rng: rng.randrange(len(ranked)))


class QuotaSettings(Spec):
    """How many rows of each domain; other domains give none."""

    quota: Annotated[dict[str, Annotated[int, Field(ge=1)]], Field(min_length=1)]


@rule("domain_quota", draws_from="quality", size=False, settings=QuotaSettings)
def domain_quota(rows: Sequence[Entry], size: int, rng: random.Random, settings: QuotaSettings) -> list[Entry]:
    """So many rows of each domain, uniformly at random within it."""
    pools = by_domain(rows)
    chosen: list[Entry] = []
    for domain, count in sorted(settings.quota.items()):
        have = pools.get(domain, [])
        if count > len(have):
            raise UserError(
                f"data.settings.quota.{domain}={count} is larger than the {len(have)} rows of that domain. Domains: "
                f"{', '.join(f'{name or None} {len(found)}' for name, found in sorted(pools.items()))}."
            )
        chosen += rng.sample(have, count)
    return chosen
