"""What a W&B report says in words and tables, as Markdown. Computes no statistic; knows nothing of W&B."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from s1sweep.analysis.claims import Finding
from s1sweep.analysis.labels import task_label
from s1sweep.analysis.noise import noise_floors
from s1sweep.analysis.results import CellResult
from s1sweep.store.attempts import one_line


def claims_text(findings: Sequence[Finding]) -> str:
    """One row per finding, with its interval, corrected p-values and what was resampled."""
    if not findings:
        return (
            "This sweep declares no claims, so every difference below is exploratory. Declare contrasts beforehand in "
            "an experiment's `claims`."
        )
    rows = []
    for found in findings:
        unit = "points" if found.metric == "accuracy" else "tokens" if found.metric == "thinking_tokens" else ""
        said = [found.label, found.where, found.metric]
        if found.value is None:
            rows.append([*said, found.why or "no number", *[""] * 6])
            continue
        interval = "" if found.low is None or found.high is None else f"[{found.low:+.1f}, {found.high:+.1f}]"
        p_values = [_p(found.p), _p(found.holm), _p(found.bh)]
        rows.append([*said, f"{found.value:+.1f} {unit}".strip(), interval, *p_values, found.n, found.level])
    heading = ("claim", "where", "metric", "difference", "95 % interval", "p", "Holm", "BH", "n", "level")
    return _table(heading, rows) + (
        "\n\nHolm and BH correct p over all claims of the sweep. Level `rules`: runs of both arms were resampled too, "
        "so a finding is about the rule that chose the subset; `checkpoints`: it is about these two checkpoints. "
        "Whatever else is compared in this report or in its panels is exploratory."
    )


def longest_text(points: Iterable[Mapping[str, Any]]) -> str:
    """Each series where it thinks longest. A point has `task`, `arm`, `control` and the fields of a result."""
    ordered = sorted(points, key=lambda p: (p["task"], -p["accuracy"], p["arm"], p["control"]))
    rows = [
        [
            *(p["task"], p["arm"], p["control"], f"{p['thinking_tokens']:,.0f}", f"{100 * p['accuracy']:.1f}"),
            *(f"[{100 * p['ci_low']:.1f}, {100 * p['ci_high']:.1f}]", str(p["n"])),
        ]
        for p in ordered
    ]
    heading = ("task", "subset", "control", "thinking tokens", "accuracy, %", "95 % interval", "questions")
    return _table(heading, rows) + "\n\nIntervals that overlap can still differ: the claims compare pair by pair."


def trainings_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """What each training took, and what truncation cost it; `rows` are those of `trainings`."""
    if not rows:
        return "Nothing was trained."
    shown_rows = [
        [row["arm"], one_line(row["missing"]), *[""] * 5]
        if "missing" in row
        else [
            *(row["arm"], f"{row.get('rows', 0):,}", f"{row.get('steps', 0):,}", f"{row.get('tokens', 0):,}"),
            f"{100 * row.get('truncated_share', 0):.1f}",
            "–" if row.get("final_loss") is None else f"{row['final_loss']:.3f}",
            "–" if row.get("seconds") is None else f"{row['seconds']:,.0f}",
        ]
        for row in rows
    ]
    return _table(("subset", "rows", "steps", "tokens", "truncated, %", "last loss", "seconds"), shown_rows)


def noise_text(cells: Sequence[CellResult]) -> str:
    """How far replicates of one cell lie apart, or how to find out."""
    floors = [str(floor) for floor in noise_floors(cells)]
    return "\n\n".join(floors) or (
        "No cell was decoded twice, so the noise floor is not known. Add `sampling.replicate=0,1` to a few cells."
    )


def cost_text(cells: Sequence[CellResult]) -> str:
    """Tokens that each task's answers would have cost alone; what cells share was decoded once."""
    spent: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0])
    for cell in cells:
        if cell.missing is None:
            answers = cell.readouts or 0
            for i, number in enumerate((1, answers, (cell.mean_total_tokens or 0) * answers)):
                spent[task_label(cell)][i] += number
    rows = [[task, *(f"{number:,.0f}" for number in numbers)] for task, numbers in sorted(spent.items())]
    return _table(("task", "cells", "answers", "tokens, had each cell run alone"), rows)


def missing_text(cells: Sequence[CellResult]) -> str:
    """Reasons of the cells without a number, with how many there are of each; empty if all have one."""
    reasons: dict[str, int] = defaultdict(int)
    for cell in cells:
        if cell.missing is not None:
            reasons[one_line(cell.missing)] += 1
    if not reasons:
        return ""
    return _table(("missing because", "cells"), [[why, str(n)] for why, n in sorted(reasons.items())])


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
