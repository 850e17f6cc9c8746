"""Contrasts of arms that were run several times: with few runs, what differs between runs is most of the noise.

A run is a selection seed and a training seed; questions are the same for all runs. Two single runs tell two checkpoints
apart, not the two rules that made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats

# Runs that agree better than chance would have them say that chance was kind, not that there is so little of it. The
# share keeps the coverage of `contrast_runs` nearest to its level in simulated sweeps (tests/test_stats.py).
LEAST = 0.9

Level = Literal["rules", "checkpoints"]


@dataclass(frozen=True)
class Contrast:
    """mean(a) - mean(b) with its interval and two-sided p-value: p < 1 - confidence where the interval leaves out 0.

    Shares in [-1, 1], or the unit of a curve's statistic. `level` says what it speaks of: the arms' `rules`, where both
    have two runs or more, else these `checkpoints` alone. `df` are the degrees of freedom of its t distribution.
    """

    estimate: float
    low: float
    high: float
    p: float
    n_questions: int
    runs: tuple[int, int]
    level: Level
    df: float


def contrast_runs(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Contrast:
    """Compare (runs, questions) or (runs, questions, samples) of two arms on the same questions.

    A t interval on the variance of two crossed factors, runs within arms and questions shared by both: the mean squares
    of runs and of questions less that of their interaction, which both contain (Cameron, Gelbach and Miller 2011, JBES
    29:238; degrees of freedom after Satterthwaite 1946, Biometrics 2:110). It stands in for resampling runs, which with
    three to ten of them is too narrow by a factor sqrt((runs-1)/runs) and by normal tails (Hesterberg 2015,
    arXiv:1411.5279). Where nothing varies the interval has no width and p is 0 or 1. Raises ValueError
    unless both have the same questions, two or more.
    """
    from scipy.special import stdtr, stdtrit  # Student's t

    first, second = _means(a), _means(b)
    n = first.shape[1]
    if second.shape[1] != n or n < 2:
        raise ValueError(f"the same questions are needed, two or more, not {n} and {second.shape[1]}")
    differences = first.mean(axis=0) - second.mean(axis=0)
    estimate = float(differences.mean())
    rules = min(len(first), len(second)) > 1
    variance, df = _variance(differences, (first, second) if rules else ())
    error = float(np.sqrt(variance))
    half, p = 0.0, float(abs(estimate) < 1e-12)
    if error > 1e-12:
        half, p = float(stdtrit(df, (1 + confidence) / 2)) * error, float(2 * stdtr(df, -abs(estimate) / error))
    runs = len(first), len(second)
    level: Level = "rules" if rules else "checkpoints"
    return Contrast(estimate, estimate - half, estimate + half, p, n, runs, level, df)


def _variance(differences: Floats, arms: tuple[Floats, ...]) -> tuple[float, float]:
    """Variance of the estimate and its degrees of freedom.

    Questions alone: the mean square of differences, which holds all that varies by question, chance included.
    """
    n = len(differences)
    parts = []
    for scores in arms:
        runs = len(scores)
        between = float(scores.mean(axis=1).var(ddof=1)) / runs
        residuals = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
        parts.append((between, float((residuals**2).sum()) / ((runs - 1) * (n - 1)) / (runs * n), runs))
    return combined(float(differences.var(ddof=1)) / n, n, parts)


def combined(questions: float, n: int, arms: Sequence[tuple[float, float, int]]) -> tuple[float, float]:
    """Variance of a contrast and its degrees of freedom, from that over `n` questions and (between, chance, runs) of
    each arm: an arm adds what its runs differ by beyond the chance that is in the variance over questions already.
    """
    excess = sum(between - chance for between, chance, _ in arms)
    variance = max(questions + excess, LEAST * questions)
    if excess <= 0:
        return variance, float(n - 1)
    terms = [(questions, n - 1)]
    for between, chance, runs in arms:
        terms += [(between, runs - 1), (chance, (runs - 1) * (n - 1))]
    # Differences of mean squares may leave the formula with less than any of them has.
    fewest = min(runs for _, _, runs in arms) - 1
    return variance, max(variance**2 / sum(term**2 / df for term, df in terms), float(fewest))


def _means(scores: ArrayLike) -> Floats:
    found = np.asarray(scores, dtype=float)
    if found.ndim not in (2, 3) or not found.size or not np.isfinite(found).all():
        raise ValueError(f"scores are numbers (runs, questions) or (runs, questions, samples), not {found.shape}")
    return found if found.ndim == 2 else found.mean(axis=2)
