"""Tests of one comparison, of a family of them, and of equivalence with a published number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats, pairs, question_means


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests (Schuirmann 1987, J Pharmacokinet Biopharm 15:657). All but `p` are points (percent).

    `low` and `high` are the interval at 1 - 2 alpha of the difference, ours minus theirs; `equivalent` if it lies
    within the margin, which is where p <= alpha. Not equivalent does not mean different: it may just be wide.
    """

    difference: float
    low: float
    high: float
    margin: float
    p: float
    equivalent: bool


def mcnemar_exact(a: ArrayLike, b: ArrayLike) -> float:
    """Exact two-sided p-value of McNemar's test: are questions that only one arm gets right evenly split?

    `a` and `b` are 0 or 1 for the same questions. 1 where no question differs. Raises ValueError on anything else.
    """
    from scipy.stats import binomtest  # late: it takes a second

    first, second = pairs(a, b)
    if np.asarray(a).ndim != 1 or np.asarray(b).ndim != 1 or not np.isin([first, second], (0, 1)).all():
        raise ValueError("McNemar's test takes one score of 0 or 1 for each question; for several samples: sign_flip")
    gained, lost = int((first > second).sum()), int((first < second).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def sign_flip(a: ArrayLike, b: ArrayLike, n_resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of a permutation test that swaps the arms question by question.

    `a` and `b` are scores of the same questions, (questions,) or (questions, samples). Exact where at most
    log2(`n_resamples`) questions differ, else by random swaps, the observed one counted (so p is never 0).
    """
    from scipy.stats import permutation_test

    first, second = pairs(a, b)
    differences = first - second
    differences = differences[np.abs(differences) > 1e-12]  # swapping equals changes nothing
    if differences.size < 2:  # both signs of one are as far from 0
        return 1.0
    found = permutation_test(
        (differences,),
        lambda x, axis: np.round(x.sum(axis=axis), 9),  # sums that differ by rounding alone are one
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_resamples,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p-values in their order: the chance of any false finding in the family stays below alpha (Holm 1979)."""
    return _adjusted(p_values, "holm")


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Adjusted p-values in their order: the expected share of false findings is below alpha (JRSS B 1995, 57:289)."""
    return _adjusted(p_values, "fdr_bh")


def equivalent(a: ArrayLike, b: ArrayLike, margin: float, alpha: float = 0.05) -> Equivalence:
    """Do two arms lie within `margin` points of each other? Scores of the same questions, compared in pairs."""
    first, second = pairs(a, b)
    differences = first - second
    # Half a question more in each cell of the two by two table keeps the error of few differences from vanishing
    # (Agresti and Min 2005, Stat Med 24:729).
    n = len(differences) + 2
    variance = ((float(differences @ differences) + 1) / n - (float(differences.sum()) / n) ** 2) / n
    return _tost(float(differences.mean()), variance, len(differences) - 1, margin, alpha)


def equivalent_to_published(
    scores: ArrayLike, published: float | tuple[int, int], margin: float, alpha: float = 0.05
) -> Equivalence:
    """Does our accuracy lie within `margin` points of a published one?

    `scores` are ours, (questions,) or (questions, samples). `published` is a percentage taken as a fixed number (is our
    true accuracy near what they printed?), or (correct, questions) taken as a binomial with noise of its own (is our
    true accuracy near theirs?). Their questions count as other draws than ours even where they are the same, since
    which of them they got right is not known: that is wider than a paired comparison, never narrower. Variances are
    those after one more right and one more wrong question (Agresti and Caffo 2000, Am Stat 54:280). Raises ValueError
    on a margin that is not positive, and on what is no percentage or count.
    """
    ours = question_means(scores)
    smoothed = np.append(ours, [0, 1])
    variance, df = float(smoothed.var(ddof=1)) / len(smoothed), float(len(ours) - 1)
    if isinstance(published, tuple):
        correct, n = published
        if not 0 <= correct <= n or n < 2:
            raise ValueError(f"a published result needs 0 <= correct <= questions and two questions, not {published}")
        p = (correct + 1) / (n + 2)
        theirs = p * (1 - p) / (n + 2)
        df = (variance + theirs) ** 2 / (variance**2 / df + theirs**2 / (n - 1)) if df else 0.0
        return _tost(float(ours.mean()) - correct / n, variance + theirs, df, margin, alpha)
    if not 0 <= published <= 100:
        raise ValueError(f"a published accuracy is a percentage, not {published}")
    return _tost(float(ours.mean()) - published / 100, variance, df, margin, alpha)


def _tost(difference: float, variance: float, df: float, margin: float, alpha: float) -> Equivalence:
    from scipy.special import stdtr, stdtrit  # Student's t

    if margin <= 0 or df < 1:
        raise ValueError(f"equivalence needs a margin above 0 and two questions or more, not {margin} points")
    error = float(np.sqrt(variance))
    p = float(stdtr(df, (abs(difference) - margin / 100) / error))
    half = float(stdtrit(df, 1 - alpha)) * error
    low, high = 100 * (difference - half), 100 * (difference + half)
    return Equivalence(100 * difference, low, high, margin, p, p <= alpha)


def _adjusted(p_values: ArrayLike, method: str) -> Floats:
    from statsmodels.stats.multitest import multipletests  # late: it takes seconds

    found = np.asarray(p_values, dtype=float)
    if found.ndim != 1 or not ((found >= 0) & (found <= 1)).all():
        raise ValueError(f"p-values are numbers in [0, 1], in a row: {found.tolist()}")
    return np.asarray(multipletests(found, method=method)[1]) if found.size else found
