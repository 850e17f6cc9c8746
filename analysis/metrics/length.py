"""How single samples keep to their limits; Control (`curve.control`) sees only the mean of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Limit = float | tuple[float | None, float | None]


@dataclass(frozen=True)
class Overshoot:
    """`tokens`: mean tokens beyond the limit of the samples that exceed it, 0 if none does. `share`: in [0, 1]."""

    tokens: float
    share: float


def sample_control(tokens: ArrayLike, limits: Limit | ArrayLike) -> float:
    """Share in [0, 1] of samples whose thinking tokens lie within the limits, both ends included.

    `limits` is a maximum or (low, high), None for an open end, for all samples; or an array of maxima, one a sample.
    """
    found = _samples(tokens)
    low, high = limits if isinstance(limits, tuple) else (None, limits)
    inside = np.ones(found.shape, dtype=bool)
    if low is not None:
        inside &= found >= low
    if high is not None:
        inside &= found <= _maxima(high, found)
    return float(inside.mean())


def overshoot(tokens: ArrayLike, limits: Limit | ArrayLike) -> Overshoot:
    """By how much and how often samples exceed their maximum; `limits` as in `sample_control`."""
    found = _samples(tokens)
    high = limits[1] if isinstance(limits, tuple) else limits
    if high is None:
        return Overshoot(0.0, 0.0)
    beyond = np.maximum(found - _maxima(high, found), 0)
    over = beyond > 0
    return Overshoot(float(beyond[over].mean()) if over.any() else 0.0, float(over.mean()))


def _samples(tokens: ArrayLike) -> np.ndarray:
    found = np.asarray(tokens, dtype=float).ravel()
    if not found.size:
        raise ValueError("at least one sample is needed")
    return found


def _maxima(high: ArrayLike, tokens: np.ndarray) -> np.ndarray:
    found = np.asarray(high, dtype=float).ravel()
    if found.size not in (1, tokens.size):
        raise ValueError(f"one limit for all {tokens.size} samples or one for each, not {found.size}")
    return found
