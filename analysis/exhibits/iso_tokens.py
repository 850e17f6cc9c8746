"""Parallel against sequential scaling of one model from one pool of samples, at equal tokens, latency and KV memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..critics import parallel
from ..critics.resample import Estimates, Floats, HeldOut, jointly, means
from ..labels import cap, extrapolation, extrapolation_label
from ..ladders import Ladder, answers, column, ladders, samples, scored
from ..results import CellResult
from ..study import Study
from .base import Exhibit, Figure, FigureLine, Number, Panel, Slot, Table, TableRow
from .estimates import RESAMPLED, absent, axes, number, point

TIMES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of what one natural sample costs
UNITS = {
    "tokens": "tokens decoded",
    "latency": "latency, tokens of the longest sample",
    "memory": "KV memory, tokens held at once",
}
COLUMNS = (
    *("task", "arm", "equal", "budget", "sequential", "parallel", "parallel less sequential"),
    *("best sequential", "best parallel"),
)


@dataclass(frozen=True)
class _Setting:
    """One way to spend tokens: `credit` (questions,), `cost` (COSTS, questions)."""

    label: str
    kind: str  # of the line it is on
    credit: Floats
    cost: Floats
    cell: CellResult

    @property
    def sequential(self) -> bool:
        return self.kind in ("caps", "ignores")


def exhibit(study: Study, published: bool = False) -> Exhibit:
    rows: list[TableRow] = []
    figures: list[Figure] = []
    found = ladders(study, "iso_tokens", sampled=True)
    for ladder in found:
        settings = _settings(study, ladder)
        if ladder.natural is None or not settings:
            why = Number(None, why=ladder.why or "no sampled cell has numbers")
            rows.append(TableRow((ladder.task, ladder.label, None, None, why, *(None,) * (len(COLUMNS) - 5))))
            continue
        rows += _rows(ladder, settings)
        panels = tuple(_panel(ladder, settings, i, name) for i, name in enumerate(parallel.COSTS))
        figures.append(Figure(f"{ladder.task}, {ladder.label}", panels))
    return Exhibit(
        "iso_tokens",
        "Parallel against sequential at equal cost",
        "the comparison of figure 4b of the s1 paper (arXiv 2501.19393), of one model with itself",
        "parallel less sequential above 0: several short tries beat one long one for the same cost.",
        (
            Table(
                "Best of each kind within a budget",
                COLUMNS,
                tuple(rows),
                (RESAMPLED, *(note for ladder in found for note in absent(ladder))),
            ),
        ),
        tuple(figures),
        (
            "Votes are expectations over all subsets of each question's samples, ties shared. Settings are chosen on "
            "half of the questions and measured on the other half; the last two columns name the best on all.",
            "Sequential: one sample, over caps and ignored ends. Parallel: two or more, over caps and rules; of "
            "“shortest” the shorter half votes, and decoding stops when it has ended.",
            "KV memory is counted in tokens: a token's bytes are the model's and the same for all settings. Prompts "
            "are left out, since samples share them.",
        ),
    )


def _settings(study: Study, ladder: Ladder) -> list[_Setting]:
    found = []
    for cell in [*ladder.caps, *(c for s in ladder.strings for c in ladder.ignores(s))]:
        if cell.missing is not None:
            continue
        one = samples(study, cell)
        ignores, _ = extrapolation(cell)
        kind = "ignores" if ignores else "caps"
        said = f"cap {cap(cell):,}, {extrapolation_label(extrapolation(cell))}"
        found.append(_Setting(said, kind, one.credit.mean(axis=1), parallel.costs(one.total, 1), cell))
        if not ignores:
            found += _votes(study, cell, None)
    best = scored(study, ladder)
    return found + (_votes(study, best, column(study, best, "score")) if best else [])


def _votes(study: Study, cell: CellResult, scores: Floats | None) -> list[_Setting]:
    one, said = samples(study, cell), answers(study, cell)
    rules: tuple[parallel.Rule, ...] = ("majority", "weighted", "shortest") if scores is None else ("weighted", "best")
    spent = one.total if scores is None else one.total + column(study, cell, "scored_tokens")
    found = []
    ks = [2**i for i in range(1, one.credit.shape[1].bit_length()) if 2**i <= one.credit.shape[1]]
    for k in ks:
        whole = parallel.costs(spent, k)
        for rule in rules:
            name = f"{rule} by {'length' if scores is None else 'score'}" if rule == "weighted" else rule
            credit = parallel.credit(said, one.credit >= 0.5, one.thinking, k, rule, scores)
            cost = parallel.costs(spent, k, parallel.voters(k)) if rule == "shortest" else whole
            found.append(_Setting(f"{name} of {k} at cap {cap(cell):,}", name, credit, cost, cell))
    return found


def _rows(ladder: Ladder, settings: list[_Setting]) -> list[TableRow]:
    natural = next(s for s in settings if s.kind == "caps" and s.cell is ladder.natural)
    sides = [[s for s in settings if s.sequential], [s for s in settings if not s.sequential]]
    credits = [np.stack([s.credit for s in side]) for side in sides]
    costs = [[np.stack([s.cost[i] for s in side]) for side in sides] for i in range(len(parallel.COSTS))]
    budgets = [[times * float(natural.cost[i].mean()) for times in TIMES] for i in range(len(parallel.COSTS))]
    compared = _compared(costs, credits, budgets)
    rows = []
    for i, name in enumerate(parallel.COSTS):
        for j, times in enumerate(TIMES):
            budget, found = budgets[i][j], compared[i, j]
            start: tuple[Slot, ...] = (ladder.task, ladder.label, UNITS[name], f"{budget:,.0f} ({times:g}× one sample)")
            best = [_best(*side, budget) for side in zip(sides, costs[i], credits, strict=True)]
            if None in best:
                continue  # nothing of one kind is that cheap
            n = f"{len(natural.credit)} questions"
            values = number(found[0], n=n), number(found[1], n=n), number(found[2], "points", exploratory=True)
            rows.append(TableRow((*start, *values, *best)))
    return rows


def _compared(costs: list[list[Floats]], credits: list[Floats], budgets: list[list[float]]) -> Estimates:
    """(COSTS, TIMES, 3): sequential, parallel, the second less the first."""

    def statistic(weights: Floats) -> Floats:
        held = [HeldOut(weights, credit) for credit in credits]
        sides = [
            [[parallel.at_budget(h, cost[i], budget) for budget in budgets[j]] for j, cost in enumerate(costs)]
            for i, h in enumerate(held)
        ]
        one, other = np.moveaxis(np.array(sides), -1, 1)
        return np.stack([one, other, other - one], axis=-1)

    return jointly(statistic, credits[0].shape[1], draws=1000)


def _best(side: list[_Setting], cost: Floats, credit: Floats, budget: float) -> str | None:
    within = np.flatnonzero(parallel.affordable(cost, budget))
    return side[within[credit[within].mean(axis=1).argmax()]].label if within.size else None


def _panel(ladder: Ladder, settings: list[_Setting], i: int, name: str) -> Panel:
    found = means(np.stack([s.credit for s in settings]))
    at = np.array([s.cost[i].mean() for s in settings])
    lines = []
    for kind in dict.fromkeys(s.kind for s in settings):
        # Votes are drawn for the natural samples; the frontier below is over all caps.
        mine = [
            j
            for j, s in enumerate(settings)
            if s.kind == kind and (s.sequential or (ladder.natural and cap(s.cell) == cap(ladder.natural)))
        ]
        points = tuple(
            point(at[j], found[j], settings[j].label, settings[j].cell) for j in sorted(mine, key=lambda j: at[j])
        )
        label = kind if settings[mine[0]].sequential else f"{kind}, several samples"
        lines.append(FigureLine(label, points, kind, axes=axes(ladder)))
    for side in (True, False):
        mine = [j for j, s in enumerate(settings) if s.sequential is side]
        edge = [mine[j] for j in parallel.frontier(at[mine], found.value[mine])]
        points = tuple(point(at[j], found[j], settings[j].label, settings[j].cell) for j in edge)
        label = "best sequential" if side else "best parallel"
        lines.append(FigureLine(label, points, label, dashed=True, axes=axes(ladder)))
    return Panel(f"equal {name}", tuple(lines), x=UNITS[name])
