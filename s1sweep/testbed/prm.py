"""Train the tiny process reward model: `python -m s1sweep.testbed.prm`.

A causal LM like the base, and grown from it, that reads a question and a trace in which every step is followed by `?`;
at each `?` its next token says whether that step is right, and P(+) / (P(+) + P(-)) is the step's score. The verdicts
are never in the text, so one pass scores all steps, and a score depends on nothing that comes later. A step is right if
the problem's own working holds it: a step worked faultlessly from a wrong state is wrong.

Labels come from planted faults in traces of `train` questions. The committed weights (3.6M tokens, nine minutes on one
core) have not learned to check arithmetic: they tell planted faults apart moderately and the base's own slips no better
than chance (`scores.json`). Figures from this testbed are synthetic, not evidence about LLMs.

Refuses to know: pools, tasks, sweeps, and how anyone searches with the scores.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1sweep.testbed import BASE, PRM
from s1sweep.testbed.base import DOMAIN_WEIGHTS, WINDOW, Phase, batches, save, train
from s1sweep.testbed.problems import (
    DOMAINS,
    LABELS,
    LETTERS,
    MAX_STEPS,
    STYLES,
    Problem,
    choose,
    draw_in_fold,
    pick,
    trace,
    work,
)
from s1sweep.testbed.tokenizer import build

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TAG, GOOD, BAD = "?", "+", "-"
DOUBTS = ("Wait ", "Hmm ", "Alternatively ")
FAULTS = (("after", 4), ("before", 2), ("operand", 2), ("label", 1), ("skip", 1.5))
# Judging one step by itself comes first, on short problems full of faults: in long traces nearly every wrong step only
# inherits an older fault, and a judge that cannot find that one learns nothing from the rest.
PHASES = (
    (Phase("short", 1_600_000, 1.5e-3, choices=0.2), 6, 0.75),
    (Phase("long", 2_000_000, 1.2e-3, 0.3), MAX_STEPS, 0.5),
)


def steps_of(thinking: str) -> list[str]:
    """A trace cut right after each `;` and line end; joined, the steps are the trace again."""
    return re.findall(r"[^;\n]*[;\n]|[^;\n]+", thinking)


def judge(problem: Problem, thinking: str) -> list[bool]:
    """For each step of a trace, whether what it states is right; a last step cut short need only have begun rightly."""
    known = [
        *work(problem, 0, len(problem.operands), problem.states[0])[0],
        *(choose(problem) if problem.choices else []),
    ]
    verdicts, steps = [], steps_of(thinking)
    for i, step in enumerate(steps):
        stated = re.sub(r"^(Wait|Hmm|Alternatively) ?", "", step.rstrip(";\n"))
        cut = i == len(steps) - 1 and step == step.rstrip(";\n")
        verdicts.append(any(right == stated or (cut and right.startswith(stated)) for right in known))
    return verdicts


def answers_right(problem: Problem, thinking: str) -> bool:
    """Whether a whole trace ends in the problem's last step."""
    known = choose(problem) if problem.choices else work(problem, 0, len(problem.operands), problem.states[0])[0]
    return re.split("[;\n ]", thinking.rstrip())[-1] == known[-1]


def _compare(rng: random.Random, problem: Problem, state: int) -> list[str]:
    """Choices compared with whatever was reached, now and then wrongly."""
    steps = []
    for letter, choice in zip(LETTERS, problem.choices, strict=False):
        same = (choice == str(state)) != (rng.random() < 0.08)
        steps.append(f"{letter}{choice}:{state}{'ny'[same]}")
        if same:
            break
    return steps


def flawed(rng: random.Random, problem: Problem) -> str:
    """A trace with one to three faults; what follows builds on them, until a doubt may repair them."""
    domain, count, operands = DOMAINS[problem.domain], len(problem.operands), problem.operands
    span = {"parity": 2, "swap": 4}.get(problem.domain, 10)
    todo = set(rng.sample(range(count), min(count, rng.choice((1, 1, 1, 2, 3)))))
    repairs = rng.choice((0.0, 0.0, 0.2, 0.5))
    lines: list[list[str]] = [[]]
    reached, i, fault_at = list(problem.states), 0, -1
    while i < count:
        fault = pick(rng, FAULTS) if i in todo else ""
        todo.discard(i)
        label, operand, state = LABELS[i], operands[i], reached[i]
        if fault == "before":
            state = rng.randrange(span)
        if fault == "operand":
            operand = rng.choice((domain.draw(rng, 1)[1][0], rng.choice(operands)))
        if fault == "label":
            label = LABELS[max(0, i + rng.choice((-1, 1, 2)))]
        reached[i + 1] = rng.randrange(span) if fault == "after" else domain.apply(problem.head, state, operand)
        if fault == "skip":
            reached[i + 1] = reached[i]
        else:
            lines[-1].append(domain.show(label, state, operand, reached[i + 1]))
        fault_at = i if fault and fault_at < 0 else fault_at
        i += 1
        if fault_at >= 0 and rng.random() < repairs and lines[-1]:
            lines.append([])
            # Some doubts look again and still build on the wrong state: a doubt word alone must prove nothing.
            i = fault_at if rng.random() < 0.7 else rng.randint(fault_at, i)
            if rng.random() < 0.8:
                reached, fault_at = list(problem.states), -1
    if problem.choices:
        lines[-1] += _compare(rng, problem, reached[-1])
    for _ in range(rng.choice((0, 0, 0, 1, 1, 3))):
        first = count - rng.randint(1, min(4, count))
        again, state = work(problem, first, count, reached[first])
        lines.append([*again, *(_compare(rng, problem, state) if problem.choices else [])])
    shown = [";".join(line) for line in lines if line]
    return "\n".join([shown[0], *(rng.choice(DOUBTS) + line for line in shown[1:])]) if shown else ""


def drawn(rng: random.Random, problem: Problem, flaws: float = 0.5) -> str:
    """A whole trace: one with planted faults, or a trace in any style."""
    made = flawed(rng, problem) if rng.random() < flaws else ""
    return made or trace(rng, problem, rng.choice(("plain", *STYLES)), rechecks=rng.choice((1, 1, 2, 4)))


def shortened(rng: random.Random, thinking: str) -> str:
    """The trace as a controller may meet it: sometimes stopped anywhere, sometimes closed by a line end."""
    if rng.random() < 0.25:
        pieces = re.findall(r"Wait|Hmm|Alternatively|(?s:.)", thinking)
        return "".join(pieces[: rng.randint(1, len(pieces))])
    return thinking + "\n" if rng.random() < 0.3 else thinking


def examples(
    seed: int, fold: str = "train", longest: int = MAX_STEPS, flaws: float = 0.5, choices: float = 0.3
) -> Iterator[tuple[Problem, str]]:
    """The endless stream of problems and their traces."""
    rng = random.Random(f"prm-{seed}")
    while True:
        domain = pick(rng, DOMAIN_WEIGHTS)
        steps = rng.randint(1, longest // 2) if rng.random() < 0.5 else rng.randint(1, longest)
        problem = draw_in_fold(rng, fold, domain, steps, domain != "parity" and rng.random() < choices)
        yield problem, shortened(rng, drawn(rng, problem, flaws))


def encode(tokenizer: PreTrainedTokenizerFast, prompt: str, thinking: str) -> tuple[list[int], list[int]]:
    """Token ids of a tagged trace and where its tags stand."""
    ids: list[int] = tokenizer(f"{prompt}\n", add_special_tokens=False).input_ids
    tags = []
    for step in steps_of(thinking):
        ids = ids + tokenizer(step + TAG, add_special_tokens=False).input_ids
        tags.append(len(ids) - 1)
    return ids, tags


def rows(
    stream: Iterator[tuple[Problem, str]], tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[list[int], list[int]]]:
    """Token ids and labels; a tag's verdict stands one place on, where training looks for what the tag predicts."""
    verdict = {True: tokenizer.convert_tokens_to_ids(GOOD), False: tokenizer.convert_tokens_to_ids(BAD)}
    for problem, thinking in stream:
        ids, tags = encode(tokenizer, problem.prompt, thinking)
        labels = [-100] * (len(ids) + 1)
        for at, good in zip(tags, judge(problem, thinking), strict=True):
            labels[at + 1] = verdict[good]
        yield [*ids, tokenizer.pad_token_id][:WINDOW], labels[:WINDOW]


def step_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[str, str]], batch_size: int = 64
) -> list[list[float]]:
    """P(+) / (P(+) + P(-)) at each step of each (prompt, thinking)."""
    import torch

    encoded = [encode(tokenizer, prompt, thinking) for prompt, thinking in pairs]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]))
    sides = [tokenizer.convert_tokens_to_ids(mark) for mark in (GOOD, BAD)]
    out: list[list[float]] = [[] for _ in encoded]
    for at in range(0, len(order), batch_size):
        chosen = order[at : at + batch_size]
        width = max(len(encoded[i][0]) for i in chosen)
        # Pads on the right are seen by nothing before them, so no mask is needed.
        inputs = [encoded[i][0] + [tokenizer.pad_token_id] * (width - len(encoded[i][0])) for i in chosen]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(inputs), use_cache=False).logits[..., sides].float()
        share = logits.softmax(-1)[..., 0].tolist()
        for i, row in zip(chosen, share, strict=True):
            out[i] = [row[tag] for tag in encoded[i][1]]
    return out


def auc(scores: Sequence[float], truths: Sequence[bool]) -> float:
    """How often a right one outscores a wrong one; a tie counts half."""
    low = sorted(s for s, good in zip(scores, truths, strict=True) if not good)
    high = [s for s, good in zip(scores, truths, strict=True) if good]
    won = sum(bisect_left(low, s) + bisect_right(low, s) for s in high) / 2
    return won / (len(low) * len(high)) if low and high else float("nan")


def report(problems: Sequence[Problem], texts: Sequence[str], right: Sequence[bool], scores: Any) -> dict[str, Any]:
    """The figures of one set of traces: by step, by domain, and of whole traces against their answers."""
    flat: dict[str, tuple[list[float], list[bool]]] = {name: ([], []) for name in ("all", *DOMAINS)}
    for problem, text, got in zip(problems, texts, scores, strict=True):
        for name in ("all", problem.domain):
            flat[name][0].extend(got)
            flat[name][1].extend(judge(problem, text))
    hits = [(score > 0.5) == good for score, good in zip(*flat["all"], strict=True)]
    return {
        "traces": len(texts),
        "steps": len(hits),
        "steps_right": round(sum(flat["all"][1]) / len(hits), 3),
        "answers_right": round(sum(right) / len(right), 3),
        "step_auc": round(auc(*flat["all"]), 4),
        "step_accuracy": round(sum(hits) / len(hits), 4),
        "step_auc_by_domain": {name: round(auc(*flat[name]), 4) for name in DOMAINS},
        "trace_auc_min": round(auc([min(got) for got in scores], right), 4),
        "trace_auc_last": round(auc([got[-1] for got in scores], right), 4),
    }


def score(directory: Path, per_cell: int = 12) -> dict[str, Any]:
    """How well steps and whole traces of task-fold questions are told apart: planted ones, and the base's own."""
    from s1sweep.testbed.decode import answer_of, complete, load

    model, tokenizer = load(directory)
    base, _ = load(BASE)
    rng = random.Random(11)
    cells = [(domain, steps) for domain in DOMAINS for steps in (3, 6, 10, 15, 20, 24) for _ in range(per_cell)]
    problems = [
        draw_in_fold(rng, "task", domain, steps, domain != "parity" and rng.random() < 0.3) for domain, steps in cells
    ]
    planted = [drawn(rng, problem) for problem in problems]
    given = [answers_right(problem, text) for problem, text in zip(problems, planted, strict=True)]
    made = complete(base, tokenizer, [f"{p.prompt}\n" for p in problems], max_new_tokens=400, temperature=1.0)
    own = [re.split(r"\n(?:Final )?Answer:", text)[0] for text in made]
    found = [answer_of(text) == problem.answer for text, problem in zip(made, problems, strict=True)]
    scores: dict[str, Any] = {"note": "synthetic, not evidence about LLMs", "n_per_cell": per_cell}
    for name, texts, right in (("planted", planted, given), ("sampled_from_base", own, found)):
        got = step_scores(model, tokenizer, [(p.prompt, text) for p, text in zip(problems, texts, strict=True)])
        scores[name] = report(problems, texts, right, got)
    return scores


def main() -> None:
    """Train, score, and write weights, log and scores side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=PRM)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    import torch
    from transformers import Qwen2ForCausalLM

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = build()
    model = Qwen2ForCausalLM.from_pretrained(str(BASE), dtype=torch.float32)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "train_log.jsonl").open("w") as log:
        for at, (phase, longest, flaws) in enumerate(PHASES):
            stream = examples(args.seed + 10 * at, "train", longest, flaws, phase.choices)
            packed = batches(args.seed, rows(stream, tokenizer), tokenizer.pad_token_id, tokens=2048)
            train(model, phase, packed, log)
    # Half the bytes; the scores below are measured on what was stored.
    save(model.to(torch.bfloat16), tokenizer, args.out)
    (args.out / "scores.json").write_text(json.dumps(score(args.out), indent=1) + "\n")


if __name__ == "__main__":
    main()
