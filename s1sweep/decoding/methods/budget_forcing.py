"""Budget forcing (s1 paper, section 3.1): thinking is cut at a cap, and an end before it may be ignored.

Dialects, as found in public code:
`s1_harness` (eval/lm-evaluation-harness, lm_eval/models/vllm_causallms.py, lines 219-414 of the s1 repository): each
ignored end starts a round that gets the full limit again; afterwards the ids are cut to the limit; only a round that
ran into the limit is a forced end, and only a forced end is led into its answer by "Final Answer:". When ends are
ignored, no round may be empty.
`s1_readme` (README and eval/generate.py there): the limit is for all rounds together, counts the stops but not the
strings, the first round may be empty, and nothing leads into the answer: a model that was cut off goes on thinking
in it.
`exact_length` (scripts/baselines/eval_s1.py of the L1 repository): every end is ignored until the limit, which counts
the strings, is used up to the last token; the end is always forced.

Where a model does not mark the end of thinking (LIMO), its answer is the end of the thinking; ignoring an end takes the
last paragraphs that state a final answer back (`backtract` of arXiv 2502.12215).

Sharing: caps, ignores, strings and probes nest; all of them read the same traces, whatever the dialect. Rounds drawn
with a temperature or penalty of their own share what comes before them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from s1sweep.decoding.case import Case, Format, Reading, with_parameters
from s1sweep.decoding.engines import Sampling
from s1sweep.decoding.readout import Answer, Ending, Probe, Readout
from s1sweep.decoding.trace import Cut
from s1sweep.spec import BudgetForcingSpec, ExtrapolationSpec, ForcedSpec

VERSION = 2


async def run(spec: BudgetForcingSpec, extrapolation: ExtrapolationSpec, case: Case) -> list[Readout]:
    """One readout."""
    return [await force(spec, extrapolation, case, case.think())]


async def force(spec: ForcedSpec, extrapolation: ExtrapolationSpec, case: Case, root: Reading) -> Readout:
    """Force a budget on thinking that begins at `root`. Units: tokens; injected strings count as thinking."""
    chat, dialect = case.chat, spec.dialect
    limit = case.limit(spec.max_thinking_tokens, root, spec.max_answer_tokens, spec.forced_answer_prefix)
    strings = [chat.encode(string) for string in extrapolation.strings]
    exact, harness = dialect == "exact_length", dialect == "s1_harness"
    trace, sampling = root, _later(root.sampling, extrapolation)
    thinking: list[int] = []
    injected: list[tuple[int, int]] = []
    ends: list[tuple[int, ...]] = []  # the thinking at each end that was ignored, for probes
    ignored = spent = 0
    while True:
        room = {"s1_harness": limit, "s1_readme": limit - spent, "exact_length": limit - len(thinking)}[dialect]
        cut = await trace.upto(room)
        if cut.ended == "stop" and not cut.token_ids and (exact or (harness and extrapolation.num_ignore)):
            trace = trace.nonempty()
            cut = await trace.upto(room)
        spent += len(cut.token_ids) + (cut.ended == "stop")
        thinking += cut.token_ids
        if cut.ended != "stop" or not (exact or ignored < extrapolation.num_ignore):
            break
        if dialect == "s1_readme" and spent >= limit:
            break
        if spec.probe_ends:
            ends.append(tuple(thinking))
        string = strings[ignored % len(strings)]
        ignored += 1
        if not chat.think_end:
            kept = before_answer(cut.token_ids, chat)
            if exact and not string and not kept:
                kept = len(cut.token_ids)  # or the same would be said again, for ever
            del thinking[len(thinking) - len(cut.token_ids) + kept :]
            cut = Cut(cut.token_ids[:kept], None)
        if exact:
            string = string[: limit - len(thinking)]
        if string:
            injected.append((len(thinking), len(thinking) + len(string)))
        thinking += string
        trace = trace.branch(cut, string, sampling=sampling)

    ended: Ending = "forced" if cut.ended is None else "context" if cut.ended == "context" else "natural"
    if harness:
        if ended == "natural" and len(thinking) > limit:
            ended = "cut"
        thinking = thinking[:limit]
    longest = limit if harness else max(map(len, ends), default=0)
    spans = tuple((start, min(end, len(thinking))) for start, end in injected if start < len(thinking))
    forced = ended in ("forced", "context")
    cuts = [at for at in dict.fromkeys(spec.probe_cuts) if at < len(thinking)]
    asked = [_probe(spec, chat, root, thinking[:at], "cut") for at in cuts]
    asked += [_probe(spec, chat, root, end, "end") for end in ends if len(end) <= longest]
    probing = asyncio.gather(*asked) if asked else None
    lead, answer = await _answer(spec, chat, root, thinking, forced)
    probes = await probing if probing else ()
    return Readout(tuple(thinking), spans, ignored, ended, lead, answer, probes=tuple(probes))


async def _answer(
    spec: ForcedSpec, chat: Format, root: Reading, thinking: Sequence[int], forced: bool
) -> tuple[str, Answer]:
    """The text that leads into the answer, and the answer."""
    if not forced and not chat.think_end:
        return chat.decode(thinking), Answer((), "stop")  # it has been given
    lead, into = leads(spec, chat, thinking, forced)
    return lead, await root.answer(thinking, into, spec.max_answer_tokens)


async def _probe(
    spec: ForcedSpec, chat: Format, root: Reading, thinking: Sequence[int], kind: Literal["cut", "end"]
) -> Probe:
    lead, answer = await _answer(spec, chat, root, thinking, forced=kind == "cut")
    return Probe(kind, len(thinking), lead, answer)


def leads(spec: ForcedSpec, chat: Format, thinking: Sequence[int], forced: bool) -> tuple[str, tuple[int, ...]]:
    """What is put between thinking and answer: the text that belongs to the answer, and all of it as ids."""
    if spec.dialect == "s1_readme":
        return "", ()
    if not forced:
        return "", chat.think_end
    return forced_lead(spec.forced_answer_prefix, chat, thinking)


def forced_lead(prefix: str, chat: Format, thinking: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """A line break unless there is one, the end of thinking, and a prefix that makes the model answer."""
    lead = f"\n{prefix}" if prefix else ""
    newline = () if chat.decode(thinking).endswith("\n") else chat.encode("\n")
    return lead, (*newline, *chat.think_end, *chat.encode(lead))


def before_answer(ids: Sequence[int], chat: Format) -> int:
    """How many ids come before the last paragraphs that state a final answer; all if none does."""
    text = chat.decode(ids)
    paragraphs = text.split("\n\n")
    while len(paragraphs) > 1 and _states_answer(paragraphs[-1]):
        paragraphs.pop()
    kept = len("\n\n".join(paragraphs))
    if kept == len(text):
        return len(ids)
    low, high = 0, len(ids)  # decoding grows with the ids, so the place can be found by halves
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if len(chat.decode(ids[:middle])) < kept else (low, middle)
    return low


def _states_answer(paragraph: str) -> bool:
    return not paragraph.strip() or "final answer" in paragraph.lower() or "\\boxed" in paragraph


def _later(sampling: Sampling, extrapolation: ExtrapolationSpec) -> Sampling:
    """How the rounds after an ignored end are drawn."""
    if extrapolation.temperature is not None:
        sampling = replace(sampling, temperature=extrapolation.temperature)
    return with_parameters(sampling, {"frequency_penalty": extrapolation.frequency_penalty})
