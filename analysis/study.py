"""What exhibits read: a sweep's cells, the answers behind them, and the claims declared beforehand. Needs pandas.

Each file is read once. Knows records through `results`; computes no statistic and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from s1sweep.sources.raw import read_jsonl
from s1sweep.spec import Claim
from s1sweep.store import Store, Sweep

from . import grades, results
from .labels import Arm, arm, axis_value
from .results import CellResult


@dataclass(frozen=True)
class Scores:
    """Arrays (questions, samples): credit in [0, 1] of each answer, its thinking tokens, those of the answer, all its
    tokens, and whether its thinking ended by itself.
    """

    questions: tuple[str, ...]
    credit: np.ndarray
    thinking: np.ndarray
    answer: np.ndarray
    total: np.ndarray
    natural: np.ndarray


class Study:
    """A sweep, or some of its cells. `where` narrows the cells and keeps `whole`, over which claims are tested."""

    def __init__(self, store: Store, cells: Sequence[CellResult], claims: Sequence[Claim] = (), name: str = "") -> None:
        self.store = store
        self.cells = tuple(cells)
        self.claims = tuple(claims)
        self.name = name
        self.whole = self
        self._readouts: dict[Any, pd.DataFrame] = {}
        self._scores: dict[Any, Scores] = {}

    @classmethod
    def of(cls, sweep: Sweep) -> Study:
        claims = [Claim.model_validate(claim) for claim in sweep.info().claims]
        return cls(sweep.store, results.cells(sweep), claims, sweep.name)

    @cached_property
    def done(self) -> tuple[CellResult, ...]:
        """The cells that have a number."""
        return tuple(cell for cell in self.cells if cell.missing is None)

    @cached_property
    def arms(self) -> list[Arm]:
        """What its cells were trained on, each once."""
        return list(dict.fromkeys(arm(cell) for cell in self.cells))

    def where(self, keep: Callable[[CellResult], bool] | None = None, **axes: Any) -> Study:
        """The cells that `keep` wants, and whose axes (`data="s1k"`) have a value or one of a list of values."""
        wanted = {name: value if isinstance(value, list | tuple | set) else [value] for name, value in axes.items()}
        found = Study(
            self.store,
            [
                cell
                for cell in self.cells
                if (keep is None or keep(cell)) and all(axis_value(cell, n) in values for n, values in wanted.items())
            ],
            self.claims,
            self.name,
        )
        found.whole, found._readouts, found._scores = self.whole, self._readouts, self._scores
        return found

    def readouts(self, cell: CellResult) -> pd.DataFrame:
        """The rows of a finished cell's grades, in their order: one per answer. Raises KeyError for a missing cell.

        Columns are those of docs/results.md and `readout`.
        """
        if cell.grades is None:
            raise KeyError(f"{cell.key} has no number: {cell.missing}")
        if cell.grades not in self._readouts:
            assert cell.readouts is not None
            self._readouts[cell.grades] = grades.read(cell.grades, cell.readouts).to_pandas()
        return self._readouts[cell.grades]

    def grades(self, cell: CellResult) -> list[dict[str, Any]]:
        """The same rows with all their fields, votes and probes among them. Raises KeyError for a missing cell."""
        if cell.grades is None:
            raise KeyError(f"{cell.key} has no number: {cell.missing}")
        return read_jsonl(cell.grades)

    def scores(self, cell: CellResult) -> Scores:
        """A finished cell's answers as arrays, questions in the order of its task."""
        rows = self.readouts(cell)
        if cell.grades not in self._scores:
            questions = tuple(dict.fromkeys(rows["question_id"]))
            shape = (len(questions), -1)
            names = ("credit", "thinking_tokens", "answer_tokens", "total_tokens")
            credit, thinking, answer, total = (rows[name].to_numpy(float).reshape(shape) for name in names)
            natural = (rows["ended"] == "natural").to_numpy().reshape(shape)
            self._scores[cell.grades] = Scores(questions, credit, thinking, answer, total, natural)
        return self._scores[cell.grades]
