"""What k parallel samples are worth together: expected credit over all subsets of k of one question's pool.

The rules are those of `s1sweep.grading.parallel.decide`: ties share the credit, who has no answer never wins, and of
the shortest m a tie for the last place lets all of it in. Exact by counting (`counting`) as far as the pool allows,
else a seeded Monte Carlo of `n_subsets` (`drawing`); the result says which. All raise ValueError unless 1 <= k <=
samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from .at_k import subset_ratio
from .counting import Ways, choose, subset_sums, winning_credit
from .drawing import by_answer, drawn_credit
from .pool import Expected, Floats, Pool, Samples, pool_of

LARGEST = 1000  # samples; binomials of larger pools leave the range of floats
MOST_WEIGHTS = 2000  # distinct weights of all answers together
MOST_SIZES = 1000  # (below, at the limit) sizes of the shortest


def maj_at_k(samples: Samples, k: int, n_subsets: int = 10_000, seed: int = 0) -> Expected:
    """Of the most frequent answer among k samples. Exact in pools of up to 1,000 samples."""
    pool = pool_of(samples, k)
    if pool.size > LARGEST:
        member = by_answer(pool)
        return drawn_credit(pool, k, lambda inside: (inside @ member, inside @ member), n_subsets, seed)
    return _exact(winning_credit(_majority(pool, k), pool.credit.tolist(), (k + 1,)), pool, k)


def weighted_at_k(
    samples: Samples, k: int, weight: Literal["score", "length"] = "score", n_subsets: int = 10_000, seed: int = 0
) -> Expected:
    """Of the answer with most weight among k samples.

    `score` sums the samples' weights; `length` is votes / ln(mean tokens) (shortest majority vote, arXiv:2502.12215).
    Exact where answers have up to 2,000 distinct weights in all; an answer given by 11 samples of different scores has
    2,047. A single answer is always exact.
    """
    pool = pool_of(samples, k)
    if len(pool.credit) == 1:
        return maj_at_k(samples, k, n_subsets, seed) if pool.size <= LARGEST else _lonely(pool, k)
    values = pool.weights if weight == "score" else pool.tokens
    weigh = by_score if weight == "score" else by_length
    if pool.size <= LARGEST and (ways := _weighted(pool, values, weigh, k)) is not None:
        return _exact(winning_credit(ways, pool.credit.tolist(), (k + 1,)), pool, k)
    member = by_answer(pool)

    def drawn(inside: Floats) -> tuple[Floats, Floats]:
        votes = inside @ member
        return votes, weigh(votes, inside @ (member * values[:, None]))

    return drawn_credit(pool, k, drawn, n_subsets, seed)


def shortest_m_at_k(samples: Samples, m: int, k: int, n_subsets: int = 10_000, seed: int = 0) -> Expected:
    """Of the majority of the m, of k samples, that thought least among those with an answer (arXiv:2505.17813).

    Fewer than m with an answer all vote. Exact in pools of up to 1,000 samples unless very many think equally long.
    """
    pool = pool_of(samples, k)
    if m < 1:
        raise ValueError(f"at least one sample must vote, not m={m}")
    m = min(m, k)
    tokens, ties = np.unique(pool.tokens[pool.able], return_counts=True)
    if pool.size > LARGEST or m * (min(ties.max(initial=0), k) + 1) > MOST_SIZES:
        return drawn_credit(pool, k, _shortest_votes(pool, m), n_subsets, seed)
    # Fewer than m of the subset have an answer.
    mute = choose(int((~pool.able).sum()), k)
    few = winning_credit(_majority(pool, m - 1), pool.credit.tolist(), (m,))
    total = sum(float(few[a] * mute[k - a]) for a in range(1, m))
    # Else the m-th of them thinks for `last`: less than m below it, and at least m with those that tie.
    members = pool.members
    for last, tied in zip(tokens, ties, strict=True):
        below = int((pool.tokens[pool.able] < last).sum())
        if below + tied >= m:
            shape = (m, min(int(tied), k) + 1)
            parts = [(int((pool.tokens[g] < last).sum()), int((pool.tokens[g] == last).sum())) for g in members]
            found = winning_credit([_two_kinds(*part, shape) for part in parts], pool.credit.tolist(), shape)
            others = choose(pool.size - below - int(tied), k)
            for i, j in np.argwhere(found > 0):
                total += float(found[i, j] * others[k - i - j]) if m <= i + j <= k else 0.0
    return Expected(total / math.comb(pool.size, k))


def best_of_n_at_k(samples: Samples, k: int) -> Expected:
    """Of the sample with the highest weight among k; equal weights share. Always exact."""
    pool = pool_of(samples, k)
    right, weights = pool.credit[pool.group[pool.able]], pool.weights[pool.able]
    value, lower = 0.0, pool.size
    for weight in np.unique(weights)[::-1]:
        tied = weights == weight
        # The best is one of these in all subsets that avoid the higher, less those that avoid these too. By symmetry
        # each of them wins equally often.
        avoiding = subset_ratio(lower, k, pool.size) - subset_ratio(lower - int(tied.sum()), k, pool.size)
        value += avoiding * float(right[tied].mean())
        lower -= int(tied.sum())
    return Expected(value)


def _exact(credit: Floats, pool: Pool, k: int) -> Expected:
    """Credit by the number of samples with an answer; the rest of the subset has none."""
    mute = choose(int((~pool.able).sum()), k)
    return Expected(float(credit @ mute[::-1]) / math.comb(pool.size, k))


def _lonely(pool: Pool, k: int) -> Expected:
    return Expected(float(pool.credit[0]) * (1 - subset_ratio(int((~pool.able).sum()), k, pool.size)))


def _majority(pool: Pool, most: int) -> list[Ways]:
    """Of each answer: its number of votes is its weight."""
    found = []
    for size in map(len, pool.members):
        counts = choose(size, most)
        found.append({float(i): counts * (np.arange(most + 1) == i) for i in range(1, min(size, most) + 1)})
    return found


def _two_kinds(below: int, tied: int, shape: tuple[int, int]) -> Ways:
    """The same for samples of two kinds, counted apart."""
    counts = np.outer(choose(below, shape[0] - 1), choose(tied, shape[1] - 1))
    votes = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))
    found = {float(i): counts * (votes == i) for i in range(1, below + tied + 1)}
    return {votes: ways for votes, ways in found.items() if ways.any()}


def _weighted(pool: Pool, values: Floats, weigh: Callable[..., Floats], k: int) -> list[Ways] | None:
    """Of each answer, by its weight; None if there are too many."""
    found: list[Ways] = []
    for group in pool.members:
        sums = subset_sums(values[group].tolist(), k, MOST_WEIGHTS - sum(map(len, found)))
        if sums is None:
            return None
        ways: Ways = {}
        for (count, total), number in sums.items():
            ways.setdefault(float(weigh(count, total)), np.zeros(k + 1))[count] += number
        found.append(ways)
    return found


def by_votes(votes: Floats, total: Floats) -> Floats:
    """Weight of an answer with so many votes, whose samples' values add up to `total`."""
    return votes


def by_score(votes: Floats, total: Floats) -> Floats:
    return total


def by_length(votes: Floats, total: Floats) -> Floats:
    """Votes / ln(mean tokens). Under e tokens the logarithm would leave the positive."""
    return np.asarray(votes / np.log(np.maximum(math.e, total / np.maximum(votes, 1))))


def _shortest_votes(pool: Pool, m: int) -> Callable[[Floats], tuple[Floats, Floats]]:
    member = by_answer(pool)

    def votes(inside: Floats) -> tuple[Floats, Floats]:
        tokens = np.where((inside > 0) & pool.able, pool.tokens, np.inf)
        last = np.partition(tokens, m - 1, axis=1)[:, m - 1 : m]
        found = (inside * (tokens <= last) * pool.able) @ member
        return found, found

    return votes
