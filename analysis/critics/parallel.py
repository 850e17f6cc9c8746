"""Parallel against sequential scaling from one pool of samples, at equal cost of three kinds.

One model made the pool, so its parallel answers and its sequential ones differ in nothing but how tokens are spent (the
s1 paper set a tuned model's sequential answers against its base's votes: arXiv 2501.19393, figure 4b).
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..metrics import best_of_n_at_k, listing, maj_at_k, shortest_m_at_k, weighted_at_k
from ..metrics.votes import by_length, by_score, by_votes
from .answers import NONE
from .resample import Floats, HeldOut

Rule = Literal["majority", "weighted", "shortest", "best"]
COSTS = ("tokens", "latency", "memory")
SUBSETS = 512  # at most, listed or drawn


def credit(
    answers: NDArray[np.int64],
    right: NDArray[np.bool_],
    tokens: Floats,
    k: int,
    rule: Rule,
    scores: Floats | None = None,
) -> Floats:
    """(questions,): expected credit of `k` samples under a rule, over all subsets of each question's pool.

    All arrays are (questions, samples); `tokens` are thinking tokens. `weighted` weighs by `scores`, or without them by
    length (arXiv 2502.12215); `shortest` lets the shorter half vote (short-m@k, m = k/2; arXiv 2505.17813). Raises
    ValueError for `best` without scores.
    """
    if rule == "best" and scores is None:
        raise ValueError("best needs scores")
    weights = np.zeros(answers.shape) if scores is None else scores
    if rule != "best" and listing.listable(answers.shape[1], k):
        first = voters(k) if rule == "shortest" else None
        values = tokens if scores is None else scores
        weigh = (by_length if scores is None else by_score) if rule == "weighted" else by_votes
        return listing.heaviest(answers, right, tokens if first else values, k, weigh, first)
    found = []
    for row in zip(answers, right, tokens, weights, strict=True):
        pool = [(None if a == NONE else int(a), bool(r), float(t), float(w)) for a, r, t, w in zip(*row, strict=True)]
        if rule == "majority":
            one = maj_at_k(pool, k)
        elif rule == "weighted":
            one = weighted_at_k(pool, k, "length" if scores is None else "score")
        elif rule == "shortest":
            one = shortest_m_at_k(pool, voters(k), k)
        else:
            one = best_of_n_at_k(pool, k)
        found.append(one.value)
    return np.array(found)


def voters(k: int) -> int:
    """How many of k vote under `shortest`."""
    return max(1, k // 2)


def costs(tokens: Floats, k: int, first: int | None = None, seed: int = 0) -> Floats:
    """(COSTS, questions): expected cost of `k` of each question's samples, decoded side by side.

    tokens: all that are decoded. latency: those of the longest, since all advance at one pace. memory: the most tokens
    held at once, a sample's being freed as it ends; the bytes of a token are the model's, the same for all settings.
    With `first`, decoding stops when so many have ended. Over all subsets, or `SUBSETS` drawn ones if there are more.
    Prompts are left out: samples share them.
    """
    n = tokens.shape[1]
    if not 1 <= k <= n or not 1 <= (first or k) <= k:
        raise ValueError(f"needs 1 <= first <= k <= samples, not first={first}, k={k}, samples={n}")
    if math.comb(n, k) <= SUBSETS:
        places = np.array(list(combinations(range(n), k)))
    else:
        rng = np.random.default_rng(seed)
        places = rng.permuted(np.tile(np.arange(n), (SUBSETS, 1)), axis=1)[:, :k]
    long = np.sort(tokens[:, places], axis=-1)  # (questions, subsets, k)
    long = np.minimum(long, long[..., (first or k) - 1][..., None])
    held = (long * np.arange(k, 0, -1)).max(axis=-1)  # just before the j-th ends, k - j + 1 hold as much as it
    return np.stack([long.sum(axis=-1), long[..., -1], held]).mean(axis=-1)


def affordable(cost: Floats, budget: float) -> NDArray[np.bool_]:
    """(settings,): whose mean cost is within the budget; `cost` (settings, questions)."""
    return np.asarray(cost.mean(axis=1) <= budget * (1 + 1e-9))


def at_budget(held: HeldOut, cost: Floats, budget: float) -> Floats:
    """(draws,): accuracy of the best setting within a budget, chosen on half of the questions, measured on the rest.

    `held` is of the settings' credit, `cost` (settings, questions). NaN where no setting is within the budget.
    """
    within = affordable(cost, budget)
    return held.best(within) if within.any() else np.full(held.draws, np.nan)


def frontier(cost: Floats, accuracy: Floats) -> list[int]:
    """Places of the settings, (settings,) each, that nothing cheaper equals or beats, by cost."""
    kept: list[int] = []
    for i in np.lexsort((-accuracy, cost)):
        if not kept or accuracy[i] > accuracy[kept[-1]] + 1e-12:
            kept.append(int(i))
    return kept
