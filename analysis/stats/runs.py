"""Contrasts of arms that were run several times: with few runs, what differs between runs is most of the noise.

A run is a selection seed and a training seed; questions are the same for all runs. Two single runs tell two checkpoints
apart, not the two rules that made them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats


@dataclass(frozen=True)
class Contrast:
    """mean(a) - mean(b) with its interval and two-sided p-value, which is below 1 - level of the interval just where
    the interval leaves out 0. Shares in [-1, 1]. `level` says what it speaks of: the arms' `rules`, where both have two
    runs or more, else these `checkpoints` alone. `df` are the degrees of freedom of its t distribution.
    """

    estimate: float
    low: float
    high: float
    p: float
    n_questions: int
    runs: tuple[int, int]
    level: Literal["rules", "checkpoints"]
    df: float


def contrast_runs(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Contrast:
    """Compare (runs, questions) or (runs, questions, samples) of two arms on the same questions.

    A t interval on the variance of two crossed factors, runs within arms and questions shared by both: the mean squares
    of runs and of questions less that of their interaction, which both contain (Cameron, Gelbach and Miller 2011, JBES
    29:238; degrees of freedom after Satterthwaite 1946, Biometrics 2:110). It stands in for resampling runs, which with
    three to ten of them is too narrow by a factor sqrt((runs-1)/runs) and by normal tails (Hesterberg 2015,
    arXiv:1411.5279, section 5). Where nothing varies the interval has no width and p is 0 or 1. Raises ValueError
    unless both have the same questions, two or more.
    """
    from scipy.stats import t  # late: it takes a second

    first, second = _means(a), _means(b)
    n = first.shape[1]
    if second.shape[1] != n or n < 2:
        raise ValueError(f"the same questions are needed, two or more, not {n} and {second.shape[1]}")
    differences = first.mean(axis=0) - second.mean(axis=0)
    estimate = float(differences.mean())
    rules = min(len(first), len(second)) > 1
    variance, df = _variance(differences, (first, second) if rules else ())
    error = float(np.sqrt(variance))
    if error < 1e-12:
        return Contrast(
            estimate, estimate, estimate, float(abs(estimate) < 1e-12), n, (len(first), len(second)), _level(rules), df
        )
    half = float(t.ppf((1 + confidence) / 2, df)) * error
    p = float(2 * t.sf(abs(estimate) / error, df))
    return Contrast(estimate, estimate - half, estimate + half, p, n, (len(first), len(second)), _level(rules), df)


def _variance(differences: Floats, arms: tuple[Floats, ...]) -> tuple[float, float]:
    """Variance of the estimate and its degrees of freedom.

    Questions alone: the mean square of differences, which holds all that varies by question, chance included. Each arm
    adds what its runs differ by beyond that chance.
    """
    n = len(differences)
    questions = float(differences.var(ddof=1)) / n
    terms = [(questions, n - 1)]
    excess = 0.0
    for scores in arms:
        runs = len(scores)
        between = float(scores.mean(axis=1).var(ddof=1)) / runs
        residuals = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
        chance = float((residuals**2).sum()) / ((runs - 1) * (n - 1)) / (runs * n)
        excess += between - chance
        terms += [(between, runs - 1), (chance, (runs - 1) * (n - 1))]
    variance = questions + max(0.0, excess)
    if excess <= 0:
        terms = terms[:1]
    spread = sum(term**2 / df for term, df in terms)
    return variance, variance**2 / spread if spread else float(n - 1)


def _level(rules: bool) -> Literal["rules", "checkpoints"]:
    return "rules" if rules else "checkpoints"


def _means(scores: ArrayLike) -> Floats:
    found = np.asarray(scores, dtype=float)
    if found.ndim not in (2, 3) or not found.size or not np.isfinite(found).all():
        raise ValueError(f"scores are numbers (runs, questions) or (runs, questions, samples), not {found.shape}")
    return found if found.ndim == 2 else found.mean(axis=2)
