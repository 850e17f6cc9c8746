"""The `curate` stage: rows in, the rows that one step keeps out, with counts before and after.

Knows that a step judges rows one after the other; what it judges by is in `s1sweep/data/curation/`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from s1sweep.data.curation import ASKING, STEPS
from s1sweep.data.curation.replies import Said
from s1sweep.spec import CurateStage, CurationStep
from s1sweep.spec.data import DifficultySpec
from s1sweep.stages.resources import Resources
from s1sweep.stages.rows import ROWS, Row, rows_of

VERSION = 1
FUNNEL = "funnel.json"


def run(
    spec: CurateStage, inputs: Mapping[str, Path], out: Path, resources: Resources | None = None, **_: Any
) -> dict[str, Any]:
    """Write the rows that the step keeps; the summary counts rows by reason and by source, and of a step that asks
    models those for which no answer could be read, by the field that is empty.
    """
    kept, dropped = Counter[str](), Counter[str]()
    reasons: Counter[str] = Counter()
    cache = Path(resources.traces) if resources and resources.traces else None
    said = Said({who: folder for who, folder in inputs.items() if who != "rows"}, cache)
    rows, unknown = _told(spec.step, rows_of(inputs["rows"] / ROWS), said)
    with (out / ROWS).open("w", encoding="utf-8") as f:
        for row, reason in STEPS[spec.step.kind].judge(spec.step, rows):
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
        **({"unknown": dict(unknown)} if unknown else {}),
    }


def _told(step: CurationStep, rows: Iterator[Row], said: Said) -> tuple[Iterator[Row], Counter[str]]:
    """Rows with what models said of them, and how many have nothing there; the counts grow as the rows are read."""
    unknown: Counter[str] = Counter()
    asking = ASKING.get(step.kind)
    if asking is None or isinstance(step, DifficultySpec):  # which goes by the pool's own labels
        return rows, unknown

    def told() -> Iterator[Row]:
        for row in asking.tell(step, rows, said):
            unknown.update(name for name in asking.TELLS if getattr(row, name) in (None, ""))
            yield row

    return told(), unknown


def funnel(before: Path | None, out: Path, step: str, rows: int, dropped: Mapping[str, int]) -> list[dict[str, Any]]:
    """Write `funnel.json`: the steps so far, each with the rows it left and why others went."""
    path = before and before / FUNNEL
    steps = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else []
    steps.append({"step": step, "rows": rows, "dropped": dict(sorted(dropped.items()))})
    (out / FUNNEL).write_text(json.dumps(steps, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return steps
