"""vLLM's own thinking budget (`SamplingParams.thinking_token_budget`), for comparison with budget forcing.

The engine counts thinking tokens and forces the end of thinking within one request; there is no prefix for a forced
answer and no ignored end. Thinking and answer come as one stream, split here at the end of thinking.

Sharing: none; a budget changes the stream, and a stream cannot be taken up half-way.
"""

from __future__ import annotations

from dataclasses import replace

from s1sweep.decoding.case import Case
from s1sweep.decoding.methods.step_conditional import find
from s1sweep.decoding.readout import Answer, Ending, Readout
from s1sweep.spec import ExtrapolationSpec
from s1sweep.spec.control import NativeBudgetSpec

VERSION = 1


async def run(spec: NativeBudgetSpec, extrapolation: ExtrapolationSpec, case: Case) -> list[Readout]:
    """One readout."""
    chat, budget = case.chat, spec.max_thinking_tokens
    sampling = replace(case.sampling, thinking_budget=budget)
    trace = case.think(stops=chat.answer_stop, sampling=sampling)
    cut = await trace.upto(budget + len(chat.think_end) + spec.max_answer_tokens)
    at = find(cut.token_ids, chat.think_end)
    if at is None:  # the turn or the context ended while thinking
        ended: Ending = "context" if cut.ended == "context" else "natural"
        return [Readout(cut.token_ids, (), 0, ended, "", Answer((), "none"))]
    said = cut.token_ids[at + len(chat.think_end) :]
    finish = cut.ended if cut.ended and len(said) <= spec.max_answer_tokens else "length"
    answer = Answer(said[: spec.max_answer_tokens], finish)
    return [Readout(cut.token_ids[:at], (), 0, "forced" if at >= budget else "natural", "", answer)]
