"""Which questions share a run of words with which rows: s1's test for contamination (data/decontaminate_util.py there).

Lower case, words as whitespace parts them, any one run of 8 in common. Texts of fewer words match nothing. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

N = 8


def ngrams(text: str, n: int = N) -> list[int]:
    """Hashes of every run of `n` words, for use within one process; a false match has odds of about 1e-6 a pool."""
    words = text.lower().split()
    return [hash(" ".join(words[i : i + n])) for i in range(len(words) - n + 1)]


def overlaps(questions: Sequence[str], rows: Iterable[str], n: int = N) -> Iterator[tuple[int, frozenset[int]]]:
    """The place of each row that shares a run of `n` words with a question, and the places of those questions.

    Questions are kept as hashes, rows go by one at a time: 59K rows against 1,000 questions take seconds and some MB.
    """
    places: dict[int, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        for gram in set(ngrams(question, n)):
            places[gram].append(place)
    for number, row in enumerate(rows):
        found = frozenset(place for gram in ngrams(row, n) for place in places.get(gram, ()))
        if found:
            yield number, found
