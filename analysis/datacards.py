"""The data behind a sweep: the card of each subset, what subsets share, and what they share with the tasks.

Reads records of `select` stages; renders templates/data.html. Computes counts, no accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from s1sweep.data.card import CARD
from s1sweep.data.overlap import ngrams
from s1sweep.errors import UserError
from s1sweep.sources.raw import read_lines
from s1sweep.sources.tasks import questions
from s1sweep.spec import TaskSpec
from s1sweep.stages.rows import ROWS
from s1sweep.store import Store, Sweep

from . import results
from .labels import arm, arm_label, arm_order, axis_value, shown, varying_axes
from .results import CellResult, record_of

WORDS = 8  # of the n-grams by which questions overlap, as in s1's decontamination


@dataclass(frozen=True)
class Subset:
    """A finished subset. `overlaps` holds, for each task, how many of its rows share an 8-gram with the task's
    questions, and how many of these questions are hit.
    """

    label: str
    stage: str
    card: dict[str, Any]
    ids: frozenset[str]
    overlaps: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class DataCards:
    """The subsets of a sweep in the order of its tables; `pairs` counts the rows that two of them share."""

    sweep: Sweep
    tasks: dict[str, int]  # name -> questions
    subsets: list[Subset]
    pairs: dict[tuple[str, str], int]
    missing: list[str]


def gather(sweep: Sweep) -> DataCards:
    """Raises UserError if no cell of the sweep is trained, or none of its subsets is there yet."""
    cells = results.cells(sweep)
    trained = [cell for cell in cells if "select" in cell.stages]
    grams = {name: _grams(spec) for name, spec in _tasks(cells).items()}
    subsets, missing = [], []
    for stage, label in _labels(trained).items():
        if record_of(sweep.store, stage) is None:
            missing.append(label)
        else:
            subsets.append(_subset(sweep.store, stage, label, grams))
    if not subsets:
        why = "its subsets have not been drawn yet" if trained else "none of its cells is trained"
        raise UserError(f"Sweep {sweep.name!r} has no data to show: {why}.")
    pairs = {(a.stage, b.stage): len(a.ids & b.ids) for a, b in combinations(subsets, 2)}
    return DataCards(sweep, {name: len(found) for name, found in grams.items()}, subsets, pairs, missing)


def _tasks(cells: Sequence[CellResult]) -> dict[str, TaskSpec]:
    return {cell.spec["task"]["name"]: TaskSpec.model_validate(cell.spec["task"]) for cell in cells}


def _labels(cells: Sequence[CellResult]) -> dict[str, str]:
    """Distinct subsets and what tells them apart, in the order of the tables."""
    found = {cell.stages["select"]: cell for cell in sorted(cells, key=lambda cell: arm_order(arm(cell)))}
    arms = [arm(cell) for cell in found.values()]
    groups = ("pool", "curation")
    axes = [axis for axis in varying_axes(list(found.values())) if axis.split(".")[0] in groups]
    return {
        stage: ", ".join([arm_label(arm(cell), arms), *(f"{axis}={shown(axis_value(cell, axis))}" for axis in axes)])
        for stage, cell in found.items()
    }


def _grams(task: TaskSpec) -> list[set[int]]:
    return [set(ngrams(question.question, WORDS)) for question in questions(task)]


def _subset(store: Store, stage: str, label: str, tasks: dict[str, list[set[int]]]) -> Subset:
    out, ids = store.outputs(stage), set()
    every = {name: set().union(*found) for name, found in tasks.items()}
    rows, hit = dict.fromkeys(tasks, 0), {name: set[int]() for name in tasks}
    for _, line in read_lines(out / ROWS, "rows"):
        row = json.loads(line)
        ids.add(row["id"])
        grams = ngrams(row["question"], WORDS)
        for name, known in every.items():
            if shared := known.intersection(grams):
                rows[name] += 1
                hit[name] |= shared
    questions_hit = {name: sum(not hit[name].isdisjoint(found) for found in tasks[name]) for name in tasks}
    card = json.loads((out / CARD).read_text(encoding="utf-8"))
    return Subset(label, stage, card, frozenset(ids), {name: (rows[name], questions_hit[name]) for name in tasks})


def write(cards: DataCards, out: str | None = None) -> Path:
    """Write the page, by default `data.html` in the sweep's folder; returns its path. Needs jinja2."""
    from jinja2 import Environment, FileSystemLoader

    templates = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    shared = {**cards.pairs, **{(b, a): n for (a, b), n in cards.pairs.items()}}
    page = environment.get_template("data.html").render(cards=cards, shared=shared, words=WORDS)
    path = Path(out).expanduser() if out else cards.sweep.dir / "data.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def show(cards: DataCards) -> None:
    """Print a table: one line a subset."""
    from rich.console import Console
    from rich.table import Table

    table = Table("subset", "rows", "trace tokens", "domains", "sources", *(f"overlap {name}" for name in cards.tasks))
    for s in cards.subsets:
        counts = [f"{s.card[name]:,}" for name in ("rows", "trace_tokens")]
        counts += [str(len(s.card[name])) for name in ("domains", "sources")]
        table.add_row(s.label, *counts, *(str(s.overlaps[name][0]) for name in cards.tasks))
    console = Console()
    console.print(table)
    console.print(f"Overlap: rows that share {WORDS} words in a row with a question of the task.", style="dim")
    for label in cards.missing:
        console.print(f"Not drawn yet: {label}.", style="dim")
