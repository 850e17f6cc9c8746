"""The claims of a sweep, tested: one finding per contrast and point, p-values corrected over the whole family.

Knows studies and statistics; not how findings are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from s1sweep.spec.claim import Metric, Value

from .study import Study


@dataclass(frozen=True)
class Finding:
    """`metric` at `contrast` less at `baseline`, at `points`. Accuracy in points of percent, tokens in tokens.

    `level`: `rules` where both arms have several runs, and runs were resampled too; else `checkpoints`. `holm` and `bh`
    are p over all findings of the sweep. `why`: the reason there is no number.
    """

    label: str
    where: str
    metric: Metric
    contrast: Mapping[str, Value]
    baseline: Mapping[str, Value]
    points: Mapping[str, Value]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    holm: float | None = None
    bh: float | None = None
    n: str = ""
    level: Literal["rules", "checkpoints"] = "checkpoints"
    test: str = ""
    why: str | None = None


def findings(study: Study) -> tuple[Finding, ...]:
    """All of them, in the order of declaration; one that lacks cells has its reason."""
    raise NotImplementedError
