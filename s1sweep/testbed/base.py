"""Train the tiny base model: `python -m s1sweep.testbed.base`.

The base knows the arithmetic and the chat template but has not learned to think before it answers, so SFT earns its
place. Half of its documents are plain text, a question with a worked trace of any length; half are chats whose answers,
as an instruct model's do, show short working (up to six steps) or none. Neither half contains `<|im_start|>think`.
Questions of the `task` and `pool` folds never occur. The committed weights are this script's, run phase by phase
(`--resume`, `--phase`): 13M tokens, about twenty minutes on two quiet cores.

Figures from this testbed are synthetic, not evidence about LLMs.

Refuses to know: pools, tasks, sweeps, budget forcing.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from s1sweep.testbed import BASE
from s1sweep.testbed.problems import DOMAINS, MAX_STEPS, Problem, draw_in_fold, pick, trace
from s1sweep.testbed.tokenizer import CONTEXT, PAD, build

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

# Domains whose steps are table look-ups are learned last, so they are shown more often.
DOMAIN_WEIGHTS = (("calc", 2.5), ("walk", 1.5), ("swap", 1.5), ("sum", 1.5), ("parity", 1), ("max", 1), ("count", 1))
PLAIN_STYLES = (("plain", 7), ("recheck", 1.2), ("slip", 0.6), ("pause", 0.7), ("twice", 0.2), ("ramble", 0.3))
SHORT_WORK = 6
WINDOW = 448


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own schedule, share of multiple choice, and weight of traces that doubt."""

    name: str
    tokens: int
    lr: float
    choices: float
    doubts: float = 1.0


# Comparing choices and re-checking from the middle of a trace are learned last and only from many examples, so the
# gentler phases at the end are rich in them.
PHASES = (
    Phase("grow", 9_000_000, 3e-3, 0.15),
    Phase("anneal", 2_000_000, 1e-3, 0.5),
    Phase("polish", 2_000_000, 1e-3, 0.5, doubts=3.0),
)


def user_prompt(question: str) -> str:
    """A question in chat form, up to where the assistant speaks."""
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def plain_document(rng: random.Random, problem: Problem, doubts: float) -> tuple[str, str]:
    """A worked text outside any chat: (what is given, what is learned)."""
    weights = [(name, weight * (1.0 if name == "plain" else doubts)) for name, weight in PLAIN_STYLES]
    style = pick(rng, weights)
    worked = trace(rng, problem, style, rechecks=rng.choice((1, 1, 1, 2)))
    name = rng.choice(("Answer", "Final Answer"))
    return f"{problem.prompt}\n", f"{worked}\n{name}: {problem.answer}{PAD}"


def chat_document(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """A chat turn as the base knows it: short working where the problem is short, else just an answer."""
    shown = len(problem.operands) <= SHORT_WORK and rng.random() < 0.75
    working = trace(rng, problem) + "\n" if shown else ""
    return user_prompt(problem.prompt), f"{working}Answer: {problem.answer}<|im_end|>"


def documents(seed: int, phase: Phase) -> Iterator[tuple[str, str]]:
    """The endless training stream."""
    rng = random.Random(seed)
    while True:
        domain = pick(rng, DOMAIN_WEIGHTS)
        choices = domain != "parity" and rng.random() < phase.choices
        if rng.random() < 0.5:
            steps = rng.randint(1, 12) if rng.random() < 0.5 else rng.randint(1, MAX_STEPS)
            yield plain_document(rng, draw_in_fold(rng, "train", domain, steps, choices), phase.doubts)
        else:
            steps = rng.randint(1, SHORT_WORK) if rng.random() < 0.7 else rng.randint(SHORT_WORK + 1, MAX_STEPS)
            yield chat_document(rng, draw_in_fold(rng, "train", domain, steps, choices))


def rows(seed: int, tokenizer: PreTrainedTokenizerFast, phase: Phase) -> Iterator[tuple[list[int], list[int]]]:
    """Token ids and labels; one row in four joins documents up to a window, so that late positions are known too."""
    rng = random.Random(seed + 1)
    stream = documents(seed, phase)
    while True:
        ids: list[int] = []
        labels: list[int] = []
        room = rng.randint(64, WINDOW) if rng.random() < 0.25 else 0
        while not ids or len(ids) < room:
            given, learned = (tokenizer(text, add_special_tokens=False).input_ids for text in next(stream))
            # Operands are random digits: a loss on them would be noise that a model this small cannot afford.
            ids += given + learned
            labels += [-100] * len(given) + learned
        yield ids[:WINDOW], labels[:WINDOW]


def batches(
    seed: int, stream: Iterator[tuple[list[int], list[int]]], pad: int, tokens: int = 4096
) -> Iterator[tuple[list[Any], list[Any]]]:
    """Padded batches of about `tokens` tokens, of rows of like length, in random order."""
    rng = random.Random(seed + 2)
    while True:
        held = sorted((next(stream) for _ in range(4096)), key=lambda row: len(row[0]))
        cut: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in held:
            if cut[-1] and (len(cut[-1]) + 1) * len(row[0]) > tokens:
                cut.append([])
            cut[-1].append(row)
        rng.shuffle(cut)
        for batch in cut:
            width = max(len(ids) for ids, _ in batch)
            yield (
                [ids + [pad] * (width - len(ids)) for ids, _ in batch],
                [labels + [-100] * (width - len(labels)) for _, labels in batch],
            )


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2ForCausalLM:
    """An untrained base; head_dim 32 is the least that vLLM's CPU attention takes."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write a checkpoint that both transformers and vLLM load."""
    directory.mkdir(parents=True, exist_ok=True)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(str(directory))
    tokenizer.save_pretrained(str(directory))


def train(
    model: Qwen2ForCausalLM,
    phase: Phase,
    stream: Iterator[tuple[list[Any], list[Any]]],
    log: TextIO,
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train through one phase on a stream of batches."""
    import torch
    from torch.nn.functional import cross_entropy

    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=phase.lr, betas=(0.9, 0.98))
    seen, losses = 0, []
    for step, (ids, labels) in enumerate(stream, start=1):
        # Cosine down to a tenth: the last look-up tables are learned while the rate falls.
        cosine = 0.55 + 0.45 * math.cos(math.pi * min(1.0, seen / phase.tokens))
        lr = phase.lr * min(1.0, step / 200) * cosine
        for group in optimizer.param_groups:
            group["lr"] = lr
        inputs, targets = torch.tensor(ids), torch.tensor(labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(input_ids=inputs[:, :-1], use_cache=False).last_hidden_state
            kept = targets[:, 1:] != -100
            logits = model.lm_head(hidden[kept])
        loss = cross_entropy(logits.float(), targets[:, 1:][kept])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += int((inputs != model.config.pad_token_id).sum())
        losses.append(loss.item())
        if step % 25 == 0:
            record = {"phase": phase.name, "step": step, "tokens": seen}
            log.write(json.dumps({**record, "loss": round(sum(losses) / len(losses), 5), "lr": round(lr, 7)}) + "\n")
            log.flush()
            losses = []
        on_step(step)
        if seen >= phase.tokens:
            return


def score(directory: Path, per_cell: int = 6) -> dict[str, Any]:
    """Accuracy on questions of the task fold, by mode, domain and number of steps."""
    from s1sweep.testbed.decode import answer_of, greedy, load

    model, tokenizer = load(directory)
    rng = random.Random(7)
    cells = [(domain, steps) for domain in DOMAINS for steps in (3, 6, 10, 15, 20, 24) for _ in range(per_cell)]
    problems = [draw_in_fold(rng, "task", domain, steps) for domain, steps in cells]
    scores: dict[str, Any] = {"note": "synthetic, not evidence about LLMs", "n_per_cell": per_cell}
    for mode, room in (("plain", 400), ("chat", 72)):
        prompts = [user_prompt(p.question) if mode == "chat" else f"{p.question}\n" for p in problems]
        made = greedy(model, tokenizer, prompts, max_new_tokens=room)
        right = [answer_of(text) == p.answer for text, p in zip(made, problems, strict=True)]
        table: dict[str, dict[str, float]] = {"by_domain": {}, "by_steps": {}}
        for which, key in (("by_domain", 0), ("by_steps", 1)):
            for name in dict.fromkeys(cell[key] for cell in cells):
                hits = [hit for hit, cell in zip(right, cells, strict=True) if cell[key] == name]
                table[which][str(name)] = round(sum(hits) / len(hits), 3)
        scores[mode] = {"accuracy": round(sum(right) / len(right), 3), **table}
    return scores


def main() -> None:
    """Train, score, and write weights, log and scores side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=BASE)
    parser.add_argument("--weak", type=Path, default=Path("outputs/testbed/weak"), help="early checkpoint")
    parser.add_argument("--weak-step", type=int, default=1250)
    parser.add_argument("--resume", type=Path, help="start from this checkpoint, at --phase")
    parser.add_argument("--phase", choices=[phase.name for phase in PHASES], default=PHASES[0].name)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    import torch
    from transformers import Qwen2ForCausalLM

    torch.set_num_threads(args.threads)
    tokenizer = build()
    resumed = Qwen2ForCausalLM.from_pretrained(str(args.resume), dtype=torch.float32) if args.resume else None
    model = resumed or new_model(tokenizer, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "train_log.jsonl").open("a" if resumed else "w") as log:
        for at in range([phase.name for phase in PHASES].index(args.phase), len(PHASES)):

            def keep_weak(step: int, first: bool = at == 0) -> None:
                if first and step == args.weak_step:
                    save(model, tokenizer, args.weak)

            seed = args.seed + 10 * at
            train(
                model,
                PHASES[at],
                batches(seed, rows(seed, tokenizer, PHASES[at]), tokenizer.pad_token_id),
                log,
                keep_weak,
            )
    save(model, tokenizer, args.out)
    (args.out / "scores.json").write_text(json.dumps(score(args.out), indent=1) + "\n")


if __name__ == "__main__":
    main()
