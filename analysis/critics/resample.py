"""The joint bootstrap over questions, of any statistic of weighted questions. Knows no statistic."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..stats.arrays import question_weights

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]  # weights (draws, questions) -> (draws, ...)
DRAWS = 2000


@dataclass(frozen=True)
class Estimates:
    """Values of a statistic and the ends of their 95 % intervals, all of the statistic's shape; NaN where undefined.

    `questions`: how many were resampled.
    """

    value: Floats
    low: Floats
    high: Floats
    questions: int = 0

    def __getitem__(self, place: Any) -> Estimates:
        return Estimates(self.value[place], self.low[place], self.high[place], self.questions)


def jointly(statistic: Statistic, questions: int, draws: int = DRAWS, seed: int = 0) -> Estimates:
    """The statistic at equal weights, with percentile intervals (Efron 1979) over resampled questions.

    The same seed draws the same questions, so calls over the same questions are joint. Resamples where the statistic
    is NaN (a share of nothing) are left out. Raises ValueError without questions.
    """
    if questions < 1:
        raise ValueError(f"an interval needs at least one question, not {questions}")
    even = np.full((1, questions), 1 / questions)
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: then so is the interval
        value = statistic(even)[0]
        drawn = np.concatenate([statistic(batch) for batch in question_weights(questions, draws, seed)])
        quantile = np.nanquantile if np.isnan(drawn).any() else np.quantile  # the former is many times slower
        low, high = quantile(np.ascontiguousarray(np.moveaxis(drawn, 0, -1)), [0.025, 0.975], axis=-1)
    return Estimates(np.asarray(value), np.asarray(low), np.asarray(high), questions)


def means(values: Floats, draws: int = DRAWS) -> Estimates:
    """Of `values` (..., questions), each one's mean."""
    return jointly(partial(mean, values=values), values.shape[-1], draws)


def mean(weights: Floats, values: Floats) -> Floats:
    """(draws, ...) of `values` (..., questions)."""
    return np.asarray(np.moveaxis(values @ weights.T, -1, 0))


def ratio(top: Floats, bottom: Floats) -> Floats:
    """NaN where the bottom is 0 but for rounding."""
    small = np.abs(bottom) < 1e-12
    return np.asarray(np.where(small, np.nan, top / np.where(small, 1.0, bottom)))


def halves(n: int, splits: int, seed: int = 0) -> NDArray[np.bool_]:
    """(splits, n): random halves, the larger one left out where n is odd. Raises ValueError below two."""
    if n < 2:
        raise ValueError(f"{n} cannot be halved")
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (splits, 1)), axis=1)
    return np.asarray(order < n // 2)


def held_out_best(weights: Floats, values: Floats, splits: int = 20, seed: int = 0) -> Floats:
    """(draws,): the best of `values` (points, questions), chosen on one half of the questions, measured on the other.

    The maximum of noisy means exceeds the truth (winner's curse); the mean on questions that had no say does not. Both
    halves choose in turn, over `splits` random halvings; equal points share. Copies of a resampled question are on
    one side, since the questions are halved before they are weighted. NaN for fewer than two questions.
    """
    return HeldOut(weights, values, splits, seed).best()


class HeldOut:
    """The sums behind `held_out_best`, which serve any choice among the points."""

    def __init__(self, weights: Floats, values: Floats, splits: int = 20, seed: int = 0) -> None:
        points, questions = values.shape
        self.draws = len(weights)
        half = halves(questions, splits, seed) if questions > 1 else np.ones((splits, 1), dtype=bool)
        # A sum over half of the weighted questions is a product with values that are 0 on the other half.
        one = weights @ (half[:, None, :] * values).reshape(-1, questions).T
        one = one.reshape(-1, splits, points)
        self._sums = one, (weights @ values.T)[:, None, :] - one  # (draws, splits, points)
        self._sizes = weights @ half.T, weights @ ~half.T
        self._found: dict[bytes, Floats] = {}

    def best(self, among: NDArray[np.bool_] | None = None) -> Floats:
        """(draws,): of the points `among`, or of all."""
        among = np.ones(self._sums[0].shape[-1], dtype=bool) if among is None else among
        if (known := self._found.get(among.tobytes())) is not None:
            return known
        sums = [part if among.all() else part[..., among] for part in self._sums]
        total, count = np.zeros((2, len(sums[0])))
        for chooser in (0, 1):
            judge = 1 - chooser
            top = sums[chooser] >= sums[chooser].max(axis=-1, keepdims=True) - 1e-12
            found = (top * sums[judge]).sum(axis=-1) / top.sum(axis=-1)
            usable = (self._sizes[chooser] > 0) & (self._sizes[judge] > 1e-12)
            total += np.where(usable, found / np.where(usable, self._sizes[judge], 1.0), 0.0).sum(axis=1)
            count += usable.sum(axis=1)
        self._found[among.tobytes()] = ratio(total, count)
        return self._found[among.tobytes()]


def best_of(means: Floats, axis: int = -1) -> Floats:
    """Weights that sum to 1 along `axis`: 1 at the highest, shared where several are."""
    top = means >= means.max(axis=axis, keepdims=True) - 1e-12
    return np.asarray(top / top.sum(axis=axis, keepdims=True))
