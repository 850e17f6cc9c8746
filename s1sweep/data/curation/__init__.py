"""Steps of curation, a file each. A step judges rows one after the other and says why it drops one.

A step is a module with `VERSION` (raise it when other rows would be kept), `PLANNED` (whether it is cheap enough to be
tried while planning) and `judge(spec, rows)`, which yields each row, changed or not, with None to keep it or the reason
to drop it. Steps know no files but those their spec names, and hold no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from s1sweep.data.curation import decontaminate, deduplicate, difficulty, length, quality
from s1sweep.data.pool import Row

Judged = Iterator[tuple[Row, str | None]]


class Step(Protocol):
    VERSION: int
    PLANNED: bool

    def judge(self, spec: Any, rows: Iterable[Row]) -> Judged: ...


STEPS: dict[str, Step] = {
    "deduplicate": deduplicate,
    "decontaminate": decontaminate,
    "length": length,
    "quality": quality,
    "difficulty": difficulty,
}
