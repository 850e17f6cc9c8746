"""Control, Scaling and Performance (arXiv 2501.19393, section 3.2) of each subset's own curve over caps."""

from __future__ import annotations

import numpy as np

from ..critics.resample import means
from ..labels import cap
from ..ladders import Ladder, LadderSamples, ladders, samples
from ..results import CellResult
from ..stats import Estimate, curve_intervals
from ..study import Study
from .base import Exhibit, Figure, FigureLine, Number, Panel, Slot, Table, TableRow
from .estimates import RESAMPLED, absent, axes, point
from .parts import claims_table

COLUMNS = ("task", "arm", "Control", "Scaling", "Performance", "slope per doubling", "runs")


def exhibit(study: Study, published: bool = False) -> Exhibit:
    found = ladders(study, "subset_control")
    rows: list[TableRow] = []
    panels: dict[str, list[FigureLine]] = {}
    for ladder in found:
        runs = _runs(study, ladder)
        rows.append(_row(ladder, runs))
        if runs:
            panels.setdefault(ladder.task, []).append(_line(ladder, runs))
    notes = (
        RESAMPLED,
        "Scaling: points per doubling of mean thinking tokens, mean over all pairs of runs. Performance is a maximum "
        "of noisy points and lies above the truth.",
        "Runs that think exactly as long as a smaller cap's are the same answers, and count once.",
        *(note for ladder in found for note in absent(ladder)),
    )
    return Exhibit(
        "subset_control",
        "Control, Scaling and Performance of each subset",
        "equations 1 to 3 of the s1 paper (arXiv 2501.19393), for the arms of its Table 2",
        "Whether subsets differ in how their curves scale, or only in how high they lie.",
        (
            Table("Each subset's curve over caps", COLUMNS, tuple(rows), notes),
            *claims_table(study, "control", "scaling", "performance"),
        ),
        (Figure("Accuracy under caps", tuple(Panel(task, tuple(lines)) for task, lines in panels.items())),),
    )


def _runs(study: Study, ladder: Ladder) -> list[tuple[CellResult, LadderSamples]]:
    """The finished cells by cap, less those that think exactly as long as the one before."""
    kept: list[tuple[CellResult, LadderSamples]] = []
    for cell in ladder.caps:
        if cell.missing is None:
            one = samples(study, cell)
            if not kept or one.thinking.mean() != kept[-1][1].thinking.mean():
                kept.append((cell, one))
    return kept


def _row(ladder: Ladder, runs: list[tuple[CellResult, LadderSamples]]) -> TableRow:
    start: tuple[Slot, ...] = (ladder.task, ladder.label)
    if len(runs) < 2:
        why = next((cell.missing for cell in ladder.cells if cell.missing), "a curve needs two runs")
        return TableRow((*start, Number(None, why=why), None, None, None, f"{len(runs)}"))
    credit, tokens = (np.stack([getattr(one, name) for _, one in runs]) for name in ("credit", "thinking"))
    found = curve_intervals(credit, tokens, [float(cap(cell)) for cell, _ in runs], n_resamples=2000)
    n = runs[0][1].n
    slots = (
        _number(found["control"], n, "%"),
        _number(found["scaling"], n, "points"),
        _number(found["performance"], n, "%"),
        _number(found["slope_per_doubling"], n, "points"),
    )
    return TableRow((*start, *slots, f"{len(runs)}"))


def _number(found: Estimate, n: str, unit: str) -> Number:
    """Estimates of curves are in percent and points already."""
    return Number(found.value, "points" if unit == "points" else "%", found.low, found.high, n)


def _line(ladder: Ladder, runs: list[tuple[CellResult, LadderSamples]]) -> FigureLine:
    found = means(np.stack([one.credit.mean(axis=1) for _, one in runs]))
    points = (point(float(one.thinking.mean()), found[i], f"cap {cap(c):,}", c) for i, (c, one) in enumerate(runs))
    return FigureLine(ladder.label, tuple(points), ladder.label, axes=axes(ladder))
