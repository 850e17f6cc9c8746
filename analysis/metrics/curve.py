"""Metrics of one curve of accuracy over thinking tokens: the s1 paper's three (arXiv:2501.19393, 3.2), and more.

Each takes points, (mean thinking tokens, accuracy in percent) of at least two runs. The functions that end in `_of` are
the same over arrays whose last axis is the points; they check nothing. Knows nothing of noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Points = Sequence[tuple[float, float]]
Limits = Sequence[float | tuple[float | None, float | None] | None]


def control(points: Points, limits: Limits) -> float:
    """Percent of runs whose mean thinking tokens lie within their limits, both ends included (eq. 1).

    A limit is a maximum, or (low, high) with None for an open end; there is one for each point.
    """
    tokens, _ = _arrays(points)
    return float(control_of(tokens, *bounds(limits, len(tokens))))


def scaling(points: Points) -> float:
    """Mean slope of all pairs of points, in points of accuracy per doubling of thinking tokens (eq. 2).

    The paper writes tokens on the x axis; its Table 3 is that of log2 tokens. The paper's metric, and a shaky one: two
    runs of nearly equal length outweigh all others. `slope_per_doubling` does not do that.
    """
    tokens, accuracy = _arrays(points)
    _, counts = np.unique(tokens, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"scaling needs points that differ in tokens, and two have the same: {tokens.tolist()}")
    return float(scaling_of(tokens, accuracy))


def performance(points: Points) -> float:
    """The highest accuracy, in percent (eq. 3). The maximum of noisy points flatters: see `stats.best_of_curve`."""
    return float(_arrays(points)[1].max())


def slope_per_doubling(points: Points) -> float:
    """Points of accuracy per doubling of thinking tokens: least squares on log2 tokens."""
    tokens, accuracy = _spread(points, "a slope")
    return float(slope_of(tokens, accuracy))


def area_under_curve(points: Points) -> float:
    """Mean accuracy in percent over the curve's range of log2 tokens (trapezoids, over the range)."""
    tokens, accuracy = _spread(points, "an area")
    return float(area_of(tokens, accuracy))


def saturation_point(points: Points, tolerance: float = 1.0) -> float:
    """Thinking tokens of the shortest run within `tolerance` points of accuracy of the best one.

    Of what was run: nothing is interpolated, and a longer run in between may be worse. On few questions the best run
    is noise, so a tolerance below a question's worth (3.3 points of 30) finds the maximum itself.
    """
    tokens, accuracy = _arrays(points)
    if tolerance < 0:
        raise ValueError(f"a tolerance is at least 0, not {tolerance}")
    return float(tokens[accuracy >= accuracy.max() - tolerance - 1e-9].min())


def monotonicity_violations(points: Points, tolerance: float = 0.0) -> int:
    """How many steps to the next longer run lose more than `tolerance` points; of equal lengths the worse is first."""
    _, accuracy = np.array(sorted(zip(*_arrays(points), strict=True))).T
    return int((np.diff(accuracy) < -tolerance - 1e-9).sum())


def control_of(tokens: Floats, low: Floats, high: Floats) -> Floats:
    """Percent of points within [low, high]."""
    # A mean of counts is exact to rounding only.
    return np.asarray(100 * ((tokens >= low - 1e-9) & (tokens <= high + 1e-9)).mean(axis=-1))


def scaling_of(tokens: Floats, accuracy: Floats) -> Floats:
    a, b = np.triu_indices(tokens.shape[-1], 1)
    doublings = np.log2(tokens)
    slopes = (accuracy[..., b] - accuracy[..., a]) / (doublings[..., b] - doublings[..., a])
    return np.asarray(slopes.mean(axis=-1))


def performance_of(_: Floats, accuracy: Floats) -> Floats:
    return np.asarray(accuracy.max(axis=-1))


def slope_of(tokens: Floats, accuracy: Floats) -> Floats:
    doublings = np.log2(tokens)
    x = doublings - doublings.mean(axis=-1, keepdims=True)
    return np.asarray((x * accuracy).sum(axis=-1) / (x * x).sum(axis=-1))


def area_of(tokens: Floats, accuracy: Floats) -> Floats:
    order = np.argsort(tokens, axis=-1, kind="stable")
    x, y = np.log2(np.take_along_axis(tokens, order, -1)), np.take_along_axis(accuracy, order, -1)
    middle = (y[..., 1:] + y[..., :-1]) / 2
    return np.asarray((np.diff(x) * middle).sum(axis=-1) / (x[..., -1] - x[..., 0]))


def bounds(limits: Limits, n: int) -> tuple[Floats, Floats]:
    """Limits as two arrays, infinite where open. Raises ValueError unless there are n."""
    if len(limits) != n:
        raise ValueError(f"each of the {n} points needs a limit; there are {len(limits)} limits")
    ends = [limit if isinstance(limit, (tuple, list)) else (None, limit) for limit in limits]
    low = np.array([-np.inf if end[0] is None else end[0] for end in ends], dtype=float)
    high = np.array([np.inf if end[1] is None else end[1] for end in ends], dtype=float)
    if (low > high).any():
        raise ValueError(f"a limit's low end must not exceed its high end: {list(limits)}")
    return low, high


def _arrays(points: Points | ArrayLike) -> tuple[Floats, Floats]:
    found = np.asarray(points, dtype=float)
    if len(found) < 2 or found.ndim != 2 or found.shape[1] != 2:
        raise ValueError(f"a curve needs at least two points (tokens, accuracy), not {found.tolist()}")
    if not np.isfinite(found).all() or (found[:, 0] <= 0).any():
        raise ValueError(f"tokens must be positive, and all numbers finite: {found.tolist()}")
    return found[:, 0], found[:, 1]


def _spread(points: Points, what: str) -> tuple[Floats, Floats]:
    tokens, accuracy = _arrays(points)
    if np.ptp(tokens) == 0:
        raise ValueError(f"{what} needs points that differ in tokens; all have {tokens[0]:g}")
    return tokens, accuracy
