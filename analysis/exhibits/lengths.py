"""Accuracy by length rank among the samples of one question, as in Zeng et al. 2025 (arXiv 2502.12215)."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..critics import endings
from ..critics.resample import Estimates, Floats, jointly, means
from ..ladders import Ladder, ladders, samples
from ..study import Study
from .base import Exhibit, Figure, FigureLine, Number, Panel, Slot, Table, TableRow
from .estimates import RESAMPLED, absent, axes, number, point

COLUMNS = (
    *("task", "arm", "shortest", "longest", "longest less shortest"),
    *("tokens of right samples", "tokens of wrong samples", "right less wrong"),
)


def exhibit(study: Study, published: bool = False) -> Exhibit:
    rows: list[TableRow] = []
    panels: dict[str, list[FigureLine]] = {}
    found = ladders(study, "lengths", sampled=True)
    for ladder in found:
        start: tuple[Slot, ...] = (ladder.task, ladder.label)
        if ladder.natural is None:
            rows.append(TableRow((*start, Number(None, why=ladder.why), *(None,) * (len(COLUMNS) - 3))))
            continue
        one = samples(study, ladder.natural)
        ranks = endings.by_rank(one.credit, one.thinking).T
        points = means(ranks)
        short = means(np.stack([ranks[0], ranks[-1], ranks[-1] - ranks[0]]))
        tokens = jointly(partial(endings.right_less_wrong, credit=one.credit, tokens=one.thinking), len(one.questions))
        rows.append(
            TableRow(
                (
                    *start,
                    *(number(short[i], n=one.n, cell=ladder.natural) for i in range(2)),
                    number(short[2], "points", exploratory=True),
                    *(number(tokens[i], "tokens") for i in range(2)),
                    number(tokens[2], "tokens", exploratory=True),
                )
            )
        )
        panels.setdefault(ladder.task, []).append(_line(ladder, one.thinking, points))
    return Exhibit(
        "lengths",
        "Longer is not better within a question",
        "the length ranks of Zeng et al. 2025 (arXiv 2502.12215)",
        "Samples of one question, shortest to longest: a line that falls says that a longer try is a worse one.",
        (
            Table(
                "Accuracy by length within a question",
                COLUMNS,
                tuple(rows),
                (
                    RESAMPLED,
                    "Tokens: means over questions that have both right and wrong samples.",
                    *(note for ladder in found for note in absent(ladder)),
                ),
            ),
        ),
        (
            Figure(
                "Accuracy by length rank",
                tuple(
                    Panel(task, tuple(lines), x="length rank, 1 is the shortest", log_x=False)
                    for task, lines in panels.items()
                ),
            ),
        ),
    )


def _line(ladder: Ladder, thinking: Floats, points: Estimates) -> FigureLine:
    at = np.sort(thinking, axis=1).mean(axis=0)
    told = (point(i + 1, points[i], f"rank {i + 1}, {at[i]:.0f} thinking tokens") for i in range(len(at)))
    return FigureLine(ladder.label, tuple(told), ladder.label, axes=axes(ladder))
