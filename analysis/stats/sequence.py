"""Confidence sequences: intervals of a mean that hold however often one looks, and whatever makes one stop.

Bets against each candidate mean (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 2024, arXiv 2010.09686, sections 4 and 5). Scores in, bounds out; knows no question and no arm.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats

MOST = 0.5  # of its capital that a bet may risk
BETS = np.geomspace(0.02, 2.0, 12)  # constant bets, each with its share of the capital: no variance need be guessed
STEPS = 36  # of bisection: bounds to 2e-11
_ROUNDING = 1e-9


def confidence_sequence(scores: ArrayLike, population: int, alpha: float) -> tuple[float, float]:
    """Bounds of the mean over `population` of which `scores`, (n,) in [0, 1], were drawn in a random order.

    Drawn without replacement, so with all of them drawn both bounds are the mean. With probability 1 - alpha the mean
    lies within the bounds of every n at once (Ville's inequality); those for n hold what those for fewer have excluded.
    Half of the capital bets that the mean is larger than a candidate, half that it is smaller; a candidate against
    which either has made 1/alpha out of 1 is out. Raises ValueError where scores, alpha or the population cannot be.
    """
    x = np.asarray(scores, dtype=float)
    if x.ndim != 1 or len(x) > population or population < 1:
        raise ValueError(f"(n,) scores of a population are at most {population}, not of shape {x.shape}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} is not between 0 and 1")
    if len(x) and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"scores are from {x.min()} to {x.max()}, not within [0, 1]")
    if len(x) == population:
        return float(x.mean()), float(x.mean())
    low, high = _lowest(x, population, alpha), 1 - _lowest(1 - x, population, alpha)
    # With probability alpha at most every mean is out; then the bounds have crossed, and the gap is given.
    return min(low, high), max(low, high)


def exceeds(scores: ArrayLike, population: int, mean: float, alpha: float) -> bool:
    """Whether the lower bound of `confidence_sequence` is above `mean`, without looking for it."""
    return _most_made(np.asarray(scores, dtype=float), population, mean) >= math.log(2 / alpha)


def _lowest(x: Floats, population: int, alpha: float) -> float:
    """The smallest mean that is not out. What bets on a larger mean make falls with the candidate, so: bisection."""
    known = float(x.sum()) / population  # if all others are 0
    goal, below, above = math.log(2 / alpha), known, 1.0
    if _most_made(x, population, below) < goal:
        return below
    for _ in range(STEPS):
        middle = (below + above) / 2
        if _most_made(x, population, middle) >= goal:
            below = middle
        else:
            above = middle
    return below


def _most_made(x: Floats, population: int, mean: float) -> float:
    """Log of the most capital, at any n, of bets that the mean is larger than `mean`."""
    if not len(x):
        return 0.0
    before = np.cumsum(x) - x
    left = population - np.arange(len(x))
    # The mean of those not yet drawn, were `mean` true; below 0 it cannot be true.
    expected = (population * mean - before) / left
    if expected.min() < -_ROUNDING:
        return math.inf
    expected = np.maximum(expected, 0.0)
    with np.errstate(divide="ignore"):
        bets = np.minimum(BETS[:, None], MOST / expected)
    made = np.cumsum(np.log1p(bets * (x - expected)), axis=1)
    top = made.max(axis=0)
    return float((top + np.log(np.exp(made - top).mean(axis=0))).max())
