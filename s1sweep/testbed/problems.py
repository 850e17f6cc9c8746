"""Step-by-step problems over digits, with worked traces: the testbed's only source of text.

A problem is a domain, a start state and a list of labelled operands (`calc 7 a+5 b*3 c-4`); its trace applies one
operand per step and repeats the operand's label (`a7+5=2;b2*3=6;c6-4=2`), which is what makes it learnable by a model
of under a million parameters. Everything is a pure function of a `random.Random`.

Refuses to know: tokenizers, chat formats, models, files, and which problems end up in a pool or a task.
"""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LABELS = string.ascii_lowercase + string.ascii_uppercase
LETTERS = "ABCD"
MAX_STEPS = 24
STYLES = ("plain", "recheck", "slip", "pause", "twice", "ramble")


@dataclass(frozen=True)
class Domain:
    """How one family of problems is drawn, worked and written; states are small integers, operands short strings."""

    name: str
    draw: Callable[[random.Random, int], tuple[str, list[str]]]
    """(rng, n) -> the head shown after the domain's name (may be empty) and n operands."""
    start: Callable[[str], int]
    apply: Callable[[str, int, str], int]
    """(head, state, operand) -> next state."""
    show: Callable[[str, int, str, int], str]
    """(label, state before, operand, state after) -> the text of one step."""


def _digits(top: int) -> Callable[[random.Random, int], tuple[str, list[str]]]:
    return lambda rng, n: ("", [str(rng.randint(0, top)) for _ in range(n)])


def _draw_calc(rng: random.Random, n: int) -> tuple[str, list[str]]:
    # Only factors prime to ten: any other would pull long products to 0 or 5 and make guessing pay.
    draws = ((rng.choice("+-*"), rng.randint(1, 9), rng.choice("379")) for _ in range(n))
    return str(rng.randint(0, 9)), [sign + (factor if sign == "*" else str(term)) for sign, term, factor in draws]


def _draw_max(rng: random.Random, n: int) -> tuple[str, list[str]]:
    # A random ceiling per problem, or long problems would all answer 9.
    return _digits(rng.randint(2, 9))(rng, n)


def _draw_walk(rng: random.Random, n: int) -> tuple[str, list[str]]:
    return str(rng.randint(0, 9)), [rng.choice("LRFJ") for _ in range(n)]


def _draw_swap(rng: random.Random, n: int) -> tuple[str, list[str]]:
    return str(rng.randint(0, 3)), ["".join(map(str, sorted(rng.sample(range(4), 2)))) for _ in range(n)]


def _apply_calc(_: str, state: int, operand: str) -> int:
    value = int(operand[1:])
    return {"+": state + value, "-": state - value, "*": state * value}[operand[0]] % 10


def _apply_count(_: str, state: int, operand: str) -> int:
    """How many operands were even."""
    return (state + (int(operand) % 2 == 0)) % 10


def _apply_walk(_: str, state: int, operand: str) -> int:
    """A ring of ten places: left, right, flip, jump across."""
    return {"L": state - 1, "R": state + 1, "F": 9 - state, "J": state + 5}[operand] % 10


def _apply_swap(_: str, state: int, operand: str) -> int:
    """Where the ball is after two of four cups change places."""
    first, second = int(operand[0]), int(operand[1])
    return {first: second, second: first}.get(state, state)


DOMAINS: dict[str, Domain] = {
    domain.name: domain
    for domain in (
        Domain("calc", _draw_calc, int, _apply_calc, lambda k, a, x, b: f"{k}{a}{x}={b}"),
        Domain("parity", _digits(1), lambda h: 0, lambda h, s, x: s ^ int(x), lambda k, a, x, b: f"{k}{x}={b}"),
        Domain("max", _draw_max, lambda h: 0, lambda h, s, x: max(s, int(x)), lambda k, a, x, b: f"{k}{x}>{b}"),
        Domain("sum", _digits(9), lambda h: 0, lambda h, s, x: (s + int(x)) % 10, lambda k, a, x, b: f"{k}{a}+{x}={b}"),
        Domain("count", _digits(9), lambda h: 0, _apply_count, lambda k, a, x, b: f"{k}{a}:{x}>{b}"),
        Domain("walk", _draw_walk, int, _apply_walk, lambda k, a, x, b: f"{k}{a}{x}{b}"),
        Domain("swap", _draw_swap, int, _apply_swap, lambda k, a, x, b: f"{k}{a}:{x}>{b}"),
    )
}


@dataclass(frozen=True)
class Problem:
    """One problem; `choices` is empty or the four values a multiple-choice rendering offers."""

    domain: str
    head: str
    operands: tuple[str, ...]
    choices: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """The bare question, without choices."""
        labelled = [LABELS[i] + operand for i, operand in enumerate(self.operands)]
        return " ".join([self.domain, *([self.head] if self.head else []), *labelled])

    @property
    def prompt(self) -> str:
        """The question as a reader sees it: with its choices, where it has any."""
        return "\n".join([self.question, *(f"({a}) {c}" for a, c in zip(LETTERS, self.choices, strict=False))])

    @property
    def states(self) -> tuple[int, ...]:
        """The state before the first step and after each one."""
        domain = DOMAINS[self.domain]
        states = [domain.start(self.head)]
        for operand in self.operands:
            states.append(domain.apply(self.head, states[-1], operand))
        return tuple(states)

    @property
    def value(self) -> str:
        return str(self.states[-1])

    @property
    def answer(self) -> str:
        return LETTERS[self.choices.index(self.value)] if self.choices else self.value


def draw_problem(rng: random.Random, domain: str, steps: int, choices: bool = False) -> Problem:
    """Draw one problem of `steps` operands; with `choices`, four distinct digits of which one is right."""
    head, operands = DOMAINS[domain].draw(rng, steps)
    problem = Problem(domain, head, tuple(operands))
    if not choices:
        return problem
    wrong = rng.sample([d for d in string.digits if d != problem.value], 3)
    offered = [problem.value, *wrong]
    rng.shuffle(offered)
    return Problem(domain, head, problem.operands, tuple(offered))


def fold(question: str) -> str:
    """Which of `task`, `pool`, `train` may use this bare question: a split by hash, so no list of used texts exists."""
    bucket = hashlib.blake2b(question.encode(), digest_size=2).digest()[0]
    return "task" if bucket < 26 else "pool" if bucket < 90 else "train"


def draw_in_fold(rng: random.Random, wanted: str, domain: str, steps: int, choices: bool = False) -> Problem:
    """Draw until the bare question falls into the wanted fold; tiny spaces (one-step parity) may never have one."""
    for _ in range(1000):
        problem = draw_problem(rng, domain, steps, choices)
        if fold(problem.question) == wanted:
            return problem
    return draw_in_fold(rng, wanted, domain, steps + 1, choices)


def work(problem: Problem, first: int, last: int, state: int) -> tuple[list[str], int]:
    """Steps `first..last-1` worked from `state`, which may be a wrong one, and the state they end in."""
    domain, steps = DOMAINS[problem.domain], []
    for i in range(first, last):
        after = domain.apply(problem.head, state, problem.operands[i])
        steps.append(domain.show(LABELS[i], state, problem.operands[i], after))
        state = after
    return steps, state


def choose(problem: Problem) -> list[str]:
    """Choices compared with the result one by one, so that each step only needs what stands beside it."""
    right = LETTERS.index(problem.answer)
    return [f"{LETTERS[i]}{problem.choices[i]}:{problem.value}{'ny'[i == right]}" for i in range(right + 1)]


def _finish(problem: Problem, first: int) -> str:
    """The right steps from `first` to the end, and the letter picked where there are choices."""
    steps, _ = work(problem, first, len(problem.operands), problem.states[first])
    return ";".join([*steps, *(choose(problem) if problem.choices else [])])


def _slip(rng: random.Random, problem: Problem) -> list[str]:
    """A wrong result, up to two steps built on it, then the repair from the wrong step on."""
    domain, count = DOMAINS[problem.domain], len(problem.operands)
    at = rng.randrange(count)
    before, right = problem.states[at], problem.states[at + 1]
    wrong = rng.choice([s for s in range({"parity": 2, "swap": 4}.get(problem.domain, 10)) if s != right])
    head, _ = work(problem, 0, at, problem.states[0])
    tail, _ = work(problem, at + 1, min(count, at + 1 + rng.randint(0, 2)), wrong)
    bad = domain.show(LABELS[at], before, problem.operands[at], wrong)
    return [";".join([*head, bad, *tail]), "Wait " + _finish(problem, at)]


def trace(rng: random.Random, problem: Problem, style: str = "plain", rechecks: int = 1) -> str:
    """The worked text in one of `STYLES`.

    Doubt words open a line, because that is where an extrapolation string lands when an early stop is suppressed, and
    every line they open runs to the last operand: a model that stopped early and is told to wait can still finish.
    """
    count = len(problem.operands)
    if style == "slip":
        lines = _slip(rng, problem)
    elif style == "pause" and count > 1:
        cut = rng.randrange(1, count)
        head, _ = work(problem, 0, cut, problem.states[0])
        lines = [";".join(head), rng.choice(("Hmm ", "Wait ")) + _finish(problem, cut)]
    else:
        lines = [_finish(problem, 0)]
    if style == "twice":
        lines.append("Alternatively " + _finish(problem, 0))
    if style in ("recheck", "ramble"):
        # Rambling has words of its own: were it all "Wait", one appended "Wait" would start an endless loop.
        words = ("Wait ",) if style == "recheck" else ("Hmm ", "Alternatively ")
        again = (count - rng.randint(1, min(4, count)) for _ in range(rechecks))
        lines += [rng.choice(words) + _finish(problem, first) for first in again]
    return "\n".join(lines)


def pick(rng: random.Random, weights: Sequence[tuple[str, float]]) -> str:
    """One name drawn by weight; weights need not sum to one."""
    return rng.choices([name for name, _ in weights], [weight for _, weight in weights])[0]
