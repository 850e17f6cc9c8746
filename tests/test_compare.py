"""Two sweeps compared: which cells stand for each other, and what is said of them."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from s1sweep.analysis import compare, results, stats
from s1sweep.errors import UserError
from s1sweep.spec import CellSpec
from s1sweep.store import Store, Sweep
from tests.helpers import cli
from tests.test_analysis import fabricate
from tests.test_results import edit_record

GRID = ("task=tiny_calc", "extrapolation=none,wait")


def better(cell: CellSpec, number: int) -> float:
    return 0.95 if cell.train.kind == "sft" and cell.train.learning_rate == 0.01 else 0.3


def shown(found: compare.Comparison, width: int = 100) -> str:
    out = io.StringIO()
    compare.show(found, Console(file=out, width=width, color_system=None, highlight=False))
    assert max(map(len, out.getvalue().splitlines())) <= width
    return out.getvalue()


def test_cells_match_on_what_varies_and_the_rest_is_the_config(root: Path) -> None:
    a = fabricate(root, *GRID, "data=random,diverse", "train.learning_rate=0.001", name="a", skill=better)
    b = fabricate(root, *GRID, "data=random,longest", "train.learning_rate=0.01", name="b", skill=better)
    found = compare.compare(a, b)
    assert [pair.label["extrapolation"] for pair in found.pairs] == ["none", "wait"]
    assert [label["data"] for label in found.only_a] == ["diverse"] * 2
    assert [label["data"] for label in found.only_b] == ["longest"] * 2
    assert [(one.field, one.a, one.b, one.pairs) for one in found.config] == [
        ("train.learning_rate", "0.001", "0.01", None)
    ]
    cells = {cell.key: cell for cell in (*results.cells(a), *results.cells(b))}
    for pair in found.pairs:
        x, y = results.scores(cells[pair.a]), results.scores(cells[pair.b])
        assert cells[pair.a].axes["data"] == cells[pair.b].axes["data"] == "random"
        assert pair.difference == pytest.approx((pair.accuracy_b or 0) - (pair.accuracy_a or 0))
        assert (pair.low, pair.high) == stats.paired_bootstrap(list(y.values()), list(x.values()))
        assert pair.low is not None and pair.low > 0
        assert (pair.gained, pair.lost) == (sum(y[q] > x[q] for q in x), sum(y[q] < x[q] for q in x))
    text = shown(found)
    assert "2 cells matched; 2 only in A, 2 only in B" in " ".join(text.split())
    assert "Exploratory: claims are about cells of one sweep" in text
    assert "train.learning_rate" in text and "diverse" in text and "longest" in text


def test_a_field_that_varies_in_one_sweep_picks_its_cell(root: Path) -> None:
    """A has three caps, B one: B's cell stands for A's cell of that cap."""
    a = fabricate(root, "task=tiny_calc", "method.max_thinking_tokens=32,64,128", name="a")
    b = fabricate(root, "task=tiny_calc", "method.max_thinking_tokens=64", "train.seed=1", name="b")
    found = compare.compare(a, b)
    assert len(found.pairs) == 1 and len(found.only_a) == 2 and not found.only_b
    assert [one.field for one in found.config] == ["train.seed"]
    (own,) = (cell for cell in results.cells(a) if cell.spec["method"]["max_thinking_tokens"] == 64)
    assert found.pairs[0].a == own.key


def test_a_sweep_and_itself_do_not_differ(root: Path) -> None:
    fabricate(root, *GRID, name="a")
    b = fabricate(root, *GRID, name="b")
    found = compare.compare(Sweep(b.store, "a"), b)
    assert [(pair.difference, pair.low, pair.high, pair.gained, pair.lost) for pair in found.pairs] == [
        (0, 0, 0, 0, 0)
    ] * 2
    assert found.config == found.made == found.changed == found.only_a == found.only_b == ()
    assert "0 of 2 leave out 0" in " ".join(shown(found).split())


def test_what_cannot_be_compared_says_why(root: Path) -> None:
    a = fabricate(root, *GRID, "task.limit=20", name="a")
    b = fabricate(root, *GRID, "task.limit=30", "train.seed=1", name="b", failing=["-Wait-"])
    plain, wait = compare.compare(a, b).pairs
    assert plain.why == "other questions: 20 in A, 30 in B, 20 in both" and plain.difference is None
    assert wait.why is not None and wait.why.startswith("B: decode failed")
    assert "1 not compared: other questions" in " ".join(shown(compare.compare(a, b)).split())
    far = fabricate(root, "task=tiny_choice", name="far")
    assert compare.compare(a, far).pairs[0].why is not None  # the task is one value in each: a difference of config
    with pytest.raises(UserError, match="has no cells"):
        compare.compare(a, Sweep(a.store, "nothing"))


def test_what_made_them_and_changed_results_of_one_stage(root: Path, tmp_path: Path) -> None:
    a = fabricate(root, *GRID, name="a")
    shutil.copytree(root, tmp_path / "other")
    b = Store(tmp_path / "other").sweep("a")
    assert compare.compare(a, b).changed == ()

    def another(record: dict) -> None:
        record["provenance"]["environment"]["vllm"] = "9.9"
        record["provenance"]["code"]["commit"] = "f" * 40
        record["provenance"]["cost"]["engine"] = {"engine": "vllm", "args": {"dtype": "float16"}}
        record["result"]["summary"]["accuracy"] = 0.125
        record["result"]["hashed"]["content"]["task"] = "0" * 64
        record["result"]["hashed"]["versions"]["grader"] = 7

    edit_record(b, another)
    found = compare.compare(a, b)
    made = {one.field: (one.a, one.b) for one in found.made}
    assert "9.9" in made["library vllm"][1] and "ffffffffffff" in made["code commit"][1]
    assert made["engine args.dtype"] == ("–", '"float16"')
    assert "7" in made["version of grader math"][1] and "000000000000" in made["content of task tiny_calc"][1]
    (change,) = found.changed
    assert change["stage"] == a.cells()[0].stages["grade"]
    assert change["summary"]["accuracy"][1] == 0.125
    text = " ".join(shown(found).split())
    assert "WARNING grade-tiny-calc" in text and "0.125 in B" in text
    assert found.a.endswith(str(root)) and found.b.endswith(str(tmp_path / "other"))


def test_compare_command(root: Path, tmp_path: Path) -> None:
    fabricate(root, *GRID, name="a")
    fabricate(root, *GRID, "train.seed=1", name="b")
    found = json.loads(cli("compare", "a", "b", "--json", root=root).stdout)
    assert len(found["pairs"]) == 2 and found["config"][0]["field"] == "train.seed"
    done = cli("compare", "a", "b", root=root)
    assert done.returncode == 0 and "train.seed" in done.stdout, done.stderr
    shutil.copytree(root, tmp_path / "other")
    done = cli("compare", "a", "b", "--other-root", str(tmp_path / "other"), root=root)
    assert done.returncode == 0, done.stderr
    done = cli("compare", "a", "c", root=root)
    assert done.returncode == 2 and "No sweep 'c'" in done.stderr
