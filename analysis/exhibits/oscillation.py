"""What answers do while their end is put off, beside what drawing again would do (arXiv 2507.14419, 2502.12215)."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..critics import flips
from ..critics.resample import Estimates, Floats, jointly, mean, means, ratio
from ..labels import shown
from ..ladders import Chain, Ladder, chain, independent, ladders
from ..study import Study
from .base import Exhibit, Figure, FigureLine, Number, Panel, Point, Slot, Table, TableRow
from .estimates import RESAMPLED, absent, axes, number, point

STEPS = ("task", "arm", "string", "ignored", "accuracy", "change", *flips.STEPS, "flips", "that went on")
SUMMARY = (
    *("task", "arm", "string", "flips at the first ignored end", "per ignored end", "between independent samples"),
    *("the first less the last", "W→R", "W→R of independent samples", "R→W", "R→W of independent samples"),
)
TRAITS = (
    *("task", "arm", "string", "accuracy at the natural stop", "last", "mode", "any", "flips", "answers"),
    *("revisits", "straight back", "settled at", "first right at", "first right after"),
)


def exhibit(study: Study, published: bool = False) -> Exhibit:
    every = ladders(study, "oscillation")
    found = []
    for ladder in every:
        null = independent(study, ladder, every) if ladder.strings else None
        found += [(ladder, string, chain(study, ladder, string), null) for string in ladder.strings]
    steps: list[TableRow] = []
    summary: list[TableRow] = []
    traits: list[TableRow] = []
    panels: dict[str, list[FigureLine]] = {}
    for ladder, string, one, null in found:
        start: tuple[Slot, ...] = (ladder.task, ladder.label, shown(string) or "no string")
        if one is None:
            why = next((cell.missing for cell in ladder.ignores(string) if cell.missing), ladder.why)
            for rows, columns in ((steps, STEPS), (summary, SUMMARY), (traits, TRAITS)):
                empty = (None,) * (len(columns) - 4)
                rows.append(TableRow((*start, Number(None, why=why or "fewer than two points"), *empty)))
            continue
        steps += _step_rows(start, one)
        summary.append(_summary_row(start, one, null))
        traits.append(_traits_row(start, one))
        panels.setdefault(ladder.task, []).append(_line(ladder, string, one))
        if null is not None:
            panels[ladder.task].append(_null_line(ladder, one, null))
    notes = (RESAMPLED, *(note for ladder in every for note in absent(ladder)))
    return Exhibit(
        "oscillation",
        "Revising or oscillating",
        "the questions of Wu 2025 (arXiv 2507.14419) and the counts of Zeng et al. 2025 (arXiv 2502.12215)",
        "Accuracy changes by W→R less R→W, exactly. Where answers flip as often as independent samples differ, an "
        "ignored end draws again and revises nothing.",
        (
            Table("What each further ignored end does", STEPS, tuple(steps), notes),
            Table("Against drawing again", SUMMARY, tuple(summary), notes[:1]),
            Table("Sequences of answers", TRAITS, tuple(traits), notes[:1]),
        ),
        (
            Figure(
                "Share of answers that change with each further ignored end",
                tuple(
                    Panel(task, tuple(lines), x="ignored ends", y="answers that change, %", log_x=False)
                    for task, lines in panels.items()
                ),
                ("Dashed: how often two independent samples of a question differ.",),
            ),
        ),
        (
            *dict.fromkeys(f"{one.source[0].upper()}{one.source[1:]}." for *_, one, _ in found if one is not None),
            "A sample that reaches no further end keeps the answer it has, so that changes add up; the comparison with "
            "independent samples counts only those that went on. These are drawn at the sampled arm's temperature.",
        ),
    )


def _step_rows(start: tuple[Slot, ...], one: Chain) -> list[TableRow]:
    right = one.right.mean(axis=1).T
    parts = flips.steps(one.answers, one.right).mean(axis=2)  # (STEPS, questions, steps)
    changed = flips.flipped(one.answers).mean(axis=1)
    rest = np.stack([changed.T, one.went_on.mean(axis=1).T])
    found = means(np.concatenate([right[1:][None], np.diff(right, axis=0)[None], parts.transpose(0, 2, 1), rest]))
    first = means(right[:1])
    n = _n(one)
    rows = [TableRow((*start, "0", number(first[0], n=n), *(None,) * (len(STEPS) - 5)), "reference")]
    for j, ignored in enumerate(one.ignored[1:]):
        change = number(found[1, j], "points", exploratory=True)
        others = (number(found[i, j]) for i in range(2, len(found.value)))
        rows.append(TableRow((*start, f"{ignored}", number(found[0, j], n=n), change, *others)))
    return rows


def _summary_row(start: tuple[Slot, ...], one: Chain, null: tuple[np.ndarray, np.ndarray] | None) -> TableRow:
    """Flips and turns of the samples that went on: one that has nothing left to ignore has not made up its mind.

    The first ignored end is what two samples drawn alike compare with: later ones begin from answers already revised.
    """
    parts = np.concatenate([flips.flipped(one.answers)[None], flips.steps(one.answers, one.right)[:2]])
    went = parts * one.went_on
    made = np.concatenate([went[:1, ..., 0].sum(axis=2), went.sum(axis=(2, 3))])
    often = one.went_on.sum(axis=1).astype(float)
    chances = np.stack([often[:, 0], *[often.sum(axis=1)] * 3])
    apart = None
    if null is not None:
        differ, turns = flips.resampled(*null)
        apart = np.vstack([differ, turns[:2]])
    found = jointly(partial(_against, made=made, chances=chances, apart=apart), len(often))
    ours = [number(found[i], n=_n(one)) for i in range(4)]
    if apart is None:
        why = Number(None, why="no cell of this arm has several samples at the natural stop")
        return TableRow((*start, *ours[:2], why, None, ours[2], why, ours[3], why))
    theirs = [number(found[i], n=_n(one)) for i in range(4, 7)]
    less = number(found[7], "points", exploratory=True)
    return TableRow((*start, *ours[:2], theirs[0], less, ours[2], theirs[1], ours[3], theirs[2]))


def _against(weights: Floats, made: Floats, chances: Floats, apart: Floats | None) -> Floats:
    """(draws, 4 or 8): flips at the first end, and flips, W→R, R→W per end; the null's three; first less null."""
    ours = ratio(mean(weights, made), mean(weights, chances))
    if apart is None:
        return ours
    theirs = mean(weights, apart)
    return np.column_stack([ours, theirs, ours[:, 0] - theirs[:, 0]])


def _traits_row(start: tuple[Slot, ...], one: Chain) -> TableRow:
    found = means(flips.traits(one.answers, one.right).mean(axis=2))
    by = {name: found[i] for i, name in enumerate(flips.TRAITS)}
    natural = means(one.right[..., 0].mean(axis=1)[None])[0]
    where, tokens = (_share_of(values) for values in flips.first_right(one.right, one.at))
    return TableRow(
        (
            *start,
            number(natural, n=_n(one)),
            *(number(by[name]) for name in ("last", "mode", "any")),
            *(number(by[name], "count") for name in ("flips", "distinct", "revisits", "aba", "settled")),
            number(where, "count"),
            number(tokens, "tokens"),
        )
    )


def _share_of(values: Floats) -> Estimates:
    """Mean of `values` (questions, samples) over the samples that have one."""
    there = np.isfinite(values)
    total, count = np.where(there, values, 0.0).sum(axis=1), there.sum(axis=1).astype(float)
    return jointly(lambda w: ratio(mean(w, total), mean(w, count)), len(values))


def _line(ladder: Ladder, string: str, one: Chain) -> FigureLine:
    found = means(flips.flipped(one.answers).mean(axis=1).T)
    points = tuple(point(k, found[j], f"after {k} ignored ends") for j, k in enumerate(one.ignored[1:]))
    return FigureLine(f"{ladder.label}, “{string}”", points, ladder.label, string, axes=axes(ladder))


def _null_line(ladder: Ladder, one: Chain, null: tuple[np.ndarray, np.ndarray]) -> FigureLine:
    found = means(flips.resampled(*null)[0][None])[0]
    ends: list[Point] = [point(k, found, "two independent samples") for k in (one.ignored[1], one.ignored[-1])]
    return FigureLine(f"{ladder.label}, drawn again", tuple(ends), ladder.label, dashed=True, axes=axes(ladder))


def _n(one: Chain) -> str:
    questions, drawn = one.right.shape[:2]
    return f"{questions} questions" + (f", {drawn} samples each" if drawn > 1 else "")
