"""Scaling down and scaling up, told apart at each sample's own natural stop (Wu 2025, arXiv 2507.14419)."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..critics import split
from ..critics.resample import Estimates, Floats, Statistic, jointly, means
from ..labels import cap, extrapolation, extrapolation_label
from ..ladders import Ladder, ladders, samples
from ..results import CellResult
from ..study import Study
from .base import Exhibit, Figure, FigureLine, Panel, Slot, Table, TableRow
from .estimates import RESAMPLED, absent, axes, finite, missing, number, point
from .parts import difference

CAPS = ("task", "arm", "cap", "ended, %", "accuracy of those", "of the forced", "accuracy", "ceiling")
UP = ("task", "arm", "ignored ends", "accuracy", "less that at the natural stop")
SLOPES = (
    *("task", "arm", "down, points per doubling", "down, points over own lengths", "up, points per doubling"),
    *("best beyond the natural stop, naive", "the same, held out"),
)


def exhibit(study: Study, published: bool = False) -> Exhibit:
    found = [_Arm(study, ladder) for ladder in ladders(study, "wu_scale_down_up")]
    down, up, slopes = ([row for one in found for row in rows(one)] for rows in (_down_rows, _up_rows, _slope_rows))
    notes = (RESAMPLED, *(note for one in found for note in absent(one.ladder)))
    tables = (
        Table("Below the natural stop: each cap taken apart", CAPS, tuple(down), notes),
        Table("Beyond the natural stop: ends ignored", UP, tuple(up), notes[:1]),
        Table("Slopes of the two parts, and the best beyond the natural stop", SLOPES, tuple(slopes), notes[:1]),
    )
    tasks = dict.fromkeys(one.ladder.task for one in found)
    panels = []
    for task in tasks:
        here = [one for one in found if one.ladder.task == task and one.natural is not None]
        panels.append(Panel(task, tuple(line for one in here for line in _by_tokens(one))))
        panels.append(
            Panel(
                f"{task}, on each arm's own lengths",
                tuple(line for one in here for line in _by_quantile(one)),
                x="share of samples that ended by themselves, %",
                log_x=False,
            )
        )
    return Exhibit(
        "wu_scale_down_up",
        "Scaling down and scaling up",
        "the questions of Wu 2025 (arXiv 2507.14419)",
        "A curve that rises only up to the natural stop shows what thinking is worth to the model, not that it scales; "
        "simple test-time scaling is worth its name where the last column is above 0.",
        tables,
        (Figure("Accuracy below (solid) and beyond (dashed) the natural stop", tuple(panels)),),
        (
            "ended: samples whose natural stop T lies below the cap. accuracy = P(T<=b) x (of those) + P(T>b) x (of "
            "the forced); the ceiling takes the natural answers of those instead.",
            "held out: the best number of ignored ends is chosen on half of the questions and measured on the other, "
            "so the interval is free of the winner's curse.",
        ),
    )


class _Arm:
    """A ladder's numbers; those of the caps, of each string's ignores, and both jointly resampled."""

    def __init__(self, study: Study, ladder: Ladder) -> None:
        self.study = study
        self.ladder = ladder
        self.natural = ladder.natural
        self.caps = [cell for cell in ladder.caps if cell.missing is None]
        self.ups = {s: [c for c in ladder.ignores(s) if c.missing is None] for s in ladder.strings}
        if self.natural is None:
            return
        self.base = base = samples(study, self.natural)
        self.limits = np.array([cap(cell) for cell in self.caps], dtype=float)
        downs = [samples(study, cell) for cell in self.caps]
        self.credit = np.stack([one.credit for one in downs])
        self.tokens = np.stack([one.thinking.mean(axis=1) for one in downs])
        self.parts = jointly(
            lambda w: split.parts(w, base.stop, base.credit, self.limits, self.credit), len(base.questions)
        )
        self.down = self.estimate(lambda w: split.slope(w, self.tokens, self.credit.mean(axis=2)))
        self.quantile = self.estimate(lambda w: split.quantile_slope(w, base.stop, self.limits, self.credit))
        self.extended: dict[str, tuple[Floats, Floats]] = {}
        for string, cells in self.ups.items():
            got = [samples(study, cell) for cell in cells]
            if got:
                credit, tokens = (
                    np.stack([getattr(g, name).mean(axis=1) for g in got]) for name in ("credit", "thinking")
                )
                self.extended[string] = credit, tokens

    def counts(self, cell: CellResult) -> list[tuple[str, int]]:
        """What each of the parts is over, in words, and in how many questions."""
        done = self.base.stop <= cap(cell)
        of = [(f"{x.sum()} of {x.size} answers", int(x.any(axis=1).sum())) for x in (done, ~done)]
        whole = (self.base.n, len(self.base.questions))
        return [whole, *of, whole, whole]

    def estimate(self, statistic: Statistic) -> Estimates:
        return jointly(statistic, len(self.base.questions))


def _down_rows(one: _Arm) -> list[TableRow]:
    start = (one.ladder.task, one.ladder.label)
    rows = []
    for cell in one.ladder.caps:
        slots: list[Slot] = [*start, f"{cap(cell):,}"]
        if cell.missing is not None:
            slots += [None, None, None, missing(cell), None]
        elif one.natural is None:
            slots += [None, None, None, f"natural stops are not known: {one.ladder.why}", None]
        else:
            found = one.parts[one.caps.index(cell)]
            slots += [number(found[i], n=n, cell=cell, of=of) for i, (n, of) in enumerate(one.counts(cell))]
        rows.append(TableRow(tuple(slots), "reference" if cell is one.natural else ""))
    return rows


def _up_rows(one: _Arm) -> list[TableRow]:
    rows = []
    for string in one.ladder.strings:
        done = one.ups[string]
        for cell in one.ladder.ignores(string):
            said = extrapolation_label(extrapolation(cell))
            start: list[Slot] = [one.ladder.task, one.ladder.label, said]
            if cell.missing is not None or one.natural is None:
                rows.append(TableRow((*start, missing(cell) if cell.missing else one.ladder.why, None)))
                continue
            level = means(one.extended[string][0][done.index(cell)])
            change = difference(one.study, cell, one.natural)
            rows.append(TableRow((*start, number(level, n=one.base.n, cell=cell), change)))
    return rows


def _slope_rows(one: _Arm) -> list[TableRow]:
    start: tuple[Slot, ...] = (one.ladder.task, one.ladder.label)
    if one.natural is None:
        return [TableRow((*start, f"natural stops are not known: {one.ladder.why}", None, None, None, None))]
    down = (number(one.down, "points"), number(one.quantile, "points"))
    rows = []
    at_stop = one.base.credit.mean(axis=1)
    for string, (credit, tokens) in one.extended.items():
        points, lengths = np.vstack([at_stop, credit]), np.vstack([one.base.thinking.mean(axis=1), tokens])
        up = one.estimate(partial(split.slope, tokens=lengths, credit=points))
        naive = one.estimate(partial(split.naive_peak_gain, natural=at_stop, extended=credit))
        held = one.estimate(partial(split.peak_gain, natural=at_stop, extended=credit))
        label = f"{one.ladder.label}, “{string}”" if len(one.extended) > 1 else one.ladder.label
        gains = number(naive, "points", exploratory=True), number(held, "points", n=one.base.n, exploratory=True)
        rows.append(TableRow((one.ladder.task, label, *down, number(up, "points"), *gains)))
    return rows or [TableRow((*start, *down, None, None, None))]


def _by_tokens(one: _Arm) -> list[FigureLine]:
    label, down = one.ladder.label, one.tokens.mean(axis=1)
    points = [point(down[i], one.parts[i, 3], _cell_label(c), c) for i, c in enumerate(one.caps)]
    lines = [FigureLine(label, tuple(points), label, axes=axes(one.ladder))]
    for string, (credit, tokens) in one.extended.items():
        found = means(credit)
        at = tokens.mean(axis=1)
        beyond = [point(at[i], found[i], _cell_label(c), c) for i, c in enumerate(one.ups[string])]
        name = f"{label}, “{string}”"
        lines.append(FigureLine(name, (points[-1], *beyond), label, string, dashed=True, axes=axes(one.ladder)))
    return lines


def _by_quantile(one: _Arm) -> list[FigureLine]:
    points = [
        point(100 * float(one.parts.value[i, 0]), one.parts[i, 3], _cell_label(cell), cell)
        for i, cell in enumerate(one.caps)
        if finite(one.parts.value[i, 0])
    ]
    return [FigureLine(one.ladder.label, tuple(points), one.ladder.label, axes=axes(one.ladder))]


def _cell_label(cell: CellResult) -> str:
    return f"cap {cap(cell):,}, {extrapolation_label(extrapolation(cell))}"
