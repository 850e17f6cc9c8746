"""Decoding of many short prompts with a local checkpoint, for measuring the testbed's own models.

Plain transformers on purpose: the pool's measured columns must not depend on the engine the framework tests.

Refuses to know: problems, grading, thinking budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def load(directory: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A checkpoint and its tokenizer, ready for inference."""
    import torch
    from transformers import AutoTokenizer, Qwen2ForCausalLM

    model = Qwen2ForCausalLM.from_pretrained(str(directory), dtype=torch.float32)
    model.eval()
    return model, AutoTokenizer.from_pretrained(str(directory))


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    max_new_tokens: int = 96,
    batch_size: int = 256,
    temperature: float = 0.0,
) -> list[str]:
    """The continuation of each prompt, cut before the first end token; sampled only where a temperature is given."""
    import torch

    ids = [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts]
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), ids[i]))
    stops = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    out = [""] * len(ids)
    for at in range(0, len(order), batch_size):
        rows = order[at : at + batch_size]
        width = max(len(ids[i]) for i in rows)
        pads = [width - len(ids[i]) for i in rows]
        inputs = torch.tensor([[tokenizer.pad_token_id] * pad + ids[i] for pad, i in zip(pads, rows, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * len(ids[i]) for pad, i in zip(pads, rows, strict=True)])
        with torch.no_grad():
            made = model.generate(
                input_ids=inputs,
                attention_mask=mask,
                **({"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}),
                max_new_tokens=max_new_tokens,
                eos_token_id=stops,
                pad_token_id=tokenizer.pad_token_id,
            )
        for i, row in zip(rows, made[:, width:].tolist(), strict=True):
            end = next((k for k, token in enumerate(row) if token in stops), len(row))
            out[i] = tokenizer.decode(row[:end])
    return out


def greedy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], max_new_tokens: int = 96
) -> list[str]:
    """The greedy continuation of each prompt."""
    return complete(model, tokenizer, prompts, max_new_tokens)


def answer_of(text: str) -> str:
    """What follows the last `Answer:`, or nothing: the testbed's own exact grading."""
    _, found, tail = text.rpartition("Answer:")
    return tail.strip() if found else ""
