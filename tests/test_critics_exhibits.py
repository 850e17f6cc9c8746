"""Exhibits of what critics ask, over planted sweeps of their own experiments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from s1sweep.analysis import ladders
from s1sweep.analysis.critics.answers import NONE
from s1sweep.analysis.exhibits import NAMES, exhibit
from s1sweep.analysis.exhibits.base import Exhibit, Number, Table, TableRow
from s1sweep.analysis.results import CellResult
from s1sweep.analysis.study import Study
from s1sweep.errors import UserError
from s1sweep.spec import CellSpec
from tests.helpers import ROOT, compose
from tests.planted import World, plant

OURS = (
    *("attribution", "best_budget", "endings", "iso_tokens", "lengths", "oscillation", "subset_control"),
    "wu_scale_down_up",
)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Study]:
    """The study of each experiment in the plain world, planted once."""

    @cache
    def study(name: str) -> Study:
        return Study.of(plant(tmp_path_factory.mktemp(name), f"experiment={name}"))

    return study


def without(study: Study, lost: Callable[[int, CellResult], bool]) -> Study:
    cells = [
        replace(cell, missing="decode failed: lost GPU", accuracy=None, grades=None) if lost(i, cell) else cell
        for i, cell in enumerate(study.cells)
    ]
    return Study(study.store, cells, study.claims, study.name)


def numbers(found: Exhibit) -> Iterator[Number]:
    for table in found.tables:
        for row in table.rows:
            yield from (slot for slot in row.slots if isinstance(slot, Number))


def under(table: Table, row: TableRow, column: str) -> float:
    slot = row.slots[table.columns.index(column)]
    assert isinstance(slot, Number) and slot.value is not None, (column, slot)
    return slot.value


def slot(table: Table, row: TableRow, column: str) -> Number:
    found = row.slots[table.columns.index(column)]
    assert isinstance(found, Number)
    return found


@pytest.mark.parametrize("name", OURS)
def test_each_experiment_fills_its_exhibit(studies: Callable[[str], Study], name: str) -> None:
    found = exhibit(name, studies(name))
    assert found.name == name and found.source and found.tables and found.figures
    for table in found.tables:
        assert table.rows
        assert all(len(row.slots) == len(table.columns) for row in table.rows), table.title
        assert len(set(table.columns)) == len(table.columns), table.columns
    said = list(numbers(found))
    assert said and not [one for one in said if one.value is None and not one.why]
    for one in said:
        if one.value is not None:
            assert math.isfinite(one.value)
            assert (one.low is None) == (one.high is None)
            assert one.low is None or one.high is None or one.low <= one.high
    for figure in found.figures:
        assert all(panel.lines and all(line.points for line in panel.lines) for panel in figure.panels)


@pytest.mark.parametrize("name", OURS)
def test_a_missing_cell_is_shown_with_its_reason(studies: Callable[[str], Study], name: str) -> None:
    found = exhibit(name, without(studies(name), lambda i, cell: i == 0))
    assert "lost GPU" in str(found)
    assert all(len(row.slots) == len(table.columns) for table in found.tables for row in table.rows)


@pytest.mark.parametrize("name", OURS)
def test_without_any_number_it_still_says_why(studies: Callable[[str], Study], name: str) -> None:
    found = exhibit(name, without(studies(name), lambda i, cell: True))
    assert "lost GPU" in str(found.tables)
    assert not [one for one in numbers(found) if one.value is not None]
    assert all(len(row.slots) == len(table.columns) for table in found.tables for row in table.rows)


@pytest.mark.parametrize("name", OURS)
def test_a_sweep_without_its_cells_is_refused(studies: Callable[[str], Study], name: str) -> None:
    with pytest.raises(UserError, match=f"experiment={name}"):
        exhibit(name, studies("lengths").where(lambda cell: False))


def test_names_are_sorted_and_have_experiments() -> None:
    assert set(OURS) <= set(NAMES)
    assert list(NAMES) == sorted(NAMES)
    assert all((ROOT / "conf" / "experiment" / f"{name}.yaml").exists() for name in OURS)


@pytest.mark.parametrize("name", OURS)
def test_both_scales_have_the_same_grids(name: str) -> None:
    small, large = compose(f"experiment={name}"), compose(f"experiment={name}", "scale=paper")
    assert small and large
    assert len(small[0].claims) == len(large[0].claims)


@pytest.mark.parametrize("name", ["attribution", "oscillation", "subset_control", "wu_scale_down_up"])
def test_each_claim_has_cells_on_both_sides(studies: Callable[[str], Study], name: str) -> None:
    study = studies(name)
    assert study.claims
    for claim in study.claims:
        for side in (claim.contrast, claim.baseline):
            axes = {**claim.points, **side}
            values = [value if isinstance(value, list | tuple) else [value] for value in axes.values()]
            for at in product(*values):
                assert study.where(**dict(zip(axes, at, strict=True))).cells, dict(zip(axes, at, strict=True))


# --- what they say


def test_caps_are_taken_apart_at_the_planted_stops(studies: Callable[[str], Study]) -> None:
    down, up, slopes = exhibit("wu_scale_down_up", studies("wu_scale_down_up")).tables
    row = next(row for row in down.rows if row.slots[1] == "SFT" and row.slots[2] == "64")
    # Stops are even over 20 ... 120; 64 tokens and the stop are one too many.
    assert under(down, row, "ended, %") == pytest.approx(100 * 45 / 101, abs=15)
    assert under(down, row, "accuracy of those") == pytest.approx(60, abs=25)
    assert under(down, row, "of the forced") == pytest.approx(20, abs=15)
    share = under(down, row, "ended, %") / 100
    whole = share * under(down, row, "accuracy of those") + (1 - share) * under(down, row, "of the forced")
    assert under(down, row, "accuracy") == pytest.approx(whole) == pytest.approx(under(down, row, "ceiling"))
    assert {row.slots[1] for row in slopes.rows} == {"base", "SFT", "RL"}
    for row in slopes.rows:
        assert under(slopes, row, "down, points per doubling") > 5
        held, naive = (under(slopes, row, slopes.columns[i]) for i in (6, 5))
        assert held <= naive
    assert len(up.rows) == 3 * 4
    # What the experiment declared has its p; the naive best has none.
    declared = [slot(up, row, "less that at the natural stop") for row in up.rows if row.slots[2] != "no extrapolation"]
    assert declared and all(one.p is not None and not one.exploratory for one in declared)
    assert all(slot(slopes, row, slopes.columns[5]).exploratory for row in slopes.rows)


def test_flips_are_the_planted_ones_and_the_identity_holds(studies: Callable[[str], Study]) -> None:
    steps, against, sequences = exhibit("oscillation", studies("oscillation")).tables
    for row in steps.rows:
        if row.slots[3] != "0":
            turned = under(steps, row, "W→R") - under(steps, row, "R→W")
            assert under(steps, row, "change") == pytest.approx(turned)
    for row in against.rows:
        flips = slot(against, row, "per ignored end")
        assert flips.low is not None and flips.high is not None and flips.low - 2 < 25 < flips.high + 2
        # Natural answers are right in 60 %, so two samples differ in 2 x 0.6 x 0.4.
        assert under(against, row, "between independent samples") == pytest.approx(48, abs=6)
        less = slot(against, row, "the first less the last")
        assert less.high is not None and less.high < 0 and less.exploratory
    for row in sequences.rows:
        assert under(sequences, row, "any") >= under(sequences, row, "last")
        assert under(sequences, row, "revisits") == pytest.approx(under(sequences, row, "straight back"), abs=0.7)


def test_probes_and_cells_tell_one_sequence(root: Path) -> None:
    grid = ("task=tiny_calc", "task.limit=30", "method.max_thinking_tokens=512", "extrapolation=wait")
    probed = plant(root / "a", *grid, "extrapolation.num_ignore=3", "method.probe_ends=true")
    cells = plant(root / "b", *grid, "extrapolation.num_ignore=0,1,2,3")
    (one,), (other,) = (ladders.ladders(Study.of(sweep), "oscillation") for sweep in (probed, cells))
    first, second = ladders.chain(Study.of(probed), one, "Wait"), ladders.chain(Study.of(cells), other, "Wait")
    assert first is not None and second is not None
    assert first.ignored == second.ignored == (0, 1, 2, 3) and first.source != second.source
    np.testing.assert_array_equal(first.answers, second.answers)
    np.testing.assert_array_equal(first.right, second.right)
    np.testing.assert_array_equal(first.at, second.at)


def test_right_and_wrong_are_never_one_answer_whatever_the_grader_says() -> None:
    """Graders compare with the gold answer; among each other, texts may be equal to both."""
    classes, right = np.array([[[0, 0, NONE, 1]]]), np.array([[[False, True, False, True]]])
    assert ladders._told_apart(classes, right).tolist() == [[[1, 0, NONE, 0]]]


def test_a_sample_that_reaches_no_further_end_keeps_its_answer(root: Path) -> None:
    grid = ("task=tiny_calc", "method.max_thinking_tokens=64", "extrapolation=wait", "extrapolation.num_ignore=4")
    study = Study.of(plant(root, *grid, "method.probe_ends=true"))
    (ladder,) = ladders.ladders(study, "oscillation")
    found = ladders.chain(study, ladder, "Wait")
    assert found is not None and found.at.max() == 64
    never = found.at[..., 0] == 64  # cut before the first end
    assert never.any() and (found.answers[never] == found.answers[never][:, :1]).all()


def test_a_planted_gain_is_attributed(root: Path) -> None:
    def skill(cell: CellSpec) -> float:
        return 0.0 if cell.train.kind == "none" else 0.35

    world = World(natural=0.4, flip=0.0, skill=skill)
    _, gains = exhibit("attribution", Study.of(plant(root, "experiment=attribution", world=world))).tables
    waits = [row for row in gains.rows if "Wait" in str(row.slots[2])]
    assert len(waits) == 2 * 3
    for row in waits:
        training, forcing, both = (slot(gains, row, name) for name in ("training", "forcing", "both"))
        assert training.low is not None and training.low > 0
        assert forcing.value == pytest.approx(0, abs=1e-9)  # answers never change here
        assert both.value == pytest.approx((training.value or 0) + (forcing.value or 0))


def test_headroom_is_not_counted_from_luck(root: Path) -> None:
    world = World(natural=0.5, forced=0.5)
    _, routes, *_ = exhibit("best_budget", Study.of(plant(root, "experiment=best_budget", world=world))).tables
    for row in routes.rows:
        honest = slot(routes, row, "headroom")
        assert honest.low is not None and honest.low < 1
        assert under(routes, row, "headroom, naive") > 10 > 5 + (honest.value or 0)
        assert slot(routes, row, "budget chosen on another task").n in ("chosen on tiny_hard", "chosen on tiny_dev")


def test_parallel_is_bought_with_the_same_tokens(studies: Callable[[str], Study]) -> None:
    (table,) = exhibit("iso_tokens", studies("iso_tokens")).tables
    kinds = {str(row.slots[2]).split(",")[0] for row in table.rows}
    assert kinds == {"tokens decoded", "latency", "KV memory"}
    for row in table.rows:
        gain = under(table, row, "parallel less sequential")
        assert gain == pytest.approx(under(table, row, "parallel") - under(table, row, "sequential"))
    dear = [row for row in table.rows if "(8×" in str(row.slots[3]) and row.slots[2] == "tokens decoded"]
    assert "best" in str(dear[0].slots[-1])  # scores know the truth here


def test_ranks_know_that_length_says_nothing_here(studies: Callable[[str], Study]) -> None:
    (table,) = exhibit("lengths", studies("lengths")).tables
    gaps = [slot(table, row, "longest less shortest") for row in table.rows]
    inside = [(gap.low or 0) <= 0 <= (gap.high or 0) for gap in gaps]
    assert len(gaps) == 9 and sum(inside) >= 7


def test_forced_answers_fall_short_of_natural_ones_as_planted(studies: Callable[[str], Study]) -> None:
    gap, loops = exhibit("endings", studies("endings")).tables
    rows = [row for row in gap.rows if row.slots[2] == "32"]
    assert {row.slots[1] for row in rows} >= {"s1_readme", "s1_harness, forced without words"}
    for row in rows:
        assert under(gap, row, "the first less the second") == pytest.approx(20 - 60, abs=20)
    looping = [row for row in loops.rows if row.slots[2] == '4× "Wait"']
    assert looping and all(under(loops, row, "that loop, %") > 90 for row in looping)


def test_each_subset_has_its_curve(studies: Callable[[str], Study]) -> None:
    table, claims = exhibit("subset_control", studies("subset_control")).tables
    assert {row.slots[2] for row in claims.rows} == {"scaling"}
    assert len(table.rows) == 5
    for row in table.rows:
        assert under(table, row, "Control") == 100
        assert under(table, row, "slope per doubling") > 3
