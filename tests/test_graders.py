"""Verdicts: one-line facts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep.answers.graders import GRADERS, last_boxed, stated


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ("Answer: 204", "204", "correct"),
        ("Answer: 204\n", "204", "correct"),
        ("Answer: 0204", "204", "correct"),
        ("so \\boxed{\\frac{1}{2}} it is", "0.5", "correct"),
        ("\\boxed{\\frac{14}{3}}", "\\frac{14}{3}", "correct"),
        ("first \\boxed{3}, then \\boxed{4}", "4", "correct"),
        ("Answer: 3\nFinal Answer: 4", "4", "correct"),
        ("\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}", "(3, \\pi/2)", "correct"),
        ("Answer: 205", "204", "wrong"),
        ("Answer: x+1", "x-1", "wrong"),
        ("", "204", "no_answer"),
        ("  \n", "204", "no_answer"),
        ("it is two hundred and four", "204", "not_extracted"),
        ("Final Answer:", "204", "not_extracted"),
    ],
)
def test_math(answer: str, gold: str, verdict: str) -> None:
    assert GRADERS["math"].judge(answer, gold).verdict == verdict


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ("Answer: C", "C", "correct"),
        ("Answer: (C) 7", "C", "correct"),
        ("Final Answer: c", "C", "correct"),
        ("\\boxed{B}", "(B)", "correct"),
        ("Answer: C.", "C", "correct"),
        ("Answer: D", "C", "wrong"),
        ("Answer: Because", "B", "not_extracted"),
        ("Answer: 7", "C", "not_extracted"),
        ("C", "C", "not_extracted"),
        ("", "C", "no_answer"),
    ],
)
def test_choice(answer: str, gold: str, verdict: str) -> None:
    assert GRADERS["choice"].judge(answer, gold).verdict == verdict


# How models set an answer off, and golds of AIME and MATH that have been read wrong.
@pytest.mark.parametrize(
    "form",
    [
        "Answer: @", "Answer: @.", "**Answer:** @", "Answer: **@**", "Answer: $@$", "Answer: $@$.", "Answer: \\(@\\)",
        "Answer: \\[ @ \\]", "Answer:\n\\[\n@\n\\]", "Answer:\n\n$$\n@\n$$\n\nThat is all.", "Final Answer: `@`",
        "\\[\\boxed{@}\\]", "I first thought \\boxed{9}.\nAnswer: 8, no.\n**Final Answer:** \\boxed{@}",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "gold",
    [
        "073", "73", "\\left( 3, \\frac{\\pi}{2} \\right)", "p - q", "6 - 5i", "11\\sqrt2", "[-2,7]", "10\\%",
        "2k+2", "\\text{Evelyn}", "x=5", "\\begin{pmatrix} -1/3 \\\\ 2/3 \\end{pmatrix}", "42_{9}", "10,\\!080",
    ],
)  # fmt: skip
def test_a_gold_answer_is_right_however_it_is_set_off(form: str, gold: str) -> None:
    assert GRADERS["math"].judge(form.replace("@", gold), gold).verdict == "correct"


@pytest.mark.parametrize("answer", ["073", "73", "73.0", "$73$", "\\boxed{073}"])
@pytest.mark.parametrize("gold", ["73", "073"])
def test_integers_of_aime_are_numbers_not_texts(answer: str, gold: str) -> None:
    assert GRADERS["math"].judge(f"Answer: {answer}", gold).verdict == "correct"
    assert GRADERS["math"].judge(f"Answer: {answer}", "730").verdict == "wrong"


LETTERS = ["**Answer: C**", "**Answer:** C", "Answer: **C) 7**", "Answer: \\(C\\)", "Answer: $C$"]


@pytest.mark.parametrize("form", LETTERS)
def test_letters_may_be_set_off(form: str) -> None:
    assert GRADERS["choice"].judge(form, "C").verdict == "correct"


def test_boxed_braces_balance() -> None:
    assert last_boxed("\\boxed{a{b}{c}} d}") == "a{b}{c}"
    assert last_boxed("\\boxed{never closed") is None
    assert stated("\\boxed{} Answer: 5") == "5"


def test_math_is_graded_in_any_thread() -> None:
    """A training under Ray asks for rewards outside the main thread, where math-verify cannot set its alarm."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(GRADERS["math"].judge, "Answer: \\frac{1}{2}", "0.5").result()
    assert found.verdict == "correct"


@settings(max_examples=50, deadline=None)
@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-3, 3))
def test_whole_numbers_are_compared_as_math_verify_does(number: int, more: int) -> None:
    from math_verify import parse, verify

    other = str(number + more)
    assert GRADERS["math"].equal(str(number), other) == verify(parse(f"${other}$"), parse(f"${number}$"))
