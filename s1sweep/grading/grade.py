"""The `grade` stage: readouts in, one verdict per readout and the cell's counts out. Costs CPU seconds only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from s1sweep.data.pool import read_jsonl
from s1sweep.decoding.readout import READOUTS
from s1sweep.grading.graders import GRADERS, VERDICTS
from s1sweep.sources import questions
from s1sweep.spec import GradeStage

GRADES = "grades.jsonl"


def run(spec: GradeStage, inputs: Mapping[str, Path], out: Path, **_: Any) -> dict[str, Any]:
    """Write one grade per readout, in the readouts' order."""
    assert spec.task.grader is not None, "the plan refuses tasks without a grader"
    grader = GRADERS[spec.task.grader]
    gold = {q.id: q.answer for q in questions(spec.task)}
    grades = []
    for readout in read_jsonl(inputs["decode"] / READOUTS):
        judged = grader.judge(readout["stated"], gold[readout["question_id"]])
        kept = ("question_id", "sample", "ended", "ignored", "thinking_tokens", "injected_tokens", "answer_tokens")
        grades.append(
            {
                **{key: readout[key] for key in kept},
                "verdict": judged.verdict,
                "extracted": judged.extracted,
                "gold": gold[readout["question_id"]],
            }
        )
    with (out / GRADES).open("w", encoding="utf-8") as f:
        f.writelines(json.dumps(g, ensure_ascii=False) + "\n" for g in grades)
    verdicts = Counter(g["verdict"] for g in grades)
    endings = Counter(g["ended"] for g in grades)
    return {
        "questions": len({g["question_id"] for g in grades}),
        "readouts": len(grades),
        "accuracy": verdicts["correct"] / len(grades),
        "verdicts": {v: verdicts[v] for v in VERDICTS},
        "endings": dict(sorted(endings.items())),
        "mean_thinking_tokens": fmean(g["thinking_tokens"] for g in grades),
        "mean_answer_tokens": fmean(g["answer_tokens"] for g in grades),
        "mean_ignored": fmean(g["ignored"] for g in grades),
    }
