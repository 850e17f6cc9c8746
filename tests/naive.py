"""Budget forcing again, short and slow: transformers, one cell and one question at a time, nothing shared.

Written from the description of s1's harness, not from s1sweep's code, so that the two can be held against each other.
"""

from __future__ import annotations

from typing import Any

THINK, ANSWER, FORCED = "<|im_start|>think", "<|im_start|>answer", "\nFinal Answer:"


def greedy(model: Any, ids: list[int], limit: int, stops: list[int], at_least: int = 0) -> tuple[list[int], bool]:
    """Ids decoded after `ids`, without the stop, and whether a stop ended them."""
    import torch

    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=limit,
            min_new_tokens=at_least,
            eos_token_id=stops,
            pad_token_id=0,
        )[0, len(ids) :].tolist()
    return (out[:-1], True) if out and out[-1] in stops else (out, False)


def cell(
    model: Any, tokenizer: Any, question: str, limit: int, ignores: int, string: str, answer_limit: int
) -> dict[str, Any]:
    """Thinking ids, answer ids, and how thinking ended."""

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    chat = [{"role": "user", "content": question}]
    prompt = ids(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)) + ids(THINK)
    start, *ends = ids("<|im_start|>") + ids("<|im_end|>") + ids("<|endoftext|>")
    thinking: list[int] = []
    for turn in range(ignores + 1):
        new, stopped = greedy(model, prompt + thinking, limit, [start, *ends], at_least=1 if ignores else 0)
        thinking += new
        if not stopped:
            break
        if turn < ignores:
            thinking += ids(string)
    thinking = thinking[:limit]
    if stopped:
        lead = ids(ANSWER)
    else:
        lead = ([] if tokenizer.decode(thinking).endswith("\n") else ids("\n")) + ids(ANSWER + FORCED)
    answer, _ = greedy(model, prompt + thinking + lead, answer_limit, ends)
    return {"thinking": thinking, "answer": answer, "forced": not stopped}
