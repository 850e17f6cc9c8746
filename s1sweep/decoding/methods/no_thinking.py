"""NoThinking (arXiv 2504.09858): the thinking is filled in, so that the model answers at once.

The control for whether thinking pays at all; with parallel samples, the baseline for equal cost.

Sharing: one answer stream for each `thinking` text.
"""

from __future__ import annotations

from s1sweep.decoding.case import Case
from s1sweep.decoding.readout import Readout
from s1sweep.spec import ExtrapolationSpec
from s1sweep.spec.control import NoThinkingSpec

VERSION = 1


async def run(spec: NoThinkingSpec, extrapolation: ExtrapolationSpec, case: Case) -> list[Readout]:
    """One readout; all of its thinking is injected."""
    filled = case.chat.encode(spec.thinking)
    answer = await case.think().answer(filled, case.chat.think_end, spec.max_answer_tokens)
    spans = ((0, len(filled)),) if filled else ()
    return [Readout(filled, spans, 0, "skipped", "", answer)]
