"""The searching sweep: intervals that hold under continuous looking, rounds within a budget, and a real search."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep.analysis import costs
from s1sweep.analysis.stats import confidence_sequence, exceeds
from s1sweep.errors import UserError
from s1sweep.search.policy import MARGIN, Options, SearchArm, judge, next_round, statements
from s1sweep.store import Store
from tests.helpers import cli

ALPHA = 0.1


# --- the confidence sequence

SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60)


@given(SCORES, st.integers(0, 40))
@settings(deadline=None, max_examples=60)
def test_bounds_keep_to_what_is_possible_and_only_ever_narrow(scores: list[float], unseen: int) -> None:
    population = len(scores) + unseen
    low, high = 0.0, 1.0
    for n in range(len(scores) + 1):
        new = confidence_sequence(scores[:n], population, ALPHA)
        seen = sum(scores[:n])
        possible = seen / population, (seen + population - n) / population
        if new[0] < new[1]:  # not crossed
            assert new[0] >= low - 1e-9 and new[1] <= high + 1e-9
            assert possible[0] - 1e-9 <= new[0] and new[1] <= possible[1] + 1e-9
            low, high = new


@given(SCORES, st.integers(0, 40))
@settings(deadline=None, max_examples=60)
def test_right_and_wrong_are_mirror_images(scores: list[float], unseen: int) -> None:
    population = len(scores) + unseen
    low, high = confidence_sequence(scores, population, ALPHA)
    mirrored = confidence_sequence([1 - score for score in scores], population, ALPHA)
    assert mirrored == pytest.approx((1 - high, 1 - low))
    wider = confidence_sequence(scores, population, ALPHA / 10)
    assert wider[0] <= low + 1e-9 and high <= wider[1] + 1e-9


@given(SCORES, st.integers(0, 40), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=60)
def test_exceeds_is_the_lower_bound_without_the_search_for_it(scores: list[float], unseen: int, mean: float) -> None:
    population = len(scores) + unseen
    low, high = confidence_sequence(scores, population, ALPHA)
    if low < high and abs(low - mean) > 1e-9 and low > sum(scores) / population:
        assert exceeds(scores, population, mean, ALPHA) == (low > mean)


def test_all_questions_leave_no_doubt() -> None:
    scores = np.random.default_rng(0).permutation([1.0] * 30 + [0.0] * 20)
    assert confidence_sequence(scores, 50, 0.05) == pytest.approx((0.6, 0.6))
    assert confidence_sequence([], 50, 0.05) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("scores", "population", "alpha", "words"),
    [
        ([0.5, 1.5], 9, 0.05, "1.5"),
        ([0.5] * 9, 8, 0.05, "8"),
        ([0.5], 9, 1.0, "alpha=1.0"),
        ([float("nan")], 9, 0.05, "nan"),
    ],
)
def test_nonsense_is_refused(scores: list[float], population: int, alpha: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        confidence_sequence(scores, population, alpha)


POPULATIONS = {
    "even": [1.0] * 40 + [0.0] * 40,
    "rare": [1.0] * 3 + [0.0] * 77,
    "shares": [0.0, 0.25, 0.25, 0.5, 1.0] * 16,
    "large": [1.0] * 180 + [0.0] * 120,
}


def missed(population: list[float], alpha: float, runs: int, seed: int) -> tuple[float, float]:
    """The share of random orders in which the truth was ever outside: of the sequence, and of a z interval that is
    looked at after every question from the tenth on.
    """
    rng = np.random.default_rng(seed)
    size, truth = len(population), float(np.mean(population))
    ours = fixed = 0
    for _ in range(runs):
        scores = rng.permutation(population)
        # Whether the bets against the truth ever win, on either side.
        ours += exceeds(scores, size, truth, alpha) or exceeds(1 - scores, size, 1 - truth, alpha)
        n = np.arange(1, size + 1)
        means = np.cumsum(scores) / n
        half = 1.6449 * np.sqrt(np.maximum(means - means**2, 0) / n * (1 - n / size))  # 90 %
        fixed += bool((np.abs(means - truth) > half + 1e-9)[10:].any())
    return ours / runs, fixed / runs


@pytest.mark.parametrize("name", sorted(POPULATIONS))
def test_the_truth_stays_inside_under_continuous_looking(name: str) -> None:
    ours, fixed = missed(POPULATIONS[name], ALPHA, 300, 0)
    assert ours <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 300)
    assert fixed > 2 * ALPHA  # an interval for one look fails the same test


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(POPULATIONS))
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01])
def test_the_truth_stays_inside_at_the_stated_rate(name: str, alpha: float) -> None:
    ours, _ = missed(POPULATIONS[name], alpha, 5000, 1)
    assert ours <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 5000)


def test_looking_always_costs_less_than_twice_the_width() -> None:
    population = [1.0] * 300 + [0.0] * 200
    rng = np.random.default_rng(0)
    for n in (50, 200, 400):
        found = [confidence_sequence(rng.permutation(population)[:n], 500, 0.05) for _ in range(10)]
        one_look = 1.96 * math.sqrt(0.24 / n * (1 - n / 500))
        assert np.mean([(high - low) / 2 for low, high in found]) < 2 * one_look


# --- the policy


def simulated(truths: dict[str, np.ndarray], options: Options, order: np.ndarray) -> tuple[list[SearchArm], int, bool]:
    """A search over planted scores (by question, one token an answer) in a given order: the arms, the tokens, and
    whether anything false was said at any look.
    """
    size = len(order)
    arms = [SearchArm(name, "task", size) for name in truths]
    asked, last, spent, lied = 0, None, 0, False
    while live := [arm for arm in arms if arm.why is None]:
        count = next_round(asked, size, options, last, spent)
        if not count:
            for arm in live:
                arm.why = "token budget"
            break
        for arm in live:
            arm.scores += truths[arm.name][order[asked : asked + count]].tolist()
        last = count, count * len(live)
        spent += last[1]
        asked += count
        judge(arms, options)
        lied = lied or wrong(arms, truths)
    return arms, spent, lied


def planted(rng: np.random.Generator, size: int, rates: dict[str, float]) -> dict[str, np.ndarray]:
    """Right and wrong by question: arms share what makes a question hard."""
    hard = rng.random(size)
    return {name: (0.8 * hard + 0.2 * rng.random(size) < rate).astype(float) for name, rate in rates.items()}


def wrong(arms: list[SearchArm], truths: dict[str, np.ndarray]) -> bool:
    """Whether anything that was said is false: an interval, or a win."""
    for arm in arms:
        truth = truths[arm.name].mean()
        if not arm.low - 1e-9 <= truth <= arm.high + 1e-9:
            return True
        winner = (arm.why or "").partition("beaten by ")[2]
        if winner and truths[winner].mean() <= truth:
            return True
    return False


def _false_searches(runs: int, options: Options, seed: int) -> float:
    rng = np.random.default_rng(seed)
    rates = {"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.45}
    found = 0
    for _ in range(runs):
        truths = planted(rng, 150, rates)
        found += simulated(truths, options, rng.permutation(150))[2]
    return found / runs


def test_all_that_a_search_says_is_right_together() -> None:
    """Winners included: nearly equal arms, so that whoever looks best is chosen by luck."""
    share = _false_searches(60, Options(half_width=6, alpha=ALPHA, first=8), 0)
    assert share <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 60)


@pytest.mark.long
@pytest.mark.parametrize("drop", [True, False])
def test_searches_are_wrong_no_more_often_than_stated(drop: bool) -> None:
    share = _false_searches(500, Options(half_width=6, alpha=0.2, first=4, growth=1.3, drop_beaten=drop), 1)
    assert share <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / 500)


def test_a_clear_loser_is_dropped_early_and_by_pairs() -> None:
    rng = np.random.default_rng(3)
    truths = planted(rng, 400, {"good": 0.7, "near": 0.68, "bad": 0.4})
    order = rng.permutation(400)
    arms, spent, _ = simulated(truths, Options(half_width=None, first=16), order)
    by = {arm.name: arm for arm in arms}
    assert by["bad"].why in ("beaten by good", "beaten by near")
    assert len(by["bad"].scores) < 120 < len(by["good"].scores)
    # By pairs before the intervals part.
    assert max(by["good"].low, by["near"].low) > 0 and by["bad"].high > 0.4
    assert spent < 3 * 400
    kept, all_spent, _ = simulated(truths, Options(half_width=None, first=16, drop_beaten=False), order)
    assert {arm.why for arm in kept} == {"all questions asked"} and all_spent == 3 * 400
    assert [arm.low for arm in kept] == pytest.approx([truths[arm.name].mean() for arm in kept])


def test_arms_stop_when_their_interval_is_narrow() -> None:
    truths = {"sure": np.ones(1500), "even": np.arange(1500) % 2.0}
    order = np.random.default_rng(0).permutation(1500)
    arms, _, _ = simulated(truths, Options(half_width=4, drop_beaten=False), order)
    assert [arm.why for arm in arms] == ["narrow enough"] * 2
    assert all(50 * (arm.high - arm.low) <= 4 for arm in arms)
    assert len(arms[0].scores) < len(arms[1].scores) < 1500


def test_arms_of_other_questions_are_not_compared() -> None:
    arms = [SearchArm("a", "one", 50, [1.0] * 40), SearchArm("b", "two", 50, [0.0] * 40)]
    assert statements(arms, Options()) == 2
    judge(arms, Options(half_width=None))
    assert [arm.why for arm in arms] == [None, None]
    arms = [SearchArm("a", "one", 50, [1.0] * 40), SearchArm("b", "one", 50, [0.0] * 40)]
    assert statements(arms, Options()) == 3
    judge(arms, Options(half_width=None))
    assert [arm.why for arm in arms] == [None, "beaten by a"]


def test_what_failed_neither_goes_on_nor_beats() -> None:
    arms = [SearchArm("a", "", 0, why="failed: out of memory"), SearchArm("b", "one", 50, [0.0, 1.0] * 20)]
    judge(arms, Options(half_width=None))
    assert arms[1].why is None and 0.3 < arms[1].low < arms[1].high < 0.7
    assert (arms[0].low, arms[0].high) == (0.0, 1.0)


@given(
    budget=st.integers(100, 100_000),
    first=st.integers(2, 64),
    growth=st.floats(1.01, 3),
    costs=st.lists(st.floats(0.5, 1.0), min_size=30, max_size=30),
    most=st.integers(2, 2000),
)
@settings(deadline=None)
def test_a_budget_is_kept_while_costs_rise_by_no_more_than_the_margin(
    budget: int, first: int, growth: float, costs: list[float], most: int
) -> None:
    options = Options(token_budget=budget, first=first, growth=growth)
    asked, spent, last = 0, 0, None
    rate = 20.0
    for cost in costs:
        count = next_round(asked, most, options, last, spent)
        if not count:
            break
        assert asked + count <= most
        assert asked + count == most or count >= min(first, most) or last is None
        rate *= cost * MARGIN  # up to a quarter dearer a question than the round before
        last = count, math.floor(rate * count)
        spent += last[1]
        asked += count
        if last[1] > budget and asked == count:
            return  # the first round, which is estimated otherwise
        assert spent <= budget
        if asked == most:
            break


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token_budget", 0.0),
        ("token_budget", float("inf")),
        ("token_budget", float("nan")),
        ("half_width", 0.0),
        ("half_width", 51.0),
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("first", 1),
        ("growth", 1.0),
        ("growth", 11.0),
        ("seed", -1),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"hydra\.sweeper\.{field}=.* is not valid. Give "):
        Options(**{field: value})


def test_hydras_fields_are_those_of_the_options() -> None:
    from dataclasses import asdict

    from hydra_plugins.s1sweep.plugins import SequentialConf
    from s1sweep.compose import SEQUENTIAL

    given = asdict(SequentialConf())
    assert given.pop("_target_").endswith(".Sequential")
    assert given == asdict(Options()) and list(given) == list(SEQUENTIAL)


# --- on the command line

SEARCH = ["-m", "hydra/sweeper=sequential", "train=none", "task=tiny_calc", "placement=inprocess", "tracking=none"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hydra.sweeper.alpha=2"], ["hydra.sweeper.alpha=2.0", "above 0 and below 1"]),
        (["hydra.sweeper.half_width=wide"], ["hydra.sweeper.half_width", "wide"]),
        (["hydra.sweeper.half_widht=2"], ["half_widht", "Did you mean 'half_width'?"]),
        (["hydra.sweeper.token_budget=100"], ["hydra.sweeper.token_budget=100", "first round", "2 cells of 32"]),
        (["objective=mean_thinking_tokens"], ["objective=mean_thinking_tokens", "accuracy"]),
        (["task.draw=[0,10]"], ["task.draw=(0, 10)", "hydra.sweeper.seed"]),
        (["method.max_thinking_tokens=auto_harness"], ["auto_harness", "longest prompt"]),
        (["+claims=[{contrast: {extrapolation: wait}, baseline: {extrapolation: none}}]"], ["claims"]),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_work(arguments: list[str], words: list[str], root: Path) -> None:
    arguments = [line.replace("+claims", "claims") for line in arguments]
    done = cli("run", *SEARCH, "extrapolation=none,wait", *arguments, root=root)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not list(root.glob("stages/*")) and not list(root.glob("sweeps/*"))


def test_a_plan_is_of_the_first_round_and_cannot_be_frozen(root: Path) -> None:
    planned = cli("plan", *SEARCH, "extrapolation=none,wait", root=root)
    assert planned.returncode == 0, planned.stderr
    assert "2 cells" in planned.stdout and "first round" in planned.stdout
    submitted = cli("submit", *SEARCH, "extrapolation=none,wait", root=root)
    assert submitted.returncode == 2 and "`s1sweep run`" in submitted.stderr


GRID = ["train=none,tiny", "task=tiny_calc", "placement=inprocess", "tracking=none"]


@pytest.mark.slow
@pytest.mark.long
def test_a_search_is_cheaper_than_its_grid_and_right_about_it(root: Path) -> None:
    command = ["-m", "hydra/sweeper=sequential", "hydra.sweeper.first=16", "hydra.sweeper.half_width=10", *GRID]
    done = cli("run", *command, "name=found", root=root)
    assert done.returncode == 0, done.stderr
    written = (root / "sweeps/found/search.json").read_bytes()
    found = json.loads(written)
    base, tuned = found["arms"]
    assert base["why"] == "beaten by train=tiny" and base["questions"] < tuned["questions"] <= 80
    cells = json.loads(cli("results", "found", "--json", root=root).stdout)
    assert len(cells) == sum(len(one["arms"]) for one in found["rounds"])
    assert sum(cell["n"] for cell in cells) == base["questions"] + tuned["questions"]
    for text in ("beaten by train=tiny", "quote its interval"):
        assert text in " ".join(done.stdout.split())
        assert text in " ".join(cli("results", "found", root=root).stdout.split())

    again = cli("run", *command, "name=found", root=root)
    assert again.returncode == 0 and " 0 stages run" in again.stdout
    assert (root / "sweeps/found/search.json").read_bytes() == written
    page = (root / "sweeps/found/report.html").read_text()
    assert "The search</h3>" in page and all(arm["why"] in page for arm in found["arms"])

    grid = cli("run", "-m", *GRID, "name=grid", root=root)
    assert grid.returncode == 0, grid.stderr
    whole = json.loads(cli("results", "grid", "--json", root=root).stdout)
    for arm, cell in zip(found["arms"], whole, strict=True):
        assert cell["n"] == arm["population"] == 80
        assert arm["low"] - 1e-9 <= cell["accuracy"] <= arm["high"] + 1e-9
    all_tokens = costs.decoded_by(Store(root), [cell["stages"]["decode"] for cell in whole])
    assert 0 < found["decoded_tokens"] < all_tokens


def _searched(store: Path, *more: str) -> dict:
    """A search of two arms to the end of a budget, in a store of its own."""
    options = ["hydra/sweeper=sequential", "hydra.sweeper.first=8", "hydra.sweeper.token_budget=4000"]
    options += ["hydra.sweeper.half_width=null", "hydra.sweeper.drop_beaten=false", "name=budget", "tracking=none"]
    done = cli("run", "-m", *options, "train=none", "task=tiny_calc", "extrapolation=none,wait", *more, root=store)
    assert done.returncode == 0, done.stderr
    return json.loads((store / "sweeps/budget/search.json").read_text())


@pytest.mark.slow
def test_a_budget_ends_a_search(root: Path) -> None:
    found = _searched(root, "placement=inprocess")
    assert [arm["why"] for arm in found["arms"]] == ["token budget"] * 2
    assert found["decoded_tokens"] <= 4000 and 8 <= found["arms"][0]["questions"] < 80


@pytest.mark.slow
@pytest.mark.long
def test_more_engines_decide_alike(root: Path) -> None:
    """Shards decode what a session then finds stored: its record says decoded 0, and what is counted is the same."""
    here = _searched(root.parent / "here", "placement=inprocess")
    assert here == _searched(root.parent / "there", "placement=laptop", "placement.engines=2")
