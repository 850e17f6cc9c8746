"""Contrasts of whole curves: a statistic of many points at once, over questions and, where there are several, runs.

Every resample takes the same questions and the same weights of runs at all points of a curve, and the same questions
for both arms. How much runs add is `runs.combined`'s to say, as for a contrast of single points.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats, percentiles, question_weights
from .bootstrap import Statistic
from .runs import Contrast, combined

NEAR = 40  # draws, and their mirror images, that say how far a maximum flatters
TAIL = 0.01  # of resamples at each end that have no say in a variance: two points may all but meet there


@dataclass(frozen=True)
class CurveRuns:
    """An arm's curve in each of its runs: `accuracy` (shares) and `tokens`, both (runs, points, questions).

    `statistic` gets mean tokens and accuracy in percent, both (resamples, points), and returns (resamples,).
    """

    accuracy: ArrayLike
    tokens: ArrayLike
    statistic: Statistic


@dataclass(frozen=True)
class _Drawn:
    """Means over questions and runs of a curve's coordinates (tokens, then accuracies), and by how much draws differ
    from them, (resamples, coordinates): draws of questions, of runs, and of what chance would have runs differ by.
    """

    statistic: Statistic
    means: Floats
    questions: Floats
    runs: Floats
    chance: Floats

    def at(self, deviations: Floats | float) -> Floats:
        found = np.atleast_2d(self.means + deviations)
        points = len(self.means) // 2
        return self.statistic(found[:, :points], found[:, points:])

    def less_flattered(self, deviations: Floats | float, near: Floats) -> Floats:
        """Twice the statistic less its mean over nearby curves: its bias, as the bootstrap sees it, taken off."""
        around = sum(self.at(deviations + one) + self.at(deviations - one) for one in near)
        return 2 * self.at(deviations) - around / (2 * len(near))


def contrast_curves(
    ours: CurveRuns, theirs: CurveRuns, maximum: bool = False, n_resamples: int = 10_000, seed: int = 0
) -> Contrast:
    """Statistic of our curve less that of theirs, with its percentile interval at 95 % and p from the same resamples.

    Curves are means over runs; both arms have the same questions, two or more. Where both have several runs, a draw
    moves by question and by run. Runs are drawn with normal weights that have the covariance of their mean, shrunk by
    what chance alone would have them differ by, and draws are stretched to Student's t: a draw of whole runs would be
    too narrow, and count chance three times (Owen 2007, Ann Appl Stat 1:386). `maximum`: the statistic is the best of
    noisy points and flatters; its bootstrap bias is taken off, and off each draw. All is in the statistic's unit. Draws
    without a value (two points meet) are left out. Raises ValueError on unequal questions, and without a value.
    """
    rng = np.random.default_rng([seed, 1])
    sides = [_values(side) for side in (ours, theirs)]
    n = sides[0].shape[-1]
    if sides[1].shape[-1] != n or n < 2:
        raise ValueError(f"the same questions are needed, two or more, not {n} and {sides[1].shape[-1]}")
    runs = len(sides[0]), len(sides[1])
    rules = min(runs) > 1
    weights = question_weights(n, n_resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (
            _draw(values, arm.statistic, weights, n_resamples, rng if rules else None)
            for values, arm in zip(sides, (ours, theirs), strict=True)
        )
        of_questions, of_runs, df = _scales(a, b, n, runs) if rules else (1.0, 0.0, np.inf)
        stretch = np.sqrt(df / rng.chisquare(df, n_resamples))[:, None] if rules else 1.0
        moved = [of_questions * side.questions + of_runs * side.runs for side in (a, b)]
        if maximum:
            near = [one[:NEAR] for one in moved]
            values, drawn = (
                a.less_flattered(x, near[0]) - b.less_flattered(y, near[1])
                for x, y in ((0.0, 0.0), (stretch * moved[0], stretch * moved[1]))
            )
        else:
            values = a.at(0.0) - b.at(0.0)
            drawn = a.at(stretch * moved[0]) - b.at(stretch * moved[1])
    value, drawn = float(values[0]), drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not drawn.size:
        raise ValueError("the curves have no finite value: two points of one think equally long")
    if maximum:
        drawn = drawn + value - drawn.mean()  # each draw flatters once more
    low, high = percentiles(drawn)
    tails = [(1 + int(tail.sum())) / (1 + drawn.size) for tail in (drawn <= 0, drawn >= 0)]
    return Contrast(value, low, high, min(1.0, 2 * min(tails)), n, runs, "rules" if rules else "checkpoints", df)


def _scales(a: _Drawn, b: _Drawn, n: int, runs: tuple[int, int]) -> tuple[float, float, float]:
    """What draws of questions and of runs are scaled by, so that together they have the variance of the contrast, and
    its degrees of freedom.
    """
    questions = _variance(a.at(a.questions) - b.at(b.questions))
    arms = [(_variance(x.at(x.runs)), _variance(x.at(x.chance)), r) for x, r in zip((a, b), runs, strict=True)]
    variance, df = combined(questions, n, arms)
    between = sum(one for one, _, _ in arms)
    of_runs = max(0.0, variance - questions) / between if between else 0.0
    return float(np.sqrt(min(1.0, variance / questions))) if questions else 1.0, float(np.sqrt(of_runs)), df


def _draw(
    values: Floats, statistic: Statistic, weights: Iterable[Floats], n_resamples: int, rng: np.random.Generator | None
) -> _Drawn:
    """Draws of an arm (runs, coordinates, questions); of questions alone where `rng` is None."""
    runs, size, n = values.shape
    by_run = values.mean(axis=2)
    means = by_run.mean(axis=0)
    if rng is None:
        drawn = np.concatenate([batch @ values.mean(axis=0).T for batch in weights])
        return _Drawn(statistic, means, drawn - means, np.zeros_like(drawn), np.zeros_like(drawn))
    rows = values.reshape(runs * size, n).T
    found = np.concatenate([batch @ rows for batch in weights]).reshape(-1, runs, size)
    shares = rng.standard_normal((n_resamples, runs))
    shares = (shares - shares.mean(axis=1, keepdims=True)) / np.sqrt(runs * (runs - 1))
    chance = np.einsum("br,brk->bk", shares, found - by_run)
    wide = np.sqrt(n / (n - 1))  # what a bootstrap's variance lacks
    return _Drawn(statistic, means, wide * (found.mean(axis=1) - means), shares @ by_run, wide * chance)


def _values(side: CurveRuns) -> Floats:
    """(runs, coordinates, questions)."""
    accuracy, tokens = np.asarray(side.accuracy, dtype=float), np.asarray(side.tokens, dtype=float)
    if accuracy.ndim != 3 or accuracy.shape != tokens.shape or not accuracy.size:
        raise ValueError(f"curves are (runs, points, questions), not {accuracy.shape} and {tokens.shape}")
    found = np.concatenate([tokens, 100 * accuracy], axis=1)
    if not np.isfinite(found).all():
        raise ValueError(f"scores must be numbers: {int((~np.isfinite(found)).sum())} are not")
    return found


def _variance(drawn: Floats) -> float:
    usable = drawn[np.isfinite(drawn)]
    return float(np.clip(usable, *np.quantile(usable, [TAIL, 1 - TAIL])).var()) if usable.size else 0.0
