"""Accuracy on clean questions: the same ones for every compared arm."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from s1sweep.analysis import results, tables
from s1sweep.analysis.clean import clean
from s1sweep.errors import UserError
from s1sweep.store import Sweep
from tests.helpers import compose
from tests.test_analysis import fabricate

WORDS = "one two three four five six seven {} nine"


def swept(root: Path, tmp_path: Path) -> Sweep:
    """Two arms and one task of four questions, the first seen by one arm, the second by the other."""
    task = tmp_path / "mine.jsonl"
    rows = [{"id": f"q{i}", "question": WORDS.format(f"n{i}"), "answer": str(i)} for i in range(4)]
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mine = ("task=file", "task.name=mine", "task.grader=math", f"task.path={task}")
    sweep = fabricate(root, "data=random,s1k", *mine, skill=lambda cell, number: float(number > 0))
    for i, name in enumerate(sorted({cell.stages["select"] for cell in sweep.cells()})):
        trained = [{"question": f"And so: {WORDS.format(f'N{i}').upper()}"}, {"question": "one two three"}]
        (sweep.store.outputs(name) / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trained))
    return sweep


def test_what_any_arm_has_seen_counts_for_none(root: Path, tmp_path: Path) -> None:
    sweep = swept(root, tmp_path)
    cells = results.cells(sweep)
    found = clean(sweep.store, cells)
    assert [(c.accuracy, c.n, c.of) for c in found if c] == [(1.0, 2, 4)] * 2
    assert all(cell.n == 4 and cell.accuracy == 0.75 for cell in cells)
    out = io.StringIO()
    tables.show(cells, Console(file=out, width=160), clean=found)
    assert "2 of 4" in out.getvalue() and "no run of 8 words" in out.getvalue()
    assert [r["clean_n"] for r in csv.DictReader(io.StringIO(tables.csv_text(cells, found)))] == ["2", "2"]


def test_rows_that_are_gone_are_named(root: Path, tmp_path: Path) -> None:
    sweep = swept(root, tmp_path)
    name = sweep.cells()[0].stages["select"]
    (sweep.store.outputs(name) / "rows.jsonl").unlink()
    with pytest.raises(UserError, match=f"--clean needs the rows that {name} selected"):
        clean(sweep.store, results.cells(sweep))


def test_table2_and_the_papers_own_by_one_override() -> None:
    here = compose("experiment=table2")
    assert len(here) == 18 and {c.cell.task.name for c in here} == {"tiny_calc", "tiny_hard", "tiny_choice"}
    paper = compose("experiment=table2", "scale=paper")
    assert len(paper) == 18 and {c.cell.task.name for c in paper} == {"aime24", "math500", "gpqa_diamond"}
    sizes = {c.cell.data.rule: c.cell.data.size for c in paper}
    assert sizes == {"random": 1000, "diverse": 1000, "longest": 1000, "full": None, "s1k": 1000}
    assert {c.cell.method.max_thinking_tokens for c in paper} == {"auto"}  # type: ignore[union-attr]
    assert {c.cell.model.name for c in paper} == {"qwen2_5_32b_instruct"}
