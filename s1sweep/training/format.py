"""Training rows as token ids with labels: loss on thinking and answer only (s1's data/tokenization.py and
train/sft.py).

Knows the chat format, not the trainer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from s1sweep.decoding.chat import opening, rendered
from s1sweep.spec import ModelSpec, TrainingFormat
from s1sweep.stages.rows import Row
from s1sweep.training.conditional import thought, wish

IGNORE = -100


@dataclass(frozen=True)
class Example:
    """One training row. `labels` equal `input_ids` where there is loss, else -100. `lost` counts labels cut away."""

    input_ids: list[int]
    labels: list[int]
    lost: int


def response_text(row: Row, model: ModelSpec, form: TrainingFormat | None = None, start: str | None = None) -> str:
    """The assistant's turn: what opens the thinking (`start`, or the model's own mark), thinking, delimiter, answer,
    end of turn.

    "Answer: " is put before an answer that lacks it.
    """
    marks = model.delimiters
    start = marks.think_start if start is None else start
    answer = row.answer.strip()
    if "Answer:" not in answer:
        answer = f"Answer: {answer}"
    return f"{thought(row, form, start)}{marks.think_end}\n{answer}{marks.answer_stop[0]}"


def example(row: Row, model: ModelSpec, tokenizer: Any, block_size: int, form: TrainingFormat | None = None) -> Example:
    """Prompt and response as ids, cut at the end to `block_size` tokens; no loss on what the template writes.

    The prompt, what opens the thinking, and the rest are encoded apart, so that ids are those that decoding gives.
    """
    asked = row.question + (wish(row, form, lambda text: len(tokenizer.encode(text))) if form else "")
    prompt = rendered(tokenizer, model, asked)
    start = opening(prompt, model)
    before = tokenizer.encode(prompt, add_special_tokens=False)
    response = response_text(row, model, form, start)
    cut = len(start) if response.startswith(start) else 0
    after = [id for part in (response[:cut], response[cut:]) for id in tokenizer.encode(part, add_special_tokens=False)]
    ids = (before + after)[:block_size]
    labels = ([IGNORE] * len(before) + after)[:block_size]
    return Example(ids, labels, len(before) + len(after) - len(ids))
