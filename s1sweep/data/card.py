"""The data card of a subset: what is in it, as counts. Knows entries; no text and no other subset."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s1sweep.data.curate import FUNNEL
from s1sweep.stages.rows import Entry

CARD = "card.json"


def make(chosen: Sequence[Entry], drawn_from: Path) -> dict[str, Any]:
    """Counts by source, domain and correctness; trace lengths by powers of two (`256` counts 128 < n <= 256); the
    funnel up to the rows drawn from; the sha256 over the sorted ids, which is equal for equal sets.
    """
    path = drawn_from / FUNNEL
    return {
        "rows": len(chosen),
        "digest": hashlib.sha256("\n".join(sorted(row.id for row in chosen)).encode()).hexdigest(),
        "trace_tokens": sum(row.trace_tokens or 0 for row in chosen),
        "sources": _counts(row.source for row in chosen),
        "domains": _counts(row.domain or "unknown" for row in chosen),
        "lengths": {str(top): n for top, n in sorted(Counter(_bucket(row.trace_tokens) for row in chosen).items())},
        "correct": {
            name: _counts(
                {True: "yes", False: "no", None: "unknown"}[getattr(row, f"{name}_correct")] for row in chosen
            )
            for name in ("weak", "strong", "trace")
        },
        "funnel": json.loads(path.read_text(encoding="utf-8")) if path.exists() else [],
    }


def _bucket(tokens: int | None) -> int:
    """The power of two that the length reaches up to; 0 for none."""
    return 1 << (tokens - 1).bit_length() if tokens else 0


def _counts(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())
