"""Intervals at 95 %. What varies is the draw of questions, so questions, never readouts, are counted or resampled.

Pure functions of numbers; knows no cell and no file.
"""

from __future__ import annotations

import cmath
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from statistics import NormalDist

Interval = tuple[float, float]
Z = NormalDist().inv_cdf(0.975)


def wilson(correct: float, n: int) -> Interval:
    """Wilson score interval of a share, in [0, 1] (Wilson 1927, JASA 22:209). Raises ValueError if n is 0."""
    if n <= 0 or not 0 <= correct <= n:
        raise ValueError(f"a share needs 0 <= correct <= n and n > 0, not {correct} of {n}")
    p, z2 = correct / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At the ends the formula is exact, rounding is not.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)


def clustered(tallies: Collection[tuple[float, int]]) -> tuple[Interval, str]:
    """Interval of the mean over questions of the share of correct readouts, and how it was made.

    `tallies` holds (correct, readouts) per question. A percentile bootstrap (Efron 1979) that resamples questions with
    all their readouts, computed exactly rather than by drawing: each question's share lies on a grid of 1/k, so the
    resampled sum has a finite distribution. Where every question has the same share there is nothing to resample, and
    Wilson over questions stands in. Raises ValueError without questions.
    """
    n = len(tallies)
    if not n:
        raise ValueError("an interval needs at least one question")
    shares = [correct / total for correct, total in tallies]
    if len(set(shares)) == 1:
        return wilson(shares[0] * n, n), f"Wilson over {n} questions: all have the same score"
    k = min(math.lcm(*(total for _, total in tallies)), 1000)
    cdf = _resampled_sum(Counter(round(share * k) for share in shares), n, n * k)
    low, high = (_quantile(cdf, q, n * k) / (n * k) for q in (0.025, 0.975))
    return (low, high), f"bootstrap over {n} questions, exact percentiles"


def paired_bootstrap(a: Sequence[float], b: Sequence[float], n_resamples: int = 10_000, seed: int = 0) -> Interval:
    """Percentile interval of mean(a) - mean(b); `a` and `b` are scores of the same questions in the same order.

    Questions are resampled in pairs, as in Table 2 of the s1 paper (arXiv:2501.19393). Needs numpy. Raises ValueError
    on unequal or empty input.
    """
    import numpy as np

    if len(a) != len(b) or not len(a):
        raise ValueError(f"pairs are needed: {len(a)} and {len(b)} scores")
    n = len(a)
    values, counts = np.unique(np.round(np.subtract(a, b), 12), return_counts=True)
    # Resampling questions is drawing how often each distinct difference occurs.
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=n_resamples)
    low, high = np.percentile(drawn @ values / n, [2.5, 97.5])
    return float(low), float(high)


def _resampled_sum(counts: Counter[int], n: int, top: int) -> Callable[[int], float]:
    """Distribution function of the sum of n draws from `counts` (value -> how many of n), values >= 0, sums <= top.

    The characteristic function of a sum is a power; its discrete Fourier inverse is exact on the grid 0..top.
    """
    size = top + 1
    powers = [
        sum(c / n * cmath.exp(2j * math.pi * t * v / size) for v, c in counts.items()) ** n for t in range(1, size)
    ]

    def cdf(s: int) -> float:
        total = complex(s + 1)
        for t, power in enumerate(powers, 1):
            step = -2j * math.pi * t / size
            total += power * (1 - cmath.exp(step * (s + 1))) / (1 - cmath.exp(step))
        return total.real / size

    return cdf


def _quantile(cdf: Callable[[int], float], q: float, top: int) -> int:
    low, high = 0, top
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cdf(middle) >= q - 1e-12 else (middle + 1, high)
    return low
