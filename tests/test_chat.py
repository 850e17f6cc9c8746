"""Chat formats of model families: where thinking begins and ends, and what an engine may stop on."""

from __future__ import annotations

from typing import Any

import pytest

from s1sweep.decoding.chat import Chat
from s1sweep.errors import UserError
from s1sweep.spec import ModelSpec
from tests import families
from tests.helpers import ROOT, compose

FAMILIES = sorted(p.stem for p in (ROOT / "conf/model").glob("*.yaml"))


def model(name: str) -> ModelSpec:
    return compose("train=none", f"model={name}")[0].cell.model


def tokenizer(opens: str = "") -> Any:
    """The testbed's, with the marks of the other families as special tokens."""
    made = families.tokenizer()
    made.chat_template += "{% if add_generation_prompt %}" + opens + "{% endif %}"
    return made


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_can_be_stopped_and_reads_back(name: str) -> None:
    chat = Chat(model(name), tokenizer())
    marks = model(name).delimiters
    assert chat.decode(chat.think_start) == marks.think_start
    assert chat.decode(chat.think_end) == marks.think_end
    assert [chat.decode([i]) for i in chat.think_stop] == list(marks.think_stop)
    # The end of thinking begins with something that the thinking stops on, or has no mark at all.
    assert not chat.think_end or chat.think_end[0] in chat.think_stop
    assert set(chat.answer_stop) <= set(chat.think_stop)


@pytest.mark.parametrize(("opens", "added"), [("", "<think>\n"), ("<think>\n", ""), ("<think>", "")])
def test_thinking_is_opened_once(opens: str, added: str) -> None:
    chat = Chat(model("qwq_32b"), tokenizer(opens))
    text = chat.decode((*chat.prompt("2+2?"), *chat.think_start))
    assert text.count("<think>") == 1 and chat.decode(chat.think_start) == added


def test_turns_and_system_prompt() -> None:
    limo = Chat(model("limo_32b"), tokenizer())
    text = limo.decode(limo.prompt("one", "two", "three"))
    assert text.startswith("<|im_start|>system\nPlease reason step by step")
    assert text.endswith(
        "user\none<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_stop_may_be_an_id() -> None:
    tiny = compose("train=none", "model.delimiters.think_stop=[5,'<|im_end|>']")[0].cell.model
    assert Chat(tiny, tokenizer()).think_stop[0] == 5


def test_a_stop_of_several_tokens_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.delimiters.think_stop='<\|im_start\|>answer' is 2 tokens"):
        Chat(compose("train=none", "model.delimiters.think_stop=['<|im_start|>answer']")[0].cell.model, tokenizer())


def test_ids_of_words_are_whole_words_in_any_guise() -> None:
    made = tokenizer()
    made.add_tokens([" wait", "Wait,", "waiter", "WAIT"])
    chat = Chat(model("tiny"), made)
    found = {chat.decode([i]) for i in chat.ids_of_words(["wait"])}
    assert found == {"Wait", " wait", "Wait,", "WAIT"}
