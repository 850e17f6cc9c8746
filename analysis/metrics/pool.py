"""One question's samples, grouped by answer, and an expectation over subsets of them. Knows no rule of voting."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Sample(NamedTuple):
    """One sample of a question. Equal answers are one answer; None is none. `weight` is a score, 0 if there is none."""

    answer: Hashable
    correct: bool
    tokens: float = 0
    weight: float = 0.0


Samples = Iterable[Sample | tuple[Hashable, bool] | tuple[Hashable, bool, float] | tuple[Hashable, bool, float, float]]


@dataclass(frozen=True)
class Expected:
    """Expected credit in [0, 1]: `exact`, or the mean over `subsets` drawn ones with its standard `error`."""

    value: float
    exact: bool = True
    subsets: int | None = None
    error: float = 0.0


@dataclass(frozen=True)
class Pool:
    """Samples as arrays. `group` is the place of a sample's answer in `credit`, -1 if it has none."""

    group: NDArray[np.int64]
    credit: Floats
    tokens: Floats
    weights: Floats

    @property
    def size(self) -> int:
        return len(self.group)

    @property
    def able(self) -> NDArray[np.bool_]:
        return self.group >= 0

    @property
    def members(self) -> list[NDArray[np.int64]]:
        """Places of the samples that give each answer."""
        return [np.flatnonzero(self.group == g) for g in range(len(self.credit))]


def pool_of(samples: Samples, k: int) -> Pool:
    """An answer's credit is the share of its samples judged right: 0 or 1, unless a grader contradicts itself.

    Raises ValueError unless 1 <= k <= samples.
    """
    found = [Sample(*sample) for sample in samples]
    if not 1 <= k <= len(found):
        raise ValueError(f"subsets of k need 1 <= k <= samples, not k={k} of {len(found)}")
    places = {answer: i for i, answer in enumerate(dict.fromkeys(s.answer for s in found if s.answer is not None))}
    group = np.array([-1 if s.answer is None else places[s.answer] for s in found])
    right = np.array([float(s.correct) for s in found])
    credit = np.array([right[group == g].mean() for g in range(len(places))])
    return Pool(group, credit, np.array([float(s.tokens) for s in found]), np.array([float(s.weight) for s in found]))
