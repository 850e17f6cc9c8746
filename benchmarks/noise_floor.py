"""The A/A run: the same cells decoded again, so what differs is noise and not the method.

Greedy, nothing may differ: not with a warm prefix cache, not cell by cell, not in another order or batch. Sampled,
other draws differ; the standard error that drawing other questions would give stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import mean, median
from typing import Any

from benchmarks.common import Session, decode, main, one_by_one, testbed_engine
from s1sweep.answers.graders import GRADERS
from s1sweep.sources.tasks import questions
from s1sweep.spec import CellConfig
from tests.helpers import compose

TASKS = "tiny_calc,tiny_hard"
REPLICATES = 4
Rows = list[list[dict[str, Any]]]


def measure(_: int, weights: str, limit: int, samples: int) -> dict[str, Any]:
    """Both halves; `weights` is a checkpoint of the testbed's model, or its base."""
    engine, chat = testbed_engine(weights)
    sampled = _sampled(limit, samples, engine, chat)
    cells, greedy = _greedy(limit, engine, chat, weights)
    return {
        "weights": weights or "the testbed's base",
        "tasks": TASKS,
        "greedy_cells": cells,
        "greedy": greedy,
        "sampled": sampled,
        "noise_floor_points": {
            "greedy": max(run["largest_accuracy_difference_points"] for run in greedy.values()),
            "sampled": sampled["accuracy_difference_points"]["max"],
        },
        "bar": {"greedy": 0.0},
    }


def _cells(limit: int, *overrides: str) -> list[CellConfig]:
    return compose(
        "train=none", f"task={TASKS}", f"task.limit={limit}", "method.max_thinking_tokens=32,96,256", *overrides
    )


def _greedy(limit: int, engine: Any, chat: Any, weights: str) -> tuple[int, dict[str, Any]]:
    cells = _cells(limit, "sampling=greedy", "extrapolation=none,wait,hmm")

    def cold() -> Session:
        engine.forget()
        return decode(cells, engine, chat)

    first = cold()
    runs = {
        "again, prefix cache cold": cold,
        "again, prefix cache warm": lambda: decode(cells, engine, chat),
        "cell by cell, prefix cache cold each time": lambda: one_by_one(cells, engine, chat, engine.forget),
        "cells in reverse order, at most 8 sequences at once": lambda: _reversed(cells, weights),
    }
    return len(cells), {name: _differences(cells, first.rows(), run().rows()) for name, run in runs.items()}


def _reversed(cells: Sequence[CellConfig], weights: str) -> Session:
    """In a second engine, which stays, because closing it would end the first; the readouts are in the cells' order."""
    engine, chat = testbed_engine(weights, max_num_seqs=8)
    got = decode(cells[::-1], engine, chat)
    return Session(got.seconds, got.decoded, got.readouts[::-1])


def _differences(cells: Sequence[CellConfig], a: Rows, b: Rows) -> dict[str, Any]:
    pairs = [pair for one, other in zip(a, b, strict=True) for pair in zip(one, other, strict=True)]
    points = [100 * abs(x - y) for x, y in zip(_accuracies(cells, a), _accuracies(cells, b), strict=True)]
    return {
        "readouts": len(pairs),
        "share_of_other_thinking": round(mean(float(x["thinking_ids"] != y["thinking_ids"]) for x, y in pairs), 6),
        "share_of_other_answers": round(mean(float(x["stated"] != y["stated"]) for x, y in pairs), 6),
        "largest_accuracy_difference_points": round(max(points), 3),
    }


def _sampled(limit: int, samples: int, engine: Any, chat: Any) -> dict[str, Any]:
    asked = ("sampling=sampled", f"sampling.samples={samples}", "extrapolation=none,wait")
    runs = []
    for replicate in range(REPLICATES):
        cells = _cells(limit, *asked, f"sampling.replicate={replicate}")
        engine.forget()
        rows = decode(cells, engine, chat).rows()
        runs.append([_by_question(cell, one) for cell, one in zip(cells, rows, strict=True)])
    first, *others = [[100 * mean(cell) for cell in run] for run in runs]
    points = [abs(x - y) for other in others for x, y in zip(first, other, strict=True)]
    return {
        "samples_per_question": samples,
        "questions_per_cell": len(runs[0][0]),
        "comparisons": len(points),
        "accuracy_points": {
            "min": round(min(first), 2),
            "median": round(median(first), 2),
            "max": round(max(first), 2),
        },
        "accuracy_difference_points": {"median": round(median(points), 3), "max": round(max(points), 3)},
        "expected_of_one_accuracy_points": {
            "standard_error_from_drawing_questions": round(mean(_error(cell) for cell in runs[0]), 3),
            "standard_error_from_drawing_samples": round(mean(_within(cell, samples) for cell in runs[0]), 3),
        },
    }


def _by_question(cell: CellConfig, rows: Sequence[dict[str, Any]]) -> list[float]:
    """The share of right answers to each question."""
    right: dict[str, list[bool]] = {}
    for row, correct in zip(rows, _right(cell, rows), strict=True):
        right.setdefault(row["question_id"], []).append(correct)
    return [mean(answers) for answers in right.values()]


def _right(cell: CellConfig, rows: Sequence[dict[str, Any]]) -> list[bool]:
    task = cell.cell.task
    grader, gold = GRADERS[task.grader or ""], {q.id: q.answer for q in questions(task)}
    return [grader.judge(row["stated"], gold[row["question_id"]]).verdict == "correct" for row in rows]


def _accuracies(cells: Sequence[CellConfig], rows: Rows) -> list[float]:
    return [mean(_right(cell, one)) for cell, one in zip(cells, rows, strict=True)]


def _error(shares: Sequence[float]) -> float:
    """Standard error of the accuracy over questions, in points."""
    middle = mean(shares)
    return 100 * sqrt(sum((share - middle) ** 2 for share in shares) / (len(shares) - 1) / len(shares))


def _within(shares: Sequence[float], samples: int) -> float:
    """What of it is due to the samples alone, the questions being fixed, in points."""
    each = [share * (1 - share) / max(1, samples - 1) for share in shares]
    return 100 * sqrt(sum(each)) / len(shares)


if __name__ == "__main__":
    main("noise_floor", measure, weights="", limit=80, samples=4)
