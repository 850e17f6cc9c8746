"""Which question needs which budget, and what knowing it would be worth; over-thinking and under-thinking."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..critics import budgets
from ..critics.resample import Estimates, Floats, Statistic, jointly, means
from ..labels import cap
from ..ladders import Ladder, ladders, samples
from ..results import CellResult
from ..study import Study
from .base import Exhibit, Figure, FigureLine, Number, Panel, Point, Slot, Table, TableRow
from .estimates import RESAMPLED, absent, axes, missing, number, point

BANDS = ("hard", "middle", "easy")
CAPS = ("task", "arm", "cap", "accuracy", "thinking tokens")
ROUTES = (
    *("task", "arm", "best budget for all", "best for each question", "headroom"),
    *("headroom, naive", "budget chosen on another task"),
)
BAND = ("task", "arm", "difficulty", "share of questions", "its best budget", "accuracy there", "less the best for all")
WASTE = (
    *("task", "arm", "right before, wrong at last", "wrong at first, right at last", "ξ_UT"),
    *("wrong answers that had been right", "tokens after the first right answer"),
)


def exhibit(study: Study, published: bool = False) -> Exhibit:
    found = [_Arm(study, ladder) for ladder in ladders(study, "best_budget", sampled=True)]
    tables = (
        Table("Accuracy of each budget", CAPS, tuple(r for one in found for r in _caps(one)), _notes(found)),
        Table("One budget for all, or one for each question", ROUTES, tuple(_routes(one, found) for one in found)),
        Table("Best budget by difficulty", BAND, tuple(r for one in found for r in _bands(one))),
        Table("Over-thinking and under-thinking", WASTE, tuple(_waste(one) for one in found)),
    )
    panels = [
        Panel(
            f"{one.ladder.task}, {one.ladder.label}",
            tuple(_often(one, band) for band in range(len(BANDS))),
            x="cap, thinking tokens",
            y="share of halvings in which it is best, %",
        )
        for one in found
        if one.usable
    ]
    return Exhibit(
        "best_budget",
        "The budget a question needs",
        "the question left open by the s1 paper (arXiv 2501.19393); ξ_UT of arXiv 2501.18585",
        "Headroom above 0 is what a router that knew each question's best budget would gain over one budget for all.",
        tables,
        (Figure("How often each budget is a band's best", tuple(panels)),),
        (
            "Budgets, and the bands of difficulty, are chosen on half of each question's samples and measured on the "
            "other half, over 20 halvings both ways. Naive: chosen and measured on the same ones, which counts luck.",
            "ξ_UT: mean over wrong answers of 1 - T'/T, T' the tokens at which a smaller budget was first right. The "
            "last column is the same share of right answers: over-thinking.",
        ),
    )


class _Arm:
    """A ladder of sampled caps: credit and tokens (budgets, questions, samples)."""

    def __init__(self, study: Study, ladder: Ladder) -> None:
        self.ladder = ladder
        self.cells: list[CellResult] = [cell for cell in ladder.caps if cell.missing is None]
        self.usable = len(self.cells) > 1
        self.why = ladder.why or "fewer than two budgets have numbers"
        if self.cells:
            got = [samples(study, cell) for cell in self.cells]
            self.n = got[0].n
            self.credit: Floats = np.stack([one.credit for one in got])
            self.tokens: Floats = np.stack([one.thinking for one in got])
        if self.usable:
            self.bands = self.estimate(lambda w: budgets.bands(w, self.credit, len(BANDS)))

    def estimate(self, statistic: Statistic) -> Estimates:
        return jointly(statistic, self.credit.shape[1], draws=1000)


def _caps(one: _Arm) -> list[TableRow]:
    rows = []
    both = means(np.stack([one.credit, one.tokens], axis=1).mean(axis=3)) if one.cells else None
    for cell in one.ladder.caps:
        start: tuple[Slot, ...] = (one.ladder.task, one.ladder.label, f"{cap(cell):,}")
        if cell.missing is not None or both is None:
            rows.append(TableRow((*start, missing(cell), None)))
            continue
        at = one.cells.index(cell)
        rows.append(TableRow((*start, number(both[at, 0], n=one.n, cell=cell), number(both[at, 1], "tokens"))))
    return rows


def _routes(one: _Arm, among: list[_Arm]) -> TableRow:
    start: tuple[Slot, ...] = (one.ladder.task, one.ladder.label)
    if not one.usable:
        return TableRow((*start, Number(None, why=one.why), *(None,) * 4))
    honest = one.estimate(lambda w: budgets.routes(w, one.credit))
    naive = one.estimate(lambda w: budgets.naive_routes(w, one.credit))
    return TableRow(
        (
            *start,
            number(honest[0], n=one.n),
            number(honest[1]),
            number(honest[2], "points", exploratory=True),
            number(naive[2], "points", exploratory=True),
            _elsewhere(one, among),
        )
    )


def _elsewhere(one: _Arm, among: list[_Arm]) -> Slot:
    """With the budget that is best on another task of the same arm, such as a dev task; the first that there is."""
    for other in among:
        alike = [cap(c) for c in other.cells] == [cap(c) for c in one.cells]
        if other.usable and other is not one and other.ladder.label == one.ladder.label and alike:
            found = one.estimate(partial(budgets.chosen_elsewhere, credit=one.credit, choosing=other.credit))
            return number(found, n=f"chosen on {other.ladder.task}")
    return Number(None, why="no other task has the same budgets")


def _bands(one: _Arm) -> list[TableRow]:
    start: tuple[Slot, ...] = (one.ladder.task, one.ladder.label)
    if not one.usable:
        return [TableRow((*start, None, None, None, Number(None, why=one.why), None))]
    rows = []
    for i, name in enumerate(BANDS):
        found = one.bands[i]
        often = found.value[3:]
        best = (
            f"{cap(one.cells[int(often.argmax())]):,} ({100 * often.max():.0f} %)" if np.isfinite(often).all() else None
        )
        measured = number(found[1], n=one.n), number(found[2], "points", exploratory=True)
        rows.append(TableRow((*start, name, number(found[0]), best, *measured)))
    return rows


def _waste(one: _Arm) -> TableRow:
    start: tuple[Slot, ...] = (one.ladder.task, one.ladder.label)
    if not one.usable:
        return TableRow((*start, Number(None, why=one.why), *(None,) * 4))
    passed = np.stack(budgets.passed_by(one.credit))
    shares = means(passed)
    lost = one.estimate(lambda w: budgets.waste(w, one.credit, one.tokens))
    return TableRow(
        (
            *start,
            *(number(shares[i], n=one.n) for i in range(2)),
            number(lost[0], "share"),
            number(lost[2]),
            number(lost[1], "share"),
        )
    )


def _often(one: _Arm, band: int) -> FigureLine:
    found = one.bands[band]
    points: list[Point] = [
        point(cap(cell), found[3 + i], f"cap {cap(cell):,}", cell)
        for i, cell in enumerate(one.cells)
        if np.isfinite(found.value[3 + i])
    ]
    return FigureLine(BANDS[band], tuple(points), BANDS[band], axes=axes(one.ladder))


def _notes(found: list[_Arm]) -> tuple[str, ...]:
    return (RESAMPLED, *(note for one in found for note in absent(one.ladder)))
