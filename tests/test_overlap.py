"""Shared runs of words, against a plain double loop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s1sweep.data.overlap import ngrams, overlaps

TEXTS = st.lists(st.lists(st.sampled_from("ab"), max_size=14).map(" ".join), max_size=6)


def test_s1s_words() -> None:
    assert ngrams("  A\tb c\n\nd E f g  H ") == [hash("a b c d e f g h")]
    assert ngrams("a b c d e f g") == []  # fewer than eight words match nothing
    assert ngrams("a b c", 2) == [hash("a b"), hash("b c")]


@given(TEXTS, TEXTS)
def test_overlaps_are_those_of_a_double_loop(questions: list[str], rows: list[str]) -> None:
    naive = {
        (r, q)
        for r, row in enumerate(rows)
        for q, question in enumerate(questions)
        if any(question[i : i + 15] in row for i in range(0, len(question) - 14, 2))  # 8 letters and 7 blanks
    }
    assert {(r, q) for r, found in overlaps(questions, rows) for q in found} == naive
