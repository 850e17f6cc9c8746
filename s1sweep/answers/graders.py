"""How an answer text is judged. "No answer", "could not extract" and "wrong" are three different things.

Extraction follows s1's harness (facts: last \\boxed{}, else what follows the last "Answer:"); equality of
mathematical answers
is math-verify's. Knows no files.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# tied: parallel answers of which some are right share the first place; unmet: no try met the limit.
Verdict = Literal["correct", "tied", "wrong", "no_answer", "not_extracted", "unmet"]
VERDICTS: tuple[Verdict, ...] = ("correct", "tied", "wrong", "no_answer", "not_extracted", "unmet")


@dataclass(frozen=True)
class Judgement:
    """A verdict and the answer it is about, as extracted."""

    verdict: Verdict
    extracted: str | None


@dataclass(frozen=True)
class Grader:
    """`judge(extracted, gold)` says whether they are equal, or None if the extracted text is no answer of this kind."""

    name: str
    version: int
    extract: Callable[[str], str | None]
    equal: Callable[[str, str], bool]

    def judge(self, answer: str, gold: str) -> Judgement:
        """Judge the text after the end of thinking against the gold answer."""
        if not answer.strip():
            return Judgement("no_answer", None)
        extracted = self.extract(answer)
        if extracted is None:
            return Judgement("not_extracted", None)
        return Judgement("correct" if self.equal(extracted, gold) else "wrong", extracted)


_AFTER = re.compile(r"answer\s*:", re.IGNORECASE)
_DISPLAY = re.compile(r"[\s*]*(?:\\\[|\$\$)(.*?)(?:\\\]|\$\$)", re.DOTALL)
_AROUND = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("`", "`"))


def last_boxed(text: str) -> str | None:
    """The content of the last \\boxed{...} or \\fbox{...}, with balanced braces; None without one."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    begin = text.index("{", start) + 1
    depth = 1
    for i in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[begin:i]
    return None


def stated(text: str) -> str | None:
    """The last boxed content, else what follows the last "Answer:": a displayed formula, or the first line with
    anything on it, without what sets it off. None without either.
    """
    boxed = last_boxed(text)
    if boxed is not None and boxed.strip():
        return boxed.strip()
    marks = list(_AFTER.finditer(text))
    if not marks:
        return None
    after = text[marks[-1].end() :]
    shown = _DISPLAY.match(after)
    lines = [shown.group(1)] if shown else after.splitlines()
    return next((line for line in map(bare, lines) if line), None)


def bare(text: str) -> str:
    """An answer without the signs that set it off: **4**, $4$, \\(4\\), \\[4\\], `4` and "4." are 4."""
    while True:
        inner = text.strip().removeprefix("**").removesuffix("**").removesuffix(".").strip()
        for left, right in _AROUND:
            body = inner.removeprefix(left).removesuffix(right)
            if len(inner) - len(body) == len(left) + len(right) and left not in body and right not in body:
                inner = body
        if inner == text:
            return inner
        text = inner


def gold(solution: str) -> str | None:
    """The answer that a worked solution states, or all of it if it is one line; None if it can grade nothing."""
    return stated(solution) or (solution.strip() if "\n" not in solution.strip() else "") or None


_WHOLE = re.compile(r"0|-?[1-9]\d{0,14}")  # whole numbers that are equal as text or not at all


def _math_equal(extracted: str, gold: str) -> bool:
    if extracted == gold:
        return True
    if _WHOLE.fullmatch(extracted) and _WHOLE.fullmatch(gold):
        return False  # as math-verify says, in a thousandth of its time
    # Imported late: sympy takes seconds, and most answers above are equal as text.
    from math_verify import parse, verify

    # Its time limit is an alarm, which only a main thread can have; the reward of a training is asked for in another.
    limit = 5 if threading.current_thread() is threading.main_thread() else None

    def parsed(text: str) -> list:
        return parse(text if "$" in text else f"${text}$", parsing_timeout=limit)

    return bool(verify(parsed(gold), parsed(extracted), timeout_seconds=limit))


_LETTER = re.compile(r"^\W*([A-Za-z])\b(?!\w)")


def stated_letter(text: str) -> str | None:
    """The letter that opens the stated answer, upper case: "(C) 7" and "c" are C. None if it opens with anything
    else.
    """
    found = _LETTER.match(stated(text) or "")
    return found.group(1).upper() if found else None


def _letter_equal(extracted: str, gold: str) -> bool:
    return extracted == gold.strip().strip("().").upper()


GRADERS: dict[str, Grader] = {
    "math": Grader("math", 2, stated, _math_equal),
    "choice": Grader("choice", 2, stated_letter, _letter_equal),
}
