"""The `curate` stage: rows in, the rows that one step keeps out, with counts before and after.

Knows that a step judges rows one after the other; what it judges by is in `s1sweep/data/curation/`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s1sweep.data.curation import STEPS
from s1sweep.data.pool import ROWS, rows_of
from s1sweep.spec import CurateStage

VERSION = 1
FUNNEL = "funnel.json"


def run(spec: CurateStage, inputs: Mapping[str, Path], out: Path, **_: Any) -> dict[str, Any]:
    """Write the rows that the step keeps; the summary counts rows by reason and by source."""
    kept, dropped = Counter[str](), Counter[str]()
    reasons: Counter[str] = Counter()
    with (out / ROWS).open("w", encoding="utf-8") as f:
        for row, reason in STEPS[spec.step.kind].judge(spec.step, rows_of(inputs["rows"] / ROWS)):
            if reason is None:
                f.write(row.model_dump_json() + "\n")
                kept[row.source] += 1
            else:
                dropped[row.source] += 1
                reasons[reason] += 1
    funnel(inputs["rows"], out, spec.step.kind, kept.total(), reasons)
    return {
        "before": kept.total() + dropped.total(),
        "rows": kept.total(),
        "dropped": dict(reasons.most_common()),
        "sources": {
            source: {"before": kept[source] + dropped[source], "rows": kept[source]}
            for source in sorted(kept | dropped)
        },
    }


def funnel(before: Path | None, out: Path, step: str, rows: int, dropped: Mapping[str, int]) -> list[dict[str, Any]]:
    """Write `funnel.json`: the steps so far, each with the rows it left and why others went."""
    path = before and before / FUNNEL
    steps = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else []
    steps.append({"step": step, "rows": rows, "dropped": dict(sorted(dropped.items()))})
    (out / FUNNEL).write_text(json.dumps(steps, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return steps
