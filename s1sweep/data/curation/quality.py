"""Quality filter of s1: rows without a feature, and rows whose text is broken, by the patterns of data/filter.ipynb.

Both rules drop what has `![Image]`, `p1.` to `p999.`, or bold text that holds a digit and no space (`**12**`).
They differ over `[asy]` figures: the paper drops them all ("ASCII art diagrams"), the notebook keeps AIME's; that this
is the paper's meaning is our reading of its 26 rows fewer. Which features must be there is `features`: the paper drops
failed API calls, the notebook every row with an empty feature, hence all without a solution to grade by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from s1sweep.spec.data import QualitySpec
from s1sweep.stages.rows import Row

VERSION = 1
PLANNED = True

PATTERNS = {
    "image": re.compile(r"!\[Image\]"),
    "page number": re.compile(r"\bp[1-9]\d{0,2}\."),
    "bold number": re.compile(r"\*\*(?=.*\d)[^\s\]]*\*\*"),
}


def judge(spec: QualitySpec, rows: Iterable[Row]) -> Iterator[tuple[Row, str | None]]:
    """Drops rows with a fault; the reason is the first one."""
    for row in rows:
        yield row, fault(row, spec)


def fault(row: Row, spec: QualitySpec) -> str | None:
    """The first fault of a row, missing features before broken text; None if it has none."""
    for feature in spec.features:
        value = getattr(row, feature)
        if value is None or (isinstance(value, str) and not value.strip()):
            return f"no {feature}"
    text = f"{row.question}\n{row.thinking}"
    if "[asy]" in text and not (spec.rule == "notebook" and "AIME" in row.source):
        return "figure"
    return next((name for name, pattern in PATTERNS.items() if pattern.search(text)), None)
