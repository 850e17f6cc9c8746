"""Steps of curation, a file each. A step judges rows one after the other and says why it drops one.

A step is a module with `VERSION` (raise it when other rows would be kept), `PLANNED` (whether it is cheap enough to be
tried while planning) and `judge(spec, rows)`, which yields each row, changed or not, with None to keep it or the reason
to drop it. Steps know no files but those their spec names, and hold no rows.
A step that asks models also has `tell(spec, rows, said)`, which puts what they said into the rows before they are
judged, and `TELLS`, the fields it fills.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from s1sweep.data.curation import decontaminate, deduplicate, difficulty, domains, length, quality, traces
from s1sweep.data.curation.replies import Said
from s1sweep.stages.rows import Row

Judged = Iterator[tuple[Row, str | None]]


class Step(Protocol):
    VERSION: int
    PLANNED: bool

    def judge(self, spec: Any, rows: Iterable[Row]) -> Judged: ...


class Asking(Step, Protocol):
    TELLS: tuple[str, ...]

    def tell(self, spec: Any, rows: Iterable[Row], said: Said) -> Iterator[Row]: ...


ASKING: dict[str, Asking] = {"traces": traces, "domains": domains, "difficulty": difficulty}
STEPS: dict[str, Step] = {
    "deduplicate": deduplicate,
    "decontaminate": decontaminate,
    "length": length,
    "quality": quality,
    **ASKING,
}
