"""Each control method over a scripted engine: its branches on planted streams, and that sharing changes nothing."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s1sweep.decoding.case import Case, Judged, Scorer
from s1sweep.decoding.engines import Completion, Sampling
from s1sweep.decoding.methods import METHODS
from s1sweep.decoding.methods.budget_forcing import before_answer
from s1sweep.decoding.methods.rebase import share_out
from s1sweep.decoding.methods.sets import accepted
from s1sweep.decoding.readout import Readout
from s1sweep.decoding.trace import BLOCK, GREEDY_BLOCK, Memo, Stream
from s1sweep.spec import ExtrapolationSpec, SamplingSpec
from s1sweep.spec.control import (
    ClassConditionalSpec,
    NativeBudgetSpec,
    NoThinkingSpec,
    NoWaitSpec,
    RebaseSpec,
    RejectionSpec,
    SetsSpec,
    StepConditionalSpec,
    TokenConditionalSpec,
)
from tests.helpers import ScriptedEngine
from tests.test_decoding import (
    EOS,
    FORCING,
    GREEDY,
    NEWLINE,
    PROMPT,
    SAMPLED,
    STOP,
    THINK_END,
    WAIT,
    Letters,
    extrapolate,
    planted,
    run,
)

NONE = extrapolate("", 0)
LEAD = tuple(map(ord, "\nFinal Answer:"))
FORCED = {name: value for name, value in dict(FORCING).items() if name != "kind"}


def ids(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def ask(
    engine: ScriptedEngine,
    spec: Any,
    extrapolation: ExtrapolationSpec = NONE,
    *,
    memo: Memo | None = None,
    chat: Letters | None = None,
    user: str = "",
    sampling: SamplingSpec = GREEDY,
    **more: Any,
) -> tuple[list[Readout], Case]:
    """What one cell gives, and its case, which holds the account."""
    case = Case(memo or Memo(engine), chat or Letters(), user, sampling, "q", **more)
    return asyncio.run(METHODS[spec.kind].run(spec, extrapolation, case)), case


def one(engine: ScriptedEngine, spec: Any, *args: Any, **more: Any) -> Readout:
    (found,) = ask(engine, spec, *args, **more)[0]
    return found


def forcing(**changes: Any) -> Any:
    return FORCING.model_copy(update=changes)


class Limo(Letters):
    """A model that does not mark the end of its thinking."""

    think_end = ()
    think_stop = answer_stop = (EOS,)


class Long(Letters):
    """An end of thinking of several tokens, as in s1's models."""

    think_end = (STOP, 903, NEWLINE)


# ---- budget forcing: dialects


def test_readme_counts_tokens_and_stops_but_not_strings() -> None:
    engine = ScriptedEngine(planted(5))
    (r,) = run(engine, (14, 9, "Wait"), dialect="s1_readme")
    # 5 and a stop, 5 and a stop, and the 2 that are left.
    first, second, last = range(100, 105), range(1100, 1105), range(2100, 2102)
    assert r.thinking_ids == (*first, WAIT, *second, WAIT, *last)
    assert (r.ended, r.ignored, r.injected, r.lead) == ("forced", 2, ((5, 6), (11, 12)), "")
    assert engine.requests[-1][0] == (*PROMPT, *r.thinking_ids)  # nothing leads into the answer
    assert [limit for _, limit, _ in engine.requests[:3]] == [14, 8, 2]


def test_readme_lets_a_long_string_go_beyond_the_limit() -> None:
    (r,) = run(ScriptedEngine(planted(5)), (13, 1, "abcdefgh"), dialect="s1_readme")
    assert r.thinking_ids == (*range(100, 105), *ids("abcdefgh"), *range(100, 105))
    assert (r.ended, r.ignored) == ("natural", 1)


def test_readme_ends_by_itself_when_an_end_used_up_the_limit() -> None:
    """5 and a stop, twice, are the 12: there is nothing to go on with, and nothing was cut off."""
    (r,) = run(ScriptedEngine(planted(5)), (12, 9, "Wait"), dialect="s1_readme")
    assert (r.ended, r.ignored, len(r.thinking_ids)) == ("natural", 1, 11)


def test_readme_goes_on_thinking_in_the_answer() -> None:
    (r,) = run(ScriptedEngine(lambda prompt: range(len(prompt), 100)), (4, 0, ""), dialect="s1_readme")
    assert (r.thinking_ids, r.answer.token_ids) == ((3, 4, 5, 6), tuple(range(7, 15)))


@pytest.mark.parametrize("string", ["", "Wait", "ab"])
@pytest.mark.parametrize("length", [0, 1, 3, 10, 30])
@pytest.mark.parametrize("cap", [1, 3, 4, 5, 10])
def test_exact_length_is_exact_and_forced(cap: int, length: int, string: str) -> None:
    engine = ScriptedEngine(planted(length))
    (r,) = run(engine, (cap, 0, string), dialect="exact_length")
    assert (len(r.thinking_ids), r.ended, r.lead) == (cap, "forced", "\nFinal Answer:")
    assert engine.requests[-1][0] == (*PROMPT, *r.thinking_ids, NEWLINE, THINK_END, *LEAD)


def test_exact_length_counts_strings_and_cuts_the_last() -> None:
    (r,) = run(ScriptedEngine(planted(3)), (12, 0, "abcd"), dialect="exact_length")
    assert r.thinking_ids == (100, 101, 102, *ids("abcd"), 100, 101, 102, *ids("ab"))
    assert (r.injected, r.ignored) == (((3, 7), (10, 12)), 2)


def test_exact_length_without_a_string() -> None:
    (r,) = run(ScriptedEngine(planted(3)), (7, 0, ""), dialect="exact_length")
    assert (r.thinking_ids, r.injected, r.ignored) == ((100, 101, 102) * 2 + (100,), (), 2)


def test_exact_length_bans_an_end_in_first_place() -> None:
    """There is nothing yet to put a string after."""
    (r,) = run(ScriptedEngine(planted(0)), (5, 0, "Wait"), dialect="exact_length")
    assert (r.thinking_ids, r.ignored) == ((5, 6, 7, WAIT, 5), 1)


def test_strings_take_turns() -> None:
    r = one(ScriptedEngine(planted(1)), forcing(max_thinking_tokens=50), extrapolate(("x", "yy", ""), 5))
    said = [r.thinking_ids[a:b] for a, b in r.injected]
    assert said == [ids("x"), ids("yy"), ids("x"), ids("yy")]  # the third and the empty string leave no span
    assert r.ignored == 5
    assert r.thinking_ids == (100, 120, 100, 121, 121, 100, 100, 120, 100, 121, 121, 100)


# ---- budget forcing: how later rounds are drawn


def test_later_rounds_have_a_temperature_of_their_own() -> None:
    engine = ScriptedEngine(planted(3))
    one(engine, forcing(max_thinking_tokens=50), extrapolate("Wait", 1, temperature=0.7))
    before, after, answer = (s for _, _, s in engine.requests)
    assert (before.temperature, after.temperature, answer.temperature) == (0.0, 0.7, 0.0)
    assert before.seed is None and after.seed is not None


def test_a_penalty_makes_later_rounds_one_request_each() -> None:
    """A penalty depends on where the request began, so the round is not put together from blocks."""

    def stream(prompt: tuple[int, ...]) -> list[int]:
        if THINK_END in prompt or WAIT in prompt:
            return planted(5)(prompt)
        return [100] * (len(PROMPT) + GREEDY_BLOCK + 100 - len(prompt)) + [STOP]

    engine = ScriptedEngine(stream)
    one(engine, forcing(max_thinking_tokens=1500), extrapolate("Wait", 1, frequency_penalty=0.5))
    *before, after, answer = engine.requests
    assert [limit for _, limit, _ in before] == [GREEDY_BLOCK, GREEDY_BLOCK]
    assert (after[1], after[2].extra, after[2].min_tokens) == (1500, (("frequency_penalty", 0.5),), 1)
    assert answer[2].extra == () and not any(s.extra for _, _, s in before)


def test_penalised_rounds_are_shared_by_the_same_cap_alone() -> None:
    engine = ScriptedEngine(planted(5))
    memo, penalty = Memo(engine), extrapolate("Wait", 1, frequency_penalty=0.5)
    for cap in (50, 60, 50):
        one(engine, forcing(max_thinking_tokens=cap), penalty, memo=memo)
    assert [limit for _, limit, s in engine.requests if s.extra] == [50, 60]
    assert sum(prompt == PROMPT for prompt, _, _ in engine.requests) == 1


def test_a_penalty_of_the_sampling_stays_unless_replaced() -> None:
    base = GREEDY.model_copy(update={"params": {"frequency_penalty": 0.25, "top_k": 5}})
    for penalty, expected in ((0.0, 0.25), (0.5, 0.5)):
        engine = ScriptedEngine(planted(5))
        extrapolation = extrapolate("Wait", 1, frequency_penalty=penalty)
        one(engine, forcing(max_thinking_tokens=50), extrapolation, sampling=base)
        later = next(s for prompt, _, s in engine.requests if WAIT in prompt)
        assert dict(later.extra) == {"frequency_penalty": expected, "top_k": 5}


# ---- budget forcing: probes


def answering_its_length(prompt: tuple[int, ...]) -> list[int]:
    """The answer says after how much thinking it was asked."""
    if THINK_END in prompt:
        return [1000 + prompt.index(THINK_END), EOS]
    return planted(6)(prompt)


@pytest.mark.parametrize("dialect", ["s1_harness", "s1_readme", "exact_length"])
def test_cut_probes_are_the_answers_of_smaller_caps_and_cost_nothing_beside_them(dialect: str) -> None:
    engine = ScriptedEngine(answering_its_length)
    memo = Memo(engine)
    small = run(engine, (2, 0, ""), (4, 0, ""), memo=memo, dialect=dialect)
    before = engine.decoded
    (probed,) = run(engine, (20, 0, ""), memo=memo, dialect=dialect, probe_cuts=(2, 4, 4, 20, 99))
    spent = engine.decoded - before
    assert [(p.kind, p.at) for p in probed.probes] == [("cut", 2), ("cut", 4)]  # none at or beyond the end
    assert [(p.lead, p.answer) for p in probed.probes] == [(r.lead, r.answer) for r in small]
    fresh = ScriptedEngine(answering_its_length)
    other = Memo(fresh)
    run(fresh, (2, 0, ""), (4, 0, ""), memo=other, dialect=dialect)
    before = fresh.decoded
    (bare,) = run(fresh, (20, 0, ""), memo=other, dialect=dialect)
    assert spent == fresh.decoded - before
    assert replace(probed, probes=()) == bare


@pytest.mark.parametrize("dialect", ["s1_harness", "s1_readme"])
def test_end_probes_are_the_answers_of_fewer_ignores_and_cost_nothing_beside_them(dialect: str) -> None:
    engine = ScriptedEngine(answering_its_length)
    memo = Memo(engine)
    fewer = run(engine, *((50, n, "Wait") for n in range(3)), memo=memo, dialect=dialect)
    run(engine, (50, 3, "Wait"), memo=memo, dialect=dialect)
    before = engine.decoded
    (probed,) = run(engine, (50, 3, "Wait"), memo=memo, dialect=dialect, probe_ends=True)
    assert engine.decoded == before
    assert [(p.kind, p.at) for p in probed.probes] == [("end", len(r.thinking_ids)) for r in fewer]
    assert [(p.lead, p.answer) for p in probed.probes] == [(r.lead, r.answer) for r in fewer]


def test_end_probes_beyond_the_cut_are_left_out() -> None:
    (r,) = run(ScriptedEngine(answering_its_length), (8, 2, "Wait"), probe_ends=True)
    assert (r.ended, [p.at for p in r.probes]) == ("cut", [6])


# ---- budget forcing: caps from the context


class Short(Letters):
    max_model_len = 60


def test_auto_leaves_just_the_room_for_a_full_answer() -> None:
    chat, spec = Short(), forcing(max_thinking_tokens="auto")
    engine = ScriptedEngine(lambda prompt: [42] * 99 if THINK_END in prompt else range(100, 400), context=60)
    r = one(engine, spec, chat=chat)
    assert (r.ended, r.answer.finish, len(r.answer.token_ids)) == ("forced", "length", 8)
    last = engine.requests[-1]
    assert len(last[0]) + last[1] == 60
    longer = one(engine, spec, chat=chat, user="abcd")
    assert len(longer.thinking_ids) == len(r.thinking_ids) - 4


def test_auto_harness_is_a_rule_over_the_task() -> None:
    class Roomy(Letters):
        max_model_len = 200
        think_start = (7, 7)

    spec = forcing(max_thinking_tokens="auto_harness")
    for user in ("", "abcd"):
        r = one(ScriptedEngine(planted(500)), spec, chat=Roomy(), user=user, longest_prompt=20)
        assert len(r.thinking_ids) == 200 - 20 - 2 - 1 - 100


def test_auto_caps_do_not_depend_on_other_cells() -> None:
    engine = ScriptedEngine(planted(500))
    memo = Memo(engine)
    run(engine, (50, 2, "Wait"), memo=memo)
    found = one(engine, forcing(max_thinking_tokens="auto"), memo=memo, chat=Short())
    assert found == one(ScriptedEngine(planted(500)), forcing(max_thinking_tokens="auto"), chat=Short())


@pytest.mark.parametrize(("cap", "more"), [("auto", {"user": "x" * 40}), ("auto_harness", {"longest_prompt": 3})])
def test_caps_without_room_say_so(cap: str, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"max_thinking_tokens={cap} leaves -?[0-9]+ tokens .* question 'q'. Raise"):
        one(ScriptedEngine(planted(5)), forcing(max_thinking_tokens=cap), chat=Short(), **more)


# ---- budget forcing: marks


def test_an_end_of_several_tokens_is_put_in_whole() -> None:
    engine = ScriptedEngine(planted(50, answer=(42,)))
    one(engine, forcing(max_thinking_tokens=4), chat=Long())
    assert engine.requests[-1][0] == (*PROMPT, 100, 101, 102, 103, NEWLINE, STOP, 903, NEWLINE, *LEAD)
    natural = ScriptedEngine(planted(3))
    one(natural, forcing(max_thinking_tokens=4), chat=Long())
    assert natural.requests[-1][0] == (*PROMPT, 100, 101, 102, STOP, 903, NEWLINE)


def test_tokens_are_never_made_from_text_again() -> None:
    """An id that no text gives back, say one beyond the vocabulary, is fed again as it came."""

    class Lossy(Letters):
        def decode(self, ids: Sequence[int]) -> str:
            return "".join(chr(i) if i < 128 else "?" for i in ids)

    strange = 10**9
    engine = ScriptedEngine(lambda prompt: [42, EOS] if THINK_END in prompt else [65, strange, 66, STOP])
    r = one(engine, forcing(max_thinking_tokens=7, probe_cuts=(2,)), extrapolate("Wait", 5), chat=Lossy())
    assert r.thinking_ids == (65, strange, 66, WAIT, 65, strange, 66)
    assert (*PROMPT, *r.thinking_ids, THINK_END) in [prompt for prompt, _, _ in engine.requests]
    assert (*PROMPT, 65, strange, NEWLINE, THINK_END, *LEAD) in [prompt for prompt, _, _ in engine.requests]


# ---- budget forcing: a model that does not mark the end of its thinking

WORK, SAID = "so 3\n\nand 4", "\n\n**Final Answer**\n\n\\boxed{4}"


def limo(prompt: tuple[int, ...]) -> Sequence[int]:
    text = "".join(chr(i) for i in prompt[len(PROMPT) :] if i != WAIT)
    if text.endswith("Final Answer:"):
        return [*ids(" 9"), EOS]
    if not text:
        return [*ids(WORK + SAID), EOS]
    return [*ids("\n\nno, 5" + SAID.replace("4", "5")), EOS]


def test_without_an_end_mark_the_thinking_ends_in_the_answer() -> None:
    engine = ScriptedEngine(limo)
    r = one(engine, forcing(max_thinking_tokens=100), chat=Limo())
    assert (r.ended, r.lead, r.answer.token_ids, r.answer.finish) == ("natural", WORK + SAID, (), "stop")
    assert len(engine.requests) == 1


def test_without_an_end_mark_an_ignored_end_takes_the_answer_back() -> None:
    r = one(ScriptedEngine(limo), forcing(max_thinking_tokens=100), extrapolate("Wait", 1), chat=Limo())
    assert r.thinking_ids == (*ids(WORK), WAIT, *ids("\n\nno, 5"), *ids(SAID.replace("4", "5")))
    assert (r.injected, r.lead[-8:]) == (((len(WORK), len(WORK) + 1),), "\\boxed{5}"[-8:])


def test_without_an_end_mark_a_forced_end_gets_the_prefix() -> None:
    engine = ScriptedEngine(limo)
    r = one(engine, forcing(max_thinking_tokens=4), chat=Limo())
    assert (r.ended, r.lead, r.answer.token_ids) == ("forced", "\nFinal Answer:", ids(" 9"))
    assert engine.requests[-1][0] == (*PROMPT, *ids("so 3"), NEWLINE, *LEAD)


def test_without_an_end_mark_end_probes_are_the_answers_of_fewer_ignores() -> None:
    """The probe is of the thinking as it was when the end was ignored, with the answer that was then taken back."""
    cells = [(200, n, "Wait") for n in range(3)]
    *fewer, most = run(ScriptedEngine(limo), *cells, chat=Limo(), probe_ends=True)
    assert [(p.at, p.lead, p.answer) for p in most.probes] == [(len(r.thinking_ids), r.lead, r.answer) for r in fewer]


@pytest.mark.parametrize("string", ["", "Wait"])
def test_without_an_end_mark_exact_length_comes_to_an_end(string: str) -> None:
    """A greedy model says the same again after what was taken back: without a string it must be left standing."""
    r = one(
        ScriptedEngine(limo),
        forcing(dialect="exact_length", max_thinking_tokens=120),
        extrapolate(string, 0),
        chat=Limo(),
    )
    assert (len(r.thinking_ids), r.ended) == (120, "forced")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (WORK + SAID, WORK),
        ("a\n\nThe final answer is 4\n\n", "a"),
        ("a\n\nb", "a\n\nb"),
        ("\\boxed{4}\n\nb", "\\boxed{4}\n\nb"),  # only at the end
        ("Final answer: 4", "Final answer: 4"),  # never all of it
        ("", ""),
    ],
)
def test_before_answer(text: str, kept: str) -> None:
    assert before_answer(ids(text), Letters()) == len(kept)


# ---- prompts that name a budget

TOKENS_FOR = TokenConditionalSpec(kind="token_conditional", think_for=64, prompt=" for {n}", trained_on="own", **FORCED)
CLASS = ClassConditionalSpec(kind="class_conditional", length="short", short=" short", long=" long", **FORCED)


@pytest.mark.parametrize(
    ("spec", "wish"),
    [(TOKENS_FOR, " for 64"), (CLASS, " short"), (CLASS.model_copy(update={"length": "long"}), " long")],
)
def test_a_wish_is_part_of_the_users_message(spec: Any, wish: str) -> None:
    engine = ScriptedEngine(planted(5))
    r = one(engine, spec, user="q?")
    assert engine.requests[0][0] == (*PROMPT, *ids("q?" + wish))
    assert (r.ended, len(r.thinking_ids)) == ("natural", 5)


def test_wished_budgets_share_nothing_and_caps_share() -> None:
    engine = ScriptedEngine(planted(50))
    memo = Memo(engine)
    for think_for in (8, 16):
        for cap in (4, 9):
            changes = {"think_for": think_for, "max_thinking_tokens": cap}
            r = one(engine, TOKENS_FOR.model_copy(update=changes), memo=memo)
            assert (len(r.thinking_ids), r.ended) == (cap, "forced")
    answers = 2 * 2 * 2
    assert engine.decoded == 2 * 9 + answers


# ---- steps that count down

STEPS = StepConditionalSpec(
    kind="step_conditional",
    think_for=8,
    prompt=" {n} steps",
    step_mark="#",
    separator=";",
    force_steps=True,
    trained_on="own",
    **{**FORCED, "max_thinking_tokens": 100},
)


def counted(text: str, *end: int) -> ScriptedEngine:
    """A model that says `text` after the first step's mark, then `end`, then an answer."""
    start = len((*PROMPT, *ids("q 8 steps#")))

    def stream(prompt: tuple[int, ...]) -> Sequence[int]:
        said = prompt[start:]
        whole = (*ids(text), *end, 42, EOS)
        if said == whole[: len(said)] and THINK_END not in said:
            return whole[len(said) :]
        return [43, EOS]

    return ScriptedEngine(stream)


def steps(engine: ScriptedEngine, **changes: Any) -> Readout:
    return one(engine, STEPS.model_copy(update=changes), user="q", chat=changes.pop("chat", None))


def test_step_marks_are_thinking_and_the_mark_of_the_answer_is_not() -> None:
    engine = counted("2 a#1 b", THINK_END)
    r = steps(engine)
    assert (r.thinking_ids, r.ended, r.lead, r.answer.token_ids) == (ids("2 a#1 b"), "natural", "", (43,))
    assert engine.requests[0][0] == (*PROMPT, *ids("q 8 steps#"))
    assert engine.requests[-1][0] == (*PROMPT, *ids("q 8 steps#2 a#1 b"), THINK_END)


def test_thinking_is_forced_to_end_where_the_countdown_is_over() -> None:
    engine = counted("1 a#0 b", THINK_END)
    r = steps(engine)
    assert (r.thinking_ids, r.ended, r.lead) == (ids("1 a"), "forced", "\nFinal Answer:")
    assert engine.requests[-1][0] == (*PROMPT, *ids("q 8 steps#1 a"), NEWLINE, THINK_END, *LEAD)
    left = steps(counted("1 a#0 b", THINK_END), force_steps=False)
    assert (left.thinking_ids, left.ended) == (ids("1 a#0 b"), "natural")


@pytest.mark.parametrize(("text", "kept"), [("10 a#9 b#0 c", "10 a#9 b"), ("10 a#10 0", "10 a#10 0"), ("0 a", "")])
def test_only_a_step_that_begins_with_0_is_the_last(text: str, kept: str) -> None:
    r = steps(counted(text, THINK_END))
    assert (r.thinking_ids, r.ended) == (ids(kept), "natural" if kept == text else "forced")


def test_a_cap_cuts_inside_a_step() -> None:
    r = steps(counted("2 a#1 b", THINK_END), max_thinking_tokens=5)
    assert (r.thinking_ids, r.ended) == (ids("2 a#1"), "forced")


def test_an_end_of_turn_ends_the_thinking() -> None:
    r = steps(counted("2 a", EOS))
    assert (r.thinking_ids, r.ended, r.answer.token_ids) == (ids("2 a"), "natural", (43,))


def test_a_full_context_ends_the_thinking() -> None:
    engine = counted("2 a#1 b", THINK_END)
    engine.context = len((*PROMPT, *ids("q 8 steps#2 a")))
    r = steps(engine)
    assert (r.thinking_ids, r.ended, r.answer.finish) == (ids("2 a"), "context", "context")


@pytest.mark.parametrize("chat", [Letters(), Long()])
@pytest.mark.parametrize("length", [5, 253, 254, 255, 256, 257, 300, 512])
def test_where_the_cap_lies_makes_no_difference_to_what_ends_there(length: int, chat: Letters) -> None:
    """The answer's mark is no thinking: one right after the cap is a natural end, wherever the reading pauses."""
    engine = counted("a" * length, *chat.think_end)
    for cap, ended in ((length - 1, "forced"), (length, "natural"), (length + 1, "natural")):
        r = one(engine, STEPS.model_copy(update={"max_thinking_tokens": cap}), user="q", chat=chat)
        assert (r.ended, len(r.thinking_ids)) == (ended, min(cap, length)), cap


def test_caps_of_steps_share_one_stream() -> None:
    engine = counted("a" * 50, THINK_END)
    memo = Memo(engine)
    for cap in (10, 20, 100):
        one(engine, STEPS.model_copy(update={"max_thinking_tokens": cap}), user="q", memo=memo)
    thinking_and_what_follows = 50 + 1 + 1 + 1
    assert engine.decoded == thinking_and_what_follows + 3 * 2


# ---- rejection sampling

REJECT = RejectionSpec(kind="rejection", max_thinking_tokens=10, max_answer_tokens=8, max_tries=5)


class Forking(ScriptedEngine):
    """Draws of one prefix differ: the first to ask gets `stream(prompt, 0)`, the next `stream(prompt, 1)`."""

    def __init__(self, stream: Callable[[tuple[int, ...], int], Sequence[int]]) -> None:
        super().__init__(lambda prompt: stream(prompt, self.asked[prompt].index(self.seed)))
        self.asked: dict[tuple[int, ...], list[int | None]] = {}
        self.seed: int | None = None

    async def generate(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        seeds = self.asked.setdefault(tuple(prompt_ids), [])
        if sampling.seed not in seeds:
            seeds.append(sampling.seed)
        self.seed = sampling.seed
        return await super().generate(prompt_ids, max_tokens, stop_ids, sampling)


def lengths(*of_tries: int) -> Forking:
    """Tries that think for so many tokens."""

    def stream(prompt: tuple[int, ...], draw: int) -> list[int]:
        return [42, EOS] if THINK_END in prompt else [100 + draw] * of_tries[draw] + [STOP]

    return Forking(stream)


def reject(engine: ScriptedEngine, limit: int, **more: Any) -> tuple[Readout, Case]:
    spec = REJECT.model_copy(update={"max_thinking_tokens": limit})
    (found,), case = ask(engine, spec, sampling=SAMPLED, **more)
    return found, case


def test_the_first_try_that_fits_is_taken() -> None:
    r, _ = reject(lengths(30, 12, 4, 2), 10)
    assert (r.thinking_ids, r.ended, r.tries, r.discarded_tokens) == ((102,) * 4, "natural", 3, 20)
    assert (r.lead, r.answer.token_ids) == ("", (42,))


@pytest.mark.parametrize(("limit", "tries"), [(9, 2), (10, 2), (11, 1)])
def test_the_end_counts_as_a_token(limit: int, tries: int) -> None:
    r, _ = reject(lengths(10, 3), limit)
    assert r.tries == tries


def test_a_limit_that_no_try_meets_has_no_answer() -> None:
    engine = lengths(9, 9, 9, 9, 9, 1)
    r, _ = reject(engine, 4)
    assert (r.ended, r.thinking_ids, r.tries, r.discarded_tokens) == ("unmet", (), 5, 20)
    assert (r.answer.token_ids, r.answer.finish) == ((), "none")
    assert len(engine.asked[PROMPT]) == 5  # no sixth try


def test_all_limits_read_one_pool() -> None:
    tries = (30, 12, 4, 40, 2)
    engine = lengths(*tries)
    memo = Memo(engine)
    together = [reject(engine, limit, memo=memo)[0] for limit in (3, 10, 20, 50)]
    assert [r.tries for r in together] == [5, 3, 2, 1]
    assert together == [reject(lengths(*tries), limit)[0] for limit in (3, 10, 20, 50)]
    assert len(set(engine.asked[PROMPT])) == 5  # a seed for each try
    thinking = sum(n + 1 for n in tries)
    assert engine.decoded == thinking + 4 * 2


def test_the_prompt_is_prefilled_once_for_all_tries() -> None:
    once = reject(lengths(1), 10)[1].prefilled
    assert reject(lengths(30, 12, 4), 10)[1].prefilled == once == len(PROMPT) + 1


def test_the_first_try_is_what_budget_forcing_reads() -> None:
    engine = lengths(4)
    memo = Memo(engine)
    reject(engine, 10, memo=memo)
    before = engine.decoded
    r = one(engine, forcing(max_thinking_tokens=10), memo=memo, sampling=SAMPLED)
    assert (r.thinking_ids, engine.decoded) == ((100,) * 4, before)


# ---- thinking filled in, words banned, the engine's own budget


@pytest.mark.parametrize(("text", "spans"), [("done", ((0, 4),)), ("", ())])
def test_no_thinking_answers_at_once(text: str, spans: tuple) -> None:
    engine = ScriptedEngine(planted(5))
    spec = NoThinkingSpec(kind="no_thinking", thinking=text, max_answer_tokens=8)
    (r,), case = ask(engine, spec)
    assert (r.thinking_ids, r.injected, r.ended, r.lead) == (ids(text), spans, "skipped", "")
    assert [prompt for prompt, _, _ in engine.requests] == [(*PROMPT, *ids(text), THINK_END)]
    assert case.decoded == engine.decoded == 2


NOWAIT = NoWaitSpec(kind="nowait", banned_words=("wait",), **FORCED)


@pytest.mark.parametrize("length", [5, 50])
def test_words_are_banned_while_thinking_and_not_in_the_answer(length: int) -> None:
    """Also after an ignored end: an injected "Wait" does not lift the ban."""
    engine = ScriptedEngine(planted(length))
    one(engine, NOWAIT, extrapolate("Hmm", 2, temperature=0.5))
    assert len(engine.requests) == (4 if length == 5 else 2)
    for prompt, _, sampling in engine.requests:
        assert sampling.banned == (() if THINK_END in prompt else (WAIT,)), prompt


def test_banned_thinking_is_not_shared_with_free_thinking() -> None:
    engine = ScriptedEngine(planted(5))
    memo = Memo(engine)
    one(engine, forcing(), memo=memo)
    one(engine, NOWAIT, memo=memo)
    one(engine, NOWAIT.model_copy(update={"max_thinking_tokens": 4}), memo=memo)
    assert sum(prompt == PROMPT for prompt, _, _ in engine.requests) == 2


def native(text: Sequence[int], budget: int = 5, **more: Any) -> tuple[Readout, ScriptedEngine]:
    engine = ScriptedEngine(lambda prompt: text, **more)
    spec = NativeBudgetSpec(kind="vllm_native", max_thinking_tokens=budget, max_answer_tokens=4)
    return one(engine, spec), engine


@pytest.mark.parametrize(
    ("text", "thinking", "ended", "answer", "finish"),
    [
        ([1, 2, THINK_END, 42, EOS], 2, "natural", (42,), "stop"),
        ([1, 2, 3, 4, 5, THINK_END, 42, EOS], 5, "forced", (42,), "stop"),
        ([1, 2, THINK_END, 6, 6, 6, 6, EOS], 2, "natural", (6, 6, 6, 6), "stop"),
        ([1, 2, THINK_END, 6, 6, 6, 6, 6, EOS], 2, "natural", (6, 6, 6, 6), "length"),
        ([1, 2, 3, 4, 5, THINK_END, 6, 6, 6, 6, EOS], 5, "forced", (6, 6, 6, 6), "length"),
        ([1, THINK_END, THINK_END, EOS], 1, "natural", (THINK_END,), "stop"),  # the first counts
        ([1, 2, EOS], 2, "natural", (), "none"),
    ],
)
def test_the_engines_own_budget_is_split_at_the_end_of_thinking(
    text: list[int], thinking: int, ended: str, answer: tuple[int, ...], finish: str
) -> None:
    r, engine = native(text)
    assert (len(r.thinking_ids), r.ended, r.lead) == (thinking, ended, "")
    assert (r.answer.token_ids, r.answer.finish) == (answer, finish)
    ((_, limit, sampling),) = engine.requests
    assert (limit, sampling.thinking_budget) == (5 + 1 + 4, 5)


def test_the_engines_own_budget_in_a_full_context() -> None:
    r, _ = native([1, 2, 3, 4, 5, THINK_END, 42, EOS], context=len(PROMPT) + 3)
    assert (r.ended, len(r.thinking_ids), r.answer.finish) == ("context", 3, "none")
    r, _ = native([1, 2, THINK_END, 6, 6, EOS], context=len(PROMPT) + 4)
    assert (r.ended, r.answer.token_ids, r.answer.finish) == ("natural", (6,), "context")


# ---- SETS

SETS = SetsSpec(
    kind="sets",
    rounds=1,
    verify="V:{question}:{answer}",
    correct="C:{question}:{answer}:{feedback}",
    accept="correct",
    reject="incorrect",
    **{**FORCED, "max_answer_tokens": 20},
)


def improving(target: int) -> ScriptedEngine:
    """Answers 1, says whether an answer is the target, and corrects by adding 1. Thinks 2 tokens each time."""

    def stream(prompt: tuple[int, ...]) -> list[int]:
        if THINK_END not in prompt:
            return [100, 101, STOP]
        kind, *parts = "".join(map(chr, prompt[len(PROMPT) : prompt.index(100)])).split(":")
        if kind == "V":
            return [*ids("correct" if int(parts[1]) == target else "incorrect"), EOS]
        return [*ids("1" if kind == "{q}" else str(int(parts[1]) + 1)), EOS]

    return ScriptedEngine(stream)


def refine(target: int, rounds: int, **more: Any) -> tuple[Readout, ScriptedEngine]:
    engine = improving(target)
    return one(engine, SETS.model_copy(update={"rounds": rounds, **more}), user="{q}"), engine


THOUGHT, YES, NO, PROPOSAL = 2, len("correct"), len("incorrect"), 2 + 1


@pytest.mark.parametrize(
    ("target", "rounds", "answer", "spent"),
    [
        (1, 0, "1", 0),
        (1, 1, "1", THOUGHT + YES),
        (1, 5, "1", THOUGHT + YES),
        (3, 1, "2", THOUGHT + NO + PROPOSAL),
        (3, 2, "3", 2 * (THOUGHT + NO + PROPOSAL)),
        (3, 3, "3", 2 * (THOUGHT + NO + PROPOSAL) + THOUGHT + YES),
    ],
)
def test_sets_checks_and_corrects_until_accepted(target: int, rounds: int, answer: str, spent: int) -> None:
    """A question may hold braces: they are not filled in."""
    r, engine = refine(target, rounds)
    assert (r.answer.token_ids, r.verifier_tokens) == (ids(answer), spent)
    made = engine.decoded - len([1 for _ in engine.requests])  # a stop each
    assert made == spent + len(r.thinking_ids) + len(r.answer.token_ids)


def test_fewer_rounds_are_a_prefix_of_more() -> None:
    asked = [refine(9, rounds)[1].requests for rounds in range(4)]
    for fewer, more in pairwise(asked):
        assert len(fewer) < len(more) and more[: len(fewer)] == fewer


def test_a_correction_is_told_what_the_check_found() -> None:
    _, engine = refine(2, 1)
    assert (*PROMPT, *ids("C:{q}:1:incorrect")) in [prompt for prompt, _, _ in engine.requests]


@pytest.mark.parametrize(
    ("feedback", "verdict"),
    [
        ("Answer: correct", True),
        ("It is CORRECT.", True),
        ("Answer: incorrect", False),
        ("correct? no: incorrect", False),
        ("incorrect at first, but correct", True),
        ("correctly done", False),
        ("", False),
    ],
)
def test_the_last_verdict_counts(feedback: str, verdict: bool) -> None:
    assert accepted(feedback, SETS) is verdict


# ---- REBASE

TREE = RebaseSpec(
    kind="rebase",
    width=4,
    balance=0.2,
    step_stop=(";",),
    max_step_tokens=32,
    max_thinking_tokens=6,
    max_answer_tokens=8,
    forced_answer_prefix="Final Answer:",
)


class Table(Scorer):
    """Scores by text; reads a token a character, and 3 of the question."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = scores

    async def score(self, question: str, text: str) -> Judged:
        score = self.scores.get(text, 0.5)
        return Judged((score,), score, 3 + len(text))


def tree(prompt: tuple[int, ...], draw: int) -> Sequence[int]:
    if THINK_END in prompt:
        return [42, EOS]
    said = "".join(map(chr, prompt[len(PROMPT) :]))
    return {
        "": [ids("a;"), ids("b;"), ids("c;"), (*ids("d"), STOP)],
        "a;": [ids("xxxxxxxx"), (*ids("y"), STOP), ids("z;")],
        "a;z;": [(STOP,)],
    }[said][draw]


def grow(**changes: Any) -> tuple[list[Readout], Forking]:
    engine = Forking(tree)
    spec = TREE.model_copy(update=changes)
    return ask(engine, spec, sampling=SAMPLED, scorer=Table({"a;": 0.9, "b;": 0.5, "c;": 0.1}))[0], engine


def test_the_tree_grows_where_the_score_is_high() -> None:
    leaves, engine = grow()
    assert [("".join(map(chr, r.thinking_ids)), r.ended, r.lead) for r in leaves] == [
        ("d", "natural", ""),
        ("a;xxxx", "forced", "\nFinal Answer:"),
        ("a;y", "natural", ""),
        ("a;z;", "natural", ""),
    ]
    assert all(r.answer.token_ids == (42,) for r in leaves)
    assert (*PROMPT, *ids("b;")) not in engine.asked  # b and c were not worth a child
    assert [r.score for r in leaves] == [0.5] * 4


def test_every_token_of_the_tree_counts_once() -> None:
    leaves, _ = grow()
    own = sum(len(r.thinking_ids) - r.shared for r in leaves)
    assert (own, sum(r.discarded_tokens for r in leaves)) == (1 + 6 + 1 + 2, 2 + 2)
    assert [r.shared for r in leaves] == [0, 0, 2, 2]
    # Of each path the reward model reads what is new, and the question with the first step.
    assert sum(r.scored_tokens for r in leaves) == (5 + 5 + 5 + 4) + 4 + 1 + 2 + 0


def test_a_step_that_is_too_long_is_a_step_without_a_separator() -> None:
    engine = Forking(lambda prompt, draw: [42, EOS] if THINK_END in prompt else ids("abcdefgh"))
    (r,) = ask(engine, TREE.model_copy(update={"width": 1, "max_step_tokens": 4}), sampling=SAMPLED, scorer=Table({}))[
        0
    ]
    assert ("".join(map(chr, r.thinking_ids)), r.ended) == ("abcdab", "forced")
    assert [(len(p) - len(PROMPT)) for p in engine.asked if THINK_END not in p] == [0, 4]


def test_a_full_context_is_a_leaf() -> None:
    engine = Forking(lambda prompt, draw: ids("ab;cdefg"))
    engine.context = len(PROMPT) + 2
    leaves, _ = ask(engine, TREE.model_copy(update={"width": 2}), sampling=SAMPLED, scorer=Table({}))
    assert [(r.ended, len(r.thinking_ids)) for r in leaves] == [("context", 2)] * 2


@given(
    width=st.integers(1, 64),
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    balance=st.floats(0.01, 5),
)
def test_shares_sum_to_the_width_and_follow_the_scores(width: int, scores: list[float], balance: float) -> None:
    children = share_out(width, scores, balance)
    assert sum(children) == width and min(children) >= 0
    best = max(range(len(scores)), key=lambda i: scores[i])
    assert children[best] == max(children) >= 1


@pytest.mark.parametrize(
    ("width", "scores", "children"),
    [
        (4, [0.5, 0.5, 0.5], [2, 1, 1]),
        (2, [0.5, 0.5, 0.5], [1, 1, 0]),
        (3, [1.0], [3]),
        (6, [0.1, 0.9], [0, 6]),  # 5.9 of 6, rounded up
    ],
)
def test_shares(width: int, scores: list[float], children: list[int]) -> None:
    assert share_out(width, scores, 0.2) == children


# ---- all of them: sharing changes no result, and the account is what a cell alone would have cost


class Babble(ScriptedEngine):
    """Says little but what means something to some method; by seed, and by all that came before."""

    def __init__(self) -> None:
        super().__init__(self._walk)
        self._seed: int | None = None
        self._stops: tuple[int, ...] = ()

    def _walk(self, prompt: tuple[int, ...]) -> Iterator[int]:  # type: ignore[override]
        state = zlib.crc32(repr(self._seed).encode())
        for token in prompt:
            state = zlib.crc32(token.to_bytes(4, "big"), state)
        while True:
            draw = zlib.crc32(b"draw", state)
            if draw % 16 == 0:
                yield self._stops[draw // 16 % len(self._stops)]
                draw = zlib.crc32(b"again", draw)
            token = (THINK_END, WAIT, NEWLINE, *ids("01##;\n\nabc"))[draw // 16 % 13]
            if token in self._stops:
                token = ord("d")
            yield token
            state = zlib.crc32(token.to_bytes(4, "big"), state)

    async def generate(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        await asyncio.sleep(0)
        self._seed, self._stops = sampling.seed, tuple(stop_ids)
        return await super().generate(prompt_ids, max_tokens, stop_ids, sampling)


class Taste(Scorer):
    """Likes texts by their hash."""

    async def score(self, question: str, text: str) -> Judged:
        score = zlib.crc32(text.encode()) / 2**32
        return Judged((score,), score, len(text))


CAPS = st.sampled_from([1, 2, 7, 20, BLOCK, 100, 150])
ANSWERS = st.sampled_from([1, 8, 70])
BUDGETS: dict[str, Any] = {
    "dialect": st.sampled_from(["s1_harness", "s1_readme", "exact_length"]),
    "max_thinking_tokens": CAPS | st.sampled_from(["auto", "auto_harness"]),
    "max_answer_tokens": ANSWERS,
    "forced_answer_prefix": st.sampled_from(["", "Final Answer:"]),
    "probe_cuts": st.lists(CAPS, max_size=2).map(tuple),
    "probe_ends": st.booleans(),
}
TWO = st.sampled_from([2, 4])
METHOD = st.one_of(
    st.builds(forcing, **BUDGETS),
    st.builds(TOKENS_FOR.model_copy, update=st.fixed_dictionaries({**BUDGETS, "think_for": TWO})),
    st.builds(CLASS.model_copy, update=st.fixed_dictionaries(BUDGETS)),
    st.builds(NOWAIT.model_copy, update=st.fixed_dictionaries(BUDGETS)),
    st.builds(STEPS.model_copy, update=st.fixed_dictionaries({**BUDGETS, "force_steps": st.booleans()})),
    st.builds(SETS.model_copy, update=st.fixed_dictionaries({**BUDGETS, "rounds": st.integers(0, 2)})),
    st.builds(
        REJECT.model_copy,
        update=st.fixed_dictionaries({"max_thinking_tokens": CAPS, "max_answer_tokens": ANSWERS}),
    ),
    st.builds(
        NoThinkingSpec,
        kind=st.just("no_thinking"),
        thinking=st.sampled_from(["", "ok"]),
        max_answer_tokens=ANSWERS,
    ),
    st.builds(NativeBudgetSpec, kind=st.just("vllm_native"), max_thinking_tokens=CAPS, max_answer_tokens=ANSWERS),
    st.builds(
        TREE.model_copy,
        update=st.fixed_dictionaries({"width": TWO, "max_thinking_tokens": CAPS, "max_step_tokens": CAPS}),
    ),
)
EXTRAPOLATION = st.builds(
    extrapolate,
    st.sampled_from(["", "Wait", ("Wait", "Hmm")]),
    st.integers(0, 3),
    temperature=st.sampled_from([None, 0.5]),
    frequency_penalty=st.sampled_from([0.0, 0.0, 0.5]),
)


class Roomy(Letters):
    max_model_len = 500


class RoomyLimo(Limo):
    max_model_len = 500


class RoomyLong(Long):
    max_model_len = 500


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cells=st.lists(st.tuples(METHOD, EXTRAPOLATION), min_size=1, max_size=8),
    sampling=st.sampled_from([GREEDY, SAMPLED, SAMPLED.model_copy(update={"params": {"presence_penalty": 0.5}})]),
    user=st.sampled_from(["", "q", "{answer}"]),
    context=st.sampled_from([500, 10_000]),
    chat=st.sampled_from([Roomy(), RoomyLimo(), RoomyLong()]),
)
def test_any_cells_together_equal_each_alone(
    cells: list[tuple[Any, ExtrapolationSpec]], sampling: SamplingSpec, user: str, context: int, chat: Letters
) -> None:
    def case(memo: Memo) -> Case:
        return Case(memo, chat, user, sampling, "q", longest_prompt=40, scorer=Taste())

    async def all_at_once(memo: Memo, cells: list[tuple[Any, ExtrapolationSpec]]) -> list[tuple]:
        async def read(spec: Any, extrapolation: ExtrapolationSpec) -> tuple:
            asked = case(memo)
            return await METHODS[spec.kind].run(spec, extrapolation, asked), asked.decoded, asked.prefilled

        return await asyncio.gather(*(read(*cell) for cell in cells))

    def engine() -> Babble:
        made = Babble()
        made.context = context
        return made

    shared = engine()
    together = asyncio.run(all_at_once(Memo(shared), cells))
    alone = []
    for cell in cells:
        own = engine()
        (found,) = asyncio.run(all_at_once(Memo(own), [cell]))
        assert found[1] == own.decoded
        alone.append(found)
    assert together == alone
    assert shared.decoded <= sum(decoded for _, decoded, _ in alone)


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 6), cap=CAPS, step=CAPS, balance=st.sampled_from([0.05, 0.2, 5.0]))
def test_a_tree_has_as_many_leaves_as_its_width_and_counts_its_tokens_once(
    width: int, cap: int, step: int, balance: float
) -> None:
    changes = {"width": width, "max_thinking_tokens": cap, "max_step_tokens": step, "balance": balance}
    engine = Babble()
    leaves, case = ask(engine, TREE.model_copy(update=changes), sampling=SAMPLED, scorer=Taste())
    again, _ = ask(Babble(), TREE.model_copy(update=changes), sampling=SAMPLED, scorer=Taste())
    assert (len(leaves), leaves) == (width, again)
    assert all(len(r.thinking_ids) <= cap for r in leaves)
    assert all((r.ended == "forced") == (len(r.thinking_ids) == cap) for r in leaves)
    assert all((r.lead != "") == (r.ended == "forced") for r in leaves)
    assert case.decoded == engine.decoded
    assert 0 < case.prefilled <= len(PROMPT) + width * (2 + len(LEAD))


@pytest.mark.parametrize("delay", range(8))
def test_a_reader_may_come_at_any_moment(delay: int) -> None:
    """Also in the turn of the event loop in which another reader's request has just been answered."""
    engine = ScriptedEngine(lambda prompt: range(len(prompt), 100))

    async def read() -> list[tuple[int, ...]]:
        trace = Memo(engine).trace(Stream(PROMPT, (STOP,), Sampling(), ("q", 0)))

        async def late(n: int, turns: int) -> tuple[int, ...]:
            for _ in range(turns):
                await asyncio.sleep(0)
            return (await trace.upto(n)).token_ids

        return await asyncio.gather(late(5, 0), late(20, delay), late(30, delay))

    first, *others = asyncio.run(read())
    assert (first, others) == (tuple(range(3, 8)), [tuple(range(3, 23)), tuple(range(3, 33))])
    assert engine.decoded == 30
