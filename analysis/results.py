"""The result of each cell, read from records and nothing else. Needs only the standard library and s1sweep's core.

A cell without a number is a row with its reason. Knows nothing of how results are shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from s1sweep.errors import UserError, invalid
from s1sweep.sources.raw import read_jsonl
from s1sweep.sources.tasks import Question, task_content
from s1sweep.sources.tasks import questions as read_questions
from s1sweep.spec import TaskSpec
from s1sweep.store import SCHEMA, Record, SavedCell, Store, Sweep

from . import grades, intervals

if TYPE_CHECKING:
    import pandas as pd

READOUTS = "readouts.jsonl"


@dataclass(frozen=True)
class CellResult:
    """One row of a sweep's table. Numbers are None where the cell is missing; NaN never occurs.

    `accuracy`, `ci_low`, `ci_high` and `forced_share` are shares in [0, 1]; the interval is at 95 % and `interval` says
    how it was made. `n` counts questions, `readouts` answers. Means are tokens per readout; thinking includes appended
    strings and all parallel samples of an answer; the total is every token decoded or scored for it. `forced_share`
    counts every readout whose thinking did not end by itself, `loop_share` those whose thinking ends in a loop.
    `grades` is the file behind it, and `versions` those of what graded it.
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
    loop_share: float | None = None
    endings: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    missing: str | None = None
    grades: Path | None = field(default=None, repr=False)
    versions: dict[str, int] = field(default_factory=dict, repr=False)

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
            "loop_share": self.loop_share,
            "endings": self.endings,
            "verdicts": self.verdicts,
            "missing": self.missing,
            "series": self.series,
            "stages": self.stages,
            "notes": list(self.notes),
        }


def load(
    source: Sweep | Store | Path | str,
    rows: Literal["cells", "readouts"] | None = None,
    verify: bool = False,
    mixed: bool = False,
) -> pd.DataFrame:
    """Tidy results: one row per cell and one per readout, told apart by the column `row`. Needs pandas and pyarrow.

    `source` is a sweep, its folder (`ROOT/sweeps/NAME`), or a store or its root, which stand for all their sweeps. With
    `rows` there are rows of one kind and only their columns; a missing cell is then still one row, with its reason in
    `missing`. Columns, units and types are in docs/results.md; rows are in the order of sweeps by name, cells as they
    were added, and questions as in their task, however many workers made them. `verify` compares the sha256 of each
    file. Raises UserError rather than give a shorter table: where `source` is no store, a file is gone, cut or edited,
    a record is of another schema, or, unless `mixed`, one sweep was graded by several versions.
    """
    if rows not in (None, "cells", "readouts"):
        raise invalid("rows", rows, ("cells", "readouts"), "Leave it out for both.")
    from . import frame

    return frame.joined([frame.frame(sweep, rows, verify, mixed) for sweep in sweeps_of(source)])


def sweeps_of(source: Sweep | Store | Path | str) -> list[Sweep]:
    """The sweeps that `source` stands for, by name. Raises UserError if there are none."""
    if isinstance(source, Sweep):
        return [source]
    store = source if isinstance(source, Store) else Store(source)
    kinds = store.files.names("")
    above, _, name = store.url.rpartition("/")
    if above.endswith("/sweeps") and "sweeps" not in kinds:
        return [Store(above.removesuffix("/sweeps")).sweep(name)]
    if "sweeps" not in kinds:
        found = "holds no folder `sweeps`" if kinds or store.root.is_dir() else "is not there"
        raise UserError(
            f"{store.url} {found}: not a store. Give placement.root of the run (it holds `sweeps` and `stages`), or "
            "the folder of one sweep, ROOT/sweeps/NAME."
        )
    if not (names := sorted(store.sweep_names())):
        raise UserError(f"No sweep under {store.url}. Start one with `s1sweep run`, or give another root.")
    return [Sweep(store, name) for name in names]


def cells(sweep: Sweep) -> list[CellResult]:
    """One result per cell of the sweep, in their order. Raises UserError on a record that cannot be read or trusted."""
    return list(each(sweep))


def each(sweep: Sweep, verify: bool = False) -> Iterator[CellResult]:
    """The same one by one; `verify` compares the sha256 of each file of grades with its record."""
    return (_result(sweep.store, cell, verify) for cell in sweep.cells())


def record_of(store: Store, stage_id: str) -> Record | None:
    """A stage's record, or None. Raises UserError if it is torn, or was written in another schema."""
    try:
        record = store.record(stage_id)
    except ValueError as error:
        raise UserError(
            f"{store.where('stages', stage_id, 'record.json')} is torn: no record ({error}). Copy the store again, "
            f"whole; or remove {store.where('stages', stage_id)} and give the sweep's command again, which makes this "
            "stage anew."
        ) from error
    if record is not None and record.schema_version != SCHEMA:
        raise UserError(
            f"{store.where('stages', stage_id, 'record.json')} has schema {record.schema_version}, "
            f"this s1sweep reads {SCHEMA}. Use the s1sweep version that wrote it."
        )
    return record


def scores(cell: CellResult) -> dict[str, float]:
    """Share of correct readouts for each question id; empty for a missing cell."""
    return {} if cell.grades is None else {q: credit / count for q, (credit, count) in _tallies(cell).items()}


def readouts(store: Store, cell: CellResult) -> list[Mapping[str, Any]]:
    """Grades joined with what was decoded, in the order of the grades; empty for a missing cell.

    Each row has the fields of both files, among them `thinking` ([text, injected?] pieces), `answer`, `gold` and
    `verdict`; a probe has what was said and how it was judged. Where the decoded text is gone, only the fields of the
    grade are there.
    """
    if cell.grades is None:
        return []
    decode = record_of(store, cell.stages["decode"])
    path = store.outputs(cell.stages["decode"], READOUTS) / READOUTS if decode else None
    decoded = path.read_bytes().split(b"\n") if path and path.exists() else []
    return [ReadoutRow(grade, decoded[grade["readout"]] if decoded else b"{}") for grade in read_jsonl(cell.grades)]


class ReadoutRow(Mapping[str, Any]):
    """A grade and the line of its readout, which is long, and parsed only if a field of it is asked for.

    A probe has what was said and how it was judged.
    """

    def __init__(self, grade: dict[str, Any], line: bytes) -> None:
        self._grade, self._line = grade, line

    @cached_property
    def _fields(self) -> dict[str, Any]:
        row = json.loads(self._line)
        judged = self._grade.get("probes") or []
        said = row.get("probes") or [{}] * len(judged)
        return {**row, **self._grade, "probes": [{**a, **b} for a, b in zip(said, judged, strict=True)]}

    def __getitem__(self, name: str) -> Any:
        judged = name in self._grade and not (name == "probes" and self._grade[name])
        return self._grade[name] if judged else self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def questions(store: Store, cell: CellResult) -> dict[str, Question]:
    """The task's questions by id; empty if the task's file is gone or is not the one that was graded."""
    record = record_of(store, cell.stages["grade"])
    try:
        task = TaskSpec.model_validate(cell.spec["task"])
        if record and record.hashed["content"]["task"] != task_content(task):
            return {}
        return {question.id: question for question in read_questions(task)}
    except (UserError, OSError, ValueError):  # gone, or of another version
        return {}


def _tallies(cell: CellResult) -> dict[str, tuple[float, int]]:
    assert cell.grades is not None and cell.readouts is not None
    return grades.tallies(cell.grades, cell.readouts)


def _result(store: Store, cell: SavedCell, verify: bool = False) -> CellResult:
    row = CellResult(cell.key, cell.axes, cell.spec, cell.stages, cell.series, cell.notes)
    grade = cell.stages["grade"]
    record = record_of(store, grade)
    if record is None:
        return replace(row, missing=_why_missing(store, cell.stages))
    found = record.summary
    n, count = found["questions"], found["answers"]
    path = grades.located(store, grade, record, verify)
    if n == count:
        (low, high), how = intervals.wilson(found["accuracy"] * n, n), f"Wilson over {n} questions"
    else:
        (low, high), how = intervals.clustered(grades.tallies(path, count).values())
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
        loop_share=found.get("loop_share"),
        endings=found["endings"],
        verdicts=found["verdicts"],
        grades=path,
        versions=dict(record.versions),
    )


def _why_missing(store: Store, stages: Mapping[str, str]) -> str:
    """The failure that stands in the way, or what has not run yet, of the first stage that is not done."""
    reason = "not run yet"
    for role, stage in reversed(list(stages.items())):  # inputs come first
        if record_of(store, stage) is not None:
            break  # a finished stage needs none of its inputs
        failure = store.failure(stage)
        reason = f"{role} failed: {failure}" if failure else reason
    return reason
