"""Results, intervals and tables, on stores made through the Store API."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from rich.console import Console

from s1sweep.analysis import papertables, results, tables
from s1sweep.analysis.intervals import wilson
from s1sweep.errors import UserError
from s1sweep.planning import Plan, Stage
from s1sweep.planning.axes import axes_of
from s1sweep.sources.tasks import questions
from s1sweep.spec import CellSpec, DecodeStage, GradeStage
from s1sweep.store import Failure, Store, Sweep
from tests.helpers import ROOT, compose

Skill = Callable[[CellSpec, int], float]  # cell, question number -> chance of a correct answer


def even(cell: CellSpec, number: int) -> float:
    return 0.5


def fabricate(
    root: Path,
    *overrides: str,
    skill: Skill = even,
    name: str = "made",
    failing: Sequence[str] = (),
    waiting: str = "-",
) -> Sweep:
    """A sweep with records as the stages would publish them, decoded by dice instead of a model.

    Stages whose id holds a text of `failing` have failed; grades whose cell's training id holds `waiting` have not run.
    """
    store, plan = Store(root), Plan()
    # Sizes are pinned, so that these tests do not depend on the shipped defaults.
    sizes = () if any(o.startswith("data.size") for o in overrides) else ("data.size=256",)
    configs = compose(*sizes, *overrides)
    cells = [plan.add(config.cell, axes_of(config)) for config in configs]
    specs = {cell.stages["grade"]: cell for cell in cells}
    for stage in plan.stages.values():
        if store.record(stage.id):
            continue
        if any(text in stage.id for text in failing):
            log = f"stages/{stage.id}/a/log.txt"
            store.mark_failed(stage.id, Failure(kind="bug", message="RuntimeError: lost <b>GPU</b>", log=log))
        elif all(store.record(name) for name in stage.inputs.values()):
            cell = specs.get(stage.id)
            if cell is None or waiting == "-" or waiting not in cell.stages.get("train", ""):
                _publish(store, stage, skill, specs, plan)
    assert all(config.claims == configs[0].claims for config in configs), "claims are the sweep's, not a cell's"
    sweep = Sweep(store, name)
    sweep.open("budget <forcing> & friends", ["demo"], [c.model_dump(mode="json") for c in configs[0].claims])
    sweep.add(cell.as_json() for cell in cells)
    return sweep


def _publish(store: Store, stage: Stage, skill: Skill, specs: dict[str, Any], plan: Plan) -> None:
    out = store.attempt_dir(stage.id)
    summary: dict[str, Any] = {}
    cost: dict[str, Any] = {"train_seconds": 21.5} if stage.kind == "train" else {}
    if stage.kind in ("pool", "curate"):
        summary = {"rows": 4096}
    elif stage.kind == "select":
        (out / "rows.jsonl").write_text("{}\n")
        summary = {"rows": 256, "pool_rows": 4096}
    elif stage.kind == "train":
        history = [{"step": i, "loss": 0.3 + 0.8 * math.exp(-i / 20), "learning_rate": 1e-3} for i in range(1, 97)]
        _lines(out / "history.jsonl", history)
        summary = {
            "rows": 256,
            "steps": 96,
            "tokens": 123_456,
            "supervised_tokens_per_epoch": 1,
            "truncated_share": 0.0,
        }
        summary |= {"first_loss": history[0]["loss"], "final_loss": history[-1]["loss"]}
    elif stage.kind == "decode":
        cell = next(c for c in plan.cells if c.stages["decode"] == stage.id)
        rows = _readouts(stage, cell.spec, skill)
        _lines(out / "readouts.jsonl", rows)
        summary = {"questions": len({r["question_id"] for r in rows}), "readouts": len(rows)}
        means = {name: fmean(row[name] for row in rows) for name in rows[0] if name.endswith("_tokens")}
        summary |= {f"mean_{name}": mean for name, mean in means.items()}
        asked = sum(row["thinking_tokens"] - row["injected_tokens"] + row["answer_tokens"] for row in rows)
        cost = {"requested_tokens": asked, "decoded_tokens": asked // 2, "reused_tokens": asked // 4}
        cost |= {"prefilled_tokens": 10 * len(rows), "engine": {"engine": "dice 1.0", "device": "cpu"}}
    else:
        gold = {q.id: q.answer for q in questions(specs[stage.id].spec.task)}
        grades = []
        decoded = (store.outputs(stage.inputs["decode"]) / "readouts.jsonl").read_text(encoding="utf-8")
        for line, row in enumerate(map(json.loads, decoded.splitlines())):
            kept = ("question_id", "sample", "ended", "ignored", "thinking_tokens", "injected_tokens", "answer_tokens")
            verdict = (
                "correct" if row["answer"] == gold[row["question_id"]] else "wrong" if row["answer"] else "no_answer"
            )
            judged = {
                "readout": line,
                "credit": float(verdict == "correct"),
                "verdict": verdict,
                "extracted": row["answer"] or None,
                "gold": gold[row["question_id"]],
                "probes": [
                    {"kind": p["kind"], "at": p["at"], "verdict": "wrong", "extracted": "7"} for p in row["probes"]
                ],
            }
            tokens = {"total_tokens": row["thinking_tokens"] + row["answer_tokens"]}
            found = {"loop_tokens": 0, "backtracks": row["ignored"], "score": None}
            grades.append({key: row[key] for key in kept} | tokens | found | judged)
        endings = Counter(grade["ended"] for grade in grades)
        if isinstance(stage.spec, GradeStage) and stage.spec.parallel:
            grades = _voted(grades, stage.spec.parallel.n)
        _lines(out / "grades.jsonl", grades)
        verdicts = Counter(grade["verdict"] for grade in grades)
        summary = {
            "questions": len({grade["question_id"] for grade in grades}),
            "answers": len(grades),
            "readouts": len(grades),
            "accuracy": fmean(grade["credit"] for grade in grades),
            "verdicts": {v: verdicts[v] for v in ("correct", "wrong", "no_answer", "not_extracted")},
            "endings": dict(endings),
            "mean_thinking_tokens": fmean(grade["thinking_tokens"] for grade in grades),
            "mean_answer_tokens": fmean(grade["answer_tokens"] for grade in grades),
            "mean_total_tokens": fmean(grade["total_tokens"] for grade in grades),
            "mean_tries": 1.5,
        }
    assert store.publish(stage.id, stage.hashed, out, summary, time.time(), cost)


def _voted(grades: Sequence[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """The first of each n, right where more than half of them are, with the tokens of all."""
    found = []
    for group in (grades[i : i + n] for i in range(0, len(grades), n)):
        credit = float(sum(one["credit"] for one in group) * 2 > n)
        tokens = {k: sum(one[k] for one in group) for k in group[0] if k.endswith("_tokens")}
        verdict = "correct" if credit else "wrong"
        found.append({**group[0], **tokens, "credit": credit, "verdict": verdict, "sample": group[0]["sample"] // n})
    return found


def _readouts(stage: Stage, cell: CellSpec, skill: Skill) -> list[dict[str, Any]]:
    spec = stage.spec
    assert isinstance(spec, DecodeStage)
    dice = random.Random(stage.id)
    rows = []
    for number, question in enumerate(questions(spec.task)):
        for sample in range(spec.sampling.samples):
            cap, ignores = getattr(spec.method, "max_thinking_tokens", 256), spec.extrapolation.num_ignore
            cap = 1024 if isinstance(cap, str) else cap
            wanted = round(dice.lognormvariate(4, 0.6)) * (1 + ignores)
            tokens = min(wanted, cap) if isinstance(cap, int) else wanted
            answer = question.answer if dice.random() < skill(cell, number) else dice.choice(["", "7", "A"])
            pieces: list[list[Any]] = [["a3+8=1;b1+7=8;" * max(1, tokens // 24), False]]
            starts = [tokens * (i + 1) // (ignores + 1) for i in range(ignores)] if tokens > 3 * ignores else []
            for _ in range(ignores):
                pieces += [[spec.extrapolation.string or "", True], [" c8-6=2;\nFinal Answer: 4", False]]
            rows.append(
                {
                    "question_id": question.id,
                    "sample": sample,
                    "ended": "forced" if wanted > tokens else "natural",
                    "ignored": ignores,
                    "thinking_tokens": tokens,
                    "injected_tokens": ignores,
                    "answer_tokens": 3,
                    "probe_tokens": 2 * len(starts),
                    "probes": [{"kind": "end", "at": start, "stated": "Answer: 7", "tokens": 2} for start in starts],
                    "thinking_ids": [5] * tokens,
                    "injected": [[start, start + 1] for start in starts],
                    "answer_finish": "stop",
                    "thinking": [piece for piece in pieces if piece[0]],
                    "answer": answer,
                    "stated": "Final Answer: " + answer,
                }
            )
    return rows


def _lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --- results


def test_results_are_the_records_in_the_cells_order(root: Path) -> None:
    sweep = fabricate(root, "data=random,s1k", "task=tiny_calc,tiny_choice")
    cells = results.cells(sweep)
    assert [cell.key for cell in cells] == [cell.key for cell in sweep.cells()]
    for cell in cells:
        record = sweep.store.record(cell.stages["grade"])
        assert record is not None
        summary = record.summary
        scores = results.scores(cell)
        assert cell.missing is None
        assert cell.accuracy == summary["accuracy"] == pytest.approx(fmean(scores.values()))
        assert (cell.ci_low, cell.ci_high) == wilson(cell.verdicts["correct"], cell.n or 0)
        assert cell.n == cell.readouts == len(scores)
        assert cell.forced_share == 1 - summary["endings"]["natural"] / cell.n
        assert json.loads(json.dumps(cell.as_json(), allow_nan=False))["accuracy"] == cell.accuracy


def test_several_samples_count_questions_not_readouts(root: Path) -> None:
    overrides = ("task=tiny_calc", "sampling=sampled", "sampling.samples=4", "task.limit=20")
    (cell,) = results.cells(fabricate(root, *overrides, skill=lambda cell, number: 0.2 + 0.6 * (number % 2)))
    assert (cell.n, cell.readouts) == (20, 80)
    assert "bootstrap over 20 questions" in (cell.interval or "")
    assert set(results.scores(cell).values()) <= {0, 0.25, 0.5, 0.75, 1}
    assert cell.ci_low is not None and cell.accuracy is not None and cell.ci_high is not None
    assert cell.ci_low < cell.accuracy < cell.ci_high


def test_a_missing_cell_is_a_row_with_its_reason(root: Path) -> None:
    sweep = fabricate(
        root, "data=random,diverse,longest", "task=tiny_calc", failing=["train-tiny-diverse"], waiting="longest"
    )
    done, failed, waiting = results.cells(sweep)
    assert done.missing is None
    assert failed.missing == "train failed: RuntimeError: lost <b>GPU</b>"
    assert waiting.missing == "not run yet"
    for cell in (failed, waiting):
        found = cell.as_json()
        assert [found[key] for key in ("accuracy", "ci_low", "ci_high", "n", "mean_thinking_tokens")] == [None] * 5
        assert results.readouts(sweep.store, cell) == []


def test_a_record_of_another_schema_is_refused(root: Path) -> None:
    sweep = fabricate(root, "task=tiny_calc")
    path = sweep.store.stage_dir(sweep.cells()[0].stages["grade"]) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(UserError, match="schema 99"):
        results.cells(sweep)


def test_readouts_join_what_was_decoded_with_its_grade(root: Path) -> None:
    sweep = fabricate(root, "task=tiny_calc", "extrapolation=wait", "sampling=sampled", "sampling.samples=2")
    (cell,) = results.cells(sweep)
    rows = results.readouts(sweep.store, cell)
    asked = results.questions(sweep.store, cell)
    assert len(rows) == cell.readouts
    assert [(row["question_id"], row["sample"]) for row in rows[:3]] == [
        ("tiny_calc-000", 0),
        ("tiny_calc-000", 1),
        ("tiny_calc-001", 0),
    ]
    assert all(row["gold"] == asked[row["question_id"]].answer for row in rows)
    assert rows[0]["thinking"][1] == ["Wait", True]
    assert {row["verdict"] for row in rows} >= {"correct", "wrong"}


def test_questions_of_a_task_file_that_changed_are_not_shown(root: Path, tmp_path: Path) -> None:
    task = tmp_path / "mine.jsonl"
    task.write_text(json.dumps({"id": "a", "question": "1+1", "answer": "2"}) + "\n")
    sweep = fabricate(root, "task=file", "task.name=mine", "task.grader=math", f"task.path={task}")
    (cell,) = results.cells(sweep)
    assert results.questions(sweep.store, cell)["a"].question == "1+1"
    task.write_text(json.dumps({"id": "a", "question": "2+2", "answer": "4"}) + "\n")
    assert results.questions(sweep.store, cell) == {}
    task.unlink()
    assert results.questions(sweep.store, cell) == {}


def test_results_need_no_numpy_and_no_drawing(root: Path) -> None:
    fabricate(root, "task=tiny_calc", "sampling=sampled", "sampling.samples=2")
    code = f"""
import sys
for name in ("numpy", "pandas", "matplotlib", "scipy", "torch", "ray", "vllm", "wandb"):
    sys.modules[name] = None
from s1sweep.analysis import results, tables
from s1sweep.store import Store
cells = results.cells(Store({str(root)!r}).sweep(None))
tables.show(cells)
assert tables.csv_text(cells)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


# --- tables


def printed(cells: Sequence[results.CellResult], width: int, terminal: bool = True) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None, legacy_windows=False)
    tables.show(cells, console)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("width", "terminal"), [(60, True), (80, True), (120, True), (80, False)])
def test_the_table_shows_whole_numbers_at_any_width(root: Path, width: int, terminal: bool) -> None:
    overrides = (
        "data=random,diverse",
        "data.seed=0,1",
        "extrapolation=none,alternatively",
        "task=tiny_calc,tiny_choice",
    )
    cells = results.cells(fabricate(root, *overrides, "task.limit=20", failing=["train-tiny-diverse-256-seed1"]))
    lines = printed(cells, width, terminal)
    text = "\n".join(lines)
    assert not terminal or max(map(len, lines)) <= width
    assert "…" not in text
    shown = Counter(tables.with_interval(cell) for cell in cells if cell.missing is None)
    assert all(text.count(number) >= times for number, times in shown.items())
    assert text.count("train failed") == 4 + 1  # rows, and the note with the whole reason
    assert "4 missing: train failed: RuntimeError: lost <b>GPU</b>" in " ".join(text.split())


def test_only_axes_that_vary_are_columns(root: Path) -> None:
    cells = results.cells(fabricate(root, "extrapolation=none,wait", "task=tiny_calc", "data.size=64"))
    assert printed(cells, 120)[0].split() == [
        "task",
        "extrapolation",
        "accuracy",
        "%",
        "n",
        "think",
        "total",
        "forced",
        "%",
    ]
    assert printed([], 80) == ["No cells."]


def test_a_large_sweep_is_pivoted_and_loses_no_cell(root: Path) -> None:
    grid = (
        "data=random,diverse,longest,full,s1k",
        "extrapolation=none,wait,hmm",
        "task=tiny_calc,tiny_hard,tiny_choice",
    )
    cells = results.cells(fabricate(root, *grid, "task.limit=10", failing=["train-tiny-longest"]))
    assert len(cells) == 45
    text = "\n".join(printed(cells, 120))
    assert "accuracy % by data" in text
    assert text.count("[") == 36 and text.count("train failed") == 9 + 1
    assert "\n".join(printed(cells, 120, terminal=False)).count("[") == 36


def test_csv_has_a_line_for_every_cell(root: Path) -> None:
    sweep = fabricate(root, "data=random,diverse", "task=tiny_calc", failing=["train-tiny-diverse"])
    done, missing = csv.DictReader(io.StringIO(tables.csv_text(results.cells(sweep))))
    assert done["data"] == "random" and 0 <= float(done["ci_low"]) <= float(done["accuracy"]) <= 1
    assert missing["accuracy"] == "" and missing["missing"].startswith("train failed")


# --- the paper's tables


def test_subset_table_has_arms_and_what_each_is_compared_with(root: Path) -> None:
    def skill(cell: CellSpec, number: int) -> float:
        return 0.95 if cell.data.rule == "s1k" else 0.5

    fabricate(root, "data=random,s1k", "task=tiny_calc,tiny_choice", "extrapolation=none,wait", skill=skill)
    fabricate(root, "data=random", "data.seed=1", "task=tiny_calc,tiny_choice", skill=skill)
    sweep = fabricate(root, "train=none", "task=tiny_calc", skill=skill)
    grid = papertables.subset_table(results.cells(sweep))
    assert grid is not None
    assert grid.columns == ("tiny_calc", "tiny_choice")
    assert [(line.label, line.kind) for line in grid.lines] == [
        ("no training", "arm"),
        ("random, seed 0", "arm"),
        ("random, seed 1", "null"),
        ("s1k", "reference"),
    ]
    assert grid.setting.startswith("no extrapolation, at most 256 thinking tokens")
    assert grid.elsewhere == 4  # with "Wait"
    base, random_arm, null, s1k = grid.lines
    assert [cell and cell.axes["task"] for cell in base.cells] == ["tiny_calc", None]
    assert [cell and cell.axes["data"] for cell in random_arm.cells] == ["random", "random"]
    assert (random_arm.against, null.against, s1k.against) == ("s1k", "random, seed 0", None)


def test_extrapolation_table_has_the_papers_rows(root: Path) -> None:
    strings = "extrapolation=wait,none,hmm,empty,alternatively"
    sweep = fabricate(root, "data=random,s1k", strings, "task=tiny_calc", failing=["-Hmm-"])
    grid = papertables.extrapolation_table(results.cells(sweep))
    assert grid is not None and grid.setting.startswith("s1k")
    assert [line.label for line in grid.lines] == [
        "no extrapolation",
        "2×, no string",
        '2× "Alternatively"',
        '2× "Hmm"',
        '2× "Wait"',
    ]
    hmm = grid.lines[3].cells[0]
    assert hmm is not None and (hmm.missing or "").startswith("decode failed")
    assert [line.against for line in grid.lines] == [None, *["no extrapolation"] * 4]
    assert papertables.extrapolation_table(results.cells(sweep), ("random", 256, 0)) is not None


def test_papers_tables_are_absent_where_there_is_nothing_to_compare(root: Path) -> None:
    cells = results.cells(fabricate(root, "task=tiny_calc"))
    assert papertables.subset_table(cells) is None
    assert papertables.extrapolation_table(cells) is None
    assert papertables.subset_table([]) is None
