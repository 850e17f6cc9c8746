"""NoWait (arXiv 2506.08343): words of reflection are never drawn while thinking. The negative control for "Wait".

The paper bans every token that contains one of its words; "any" would then ban "many". Here a token is banned if its
text is one of the words, whatever its case and the signs around it. Answers are not restrained.

Sharing: caps nest below the ban; nothing is shared with thinking that is free.
"""

from __future__ import annotations

from dataclasses import replace

from s1sweep.decoding.case import Case
from s1sweep.decoding.methods.budget_forcing import force
from s1sweep.decoding.readout import Readout
from s1sweep.spec import ExtrapolationSpec
from s1sweep.spec.control import NoWaitSpec

VERSION = 1


async def run(spec: NoWaitSpec, extrapolation: ExtrapolationSpec, case: Case) -> list[Readout]:
    """One readout."""
    banned = case.chat.ids_of_words(spec.banned_words)
    return [await force(spec, extrapolation, case, case.think(sampling=replace(case.sampling, banned=banned)))]
