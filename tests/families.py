"""Tokenizers with the chat templates of model families, made here: the testbed's bytes, each family's special tokens,
and templates that behave as the published ones do where it matters to prompts and masks.
"""

from __future__ import annotations

from typing import Any

from s1sweep.testbed.tokenizer import build

_CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
_ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
# Thinking of earlier turns is stripped.
_STRIPS = (
    "{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' and '</think>' in c %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + c + '<|im_end|>\n' }}{% endfor %}"
)
_R1 = (
    "{{ '<｜begin▁of▁sentence｜>' }}{% for m in messages %}{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}"
    "{% elif m.role == 'assistant' %}"
    "{{ '<｜Assistant｜>' + m.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}"
)
TEMPLATES = {
    # Without a system message Qwen2.5 writes its own.
    "qwen2_5": "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are Qwen.<|im_end|>\n' }}{% endif %}"
    + _CHATML + _ASKS + "{% endif %}",
    "qwen3": _STRIPS + _ASKS
    + "{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
    "qwen3_opens": _STRIPS + _ASKS + "{{ '<think>\n' }}{% endif %}",
    "r1": _R1 + "{% endif %}",
    "r1_opens": _R1 + "{{ '<think>\n' }}{% endif %}",
    "llama3": "{{ '<|begin_of_text|>' }}{% if messages[0].role != 'system' %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n<|eot_id|>' }}{% endif %}"
    "{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + (m.content | trim) + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
}  # fmt: skip
SPECIAL = [
    "<|im_start|>", "<think>", "</think>", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>",
    "<｜Assistant｜>",
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>",
]  # fmt: skip


def tokenizer(template: str | None = None) -> Any:
    """The testbed's tokenizer with the special tokens of all families, and the template of one."""
    made = build()
    made.add_special_tokens({"additional_special_tokens": SPECIAL})
    if template is not None:
        made.chat_template = TEMPLATES[template]
    return made
