"""A case: one sample of one question as a control method sees it, and the traces it reads.

A method is written as if it ran alone. What it reads it shares with every case that reads the same prefix in the same
way; the case keeps the account of what it would have cost alone. Knows no engine, no grading and no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from s1sweep.decoding.engines import Sampling
from s1sweep.decoding.readout import Answer
from s1sweep.decoding.trace import Cut, Memo, Stream, Trace
from s1sweep.spec import Cap, SamplingSpec


class Format(Protocol):
    """The chat format: delimiters as ids, and the way between text and ids."""

    think_start: tuple[int, ...]
    think_end: tuple[int, ...]
    think_stop: tuple[int, ...]
    answer_stop: tuple[int, ...]
    max_model_len: int

    def encode(self, text: str) -> tuple[int, ...]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def prompt(self, *turns: str) -> tuple[int, ...]:
        """Ids of a conversation, user first and in turns, up to where the assistant speaks."""
        ...

    def stops(self, field: str, stops: Sequence[str | int]) -> tuple[int, ...]:
        """Stops as ids; UserError for one that is not a single token."""
        ...

    def ids_of_words(self, words: Sequence[str]) -> tuple[int, ...]:
        """Every id whose text is one of the words, whatever its case and the signs around it."""
        ...


@dataclass(frozen=True)
class Judged:
    """A reward model's scores of the steps of a text, their aggregate, and the tokens it read for them."""

    steps: tuple[float, ...]
    score: float
    tokens: int


class Scorer(Protocol):
    async def score(self, question: str, text: str) -> Judged:
        """Judge worked text, step by step."""
        ...


class Reading:
    """A trace as one case reads it."""

    def __init__(self, case: Case, stream: Stream) -> None:
        self._case = case
        self._stream = stream
        self._trace: Trace | None = None

    @property
    def prefix(self) -> tuple[int, ...]:
        """All ids before the first token of the trace."""
        return self._stream.prefix

    @property
    def sampling(self) -> Sampling:
        """How it is drawn, but for a ban on a stop in first place."""
        sampling = self._stream.sampling
        return replace(sampling, min_tokens=0) if sampling.min_tokens else sampling

    async def upto(self, n: int) -> Cut:
        """The first `n` tokens, or fewer if the stream ends. A stop after exactly `n` tokens is beyond the cut."""
        if n <= 0:
            return Cut((), None)
        if self._stream.sampling.whole and n > (self._stream.reach or 0):
            self._stream, self._trace = replace(self._stream, reach=n), None
        if self._trace is None:
            self._trace = self._case.memo.trace(self._stream)
        cut = await self._trace.upto(n)
        self._case.pay(self._trace, n)
        return cut

    def branch(self, cut: Cut, injected: Sequence[int], *, sampling: Sampling | None = None, draw: str = "") -> Reading:
        """The trace that goes on after `cut` and the injected ids; a stop in first place is banned.

        Branches of one cut that differ in `draw` are drawn apart.
        """
        self._case.prefilled += len(injected)
        prefix = (*self.prefix, *cut.token_ids, *injected)
        stops = self._stream.stop_ids
        stream = self._case.stream(prefix, stops, sampling or self._stream.sampling, draw)
        return Reading(self._case, stream.nonempty())

    def follow(self, token_ids: Sequence[int], *, draw: str) -> Reading:
        """The trace that goes on after its own first tokens, drawn apart by name; it may stop at once."""
        stream = self._case.stream((*self.prefix, *token_ids), self._stream.stop_ids, self.sampling, draw)
        return Reading(self._case, stream)

    def nonempty(self) -> Reading:
        """The same stream, but for a stop in first place, which is banned."""
        return Reading(self._case, self._stream.nonempty())

    async def answer(self, thinking: Sequence[int], into_answer: Sequence[int], max_tokens: int) -> Answer:
        """The answer after this trace's prefix, some thinking, and the ids that lead into the answer."""
        case = self._case
        case.prefilled += len(into_answer)
        prefix = (*self.prefix, *thinking, *into_answer)
        cut = await Reading(case, case.stream(prefix, case.chat.answer_stop, case.sampling)).upto(max_tokens)
        return Answer(cut.token_ids, cut.ended or "length")


class Case:
    """One sample of one question; `user` is the user's message."""

    def __init__(
        self,
        memo: Memo,
        chat: Format,
        user: str,
        sampling: SamplingSpec,
        question_id: str,
        sample: int = 0,
        longest_prompt: int = 0,
        scorer: Scorer | None = None,
    ) -> None:
        self.memo = memo
        self.chat = chat
        self.user = user
        self.scorer = scorer
        self.sampling = Sampling(
            temperature=sampling.temperature, top_p=sampling.top_p, extra=tuple(sorted(sampling.params.items()))
        )
        self.prefilled = 0  # prompt tokens this case would prefill alone, each once
        self._spec = sampling
        self._question_id = question_id
        self._sample = sample
        self._longest_prompt = longest_prompt
        self._paid: dict[Trace, int] = {}
        self._opened: set[tuple[int, ...]] = set()

    def think(
        self,
        *turns: str,
        start: Sequence[int] | None = None,
        stops: Sequence[int] | None = None,
        sampling: Sampling | None = None,
        draw: str = "",
    ) -> Reading:
        """Thinking about the question, or about a conversation's last turn, from the start of thinking.

        `start` replaces the ids that open the thinking; `draw` names one of several draws.
        """
        opening = self.chat.think_start if start is None else start
        prefix = (*self.chat.prompt(*(turns or (self.user,))), *opening)
        if prefix not in self._opened:  # draws of one prompt find it in the engine's cache
            self._opened.add(prefix)
            self.prefilled += len(prefix)
        stop_ids = tuple(self.chat.think_stop if stops is None else stops)
        return Reading(self, self.stream(prefix, stop_ids, sampling or self.sampling, draw))

    def limit(self, cap: Cap, trace: Reading, max_answer_tokens: int, lead: str) -> int:
        """A cap as a number of tokens.

        `auto` is what this question's own prompt leaves of the context beside an answer; `auto_harness` is the rule of
        s1's harness (vllm_causallms.py): what the longest prompt of the batch leaves, less 100. Our batch is the task.
        """
        if isinstance(cap, int):
            return cap
        end = len(self.chat.think_end)
        if cap == "auto_harness":
            room = self.chat.max_model_len - self._longest_prompt - len(self.chat.think_start) - end - 100
        else:
            leads = end + len(self.chat.encode("\n" + lead)) + 1
            room = self.chat.max_model_len - len(trace.prefix) - leads - max_answer_tokens
        if room < 1:
            raise ValueError(
                f"method.max_thinking_tokens={cap} leaves {room} tokens in model.max_model_len="
                f"{self.chat.max_model_len} for question {self._question_id!r}. Raise model.max_model_len, lower "
                "method.max_answer_tokens, or give a number."
            )
        return room

    def stream(self, prefix: tuple[int, ...], stops: Sequence[int], sampling: Sampling, draw: str = "") -> Stream:
        """Greedy readers of one prefix share it whatever they call it; samples, draws and replicates never do."""
        if sampling.temperature == 0:
            item = (f"/{self._spec.replicate}", 0)
        else:
            item = (f"{self._question_id}/{self._spec.seed}/{self._spec.replicate}{draw}", self._sample)
        return Stream(prefix, tuple(stops), sampling, item)

    def pay(self, trace: Trace, n: int) -> None:
        self._paid[trace] = max(self._paid.get(trace, 0), trace.cost(n))

    @property
    def decoded(self) -> int:
        """Tokens this case would have decoded alone, stops included."""
        return sum(self._paid.values())


def with_parameters(sampling: Sampling, parameters: Mapping[str, float]) -> Sampling:
    """The same sampling with further engine parameters; one that is None or 0 is left out."""
    further = {name: value for name, value in parameters.items() if value}
    if not further:
        return sampling
    extra = {**dict(sampling.extra), **further}
    return replace(sampling, extra=tuple(sorted(extra.items())))
