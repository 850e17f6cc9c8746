"""Bootstrap intervals over questions: of a paired difference, and of all statistics of a curve at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..intervals import Interval
from ..metrics import curve
from ..metrics.curve import Limits
from .arrays import Floats, curve_means, pairs, percentiles, question_weights

# (tokens, accuracy in percent), each (resamples, points) -> (resamples,)
Statistic = Callable[[Floats, Floats], Floats]
FEW = 50  # distinct differences up to which it is quicker to draw how often each occurs


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, in the number's own unit. `undefined` is the share of resamples without a value."""

    value: float
    low: float
    high: float
    undefined: float = 0.0


def paired_bootstrap(a: ArrayLike, b: ArrayLike, n_resamples: int = 10_000, seed: int = 0) -> Interval:
    """Percentile interval at 95 % of mean(a) - mean(b), as in Table 2 of the s1 paper (arXiv:2501.19393).

    `a` and `b` are scores of the same questions in the same order, (questions,) or (questions, samples); questions are
    resampled in pairs, with all their samples. Raises ValueError on unequal or empty input.
    """
    first, second = pairs(a, b)
    n = len(first)
    values, counts = np.unique(np.round(first - second, 12), return_counts=True)
    if len(values) <= FEW:  # resampling questions is drawing how often each distinct difference occurs
        drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=n_resamples) @ values / n
    else:
        values = np.repeat(values, counts)
        drawn = np.concatenate([weights @ values for weights in question_weights(n, n_resamples, seed)])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def paired_bca(a: ArrayLike, b: ArrayLike, n_resamples: int = 10_000, seed: int = 0) -> Interval:
    """The same, bias-corrected and accelerated (Efron 1987, JASA 82:171): better where differences are few or skew.

    Where all questions differ by the same there is nothing to resample, and both ends are that difference.
    """
    from scipy.stats import bootstrap  # late: it takes a second

    first, second = pairs(a, b)
    differences = np.round(first - second, 12)
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    rng = np.random.default_rng(seed)
    found = bootstrap((differences,), np.mean, n_resamples=n_resamples, batch=1000, method="BCa", rng=rng)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def bootstrap_curve(
    accuracy: ArrayLike,
    tokens: ArrayLike,
    statistic: Statistic | Mapping[str, Statistic],
    n_resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Any:
    """Percentile interval of a statistic of a whole curve; one `Estimate`, or one for each name of a mapping.

    `accuracy` (shares) and `tokens` (thinking tokens) are (points, questions) or (points, questions, samples). Points
    of a curve share questions, so each resample takes the same questions for all points, and the statistics of one
    call the same resamples. `statistic` gets mean tokens and accuracy in percent, both (resamples, points), and
    returns (resamples,); resamples where it is not finite (two points meet) are left out and counted. Raises
    ValueError on shapes that do not match, and where the curve itself has no finite value.
    """
    scores, thought = curve_means(accuracy, "accuracy"), curve_means(tokens, "tokens")
    if scores.shape != thought.shape:
        raise ValueError(f"accuracy and tokens are of one curve, not of {scores.shape} and {thought.shape}")
    named = statistic if isinstance(statistic, Mapping) else {"": statistic}
    n = scores.shape[1]
    drawn: dict[str, list[Floats]] = {name: [] for name in named}
    with np.errstate(divide="ignore", invalid="ignore"):
        for weights in question_weights(n, n_resamples, seed):
            points = weights @ thought.T, 100 * (weights @ scores.T)
            for name, function in named.items():
                drawn[name].append(function(*points))
        whole = thought.mean(axis=1)[None], 100 * scores.mean(axis=1)[None]
        values = {name: float(function(*whole)[0]) for name, function in named.items()}
    found = {name: _estimate(name, values[name], np.concatenate(drawn[name]), level) for name in named}
    return found if isinstance(statistic, Mapping) else found[""]


def curve_intervals(
    accuracy: ArrayLike,
    tokens: ArrayLike,
    limits: Limits | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Intervals on `control` (where there are limits), `scaling`, `performance`, `slope_per_doubling`, `area`.

    Units are those of `analysis.metrics`. The maximum of noisy points lies above the truth, and so does the interval
    of `performance`: see `best_of_curve`.
    """
    wanted: dict[str, Statistic] = {
        "scaling": curve.scaling_of,
        "performance": curve.performance_of,
        "slope_per_doubling": curve.slope_of,
        "area": curve.area_of,
    }
    if limits is not None:
        low, high = curve.bounds(limits, len(np.asarray(accuracy)))
        wanted = {"control": lambda tokens, _: curve.control_of(tokens, low, high), **wanted}
    found: dict[str, Estimate] = bootstrap_curve(accuracy, tokens, wanted, n_resamples, seed, level)
    return found


def _estimate(name: str, value: float, drawn: Floats, level: float) -> Estimate:
    usable = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not usable.size:
        raise ValueError(f"the curve has no {name or 'finite value'}: two of its points think equally long")
    return Estimate(value, *percentiles(usable, level), undefined=1 - usable.size / drawn.size)
