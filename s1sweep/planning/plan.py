"""Cells to stages: a DAG in which equal stages are one. Pure but for reading pools, tasks and digests; runs nothing.

Every mistake that can be seen without running is raised here, before any work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from s1sweep.identity import digest
from s1sweep.planning.checks import check, check_questions
from s1sweep.planning.data_stages import chain
from s1sweep.planning.graph import Graph
from s1sweep.planning.model_stages import decode_stage, grade_stage, train_stage
from s1sweep.planning.normal import training_format
from s1sweep.planning.stage import KINDS, Cell, Stage
from s1sweep.spec import CellSpec, GrpoSpec, SftSpec
from s1sweep.store import Store


@dataclass(eq=False)
class Plan(Graph):
    """Cells, and the union of their stages. `Plan(KnownIds.of(store))` goes by the ids that a store has."""

    cells: list[Cell] = field(default_factory=list)

    def add(self, cell: CellSpec, axes: Mapping[str, Any]) -> Cell:
        """Add one cell. Raises UserError if it cannot work."""
        check(cell)
        once = self.once
        once(check_questions, cell.task)
        notes: list[str] = []
        ids: dict[str, str] = {}
        if isinstance(cell.train, SftSpec | GrpoSpec):
            ids |= once(chain, self, cell.pool, cell.curation, cell.data)
            wanted = once(training_format, cell.method)
            ids["train"] = once(train_stage, self, cell.model, cell.train, wanted, ids["select"])
        else:
            notes.append("no training: pool and data make no difference")
        ids["decode"] = decode_stage(self, cell, ids.get("train"), notes)
        ids["grade"] = grade_stage(self, cell, ids["decode"])
        planned = Cell(digest([axes, ids])[:16], axes, cell, ids, tuple(notes))
        self.cells.append(planned)
        return planned

    def reused(self, store: Store) -> set[str]:
        """Ids of the stages that need not run: those with a record.

        A finished stage needs none of its inputs, so a missing intermediate below it is not made again.
        """
        begun = set(store.stage_ids())  # one look, where most may have nothing
        return {s.id for s in self.stages.values() if s.id in begun and store.reusable(s.id, s.hashed)}

    def needed(self, reused: Iterable[str]) -> dict[str, Stage]:
        """The stages that must run to have every cell's grade, in order."""
        have = set(reused)
        want: set[str] = set()
        todo = [cell.stages["grade"] for cell in self.cells]
        while todo:
            name = todo.pop()
            if name not in have and name not in want:
                want.add(name)
                todo.extend(self.stages[name].inputs.values())
        return {name: stage for name, stage in self.stages.items() if name in want}

    def counts(self, ids: Iterable[str]) -> dict[str, int]:
        """How many of the stages are of each kind."""
        found = Counter(self.stages[name].kind for name in ids)
        return {kind: found[kind] for kind in KINDS}
