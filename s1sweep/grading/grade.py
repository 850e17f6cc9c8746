"""The `grade` stage: readouts in, one verdict for each answer and the cell's counts out. Costs CPU seconds only.

An answer is one readout, or what several parallel readouts make together.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from s1sweep.answers.graders import GRADERS, VERDICTS, Grader, Judgement
from s1sweep.decoding.readout import ENDINGS, READOUTS
from s1sweep.decoding.rows import TOKENS as READOUT_TOKENS
from s1sweep.grading.parallel import Voter, decide
from s1sweep.sources.raw import read_lines
from s1sweep.sources.tasks import questions_of_stage
from s1sweep.spec import GradeStage, ParallelSpec

VERSION = 3
GRADES = "grades.jsonl"
TOKENS = (*READOUT_TOKENS, "prefilled_tokens")
# Every token that was decoded, or read by a reward model, for an answer.
TOTAL = ("thinking_tokens", "answer_tokens", "probe_tokens", "verifier_tokens", "discarded_tokens", "scored_tokens")
Row = dict[str, Any]
Numbered = tuple[int, Row]


def run(spec: GradeStage, inputs: Mapping[str, Path], out: Path, **_: Any) -> dict[str, Any]:
    """Write one grade for each answer, in the readouts' order; `readout` is the line of the one that stands for it."""
    assert spec.task.grader is not None, "the plan refuses tasks without a grader"
    grader = GRADERS[spec.task.grader]
    gold = {q.id: q.answer for q in questions_of_stage(spec.task, inputs)}
    sums: Counter[str] = Counter()
    verdicts: Counter[str] = Counter(dict.fromkeys(VERDICTS, 0))
    endings: Counter[str] = Counter()
    seen: set[str] = set()
    credit = 0.0
    with (out / GRADES).open("w", encoding="utf-8") as f:
        for group in _answers(inputs["decode"] / READOUTS, spec.parallel):
            grade = _grade(group, spec.parallel, grader, gold[group[0][1]["question_id"]])
            f.write(json.dumps(grade, ensure_ascii=False) + "\n")
            seen.add(grade["question_id"])
            verdicts[grade["verdict"]] += 1
            credit += grade["credit"]
            sums["answers"] += 1
            sums.update({name: grade[name] for name in (*TOKENS, "total_tokens")})
            for _line, one in group:
                sums.update({"readouts": 1, "ignored": one["ignored"], "tries": one["tries"]})
                sums["loops"] += one["loop"] is not None
                endings[one["ended"]] += 1
    # Of the rows of a pool there may be none left to ask.
    answers, readouts = sums["answers"], sums["readouts"]
    per_answer, per_readout = answers or 1, readouts or 1
    return {
        "questions": len(seen),
        "answers": answers,
        "readouts": readouts,
        "accuracy": credit / per_answer,
        "verdicts": dict(verdicts),
        "endings": {e: endings[e] for e in ENDINGS if endings[e]},
        **{f"mean_{name}": sums[name] / per_answer for name in (*TOKENS, "total_tokens")},
        "mean_ignored": sums["ignored"] / per_readout,
        "mean_tries": sums["tries"] / per_readout,
        "loop_share": sums["loops"] / per_readout,
    }


def _answers(path: Path, parallel: ParallelSpec | None) -> Iterator[list[Numbered]]:
    """The readouts of each answer with their line numbers: one by one, or those of parallel samples together."""
    rows = ((line, json.loads(text)) for line, (_, text) in enumerate(read_lines(path, "readouts")))
    if parallel is None:
        yield from ([row] for row in rows)
        return
    for _, group in groupby(rows, key=lambda row: (row[1]["question_id"], row[1]["sample"] // parallel.n)):
        yield list(group)


def _grade(group: Sequence[Numbered], parallel: ParallelSpec | None, grader: Grader, gold: str) -> Row:
    judged = [_judge(row, grader, gold) for _, row in group]
    place, verdict, credit, votes = 0, judged[0].verdict, float(judged[0].verdict == "correct"), None
    if parallel is not None:
        voters = [
            Voter(one.extracted, len(row["thinking_ids"]), row["score"])
            for one, (_, row) in zip(judged, group, strict=True)
        ]
        found = decide(voters, parallel, grader.equal)
        if found.winners:
            right = sum(judged[i].verdict == "correct" for i in found.winners)
            place, credit = found.winners[0], right / len(found.winners)
            verdict = "correct" if credit == 1 else "tied" if credit else "wrong"
        votes = [list(vote) for vote in found.votes]
    line, row = group[place]
    tokens = {name: sum(row[name] for _, row in group) for name in TOKENS}
    return {
        "question_id": row["question_id"],
        "sample": row["sample"] // (parallel.n if parallel else 1),
        "readout": line,
        "ended": row["ended"],
        "ignored": row["ignored"],
        **tokens,
        "total_tokens": sum(tokens[name] for name in TOTAL),
        "loop_tokens": row["loop"]["tokens"] if row["loop"] else 0,
        "backtracks": backtracks("".join(text for text, injected in row["thinking"] if not injected)),
        "score": row["score"],
        "verdict": verdict,
        "credit": credit,
        "extracted": judged[place].extracted,
        "gold": gold,
        "votes": votes,
        "probes": [{"kind": p["kind"], "at": p["at"], **_said(grader.judge(p["stated"], gold))} for p in row["probes"]],
    }


# What a model says when it turns back; the words that NoWait (arXiv 2506.08343) bans, less those of every text.
BACKTRACK = re.compile(r"\b(wait|hmm+|alternatively|however|actually|double-?check|let me (?:re)?check|verify)\b", re.I)


def backtracks(text: str) -> int:
    """How often a text turns back, by its words."""
    return sum(1 for _ in BACKTRACK.finditer(text))


def _judge(row: Row, grader: Grader, gold: str) -> Judgement:
    return Judgement("unmet", None) if row["ended"] == "unmet" else grader.judge(row["stated"], gold)


def _said(judged: Judgement) -> Row:
    return {"verdict": judged.verdict, "extracted": judged.extracted}
