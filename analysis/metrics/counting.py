"""Counts subsets of a pool by the credit of the answer that wins in them, without listing them.

A group's subsets are a polynomial in their size: the coefficient at i is how many of size i there are. Products of
polynomials count the subsets of several groups, and only those up to the wanted size matter. Sizes may have two parts
(of two kinds of sample); arrays then have two axes. Knows no sample and no rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ways = dict[float, Floats]  # a group's weight -> how many of its non-empty subsets have it, by size


def choose(n: int, most: int) -> Floats:
    """C(n, i) for i in 0..most."""
    return np.array([float(math.comb(n, i)) for i in range(most + 1)])


def winning_credit(ways: Sequence[Ways], credits: Sequence[float], shape: tuple[int, ...]) -> Floats:
    """Credit summed over all subsets, by size: the heaviest groups share it. Sizes run below `shape`.

    For each weight that the heaviest may have, the other groups are below it or tie with it; the polynomials carry how
    many tie. Weights that differ by rounding alone are one.
    """
    levels = _levels([weight for group in ways for weight in group])
    merged = sorted(
        ((_merge(group, levels), credit) for group, credit in zip(ways, credits, strict=True)),
        key=lambda group: -max(group[0], default=-1),
    )
    multiply = _multiplier(shape)
    empty = np.zeros(math.prod(shape))
    empty[0] = 1
    rest = [empty]  # products of all groups from one on
    for group, _ in reversed(merged):
        rest.append(multiply(rest[-1][None], empty + sum(group.values(), np.zeros_like(empty)))[0])
    rest.reverse()
    total = np.zeros_like(empty)
    lows = [empty.copy() for _ in merged]
    for level in range(len(set(levels.values()))):
        reach = sum(max(group, default=-1) >= level for group, _ in merged)
        ties = 1 + sum(level in group for group, _ in merged[:reach])
        number, credit = np.zeros((2, ties, empty.size))
        number[0] = rest[reach]
        for g, (group, worth) in enumerate(merged[:reach]):
            both = np.concatenate([number, credit])
            below = multiply(both, lows[g]).reshape(2, ties, -1)
            if (tie := group.get(level)) is not None:
                tied = multiply(both, tie).reshape(2, ties, -1)
                below[:, 1:] += tied[:, :-1]
                below[1, 1:] += worth * tied[0, :-1]
                lows[g] = lows[g] + tie
            number, credit = below
        total += (credit[1:] / np.arange(1, ties)[:, None]).sum(axis=0)
    return total.reshape(shape)


def subset_sums(values: Sequence[float], size: int, most: int) -> dict[tuple[int, float], float] | None:
    """How many subsets of 1 to `size` values have a size and a sum; None if there are more than `most` such pairs."""
    found: dict[tuple[int, float], float] = {(0, 0.0): 1.0}
    for value in values:
        for (count, total), number in list(found.items()):
            if count < size:
                key = count + 1, total + value
                found[key] = found.get(key, 0.0) + number
        if len(found) > most:
            return None
    del found[0, 0.0]
    return found


def _levels(weights: Sequence[float]) -> dict[float, int]:
    """The rank of each weight; neighbours within rounding share one."""
    ranks: dict[float, int] = {}
    last, rank = math.nan, -1
    for weight in sorted(set(weights)):
        rank += not math.isclose(weight, last, rel_tol=1e-12)
        ranks[weight] = rank
        last = weight
    return ranks


def _merge(group: Ways, levels: dict[float, int]) -> dict[int, Floats]:
    found: dict[int, Floats] = {}
    for weight, counts in group.items():
        level = levels[weight]
        found[level] = found.get(level, np.zeros(counts.size)) + counts.ravel()
    return found


def _multiplier(shape: tuple[int, ...]) -> Callable[[Floats, Floats], Floats]:
    """Truncated products of polynomials: rows (n, size) by one (size,), flat over `shape`."""
    size = math.prod(shape)
    places = np.stack(np.unravel_index(np.arange(size), shape))
    apart = places[:, None, :] - places[:, :, None]  # (axes, from, to)
    possible = (apart >= 0).all(axis=0)
    index = np.where(possible, np.ravel_multi_index(tuple(np.maximum(apart, 0)), shape), size)

    def multiply(rows: Floats, by: Floats) -> Floats:
        return np.asarray(rows @ np.append(by, 0.0)[index])

    return multiply
