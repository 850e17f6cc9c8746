"""A claim: a contrast that an experiment declares before anyone has looked. Knows nothing of how it is tested."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from s1sweep.spec.base import Where

Value = str | int | float | bool | None
Metric = Literal["accuracy", "thinking_tokens", "control", "scaling", "performance"]


class Claim(Where):
    """`metric` at `contrast` less that at `baseline`, once for each combination of contrasts and points.

    Keys are axes as on the command line (`data`, `extrapolation.num_ignore`); `points` say where both sides are taken.
    All the claims of a sweep are one family: p-values are corrected over it, whatever is shown later. Claims are
    items of a list, so their defaults stand here and not in conf/.
    """

    contrast: Annotated[dict[str, Value | tuple[Value, ...]], Field(min_length=1)]
    baseline: Annotated[dict[str, Value], Field(min_length=1)]
    metric: Metric = "accuracy"
    points: Annotated[dict[str, Value | tuple[Value, ...]], Field(default_factory=dict)]
