"""Accuracy on the questions that no compared arm has trained on: those that share no 8-gram with a selected row.

The same questions for every arm of a task, so that arms stay comparable. Reads records; knows no table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from s1sweep.data.overlap import overlaps
from s1sweep.errors import UserError
from s1sweep.identity import digest
from s1sweep.sources.raw import read_jsonl
from s1sweep.store import Store

from . import results
from .results import CellResult

ROWS = "rows.jsonl"


@dataclass(frozen=True)
class Clean:
    """Accuracy in [0, 1] over `n` questions that no arm has seen, of `of`; None where none is left, or no result is."""

    accuracy: float | None
    n: int
    of: int

    def as_json(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, "n": self.n, "of": self.of}


def clean(store: Store, cells: Sequence[CellResult]) -> list[Clean | None]:
    """For each cell its clean result; None for a missing cell. Raises UserError if rows or questions are gone."""
    rows = [row["question"] for name in _selections(cells) for row in read_jsonl(_rows(store, name))]
    tasks: dict[str, list[CellResult]] = defaultdict(list)
    for cell in cells:
        if cell.missing is None:
            tasks[_task(cell)].append(cell)
    seen = {task: _seen(store, among[0], rows) for task, among in tasks.items()}
    return [None if cell.missing is not None else _without(cell, seen[_task(cell)]) for cell in cells]


def _task(cell: CellResult) -> str:
    return digest({**cell.spec["task"], "grader": None})


def _selections(cells: Sequence[CellResult]) -> list[str]:
    return sorted({cell.stages["select"] for cell in cells if "select" in cell.stages})


def _rows(store: Store, name: str) -> Any:
    if store.record(name) is None or not (path := store.outputs(name, ROWS) / ROWS).exists():
        raise UserError(
            f"--clean needs the rows that {name} selected, and they are not in the store. Run the sweep again "
            f"(`s1sweep run --force {name}` makes them anew), or leave --clean out."
        )
    return path


def _seen(store: Store, cell: CellResult, rows: Sequence[str]) -> frozenset[str]:
    asked = results.questions(store, cell)
    if not asked:
        raise UserError(
            f"--clean needs the questions of task {cell.spec['task']['name']!r}, which are gone or have changed since "
            "they were graded. Bring them back, or leave --clean out."
        )
    names = list(asked)
    found = overlaps([asked[name].question for name in names], rows)
    return frozenset(names[place] for _, places in found for place in places)


def _without(cell: CellResult, seen: frozenset[str]) -> Clean:
    scores = results.scores(cell)
    kept = [score for name, score in scores.items() if name not in seen]
    return Clean(fmean(kept) if kept else None, len(kept), len(scores))
