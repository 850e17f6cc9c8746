"""The `select` stage: rows and a rule in; `rows.jsonl`, its counts and its data card out."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from s1sweep.data import card
from s1sweep.data.rules import Rule, rule_of
from s1sweep.errors import UserError
from s1sweep.spec import DataSpec, SelectStage
from s1sweep.stages.rows import ROWS, Entry, entries

VERSION = 2


def select(rows: Sequence[Entry], data: DataSpec) -> list[Entry]:
    """The entries of the subset, in the order the rule drew them. Raises UserError if it cannot be drawn."""
    rule = rule_of(data)
    settings = _checked(data, rule)
    if not rows:
        raise UserError(
            f"data={data.rule} draws from the rows after the `{rule.draws_from}` step, and there are none. Compare "
            "curation.quality.features with the columns of the pool, or give another curation."
        )
    traced = [row for row in rows if row.traced]
    offered = [row for row in traced if row.trace_tokens is not None] if rule.uses_lengths else traced
    if traced and not offered:
        raise UserError(
            f"data={data.rule} goes by trace length, and no row has trace_tokens. Give a curation with a `length` "
            "step, or map a column: pool.columns.trace_tokens=COLUMN."
        )
    if not offered:
        raise UserError(
            f"data={data.rule}: none of the {len(rows)} rows after the `{rule.draws_from}` step, from which it draws, "
            "has a trace. Give another pool, or another curation."
        )
    if rule.uses_size and data.size is not None and data.size > len(offered):
        raise UserError(
            f"data.size={data.size} is larger than the {len(offered)} rows that data={data.rule} may choose from "
            f"(those with a trace after the `{rule.draws_from}` step). Give data.size<={len(offered)} or another pool."
        )
    size = data.size if rule.uses_size and data.size is not None else len(offered)
    # Python's Random is stable across versions and platforms; hash() of a string is not.
    seed = int.from_bytes(hashlib.sha256(f"select/{data.rule}/{data.seed}".encode()).digest()[:8], "big")
    chosen = rule.pick(offered, size, random.Random(seed), settings)
    if len({row.id for row in chosen}) < len(chosen) or not chosen:
        raise UserError(f"data.rule={data.rule!r} gave {len(chosen)} rows: none, or some of them twice. Mend the rule.")
    return chosen


def normal(data: DataSpec) -> DataSpec:
    """Without what the rule does not use, which must not make two subsets of one. Raises UserError if it is wrong."""
    rule = rule_of(data)
    _checked(data, rule)
    size, seed = data.size if rule.uses_size else None, data.seed if rule.uses_seed else 0
    return data.model_copy(update={"size": size, "seed": seed})


def _checked(data: DataSpec, rule: Rule) -> Any:
    if rule.uses_size and data.size is None:
        raise UserError(f"data.size=null is not valid for data={data.rule}. Give a number of rows.")
    try:
        return rule.settings.model_validate(data.settings)
    except ValidationError as e:
        first = e.errors()[0]
        field = ".".join(("data.settings", *map(str, first["loc"])))
        valid = ", ".join(rule.settings.model_fields) or "none"
        message = first["msg"][0].lower() + first["msg"][1:]
        raise UserError(f"{field}: {message}. Settings of data={data.rule}: {valid}.") from e


def run(spec: SelectStage, inputs: Mapping[str, Path], out: Path, **_: Any) -> dict[str, Any]:
    """Write the subset and its card; the summary counts rows, trace tokens, domains and sources."""
    chosen = select(list(entries(inputs["rows"] / ROWS)), spec.data)
    with (out / ROWS).open("w", encoding="utf-8") as f:
        f.writelines(row.read().model_dump_json() + "\n" for row in chosen)
    made = card.make(chosen, inputs["rows"])
    (out / card.CARD).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lengths = [row.trace_tokens for row in chosen if row.trace_tokens is not None]
    return {
        "rows": len(chosen),
        "mean_trace_tokens": round(fmean(lengths), 2) if lengths else None,
        "max_trace_tokens": max(lengths, default=None),
        "domains": dict(sorted(Counter(row.domain or "unknown" for row in chosen).items())),
        "sources": dict(sorted(Counter(row.source for row in chosen).items())),
    }
