"""The testbed is arithmetically right, reproducible, disjoint where it must be, and small enough to commit."""

from __future__ import annotations

import gzip
import json
import operator
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from s1sweep.testbed import BASE, POOL, TASKS, task_path
from s1sweep.testbed import pool as pool_module
from s1sweep.testbed.problems import DOMAINS, LABELS, STYLES, draw_in_fold, draw_problem, fold, trace
from s1sweep.testbed.tokenizer import END, PAD, START, WORDS, build

SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
RING = {"L": lambda p: (p + 9) % 10, "R": lambda p: (p + 1) % 10, "F": lambda p: 9 - p, "J": lambda p: (p + 5) % 10}


def solve(question: str) -> list[int]:
    """Every state of a question, read from its text alone: a second route that shares no code with the generator."""
    name, *parts = question.split("\n")[0].split(" see ")[0].split()
    head = int(parts.pop(0)) if parts[0].isdigit() else None
    operands = [part[1:] for part in parts]
    assert "".join(part[0] for part in parts) == LABELS[: len(parts)]
    seen = [head or 0]
    for i, operand in enumerate(operands):
        last = seen[-1]
        if name == "calc":
            seen.append(int(str(SIGNS[operand[0]](last + 10, int(operand[1:])))[-1]))
        elif name == "parity":
            seen.append("".join(operands[: i + 1]).count("1") % 2)
        elif name == "max":
            seen.append(int(max(operands[: i + 1])))
        elif name == "sum":
            seen.append(sum(map(int, operands[: i + 1])) % 10)
        elif name == "count":
            seen.append(len([x for x in operands[: i + 1] if x in "02468"]) % 10)
        elif name == "walk":
            seen.append(RING[operand](last))
        elif name == "swap":
            cups = [c == last for c in range(4)]
            x, y = map(int, operand)
            cups[x], cups[y] = cups[y], cups[x]
            seen.append(cups.index(True))
        else:
            raise AssertionError(name)
    return seen


def faulty_steps(question: str, thinking: str) -> int:
    """How many steps of a trace disagree with the question's true states; raises on a step of unknown form."""
    states, wrong = solve(question), 0
    operands = [part[1:] for part in question.split("\n")[0].split() if part[0] in LABELS and part not in DOMAINS]
    for line in thinking.splitlines():
        for step in re.sub(r"^(Wait|Hmm|Alternatively) ", "", line).split(";"):
            if compared := re.fullmatch(r"([A-D])(\d):(\d)([ny])", step):
                letter, choice, value, same = compared.groups()
                assert f"({letter}) {choice}" in question
                wrong += int(value) != states[-1] or (choice == value) != (same == "y")
                continue
            at = LABELS.index(step[0])
            assert operands[at] in step, (question, step)
            wrong += int(step[-1]) != states[at + 1]
    return wrong


@pytest.fixture(scope="module")
def committed() -> list[dict[str, Any]]:
    with gzip.open(POOL, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def task_rows() -> dict[str, list[dict[str, Any]]]:
    return {name: [json.loads(line) for line in task_path(name).read_text().splitlines()] for name in TASKS}


@pytest.mark.parametrize("domain", list(DOMAINS))
@pytest.mark.parametrize("style", STYLES)
def test_traces_are_right(domain: str, style: str) -> None:
    rng = random.Random(f"{domain}{style}")
    for steps in range(1, 25):
        problem = draw_problem(rng, domain, steps, choices=domain != "parity" and steps % 3 == 0)
        states = solve(problem.question)
        assert problem.value == str(states[-1])
        if problem.choices:
            assert len(set(problem.choices)) == 4
            assert problem.choices["ABCD".index(problem.answer)] == problem.value
        text = trace(rng, problem, style)
        wrong = faulty_steps(problem.prompt, text)
        if style == "slip":
            assert wrong >= 1
            repair = text.splitlines()[-1]
            assert repair.startswith("Wait ") and faulty_steps(problem.prompt, repair) == 0
        else:
            assert wrong == 0
        last = text.splitlines()[-1]
        assert last.endswith(f"{problem.answer}{problem.value}:{problem.value}y" if problem.choices else problem.value)


def test_generation_depends_on_the_seed_alone() -> None:
    def draw(seed: int) -> list[str]:
        rng = random.Random(seed)
        problems = [draw_in_fold(rng, "train", name, 7) for name in DOMAINS]
        return [trace(rng, problem, "slip") for problem in problems]

    assert draw(3) == draw(3) != draw(4)


def test_tokenizer_round_trips_any_text() -> None:
    tokenizer, rng = build(), random.Random(0)
    alphabet = "abz 09\n\t;=>Ġé漢😀\u200b\x00\\{}" + "".join(map(chr, range(0xA1, 0x100)))
    texts = ["".join(rng.choices(alphabet, k=rng.randint(0, 60))) for _ in range(200)]
    texts += [" Wait  maximum\nuserassistant ", f"{START}think\nx{END}{PAD}", *WORDS]
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
        assert max(ids, default=0) < len(tokenizer) <= 400


def test_specials_and_words_are_single_ids() -> None:
    tokenizer = build()
    for text in (PAD, START, END, *WORDS):
        assert len(tokenizer(text, add_special_tokens=False).input_ids) == 1
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, END)
    assert tokenizer.decode(tokenizer(f"{START}answer{END}").input_ids, skip_special_tokens=True) == "answer"


def test_joined_texts_have_joined_ids() -> None:
    tokenizer = build()
    left, right = f"calc 7 a+5{END}\n{START}assistant\n", f"{START}think\na7+5=2\nWait b2*3=6"
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in (left, right, left + right)]
    assert ids[0] + ids[1] == ids[2]


def test_chat_template_renders_the_s1_format() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(BASE))
    user = {"role": "user", "content": "calc 7 a+5"}
    reply = {"role": "assistant", "content": "<|im_start|>think\na7+5=2\n<|im_start|>answer\nAnswer: 2"}
    prompt = "<|im_start|>user\ncalc 7 a+5<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True) == prompt
    whole = prompt + "<|im_start|>think\na7+5=2\n<|im_start|>answer\nAnswer: 2<|im_end|>\n"
    assert tokenizer.apply_chat_template([user, reply], tokenize=False) == whole
    assert build().get_vocab() == tokenizer.get_vocab()


def test_pool_is_reproduced(committed: list[dict[str, Any]]) -> None:
    measured = ("weak_correct", "strong_correct")
    assert [{k: v for k, v in row.items() if k not in measured} for row in committed] == [
        {name: row[name] for name in pool_module.COLUMNS if name not in measured} for row in pool_module.rows()
    ]


def test_tasks_are_reproduced(task_rows: dict[str, list[dict[str, Any]]]) -> None:
    assert task_rows == pool_module.tasks()


def test_pool_writes_equal_bytes(tmp_path: Path, committed: list[dict[str, Any]]) -> None:
    rows = [{k: v for k, v in row.items() if not k.endswith("_correct")} for row in committed[:50]]
    for name in ("a.gz", "b.gz"):
        pool_module.write(rows, [True] * 50, [False] * 50, tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def fault(row: dict[str, Any]) -> str | None:
    """The quality fault of a row, found from its text."""
    if not row["thinking"]:
        return "empty"
    if row["solution"] is None:
        return "no_solution"
    marks = {"[asy]": "asy", "![Image]": "image", "p12.": "page", "**": "bold"}
    return next((kind for mark, kind in marks.items() if mark in row["question"] + row["thinking"]), None)


def test_pool_holds_what_it_claims(committed: list[dict[str, Any]]) -> None:
    assert all(tuple(row) == pool_module.COLUMNS for row in committed)
    assert len(committed) == 6000 == len({row["id"] for row in committed})
    assert len({row["question"] for row in committed}) == 6000
    assert set(Counter(row["domain"] for row in committed)) == set(DOMAINS)
    assert len({row["source"] for row in committed}) >= 4
    faults = Counter(fault(row) for row in committed)
    assert set(faults) == {None, *pool_module.FAULTS}
    assert 0.03 <= 1 - faults[None] / 6000 <= 0.045
    hard = [r for r in committed if fault(r) is None and not (r["weak_correct"] or r["strong_correct"])]
    assert len(hard) >= 1500
    easier = sum(r["strong_correct"] for r in committed) > sum(r["weak_correct"] for r in committed)
    assert easier, "the base must know more than its early checkpoint"
    waits = sum("\nWait " in row["thinking"] for row in committed)
    assert 0.1 <= waits / 6000 <= 0.5


def test_pool_answers_and_traces_are_right(committed: list[dict[str, Any]]) -> None:
    tokenizer = build()
    for row in committed:
        value = str(solve(row["question"])[-1])
        offered = dict(re.findall(r"^\(([A-D])\) (\d)\b", row["question"], re.MULTILINE))
        assert (offered[row["answer"]] if offered else row["answer"]) == value
        if fault(row) is None:
            last = row["thinking"].splitlines()[-1]
            assert faulty_steps(row["question"], last) == 0
            assert last.endswith(f"{row['answer']}{value}:{value}y" if offered else value)
    for row in committed[:300]:
        assert row["trace_tokens"] == len(tokenizer(row["thinking"], add_special_tokens=False).input_ids)


def test_tasks_are_held_out(committed: list[dict[str, Any]], task_rows: dict[str, list[dict[str, Any]]]) -> None:
    texts = [row["question"] for rows in task_rows.values() for row in rows]
    bare = {row["question"].split("\n")[0].split(" see ")[0] for row in committed}
    assert len(set(texts)) == len(texts) == 300
    assert not bare & set(texts)
    # The base's stream draws from the `train` fold only, so the folds keep it apart from both.
    assert {fold(text) for text in texts} == {"task"}
    assert {fold(text) for text in bare} == {"pool"}


def test_training_stream_stays_in_its_fold() -> None:
    from s1sweep.testbed.base import PHASES, documents

    streams = [documents(0, phase) for phase in PHASES]
    for stream in streams * 200:
        given, learned = next(stream)
        assert "<|im_start|>think" not in given + learned
        question = given.removeprefix("<|im_start|>user\n").split("<|im_end|>")[0].split("\n")[0]
        assert fold(question) == "train"


def test_tasks_have_right_answers(task_rows: dict[str, list[dict[str, Any]]]) -> None:
    assert {name: len(rows) for name, rows in task_rows.items()} == {
        "tiny_calc": 80,
        "tiny_hard": 80,
        "tiny_choice": 80,
        "tiny_dev": 60,
    }
    for name, rows in task_rows.items():
        for row in rows:
            value = str(solve(row["question"])[-1])
            assert ("choices" in row) == (name == "tiny_choice")
            assert (row["choices"]["ABCD".index(row["answer"])] if "choices" in row else row["answer"]) == value


def test_weights_are_small_and_know_the_arithmetic() -> None:
    import torch

    from s1sweep.testbed.base import user_prompt
    from s1sweep.testbed.decode import answer_of, greedy, load

    assert (BASE / "model.safetensors").stat().st_size <= 4_000_000
    model, tokenizer = load(BASE)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert (
        model.config.hidden_size // model.config.num_attention_heads >= 32
        and model.config.max_position_embeddings == 2048
    )
    rng = random.Random(1)
    short = [draw_in_fold(rng, "task", name, 4) for name in DOMAINS for _ in range(4)]
    long = [draw_in_fold(rng, "task", name, 14) for name in DOMAINS for _ in range(4)]

    def right(problems: list[Any], prompts: list[str], room: int) -> float:
        made = greedy(model, tokenizer, prompts, max_new_tokens=room)
        return sum(answer_of(text) == p.answer for text, p in zip(made, problems, strict=True)) / len(problems)

    # Knows how, when nothing asks it to be brief; in a chat it works only what is short.
    assert right(long, [f"{p.question}\n" for p in long], 300) >= 0.7
    assert right(short, [user_prompt(p.question) for p in short], 72) >= 0.7
    assert right(long, [user_prompt(p.question) for p in long], 72) <= 0.5


def test_strong_flags_are_the_base_s_own(committed: list[dict[str, Any]]) -> None:
    sample = random.Random(2).sample(committed, 40)
    measured = pool_module.measure(BASE, sample)
    agree = sum(m == row["strong_correct"] for m, row in zip(measured, sample, strict=True))
    # Not all: float sums depend on batch shape and machine, and a guess may sit on a tie.
    assert agree >= 38


def test_paths_import_nothing_heavy() -> None:
    code = "import sys, s1sweep.testbed; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(KeyError, match="no_such_task"):
        task_path("no_such_task")
