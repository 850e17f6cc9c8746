"""What several exhibits are made of: numbers of cells, differences between them, rows by task. Shows nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from s1sweep.errors import UserError
from s1sweep.spec.claim import Metric

from ..arms import effective
from ..claims import claimed, findings
from ..labels import arm, arm_label, budget_label, cap, extrapolation, extrapolation_label, method_label, task_label
from ..results import CellResult
from ..study import Study
from .base import Number, Slot, Table, TableRow

PERCENT = 100


def lacking(name: str, what: str) -> UserError:
    """The error of an exhibit without cells, naming the command that makes them."""
    return UserError(f"exhibit {name} needs {what}, which this sweep does not have. Make them: "
                     f"s1sweep run -m experiment={name}")  # fmt: skip


def arm_name(study: Study, cell: CellResult) -> str:
    """What a cell was trained on; size and seed only where the sweep has several."""
    return arm_label(arm(cell), study.whole.arms)


def accuracy(cell: CellResult | None, published: str | None = None) -> Slot:
    """A cell's accuracy in percent with its interval; None where the sweep has no such cell."""
    if cell is None:
        return None if published is None else Number(None, why="not in the sweep", published=published)
    if cell.accuracy is None or cell.ci_low is None or cell.ci_high is None:
        return Number(None, cell=cell.key, why=cell.missing, published=published)
    value, low, high = (PERCENT * share for share in (cell.accuracy, cell.ci_low, cell.ci_high))
    return Number(value, "%", low, high, f"{cell.n} questions", published=published, cell=cell.key)


def thinking(study: Study, cell: CellResult | None, published: str | None = None) -> Slot:
    """A cell's mean thinking tokens, with their bootstrap interval over questions."""
    from ..stats import paired_bootstrap

    if cell is None:
        return None
    if cell.missing is not None:
        return Number(None, why=cell.missing, cell=cell.key, published=published)
    values = study.scores(cell).thinking
    low, high = paired_bootstrap(values, 0 * values)
    n = f"{len(values)} questions"
    return Number(float(values.mean()), "tokens", low, high, n, cell=cell.key, published=published)


def difference(
    study: Study,
    cell: CellResult | None,
    other: CellResult | None,
    metric: Metric = "accuracy",
    published: str | None = None,
) -> Slot:
    """`cell` less `other` with a paired interval over questions; with p where a claim declares it, else exploratory."""
    from ..stats import paired_bootstrap

    unit, name, scale = ("points", "credit", PERCENT) if metric == "accuracy" else ("tokens", "thinking", 1)
    if cell is None or other is None:
        return None
    missing = cell.missing or other.missing
    if missing is not None:
        return Number(None, why=missing, published=published)
    declared = claimed(study, metric, [cell], [other])
    if declared is not None and declared.value is not None:
        found, exploratory, n, p = declared, False, declared.n, declared.holm
        value, low, high = found.value, found.low, found.high
    else:
        a, b = study.scores(cell), study.scores(other)
        if a.questions != b.questions:
            return Number(None, why="different questions", published=published)
        ours, theirs = getattr(a, name), getattr(b, name)
        value = scale * float(ours.mean() - theirs.mean())
        low, high = (scale * end for end in paired_bootstrap(ours, theirs))
        exploratory, n, p = True, f"{len(ours)} questions", None
    return Number(value, "points" if unit == "points" else "tokens", low, high, n, p, exploratory, published, cell.key)


@dataclass(frozen=True)
class TableEntry:
    """One row before it has numbers: its cells by task, and the row that it is compared with."""

    label: str
    cells: Mapping[str, CellResult]
    against: TableEntry | None = None
    kind: str = ""
    published: Mapping[str, str] = field(default_factory=dict)  # task -> what was printed
    published_difference: Mapping[str, str] = field(default_factory=dict)


def task_table(
    study: Study, title: str, head: str, entries: Sequence[TableEntry], notes: Iterable[str] = (), compared: bool = True
) -> Table:
    """Rows of entries, columns of tasks: accuracy, and where `compared` its difference to the row's `against`."""
    tasks = list(dict.fromkeys(task for entry in entries for task in entry.cells))
    columns = [head]
    for task in tasks:
        columns += [task, f"Δ {task}"] if compared else [task]
    rows = []
    for entry in entries:
        slots: list[Slot] = [entry.label]
        for task in tasks:
            cell = entry.cells.get(task)
            slots.append(accuracy(cell, entry.published.get(task)))
            if compared:
                other = entry.against.cells.get(task) if entry.against else None
                slots.append(difference(study, cell, other, published=entry.published_difference.get(task)))
        rows.append(TableRow(tuple(slots), entry.kind))  # type: ignore[arg-type]
    return Table(title, tuple(columns), tuple(rows), (*notes, *untested(study)))


def untested(study: Study) -> list[str]:
    """A note on the claims that have no number."""
    found = findings(study)
    reasons = [finding.why for finding in found if finding.why]
    return [f"{len(reasons)} of the sweep's {len(found)} claims have no number: {reasons[0]}"] if reasons else []


def by_task(cells: Iterable[CellResult]) -> dict[str, CellResult]:
    """The first cell of each task."""
    found: dict[str, CellResult] = {}
    for cell in cells:
        found.setdefault(task_label(cell), cell)
    return found


def setting(cell: CellResult, *but: str) -> str:
    """All that makes a difference to a cell except some groups or fields, as text: equal for cells to be compared."""
    flat = effective(cell)
    return json.dumps({k: v for k, v in flat.items() if not any(k == b or k.startswith(b + ".") for b in but)})


def largest(
    cells: Iterable[CellResult], key: Callable[[CellResult], Hashable], row: Callable[[CellResult], Hashable]
) -> list[CellResult]:
    """The group of cells with most distinct (row, task) slots; of equals s1k's, then that of the highest cap."""
    groups: dict[Hashable, list[CellResult]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)

    def rank(group: list[CellResult]) -> tuple[int, bool, int]:
        s1k = (arm(group[0]) or ("",))[0] == "s1k"
        return len({(row(cell), task_label(cell)) for cell in group}), s1k, cap(group[0])

    return max(groups.values(), key=rank, default=[])


def longest(groups: Iterable[list[CellResult]]) -> list[CellResult]:
    """The group with most cells; empty if there is none."""
    return max(groups, key=lambda group: len(group), default=[])


def elsewhere(study: Study, shown: Iterable[CellResult]) -> list[str]:
    """A note on the cells of the sweep that a table does not show."""
    left = len({cell.key for cell in study.cells} - {cell.key for cell in shown})
    return [f"{left} other cells of the sweep are at other settings: s1sweep results."] if left else []


def points_table(study: Study, title: str, cells: Sequence[CellResult], notes: Iterable[str] = ()) -> Table:
    """A row for each cell behind a figure, the missing ones too: arm, budget, thinking tokens, accuracy."""
    arms = list(dict.fromkeys(arm(cell) for cell in cells))
    rows = []
    for cell in cells:
        way = method_label(cell) or extrapolation_label(extrapolation(cell))
        budget = budget_label(cell)
        slots = (task_label(cell), arm_label(arm(cell), arms), way, budget, thinking(study, cell), accuracy(cell))
        rows.append(TableRow(slots))
    columns = ("task", "trained on", "method", "budget", "thinking tokens", "accuracy, %")
    return Table(title, columns, tuple(rows), tuple(notes))


def claims_table(study: Study, *metrics: Metric) -> tuple[Table, ...]:
    """The sweep's claims on some metrics, tested; nothing where there is none."""
    found = [finding for finding in findings(study) if finding.metric in metrics]
    if not found:
        return ()
    rows = []
    for one in found:
        unit = "tokens" if one.metric == "thinking_tokens" else "points"
        number = Number(one.value, unit, one.low, one.high, one.n or None, one.holm, why=one.why)  # type: ignore[arg-type]
        rows.append(TableRow((one.label, one.where, one.metric, number, one.n, one.test)))
    columns = ("claim", "where", "metric", "difference", "over", "test")
    whole = len(findings(study))
    note = f"Findings of the sweep's claims, one family whichever of them are shown: {whole}."
    return (Table("Claims declared beforehand", columns, tuple(rows), (note,)),)
