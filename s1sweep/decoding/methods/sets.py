"""SETS (arXiv 2501.19306): the model checks its answer and corrects it, for at most `rounds` rounds.

Each check and each correction is a conversation of its own, thought through under the same budget as the answer. With
`parallel=majority` several chains vote, which is the method of the paper.

Sharing: fewer rounds are a prefix of more, fewer chains of more.
"""

from __future__ import annotations

import re
from dataclasses import replace

from s1sweep.decoding.case import Case
from s1sweep.decoding.methods.budget_forcing import force
from s1sweep.decoding.readout import Readout
from s1sweep.spec import ExtrapolationSpec
from s1sweep.spec.control import SetsSpec

VERSION = 1


async def run(spec: SetsSpec, extrapolation: ExtrapolationSpec, case: Case) -> list[Readout]:
    """The last answer; `verifier_tokens` are those of all checks, and of the answers they replaced."""
    proposed = await force(spec, extrapolation, case, case.think())
    spent = 0
    for i in range(spec.rounds):
        known = {"question": case.user, "answer": _said(case, proposed)}
        check = await force(spec, extrapolation, case, case.think(_fill(spec.verify, known), draw=f"/verify{i}"))
        spent += _tokens(check)
        known["feedback"] = _said(case, check)
        if accepted(known["feedback"], spec):
            break
        spent += _tokens(proposed)
        root = case.think(_fill(spec.correct, known), draw=f"/correct{i}")
        proposed = await force(spec, extrapolation, case, root)
    return [replace(proposed, verifier_tokens=spent)]


def accepted(feedback: str, spec: SetsSpec) -> bool:
    """Whether the last of the two words that occurs is the accepting one; a check without a verdict does not accept."""
    verdicts = re.findall(rf"\b({re.escape(spec.accept)}|{re.escape(spec.reject)})\b", feedback, re.IGNORECASE)
    return bool(verdicts) and verdicts[-1].lower() == spec.accept.lower()


def _said(case: Case, readout: Readout) -> str:
    return (readout.lead + case.chat.decode(readout.answer.token_ids)).strip()


def _tokens(readout: Readout) -> int:
    probes = sum(len(probe.answer.token_ids) for probe in readout.probes)
    return len(readout.thinking_ids) + len(readout.answer.token_ids) + probes


def _fill(template: str, values: dict[str, str]) -> str:
    # Not str.format: a question may hold braces.
    return re.sub(r"\{(question|answer|feedback)\}", lambda found: values.get(found.group(1), ""), template)
