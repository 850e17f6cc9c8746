"""What is kept of an attempt that failed, and of the times of those that did not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from s1sweep.analysis import report, results
from s1sweep.cli import inspection
from s1sweep.errors import SweepFailed
from s1sweep.planning import Stage
from s1sweep.runtime.backend import launch_here
from s1sweep.runtime.job import Job, StageOutcome, Task
from s1sweep.runtime.worker import execute
from s1sweep.stages.resources import Request, Resources
from s1sweep.store import Failure, Store
from s1sweep.store.attempts import attempt_name
from tests.noop_stage import KIND, stage
from tests.test_analysis import fabricate


def done(store: Store, *stages: Stage) -> list[StageOutcome]:
    """Run stages as one job, as a worker does."""
    name = attempt_name()
    tasks = tuple(Task(s.id, s.kind, s.spec, s.hashed, s.inputs, name) for s in stages)
    job = Job("job", KIND, tasks, Request(1), Resources(), store.url, store.identity())
    return execute(job, launch_here, own_process=False)


def test_a_message_is_kept_whole_with_its_remedy(root: Path) -> None:
    long = "the value of a field that is not valid, " * 20 + "\nand on the last line what to do about it"
    (outcome,) = done(Store(root), stage("bad", mode="bug", mark=long))
    assert outcome.failure and outcome.failure.message == f"ValueError: {long}"
    line = outcome.failure.line()
    assert len(line) == 200 and line.endswith("…") and "\n" not in line
    assert str(Failure(kind="out_of_memory", message="CUDA out of memory.", remedy="Take less")) == (
        "CUDA out of memory. Take less."
    )


def test_a_failures_log_is_named_by_its_place_in_the_store(url: str) -> None:
    store, fine, bad = Store(url), stage("fine"), stage("bad", mode="bug")
    good, outcome = done(store, fine, bad)
    assert good.ok and outcome.failure and outcome.failure.log
    assert outcome.failure.log.startswith(f"stages/{fine.id}/"), "both ran in one worker, which has one log"
    assert b"a planted bug" in (store.files.read(outcome.failure.log) or b"")
    store.mark_failed(bad.id, outcome.failure)
    kept = store.failure(bad.id)
    assert kept and kept.time and kept.model_copy(update={"time": 0.0}) == outcome.failure


def test_the_python_api_names_logs_under_the_stores_url(url: str) -> None:
    from types import SimpleNamespace

    from s1sweep.api import refuse_failed

    failure = Failure(kind="bug", message="line one\nline two", log="stages/bad/1/log.txt")
    session = SimpleNamespace(failed={"bad": StageOutcome("bad", failure)}, blocked=set(), store=Store(url))
    with pytest.raises(SweepFailed) as raised:
        refuse_failed(session, "again")  # type: ignore[arg-type]
    assert f"log: {Store(url).url}/stages/bad/1/log.txt" in str(raised.value) and "line two" in str(raised.value)
    assert raised.value.failed == {"bad": "line one\nline two"}


def test_stages_of_one_job_have_times_of_their_own(root: Path) -> None:
    store = Store(root)
    stages = [replace(stage(f"s{i}", seconds=0.2)) for i in range(3)]
    assert all(outcome.ok for outcome in done(store, *stages))
    records = [record for s in stages if (record := store.record(s.id))]
    starts = [record.provenance.started for record in records]
    assert starts[1] - starts[0] >= 0.19 and starts[2] - starts[1] >= 0.19
    assert len({record.attempt for record in records}) == 1


def test_readers_show_a_failure_whole_and_rows_its_first_line(root: Path) -> None:
    """Of a long message the end is what helps, and the remedy comes last of all."""
    sweep = fabricate(root, "data=random", "task=tiny_calc", "task.limit=4", failing=["train-"])
    store, (cell,) = sweep.store, results.cells(sweep)
    stage = cell.stages["train"]
    message = "CUDA out of memory. " + "Tried to allocate. " * 20 + "\nSee the second line"
    log = f"stages/{stage}/a/log.txt"
    store.mark_failed(stage, Failure(kind="out_of_memory", message=message, remedy="Take fewer rows", log=log))
    for text in (inspection.status_text(inspection.status(sweep)), inspection.explain(store, stage)):
        assert "See the second line. Take fewer rows." in text and f"log: {store.where(log)}" in text
    (cell,) = results.cells(sweep)
    assert cell.missing == f"train failed: {message}. Take fewer rows."
    page = report.write(sweep).read_text()
    (row,) = re.findall(r'<td class="why" colspan="7"><span class="missing">(.*?)</span>', page, re.DOTALL)
    assert row.startswith("train failed: CUDA out of memory.") and len(row) == 200 and "\n" not in row
    (shown,) = re.findall(r'<span class="message">(.*?)</span>', page, re.DOTALL)
    assert "second line. Take fewer rows." in shown and store.where(log) in page
