"""Answers as numbers: equal ones share one. Compared as graders do; knows no grader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

NONE = -1  # no answer; two of them are alike


class Classes:
    """Numbers the answers of a question: 0, 1, ... in order of appearance, equal ones alike, `NONE` for None.

    `equal(a, b)` is a grader's; it is asked once for a pair of distinct normalised texts, whatever the question.
    """

    def __init__(self, equal: Callable[[str, str], bool]) -> None:
        self._equal = equal
        self._known: dict[tuple[str, str], bool] = {}

    def of(self, texts: Iterable[str | None]) -> list[int]:
        first: list[str] = []
        numbers: dict[str, int] = {}
        found = []
        for text in texts:
            if text is None:
                found.append(NONE)
                continue
            plain = normalised(text)
            if plain not in numbers:
                same = next((i for i, other in enumerate(first) if self._same(plain, other)), None)
                if same is None:
                    same = len(first)
                    first.append(plain)
                numbers[plain] = same
            found.append(numbers[plain])
        return found

    def array(self, texts: Sequence[Sequence[Sequence[str | None]]]) -> NDArray[np.int64]:
        """(questions, samples, points) of texts in that shape; classes are a question's own."""
        rows = []
        for samples in texts:
            shape = len(samples), len(samples[0])
            rows.append(np.array(self.of(t for sample in samples for t in sample), dtype=np.int64).reshape(shape))
        return np.stack(rows)

    def _same(self, a: str, b: str) -> bool:
        pair = (a, b) if a <= b else (b, a)
        if pair not in self._known:
            self._known[pair] = self._equal(*pair)
        return self._known[pair]


def normalised(text: str) -> str:
    """Without the differences that never matter: white space, and the case of a single letter."""
    text = re.sub(r"\s+", " ", text).strip()
    return text.upper() if len(text) == 1 else text
