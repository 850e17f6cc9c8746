"""What a search decides from scores: which arms go on, and with how many more questions. A pure function of numbers.

All arms of a group are asked the same questions in the same random order, so any two are compared by pairs. Knows no
cell, no file and no engine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s1sweep.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARGIN = 1.25  # a round is expected to take so much more than the last one did, question for question


@dataclass(frozen=True)
class Options:
    """`hydra.sweeper` of `hydra/sweeper=sequential`. Raises UserError on values that cannot be.

    `token_budget` is in decoded tokens, `half_width` in points of accuracy; null leaves either out. `alpha` is for all
    that a search says together. A round asks `first` questions of each arm, or, where that is more, as many as make
    what it was asked `growth` times as many. `drop_beaten` stops arms that are surely worse than another. `seed` orders
    the questions.
    """

    token_budget: float | None = None
    half_width: float | None = 2.0
    alpha: float = 0.05
    first: int = 32
    growth: float = 1.5
    drop_beaten: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        budget, half = self.token_budget, self.half_width
        for name, fine, valid in (
            ("token_budget", budget is None or 0 < budget < math.inf, "a number of tokens above 0, or null for no end"),
            ("half_width", half is None or 0 < half <= 50, "points of accuracy, above 0 and at most 50, or null"),
            ("alpha", 0 < self.alpha < 1, "above 0 and below 1; 0.05 makes intervals at 95 %"),
            ("first", self.first >= 2, "2 questions or more"),
            ("growth", 1 < self.growth <= 10, "above 1 and at most 10"),
            ("seed", self.seed >= 0, "0 or more"),
        ):
            if not fine:
                raise UserError(f"hydra.sweeper.{name}={getattr(self, name)} is not valid. Give {valid}.")


@dataclass
class SearchArm:
    """One cell of the grid, asked more and more of its `population` questions; those of one `group` are the same.

    `scores` are in [0, 1], in the order of asking. The interval is of the mean over the population. `why` it stopped.
    """

    name: str
    group: str
    population: int
    scores: list[float] = field(default_factory=list)
    low: float = 0.0
    high: float = 1.0
    why: str | None = None

    @property
    def mean(self) -> float | None:
        return math.fsum(self.scores) / len(self.scores) if self.scores else None


def statements(arms: Sequence[SearchArm], options: Options) -> int:
    """How many things may be said wrongly: each arm's interval and, where arms are dropped, each pair's difference."""
    sizes = Counter(arm.group for arm in arms).values()
    return len(arms) + (sum(math.comb(size, 2) for size in sizes) if options.drop_beaten else 0)


def judge(arms: Sequence[SearchArm], options: Options) -> None:
    """Bring intervals up to date, and stop the arms of which enough is known.

    With probability 1 - alpha everything said is right, at every look and of every arm (a union bound over `statements`
    confidence sequences), so it stays right of the arm that one picks because it looks best.
    """
    from s1sweep.analysis.stats import confidence_sequence

    each = options.alpha / statements(arms, options)
    for arm in arms:
        if arm.why is None:
            arm.low, arm.high = confidence_sequence(arm.scores, arm.population, each)
    for arm in arms:
        if arm.why is not None:
            continue
        better = _better(arm, arms, each) if options.drop_beaten else None
        if len(arm.scores) == arm.population:
            arm.why = "all questions asked"
        elif better is not None:
            arm.why = f"beaten by {better.name}"
        elif options.half_width is not None and 50 * (arm.high - arm.low) <= options.half_width:
            arm.why = "narrow enough"


def _better(arm: SearchArm, arms: Sequence[SearchArm], alpha: float) -> SearchArm | None:
    """The best of those surely better than `arm` on the same questions, by interval or by pairs."""
    rivals = [one for one in arms if one is not arm and one.group == arm.group and one.scores]
    for rival in sorted(rivals, key=lambda one: -(one.mean or 0.0)):
        if rival.low > arm.high or _surely_above(rival.scores, arm.scores, arm.population, alpha):
            return rival
    return None


def _surely_above(a: Sequence[float], b: Sequence[float], population: int, alpha: float) -> bool:
    """Whether the mean of a - b over the population is above 0, by the questions that both were asked."""
    import numpy as np

    from s1sweep.analysis.stats import exceeds

    n = min(len(a), len(b))
    halves: NDArray[np.float64] = (np.asarray(a[:n]) - np.asarray(b[:n]) + 1) / 2
    return exceeds(halves, population, 0.5, alpha)


def next_round(asked: int, most: int, options: Options, last: tuple[int, int] | None, spent: int) -> int:
    """How many further questions to ask of each arm that goes on; 0 where the budget is spent.

    `asked` is how many they have been asked, `most` how many the largest population has, `last` the questions and
    tokens of the round before. A round that is not expected to fit is made smaller, but not smaller than `first`.
    """
    wanted = min(most - asked, max(options.first, math.ceil(asked * (options.growth - 1))))
    if options.token_budget is None or last is None:
        return wanted
    questions, tokens = last
    fits = math.floor((options.token_budget - spent) * questions / (MARGIN * max(tokens, 1)))
    return min(wanted, fits) if fits >= min(wanted, options.first) else 0
