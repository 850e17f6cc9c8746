"""Scaling down and scaling up told apart at each sample's own natural stop (arXiv 2507.14419).

A cap below a sample's natural stop T cuts it off, one above does nothing: so a curve over caps is in part the
distribution of T. Appended strings only act beyond T.
"""

from __future__ import annotations

import numpy as np

from .resample import Floats, held_out_best, mean, ratio

PARTS = ("done", "done_accuracy", "forced_accuracy", "accuracy", "ceiling")


def parts(weights: Floats, stop: Floats, natural: Floats, caps: Floats, credit: Floats) -> Floats:
    """(draws, caps, PARTS): the accuracy under each cap b, taken apart by whether the sample had ended by itself.

    `stop` (questions, samples) is T in tokens, infinite where the sample never ended; `natural` the credit of its
    uncapped answer; `credit` (caps, questions, samples) that under each cap. `done` is P(T <= b), and
        accuracy(b) = P(T <= b) done_accuracy(b) + P(T > b) forced_accuracy(b)
        ceiling(b)  = P(T <= b and the natural answer is right) + P(T > b) forced_accuracy(b)
    are both exact. They differ only where samples that ended below the cap are answered otherwise under it.
    """
    if credit.shape != (len(caps), *stop.shape) or natural.shape != stop.shape:
        raise ValueError(f"credit {credit.shape} is not (caps, questions, samples) of {len(caps)} and {stop.shape}")
    ended = stop <= np.asarray(caps, dtype=float)[:, None, None]
    done = mean(weights, ended.mean(axis=2))
    right_done = mean(weights, (ended * credit).mean(axis=2))
    right_forced = mean(weights, (~ended * credit).mean(axis=2))
    natural_done = mean(weights, (ended * natural).mean(axis=2))
    total = np.broadcast_to(weights.sum(axis=1, keepdims=True), done.shape)
    return np.stack(
        [
            ratio(done, total),
            ratio(right_done, done),
            ratio(right_forced, total - done),
            ratio(right_done + right_forced, total),
            ratio(natural_done + right_forced, total),
        ],
        axis=-1,
    )


def slope(weights: Floats, tokens: Floats, credit: Floats) -> Floats:
    """(draws,): accuracy per doubling of mean tokens, least squares on log2; both (points, questions).

    NaN where fewer than two points differ in tokens.
    """
    return _fit(np.log2(mean(weights, tokens)), mean(weights, credit))


def quantile_slope(weights: Floats, stop: Floats, caps: Floats, credit: Floats) -> Floats:
    """(draws,): accuracy gained from the 0 to the 1 quantile of the arm's own natural stops, least squares over caps.

    A cap is the quantile P(T <= b) of the arm's own lengths, so arms of any length lie on one scale.
    """
    ended = (stop <= np.asarray(caps, dtype=float)[:, None, None]).mean(axis=2)
    return _fit(mean(weights, ended), mean(weights, credit.mean(axis=2)))


def peak_gain(weights: Floats, natural: Floats, extended: Floats) -> Floats:
    """(draws,): best accuracy beyond the natural stop less that at it, free of the winner's curse.

    `natural` (questions,), `extended` (points, questions). The best point is chosen on half of the questions and
    measured on the other (`held_out_best`).
    """
    return held_out_best(weights, extended - natural)


def naive_peak_gain(weights: Floats, natural: Floats, extended: Floats) -> Floats:
    """(draws,): the same, chosen and measured on the same questions, as curves are commonly read. Biased upwards."""
    return np.asarray(mean(weights, extended - natural).max(axis=1))


def _fit(x: Floats, y: Floats) -> Floats:
    x = x - x.mean(axis=-1, keepdims=True)
    return ratio((x * y).sum(axis=-1), (x * x).sum(axis=-1))
