"""The best point of a curve, without the winner's curse: the maximum of noisy points lies above every truth.

Choosing and judging need different questions: other folds of the same benchmark, or a dev set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..intervals import clustered
from .arrays import Floats, curve_means, percentiles, resampled_weights


@dataclass(frozen=True)
class Choice:
    """A point and its score on questions that did not choose it, with a 95 % interval over questions; a share."""

    point: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Best:
    """`naive` is the maximum of the curve, at `point`. `value` is what choosing the best point yields on questions that
    did not choose it, with its interval; `naive - value` is the winner's curse. `chosen` says how often each point was
    best on the folds that choose. All but `point` are shares in [0, 1].
    """

    point: int
    naive: float
    value: float
    low: float
    high: float
    chosen: tuple[float, ...]


def best_of_curve(
    accuracy: ArrayLike, folds: int = 2, repeats: int = 20, n_resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Best:
    """The best of (points, questions[, samples]) of scores, corrected by repeated cross-fitting.

    Questions are split into `folds` (one per question where there are fewer); the best point of all folds but one is
    scored on that one, and this is averaged over `repeats` random splits. Points that tie share. It estimates what the
    rule "take the best point" yields when (folds-1)/folds of the questions choose, so it falls a little short where one
    point stands out. Halves by default: more folds make estimate and interval wider, since nearly the same questions
    choose each time. The interval resamples questions, duplicates staying in one fold, and is re-centred, since a
    resample has fewer distinct questions to choose by. Raises ValueError on fewer than two points or questions.
    """
    scores = curve_means(accuracy, "accuracy")
    points, n = scores.shape
    folds = min(folds, n)
    if points < 2 or folds < 2 or repeats < 1:
        raise ValueError(f"a choice needs two points, questions and folds, not {points}, {n} and {folds}")
    rng = np.random.default_rng(seed)
    splits = [rng.permutation(n) % folds for _ in range(repeats)]
    whole = np.full((1, n), 1 / n)
    found, chosen = _cross_fitted(scores, whole, splits, folds)
    drawn = np.concatenate([_cross_fitted(scores, w, splits, folds)[0] for w in resampled_weights(n, n_resamples, rng)])
    low, high = percentiles(drawn, level)
    value, shift = float(found[0]), float(found[0] - drawn.mean())
    means = scores.mean(axis=1)
    return Best(
        int(means.argmax()),
        float(means.max()),
        value,
        max(0.0, low + shift),
        min(1.0, high + shift),
        tuple(chosen.tolist()),
    )


def chosen_on_dev(dev: ArrayLike, test: ArrayLike) -> Choice:
    """The point best on `dev`, and its score on `test`; both (points, questions[, samples]) with the same points.

    Of points that tie on dev the first is taken, so points should go from cheap to dear. The choice is fixed by dev, so
    the interval is over test questions alone. Raises ValueError unless both have the same points.
    """
    chooses, judges = curve_means(dev, "dev"), curve_means(test, "test")
    if len(chooses) != len(judges):
        raise ValueError(f"dev and test are of the same points, not of {len(chooses)} and {len(judges)}")
    point = int(np.argmax(np.round(chooses.mean(axis=1), 12)))
    raw = np.asarray(test, dtype=float)[point].reshape(judges.shape[1], -1)
    (low, high), _ = clustered([(float(row.sum()), len(row)) for row in raw])
    return Choice(point, float(judges[point].mean()), low, high)


def _cross_fitted(scores: Floats, weights: Floats, splits: list[np.ndarray], folds: int) -> tuple[Floats, Floats]:
    """Cross-fitted score of each row of `weights` (resamples, questions), and how often each point was chosen."""
    total, chosen = np.zeros(len(weights)), np.zeros(len(scores))
    whole = weights @ scores.T
    for split in splits:
        for fold in range(folds):
            out = split == fold
            judged = weights[:, out] @ scores[:, out].T
            choosing = whole - judged
            best = choosing >= choosing.max(axis=1, keepdims=True) - 1e-12
            share = best / best.sum(axis=1, keepdims=True)
            total += (share * judged).sum(axis=1)
            chosen += share.mean(axis=0)
    return total / len(splits), chosen / (len(splits) * folds)
