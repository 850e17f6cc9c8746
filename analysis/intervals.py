"""Intervals at 95 % of one accuracy. What varies is the draw of questions, so questions, never readouts, are counted.

Pure functions of numbers; knows no cell and no file. Needs the standard library only, and is faster with numpy.
"""

from __future__ import annotations

import cmath
import math
from collections import Counter
from collections.abc import Callable, Collection
from statistics import NormalDist

Interval = tuple[float, float]
Z = NormalDist().inv_cdf(0.975)
FINEST = 1000  # grid steps a question; shares whose common denominator is larger are rounded to it


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
    k = min(math.lcm(*(total for _, total in tallies)), FINEST)
    cdf = resampled_sum(Counter(round(share * k) for share in shares), n, n * k)
    low, high = (_quantile(cdf, q, n * k) / (n * k) for q in (0.025, 0.975))
    return (low, high), f"bootstrap over {n} questions, exact percentiles"


def resampled_sum(counts: Counter[int], n: int, top: int) -> Callable[[int], float]:
    """Distribution function of the sum of n draws from `counts` (value -> how many of n), values >= 0, sums <= top.

    The characteristic function of a sum is a power; its discrete Fourier inverse is exact on the grid 0..top, up to
    rounding. By FFT where numpy is installed, else term by term where the function is asked.
    """
    try:
        import numpy as np
    except ImportError:
        return _resampled_sum(counts, n, top)
    weights = np.zeros(top + 1)
    weights[list(counts)] = [count / n for count in counts.values()]
    return np.cumsum(np.fft.irfft(np.fft.rfft(weights) ** n, top + 1)).item


def _resampled_sum(counts: Counter[int], n: int, top: int) -> Callable[[int], float]:
    size = top + 1
    roots = [cmath.exp(-2j * math.pi * t / size) for t in range(size)]
    terms = []  # of one half of the circle, for the other mirrors it
    for t in range(1, size // 2 + 1):
        power = sum(c / n * roots[t * v % size] for v, c in counts.items()).conjugate() ** n
        terms.append((1 if 2 * t == size else 2) * power / (1 - roots[t]))

    def cdf(s: int) -> float:
        waves = (term * (1 - roots[t * (s + 1) % size]) for t, term in enumerate(terms, 1))
        return (s + 1 + sum(wave.real for wave in waves)) / size

    return cdf


def _quantile(cdf: Callable[[int], float], q: float, top: int) -> int:
    low, high = 0, top
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cdf(middle) >= q - 1e-12 else (middle + 1, high)
    return low
