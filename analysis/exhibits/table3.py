"""Table 3 of the s1 paper: Control, Scaling and Performance (section 3.2) of each way to control compute."""

from __future__ import annotations

from collections.abc import Sequence

from s1sweep.spec.claim import Metric

from ..arms import Arm, Lacking, curves_of
from ..labels import extrapolation, method_label, task_label
from ..limits import limits
from ..metrics.curve import performance_of
from ..results import CellResult
from ..study import Study
from . import source
from .base import Exhibit, Figure, FigureLine, Number, Panel, Slot, Table, TableRow
from .parts import arm_name, claims_table, elsewhere, lacking

PLAIN = "budget forcing"
ORDER = (
    PLAIN, "token-conditional", "token-conditional, forced", "step-conditional", "step-conditional, forced",
    "class-conditional", "rejection sampling",
)  # fmt: skip
METRICS: tuple[Metric, ...] = ("control", "scaling", "performance")


def exhibit(study: Study, published: bool = False) -> Exhibit:
    """Rows are methods, each over its own budgets, for one arm on one task."""
    # One arm on one task: that with most methods.
    groups: dict[tuple[str, str], dict[str, list[CellResult]]] = {}
    for cell in study.cells:
        if cell.spec["parallel"]["rule"] == "none" and not extrapolation(cell)[0]:
            methods = groups.setdefault((task_label(cell), arm_name(study, cell)), {})
            methods.setdefault(cell.series, []).append(cell)
    chosen = max(groups.values(), key=lambda methods: len(_by_method(methods)), default={})
    series = _by_method(chosen)
    if len(series) < 2:
        raise lacking("table3", "two or more control methods, each over several budgets, on one task")
    rows, lines = [], []
    for name in sorted(series, key=_place):
        cells = sorted(series[name], key=lambda cell: cell.mean_thinking_tokens or 0)
        rows.append(TableRow((name, *_metrics(study, cells)), "reference" if name == PLAIN else ""))
        lines.append(_line(name, cells))
    shown = [cell for cells in series.values() for cell in cells]
    where = f"{task_label(shown[0])}, trained on {arm_name(study, shown[0])}"
    notes = (
        f"On {where}. Intervals: bootstrap over questions, the same ones for all budgets of a method.",
        "Control: percent of runs whose mean thinking tokens keep to their limit. Scaling: mean slope of all pairs of "
        "runs, points per doubling of thinking tokens. Performance: the best run, which flatters. |A|: runs.",
        *elsewhere(study, shown),
    )
    columns = ("method", "Control, %", "Scaling", "Performance, %", "|A|")
    table = Table("Ways to control test-time compute", columns, tuple(rows), notes)
    return Exhibit(
        "table3",
        "Ways to control test-time compute",
        "s1 paper, Table 3",
        "A method controls where Control is near 100, and scales where Scaling's interval lies above 0.",
        (table, *claims_table(study, *METRICS), *([source.table("table3")] if published else [])),
        (Figure("Accuracy by method", (Panel(where, tuple(line for line in lines if line.points)),)),),
    )


def _place(name: str) -> tuple[int, str]:
    plain = name.replace(" (own-data)", "").replace(" (s1-data)", "")
    return ORDER.index(plain) if plain in ORDER else len(ORDER), name


def _by_method(series: dict[str, list[CellResult]]) -> dict[str, list[CellResult]]:
    """Method -> its series with most cells, two or more."""
    found: dict[str, list[CellResult]] = {}
    for cells in series.values():
        name = method_label(cells[0]) or PLAIN
        if len(cells) > max(1, len(found.get(name, []))):
            found[name] = cells
    return found


def _metrics(study: Study, cells: Sequence[CellResult]) -> list[Slot]:
    """Control, Scaling, Performance, and how many runs are in them."""
    from ..stats import bootstrap_curve, curve_intervals

    done = [cell for cell in cells if cell.missing is None]
    missing = next((cell.missing for cell in cells if cell.missing is not None), None)
    count: Slot = f"{len(done)} of {len(cells)}" if missing else Number(len(done), "count")
    if len(done) < 2:
        return [*(Number(None, why=missing or "one run is no curve") for _ in METRICS), count]
    (accuracy,), (tokens,) = curves_of(study, Arm((tuple(done),)))
    n = f"{accuracy.shape[1]} questions, {len(done)} runs"
    try:
        bounds = limits(study, done)
    except Lacking as reason:
        control = Number(None, why=str(reason))
        bounds = None
    try:
        found = curve_intervals(accuracy, tokens, bounds)
    except ValueError as error:
        best = bootstrap_curve(accuracy, tokens, performance_of)
        none = Number(None, why=str(error))
        return [none, none, Number(best.value, "%", best.low, best.high, n), count]
    if bounds is not None:
        control = Number(found["control"].value, "%", found["control"].low, found["control"].high, n)
    scaling, best = found["scaling"], found["performance"]
    return [
        control,
        Number(scaling.value, "points", scaling.low, scaling.high, n),
        Number(best.value, "%", best.low, best.high, n),
        count,
    ]


def _line(name: str, cells: Sequence[CellResult]) -> FigureLine:
    from ..curves import point

    done = [cell for cell in cells if cell.missing is None]
    return FigureLine(name, tuple(point(cell) for cell in done), axes=(("method", name),))
