"""Tidy results: one frame from records, whole or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s1sweep.analysis import results
from s1sweep.errors import UserError
from s1sweep.store import Store, Sweep
from tests.helpers import ROOT, cli
from tests.test_analysis import fabricate

pd = pytest.importorskip("pandas")
from pandas.testing import assert_frame_equal  # noqa: E402

from s1sweep.analysis import frame, grades  # noqa: E402

GRID = ("data=random,diverse", "task=tiny_calc,tiny_choice", "task.limit=6", "sampling=sampled", "sampling.samples=2")


def grade_file(sweep: Sweep, place: int = 0) -> Path:
    return sweep.store.outputs(sweep.cells()[place].stages["grade"]) / "grades.jsonl"


def edit_record(sweep: Sweep, change: Callable[[dict[str, Any]], None], place: int = 0, role: str = "grade") -> Path:
    path = sweep.store.stage_dir(sweep.cells()[place].stages[role]) / "record.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path


# --- what is in it


def test_cells_are_the_results_with_their_axes(root: Path) -> None:
    sweep = fabricate(root, *GRID, "train.learning_rate=0.001,0.002", "method.max_thinking_tokens=auto,64")
    found, cells = results.load(sweep, rows="cells"), results.cells(sweep)
    assert found["cell"].tolist() == [cell.key for cell in cells]
    for name in ("accuracy", "ci_low", "ci_high", "n", "readouts", "mean_total_tokens", "forced_share", "interval"):
        assert found[name].tolist() == [getattr(cell, name) for cell in cells]
    assert set(found["sweep"]) == {"made"} and set(found["row"]) == {"cell"} and found["missing"].isna().all()
    assert found["data"].tolist() == [cell.axes["data"] for cell in cells]
    assert found["train.learning_rate"].tolist() == [cell.spec["train"]["learning_rate"] for cell in cells]
    caps = [cell.spec["method"]["max_thinking_tokens"] for cell in cells]
    assert found["method.max_thinking_tokens"].isna().tolist() == [cap == "auto" for cap in caps]
    assert found["stage.grade"].tolist() == [cell.stages["grade"] for cell in cells]
    assert set(found["arm"]) == {"random 256", "diverse 256"}


def test_readouts_are_the_graded_answers(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    found = results.load(sweep, rows="readouts")
    assert len(found) == sum(cell.readouts or 0 for cell in results.cells(sweep)) == 4 * 12
    for cell in results.cells(sweep):
        own = found[found["cell"] == cell.key]
        graded = [json.loads(line) for line in cell.grades.read_text().splitlines()]  # type: ignore[union-attr]
        for name in ("question_id", "sample", "verdict", "credit", "gold", "ended", "ignored", "thinking_tokens"):
            assert own[name].tolist() == [row[name] for row in graded]
        assert [None if pd.isna(text) else text for text in own["extracted"]] == [row["extracted"] for row in graded]
        assert own["credit"].mean() == pytest.approx(cell.accuracy)
        assert set(own["task"]) == {cell.axes["task"]}


def test_both_kinds_together_and_apart(root: Path) -> None:
    sweep = fabricate(root, *GRID, failing=["train-tiny-diverse"])
    both = results.load(sweep)
    assert (both["row"] == "cell").sum() == 4 and (both["row"] == "readout").sum() == 24
    assert both.loc[both["row"] == "readout", "accuracy"].isna().all()
    for rows in ("cells", "readouts"):
        assert_frame_equal(frame.only(both, rows), results.load(sweep, rows=rows))
    with pytest.raises(UserError, match=r"rows='cell' is not valid.*cells, readouts"):
        results.load(sweep, rows="cell")  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [None, "cells", "readouts"])
def test_a_missing_cell_is_one_row_with_its_reason(root: Path, rows: Any) -> None:
    sweep = fabricate(root, *GRID, failing=["train-tiny-diverse"])
    found = results.load(sweep, rows=rows)
    missing = found[found["missing"].notna()]
    assert missing["data"].tolist() == ["diverse"] * 2 and set(missing["row"]) == {"cell"}
    assert set(missing["missing"]) == {"train failed: RuntimeError: lost <b>GPU</b>"}
    numbers = [name for name in found.columns if name in frame.NUMBERS or name in frame.READOUT]
    assert missing[numbers].isna().all(axis=None)


def test_sources(root: Path) -> None:
    one = fabricate(root, "task=tiny_calc", "task.limit=4", name="one")
    two = fabricate(root, "task=tiny_calc", "task.limit=4", "train.learning_rate=0.5", name="two")
    both = results.load(root)
    assert_frame_equal(both, results.load(Store(root)))
    assert_frame_equal(both, results.load(str(root)))
    for sweep in (one, two):
        alone = results.load(sweep)
        assert_frame_equal(alone, results.load(root / "sweeps" / sweep.name))
        own = both[both["sweep"] == sweep.name].reset_index(drop=True)[alone.columns]
        assert own.astype(object).where(own.notna(), None).equals(alone.astype(object).where(alone.notna(), None))
    rates = both.groupby("sweep", observed=True)["train.learning_rate"].first()
    assert pd.isna(rates["one"]) and rates["two"] == 0.5
    assert list(both["sweep"].cat.categories) == ["one", "two"]


def test_types_and_order_hold_for_any_sweep(root: Path) -> None:
    """A column has one type, whether all of it is there or nothing."""
    full = fabricate(root, *GRID, "extrapolation=none,wait", name="full")
    bare = fabricate(root, "train=none", "task=tiny_hard", "task.limit=3", waiting="", name="bare")
    fabricate(root, "data=longest", "task=tiny_hard", "task.limit=3", failing=["train"], name="lost")
    frames = [results.load(full), results.load(bare), results.load(root / "sweeps" / "lost")]
    for one in frames[1:]:
        assert list(one.columns) == list(frames[0].columns)
        assert one.dtypes.map(str).tolist() == frames[0].dtypes.map(str).tolist()
    known = {**frame.IDS, **frame.AXES, **frame.MADE, **frame.NUMBERS, **frame.READOUT}
    assert list(frames[0].columns) == list(known)
    assert [str(kind) for kind in frames[0].dtypes] == list(known.values())
    for one in frames:
        for name in (name for name, kind in known.items() if kind == frame.TEXT):
            assert list(one[name].cat.categories) == sorted(set(one[name].dropna()))


def test_every_column_is_described() -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    known = [*frame.IDS, *frame.AXES, *frame.MADE, *frame.NUMBERS, *frame.READOUT]
    assert [name for name in known if f"`{name}`" not in text] == []


# --- parquet and the command


@pytest.mark.parametrize("failing", [(), ("train-tiny-diverse",)])
@pytest.mark.parametrize("rows", [None, "cells", "readouts"])
def test_parquet_reads_back_equal(root: Path, tmp_path: Path, rows: Any, failing: tuple[str, ...]) -> None:
    sweep = fabricate(root, *GRID, failing=failing)
    found = results.load(sweep, rows=rows)
    first, again = (frame.write(found, tmp_path / name) for name in ("a.parquet", "new/b.parquet"))
    assert first.read_bytes() == again.read_bytes()
    assert_frame_equal(pd.read_parquet(first), found)
    assert_frame_equal(frame.read(first), found)


def test_results_command_writes_parquet_and_csv(root: Path, tmp_path: Path) -> None:
    sweep = fabricate(root, *GRID)
    for option, rows in (((), "cells"), (("--readouts",), "readouts")):
        path = tmp_path / f"{rows}.parquet"
        done = cli("results", "--parquet", str(path), *option, root=root)
        assert done.returncode == 0 and str(path) in done.stdout, done.stderr
        assert_frame_equal(pd.read_parquet(path), results.load(sweep, rows=rows))  # type: ignore[call-overload]
    lines = cli("results", "--csv", "--readouts", root=root).stdout.splitlines()
    assert len(lines) == 1 + 48 and "question_id" in lines[0].split(",")
    for wrong in (("--readouts",), ("--readouts", "--csv", "--clean")):
        done = cli("results", *wrong, root=root)
        assert done.returncode == 2 and "Traceback" not in done.stderr


# --- refusals


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        results.load(source, **options)
    return str(caught.value)


def test_what_is_no_store_is_refused(root: Path, tmp_path: Path) -> None:
    assert "is not there: not a store" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    said = refused(tmp_path / "empty")
    assert str(tmp_path / "empty") in said and "holds no folder `sweeps`" in said and "ROOT/sweeps/NAME" in said
    (root / "sweeps").mkdir(parents=True)
    assert "No sweep under" in refused(root)
    fabricate(root, "task=tiny_calc", "task.limit=2")
    assert "No sweep 'other'" in refused(root / "sweeps" / "other") and "made" in refused(root / "sweeps" / "other")
    assert "names no cell" in refused(Sweep(Store(root), "other"))


def test_a_record_without_its_grades_is_refused(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    path = grade_file(sweep)
    size = path.stat().st_size
    path.unlink()
    said = refused(sweep)
    assert str(path) in said and f"{size:,} bytes" in said and f"remove {path.parent.parent}" in said
    with pytest.raises(UserError, match="is not there"):
        results.cells(sweep)  # the table neither


def test_grades_of_another_length_are_refused(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    path = grade_file(sweep)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    said = refused(sweep, rows="cells")
    assert str(path) in said and "cut short or edited" in said and f"{sum(map(len, lines)):,}" in said


def test_fewer_rows_than_the_record_counts_are_refused(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    path = grade_file(sweep)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))

    def shorter(record: dict[str, Any]) -> None:
        record["result"]["outputs"]["grades.jsonl"]["bytes"] = path.stat().st_size

    edit_record(sweep, shorter)
    assert "has 11 rows, and its record counts 12 answers" in refused(sweep)


@pytest.mark.parametrize(
    ("torn", "said"),
    [(b"{" * 40, "line 1 is no JSON object"), (b'{"question_id": null} ', "without question_id")],
)
def test_torn_or_foreign_rows_are_refused(root: Path, torn: bytes, said: str) -> None:
    sweep = fabricate(root, *GRID)
    path = grade_file(sweep)
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(torn.ljust(len(first)) + b"\n" + rest)
    found = refused(sweep)
    assert str(path) in found and said in found


def test_grades_read_alike_without_pyarrow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = fabricate(root, *GRID)
    path = grade_file(sweep)
    quick = grades.tallies(path, 12)
    assert grades._counted(path, 12) == quick and list(grades._counted(path, 12)) == list(quick)
    with pytest.raises(UserError, match="record counts 13"):
        grades._counted(path, 13)


def test_an_edit_that_keeps_the_length_is_found_on_request(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    path = grade_file(sweep)
    text = path.read_text()
    path.write_text(text.replace('"correct"', '"corrupt"', 1))
    assert path.read_text() != text
    results.load(sweep)
    said = refused(sweep, verify=True)
    assert str(path) in said and "sha256" in said
    assert "sha256" in refused(sweep, rows="cells", verify=True)


def test_a_torn_record_and_one_of_another_schema_are_refused(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    path = edit_record(sweep, lambda record: record.update(schema=2))
    said = refused(sweep)
    assert str(path) in said and "schema 2" in said and "reads 1" in said
    path.write_text(path.read_text()[:100])
    said = refused(sweep)
    assert str(path) in said and "torn" in said


def test_a_torn_list_of_cells_is_refused(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    path = sweep.dir / "cells.jsonl"
    path.write_text(path.read_text()[:-30])
    said = refused(sweep)
    assert str(path) in said and "3 whole cells" in said
    fabricate(root, *GRID)  # the same command again mends it
    assert len(results.load(sweep, rows="cells")) == 4


def test_several_versions_of_grading_in_one_sweep_are_refused(root: Path) -> None:
    sweep = fabricate(root, *GRID)

    def older(record: dict[str, Any]) -> None:
        record["result"]["hashed"]["versions"]["grade"] = 2

    edit_record(sweep, older, place=1)
    said = refused(sweep)
    assert "2 versions of grade" in said and "version 2: 1 cells" in said and str(grade_file(sweep, 1)) in said
    found = results.load(sweep, rows="cells", mixed=True)
    assert found["version.grade"].tolist() == [3, 2, 3, 3]
    assert len(results.cells(sweep)) == 4  # the table still shows them


def test_graders_of_different_tasks_may_have_different_versions(root: Path) -> None:
    sweep = fabricate(root, *GRID)

    def newer(record: dict[str, Any]) -> None:
        record["result"]["hashed"]["versions"]["grader"] = 9

    for place, cell in enumerate(sweep.cells()):
        if cell.spec["task"]["grader"] == "choice":
            edit_record(sweep, newer, place)
    assert set(results.load(sweep, rows="cells")["version.grader"]) == {2, 9}
    edit_record(sweep, newer, 0)
    assert "2 versions of grader math" in refused(sweep)
