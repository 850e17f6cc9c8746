"""Claims: planted effects are found, the family stays whole, and what is not named is refused."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from s1sweep.analysis import exhibits, render, results, stats
from s1sweep.analysis.claims import claimed, findings
from s1sweep.analysis.exhibits.base import Number
from s1sweep.analysis.study import Study
from s1sweep.spec import CellSpec, Claim
from s1sweep.store import Sweep
from tests.test_analysis import fabricate

SKILL = {"random": 0.3, "diverse": 0.55, "s1k": 0.9}


def by_rule(cell: CellSpec, number: int) -> float:
    return SKILL[cell.data.rule] if cell.train.kind != "none" else 0.2


def study(sweep: Sweep, *claims: dict[str, object]) -> Study:
    return Study(sweep.store, results.cells(sweep), [Claim.model_validate(claim) for claim in claims], sweep.name)


SUBSETS = {
    "contrast": {"data": ["random", "diverse"]},
    "baseline": {"data": "s1k"},
    "points": {"task": ["tiny_calc", "tiny_choice"]},
}


@pytest.fixture
def subsets(root: Path) -> Sweep:
    return fabricate(root, "data=random,diverse,s1k", "task=tiny_calc,tiny_choice", skill=by_rule)


def test_a_claim_is_tested_at_each_contrast_and_point(subsets: Sweep) -> None:
    made = study(subsets, SUBSETS)
    found = findings(made)
    assert [(one.label, one.where) for one in found] == [
        ("random − s1k", "tiny_calc"),
        ("random − s1k", "tiny_choice"),
        ("diverse − s1k", "tiny_calc"),
        ("diverse − s1k", "tiny_choice"),
    ]
    cells = {(cell.axes["data"], cell.axes["task"]): cell for cell in made.cells}
    first, ours, theirs = found[0], cells["random", "tiny_calc"], cells["s1k", "tiny_calc"]
    assert first.value == pytest.approx(100 * ((ours.accuracy or 0) - (theirs.accuracy or 0)))
    a, b = (made.scores(cell).credit for cell in (ours, theirs))
    assert (first.low, first.high) == pytest.approx([100 * end for end in stats.paired_bootstrap(a, b)])
    assert first.p == stats.mcnemar_exact(a[:, 0], b[:, 0]) and first.test == "McNemar, exact"
    assert first.high is not None and first.high < 0 and first.holm is not None and first.holm < 0.01
    assert first.level == "checkpoints" and first.n == "80 questions; two checkpoints, not two rules"
    assert claimed(made, "accuracy", [ours], [theirs]) is first
    assert claimed(made, "accuracy", [theirs], [ours]) is None


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "html", "terminal"])
def test_the_same_arms_at_points_that_no_claim_declares_are_exploratory(subsets: Sweep, form: str) -> None:
    """Declared on one task, shown on two: only the other task's difference is marked, and in every form."""
    claim = {"contrast": {"data": ["random", "diverse"]}, "baseline": {"data": "s1k"}, **_at("tiny_calc")}
    for made in (study(subsets, claim), study(subsets, claim).where(data=["random", "s1k"])):
        (table,) = exhibits.exhibit("table2", made).tables
        row = dict(zip(table.columns, table.rows[0].slots, strict=True))
        declared, other = row["Δ tiny_calc"], row["Δ tiny_choice"]
        assert isinstance(declared, Number) and isinstance(other, Number)
        assert not declared.exploratory and declared.p == findings(made)[0].holm
        assert other.exploratory and other.p is None
    if form == "terminal":
        console = Console(file=io.StringIO(), width=200)
        render.terminal.table(table, console)
        said = console.file.getvalue()  # type: ignore[attr-defined]
    else:
        said = {**render.FORMATS, "html": render.html.table}[form](table)
    if form == "csv":
        (read, *_) = csv.DictReader(io.StringIO(said))
        assert (read["Δ tiny_calc exploratory"], read["Δ tiny_choice exploratory"]) == ("", "True")
    else:
        mark = r"$\dagger$" if form == "latex" else "†"
        assert said.count(mark) == 2 and "exploratory" in said  # the number, and what the mark means


def test_the_family_is_the_sweeps_whatever_is_shown(subsets: Sweep) -> None:
    made = study(
        subsets, SUBSETS, {"contrast": {"data": "random"}, "baseline": {"data": "diverse"}, **_at("tiny_calc")}
    )
    found = findings(made)
    ps = [one.p for one in found]
    assert len(found) == 5 and None not in ps
    assert [one.holm for one in found] == pytest.approx(list(stats.holm(ps)))  # type: ignore[arg-type]
    assert [one.bh for one in found] == pytest.approx(list(stats.benjamini_hochberg(ps)))  # type: ignore[arg-type]
    assert findings(made.where(task="tiny_calc", data=["random", "diverse"])) == found
    # A family of one would be milder.
    alone = study(subsets, {"contrast": {"data": "diverse"}, "baseline": {"data": "s1k"}, **_at("tiny_calc")})
    assert (findings(alone)[0].holm or 0) == findings(alone)[0].p
    assert (found[2].holm or 0) > (found[2].p or 0)


def _at(task: str) -> dict[str, object]:
    return {"points": {"task": task}}


def test_a_finding_without_cells_has_its_reason_and_counts(root: Path) -> None:
    sweep = fabricate(root, "data=random,diverse,s1k", "task=tiny_calc", failing=["train-tiny-diverse"], skill=by_rule)
    random, diverse, absent = findings(
        study(sweep, {"contrast": {"data": ["random", "diverse", "longest"]}, "baseline": {"data": "s1k"}})
    )
    assert diverse.value is None and (diverse.why or "").startswith("train failed: RuntimeError")
    assert absent.why == "the sweep has no cell with data=longest"
    assert random.holm == pytest.approx(min(1.0, 3 * (random.p or 0)))


def test_a_claim_that_leaves_something_open_has_no_number(subsets: Sweep, root: Path) -> None:
    claim = {"contrast": {"data": "random"}, "baseline": {"data": "s1k"}}

    def why(sweep: Sweep) -> str:
        (finding,) = findings(study(sweep, claim))
        return finding.why or ""

    assert re.search(r"random − s1k has cells that differ in task .* Add task to its points", why(subsets))
    caps = fabricate(root, "data=random,s1k", "task=tiny_calc", "method.max_thinking_tokens=16,64", name="caps")
    assert "Add method.max_thinking_tokens to its points" in why(caps)
    fabricate(root, "data=random", "task=tiny_calc", "method.max_thinking_tokens=16", name="mixed")
    mixed = fabricate(root, "data=s1k", "task=tiny_calc", "method.max_thinking_tokens=64", name="mixed")
    assert "two sides of random − s1k differ in method.max_thinking_tokens too" in why(mixed)


def test_runs_are_seeds_and_several_of_them_speak_of_rules(root: Path) -> None:
    seeds = ("data=random,s1k", "data.seed=0,1,2", "task=tiny_calc")
    sweep = fabricate(root, *seeds, skill=by_rule)
    (found,) = findings(study(sweep, {"contrast": {"data": "random"}, "baseline": {"data": "s1k"}}))
    assert found.level == "rules" and found.n == "80 questions, 3 against 3 runs"
    cells = results.cells(sweep)
    means = [sum(c.accuracy or 0 for c in cells if c.axes["data"] == rule) / 3 for rule in ("random", "s1k")]
    assert found.value == pytest.approx(100 * (means[0] - means[1]))
    assert found.low is not None and found.high is not None and found.low < (found.value or 0) < found.high < 0


def test_a_string_on_one_checkpoint_is_no_second_checkpoint(root: Path) -> None:
    def longer(cell: CellSpec, number: int) -> float:
        return 0.5

    sweep = fabricate(root, "data=s1k", "task=tiny_calc", "extrapolation=none,wait", skill=longer)
    claim = {"contrast": {"extrapolation": "wait"}, "baseline": {"extrapolation": "none"}}
    accuracy, tokens = findings(study(sweep, claim, {**claim, "metric": "thinking_tokens"}))
    assert accuracy.n == "80 questions; one checkpoint"
    none, wait = results.cells(sweep)
    assert tokens.value == pytest.approx((wait.mean_thinking_tokens or 0) - (none.mean_thinking_tokens or 0))
    assert tokens.low is not None and tokens.low > 0 and tokens.p is not None and tokens.p < 0.01


def test_metrics_of_series_compare_whole_curves(root: Path) -> None:
    def scaling(cell: CellSpec, number: int) -> float:
        rises = cell.data.rule == "s1k"
        return 0.2 + 0.7 * (cell.method.max_thinking_tokens > 16) if rises else 0.5  # type: ignore[union-attr]

    caps = "method.max_thinking_tokens=8,16,32,64"
    sweep = fabricate(root, "data=random,s1k", caps, "task=tiny_calc", skill=scaling)
    sides = {"contrast": {"data": "s1k"}, "baseline": {"data": "random"}}
    scaling_of, best, control = findings(
        study(sweep, *({**sides, "metric": metric} for metric in ("scaling", "performance", "control")))
    )
    assert scaling_of.low is not None and scaling_of.low > 0 and (scaling_of.p or 1) < 0.01
    cells = results.cells(sweep)
    tops = [max(c.accuracy or 0 for c in cells if c.axes["data"] == rule) for rule in ("s1k", "random")]
    # Four points of one truth flatter more than two of one do.
    assert 100 * (tops[0] - tops[1]) < (best.value or 0) < 40
    assert best.test == "bootstrap of whole curves, corrected for taking the maximum"
    assert (control.value, control.p) == (0.0, 1.0)  # a cap is kept by both
    assert "4 against 4 cells; two checkpoints" in scaling_of.n


def test_series_of_several_runs_speak_of_rules(root: Path) -> None:
    """Runs that lie 40 points apart make an interval over questions alone a finding about three checkpoints."""

    def skill(cell: CellSpec, number: int) -> float:
        return {"s1k": 0.6, "random": 0.4}[cell.data.rule] + 0.2 * (cell.data.seed - 1)

    grid = ("data=random,s1k", "data.seed=0,1,2", "method.max_thinking_tokens=16,64", "task=tiny_calc")
    claim = {"contrast": {"data": "s1k"}, "baseline": {"data": "random"}, "metric": "performance"}
    one = {**claim, "points": {"data.seed": 1}}
    sweep = fabricate(root, *grid, skill=skill)
    runs, single = findings(study(sweep, claim, one))
    assert (runs.level, runs.n) == ("rules", "80 questions, 2 against 2 cells, 3 against 3 runs")
    assert (single.level, single.n) == (
        "checkpoints", "80 questions, 2 against 2 cells; two checkpoints, not two rules",
    )  # fmt: skip
    assert single.low is not None and single.low > 0
    assert runs.low is not None and runs.high is not None and runs.low < 0 < runs.high and (runs.p or 0) > 0.05
    fabricate(root, "data=random", "data.seed=3", "method.max_thinking_tokens=16,32", "task=tiny_calc", skill=skill)
    uneven, _ = findings(study(sweep, claim, one))
    assert "runs of a curve differ in their budgets" in (uneven.why or "")


def test_no_claims_no_findings(subsets: Sweep) -> None:
    assert findings(Study.of(subsets)) == ()
