"""Training formats of token- and step-conditional control: what the prompt asks for is what the trace then does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.decoding.chat import Chat, load_tokenizer
from s1sweep.planning.normal import training_format
from s1sweep.spec import TrainingFormat
from s1sweep.training.conditional import bucket, steps_of, thought, wish
from s1sweep.training.format import IGNORE, example, response_text
from tests.helpers import compose
from tests.test_rules import row

CELL = compose("data=random")[0].cell
MODEL = CELL.model
MARKS = MODEL.delimiters


def form(method: str) -> TrainingFormat:
    found = training_format(compose("data=random", f"method={method}")[0].cell.method)
    assert found is not None
    return found


BY_TOKENS, BY_STEPS = form("token_conditional"), form("step_conditional")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(MODEL)


@pytest.mark.parametrize(
    ("n", "power"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (63, 64), (64, 64), (65, 128), (8192, 8192)]
)
def test_bucket(n: int, power: int) -> None:
    assert bucket(n) == power


@given(n=st.integers(1, 10**6))
def test_a_bucket_is_the_least_power_of_two_that_holds(n: int) -> None:
    assert bucket(n).bit_count() == 1 and n <= bucket(n) < 2 * n


def test_only_methods_that_are_trained_on_their_own_have_a_format() -> None:
    for method in ("token_conditional", "step_conditional"):
        (config,) = compose("data=random", f"method={method}", "method.trained_on=s1")
        assert training_format(config.cell.method) is None
    assert training_format(CELL.method) is None


def test_steps() -> None:
    assert steps_of(" a1=2;b3=4;\n", ";") == ["a1=2", "b3=4"]
    assert steps_of("a; ;b", ";") == ["a", "b"]
    assert steps_of("a;b", "\n\n") == ["a;b"]
    assert steps_of(" \n", ";") == []


@pytest.mark.parametrize(("thinking", "tokens"), [("a" * 5, 8), (" " + "a" * 8 + "\n", 8), ("a" * 9, 16), ("", 1)])
def test_the_wish_is_the_traces_own_length(thinking: str, tokens: int) -> None:
    assert wish(row(1, thinking=thinking), BY_TOKENS, len) == f"\n\nThink for up to {tokens} tokens."


@pytest.mark.parametrize(("thinking", "steps"), [("a", 1), ("a;b;c", 4), ("a;b;;c;d;", 4), ("a;b;c;d;e", 8)])
def test_the_wish_is_the_traces_own_number_of_steps(thinking: str, steps: int) -> None:
    assert wish(row(1, thinking=thinking), BY_STEPS, len) == f"\n\nThink for up to {steps} steps."


def test_steps_count_down_from_the_wish() -> None:
    told = thought(row(1, thinking="a8-3=5; b5*7=5;c5-4=1\n"), BY_STEPS, "")
    assert told == (
        "<|im_start|>4 steps left\na8-3=5\n<|im_start|>3 steps left\nb5*7=5\n<|im_start|>2 steps left\nc5-4=1\n"
    )


@given(n=st.integers(1, 40))
def test_the_countdown_never_is_over_while_steps_follow(n: int) -> None:
    told = thought(row(1, thinking=";".join("a" * n)), BY_STEPS, "")
    left = [int(step.split(" ")[0]) for step in told.split(BY_STEPS.step_mark)[1:]]
    assert left == list(range(bucket(n), bucket(n) - n, -1)) and left[-1] >= 1


def test_the_wish_is_part_of_the_prompt_and_not_learned(tokenizer: Any) -> None:
    """And is put just where decoding puts it."""
    asked = row(1, question="calc 8 a-3", thinking="a8-3=5;b5*7=5;c5-4=1", answer="1")
    for form_, n in ((BY_TOKENS, None), (BY_STEPS, 4)):
        made = example(asked, MODEL, tokenizer, 1024, form_)
        n = n or bucket(len(tokenizer.encode(asked.thinking)))
        prompt = Chat(MODEL, tokenizer).prompt(asked.question + form_.prompt.replace("{n}", str(n)))
        assert tuple(made.input_ids[: len(prompt)]) == prompt
        assert made.labels == [IGNORE] * len(prompt) + made.input_ids[len(prompt) :]
        assert tokenizer.decode(made.input_ids[len(prompt) :]) == response_text(asked, MODEL, form_)


def test_a_step_trace_begins_where_decoding_begins_it(tokenizer: Any) -> None:
    """The step's mark opens the turn in place of the start of thinking; the rest is learned."""
    chat = Chat(MODEL, tokenizer)
    made = example(row(1, thinking="a;b;c", answer="2"), MODEL, tokenizer, 1024, BY_STEPS)
    learned = [label for label in made.labels if label != IGNORE]
    text = chat.decode(learned)
    assert text.startswith(BY_STEPS.step_mark + "4 steps left\na\n")
    assert text.endswith(f"\nc\n{MARKS.think_end}\nAnswer: 2{MARKS.answer_stop[0]}")
    mark = chat.encode(BY_STEPS.step_mark)
    assert tuple(learned[: len(mark)]) == mark
    assert MARKS.think_start not in text


def test_token_conditional_traces_are_s1s_but_for_the_prompt() -> None:
    asked = row(1, thinking=" a;b ")
    assert response_text(asked, MODEL, BY_TOKENS) == response_text(asked, MODEL)


@given(thinking=st.text("ab;\n =1", max_size=60), answer=st.text("Answer: 12", max_size=12).filter(str.strip))
def test_without_a_format_nothing_is_added(thinking: str, answer: str) -> None:
    """s1's data/tokenization.py, spelled out."""
    said = answer.strip() if "Answer:" in answer else f"Answer: {answer.strip()}"
    assert response_text(row(1, thinking=thinking, answer=answer), MODEL) == (
        f"<|im_start|>think\n{thinking.strip()}\n<|im_start|>answer\n{said}<|im_end|>"
    )


def test_without_a_format_the_prompt_is_the_question(tokenizer: Any) -> None:
    made = example(row(1, question="calc 8 a-3"), MODEL, tokenizer, 1024, None)
    asked = tokenizer.decode([i for i, label in zip(made.input_ids, made.labels, strict=True) if label == IGNORE])
    assert asked == "<|im_start|>user\ncalc 8 a-3<|im_end|>\n<|im_start|>assistant\n"
    assert made == example(row(1, question="calc 8 a-3"), MODEL, tokenizer, 1024)
