"""The Monte Carlo that stands in where subsets cannot be counted: draws them, and lets the heaviest answer win."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .pool import Expected, Floats, Pool

BATCH = 1000


def drawn_credit(
    pool: Pool, k: int, weigh: Callable[[Floats], tuple[Floats, Floats]], n_subsets: int, seed: int
) -> Expected:
    """Mean credit over random k-subsets without replacement.

    `weigh` gets which samples are in, (subsets, samples) of 0 and 1, and returns for each answer its votes and its
    weight, both (subsets, answers).
    """
    if k == pool.size:  # there is one subset only
        n_subsets = 1
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, n_subsets, BATCH):
        rows = min(BATCH, n_subsets - start)
        chosen = np.argpartition(rng.random((rows, pool.size)), k - 1, axis=1)[:, :k]
        inside = np.zeros((rows, pool.size))
        np.put_along_axis(inside, chosen, 1.0, axis=1)
        votes, weights = weigh(inside)
        weights = np.where(votes > 0, weights, -np.inf)
        top = weights.max(axis=1, keepdims=True, initial=-np.inf)
        wins = (votes > 0) & (weights >= top - 1e-12 * np.abs(top))
        found.append((wins @ pool.credit) / np.maximum(wins.sum(axis=1), 1))
    credit = np.concatenate(found)
    if n_subsets == 1:
        return Expected(float(credit[0]))
    return Expected(float(credit.mean()), False, n_subsets, float(credit.std() / np.sqrt(n_subsets)))


def by_answer(pool: Pool) -> Floats:
    """(samples, answers) of 0 and 1."""
    return (pool.group[:, None] == np.arange(len(pool.credit))).astype(float)
