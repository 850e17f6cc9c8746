"""The `pool` stage: a source in; checked `rows.jsonl`, `rejects.jsonl` and the first line of the funnel out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from s1sweep.data.curate import funnel
from s1sweep.data.pool import Checked
from s1sweep.sources import pool_file
from s1sweep.sources.raw import Raw, read_hub, read_raw
from s1sweep.spec import PoolSpec, PoolStage
from s1sweep.stages.rows import ROWS

VERSION = 1
REJECTS = "rejects.jsonl"


def checked(pool: PoolSpec) -> Checked:
    """The rows of a pool, streamed. Iterating raises UserError where the source cannot be read or does not fit."""
    raws: Iterator[tuple[int, Raw]]
    if pool.hub is not None:
        assert pool.split is not None
        raws = read_hub(pool.hub, pool.subset, pool.split, pool.revision)
        return Checked(raws, pool, f"pool.hub={pool.hub!r}")
    path = pool_file(pool)
    return Checked(read_raw(path, "pool.path"), pool, f"pool.path={str(path)!r}")


def run(spec: PoolStage, inputs: Mapping[str, Path], out: Path, **_: Any) -> dict[str, Any]:
    """Write the rows; the summary counts them and holds one digest over the sha256 of each.

    Rejects are kept also when they stop the stage.
    """
    rows, digest, sources, traced, count = checked(spec.pool), hashlib.sha256(), Counter[str](), 0, 0
    try:
        with (out / ROWS).open("w", encoding="utf-8") as f:
            for row in rows:
                line = row.model_dump_json()
                f.write(line + "\n")
                digest.update(hashlib.sha256(line.encode()).digest())
                sources[row.source] += 1
                traced += bool(row.thinking.strip())
                count += 1
    finally:
        with (out / REJECTS).open("w", encoding="utf-8") as f:
            f.writelines(json.dumps(asdict(reject), ensure_ascii=False) + "\n" for reject in rows.rejects)
    summary = {
        "rows": count,
        "rejects": len(rows.rejects),
        "with_trace": traced,
        "row_digest": digest.hexdigest(),
        "absent": rows.absent,
        "sources": dict(sorted(sources.items())),
    }
    funnel(None, out, "pool", count, {"does not fit": len(rows.rejects)} if rows.rejects else {})
    return summary
