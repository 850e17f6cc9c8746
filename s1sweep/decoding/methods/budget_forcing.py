"""Budget forcing (s1 paper, section 3.1), in the dialect of s1's own evaluation harness.

`s1_harness` (eval/lm-evaluation-harness, lm_eval/models/vllm_causallms.py, lines 219-414 of the s1 repository): each
ignored end
starts a round that gets the full limit again; afterwards the ids are cut to the limit; only a round that ran into the
limit is a forced end, and only a forced end is led into its answer by "Final Answer:". When ends are ignored, no
round may
be empty.

Sharing: caps, ignores and strings nest; all of them read the same traces.
"""

from __future__ import annotations

from s1sweep.decoding.readout import Ask, Ending, Prompt, Readout
from s1sweep.decoding.trace import Trace
from s1sweep.spec import BudgetForcingSpec, ExtrapolationSpec

VERSION = 1


async def run(
    spec: BudgetForcingSpec, extrapolation: ExtrapolationSpec, prompt: Prompt, trace: Trace, ask: Ask
) -> list[Readout]:
    """One readout. Units: tokens; injected strings count as thinking."""
    limit = spec.max_thinking_tokens
    string = prompt.encode(extrapolation.string)
    thinking: list[int] = []
    injected: list[tuple[int, int]] = []
    ignored = 0
    while True:
        cut = await trace.upto(limit)
        if extrapolation.num_ignore and cut.ended == "stop" and not cut.token_ids:
            trace = trace.nonempty()
            cut = await trace.upto(limit)
        thinking += cut.token_ids
        if cut.ended != "stop" or ignored == extrapolation.num_ignore:
            break
        ignored += 1
        if string:
            injected.append((len(thinking), len(thinking) + len(string)))
        thinking += string
        trace = trace.branch(cut, string)

    ended: Ending = "forced" if cut.ended is None else "context" if cut.ended == "context" else "natural"
    if ended == "natural" and len(thinking) > limit:
        ended = "cut"
    thinking = thinking[:limit]
    spans = tuple((start, min(end, limit)) for start, end in injected if start < limit)

    lead = ""
    newline: tuple[int, ...] = ()
    if ended in ("forced", "context"):
        lead = f"\n{spec.forced_answer_prefix}"
        newline = () if prompt.decode(thinking).endswith("\n") else prompt.encode("\n")
    into_answer = (*newline, *prompt.think_end, *prompt.encode(lead))
    answer = await ask(thinking, into_answer, spec.max_answer_tokens)
    return [Readout(tuple(thinking), spans, ignored, ended, lead, answer)]
