"""A readout: an answer taken from a trace at one cut, with all that explains it. Plain data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

READOUTS = "readouts.jsonl"

# natural: the model ended its thinking; forced: the cap did; cut: it ended past the cap in a later round (s1's harness
# then cuts without forcing); context: the model's context was full.
Ending = Literal["natural", "forced", "cut", "context"]


class Prompt(Protocol):
    """One question as a method sees it: delimiters as ids, and a way between text and ids."""

    think_end: tuple[int, ...]

    def encode(self, text: str) -> tuple[int, ...]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Answer:
    """What the model wrote after the end of thinking. `finish` is how it ended."""

    token_ids: tuple[int, ...]
    finish: Literal["stop", "length", "context"]


# ask(thinking ids, ids that lead to the answer, most tokens) -> the answer
Ask = Callable[[Sequence[int], Sequence[int], int], Awaitable[Answer]]


@dataclass(frozen=True)
class Readout:
    """`injected` holds [start, end) spans of `thinking_ids` that were appended, not decoded. `lead` is the text put
    before the answer."""

    thinking_ids: tuple[int, ...]
    injected: tuple[tuple[int, int], ...]
    ignored: int
    ended: Ending
    lead: str
    answer: Answer
