"""Each exhibit from the cells of its own experiment, its experiment at both scales, and what happens without cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from s1sweep.analysis import exhibits, plots, render, results
from s1sweep.analysis.claims import findings
from s1sweep.analysis.exhibits.base import Exhibit, Number, TableRow
from s1sweep.analysis.study import Study
from s1sweep.compose import multirun
from s1sweep.errors import UserError
from s1sweep.project import PACKAGED as CONF
from s1sweep.session import Session
from s1sweep.spec import CellSpec
from tests.helpers import cli
from tests.test_analysis import fabricate

# Sweeps that tell a story of their own, and are no table or figure.
STORIES = {"quickstart", "selection_seeds", "subset_size"}
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
PAPERS = ["fig1", "fig4", "fig6", "fig7", "table1", "table2", "table3", "table4", "table5", "table8"]


def planted(cell: CellSpec, number: int) -> float:
    """Training helps, Waits hurt a little, short caps hurt."""
    skill = 0.8 if cell.train.kind != "none" else 0.3
    skill -= 0.05 * cell.extrapolation.num_ignore
    cap = getattr(cell.method, "max_thinking_tokens", 256)
    return skill * (0.3 if isinstance(cap, int) and cap < 64 else 1)


def made(root: Path, name: str, *overrides: str, published: bool = False) -> tuple[Study, Exhibit]:
    study = Study.of(fabricate(root, f"experiment={name}", *overrides, skill=planted))
    return study, exhibits.exhibit(name, study, published)


def numbers(exhibit: Exhibit) -> Iterator[tuple[TableRow, Number]]:
    for table in exhibit.tables:
        for row in table.rows:
            for slot in row.slots:
                if isinstance(slot, Number):
                    yield row, slot


def slot(exhibit: Exhibit, row: str, column: str) -> Number:
    table = exhibit.tables[0]
    found = next(r for r in table.rows if r.slots[0] == row).slots[table.columns.index(column)]
    assert isinstance(found, Number)
    return found


def test_every_exhibit_has_its_experiment_and_the_reverse() -> None:
    assert list(exhibits.NAMES) == sorted(exhibits.NAMES)
    assert set(EXPERIMENTS) - STORIES == set(exhibits.NAMES)


def test_both_scales_have_the_same_sizes() -> None:
    testbed, paper = (OmegaConf.load(CONF / "scale" / f"{name}.yaml") for name in ("testbed", "paper"))
    assert list(testbed.scale) == list(paper.scale)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_planned_at_the_papers_scale(name: str, root: Path) -> None:
    """At the testbed's they are, where their exhibits are made below."""
    command = ("-m", f"experiment={name}", "scale=paper", f"placement.root={root}")
    with Session(command=command, run=False) as session:
        multirun(command, session)
        assert session.plan.cells and session.config is not None
        assert session.config.name == name
        if name not in STORIES:
            assert session.config.tags == ("paper",)


@pytest.mark.parametrize("name", PAPERS)
def test_an_exhibit_is_made_of_the_cells_of_its_experiment(name: str, root: Path, tmp_path: Path) -> None:
    study, found = made(root, name, published=True)
    assert found.name == name and found.source.startswith("s1 paper, ") and found.reading.endswith(".")
    assert any(row.kind == "published" for row, _ in numbers(found))
    cells = {cell.key: cell for cell in study.cells}
    ours = [(row, number) for row, number in numbers(found) if row.kind != "published"]
    assert ours
    for row, number in ours:
        assert number.value is not None, (row, number)
        assert number.low is not None or number.unit in ("", "count") or number.n, (row, number)
        if number.low is not None and number.high is not None:
            assert number.low <= number.value <= number.high
        if number.cell and number.unit == "%":
            assert number.value == pytest.approx(100 * (cells[number.cell].accuracy or 0))
    # Every finding of its claims has a number, so the experiment's claims and grids fit each other.
    assert findings(study) and all(one.why is None for one in findings(study))
    for form in ("markdown", "latex", "csv"):
        assert render.exhibit_text(found, form)
    for figure in found.figures:
        assert plots.draw(figure, tmp_path / f"{name}.svg").exists()
        for _, svg in plots.panels_svg(figure):
            assert 'class="point"' in svg


def test_table2_compares_with_s1k_and_the_null_arm_with_its_sibling(root: Path) -> None:
    def skill(cell: CellSpec, number: int) -> float:
        return 0.95 if cell.data.rule == "s1k" else 0.5

    study = Study.of(fabricate(root, "experiment=table2", skill=skill))
    found = exhibits.exhibit("table2", study)
    labels = [(row.slots[0], row.kind) for row in found.tables[0].rows]
    assert labels == [
        ("random, seed 0", ""),
        ("random, seed 1 (null arm, against random, seed 0)", "null"),
        ("diverse", ""),
        ("longest", ""),
        ("full", ""),
        ("s1k", "reference"),
    ]
    number = slot(found, "diverse", "Δ tiny_calc")
    declared = next(f for f in findings(study) if f.contrast == {"data": "diverse"} and f.points["task"] == "tiny_calc")
    assert (number.value, number.low, number.high, number.p) == (
        declared.value, declared.low, declared.high, declared.holm,
    )  # fmt: skip
    assert not number.exploratory and number.high is not None and number.high < 0
    null = slot(found, str(labels[1][0]), "Δ tiny_calc")
    assert null.exploratory and null.p is None and null.low is not None and null.low <= 0 <= (null.high or 0)


def test_a_missing_cell_shows_its_reason(root: Path) -> None:
    study = Study.of(fabricate(root, "experiment=table4", failing=["-Hmm-"], skill=planted))
    found = exhibits.exhibit("table4", study)
    for column in ("tiny_calc", "Δ tiny_calc"):
        assert (slot(found, '2× "Hmm"', column).why or "").startswith("decode failed")
    assert "decode failed: RuntimeError" in render.markdown.table(found.tables[0])
    assert slot(found, '2× "Wait"', "tiny_calc").value is not None


def test_a_sweep_without_the_cells_names_the_command(root: Path) -> None:
    study = Study.of(fabricate(root, "task=tiny_calc"))
    for name in PAPERS:
        with pytest.raises(UserError, match=f"s1sweep run -m experiment={name}"):
            exhibits.exhibit(name, study)


def test_the_quickstart_makes_what_its_cells_allow(root: Path) -> None:
    study = Study.of(fabricate(root, "experiment=quickstart", "task=tiny_calc"))
    available = {name for name, reason in exhibits.available(study).items() if reason is None}
    assert available & set(PAPERS) == {"fig1", "table1", "table2", "table4", "table5"}
    assert "+ table2" in exhibits.listing(study) and "- fig7" in exhibits.listing(study)


def test_table3_has_the_metrics_of_each_method(root: Path) -> None:
    study, found = made(root, "table3", published=True)
    methods = [row.slots[0] for row in found.tables[0].rows]
    assert methods == [
        "budget forcing", "token-conditional (own-data)", "token-conditional (own-data), forced",
        "step-conditional (own-data)", "step-conditional (own-data), forced", "class-conditional", "rejection sampling",
    ]  # fmt: skip
    cells = [c for c in study.cells if c.spec["method"]["kind"] == "rejection"]
    best = slot(found, "rejection sampling", "Performance, %")
    assert best.value == pytest.approx(100 * max(c.accuracy or 0 for c in cells))
    assert slot(found, "budget forcing", "Control, %").value == 100
    assert slot(found, "class-conditional", "|A|").value == 2
    printed = found.tables[-1]
    assert printed.rows[0].slots[1] == Number(100, "%") and printed.title.startswith("Published: Control")


def test_table8_says_what_was_cut_and_what_it_costs(root: Path) -> None:
    study, found = made(root, "table8")
    cell = next(c for c in study.cells if c.spec["train"]["block_size"] == 150 and c.axes["task"] == "tiny_calc")
    tokens = slot(found, "150", "tiny_calc, thinking tokens")
    assert tokens.value == pytest.approx(cell.mean_thinking_tokens) and tokens.low is not None
    assert slot(found, "150", "truncated, %").value == 0
    assert found.tables[0].rows[-1].kind == "reference"


def test_fig4_counts_the_tokens_of_all_votes(root: Path) -> None:
    study, found = made(root, "fig4")
    _, parallel = found.figures[0].panels
    cells = {cell.key: cell for cell in study.cells}
    assert {line.colour for line in parallel.lines} == {"tiny", "s1k"}
    for line in parallel.lines:
        votes = [cells[str(point.cell)].spec["parallel"]["n"] for point in line.points]
        assert votes == [1, 2, 4, 8, 16]
        assert line.points[-1].x > 12 * line.points[0].x
    waits = found.figures[0].panels[0].lines[1]
    assert waits.dashed and [point.marked for point in waits.points] == [False, True, True, True, True]


def test_published_numbers_stand_beside_ours_where_the_task_is_the_papers(root: Path) -> None:
    study = Study.of(fabricate(root, "experiment=table4", "task=tiny_calc", skill=planted))
    renamed = [replace(c, spec={**c.spec, "task": {**c.spec["task"], "name": "aime24"}}) for c in study.cells]
    found = exhibits.exhibit("table4", Study(study.store, renamed, (), "made"), published=True)
    assert slot(found, '2× "Wait"', "aime24").published == "53.3"


def test_the_command_line_shows_lists_and_helps(root: Path, tmp_path: Path) -> None:
    fabricate(root, "experiment=table4", "task=tiny_calc", skill=planted)
    shown = cli("show", "table4", "--format", "markdown", "--published", root=root)
    assert shown.returncode == 0, shown.stderr
    assert '| 2× "Wait" |' in shown.stdout and "| 2x Wait | 53.3" in shown.stdout
    assert "+ table4" in cli("show", root=root).stdout
    typo = cli("show", "tabel4", root=root)
    assert typo.returncode == 2 and "Did you mean 'table4'" in typo.stderr
    lacks = cli("show", "fig6", root=root)
    assert lacks.returncode == 2 and "s1sweep run -m experiment=fig6" in lacks.stderr
    none = cli("show", "table4", "--figure", str(tmp_path / "x.svg"), root=root)
    assert none.returncode == 2 and "has no figure" in none.stderr


def test_results_of_exhibits_do_not_depend_on_reading_order(root: Path) -> None:
    study, found = made(root, "table5", "task=tiny_calc")
    again = Study(study.store, results.cells(study.store.sweep(study.name)), study.claims, study.name)
    again.where(task="tiny_calc").scores(again.cells[-1])
    assert found == exhibits.exhibit("table5", again)


def test_a_sweep_that_has_outgrown_its_claims_still_has_its_table(root: Path) -> None:
    fabricate(root, "experiment=table4", "task=tiny_calc", "method.max_thinking_tokens=64", skill=planted)
    study = Study.of(fabricate(root, "experiment=table4", "task=tiny_calc", skill=planted))
    found = exhibits.exhibit("table4", study)
    assert slot(found, '2× "Wait"', "Δ tiny_calc").exploratory
    assert any("Add method.max_thinking_tokens to its points" in note for note in found.tables[0].notes)
