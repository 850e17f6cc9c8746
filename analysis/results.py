"""The result of each cell, read from records and nothing else. Needs only the standard library and s1sweep's core.

A cell without a number is a row with its reason. Knows nothing of how results are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from s1sweep.data.pool import read_jsonl
from s1sweep.errors import UserError
from s1sweep.spec import TaskSpec
from s1sweep.store import SCHEMA, Store, Sweep
from s1sweep.tasks import Question, task_content
from s1sweep.tasks import questions as read_questions

from . import intervals

GRADES = "grades.jsonl"
READOUTS = "readouts.jsonl"


@dataclass(frozen=True)
class CellResult:
    """One row of a sweep's table. Numbers are None where the cell is missing; NaN never occurs.

    `accuracy`, `ci_low`, `ci_high` and `forced_share` are shares in [0, 1]; the interval is at 95 % and `interval` says
    how it was made. `n` counts questions, `readouts` answers. Means are tokens per readout; thinking includes appended
    strings and all parallel samples of an answer; the total is every token decoded or scored for it. `forced_share`
    counts every readout whose thinking did not end by itself. `grades` is the file behind it.
    """

    key: str
    axes: dict[str, Any]
    spec: dict[str, Any]
    stages: dict[str, str]
    series: str
    notes: tuple[str, ...] = ()
    accuracy: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    readouts: int | None = None
    interval: str | None = None
    mean_thinking_tokens: float | None = None
    mean_answer_tokens: float | None = None
    mean_total_tokens: float | None = None
    forced_share: float | None = None
    endings: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    missing: str | None = None
    grades: Path | None = field(default=None, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, without the full spec."""
        return {
            "key": self.key,
            "axes": self.axes,
            "accuracy": self.accuracy,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "n": self.n,
            "readouts": self.readouts,
            "interval": self.interval,
            "mean_thinking_tokens": self.mean_thinking_tokens,
            "mean_answer_tokens": self.mean_answer_tokens,
            "mean_total_tokens": self.mean_total_tokens,
            "forced_share": self.forced_share,
            "endings": self.endings,
            "verdicts": self.verdicts,
            "missing": self.missing,
            "series": self.series,
            "stages": self.stages,
            "notes": list(self.notes),
        }


def cells(sweep: Sweep) -> list[CellResult]:
    """One result per cell of the sweep, in their order. Raises UserError on a record of another schema."""
    return [_result(sweep.store, cell) for cell in sweep.cells()]


def record_of(store: Store, stage_id: str) -> dict[str, Any] | None:
    """A stage's record, or None. Raises UserError if another version of s1sweep wrote it in another schema."""
    record = store.record(stage_id)
    if record is not None and record.get("schema") != SCHEMA:
        raise UserError(
            f"{store.stage_dir(stage_id) / 'record.json'} has schema {record.get('schema')!r}, "
            f"this s1sweep reads {SCHEMA}. Use the s1sweep version that wrote it."
        )
    return record


def scores(cell: CellResult) -> dict[str, float]:
    """Share of correct readouts for each question id; empty for a missing cell."""
    return {} if cell.grades is None else {q: right / total for q, (right, total) in _tallies(cell.grades).items()}


def readouts(store: Store, cell: CellResult) -> list[dict[str, Any]]:
    """Grades joined with what was decoded, in the order of the grades; empty for a missing cell.

    Each row has the fields of both files, among them `thinking` ([text, injected?] pieces), `answer`, `gold` and
    `verdict`. Where the decoded text is gone, only the fields of the grade are there.
    """
    if cell.grades is None:
        return []
    decode = record_of(store, cell.stages["decode"])
    path = store.outputs(cell.stages["decode"]) / READOUTS if decode else None
    decoded = read_jsonl(path) if path and path.exists() else []
    return [{**(decoded[grade["readout"]] if decoded else {}), **grade} for grade in read_jsonl(cell.grades)]


def questions(store: Store, cell: CellResult) -> dict[str, Question]:
    """The task's questions by id; empty if the task's file is gone or is not the one that was graded."""
    record = record_of(store, cell.stages["grade"])
    try:
        task = TaskSpec.model_validate(cell.spec["task"])
        if record and record["result"]["hashed"]["content"]["task"] != task_content(task):
            return {}
        return {question.id: question for question in read_questions(task)}
    except (UserError, OSError, ValueError):  # gone, or of another version
        return {}


def _result(store: Store, cell: Mapping[str, Any]) -> CellResult:
    row = CellResult(
        key=cell["key"],
        axes=cell["axes"],
        spec=cell["spec"],
        stages=cell["stages"],
        series=cell["series"],
        notes=tuple(cell.get("notes", ())),
    )
    grade = cell["stages"]["grade"]
    record = record_of(store, grade)
    if record is None:
        return replace(row, missing=_why_missing(store, cell["stages"]))
    found = record["result"]["summary"]
    n, count = found["questions"], found["answers"]
    path = store.stage_dir(grade) / record["provenance"]["attempt"] / GRADES
    if n == count:
        (low, high), how = intervals.wilson(found["accuracy"] * n, n), f"Wilson over {n} questions"
    else:
        (low, high), how = intervals.clustered(_tallies(path).values())
    return replace(
        row,
        accuracy=found["accuracy"],
        ci_low=low,
        ci_high=high,
        n=n,
        readouts=count,
        interval=how,
        mean_thinking_tokens=found["mean_thinking_tokens"],
        mean_answer_tokens=found["mean_answer_tokens"],
        mean_total_tokens=found["mean_total_tokens"],
        forced_share=1 - found["endings"].get("natural", 0) / sum(found["endings"].values()),
        endings=found["endings"],
        verdicts=found["verdicts"],
        grades=path,
    )


def _why_missing(store: Store, stages: Mapping[str, str]) -> str:
    """The failure that stands in the way, or what has not run yet, of the first stage that is not done."""
    reason = "not run yet"
    for role, stage in reversed(list(stages.items())):  # inputs come first
        if record_of(store, stage) is not None:
            break  # a finished stage needs none of its inputs
        failure = store.failure(stage)
        reason = f"{role} failed: {failure['message']}" if failure else reason
    return reason


@cache
def _tallies(path: Path) -> dict[str, tuple[float, int]]:
    """Question id -> (credit, answers). Published files never change, so one reading serves all."""
    found: dict[str, tuple[float, int]] = {}
    for grade in read_jsonl(path):
        right, total = found.get(grade["question_id"], (0.0, 0))
        found[grade["question_id"]] = (right + grade["credit"], total + 1)
    return found
