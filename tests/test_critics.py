"""What critics ask, against planted truth: stops, slopes, flips, budgets, costs. Identities hold for any input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from s1sweep.analysis.critics import attribution, budgets, endings, flips, parallel, split
from s1sweep.analysis.critics.answers import NONE, Classes
from s1sweep.analysis.critics.resample import Estimates, HeldOut, held_out_best, jointly, mean, means
from s1sweep.analysis.metrics import listing

RNG = np.random.default_rng(0)


def even(n: int) -> np.ndarray:
    return np.full((1, n), 1 / n)


def weights(n: int, draws: int = 7) -> np.ndarray:
    return np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), size=draws) / n


# --- the bootstrap


def test_the_joint_bootstrap_covers_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        drawn = np.random.default_rng(seed).random((60, 2)).mean(axis=1)
        found = means(drawn, draws=400)
        hits += bool(found.low <= 0.5 <= found.high)
    assert 0.88 <= hits / 200 <= 0.99


def test_points_share_their_resamples() -> None:
    values = RNG.random((2, 40))
    apart = jointly(lambda w: mean(w, values[1] - values[0]), 40)
    both = jointly(lambda w: np.diff(mean(w, values), axis=1)[:, 0], 40)
    assert [both.low, both.high] == pytest.approx([float(apart.low), float(apart.high)])


def test_an_estimate_of_nothing_is_nan_and_warns_not(recwarn: pytest.WarningsRecorder) -> None:
    found = jointly(
        lambda w: split.parts(w, np.full((5, 1), 9.0), np.ones((5, 1)), np.array([4.0]), np.ones((1, 5, 1))), 5
    )
    assert math.isnan(found.value[0, 1]) and math.isnan(found.low[0, 1])
    assert not recwarn.list
    with pytest.raises(ValueError, match="at least one question"):
        jointly(lambda w: w, 0)


# --- scaling down and up


def planted_stops(questions: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Stops of 10 to 100 tokens, right in 80 % of the ended and 25 % of the forced; (caps, credit)."""
    rng = np.random.default_rng(3)
    stop = rng.integers(10, 101, (questions, 2)).astype(float)
    stop[rng.random(stop.shape) < 0.1] = np.inf
    natural = (rng.random(stop.shape) < 0.8).astype(float)
    caps = np.array([20.0, 55.0, 100.0])
    forced = (rng.random((3, *stop.shape)) < 0.25).astype(float)
    return stop, natural, caps, np.where(stop <= caps[:, None, None], natural, forced)


def test_a_cap_is_taken_apart_at_planted_stops() -> None:
    stop, natural, caps, credit = planted_stops()
    found = dict(zip(split.PARTS, split.parts(even(4000), stop, natural, caps, credit)[0].T, strict=True))
    assert found["done"] == pytest.approx(0.9 * np.array([11, 46, 91]) / 91, abs=0.02)
    assert found["done_accuracy"] == pytest.approx([0.8] * 3, abs=0.05)
    assert found["forced_accuracy"] == pytest.approx([0.25] * 3, abs=0.05)
    assert found["ceiling"] == pytest.approx(found["accuracy"])  # below a cap nothing differs here


credits = arrays.arrays(float, (3, 6, 2), elements=st.sampled_from([0.0, 1.0]))
stops = arrays.arrays(float, (6, 2), elements=st.sampled_from([3.0, 7.0, 12.0, math.inf]))


@given(credit=credits, stop=stops, natural=arrays.arrays(float, (6, 2), elements=st.sampled_from([0.0, 1.0])))
def test_the_parts_add_up_in_every_resample(credit: np.ndarray, stop: np.ndarray, natural: np.ndarray) -> None:
    caps = np.array([5.0, 10.0, 20.0])
    w = weights(6)
    done, a_done, a_forced, accuracy, ceiling = np.moveaxis(split.parts(w, stop, natural, caps, credit), -1, 0)
    np.testing.assert_allclose(accuracy, mean(w, credit.mean(axis=2)), atol=1e-12)
    there = np.nan_to_num(a_done) * done + np.nan_to_num(a_forced) * (1 - done)
    np.testing.assert_allclose(accuracy, there, atol=1e-12)
    right_and_done = mean(w, ((stop <= caps[:, None, None]) * natural).mean(axis=2))
    np.testing.assert_allclose(ceiling, right_and_done + np.nan_to_num(a_forced) * (1 - done), atol=1e-12)


def test_a_planted_slope_is_found() -> None:
    tokens = np.tile(np.array([8.0, 16.0, 64.0])[:, None], (1, 500))
    credit = 0.1 + 0.07 * np.log2(tokens) + np.random.default_rng(2).normal(0, 0.05, tokens.shape)
    found = jointly(lambda w: split.slope(w, tokens, credit), 500)
    assert found.low < 0.07 < found.high and found.high - found.low < 0.01
    assert math.isnan(split.slope(even(500), tokens[:1], credit[:1])[0])


def test_arms_of_any_length_have_one_slope_over_their_own_quantiles() -> None:
    """Twice as long a thinker, capped twice as far, is the same arm in its own lengths."""
    stop, _, caps, credit = planted_stops()
    short = split.quantile_slope(even(4000), stop, caps, credit)
    assert split.quantile_slope(even(4000), 2 * stop, 2 * caps, credit) == pytest.approx(short)
    assert short[0] == pytest.approx(0.55, abs=0.05)


def test_the_best_beyond_the_natural_stop_has_no_winners_curse() -> None:
    rng = np.random.default_rng(5)
    naive, held = [], []
    for _ in range(60):
        natural = (rng.random(60) < 0.5).astype(float)
        extended = (rng.random((6, 60)) < 0.5).astype(float)
        naive.append(split.naive_peak_gain(even(60), natural, extended)[0])
        held.append(split.peak_gain(even(60), natural, extended)[0])
    assert np.mean(naive) > 0.05
    assert abs(np.mean(held)) < 3 * np.std(held) / math.sqrt(60) + 1e-9


def test_a_best_that_stands_out_is_found_whole() -> None:
    values = np.stack([np.full(40, 0.2), np.full(40, 0.9), np.full(40, 0.5)])
    assert held_out_best(weights(40), values) == pytest.approx(0.9)
    assert np.isnan(held_out_best(even(1), values[:, :1])).all()


# --- flips


sequences = arrays.arrays(np.int64, (5, 2, 6), elements=st.integers(-1, 3))


@given(answers=sequences)
def test_accuracy_changes_by_what_turns_right_less_what_turns_wrong(answers: np.ndarray) -> None:
    right = answers == 2
    steps = flips.steps(answers, right)
    np.testing.assert_array_equal(steps[0] - steps[1], np.diff(right.astype(float), axis=-1))
    np.testing.assert_array_equal(steps.sum(axis=0), 1)  # one of them at each step
    np.testing.assert_array_equal(steps[:3].sum(axis=0), flips.flipped(answers))
    w = weights(5)
    parts = mean(w, steps.mean(axis=2).transpose(0, 2, 1))
    np.testing.assert_allclose(parts[:, 0] - parts[:, 1], np.diff(mean(w, right.mean(axis=1).T), axis=1), atol=1e-12)


@given(answers=sequences)
def test_sequences_are_counted_consistently(answers: np.ndarray) -> None:
    found = dict(zip(flips.TRAITS, flips.traits(answers, answers == 2), strict=True))
    assert (found["distinct"] - 1 + found["revisits"] == found["flips"]).all()
    assert (found["aba"] <= found["revisits"]).all()
    assert (found["last"] <= found["any"]).all() and (found["mode"] <= found["any"]).all()
    assert ((found["settled"] == 0) == (found["flips"] == 0)).all()


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ([2, 2, 2], {"flips": 0, "distinct": 1, "revisits": 0, "aba": 0, "settled": 0, "last": 1, "mode": 1, "any": 1}),
        ([1, 2, 1, 2], {"flips": 3, "distinct": 2, "revisits": 2, "aba": 2, "settled": 3, "last": 1, "mode": 0.5}),
        ([2, 1, 0, 2, 1], {"flips": 4, "distinct": 3, "revisits": 2, "aba": 0, "settled": 4, "last": 0, "any": 1}),
        ([NONE, NONE, 1], {"flips": 1, "distinct": 2, "revisits": 0, "settled": 2, "mode": 0, "any": 0}),
    ],
)
def test_a_sequence_by_hand(sequence: Sequence[int], expected: dict[str, float]) -> None:
    answers = np.array(sequence)[None, None]
    found = dict(zip(flips.TRAITS, flips.traits(answers, answers == 2)[:, 0, 0], strict=True))
    assert {name: found[name] for name in expected} == expected


def oscillating(flip: float, questions: int, points: int, seed: int = 0) -> np.ndarray:
    """Two answers, 0 and 1, that change into each other with a known chance."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 2, (questions, 4, 1))
    changes = rng.random((questions, 4, points - 1)) < flip
    return np.concatenate([start, (start + changes.cumsum(axis=-1)) % 2], axis=-1)


@pytest.mark.parametrize("flip", [0.1, 0.3])
def test_planted_flip_rates_are_found(flip: float) -> None:
    answers = oscillating(flip, 300, 8)
    rate = means(flips.flipped(answers).mean(axis=(1, 2)))
    assert rate.low < flip < rate.high and rate.high - rate.low < 0.05
    steps = flips.steps(answers, answers == 1).mean(axis=(1, 2, 3))
    assert steps[:2] == pytest.approx([flip / 2] * 2, abs=0.02)  # as often each way, half the time from each


def test_resampling_looks_like_the_null_and_revising_does_not() -> None:
    rng = np.random.default_rng(4)
    skill = rng.random(400)
    drawn = (rng.random((400, 6)) < skill[:, None]).astype(np.int64)
    apart, again = flips.resampled(drawn, drawn == 1)
    assert apart.mean() == pytest.approx((2 * skill * (1 - skill)).mean(), abs=0.02)
    assert again[0] == pytest.approx(again[1]) and again[:2].sum(axis=0) == pytest.approx(apart)
    chain = (rng.random((400, 2, 5)) < skill[:, None, None]).astype(np.int64)  # every point drawn anew
    less = means(flips.flipped(chain).mean(axis=(1, 2)) - apart)
    assert less.low < 0 < less.high
    steady = means(flips.flipped(np.repeat(chain[..., :1], 5, axis=-1)).mean(axis=(1, 2)) - apart)
    assert steady.high < 0
    with pytest.raises(ValueError, match="two samples"):
        flips.resampled(drawn[:, :1], drawn[:, :1] == 1)


def test_first_right_point_and_its_tokens() -> None:
    right = np.array([[[False, True, False], [False, False, False]]])
    index, tokens = flips.first_right(right, np.array([[[10, 20, 30], [5, 6, 7]]]))
    assert index[0, 0] == 1 and tokens[0, 0] == 20
    assert math.isnan(index[0, 1]) and math.isnan(tokens[0, 1])


def test_answers_are_equal_as_the_grader_says_and_it_is_asked_once() -> None:
    asked: list[tuple[str, str]] = []

    def equal(a: str, b: str) -> bool:
        asked.append((a, b))
        return {a, b} == {"0.5", "1/2"}

    classes = Classes(equal)
    texts = [[["0.5", " 0.5", "1/2"], ["7", None, "1/2"]], [["1/2", "0.5", "0.5"], [None, "x", "X"]]]
    assert classes.array(texts).tolist() == [[[0, 0, 0], [1, NONE, 0]], [[0, 0, 0], [NONE, 1, 1]]]
    assert len(asked) == len(set(asked))


# --- budgets


def test_the_oracle_sees_headroom_where_there_is_none_and_the_cross_fitted_one_does_not() -> None:
    rng = np.random.default_rng(6)
    naive, honest = [], []
    for _ in range(40):
        skill = rng.random(50)[None, :, None]  # of a question, the same at every budget
        credit = (rng.random((5, 50, 4)) < skill).astype(float)
        naive.append(budgets.naive_routes(even(50), credit)[0, 2])
        honest.append(budgets.routes(even(50), credit, splits=6)[0, 2])
    assert np.mean(naive) > 0.1
    assert abs(np.mean(honest)) < 3 * np.std(honest) / math.sqrt(40)


def test_planted_headroom_is_found() -> None:
    """Half of the questions are right at the small budget alone, half at the large alone."""
    small = np.repeat([True, False], 30)
    credit = np.stack([small, ~small]).astype(float)[:, :, None].repeat(4, axis=2)
    fixed, routed, headroom = budgets.routes(even(60), credit)[0]
    assert (fixed, routed, headroom) == pytest.approx((0.5, 1.0, 0.5))


def test_each_band_has_its_planted_best_budget() -> None:
    rng = np.random.default_rng(7)
    chance = np.repeat([[0.05, 0.1, 0.4], [0.3, 0.7, 0.5], [1.0, 0.9, 0.85]], 60, axis=0).T  # hard, middle, easy
    credit = (rng.random((3, 180, 16)) < chance[:, :, None]).astype(float)
    found = budgets.bands(even(180), credit)[0]
    assert found[:, 0] == pytest.approx([1 / 3] * 3, abs=0.08) and found[:, 0].sum() == pytest.approx(1)
    assert found[:, 3:].argmax(axis=1).tolist() == [2, 1, 0]
    assert found[:, 1] == pytest.approx([0.4, 0.7, 1.0], abs=0.12)
    assert (found[:, 2] > -0.02).all() and found[:, 2].max() > 0.05


def test_a_budget_chosen_on_another_task_is_judged_on_this_one() -> None:
    here, there = np.array([[[0.2]], [[0.6]]]), np.array([[[1.0]], [[0.0]]])
    assert budgets.chosen_elsewhere(even(1), here, there)[0] == pytest.approx(0.2)


def test_over_and_under_thinking_by_hand() -> None:
    # budgets x one question x four samples: lost, found late, always right, never right
    credit = np.array([[[1, 0, 1, 0]], [[0, 0, 1, 0]], [[0, 1, 1, 0]]], dtype=float)
    tokens = np.array([[[10, 10, 10, 10]], [[20, 20, 20, 20]], [[40, 40, 40, 40]]], dtype=float)
    over, late = budgets.passed_by(credit)
    assert (over[0], late[0]) == (0.25, 0.25)
    under, wasted, had = budgets.waste(even(1), credit, tokens)[0]
    assert under == pytest.approx((0.75 + 0) / 2) and had == pytest.approx(0.5)
    assert wasted == pytest.approx((0 + 0.75) / 2)


# --- endings, lengths, attribution


def test_forced_answers_are_held_against_the_same_samples() -> None:
    stop = np.array([[5.0, 30.0, 30.0, math.inf]])
    natural = np.array([[1.0, 1.0, 0.0, 1.0]])
    credit = np.array([[[1.0, 0.0, 0.0, 1.0]]])
    share, forced, free, gap = endings.forced_gap(even(1), stop, natural, np.array([10.0]), credit)[0, 0]
    assert (share, forced, free, gap) == (0.5, 0.0, 0.5, -0.5)


def test_ranks_go_from_shortest_to_longest_and_ties_share() -> None:
    credit, tokens = np.array([[1.0, 0.0, 0.0]]), np.array([[30.0, 10.0, 20.0]])
    assert endings.by_rank(credit, tokens).tolist() == [[0, 0, 1]]
    assert endings.by_rank(credit, np.array([[10.0, 10.0, 20.0]])).tolist() == [[0.5, 0.5, 0]]


def test_lengths_of_right_and_wrong_are_compared_within_questions() -> None:
    """The hard question, long and never right, says nothing."""
    credit = np.array([[1.0, 0.0], [0.0, 0.0]])
    tokens = np.array([[10.0, 14.0], [90.0, 95.0]])
    assert endings.right_less_wrong(even(2), credit, tokens)[0] == pytest.approx([10, 14, -4])


@given(values=arrays.arrays(float, (3, 3, 5), elements=st.floats(0, 1)))
def test_main_effects_add_up_to_the_gain_of_both(values: np.ndarray) -> None:
    w = weights(5)
    found = attribution.effects(w, values)
    both = mean(w, values[1:, 1:] - values[:1, :1])
    np.testing.assert_allclose(found[..., 0] + found[..., 1], both, atol=1e-12)


def test_planted_effects_are_found() -> None:
    base = np.random.default_rng(8).random(200) * 0.3
    values = np.array([[base, base + 0.1], [base + 0.3, base + 0.3 + 0.1 + 0.2]])
    training, forcing, interaction = attribution.effects(even(200), values)[0, 0, 0]
    assert (training, forcing, interaction) == pytest.approx((0.4, 0.2, 0.2))
    with pytest.raises(ValueError, match="two each"):
        attribution.effects(even(200), values[:1])


# --- parallel against sequential


def test_costs_by_hand() -> None:
    tokens = np.array([[10.0, 20.0, 40.0]])
    assert parallel.costs(tokens, 1)[:, 0] == pytest.approx([70 / 3] * 3)
    # All three: 70 decoded, 40 long; held: 3 x 10, 2 x 20, 1 x 40.
    assert parallel.costs(tokens, 3)[:, 0] == pytest.approx([70, 40, 40])
    # Stopped at the first end: three of 10 tokens.
    assert parallel.costs(tokens, 3, first=1)[:, 0] == pytest.approx([30, 10, 30])
    with pytest.raises(ValueError, match="first <= k"):
        parallel.costs(tokens, 4)


@settings(max_examples=30)
@given(st.integers(1, 5), st.data())
def test_costs_are_ordered(k: int, data: st.DataObject) -> None:
    tokens = data.draw(arrays.arrays(float, (2, 5), elements=st.floats(1, 100)))
    total, latency, memory = parallel.costs(tokens, k)
    assert (latency <= memory + 1e-9).all() and (memory <= total + 1e-9).all()
    np.testing.assert_allclose(total, k * tokens.mean(axis=1))


def test_drawn_subsets_cost_as_much_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = RNG.random((3, 10)) * 100
    exact = parallel.costs(tokens, 4)
    monkeypatch.setattr(parallel, "SUBSETS", 200)
    assert parallel.costs(tokens, 4) == pytest.approx(exact, rel=0.05)


def test_rules_on_a_planted_pool() -> None:
    """Right answers are two of five, the shortest, and score highest."""
    answers = np.array([[0, 0, 1, 1, 2]])
    right, tokens = answers == 0, np.array([[10.0, 11.0, 50.0, 60.0, 70.0]])
    scores = np.array([[0.9, 0.8, 0.1, 0.1, 0.1]])

    def credit(rule: parallel.Rule, k: int, by: np.ndarray | None = None) -> float:
        return float(parallel.credit(answers, right, tokens, k, rule, by)[0])

    assert credit("majority", 1) == pytest.approx(0.4)
    assert credit("majority", 5) == pytest.approx(0.5)  # a tie
    assert credit("weighted", 5) == credit("shortest", 5) == credit("best", 5, scores) == 1
    assert credit("weighted", 5, scores) == 1
    with pytest.raises(ValueError, match="scores"):
        credit("best", 2)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([NONE, 0, 1, 2]), st.booleans(), st.integers(1, 4)), min_size=2, max_size=6),
    st.data(),
)
def test_listed_subsets_are_worth_what_counted_ones_are(pool: list[tuple[int, bool, int]], data: st.DataObject) -> None:
    """Pools of few samples are listed, others counted: equal, whatever ties."""
    answers, right, tokens = (np.array([column]) for column in zip(*pool, strict=True))
    k = data.draw(st.integers(1, len(pool)))
    scores = tokens / 10
    for rule, by in (("majority", None), ("weighted", None), ("weighted", scores), ("shortest", None)):
        args = (np.repeat(answers, 2, 0), np.repeat(right, 2, 0), np.repeat(3.0 * tokens, 2, 0), k, rule)
        by = None if by is None else np.repeat(by, 2, 0)
        listed = parallel.credit(*args, by)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(listing, "MOST", 0)
            counted = parallel.credit(*args, by)
        assert listed == pytest.approx(counted, abs=1e-9), (rule, by)


def test_a_budget_buys_the_best_that_it_can_pay() -> None:
    cost, credit = np.array([[10.0] * 8, [20.0] * 8, [80.0] * 8]), np.array([[0.2] * 8, [0.6] * 8, [0.9] * 8])
    held = HeldOut(even(8), credit)
    assert parallel.at_budget(held, cost, 20.0)[0] == pytest.approx(0.6)
    assert parallel.at_budget(held, cost, 100.0)[0] == pytest.approx(0.9)
    assert math.isnan(parallel.at_budget(held, cost, 5.0)[0])


def test_the_frontier_leaves_out_what_is_beaten() -> None:
    cost, accuracy = np.array([10.0, 20.0, 15.0, 40.0, 40.0]), np.array([0.3, 0.3, 0.5, 0.4, 0.6])
    assert parallel.frontier(cost, accuracy) == [0, 2, 4]


def test_estimates_are_indexed_together() -> None:
    found = Estimates(np.arange(3.0), np.arange(3.0) - 1, np.arange(3.0) + 1)[2]
    assert (float(found.value), float(found.low), float(found.high)) == (2, 1, 3)
