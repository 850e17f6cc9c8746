"""How thinking ends, and how long it was: forced against natural answers, and accuracy by length within a question."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .resample import Floats, mean, ratio

ENDS = ("forced", "accuracy", "natural", "gap")


def forced_gap(weights: Floats, stop: Floats, natural: Floats, caps: Floats, credit: Floats) -> Floats:
    """(draws, caps, ENDS): share of samples that a cap cuts off and that would have ended later; their accuracy when
    forced; the same samples' at their natural stop; and the first less the second.

    Arguments as in `split.parts`. Samples that never end have no natural answer and are left out.
    """
    limits = np.asarray(caps, dtype=float)[:, None, None]
    cut = (stop > limits) & np.isfinite(stop)
    share = mean(weights, cut.mean(axis=2))
    forced = ratio(mean(weights, (cut * credit).mean(axis=2)), share)
    free = ratio(mean(weights, (cut * natural).mean(axis=2)), share)
    return np.stack([share, forced, free, forced - free], axis=-1)


def by_rank(credit: Floats, tokens: Floats) -> Floats:
    """(questions, ranks): credit of a question's shortest sample, second shortest ... longest (arXiv 2502.12215).

    Samples of equal length share their ranks.
    """
    found = np.empty(credit.shape)
    for i, (right, length) in enumerate(zip(credit, tokens, strict=True)):
        order = np.argsort(length, kind="stable")
        _, group = np.unique(length[order], return_inverse=True)
        shared: Floats = np.bincount(group, right[order]) / np.bincount(group)
        found[i] = shared[group]
    return found


def right_less_wrong(weights: Floats, credit: Floats, tokens: Floats) -> Floats:
    """(draws, 3): mean tokens of right samples, of wrong ones, and their difference, in questions that have both.

    Within a question, so that hard questions, long and wrong, do not decide it.
    """
    right: NDArray[np.bool_] = np.asarray(credit >= 0.5)
    both = right.any(axis=1) & ~right.all(axis=1)
    parts: NDArray[np.bool_] = np.stack([right, ~right])
    long = (parts * tokens).sum(axis=2) / np.maximum(parts.sum(axis=2), 1)
    of_both = ratio(mean(weights, long * both), mean(weights, np.array([both], dtype=float)))
    return np.column_stack([of_both, of_both[:, 0] - of_both[:, 1]])
