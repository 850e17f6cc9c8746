"""The `select` stage: a pool and a rule in, `rows.jsonl` and its counts out."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from s1sweep.data.pool import Row, read_pool
from s1sweep.data.rules import RULES
from s1sweep.errors import UserError, invalid
from s1sweep.sources import pool_file
from s1sweep.spec import DataSpec, SelectStage

VERSION = 1
ROWS = "rows.jsonl"


def select(rows: Sequence[Row], data: DataSpec) -> list[Row]:
    """The rows of the subset, in the order the rule drew them. Raises UserError if the pool is too small for it."""
    rule = RULES[data.rule]
    eligible = [row for row in rows if rule.eligible(row)]
    _check_size(data, len(eligible), len(rows))
    size = data.size if rule.uses_size and data.size is not None else len(eligible)
    # Python's Random is stable across versions and platforms; hash() of a string is not.
    seed = int.from_bytes(hashlib.sha256(f"select/{data.rule}/{data.seed}".encode()).digest()[:8], "big")
    return rule.pick(eligible, size, random.Random(seed))


def check(data: DataSpec, rows: Sequence[Row]) -> None:
    """Raise UserError if this selection cannot be made."""
    if data.rule not in RULES:
        raise invalid("data.rule", data.rule, RULES)
    rule = RULES[data.rule]
    if rule.uses_size and data.size is None:
        raise UserError(f"data.size=null is not valid for data={data.rule}. Give a number of rows.")
    _check_size(data, sum(map(rule.eligible, rows)), len(rows))


def _check_size(data: DataSpec, eligible: int, total: int) -> None:
    if RULES[data.rule].uses_size and data.size is not None and data.size > eligible:
        raise UserError(
            f"data.size={data.size} is larger than the {eligible} rows of the pool that data={data.rule} may "
            f"choose from (the pool has {total}). Give data.size<={eligible} or another pool."
        )


def run(spec: SelectStage, inputs: Mapping[str, Path], out: Path, **_: Any) -> dict[str, Any]:
    """Write the subset; the summary counts rows, trace tokens, domains and sources."""
    chosen = select(list(read_pool(pool_file(spec.pool))), spec.data)
    with (out / ROWS).open("w", encoding="utf-8") as f:
        f.writelines(row.model_dump_json() + "\n" for row in chosen)
    return {
        "rows": len(chosen),
        "mean_trace_tokens": round(fmean(row.trace_tokens for row in chosen), 2),
        "max_trace_tokens": max(row.trace_tokens for row in chosen),
        "domains": dict(sorted(Counter(row.domain or "unknown" for row in chosen).items())),
        "sources": dict(sorted(Counter(row.source for row in chosen).items())),
    }
