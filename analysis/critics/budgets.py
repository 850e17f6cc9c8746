"""Which budget a question needs, and what knowing it would be worth. Who chooses is judged on other samples.

`credit` is (budgets, questions, samples), budgets in rising order; sample j at every budget is the same stream.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .resample import Floats, best_of, halves, mean, ratio

SPLITS = 20
ROUTES = ("fixed", "routed", "headroom")


def naive_routes(weights: Floats, credit: Floats) -> Floats:
    """(draws, ROUTES): best budget for all, best for each question, and their difference, on the samples that chose.

    As oracle routers are commonly computed. Biased upwards: with one sample a question it counts luck as headroom.
    """
    means = credit.mean(axis=2)
    fixed, routed = mean(weights, means).max(axis=1), mean(weights, means.max(axis=0))
    return np.stack([fixed, routed, routed - fixed], axis=1)


def routes(weights: Floats, credit: Floats, splits: int = SPLITS, seed: int = 0) -> Floats:
    """(draws, ROUTES): the same, cross-fitted: chosen on half of each question's samples, measured on the other half.

    A router that knows half of the samples does at most as well as one that knows the truth, so this bounds the
    headroom from below, without bias upwards. Raises ValueError below two samples.
    """
    found = np.zeros((len(weights), 2))
    for chooser, judge, share in _halved(credit, splits, seed):
        found[:, 0] += share * (best_of(mean(weights, chooser)) * mean(weights, judge)).sum(axis=1)
        found[:, 1] += share * mean(weights, (best_of(chooser, axis=0) * judge).sum(axis=0))
    return np.column_stack([found, found[:, 1] - found[:, 0]])


def bands(weights: Floats, credit: Floats, n: int = 3, splits: int = SPLITS, seed: int = 0) -> Floats:
    """(draws, bands, 3 + budgets), bands from hard to easy: share of questions, accuracy at the band's best budget, its
    gain over the best budget for all, and how often each budget is the band's best.

    A question's band is its rank by credit over all budgets, in `n` parts; equal credits share a band, so a band may
    be empty. Bands and budgets are chosen on half of the samples, the rest is measured on the other half.
    """
    budgets, questions = credit.shape[:2]
    total = np.zeros((len(weights), n, 3 + budgets))
    count = np.zeros((len(weights), n, 1))
    for chooser, judge, share in _halved(credit, splits, seed):
        ease = chooser.mean(axis=0)
        place = np.searchsorted(np.sort(ease), ease, side="left") * n // questions
        fixed = best_of(mean(weights, chooser))
        for band in range(n):
            inside = place == band
            size = mean(weights, inside.astype(float))
            there = size > 0
            best = best_of(mean(weights, chooser * inside))
            measured = ratio(mean(weights, judge * inside), size[:, None])
            own, common = (best * measured).sum(axis=1), (fixed * measured).sum(axis=1)
            row = np.column_stack([size, own, own - common, best])
            total[:, band] += share * np.where(there[:, None], row, 0.0)
            count[:, band, 0] += share * there
    found = ratio(total, count)
    found[..., 0] = total[..., 0]
    return found


def chosen_elsewhere(weights: Floats, credit: Floats, choosing: Floats) -> Floats:
    """(draws,): accuracy at the budget that is best on another task, `choosing` (budgets, its questions, samples).

    The choice is held fixed: what is resampled is the task that is measured.
    """
    best = best_of(choosing.mean(axis=(1, 2)))
    return np.asarray((mean(weights, credit.mean(axis=2)) * best).sum(axis=1))


def passed_by(credit: Floats) -> tuple[Floats, Floats]:
    """(questions,) twice: over-thinking, right at some smaller budget and wrong at the largest; and the reverse,
    wrong at the smallest and right at the largest.
    """
    right = credit >= 0.5
    return (right[:-1].any(axis=0) & ~right[-1]).mean(axis=1), (~right[0] & right[-1]).mean(axis=1)


def waste(weights: Floats, credit: Floats, tokens: Floats) -> Floats:
    """(draws, 3): tokens after the first right answer as a share, of wrong and of right responses; and the share of
    wrong responses that had been right at a smaller budget.

    Of wrong ones that is the underthinking score, the mean of 1 - T'/T with T' the tokens to the first right thought,
    T if there is none (arXiv 2501.18585); here an answer forced at a smaller budget stands for a thought.
    `tokens` is of `credit`'s shape.
    """
    right = credit >= 0.5
    ever = right.any(axis=0)
    total = np.asarray(tokens[-1], dtype=float)
    first = np.take_along_axis(tokens, right.argmax(axis=0)[None], axis=0)[0]
    left = np.where(ever & (total > 0), 1 - first / np.where(total > 0, total, 1.0), 0.0)
    wrong, fine = (~right[-1]).astype(float), right[-1].astype(float)
    wrongs, fines = mean(weights, wrong.mean(axis=1)), mean(weights, fine.mean(axis=1))
    return np.column_stack(
        [
            ratio(mean(weights, (wrong * left).mean(axis=1)), wrongs),
            ratio(mean(weights, (fine * left).mean(axis=1)), fines),
            ratio(mean(weights, (wrong * ever).mean(axis=1)), wrongs),
        ]
    )


def _halved(credit: Floats, splits: int, seed: int) -> Iterator[tuple[Floats, Floats, float]]:
    """(budgets, questions) of the samples that choose, and of those that judge, with the share of such halvings.

    Few samples have few halves, so each is there once.
    """
    drawn = halves(credit.shape[2], splits, seed)
    both: NDArray[np.bool_]
    both, counts = np.unique(np.concatenate([drawn, ~drawn]), axis=0, return_counts=True)
    for half, count in zip(both, counts, strict=True):
        yield credit[..., half].mean(axis=2), credit[..., ~half].mean(axis=2), count / (2 * splits)
