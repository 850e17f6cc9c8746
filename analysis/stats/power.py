"""How many questions a paired comparison needs, and what it can see: planning, before any run. Shares in [0, 1].

The variance of a mean paired difference over n questions with k samples each is (between + within / k) / n: what
differs between questions, and what chance adds when one question is asked again (Miller 2024, arXiv:2411.00640).
"""

from __future__ import annotations

import math
from statistics import NormalDist


def questions_needed(
    difference: float,
    *,
    baseline: float,
    discordance: float | None = None,
    correlation: float | None = None,
    samples: int = 1,
    alpha: float = 0.05,
    tests: int = 1,
    power: float = 0.8,
) -> int:
    """Questions for a two-sided test of a true `difference` to succeed with chance `power`.

    `baseline`: accuracy of one arm; the other has `baseline + difference`. `discordance`: share of questions on which
    one answer of each arm differ in being right, at most what independent arms have. `correlation`: of two answers of
    one arm to the same question, 1 if it never changes its answer (greedy). Of the two, `discordance` alone serves one
    sample per question; `correlation` alone means that the arms differ by a shift and not in which questions suit them
    (the least possible noise). `samples` per question and arm. `tests`: size of the family; alpha is divided by it
    (Bonferroni, the first step of Holm). Normal quantiles: add a few questions below 30. Raises ValueError on values
    that cannot be together.
    """
    if not difference:
        raise ValueError("no number of questions shows a difference of 0")
    variance = _variance(difference, baseline, discordance, correlation, samples)
    return max(2, math.ceil(_quantiles(alpha, tests, power) ** 2 * variance / difference**2 - 1e-9))


def minimum_detectable(
    questions: int,
    *,
    baseline: float,
    discordance: float | None = None,
    correlation: float | None = None,
    samples: int = 1,
    alpha: float = 0.05,
    tests: int = 1,
    power: float = 0.8,
) -> float:
    """The smallest gain over `baseline` that `questions` show with chance `power`; arguments as in `questions_needed`.

    1 - baseline, all that can be gained, where less is not seen. A gain cannot be more than the discordance, so a small
    one may not be seen at all: ValueError.
    """
    from scipy.optimize import brentq  # late: it takes a second

    if questions < 2:
        raise ValueError(f"a comparison needs two questions, not {questions}")
    wanted = _quantiles(alpha, tests, power) / math.sqrt(questions)

    def lacking(difference: float) -> float:
        variance = _variance(difference, baseline, discordance, correlation, samples)
        return wanted * math.sqrt(variance) - difference

    smallest = 1e-9
    largest = min(1 - baseline, 1.0 if discordance is None else discordance)
    if lacking(smallest) <= 0:
        return 0.0
    if lacking(largest) > 0:
        raise ValueError(f"{questions} questions show no gain over {baseline:g} with power {power:g}; ask more")
    return float(brentq(lacking, smallest, largest))


def _variance(
    difference: float, baseline: float, discordance: float | None, correlation: float | None, samples: int
) -> float:
    """Of one question's paired difference between means of `samples`."""
    other = baseline + difference
    if not 0 < baseline < 1 or not -1e-9 <= other <= 1 + 1e-9:
        raise ValueError(f"accuracies must lie within 0 and 1, not {baseline:g} and {other:g}")
    if samples < 1:
        raise ValueError(f"at least one sample a question is needed, not {samples}")
    if correlation is not None and not 0 <= correlation <= 1:
        raise ValueError(f"the correlation of answers to one question lies in [0, 1], not {correlation}")
    spread = baseline * (1 - baseline) + max(other * (1 - other), 0.0)
    if discordance is None:
        if correlation is None:
            raise ValueError("either discordance or correlation is needed: a paired comparison depends on it")
        discordance = max((1 - correlation) * spread + difference**2, abs(difference))
    if not abs(difference) - 1e-9 <= discordance <= 1:
        raise ValueError(f"a difference of {difference:g} needs a discordance between it and 1, not {discordance:g}")
    single = max(discordance - difference**2, 0.0)
    if samples == 1:
        return single
    if correlation is None:
        raise ValueError("several samples need the correlation too: only chance shrinks with samples")
    within = (1 - correlation) * spread
    if within > single + 1e-9:
        raise ValueError(
            f"chance alone makes answers differ on {within + difference**2:.3f} of the questions at correlation "
            f"{correlation:g}; the discordance cannot be {discordance:g}"
        )
    return max(single - within, 0.0) + within / samples


def _quantiles(alpha: float, tests: int, power: float) -> float:
    if not 0 < alpha < 1 or not 0 < power < 1 or tests < 1:
        raise ValueError(f"alpha and power lie within 0 and 1, tests is at least 1: {alpha}, {power}, {tests}")
    normal = NormalDist()
    return normal.inv_cdf(1 - alpha / tests / 2) + normal.inv_cdf(power)
