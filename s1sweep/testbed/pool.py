"""Write the reasoning pool and the tasks: `python -m s1sweep.testbed.pool --weak <early checkpoint>`.

Five made-up sources differ in domains, difficulty and in how wordily they work, so that rules such as "longest" and
"hard" choose different rows. `weak_correct` and `strong_correct` are measured: both checkpoints answer every question
in chat form, greedily and without a thinking prefix. About 3.5 % of the rows carry the faults that s1's quality filter
looks for. Everything but the two measured columns is a pure function of the seed.

Refuses to know: subset rules, SFT, budget forcing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1sweep.testbed import BASE, POOL, TASKS, task_path
from s1sweep.testbed.base import user_prompt
from s1sweep.testbed.problems import DOMAINS, Problem, draw_in_fold, pick, trace
from s1sweep.testbed.tokenizer import build

Weights = tuple[tuple[str, float], ...]
COLUMNS = (
    *("id", "question", "solution", "thinking", "answer", "domain", "source"),
    *("weak_correct", "strong_correct", "trace_tokens"),
)
EVEN: Weights = tuple((name, 1.0) for name in DOMAINS)
COMMON: Weights = (("parity", 6), ("max", 5), ("count", 4), ("sum", 3), ("calc", 1), ("walk", 1), ("swap", 0.5))
FAULTS = ("asy", "bold", "image", "page", "empty", "no_solution")
FAULT_SHARE = 0.035


@dataclass(frozen=True)
class Source:
    """One made-up origin of rows; `choices` is the share of multiple choice, `rechecks` how often a trace doubts."""

    name: str
    rows: int
    domains: Weights
    steps: tuple[int, int]
    styles: Weights
    choices: float = 0.0
    rechecks: tuple[int, int] = (1, 2)


SOURCES: tuple[Source, ...] = (
    # Easy and terse: what a uniform draw mostly finds.
    Source("textbook", 2200, COMMON, (1, 6), (("plain", 9), ("recheck", 1))),
    # Hard, in all domains, thinking as long as it takes.
    Source("olympiad", 1700, EVEN, (7, 20), (("plain", 6), ("recheck", 2), ("slip", 1), ("pause", 1))),
    Source("entrance_exam", 900, EVEN, (2, 12), (("plain", 8), ("recheck", 2)), choices=0.8),
    Source("puzzles", 700, (("swap", 1), ("walk", 1), ("calc", 1)), (5, 18), (("plain", 7), ("twice", 2), ("slip", 1))),
    # Easy questions thought about at great length: long, but not hard.
    Source("forum", 500, COMMON, (2, 6), (("ramble", 1),), rechecks=(3, 10)),
)


def _spoil(row: dict[str, Any], fault: str) -> dict[str, Any]:
    """Give a row one of the faults that s1's quality filter drops."""
    changes: dict[str, dict[str, Any]] = {
        "asy": {"question": row["question"] + "\n[asy] draw((0,0)--(1,1)); [/asy]"},
        "bold": {"thinking": row["thinking"] + f"\n**{row['answer']}=0{len(row['id'])}**"},
        "image": {"question": row["question"] + "\n![Image](figure.png)"},
        "page": {"question": row["question"] + " see p12."},
        "empty": {"thinking": ""},
        "no_solution": {"solution": None},
    }
    return {**row, **changes[fault]}


def rows(seed: int = 0) -> list[dict[str, Any]]:
    """The pool without its measured columns; question texts are distinct."""
    rng = random.Random(f"pool-{seed}")
    tokenizer = build()
    made: list[dict[str, Any]] = []
    used: set[str] = set()
    for source in SOURCES:
        start = len(made)
        while len(made) < start + source.rows:
            domain = pick(rng, source.domains)
            choices = domain != "parity" and rng.random() < source.choices
            problem = draw_in_fold(rng, "pool", domain, rng.randint(*source.steps), choices)
            if problem.question in used:
                continue
            used.add(problem.question)
            style = pick(rng, source.styles)
            row: dict[str, Any] = {
                "id": f"{source.name}-{len(made) - start:04d}",
                "question": problem.prompt,
                "solution": f"The result is {problem.value}.",
                "thinking": trace(rng, problem, style, rechecks=rng.randint(*source.rechecks)),
                "answer": problem.answer,
                "domain": domain,
                "source": source.name,
            }
            if rng.random() < FAULT_SHARE:
                row = _spoil(row, rng.choice(FAULTS))
            row["trace_tokens"] = len(tokenizer(row["thinking"], add_special_tokens=False).input_ids)
            made.append(row)
    rng.shuffle(made)
    return made


def tasks(seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """The four tasks, all domains alike, drawn from questions that no pool and no base may use."""
    rng = random.Random(f"tasks-{seed}")
    used: set[str] = set()

    def draw(name: str, size: int, steps: tuple[int, int], choices: bool = False) -> list[dict[str, Any]]:
        domains = [domain for domain in DOMAINS if not (choices and domain == "parity")]
        made: list[dict[str, Any]] = []
        while len(made) < size:
            domain = domains[len(made) % len(domains)]
            problem: Problem = draw_in_fold(rng, "task", domain, rng.randint(*steps), choices)
            if problem.question in used:
                continue
            used.add(problem.question)
            row = {"id": f"{name}-{len(made):03d}", "question": problem.question, "answer": problem.answer}
            row["domain"] = domain
            made.append({**row, "choices": list(problem.choices)} if choices else row)
        return made

    return {
        "tiny_calc": draw("tiny_calc", 80, (2, 8)),
        "tiny_hard": draw("tiny_hard", 80, (9, 20)),
        "tiny_choice": draw("tiny_choice", 80, (3, 12), choices=True),
        "tiny_dev": draw("tiny_dev", 60, (2, 18)),
    }


def measure(directory: Path, made: Sequence[dict[str, Any]]) -> list[bool]:
    """Whether a checkpoint answers each question rightly in chat form, greedily, with no thinking prefix."""
    from s1sweep.testbed.decode import answer_of, greedy, load

    model, tokenizer = load(directory)
    texts = greedy(model, tokenizer, [user_prompt(row["question"]) for row in made])
    return [answer_of(text) == row["answer"] for text, row in zip(texts, made, strict=True)]


def _lines(items: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def write(made: Sequence[dict[str, Any]], weak: Sequence[bool], strong: Sequence[bool], path: Path) -> None:
    """Write the pool so that equal rows give equal bytes: no time stamp, no file name in the gzip header."""
    full = [{**row, "weak_correct": w, "strong_correct": s} for row, w, s in zip(made, weak, strong, strict=True)]
    text = _lines([{name: row[name] for name in COLUMNS} for row in full])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        file.write(text.encode())


def main() -> None:
    """Draw, measure and write everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weak", type=Path, default=Path("outputs/testbed/weak"), help="base.py's early checkpoint")
    parser.add_argument("--strong", type=Path, default=BASE)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    made = rows(args.seed)
    write(made, measure(args.weak, made), measure(args.strong, made), POOL)
    drawn = tasks(args.seed)
    for name in TASKS:
        task_path(name).parent.mkdir(parents=True, exist_ok=True)
        task_path(name).write_text(_lines(drawn[name]), encoding="utf-8")


if __name__ == "__main__":
    main()
