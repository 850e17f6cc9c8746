"""A store that s1sweep 0.1.0 wrote (commit 5fff24a) is read as it was: nothing in it is lost, and nothing done again.

`data/store-0.1.0.tar.gz` is of two sweeps that share stages, run in one process: a batch of grade stages, a training
that failed, one record withdrawn and made again and one only withdrawn. Left out are weights, the rows of the pool and
of its curation, traces and pages; names of the machine are made up.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from s1sweep.analysis import results
from s1sweep.analysis.costs import costs
from s1sweep.analysis.provenance import records
from s1sweep.cli import main
from s1sweep.estimating.costmodel import finished
from s1sweep.identity import digest
from s1sweep.store import Store

ARCHIVE = Path(__file__).parent / "data" / "store-0.1.0.tar.gz"
GRID = ("task=tiny_calc", "task.limit=4", "train.steps=2", "data.size=16", "method.max_thinking_tokens=64")
FIRST = ("-m", "data=random,longest", "extrapolation=none,wait", *GRID, "name=first")
FAILED = "train-tiny-random-16-4f4d4b0062eb"
AGAIN, WITHDRAWN = "grade-tiny-calc-3a8cd413d8c0", "grade-tiny-calc-23478efe994e"
MESSAGE = "ValueError: train.block_size=8 cuts away every label of every row"


@pytest.fixture
def old(tmp_path: Path) -> Store:
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(tmp_path, filter="data")
    return Store(tmp_path / "store-0.1.0")


def said(old: Store, *command: str) -> str:
    done = CliRunner().invoke(main, [*command, "--root", old.url])
    assert done.exit_code == 0, done.output
    return done.stdout


def planned(old: Store, *overrides: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["plan", "--json", *overrides, "placement=inprocess", f"placement.root={old.url}"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_nothing_of_a_record_is_lost(old: Store) -> None:
    written = list(old.root.glob("stages/*/record.json"))
    assert len(written) == 20
    for path in written:
        data = json.loads(path.read_text())
        record = old.record(path.parent.name)
        assert record is not None and record.as_json() == data
        assert record.kind == data["result"]["hashed"]["kind"] and record.id.endswith(digest(record.hashed)[:12])


def test_every_stage_that_is_done_is_reused(old: Store) -> None:
    first = planned(old, *FIRST)
    assert first["reused"] == first["stages"] and sum(first["stages"].values()) == 14
    second = planned(old, "-m", "data=random", "extrapolation=none,hmm", "train.block_size=8,256", *GRID)
    assert second["stages"] == {"pool": 1, "curate": 1, "select": 1, "train": 2, "decode": 4, "grade": 4}
    assert second["reused"] == {"pool": 1, "curate": 1, "select": 1, "train": 1, "decode": 2, "grade": 2}


def test_results_are_the_same(old: Store) -> None:
    first = [
        (cell.accuracy, cell.n, cell.mean_total_tokens, cell.missing) for cell in results.cells(old.sweep("first"))
    ]
    assert first == [(0.25, 4, 28.75, None), (0.0, 4, 75.75, None), (0.0, 4, 12.0, None), (0.5, 4, 74.0, None)]
    second = [(cell.accuracy, cell.missing) for cell in results.cells(old.sweep("second"))]
    failed = (None, f"train failed: {MESSAGE}")
    assert second == [failed, (0.25, None), failed, (0.0, None), (0.25, None), (None, "not run yet")]
    shown = json.loads(said(old, "results", "first", "--json"))
    assert [row["accuracy"] for row in shown] == [row[0] for row in first]
    frame = results.load(old.sweep("first"), rows="readouts", verify=True)
    assert len(frame) == 16


def test_status_and_explain(old: Store) -> None:
    found = json.loads(said(old, "status", "second", "--json"))
    assert (found["cells"], found["cells_done"]) == (6, 3)
    assert found["stages"]["grade"] == {"done": 3, "running": 0, "failed": 0, "waiting": 3}
    (failed,) = (stage for stage in found["open"] if stage["state"] == "failed")
    assert failed["id"] == FAILED and failed["message"] == MESSAGE
    assert "cuts away every label" in Path(failed["log"]).read_text()
    text = said(old, "status", "second")
    assert f"failed {FAILED}: {MESSAGE}" in text and f"log: {failed['log']}" in text
    assert MESSAGE in said(old, "explain", FAILED) and failed["log"] in said(old, "explain", FAILED)
    assert "its record was withdrawn" in said(old, "explain", WITHDRAWN)
    done = said(old, "explain", AGAIN)
    assert "s1sweep 0.1.0" in done and "on node-1" in done and '"accuracy": 0.5' in done
    assert "first" in said(old, "ls") and "[old, testbed]" in said(old, "ls")


def test_its_page_is_written(old: Store) -> None:
    said(old, "report", "second")
    page = (old.sweep("second").dir / "report.html").read_text()
    assert MESSAGE in page and old.where("stages", FAILED) in page and "Testbed figures" in page


def test_what_is_there_and_what_is_not(old: Store) -> None:
    found = json.loads(said(old, "store", "ls", "--json"))
    assert [(row["name"], row["stages"]) for row in found["sweeps"]] == [("first", 14), ("second", 14)]
    assert found["unreferenced"] == [] and found["dead_attempts"]["count"] == 3
    lost = found["broken"]
    assert {record.kind for record in map(old.record, lost) if record} == {"pool", "curate", "train"}
    assert all("is not there" in reason for reasons in lost.values() for reason in reasons)
    done = CliRunner().invoke(main, ["store", "verify", "--json", "--root", old.url])
    verified = json.loads(done.stdout)
    assert done.exit_code == 1 and verified["broken"] == lost and verified["outputs"] > 40
    assert {path.partition("/")[0] for path in verified["half_written"]} == {FAILED, AGAIN, WITHDRAWN}
    waste = json.loads(said(old, "store", "gc", "--json", "--grace", "0"))
    assert {one["path"].split("/")[1] for one in waste["waste"]} == {FAILED, AGAIN, WITHDRAWN}


def test_costs_are_what_its_records_say(old: Store) -> None:
    """As 0.1.0 counted them, but for batches of grade stages, of which it added up the ends."""
    first, second = (costs(old, records(old, results.cells(old.sweep(name)))) for name in ("first", "second"))
    assert first.purposes == {"thinking": 641, "injected": 10, "answer": 111}
    assert (first.requested, first.decoded, first.reused, first.prefilled) == (1057, 910, 0, 907)
    assert (second.requested, second.decoded, second.reused, second.prefilled) == (1361, 638, 531, 854)
    spent = {one.kind: (one.stages, one.runs, round(one.seconds, 3)) for one in first.spent}
    assert spent == {
        "pool": (1, 1, 0.301),
        "curate": (1, 1, 0.14),
        "select": (2, 2, 0.303),
        "train": (2, 2, 19.756),
        "decode": (4, 2, 12.934),
        "grade": (4, 2, 0.027),  # three of one batch, the last of which ended after 0.025 s, and one made again
    }


def test_its_runs_speak_for_new_ones(old: Store) -> None:
    runs = sorted((run.kind, run.tokens, round(run.seconds, 3)) for run in finished(old))
    assert runs == [
        ("decode", 217, 10.54),
        ("decode", 421, 1.068),
        ("decode", 489, 11.866),
        ("train", 3698, 1.295),
        ("train", 3698, 14.37),
        ("train", 10602, 18.461),
    ]
