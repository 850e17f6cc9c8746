"""Traces of a teacher for rows that have none; rows that have one stay as they are.

What it thought becomes `thinking`, and what it said afterwards `answer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from s1sweep.data.curation.replies import Said, readouts
from s1sweep.spec.data import TracesSpec
from s1sweep.stages.rows import Row

VERSION = 1
PLANNED = False
TELLS: tuple[str, ...] = ("thinking",)


def tell(spec: TracesSpec, rows: Iterable[Row], said: Said) -> Iterator[Row]:
    """Rows with the teacher's traces; still without one where it wrote none that is wanted."""
    found = readouts(said.by["teacher"])
    for row in rows:
        if row.thinking.strip():
            yield row
            continue
        readout = next(found)
        if readout["question_id"] != row.id:
            raise RuntimeError(f"the teacher's answers are not those of these rows: {readout['question_id']}, {row.id}")
        thinking = "".join(text for text, _ in readout["thinking"]).strip()
        answer = readout["stated"].strip()
        finished = readout["ended"] == "natural" and readout["answer_finish"] == "stop"
        if thinking and answer and (finished or spec.unfinished == "keep"):
            # What was known of another answer is not known of this one.
            update = {"thinking": thinking, "answer": answer, "trace_correct": None, "trace_tokens": None}
            row = row.model_copy(update=update)
        yield row


def judge(spec: TracesSpec, rows: Iterable[Row]) -> Iterator[tuple[Row, str | None]]:
    """Drops rows that are still without a trace."""
    for row in rows:
        yield row, None if row.thinking.strip() else "no finished trace" if spec.unfinished == "drop" else "no trace"
