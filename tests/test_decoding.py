"""Traces and budget forcing over a scripted engine with planted streams: every branch, and each shared token once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep.decoding.case import Case
from s1sweep.decoding.engines import Sampling
from s1sweep.decoding.methods import budget_forcing
from s1sweep.decoding.readout import Readout
from s1sweep.decoding.trace import BLOCK, Memo, Stream
from s1sweep.spec import BudgetForcingSpec, ExtrapolationSpec, SamplingSpec
from tests.helpers import ScriptedEngine

STOP, EOS, THINK_END, NEWLINE, WAIT = 900, 901, 902, 10, 777
PROMPT = (1, 2, 3)


class Letters:
    """A chat format in which a token is a character, and "Wait" is one token."""

    think_start = ()
    think_end: tuple[int, ...] = (THINK_END,)
    think_stop = (STOP, EOS)
    answer_stop = (EOS,)
    max_model_len = 10_000

    def encode(self, text: str) -> tuple[int, ...]:
        return (WAIT,) if text == "Wait" else tuple(ord(c) for c in text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(i) for i in ids)

    def prompt(self, *turns: str) -> tuple[int, ...]:
        return (*PROMPT, *(ord(c) for c in "|".join(turns)))

    def stops(self, field: str, stops: Sequence[str | int]) -> tuple[int, ...]:
        return tuple(ord(s) if isinstance(s, str) else s for s in stops)

    def ids_of_words(self, words: Sequence[str]) -> tuple[int, ...]:
        return (WAIT,) if "wait" in words else ()


def counting(prompt: tuple[int, ...]) -> list[int]:
    """A stream that depends on all that came before it, so that a wrong prefix shows."""
    seed = hash(prompt) % 97
    return [50 + (seed * (i + 3) + i * i) % 40 for i in range(300)]


def planted(length: int, answer: Sequence[int] = (42,)):
    """Thinks `length` tokens in all since the prompt, then stops; after the end of thinking, answers."""

    def stream(prompt: tuple[int, ...]) -> list[int]:
        if THINK_END in prompt:
            return [*answer, EOS]
        waits = prompt.count(WAIT)
        return [100 + i + 1000 * waits for i in range(length)] + [STOP, 5, 6, 7, STOP]

    return stream


GREEDY = SamplingSpec(temperature=0.0, top_p=1.0, samples=1, seed=0, replicate=0, params={})
SAMPLED = GREEDY.model_copy(update={"temperature": 1.0})
FORCING = BudgetForcingSpec(
    kind="budget_forcing",
    dialect="s1_harness",
    max_thinking_tokens=10,
    max_answer_tokens=8,
    forced_answer_prefix="Final Answer:",
    probe_cuts=(),
    probe_ends=False,
)


def extrapolate(string: str | tuple[str, ...], ignores: int, **more: float) -> ExtrapolationSpec:
    return ExtrapolationSpec(
        **{"string": string, "num_ignore": ignores, "temperature": None, "frequency_penalty": 0.0, **more}
    )


def case(memo: Memo, sampling: SamplingSpec = GREEDY, chat: Letters | None = None, **more: Any) -> Case:
    return Case(memo, chat or Letters(), "", sampling, "q", **more)


def run(
    engine: ScriptedEngine,
    *cells: tuple[int, int, str],
    memo: Memo | None = None,
    chat: Letters | None = None,
    **spec: Any,
) -> list[Readout]:
    """Readouts of (cap, ignores, string) cells run at once over one memo; `spec` changes fields of budget forcing."""
    memo = memo or Memo(engine)

    async def one(cap: int, ignores: int, string: str) -> Readout:
        forcing = FORCING.model_copy(update={"max_thinking_tokens": cap, **spec})
        found = await budget_forcing.run(forcing, extrapolate(string, ignores), case(memo, chat=chat))
        return found[0]

    async def all_of_them() -> list[Readout]:
        return await asyncio.gather(*(one(*cell) for cell in cells))

    return asyncio.run(all_of_them())


def test_natural_end() -> None:
    (r,) = run(ScriptedEngine(planted(5)), (10, 0, ""))
    assert (r.ended, r.thinking_ids, r.lead, r.ignored) == ("natural", (100, 101, 102, 103, 104), "", 0)
    assert (r.answer.token_ids, r.answer.finish) == ((42,), "stop")


@pytest.mark.parametrize(("length", "ended"), [(3, "natural"), (4, "forced"), (5, "forced")])
def test_a_stop_right_after_the_cap_is_beyond_it(length: int, ended: str) -> None:
    """The harness counts the stop token: 4 tokens and a stop do not fit a limit of 4."""
    (r,) = run(ScriptedEngine(planted(length)), (4, 0, ""))
    assert r.ended == ended
    assert len(r.thinking_ids) == min(length, 4)


def test_forced_end_leads_into_the_answer() -> None:
    engine = ScriptedEngine(planted(50))
    (r,) = run(engine, (4, 0, ""))
    assert r.lead == "\nFinal Answer:"
    asked = engine.requests[-1][0]
    assert asked == (*PROMPT, 100, 101, 102, 103, NEWLINE, THINK_END, *map(ord, "\nFinal Answer:"))


def test_forced_end_after_a_newline_adds_none() -> None:
    engine = ScriptedEngine(lambda prompt: [42, EOS] if THINK_END in prompt else [65, NEWLINE, 66])
    (r,) = run(engine, (2, 0, ""))
    assert r.ended == "forced"
    assert engine.requests[-1][0] == (*PROMPT, 65, NEWLINE, THINK_END, *map(ord, "\nFinal Answer:"))


def test_each_ignore_gets_the_full_limit_and_the_ids_are_cut_after() -> None:
    engine = ScriptedEngine(planted(5))
    (r,) = run(engine, (8, 1, "Wait"))
    # 5 tokens, Wait, then 5 more in a round that ended by itself: cut to 8, but not forced.
    assert r.ended == "cut"
    assert r.thinking_ids == (100, 101, 102, 103, 104, WAIT, 1100, 1101)
    assert (r.injected, r.ignored, r.lead) == (((5, 6),), 1, "")


def test_ignores_that_fit() -> None:
    (r,) = run(ScriptedEngine(planted(3)), (50, 2, "Wait"))
    assert r.thinking_ids == (100, 101, 102, WAIT, 1100, 1101, 1102, WAIT, 2100, 2101, 2102)
    assert (r.ended, r.injected, r.ignored) == ("natural", ((3, 4), (7, 8)), 2)


def test_a_round_that_hits_the_limit_leaves_early() -> None:
    (r,) = run(ScriptedEngine(planted(50)), (4, 3, "Wait"))
    assert (r.ended, r.ignored, r.injected) == ("forced", 0, ())


def test_string_longer_than_what_is_left_is_cut() -> None:
    (r,) = run(ScriptedEngine(planted(3)), (5, 1, "abcdef"))
    assert r.thinking_ids == (100, 101, 102, ord("a"), ord("b"))
    assert (r.ended, r.injected) == ("cut", ((3, 5),))


def test_empty_string_goes_on_without_a_word() -> None:
    """The stop is banned in first place only, so the stream goes on with what comes after it."""

    def stream(prompt: tuple[int, ...]) -> list[int]:
        if THINK_END in prompt:
            return [42, EOS]
        return [7, 8, STOP] if prompt == PROMPT else [STOP, 9, STOP]

    (r,) = run(ScriptedEngine(stream), (50, 1, ""))
    assert (r.thinking_ids, r.injected, r.ended) == ((7, 8, 9), (), "natural")


def test_stop_in_first_place() -> None:
    stream = planted(0)
    (plain,) = run(ScriptedEngine(stream), (50, 0, ""))
    assert (plain.thinking_ids, plain.ended) == ((), "natural")
    (ignored,) = run(ScriptedEngine(stream), (50, 1, "Wait"))
    assert ignored.thinking_ids == (5, 6, 7, WAIT, 5, 6, 7)


def test_eos_inside_thinking_ends_it() -> None:
    (r,) = run(ScriptedEngine(lambda p: [42, EOS] if THINK_END in p else [7, EOS, 8]), (50, 0, ""))
    assert (r.thinking_ids, r.ended) == ((7,), "natural")


def test_context_overflow_is_its_own_ending() -> None:
    (r,) = run(ScriptedEngine(planted(500), context=len(PROMPT) + 6), (400, 0, ""))
    assert (r.ended, len(r.thinking_ids)) == ("context", 6)
    assert r.answer.finish == "context"  # and nothing was made up


def test_answer_is_capped() -> None:
    (r,) = run(ScriptedEngine(planted(2, answer=[9] * 50)), (10, 0, ""), max_answer_tokens=4)
    assert (r.answer.token_ids, r.answer.finish) == ((9, 9, 9, 9), "length")


CELL = st.tuples(st.sampled_from([1, 2, 3, 5, 8, 13, 40]), st.integers(0, 4), st.sampled_from(["", "Wait", "Hmm"]))


@settings(max_examples=60, deadline=None)
@given(cells=st.lists(CELL, min_size=1, max_size=14), length=st.integers(0, 12))
def test_a_grid_equals_its_cells_run_alone(cells: list[tuple[int, int, str]], length: int) -> None:
    together = run(ScriptedEngine(planted(length)), *cells)
    alone = [run(ScriptedEngine(planted(length)), cell)[0] for cell in cells]
    assert together == alone


def unique_tokens(engine: ScriptedEngine) -> int:
    """Distinct (prefix, token) pairs over everything that was asked: the nodes of the token tree, stops included."""
    nodes: set[tuple[int, ...]] = set()
    for prompt, limit, sampling in engine.requests:
        made: list[int] = []
        for token in engine.stream(prompt):
            if token in (STOP, EOS) and len(made) < sampling.min_tokens:
                continue
            made.append(token)
            nodes.add((*prompt, *made))
            if token in (STOP, EOS) or len(made) == limit:
                break
    return len(nodes)


def test_every_shared_token_is_decoded_once() -> None:
    engine = ScriptedEngine(planted(30))
    memo = Memo(engine)
    caps = [(cap, 0, "") for cap in (1, 2, 4, 8, 16, 32, 64)]
    waits = [(64, n, "Wait") for n in (1, 2, 4, 6)]
    strings = [(64, 2, s) for s in ("", "Hmm", "Alternatively")]
    cells = [*caps, *waits, *strings]
    run(engine, *cells, memo=memo)
    assert engine.decoded == memo.tally.decoded == unique_tokens(engine)
    alone = 0
    for cell in cells:
        single = ScriptedEngine(planted(30))
        run(single, cell)
        alone += single.decoded
    assert alone > 2 * engine.decoded


def test_reading_further_later_decodes_only_what_is_new() -> None:
    engine = ScriptedEngine(planted(100))
    memo = Memo(engine)
    run(engine, (10, 0, ""), memo=memo)
    before = engine.decoded
    run(engine, (10, 0, ""), memo=memo)
    assert engine.decoded == before
    run(engine, (25, 0, ""), memo=memo)
    answer = 2  # a token and its stop
    assert engine.decoded == before + 15 + answer


def test_sampled_traces_do_not_depend_on_who_read_how_far() -> None:
    """Blocks are counted from the branch point and seeded by their place, so reads of any length see one stream."""

    def read(*lengths: int) -> tuple[list[int], list[tuple[int, Sampling]]]:
        engine = ScriptedEngine(counting)

        async def go() -> list[int]:
            trace = Memo(engine).trace(Stream(PROMPT, (STOP,), Sampling(temperature=1.0), ("q1", 0)))
            for n in lengths:
                cut = await trace.upto(n)
            return list(cut.token_ids)

        return asyncio.run(go()), [(len(p), s) for p, _, s in engine.requests]

    once, steps = read(150)
    several, more = read(10, 70, 150)
    assert once == several and steps == more
    assert [n for n, _ in steps] == [len(PROMPT) + BLOCK * i for i in range(3)]
    assert len({s.seed for _, s in steps}) == 3


def test_samples_items_and_paths_have_their_own_seeds() -> None:
    base = Stream(PROMPT, (STOP,), Sampling(temperature=1.0), ("q1", 0))
    others = [
        Stream(PROMPT, (STOP,), Sampling(temperature=1.0), ("q1", 1)),
        Stream(PROMPT, (STOP,), Sampling(temperature=1.0), ("q2", 0)),
        Stream((*PROMPT, 5), (STOP,), Sampling(temperature=1.0), ("q1", 0)),
    ]
    assert len({s.seed(b) for s in [base, *others] for b in range(3)}) == 12


def test_an_engine_error_reaches_every_reader() -> None:
    class Broken(ScriptedEngine):
        async def generate(self, *args: object) -> None:  # type: ignore[override]
            raise RuntimeError("engine died")

    with pytest.raises(RuntimeError, match="engine died"):
        run(Broken(planted(5)), (4, 0, ""), (8, 0, ""))
