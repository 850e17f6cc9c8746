"""Scores as arrays, and resampled questions as weights. Knows shapes; no statistic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
BATCH = 1000  # resamples at once: 1000 x 1319 questions are 10 MB
KEPT = 2**24  # weights of one draw that are kept: 128 MiB, 10,000 resamples of 1,677 questions


def question_means(scores: ArrayLike) -> Floats:
    """(questions,) of scores (questions,) or (questions, samples). Raises ValueError on another shape or NaN."""
    values = np.asarray(scores, dtype=float)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"scores are (questions,) or (questions, samples), not {values.shape}")
    return _finite(values if values.ndim == 1 else values.mean(axis=1))


def pairs(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    """Question means of two arms on the same questions in the same order; they may differ in samples."""
    if len(np.atleast_1d(a)) != len(np.atleast_1d(b)) or not len(np.atleast_1d(a)):
        raise ValueError(f"pairs are needed: {len(np.atleast_1d(a))} and {len(np.atleast_1d(b))} scores")
    return question_means(a), question_means(b)


def curve_means(values: ArrayLike, what: str) -> Floats:
    """(points, questions) of (points, questions) or (points, questions, samples)."""
    found = np.asarray(values, dtype=float)
    if found.ndim not in (2, 3) or not found.size:
        raise ValueError(f"{what} is (points, questions) or (points, questions, samples), not {found.shape}")
    return _finite(found if found.ndim == 2 else found.mean(axis=2))


def resampled_weights(n: int, n_resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Batches (resamples, n) of weights that sum to 1: how often each question is drawn, over n."""
    for start in range(0, n_resamples, BATCH):
        size = min(BATCH, n_resamples - start)
        yield rng.multinomial(n, np.full(n, 1 / n), size=size) / n


def question_weights(n: int, n_resamples: int, seed: int) -> Iterable[Floats]:
    """The same from a seed. They are drawn once and kept: the numbers of a page share their questions."""
    if n * n_resamples > KEPT:
        return resampled_weights(n, n_resamples, np.random.default_rng(seed))
    return _kept(n, n_resamples, seed)


@lru_cache(maxsize=4)
def _kept(n: int, n_resamples: int, seed: int) -> tuple[Floats, ...]:
    found = tuple(resampled_weights(n, n_resamples, np.random.default_rng(seed)))
    for batch in found:
        batch.flags.writeable = False
    return found


def percentiles(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of `values` along its first axis."""
    found: Any = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(found[0]), float(found[1])


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise ValueError(f"scores must be numbers: {int((~np.isfinite(values)).sum())} are not")
    return values
