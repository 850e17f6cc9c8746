"""The chat format as token ids: prompts, delimiters, and text back from ids. Knows no engine and no method.

Delimiters are checked when a `Chat` is made: a stop must be one token, or the engine could not stop on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from s1sweep.errors import UserError
from s1sweep.sources import model_path
from s1sweep.sources.tasks import LETTERS, Question
from s1sweep.spec import ModelSpec, RowsSpec, ScorerSpec, TaskSpec


def load_tokenizer(model: ModelSpec | ScorerSpec) -> Any:
    """The base model's tokenizer (a transformers tokenizer). Raises UserError if it is not here and cannot be had."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            model_path(model), revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except OSError as error:
        raise UserError(
            f"No tokenizer of model {model.source!r} at revision {model.revision or 'main'} is here or could be had "
            f"({str(error).strip().splitlines()[0]}). Where there is a network run `s1sweep prefetch` with the same "
            "overrides."
        ) from error


def question_text(question: Question, task: TaskSpec | RowsSpec) -> str:
    """The user's message: the task's prompt around the question and its choices, a line each, in their fixed order.

    Choices follow the question unless the prompt has a place for them.
    """
    form = task.choice if isinstance(task, TaskSpec) else ""
    lines = "\n".join(
        form.replace("{letter}", letter).replace("{choice}", choice)
        for letter, choice in zip(LETTERS, question.choices, strict=False)
    )
    prompt = task.prompt
    if lines and "{choices}" not in prompt:
        prompt = prompt.replace("{question}", "{question}\n{choices}")
    parts = {"{question}": question.question, "{choices}": lines}
    # One pass, so that nothing in a question is taken for a place of the prompt.
    return re.sub("|".join(map(re.escape, parts)), lambda found: parts[found.group()], prompt)


def rendered(tokenizer: Any, model: ModelSpec, *turns: str) -> str:
    """A conversation as the model's template writes it, user first and in turns, up to where the assistant speaks."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
    if model.system_prompt is not None:
        messages.insert(0, {"role": "system", "content": model.system_prompt})
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def opening(prompt: str, model: ModelSpec) -> str:
    """What opens the thinking after a rendered prompt: nothing where the template has opened it."""
    start = model.delimiters.think_start
    return "" if prompt.rstrip().endswith(start.strip() or "\0") else start


class Chat:
    """A model's chat format. Attributes are token ids, but for `max_model_len`."""

    def __init__(self, model: ModelSpec, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self._ids_of_words: dict[tuple[str, ...], tuple[int, ...]] = {}
        # All cells of a grid put the same questions and strings.
        self.prompt = lru_cache(maxsize=1 << 12)(self.prompt)  # type: ignore[method-assign]
        self.encode = lru_cache(maxsize=1 << 12)(self.encode)  # type: ignore[method-assign]
        self.max_model_len = model.max_model_len
        marks = model.delimiters
        self.think_start = self.encode(opening(self._rendered(""), model))
        self.think_end = self.encode(marks.think_end)
        self.think_stop = self.stops("model.delimiters.think_stop", marks.think_stop)
        self.answer_stop = self.stops("model.delimiters.answer_stop", marks.answer_stop)

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False)) if text else ()

    def decode(self, ids: Sequence[int]) -> str:
        # The fast tokenizer beneath does all of it; the way through the wrapper takes four times as long.
        fast = getattr(self._tokenizer, "backend_tokenizer", None)
        if fast is not None:
            return fast.decode(list(ids), skip_special_tokens=False)
        return self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def prompt(self, *turns: str) -> tuple[int, ...]:
        """Ids of a conversation, user first and in turns, up to where the assistant speaks."""
        return self.encode(self._rendered(*turns))

    def _rendered(self, *turns: str) -> str:
        return rendered(self._tokenizer, self._model, *turns)

    def ids_of_words(self, words: Sequence[str]) -> tuple[int, ...]:
        """Every id whose text is one of the words, whatever its case and the signs around it."""
        key = tuple(words)
        if key not in self._ids_of_words:
            wanted = {word.lower() for word in words}
            texts = ((i, re.sub(r"^\W+|\W+$", "", self.decode([i])).lower()) for i in range(len(self._tokenizer)))
            self._ids_of_words[key] = tuple(i for i, text in texts if text in wanted)
        return self._ids_of_words[key]

    def stops(self, field: str, stops: Sequence[str | int]) -> tuple[int, ...]:
        """Stops as ids. Raises UserError for a string that is not one token: an engine could not stop on it."""
        ids = []
        for stop in stops:
            encoded = (stop,) if isinstance(stop, int) else self.encode(stop)
            if len(encoded) != 1:
                raise UserError(
                    f"{field}={stop!r} is {len(encoded)} tokens of this tokenizer; a stop must be one token. Give the "
                    "special token of the model's chat format, or a token id."
                )
            ids.append(encoded[0])
        return tuple(ids)
