"""Masks of every supported chat format: loss on thinking, answer and end of turn; none on what the template writes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.decoding.chat import Chat
from s1sweep.spec import ModelSpec
from s1sweep.training.format import IGNORE, example
from tests import families
from tests.helpers import ROOT, compose
from tests.test_rules import row

QWEN = "<|im_start|>system\nYou are Qwen.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
QWEN3 = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
R1 = "<｜begin▁of▁sentence｜><｜User｜>2+2?<｜Assistant｜>"
LLAMA = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
)
S1 = "<|im_start|>think\nIt is 4.\n<|im_start|>answer\nAnswer: 4<|im_end|>"
_HEAD = "<|start_header_id|>{}<|end_header_id|>\n"
HEADS = _HEAD.format("think") + "It is 4.\n" + _HEAD.format("answer") + "Answer: 4<|eot_id|>"
# model, template, what has no loss, what has
FORMATS = [
    ("qwen2_5_32b_instruct", "qwen2_5", QWEN, S1),
    ("qwen3_8b", "qwen3", QWEN3, "<think>\nIt is 4.\n</think>\nAnswer: 4<|im_end|>"),
    ("qwen3_8b", "qwen3_opens", QWEN3 + "<think>\n", "It is 4.\n</think>\nAnswer: 4<|im_end|>"),
    ("qwq_32b", "qwen3_opens", QWEN3 + "<think>\n", "It is 4.\n</think>\nAnswer: 4<|im_end|>"),
    ("r1_distill_qwen_7b", "r1", R1, "<think>\nIt is 4.\n</think>\nAnswer: 4<｜end▁of▁sentence｜>"),
    ("r1_distill_llama_8b", "r1_opens", R1 + "<think>\n", "It is 4.\n</think>\nAnswer: 4<｜end▁of▁sentence｜>"),
    ("llama3_1_8b_instruct", "llama3", LLAMA, HEADS),
]


@cache
def model(name: str) -> ModelSpec:
    return compose("train=none", f"model={name}")[0].cell.model


@cache
def tokenizer(template: str) -> Any:
    return families.tokenizer(template)


@pytest.mark.parametrize(("name", "template", "masked", "learned"), FORMATS)
def test_labels_cover_exactly_thinking_and_answer(name: str, template: str, masked: str, learned: str) -> None:
    text = tokenizer(template)
    made = example(row(1, question="2+2?", thinking=" It is 4.\n", answer="4"), model(name), text, 1024)
    held = [i for i, label in zip(made.input_ids, made.labels, strict=True) if label == IGNORE]
    assert text.decode(held) == masked
    assert text.decode([label for label in made.labels if label != IGNORE]) == learned
    assert text.decode(made.input_ids) == masked + learned


@pytest.mark.parametrize(("name", "template"), [f[:2] for f in FORMATS])
@given(question=st.text(min_size=1), thinking=st.text(), answer=st.text().filter(str.strip))
def test_training_begins_as_decoding_does(name: str, template: str, question: str, thinking: str, answer: str) -> None:
    """The prompt that the model sees when it is asked is what precedes the first label; what opens the thinking
    follows it, id by id.
    """
    asked = row(1, question=question, thinking=thinking, answer=answer)
    made = example(asked, model(name), tokenizer(template), 100_000)
    chat = Chat(model(name), tokenizer(template))
    prompt = chat.prompt(question)
    first = next(i for i, label in enumerate(made.labels) if label != IGNORE)
    assert tuple(made.input_ids[:first]) == prompt
    assert tuple(made.input_ids[first : first + len(chat.think_start)]) == chat.think_start
    assert made.labels[first:] == made.input_ids[first:]  # one piece, up to the end of the turn
    assert made.input_ids[-1] == chat.answer_stop[0]


@pytest.mark.parametrize("name", ["qwen3", "r1"])
def test_thinking_of_earlier_turns_is_stripped(name: str) -> None:
    chat = Chat(model("qwen3_8b" if name == "qwen3" else "r1_distill_qwen_7b"), tokenizer(name))
    text = chat.decode(chat.prompt("one", "<think>\nlong\n</think>\n\ntwo", "three"))
    assert "long" not in text and "two" in text


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "conf/model").glob("*.yaml")))
def test_every_family_is_named_after_its_weights(name: str) -> None:
    """Names, sizes and sources agree, so that nobody trains another model than the one that was typed."""
    spec = model(name)
    assert spec.name == name
    size = re.search(r"([\d.]+)B", spec.source)
    if size:
        assert f"_{size[1].replace('.', '_')}b" in name
        assert spec.parameters == pytest.approx(float(size[1]) * 1e9, rel=0.2)
