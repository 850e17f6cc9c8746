"""Votes of many pools of one size at once, by listing all subsets of k: quick where there are few.

The same expectations as `votes`, which counts and so reaches any pool. Knows no rule but that the heaviest answers
share; who votes with what weight is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST = 1 << 14  # comparisons of two samples for each pool: subsets x k x k
BATCH = 1 << 22  # of all pools at once: 32 MiB

# votes of each sample's answer, the sum of its values -> its weight
Weigh = Callable[[Floats, Floats], Floats]


def listable(samples: int, k: int) -> bool:
    """Whether all subsets of k of so many samples may be listed."""
    return math.comb(samples, k) * k * k <= MOST


def heaviest(
    answers: NDArray[np.int64], right: NDArray[np.bool_], values: Floats, k: int, weigh: Weigh, first: int | None = None
) -> Floats:
    """(pools,): expected credit of the answers with most weight; arrays are (pools, samples), negative answers none.

    An answer's credit is the share of its samples judged right, as in `pool`. With `first`, only the samples whose
    value is among the `first` smallest of those with an answer vote. Raises ValueError unless 1 <= k <= samples.
    """
    pools, samples = answers.shape
    if not 1 <= k <= samples:
        raise ValueError(f"subsets of k need 1 <= k <= samples, not k={k} of {samples}")
    alike = answers[:, :, None] == answers[:, None, :]
    credit = (alike * right[:, None, :]).sum(axis=2) / alike.sum(axis=2)
    places = np.array(list(combinations(range(samples), k)))
    step = max(1, BATCH // (len(places) * k * k))
    parts = [slice(start, start + step) for start in range(0, pools, step)]
    return np.concatenate([_won(answers[p], credit[p], values[p], places, weigh, first) for p in parts])


def _won(
    answers: NDArray[np.int64],
    credit: Floats,
    values: Floats,
    places: NDArray[np.int64],
    weigh: Weigh,
    first: int | None,
) -> Floats:
    said, worth, value = answers[:, places], credit[:, places], values[:, places]  # (pools, subsets, k)
    able = said >= 0
    if first is not None:
        last = np.sort(np.where(able, value, np.inf), axis=-1)[..., min(first, said.shape[-1]) - 1]
        able &= value <= last[..., None]
    same = (said[..., :, None] == said[..., None, :]) & able[..., None, :]
    votes = np.maximum(same.sum(axis=-1), 1).astype(float)
    weights = np.where(able, weigh(votes, (same * value[..., None, :]).sum(axis=-1)), -np.inf)
    top = weights.max(axis=-1, keepdims=True)
    # An answer that wins is there once for each of its votes.
    shares = np.where(able & (weights >= top - 1e-12 * np.abs(top)), 1 / votes, 0.0)
    total = shares.sum(axis=-1)
    return np.asarray(((shares * worth).sum(axis=-1) / np.where(total > 0, total, 1.0)).mean(axis=-1))
