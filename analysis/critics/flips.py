"""What an answer does while its end is put off: flips, revisits, settling; and what drawing again would do.

`answers` (questions, samples, points) are classes (`answers.Classes`), `right` the same shape of bool. The points are
a_0, the answer at the natural stop, and a_1 ... a_n, those after each further ignored end (arXiv 2507.14419,
2502.12215).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .answers import NONE
from .resample import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
STEPS = ("W→R", "R→W", "W→W′", "W→W", "R→R")
TRAITS = ("flips", "distinct", "revisits", "aba", "settled", "last", "mode", "any")


def steps(answers: Ints, right: Bools) -> Floats:
    """(STEPS, questions, samples, points - 1): 1 where that happens. Exactly one of them happens at each step.

    W→W′ is from one wrong answer to another, W→W and R→R stay. Hence accuracy changes by W→R less R→W, exactly.
    """
    if answers.shape != right.shape or answers.shape[-1] < 2:
        raise ValueError(f"answers {answers.shape} and right {right.shape} must be alike, with two points at least")
    before, after = right[..., :-1], right[..., 1:]
    same = answers[..., :-1] == answers[..., 1:]
    wrong = ~before & ~after
    return np.stack([~before & after, before & ~after, wrong & ~same, wrong & same, before & after]).astype(float)


def flipped(answers: Ints) -> Floats:
    """(questions, samples, points - 1): 1 where the answer changes."""
    return (answers[..., :-1] != answers[..., 1:]).astype(float)


def traits(answers: Ints, right: Bools) -> Floats:
    """(TRAITS, questions, samples): what each sequence amounts to.

    flips: how often the answer changes; distinct: how many there are; revisits: changes back to an answer before the
    last, a_j in {a_0 .. a_j-2}; aba: changes right back, a_j = a_j-2; settled: the point after which nothing changes;
    last, mode, any: credit of the last answer, of the most frequent one (ties share; no answer has no vote), of an
    oracle that picks from all.
    """
    flat, hits = answers.reshape(-1, answers.shape[-1]), right.reshape(-1, answers.shape[-1])
    found = np.array([_traits(a.tolist(), r.tolist()) for a, r in zip(flat, hits, strict=True)])
    return found.T.reshape(len(TRAITS), *answers.shape[:-1])


def _traits(answers: list[int], right: list[bool]) -> tuple[float, ...]:
    changes = [j for j in range(1, len(answers)) if answers[j] != answers[j - 1]]
    votes = {a: answers.count(a) for a in answers if a != NONE}
    top = [a for a, n in votes.items() if n == max(votes.values())]
    return (
        len(changes),
        len(set(answers)),
        sum(answers[j] in answers[: j - 1] for j in changes),
        sum(j > 1 and answers[j] == answers[j - 2] for j in changes),
        changes[-1] if changes else 0,
        right[-1],
        sum(right[answers.index(a)] for a in top) / len(top) if top else 0.0,
        any(right),
    )


def first_right(right: Bools, at: Floats) -> tuple[Floats, Floats]:
    """(questions, samples) of the first right point and of its thinking tokens; NaN where none is right."""
    ever = right.any(axis=-1)
    index = right.argmax(axis=-1)
    tokens = np.take_along_axis(np.asarray(at, dtype=float), index[..., None], axis=-1)[..., 0]
    return np.where(ever, index, np.nan), np.where(ever, tokens, np.nan)


def resampled(answers: Ints, right: Bools) -> tuple[Floats, Floats]:
    """What two independent samples of a question do: their disagreement (questions,), and (STEPS, questions).

    `answers` and `right` are (questions, samples), of samples drawn apart. Means over all ordered pairs, so unbiased:
    this is the null under which appending a string draws again and revises nothing. Raises ValueError below two.
    """
    k = answers.shape[1]
    if k < 2:
        raise ValueError(f"a disagreement needs two samples, not {k}")
    a, b = np.nonzero(~np.eye(k, dtype=bool))
    pairs = np.stack([answers[:, a], answers[:, b]], axis=-1), np.stack([right[:, a], right[:, b]], axis=-1)
    return flipped(pairs[0])[..., 0].mean(axis=1), steps(*pairs)[..., 0].mean(axis=2)
