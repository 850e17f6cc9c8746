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


class Model:
    """A model and its tokenizer, asked in s1's chat format."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        start, *self.ends = self.ids("<|im_start|>") + self.ids("<|im_end|>") + self.ids("<|endoftext|>")
        self.stops = [start, *self.ends]

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def prompt(self, question: str) -> list[int]:
        chat = [{"role": "user", "content": question}]
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return self.ids(text) + self.ids(THINK)

    def forced(self, thinking: list[int]) -> list[int]:
        newline = [] if self.tokenizer.decode(thinking).endswith("\n") else self.ids("\n")
        return newline + self.ids(ANSWER + FORCED)


def harness(m: Model, question: str, limit: int, ignores: int, string: str, answer_limit: int) -> dict[str, Any]:
    """s1's evaluation harness: thinking ids, answer ids, and whether thinking was forced to end."""
    prompt, thinking = m.prompt(question), []
    for turn in range(ignores + 1):
        new, stopped = greedy(m.model, prompt + thinking, limit, m.stops, at_least=1 if ignores else 0)
        thinking += new
        if not stopped:
            break
        if turn < ignores:
            thinking += m.ids(string)
    thinking = thinking[:limit]
    lead = m.ids(ANSWER) if stopped else m.forced(thinking)
    answer, _ = greedy(m.model, prompt + thinking + lead, answer_limit, m.ends)
    return {"thinking": thinking, "answer": answer, "forced": not stopped}


def readme(m: Model, question: str, limit: int, ignores: int, string: str, answer_limit: int) -> dict[str, Any]:
    """s1's README: one budget for all rounds, less what each made with its stop; the answer simply goes on."""
    prompt = m.prompt(question)
    thinking, stopped = greedy(m.model, prompt, limit, m.stops)
    left = limit - len(thinking) - stopped
    for _ in range(ignores):
        if not stopped or left <= 0:
            break
        thinking += m.ids(string)
        new, stopped = greedy(m.model, prompt + thinking, left, m.stops, at_least=1)
        left -= len(new) + stopped
        thinking += new
    answer, _ = greedy(m.model, prompt + thinking, answer_limit, m.ends)
    return {"thinking": thinking, "answer": answer, "forced": not stopped}


def exact(m: Model, question: str, limit: int, ignores: int, string: str, answer_limit: int) -> dict[str, Any]:
    """L1's baseline: thinking of exactly `limit` tokens, strings and all, however often it must be told to go on."""
    prompt, thinking = m.prompt(question), []
    while len(thinking) < limit:
        new, stopped = greedy(m.model, prompt + thinking, limit - len(thinking), m.stops, at_least=1)
        thinking += new
        if stopped:
            thinking += m.ids(string)[: limit - len(thinking)]
    answer, _ = greedy(m.model, prompt + thinking + m.forced(thinking), answer_limit, m.ends)
    return {"thinking": thinking, "answer": answer, "forced": True}


DIALECTS = {"s1_harness": harness, "s1_readme": readme, "exact_length": exact}
