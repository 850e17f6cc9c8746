"""Rejection sampling (s1 paper, section 4.2): draw whole traces until one ends within the limit.

As in s1's harness the end of thinking counts as a token. The harness tries for ever; here a limit that no try meets has
no answer, counts as wrong, and is reported.

Sharing: all limits read one pool of tries, each only as far as it needs.
"""

from __future__ import annotations

from s1sweep.decoding.case import Case
from s1sweep.decoding.readout import NO_ANSWER, Readout
from s1sweep.spec import ExtrapolationSpec
from s1sweep.spec.control import RejectionSpec

VERSION = 1


async def run(spec: RejectionSpec, extrapolation: ExtrapolationSpec, case: Case) -> list[Readout]:
    """One readout; `discarded_tokens` are those of the tries that were thrown away."""
    discarded = 0
    for i in range(spec.max_tries):
        # The first try is what any other method of this sample would read.
        root = case.think(draw=f"/try{i}" if i else "")
        cut = await root.upto(spec.max_thinking_tokens)
        if cut.ended == "stop":
            answer = await root.answer(cut.token_ids, case.chat.think_end, spec.max_answer_tokens)
            return [Readout(cut.token_ids, (), 0, "natural", "", answer, tries=i + 1, discarded_tokens=discarded)]
        discarded += len(cut.token_ids)
    return [Readout((), (), 0, "unmet", "", NO_ANSWER, tries=spec.max_tries, discarded_tokens=discarded)]
