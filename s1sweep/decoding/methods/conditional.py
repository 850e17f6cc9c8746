"""Token- and class-conditional control (s1 paper, appendix E): the prompt asks for so much thinking.

Nothing makes the model obey; with `max_thinking_tokens` at the same number the budget is forced as well (TCC+BF).
Token-conditional control has a training format of its own (`s1sweep/training/format.py`).

Sharing: none between budgets, since the prompt differs; caps, ignores and strings nest below each prompt.
"""

from __future__ import annotations

from s1sweep.decoding.case import Case
from s1sweep.decoding.methods.budget_forcing import force
from s1sweep.decoding.readout import Readout
from s1sweep.spec import ExtrapolationSpec
from s1sweep.spec.control import ClassConditionalSpec, TokenConditionalSpec

VERSION = 1


async def run(
    spec: TokenConditionalSpec | ClassConditionalSpec, extrapolation: ExtrapolationSpec, case: Case
) -> list[Readout]:
    """One readout."""
    if isinstance(spec, TokenConditionalSpec):
        wish = spec.prompt.replace("{n}", str(spec.think_for))
    else:
        wish = spec.short if spec.length == "short" else spec.long
    return [await force(spec, extrapolation, case, case.think(case.user + wish))]
