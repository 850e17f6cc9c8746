"""Training formats of token- and step-conditional control (s1 paper, appendix E.1 and figure 10).

The prompt names a budget, which is the trace's own length, rounded up to a power of two. Step-conditional traces count
their steps down; the marks take the place of the start of thinking. Knows rows and texts; no tokenizer beyond counting.
"""

from __future__ import annotations

from collections.abc import Callable

from s1sweep.spec import TrainingFormat
from s1sweep.stages.rows import Row

VERSION = 1


def bucket(n: int) -> int:
    """The least power of two that is not less than `n`."""
    return 1 << max(0, n - 1).bit_length()


def steps_of(thinking: str, separator: str) -> list[str]:
    """The steps of a trace, without their separators; blank ones are left out."""
    return [step for step in thinking.strip().split(separator) if step.strip()]


def wish(row: Row, form: TrainingFormat, count_tokens: Callable[[str], int]) -> str:
    """What is appended to the question: `Think for up to 64 tokens.`"""
    thinking = row.thinking.strip()
    by_tokens = form.kind == "token_conditional"
    n = count_tokens(thinking) if by_tokens else len(steps_of(thinking, form.separator))
    return form.prompt.replace("{n}", str(bucket(n)))


def thought(row: Row, form: TrainingFormat | None, start: str) -> str:
    """The thinking behind `start`, what opens it, up to the mark that ends it; marked steps open it themselves."""
    if form is None or form.kind == "token_conditional":
        return (start if not start or start.endswith("\n") else f"{start}\n") + f"{row.thinking.strip()}\n"
    steps = steps_of(row.thinking, form.separator)
    left = bucket(len(steps))
    return "".join(f"{form.step_mark}{left - i} steps left\n{step.strip()}\n" for i, step in enumerate(steps))
