"""Step-conditional control (s1 paper, appendix E.1): the prompt names a number of steps, each step counts down.

A step begins with `step_mark` and "N steps left"; the end of thinking is the mark that says "answer". With
`force_steps` thinking ends where the countdown reaches 0 (`until_thinking=<|im_start|>0` in s1's eval/commands.sh), and
in any case at `max_thinking_tokens`. Ends are not ignored: a countdown leaves nothing to extrapolate.

Sharing: caps nest; step counts do not, since the prompt differs.
"""

from __future__ import annotations

from collections.abc import Sequence

from s1sweep.decoding.case import Case
from s1sweep.decoding.methods.budget_forcing import leads
from s1sweep.decoding.readout import Ending, Readout
from s1sweep.spec import ExtrapolationSpec
from s1sweep.spec.control import StepConditionalSpec

VERSION = 1
STRETCH = 256  # tokens read on before looking for a mark; what lies behind one was read for nothing


async def run(spec: StepConditionalSpec, extrapolation: ExtrapolationSpec, case: Case) -> list[Readout]:
    """One readout. The step marks count as thinking, the mark of the answer does not."""
    chat = case.chat
    mark = chat.encode(spec.step_mark)
    wish = spec.prompt.replace("{n}", str(spec.think_for))
    # Marks are part of the stream, so only the end of the turn stops it.
    root = case.think(case.user + wish, start=mark, stops=chat.answer_stop)
    limit = case.limit(spec.max_thinking_tokens, root, spec.max_answer_tokens, spec.forced_answer_prefix)
    zero = (*mark, *chat.encode("0"))
    read, ended = 0, None
    furthest = limit + len(chat.think_end)  # the answer's mark may lie right behind the limit
    while ended is None:
        read = min(read + STRETCH, furthest)
        cut = await root.upto(read)
        # The mark that opens the first step was put there, not decoded.
        stream = (*mark, *cut.token_ids)
        answers = find(stream, chat.think_end)
        zeros = find(stream, zero) if spec.force_steps else None
        found = min((at for at in (answers, zeros) if at is not None), default=None)
        at = len(cut.token_ids) if found is None else max(0, found - len(mark))
        ended = _ending(at, limit, found is not None, found == answers, cut.ended, read == furthest)
    thinking = cut.token_ids[: min(at, limit)]
    forced = ended in ("forced", "context")
    lead, into = leads(spec, chat, thinking, forced)
    answer = await root.answer(thinking, into, spec.max_answer_tokens)
    return [Readout(thinking, (), 0, ended, lead, answer)]


def _ending(at: int, limit: int, found: bool, answers: bool, stopped: str | None, all_read: bool) -> Ending | None:
    """How thinking ends after `at` tokens; None if there is more to read."""
    if found and at <= limit:
        return "natural" if answers else "forced"
    if stopped is not None and at <= limit:
        return "context" if stopped == "context" else "natural"
    return "forced" if found or stopped is not None or all_read else None


def find(ids: Sequence[int], wanted: Sequence[int]) -> int | None:
    """Where `wanted` first occurs."""
    first, width = tuple(wanted), len(wanted)
    return next((i for i in range(len(ids) - width + 1) if tuple(ids[i : i + width]) == first), None)
