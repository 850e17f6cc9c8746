"""Forced against natural answers, the words that lead into a forced one, loops and backtracks (arXiv 2502.12215)."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..critics import endings
from ..critics.resample import Floats, jointly, mean, means, ratio
from ..labels import cap, extrapolation, extrapolation_label
from ..ladders import Ladder, column, ladders, samples
from ..study import Study
from .base import Exhibit, Figure, FigureLine, Number, Panel, Slot, Table, TableRow
from .estimates import RESAMPLED, absent, axes, missing, number, point

GAP = (
    *("task", "arm", "cap", "accuracy", "cut off, %", "accuracy when forced", "of the same at their natural stop"),
    "the first less the second",
)
LOOPS = (
    *("task", "arm", "ignored ends", "accuracy", "that loop, %", "tokens in loops", "backtracks"),
    "backtracks per 100 tokens of its own",
)


def exhibit(study: Study, published: bool = False) -> Exhibit:
    found = ladders(study, "endings")
    gaps = [row for ladder in found for row in _gap_rows(study, ladder)]
    loops = [row for ladder in found for row in _loop_rows(study, ladder)]
    notes = (RESAMPLED, *(note for ladder in found for note in absent(ladder)))
    panels: dict[str, list[FigureLine]] = {}
    for ladder in found:
        panels.setdefault(ladder.task, []).extend(_lines(study, ladder))
    return Exhibit(
        "endings",
        "How thinking ends",
        "the confound of s1's forced answers; loops and lengths as in Zeng et al. 2025 (arXiv 2502.12215)",
        "Where forced answers without words do as well as those led in by “Final Answer:”, the curve is not made by "
        "the words.",
        (
            Table("Forced against natural answers of the same samples", GAP, tuple(gaps), notes),
            Table("Loops and backtracks with each further ignored end", LOOPS, tuple(loops), notes[:1]),
        ),
        (
            Figure(
                "Accuracy under caps, by how an answer is forced", tuple(Panel(t, tuple(x)) for t, x in panels.items())
            ),
        ),
        (
            "cut off: samples that the cap ends and that end by themselves under the largest; others have no natural "
            "answer. A natural end is never led in by words, so the arm without words is the common template.",
        ),
    )


def _gap_rows(study: Study, ladder: Ladder) -> list[TableRow]:
    rows = []
    natural = ladder.natural
    done = [cell for cell in ladder.caps if cell.missing is None]
    if done and natural is not None:
        base, ones = samples(study, natural), [samples(study, cell) for cell in done]
        limits = np.array([cap(cell) for cell in done], dtype=float)
        credit = np.stack([one.credit for one in ones])
        levels = means(credit.mean(axis=2))
        gap = partial(endings.forced_gap, stop=base.stop, natural=base.credit, caps=limits, credit=credit)
        gaps = jointly(gap, len(base.questions))
    for cell in ladder.caps:
        start: tuple[Slot, ...] = (ladder.task, ladder.label, f"{cap(cell):,}")
        if cell.missing is not None or natural is None:
            rows.append(
                TableRow((*start, missing(cell) if cell.missing else Number(None, why=ladder.why), *(None,) * 4))
            )
            continue
        at = done.index(cell)
        one, found = ones[at], gaps[at]
        slots: list[Slot] = [number(levels[at], n=one.n, cell=cell)]
        if cell is natural:
            rows.append(TableRow((*start, *slots, None, None, None, None), "reference"))
            continue
        cut = (base.stop > limits[at]) & np.isfinite(base.stop)
        n, of = f"{cut.sum()} of {cut.size} answers", int(cut.any(axis=1).sum())
        slots += [number(found[0], n=one.n), *(number(found[i], n=n, of=of) for i in (1, 2))]
        rows.append(TableRow((*start, *slots, number(found[3], "points", exploratory=True))))
    return rows


def _loop_rows(study: Study, ladder: Ladder) -> list[TableRow]:
    if not ladder.strings:
        return []
    rows = []
    for cell in [
        *([ladder.natural] if ladder.natural else []),
        *(c for s in ladder.strings for c in ladder.ignores(s)),
    ]:
        start: tuple[Slot, ...] = (ladder.task, ladder.label, extrapolation_label(extrapolation(cell)))
        if cell.missing is not None:
            rows.append(TableRow((*start, missing(cell), *(None,) * 4)))
            continue
        credit, looped, turned, thought, injected = (
            column(study, cell, name).mean(axis=1)
            for name in ("credit", "loop_tokens", "backtracks", "thinking_tokens", "injected_tokens")
        )
        loops = (column(study, cell, "loop_tokens") > 0).mean(axis=1)
        found = means(np.stack([credit, loops, looped, turned]))
        pace = jointly(partial(_pace, turned=turned, thought=thought - injected), len(credit))
        slots = (number(found[0], cell=cell), number(found[1]), number(found[2], "tokens"), number(found[3], "count"))
        rows.append(TableRow((*start, *slots, number(pace, "count")), "" if extrapolation(cell)[0] else "reference"))
    return rows


def _pace(weights: Floats, turned: Floats, thought: Floats) -> Floats:
    return 100 * ratio(mean(weights, turned), mean(weights, thought))


def _lines(study: Study, ladder: Ladder) -> list[FigureLine]:
    done = [cell for cell in ladder.caps if cell.missing is None]
    if not done:
        return []
    ones = [samples(study, cell) for cell in done]
    found = means(np.stack([one.credit.mean(axis=1) for one in ones]))
    points = (point(float(ones[i].thinking.mean()), found[i], f"cap {cap(c):,}", c) for i, c in enumerate(done))
    return [FigureLine(ladder.label, tuple(points), ladder.label, axes=axes(ladder))]
