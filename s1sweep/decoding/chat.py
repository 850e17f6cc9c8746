"""The chat format as token ids: prompts, delimiters, and text back from ids. Knows no engine and no method.

Delimiters are checked when a `Chat` is made: a stop must be one token, or the engine could not stop on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from s1sweep.errors import UserError
from s1sweep.sources import Question, model_path
from s1sweep.spec import ModelSpec, TaskSpec


def load_tokenizer(model: ModelSpec) -> Any:
    """The base model's tokenizer (a transformers tokenizer)."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        model_path(model), revision=model.revision, trust_remote_code=model.trust_remote_code
    )


def question_text(question: Question, task: TaskSpec) -> str:
    """The user's message: the task's prompt around the question and its choices, in their fixed order."""
    text = question.question
    if question.choices:
        text += "".join(
            f"\n({letter}) {choice}" for letter, choice in zip("ABCDEFGHIJ", question.choices, strict=False)
        )
    return task.prompt.replace("{question}", text)


class Chat:
    """A model's chat format. Attributes are token ids."""

    def __init__(self, model: ModelSpec, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        marks = model.delimiters
        self.think_start = self.encode(marks.think_start)
        self.think_end = self.encode(marks.think_end)
        self.think_stop = self._single("think_stop", marks.think_stop)
        self.answer_stop = self._single("answer_stop", marks.answer_stop)

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False)) if text else ()

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def prompt(self, user: str) -> tuple[int, ...]:
        """Ids of a conversation with one user message, up to where the assistant speaks."""
        text = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": user}], tokenize=False, add_generation_prompt=True
        )
        return self.encode(text)

    def _single(self, field: str, stops: Sequence[str]) -> tuple[int, ...]:
        ids = []
        for stop in stops:
            encoded = self.encode(stop)
            if len(encoded) != 1:
                raise UserError(
                    f"model.delimiters.{field}={stop!r} is {len(encoded)} tokens of this tokenizer; "
                    "a stop must be one token. Give the special token of the model's chat format."
                )
            ids.append(encoded[0])
        return tuple(ids)
